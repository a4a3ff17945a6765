//! What one instance holds of an account that several share: the arithmetic of leases, without Redis and without a clock.
//!
//! Redis keeps for every account what all instances have spent, and what each still holds; it gives more only while the sum
//! of both stays within the budget. So an instance lets calls through on what it holds and asks nobody. It tells its own
//! figures as totals, never as differences: told twice, or late, they count once. The figures belong to a *build* of the
//! account: when Redis has lost them, they are built anew from the books and from what each instance says it holds
//! (`jobs::build_accounts`).

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Account, Window};
use crate::tenancy::RequestId;

/// How often what was spent is told while nobody waits.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How soon an instance asks again that was told that nothing is left now.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How soon after no answer, or while an account is being built.
const TRY_AGAIN: Duration = Duration::from_millis(25);
/// How often the others are asked for what lies idle there.
const RECALL_EVERY: Duration = Duration::from_millis(200);
/// For so long an account that nobody spends from keeps what it holds, for when Redis goes away.
pub const KEPT_FOR: Duration = Duration::from_secs(600);

/// One account on this instance.
#[derive(Debug, Default)]
pub struct Lease {
    /// The build that the figures belong to; `None` until Redis has said which.
    build: Option<Uuid>,
    /// What this instance has settled since the build.
    total: u64,
    /// Of that, what is no longer part of `held`.
    counted: u64,
    /// What calls have reserved and what is free, and what has been settled and not been counted yet.
    held: u64,
    /// Numbers of what was told last, and of what was answered last.
    told: u64,
    answered: u64,
    is_told: bool,
    not_before: Option<Instant>,
    told_at: Option<Instant>,
    served_at: Option<Instant>,
    /// How much may lie idle here.
    slice: u64,
    /// The budget of which it was given, and what that is now: one that is less by now gives nothing of it.
    given_of: u64,
    amount: Option<u64>,
    /// What others hold, when that was last heard.
    others: u64,
    /// The first in the queue got nothing when Redis was last asked.
    is_short: bool,
    /// Somebody wants to know what all have spent.
    is_wanted: bool,
    /// Another instance needs what lies idle here.
    is_recalled: bool,
    /// When others were asked last for what lies idle there.
    recalled_at: Option<Instant>,
    /// This instance ends: it keeps nothing.
    is_closing: bool,
    opened: Option<Opened>,
}

/// That an account is being built, and this instance takes part.
#[derive(Debug)]
struct Opened {
    build: Uuid,
    /// What was settled since.
    since: u64,
    /// The calls that this was, until their events are no longer booked.
    calls: Option<Vec<RequestId>>,
}

/// What an instance tells Redis of an account, and asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tell {
    pub account: Account,
    pub window: Window,
    /// Which of those that this process has opened it is.
    pub serial: u64,
    pub build: Option<Uuid>,
    /// Rises with each that is told.
    pub number: u64,
    /// The last number that was answered: Redis must know it.
    pub answered: u64,
    /// Settled since the build, all in all.
    pub spent: u64,
    /// What it holds from now on, without what is asked for.
    pub held: u64,
    /// Of that, what is free.
    pub kept: u64,
    /// What the first in the queue needs besides.
    pub first: u64,
    /// What the queue needs besides.
    pub wanted: u64,
    pub usage: Use,
    /// The budget, where it is hard.
    pub amount: Option<u64>,
    /// When the window before this one began, where there is one.
    pub window_before_ms: Option<i64>,
}

/// How an account is used on an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Busy = 0,
    /// Nobody has spent from it for long.
    Idle = 1,
    /// The instance ends: what it has spent is told for the last time.
    Closing = 2,
}

/// What Redis says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Counted {
        build: Uuid,
        /// What all have spent, as they have told.
        spent: u64,
        /// What the others hold.
        others: u64,
        granted: u64,
        /// How much may lie idle.
        slice: u64,
    },
    /// Nobody knows what was spent: it has to be built.
    Unknown,
    /// Somebody builds it.
    Building,
    /// It was built without this instance, which has counted something meanwhile.
    Apart(Uuid),
    /// No answer, or one to an earlier number.
    Nothing,
}

/// What an account's queue needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queue {
    /// What the first one needs.
    pub first: u64,
    /// What all need together.
    pub all: u64,
}

