//! Things by what they are called, or by their ids.

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};
use uuid::Uuid;

use super::{Result, Scope, page::pattern};

/// Most hits of one kind.
const HITS: u64 = 10;

/// What has a name, or an address, to be found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Tenant,
    /// Their e-mail address, and their name.
    User,
    /// The e-mail address, as long as it waits.
    Invitation,
    Role,
    Group,
    Key,
    ServiceToken,
    Channel,
    Model,
    IdentityProvider,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: Uuid,
    pub name: String,
    pub tenant: Option<String>,
}

impl Named {
    /// The word that answers call it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Invitation => "invitation",
            Self::Role => "role",
            Self::Group => "group",
            Self::Key => "key",
            Self::ServiceToken => "service_token",
            Self::Channel => "channel",
            Self::Model => "model",
            Self::IdentityProvider => "identity_provider",
        }
    }

    /// Its rows, what each is called, and the tenant that it is in: within a tenant, people are in it by their membership.
    fn columns(self, scope: Scope) -> (&'static str, &'static str, &'static str) {
        match (self, scope) {
            (Self::Tenant, _) => ("tenants AS t", "t.name", "t.id"),
            (Self::User, Scope::Platform) => ("users AS t", "t.email", "NULL"),
            (Self::User, Scope::Tenant(_)) => (
                "memberships AS m JOIN users AS t ON t.id = m.user_id",
                "t.email",
                "m.tenant_id",
            ),
            (Self::Invitation, _) => ("one_time_links AS t", "t.email", "t.tenant_id"),
            (Self::Role, _) => ("roles AS t", "t.name", "t.tenant_id"),
            (Self::Group, _) => ("groups AS t", "t.name", "t.tenant_id"),
            (Self::Key, _) => ("proxy_keys AS t", "t.name", "t.tenant_id"),
            (Self::ServiceToken, _) => ("service_tokens AS t", "t.name", "t.tenant_id"),
            (Self::Channel, _) => ("channels AS t", "t.name", "t.tenant_id"),
            (Self::Model, _) => ("models AS t", "t.name", "t.tenant_id"),
            (Self::IdentityProvider, _) => ("identity_providers AS t", "t.name", "t.tenant_id"),
        }
    }

    /// Where the values of secrets are shown by their beginnings and dots.
    fn hints(self) -> Option<&'static str> {
        match self {
            Self::Key => Some("t.id IN (SELECT s.key_id FROM key_secrets AS s WHERE s.hint ="),
            Self::ServiceToken => Some("(t.hint ="),
            _ => None,
        }
    }
}

/// What of a kind has the text in its name, whatever the case of its letters (of SQLite the ASCII ones), or has that id, or is a
/// secret whose value is shown so; within a scope.
pub async fn search(
    db: &impl ConnectionTrait,
    scope: Scope,
    kind: Named,
    text: &str,
    now_ms: i64,
) -> Result<Vec<Found>> {
    const OWNER: &str = "(SELECT o.name FROM tenants AS o WHERE o.id = f.own)";
    const OWNERS: &str = "(SELECT MIN(o.name) FROM memberships AS m JOIN tenants AS o ON o.id = m.tenant_id WHERE m.user_id = f.id)";
    let (from, name, own) = kind.columns(scope);
    let tenant = match (kind, scope) {
        (Named::User, Scope::Platform) => OWNERS,
        _ => OWNER,
    };
    // SQLite's LIKE takes no notice of the case of ASCII letters, and of others always.
    let like = match db.get_database_backend() {
        DbBackend::Postgres => "ILIKE",
        _ => "LIKE",
    };
    let mut values: Vec<Value> = vec![pattern(text).into()];
    let mut either = vec![format!("{name} {like} $1 ESCAPE '!'")];
    if kind == Named::User {
        either.push(format!("t.name {like} $1 ESCAPE '!'"));
    }
    if let (Some(shown_so), true) = (kind.hints(), text.ends_with('…')) {
        values.push(text.into());
        either.push(format!("{shown_so} ${})", values.len()));
    }
    if let Ok(id) = Uuid::parse_str(text) {
        values.push(id.into());
        either.push(format!("t.id = ${}", values.len()));
    }
    let mut wheres = format!("({})", either.join(" OR "));
    if kind == Named::Invitation {
        values.push(now_ms.into());
        let at = values.len();
        wheres +=
            &format!(" AND t.kind = 'invitation' AND t.used_ms IS NULL AND t.expires_ms > ${at}");
    }
    if let Scope::Tenant(tenant) = scope {
        values.push(tenant.0.into());
        wheres += &format!(" AND {own} = ${}", values.len());
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
            id: row.try_get("", "id")?,
            name: row.try_get("", "name")?,
            tenant: row.try_get("", "tenant")?,
        })
    });
    found.collect()
}
