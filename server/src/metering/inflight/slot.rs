//! One slot: what is known of one call while it runs.
//!
//! A slot is a state word, plain counters, and areas. An area is sealed: its length, its content, and a tag over the
//! slot's place, the area's kind and the content, so that one written by halves is told from a whole one. What changes
//! is never written over the last whole version: usage goes to two areas in turn, attempts to one area after another.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, Release},
        },
    },
    time::Instant,
};

use uuid::Uuid;
use weir_dialect::neutral::Usage;

use super::{
    code::{Decoder, Encoder},
    extent::{self, Extent},
};
use crate::{
    billing::Money,
    metering::{
        Attempt, Outcome, Source, UsageEvent,
        mac::{MacKey, TAG_BYTES},
    },
    tenancy::{GroupId, KeyId, RequestId, TenantId, UserId},
};

/// The state of a taken slot; a free one's is 0. It names the layout: another version's slots are not misread.
pub(super) const TAKEN: u64 = u64::from_le_bytes(*b"weirslt1");

// Words of a slot.
pub(super) const STATE: usize = 0;
const RESPONSE_BYTES: usize = 1;
const TEXT_BYTES: usize = 2;
const FIRST_BYTE_US: usize = 3;
const ELAPSED_US: usize = 4;
const USAGES: usize = 8;
const USAGE_WORDS: usize = 16;
const START: usize = 40;
const ATTEMPTS: usize = 160;
const ATTEMPT_WORDS: usize = 32;
/// Areas for attempts: each takes one when it begins and one when it is over.
const ATTEMPT_AREAS: usize = (extent::SLOT_WORDS - ATTEMPTS) / ATTEMPT_WORDS;

// Bytes that texts are cut to; what Weir itself writes is shorter.
const WORD_MAX: usize = 24;
const NAME_MAX: usize = 64;
const UPSTREAM_MODEL_MAX: usize = 64;
const LABEL_MAX: usize = 128;
const MODEL_MAX: usize = 256;

/// What is known of a request before its first attempt leaves. Lengths are bounded as [`UsageEvent`]'s are; what is
/// longer is cut.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    pub id: RequestId,
    pub tenant: TenantId,
    pub key: KeyId,
    pub user: Option<UserId>,
    pub group: Option<GroupId>,
    /// Unix milliseconds at which the request's head had been read.
    pub started_ms: i64,
    pub endpoint: &'a str,
    pub dialect: &'a str,
    pub model: &'a str,
    pub source: Source,
    pub streamed: bool,
    pub request_bytes: u64,
    pub client_request_id: Option<&'a str>,
    pub end_user: Option<&'a str>,
    pub instance: &'a str,
}

impl<'a> From<&'a UsageEvent> for Start<'a> {
    fn from(event: &'a UsageEvent) -> Self {
        Self {
            id: event.id,
            tenant: event.tenant,
            key: event.key,
            user: event.user,
            group: event.group,
            started_ms: event.started_ms,
            endpoint: &event.endpoint,
            dialect: &event.dialect,
            model: &event.model,
            source: event.source,
            streamed: event.streamed,
            request_bytes: event.request_bytes,
            client_request_id: event.client_request_id.as_deref(),
            end_user: event.end_user.as_deref(),
            instance: &event.instance,
        }
    }
}

/// A taken slot. It stays taken, over the end of the process too, until [`Slot::free`].
pub struct Slot {
    pub(super) extent: Arc<Extent>,
    pub(super) index: usize,
    pub(super) key: MacKey,
    began: Instant,
    /// Usage reports written so far.
    reports: u64,
    /// Attempt areas written so far.
    areas: usize,
    /// Attempts begun so far.
    attempts: u8,
}

/// Kinds of area, part of their tags.
const START_AREA: u8 = 0;
const USAGE_AREA: u8 = 1;
const ATTEMPT_AREA: u8 = 2;

impl Slot {
    /// Writes a free slot and marks it taken, in this order.
    pub(super) fn take(extent: Arc<Extent>, index: usize, key: &MacKey, start: &Start<'_>) -> Self {
        let key = place_key(key, &extent, index).bound(start.id.0.as_bytes());
        let slot = Self {
            extent,
            index,
            key,
            began: Instant::now(),
            reports: 0,
            areas: 0,
            attempts: 0,
        };
        for word in &slot.words()[..START] {
            word.store(0, Relaxed);
        }
        extent::store(&slot.words()[START..ATTEMPTS], &start.sealed(&slot.key));
        // Whoever finds the state finds the rest; the order holds for the page cache that a kill leaves.
        slot.words()[STATE].store(TAKEN, Release);
        slot
    }

