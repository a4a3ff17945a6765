mod deletes;

use sea_orm::Value;
use serde_json::json;

use super::*;
use crate::{
    catalog::{Catalog, Entry},
    secrets::{Place, Secret},
    store::{
        Change, Stores,
        testing::{self, TestStores},
    },
    tenancy::{ChannelId, KeyId, ModelId, TenantId},
};

fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

/// Writes rows as the aggregates' own functions would, in one change.
struct Writer<'a> {
    test: &'a TestStores,
    change: Change,
}

impl<'a> Writer<'a> {
    async fn begin(test: &'a TestStores) -> Self {
        let change = Change::begin(&test.stores).await.expect("begun");
        Self { test, change }
    }

    async fn run(&self, sql: &str, values: Vec<Value>) {
        let backend = self.test.stores.config.backend();
        let statement = sea_orm::Statement::from_sql_and_values(backend, sql, values);
        let done = self.change.transaction().execute_raw(statement).await;
        done.expect(sql);
    }

    async fn tenant(&mut self, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        let sql = "INSERT INTO tenants (id, name, grants, created_ms, updated_ms) VALUES ($1, $2, $3, 0, 0)";
        let grants = json!({"models": ["*"]});
        self.run(sql, vec![id.into(), name.into(), grants.into()])
            .await;
        self.change.changed(Kind::Tenant, id);
        id
    }

    async fn key(&mut self, tenant: Uuid, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        let sql = "INSERT INTO proxy_keys (id, tenant_id, name, models, ip_allow, channels, created_ms, updated_ms)
            VALUES ($1, $2, $3, $4, $5, $6, 0, 0)";
        let (models, networks) = (json!(["gpt-*"]), json!(["10.0.0.0/8"]));
        let channels = json!([{"channel_id": Uuid::new_v4(), "priority": 3}]);
        let values = vec![
            id.into(),
            tenant.into(),
            name.into(),
            models.into(),
            networks.into(),
            channels.into(),
        ];
        self.run(sql, values).await;
        let sql = "INSERT INTO key_secrets (id, key_id, slot, digest, hint, created_ms) VALUES ($1, $2, 0, $3, '', 0)";
        let digest = rand::random::<[u8; 32]>().to_vec();
        self.run(sql, vec![Uuid::new_v4().into(), id.into(), digest.into()])
            .await;
        self.change.changed(Kind::Key, id);
        id
    }

    async fn channel(&mut self, owner: Option<Uuid>, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        let sql = "INSERT INTO channels (id, tenant_id, name, kind, base_url, timeouts, retry, settings, weight, priority, origin, created_ms, updated_ms)
            VALUES ($1, $2, $3, 'openai', 'https://api.example/v1', $4, $4, $4, 100, 0, 'https://api.example:443', 0, 0)";
        let values = vec![id.into(), owner.into(), name.into(), json!({}).into()];
        self.run(sql, values).await;
        self.change.changed(Kind::Channel, id);
        id
    }

    async fn credential(&self, channel: Uuid, owner: Option<Uuid>, origin: &str) -> Uuid {
        let id = Uuid::new_v4();
        let place = Place {
            table: "credentials",
            column: "sealed",
            row: id,
            tenant: owner,
        };
        let sealed = sealer()
            .seal(&Secret::new("sk-vendor"), place)
            .expect("sealed");
        let sql = "INSERT INTO credentials (id, channel_id, position, sealed, master_key_id, origin, created_ms, updated_ms)
            VALUES ($1, $2, 0, $3, $4, $5, 0, 0)";
        let values = vec![
            id.into(),
            channel.into(),
            sealed.bytes.into(),
            sealed.master_key_id.into(),
            origin.into(),
        ];
        self.run(sql, values).await;
        id
    }

