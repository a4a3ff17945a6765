//! The entities fit the tables that the migrations make: every one takes a row and gives it back
//! as it was, on SQLite always and on PostgreSQL where `WEIR_TEST_DATABASE_URL` names a server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use sea_orm::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{Database, DatabaseConnection, IntoActiveModel, QueryTrait};
use weir_entity::*;
use weir_migration::testing::TestDatabase;

#[tokio::test]
async fn every_entity_fits_its_table_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = dir.path().join(name);
        Database::connect(format!("sqlite://{}?mode=rwc", path.display()))
    };
    let (config, usage) = (
        open("weir.db").await.unwrap(),
        open("usage.db").await.unwrap(),
    );
    weir_migration::up(&config, &usage).await.unwrap();
    every_entity_fits_its_table(&config, &usage).await;
}

#[tokio::test]
async fn every_entity_fits_its_table_on_postgres() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let db = database.connect().await;
    weir_migration::up(&db, &db).await.unwrap();
    every_entity_fits_its_table(&db, &db).await;
}

/// Inserts a row and reads it back.
macro_rules! round_trip {
    ($db:expr, $entity:ident, $($column:ident: $value:expr),+ $(,)?) => {{
        let row = $entity::Model { $($column: $value),+ };
        let insert = $entity::Entity::insert(row.clone().into_active_model());
        insert.exec_without_returning($db).await.unwrap();
        let found = $entity::Entity::find().all($db).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&row));
        row
    }};
}

async fn every_entity_fits_its_table(config: &DatabaseConnection, usage: &DatabaseConnection) {
    let installation = installation::Entity::find_by_id(1_i16)
        .one(config)
        .await
        .unwrap();
    assert_eq!(installation.unwrap().catalog_version, 0);

    tenants_and_their_people(config).await;
    what_is_called(config).await;
    relations_lead_to_rows(config).await;
    event_is_booked_once(usage).await;
    sums_of_usage(usage).await;
}

const ID: Uuid = Uuid::from_u128(1);

fn document() -> Json {
    // Not what the columns hold, but all that a document can.
    "{\"a\": [1, \"zwei\", null, {\"b\": true}], \"$\": \"0.15\"}"
        .parse()
        .unwrap()
}

async fn tenants_and_their_people(db: &DatabaseConnection) {
    round_trip!(db, catalog_change, version: 1, seq: 0, kind: "tenant".into(), row_id: ID,
        deleted: false, at_ms: 1);
    round_trip!(db, instance, id: ID, name: "weir-0".into(), version: "0.1.0".into(),
        catalog_version: 1, started_ms: 1, seen_ms: 2);
    round_trip!(db, leader, task: "jobs".into(), instance_id: ID, until_ms: 1);
    round_trip!(db, tenant, id: ID, name: "acme".into(), enabled: true,
        time_zone: "Asia/Shanghai".into(), grants: Some(document()), policies: Some(document()),
        created_ms: 1, updated_ms: i64::MAX);
    round_trip!(db, user, id: ID, email: "zhang@acme.example".into(), name: "张三".into(),
        department: "技术部".into(), contact: "+86".into(), enabled: false,
        platform_role: Some("platform_viewer".into()), email_proven: false, created_ms: 1,
        updated_ms: 1);
    round_trip!(db, sign_in, user_id: ID, password: Some("$argon2id$".into()),
        totp_sealed: Some(vec![0, 0xff]), master_key_id: Some("2026".into()), totp_on: true,
        totp_step: 59_000_000, recovery: Some(document()), password_ms: Some(1), updated_ms: 1);
    round_trip!(db, session, id: ID, user_id: ID, generation: 1, rotated_ms: 1, proved_ms: 2,
        expires_ms: 3, address: "192.0.2.7".into(), agent: "Mozilla/5.0".into(),
        provider_id: Some(ID), tenant_id: Some(ID), created_ms: 1);
    round_trip!(db, identity_provider, id: ID, tenant_id: Some(ID), name: "okta".into(),
        issuer: "https://id.example".into(), client_id: "weir".into(), sealed: Some(vec![0, 0xff]),
        master_key_id: Some("2026".into()), settings: document(), allowed_origin: None,
        enabled: true, created_ms: 1, updated_ms: 2);
    round_trip!(db, identity, id: ID, provider_id: ID, user_id: ID, subject: "sub".into(),
        created_ms: 1);
    round_trip!(db, signing_key, id: ID, sealed: vec![0, 0xff], master_key_id: "2026".into(),
        created_ms: 1);
    round_trip!(db, sign_in_failure, whose: "both:00".into(), count: 5, next_ms: 1,
        updated_ms: 1);
    round_trip!(db, known_place, user_id: ID, network: "2001:db8::".into(), seen_ms: 1);
    round_trip!(db, one_time_link, id: ID, kind: "invitation".into(), digest: vec![0xff; 32],
        email: "li@acme.example".into(), user_id: None, tenant_id: Some(ID),
        role: Some("developer".into()), groups: Some(document()), inviter_id: Some(ID),
        inviter_token_id: Some(ID),
        invited_by: "zhang@acme.example".into(), proves_email: false, expires_ms: 1,
        used_ms: None, created_ms: 1);
    round_trip!(db, membership, id: ID, tenant_id: ID, user_id: ID, role: "developer".into(),
        role_id: Some(ID));
    round_trip!(db, role, id: ID, tenant_id: ID, name: "auditor".into(), permissions: document(),
        created_ms: 1, updated_ms: 1);
    round_trip!(db, group, id: ID, tenant_id: ID, name: "platform".into(), created_ms: 1,
        updated_ms: 1);
    round_trip!(db, group_member, group_id: ID, user_id: ID, position: 0);
    round_trip!(db, proxy_key, id: ID, tenant_id: ID, name: "laptop".into(), user_id: Some(ID),
        group_id: None, enabled: true, expires_ms: Some(1), models: Some(document()),
        channels: None, ip_allow: None, created_ms: 1, updated_ms: 1);
    round_trip!(db, key_secret, id: ID, key_id: ID, slot: 1, digest: vec![0xff; 32],
        hint: "wk-a1B2…".into(), created_ms: 1, expires_ms: None);
}

