//! `key_secrets`: the secrets of proxy keys.

use sea_orm::entity::prelude::*;

/// One secret of a proxy key. A key has up to two, so that one can replace the other while both
/// work. The secret itself is shown once and kept nowhere.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_secrets")]
pub struct Model {
    /// The secret.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The key it is for.
    pub key_id: Uuid,
    /// 0 or 1; unique within the key.
    pub slot: i16,
    /// SHA-256 of the secret, 32 bytes; unique. A call is identified by it.
    #[sea_orm(column_type = "Binary(32)", unique)]
    pub digest: Vec<u8>,
    /// The masked beginning of the secret, such as `wk-a1B2…`, by which its owner recognises it.
    #[sea_orm(column_type = "Text")]
    pub hint: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// From when on it is refused, Unix milliseconds; set when another replaces it.
    pub expires_ms: Option<i64>,

    /// The key it is for.
    #[sea_orm(belongs_to, from = "key_id", to = "id")]
    pub key: BelongsTo<super::proxy_key::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