    async fn model(&mut self, name: &str, channel: Uuid) -> Uuid {
        let id = Uuid::new_v4();
        let sql = "INSERT INTO models (id, name, capabilities, created_ms, updated_ms) VALUES ($1, $2, $3, 0, 0)";
        self.run(sql, vec![id.into(), name.into(), json!(["tools"]).into()])
            .await;
        let sql = "INSERT INTO routes (id, model_id, channel_id, upstream_model, weight, priority, enabled, position)
            VALUES ($1, $2, $3, 'up', 100, 1, true, 0)";
        self.run(sql, vec![Uuid::new_v4().into(), id.into(), channel.into()])
            .await;
        let sql = "INSERT INTO prices (id, model_id, effective_ms, rates, created_ms) VALUES ($1, $2, 5, $3, 0)";
        let rates = json!({"input": "0.15"});
        self.run(sql, vec![Uuid::new_v4().into(), id.into(), rates.into()])
            .await;
        self.change.changed(Kind::Model, id);
        id
    }

    /// A limit and a budget on one thing, which `on` names by its column.
    async fn bounds(&mut self, tenant: Option<Uuid>, on: Option<(&str, Uuid)>) {
        let limit = json!({"metric": "requests", "per": "minute", "max": 600});
        let budget = json!({"amount": "1.00", "period": "month"});
        for (table, kind, rule) in [
            ("limits", Kind::Limit, limit),
            ("budgets", Kind::Budget, budget),
        ] {
            let id = Uuid::new_v4();
            let (column, thing) = on.map_or(("key_id", None), |(column, id)| (column, Some(id)));
            let sql = format!(
                "INSERT INTO {table} (id, tenant_id, {column}, rule, position, created_ms, updated_ms)
                 VALUES ($1, $2, $3, $4, 0, 0, 0)"
            );
            self.run(
                &sql,
                vec![id.into(), tenant.into(), thing.into(), rule.into()],
            )
            .await;
            self.change.changed(kind, id);
        }
    }

    async fn delete(&mut self, table: &str, kind: Kind, id: Uuid) {
        self.change.deletes(kind, id).await.expect("named");
        self.run(
            &format!("DELETE FROM {table} WHERE id = $1"),
            vec![id.into()],
        )
        .await;
    }

    async fn rename(&mut self, table: &str, kind: Kind, id: Uuid) {
        let sql = format!("UPDATE {table} SET name = $2 WHERE id = $1");
        let name = format!("renamed-{}", Uuid::new_v4());
        self.run(&sql, vec![id.into(), name.into()]).await;
        self.change.changed(kind, id);
    }

    async fn commit(self) -> i64 {
        self.change.commit().await.expect("committed")
    }
}

async fn loaded(stores: &Stores) -> Catalog {
    let reading = load(&stores.config, &sealer()).await.expect("loaded");
    assert!(reading.delta.full);
    Catalog::default().after(reading.delta)
}

/// What two readings of the same rows have in common, whatever their order.
fn described(mut entries: Vec<Entry>) -> Vec<String> {
    entries.sort_by_key(|entry| match entry {
        Entry::Tenant(tenant) => tenant.id.0,
        Entry::Role(role) => role.id.0,
        Entry::User(user) => user.id.0,
        Entry::Group(group) => group.id.0,
        Entry::Key(key) => key.id.0,
        Entry::Channel(channel) => channel.id.0,
        Entry::Model(model) => model.id.0,
        Entry::Limit(limit) => limit.id.0,
        Entry::Budget(budget) => budget.id.0,
        Entry::Settings(_) => crate::store::settings::ID,
    });
    entries.iter().map(|entry| format!("{entry:?}")).collect()
}

#[tokio::test]
async fn rows_become_entries_with_all_that_hangs_on_them() {
    for test in testing::all().await {
        let mut writer = Writer::begin(&test).await;
        let tenant = writer.tenant("acme").await;
        let key = writer.key(tenant, "laptop").await;
        let channel = writer.channel(None, "openai").await;
        writer
            .credential(channel, None, "https://api.example:443")
            .await;
        let model = writer.model("gpt-4o", channel).await;
        let version = writer.commit().await;

        let catalog = loaded(&test.stores).await;
        assert_eq!(catalog.version().number, version);
        let key = catalog.key(KeyId(key)).expect("the key");
        assert!(key.may_use_model("gpt-4o") && !key.may_use_model("claude"));
        assert_eq!(key.channels[0].priority, 3);
        assert_eq!(key.ip_allow.len(), 1);
        assert!(catalog.key_by_digest(&key.secrets[0].digest).is_some());
        let channel = catalog.channel(ChannelId(channel)).expect("the channel");
        let secret = channel.credentials[0].secret.as_ref();
        assert_eq!(secret.map(Secret::expose), Some("sk-vendor"));
        let found = catalog
            .model_named(TenantId(tenant), "gpt-4o")
            .expect("the model");
        assert_eq!(found.id, ModelId(model));
        assert_eq!(found.routes[0].channel, channel.id);
        assert!(found.rates(5).is_some());
        assert!(
            catalog
                .tenant(TenantId(tenant))
                .expect("the tenant")
                .may_use_model("x")
        );
    }
}

