//! Everything before the first attempt: the body is read, the candidates are found, the call is put on record.

use std::sync::Arc;

use actix_web::{
    http::header::{self, HeaderMap},
    web,
};
use weir_api_types::channel::Kind;
use weir_dialect::openai::{self, Ask};

use super::{
    Call, Shared,
    account::{Account, Asked},
    admit::{self, Asking},
    endpoint::Endpoint,
    error::Refusal,
    identify::Caller,
    ingress::{self, Shape},
    models,
    outbound::{OutBody, Outbound},
    path,
};
use crate::{
    catalog::{self, Catalog},
    limits::Tightest,
    routing::{self, Asker, Candidate},
};

/// What a request has become once it may go.
pub enum Prepared {
    /// Answered by Weir itself.
    Here { body: Vec<u8>, left: Tightest },
    Upstream {
        candidates: Vec<Candidate>,
        outbound: Box<Outbound>,
        asking: Box<Asking>,
        left: Tightest,
        /// What Weir set in the body, for `x-weir-adjusted`.
        adjusted: Option<String>,
    },
}

/// Everything before the first attempt: the body, the candidates, the record.
pub async fn prepare(
    call: Call,
    payload: web::Payload,
    query: String,
    shared: &Arc<Shared>,
    catalog: &Catalog,
    caller: &Caller,
    account: &mut Account,
) -> Result<Prepared, Refusal> {
    let raw_path = call.request.uri().path();
    path::check(raw_path).map_err(|path::BadPath| Refusal::BadPath)?;
    if !call.endpoint.allows(call.request.method()) {
        return Err(Refusal::MethodNotAllowed);
    }
    if wants_websocket(call.request.headers()) {
        return Err(Refusal::NoWebSocket);
    }
    let asker = Asker {
        tenant: &caller.tenant,
        key: &caller.key,
        now_ms: account.id().at_ms(),
    };
    if call.endpoint == Endpoint::Models {
        let (permit, left) = admit::admit_here(shared, catalog, caller, account).await?;
        account.admitted(permit, None);
        let body = answer_models(call.rest.as_deref(), catalog, asker)?;
        return Ok(Prepared::Here { body, left });
    }
    let path = match &call.rest {
        Some(rest) if call.endpoint == Endpoint::Proxy => rest.clone(),
        _ => call.endpoint.path_below_base(raw_path),
    };
    let method = call.request.method().clone();
    let channel = match &call.channel {
        Some(name) => Some(named_channel(call.endpoint, name, &path, catalog, asker)?),
        None => None,
    };
    let shape = shape(call.endpoint, channel, &path);
    let body = ingress::read(shape, call.request.headers(), payload, &shared.config).await?;
    let (body, ask) = read_body(call.endpoint, shape, body)?;
    let model = match (&ask, &body) {
        (Some(ask), _) => ask.model.clone(),
        (None, OutBody::Form { model, .. }) => model.as_ref().map(|model| model.name.clone()),
        (None, OutBody::Stream(Some(streamed))) => {
            streamed.model.as_ref().map(|model| model.name.clone())
        }
        (None, _) => None,
    };
    let model = match channel {
        Some(channel) => path_model(channel, &path, model)?,
        None => model,
    };
    account.asked(&Asked {
        model: model.as_deref(),
        streamed: ask.as_ref().is_some_and(|ask| ask.stream),
        request_bytes: body_bytes(&body),
        end_user: ask
            .as_ref()
            .and_then(|ask| ask.user_id.as_deref().or(ask.user.as_deref())),
    });
    if let OutBody::Whole(bytes) = &body {
        account.asks(bytes);
    }
    let keeps = call.endpoint.is_stateful()
        || (call.endpoint.may_keep() && !routing::proxied::is_inference(Kind::Openai, raw_path));
    let candidates = candidates(
        call.endpoint,
        keeps,
        channel,
        model.as_deref(),
        catalog,
        asker,
    )?;
    account.routed(&candidates);
    let mut outbound = Box::new(Outbound {
        endpoint: call.endpoint,
        method,
        path,
        query,
        request: call.request,
        body,
        ask,
        bound: None,
    });
    let admission = admit::admit(shared, catalog, caller, account, &candidates, &outbound).await?;
    account.admitted(admission.permit, admission.room);
    outbound.bound = admission.bound;
    let adjusted = admission
        .bound
        .zip(candidates.first())
        .map(|(tokens, candidate)| {
            let bound = admit::bound_for(candidate, outbound.endpoint, tokens);
            format!("{}={tokens}", bound.field.name())
        });
    account.record()?;
    Ok(Prepared::Upstream {
        candidates,
        outbound,
        asking: Box::new(admission.asking),
        left: admission.left,
        adjusted,
    })
}

/// Whether the connection is to become a WebSocket: actix then reads all that follows as the body, whatever its length.
fn wants_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .any(|value| value.as_bytes().to_ascii_lowercase().trim_ascii() == b"websocket")
}

/// The channel that the path names, if the caller may reach the path through it.
fn named_channel<'a>(
    endpoint: Endpoint,
    name: &str,
    path: &str,
    catalog: &'a Catalog,
    asker: Asker<'_>,
) -> Result<&'a Arc<catalog::Channel>, Refusal> {
    use routing::proxied;
    let channel = asker
        .channel(catalog, name)
        .map_err(|error| refusal(error, None, Some(name)))?;
    let is_administration = || {
        path::forms(path)
            .iter()
            .any(|form| proxied::is_administration(form))
    };
    if endpoint == Endpoint::Proxy
        && (is_administration() || !proxied::may_reach(channel, &path::decoded(path)))
    {
        return Err(Refusal::NotOnSharedChannel);
    }
    Ok(channel)
}

