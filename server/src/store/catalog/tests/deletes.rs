//! What goes along with an entry is named, so that readers need not load everything.

use std::collections::BTreeSet;

use super::*;

/// One of everything that can hang on something else.
struct World {
    tenant: Uuid,
    user: Uuid,
    group: Uuid,
    platform_channel: Uuid,
}

async fn world(test: &TestStores) -> World {
    let mut writer = Writer::begin(test).await;
    let tenant = writer.tenant("acme").await;
    let other = writer.tenant("globex").await;
    let (user, group) = (Uuid::new_v4(), Uuid::new_v4());
    let sql = "INSERT INTO users (id, email, name, created_ms, updated_ms) VALUES ($1, 'a@b.example', 'A', 0, 0)";
    writer.run(sql, vec![user.into()]).await;
    for tenant in [tenant, other] {
        let sql =
            "INSERT INTO memberships (id, tenant_id, user_id, role) VALUES ($1, $2, $3, 'viewer')";
        let values = vec![Uuid::new_v4().into(), tenant.into(), user.into()];
        writer.run(sql, values).await;
    }
    let sql = "INSERT INTO groups (id, tenant_id, name, created_ms, updated_ms) VALUES ($1, $2, 'team', 0, 0)";
    writer.run(sql, vec![group.into(), tenant.into()]).await;
    let sql = "INSERT INTO group_members (group_id, user_id, position) VALUES ($1, $2, 0)";
    writer.run(sql, vec![group.into(), user.into()]).await;
    writer.change.changed(Kind::User, user);
    writer.change.changed(Kind::Group, group);
    for (name, owner, id) in [("users", "user_id", user), ("groups", "group_id", group)] {
        let key = writer.key(tenant, name).await;
        writer.bounds(Some(tenant), Some(("key_id", key))).await;
        writer.bounds(Some(tenant), Some((owner, id))).await;
        let sql = format!("UPDATE proxy_keys SET {owner} = $2 WHERE id = $1");
        writer.run(&sql, vec![key.into(), id.into()]).await;
    }
    writer.key(tenant, "tenants").await;
    writer.key(other, "stays").await;
    let platform_channel = writer.channel(None, "openai").await;
    let own_channel = writer.channel(Some(tenant), "own").await;
    writer.model("routed", platform_channel).await;
    // A platform model cannot be routed to a tenant's channel by any command; its row is followed all the same.
    writer.model("odd", own_channel).await;
    let own = writer.model("own", own_channel).await;
    let sql = "UPDATE models SET tenant_id = $2 WHERE id = $1";
    writer.run(sql, vec![own.into(), tenant.into()]).await;
    writer.bounds(None, None).await;
    writer.bounds(Some(tenant), None).await;
    writer
        .bounds(Some(tenant), Some(("channel_id", own_channel)))
        .await;
    writer
        .bounds(None, Some(("channel_id", platform_channel)))
        .await;
    writer.bounds(Some(tenant), Some(("model_id", own))).await;
    writer.commit().await;
    World {
        tenant,
        user,
        group,
        platform_channel,
    }
}

/// All entries of a picture that can be listed, users and groups by what is asked for.
async fn assert_same_as_full(test: &TestStores, known: &Catalog, world: &World, context: &str) {
    let full = load(&test.stores.config, &sealer()).await.expect("loaded");
    let anew = Catalog::default().after(full.delta.clone());
    assert_eq!(known.counts(), anew.counts(), "{context}");
    let user = |catalog: &Catalog| catalog.user(world.user.into()).cloned();
    let group = |catalog: &Catalog| catalog.group(world.group.into()).cloned();
    let tenant = |catalog: &Catalog| catalog.tenant(world.tenant.into()).cloned();
    assert_eq!(user(known), user(&anew), "{context}");
    assert_eq!(group(known), group(&anew), "{context}");
    assert_eq!(tenant(known), tenant(&anew), "{context}");
    for entry in &full.delta.entries {
        let same = match entry {
            Entry::Key(key) => known.key(key.id).is_some_and(|own| **own == *key),
            Entry::Channel(channel) => known
                .channel(channel.id)
                .is_some_and(|own| **own == *channel),
            Entry::Model(model) => known.models().any(|own| **own == *model),
            Entry::Limit(limit) => known.limits(limit.scope) == anew.limits(limit.scope),
            Entry::Budget(budget) => known.budgets(budget.scope) == anew.budgets(budget.scope),
            Entry::Settings(settings) => **known.settings() == *settings,
            Entry::Tenant(_) | Entry::Role(_) | Entry::User(_) | Entry::Group(_) => true,
        };
        assert!(same, "{context}: {entry:?}");
    }
    let bounds = |catalog: &Catalog| (catalog.all_limits().count(), catalog.all_budgets().count());
    assert_eq!(bounds(known), bounds(&anew), "{context}");
}

