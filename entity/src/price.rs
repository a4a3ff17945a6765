//! `prices`: the dated prices of models.

use sea_orm::entity::prelude::*;

/// What a model costs from some moment until its next price.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "prices")]
pub struct Model {
    /// The price.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The model.
    pub model_id: Uuid,
    /// From when on it holds, Unix milliseconds; unique within the model.
    pub effective_ms: i64,
    /// USD per million by unit, as exact decimals in text: `{"input": "0.15", "cached_input":
    /// "0.075"}`.
    #[sea_orm(column_type = "JsonBinary")]
    pub rates: Json,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,

    /// The model.
    #[sea_orm(belongs_to, from = "model_id", to = "id")]
    pub model: BelongsTo<super::model::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
