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
    pub kind: Named,
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

/// What of some kinds has the text in its name, whatever the case of its letters (of SQLite the ASCII ones), or has that id, or is a
/// secret whose value is shown so; within a scope. In the order of the kinds, and of the names.
pub async fn search(
    db: &impl ConnectionTrait,
    scope: Scope,
    kinds: &[Named],
    text: &str,
    now_ms: i64,
) -> Result<Vec<Found>> {
    let Some(asked) = Asked::of(scope, kinds, text, now_ms) else {
        return Ok(Vec::new());
    };
    // SQLite's LIKE takes no notice of the case of ASCII letters, and of others always.
    let like = match db.get_database_backend() {
        DbBackend::Postgres => "ILIKE",
        _ => "LIKE",
    };
    // One question: ten would each wait for their turn.
    let parts = kinds.iter().enumerate();
    let parts: Vec<String> = parts
        .map(|(at, kind)| asked.part(at, *kind, like))
        .collect();
    let sql = format!("{} ORDER BY place, name", parts.join(" UNION ALL "));
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), sql, asked.values.clone());
    let mut found = Vec::new();
    for row in db.query_all_raw(statement).await? {
        let at = usize::try_from(row.try_get::<i32>("", "place")?).unwrap_or(usize::MAX);
        let Some(kind) = kinds.get(at) else {
            continue;
        };
        found.push(Found {
            kind: *kind,
            id: row.try_get("", "id")?,
            name: row.try_get("", "name")?,
            tenant: row.try_get("", "tenant")?,
        });
    }
    Ok(found)
}

/// What is asked of every kind. What is bound has its number; PostgreSQL takes none that is not used.
struct Asked {
    scope: Scope,
    values: Vec<Value>,
    hint: Option<usize>,
    id: Option<usize>,
    now: usize,
    tenant: Option<usize>,
}

impl Asked {
    /// None: nothing is asked for.
    fn of(scope: Scope, kinds: &[Named], text: &str, now_ms: i64) -> Option<Self> {
        let mut values: Vec<Value> = vec![pattern(text).into()];
        let mut bound = |value: Option<Value>| {
            values.push(value?);
            Some(values.len())
        };
        let has_hints = text.ends_with('…') && kinds.iter().any(|kind| kind.hints().is_some());
        let hint = bound(has_hints.then(|| text.into()));
        let id = bound(Uuid::parse_str(text).ok().map(Value::from));
        let waits = kinds.contains(&Named::Invitation);
        let now = bound(waits.then(|| now_ms.into())).unwrap_or_default();
        let tenant = bound(match scope {
            Scope::Tenant(tenant) => Some(tenant.0.into()),
            Scope::Platform => None,
        });
        let asked = Self {
            scope,
            hint,
            id,
            now,
            tenant,
            values,
        };
        (!kinds.is_empty()).then_some(asked)
    }

    /// The question for one kind. Names alone are looked through; what else is told is looked up for the few that are found.
    fn part(&self, place: usize, kind: Named, like: &str) -> String {
        const OWNER: &str = "(SELECT o.name FROM tenants AS o WHERE o.id = f.own)";
        const OWNERS: &str = "(SELECT MIN(o.name) FROM memberships AS m JOIN tenants AS o ON o.id = m.tenant_id WHERE m.user_id = f.id)";
        let (from, name, own) = kind.columns(self.scope);
        let tenant = match (kind, self.scope) {
            (Named::User, Scope::Platform) => OWNERS,
            _ => OWNER,
        };
        let mut either = vec![format!("{name} {like} $1 ESCAPE '!'")];
        if kind == Named::User {
            either.push(format!("t.name {like} $1 ESCAPE '!'"));
        }
        if let (Some(shown_so), Some(hint)) = (kind.hints(), self.hint) {
            either.push(format!("{shown_so} ${hint})"));
        }
        if let Some(id) = self.id {
            either.push(format!("t.id = ${id}"));
        }
        let mut wheres = format!("({})", either.join(" OR "));
        if kind == Named::Invitation {
            let now = self.now;
            wheres += &format!(
                " AND t.kind = 'invitation' AND t.used_ms IS NULL AND t.expires_ms > ${now}"
            );
        }
        if let Some(tenant) = self.tenant {
            wheres += &format!(" AND {own} = ${tenant}");
        }
        format!(
            "SELECT {place} AS place, f.id AS id, f.name AS name, {tenant} AS tenant
             FROM (SELECT t.id AS id, {name} AS name, {own} AS own FROM {from} WHERE {wheres} ORDER BY {name} LIMIT {HITS}) AS f"
        )
    }
}
