//! Proxy keys: listed, made, changed, rotated, deleted.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use sea_orm::ConnectionTrait;
use uuid::Uuid;
use weir_api_types::{
    manage::{KeyItem, Page},
    orders::{Key as Order, KeyDetail, Rotation},
    resources::{Key, Resources, Tenant},
    secret::{Secret, Sensitive},
};

use super::{
    State,
    body::Order as Body,
    error::{ApiError, Code},
    list,
    thing::{self, IfMatch, Made, Thing, normal_name},
};
use crate::{
    access::{Author, Caller},
    catalog::Kind,
    clock::now_ms,
    resources::{Edit, NO_CHANNEL, Picture, export},
    store::{self, catalog::Slice, keys::Whose},
    tenancy::{
        KeyId, TenantId,
        key::{KeySecret, Value},
    },
};

/// For so long the value before stays valid too, unless the order says otherwise.
const USUAL_GRACE_SECONDS: u32 = 3_600;
/// The longest that two values are valid.
const MAX_GRACE_SECONDS: u32 = 30 * 24 * 3_600;

/// `/v1/admin/keys/{id}`
pub struct Keys;

/// `GET /v1/admin/keys`
pub async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<KeyItem>>, ApiError> {
    let (asked, mut words) = list::named(&request)?;
    let whose = Whose {
        user: words.remove("user").map(list::email),
        group: words.remove("group").map(list::name),
    };
    list::refuse_rest(&words)?;
    let scope = asked.scope(&state, &caller).await?;
    let items = store::keys::list(&state.stores.config.read, scope, &whose, &asked.page).await?;
    Ok(list::answer(items))
}

/// `POST /v1/admin/keys`: the one answer that shows the value.
pub async fn create(
    caller: Caller,
    author: Author,
    order: Body<Order>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let owner = state.tenant_of(&caller, order.0.tenant.as_deref()).await?;
    let made = thing::make::<Keys>(&state, &caller, &author, order.0, Some(owner)).await?;
    shown_once(&state, &caller, made).await
}

/// The answer to whoever made a key, the only one with its value.
pub async fn shown_once(
    state: &State,
    caller: &Caller,
    made: Made,
) -> Result<HttpResponse, ApiError> {
    let (status, value) = (StatusCode::CREATED, made.value);
    let show = |shown: &mut KeyDetail| shown.key.value = value.map(Sensitive::new);
    let (picture, id, times) = (&made.picture, made.id, made.times);
    thing::answer::<Keys>(state, caller, status, picture, id, times, show).await
}

/// `POST /v1/admin/keys/{id}/rotate`: another value, shown in this one answer. The key stays who it is.
pub async fn rotate(
    caller: Caller,
    author: Author,
    id: web::Path<String>,
    if_match: IfMatch,
    order: Body<Rotation>,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let id = thing::id(Kind::Key, &id)?;
    let owner = state.row(&caller, Kind::Key, id).await?.owner;
    let grace_seconds = order.0.grace_seconds.unwrap_or(USUAL_GRACE_SECONDS);
    if grace_seconds > MAX_GRACE_SECONDS {
        let message = format!("is at most {MAX_GRACE_SECONDS}");
        return Err(ApiError::field("grace_seconds", message));
    }
    let mut edit = Edit::begin(&state.stores, &state.sealer, &author).await?;
    let slice = Keys::slice(edit.db(), owner, Some(id), None).await?;
    let before = edit.read(&slice).await?;
    let absent = || ApiError::not_found("key");
    let stored = Keys::stored(&before, id).ok_or_else(absent)?;
    if_match.check(&thing::as_known(&caller, &stored)?)?;
    let (mut rotated, value) = (before.clone(), Value::generate());
    let key = rotated.keys.get_mut(&KeyId(id)).ok_or_else(absent)?;
    let ends_ms = now_ms() + i64::from(grace_seconds) * 1_000;
    // Of two that are valid, the one that was to end goes now.
    let kept = key
        .secrets
        .iter()
        .find(|secret| secret.expires_ms.is_none());
    let kept = kept.filter(|_| grace_seconds > 0).map(|secret| KeySecret {
        digest: secret.digest,
        expires_ms: Some(ends_ms),
    });
    let new = KeySecret {
        digest: value.digest(),
        expires_ms: None,
    };
    key.secrets = kept.into_iter().chain([new]).collect();
    edit.brings(value.digest(), value.hint());
    let file = Resources::default();
    let laid = edit.lay(&before, &rotated, &file, "").await?;
    state.catch_up(laid.version).await;
    let row = store::catalog::row(&state.stores.config.read, Kind::Key, id).await?;
    let show = |shown: &mut KeyDetail| shown.key.value = Some(Sensitive::new(value.reveal()));
    thing::answer::<Keys>(
        &state,
        &caller,
        StatusCode::OK,
        &laid.picture,
        id,
        row.times,
        show,
    )
    .await
}

impl Thing for Keys {
    type Order = Order;
    type Shown = KeyDetail;

    const KIND: Kind = Kind::Key;
    const PLACE: &'static str = "tenants[0].keys[0]";

    fn bounds(order: &Order) -> (bool, bool) {
        (order.limits.is_some(), order.budgets.is_some())
    }

