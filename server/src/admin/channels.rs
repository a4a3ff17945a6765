//! Channels, with the state of their credentials as this instance knows it: listed, made, changed, deleted.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::{ChannelItem, CredentialItem, CredentialState, Page},
    orders::{ChannelDetail, CredentialCheck, CredentialPatch, NewCredential},
    resources::{Channel as Order, Resources},
    secret,
};

use super::{
    Prober, State,
    body::Order as Body,
    error::{ApiError, Code},
    list::{self, ByName},
    thing::{self, Changing, IfMatch, Thing},
};
use crate::{
    access::{Author, Caller},
    catalog::{Channel, Credential, Kind},
    resources::{Picture, export},
    store::{
        self,
        names::{self, Named},
    },
    tenancy::{ChannelId, TenantId, key, name},
};

/// `/v1/admin/channels/{id}`
pub struct Channels;

/// `GET /v1/admin/channels`
pub async fn list(
    caller: Caller,
    ByName(asked): ByName,
    state: web::Data<State>,
) -> Result<web::Json<Page<ChannelItem>>, ApiError> {
    let scope = asked.scope(&state, &caller).await?;
    let db = &state.stores.config.read;
    let channels = store::channels::list(db, scope, &asked.page, &state.sealer).await?;
    let owners: Vec<Uuid> = channels
        .data
        .iter()
        .filter_map(|channel| Some(channel.owner?.0))
        .collect();
    let owners = names::of(db, Named::Tenant, &owners).await?;
    Ok(list::answer(
        channels.map(|channel| item(&state, &channel, &owners)),
    ))
}

