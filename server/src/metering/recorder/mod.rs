//! What the way of a request holds of metering: it sees that no event is lost.
//!
//! `begin` puts a call on record before its first attempt leaves and gives a [`Flight`]; the relay keeps that current
//! and ends it with the event, or hands it over with a [`Draft`] whose tokens are still to be counted. A flight that is
//! dropped without either becomes an `interrupted` event. Events that find the spool full wait in memory and are tried
//! again. What takes time happens on one thread of the recorder's own (`settle`). Booking is not done here:
//! `jobs::write_usage` does it through [`Recorder::spool`].

mod awaited;
mod settle;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use weir_dialect::neutral::Usage;

use super::{
    Attempt, Outcome, UsageEvent,
    count::Corrections,
    inflight::{self, Interrupted, Slot, Start, Table},
    refusals::Refusals,
    spool::{self, ClosedSegment, Config, OnFull, Opened, Spool},
};
use crate::{clock::now_ms, tenancy::ModelId};
use awaited::Awaited;
use settle::Job;

/// Computes cost and charge of an event whose tokens are known, from its `rates` or else from the catalog; sets
/// `unpriced`. It is called on the recorder's thread, and never waits.
pub type Pricer = Arc<dyn Fn(&mut UsageEvent) + Send + Sync>;

/// Told every event once, before it is written: limits and budgets settle by it. It must not wait.
pub type Settler = Arc<dyn Fn(&UsageEvent) + Send + Sync>;

/// The recorder; clones share it. When the last of them and the last flight are gone, all is written and synced.
#[derive(Clone)]
pub struct Recorder(Arc<Handle>);

/// What a start found from before.
pub struct Recovered {
    /// To be booked before the process is ready; they are also among [`Spool::closed_segments`].
    pub segments: Vec<ClosedSegment>,
    /// To be given to [`Recorder::settle_interrupted`] as soon as prices are known.
    pub interrupted: Vec<Interrupted>,
}

/// An event whose tokens nobody reported: they are counted off the request path.
pub struct Draft {
    /// Complete but for output tokens, cost and charge.
    pub event: UsageEvent,
    /// The generated text.
    pub text: String,
    /// Which of the event's attempts generated it.
    pub attempt: usize,
    /// The model's tokenizer, if it names one.
    pub tokenizer: Option<String>,
    /// The model whose learned correction applies.
    pub model: Option<ModelId>,
    /// Told the finished event: limits, metrics and the access log settle by it. It must not wait.
    pub done: Box<dyn FnOnce(&UsageEvent) + Send>,
}

/// What metrics and health say of the recorder. The counters begin at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub spool: spool::Figures,
    /// Calls on record that have no event yet.
    pub in_flight: u64,
    /// Events in memory that the spool had no room for.
    pub held: u64,
    /// Drafts and dropped flights that wait for the recorder's thread.
    pub settling: u64,
    /// Refusals that wait in a shared event.
    pub refusals: u64,
    /// Events that no record can hold: an error of Weir's own, logged with the id.
    pub unwritable: u64,
    /// Slots of a former process that could not be read.
    pub damaged_slots: u64,
    /// Files of the in-flight record that were not this process's own.
    pub set_aside: u64,
}

/// Why a call or an event cannot be taken on record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// New calls are refused with 503 `spool_full`; an event that met this is held in memory and tried again.
    #[error("the spool is full")]
    Full,
    /// The event is held in memory and tried again, except for [`spool::Error::TooLarge`].
    #[error(transparent)]
    Spool(spool::Error),
    #[error(transparent)]
    InFlight(#[from] inflight::Error),
    #[error("the thread that settles calls has ended")]
    Ended,
    #[error("cannot start the thread that settles calls: {0}")]
    Thread(io::Error),
}

/// What clones and flights share.
struct Handle {
    core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    /// Ends when `jobs` is gone and all of them are done.
    thread: Option<JoinHandle<()>>,
}

