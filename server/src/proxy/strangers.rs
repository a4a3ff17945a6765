//! Bounds the requests without a valid key that one address may make, so that nobody tries keys for free (threats.md, A1).
//!
//! Keys that are known are found first: callers behind the same address are not held up by a stranger among them. Memory
//! is bounded: beyond a number of addresses all further ones share one count.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::tenancy::address;

const WINDOW: Duration = Duration::from_secs(60);
/// Addresses told apart; the rest share one count.
const MAX_ADDRESSES: usize = 16_384;
/// What all addresses share for which there is no room.
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Counts requests of callers that nobody knows.
#[derive(Debug)]
pub struct Strangers {
    per_minute: u32,
    minutes: Mutex<HashMap<IpAddr, Minute>>,
}

#[derive(Debug)]
struct Minute {
    began: Instant,
    requests: u32,
}

impl Strangers {
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            minutes: Mutex::default(),
        }
    }

    /// Counts a request; once there are too many, how long until the address may try again.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut minutes = self.minutes.lock();
        let mut who = address::network(address);
        if minutes.len() >= MAX_ADDRESSES && !minutes.contains_key(&who) {
            minutes.retain(|_, minute| now < minute.began + WINDOW);
            if minutes.len() >= MAX_ADDRESSES {
                who = SHARED;
            }
        }
        let begun = Minute {
            began: now,
            requests: 0,
        };
        let minute = minutes.entry(who).or_insert(begun);
        if now >= minute.began + WINDOW {
            (minute.began, minute.requests) = (now, 0);
        }
        if minute.requests >= self.per_minute {
            return Err((minute.began + WINDOW).saturating_duration_since(now));
        }
        minute.requests += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_address_has_so_many_a_minute() {
        let strangers = Strangers::new(2);
        let now = Instant::now();
        let one = address("192.0.2.1");
        assert!(strangers.admit(one, now).is_ok() && strangers.admit(one, now).is_ok());
        assert_eq!(
            strangers.admit(one, now + Duration::from_secs(20)),
            Err(Duration::from_secs(40))
        );
        assert!(strangers.admit(address("192.0.2.2"), now).is_ok());
        assert!(strangers.admit(one, now + WINDOW).is_ok());
    }

    #[test]
    fn an_owner_of_a_network_has_one_count() {
        let strangers = Strangers::new(1);
        let now = Instant::now();
        assert!(strangers.admit(address("2001:db8::1"), now).is_ok());
        assert!(strangers.admit(address("2001:db8::ffff:2"), now).is_err());
        assert!(strangers.admit(address("2001:db8:0:1::1"), now).is_ok());
        assert!(strangers.admit(address("::ffff:192.0.2.1"), now).is_ok());
        assert!(strangers.admit(address("192.0.2.1"), now).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let strangers = Strangers::new(1);
        let now = Instant::now();
        for number in 0..MAX_ADDRESSES as u32 + 2 {
            let address = std::net::Ipv4Addr::from_bits(number | 0x0A00_0000).into();
            let admitted = strangers.admit(address, now).is_ok();
            assert_eq!(admitted, number <= MAX_ADDRESSES as u32, "{number}");
        }
        assert!(strangers.minutes.lock().len() <= MAX_ADDRESSES + 1);
    }
}
