//! `routes`: which channel serves which model.

use sea_orm::entity::prelude::*;

/// A way to serve a model. There is at most one for a model, a channel and an upstream name.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "routes")]
pub struct Model {
    /// The route.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The model.
    pub model_id: Uuid,
    /// The channel that serves it.
    pub channel_id: Uuid,
    /// What the vendor calls the model.
    #[sea_orm(column_type = "Text")]
    pub upstream_model: String,
    /// Its share among routes of one priority.
    pub weight: i32,
    /// A higher one is tried first.
    pub priority: i32,
    /// The most requests a second that go this way. None: as many as come.
    pub max_rps: Option<i32>,
    /// Off: the model is not served this way.
    pub enabled: bool,
    /// Orders the model's routes as they were given, from 0.
    pub position: i32,

    /// The model.
    #[sea_orm(belongs_to, from = "model_id", to = "id")]
    pub model: BelongsTo<super::model::Entity>,
    /// The channel that serves it.
    #[sea_orm(belongs_to, from = "channel_id", to = "id")]
    pub channel: BelongsTo<super::channel::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