#[tokio::test]
async fn a_deleted_owner_takes_everything_along_without_a_full_load() {
    for which in ["tenants", "users", "groups", "channels"] {
        for test in testing::all().await {
            let world = world(&test).await;
            let known = loaded(&test.stores).await;
            let mut writer = Writer::begin(&test).await;
            let (kind, id) = match which {
                "tenants" => (Kind::Tenant, world.tenant),
                "users" => (Kind::User, world.user),
                "groups" => (Kind::Group, world.group),
                _ => (Kind::Channel, world.platform_channel),
            };
            writer.delete(which, kind, id).await;
            writer.commit().await;
            let reading = changes_since(&test.stores.config, known.version(), &sealer()).await;
            let delta = reading.expect("a delta").delta;
            assert!(!delta.full, "{which}");
            assert!(!delta.removed.is_empty(), "{which}");
            assert_same_as_full(&test, &known.after(delta), &world, which).await;
        }
    }
}

/// A reference that a later migration adds has to be listed too.
#[tokio::test]
async fn every_reference_between_entries_is_known() {
    let test = testing::sqlite().await;
    let backend = test.stores.config.backend();
    let sql = "SELECT t.name AS name, f.\"table\" AS parent, f.\"from\" AS own
        FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS f WHERE t.type = 'table'";
    let rows = test
        .stores
        .config
        .read
        .query_all_raw(sea_orm::Statement::from_string(backend, sql))
        .await
        .expect("the references");
    let mut there = BTreeSet::new();
    for row in rows {
        let text = |column: &str| row.try_get::<String>("", column).expect("a name");
        there.insert((text("name"), text("own"), text("parent")));
    }
    let tables = [
        (Kind::Tenant, "tenants"),
        (Kind::User, "users"),
        (Kind::Role, "roles"),
        (Kind::Group, "groups"),
        (Kind::Key, "proxy_keys"),
        (Kind::Channel, "channels"),
        (Kind::Model, "models"),
    ];
    let mut known = BTreeSet::new();
    for (kind, parent) in tables {
        for (from, ..) in crate::store::change::references(kind) {
            let (_, place) = from.split_once(" FROM ").expect("a table");
            let (table, column) = place.split_once(" WHERE ").expect("a column");
            known.insert((table.to_owned(), column.to_owned(), parent.to_owned()));
        }
    }
    // Parts of an entry, which is named itself by whoever changes them.
    for (table, column, parent) in [
        ("key_secrets", "key_id", "proxy_keys"),
        ("credentials", "channel_id", "channels"),
        ("routes", "model_id", "models"),
        ("prices", "model_id", "models"),
        ("memberships", "user_id", "users"),
        ("group_members", "user_id", "users"),
        // Whoever takes a membership away names the limits and budgets that stand on it.
        ("limits", "tenant_id", "memberships"),
        ("limits", "user_id", "memberships"),
        ("budgets", "tenant_id", "memberships"),
        ("budgets", "user_id", "memberships"),
        // No entry of the catalog: management reads them where they stand.
        ("service_tokens", "tenant_id", "tenants"),
        ("sign_ins", "user_id", "users"),
        ("sessions", "user_id", "users"),
        ("known_places", "user_id", "users"),
        ("identity_providers", "tenant_id", "tenants"),
        ("identities", "user_id", "users"),
        ("identities", "provider_id", "identity_providers"),
        ("one_time_links", "user_id", "users"),
        ("one_time_links", "tenant_id", "tenants"),
        ("one_time_links", "inviter_id", "users"),
    ] {
        known.insert((table.to_owned(), column.to_owned(), parent.to_owned()));
    }
    assert_eq!(there, known);
}
