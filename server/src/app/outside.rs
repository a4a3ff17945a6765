//! What management calls outside, by the way that requests go.

use std::time::Duration;

use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderValue},
};

use crate::{
    admin,
    oidc::{Ask, Told},
    proxy::{errand, probe, upstream::Upstream},
};

/// For a connection to an identity provider, and for its answers.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);

/// What management tries credentials with.
pub fn prober(upstream: &Upstream) -> admin::Prober {
    let upstream = upstream.clone();
    admin::Prober::new(move |channel, secret| {
        let upstream = upstream.clone();
        Box::pin(async move { probe::probe(&channel, &secret, &upstream).await })
    })
}

/// What management asks identity providers with.
pub fn provider_client(upstream: &Upstream) -> admin::ProviderClient {
    let upstream = upstream.clone();
    admin::ProviderClient::new(move |ask| {
        let upstream = upstream.clone();
        Box::pin(async move {
            let fetched = errand::run(errand_of(ask)?, &upstream).await?;
            Ok(Told {
                status: fetched.status,
                body: fetched.body,
            })
        })
    })
}

fn errand_of(ask: Ask) -> Result<errand::Errand, String> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    if ask.form.is_some() {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
    }
    if let Some(authorization) = ask.authorization {
        let value = HeaderValue::from_str(&authorization);
        let value = value.map_err(|_| "the client's secret cannot be sent".to_owned())?;
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(errand::Errand {
        base: ask.endpoint.base,
        owner: ask.owner,
        is_guarded: ask.endpoint.is_guarded,
        method: match ask.form {
            Some(_) => Method::POST,
            None => Method::GET,
        },
        path: ask.endpoint.path,
        headers,
        body: ask.form.unwrap_or_default().into(),
        connect_timeout: PROVIDER_TIMEOUT,
        timeout: PROVIDER_TIMEOUT,
    })
}