/// What the thread works on.
struct Core {
    spool: Spool,
    table: Table,
    config: Config,
    instance: String,
    pricer: Pricer,
    settler: Settler,
    corrections: Corrections,
    refusals: Mutex<Refusals>,
    /// Events that found no room, oldest first, with the slots that stand for them until then.
    held: Mutex<VecDeque<Held>>,
    /// Of those, taken out to be tried again; changed while `held` is locked.
    tried_again: AtomicU64,
    in_flight: AtomicU64,
    settling: AtomicU64,
    unwritable: AtomicU64,
    damaged_slots: u64,
    set_aside: u64,
    awaited: Awaited,
    /// Held for reading from when the settler is told an event until the event is written: who takes it for writing knows
    /// that everything settled before is written.
    writing: RwLock<()>,
}

struct Held {
    event: Arc<UsageEvent>,
    slot: Option<Slot>,
}

impl Recorder {
    /// Opens `spool/` and `inflight/` in a directory of this instance's own. Fails if another process has them, or the
    /// disk does.
    pub fn open(
        directory: &Path,
        key: &[u8; 32],
        config: Config,
        instance: &str,
        pricer: Pricer,
        settler: Settler,
    ) -> Result<(Self, Recovered), Error> {
        let slots = inflight::SLOTS;
        Self::open_with(directory, key, config, instance, (pricer, settler), slots)
    }

    fn open_with(
        directory: &Path,
        key: &[u8; 32],
        config: Config,
        instance: &str,
        (pricer, settler): (Pricer, Settler),
        slots_per_extent: usize,
    ) -> Result<(Self, Recovered), Error> {
        let Opened { spool, segments } =
            Spool::open(&directory.join("spool"), key, config.clone())?;
        let (table, found) = Table::open(&directory.join("inflight"), key, slots_per_extent)?;
        let core = Arc::new(Core {
            spool,
            table,
            config,
            instance: instance.to_owned(),
            pricer,
            settler,
            corrections: Corrections::default(),
            refusals: Mutex::default(),
            held: Mutex::default(),
            tried_again: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            settling: AtomicU64::new(0),
            unwritable: AtomicU64::new(0),
            damaged_slots: found.damaged,
            set_aside: found.set_aside,
            awaited: Awaited::default(),
            writing: RwLock::new(()),
        });
        let (jobs, receiver) = mpsc::channel();
        let on_thread = Arc::clone(&core);
        let thread = thread::Builder::new()
            .name("weir-settle".to_owned())
            .spawn(move || settle::run(&on_thread, &receiver))
            .map_err(Error::Thread)?;
        let recorder = Self(Arc::new(Handle {
            core,
            jobs,
            thread: Some(thread),
        }));
        let recovered = Recovered {
            segments,
            interrupted: found.interrupted,
        };
        Ok((recorder, recovered))
    }

    /// Puts a call on record, before its first attempt leaves. `start.instance` is this recorder's. Fails with
    /// [`Error::Full`] if its event might find no room.
    pub fn begin(&self, start: &Start<'_>) -> Result<Flight, Error> {
        let core = &self.0.core;
        if !core.may_begin() {
            return Err(Error::Full);
        }
        let slot = core.table.take(&Start {
            instance: &core.instance,
            ..*start
        })?;
        core.in_flight.fetch_add(1, Relaxed);
        Ok(Flight {
            slot: Some(slot),
            handle: Arc::clone(&self.0),
        })
    }

    /// Writes an event that has no flight. Refusals may be made to share one. An error says that the event waits in
    /// memory; see [`Error`].
    pub fn record(&self, event: UsageEvent) -> Result<(), Error> {
        self.record_at(event, now_ms())
    }

    fn record_at(&self, event: UsageEvent, now_ms: i64) -> Result<(), Error> {
        let core = &self.0.core;
        if event.outcome != Outcome::Refused {
            return core.write(event, None);
        }
        let crowded = core.held() > 0;
        let ready = core.refusals.lock().add(event, now_ms, crowded);
        core.write_all(ready)
    }

