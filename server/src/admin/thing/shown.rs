//! How a thing is shown, and whether it is still as it was shown.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::{StatusCode, header},
};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use weir_api_types::orders::Detail;

use super::Thing;
use crate::{
    access::{Caller, Permission},
    admin::{
        State,
        error::{ApiError, Code},
    },
    resources::{Picture, export::moment},
    store::{self, catalog::Times},
};

/// The answer that shows a thing; `add` may put in what is shown this once.
pub async fn answer<T: Thing>(
    state: &State,
    caller: &Caller,
    status: StatusCode,
    picture: &Picture,
    id: Uuid,
    times: Times,
    add: impl FnOnce(&mut T::Shown),
) -> Result<HttpResponse, ApiError> {
    let stored = T::stored(picture, id);
    let stored = stored.ok_or_else(|| ApiError::not_found(T::KIND.as_str()))?;
    let tag = tag(&as_known(caller, &stored)?)?;
    let mut shown = T::shown(state, picture, id, stored).await?;
    add(&mut shown);
    Ok(detailed(status, tag, id, times, as_seen(caller, shown)?))
}

/// What an answer shows, without the limits and budgets that the caller may not see.
pub fn as_seen(caller: &Caller, shown: impl Serialize) -> Result<Value, ApiError> {
    without_bounds(shown, |[read, _]| caller.may(read))
}

/// What a tag is made of: without the limits and budgets that the caller may neither see nor set. By a tag of more, somebody could try
/// out what they are not shown.
pub fn as_known(caller: &Caller, stored: impl Serialize) -> Result<Value, ApiError> {
    without_bounds(stored, |either| {
        either.into_iter().any(|one| caller.may(one))
    })
}

fn without_bounds(
    thing: impl Serialize,
    keeps: impl Fn([Permission; 2]) -> bool,
) -> Result<Value, ApiError> {
    let thing = serde_json::to_value(thing);
    let mut thing = thing.map_err(|error| store::Error::other(format!("an answer: {error}")))?;
    for (field, permissions) in [
        ("limits", [Permission::LimitsRead, Permission::LimitsWrite]),
        (
            "budgets",
            [Permission::BudgetsRead, Permission::BudgetsWrite],
        ),
    ] {
        if let Some(fields) = thing.as_object_mut()
            && !keeps(permissions)
        {
            fields.remove(field);
        }
    }
    Ok(thing)
}

/// The same for what is no [`Thing`]: `stored` is what its tag is made of.
pub fn tagged<S: Serialize>(
    status: StatusCode,
    id: Uuid,
    times: Times,
    stored: &impl Serialize,
    shown: S,
) -> Result<HttpResponse, ApiError> {
    Ok(detailed(status, tag(stored)?, id, times, shown))
}

/// The same for what shows its id by itself.
pub fn under_tag(
    status: StatusCode,
    stored: &impl Serialize,
    shown: impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let tag = tag(stored)?;
    Ok(HttpResponse::build(status)
        .insert_header((header::ETAG, tag))
        .json(shown))
}

fn detailed<S: Serialize>(
    status: StatusCode,
    tag: String,
    id: Uuid,
    times: Times,
    thing: S,
) -> HttpResponse {
    let detail = Detail {
        id,
        created_at: moment(times.created_ms),
        updated_at: moment(times.updated_ms),
        thing,
    };
    HttpResponse::build(status)
        .insert_header((header::ETAG, tag))
        .json(detail)
}

/// Bytes of a tag's digest: enough that no two states of a thing ever share one.
const TAG_BYTES: usize = 16;

/// `If-Match`, as the caller sent it.
pub struct IfMatch(Option<String>);

impl FromRequest for IfMatch {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut given = request.headers().get_all(header::IF_MATCH);
        let first = given.next().map(|value| value.to_str().map(str::to_owned));
        ready(match (first, given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(Ok(tags)), None) => Ok(Self(Some(tags))),
            _ => {
                let detail = "If-Match stands there once, with tags as ETag had them.";
                Err(ApiError::new(Code::InvalidQuery, detail))
            }
        })
    }
}

impl IfMatch {
    /// Whether the thing is as the caller saw it; anything will do for one who did not say.
    pub fn check(&self, thing: &impl Serialize) -> Result<(), ApiError> {
        let Some(tags) = &self.0 else { return Ok(()) };
        let now = tag(thing)?;
        let same = |tag: &str| tag.trim() == "*" || tag.trim() == now;
        if tags.split(',').any(same) {
            return Ok(());
        }
        let detail = "Read it again, and decide anew.";
        Err(ApiError::new(Code::Changed, detail))
    }
}

/// What `ETag` says of a thing as it is shown.
pub fn tag(thing: &impl Serialize) -> Result<String, ApiError> {
    let text = serde_json::to_vec(thing);
    let text = text.map_err(|error| store::Error::other(format!("a tag: {error}")))?;
    let digest = Sha256::digest(text);
    Ok(format!("\"{}\"", hex::encode(&digest[..TAG_BYTES])))
}