    /// A slot that a former process left taken, and what it tells; `None` if it is damaged.
    pub(super) fn find(
        extent: &Arc<Extent>,
        index: usize,
        key: &MacKey,
    ) -> Option<(Self, UsageEvent)> {
        let words = extent.slot(index);
        let start = extent::load(&words[START..ATTEMPTS]);
        // The id stands first: it is in the key that the rest is verified with.
        let id = start.get(2..)?.first_chunk::<16>()?;
        let slot = Self {
            extent: Arc::clone(extent),
            index,
            key: place_key(key, extent, index).bound(id),
            began: Instant::now(),
            reports: 0,
            areas: 0,
            attempts: 0,
        };
        let event = slot.tell()?;
        Some((slot, event))
    }

    /// Notes a further attempt, before it leaves. `attempt.usage` is what it would be billed if nothing came back:
    /// the estimated input.
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.attempts = self.attempts.saturating_add(1);
        self.write_attempt(attempt, false);
    }

    /// Replaces the last attempt by what became of it, before the next one begins.
    pub fn attempt_over(&mut self, attempt: &Attempt) {
        self.write_attempt(attempt, true);
    }

    /// Beyond eleven areas the last one is written over: a call of so many attempts may lose one when it is killed.
    fn write_attempt(&mut self, attempt: &Attempt, over: bool) {
        let area = self.areas.min(ATTEMPT_AREAS - 1);
        self.areas += 1;
        let at = ATTEMPTS + area * ATTEMPT_WORDS;
        let bytes = sealed_attempt(attempt, self.attempts, over, &self.key);
        extent::store(&self.words()[at..at + ATTEMPT_WORDS], &bytes);
    }

    /// Notes what has been relayed so far: bytes sent to the caller, and bytes of generated text among them. Stores
    /// into memory, nothing more.
    pub fn relayed(&self, response_bytes: u64, text_bytes: u64) {
        let words = self.words();
        let elapsed_us = self.began.elapsed().as_micros() as u64;
        if words[RESPONSE_BYTES].load(Relaxed) == 0 && response_bytes > 0 {
            words[FIRST_BYTE_US].store(elapsed_us.max(1), Relaxed);
        }
        words[RESPONSE_BYTES].store(response_bytes, Relaxed);
        words[TEXT_BYTES].store(text_bytes, Relaxed);
        words[ELAPSED_US].store(elapsed_us, Relaxed);
    }

    /// Notes what the upstream has reported of the running attempt so far. Text that comes later is estimated on top.
    pub fn usage(&mut self, usage: &Usage) {
        self.reports += 1;
        let at = USAGES + (self.reports % 2) as usize * USAGE_WORDS;
        let mut report = Encoder::default();
        report.number(self.reports);
        report.byte(self.attempts);
        report.number(self.words()[TEXT_BYTES].load(Relaxed));
        encode_usage(&mut report, usage);
        let bytes = sealed(&report.0, USAGE_AREA, &self.key);
        extent::store(&self.words()[at..at + USAGE_WORDS], &bytes);
    }

    /// What the slot tells of its call as long as nobody else does; `None` if it is damaged.
    pub(in crate::metering) fn tell(&self) -> Option<UsageEvent> {
        let words = self.words();
        let start = extent::load(&words[START..ATTEMPTS]);
        let mut event = read_start(opened(&start, START_AREA, &self.key)?)?;
        let count = |word: usize| words[word].load(Relaxed);
        event.response_bytes = count(RESPONSE_BYTES);
        event.first_byte_us = Some(count(FIRST_BYTE_US)).filter(|us| *us > 0);
        event.total_us = count(ELAPSED_US);
        if event.response_bytes > 0 {
            event.status = 200;
        }
        let (attempts, running) = self.told_attempts();
        event.attempts = attempts;
        if let Some((attempt, number)) = event.attempts.last_mut().zip(running) {
            attempt.usage = self.told_usage(number, attempt.usage);
            attempt.estimated = true;
            attempt.took_us = event.total_us.saturating_sub(attempt.started_us);
            attempt.failure = Some("interrupted".to_owned());
        }
        let generated = event
            .attempts
            .iter()
            .rev()
            .find(|attempt| attempt.usage.output > 0);
        if let Some(attempt) = generated.or(event.attempts.last()) {
            event.usage = attempt.usage;
        }
        Some(event)
    }

    /// The attempts in order, and the number of the last one if it had not ended.
    fn told_attempts(&self) -> (Vec<Attempt>, Option<u8>) {
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut running = None;
        for area in self.words()[ATTEMPTS..].chunks_exact(ATTEMPT_WORDS) {
            let bytes = extent::load(area);
            let read = opened(&bytes, ATTEMPT_AREA, &self.key).and_then(read_attempt);
            // What is no whole area of this call is a former one's, or was never finished.
            let Some((number, over, attempt)) = read else {
                continue;
            };
            attempts.truncate(usize::from(number).saturating_sub(1));
            attempts.push(attempt);
            running = (!over).then_some(number);
        }
        (attempts, running)
    }

    /// The usage of the running attempt: the last report and the text after it, else the estimated input and all text.
    fn told_usage(&self, attempt: u8, estimate: Usage) -> Usage {
        let text_bytes = self.words()[TEXT_BYTES].load(Relaxed);
        let areas = self.words()[USAGES..START].chunks_exact(USAGE_WORDS);
        let reports = areas.filter_map(|area| {
            let bytes = extent::load(area);
            read_report(opened(&bytes, USAGE_AREA, &self.key)?)
        });
        let report = reports
            .filter(|report| report.attempt == attempt)
            .max_by_key(|report| report.number);
        let (mut usage, counted_bytes) = match report {
            Some(report) => (report.usage, report.text_bytes),
            None => (estimate, 0),
        };
        let uncounted = text_bytes.saturating_sub(counted_bytes);
        usage.output = usage.output.saturating_add(uncounted.div_ceil(4));
        usage
    }

    /// Marks the slot free, after its event is in the spool.
    pub(super) fn clear(&self) {
        self.words()[STATE].store(0, Release);
    }

    fn words(&self) -> &[AtomicU64] {
        self.extent.slot(self.index)
    }
}

