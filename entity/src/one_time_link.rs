//! `one_time_links`: invitations, and other passwords for those who lost theirs.

use sea_orm::entity::prelude::*;

/// A link that works once. Its token is nowhere, only its digest.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "one_time_links")]
pub struct Model {
    /// The link.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `invitation` or `reset`.
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    /// SHA-256 of its token; unique.
    pub digest: Vec<u8>,
    /// Whom it is for, in lower case: it works for nobody else.
    #[sea_orm(column_type = "Text")]
    pub email: String,
    /// Of `reset`: whose password.
    pub user_id: Option<Uuid>,
    /// Of `invitation`: into which tenant.
    pub tenant_id: Option<Uuid>,
    /// Of `invitation`: as what; a role of the tenant's own by its id.
    #[sea_orm(column_type = "Text", nullable)]
    pub role: Option<String>,
    /// Of `invitation`: the ids of the groups, an array of text.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub groups: Option<Json>,
    /// The person who invited; with them it goes. None: a token did.
    pub inviter_id: Option<Uuid>,
    /// The service token that invited. None: a person did, or the admin token.
    pub inviter_token_id: Option<Uuid>,
    /// Who invited, in words.
    #[sea_orm(column_type = "Text")]
    pub invited_by: String,
    /// Whether nobody but the owner of the address, or an operator, has seen the link.
    pub proves_email: bool,
    /// From when on it does not work, Unix milliseconds.
    pub expires_ms: i64,
    /// When it was used, or withdrawn, Unix milliseconds.
    pub used_ms: Option<i64>,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
