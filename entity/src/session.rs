//! `sessions`: who is signed in.

use sea_orm::entity::prelude::*;

/// One sign-in, for as long as it is kept up.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// The session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who is signed in.
    pub user_id: Uuid,
    /// Which of its refresh tokens is the one to use, from 0. An older one is a copy that somebody took.
    pub generation: i32,
    /// When that one was given out, Unix milliseconds.
    pub rotated_ms: i64,
    /// When a password or second factor was last shown in it, Unix milliseconds.
    pub proved_ms: i64,
    /// From when on it is over, Unix milliseconds.
    pub expires_ms: i64,
    /// Where it was last used from.
    #[sea_orm(column_type = "Text")]
    pub address: String,
    /// What the browser called itself.
    #[sea_orm(column_type = "Text")]
    pub agent: String,
    /// The identity provider that vouched for them. None: their password did.
    pub provider_id: Option<Uuid>,
    /// The one tenant that they are somebody in, where it was that tenant's provider.
    pub tenant_id: Option<Uuid>,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
