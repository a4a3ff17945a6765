//! What identity providers say of themselves, asked for and remembered for a while; and how what is wrong with one is told.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use super::super::{
    ProviderClient, State,
    error::{ApiError, Code},
    identity_providers::trust,
};
use crate::{
    oidc::{self, Ask, Metadata, Told},
    store::identities::Provider,
};

/// For so long a provider's configuration and keys are taken as they were.
const KNOWN_SECONDS: u64 = 300;
/// Most providers whose words are remembered, and the longest of these, in bytes.
const MAX_KNOWN: usize = 200;
const MAX_WORDS: usize = 256 * 1024;

/// What providers said of themselves a while ago.
#[derive(Default)]
pub struct Known(Mutex<HashMap<Asked, (Instant, Arc<Metadata>)>>);

/// Which provider, and since when it is as it is.
type Asked = (Uuid, i64);

/// Its configuration and keys, read a while ago or, if they shall be read anew, a moment ago.
pub async fn metadata(
    state: &State,
    providers: &ProviderClient,
    provider: &Provider,
    anew: bool,
) -> Result<Arc<Metadata>, ApiError> {
    let key = (provider.id, provider.updated_ms);
    let for_seconds = if anew { 1 } else { KNOWN_SECONDS };
    let fresh = {
        let known = state.login.providers.0.lock();
        let found = known.get(&key);
        let found = found.filter(|(read, _)| read.elapsed().as_secs() < for_seconds);
        found.map(|(_, metadata)| Arc::clone(metadata))
    };
    if let Some(metadata) = fresh {
        return Ok(metadata);
    }
    let trust = trust(provider);
    let place = Metadata::place(&provider.issuer, &trust);
    let place = place.map_err(|error| refused(provider, &error))?;
    let ask = |endpoint| Ask {
        endpoint,
        owner: provider.owner,
        form: None,
        authorization: None,
    };
    let told = question(providers, provider, ask(place)).await?;
    let read = Metadata::read(&provider.issuer, &trust, &told.body);
    let mut metadata = read.map_err(|error| refused(provider, &error))?;
    let told = question(providers, provider, ask(metadata.jwks_uri.clone())).await?;
    let keys = Metadata::read_keys(&told.body);
    metadata.keys = keys.map_err(|error| refused(provider, &error))?;
    let metadata = Arc::new(metadata);
    let mut known = state.login.providers.0.lock();
    known.retain(|_, (read, _)| read.elapsed().as_secs() < KNOWN_SECONDS);
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(key, (Instant::now(), Arc::clone(&metadata)));
    Ok(metadata)
}

/// Its answer of 200.
async fn question(
    providers: &ProviderClient,
    provider: &Provider,
    ask: Ask,
) -> Result<Told, ApiError> {
    let told = providers.ask(ask).await;
    let told = told.and_then(|told| match told.status {
        200 if told.body.len() <= MAX_WORDS => Ok(told),
        200 => Err("it says too much".to_owned()),
        status => Err(format!("it answered {status}")),
    });
    told.map_err(|error| unreachable(provider, &error))
}

/// The answer where it cannot be asked.
pub fn unreachable(provider: &Provider, error: &str) -> ApiError {
    tracing::warn!(provider = %provider.name, error, "an identity provider cannot be asked");
    ApiError::new(
        Code::ProviderFailed,
        "The identity provider cannot be asked.",
    )
}

/// What is wrong with its word the log says, and whoever tried is told no more than that it is wrong.
pub fn refused(provider: &Provider, error: &oidc::Error) -> ApiError {
    tracing::warn!(provider = %provider.name, %error, "an identity provider's word does not count");
    match error {
        oidc::Error::Configuration(_) => ApiError::new(
            Code::ProviderFailed,
            "The identity provider is not set up as it has to be.",
        ),
        oidc::Error::Token(_) | oidc::Error::Refused(_) => {
            failed("The identity provider's answer does not count.")
        }
    }
}

/// The answer to a sign-in that comes to nothing.
pub fn failed(detail: &str) -> ApiError {
    ApiError::new(Code::SignInFailed, detail)
}
