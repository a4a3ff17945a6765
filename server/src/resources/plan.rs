//! What differs between two pictures, in words: the answer to `diff`, and to `apply` once it is done.
//!
//! Words only: what is written is decided by comparing the pictures themselves. Secrets are masked, yet another secret
//! always reads differently: one that is not stored yet has no id, and another value's digest is another.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_api_types::apply::{Action, Change, FieldChange};

use super::{Picture, export};
use crate::{
    catalog::{self, Kind},
    secrets::fingerprint,
    tenancy::{Person, ProxyKey, Scope, TenantId, key},
};

/// The changes from one picture to another: what is deleted first, then what is made or changed, owners before what
/// they own, names in order.
pub fn changes(before: &Picture, after: &Picture) -> Vec<Change> {
    let mut kinds = vec![
        of(
            Kind::Tenant,
            &before.tenants,
            &after.tenants,
            (before, after),
            |_, tenant| Words::new(None, &tenant.name, &export::tenant(tenant)),
        ),
        of(
            Kind::Role,
            &before.roles,
            &after.roles,
            (before, after),
            |picture, role| {
                let fields = json!({"permissions": role.permissions.words()});
                Words::new(tenant(picture, Some(role.tenant)), &role.name, &fields)
            },
        ),
        of(
            Kind::Group,
            &before.groups,
            &after.groups,
            (before, after),
            |picture, group| {
                Words::new(tenant(picture, Some(group.tenant)), &group.name, &json!({}))
            },
        ),
        of(
            Kind::User,
            &before.people,
            &after.people,
            (before, after),
            describe_person,
        ),
        of(
            Kind::Channel,
            &before.channels,
            &after.channels,
            (before, after),
            |picture, channel| describe_channel(picture, channel, before),
        ),
        of(
            Kind::Model,
            &before.models,
            &after.models,
            (before, after),
            |picture, model| {
                let owner = tenant(picture, model.owner);
                Words::new(owner, &model.name, &export::model(picture, model))
            },
        ),
        of(
            Kind::Key,
            &before.keys,
            &after.keys,
            (before, after),
            describe_key,
        ),
        of(
            Kind::Limit,
            &before.limits,
            &after.limits,
            (before, after),
            |picture, limit| {
                let what = limit.rule.to_string();
                let what = what.split_once(' ').map_or("", |(_, what)| what);
                describe_bound(picture, limit.scope, what, &limit.rule)
            },
        ),
        of(
            Kind::Budget,
            &before.budgets,
            &after.budgets,
            (before, after),
            |picture, budget| {
                let of = budget.amount.spending().word();
                let what = format!("{of} per {}", budget.period.as_str());
                describe_bound(picture, budget.scope, &what, &budget.rule())
            },
        ),
    ];
    for changes in &mut kinds {
        changes.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    }
    let (deleted, written): (Vec<Vec<Change>>, Vec<Vec<Change>>) = kinds
        .into_iter()
        .map(|changes| {
            changes
                .into_iter()
                .partition(|change| change.action == Action::Delete)
        })
        .unzip();
    let deleted = deleted.into_iter().rev().flatten();
    deleted.chain(written.into_iter().flatten()).collect()
}

/// One thing in words.
struct Words {
    tenant: Option<String>,
    name: String,
    /// What the field is called that has the name.
    called: &'static str,
    fields: Map<String, Value>,
}

impl Words {
    fn new(tenant: Option<String>, name: &str, fields: &impl serde::Serialize) -> Self {
        let mut fields = match serde_json::to_value(fields) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        fields.remove("tenant");
        fields.remove("name");
        Self {
            tenant,
            name: name.to_owned(),
            called: "name",
            fields,
        }
    }
}

fn of<I: Ord + Copy, T: PartialEq>(
    kind: Kind,
    before: &BTreeMap<I, T>,
    after: &BTreeMap<I, T>,
    (old, new): (&Picture, &Picture),
    words: impl Fn(&Picture, &T) -> Words,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, value) in before {
        if !after.contains_key(id) {
            let words = words(old, value);
            changes.push(change(kind, Action::Delete, words, Vec::new()));
        }
    }
    for (id, value) in after {
        let then = match before.get(id) {
            Some(then) if then == value => continue,
            then => then.map(|then| words(old, then)),
        };
        let now = words(new, value);
        let action = if then.is_some() {
            Action::Update
        } else {
            Action::Create
        };
        let renamed = then.as_ref().filter(|then| then.name != now.name);
        let renamed = renamed.map(|then| FieldChange {
            field: then.called.to_owned(),
            before: then.name.clone().into(),
            after: now.name.clone().into(),
        });
        let mut fields = differing(
            then.map(|words| words.fields).unwrap_or_default(),
            &now.fields,
        );
        fields.extend(renamed);
        changes.push(change(kind, action, now, fields));
    }
    changes
}

