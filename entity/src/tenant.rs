//! `tenants`: the customers of the platform.

use sea_orm::entity::prelude::*;

/// A tenant: the unit of isolation, billing and limits.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub struct Model {
    /// The tenant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What operators and configuration files call it; unique.
    #[sea_orm(column_type = "Text", unique)]
    pub name: String,
    /// Off: its keys are refused, its streams are cut and its users cannot act in it.
    pub enabled: bool,
    /// IANA name of the zone in which its periods and reports are cut, such as `Asia/Shanghai`.
    #[sea_orm(column_type = "Text")]
    pub time_zone: String,
    /// Which of the platform's models and channels it may use: `{"models": [..], "channels":
    /// [..]}`, names or `"*"`. None: every model.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub grants: Option<Json>,
    /// What its own people may do: `{"keys_per_user": 1, "own_channels": true}`. None: the usual.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub policies: Option<Json>,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The roles that it has made.
    #[sea_orm(has_many)]
    pub roles: HasMany<super::role::Entity>,
    /// Who belongs to it, in which role.
    #[sea_orm(has_many)]
    pub memberships: HasMany<super::membership::Entity>,
    /// Its groups.
    #[sea_orm(has_many)]
    pub groups: HasMany<super::group::Entity>,
    /// Its keys.
    #[sea_orm(has_many)]
    pub proxy_keys: HasMany<super::proxy_key::Entity>,
    /// The channels it owns; not the platform's.
    #[sea_orm(has_many)]
    pub channels: HasMany<super::channel::Entity>,
    /// The models it owns; not the platform's.
    #[sea_orm(has_many)]
    pub models: HasMany<super::model::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
