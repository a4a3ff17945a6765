//! What a test can ask the vendor to do with a request.
//!
//! Plain data, also readable from JSON (`POST /_control/behaviours`, `--behaviours FILE`). How a
//! behaviour is chosen for a request is in `state`, how it becomes bytes in `answer` and `plan`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::Reading;

/// How one request is answered. The default is a correct, immediate, generated answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Status of the answer; 400 and above answers OpenAI's error JSON and bills nothing.
    pub status: Option<u16>,
    /// Extra response headers, verbatim and in order; `content-type` replaces the usual one.
    pub headers: Vec<(String, String)>,
    /// Silence before the first byte (also before an interim response).
    pub first_byte_delay_ms: u64,
    /// Silence between two pieces of the body.
    pub chunk_delay_ms: u64,
    /// Cuts the body into pieces of so many bytes instead of one piece per SSE event.
    pub chunk_bytes: Option<usize>,
    /// The body to answer, in place of a generated one; billed by the usage it contains.
    pub body: Option<String>,
    /// A recording to replay, `<dialect>/<case>`; billed by the usage it contains.
    pub recording: Option<String>,
    /// Output tokens per choice, whatever the request asked: a vendor that ignores `max_tokens`.
    pub tokens: Option<u32>,
    /// Input tokens billed, in place of the number of words.
    pub input_tokens: Option<u64>,
    /// How many of the input tokens are called cached (at most all of them).
    pub cached_tokens: u64,
    /// Reasoning tokens per choice, on top of the visible ones, billed with the first chunk.
    pub reasoning_tokens: u32,
    /// Answer with a call of the request's first tool.
    pub tools: bool,
    /// Write the send time into each streamed content chunk (` t=<unix ns>`) and into the bill.
    pub stamp: bool,
    /// `retry-after` in seconds.
    pub retry_after: Option<u64>,
    /// Which of two equal keys of a request body counts.
    pub reading: Reading,
    /// What goes wrong; several can be combined.
    pub faults: Vec<Fault>,
    /// Scripted bytes in place of any HTTP answer: the *rogue*. Bills `input_tokens` and `tokens`.
    pub raw: Option<Raw>,
}

/// One thing that goes wrong with an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Close the connection before anything is read from it. On a connection that is already
    /// open: close it without an answer.
    Refuse,
    /// End with a TCP reset.
    Reset(Cut),
    /// End with a FIN in the middle of the answer.
    Close(Cut),
    /// Say nothing more, until the client leaves.
    Hang(Cut),
    /// After the head, write so many bytes at a time.
    Drip {
        /// Bytes per write.
        bytes: usize,
        /// Silence before each write.
        every_ms: u64,
    },
    /// The event in the middle of the stream is damaged.
    MalformedSse,
    /// The body ends in its middle, though its framing is right. Billed in full.
    TruncatedJson,
    /// `content-type: text/html` on an otherwise right answer.
    WrongContentType,
    /// The body is gzip-ed, asked for or not; events stay flushed one by one.
    Gzip,
    /// Interim responses before the final one.
    Interim {
        /// Status of each, such as 102 or 103.
        status: u16,
        /// Silence after each.
        gap_ms: u64,
        /// How many.
        count: u32,
    },
    /// Bytes after a complete answer, on a connection that stays open. A whole second response
    /// is possible.
    ExtraBytesAfterBody {
        /// The bytes.
        text: String,
        /// Silence before them.
        after_ms: u64,
    },
    /// No `content-length`, no chunks: the body ends with the connection.
    CloseDelimited,
    /// The answer leaves when the head of the request was read; its body is drained afterwards.
    /// Works for `push` and `set_default` only, since the model is not known yet.
    EarlyReply,
    /// No usage in the answer, asked for or not.
    NoUsage,
    /// This value as `usage`, in place of the true one. The bill keeps the truth.
    LyingUsage(Value),
}

/// Where an answer is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The request was read, nothing was sent.
    BeforeHead,
    /// The response's head was sent.
    AfterHead,
    /// So many pieces of the body were sent (of a stream: SSE events, the first carries the role).
    AfterChunks(usize),
    /// So many bytes of the body were sent, not counting the transfer coding.
    AfterBytes(usize),
}

/// A scripted sequence of raw bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Written one after the other.
    pub pieces: Vec<RawPiece>,
    /// What happens to the connection afterwards.
    #[serde(default)]
    pub then: Then,
}

/// One write of a [`Raw`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawPiece {
    /// Silence before it.
    #[serde(default)]
    pub after_ms: u64,
    /// The bytes: in JSON a string, or an array of numbers if they are no UTF-8.
    #[serde(with = "text_or_numbers")]
    pub bytes: Bytes,
}

/// The end of a [`Raw`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Read the next request from the same connection.
    #[default]
    Keep,
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// Silence until the client leaves.
    Hang,
}

impl Behaviour {
    /// Answers with this status.
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// A correct answer with one fault.
    pub fn fault(fault: Fault) -> Self {
        Self::default().with_fault(fault)
    }

    /// A correct answer of so many output tokens, whatever the request asked.
    pub fn tokens(tokens: u32) -> Self {
        Self {
            tokens: Some(tokens),
            ..Self::default()
        }
    }

