//! Gives back to the system what a worker no longer needs once it is idle.
//!
//! mimalloc keeps what was freed for the next to ask, and looks at what it keeps only when somebody asks: a worker that a
//! flood of large bodies has left, and that nobody calls, would keep hundreds of megabytes. Each thread can only give
//! back its own.

use std::{cell::Cell, time::Duration};

use actix_web::rt;

/// How often a worker looks, and how long it has had no new request when it gives memory back.
const LOOK: Duration = Duration::from_secs(1);

/// What the process has to hold more than it once did. Less is soon asked for again.
const WORTH_BYTES: u64 = 16 << 20;

/// How often memory is given back before there is a new request: what a cut call or another worker held is free later.
const TIMES: u32 = 5;

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
        let (mut begun, mut left) = (0, 0);
        let mut least_bytes = resident_bytes();
        loop {
            interval.tick().await;
            let resident = resident_bytes();
            least_bytes = least_bytes.min(resident);
            if std::mem::replace(&mut begun, BEGUN.get()) != BEGUN.get() {
                left = TIMES;
            } else if left > 0 && resident > least_bytes.saturating_add(WORTH_BYTES) {
                left -= 1;
                give_back();
            }
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
