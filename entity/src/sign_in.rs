//! `sign_ins`: how people show who they are.

use sea_orm::entity::prelude::*;

/// A person's password and second factor. There is no row for who never had either.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_ins")]
pub struct Model {
    /// The person.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// Argon2id, in PHC string format. None: they have no password.
    #[sea_orm(column_type = "Text", nullable)]
    pub password: Option<String>,
    /// The sealed seed of their second factor (RFC 6238); not in force before `totp_on`.
    pub totp_sealed: Option<Vec<u8>>,
    /// The master key that sealed it.
    #[sea_orm(column_type = "Text", nullable)]
    pub master_key_id: Option<String>,
    /// Whether a second factor is asked for.
    pub totp_on: bool,
    /// The step of the last code that was taken: none before it, nor itself, is taken again.
    pub totp_step: i64,
    /// SHA-256 of the recovery codes that are left, in hexadecimal: an array of text.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub recovery: Option<Json>,
    /// When the password was set, Unix milliseconds.
    pub password_ms: Option<i64>,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