fn place_key(key: &MacKey, extent: &Extent, index: usize) -> MacKey {
    key.bound(&extent.number.to_le_bytes())
        .bound(&(index as u32).to_le_bytes())
}

/// Length, content and tag in a row.
fn sealed(content: &[u8], kind: u8, key: &MacKey) -> Vec<u8> {
    let mut area = Vec::with_capacity(2 + content.len() + TAG_BYTES);
    area.extend_from_slice(&(content.len() as u16).to_le_bytes());
    area.extend_from_slice(content);
    area.extend_from_slice(&key.tag(&[&[kind], content]));
    area
}

fn opened<'a>(area: &'a [u8], kind: u8, key: &MacKey) -> Option<&'a [u8]> {
    let (length, rest) = area.split_first_chunk::<2>()?;
    let (content, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let tag = rest.get(..TAG_BYTES)?;
    key.verifies(&[&[kind], content], tag).then_some(content)
}

impl Start<'_> {
    /// At most 16 * 5 + 8 * 2 + 2 + six texts of 26 to 258 bytes and 2 for their presence: it fits into its 960 bytes.
    fn sealed(&self, key: &MacKey) -> Vec<u8> {
        let mut area = Encoder(Vec::with_capacity(512));
        area.id(self.id.0);
        area.id(self.tenant.0);
        area.id(self.key.0);
        area.optional_id(self.user.map(|user| user.0));
        area.optional_id(self.group.map(|group| group.0));
        area.number(self.started_ms.cast_unsigned());
        area.number(self.request_bytes);
        area.byte(match self.source {
            Source::Api => 0,
            Source::Playground => 1,
            Source::Probe => 2,
        });
        area.byte(self.streamed.into());
        area.text(self.endpoint, NAME_MAX);
        area.text(self.dialect, WORD_MAX);
        area.text(self.model, MODEL_MAX);
        area.text(self.instance, NAME_MAX);
        area.optional_text(self.client_request_id, LABEL_MAX);
        area.optional_text(self.end_user, LABEL_MAX);
        sealed(&area.0, START_AREA, key)
    }
}

