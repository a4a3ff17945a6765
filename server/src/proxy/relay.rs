//! Gives an upstream's answer to the caller: bytes as they come, observed on the way.
//!
//! Nothing is buffered: a piece leaves when it arrives, and the next is asked for when the caller has taken it. The
//! account is closed before the last byte leaves: for a stream that is the piece with its end marker, for a body of known
//! length its last piece. What fails after the head has gone out becomes the dialect's error event.

use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    body::SizedStream,
    http::header::{self, HeaderMap},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use weir_dialect::openai::{Piece, Sieve, Which, with_cost};

use super::{
    Shared,
    account::Account,
    answer::{self, AnswerBody, Answered},
    ending::Ending,
    endpoint::Endpoint,
    error::{Error, Failure, Refusal},
    header_name, headers,
    leash::Leash,
    respond::{self, Common},
    stall::{Peer, Stall},
    upstream::Answer,
};
use crate::{billing::Money, catalog, metering::Outcome};

/// A comment that keeps middleboxes from cutting a silent stream.
const SILENCE: &[u8] = b": waiting for the model\n\n";

/// What the relay needs besides the answer.
pub struct Context {
    pub shared: Arc<Shared>,
    /// What may end the answer before its time.
    pub ending: Ending,
    pub common: Common,
    /// The caller's connection.
    pub peer: Option<Peer>,
    /// Whether the caller wants the cost in the usage chunk.
    pub wants_cost: bool,
    /// Whether the caller asked for the head alone.
    pub is_head: bool,
}

