//! `identities`: who is who at which provider.

use sea_orm::entity::prelude::*;

/// Somebody as a provider knows them. A provider and a subject are one person, whatever their address.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identities")]
pub struct Model {
    /// The identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The provider.
    #[sea_orm(unique_key = "provider_and_subject")]
    pub provider_id: Uuid,
    /// Who it is here.
    pub user_id: Uuid,
    /// Who it is there: the claim `sub`.
    #[sea_orm(column_type = "Text", unique_key = "provider_and_subject")]
    pub subject: String,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,

    /// The provider.
    #[sea_orm(belongs_to, from = "provider_id", to = "id")]
    pub provider: BelongsTo<super::identity_provider::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
