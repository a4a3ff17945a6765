//! What was said in calls, for tenants who want it kept: captured on the way, masked and sealed behind it, and gone in time.
//!
//! The way of a request only copies what passes, within a bound over all calls; whoever keeps it (`jobs::keep_bodies`) takes it from
//! a queue. What does not fit is not kept, and counted: no call waits for this. Masking finds what looks like a secret; what was
//! split or encoded it cannot know, which is why what is kept is sealed, has an end, and is read under the eyes of the audit log
//! (threats.md, D8).

pub mod mask;
pub mod said;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::tenancy::{RequestId, TenantId};

/// Most that is kept of a request, and of an answer.
pub const PART_BYTES: usize = 1024 * 1024;
/// Most bytes of all calls under way and of those that wait to be kept.
const ALL_BYTES: usize = 128 * 1024 * 1024;

/// Where captured calls go.
#[derive(Clone)]
pub struct Bodies {
    queue: mpsc::UnboundedSender<Capture>,
    held: Arc<AtomicUsize>,
}

/// A call whose bodies are kept.
#[derive(Debug)]
pub struct Capture {
    pub id: RequestId,
    pub tenant: TenantId,
    /// How long it is kept.
    pub days: u32,
    pub request: Part,
    pub response: Part,
    pub is_stream: bool,
    held: Held,
}

/// A body as it was captured.
#[derive(Debug, Default)]
pub struct Part {
    pub bytes: Vec<u8>,
    /// How long it was, kept or not.
    pub length: u64,
}

impl Part {
    /// Whether there was more.
    pub fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }
}

/// What a capture takes of what all may take; given back with it.
#[derive(Debug)]
struct Held {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Held {
    /// Whether there is room for so many bytes more.
    fn take(&mut self, bytes: usize) -> bool {
        if self.all.fetch_add(bytes, Relaxed) + bytes > ALL_BYTES {
            self.all.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.own += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Relaxed);
    }
}

impl Bodies {
    /// The queue, and its end.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Capture>) {
        let (queue, end) = mpsc::unbounded_channel();
        let held = Arc::default();
        (Self { queue, held }, end)
    }

    /// Begins to capture a call.
    pub fn capture(&self, id: RequestId, tenant: TenantId, days: u32) -> Box<Capture> {
        Box::new(Capture {
            id,
            tenant,
            days,
            request: Part::default(),
            response: Part::default(),
            is_stream: false,
            held: Held {
                all: Arc::clone(&self.held),
                own: 0,
            },
        })
    }

    /// Hands a captured call over.
    pub fn keep(&self, capture: Capture) {
        // Nobody takes any more: the instance has stopped.
        drop(self.queue.send(capture));
    }
}

impl Capture {
    /// The request's body.
    pub fn asked(&mut self, body: &Bytes) {
        self.request = Part::default();
        add(&mut self.request, &mut self.held, body);
    }

    /// An answer begins, the first one or another one.
    pub fn answered(&mut self, is_stream: bool) {
        self.response = Part::default();
        self.is_stream = is_stream;
    }

    /// The next bytes of the answer.
    pub fn told(&mut self, bytes: &[u8]) {
        add(&mut self.response, &mut self.held, bytes);
    }
}

fn add(part: &mut Part, held: &mut Held, bytes: &[u8]) {
    let had_all = part.length == part.bytes.len() as u64;
    part.length += bytes.len() as u64;
    let room = PART_BYTES - part.bytes.len();
    let fits = &bytes[..bytes.len().min(room)];
    // Behind what is missing nothing is kept: it would read as if nothing were.
    if had_all && held.take(fits.len()) {
        part.bytes.extend_from_slice(fits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bounds_is_known_to_be_missing() {
        let (bodies, mut end) = Bodies::new();
        let mut capture = bodies.capture(RequestId::new(), TenantId::random(), 1);
        capture.asked(&Bytes::from_static(b"{}"));
        assert!(!capture.request.is_cut());
        capture.told(&vec![b'x'; PART_BYTES - 1]);
        capture.told(b"yz");
        capture.told(b"more");
        assert_eq!(capture.response.bytes.len(), PART_BYTES);
        assert_eq!(capture.response.length, PART_BYTES as u64 + 5);
        bodies.keep(*capture);
        assert!(
            end.try_recv()
                .is_ok_and(|capture| capture.response.is_cut())
        );
        // Given back, all of it.
        assert_eq!(bodies.held.load(Relaxed), 0);
        let all: Vec<_> = (0..ALL_BYTES / PART_BYTES)
            .map(|_| {
                let mut capture = bodies.capture(RequestId::new(), TenantId::random(), 1);
                capture.told(&vec![b'x'; PART_BYTES]);
                capture
            })
            .collect();
        assert!(all.iter().all(|capture| !capture.response.is_cut()));
        let mut late = bodies.capture(RequestId::new(), TenantId::random(), 1);
        late.told(b"x");
        assert!(late.response.is_cut() && late.response.bytes.is_empty());
    }
}
