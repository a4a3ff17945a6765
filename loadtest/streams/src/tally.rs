//! What was seen, and its summary.

use std::time::Duration;

use serde_json::{Value, json};

/// What all connections have seen so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// From the request to its first chunk, in microseconds.
    pub(crate) first_byte: Vec<u32>,
    /// From the vendor's write to our read, in microseconds, one for each chunk.
    pub(crate) chunk: Vec<u32>,
    /// Streams that came whole.
    pub(crate) whole: u64,
    errors: u64,
    first_error: Option<String>,
    open: u64,
    most_open: u64,
}

impl Tally {
    pub(crate) fn opens(&mut self) {
        self.open += 1;
        self.most_open = self.most_open.max(self.open);
    }

    pub(crate) fn closes(&mut self) {
        self.open -= 1;
    }

    /// Notes a stream that did not come whole, and why, if it is the first.
    pub(crate) fn lost(&mut self, why: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| why.to_owned());
    }

    /// What `loadtest/bench.py` reads.
    pub(crate) fn summary(&mut self, took: Duration) -> Value {
        json!({
            "streams": self.whole,
            "chunks": self.chunk.len(),
            "errors": self.errors,
            "first_error": self.first_error,
            "most_open": self.most_open,
            "seconds": took.as_secs_f64(),
            "first_byte_p50": quantile(&mut self.first_byte, 0.5),
            "first_byte_p99": quantile(&mut self.first_byte, 0.99),
            "chunk_p50": quantile(&mut self.chunk, 0.5),
            "chunk_p99": quantile(&mut self.chunk, 0.99),
            "chunk_max": quantile(&mut self.chunk, 1.0),
        })
    }
}

/// The value below which that share lies (nearest rank); nothing where nothing was seen.
fn quantile(values: &mut [u32], share: f64) -> Option<u32> {
    let rank = (share * values.len() as f64).ceil() as usize;
    let at = rank.clamp(1, values.len().max(1)) - 1;
    (at < values.len()).then(|| *values.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_value_of_the_nearest_rank() {
        let mut values: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut values, 0.5), Some(50));
        assert_eq!(quantile(&mut values, 0.99), Some(99));
        assert_eq!(quantile(&mut values, 1.0), Some(100));
        assert_eq!(quantile(&mut [7], 0.5), Some(7));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