pub(super) fn item(
    state: &State,
    channel: &Channel,
    owners: &HashMap<Uuid, String>,
) -> ChannelItem {
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

impl Thing for Channels {
    type Order = Order;
    type Shown = ChannelDetail;

    const KIND: Kind = Kind::Channel;
    const PLACE: &'static str = "channels[0]";

    fn bounds(order: &Order) -> (bool, bool) {
        (order.limits.is_some(), order.budgets.is_some())
    }

    fn tenant(order: &Order) -> Option<&str> {
        order.tenant.as_deref()
    }

    fn name(order: &Order) -> Option<&str> {
        // A file has no channel without a name, an order may say nothing about it.
        Some(order.name.as_str()).filter(|name| !name.is_empty())
    }

    fn normal(text: &str) -> Result<String, ApiError> {
        name::channel(text).map_err(|error| ApiError::field("name", error))
    }

    /// A tenant's people bring a channel only where the platform lets them, and never say what its budgets are.
    fn allow(
        caller: &Caller,
        picture: &Picture,
        owner: Option<TenantId>,
        order: &Order,
        _: Option<Uuid>,
    ) -> Result<(), ApiError> {
        if caller.reaches(None) {
            return Ok(());
        }
        if order.allowed_origin.is_some() {
            let detail = "allowed_origin is an operator's word.";
            return Err(ApiError::new(Code::Forbidden, detail));
        }
        let tenant = owner.and_then(|owner| picture.tenants.get(&owner));
        if tenant.is_some_and(|tenant| tenant.policies.own_channels) {
            return Ok(());
        }
        let detail = "The platform's operators let this tenant have no channels of its own.";
        Err(ApiError::new(Code::Forbidden, detail))
    }

    fn find(picture: &Picture, owner: Option<TenantId>, name: &str) -> Option<Uuid> {
        picture.channel_of(owner, name).map(|id| id.0)
    }

    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String> {
        let channel = picture.channels.get_mut(&ChannelId(id))?;
        Some(&mut channel.name)
    }

    fn file(order: Order, tenant: Option<String>, name: String) -> Resources {
        let channel = Order {
            name,
            tenant,
            ..order
        };
        Resources {
            channels: Some(vec![channel]),
            ..Resources::default()
        }
    }

    fn stored(picture: &Picture, id: Uuid) -> Option<Order> {
        let channel = picture.channels.get(&ChannelId(id))?;
        Some(export::channel(picture, channel))
    }

    async fn shown(
        state: &State,
        picture: &Picture,
        id: Uuid,
        stored: Order,
    ) -> Result<ChannelDetail, ApiError> {
        let channel = picture.channels.get(&ChannelId(id));
        let pool = channel.map(|channel| channel.credentials.as_slice());
        let pool = pool.unwrap_or_default().iter();
        Ok(ChannelDetail {
            channel: Order {
                credentials: None,
                ..stored
            },
            pool: pool.map(|value| credential(state, value)).collect(),
        })
    }

    async fn delete(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Uuid,
    ) -> store::Result<()> {
        store::channels::delete(db, owner, id.into()).await
    }

    /// A key that is bound to a channel would be free of it.
    async fn needed(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<String>, ApiError> {
        Ok(store::channels::needed(db, id.into()).await?)
    }
}

/// `POST /v1/admin/channels/{id}/credentials`: one more secret for the pool, which is sealed and never shown.
pub async fn add_credential(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Body<NewCredential>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let NewCredential { value, name } = order.0;
    let add = |mut pool: Vec<secret::Credential>| {
        pool.push(secret::Credential {
            secret: secret::Secret::Value(value),
            name,
            enabled: true,
        });
        Ok(pool)
    };
    change_pool(&state, &caller, &author, &id, if_match, add).await
}

/// `PATCH /v1/admin/channels/{id}/credentials/{credential}`
pub async fn change_credential(
    caller: Caller,
    author: Author,
    ids: web::Path<(String, String)>,
    if_match: IfMatch,
    order: Body<CredentialPatch>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (id, credential) = ids.into_inner();
    let change = |mut pool: Vec<secret::Credential>| {
        let at = place_of(&pool, &credential)?;
        let one = &mut pool[at];
        one.enabled = order.0.enabled.unwrap_or(one.enabled);
        if let Some(name) = order.0.name {
            one.name = name;
        }
        Ok(pool)
    };
    change_pool(&state, &caller, &author, &id, if_match, change).await
}

/// `DELETE /v1/admin/channels/{id}/credentials/{credential}`
pub async fn delete_credential(
    caller: Caller,
    author: Author,
    ids: web::Path<(String, String)>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let (id, credential) = ids.into_inner();
    let remove = |mut pool: Vec<secret::Credential>| {
        let at = place_of(&pool, &credential)?;
        pool.remove(at);
        Ok(pool)
    };
    change_pool(&state, &caller, &author, &id, if_match, remove).await
}

/// `POST /v1/admin/channels/{id}/credentials/{credential}/validate`: one cheap call upstream, and what came back.
pub async fn validate_credential(
    caller: Caller,
    author: Author,
    ids: web::Path<(String, String)>,
    state: web::Data<State>,
    prober: web::Data<Prober>,
) -> Result<web::Json<CredentialCheck>, ApiError> {
    let (id, credential) = ids.into_inner();
    let id = thing::id(Kind::Channel, &id)?;
    state.row(&caller, Kind::Channel, id).await?;
    let db = &state.stores.config.read;
    let channel = store::channels::one(db, id.into(), &state.sealer).await?;
    let channel = channel.ok_or_else(|| ApiError::not_found(Kind::Channel.as_str()))?;
    let credential = Uuid::parse_str(&credential).ok();
    let mut pool = channel.credentials.iter();
    let known = pool.find(|one| Some(one.id.0) == credential);
    let known = known.ok_or_else(|| ApiError::not_found("credential"))?;
    let Some(secret) = &known.secret else {
        let error = "it cannot be opened with this master key, or was given for another address";
        return Ok(web::Json(CredentialCheck {
            error: Some(error.to_owned()),
            ..CredentialCheck::default()
        }));
    };
    // The secret leaves for its vendor: that is told before.
    let told = serde_json::json!({"credential": known.name});
    let done = store::audit::one("credential_check", channel.owner, &channel.name, &told);
    store::audit::note(&state.stores, &state.sealer, &author, &[done]).await?;
    let check = prober.probe(channel.clone(), secret.clone()).await;
    (state.judge)(known, check.status);
    Ok(web::Json(check))
}

/// Changes the pool of a channel, of which the others are kept. The answer is the channel.
async fn change_pool(
    state: &web::Data<State>,
    caller: &Caller,
    author: &Author,
    id: &str,
    if_match: IfMatch,
    change: impl FnOnce(Vec<secret::Credential>) -> Result<Vec<secret::Credential>, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let id = thing::id(Kind::Channel, id)?;
    let owner = state.row(caller, Kind::Channel, id).await?.owner;
    let changing = Changing::<Channels>::begin(state, caller, author, id, owner, None).await?;
    let order = |stored: &Order| {
        let pool = stored.credentials.clone().unwrap_or_default();
        Ok(Order {
            credentials: Some(change(pool)?),
            ..Order::default()
        })
    };
    changing.lay(if_match, order).await
}

fn place_of(pool: &[secret::Credential], id: &str) -> Result<usize, ApiError> {
    let id = Uuid::parse_str(id).ok();
    let mut pool = pool.iter();
    let at = pool.position(|one| match one.secret {
        secret::Secret::Keep(kept) => Some(kept) == id,
        secret::Secret::Value(_) => false,
    });
    at.ok_or_else(|| ApiError::not_found("credential"))
}
