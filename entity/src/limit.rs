//! `limits`: what bounds a rate.

use sea_orm::entity::prelude::*;

/// So many requests or tokens per window, or so many at once. It stands on one thing: the group, user, key, channel or model that is named, else the
/// tenant, else the platform.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "limits")]
pub struct Model {
    /// The limit.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant inside which it counts, or that owns the channel or model. None: the platform's.
    pub tenant_id: Option<Uuid>,
    /// The group that it stands on.
    pub group_id: Option<Uuid>,
    /// The user that it stands on, as a member of the tenant.
    pub user_id: Option<Uuid>,
    /// The key that it stands on.
    pub key_id: Option<Uuid>,
    /// The channel that it stands on.
    pub channel_id: Option<Uuid>,
    /// The model that it stands on.
    pub model_id: Option<Uuid>,
    /// What it allows, as the configuration file writes it.
    #[sea_orm(column_type = "JsonBinary")]
    pub rule: Json,
    /// Orders those of one thing as they were given, from 0.
    pub position: i32,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