    /// Takes over a flight whose tokens must be counted first. The slot stands for it until then.
    pub fn settle_later(&self, flight: Flight, draft: Draft) {
        flight.settle_later(draft);
    }

    /// Prices and writes the events of calls that a former process left, and frees their slots. Done twice, it gives
    /// the same ids.
    pub fn settle_interrupted(&self, interrupted: Vec<Interrupted>) -> Result<(), Error> {
        let core = &self.0.core;
        let written = interrupted
            .into_iter()
            .map(|Interrupted { mut event, slot }| {
                (core.pricer)(&mut event);
                core.in_flight.fetch_add(1, Relaxed);
                core.write(event, Some(slot))
            });
        // All are tried; those that fail are held.
        written.fold(Ok(()), Result::and)
    }

    /// Counts an answer's text beside the requests and learns from it what the upstream reported. Ask
    /// [`Corrections::wants`] first.
    pub fn learn(&self, model: ModelId, tokenizer: Option<String>, text: String, reported: u64) {
        self.0.send(Job::Learn {
            model,
            tokenizer,
            text,
            reported,
        });
    }

    /// What has been learned of models' tokens.
    pub fn corrections(&self) -> &Corrections {
        &self.0.core.corrections
    }

    /// Waits until all that was taken on record and ended before this call is in closed segments and synced. Fails if
    /// something is still held in memory, or the disk fails.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, flushed) = oneshot::channel();
        self.0.send(Job::Flush(done));
        flushed.await.unwrap_or(Err(Error::Ended))
    }

    /// Who waits for what is to be booked.
    pub fn awaited(&self) -> &Awaited {
        &self.0.core.awaited
    }

    /// The spool, for the job that books and for health.
    pub fn spool(&self) -> &Spool {
        &self.0.core.spool
    }

    pub fn pending(&self) -> Figures {
        let core = &self.0.core;
        Figures {
            spool: core.spool.figures(),
            in_flight: core.in_flight.load(Relaxed),
            held: core.held(),
            settling: core.settling.load(Relaxed),
            refusals: core.refusals.lock().waiting(),
            unwritable: core.unwritable.load(Relaxed),
            damaged_slots: core.damaged_slots,
            set_aside: core.set_aside,
        }
    }
}

/// A call on record. It must end by [`Flight::finish`] or [`Recorder::settle_later`]; dropped otherwise, as by a panic,
/// its event is `interrupted` and estimated.
pub struct Flight {
    slot: Option<Slot>,
    handle: Arc<Handle>,
}

impl Flight {
    /// Notes a further attempt, before it leaves. `attempt.usage` is what it would be billed if nothing came back: the
    /// estimated input.
    pub fn attempt(&mut self, attempt: &Attempt) {
        if let Some(slot) = &mut self.slot {
            slot.attempt(attempt);
        }
    }

    /// Replaces the last attempt by what became of it, before the next one begins.
    pub fn attempt_over(&mut self, attempt: &Attempt) {
        if let Some(slot) = &mut self.slot {
            slot.attempt_over(attempt);
        }
    }

    /// Notes how many bytes have been sent to the caller so far, and how many bytes of generated text were among them:
    /// totals, not additions.
    pub fn relayed(&self, response_bytes: u64, text_bytes: u64) {
        if let Some(slot) = &self.slot {
            slot.relayed(response_bytes, text_bytes);
        }
    }

    /// Notes what the upstream has reported so far of the running attempt.
    pub fn usage(&mut self, usage: &Usage) {
        if let Some(slot) = &mut self.slot {
            slot.usage(usage);
        }
    }