/// The model of a call whose vendor reads it from the path; a body that names another has two meanings.
fn path_model(
    channel: &catalog::Channel,
    path: &str,
    in_body: Option<String>,
) -> Result<Option<String>, Refusal> {
    let path = path::decoded(path);
    let Some(in_path) = routing::proxied::model_in_path(channel.kind, &path) else {
        return Ok(in_body);
    };
    match in_body {
        Some(other) if other.strip_prefix("models/").unwrap_or(&other) != in_path => {
            Err(Refusal::BadBody {
                code: "invalid_json",
                message: "The path and the body name different models.".to_owned(),
                param: Some("model".to_owned()),
            })
        }
        _ => Ok(Some(in_path.to_owned())),
    }
}

/// What the body may be. Under `/proxy/` a model is looked for wherever the tenant does not pay the vendor itself.
fn shape(endpoint: Endpoint, channel: Option<&Arc<catalog::Channel>>, path: &str) -> Shape {
    match channel {
        Some(channel) if endpoint == Endpoint::Proxy => {
            if routing::proxied::is_inference(channel.kind, &path::decoded(path)) {
                Shape::JsonOrForm
            } else if channel.owner.is_none() {
                Shape::Shared
            } else {
                Shape::Dedicated
            }
        }
        _ => endpoint.shape(),
    }
}

/// Reads of a body what Weir acts on.
fn read_body(
    endpoint: Endpoint,
    shape: Shape,
    body: ingress::Body,
) -> Result<(OutBody, Option<Ask>), Refusal> {
    match body {
        ingress::Body::Form { bytes, model } => Ok((OutBody::Form { bytes, model }, None)),
        ingress::Body::Stream(streamed) => Ok((OutBody::Stream(Some(streamed)), None)),
        ingress::Body::Opaque(bytes) => Ok((OutBody::Whole(bytes), None)),
        ingress::Body::Json(bytes) if bytes.is_empty() && !endpoint.needs_model() => {
            Ok((OutBody::Whole(bytes), None))
        }
        ingress::Body::Json(bytes) => match Ask::read(&bytes, endpoint.reads()) {
            Ok(ask) => Ok((OutBody::Whole(bytes), Some(ask))),
            // What is no object names no model.
            Err(openai::Error::NotAnObject)
                if matches!(shape, Shape::Shared | Shape::Dedicated) =>
            {
                Ok((OutBody::Whole(bytes), None))
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn body_bytes(body: &OutBody) -> u64 {
    match body {
        OutBody::Whole(bytes) | OutBody::Form { bytes, .. } => bytes.len() as u64,
        OutBody::Stream(streamed) => streamed
            .as_ref()
            .and_then(|streamed| streamed.length)
            .unwrap_or(0),
    }
}

/// Where the request may go, best first.
fn candidates(
    endpoint: Endpoint,
    keeps: bool,
    channel: Option<&Arc<catalog::Channel>>,
    model: Option<&str>,
    catalog: &Catalog,
    asker: Asker<'_>,
) -> Result<Vec<Candidate>, Refusal> {
    let refused = |error| refusal(error, model, None);
    if endpoint.needs_model() && model.is_none() {
        return Err(Refusal::MissingModel);
    }
    if let Some(channel) = channel {
        let found = if endpoint == Endpoint::Proxy {
            routing::as_named_upstream(catalog, asker, channel, model)
        } else {
            routing::on_channel(catalog, asker, channel, model)
        };
        return found.map(|candidate| vec![candidate]).map_err(refused);
    }
    let found = match model {
        Some(model) => routing::candidates(catalog, asker, model).map_err(refused)?,
        None => routing::without_model(catalog, asker),
    };
    if keeps {
        let (dedicated, shared): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|candidate| candidate.channel.owner.is_some());
        return if dedicated.is_empty() && !shared.is_empty() {
            Err(Refusal::NotOnSharedChannel)
        } else {
            some(dedicated)
        };
    }
    some(found)
}

fn some(found: Vec<Candidate>) -> Result<Vec<Candidate>, Refusal> {
    if found.is_empty() {
        Err(no_channel())
    } else {
        Ok(found)
    }
}

fn no_channel() -> Refusal {
    Refusal::NoHealthyUpstream("no channel that you may use is enabled for it".to_owned())
}

fn refusal(error: routing::Error, model: Option<&str>, channel: Option<&str>) -> Refusal {
    let model = || model.unwrap_or_default().to_owned();
    match error {
        routing::Error::ModelNotFound => Refusal::ModelNotFound(model()),
        routing::Error::ModelNotAllowed => Refusal::ModelNotAllowed(model()),
        routing::Error::ChannelNotFound => {
            Refusal::ChannelNotFound(channel.unwrap_or_default().to_owned())
        }
        routing::Error::NoChannel => no_channel(),
    }
}

fn answer_models(
    name: Option<&str>,
    catalog: &Catalog,
    asker: Asker<'_>,
) -> Result<Vec<u8>, Refusal> {
    let answer = match name {
        None => models::list(catalog, asker),
        Some(name) => {
            models::one(catalog, asker, name).map_err(|error| refusal(error, Some(name), None))?
        }
    };
    Ok(answer.to_string().into_bytes())
}
