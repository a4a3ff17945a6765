//! One row of the configuration: whose it is and how old.

use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use crate::{
    catalog::Kind,
    store::{Error, Result},
    tenancy::TenantId,
};

/// When a row was made and last changed, Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// What every row of a kind has.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// None: the platform's. A tenant is its own, a user nobody's.
    pub owner: Option<TenantId>,
    pub times: Times,
}

/// The row of an id.
pub async fn row(db: &impl ConnectionTrait, kind: Kind, id: Uuid) -> Result<Row> {
    let (table, owner) = match kind {
        Kind::Tenant => ("tenants", "id"),
        Kind::User => ("users", "NULL"),
        Kind::Role => ("roles", "tenant_id"),
        Kind::Group => ("groups", "tenant_id"),
        Kind::Key => ("proxy_keys", "tenant_id"),
        Kind::Channel => ("channels", "tenant_id"),
        Kind::Model => ("models", "tenant_id"),
        Kind::Limit => ("limits", "tenant_id"),
        Kind::Budget => ("budgets", "tenant_id"),
        Kind::Settings => ("runtime_settings", "NULL"),
    };
    let sql =
        format!("SELECT {owner} AS owner_id, created_ms, updated_ms FROM {table} WHERE id = $1");
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, [id.into()]);
    let row = db.query_one_raw(statement).await?.ok_or(Error::NotFound)?;
    let owner: Option<Uuid> = match kind {
        Kind::User | Kind::Settings => None,
        _ => row.try_get("", "owner_id")?,
    };
    Ok(Row {
        owner: owner.map(Into::into),
        times: Times {
            created_ms: row.try_get("", "created_ms")?,
            updated_ms: row.try_get("", "updated_ms")?,
        },
    })
}
