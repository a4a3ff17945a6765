//! Booking gives way to calls: while they keep all cores busy, events wait in the spool, which is made for that.
//!
//! What is put off is done later, so this is for bursts: of a load that lasts, all is booked, at most [`LONGEST`] late.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::metering::Recorder;

/// How long booking is put off at most.
const LONGEST: Duration = Duration::from_secs(30);
/// How often is looked whether there is room.
const LOOK: Duration = Duration::from_millis(100);
/// The part of the cores' time from which on they are busy.
const BUSY: f64 = 0.9;

/// How busy this process is.
pub struct Pressure {
    cores: f64,
    at: Instant,
    /// What it had used of the cores by then.
    used: Duration,
}

impl Pressure {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cores: cores as f64,
            at: Instant::now(),
            used: cpu_time(),
        }
    }

    /// Waits while the cores are busy, unless somebody waits for what is to be booked or the spool fills.
    pub async fn give_way(&mut self, recorder: &Recorder, shutdown: &CancellationToken) {
        let until = Instant::now() + LONGEST;
        let may_wait = || {
            Instant::now() < until
                && !recorder.awaited().has_some()
                && !recorder.spool().is_filling()
        };
        while may_wait() && self.is_high() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = recorder.awaited().one_more() => return,
                () = time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether the cores were busy with this process since this was last asked.
    fn is_high(&mut self) -> bool {
        let (at, used) = (Instant::now(), cpu_time());
        let passed = at.duration_since(self.at).as_secs_f64() * self.cores;
        let part = used.saturating_sub(self.used).as_secs_f64() / passed.max(1e-9);
        (self.at, self.used) = (at, used);
        part >= BUSY
    }
}

/// What this process has used of the cores since it began.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

#[cfg(test)]
impl Pressure {
    /// Of a process that has more to do than its cores can.
    pub fn without_end() -> Self {
        Self {
            cores: 0.0,
            ..Self::new()
        }
    }
}
