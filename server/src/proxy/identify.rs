//! Who is calling: proxy key -> [`Caller`].
//!
//! One code path for every way to carry a key. The look-up is by digest alone and touches no store, so every miss costs
//! the same. A key that is known but may not be used gives its caller too: the refusal is booked.

use std::{net::IpAddr, sync::Arc};

use actix_web::http::header::{self, HeaderMap};

use super::error::Refusal;
use crate::{
    catalog::{Catalog, Unusable},
    tenancy::{GroupId, ProxyKey, Tenant, UserId, address, key},
};

/// Headers that may carry a key, besides `Authorization` and the query's `key`.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];
/// Longest value that is looked at.
const MAX_KEY_BYTES: usize = 512;

/// A caller whose key is known.
#[derive(Debug, Clone)]
pub struct Caller {
    pub key: Arc<ProxyKey>,
    pub tenant: Arc<Tenant>,
    pub user: Option<UserId>,
    /// The one group that limits and reports count.
    pub group: Option<GroupId>,
    pub address: IpAddr,
}

/// Why nobody, or nobody who may call, was found.
#[derive(Debug)]
pub enum Unidentified {
    /// In metrics and the access log only.
    Unknown(Refusal),
    /// Booked as a refusal of the key.
    Known(Box<Caller>, Refusal),
}

/// Finds the caller. `query_keys` are the values of the query's `key`, already taken out of it.
pub fn caller(
    headers: &HeaderMap,
    query_keys: Vec<Vec<u8>>,
    address: IpAddr,
    catalog: &Catalog,
    now_ms: i64,
) -> Result<Caller, Unidentified> {
    let value = presented(headers, query_keys).map_err(Unidentified::Unknown)?;
    let digest = key::digest(&value);
    let unknown = || Unidentified::Unknown(Refusal::InvalidKey);
    let key = catalog.key_by_digest(&digest).ok_or_else(unknown)?;
    let tenant = catalog.tenant(key.tenant).ok_or_else(unknown)?;
    let (user, group) = catalog.owners(key);
    let caller = Caller {
        key: Arc::clone(key),
        tenant: Arc::clone(tenant),
        user,
        group,
        address,
    };
    match refusal(&caller, &digest, catalog, now_ms) {
        Some(refusal) => Err(Unidentified::Known(Box::new(caller), refusal)),
        None => Ok(caller),
    }
}

/// Whether a key that was good when its call began still is. Expiry counts from the next call only.
pub fn still_allowed(caller: &Caller, catalog: &Catalog) -> bool {
    let key = catalog.key(caller.key.id);
    key.is_some_and(|key| catalog.is_active(key))
}

fn refusal(
    caller: &Caller,
    digest: &key::Digest,
    catalog: &Catalog,
    now_ms: i64,
) -> Option<Refusal> {
    let key = &caller.key;
    match catalog.unusable(key, digest, now_ms) {
        Some(Unusable::Disabled) => return Some(Refusal::KeyDisabled),
        Some(Unusable::Expired) => return Some(Refusal::KeyExpired),
        None => {}
    }
    if !key.ip_allow.is_empty() && !address::contains(&key.ip_allow, caller.address) {
        return Some(Refusal::IpNotAllowed(caller.address));
    }
    None
}

/// The one value that the request carries, in however many ways.
fn presented(headers: &HeaderMap, query_keys: Vec<Vec<u8>>) -> Result<Vec<u8>, Refusal> {
    let bearers = headers
        .get_all(header::AUTHORIZATION)
        .map(|value| bearer(value.as_bytes()));
    let plain = KEY_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(|value| value.as_bytes().to_vec());
    let mut values = bearers.chain(plain).chain(query_keys);
    let Some(first) = values.next() else {
        return Err(Refusal::NoKey);
    };
    if values.any(|other| other != first) {
        return Err(Refusal::SeveralKeys);
    }
    if first.is_empty() || first.len() > MAX_KEY_BYTES {
        return Err(Refusal::InvalidKey);
    }
    Ok(first)
}

