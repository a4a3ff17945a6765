//! What a tenant's owners are told by mail, where mail is sent: that somebody changes where its calls go (threats.md, T15).

use std::collections::HashMap;

use actix_web::web;
use parking_lot::Mutex;
use uuid::Uuid;

use super::State;
use crate::{
    access::Author,
    catalog::Kind,
    clock::now_ms,
    mail::{self, Mail},
    store::{
        self,
        names::{self, Named},
    },
    tenancy::TenantId,
};

/// After a letter about somebody the next one waits for so long: the audit log has every change.
const ONE_LETTER_MS: i64 = 15 * 60_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// What one tenant's doings may have mailed in a day, by one instance; beyond that the log says what is not sent.
const MAX_A_DAY: usize = 200;

/// Who does something: what they are, and their id.
type Doer = (&'static str, Option<Uuid>);

/// Whose doings which tenant's owners were told of a moment ago, and when letters went.
#[derive(Default)]
pub struct Told(Mutex<HashMap<TenantId, Letters>>);

#[derive(Default)]
struct Letters {
    of: HashMap<Doer, i64>,
    /// When, for the last day.
    sent_ms: Vec<i64>,
}

impl Told {
    /// Whether there is something to tell; from now on there is not, for a while.
    fn is_new(&self, tenant: TenantId, doer: Doer, now_ms: i64) -> bool {
        let mut told = self.0.lock();
        let letters = told.entry(tenant).or_default();
        let lately = |last_ms: i64| (last_ms..last_ms + ONE_LETTER_MS).contains(&now_ms);
        letters.of.retain(|_, last_ms| lately(*last_ms));
        letters.of.insert(doer, now_ms).is_none()
    }

    /// Whether one more letter may go for a tenant.
    fn may_send(&self, tenant: TenantId, now_ms: i64) -> bool {
        let mut told = self.0.lock();
        let lately = |last_ms: i64| (last_ms..last_ms + DAY_MS).contains(&now_ms);
        told.retain(|_, letters| {
            letters.sent_ms.retain(|last_ms| lately(*last_ms));
            !letters.of.is_empty() || !letters.sent_ms.is_empty()
        });
        let letters = told.entry(tenant).or_default();
        let may = letters.sent_ms.len() < MAX_A_DAY;
        if may {
            letters.sent_ms.push(now_ms);
        }
        may
    }
}

/// Tells the owners of a tenant that something of it which leads its calls is another now. Behind the answer.
pub fn tell(state: &web::Data<State>, kind: Kind, tenant: Option<TenantId>, author: &Author) {
    let leads = matches!(kind, Kind::Channel | Kind::Model);
    let (Some(tenant), Some(mail), true) = (tenant, state.mail.clone(), leads) else {
        return;
    };
    if !state
        .told
        .is_new(tenant, (author.kind, author.id), now_ms())
    {
        return;
    }
    // A token is called what whoever made it liked, such as somebody's address.
    let (own, who) = match (author.kind, author.name.as_str()) {
        ("user", email) => (Some(email.to_owned()), email.to_owned()),
        ("service_token", name) => (None, format!("The service token \u{201c}{name}\u{201d}")),
        _ => (None, "An operator".to_owned()),
    };
    let state = state.clone();
    actix_web::rt::spawn(async move {
        if let Err(error) = write(&state, &mail, tenant, own.as_deref(), &who).await {
            tracing::error!(%error, "a tenant's owners could not be told where its calls go");
        }
    });
}

async fn write(
    state: &State,
    mail: &Mail,
    tenant: TenantId,
    own: Option<&str>,
    who: &str,
) -> store::Result<()> {
    let db = &state.stores.config.read;
    let names = names::of(db, Named::Tenant, &[tenant.0]).await?;
    let Some(name) = names.get(&tenant.0) else {
        return Ok(());
    };
    let owners = store::users::addresses_of_owners(db, tenant).await?;
    for owner in owners.iter().filter(|owner| own != Some(owner.as_str())) {
        if !state.told.may_send(tenant, now_ms()) {
            tracing::warn!(%tenant, "so many letters went to its owners today that no more go");
            break;
        }
        // The others are told all the same.
        if let Err(error) = mail.send(owner, mail::led_elsewhere(name, who)).await {
            tracing::error!(%error, "an owner could not be told where the tenant's calls go");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_tells_of_a_while_and_so_many_go_in_a_day() {
        let (told, tenant) = (Told::default(), TenantId::random());
        let (token, person) = (("service_token", Some(Uuid::new_v4())), ("user", None));
        for (doer, at_ms, is_new) in [
            (token, 0, true),
            (token, 1, false),
            (person, 1, true),
            (token, 1 + ONE_LETTER_MS, true),
        ] {
            assert_eq!(told.is_new(tenant, doer, at_ms), is_new, "{doer:?} {at_ms}");
        }
        let other = TenantId::random();
        assert!(told.is_new(other, token, 1 + ONE_LETTER_MS));
        let went = (0..2 * MAX_A_DAY).filter(|_| told.may_send(tenant, 0));
        assert_eq!(went.count(), MAX_A_DAY);
        assert!(told.may_send(other, 0) && told.may_send(tenant, DAY_MS));
    }
}
