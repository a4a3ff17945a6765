//! What the constraints let pass and what not: names, owners of keys.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DatabaseConnection, SqlErr};
use uuid::Uuid;
use weir_migration::testing::TestDatabase;

use crate::Embedded;

#[tokio::test]
async fn sqlite_keeps_its_constraints() {
    let embedded = Embedded::new();
    let (config_db, usage_db) = embedded.connect().await;
    weir_migration::up(&config_db, &usage_db).await.unwrap();
    constraints_hold(&config_db).await;
}

#[tokio::test]
async fn postgres_keeps_its_constraints() {
    let Some(database) = TestDatabase::create().await else {
        return;
    };
    let db = database.connect().await;
    weir_migration::up(&db, &db).await.unwrap();
    constraints_hold(&db).await;
}

async fn constraints_hold(db: &DatabaseConnection) {
    let (acme, umbrella) = (tenant(db, "acme").await, tenant(db, "umbrella").await);

    for table in ["models", "channels"] {
        let add = |tenant, name| add_named(db, table, tenant, name);
        add(None, "a").await.unwrap();
        add(Some(acme), "a").await.unwrap();
        add(Some(umbrella), "a").await.unwrap();
        add(Some(acme), "b").await.unwrap();
        assert_taken(add(None, "a").await);
        assert_taken(add(Some(acme), "a").await);
    }

    let (user, group) = (user(db).await.unwrap(), group(db, acme).await);
    add_key(db, acme, "of a user", Some(user), None)
        .await
        .unwrap();
    add_key(db, acme, "of a group", None, Some(group))
        .await
        .unwrap();
    add_key(db, acme, "the tenant's", None, None).await.unwrap();
    add_key(db, acme, "of both", Some(user), Some(group))
        .await
        .unwrap_err();
    assert_taken(add_key(db, acme, "of a user", None, None).await);
    add_key(db, Uuid::new_v4(), "nobody's", None, None)
        .await
        .unwrap_err();

    let gone = Query::delete()
        .from_table("tenants")
        .and_where(Expr::col("id").eq(acme))
        .to_owned();
    db.execute(&gone).await.unwrap();
    for table in ["groups", "proxy_keys", "models", "channels"] {
        let left = Query::select()
            .column("id")
            .from(table)
            .and_where(Expr::col("tenant_id").eq(acme))
            .to_owned();
        assert_eq!(db.query_all(&left).await.unwrap().len(), 0, "{table}");
    }
}

fn assert_taken(result: Result<Uuid, DbErr>) {
    let error = result.unwrap_err();
    assert!(
        matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))),
        "{error}"
    );
}

async fn tenant(db: &DatabaseConnection, name: &str) -> Uuid {
    insert(db, "tenants", vec![("name", name.into())])
        .await
        .unwrap()
}

async fn user(db: &DatabaseConnection) -> Result<Uuid, DbErr> {
    let row = |email: &str| vec![("email", email.into()), ("name", "Zhang".into())];
    insert(db, "users", row("Zhang@acme.example"))
        .await
        .expect_err("an address is stored in lower case");
    insert(db, "users", row("zhang@acme.example")).await
}

async fn group(db: &DatabaseConnection, tenant: Uuid) -> Uuid {
    let row = vec![("tenant_id", tenant.into()), ("name", "platform".into())];
    insert(db, "groups", row).await.unwrap()
}

async fn add_named(
    db: &DatabaseConnection,
    table: &'static str,
    tenant: Option<Uuid>,
    name: &str,
) -> Result<Uuid, DbErr> {
    let empty = || Expr::from(sea_orm_migration::sea_orm::JsonValue::default());
    let mut row = vec![("tenant_id", tenant.into()), ("name", name.into())];
    match table {
        "models" => row.push(("capabilities", empty())),
        _ => row.extend([
            ("kind", "openai".into()),
            ("base_url", "https://llm.example".into()),
            ("origin", "https://llm.example:443".into()),
            ("timeouts", empty()),
            ("retry", empty()),
            ("settings", empty()),
            ("weight", 1.into()),
            ("priority", 0.into()),
        ]),
    }
    insert(db, table, row).await
}

async fn add_key(
    db: &DatabaseConnection,
    tenant: Uuid,
    name: &str,
    user: Option<Uuid>,
    group: Option<Uuid>,
) -> Result<Uuid, DbErr> {
    let row = vec![
        ("tenant_id", tenant.into()),
        ("name", name.into()),
        ("user_id", user.into()),
        ("group_id", group.into()),
    ];
    insert(db, "proxy_keys", row).await
}

/// Inserts a row of the given values, with an id and times of its own.
async fn insert(
    db: &DatabaseConnection,
    table: &'static str,
    row: Vec<(&'static str, Expr)>,
) -> Result<Uuid, DbErr> {
    let id = Uuid::new_v4();
    let (mut columns, mut values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
    columns.extend(["id", "created_ms", "updated_ms"]);
    values.extend([id.into(), 1.into(), 1.into()]);
    let insert = Query::insert()
        .into_table(table)
        .columns(columns)
        .values_panic(values)
        .to_owned();
    db.execute(&insert).await.map(|_| id)
}
