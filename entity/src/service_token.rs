//! `service_tokens`: what automation calls management with.

use sea_orm::entity::prelude::*;

/// A service token. Its value is nowhere, only its digest.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "service_tokens")]
pub struct Model {
    /// The token.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant that its role holds in. None: the platform's.
    pub tenant_id: Option<Uuid>,
    /// Unique in the tenant, or on the platform.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// `platform_admin` or `platform_viewer` without a tenant; `owner`, `admin`, `finance`, `developer` or `viewer` with one.
    #[sea_orm(column_type = "Text")]
    pub role: String,
    /// A role of the tenant's own, instead of `role`, which then says `viewer`.
    pub role_id: Option<Uuid>,
    /// SHA-256 of its value; unique.
    pub digest: Vec<u8>,
    /// The masked beginning of its value.
    #[sea_orm(column_type = "Text")]
    pub hint: String,
    /// Off: it is refused.
    pub enabled: bool,
    /// From when on it is refused, Unix milliseconds.
    pub expires_ms: Option<i64>,
    /// When it was last used, to the minute, Unix milliseconds.
    pub used_ms: Option<i64>,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenant that its role holds in.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<Option<super::tenant::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
