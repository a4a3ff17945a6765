//! `groups`: the sets of users within a tenant.

use sea_orm::entity::prelude::*;

/// A group of users, or of keys that shall outlive a leaver.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "groups")]
pub struct Model {
    /// The group.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant it is part of.
    #[sea_orm(unique_key = "tenant_and_name")]
    pub tenant_id: Uuid,
    /// What the tenant calls it; unique within the tenant.
    #[sea_orm(column_type = "Text", unique_key = "tenant_and_name")]
    pub name: String,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenant it is part of.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<super::tenant::Entity>,
    /// Its members.
    #[sea_orm(has_many, via = "group_member")]
    pub users: HasMany<super::user::Entity>,
    /// The keys that are the group's.
    #[sea_orm(has_many)]
    pub proxy_keys: HasMany<super::proxy_key::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
