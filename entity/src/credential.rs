//! `credentials`: the vendors' secrets.

use sea_orm::entity::prelude::*;

/// One secret of a channel.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credentials")]
pub struct Model {
    /// The credential.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The channel it is for.
    pub channel_id: Uuid,
    /// Orders the channel's credentials, from 0.
    pub position: i32,
    /// What its owner calls it.
    #[sea_orm(column_type = "Text", nullable)]
    pub name: Option<String>,
    /// The secret, sealed with AES-256-GCM: nonce, ciphertext and tag. Table, row, tenant and
    /// master key are bound to it.
    #[sea_orm(column_type = "Blob")]
    pub sealed: Vec<u8>,
    /// Which master key sealed it; tells what a rotation has still to do.
    #[sea_orm(column_type = "Text")]
    pub master_key_id: String,
    /// `scheme://host:port` that it was given for. It is sent nowhere else.
    #[sea_orm(column_type = "Text")]
    pub origin: String,
    /// Off: it is not used.
    pub enabled: bool,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The channel it is for.
    #[sea_orm(belongs_to, from = "channel_id", to = "id")]
    pub channel: BelongsTo<super::channel::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
