//! A request as it goes to a candidate: path, headers, credential and body.
//!
//! The caller's own bytes, but for what the route and the account need changed. The credential comes last, after
//! everything else has been decided, and only to its channel's own origin.

use std::{cell::RefCell, rc::Rc};

use actix_web::HttpRequest;
use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use bytes::Bytes;
use weir_api_types::channel::Kind;
use weir_dialect::openai::{Ask, Edits};

use super::{
    admit,
    endpoint::Endpoint,
    error::{Failure, Refusal},
    header_name, headers, ingress, path, upstream,
};
use crate::{catalog::Channel, routing::Candidate, secrets::Secret};

/// A request as it is to be sent on, whatever the channel.
pub struct Outbound {
    pub endpoint: Endpoint,
    pub method: Method,
    /// The path below a channel's base, or below the vendor's root under `/proxy/`.
    pub path: String,
    /// Without the caller's key; empty if there is none.
    pub query: String,
    /// As it came: its headers are read, not copied.
    pub request: HttpRequest,
    pub body: OutBody,
    /// The body as far as it was read; `None` where it is not JSON.
    pub ask: Option<Ask>,
    /// The output bound that Weir sets, in tokens for each choice.
    pub bound: Option<u32>,
}

impl Outbound {
    /// The most tokens over all choices, by the caller's word or Weir's.
    pub fn output_bound(&self) -> Option<u64> {
        let ask = self.ask.as_ref()?;
        let set = self
            .bound
            .map(|bound| u64::from(bound).saturating_mul(ask.choices()));
        set.or_else(|| ask.output_bound())
    }
}

/// The body of a request as it is to be sent on.
pub enum OutBody {
    Whole(Bytes),
    Form {
        bytes: Bytes,
        model: Option<weir_dialect::multipart::Model>,
    },
    /// Taken by the only attempt.
    Stream(Option<Box<ingress::Streamed>>),
}

/// Whether Weir itself asks a streamed call for usage, since the caller did not.
pub fn asks_usage(outbound: &Outbound, channel: &Channel) -> bool {
    let asks = outbound
        .ask
        .as_ref()
        .is_some_and(|ask| ask.stream && !ask.include_usage);
    asks && outbound.endpoint.finishes() && channel.settings.ask_usage
}

/// Path and headers of a call.
pub struct Prepared {
    pub path: String,
    pub headers: HeaderMap,
}

pub fn call(
    candidate: &Candidate,
    secret: Option<&Secret>,
    outbound: &Outbound,
    traceparent: Option<String>,
) -> Result<Prepared, Failure> {
    let channel = &candidate.channel;
    let bad = |what: &str| Failure::BadAnswer(format!("the channel's {what} cannot be sent"));
    let root = if outbound.endpoint == Endpoint::Proxy {
        channel.base.root_path()
    } else {
        &channel.base.path
    };
    let mut path = format!("{root}{}", outbound.path);
    let mut query = outbound.query.clone();
    let caller_headers = outbound.request.headers();
    let mut headers = match outbound.endpoint {
        Endpoint::Proxy => {
            let is_dedicated = channel.owner.is_some();
            headers::for_proxy(caller_headers, channel.settings.allow_beta, is_dedicated)
        }
        _ => headers::for_inference(caller_headers, channel.settings.allow_beta),
    };
    // A compressed answer would hide its usage from the observer.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers.insert(
        header::HOST,
        HeaderValue::from_str(&channel.base.host_header()).map_err(|_| bad("host"))?,
    );
    if let Some(traceparent) = traceparent.and_then(|value| HeaderValue::from_str(&value).ok()) {
        headers.insert(header_name::TRACEPARENT, traceparent);
    }
    if let Some(state) = caller_headers.get(header_name::TRACESTATE) {
        headers.insert(header_name::TRACESTATE, state.clone());
    }
    // The credential comes last, and only to the channel's own origin: there is no other that this call could go to.
    if let Some(secret) = secret {
        query = authenticate(channel, secret, &mut headers, query)?;
    }
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    Ok(Prepared { path, headers })
}

/// Puts a credential where its channel wants it: into the headers, or into the query, which is given back.
pub fn authenticate(
    channel: &Channel,
    secret: &Secret,
    headers: &mut HeaderMap,
    query: String,
) -> Result<String, Failure> {
    let bad = |what: &str| Failure::BadAnswer(format!("the channel's {what} cannot be sent"));
    match auth(channel, secret) {
        Auth::Header(name, value) => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("auth header"))?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| bad("credential"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(query)
        }
        Auth::Query(name, value) => {
            // Of two, some vendors take the first.
            let query = path::without(&query, &name).0;
            let separator = if query.is_empty() { "" } else { "&" };
            Ok(format!(
                "{query}{separator}{}={}",
                percent_encoded(&name),
                percent_encoded(&value)
            ))
        }
    }
}

enum Auth {
    Header(String, String),
    Query(String, String),
}

fn auth(channel: &Channel, secret: &Secret) -> Auth {
    let filled = |template: &str| template.replace("{secret}", secret.expose());
    match (&channel.auth.query, &channel.auth.header) {
        (Some(query), _) => Auth::Query(query.name.clone(), filled(&query.value)),
        (None, Some(name)) => Auth::Header(
            name.clone(),
            filled(channel.auth.value.as_deref().unwrap_or("{secret}")),
        ),
        (None, None) => match channel.kind {
            Kind::Openai | Kind::Dashscope | Kind::Custom => {
                Auth::Header("authorization".to_owned(), filled("Bearer {secret}"))
            }
            Kind::Anthropic => Auth::Header("x-api-key".to_owned(), filled("{secret}")),
            Kind::Gemini => Auth::Header("x-goog-api-key".to_owned(), filled("{secret}")),
            Kind::AzureOpenai => Auth::Header("api-key".to_owned(), filled("{secret}")),
        },
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The body for a candidate: the caller's own bytes, but for what the route and the account need changed.
pub fn body(
    outbound: &mut Outbound,
    candidate: &Candidate,
    asked_usage: bool,
    stopped: &Rc<RefCell<Option<Refusal>>>,
) -> upstream::Body {
    let model = candidate.upstream_model.as_deref();
    let drop_labels = outbound.endpoint.has_labels();
    let bound = outbound
        .bound
        .map(|tokens| admit::bound_for(candidate, outbound.endpoint, tokens));
    match (&mut outbound.body, &outbound.ask) {
        (OutBody::Whole(_), Some(ask)) => {
            let model = model.filter(|model| ask.model.as_deref() != Some(*model));
            upstream::Body::Whole(ask.edited(&Edits {
                model,
                include_usage: asked_usage,
                drop_labels,
                bound,
            }))
        }
        (OutBody::Whole(bytes), None) => upstream::Body::Whole(bytes.clone()),
        (
            OutBody::Form {
                bytes,
                model: place,
            },
            _,
        ) => {
            let renamed = place
                .as_ref()
                .zip(model)
                .filter(|(place, model)| place.name != *model);
            upstream::Body::Whole(renamed.map_or_else(
                || bytes.clone(),
                |(place, model)| ingress::with_model(bytes, place, model),
            ))
        }
        (OutBody::Stream(streamed), _) => match streamed.take() {
            Some(streamed) => {
                let stopped = Rc::clone(stopped);
                let (length, body) = streamed
                    .into_upstream(model, move |refusal| *stopped.borrow_mut() = Some(refusal));
                upstream::Body::Stream { length, body }
            }
            None => upstream::Body::Whole(Bytes::new()),
        },
    }
}
