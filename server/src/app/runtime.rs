//! The runtime of jobs and stores, beside the workers that serve requests.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Ends without waiting when dropped: that happens inside another runtime, where nothing may block, and also when a start
/// has failed and the reason is still to be told.
pub struct Jobs {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Jobs {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("weir-jobs")
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
