//! Tells Redis what this instance has spent of budgets, and gets for it what it may spend next.
//!
//! Of each account one question is under way at a time, so what is told of it arrives in order; whoever comes meanwhile is
//! part of the next one.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Backoff;
use crate::{
    catalog::{self, Catalog},
    clock::now_ms,
    limits::{
        Account, Limits, Shared, Window, claim,
        lease::{Tell, Told},
        leases::{Word, tag_of},
    },
    store::{Stores, instances},
    tenancy::BudgetId,
};

/// How often is looked for what is to be told though nobody waits for it.
const TICK: Duration = Duration::from_millis(25);
/// How often is looked for what lies idle.
const LOOK_FOR_IDLE: Duration = Duration::from_secs(30);
/// Longest wait at the end for the last word.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Accounts that are given up at once.
const AT_ONCE: usize = 100;

/// The job, and what it works with.
pub struct ShareBudgets {
    pub limits: Arc<Limits>,
    pub shared: Arc<Shared>,
    pub current: Arc<catalog::Current>,
    pub stores: Stores,
    pub sign: Sign,
}

/// A file that says under which ids processes of this data directory have spent from budgets. An id is there as long as that
/// may hold something.
#[derive(Debug)]
pub struct Sign {
    path: PathBuf,
    me: Uuid,
    /// Those that have ended without having said their last word.
    found: Vec<Uuid>,
    /// Those whose affairs are settled.
    gone: Mutex<Vec<Uuid>>,
}

