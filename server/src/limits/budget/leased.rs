//! Accounts that several instances share: what is told of them, what is heard, and what has to be built.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Account, Accounts, Crossed, Window, crossed, spent::Spent};
use crate::{
    limits::lease::{Due, Lease, Tell, Told},
    tenancy::{Budget, RequestId},
};

/// For so long an account is counted though no budget is known of here: the configuration comes by then.
const STRANGE_FOR: Duration = Duration::from_secs(60);

impl Accounts {
    /// Forgets accounts that no budget looks at any more: nothing counts what is spent there meanwhile. Returns those that
    /// other instances share.
    pub fn forget_unwatched(
        &mut self,
        now: Instant,
        is_watched: impl Fn(Account) -> bool,
    ) -> Vec<(Account, Window)> {
        self.strange
            .retain(|account, since| !is_watched(*account) && now - *since < STRANGE_FOR);
        let strange = &self.strange;
        let gone = self
            .windows
            .extract_if(|account, _| !is_watched(*account) && !strange.contains_key(account));
        let gone: Vec<(Account, Vec<Spent>)> = gone.collect();
        let windows = |(account, windows): &(Account, Vec<Spent>)| {
            let account = *account;
            let windows: Vec<_> = windows
                .iter()
                .map(|spent| (account, spent.window))
                .collect();
            windows
        };
        let mut gone: Vec<(Account, Window)> = gone.iter().flat_map(windows).collect();
        for place in &gone {
            self.untold.remove(place);
            self.urgent.remove(place);
            self.unbuilt.remove(place);
        }
        self.unfilled.retain(|place| !gone.contains(place));
        if !self.are_shared {
            gone.clear();
        }
        gone
    }

    /// The configuration has changed: what was given of budgets that are less by now is spent no further.
    pub fn look_at_amounts(&mut self, amount: impl Fn(Account) -> Option<u64>) {
        for (account, windows) in &mut self.windows {
            let amount = amount(*account);
            for spent in windows {
                if spent
                    .lease
                    .as_mut()
                    .is_some_and(|lease| lease.look_at(amount))
                {
                    self.untold.insert((*account, spent.window));
                }
            }
        }
    }

    /// Whether somebody waits for something to be told.
    pub fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// What is to be told now of shared accounts: of all of them, or of those that somebody waits for.
    pub fn tells(
        &mut self,
        now: Instant,
        only_urgent: bool,
        amount: impl Fn(Account) -> Option<u64>,
    ) -> Vec<Tell> {
        if !only_urgent {
            self.urgent.extend(self.untold.drain());
        }
        let (windows, untold) = (&mut self.windows, &mut self.untold);
        let mut tells = Vec::new();
        for (account, window) in self.urgent.drain() {
            let spent = windows.get_mut(&account);
            let spent = spent.and_then(|all| all.iter_mut().find(|spent| spent.window == window));
            let Some(spent) = spent else { continue };
            let queue = spent.queue();
            let Some(lease) = &mut spent.lease else {
                continue;
            };
            let place = (account, window);
            let amount = amount(account);
            let due = lease.due(now, spent.reserved, queue);
            if due == Due::Now {
                let tell = lease.tell(place, now, spent.reserved, queue, amount);
                tells.push(Tell {
                    serial: spent.serial,
                    ..tell
                });
            }
            if due != Due::No {
                untold.insert(place);
            }
        }
        tells
    }

    /// Whether nothing is left that Redis does not know.
    pub fn is_all_told(&self) -> bool {
        self.windows.values().flatten().all(Spent::is_settled)
    }

    /// This instance ends: everything is told and given back.
    pub fn close(&mut self) {
        for (account, windows) in &mut self.windows {
            for spent in windows {
                if let Some(lease) = &mut spent.lease {
                    lease.close();
                    self.untold.insert((*account, spent.window));
                }
            }
        }
    }

    /// Takes note of what Redis has answered, and says what that reached.
    pub fn told(
        &mut self,
        tell: &Tell,
        told: Told,
        now: Instant,
        budgets: &[Budget],
    ) -> Vec<Crossed> {
        let place = (tell.account, tell.window);
        let Some(spent) = self
            .known(place)
            .filter(|spent| spent.serial == tell.serial)
        else {
            return Vec::new();
        };
        let Some(lease) = &mut spent.lease else {
            return Vec::new();
        };
        let everybody = lease.answer(tell, told, now);
        let before = spent.spent;
        if let Some(everybody) = everybody {
            spent.spent = everybody;
        }
        if !spent.waiting.is_empty() {
            self.urgent.insert(place);
        }
        match told {
            Told::Unknown => drop(self.unbuilt.entry(place).or_default()),
            Told::Apart(build) if tell.build.is_none() || self.has_counted(place) => {
                self.unbuilt.insert(place, Some(build));
            }
            _ => {}
        }
        everybody.map_or_else(Vec::new, |after| {
            crossed(tell.account, before, after, budgets)
        })
    }

