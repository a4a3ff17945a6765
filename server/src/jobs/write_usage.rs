//! Books what the spool holds: a closed segment is read, booked, and only then deleted.
//!
//! A segment goes only after durable transactions have booked all of it; whatever happens before that, it is read and
//! booked again, and its events are known by their ids. While the database is away everything waits in the spool. An
//! event that no table takes is logged, counted and kept in `unbookable.jsonl`; it never holds up the others.

mod give_way;

use std::{
    borrow::Borrow,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{Backoff, Health};
use crate::{
    metering::{
        Recorder, UsageEvent,
        spool::{ClosedSegment, Events},
    },
    store::{self, Stores, usage},
};
use give_way::Pressure;

/// Events in one transaction: it holds its locks for some tenths of a second at most.
pub const EVENTS_PER_BOOKING: usize = 2_000;
/// Longest wait for one transaction; a database that is merely slow gets through by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the spool is looked at without being told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The job, and what it works with.
pub struct WriteUsage {
    pub stores: Stores,
    /// Holds the spool.
    pub recorder: Recorder,
    pub health: Arc<Health>,
    /// Where `unbookable.jsonl` goes.
    pub data_dir: PathBuf,
    /// Held while events are booked: who holds it knows that none of this instance's are.
    pub turn: Turn,
}

/// The right to book events of this instance.
pub type Turn = Arc<tokio::sync::Mutex<()>>;

/// Why a segment is still there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the database does not answer")]
    Silent,
    #[error("the spool: {0}")]
    Spool(String),
}

impl WriteUsage {
    /// Books until told to stop, and then once more what is closed by then: whoever stops it flushes the recorder first.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pressure = Pressure::new();
        while !shutdown.is_cancelled() {
            pressure.give_way(&self.recorder, &shutdown).await;
            self.book_waiting(&shutdown).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.recorder.spool().segment_closed() => {}
                () = self.recorder.awaited().one_more() => {}
                () = time::sleep(LOOK_EVERY) => {}
            }
        }
        for segment in self.recorder.spool().closed_segments() {
            if let Err(error) = self.book_segment(&segment).await {
                tracing::warn!(%error, "usage stays in the spool until the next start");
                return;
            }
        }
    }

    /// Books all segments that are closed now, however long the database is away; a start does this before it is ready.
    pub async fn book_waiting(&self, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut failing = false;
        for segment in self.recorder.spool().closed_segments() {
            while let Err(error) = self.book_segment(&segment).await {
                self.health.booking_failed(&error.to_string());
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "usage cannot be booked; it stays in the spool");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = time::sleep(backoff.grow()) => {}
                }
            }
            backoff.reset();
            if std::mem::take(&mut failing) {
                tracing::info!("usage is booked again");
            }
        }
    }

    /// Books one segment whole, then deletes it.
    async fn book_segment(&self, segment: &ClosedSegment) -> Result<(), Error> {
        match self.recorder.spool().remembered(segment) {
            Some(events) => self.book_events(&events).await?,
            None => {
                let Events { events, .. } = self
                    .on_disk(segment, |recorder, segment| recorder.spool().read(segment))
                    .await?;
                self.book_events(&events).await?;
            }
        }
        self.on_disk(segment, |recorder, segment| {
            recorder.spool().delete(segment)
        })
        .await
    }

    async fn book_events(&self, events: &[impl Borrow<UsageEvent>]) -> Result<(), Error> {
        for chunk in events.chunks(EVENTS_PER_BOOKING) {
            let _turn = self.turn.lock().await;
            match book(&self.stores, chunk).await {
                Ok(booked) => self.health.booked(booked.inserted, booked.duplicates),
                Err(Error::Store(error)) if error.is_about_a_value() => {
                    self.book_singly(chunk).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Books events one by one, to find those that no table takes.
    async fn book_singly(&self, events: &[impl Borrow<UsageEvent>]) -> Result<(), Error> {
        for event in events.iter().map(Borrow::borrow) {
            match book(&self.stores, std::slice::from_ref(event)).await {
                Ok(booked) => self.health.booked(booked.inserted, booked.duplicates),
                Err(Error::Store(error)) if error.is_about_a_value() => {
                    tracing::error!(%error, id = %event.id, "a usage event cannot be booked; it is kept in unbookable.jsonl");
                    keep(&self.data_dir, event)
                        .map_err(|error| Error::Spool(format!("unbookable.jsonl: {error}")))?;
                    self.health.unbookable_events.fetch_add(1, Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Does something with the spool's files on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
        &self,
        segment: &ClosedSegment,
        act: impl FnOnce(&Recorder, &ClosedSegment) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Error> {
        let (recorder, segment) = (self.recorder.clone(), segment.clone());
        let done = tokio::task::spawn_blocking(move || act(&recorder, &segment)).await;
        done.map_err(|error| Error::Spool(error.to_string()))?
            .map_err(|error| Error::Spool(error.to_string()))
    }
}

/// Waits until everything answered before the call is in closed segments, and those have been booked. `false`: the spool
/// cannot be flushed.
pub async fn flushed_and_booked(recorder: &Recorder) -> bool {
    let _awaited = recorder.awaited().wait();
    if recorder.flush().await.is_err() {
        return false;
    }
    let closed = || recorder.spool().closed_segments().into_iter();
    let waiting: Vec<u64> = closed().map(|segment| segment.serial).collect();
    // The booking job tells nobody when a segment goes; it is asked every few milliseconds, for as long as the caller waits.
    while closed().any(|segment| waiting.contains(&segment.serial)) {
        time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Books some events, with patience.
pub(super) async fn book(
    stores: &Stores,
    events: &[impl Borrow<UsageEvent>],
) -> Result<usage::Booked, Error> {
    match time::timeout(PATIENCE, usage::book(&stores.usage, events)).await {
        Ok(booked) => Ok(booked?),
        Err(_) => Err(Error::Silent),
    }
}

/// Adds an event to a file for a person to look at.
fn keep(data_dir: &Path, event: &UsageEvent) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(data_dir.join("unbookable.jsonl"))?;
    file.write_all(&line)?;
    file.sync_data()
}

#[cfg(test)]
mod tests;
