use super::*;
use crate::tenancy::key::KeySecret;

fn tenant(id: u128) -> Tenant {
    let id = TenantId(Uuid::from_u128(id));
    Tenant {
        id,
        name: id.to_string(),
        enabled: true,
        time_zone: "UTC".to_owned(),
        grants: None,
        policies: Default::default(),
    }
}

fn key(id: u128, tenant: u128, digests: &[u8]) -> ProxyKey {
    let secrets = digests
        .iter()
        .map(|byte| KeySecret {
            digest: [*byte; 32],
            expires_ms: None,
        })
        .collect();
    ProxyKey {
        id: KeyId(Uuid::from_u128(id)),
        tenant: TenantId(Uuid::from_u128(tenant)),
        name: "key".to_owned(),
        owner: Owner::Tenant,
        enabled: true,
        expires_ms: None,
        models: None,
        channels: Vec::new(),
        ip_allow: Vec::new(),
        secrets,
    }
}

fn model(id: u128, owner: Option<u128>, name: &str) -> Model {
    Model {
        id: ModelId(Uuid::from_u128(id)),
        owner: owner.map(|id| TenantId(Uuid::from_u128(id))),
        name: name.to_owned(),
        ..Model::default()
    }
}

fn delta(number: i64, entries: Vec<Entry>, removed: Vec<(Kind, Uuid)>) -> Delta {
    Delta {
        version: Version {
            epoch: Uuid::nil(),
            number,
            changed_ms: 0,
        },
        full: false,
        entries,
        removed,
    }
}

#[test]
fn a_replaced_key_gives_up_its_old_secrets() {
    let first = Catalog::default().after(delta(1, vec![Entry::Key(key(1, 9, &[1, 2]))], vec![]));
    assert!(first.key_by_digest(&[2; 32]).is_some());
    let second = first.after(delta(2, vec![Entry::Key(key(1, 9, &[2, 3]))], vec![]));
    assert!(second.key_by_digest(&[1; 32]).is_none());
    assert!(second.key_by_digest(&[3; 32]).is_some());
    assert!(
        first.key_by_digest(&[1; 32]).is_some(),
        "the older picture is as it was"
    );
    let third = second.after(delta(3, vec![], vec![(Kind::Key, Uuid::from_u128(1))]));
    assert!(third.key_by_digest(&[2; 32]).is_none() && third.version().number == 3);
}

#[test]
fn a_name_may_pass_from_one_model_to_another_in_one_delta() {
    let first = Catalog::default().after(delta(
        1,
        vec![
            Entry::Model(model(1, None, "a")),
            Entry::Model(model(2, None, "b")),
        ],
        vec![],
    ));
    let swapped = first.after(delta(
        2,
        vec![
            Entry::Model(model(1, None, "b")),
            Entry::Model(model(2, None, "a")),
        ],
        vec![],
    ));
    let tenant = TenantId(Uuid::from_u128(9));
    let id = |catalog: &Catalog, name| {
        catalog
            .model_named(tenant, name)
            .map(|model| model.id.0.as_u128())
    };
    assert_eq!((id(&swapped, "a"), id(&swapped, "b")), (Some(2), Some(1)));
}

#[test]
fn a_tenants_own_model_shadows_the_platforms_for_itself_alone() {
    let entries = vec![
        Entry::Tenant(tenant(8)),
        Entry::Tenant(tenant(9)),
        Entry::Model(model(1, None, "gpt")),
        Entry::Model(model(2, Some(9), "gpt")),
        Entry::Model(model(3, Some(9), "own")),
    ];
    let catalog = Catalog::default().after(delta(1, entries, vec![]));
    let id = |tenant: u128, name| {
        let tenant = TenantId(Uuid::from_u128(tenant));
        catalog
            .model_named(tenant, name)
            .map(|model| model.id.0.as_u128())
    };
    assert_eq!(
        (id(9, "gpt"), id(8, "gpt"), id(8, "own")),
        (Some(2), Some(1), None)
    );
}

#[test]
fn a_full_delta_forgets_what_it_does_not_name() {
    let first = Catalog::default().after(delta(1, vec![Entry::Model(model(1, None, "a"))], vec![]));
    let full = Delta {
        full: true,
        ..delta(5, vec![Entry::Model(model(2, None, "b"))], vec![])
    };
    let second = first.after(full);
    assert_eq!(second.counts(), (0, 0, 1));
    assert!(second.model_named(TenantId(Uuid::nil()), "a").is_none());
}
