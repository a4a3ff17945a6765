//! Gives back to the system what a worker no longer needs once it is idle.
//!
//! mimalloc keeps what was freed for the next to ask, and looks at what it keeps only when somebody asks: a worker that a
//! flood of large bodies has left, and that nobody calls, would keep hundreds of megabytes. Each thread can only give
//! back its own.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use actix_web::rt;

/// How often a worker looks, and how long it has had no new request when it gives memory back.
const LOOK: Duration = Duration::from_secs(1);

/// What the process has to hold more than it once did. Less is soon asked for again.
const WORTH_BYTES: u64 = 16 << 20;

/// What is worth looking again soon: less is what the worker, or another, has in use.
const SOME_BYTES: u64 = 1 << 20;

/// The longest rest between two tries that found nothing to give back: what a cut call or another worker holds is free
/// later.
const LONGEST_REST: Duration = Duration::from_secs(60);

thread_local! {
    /// Requests that this worker has begun.
    static BEGUN: Cell<u64> = const { Cell::new(0) };
}

/// A request begins on this worker.
pub fn is_needed() {
    BEGUN.set(BEGUN.get().wrapping_add(1));
}

/// Watches over this worker, for as long as it lives.
pub fn watch() {
    rt::spawn(async {
        let mut interval = rt::time::interval(LOOK);
        let (mut begun, mut rest, mut again_at) = (BEGUN.get(), LOOK, Instant::now());
        let mut least_bytes = resident_bytes();
        let mut left_bytes = u64::MAX;
        loop {
            interval.tick().await;
            let resident = resident_bytes();
            least_bytes = least_bytes.min(resident);
            let is_idle = std::mem::replace(&mut begun, BEGUN.get()) == BEGUN.get();
            let is_worth_it = resident > least_bytes.saturating_add(WORTH_BYTES);
            let has_grown = resident > left_bytes.saturating_add(WORTH_BYTES);
            if !is_idle || !is_worth_it || !has_grown && Instant::now() < again_at {
                continue;
            }
            give_back();
            left_bytes = resident_bytes();
            rest = match resident.saturating_sub(left_bytes) {
                SOME_BYTES.. => LOOK,
                _ => (rest * 2).min(LONGEST_REST),
            };
            again_at = Instant::now() + rest;
        }
    });
}

#[expect(unsafe_code, reason = "mimalloc has no safe way to say so")]
fn give_back() {
    // SAFETY: it takes no pointer and may be called at any time on any thread. It frees no memory that is in use, and does
    // nothing for a process whose allocator is another.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// What the process holds in memory; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