    /// Writes the call's event and takes the call off the record. To be called before the answer's last byte leaves. An
    /// error says that the event waits in memory, with its slot; see [`Error`].
    pub fn finish(mut self, event: impl Into<Arc<UsageEvent>>) -> Result<(), Error> {
        let slot = self.slot.take();
        self.handle.core.write(event, slot)
    }

    fn settle_later(mut self, draft: Draft) {
        if let Some(slot) = self.slot.take() {
            let draft = Box::new(draft);
            self.handle.send(Job::Settle { slot, draft });
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.handle.send(Job::Abandoned(slot));
        }
    }
}

impl Handle {
    fn send(&self, job: Job) {
        if job.settles() {
            self.core.settling.fetch_add(1, Relaxed);
        }
        if let Err(mpsc::SendError(job)) = self.jobs.send(job) {
            // The thread has panicked: what can be done without it is done here.
            tracing::error!("metering: the thread that settles calls has ended");
            settle::work(&self.core, job);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let (orphan, _) = mpsc::channel();
        drop(std::mem::replace(&mut self.jobs, orphan));
        // A job's own closure may have held the last clone, and then this is the thread itself.
        let joinable = self
            .thread
            .take()
            .filter(|thread| thread.thread().id() != thread::current().id());
        if joinable.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("metering: the thread that settles calls had panicked");
        }
    }
}

impl Core {
    fn may_begin(&self) -> bool {
        match self.config.on_full {
            OnFull::Refuse => self.spool.has_room(),
            OnFull::GoOn => {
                self.spool.has_room() || self.held.lock().len() < self.config.held_events
            }
        }
    }

    /// Writes an event, then frees the slot that stood for it. Where there is no room, both are held.
    fn write(&self, event: impl Into<Arc<UsageEvent>>, slot: Option<Slot>) -> Result<(), Error> {
        let event = event.into();
        let _writing = self.writing.read();
        (self.settler)(&event);
        match self.spool.append_shared(&event) {
            Ok(()) => {
                self.free(slot);
                Ok(())
            }
            Err(error @ spool::Error::TooLarge) => {
                self.unwritable.fetch_add(1, Relaxed);
                tracing::error!(id = %event.id, %error, "metering: an event cannot be written");
                self.free(slot);
                Err(error.into())
            }
            Err(error) => {
                tracing::error!(id = %event.id, %error, "metering: an event waits in memory");
                self.held.lock().push_back(Held { event, slot });
                Err(error.into())
            }
        }
    }

    /// Writes all of them; those that fail are held. Gives the first failure.
    fn write_all(&self, events: Vec<UsageEvent>) -> Result<(), Error> {
        let written = events.into_iter().map(|event| self.write(event, None));
        written.fold(Ok(()), Result::and)
    }

    /// How many events found no room yet.
    fn held(&self) -> u64 {
        let all = self.held.lock();
        all.len() as u64 + self.tried_again.load(Relaxed)
    }

    /// Tries the held events again, oldest first, until one fails.
    fn write_held(&self) -> Result<(), Error> {
        loop {
            // Never two locks at once: whoever fails to append takes this one.
            let held = {
                let mut all = self.held.lock();
                let Some(held) = all.pop_front() else {
                    return Ok(());
                };
                self.tried_again.fetch_add(1, Relaxed);
                held
            };
            let written = self.spool.append_shared(&held.event);
            let mut all = self.held.lock();
            self.tried_again.fetch_sub(1, Relaxed);
            match written {
                Ok(()) => {
                    drop(all);
                    self.free(held.slot);
                }
                Err(error) => {
                    all.push_front(held);
                    return Err(error.into());
                }
            }
        }
    }

    fn free(&self, slot: Option<Slot>) {
        if let Some(slot) = slot {
            self.table.free(slot);
            self.in_flight.fetch_sub(1, Relaxed);
        }
    }
}

impl From<spool::Error> for Error {
    fn from(error: spool::Error) -> Self {
        match error {
            spool::Error::Full => Self::Full,
            other => Self::Spool(other),
        }
    }
}
