//! `/chat/completions` and `/completions`, streamed and not, in OpenAI's shapes.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Answer, Mark, Request, put, words};
use crate::play::STAMP_DIGITS;
use crate::state::State;

/// Which of the two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Text,
}

/// Tokens of an answer that nobody bounds.
const USUAL_TOKENS: u64 = 16;

/// As OpenAI does, which refuses more.
const MOST_CHOICES: u32 = 128;

/// What one choice says. All choices say the same.
struct Script {
    /// One token each.
    pieces: Vec<Cow<'static, str>>,
    /// The pieces are the arguments of a call to this tool, which itself is one token.
    tool: Option<String>,
    reasoning: u64,
    finish: &'static str,
    stamped: bool,
}

impl Script {
    fn tokens(&self) -> u64 {
        self.reasoning + self.pieces.len() as u64 + u64::from(self.tool.is_some())
    }
}

/// What all chunks of an answer begin with, and what they report.
struct Letter<'a> {
    request: &'a Request<'a>,
    kind: Kind,
    script: Script,
    /// `"id":...,"object":...,"created":...,"model":...`
    opening: Vec<u8>,
    usage: Option<Value>,
    honest: bool,
}

/// Answers a completion.
pub(super) fn answer(request: &Request<'_>, kind: Kind, state: &State, answer: &mut Answer) {
    let choices = request.ask.n;
    if !(1..=MOST_CHOICES).contains(&choices) {
        return answer.error(400, Some("'n' must be from 1 to 128"));
    }
    answer.input = request.input();
    let script = script(request, kind, state);
    let output = script.tokens() * u64::from(choices);
    let truth = json!({
        "prompt_tokens": answer.input.input,
        "completion_tokens": output,
        "total_tokens": answer.input.input + output,
        "prompt_tokens_details": {"cached_tokens": answer.input.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": script.reasoning * u64::from(choices),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    });
    let (usage, honest) = request.usage(truth);
    let opening = opening(request, kind, state.clock.now_s());
    let letter = Letter {
        request,
        kind,
        script,
        opening,
        usage,
        honest,
    };
    if request.ask.stream {
        letter.stream(answer);
    } else {
        letter.whole(answer);
    }
}

/// Decides what to say.
fn script(request: &Request<'_>, kind: Kind, state: &State) -> Script {
    let (ask, behaviour) = (request.ask, request.behaviour());
    let cap = u64::from(state.options.output_cap);
    // A behaviour that names the number ignores the caller's bound, but not the cap on memory.
    let bound = match behaviour.tokens {
        Some(tokens) => Some(u64::from(tokens) + u64::from(behaviour.reasoning_tokens)),
        None => ask.max_tokens,
    };
    let most = bound.unwrap_or(cap).min(cap);
    let reasoning = u64::from(behaviour.reasoning_tokens).min(most);
    let room = (most - reasoning) as usize;
    let wants_tool = behaviour.tools || ask.model.as_deref().is_some_and(|m| m.contains("tools"));
    let mut script = Script {
        pieces: Vec::new(),
        tool: None,
        reasoning,
        finish: "stop",
        stamped: behaviour.stamp,
    };
    let said = if let (Kind::Chat, true, Some(tool)) = (kind, wants_tool, &ask.tool) {
        script.tool = Some(tool.clone());
        script.finish = "tool_calls";
        words::cut(r#"{"location":"Lake Constance","days":3}"#)
    } else if let Some(schema) = &ask.schema {
        words::cut(&words::value_of(schema).to_string())
    } else if state.options.demo {
        words::cut_words(&demo(&ask.question))
    } else {
        let count = if bound.is_some() {
            room
        } else {
            room.min(USUAL_TOKENS as usize)
        };
        script.pieces = if script.stamped {
            vec![Cow::Owned(format!(" t={:0STAMP_DIGITS$}", 0)); count]
        } else {
            (0..count)
                .map(|at| Cow::Borrowed(words::word(at)))
                .collect()
        };
        if behaviour.tokens.is_none() && ask.max_tokens.is_some() {
            script.finish = "length";
        }
        return script;
    };
    script.stamped = false;
    let room = room.saturating_sub(usize::from(script.tool.is_some()));
    if said.len() > room {
        script.finish = "length";
    }
    script.pieces = said.into_iter().take(room).map(Cow::Owned).collect();
    script
}

/// The demo channel's answer: plainly no model's.
fn demo(question: &str) -> String {
    let question: String = question.chars().take(400).collect();
    format!("This is Weir's demo channel, not a model. You said: {question}")
}

fn opening(request: &Request<'_>, kind: Kind, created: u64) -> Vec<u8> {
    let (prefix, object) = match (kind, request.ask.stream) {
        (Kind::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
        (Kind::Chat, false) => ("chatcmpl", "chat.completion"),
        (Kind::Text, _) => ("cmpl", "text_completion"),
    };
    let model = Value::from(request.model("stand-in"));
    let mut opening = Vec::with_capacity(160);
    put(
        &mut opening,
        format_args!(
            r#""id":"{prefix}-{:024x}","object":"{object}","created":{created},"model":{model},"system_fingerprint":"fp_standin""#,
            request.serial
        ),
    );
    opening
}

impl Letter<'_> {
    fn whole(&self, answer: &mut Answer) {
        let body = &mut answer.body;
        body.push(b'{');
        body.extend_from_slice(&self.opening);
        body.extend_from_slice(b",\"choices\":[");
        let text = Value::from(self.script.pieces.concat());
        for index in 0..self.request.ask.n {
            if index > 0 {
                body.push(b',');
            }
            put(body, format_args!("{{\"index\":{index},"));
            match (&self.script.tool, self.kind) {
                (Some(tool), _) => {
                    let call = json!([{"id": self.call_id(index), "type": "function",
                        "function": {"name": tool, "arguments": text}}]);
                    put(
                        body,
                        format_args!(
                            r#""message":{{"role":"assistant","content":null,"tool_calls":{call},"refusal":null}}"#
                        ),
                    );
                }
                (None, Kind::Chat) => put(
                    body,
                    format_args!(
                        r#""message":{{"role":"assistant","content":{text},"refusal":null,"annotations":[]}}"#
                    ),
                ),
                (None, Kind::Text) => put(body, format_args!("\"text\":{text}")),
            }
            let finish = self.script.finish;
            put(
                body,
                format_args!(",\"logprobs\":null,\"finish_reason\":\"{finish}\"}}"),
            );
        }
        body.push(b']');
        if let Some(usage) = &self.usage {
            put(body, format_args!(",\"usage\":{usage}"));
        }
        body.push(b'}');
        let choices = u64::from(self.request.ask.n);
        answer.marks.push(Mark {
            end: answer.body.len(),
            output: self.script.tokens() * choices,
            reasoning: self.script.reasoning * choices,
            reports_usage: self.honest,
            stamp_at: None,
        });
    }

    fn stream(&self, answer: &mut Answer) {
        answer.streamed = true;
        answer.content_type = "text/event-stream; charset=utf-8".into();
        let choices = self.request.ask.n;
        if self.kind == Kind::Chat {
            for index in 0..choices {
                self.role(answer, index);
            }
        }
        for (at, piece) in self.script.pieces.iter().enumerate() {
            for index in 0..choices {
                self.say(answer, index, at, piece);
            }
        }
        for index in 0..choices {
            let finish = Some(self.script.finish);
            self.event(
                answer,
                index,
                |kind, body| {
                    body.extend_from_slice(match kind {
                        Kind::Chat => b"\"delta\":{}",
                        Kind::Text => b"\"text\":\"\"",
                    });
                },
                finish,
            );
        }
        if let (Some(usage), true) = (&self.usage, self.request.ask.include_usage) {
            answer.body.extend_from_slice(b"data: {");
            answer.body.extend_from_slice(&self.opening);
            put(
                &mut answer.body,
                format_args!(",\"choices\":[],\"usage\":{usage}}}\n\n"),
            );
            answer.earn(0, self.honest);
        }
        answer.body.extend_from_slice(b"data: [DONE]\n\n");
        answer.earn(0, false);
    }

    /// The first chunk of a choice. Reasoning came before it, so it earns that.
    fn role(&self, answer: &mut Answer, index: u32) {
        self.event(answer, index, |_, body| match &self.script.tool {
            None => body.extend_from_slice(
                br#""delta":{"role":"assistant","content":"","refusal":null}"#,
            ),
            Some(tool) => {
                let calls = json!([{"index": 0, "id": self.call_id(index), "type": "function",
                    "function": {"name": tool, "arguments": ""}}]);
                put(
                    body,
                    format_args!(
                        r#""delta":{{"role":"assistant","content":null,"tool_calls":{calls},"refusal":null}}"#
                    ),
                );
            }
        }, None);
        if let Some(mark) = answer.marks.last_mut() {
            mark.reasoning = self.script.reasoning;
            mark.output = self.script.reasoning + u64::from(self.script.tool.is_some());
        }
    }

    /// One token.
    fn say(&self, answer: &mut Answer, index: u32, at: usize, piece: &str) {
        let mut stamp_at = None;
        self.event(answer, index, |kind, body| {
            let text = Value::from(piece);
            match (kind, &self.script.tool) {
                (_, Some(_)) => put(
                    body,
                    format_args!(
                        r#""delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":{text}}}}}]}}"#
                    ),
                ),
                (Kind::Chat, None) => put(body, format_args!(r#""delta":{{"content":{text}}}"#)),
                (Kind::Text, None) => put(body, format_args!("\"text\":{text}")),
            }
            if self.script.stamped {
                let behind = if kind == Kind::Chat { 2 } else { 1 };
                stamp_at = Some(body.len() - behind - STAMP_DIGITS);
            }
        }, None);
        if let Some(mark) = answer.marks.last_mut() {
            // Without a role chunk, the first token carries the reasoning.
            let hidden = if self.kind == Kind::Text && at == 0 {
                self.script.reasoning
            } else {
                0
            };
            mark.reasoning = hidden;
            mark.output = 1 + hidden;
            mark.stamp_at = stamp_at;
        }
    }

    /// One SSE event with one choice, and its mark.
    fn event(
        &self,
        answer: &mut Answer,
        index: u32,
        content: impl FnOnce(Kind, &mut Vec<u8>),
        finish: Option<&str>,
    ) {
        let body = &mut answer.body;
        body.extend_from_slice(b"data: {");
        body.extend_from_slice(&self.opening);
        put(body, format_args!(",\"choices\":[{{\"index\":{index},"));
        content(self.kind, body);
        match finish {
            None => body.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]"),
            Some(finish) => {
                put(
                    body,
                    format_args!(",\"logprobs\":null,\"finish_reason\":\"{finish}\"}}]"),
                );
            }
        }
        if self.request.ask.include_usage && self.usage.is_some() {
            body.extend_from_slice(b",\"usage\":null");
        }
        body.extend_from_slice(b"}\n\n");
        answer.earn(0, false);
    }

    fn call_id(&self, index: u32) -> String {
        format!("call_{:020x}{index:04x}", self.request.serial)
    }
}
