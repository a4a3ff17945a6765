//! The wall clock. What measures a span uses `Instant`: this one may jump.

use std::time::{Duration, SystemTime};

/// Time since 1970, UTC; none on a machine whose clock stands before.
pub fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Unix milliseconds; 0 on a machine whose clock stands before 1970.
pub fn now_ms() -> i64 {
    since_1970().as_millis() as i64
}
