//! `channels`: the ways upstream.

use sea_orm::entity::prelude::*;

/// One way upstream.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "channels")]
pub struct Model {
    /// The channel.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The tenant that owns it and alone may use it. None: the platform's.
    pub tenant_id: Option<Uuid>,
    /// What its owner calls it; unique among the platform's and within each tenant.
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// The vendor's kind: `openai`, `anthropic`, `gemini`, `dashscope`, `azure-openai` or `custom`.
    #[sea_orm(column_type = "Text")]
    pub kind: String,
    /// Where the vendor's API begins, for `openai` up to `/v1`.
    #[sea_orm(column_type = "Text")]
    pub base_url: String,
    /// How the credential is sent: `{"header": .., "value": ..}` or `{"query": {"name": ..,
    /// "value": ..}}`, with `{secret}` in the value. None: as is usual for the kind.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub auth: Option<Json>,
    /// `connect_ms`, `first_byte_ms`, `idle_ms`, `total_ms`; one not given is the default.
    #[sea_orm(column_type = "JsonBinary")]
    pub timeouts: Json,
    /// How often and upon what an attempt is repeated: `{"attempts": .., "on": [..]}`.
    #[sea_orm(column_type = "JsonBinary")]
    pub retry: Json,
    /// The paths that pass under `/proxy/`: an array of text. None: as is usual for the kind.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub proxy_paths: Option<Json>,
    /// Further switches by name; `{}` if there are none.
    #[sea_orm(column_type = "JsonBinary")]
    pub settings: Json,
    /// Its share among channels of one priority.
    pub weight: i32,
    /// A higher one is tried first.
    pub priority: i32,
    /// Off: nothing is sent there.
    pub enabled: bool,
    /// `scheme://host:port` of `base_url`. A credential is sent only if its own is the same.
    #[sea_orm(column_type = "Text")]
    pub origin: String,
    /// Of a tenant's channel: the origin that an operator vouches for, private or not.
    #[sea_orm(column_type = "Text", nullable)]
    pub allowed_origin: Option<String>,
    /// When the row was made, Unix milliseconds.
    pub created_ms: i64,
    /// When the row was last changed, Unix milliseconds.
    pub updated_ms: i64,

    /// The tenant that owns it.
    #[sea_orm(belongs_to, from = "tenant_id", to = "id")]
    pub tenant: BelongsTo<Option<super::tenant::Entity>>,
    /// The secrets it can be called with.
    #[sea_orm(has_many)]
    pub credentials: HasMany<super::credential::Entity>,
    /// The models it serves.
    #[sea_orm(has_many)]
    pub routes: HasMany<super::route::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