/// What follows `Bearer` and one space; anything else is no key, whatever it says.
fn bearer(value: &[u8]) -> Vec<u8> {
    match value.split_first_chunk::<7>() {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest.to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, net::Ipv4Addr, time::Instant};

    use uuid::Uuid;

    use super::*;
    use crate::{
        catalog::{Delta, Entry},
        tenancy::{KeyId, Owner, TenantId, key::KeySecret},
    };

    const GOOD: &str = "wk-acme-0123456789-abcdefghij-KLMNOP";
    const DISABLED: &str = "wk-acme-9876543210-abcdefghij-KLMNOP";
    const EXPIRED: &str = "wk-acme-5555555555-abcdefghij-KLMNOP";
    const TRIES: usize = 10_000;

    fn acme() -> Catalog {
        let id = TenantId(Uuid::from_u128(9));
        let acme = Tenant {
            id,
            name: "acme".to_owned(),
            enabled: true,
            time_zone: "UTC".to_owned(),
            grants: None,
            policies: Default::default(),
        };
        let key = |at: u128, value: &str, enabled: bool, expires_ms| ProxyKey {
            id: KeyId(Uuid::from_u128(at)),
            tenant: id,
            name: format!("key {at}"),
            owner: Owner::Tenant,
            enabled,
            expires_ms,
            models: None,
            channels: Vec::new(),
            ip_allow: Vec::new(),
            secrets: vec![KeySecret {
                digest: key::digest(value.as_bytes()),
                expires_ms: None,
            }],
        };
        let entries = vec![
            Entry::Tenant(acme),
            Entry::Key(key(1, GOOD, true, None)),
            Entry::Key(key(2, DISABLED, false, None)),
            Entry::Key(key(3, EXPIRED, true, Some(1))),
        ];
        Catalog::default().after(Delta {
            entries,
            ..Delta::default()
        })
    }

    fn found(catalog: &Catalog, value: &str) -> Result<Caller, Unidentified> {
        let mut headers = HeaderMap::new();
        let value = value.parse().expect("a value");
        headers.insert(header::HeaderName::from_static("x-api-key"), value);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        caller(&headers, Vec::new(), address, catalog, 2)
    }

    /// What is looked up is a digest, so that a value near a key's takes as long as any other, be the key good, disabled or expired:
    /// medians of 10,000 each. Only who has the whole value hears more.
    ///
    /// Threats: A12.
    #[test]
    fn no_miss_takes_longer_for_being_near_a_key() {
        let catalog = acme();
        assert!(found(&catalog, GOOD).is_ok());
        for (value, code) in [(DISABLED, "key_disabled"), (EXPIRED, "key_expired")] {
            match found(&catalog, value) {
                Err(Unidentified::Known(_, refusal)) => assert_eq!(refusal.code(), code),
                other => panic!("{value}: {other:?}"),
            }
        }
        let near = [GOOD, DISABLED, EXPIRED].into_iter().flat_map(|value| {
            let (beginning, last) = (&value[..20], value.len() - 1);
            let tail = format!("{beginning}{}", "x".repeat(value.len() - 20));
            [tail, format!("{}Q", &value[..last])]
        });
        let misses: Vec<String> = near.chain(["x".repeat(GOOD.len())]).collect();
        let mut took = vec![Vec::with_capacity(TRIES); misses.len()];
        for _ in 0..TRIES {
            for (miss, took) in misses.iter().zip(&mut took) {
                let began = Instant::now();
                let answer = found(black_box(&catalog), black_box(miss));
                took.push(began.elapsed());
                assert!(
                    matches!(answer, Err(Unidentified::Unknown(Refusal::InvalidKey))),
                    "{answer:?}"
                );
            }
        }
        let medians = took.into_iter().map(|mut took| {
            took.sort_unstable();
            took[took.len() / 2]
        });
        let medians: Vec<_> = medians.collect();
        let (least, most) = (medians.iter().min(), medians.iter().max());
        assert!(most < least.map(|least| *least * 2).as_ref(), "{medians:?}");
    }
}
