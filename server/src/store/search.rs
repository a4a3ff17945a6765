//! Things by what they are called, or by their ids.

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};
use uuid::Uuid;

use super::{Result, Scope, page::pattern};
use crate::catalog::Kind;

/// Most hits of one kind.
const HITS: u64 = 10;

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    pub id: Uuid,
    pub name: String,
    pub tenant: Option<String>,
}

/// Things of a kind whose name has the text in it, whatever the case of its letters (of SQLite the
/// ASCII ones), or whose id it is; within a scope.
pub async fn search(
    db: &impl ConnectionTrait,
    scope: Scope,
    kind: Kind,
    text: &str,
) -> Result<Vec<Found>> {
    const OWNER: &str = "(SELECT o.name FROM tenants AS o WHERE o.id = f.own)";
    const OWNERS: &str = "(SELECT MIN(o.name) FROM memberships AS m JOIN tenants AS o ON o.id = m.tenant_id WHERE m.user_id = f.id)";
    // Within a tenant its own; a tenant itself by its id, and people by their membership.
    let (from, name, own, tenant) = match (kind, scope) {
        (Kind::Tenant, _) => ("tenants AS t", "t.name", "t.id", OWNER),
        (Kind::User, Scope::Platform) => ("users AS t", "t.email", "NULL", OWNERS),
        (Kind::User, Scope::Tenant(_)) => (
            "memberships AS m JOIN users AS t ON t.id = m.user_id",
            "t.email",
            "m.tenant_id",
            OWNER,
        ),
        (Kind::Role, _) => ("roles AS t", "t.name", "t.tenant_id", OWNER),
        (Kind::Group, _) => ("groups AS t", "t.name", "t.tenant_id", OWNER),
        (Kind::Key, _) => ("proxy_keys AS t", "t.name", "t.tenant_id", OWNER),
        (Kind::Channel, _) => ("channels AS t", "t.name", "t.tenant_id", OWNER),
        (Kind::Model, _) => ("models AS t", "t.name", "t.tenant_id", OWNER),
        (Kind::Limit | Kind::Budget | Kind::Settings, _) => return Ok(Vec::new()),
    };
    // SQLite's LIKE takes no notice of the case of ASCII letters, and of others always.
    let like = match db.get_database_backend() {
        DbBackend::Postgres => "ILIKE",
        _ => "LIKE",
    };
    let mut values: Vec<Value> = vec![pattern(text).into()];
    let mut wheres = format!("{name} {like} $1 ESCAPE '!'");
    // People are called by their names, too.
    if kind == Kind::User {
        wheres = format!("({wheres} OR t.name {like} $1 ESCAPE '!')");
    }
    if let Ok(id) = Uuid::parse_str(text) {
        values.push(id.into());
        wheres = format!("({wheres} OR t.id = ${})", values.len());
    }
    if let Scope::Tenant(tenant) = scope {
        values.push(tenant.0.into());
        wheres = format!("{wheres} AND {own} = ${}", values.len());
    }
    // Names alone are looked through; what else is told is looked up for the few that are found.
    let sql = format!(
        "SELECT f.id AS id, f.name AS name, {tenant} AS tenant
         FROM (SELECT t.id AS id, {name} AS name, {own} AS own FROM {from} WHERE {wheres} ORDER BY {name} LIMIT {HITS}) AS f
         ORDER BY f.name"
    );
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let rows = db.query_all_raw(statement).await?;
    let found = rows.iter().map(|row| {
        Ok(Found {
            kind,
            id: row.try_get("", "id")?,
            name: row.try_get("", "name")?,
            tenant: row.try_get("", "tenant")?,
        })
    });
    found.collect()
}
