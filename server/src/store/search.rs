//! Things by what they are called, or by their ids.

use sea_orm::{ConnectionTrait, Statement, Value};
use uuid::Uuid;

use super::{Result, Scope};
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

/// Things of a kind whose name has the text in it, whatever its case, or whose id it is; within a scope.
pub async fn search(
    db: &impl ConnectionTrait,
    scope: Scope,
    kind: Kind,
    text: &str,
) -> Result<Vec<Found>> {
    // Within a tenant its own; a tenant itself by its id, and people by their membership.
    let (from, name, own) = match kind {
        Kind::Tenant => ("tenants AS t", "t.name", "t.id"),
        Kind::User => (
            "users AS t LEFT JOIN memberships AS m ON m.user_id = t.id",
            "t.email",
            "m.tenant_id",
        ),
        Kind::Role => ("roles AS t", "t.name", "t.tenant_id"),
        Kind::Group => ("groups AS t", "t.name", "t.tenant_id"),
        Kind::Key => ("proxy_keys AS t", "t.name", "t.tenant_id"),
        Kind::Channel => ("channels AS t", "t.name", "t.tenant_id"),
        Kind::Model => ("models AS t", "t.name", "t.tenant_id"),
        Kind::Limit | Kind::Budget | Kind::Settings => return Ok(Vec::new()),
    };
    let mut values: Vec<Value> = vec![pattern(text).into()];
    let mut wheres = format!("LOWER({name}) LIKE $1 ESCAPE '!'");
    if let Ok(id) = Uuid::parse_str(text) {
        values.push(id.into());
        wheres = format!("({wheres} OR t.id = ${})", values.len());
    }
    if let Scope::Tenant(tenant) = scope {
        values.push(tenant.0.into());
        wheres = format!("{wheres} AND {own} = ${}", values.len());
    }
    let sql = format!(
        "SELECT t.id AS id, {name} AS name, MIN(o.name) AS tenant FROM {from}
         LEFT JOIN tenants AS o ON o.id = {own}
         WHERE {wheres} GROUP BY t.id, {name} ORDER BY {name} LIMIT {HITS}"
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

/// What `LIKE` takes for the text as it stands.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_would_read_stands_for_itself() {
        assert_eq!(pattern("50%_Off!"), "%50!%!_off!!%");
    }
}
