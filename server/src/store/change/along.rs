//! What the database's foreign keys delete or change along with an entry.

use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use crate::{
    catalog::Kind,
    store::{IDS_PER_QUERY, Result},
};

/// Where the ids of what hangs on an entry stand, what they are, and whether they go with it. Of the references that
/// `weir_migration` makes with `belongs_to`, those between entries of the catalog; what is part of an entry goes unnamed.
pub fn references(kind: Kind) -> &'static [(&'static str, Kind, bool)] {
    match kind {
        Kind::Tenant => &[
            ("id FROM proxy_keys WHERE tenant_id", Kind::Key, true),
            ("id FROM groups WHERE tenant_id", Kind::Group, true),
            ("id FROM roles WHERE tenant_id", Kind::Role, true),
            ("id FROM models WHERE tenant_id", Kind::Model, true),
            ("id FROM channels WHERE tenant_id", Kind::Channel, true),
            ("id FROM limits WHERE tenant_id", Kind::Limit, true),
            ("id FROM budgets WHERE tenant_id", Kind::Budget, true),
            (
                "user_id AS id FROM memberships WHERE tenant_id",
                Kind::User,
                false,
            ),
        ],
        Kind::User => &[
            ("id FROM proxy_keys WHERE user_id", Kind::Key, true),
            ("id FROM limits WHERE user_id", Kind::Limit, true),
            ("id FROM budgets WHERE user_id", Kind::Budget, true),
        ],
        Kind::Group => &[
            ("id FROM proxy_keys WHERE group_id", Kind::Key, true),
            ("id FROM limits WHERE group_id", Kind::Limit, true),
            ("id FROM budgets WHERE group_id", Kind::Budget, true),
            (
                "user_id AS id FROM group_members WHERE group_id",
                Kind::User,
                false,
            ),
        ],
        Kind::Channel => &[
            (
                "model_id AS id FROM routes WHERE channel_id",
                Kind::Model,
                false,
            ),
            ("id FROM limits WHERE channel_id", Kind::Limit, true),
            ("id FROM budgets WHERE channel_id", Kind::Budget, true),
        ],
        Kind::Key => &[
            ("id FROM limits WHERE key_id", Kind::Limit, true),
            ("id FROM budgets WHERE key_id", Kind::Budget, true),
        ],
        Kind::Model => &[
            ("id FROM limits WHERE model_id", Kind::Limit, true),
            ("id FROM budgets WHERE model_id", Kind::Budget, true),
        ],
        Kind::Role | Kind::Limit | Kind::Budget | Kind::Settings => &[],
    }
}

/// What hangs on entries of one kind, and what hangs on that; whether it goes.
pub async fn with(
    db: &impl ConnectionTrait,
    kind: Kind,
    ids: &[Uuid],
) -> Result<Vec<(Kind, Uuid, bool)>> {
    let mut found = Vec::new();
    let mut going = vec![(kind, ids.to_vec())];
    while let Some((kind, ids)) = going.pop() {
        for (from, kind, goes) in references(kind) {
            let hanging = on(db, from, &ids).await?;
            found.extend(hanging.iter().map(|id| (*kind, *id, *goes)));
            if *goes && !references(*kind).is_empty() {
                going.push((*kind, hanging));
            }
        }
    }
    Ok(found)
}

/// The ids of what hangs on these by one reference.
async fn on(db: &impl ConnectionTrait, from: &str, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let mut hanging = Vec::new();
    for ids in ids.chunks(IDS_PER_QUERY) {
        let marks: Vec<String> = (1..=ids.len()).map(|at| format!("${at}")).collect();
        let sql = format!("SELECT {from} IN ({})", marks.join(", "));
        let values = ids.iter().map(|id| (*id).into());
        let rows = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        for row in db.query_all_raw(rows).await? {
            hanging.push(row.try_get("", "id")?);
        }
    }
    Ok(hanging)
}

/// How many things of which kind would go with an entry.
pub async fn dependants(
    db: &impl ConnectionTrait,
    kind: Kind,
    id: Uuid,
) -> Result<Vec<(Kind, u64)>> {
    let mut going: Vec<(Kind, Uuid)> = with(db, kind, &[id])
        .await?
        .into_iter()
        .filter_map(|(kind, id, goes)| goes.then_some((kind, id)))
        .collect();
    // A budget of a key goes with its key and with its tenant, once.
    going.sort_unstable_by_key(|(kind, id)| (kind.as_str(), *id));
    going.dedup();
    let count = |kind: Kind| going.iter().filter(|(other, _)| *other == kind).count() as u64;
    let counts = Kind::ALL.into_iter().map(|kind| (kind, count(kind)));
    Ok(counts.filter(|(_, count)| *count > 0).collect())
}
