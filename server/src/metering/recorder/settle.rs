//! The recorder's thread: counts tokens, ends what was dropped, writes what had to wait.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Core, Draft, Error};
use crate::{
    clock::now_ms,
    metering::{count, inflight::Slot},
    tenancy::ModelId,
};

/// How often held events are tried again, ended seconds of refusals written, and slots made.
const TICK: Duration = Duration::from_millis(100);

/// What is done beside the requests.
pub(super) enum Job {
    /// Count a draft's tokens and write its event.
    Settle {
        slot: Slot,
        draft: Box<Draft>,
    },
    /// Make an event of what the slot tells.
    Abandoned(Slot),
    Learn {
        model: ModelId,
        tokenizer: Option<String>,
        text: String,
        reported: u64,
    },
    Flush(oneshot::Sender<Result<(), Error>>),
}

impl Job {
    /// Whether an event comes of it.
    pub(super) fn settles(&self) -> bool {
        matches!(self, Self::Settle { .. } | Self::Abandoned(_))
    }
}

/// Works until nobody can send a job any more and the last one is done; then writes what still waits.
pub(super) fn run(core: &Core, jobs: &mpsc::Receiver<Job>) {
    let mut last_tick = std::time::Instant::now();
    loop {
        match jobs.recv_timeout(TICK) {
            Ok(job) => work(core, job),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        // Also when jobs come without a pause.
        if last_tick.elapsed() >= TICK {
            last_tick = std::time::Instant::now();
            tick(core, now_ms());
        }
    }
    if let Err(error) = flush(core) {
        let held = core.held.lock().len();
        tracing::error!(%error, held, "metering: events were still waiting at the end");
    }
}

/// Does one job. A panic in it is that job's alone.
pub(super) fn work(core: &Core, job: Job) {
    let settles = job.settles();
    let done = catch_unwind(AssertUnwindSafe(|| match job {
        Job::Settle { slot, draft } => settle(core, slot, *draft),
        Job::Abandoned(slot) => abandoned(core, slot),
        Job::Learn {
            model,
            tokenizer,
            text,
            reported,
        } => {
            let counted = count::tokens(&text, tokenizer.as_deref());
            core.corrections.learn_output(model, reported, counted);
        }
        Job::Flush(done) => {
            // Whoever asked may have gone.
            done.send(flush(core)).ok();
        }
    }));
    if settles {
        core.settling.fetch_sub(1, Relaxed);
    }
    if done.is_err() {
        tracing::error!("metering: settling a call panicked; its slot stays on record");
    }
}

fn settle(core: &Core, slot: Slot, draft: Draft) {
    let Draft {
        mut event,
        text,
        attempt,
        tokenizer,
        model,
        done,
    } = draft;
    let counted = count::tokens(&text, tokenizer.as_deref());
    event.estimated = true;
    if let Some(attempt) = event.attempts.get_mut(attempt) {
        // What could not be read as text is in there already.
        attempt.usage.output += core.corrections.corrected(model, counted);
        attempt.estimated = true;
        event.usage = attempt.usage;
    }
    (core.pricer)(&mut event);
    let settled = Arc::new(event);
    // A failure has been logged, and the event waits. Whoever is told below may let the answer's last byte go.
    core.write(Arc::clone(&settled), Some(slot)).ok();
    // It is not the recorder's, so its panic must not cost the thread.
    if catch_unwind(AssertUnwindSafe(|| done(&settled))).is_err() {
        tracing::error!(id = %settled.id, "metering: settling limits or metrics of a call panicked");
    }
}

fn abandoned(core: &Core, slot: Slot) {
    let Some(mut event) = slot.tell() else {
        core.unwritable.fetch_add(1, Relaxed);
        tracing::error!("in-flight record: a slot of a dropped call is damaged");
        core.free(Some(slot));
        return;
    };
    (core.pricer)(&mut event);
    // A failure has been logged, and the event waits.
    core.write(event, Some(slot)).ok();
}

fn tick(core: &Core, now_ms: i64) {
    // What fails is logged where it is first held, and waits. While anything waits, refusals go on sharing.
    core.write_held().ok();
    if core.held.lock().is_empty() {
        let ended = core.refusals.lock().take_ended(now_ms);
        core.write_all(ended).ok();
    }
    if let Err(error) = core.table.grow_if_low() {
        tracing::error!(%error, "in-flight record: no further extent");
    }
}

fn flush(core: &Core) -> Result<(), Error> {
    let refusals = core.refusals.lock().take_all();
    core.write_all(refusals).ok();
    // What limits and budgets have settled by now is written by now, or held.
    drop(core.writing.write());
    let written = core.write_held();
    core.spool.seal();
    core.spool.sync()?;
    written
}
