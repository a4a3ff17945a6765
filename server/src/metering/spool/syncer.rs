//! The thread beside the requests: it syncs what they appended and closes segments that are old enough.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use super::segments::Segments;

/// The thread's handle. It ends when told to, after a last sync.
pub(super) struct Syncer(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl Syncer {
    /// Fails if the system gives no thread.
    pub(super) fn start(segments: Arc<Segments>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("weir-spool".to_owned())
            .spawn(move || run(&segments, &stopped))?;
        Ok(Self(Some((stop, thread))))
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&mut self) {
        let Some((stop, thread)) = self.0.take() else {
            return;
        };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("spool: the thread that syncs had panicked");
        }
    }
}

fn run(segments: &Segments, stopped: &mpsc::Receiver<()>) {
    loop {
        let waited = stopped.recv_timeout(segments.config.sync_every.0);
        segments.close_if_old();
        if let Err(error) = segments.sync() {
            tracing::error!(%error, "spool: what was appended may not survive a power cut");
        }
        if waited != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}
