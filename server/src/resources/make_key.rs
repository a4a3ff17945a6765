//! One new key for a tenant, by the same rules as a file's.

use weir_api_types::{
    apply::GeneratedKey,
    manage::NewKey,
    resources::{Key, Resources, Tenant},
};

use super::{Error, apply, merge, plan};
use crate::{
    access::Author,
    clock::now_ms,
    secrets::Sealer,
    store::{Change, Stores},
    tenancy::name,
};

/// Where the key stands in the file that is made of the order.
const PLACE: &str = "tenants[0].keys[0].";

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    #[error("there is no tenant of this name")]
    NoTenant,
    #[error("the tenant has a key of this name already")]
    Taken,
    #[error(transparent)]
    Refused(#[from] Error),
}

impl From<crate::store::Error> for NotMade {
    fn from(error: crate::store::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Makes a key with a generated value. Returns it with the version of the catalog that has it.
pub async fn make_key(
    stores: &Stores,
    sealer: &Sealer,
    author: &Author,
    order: NewKey,
) -> Result<(GeneratedKey, i64), NotMade> {
    let mut change = Change::begin(stores).await?;
    let before = apply::read(change.transaction(), sealer).await?;
    let tenant = name::normal(&order.tenant).ok();
    let tenant = tenant
        .and_then(|name| before.tenant_named(&name))
        .ok_or(NotMade::NoTenant)?;
    let name = name::normal(&order.name).unwrap_or_default();
    if before
        .keys
        .values()
        .any(|key| key.tenant == tenant && key.name == name)
    {
        return Err(NotMade::Taken);
    }
    let now_ms = now_ms();
    let mut merged = merge::merge(&before, &file(order), false, now_ms).map_err(refused)?;
    let changes = plan::changes(&before, &merged.picture);
    apply::write(&mut change, sealer, &before, &merged, now_ms).await?;
    apply::record(&change, sealer, author, &before, &merged, &changes).await?;
    let version = change.commit().await.map_err(Error::from)?;
    match merged.generated.pop() {
        Some(made) => Ok((made, version)),
        None => Err(NotMade::Taken),
    }
}

fn file(order: NewKey) -> Resources {
    let key = Key {
        name: order.name,
        user: Some(order.user),
        group: Some(order.group),
        models: Some(order.models),
        ip_allow: Some(order.ip_allow),
        expires_at: Some(order.expires_at),
        ..Key::default()
    };
    let tenant = Tenant {
        name: order.tenant,
        keys: Some(vec![key]),
        ..Tenant::default()
    };
    Resources {
        tenants: Some(vec![tenant]),
        ..Resources::default()
    }
}

/// The order's own paths instead of the file's.
fn refused(mut errors: Vec<weir_api_types::problem::FieldError>) -> Error {
    for error in &mut errors {
        if let Some(path) = error.path.strip_prefix(PLACE) {
            error.path = path.to_owned();
        }
    }
    Error::Refused(errors)
}
