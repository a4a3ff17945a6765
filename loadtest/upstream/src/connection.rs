//! The way of a request on one connection: read it, choose a behaviour, make the answer, play it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::answer::{self, Answer};
use crate::ask::Ask;
use crate::behaviour::Fault;
use crate::bill::{End, Received, Tokens};
use crate::control;
use crate::link::{Link, Socket};
use crate::plan::{Ending, Plan};
use crate::play::play;
use crate::request::{self, Head, NoRequest};
use crate::state::{Choice, Record, State};

/// Serves a connection until either side ends it.
pub(crate) async fn serve<S: Socket>(socket: S, state: &State, connection: u64) {
    let mut connection = Connection {
        state,
        number: connection,
        answer: Answer::default(),
        plan: Plan::default(),
    };
    let mut link = Link::new(socket);
    let mut served = 0;
    while idle(&mut link, state).await {
        let Some(back) = connection.exchange(link).await else {
            return;
        };
        link = back;
        served += 1;
        if state
            .policy
            .read()
            .close_after_requests
            .is_some_and(|most| served >= most)
        {
            return link.close().await;
        }
    }
    link.close().await;
}

/// Waits for the first byte of a request. False if the connection is to be closed instead.
async fn idle<S: Socket>(link: &mut Link<S>, state: &State) -> bool {
    if !link.inbox.is_empty() {
        return true;
    }
    let policy = *state.policy.read();
    let (limit, says_408) = match (policy.idle_408_after_ms, policy.idle_close_after_ms) {
        (Some(limit), _) => (limit, true),
        (None, Some(limit)) => (limit, false),
        (None, None) => return link.read().await.is_ok(),
    };
    match tokio::time::timeout(Duration::from_millis(limit), link.read()).await {
        Ok(read) => read.is_ok(),
        Err(_) => {
            if says_408 {
                let answer = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\
                    connection: close\r\n\r\n";
                let _ = link.send(answer).await;
            }
            false
        }
    }
}

/// A connection's identity and the buffers that its requests share.
struct Connection<'a> {
    state: &'a State,
    number: u64,
    answer: Answer,
    plan: Plan,
}

impl Connection<'_> {
    /// One request and its answer. Gives the link back if the connection can serve on.
    async fn exchange<S: Socket>(&mut self, mut link: Link<S>) -> Option<Link<S>> {
        let record = self.state.book.record();
        let head = match request::head(&mut link, matches!(record, Record::Full { .. })).await {
            Ok(head) => head,
            Err(no_request) => return self.no_request(link, None, no_request).await,
        };
        if self.state.options.control && head.route().starts_with("/_control") {
            return self.control(link, &head).await;
        }
        let serial = self.open(&head);
        let (queued, default, models) = self.state.at_head();
        let chosen = queued.as_ref().unwrap_or(&default);
        if chosen.behaviour.has(&Fault::EarlyReply) {
            let chosen = chosen.clone();
            return self.early(link, head, serial, &chosen).await;
        }
        let body = match request::body(&mut link, &head).await {
            Ok(body) => body,
            Err(no_request) => return self.no_request(link, Some(serial), no_request).await,
        };
        self.state.book.body(serial, &body);
        // A fixed answer needs no understanding of the question: the benchmarks' fast lane.
        let fixed = chosen.replay.is_some() || chosen.behaviour.raw.is_some();
        if fixed && !models && record == Record::Nothing {
            self.fill(&head, &Ask::unknown(), serial, chosen);
        } else {
            let ask = Ask::read(&head, &body, chosen.behaviour.reading);
            let ask = ask.unwrap_or_else(|error| Ask {
                invalid: Some(error),
                ..Ask::unknown()
            });
            let by_model = match (&queued, &ask.model) {
                (None, Some(model)) => self.state.for_model(model),
                _ => None,
            };
            self.fill(&head, &ask, serial, by_model.as_ref().unwrap_or(chosen));
        }
        drop(body);
        play(link, &mut self.plan, &self.state.book, serial).await
    }

    fn open(&self, head: &Head) -> u64 {
        let received = Received {
            serial: 0,
            connection: self.number,
            method: head.method.clone(),
            path: head.path.clone(),
            headers: head.headers.clone(),
            head: head.raw.clone(),
            body: Bytes::new(),
            body_bytes: 0,
        };
        self.state.book.open(received, head.credential.clone())
    }

    /// Makes answer and plan, and bills the input.
    fn fill(&mut self, head: &Head, ask: &Ask, serial: u64, choice: &Choice) {
        self.answer.clear();
        let request = answer::Request {
            head,
            ask,
            choice,
            serial,
        };
        answer::make(&request, self.state, &mut self.answer);
        let id = [self.state.clock.start_ns(), serial];
        self.plan.fill(&self.answer, &choice.behaviour, head, id);
        let input = if self.plan.ending == Ending::Refuse {
            Tokens::default()
        } else {
            self.answer.input
        };
        self.state.book.count(input);
        let status = self.answer.status;
        self.state.book.edit(serial, |line| {
            line.model.clone_from(&ask.model);
            line.stream = ask.stream;
            line.status = Some(status);
            line.tokens += input;
        });
    }

    /// Answers before the body has come, and takes the body afterwards.
    async fn early<S: Socket>(
        &mut self,
        link: Link<S>,
        mut head: Head,
        serial: u64,
        choice: &Arc<Choice>,
    ) -> Option<Link<S>> {
        self.fill(&head, &Ask::unknown(), serial, choice);
        let mut link = play(link, &mut self.plan, &self.state.book, serial).await?;
        // The answer is out; "100 Continue" behind it would be a second one.
        head.expects_continue = false;
        let body = request::body(&mut link, &head).await.ok()?;
        self.state.book.body(serial, &body);
        Some(link)
    }

    async fn control<S: Socket>(&mut self, mut link: Link<S>, head: &Head) -> Option<Link<S>> {
        let body = request::body(&mut link, head).await.ok()?;
        self.answer.clear();
        control::answer(head, &body, self.state, &mut self.answer);
        self.plan
            .fill(&self.answer, &Default::default(), head, [0, 0]);
        // Serial 0 is in no bill.
        play(link, &mut self.plan, &self.state.book, 0).await
    }

    /// Ends what was no request.
    async fn no_request<S: Socket>(
        &mut self,
        mut link: Link<S>,
        serial: Option<u64>,
        no_request: NoRequest,
    ) -> Option<Link<S>> {
        match no_request {
            NoRequest::Left(_) => {
                if let Some(serial) = serial {
                    self.state.book.client_left(serial);
                }
            }
            NoRequest::Bad(status, why) => {
                if let Some(serial) = serial {
                    self.state
                        .book
                        .edit(serial, |line| line.status = Some(status));
                    self.state.book.end(serial, End::BadRequest);
                }
                let answer = format!(
                    "HTTP/1.1 {status} {why}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _ = link.send(answer.as_bytes()).await;
                link.close().await;
            }
        }
        None
    }
}
