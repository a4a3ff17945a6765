//! Deletes single events that nobody wants kept. Their sums stay: what was used and owed is known for ever.

use sea_orm::{ConnectionTrait as _, Statement};
use weir_migration::usage::partition::first_id;

use crate::store::{Database, Result};

/// Events that one statement deletes, so that none holds up the booking of others for long.
const EVENTS: u64 = 5_000;

/// Deletes all events before a moment. Returns how many there were.
pub async fn events(db: &Database, before_ms: i64) -> Result<u64> {
    let sql = format!(
        "DELETE FROM usage_events WHERE id IN (SELECT id FROM usage_events WHERE id < $1 ORDER BY id LIMIT {EVENTS})"
    );
    let mut deleted = 0;
    loop {
        let values = [first_id(before_ms).into()];
        let statement = Statement::from_sql_and_values(db.backend(), &sql, values);
        let step = db.write.execute_raw(statement).await?.rows_affected();
        deleted += step;
        if step < EVENTS {
            return Ok(deleted);
        }
    }
}
