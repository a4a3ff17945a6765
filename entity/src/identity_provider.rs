//! `identity_providers`: whose word about who somebody is counts.

use sea_orm::entity::prelude::*;

/// A provider of OpenID Connect, of the platform's or of one tenant's.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identity_providers")]
pub struct Model {
    /// The provider.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant whose members alone it signs in. None: the platform's.
    pub tenant_id: Option<Uuid>,
    /// What people choose it by; unique in the tenant, or on the platform.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// Its issuer identifier, as its tokens have it.
    #[sea_orm(column_type = "Text")]
    pub issuer: String,
    /// What Weir is called there.
    #[sea_orm(column_type = "Text")]
    pub client_id: String,
    /// The client's secret, sealed. None: it has none.
    pub sealed: Option<Vec<u8>>,
    /// Which master key sealed it.
    #[sea_orm(column_type = "Text", nullable)]
    pub master_key_id: Option<String>,
    /// Scopes, the claim of groups, and which of them are in which role.
    #[sea_orm(column_type = "JsonBinary")]
    pub settings: Json,
    /// The origin that an operator vouches for though a tenant gave it.
    #[sea_orm(column_type = "Text", nullable)]
    pub allowed_origin: Option<String>,
    /// Off: it signs nobody in.
    pub enabled: bool,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// Who is who there.
    #[sea_orm(has_many)]
    pub identities: HasMany<super::identity::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
