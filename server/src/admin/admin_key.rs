//! The admin token and its care: rotated where Weir made it, shown masked, and tried.

use std::path::PathBuf;

use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;
use weir_api_types::{
    secret::Sensitive,
    security::{AdminKeyInfo, KeyCheck, KeyToCheck, NewAdminKey},
};

use super::{
    State,
    access::{ShortToken, Token},
    audit,
    body::Order,
    error::{ApiError, Code},
};
use crate::{
    access::{Author, Caller},
    clock::now_ms,
    private_file::Beside,
    resources::export::moment,
    store::{self, service_tokens},
    tenancy::key::{self, Value},
};

/// The admin token, which can be another one later.
pub struct AdminKey {
    present: ArcSwap<Present>,
    /// Where Weir keeps the one that it made; `None`: it is set from outside.
    file: Option<PathBuf>,
    /// Held by who makes another one: the file and this process have the same then.
    rotating: tokio::sync::Mutex<()>,
}

struct Present {
    token: Token,
    hint: String,
    /// Since when this process believes it.
    since_ms: i64,
}

impl Present {
    fn new(text: &str) -> Result<Self, ShortToken> {
        Ok(Self {
            token: Token::new(text)?,
            hint: key::hint(text),
            since_ms: now_ms(),
        })
    }
}

impl AdminKey {
    /// One that is too short refuses the start.
    pub fn new(text: &str, file: Option<PathBuf>) -> Result<Self, ShortToken> {
        Ok(Self {
            present: ArcSwap::from_pointee(Present::new(text)?),
            file,
            rotating: tokio::sync::Mutex::default(),
        })
    }

    /// Whether a presented token is the present one; takes the same time for any.
    pub fn is(&self, presented: &str) -> bool {
        self.present.load().token.is(presented)
    }
}

/// `POST /v1/admin/security/rotate-admin-key`: another admin token; the one before ends at once.
pub async fn rotate(
    _: Caller,
    author: Author,
    state: web::Data<State>,
) -> Result<HttpResponse, ApiError> {
    let Some(file) = state.token.file.clone() else {
        let detail =
            "The admin token is set from outside: change WEIR_ADMIN_TOKEN there, and start again.";
        return Err(ApiError::new(Code::SetOutside, detail));
    };
    let _rotating = state.token.rotating.lock().await;
    let value = Value::of_admin_token();
    let text = value.reveal().to_owned();
    let next = Present::new(&text).map_err(|error| store::Error::other(error.to_string()))?;
    let info = NewAdminKey {
        hint: next.hint.clone(),
        value: Some(text.clone()),
    };
    let told = |hint: &str| serde_json::json!({ "hint": hint });
    let before = told(&state.token.present.load().hint);
    let after = told(&next.hint);
    let done = audit::differs("admin_token", None, "", Some(&before), Some(&after))?;
    // In the file's place only when it is in the audit log.
    let written = on_disk(move || Beside::write(&file, &text)).await?;
    let transaction = state.stores.config.begin_write().await?;
    store::audit::append(&transaction, &state.sealer, &author, &done).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    on_disk(move || written.put()).await?;
    state.token.present.store(next.into());
    Ok(HttpResponse::Ok().json(info))
}

/// Work on the file, on a thread that may wait for the disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = web::block(work).await;
    let done = done.map_err(|error| store::Error::other(error.to_string()))?;
    let not_kept = |error| store::Error::other(format!("the admin token's file: {error}"));
    Ok(done.map_err(not_kept)?)
}

/// `GET /v1/admin/security/key-info`
pub async fn info(_: Caller, state: web::Data<State>) -> web::Json<AdminKeyInfo> {
    let present = state.token.present.load();
    web::Json(AdminKeyInfo {
        source: match state.token.file {
            Some(_) => "file",
            None => "setting",
        }
        .to_owned(),
        hint: present.hint.clone(),
        since: moment(present.since_ms),
    })
}

/// `POST /v1/admin/security/validate-key`: whether a value lets anybody in, and as what. It is not used by that.
pub async fn validate(
    _: Caller,
    author: Author,
    order: Order<KeyToCheck>,
    state: web::Data<State>,
) -> Result<web::Json<KeyCheck>, ApiError> {
    let value = order.0.key;
    let check = checked(&state, &value).await?;
    let told = serde_json::json!({"kind": check.kind, "id": check.id});
    let done = store::audit::one("key_check", None, "", &told);
    store::audit::note(&state.stores, &state.sealer, &author, &[done]).await?;
    Ok(web::Json(check))
}

/// Whom a value lets in now, if anybody.
async fn checked(state: &State, value: &Sensitive) -> Result<KeyCheck, ApiError> {
    let digest = key::digest(value.expose().as_bytes());
    if state.token.is(value.expose()) {
        return Ok(KeyCheck::of("admin_token", None));
    }
    let token = service_tokens::usable(&state.stores.config.read, &digest, now_ms()).await?;
    if let Some(token) = token {
        return Ok(KeyCheck::of("service_token", Some(token.id)));
    }
    let catalog = state.catalog.load();
    let known = catalog.key_by_digest(&digest);
    let usable = known.filter(|key| catalog.unusable(key, &digest, now_ms()).is_none());
    Ok(match usable {
        Some(key) => KeyCheck::of("proxy_key", Some(key.id.0)),
        None => KeyCheck::default(),
    })
}