impl Sign {
    /// Puts the sign up, and sees which others hung there.
    pub fn put_up(data_dir: &Path, me: Uuid) -> std::io::Result<Self> {
        let path = data_dir.join("budgets-held-by");
        let found = match std::fs::read_to_string(&path) {
            Ok(text) => text
                .lines()
                .filter_map(|line| Uuid::try_parse(line.trim()).ok())
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let sign = Self {
            path,
            me,
            found,
            gone: Mutex::default(),
        };
        sign.write()?;
        Ok(sign)
    }

    /// Takes an id down: nothing is held under it any more.
    fn take_down(&self, id: Uuid) {
        self.gone.lock().push(id);
        if let Err(error) = self.write() {
            tracing::warn!(%error, "the next start will settle once more what is settled");
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let gone = self.gone.lock();
        let ids = self.found.iter().chain([&self.me]);
        let ids = ids.filter(|id| !gone.contains(id)).map(Uuid::to_string);
        let ids: Vec<String> = ids.collect();
        if ids.is_empty() {
            return std::fs::remove_file(&self.path);
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, ids.join("\n"))?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &self.path)
    }
}

impl ShareBudgets {
    /// Runs until told to stop; then tells the last of it and gives everything back.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.current.subscribe();
        let mut budgets = Budgets::of(&self.current.load());
        let mut asking = FuturesUnordered::new();
        let mut tick = Instant::now();
        let mut idle_at = Instant::now() + LOOK_FOR_IDLE;
        let (gone, given_up) = mpsc::unbounded_channel();
        let losing = self.lose_what_is_gone(given_up, &shutdown);
        tokio::pin!(losing);
        loop {
            let now = Instant::now();
            let all = now >= tick;
            if all {
                tick = now + TICK;
            }
            if self.shared.is_asked() {
                for tells in by_tag(self.limits.tells(!all)) {
                    asking.push(self.ask(tells));
                }
            }
            if now >= idle_at {
                idle_at = now + LOOK_FOR_IDLE;
                self.limits.look_for_idle();
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.limits.some_untold(), if self.shared.is_asked() => {}
                Some(_) = asking.next() => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let catalog = self.current.load();
                    let mut places = self.limits.look_at_budgets(&catalog);
                    places.extend(budgets.gone(&catalog));
                    // The other end is polled below, until this one ends.
                    gone.send(places).ok();
                }
                () = &mut losing => {}
                () = time::sleep_until(tick) => {}
            }
        }
        let over = async {
            while asking.next().await.is_some() {}
            self.limits.close();
            let asked = by_tag(self.limits.tells(false)).map(|tells| self.ask(tells));
            let mut asked: FuturesUnordered<_> = asked.collect();
            let mut all = true;
            while let Some(told) = asked.next().await {
                all &= told;
            }
            all && self.limits.is_all_told()
        };
        if time::timeout(LAST_WORD, over).await.unwrap_or(false) {
            self.sign.take_down(self.sign.me);
        }
    }

    /// Tells something, and takes note of what is answered. Whether all of it is counted.
    async fn ask(&self, tells: Vec<Tell>) -> bool {
        self.shared.is_born().await;
        let told = self.shared.tell(&tells).await;
        let all = told.iter().all(|told| matches!(told, Told::Counted { .. }));
        let mut recalled = Vec::new();
        for (tell, told) in tells.iter().zip(told) {
            tracing::trace!(?tell, ?told, "told");
            if self.limits.told(tell, told) {
                recalled.push((tell.account, tell.window));
            }
        }
        if !recalled.is_empty() {
            // Not heard, they are asked for again.
            self.shared.publish(&Word::Recall(recalled)).await.ok();
        }
        all
    }

    /// Gives up what a process that has left its sign had a part in, and then accounts that no budget looks at any more: what
    /// is spent there meanwhile, nobody counts.
    async fn lose_what_is_gone(
        &self,
        mut gone: mpsc::UnboundedReceiver<Vec<(Account, Window)>>,
        shutdown: &CancellationToken,
    ) {
        self.follow_ended(shutdown).await;
        while let Some(places) = gone.recv().await {
            self.lose(&places, None, shutdown).await;
        }
        std::future::pending().await
    }

    /// Settles the affairs of a process that has left its sign. All that it had spooled and on record is booked by now.
    async fn follow_ended(&self, shutdown: &CancellationToken) {
        if self.sign.found.is_empty() {
            return;
        }
        let (catalog, at_ms) = (self.current.load(), now_ms());
        let watched = claim::all_watched(&catalog, at_ms).into_iter();
        let places = watched.map(|watched| (Account::of(watched.budget), watched.window));
        let places: Vec<_> = places.collect();
        for ended in &self.sign.found {
            if !self.lose(&places, Some(*ended), shutdown).await {
                return;
            }
            match instances::leave(&self.stores.config, *ended).await {
                Ok(()) => self.sign.take_down(*ended),
                Err(error) => {
                    tracing::warn!(%error, "that a former process has ended could not be said");
                }
            }
        }
    }

    /// Says that nobody may take accounts for whole any more, until Redis has heard it. `false`: it
    /// has not, and this process ends.
    async fn lose(
        &self,
        places: &[(Account, Window)],
        ended: Option<Uuid>,
        shutdown: &CancellationToken,
    ) -> bool {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for places in places.chunks(AT_ONCE) {
            let mut left = places.to_vec();
            loop {
                let lost = left.iter().map(|place| async move {
                    let lost = self.shared.lose(*place, ended).await;
                    lost.is_err().then_some(*place)
                });
                let lost = futures_util::future::join_all(lost).await;
                left = lost.into_iter().flatten().collect();
                if left.is_empty() {
                    backoff.reset();
                    break;
                }
                tokio::select! {
                    () = shutdown.cancelled() => return false,
                    () = time::sleep(backoff.grow()) => {}
                }
            }
        }
        true
    }
}

/// Which accounts the budgets of a catalog look at.
struct Budgets(HashMap<BudgetId, Account>);

impl Budgets {
    fn of(catalog: &Catalog) -> Self {
        let all = catalog.all_budgets();
        Self(all.map(|budget| (budget.id, Account::of(budget))).collect())
    }

    /// The accounts that none looks at any more, whether this process has used them or not: Redis may know them from others.
    fn gone(&mut self, catalog: &Catalog) -> Vec<(Account, Window)> {
        let before = std::mem::replace(self, Self::of(catalog));
        let gone = before
            .0
            .into_iter()
            .filter(|(id, _)| !self.0.contains_key(id));
        let at_ms = now_ms();
        let places = gone.map(|(_, account)| {
            let window = claim::window_of(catalog, account.scope, account.period, at_ms);
            (account, window)
        });
        places.collect()
    }
}

fn by_tag(tells: Vec<Tell>) -> impl Iterator<Item = Vec<Tell>> {
    let mut by_tag: HashMap<String, Vec<Tell>> = HashMap::new();
    for tell in tells {
        by_tag.entry(tag_of(tell.account)).or_default().push(tell);
    }
    by_tag.into_values()
}