/// An event of what the start tells; the rest is as of a call of which nothing came back.
fn read_start(area: &[u8]) -> Option<UsageEvent> {
    let mut area = Decoder(area);
    Some(UsageEvent {
        id: RequestId(area.id()?),
        tenant: TenantId(area.id()?),
        key: KeyId(area.id()?),
        user: area.optional_id()?.map(UserId),
        group: area.optional_id()?.map(GroupId),
        started_ms: area.number()?.cast_signed(),
        request_bytes: area.number()?,
        source: match area.byte()? {
            0 => Source::Api,
            1 => Source::Playground,
            _ => Source::Probe,
        },
        streamed: area.byte()? != 0,
        endpoint: area.text()?,
        dialect: area.text()?,
        model: area.text()?,
        instance: area.text()?,
        client_request_id: area.optional_text()?,
        end_user: area.optional_text()?,
        outcome: Outcome::Interrupted,
        status: 500,
        error_code: None,
        count: 1,
        usage: Usage::default(),
        estimated: true,
        unpriced: false,
        cost: Money::ZERO,
        charge: Money::ZERO,
        rates: None,
        first_byte_us: None,
        total_us: 0,
        overhead_us: 0,
        response_bytes: 0,
        upstream_request_id: None,
        attempts: Vec::new(),
    })
}

/// At most 233 bytes of content, so that with length and tag it fits into its 256.
fn sealed_attempt(attempt: &Attempt, number: u8, over: bool, key: &MacKey) -> Vec<u8> {
    let mut area = Encoder(Vec::with_capacity(256));
    area.byte(number);
    area.byte(over.into());
    area.byte(attempt.estimated.into());
    area.id(attempt.channel.0);
    area.optional_id(attempt.credential.map(|credential| credential.0));
    area.number(attempt.started_us);
    area.number(attempt.took_us);
    area.number(attempt.status.map_or(0, u64::from));
    area.number(attempt.cost.nanos().cast_unsigned());
    encode_usage(&mut area, &attempt.usage);
    area.text(&attempt.upstream_model, UPSTREAM_MODEL_MAX);
    area.optional_text(attempt.failure.as_deref(), WORD_MAX);
    sealed(&area.0, ATTEMPT_AREA, key)
}

fn read_attempt(area: &[u8]) -> Option<(u8, bool, Attempt)> {
    let mut area = Decoder(area);
    let number = area.byte()?;
    let over = area.byte()? != 0;
    let attempt = Attempt {
        estimated: area.byte()? != 0,
        channel: area.id()?.into(),
        credential: area.optional_id()?.map(Uuid::into),
        started_us: area.number()?,
        took_us: area.number()?,
        status: area.number()?.try_into().ok().filter(|status| *status > 0),
        cost: Money::from_nanos(area.number()?.cast_signed()),
        usage: read_usage(&mut area)?,
        upstream_model: area.text()?,
        failure: area.optional_text()?,
    };
    Some((number, over, attempt))
}

struct Report {
    number: u64,
    attempt: u8,
    /// Bytes of text that it covers.
    text_bytes: u64,
    usage: Usage,
}

fn read_report(area: &[u8]) -> Option<Report> {
    let mut area = Decoder(area);
    Some(Report {
        number: area.number()?,
        attempt: area.byte()?,
        text_bytes: area.number()?,
        usage: read_usage(&mut area)?,
    })
}

fn encode_usage(area: &mut Encoder, usage: &Usage) {
    area.number(usage.input);
    area.number(usage.cached_read);
    area.number(usage.cached_write);
    area.number(usage.output);
    area.number(usage.reasoning);
    area.number(usage.audio_input);
    area.number(usage.audio_output);
    area.number(usage.image_input);
    area.number(usage.image_output);
}

fn read_usage(area: &mut Decoder<'_>) -> Option<Usage> {
    Some(Usage {
        input: area.number()?,
        cached_read: area.number()?,
        cached_write: area.number()?,
        output: area.number()?,
        reasoning: area.number()?,
        audio_input: area.number()?,
        audio_output: area.number()?,
        image_input: area.number()?,
        image_output: area.number()?,
    })
}
