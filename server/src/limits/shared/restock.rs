//! What is said to a Redis that has lost its counts, or was restored with old ones: what this instance has used of each limit.

use std::{collections::HashMap, time::Duration};

use redis::RedisError;

use super::{
    Shared,
    keys::{key, letter, tag_of},
};
use crate::limits::local::Used;

/// So long after the loss others have counted anew, and what is found is theirs.
const LATE: Duration = Duration::from_secs(5);
/// Counts in one script.
const COUNTS: usize = 200;

impl Shared {
    /// Looks whether Redis has begun anew since this was last asked, and then says what this instance has used.
    pub async fn restock_if_lost(&self) {
        let asked = self.epoch().await;
        let Ok((age, now_ms)) = asked else {
            // Whoever counts a call notices that it is away.
            return;
        };
        let since_ms = now_ms - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let known = *self.since_ms.lock();
        if known == Some(since_ms) {
            return;
        }
        if known.is_some() {
            match self.restock(since_ms, age).await {
                Ok(counts) => tracing::warn!(
                    counts,
                    "Redis has lost its counts: what this instance has used is put back"
                ),
                // Tried again with the next look.
                Err(error) => {
                    return tracing::warn!(%error, "what this instance has used cannot be put back");
                }
            }
        }
        *self.since_ms.lock() = Some(since_ms);
    }

    async fn restock(&self, since_ms: i64, age: Duration) -> Result<usize, RedisError> {
        // What they would put right is right in what this instance has noted.
        self.forget_owed_tokens();
        self.slices.clear();
        self.alone.lock().clear();
        let used = self.local.used();
        let counts = used.len();
        let mut by_tag: HashMap<String, Vec<Used>> = HashMap::new();
        for one in used {
            let tag = tag_of(one.scope, one.key.limit);
            by_tag.entry(tag).or_default().push(one);
        }
        for (tag, used) in by_tag {
            for used in used.chunks(COUNTS) {
                let mut script = self.scripts.restock.prepare_invoke();
                script
                    .arg(&self.instance)
                    .arg(since_ms)
                    .arg(u8::from(age < LATE));
                for one in used {
                    script
                        .key(self.redis.tagged(&tag, &key(one.key.limit, one.key.value)))
                        .arg(letter(one.shape.kind))
                        .arg(one.shape.window_us)
                        .arg(one.shape.max)
                        .arg(one.units);
                }
                self.patiently::<i64>(script).await?;
            }
        }
        Ok(counts)
    }
}
