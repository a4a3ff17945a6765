//! Channels, with the state of their credentials as this instance knows it.

use std::collections::HashMap;

use actix_web::web;
use uuid::Uuid;
use weir_api_types::manage::{ChannelItem, CredentialItem, CredentialState, Page};

use super::{State, error::ApiError, list::Asked};
use crate::{
    access::Caller,
    catalog::{Channel, Credential},
    store::{
        self,
        names::{self, Named},
    },
    tenancy::key,
};

/// `GET /v1/admin/channels`
pub async fn list(
    caller: Caller,
    asked: Asked,
    state: web::Data<State>,
) -> Result<web::Json<Page<ChannelItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let channels = store::channels::list(db, scope, asked.page, &state.sealer).await?;
    let owners: Vec<Uuid> = channels
        .iter()
        .filter_map(|channel| Some(channel.owner?.0))
        .collect();
    let owners = names::of(db, Named::Tenant, &owners).await?;
    let items = channels
        .iter()
        .map(|channel| item(&state, channel, &owners));
    Ok(asked.answer(items.collect(), |item| item.id))
}

fn item(state: &State, channel: &Channel, owners: &HashMap<Uuid, String>) -> ChannelItem {
    ChannelItem {
        id: channel.id.0,
        tenant: channel
            .owner
            .and_then(|owner| owners.get(&owner.0).cloned()),
        name: channel.name.clone(),
        kind: channel.kind,
        base_url: channel.base.to_string(),
        enabled: channel.enabled,
        weight: channel.weight,
        priority: channel.priority,
        credentials: channel
            .credentials
            .iter()
            .map(|value| credential(state, value))
            .collect(),
    }
}

fn credential(state: &State, credential: &Credential) -> CredentialItem {
    let secret = credential.secret.as_ref();
    CredentialItem {
        id: credential.id.0,
        name: credential.name.clone(),
        hint: secret.map(|secret| key::hint(secret.expose())),
        enabled: credential.enabled,
        state: match secret {
            Some(_) => (state.health)(credential),
            None => CredentialState::Unusable,
        },
    }
}
