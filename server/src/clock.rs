//! The wall clock. What measures a span uses `Instant`: this one may jump.

use std::time::SystemTime;

/// Unix milliseconds; 0 on a machine whose clock stands before 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
