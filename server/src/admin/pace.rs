//! How often one caller may use one route of management, so that nobody's script takes it from the others.
//!
//! Each instance counts for itself: this is for peace, and not a promise. Memory is bounded by forgetting, now and then,
//! whoever has been quiet for long enough.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

/// Calls after which those who are quiet are forgotten.
const FORGET_EVERY: u32 = 10_000;

/// Who, and on which route.
type Who = (Vec<u8>, String);

/// Counts calls by caller and route.
pub struct Pace {
    limiter: DefaultKeyedRateLimiter<Who>,
    calls: AtomicU32,
}

impl Pace {
    /// So many calls a minute for each caller on each route.
    pub fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            calls: AtomicU32::new(0),
        }
    }

    /// Counts a call; once there are too many, how long until the next.
    pub fn admit(&self, caller: Vec<u8>, route: String) -> Result<(), Duration> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let admitted = self.limiter.check_key(&(caller, route));
        admitted.map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_their_own_on_each_route() {
        let pace = Pace::new(2);
        let admit = |who: &str, route: &str| pace.admit(who.into(), route.to_owned());
        assert!(admit("a", "/keys").is_ok() && admit("a", "/keys").is_ok());
        let wait = admit("a", "/keys").expect_err("the third");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(30));
        assert!(admit("b", "/keys").is_ok() && admit("a", "/users").is_ok());
    }
}