#[tokio::test]
async fn deltas_lead_to_the_same_picture_as_a_full_load() {
    for test in testing::all().await {
        let mut known = loaded(&test.stores).await;
        let (mut tenants, mut keys, mut channels, mut models) = (vec![], vec![], vec![], vec![]);
        for step in 0..40u32 {
            let mut writer = Writer::begin(&test).await;
            for turn in 0..=step % 3 {
                let name = format!("{step}-{turn}");
                let pick = rand::random::<u32>() as usize;
                let action = match (step % 10, turn) {
                    (9, 0) => 7,
                    _ => rand::random::<u32>() % 7,
                };
                match action {
                    0 => tenants.push(writer.tenant(&name).await),
                    1 if !tenants.is_empty() => {
                        keys.push(writer.key(tenants[pick % tenants.len()], &name).await);
                    }
                    2 => channels.push(writer.channel(None, &name).await),
                    3 if !channels.is_empty() => {
                        let channel = channels[pick % channels.len()];
                        models.push(writer.model(&name, channel).await);
                    }
                    4 if !keys.is_empty() => {
                        let key = keys.swap_remove(pick % keys.len());
                        writer.delete("proxy_keys", Kind::Key, key).await;
                    }
                    5 if !models.is_empty() => {
                        let model = models[pick % models.len()];
                        writer.rename("models", Kind::Model, model).await;
                    }
                    6 if !channels.is_empty() => {
                        let channel = channels[pick % channels.len()];
                        writer
                            .credential(channel, None, "https://api.example:443")
                            .await;
                        writer.change.changed(Kind::Channel, channel);
                    }
                    7 if !tenants.is_empty() => {
                        // Takes its keys along.
                        let tenant = tenants.swap_remove(pick % tenants.len());
                        writer.delete("tenants", Kind::Tenant, tenant).await;
                        keys.clear();
                    }
                    _ => {}
                }
            }
            writer.commit().await;
            let reading = changes_since(&test.stores.config, known.version(), &sealer()).await;
            known = known.after(reading.expect("a delta").delta);
            let full = load(&test.stores.config, &sealer()).await.expect("loaded");
            let anew = Catalog::default().after(full.delta.clone());
            assert_eq!(known.counts(), anew.counts());
            assert_eq!(known.version(), anew.version());
            for entry in &full.delta.entries {
                let same = match entry {
                    Entry::Tenant(tenant) => {
                        known.tenant(tenant.id).is_some_and(|own| **own == *tenant)
                    }
                    Entry::Key(key) => known.key(key.id).is_some_and(|own| **own == *key),
                    Entry::Channel(channel) => known
                        .channel(channel.id)
                        .is_some_and(|own| **own == *channel),
                    Entry::Model(model) => known.models().any(|own| **own == *model),
                    Entry::Settings(settings) => **known.settings() == *settings,
                    Entry::Role(_)
                    | Entry::User(_)
                    | Entry::Group(_)
                    | Entry::Limit(_)
                    | Entry::Budget(_) => true,
                };
                assert!(same, "{entry:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_followed_is_loaded_in_full() {
    for test in testing::all().await {
        let empty = loaded(&test.stores).await.version();
        let mut writer = Writer::begin(&test).await;
        let tenant = writer.tenant("acme").await;
        writer.commit().await;
        let mut writer = Writer::begin(&test).await;
        writer.rename("tenants", Kind::Tenant, tenant).await;
        writer.commit().await;

        let read = async |known| {
            let reading = changes_since(&test.stores.config, known, &sealer()).await;
            reading.expect("a delta").delta
        };
        let delta = read(empty).await;
        assert!(!delta.full && delta.entries.len() == 1, "{delta:?}");
        let same = read(delta.version).await;
        assert!(!same.full && same.entries.is_empty() && same.version == delta.version);
        let other_epoch = Version {
            epoch: Uuid::new_v4(),
            ..delta.version
        };
        assert!(read(other_epoch).await.full, "another epoch");
        let ahead = Version {
            number: delta.version.number + 5,
            ..delta.version
        };
        assert!(read(ahead).await.full, "the version went back");
        let other_way = Version {
            changed_ms: delta.version.changed_ms - 1,
            ..delta.version
        };
        assert!(read(other_way).await.full, "restored, and changed since");
        test.execute("DELETE FROM catalog_changes WHERE version = 1", vec![])
            .await;
        assert!(read(empty).await.full, "older than the oldest change kept");
        test.execute("DELETE FROM catalog_changes", vec![]).await;
        assert!(read(empty).await.full, "no change kept at all");
    }
}

#[tokio::test]
async fn a_credential_of_another_place_or_origin_has_no_secret() {
    for test in testing::all().await {
        let mut writer = Writer::begin(&test).await;
        let channel = writer.channel(None, "openai").await;
        let good = writer
            .credential(channel, None, "https://api.example:443")
            .await;
        writer
            .credential(channel, None, "https://evil.example:443")
            .await;
        let other_tenant = Some(Uuid::new_v4());
        writer
            .credential(channel, other_tenant, "https://api.example:443")
            .await;
        writer.commit().await;
        let catalog = loaded(&test.stores).await;
        let channel = catalog.channel(ChannelId(channel)).expect("the channel");
        assert_eq!(channel.credentials.len(), 3);
        for credential in &channel.credentials {
            assert_eq!(credential.secret.is_some(), credential.id.0 == good);
        }
    }
}

#[tokio::test]
async fn a_broken_row_hides_its_own_entry_and_no_other() {
    for test in testing::all().await {
        let mut writer = Writer::begin(&test).await;
        let tenant = writer.tenant("acme").await;
        let key = writer.key(tenant, "laptop").await;
        let channel = writer.channel(None, "openai").await;
        let broken = writer.channel(None, "broken").await;
        let model = writer.model("gpt-4o", channel).await;
        writer.model("gpt-4o-mini", channel).await;
        writer.commit().await;
        let known = loaded(&test.stores).await;

        let mut writer = Writer::begin(&test).await;
        let sql = "UPDATE channels SET base_url = 'nonsense' WHERE id = $1";
        writer.run(sql, vec![broken.into()]).await;
        writer.change.changed(Kind::Channel, broken);
        let rates = json!({"input": "cheap"});
        let sql = "UPDATE prices SET rates = $2 WHERE model_id = $1";
        writer.run(sql, vec![model.into(), rates.into()]).await;
        writer.change.changed(Kind::Model, model);
        if test.postgres.is_none() {
            let sql = "UPDATE proxy_keys SET ip_allow = '{no json' WHERE id = $1";
            writer.run(sql, vec![key.into()]).await;
            writer.change.changed(Kind::Key, key);
        }
        writer.commit().await;

        let expected = if test.postgres.is_none() { 3 } else { 2 };
        let reading = changes_since(&test.stores.config, known.version(), &sealer()).await;
        let reading = reading.expect("a delta");
        assert_eq!(reading.broken, expected);
        let full = load(&test.stores.config, &sealer()).await.expect("loaded");
        assert_eq!(full.broken, expected);
        let after = known.after(reading.delta);
        let anew = Catalog::default().after(full.delta);
        assert_eq!(after.counts(), anew.counts());
        assert!(after.channel(ChannelId(broken)).is_none());
        assert!(after.channel(ChannelId(channel)).is_some());
    }
}

#[tokio::test]
async fn old_changes_are_pruned_when_both_old_and_far_behind() {
    for test in testing::all().await {
        let insert = "INSERT INTO catalog_changes (version, seq, kind, row_id, deleted, at_ms) VALUES ($1, 0, 'key', $2, false, $3)";
        let (old, now) = (0i64, now_ms());
        for (version, at_ms) in [(1i64, old), (2, now), (15_000, old), (20_000, now)] {
            let values = vec![version.into(), Uuid::new_v4().into(), at_ms.into()];
            test.execute(insert, values).await;
        }
        test.execute("UPDATE installation SET catalog_version = 20000", vec![])
            .await;
        assert_eq!(prune(&test.stores.config).await.expect("pruned"), 1);
    }
}

#[tokio::test]
async fn two_full_loads_read_the_same() {
    for test in testing::all().await {
        let mut writer = Writer::begin(&test).await;
        let tenant = writer.tenant("acme").await;
        for number in 0..5 {
            writer.key(tenant, &format!("key {number}")).await;
        }
        writer.commit().await;
        let first = load(&test.stores.config, &sealer()).await.expect("loaded");
        let second = load(&test.stores.config, &sealer()).await.expect("loaded");
        assert_eq!(
            described(first.delta.entries),
            described(second.delta.entries)
        );
    }
}

/// Keys beside those that a test makes, all of one tenant.
async fn many_keys(test: &TestStores, tenant: Uuid, count: i64) {
    let backend = test.stores.config.backend();
    let (numbers, id, digest) = match backend {
        sea_orm::DbBackend::Sqlite => (
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $2)",
            "randomblob(16)",
            "randomblob(32)",
        ),
        _ => (
            "WITH numbers(n) AS (SELECT generate_series(1, $2))",
            "gen_random_uuid()",
            "sha256(k.id::text::bytea)",
        ),
    };
    let sql = format!(
        "{numbers} INSERT INTO proxy_keys (id, tenant_id, name, models, ip_allow, channels, created_ms, updated_ms)
         SELECT {id}, $1, 'many ' || n, '[]', '[]', '[]', 0, 0 FROM numbers"
    );
    test.execute(&sql, vec![tenant.into(), count.into()]).await;
    let sql = format!(
        "INSERT INTO key_secrets (id, key_id, slot, digest, hint, created_ms)
         SELECT {id}, k.id, 0, {digest}, '', 0 FROM proxy_keys AS k WHERE k.name LIKE 'many %'"
    );
    test.execute(&sql, vec![]).await;
}

/// What it takes to follow the change of one key: the median of some.
async fn one_change(test: &TestStores, known: &mut Catalog, key: Uuid) -> std::time::Duration {
    let mut took = Vec::new();
    for _ in 0..15 {
        let mut writer = Writer::begin(test).await;
        writer.rename("proxy_keys", Kind::Key, key).await;
        writer.commit().await;
        let began = std::time::Instant::now();
        let reading = changes_since(&test.stores.config, known.version(), &sealer()).await;
        let delta = reading.expect("a delta").delta;
        assert!(!delta.full && delta.entries.len() == 1, "{delta:?}");
        *known = known.after(delta);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// The delta of one row costs no more at a hundred thousand keys than at ten.
#[tokio::test]
async fn a_change_costs_the_same_however_many_keys_there_are() {
    for test in testing::all().await {
        let mut writer = Writer::begin(&test).await;
        let tenant = writer.tenant("acme").await;
        let key = writer.key(tenant, "changed").await;
        writer.commit().await;
        let mut known = loaded(&test.stores).await;
        let few = one_change(&test, &mut known, key).await;
        many_keys(&test, tenant, 100_000).await;
        let mut known = loaded(&test.stores).await;
        assert_eq!(known.counts().0, 100_001);
        let many = one_change(&test, &mut known, key).await;
        println!("{few:?} with one key, {many:?} with 100,000");
        // Three times, as the machine is not quiet; a cost by the key would be a thousand times.
        assert!(
            many < few * 3 + std::time::Duration::from_millis(3),
            "{few:?} became {many:?}"
        );
    }
}