/// Answers the caller with an upstream's answer.
pub async fn relay(
    mut context: Context,
    answered: Answered,
    mut account: Box<Account>,
) -> HttpResponse {
    let length = content_length(&answered.headers);
    let is_sse = answer::is_event_stream(&answered.headers);
    let upstream_id = answered.headers.get(header_name::X_REQUEST_ID).cloned();
    let mut response = respond::bare(answered.status);
    for header in headers::of_answer(answered.headers) {
        response.append_header(header);
    }
    context.common.apply(&mut response);
    let model = answered
        .candidate
        .model
        .as_ref()
        .map(|model| model.name.as_str());
    respond::name_route(
        &mut response,
        &answered.candidate.channel.name,
        model,
        account.attempts(),
    );
    if let Some(id) = upstream_id {
        response.insert_header((header_name::X_WEIR_UPSTREAM_REQUEST_ID, id));
    }
    let status = answered.status;
    if context.is_head {
        account.close(answer::outcome(status), status, None).await;
        let nothing = stream::empty::<Result<Bytes, Cut>>();
        return response.body(SizedStream::new(length.unwrap_or(0), nothing));
    }
    match answered.body {
        AnswerBody::Whole(body) => {
            let is_error = status >= 400;
            account.observe(&body);
            account.first_byte();
            let code = is_error.then_some("upstream_error");
            account.close(answer::outcome(status), status, code).await;
            if !is_error {
                response.insert_header((header_name::X_WEIR_COST, account.charge().to_string()));
            }
            response.body(body)
        }
        // These have no body, and actix takes none from them: it would cut the caller off.
        AnswerBody::Rest { .. } if matches!(status, 204 | 304) => {
            account.close(answer::outcome(status), status, None).await;
            response.finish()
        }
        AnswerBody::Rest { read, answer } => {
            // Under `/proxy/` nothing is put into a stream: Weir does not speak its dialect.
            let speaks = is_sse && account.endpoint() != Endpoint::Proxy;
            context.wants_cost &= speaks;
            context.ending.goes_to(&answered.candidate);
            let cut = Rc::new(Cell::new(None));
            let leash = (context.ending.clone(), context.shared.config.cut_grace.0);
            let stall = Stall::watched(context.peer.clone(), answered.deadline);
            let stream = Relay {
                cut: Rc::clone(&cut),
                sieve: sieve(speaks, context.wants_cost, answered.asked_usage),
                silence: speaks.then(|| Instant::now() + context.shared.config.silence_comment.0),
                arrived: read.into(),
                ready: VecDeque::new(),
                left: length,
                status,
                is_sse,
                speaks,
                within_event: false,
                state: State::Running,
                channel: Arc::clone(&answered.candidate.channel),
                waits_since: None,
                deadline: answered.deadline,
                answer,
                account,
                context,
            };
            let body = stream::unfold((stream, stall), |(mut relay, stall)| async move {
                stall.is_asked();
                let piece = relay.next().await?;
                stall.has_given();
                Some((piece, (relay, stall)))
            });
            let body = Leash::put_on(body, leash.0, leash.1, cut);
            match length {
                Some(length) if !is_sse => response.body(SizedStream::new(length, body)),
                _ => response.streaming(body),
            }
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// What looks for the usage chunk, where anything is to be done to it.
fn sieve(is_sse: bool, wants_cost: bool, asked_usage: bool) -> Option<Sieve> {
    match (is_sse, wants_cost, asked_usage) {
        (true, true, _) => Some(Sieve::new(Which::Any)),
        (true, false, true) => Some(Sieve::new(Which::Alone)),
        _ => None,
    }
}

/// An answer on its way.
struct Relay {
    context: Context,
    account: Box<Account>,
    answer: Box<Answer>,
    channel: Arc<catalog::Channel>,
    sieve: Option<Sieve>,
    /// Read from upstream before the relay began.
    arrived: VecDeque<Bytes>,
    /// To be sent next.
    ready: VecDeque<Bytes>,
    /// Bytes still to come, where the length is known.
    left: Option<u64>,
    status: u16,
    is_sse: bool,
    /// Whether Weir may put something of its own into it.
    speaks: bool,
    /// Whether what was sent last ended in the middle of an event.
    within_event: bool,
    state: State,
    /// When the next comment is due; `None` once something has been sent.
    silence: Option<Instant>,
    /// Since when the next piece is waited for: neither a comment of Weir's own nor a changed catalog begins that anew.
    waits_since: Option<Instant>,
    deadline: Instant,
    /// Says why, when the leash ends an answer whose caller does not take it.
    cut: Rc<Cell<Option<&'static str>>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(code) = self.cut.get() {
            self.account.abandon(Outcome::CutByWeir, self.status, code);
        }
    }
}

#[derive(PartialEq, Eq)]
enum State {
    Running,
    /// All has been handed over.
    Ended,
    /// The caller must be able to tell that the body is not whole.
    Broken,
}

/// What happens next on an answer's way.
enum Event {
    Piece(Bytes),
    End,
    Failed(Failure),
    Silent,
    MustEnd(Refusal),
}

impl Relay {
    /// The next piece for the caller. An error makes actix end the connection without the body's regular end.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            match self.state {
                State::Ended => return None,
                State::Broken => {
                    self.state = State::Ended;
                    // actix drops what it has not yet written when a body fails: it writes while there is no piece.
                    tokio::task::yield_now().await;
                    return Some(Err(Cut));
                }
                State::Running => {}
            }
            match self.event().await {
                Event::Piece(piece) => self.take(piece).await,
                Event::End => self.end().await,
                Event::Failed(failure) => {
                    self.fail(Outcome::CutByUpstream, Error::Failure(failure))
                        .await
                }
                Event::MustEnd(refusal) => self.cut(&refusal),
                Event::Silent => {
                    self.silence =
                        Some(Instant::now() + self.context.shared.config.silence_comment.0);
                    return Some(Ok(Bytes::from_static(SILENCE)));
                }
            }
        }
    }

    async fn event(&mut self) -> Event {
        // An upstream that always has a next piece must not keep a revoked key's stream open.
        if let Some(refusal) = self.context.ending.due() {
            return Event::MustEnd(refusal);
        }
        if let Some(piece) = self.arrived.pop_front() {
            return Event::Piece(piece);
        }
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let until = self.deadline.min(since + self.channel.timeouts.idle.0);
        let silent_at = self
            .silence
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(24 * 3600));
        tokio::select! {
            biased;
            piece = answer::next(&mut self.answer, until) => {
                self.waits_since = None;
                match piece {
                    Ok(Some(piece)) => Event::Piece(piece),
                    Ok(None) => Event::End,
                    Err(failure) => Event::Failed(failure),
                }
            }
            refusal = self.context.ending.reason() => Event::MustEnd(refusal),
            () = sleep_until(silent_at), if self.silence.is_some() => Event::Silent,
        }
    }

    /// A piece arrived: observed first, so that its usage is known when it is sent.
    async fn take(&mut self, piece: Bytes) {
        let seen = self.account.observe(&piece);
        let is_over = seen.is_some_and(|seen| seen.done);
        let has_started = seen.is_some_and(|seen| seen.started);
        if self.account.is_beyond_bound() {
            return self.cut(&Refusal::BeyondBound);
        }
        if has_started || !self.is_sse {
            self.account.first_byte();
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
        }
        let charge = self
            .context
            .wants_cost
            .then(|| self.account.charge_so_far())
            .flatten();
        let pieces = match &mut self.sieve {
            Some(sieve) => sieve.feed(piece),
            None => vec![Piece::Pass(piece)],
        };
        for piece in pieces {
            self.send(piece, charge);
        }
        if is_over || self.left == Some(0) {
            self.close(answer::outcome(self.status), None).await;
        }
    }

    fn send(&mut self, piece: Piece, charge: Option<Money>) {
        let bytes = match piece {
            Piece::Pass(bytes) => bytes,
            Piece::Usage(_) if !self.context.wants_cost => return,
            Piece::Usage(chunk) => match charge {
                Some(charge) => with_cost(&chunk, &charge.to_string()),
                None => chunk,
            },
        };
        if !bytes.is_empty() {
            self.silence = None;
            self.within_event = !(bytes.ends_with(b"\n\n")
                || bytes.ends_with(b"\r\n\r\n")
                || bytes.ends_with(b"\r\r"));
            self.ready.push_back(bytes);
        }
    }

    /// The upstream's regular end. A stream that ends without saying so was cut all the same.
    async fn end(&mut self) {
        let seen = self.account.observe(&[]);
        let finished =
            seen.is_none_or(|seen| seen.done || seen.finish.is_some() || seen.error.is_some());
        let is_cut =
            self.is_sse && self.account.endpoint().finishes() && !finished && self.status < 400;
        if is_cut && !self.account.is_closed() {
            return self
                .fail(Outcome::CutByUpstream, Error::Failure(Failure::Broken))
                .await;
        }
        if let Some(piece) = self.sieve.take().and_then(Sieve::finish) {
            let charge = self
                .context
                .wants_cost
                .then(|| self.account.charge_so_far())
                .flatten();
            self.send(piece, charge);
        }
        self.close(answer::outcome(self.status), None).await;
        self.state = State::Ended;
    }

    /// The answer breaks off after its head has gone out.
    async fn fail(&mut self, outcome: Outcome, error: Error) {
        let was_open = !self.account.is_closed();
        self.close(outcome, Some(error.code())).await;
        self.break_off(was_open, &error);
    }

    /// Weir itself ends the answer. Nothing waits for the tokens to be counted: the time to tell the caller is short.
    fn cut(&mut self, refusal: &Refusal) {
        let was_open = !self.account.is_closed();
        self.account
            .abandon(Outcome::CutByWeir, self.status, refusal.code());
        self.break_off(was_open, &refusal.clone().into());
    }

    fn break_off(&mut self, was_open: bool, error: &Error) {
        if !self.speaks {
            self.state = State::Broken;
            return;
        }
        self.state = State::Ended;
        // After the end marker there is nobody to tell: the caller has had a whole answer.
        if was_open {
            if self.within_event {
                self.ready.push_back(Bytes::from_static(b"\n\n"));
            }
            self.ready
                .push_back(error.event(&self.account.id().to_string()).into());
        }
    }

    async fn close(&mut self, outcome: Outcome, code: Option<&'static str>) {
        if !self.account.is_closed() {
            self.account.close(outcome, self.status, code).await;
        }
    }
}

/// The body ends here without being whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut")]
pub struct Cut;
