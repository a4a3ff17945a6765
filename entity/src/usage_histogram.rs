//! `usage_histograms`: how the times of requests are spread.

use sea_orm::entity::prelude::*;

/// How many of a rollup's requests took about so long, for percentiles.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_histograms")]
pub struct Model {
    /// The `usage_rollups` row whose requests these are.
    #[sea_orm(primary_key, auto_increment = false)]
    pub rollup_id: Uuid,
    /// Which time: 0 the total, 1 until the first byte.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i16,
    /// Which step of the logarithmic scale.
    #[sea_orm(primary_key, auto_increment = false)]
    pub bucket: i16,
    /// How many requests.
    pub count: i64,
}

impl ActiveModelBehavior for ActiveModel {}