    /// This body, as JSON or (if it begins with `data:` or `event:`) as an event stream.
    pub fn body(body: impl Into<String>) -> Self {
        Self {
            body: Some(body.into()),
            ..Self::default()
        }
    }

    /// Replays a recording, `<dialect>/<case>`.
    pub fn recording(name: impl Into<String>) -> Self {
        Self {
            recording: Some(name.into()),
            ..Self::default()
        }
    }

    /// Scripted bytes: (silence before in ms, bytes), then the connection stays open.
    pub fn raw<B: Into<Bytes>>(pieces: impl IntoIterator<Item = (u64, B)>) -> Self {
        Self::raw_then(pieces, Then::Keep)
    }

    /// Scripted bytes, then this end.
    pub fn raw_then<B: Into<Bytes>>(
        pieces: impl IntoIterator<Item = (u64, B)>,
        then: Then,
    ) -> Self {
        let pieces = pieces.into_iter().map(|(after_ms, bytes)| RawPiece {
            after_ms,
            bytes: bytes.into(),
        });
        Self {
            raw: Some(Raw {
                pieces: pieces.collect(),
                then,
            }),
            ..Self::default()
        }
    }

    /// Adds a fault.
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Adds a response header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the number of output tokens.
    pub fn with_tokens(mut self, tokens: u32) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets the silence before the first byte.
    pub fn with_first_byte_delay_ms(mut self, ms: u64) -> Self {
        self.first_byte_delay_ms = ms;
        self
    }

    /// Sets the silence between pieces of the body.
    pub fn with_chunk_delay_ms(mut self, ms: u64) -> Self {
        self.chunk_delay_ms = ms;
        self
    }

    /// Cuts the body into pieces of so many bytes.
    pub fn with_chunk_bytes(mut self, bytes: usize) -> Self {
        self.chunk_bytes = Some(bytes);
        self
    }

    /// Sets `retry-after` in seconds.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What a model's name says, if it follows the stand-in's convention: `stub`, then any of
    /// `-slow-<n>ms` (between chunks), `-wait-<n>ms` (before the first byte), `-tokens-<n>`,
    /// `-reasoning-<n>`, `-cached-<n>`, `-status-<n>`, `-reset-<n>`, `-hang-<n>` (after n chunks),
    /// `-tools`, `-stamp`. For benchmarks and demos, which have no other way through a gateway.
    pub fn from_model(model: &str) -> Option<Self> {
        let mut words = model.strip_prefix("stub-")?.split('-');
        let mut behaviour = Self::default();
        while let Some(word) = words.next() {
            let mut number = || words.next()?.trim_end_matches("ms").parse::<u32>().ok();
            match word {
                "slow" => behaviour.chunk_delay_ms = number()?.into(),
                "wait" => behaviour.first_byte_delay_ms = number()?.into(),
                "tokens" => behaviour.tokens = Some(number()?),
                "reasoning" => behaviour.reasoning_tokens = number()?,
                "cached" => behaviour.cached_tokens = number()?.into(),
                "status" => behaviour.status = Some(number()?.try_into().ok()?),
                "reset" => {
                    behaviour
                        .faults
                        .push(Fault::Reset(Cut::AfterChunks(number()? as usize)));
                }
                "hang" => {
                    behaviour
                        .faults
                        .push(Fault::Hang(Cut::AfterChunks(number()? as usize)));
                }
                "tools" => behaviour.tools = true,
                "stamp" => behaviour.stamp = true,
                _ => return None,
            }
        }
        Some(behaviour)
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }
}

/// `Bytes` as a JSON string where possible, else as an array of numbers.
mod text_or_numbers {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Numbers(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.serialize(serializer),
            Err(_) => bytes[..].serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into(),
            Form::Numbers(numbers) => numbers.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_name_says_the_behaviour() {
        let behaviour = Behaviour::from_model("stub-slow-20ms-tokens-5-reset-3").unwrap();
        assert_eq!(behaviour.chunk_delay_ms, 20);
        assert_eq!(behaviour.tokens, Some(5));
        assert_eq!(behaviour.faults, [Fault::Reset(Cut::AfterChunks(3))]);
        assert!(Behaviour::from_model("gpt-4o").is_none());
        assert!(Behaviour::from_model("stub-slow").is_none());
        assert!(Behaviour::from_model("stub-status-99999999").is_none());
    }

    #[test]
    fn json_form_is_the_documented_one() {
        let behaviour: Behaviour = serde_json::from_str(
            r#"{"faults":["gzip",{"hang":"before_head"},{"reset":{"after_chunks":2}}],
                "raw":{"pieces":[{"bytes":"HTTP/1.1 "},{"after_ms":5,"bytes":[255,0]}],"then":"reset"}}"#,
        )
        .unwrap();
        assert_eq!(behaviour.faults.len(), 3);
        assert_eq!(
            behaviour.raw.as_ref().unwrap().pieces[1].bytes[..],
            [255, 0]
        );
        let again = serde_json::to_string(&behaviour).unwrap();
        serde_json::from_str::<Behaviour>(&again).unwrap();
        assert!(serde_json::from_str::<Behaviour>(r#"{"statsu":500}"#).is_err());
    }
}
