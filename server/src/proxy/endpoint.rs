//! What a path asks for: its shape, where it goes at the vendor, and what of its body Weir reads.

use actix_web::http::Method;
use weir_dialect::openai;

use super::ingress::Shape;

/// An endpoint of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    /// `/api/v1/chat/completions`: with labels that stay here.
    SessionChat,
    /// `/api/v1/embeddings`.
    SessionEmbeddings,
    /// `/v1/{channel}/chat/completions`: the caller names the channel.
    ChannelChat,
    /// `/v1/{channel}/completions`.
    ChannelCompletions,
    Images,
    Audio,
    Moderations,
    Rerank,
    Files,
    Batches,
    /// `/v1/models`, answered by Weir itself.
    Models,
    /// `/proxy/{channel}/{path}`.
    Proxy,
}

impl Endpoint {
    /// The path's shape: a bounded set, for usage events, metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::SessionChat => "/api/v1/chat/completions",
            Self::SessionEmbeddings => "/api/v1/embeddings",
            Self::ChannelChat => "/v1/{channel}/chat/completions",
            Self::ChannelCompletions => "/v1/{channel}/completions",
            Self::Images => "/v1/images",
            Self::Audio => "/v1/audio",
            Self::Moderations => "/v1/moderations",
            Self::Rerank => "/v1/rerank",
            Self::Files => "/v1/files",
            Self::Batches => "/v1/batches",
            Self::Models => "/v1/models",
            Self::Proxy => "/proxy",
        }
    }

    /// The dialect in which the caller is answered: under `/proxy/` none is spoken, but errors are OpenAI's.
    pub fn dialect(self) -> &'static str {
        if self == Self::Proxy {
            "none"
        } else {
            "openai"
        }
    }

    /// The operation's name in OpenTelemetry's GenAI conventions.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Chat | Self::SessionChat | Self::ChannelChat => "chat",
            Self::Completions | Self::ChannelCompletions => "text_completion",
            Self::Embeddings | Self::SessionEmbeddings => "embeddings",
            _ => "relay",
        }
    }

    /// How the body is read; see [`openai::Endpoint`].
    pub fn reads(self) -> openai::Endpoint {
        match self {
            Self::Chat | Self::ChannelChat => openai::Endpoint::Chat,
            Self::Completions | Self::ChannelCompletions => openai::Endpoint::Completions,
            Self::Embeddings => openai::Endpoint::Embeddings,
            Self::SessionChat => openai::Endpoint::SessionChat,
            Self::SessionEmbeddings => openai::Endpoint::SessionEmbeddings,
            _ => openai::Endpoint::Relayed,
        }
    }

    /// Whether the dialect demands a model. Elsewhere a call without one goes to the first channel that is granted.
    pub fn needs_model(self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::Completions
                | Self::Embeddings
                | Self::SessionChat
                | Self::SessionEmbeddings
                | Self::ChannelChat
                | Self::ChannelCompletions
        )
    }

    /// Whether a streamed answer ends with a finish reason or `[DONE]`, so that one without is known to be cut.
    pub fn finishes(self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::Completions
                | Self::SessionChat
                | Self::ChannelChat
                | Self::ChannelCompletions
        )
    }

    /// Whether the vendor keeps what is sent: never on a channel that several tenants share.
    pub fn is_stateful(self) -> bool {
        matches!(self, Self::Files | Self::Batches)
    }

    /// Whether some of its paths keep something at the vendor: those are for dedicated channels.
    pub fn may_keep(self) -> bool {
        matches!(self, Self::Images | Self::Audio)
    }

    /// Whether the session labels of `/api/v1` are taken out of the body.
    pub fn has_labels(self) -> bool {
        matches!(self, Self::SessionChat | Self::SessionEmbeddings)
    }

    /// What its bodies may be; under `/proxy/` the path decides.
    pub fn shape(self) -> Shape {
        match self {
            Self::Images | Self::Audio | Self::Files | Self::Proxy => Shape::JsonOrForm,
            _ => Shape::Json,
        }
    }

    /// Whether the method is one of the endpoint's.
    pub fn allows(self, method: &Method) -> bool {
        match self {
            Self::Models => matches!(*method, Method::GET | Method::HEAD),
            Self::Files | Self::Batches => {
                matches!(*method, Method::GET | Method::POST | Method::DELETE)
            }
            Self::Proxy => {
                matches!(
                    *method,
                    Method::GET
                        | Method::HEAD
                        | Method::POST
                        | Method::PUT
                        | Method::PATCH
                        | Method::DELETE
                )
            }
            _ => *method == Method::POST,
        }
    }

    /// The path below a channel's base URL (which ends where `/v1` does), for the raw path of a request.
    pub fn path_below_base(self, raw_path: &str) -> String {
        match self {
            Self::Chat | Self::SessionChat | Self::ChannelChat => "/chat/completions".to_owned(),
            Self::Completions | Self::ChannelCompletions => "/completions".to_owned(),
            Self::Embeddings | Self::SessionEmbeddings => "/embeddings".to_owned(),
            _ => raw_path.strip_prefix("/v1").unwrap_or(raw_path).to_owned(),
        }
    }
}
