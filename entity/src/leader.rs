//! `leaders`: which instance does what only one does at a time.

use sea_orm::entity::prelude::*;

/// A task, and who has it until when, by the database's clock.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "leaders")]
pub struct Model {
    /// The task.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub task: String,
    /// The instance that has it.
    pub instance_id: Uuid,
    /// Until when, Unix milliseconds; then any instance may take it.
    pub until_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
