//! The audit log.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, web};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;
use weir_api_types::{
    apply::{Action, Change, FieldChange},
    manage::{AuditItem, AuditVerdict, Page},
};

use super::{
    State,
    error::{ApiError, Code},
    list,
};
use crate::{
    access::{Caller, Reach},
    resources,
    secrets::{Place, Sealed, Sealer, Secret},
    store::{
        self,
        audit::{Done, KeptHead},
    },
    tenancy::TenantId,
};

/// `GET /v1/admin/audit-log`: the latest first.
pub async fn list(
    caller: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<Page<AuditItem>>, ApiError> {
    let mut words = list::words(&request)?;
    let rows = list::rows(&mut words)?;
    let before = words.remove("cursor").map(|text| {
        let row = row_of(&state.sealer, &caller, &text);
        row.ok_or_else(|| ApiError::new(Code::InvalidQuery, "cursor is what next_cursor said."))
    });
    let before = before.transpose()?;
    let tenant = words.remove("tenant");
    let mut moment = |word: &str| {
        let at_ms = words.remove(word).map(|text| resources::instant(&text));
        at_ms
            .transpose()
            .map_err(|error| ApiError::field(word, error))
    };
    let (from_ms, to_ms) = (moment("from")?, moment("to")?);
    let asked = store::audit::Asked {
        from_ms,
        to_ms,
        actor: words.remove("actor"),
        action: words.remove("action"),
        object: words.remove("object"),
    };
    list::refuse_rest(&words)?;
    let scope = list::scope(&state, &caller, tenant.as_deref()).await?;
    let db = &state.stores.config.read;
    let mut data = store::audit::list(db, scope, &asked, before, rows).await?;
    let last = data.last().filter(|_| data.len() as u64 >= rows);
    let last = last.and_then(|last| last.seq);
    let next_cursor = last.map(|seq| sealed(&state.sealer, &caller, seq));
    let next_cursor = next_cursor.transpose()?;
    if caller.reach != Reach::Platform {
        data.iter_mut().for_each(|item| item.seq = None);
    }
    Ok(web::Json(Page { data, next_cursor }))
}

/// Where the cursors of a caller's pages are sealed to.
fn place(caller: &Caller) -> Place {
    let tenant = match caller.reach {
        Reach::Platform => None,
        Reach::Tenant(tenant) => Some(tenant.0),
    };
    Place {
        table: "cursors",
        column: "audit_log",
        row: Uuid::nil(),
        tenant,
    }
}

/// The row after which a page goes on. Sealed, as rows are counted over the whole installation (threats.md, T11), and as long for the
/// first one as for the last.
fn sealed(sealer: &Sealer, caller: &Caller, seq: i64) -> Result<String, ApiError> {
    let sealed = sealer.seal(&Secret::new(format!("{seq:020}")), place(caller));
    let sealed = sealed.map_err(|error| store::Error::other(error.to_string()))?;
    Ok(sealed.to_text())
}

/// The row that such a cursor says. None if nobody of the caller's reach was given it.
fn row_of(sealer: &Sealer, caller: &Caller, text: &str) -> Option<i64> {
    let opened = sealer.open(&Sealed::from_text(text)?, place(caller)).ok()?;
    opened.expose().parse().ok()
}

/// `GET /v1/admin/audit-log/verify`, against a head that was kept if `seq` and `head` say one.
pub async fn verify(
    _: Caller,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<web::Json<AuditVerdict>, ApiError> {
    let mut words = list::words(&request)?;
    let (seq, head) = (words.remove("seq"), words.remove("head"));
    list::refuse_rest(&words)?;
    let kept = match (seq.map(|seq| seq.parse::<i64>()), head) {
        (None, None) => None,
        (Some(Ok(seq)), Some(head)) if seq > 0 => Some(KeptHead {
            seq,
            hash: head.trim().to_lowercase(),
        }),
        _ => {
            let detail = "seq and head go together: a row's number, and its hash as it was told.";
            return Err(ApiError::new(Code::InvalidQuery, detail));
        }
    };
    let db = &state.stores.config.read;
    let verdict = store::audit::verify(db, &state.sealer, kept.as_ref()).await?;
    Ok(web::Json(verdict))
}

/// What a change of one thing is in the log; nothing, where nothing differs. Its type shows no secret.
pub fn differs<T: Serialize>(
    kind: &str,
    tenant: impl Into<Option<TenantId>>,
    name: &str,
    before: Option<&T>,
    after: Option<&T>,
) -> Result<Vec<Done>, ApiError> {
    let action = match (before, after) {
        (None, _) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (Some(_), None) => Action::Delete,
    };
    let (before, after) = (fields(before)?, fields(after)?);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |of: &Map<String, Value>, name: &String| of.get(name).cloned().unwrap_or_default();
    let fields = names.into_iter().map(|name| FieldChange {
        field: name.clone(),
        before: value(&before, name),
        after: value(&after, name),
    });
    let fields: Vec<FieldChange> = fields.filter(|one| one.before != one.after).collect();
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Done {
        tenant: tenant.into(),
        change: Change {
            action,
            kind: kind.to_owned(),
            tenant: None,
            name: name.to_owned(),
            fields,
        },
    }])
}

fn fields<T: Serialize>(thing: Option<&T>) -> Result<Map<String, Value>, ApiError> {
    let value = thing.map(serde_json::to_value).transpose();
    let value = value.map_err(|error| store::Error::other(format!("the audit log: {error}")))?;
    match value {
        Some(Value::Object(fields)) => Ok(fields),
        _ => Ok(Map::new()),
    }
}
