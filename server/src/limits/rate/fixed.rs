//! A fixed window: a second, minute, hour or day of the clock, UTC.
//!
//! Two windows are kept, so that a clock that jumps and comes back finds what it had counted: no window opens twice.

use super::{Full, Left, Shape};

/// Counts by window of the wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed {
    /// Number since 1970, and what is used.
    windows: [(u64, u64); 2],
}

impl Fixed {
    /// Counts, and says in which window.
    pub fn take(&mut self, shape: &Shape, cost: u64, wall_us: u64) -> Result<u64, Full> {
        let window = wall_us / shape.window_us;
        let used = self.open(window);
        if used.saturating_add(cost) > shape.max {
            return Err(Full {
                after_us: (window + 1) * shape.window_us - wall_us,
            });
        }
        *used += cost;
        Ok(window)
    }

    /// What was too much leaves its window; what is missing counts in the one that runs, if that is another by now.
    pub fn settle(&mut self, shape: &Shape, window: u64, taken: u64, actual: u64, wall_us: u64) {
        if let Some(missing) = actual.checked_sub(taken) {
            let used = self.open(wall_us / shape.window_us);
            *used = used.saturating_add(missing);
        } else if let Some(used) = self.find(window) {
            *used = used.saturating_sub(taken - actual);
        }
    }

    /// How much is used of the window that runs.
    pub fn used(&self, shape: &Shape, wall_us: u64) -> u64 {
        let window = wall_us / shape.window_us;
        let used = self.windows.iter().find(|(number, _)| *number == window);
        used.map_or(0, |(_, used)| *used)
    }

    pub fn left(&self, shape: &Shape, wall_us: u64) -> Left {
        let window = wall_us / shape.window_us;
        Left {
            remaining: shape.max.saturating_sub(self.used(shape, wall_us)),
            reset_us: (window + 1) * shape.window_us - wall_us,
        }
    }

    pub fn is_at_rest(&self, shape: &Shape, wall_us: u64) -> bool {
        let window = wall_us / shape.window_us;
        self.windows
            .iter()
            .all(|(number, used)| *used == 0 || *number + 1 < window)
    }

    fn find(&mut self, window: u64) -> Option<&mut u64> {
        let mut windows = self.windows.iter_mut();
        windows
            .find(|(number, _)| *number == window)
            .map(|(_, used)| used)
    }

    /// The window's count; the older one makes room.
    fn open(&mut self, window: u64) -> &mut u64 {
        let known = self
            .windows
            .iter()
            .position(|(number, _)| *number == window);
        let place = known.unwrap_or_else(|| {
            let place = usize::from(self.windows[1].0 < self.windows[0].0);
            self.windows[place] = (window, 0);
            place
        });
        &mut self.windows[place].1
    }
}
