//! `proxy_keys`: the identities that programs call with.

use sea_orm::entity::prelude::*;

/// A proxy key. Its secrets are in `key_secrets`, so that they can change without the key.
/// It belongs to a user, to a group or, with neither, to the tenant; never to both.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "proxy_keys")]
pub struct Model {
    /// The key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant whose money it spends.
    #[sea_orm(unique_key = "tenant_and_name")]
    pub tenant_id: Uuid,
    /// What the tenant calls it; unique within the tenant.
    #[sea_orm(column_type = "Text", unique_key = "tenant_and_name")]
    pub name: String,
    /// The user it belongs to, and with whom it goes.
    pub user_id: Option<Uuid>,
    /// The group it belongs to.
    pub group_id: Option<Uuid>,
    /// Off: it is refused and its streams are cut.
    pub enabled: bool,
    /// From when on it is refused, Unix milliseconds.
    pub expires_ms: Option<i64>,
    /// The names of the models it may use, within the tenant's grants: an array of text. None: all.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub models: Option<Json>,
    /// The channels it may use: `[{"channel_id": .., "priority": ..}]`, a higher priority first.
    /// None: all.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub channels: Option<Json>,
    /// The networks it may be used from: an array of CIDR text. None: any.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub ip_allow: Option<Json>,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenant whose money it spends.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<super::tenant::Entity>,
    /// The user it belongs to.
    #[sea_orm(belongs_to, from = "user_id", to = "id")]
    pub user: BelongsTo<Option<super::user::Entity>>,
    /// The group it belongs to.
    #[sea_orm(belongs_to, from = "group_id", to = "id")]
    pub group: BelongsTo<Option<super::group::Entity>>,
    /// Its secrets, at most two.
    #[sea_orm(has_many)]
    pub secrets: HasMany<super::key_secret::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
