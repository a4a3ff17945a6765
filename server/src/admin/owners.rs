//! What a tenant's owners are told by mail, where mail is sent: that somebody changes where its calls go (threats.md, T15).

use std::collections::HashMap;

use parking_lot::Mutex;

use super::State;
use crate::{
    access::Author,
    catalog::Kind,
    clock::now_ms,
    mail::{self, Mail},
    store::{
        self, Stores,
        names::{self, Named},
    },
    tenancy::TenantId,
};

/// After a letter about somebody the next one waits for so long: the audit log has every change.
const ONE_LETTER_MS: i64 = 15 * 60_000;

/// Whose doings which tenant's owners were told of a moment ago.
#[derive(Default)]
pub struct Told(Mutex<HashMap<(TenantId, String), i64>>);

impl Told {
    /// Whether there is something to tell; from now on there is not, for a while.
    fn is_new(&self, tenant: TenantId, who: &str, now_ms: i64) -> bool {
        let mut told = self.0.lock();
        told.retain(|_, last_ms| (*last_ms..*last_ms + ONE_LETTER_MS).contains(&now_ms));
        told.insert((tenant, who.to_owned()), now_ms).is_none()
    }
}

/// Tells the owners of a tenant that something of it which leads its calls is another now. Behind the answer.
pub fn tell(state: &State, kind: Kind, tenant: Option<TenantId>, author: &Author) {
    let leads = matches!(kind, Kind::Channel | Kind::Model);
    let (Some(tenant), Some(mail), true) = (tenant, state.mail.clone(), leads) else {
        return;
    };
    let who = match author.name.as_str() {
        "" => "An operator".to_owned(),
        name => name.to_owned(),
    };
    if !state.told.is_new(tenant, &who, now_ms()) {
        return;
    }
    let stores = state.stores.clone();
    actix_web::rt::spawn(async move {
        if let Err(error) = write(&stores, &mail, tenant, &who).await {
            tracing::error!(%error, "a tenant's owners could not be told where its calls go");
        }
    });
}

async fn write(
    stores: &Stores,
    mail: &Mail,
    tenant: TenantId,
    who: &str,
) -> Result<(), anyhow::Error> {
    let db = &stores.config.read;
    let names = names::of(db, Named::Tenant, &[tenant.0]).await?;
    let Some(name) = names.get(&tenant.0) else {
        return Ok(());
    };
    let owners = store::users::addresses_of_owners(db, tenant).await?;
    for owner in owners.iter().filter(|owner| *owner != who) {
        mail.send(owner, mail::led_elsewhere(name, who)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_tells_of_a_while() {
        let (told, tenant) = (Told::default(), TenantId::random());
        for (who, at_ms, is_new) in [
            ("a", 0, true),
            ("a", 1, false),
            ("b", 1, true),
            ("a", 1 + ONE_LETTER_MS, true),
        ] {
            assert_eq!(told.is_new(tenant, who, at_ms), is_new, "{who} {at_ms}");
        }
        assert!(told.is_new(TenantId::random(), "a", 1 + ONE_LETTER_MS));
    }
}