async fn what_is_called(db: &DatabaseConnection) {
    round_trip!(db, channel, id: ID, tenant_id: Some(ID), name: "openai".into(),
        kind: "openai".into(), base_url: "https://llm.example/v1".into(), auth: None,
        timeouts: document(), retry: document(), proxy_paths: Some(document()),
        settings: document(), weight: 100, priority: -1, enabled: true,
        origin: "https://llm.example:443".into(), allowed_origin: None, created_ms: 1,
        updated_ms: 1);
    round_trip!(db, idempotency_key, id: ID, body: ID, status: 201, answer: Some("{}".into()),
        created_ms: 1);
    round_trip!(db, runtime_setting, id: ID, settings: document(), created_ms: 1, updated_ms: 1);
    round_trip!(db, credential, id: ID, channel_id: ID, position: 0, name: None,
        sealed: vec![0, 1, 0xff], master_key_id: "2026".into(),
        origin: "https://llm.example:443".into(), enabled: true, created_ms: 1, updated_ms: 1);
    round_trip!(db, model, id: ID, tenant_id: None, name: "gpt-4o-mini".into(),
        capabilities: document(), context_tokens: Some(128_000), max_output_tokens: None, max_image_tokens: Some(1_445),
        tokenizer: None, enabled: true, created_ms: 1, updated_ms: 1);
    round_trip!(db, route, id: ID, model_id: ID, channel_id: ID, upstream_model: "mini".into(),
        weight: 1, priority: 1, max_rps: Some(7), enabled: true, position: 0);
    round_trip!(db, limit, id: ID, tenant_id: Some(ID), group_id: None, user_id: Some(ID),
        key_id: None, channel_id: None, model_id: None, rule: document(), position: 0,
        created_ms: 1, updated_ms: 1);
    round_trip!(db, budget, id: ID, tenant_id: None, group_id: None, user_id: None, key_id: None,
        channel_id: Some(ID), model_id: None, rule: document(), position: 0, created_ms: 1,
        updated_ms: 1);
    round_trip!(db, price, id: ID, model_id: ID, effective_ms: 1, rates: document(),
        created_ms: 1);
}

