//! How many things there are.

use sea_orm::{ConnectionTrait, Statement, Value};

use super::{Result, Scope};

/// One count for each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub tenants: u64,
    pub users: u64,
    pub groups: u64,
    pub keys: u64,
    /// A tenant's own.
    pub channels: u64,
    /// A tenant's own.
    pub models: u64,
}

/// Of all tenants and the platform, or of one tenant.
pub async fn of(db: &impl ConnectionTrait, scope: Scope) -> Result<Counts> {
    let (within, member, values): (&str, &str, Vec<Value>) = match scope {
        Scope::Platform => ("", "SELECT COUNT(*) FROM users", Vec::new()),
        Scope::Tenant(tenant) => (
            " WHERE tenant_id = $1",
            "SELECT COUNT(*) FROM memberships WHERE tenant_id = $1",
            vec![tenant.0.into()],
        ),
    };
    let tenants = match scope {
        Scope::Platform => "SELECT COUNT(*) FROM tenants",
        Scope::Tenant(_) => "SELECT COUNT(*) FROM tenants WHERE id = $1",
    };
    let sql = format!(
        "SELECT ({tenants}) AS tenants, ({member}) AS users,
            (SELECT COUNT(*) FROM groups{within}) AS groups,
            (SELECT COUNT(*) FROM proxy_keys{within}) AS keys,
            (SELECT COUNT(*) FROM channels{within}) AS channels,
            (SELECT COUNT(*) FROM models{within}) AS models"
    );
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let Some(row) = db.query_one_raw(statement).await? else {
        return Ok(Counts::default());
    };
    let count =
        |name: &str| Ok::<u64, sea_orm::DbErr>(row.try_get::<i64>("", name)?.unsigned_abs());
    Ok(Counts {
        tenants: count("tenants")?,
        users: count("users")?,
        groups: count("groups")?,
        keys: count("keys")?,
        channels: count("channels")?,
        models: count("models")?,
    })
}
