//! Keeps a warning that would be repeated thousands of times a second to a few lines and a count.
//!
//! Whoever logs about something an outsider can provoke asks first. Memory is bounded too: beyond a number of keys all
//! further ones share one (threats.md, D5).

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Keys told apart; the rest share one.
const MAX_KEYS: usize = 1024;

/// So many lines per key and window.
#[derive(Debug)]
pub struct Repeated {
    lines: u32,
    window: Duration,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    windows: HashMap<Key, Window>,
    /// When ended windows were last thrown away to make room.
    cleared: Option<Instant>,
}

type Key = (&'static str, u64);

/// What all keys share for which there is no room.
const SHARED: Key = ("others", 0);

#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    suppressed: u64,
}

impl Window {
    fn begun(now: Instant) -> Self {
        Self {
            began: now,
            written: 0,
            suppressed: 0,
        }
    }

    /// Whether one more line may be written; counts it either way.
    fn admits(&mut self, now: Instant, lines: u32, window: Duration) -> bool {
        if now >= self.began + window {
            self.began = now;
            self.written = 0;
        }
        let admitted = self.written < lines;
        if admitted {
            self.written += 1;
        } else {
            self.suppressed += 1;
        }
        admitted
    }
}

impl Default for Repeated {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(10))
    }
}

impl Repeated {
    /// At most so many lines for one key in each window.
    pub fn new(lines: u32, window: Duration) -> Self {
        Self {
            lines,
            window,
            hasher: RandomState::new(),
            state: Mutex::default(),
        }
    }

    /// Whether to write a line of this kind about `who` now: `Some` with the number of lines left out before it, which
    /// belongs into the line.
    pub fn allow(&self, what: &'static str, who: impl Hash, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let key = self.key(&mut state, (what, self.hasher.hash_one(who)), now);
        let window = state.windows.entry(key).or_insert(Window::begun(now));
        window
            .admits(now, self.lines, self.window)
            .then(|| std::mem::take(&mut window.suppressed))
    }

    /// The same for whoever leaves the count to [`Repeated::left_out`].
    pub fn admit(&self, what: &'static str, who: impl Hash, now: Instant) -> bool {
        let mut state = self.state.lock();
        let key = self.key(&mut state, (what, self.hasher.hash_one(who)), now);
        let window = state.windows.entry(key).or_insert(Window::begun(now));
        window.admits(now, self.lines, self.window)
    }

    /// Lines left out since the last time this was asked, by kind, so that a flood's count is told though nothing follows
    /// it. A job calls this now and then.
    pub fn left_out(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut counts: HashMap<&'static str, u64> = HashMap::new();
        self.state.lock().windows.retain(|(what, _), window| {
            let suppressed = std::mem::take(&mut window.suppressed);
            if suppressed > 0 {
                *counts.entry(what).or_default() += suppressed;
            }
            now < window.began + self.window
        });
        counts.into_iter().collect()
    }

    /// The key itself while there is room, made at most once a window; else the shared one.
    fn key(&self, state: &mut State, key: Key, now: Instant) -> Key {
        let has_room = |state: &State| state.windows.len() < MAX_KEYS;
        if has_room(state) || state.windows.contains_key(&key) {
            return key;
        }
        if state
            .cleared
            .is_none_or(|cleared| now >= cleared + self.window)
        {
            state.cleared = Some(now);
            let window = self.window;
            state.windows.retain(|_, one| now < one.began + window);
        }
        if has_room(state) { key } else { SHARED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_count() {
        let repeated = Repeated::new(2, Duration::from_secs(10));
        let start = Instant::now();
        let written = (0..100_000)
            .filter(|_| repeated.allow("x", 1, start).is_some())
            .count();
        assert_eq!(written, 2);
        assert_eq!(repeated.allow("x", 2, start), Some(0));
        assert_eq!(repeated.allow("y", 1, start), Some(0));
        let later = start + Duration::from_secs(10);
        assert_eq!(repeated.allow("x", 1, later), Some(99_998));
        assert_eq!(repeated.allow("x", 1, later), Some(0));
        assert_eq!(repeated.allow("x", 1, later), None);
    }

    #[test]
    fn the_count_of_an_ended_flood_is_told_once() {
        let repeated = Repeated::new(1, Duration::from_secs(10));
        let start = Instant::now();
        for _ in 0..5 {
            repeated.allow("x", 1, start);
        }
        assert_eq!(repeated.left_out(start), [("x", 4)]);
        assert!(!repeated.admit("x", 1, start), "the flood goes on");
        let later = start + Duration::from_secs(11);
        assert_eq!(repeated.left_out(later), [("x", 1)]);
        assert_eq!(repeated.left_out(later), []);
    }

    /// Threats: D5.
    #[test]
    fn a_million_keys_stay_few() {
        let repeated = Repeated::default();
        let start = Instant::now();
        let written = (0..1_000_000)
            .filter(|who| repeated.allow("x", who, start).is_some())
            .count();
        assert!(written <= MAX_KEYS + 5, "{written}");
        assert!(repeated.state.lock().windows.len() <= MAX_KEYS + 1);
    }
}