/// Whether something is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    Later,
    No,
}

impl Lease {
    /// Whether it is known what all have spent.
    pub fn is_known(&self) -> bool {
        self.build.is_some()
    }

    /// What a further call may reserve of a hard budget without asking.
    pub fn free(&self, reserved: u64) -> u64 {
        if self.amount.is_none_or(|amount| amount < self.given_of) {
            return 0;
        }
        self.outstanding(reserved) - reserved
    }

    /// Takes note of what the budget is now, where it is hard. Returns whether that is less than it was.
    pub fn look_at(&mut self, amount: Option<u64>) -> bool {
        self.amount = amount;
        amount.is_none_or(|amount| amount < self.given_of)
    }

    /// What the others hold, when that was last heard.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Whether Redis had nothing for the first in the queue.
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Takes note that a call spends from it.
    pub fn serves(&mut self, now: Instant) {
        self.served_at = Some(now);
    }

    /// Nobody waits any more.
    pub fn is_left(&mut self) {
        self.is_short = false;
    }

    /// Counts what a call has really spent.
    pub fn settle(&mut self, id: RequestId, actual: u64) {
        self.total = self.total.saturating_add(actual);
        if let Some(opened) = &mut self.opened {
            opened.since = opened.since.saturating_add(actual);
            if let Some(calls) = &mut opened.calls {
                calls.push(id);
            }
        }
    }

    /// Whether it stands for anything.
    pub fn has_counted(&self) -> bool {
        self.total > 0 || self.held > 0
    }

    /// Whether nothing would be lost with it.
    pub fn is_settled(&self) -> bool {
        let is_known = self.build.is_some() || self.told == 0;
        is_known && self.total == self.counted && !self.is_told && self.opened.is_none()
    }

    /// Whether it holds something that nobody spends.
    pub fn is_idle(&self, now: Instant) -> bool {
        let is_served = |at: Instant| now.duration_since(at) <= KEPT_FOR;
        self.is_closing || !self.served_at.is_some_and(is_served)
    }

    /// Somebody wants to know what all have spent by now.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether that has been answered.
    pub fn is_fresh(&self) -> bool {
        self.is_known() && !self.is_wanted && !self.is_told
    }

    /// Another instance needs what lies idle here.
    pub fn recall(&mut self) {
        self.is_recalled = true;
    }

    /// Whether the others are to be asked for what lies idle there: not more often than a few times a second.
    pub fn recalls(&mut self, now: Instant) -> bool {
        let lately = |at: Instant| now.duration_since(at) < RECALL_EVERY;
        let recalls = self.is_short && self.others > 0 && !self.recalled_at.is_some_and(lately);
        if recalls {
            self.recalled_at = Some(now);
        }
        recalls
    }

    /// The instance ends: all is told and given back.
    pub fn close(&mut self) {
        self.is_closing = true;
        self.not_before = None;
        self.told_at = None;
    }

    /// Whether something is to be told.
    pub fn due(&self, now: Instant, reserved: u64, queue: Queue) -> Due {
        if self.is_told || self.not_before.is_some_and(|not_before| now < not_before) {
            return Due::Later;
        }
        let at = |pause: Duration| match self.told_at {
            Some(told_at) if now < told_at + pause => Due::Later,
            _ => Due::Now,
        };
        if self.build.is_none() || self.opened.is_some() {
            return if self.is_closing { Due::No } else { Due::Now };
        }
        if self.is_closing || self.is_wanted {
            return Due::Now;
        }
        let free = self.free(reserved);
        if queue.first > free {
            return if self.is_short {
                at(ASK_AGAIN)
            } else {
                Due::Now
            };
        }
        let free = self.outstanding(reserved) - reserved;
        let has_too_much = free > self.slice || (free > 0 && self.is_idle(now));
        if self.is_recalled && free > 0 && queue.all == 0 {
            return at(ASK_AGAIN);
        }
        if self.total != self.counted || (has_too_much && queue.all == 0) {
            return at(TELL_EVERY);
        }
        Due::No
    }

