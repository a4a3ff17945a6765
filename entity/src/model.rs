//! `models`: the models that callers name.

use sea_orm::entity::prelude::*;

/// A public model name.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "models")]
pub struct Model {
    /// The model.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant that owns it and alone may use it. None: the platform's.
    pub tenant_id: Option<Uuid>,
    /// What callers write; unique among the platform's and within each tenant.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// What it can do: an array of text such as `vision`, `tools`, `embeddings`.
    #[sea_orm(column_type = "JsonBinary")]
    pub capabilities: Json,
    /// The most tokens, input and output together, that it takes.
    pub context_tokens: Option<i64>,
    /// The most tokens that it writes.
    pub max_output_tokens: Option<i64>,
    /// The most tokens that it reads one image as.
    pub max_image_tokens: Option<i64>,
    /// The tokenizer that counts for it where the vendor did not. None: `o200k`.
    #[sea_orm(column_type = "Text", nullable)]
    pub tokenizer: Option<String>,
    /// Off: it is unknown to callers.
    pub enabled: bool,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenant that owns it.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<Option<super::tenant::Entity>>,
    /// The channels that serve it.
    #[sea_orm(has_many)]
    pub routes: HasMany<super::route::Entity>,
    /// What it costs, and from when on.
    #[sea_orm(has_many)]
    pub prices: HasMany<super::price::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
