//! `known_places`: where people have signed in from.

use sea_orm::entity::prelude::*;

/// A network that somebody has signed in from.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "known_places")]
pub struct Model {
    /// Who.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// The address; of IPv6 the network.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub network: String,
    /// When they were last there, Unix milliseconds.
    pub seen_ms: i64,
}

impl ActiveModelBehavior for ActiveModel {}
