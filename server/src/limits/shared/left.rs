//! What shared limits have left, for people who look: nothing is counted by that, and nobody's call waits for it.

use std::{collections::BTreeMap, time::Duration};

use tokio::time;

use super::{
    Shared,
    keys::{key, letter, tag},
};
use crate::limits::{
    claim::Counted,
    rate::{Left, Shape},
};

/// For so long a list waits for Redis, which a call would not.
const PATIENCE: Duration = Duration::from_secs(1);
/// Limits in one script.
const AT_ONCE: usize = 50;

impl Shared {
    /// What each of them has left in Redis; `None` where it does not say. What instances hold of it unspent counts as used.
    pub(super) async fn left_of(&self, counted: &[Counted<'_>]) -> Vec<Option<Left>> {
        let mut left = vec![None; counted.len()];
        if !self.is_asked() {
            return left;
        }
        let mut tags: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, one) in counted.iter().enumerate() {
            tags.entry(tag(one)).or_default().push(at);
        }
        // Calls wait while a script runs: each is short.
        for (tag, places) in &tags {
            for places in places.chunks(AT_ONCE) {
                let of_tag: Vec<Counted<'_>> = places.iter().map(|at| counted[*at]).collect();
                let answers = self.ask_left(tag, &of_tag).await;
                for (at, answer) in places.iter().zip(answers) {
                    left[*at] = Some(answer);
                }
            }
        }
        left
    }

    /// Of one tag; nothing where Redis does not answer.
    async fn ask_left(&self, tag: &str, of_tag: &[Counted<'_>]) -> Vec<Left> {
        let mut script = self.scripts.left.prepare_invoke();
        for one in of_tag {
            let shape = Shape::from(&one.limit.rule);
            script
                .key(self.redis.tagged(tag, &key(one.limit.id, one.value)))
                .arg(letter(shape.kind))
                .arg(shape.window_us)
                .arg(shape.max)
                .arg(shape.burst)
                .arg(shape.max_wait_us);
        }
        let answer = time::timeout(PATIENCE, self.run_once::<Vec<u64>>(&script)).await;
        let numbers = match answer {
            Ok(Ok(numbers)) if numbers.len() == 2 * of_tag.len() => numbers,
            Ok(Ok(_)) => Vec::new(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "Redis does not say what limits have left");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let left = numbers.chunks_exact(2).map(|pair| Left {
            remaining: pair[0],
            reset_us: pair[1],
        });
        left.collect()
    }
}
