//! What shared limits have left, for people who look: nothing is counted by that, and nobody's call waits for it.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
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
        let asked = tags.iter().map(|(tag, places)| {
            let of_tag = places.iter().map(|at| counted[*at]);
            self.ask_left(tag, of_tag)
        });
        let answers = join_all(asked).await;
        for (places, answers) in tags.values().zip(answers) {
            for (at, answer) in places.iter().zip(answers) {
                left[*at] = Some(answer);
            }
        }
        left
    }

    /// Of one tag; nothing where Redis does not answer.
    async fn ask_left(
        &self,
        tag: &str,
        of_tag: impl ExactSizeIterator<Item = Counted<'_>>,
    ) -> Vec<Left> {
        let count = of_tag.len();
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
            Ok(Ok(numbers)) if numbers.len() == 2 * count => numbers,
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