    fn has_counted(&mut self, place: (Account, Window)) -> bool {
        let lease = self.known(place).and_then(|spent| spent.lease.as_ref());
        lease.is_some_and(Lease::has_counted)
    }

    /// Sees that what lies idle for long is given back.
    pub fn look_for_idle(&mut self, now: Instant) {
        for (account, windows) in &self.windows {
            for spent in windows {
                if spent.lease.as_ref().is_some_and(|lease| lease.is_idle(now)) {
                    self.untold.insert((*account, spent.window));
                }
            }
        }
    }

    /// Whether others are to be asked for what lies idle there of an account.
    pub fn recalls(&mut self, place: (Account, Window), now: Instant) -> bool {
        let lease = self.known(place).and_then(|spent| spent.lease.as_mut());
        lease.is_some_and(|lease| lease.recalls(now))
    }

    /// Sees that what all have spent of an account is asked for.
    pub fn want(&mut self, (account, window): (Account, Window)) {
        let spent = self.open(account, window);
        if let Some(lease) = &mut spent.lease {
            lease.want();
            self.urgent.insert((account, window));
        }
    }

    /// Whether that has been answered.
    pub fn is_fresh(&mut self, place: (Account, Window)) -> bool {
        let spent = self.known(place);
        spent.is_some_and(|spent| match &spent.lease {
            Some(lease) => lease.is_fresh(),
            None => spent.is_known(),
        })
    }

    /// Another instance needs what lies idle here.
    pub fn recall(&mut self, place: (Account, Window)) {
        if let Some(lease) = self.known(place).and_then(|spent| spent.lease.as_mut()) {
            lease.recall();
            self.urgent.insert(place);
        }
    }

    /// Whether accounts have to be built.
    pub fn has_unbuilt(&self) -> bool {
        !self.unbuilt.is_empty()
    }

    /// The shared accounts that have to be built, each with the build that left this instance out.
    pub fn unbuilt(&mut self) -> Vec<((Account, Window), Option<Uuid>)> {
        std::mem::take(&mut self.unbuilt).into_iter().collect()
    }

    /// Puts accounts back among those that have to be built.
    pub fn put_back_unbuilt(&mut self, unbuilt: Vec<((Account, Window), Option<Uuid>)>) {
        for (place, apart) in unbuilt {
            self.unbuilt.entry(place).or_insert(apart);
        }
    }

    /// A shared account is being built: what is settled from now on counts apart, whether a budget is known here or not.
    pub fn open_for(
        &mut self,
        build: Uuid,
        (account, window): (Account, Window),
        is_watched: bool,
        now: Instant,
    ) {
        if !is_watched {
            self.strange.insert(account, now);
        }
        let spent = self.open(account, window);
        if let Some(lease) = &mut spent.lease {
            lease.open(build);
            self.untold.insert((account, window));
        }
    }

    /// The calls settled since an account was opened for a build.
    pub fn opened(&mut self, build: Uuid, place: (Account, Window)) -> Vec<RequestId> {
        let lease = self.known(place).and_then(|spent| spent.lease.as_ref());
        lease.map(|lease| lease.opened(build)).unwrap_or_default()
    }

    /// Says what this instance holds of an account that is being built; `None` where it takes no part any more.
    pub fn acknowledge(
        &mut self,
        build: Uuid,
        place: (Account, Window),
        booked: u64,
    ) -> Option<u64> {
        let spent = self.known(place)?;
        let reserved = spent.reserved;
        spent.lease.as_mut()?.acknowledge(build, booked, reserved)
    }

    /// Accounts that are counted though no budget is known of here, in the windows that a moment is in.
    pub fn strange(&self, at_ms: i64) -> Vec<(Account, Window)> {
        let windows = self
            .strange
            .keys()
            .filter_map(|account| Some((*account, self.windows.get(account)?)));
        let places = windows.flat_map(|(account, windows)| {
            let windows = windows.iter().map(move |spent| (account, spent.window));
            windows.filter(|(_, window)| window.contains(at_ms))
        });
        places.collect()
    }
}
