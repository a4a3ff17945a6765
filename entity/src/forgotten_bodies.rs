//! `forgotten_bodies`: until when what was said in a tenant's calls is forgotten.

use sea_orm::entity::prelude::*;

/// What a tenant wanted forgotten last.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "forgotten_bodies")]
pub struct Model {
    /// Whose calls.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    /// Those that began until then, Unix milliseconds.
    pub until_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