    fn tenant(order: &Order) -> Option<&str> {
        order.tenant.as_deref()
    }

    fn name(order: &Order) -> Option<&str> {
        order.name.as_deref()
    }

    fn normal(name: &str) -> Result<String, ApiError> {
        normal_name(name)
    }

    /// A value that is given could be one that another tenant's programs use: only operators may say it. A channel that the tenant
    /// is not granted is as one that there is not.
    fn allow(
        caller: &Caller,
        picture: &Picture,
        owner: Option<TenantId>,
        order: &Order,
        id: Option<Uuid>,
    ) -> Result<(), ApiError> {
        let channels = order.channels.iter().flatten().enumerate();
        for (at, given) in channels.filter(|_| !caller.reaches(None)) {
            if !picture.is_granted(owner, &given.channel) {
                let place = format!("channels[{at}].channel");
                return Err(ApiError::field(&place, NO_CHANNEL));
            }
        }
        let given = [
            ("value", order.value.is_some()),
            ("sha256", order.sha256.is_some()),
        ];
        let Some((field, _)) = given.into_iter().find(|(_, is)| *is) else {
            return Ok(());
        };
        if id.is_some() {
            return Err(ApiError::field(field, "never changes: rotate the key"));
        }
        if caller.reaches(None) {
            return Ok(());
        }
        let detail = format!("Only the platform's operators may give a key its {field}.");
        Err(ApiError::new(Code::Forbidden, detail))
    }

    /// The key, its namesake, and the one whom it belongs to or shall belong to.
    async fn slice(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Option<Uuid>,
        order: Option<&Order>,
    ) -> Result<Slice, ApiError> {
        let owner = owner.ok_or(store::Error::NotFound)?;
        let mut keys: Vec<KeyId> = id.into_iter().map(Into::into).collect();
        let mut people = Vec::new();
        if let Some(id) = id {
            people.extend(store::keys::user_of(db, id.into()).await?);
        }
        if let Some(name) = order.and_then(|order| order.name.as_deref()) {
            keys.extend(store::keys::named(db, owner, &normal_name(name)?).await?);
        }
        // With all keys of whoever gets it: a tenant may say how many that may be.
        if let Some(Some(email)) = order.and_then(|order| order.user.as_ref())
            && let Some(user) = store::users::of_email(db, &email.trim().to_lowercase()).await?
        {
            keys.extend(store::keys::of_user(db, owner, user).await?);
            people.push(user);
        }
        Ok(Slice {
            owner: Some(owner),
            keys,
            people,
            ..Slice::default()
        })
    }

    fn find(picture: &Picture, owner: Option<TenantId>, name: &str) -> Option<Uuid> {
        let mut keys = picture.keys.values();
        let key = keys.find(|key| Some(key.tenant) == owner && key.name == name);
        key.map(|key| key.id.0)
    }

    fn name_in(picture: &mut Picture, id: Uuid) -> Option<&mut String> {
        let key = picture.keys.get_mut(&KeyId(id))?;
        Some(&mut key.name)
    }

    fn file(order: Order, tenant: Option<String>, name: String) -> Resources {
        let key = Key {
            name,
            user: order.user,
            group: order.group,
            value: order.value.map(Secret::Value),
            sha256: order.sha256,
            models: order.models,
            ip_allow: order.ip_allow,
            channels: order.channels,
            expires_at: order.expires_at,
            limits: order.limits,
            budgets: order.budgets,
            enabled: order.enabled,
        };
        let tenant = Tenant {
            name: tenant.unwrap_or_default(),
            keys: Some(vec![key]),
            ..Tenant::default()
        };
        Resources {
            tenants: Some(vec![tenant]),
            ..Resources::default()
        }
    }

    fn stored(picture: &Picture, id: Uuid) -> Option<Order> {
        let stored = picture.keys.get(&KeyId(id))?;
        let key = export::key(picture, stored);
        Some(Order {
            tenant: picture.tenant_name(Some(stored.tenant)).map(str::to_owned),
            name: Some(key.name),
            user: key.user,
            group: key.group,
            value: None,
            sha256: None,
            models: key.models,
            ip_allow: key.ip_allow,
            channels: key.channels,
            expires_at: key.expires_at,
            limits: key.limits,
            budgets: key.budgets,
            enabled: key.enabled,
        })
    }

    async fn shown(
        state: &State,
        picture: &Picture,
        id: Uuid,
        stored: Order,
    ) -> Result<KeyDetail, ApiError> {
        let secrets = picture.keys.get(&KeyId(id));
        let secrets = secrets
            .map(|key| key.secrets.as_slice())
            .unwrap_or_default();
        let ends_ms = secrets.iter().find_map(|secret| secret.expires_ms);
        Ok(KeyDetail {
            hints: store::keys::hints(&state.stores.config.read, id.into()).await?,
            old_value_until: ends_ms.map(export::moment),
            key: stored,
        })
    }

    async fn delete(
        db: &impl ConnectionTrait,
        owner: Option<TenantId>,
        id: Uuid,
    ) -> store::Result<()> {
        let owner = owner.ok_or(store::Error::NotFound)?;
        store::keys::delete(db, owner, id.into()).await
    }
}
