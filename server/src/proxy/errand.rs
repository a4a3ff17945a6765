//! One small call outside for management, whole in memory: what a vendor or an identity provider is asked.
//!
//! Nobody is billed for it. It goes the way of all calls, so that what a tenant's address may lead to is decided in one place.

use std::{cell::Cell, rc::Rc, time::Duration};

use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderValue},
};
use bytes::{Bytes, BytesMut};

use super::{
    answer,
    upstream::{self, Upstream},
};
use crate::{catalog::channel::Base, tenancy::TenantId};

/// More is not read.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// What is asked.
pub struct Errand {
    pub base: Base,
    pub owner: Option<TenantId>,
    /// Whether its address is a tenant's word alone, and leads to the public network or nowhere.
    pub is_guarded: bool,
    pub method: Method,
    /// Path and query as they go on the wire.
    pub path: String,
    /// Without `host` and the body's framing.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub connect_timeout: Duration,
    /// For the head, and again for the body.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub status: u16,
    /// Its beginning, where it is longer than anybody needs.
    pub body: Bytes,
}

/// Does it, once. Why not is told to whoever may know: what a tenant's address leads to is nobody's to map, so there is one word for all
/// that goes wrong there (threats.md, S1).
pub async fn run(errand: Errand, upstream: &Upstream) -> Result<Fetched, String> {
    let is_guarded = errand.is_guarded;
    fetch(errand, upstream)
        .await
        .map_err(|error| match is_guarded {
            true => "it cannot be reached".to_owned(),
            false => error,
        })
}

async fn fetch(mut errand: Errand, upstream: &Upstream) -> Result<Fetched, String> {
    let host = HeaderValue::from_str(&errand.base.host_header());
    let host = host.map_err(|_| "its host cannot be sent".to_owned())?;
    errand.headers.insert(header::HOST, host);
    let identity = HeaderValue::from_static("identity");
    errand.headers.insert(header::ACCEPT_ENCODING, identity);
    let call = upstream::Call {
        base: &errand.base,
        owner: errand.owner,
        is_guarded: errand.is_guarded,
        method: errand.method,
        path: &errand.path,
        headers: errand.headers,
        connect_timeout: errand.connect_timeout,
        head_timeout: errand.timeout,
        reached: Rc::new(Cell::new(false)),
    };
    let sent = upstream.send(call, upstream::Body::Whole(errand.body));
    let mut answer = sent.await.map_err(|error| error.to_string())?;
    let until = tokio::time::Instant::now() + errand.timeout;
    let mut body = BytesMut::new();
    while let Ok(Some(piece)) = answer::next(&mut answer, until).await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BODY_BYTES {
            break;
        }
    }
    Ok(Fetched {
        status: answer.status().as_u16(),
        body: body.freeze(),
    })
}
