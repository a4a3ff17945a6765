//! Seeing a tenant as its owner does: for the platform's people who help there.
//!
//! A request that names a tenant in [`HEADER`] is answered as the tenant's owner would be, as far as the caller may see that anyway;
//! it changes nothing, and the tenant's audit log says who looked (threats.md, T14).

use std::collections::{HashMap, hash_map::Entry};

use actix_web::{HttpRequest, http::Method};
use tokio::sync::Mutex;
use uuid::Uuid;
use weir_api_types::resources::Role;

use super::{
    State,
    access::{author_of_caller, tenant_in},
    error::{ApiError, Code},
    idempotency,
};
use crate::{
    access::{Author, Caller, Permission, Permissions, Reach, Subject, of_role},
    clock::now_ms,
    store,
    tenancy::TenantId,
};

/// Names the tenant, or has its id.
pub const HEADER: &str = "x-weir-view-as";
/// Looking on for so long, from one place on one instance, is one look.
const ONE_LOOK_MS: i64 = 15 * 60_000;

/// Who looked where a moment ago, so that the audit log has not a row for each request.
#[derive(Default)]
pub struct Looks(Mutex<HashMap<Looker, i64>>);

/// Somebody, in a session if it is in one, from an address, at a tenant.
type Looker = (Vec<u8>, Option<Uuid>, String, TenantId);

impl Looks {
    /// Has a look written down unless it goes on. Of several at once the first is, and the others wait until it is.
    async fn note(
        &self,
        looker: Looker,
        now_ms: i64,
        write: impl Future<Output = store::Result<()>>,
    ) -> store::Result<()> {
        let mut looks = self.0.lock().await;
        looks.retain(|_, last_ms| (*last_ms..*last_ms + ONE_LOOK_MS).contains(&now_ms));
        if let Entry::Vacant(place) = looks.entry(looker) {
            write.await?;
            place.insert(now_ms);
        }
        Ok(())
    }
}

/// A look at a tenant that a request asks for.
pub struct View {
    /// The caller as they are there.
    pub caller: Caller,
    tenant: TenantId,
    name: String,
}

/// Whether a request asks for one at all.
pub fn is_asked(request: &HttpRequest) -> bool {
    request.headers().contains_key(HEADER)
}

/// Whoever views as a tenant changes nothing.
pub fn only_looks(method: &Method) -> Result<(), ApiError> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => {
            let detail = "Whoever views as a tenant changes nothing.";
            Err(ApiError::new(Code::Forbidden, detail))
        }
    }
}

/// The look that a request asks for, if it does and the caller may.
pub async fn of(
    request: &HttpRequest,
    state: &State,
    caller: &Caller,
) -> Result<Option<View>, ApiError> {
    let Some(named) = tenant_in(request, HEADER)? else {
        return Ok(None);
    };
    if !caller.reaches(None) || !caller.may(Permission::TenantsView) {
        let detail = format!("{HEADER} needs {}.", Permission::TenantsView);
        return Err(ApiError::new(Code::Forbidden, detail));
    }
    only_looks(request.method())?;
    let known = store::tenants::of_word(&state.stores.config.read, &named).await?;
    let (tenant, name) = known.ok_or_else(|| ApiError::not_found("tenant"))?;
    let owner = of_role(Role::Owner);
    let both = |one: Permission| one.only_looks() && owner.has(one) && caller.may(one);
    let seen = Permissions::that(both);
    Ok(Some(View {
        caller: Caller::new(caller.subject.clone(), Reach::Tenant(tenant), seen),
        tenant,
        name,
    }))
}

impl View {
    /// Has the tenant's audit log say who looks. Without that there is no look.
    pub async fn note(&self, request: &HttpRequest, state: &State) -> Result<(), ApiError> {
        let author = author_of_caller(request, state, &self.caller);
        let session = match &self.caller.subject {
            Subject::User { session, .. } => Some(*session),
            Subject::AdminToken | Subject::ServiceToken { .. } => None,
        };
        let address = author.address.map(|address| address.to_string());
        let subject = idempotency::subject(&self.caller);
        let looker = (subject, session, address.unwrap_or_default(), self.tenant);
        let write = self.write(state, &author);
        Ok(state.looks.note(looker, now_ms(), write).await?)
    }

    async fn write(&self, state: &State, author: &Author) -> store::Result<()> {
        let told = serde_json::json!({"as": Role::Owner});
        let done = store::audit::one("view", Some(self.tenant), &self.name, &told);
        store::audit::note(&state.stores, &state.sealer, author, &[done]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looking_on_is_one_look_for_a_while_and_none_that_was_not_written() {
        let (looks, tenant) = (Looks::default(), TenantId::random());
        let looker = |from: &str| (vec![1], None, from.to_owned(), tenant);
        let written = std::cell::Cell::new(0);
        let write = async || {
            written.set(written.get() + 1);
            Ok(())
        };
        let fails = async { Err(store::Error::NotFound) };
        looks
            .note(looker("here"), 0, fails)
            .await
            .expect_err("it is not written");
        for (from, at_ms, count) in [
            ("here", 0, 1),
            ("here", ONE_LOOK_MS - 1, 1),
            ("there", ONE_LOOK_MS - 1, 2),
            ("here", ONE_LOOK_MS, 3),
            // The clock was set back.
            ("there", 0, 4),
        ] {
            let noted = looks.note(looker(from), at_ms, write()).await;
            noted.expect("it is written");
            assert_eq!(written.get(), count, "{from} {at_ms}");
        }
    }
}