async fn relations_lead_to_rows(db: &DatabaseConnection) {
    let tenant = tenant::Entity::load()
        .filter(tenant::COLUMN.id.eq(ID))
        .with((proxy_key::Entity, key_secret::Entity))
        .with(membership::Entity)
        .with(group::Entity)
        .with(channel::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tenant.proxy_keys[0].secrets[0].slot, 1);
    assert_eq!((tenant.memberships.len(), tenant.groups.len()), (1, 1));

    let user = user::Entity::load().with(group::Entity).one(db).await;
    assert_eq!(user.unwrap().unwrap().groups[0].name, "platform");

    let model = model::Entity::load()
        .with((route::Entity, channel::Entity))
        .with(price::Entity)
        .one(db)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(model.routes[0].channel.as_ref().unwrap().name, "openai");
    assert_eq!(model.prices.len(), 1);
}

async fn event_is_booked_once(db: &DatabaseConnection) {
    let event = round_trip!(db, usage_event, id: Uuid::now_v7(), tenant_id: ID, key_id: ID,
        user_id: Some(ID), group_id: None, end_user: None,
        client_request_id: Some("mine".into()), started_ms: 1, source: "api".into(),
        endpoint: "/v1/chat/completions".into(), dialect: "openai".into(),
        model: "gpt-4o-mini".into(), upstream_model: Some("mini".into()), channel_id: Some(ID),
        credential_id: Some(ID), upstream_request_id: None, outcome: "ok".into(), status: 200,
        error_code: None, streamed: true, count: 1, input_tokens: 12, cached_tokens: 8,
        cache_write_tokens: 0, output_tokens: 5, reasoning_tokens: 3, audio_input_tokens: 0,
        audio_output_tokens: 0, image_input_tokens: 0, image_output_tokens: 0, estimated: false, unpriced: false,
        cost_nanos: i64::MAX, charge_nanos: 0, price: Some(document()),
        first_byte_us: Some(250_000), total_us: 1_000_000, overhead_us: None, request_bytes: 200,
        response_bytes: 2_000, attempts: document(), instance: "weir-0".into());

    let further = usage_event::Model {
        id: Uuid::now_v7(),
        ..event.clone()
    };
    let rows = [event, further.clone()].map(IntoActiveModel::into_active_model);
    let mut insert = usage_event::Entity::insert_many(rows)
        .on_conflict(OnConflict::column("id").do_nothing().to_owned())
        .into_query();
    insert.returning_col("id");
    let booked = db.query_all(&insert).await.unwrap();
    let booked: Vec<Uuid> = booked
        .iter()
        .map(|row| row.try_get("", "id").unwrap())
        .collect();
    assert_eq!(booked, [further.id]);
}

async fn sums_of_usage(db: &DatabaseConnection) {
    round_trip!(db, usage_rollup, id: ID, quarter_ms: 900_000, tenant_id: ID, key_id: ID,
        user_id: None, group_id: Some(ID), model: "m".into(), channel_id: None,
        endpoint: "/v1/chat/completions".into(), source: "api".into(), outcome: "ok".into(),
        credential_id: Some(ID), error_code: String::new(), requests: 2, errors: 0, estimated_requests: 1, input_tokens: 24, cached_tokens: 16,
        cache_write_tokens: 0, output_tokens: 10, reasoning_tokens: 6, cost_nanos: 30,
        charge_nanos: 20);
    round_trip!(db, usage_histogram, rollup_id: ID, kind: 0, bucket: 40, count: 2);
    round_trip!(db, attempt_rollup, id: ID, quarter_ms: 900_000, tenant_id: ID, channel_id: ID,
        credential_id: None, model: "m".into(), attempts: 3, errors: 1, input_tokens: 24,
        cached_tokens: 16, cache_write_tokens: 0, output_tokens: 10, reasoning_tokens: 6,
        cost_nanos: 30);
    round_trip!(db, kept_bodies, id: ID, tenant_id: ID, expires_ms: 1, tools_offered: document(),
        tools_called: document(), sealed: vec![0, 0xff], master_key_id: "2026".into());
    round_trip!(db, forgotten_bodies, tenant_id: ID, until_ms: 1);
    round_trip!(db, budget_alert, id: ID, budget_id: ID, tenant_id: None, window_ms: 1,
        kind: "crossed".into(), percent: 80, spent: 30, amount: 40, at_ms: 1);
}
