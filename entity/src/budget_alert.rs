//! `budget_alerts`: what budgets told.

use sea_orm::entity::prelude::*;

/// A budget reached one of its thresholds, or a call was refused for it. There is at most one row for a budget, a
/// period, a kind and a threshold.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "budget_alerts")]
pub struct Model {
    /// The alert.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The budget.
    pub budget_id: Uuid,
    /// The tenant that it concerns. None: the platform alone.
    pub tenant_id: Option<Uuid>,
    /// When the period began, Unix milliseconds.
    pub window_ms: i64,
    /// `crossed` or `refused`.
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    /// The threshold in per cent; 0 for a refusal.
    pub percent: i32,
    /// What had been spent: nano-dollars, tokens or requests.
    pub spent: i64,
    /// What the budget had then, in the same unit.
    pub amount: i64,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