fn change(kind: Kind, action: Action, words: Words, fields: Vec<FieldChange>) -> Change {
    Change {
        action,
        kind: kind.as_str().to_owned(),
        tenant: words.tenant,
        name: words.name,
        fields,
    }
}

/// The fields that differ, by name. What is absent reads as `null`, so a new thing shows what it has.
fn differing(mut before: Map<String, Value>, after: &Map<String, Value>) -> Vec<FieldChange> {
    let mut fields: Vec<FieldChange> = after
        .iter()
        .map(|(field, after)| FieldChange {
            field: field.clone(),
            before: before.remove(field).unwrap_or_default(),
            after: after.clone(),
        })
        .collect();
    fields.extend(before.into_iter().map(|(field, before)| FieldChange {
        field,
        before,
        after: Value::Null,
    }));
    fields.retain(|field| field.before != field.after);
    fields.sort_by(|a, b| a.field.cmp(&b.field));
    fields
}

fn describe_person(picture: &Picture, person: &Person) -> Words {
    let tenants: Map<String, Value> = person
        .memberships
        .iter()
        .filter_map(|membership| {
            let name = picture.tenant_name(Some(membership.tenant))?;
            let user = export::user(picture, person, membership.tenant)?;
            Some((
                name.to_owned(),
                json!({"role": user.role, "groups": user.groups}),
            ))
        })
        .collect();
    let fields = json!({
        "department": person.department,
        "contact": person.contact,
        "enabled": person.enabled,
        "tenants": tenants,
    });
    let mut words = Words::new(None, &person.email, &fields);
    words.called = "email";
    words
        .fields
        .insert("name".to_owned(), person.name.clone().into());
    words
}

/// A credential that is not stored yet has no id: so another secret of the same beginning reads differently.
fn describe_channel(picture: &Picture, channel: &catalog::Channel, stored: &Picture) -> Words {
    let stored = stored.channels.get(&channel.id);
    let stored = stored
        .map(|channel| channel.credentials.as_slice())
        .unwrap_or_default();
    let exported = export::channel(picture, channel);
    let mut words = Words::new(tenant(picture, channel.owner), &channel.name, &exported);
    let credentials = channel.credentials.iter().map(|credential| {
        let shown = credential.secret.as_ref().map_or_else(
            || "cannot be opened".to_owned(),
            |secret| key::hint(secret.expose()),
        );
        json!({
            "id": stored.iter().find(|other| other.id == credential.id).map(|other| other.id),
            "name": credential.name,
            "secret": shown,
            "enabled": credential.enabled,
        })
    });
    words
        .fields
        .insert("credentials".to_owned(), credentials.collect());
    words
}

fn describe_key(picture: &Picture, key: &ProxyKey) -> Words {
    let exported = export::key(picture, key);
    let mut words = Words::new(tenant(picture, Some(key.tenant)), &key.name, &exported);
    // The digest's own digest: enough to see that it is another one, of no use to anybody else.
    let secrets = key.secrets.iter().map(|secret| {
        let shown: String = fingerprint(&secret.digest).chars().take(12).collect();
        json!({"digest": format!("{shown}…"), "expires_at": secret.expires_ms.map(export::moment)})
    });
    words.fields.insert("value".to_owned(), secrets.collect());
    words
}

/// What a limit or budget counts, and on what it stands: `key laptop: requests per minute`.
fn describe_bound(
    picture: &Picture,
    scope: Scope,
    what: &str,
    rule: &impl serde::Serialize,
) -> Words {
    let thing = picture.name_of(scope).unwrap_or_default();
    let thing = format!("{} {thing}", scope.word());
    let owner = tenant(picture, picture.owner_of(scope));
    Words::new(owner, &format!("{}: {what}", thing.trim_end()), rule)
}

fn tenant(picture: &Picture, id: Option<TenantId>) -> Option<String> {
    picture.tenant_name(id).map(str::to_owned)
}
