//! `signing_keys`: what access tokens are signed with.

use sea_orm::entity::prelude::*;

/// An Ed25519 key. The newest one signs, it and the one before are believed.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub struct Model {
    /// The key, `kid` in tokens.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its sealed PKCS#8 document, in base64.
    pub sealed: Vec<u8>,
    /// The master key that sealed it.
    #[sea_orm(column_type = "Text")]
    pub master_key_id: String,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