    /// What is to be told now. It counts as told: what is not kept is given away with it.
    pub fn tell(
        &mut self,
        (account, window): (Account, Window),
        now: Instant,
        reserved: u64,
        queue: Queue,
        amount: Option<u64>,
    ) -> Tell {
        self.amount = amount;
        let free = self.free(reserved);
        let is_idle = self.is_idle(now);
        let gives_all = if queue.first > free {
            // Useless as it is: others may do with it, or it comes back as part of enough.
            self.is_short
        } else {
            (is_idle || self.is_recalled) && queue.all == 0
        };
        self.is_recalled = false;
        self.is_wanted = false;
        let kept = if gives_all {
            0
        } else {
            free.min(self.slice.max(queue.all))
        };
        self.told += 1;
        self.is_told = true;
        self.told_at = Some(now);
        self.counted = self.total;
        self.held = reserved + kept;
        let (build, answered, spent) = match &self.opened {
            Some(opened) if opened.calls.is_none() => (Some(opened.build), 0, opened.since),
            _ => (self.build, self.answered, self.total),
        };
        Tell {
            account,
            window,
            serial: 0,
            build,
            number: self.told,
            answered,
            spent,
            held: self.held,
            kept,
            first: queue.first.saturating_sub(kept),
            wanted: queue.all.saturating_sub(kept),
            usage: match (self.is_closing && self.held == 0, is_idle || gives_all) {
                (true, _) => Use::Closing,
                (false, true) => Use::Idle,
                (false, false) => Use::Busy,
            },
            amount,
            window_before_ms: None,
        }
    }

    /// Takes note of an answer. Returns what all have spent, where that is known by it.
    pub fn answer(&mut self, tell: &Tell, told: Told, now: Instant) -> Option<u64> {
        self.is_told = false;
        match told {
            Told::Counted {
                build,
                spent,
                others,
                granted,
                slice,
            } => {
                let own = match self.opened.take() {
                    Some(opened) if opened.build == build && tell.build == Some(build) => {
                        // What was settled since it was told is still part of what is held.
                        let untold = opened.since.saturating_sub(tell.spent);
                        self.total = opened.since;
                        self.counted = self.total - untold;
                        opened.since
                    }
                    // It is being built anew by now: what was given before that is nobody's.
                    Some(opened) => {
                        self.opened = Some(opened);
                        return None;
                    }
                    None => self.total,
                };
                self.build = Some(build);
                self.answered = tell.number;
                self.held = self.held.saturating_add(granted);
                self.others = others;
                self.slice = slice;
                self.given_of = tell.amount.unwrap_or(0);
                self.is_short = tell.first > 0 && granted == 0;
                self.not_before = None;
                Some(spent.saturating_add(own.saturating_sub(tell.spent)))
            }
            Told::Apart(_) if !self.has_counted() && tell.build.is_some() => {
                // It has counted nothing: it joins what others have built.
                self.build = None;
                self.answered = 0;
                None
            }
            Told::Unknown | Told::Building | Told::Apart(_) | Told::Nothing => {
                self.not_before = Some(now + TRY_AGAIN);
                None
            }
        }
    }

    /// The account is being built: what is settled from now on counts apart.
    pub fn open(&mut self, build: Uuid) {
        // Told again of the same: what has been counted since the first word stays.
        if self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.build == build)
        {
            return;
        }
        self.opened = Some(Opened {
            build,
            since: 0,
            calls: Some(Vec::new()),
        });
    }

    /// The calls settled since the account was opened for a build; their events may have been booked or not.
    pub fn opened(&self, build: Uuid) -> Vec<RequestId> {
        let opened = self.opened.as_ref().filter(|opened| opened.build == build);
        opened
            .and_then(|opened| opened.calls.clone())
            .unwrap_or_default()
    }

    /// From now on nothing of this instance is booked; of what was settled since the account was opened, so much was. Returns
    /// the most that this instance holds, or `None` where a later build has begun.
    pub fn acknowledge(&mut self, build: Uuid, booked: u64, reserved: u64) -> Option<u64> {
        let opened = self
            .opened
            .as_mut()
            .filter(|opened| opened.build == build)?;
        opened.since = opened.since.saturating_sub(booked);
        opened.calls = None;
        Some(self.outstanding(reserved))
    }

    /// What calls have reserved, and what is free. A call that came to more than it had reserved has taken that of what is
    /// free, or of nothing.
    fn outstanding(&self, reserved: u64) -> u64 {
        let left = self.held.saturating_sub(self.total - self.counted);
        left.max(reserved)
    }
}
