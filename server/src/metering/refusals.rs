//! A flood of refusals shares usage events: otherwise whoever has a key could fill the books for nothing.
//!
//! Of one key's refusals with one code, the first 10 in a second have an event each; the rest of that second share one
//! with a count. So the counts always add up to the refusals. A shared event is of the first that it counts (its id,
//! model and path), sums the bytes, and is handed out when its second has ended. While the spool has no room, all
//! refusals share, for as long as that lasts: they must not fill the memory instead.

use std::collections::HashMap;

use super::UsageEvent;
use crate::tenancy::KeyId;

/// Refusals of one key with one code in one second that have an event of their own.
const OWN_EVENTS: u32 = 10;
/// Pairs of key and code that are followed at a time; beyond, all shared events are handed out early.
const MOST_PAIRS: usize = 16_384;

/// Shares events among refusals. The clock is passed in.
#[derive(Default)]
pub struct Refusals {
    pairs: HashMap<(KeyId, Option<String>), Second>,
}

/// What came of one key with one code in one second.
struct Second {
    /// Unix seconds.
    at: i64,
    own_events: u32,
    shared: Option<UsageEvent>,
}

impl Refusals {
    /// Takes a refusal at `now_ms` (Unix milliseconds) and gives back the events that are to be written now: its own,
    /// if it has one, and the shared one of a second that has ended. Where the spool is `crowded` nothing is given back.
    pub fn add(&mut self, event: UsageEvent, now_ms: i64, crowded: bool) -> Vec<UsageEvent> {
        let mut ready = Vec::new();
        let pair = (event.key, event.error_code.clone());
        if self.pairs.len() >= MOST_PAIRS && !self.pairs.contains_key(&pair) {
            ready = self.take_all();
        }
        let now = now_ms.div_euclid(1000);
        let begun = || Second {
            at: now,
            own_events: 0,
            shared: None,
        };
        let second = self.pairs.entry(pair).or_insert_with(begun);
        // A clock that was set back begins a new second too: nothing may wait for the old one to end again.
        if second.at != now && !crowded {
            ready.extend(std::mem::replace(second, begun()).shared);
        }
        if second.own_events < OWN_EVENTS && !crowded {
            second.own_events += 1;
            ready.push(event);
            return ready;
        }
        match &mut second.shared {
            None => second.shared = Some(event),
            Some(shared) => match shared.count.checked_add(event.count) {
                Some(count) => {
                    shared.count = count;
                    shared.request_bytes = shared.request_bytes.saturating_add(event.request_bytes);
                    shared.response_bytes =
                        shared.response_bytes.saturating_add(event.response_bytes);
                }
                None => ready.extend(second.shared.replace(event)),
            },
        }
        ready
    }

    /// The shared events of seconds that have ended by `now_ms`. To be called about every second.
    pub fn take_ended(&mut self, now_ms: i64) -> Vec<UsageEvent> {
        let now = now_ms.div_euclid(1000);
        self.pairs
            .extract_if(|_, second| second.at != now)
            .filter_map(|(_, second)| second.shared)
            .collect()
    }

    /// All shared events, their seconds ended or not: at a flush and at the end.
    pub fn take_all(&mut self) -> Vec<UsageEvent> {
        // Who has used up the events of its own in this second has still done so.
        let shared = self.pairs.values_mut();
        let ready = shared.filter_map(|second| second.shared.take()).collect();
        if self.pairs.len() >= MOST_PAIRS {
            self.pairs.clear();
        }
        ready
    }

    /// Refusals that wait in shared events.
    pub fn waiting(&self) -> u64 {
        let shared = self
            .pairs
            .values()
            .filter_map(|second| second.shared.as_ref());
        shared.map(|event| u64::from(event.count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::sample;

    fn refusal(key: KeyId, code: &str) -> UsageEvent {
        UsageEvent {
            key,
            error_code: Some(code.to_owned()),
            request_bytes: 3,
            ..sample::event()
        }
    }

    fn total(events: &[UsageEvent]) -> u32 {
        events.iter().map(|event| event.count).sum()
    }

    #[test]
    fn ten_in_a_second_have_their_own_event_and_the_rest_share_one() {
        let key = KeyId::random();
        let mut refusals = Refusals::default();
        let mut events = Vec::new();
        for n in 0..1_000 {
            events.extend(refusals.add(refusal(key, "key_disabled"), 5_000 + n % 1_000, false));
        }
        assert_eq!(events.len(), 10);
        assert_eq!(refusals.waiting(), 990);
        assert!(refusals.take_ended(5_999).is_empty());
        let shared = refusals.take_ended(6_000);
        assert_eq!(shared.len(), 1);
        assert_eq!((shared[0].count, shared[0].request_bytes), (990, 2_970));
        assert_eq!(refusals.waiting(), 0);
    }

    #[test]
    fn the_next_second_brings_the_last_ones_event() {
        let key = KeyId::random();
        let mut refusals = Refusals::default();
        let first: Vec<_> = (0..12)
            .flat_map(|_| refusals.add(refusal(key, "key_disabled"), 999, false))
            .collect();
        assert_eq!(first.len(), 10);
        let second = refusals.add(refusal(key, "key_disabled"), 1_000, false);
        assert_eq!((second.len(), total(&second)), (2, 3));
        // The clock is set back.
        let third = refusals.add(refusal(key, "key_disabled"), -1, false);
        assert_eq!(total(&third), 1);
    }

    #[test]
    fn keys_and_codes_are_apart() {
        let mut refusals = Refusals::default();
        let keys = [KeyId::random(), KeyId::random()];
        for key in keys {
            for code in ["key_disabled", "rate_limit_exceeded"] {
                for _ in 0..10 {
                    assert_eq!(refusals.add(refusal(key, code), 0, false).len(), 1);
                }
            }
        }
        assert_eq!(refusals.waiting(), 0);
    }

    #[test]
    fn a_flush_within_a_second_loses_nothing_and_gives_no_new_events_of_their_own() {
        let key = KeyId::random();
        let mut refusals = Refusals::default();
        let mut events = Vec::new();
        for n in 0..100 {
            events.extend(refusals.add(refusal(key, "key_disabled"), 0, false));
            if n % 30 == 29 {
                events.extend(refusals.take_all());
            }
        }
        events.extend(refusals.take_all());
        assert_eq!((events.len(), total(&events)), (14, 100));
        let ids: std::collections::HashSet<_> = events.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), events.len());
    }

    #[test]
    fn memory_is_bounded_and_counts_stay_exact() {
        let mut refusals = Refusals::default();
        let mut events = Vec::new();
        for _ in 0..MOST_PAIRS + 10 {
            let key = KeyId::random();
            for _ in 0..11 {
                events.extend(refusals.add(refusal(key, "ip_not_allowed"), 0, false));
            }
        }
        assert!(refusals.pairs.len() <= MOST_PAIRS);
        events.extend(refusals.take_all());
        assert_eq!(total(&events) as usize, (MOST_PAIRS + 10) * 11);
    }

    #[test]
    fn without_room_all_share_and_none_is_handed_out() {
        let (mut refusals, key) = (Refusals::default(), KeyId::random());
        for second in 0..5 {
            for _ in 0..100 {
                let ready = refusals.add(refusal(key, "spool_full"), second * 1000, true);
                assert!(ready.is_empty());
            }
        }
        assert_eq!(refusals.waiting(), 500);
        assert_eq!(
            refusals
                .take_all()
                .iter()
                .map(|event| event.count)
                .sum::<u32>(),
            500
        );
    }
}
