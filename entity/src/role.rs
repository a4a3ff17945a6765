//! `roles`: what tenants call a set of permissions of their own making.

use sea_orm::entity::prelude::*;

/// A role of a tenant's own. Those that are built in have no rows.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "roles")]
pub struct Model {
    /// The role.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant that made it.
    #[sea_orm(unique_key = "tenant_and_name")]
    pub tenant_id: Uuid,
    /// What the tenant calls it; unique within the tenant, and none of the words of those that are built in.
    #[sea_orm(column_type = "Text", unique_key = "tenant_and_name")]
    pub name: String,
    /// What it allows: `resource:action`, an array of text.
    #[sea_orm(column_type = "JsonBinary")]
    pub permissions: Json,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenant that made it.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<super::tenant::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
