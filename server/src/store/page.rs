//! Pages of lists: a bounded number of rows after a place.
//!
//! Lists are in the order of their ids: it stays while things come and go, and the cursor, the last id seen, tells
//! nothing and gives nothing, since every query starts from the tenant anyway.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select,
};
use uuid::Uuid;

use super::Result;

/// Most rows of one page.
pub const MAX_ROWS: u64 = 1_000;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The last id of the page before.
    pub after: Option<Uuid>,
    /// At most [`MAX_ROWS`].
    pub rows: u64,
}

impl Page {
    /// The rows of a query on this page, by their id.
    pub(super) async fn of<E: EntityTrait>(
        &self,
        db: &impl ConnectionTrait,
        query: Select<E>,
        id: E::Column,
    ) -> Result<Vec<E::Model>> {
        let mut query = query.order_by_asc(id).limit(self.rows.min(MAX_ROWS));
        if let Some(after) = self.after {
            query = query.filter(id.gt(after));
        }
        Ok(query.all(db).await?)
    }
}
