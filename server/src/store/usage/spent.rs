//! What a budget's account has spent, by the books.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, Statement, Value,
};
use weir_entity::usage_event;

use super::event_rows;
use crate::{
    limits::{Account, Window, spent_by},
    store::{Error, IDS_PER_QUERY, Result},
    tenancy::{RequestId, Scope, limit::Spending},
};

/// What is booked for an account in a window. Windows begin and end with quarter hours.
pub async fn spent(db: &impl ConnectionTrait, account: Account, window: Window) -> Result<u64> {
    let by_channel = matches!(account.scope, Scope::Channel(_));
    let table = if by_channel {
        "attempt_rollups"
    } else {
        "usage_rollups"
    };
    let sum = match (account.spending, by_channel) {
        (Spending::Money, true) => "cost_nanos",
        (Spending::Money, false) => "charge_nanos",
        (Spending::Tokens, _) => "input_tokens + output_tokens",
        (Spending::Requests, true) => "attempts",
        (Spending::Requests, false) => "CASE outcome WHEN 'refused' THEN 0 ELSE requests END",
    };
    let (place, ids): (&str, Vec<Value>) = match account.scope {
        Scope::Platform | Scope::Model(_) => return Err(Error::other("it has no budget")),
        Scope::Tenant(tenant) => ("tenant_id = $3", vec![tenant.0.into()]),
        Scope::Group(tenant, group) => (
            "tenant_id = $3 AND group_id = $4",
            vec![tenant.0.into(), group.0.into()],
        ),
        Scope::User(tenant, user) => (
            "tenant_id = $3 AND user_id = $4",
            vec![tenant.0.into(), user.0.into()],
        ),
        Scope::Key(tenant, key) => (
            "tenant_id = $3 AND key_id = $4",
            vec![tenant.0.into(), key.0.into()],
        ),
        Scope::Channel(channel) => ("channel_id = $3", vec![channel.0.into()]),
    };
    let sql = format!(
        "SELECT CAST(COALESCE(SUM({sum}), 0) AS bigint) AS spent FROM {table}
         WHERE quarter_ms >= $1 AND quarter_ms < $2 AND {place}"
    );
    let mut values: Vec<Value> = vec![window.start_ms.into(), window.end_ms.into()];
    values.extend(ids);
    let ask = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let row = db.query_one_raw(ask).await?;
    let spent: i64 = match row {
        Some(row) => row.try_get("", "spent")?,
        None => 0,
    };
    Ok(u64::try_from(spent).unwrap_or(0))
}

/// What the booked ones among some calls have spent of an account.
pub async fn spent_by_calls(
    db: &impl ConnectionTrait,
    account: Account,
    ids: &[RequestId],
) -> Result<u64> {
    let mut spent = 0u64;
    for ids in ids.chunks(IDS_PER_QUERY) {
        let ids = ids.iter().map(|id| id.0);
        let rows = usage_event::Entity::find().filter(usage_event::Column::Id.is_in(ids));
        for row in rows.all(db).await? {
            let event = event_rows::event(row)?;
            spent = spent.saturating_add(spent_by(account, &event));
        }
    }
    Ok(spent)
}
