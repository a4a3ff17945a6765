//! Many clients that call for as long as a test lets them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use super::gateway::{self, KEY};

/// Clients under way, until [`Crowd::end`].
pub struct Crowd {
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    over: AtomicBool,
    served: AtomicUsize,
}

impl Crowd {
    /// So many clients, on these instances in turn, none of whose calls may fail.
    pub fn served_by(urls: &[String], count: usize) -> Self {
        Self::start(urls, count, KEY, false)
    }

    /// The same, where a limit may refuse calls: who is refused comes again after 20 ms.
    pub fn limited_by(urls: &[String], count: usize) -> Self {
        Self::start(urls, count, KEY, true)
    }

    /// So many clients with a key, none of whose calls may fail.
    pub fn with_key(urls: &[String], count: usize, key: &str) -> Self {
        Self::start(urls, count, key, false)
    }

    fn start(urls: &[String], count: usize, key: &str, may_be_refused: bool) -> Self {
        let seen = Arc::new(Seen::default());
        let clients = (0..count).map(|at| {
            let (seen, url) = (Arc::clone(&seen), urls[at % urls.len()].clone());
            let key = key.to_owned();
            tokio::spawn(async move {
                let http = reqwest::Client::builder().no_proxy().build().unwrap();
                while !seen.over.load(Relaxed) {
                    match gateway::status(&http, &url, &key, "gpt-test").await {
                        200 => drop(seen.served.fetch_add(1, Relaxed)),
                        429 if may_be_refused => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        other => panic!("{other}"),
                    }
                }
            })
        });
        let clients = clients.collect();
        Self { seen, clients }
    }

    /// How many calls were served so far.
    pub fn served(&self) -> usize {
        self.seen.served.load(Relaxed)
    }

    /// Lets each client finish its call. How many calls were served.
    pub async fn end(self) -> usize {
        self.seen.over.store(true, Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.seen.served.load(Relaxed)
    }
}
