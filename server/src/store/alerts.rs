//! What budgets told, each once over all instances.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, TryInsertResult,
    sea_query::OnConflict,
};
use uuid::Uuid;
use weir_api_types::{
    manage::AlertItem,
    queries::{AlertKind, AlertQuery},
};
use weir_entity::budget_alert::{ActiveModel, Column, Entity};

use super::{Database, Listed, Page, Result, Scope, moment};
use crate::limits::{Alert, Happened};

/// Writes an alert, unless it is there already. Whether it was written now.
pub async fn write(db: &Database, alert: &Alert, at_ms: i64) -> Result<bool> {
    let (kind, percent) = match alert.what {
        Happened::Crossed(percent) => (AlertKind::Crossed, percent),
        Happened::Refused => (AlertKind::Refused, 0),
    };
    let row = ActiveModel {
        id: Set(Uuid::now_v7()),
        budget_id: Set(alert.budget.0),
        tenant_id: Set(alert.tenant.map(|tenant| tenant.0)),
        window_ms: Set(alert.window_ms),
        kind: Set(kind.as_str().to_owned()),
        percent: Set(i32::from(percent)),
        spent: Set(i64::try_from(alert.spent).unwrap_or(i64::MAX)),
        amount: Set(i64::try_from(alert.amount).unwrap_or(i64::MAX)),
        at_ms: Set(at_ms),
    };
    let once = OnConflict::columns([
        Column::BudgetId,
        Column::WindowMs,
        Column::Kind,
        Column::Percent,
    ])
    .do_nothing()
    .to_owned();
    let insert = Entity::insert(row).on_conflict(once).try_insert();
    let written = insert.exec_without_returning(&db.write).await?;
    Ok(matches!(written, TryInsertResult::Inserted(1)))
}

/// A page of the alerts of one tenant, or of all, as far as they are wanted.
pub async fn list(
    db: &Database,
    scope: Scope,
    wanted: &AlertQuery,
    page: &Page,
) -> Result<Listed<AlertItem>> {
    let mut query = Entity::find();
    if let Some(budget) = wanted.budget {
        query = query.filter(Column::BudgetId.eq(budget));
    }
    if let Some(kind) = wanted.kind {
        query = query.filter(Column::Kind.eq(kind.as_str()));
    }
    if let Scope::Tenant(tenant) = scope {
        query = query.filter(Column::TenantId.eq(tenant.0));
    }
    let rows = page.of(&db.read, query, Column::Id).await?;
    let item = |row: weir_entity::budget_alert::Model| AlertItem {
        id: row.id,
        budget: row.budget_id,
        kind: row.kind,
        percent: u16::try_from(row.percent).unwrap_or(0),
        spent: u64::try_from(row.spent).unwrap_or(0),
        amount: u64::try_from(row.amount).unwrap_or(0),
        window_start: moment(row.window_ms),
        at: moment(row.at_ms),
    };
    Ok(rows.map(item))
}
