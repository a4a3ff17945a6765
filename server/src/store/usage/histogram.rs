//! The scale on which times are counted.
//!
//! Microseconds fall into 8 buckets per doubling: below 8 each value has its own; from there bucket
//! `8 · (e - 2) + s` holds the values from `(8 + s) · 2^(e-3)` up to `(9 + s) · 2^(e-3)`, where `e` is the number's
//! highest bit and `s` the three bits below it. A value is at most a sixteenth away from its bucket's middle.

use std::{collections::BTreeMap, ops::Range};

const SUB_BITS: u32 = 3;
const SUB_BUCKETS: u64 = 1 << SUB_BITS;

/// Which time of a request; the number that the table keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// From its head to its end.
    Total = 0,
    /// From its head to the first byte of the answer.
    FirstByte = 1,
}

/// The bucket of a time.
pub fn bucket(us: u64) -> u16 {
    if us < SUB_BUCKETS {
        return us as u16;
    }
    let highest = us.ilog2();
    let sub = (us >> (highest - SUB_BITS)) - SUB_BUCKETS;
    (u64::from(highest - SUB_BITS + 1) * SUB_BUCKETS + sub) as u16
}

/// The times of a bucket, in microseconds.
pub fn bounds(bucket: u16) -> Range<u128> {
    let bucket = u128::from(bucket);
    let sub_buckets = u128::from(SUB_BUCKETS);
    if bucket < sub_buckets {
        return bucket..bucket + 1;
    }
    let shift = (bucket / sub_buckets - 1).min(64);
    let first = sub_buckets + bucket % sub_buckets;
    first << shift..(first + 1) << shift
}

/// The time below which the share `q` (0 to 1) of the requests stayed: the middle of the bucket it falls into; `None`
/// where nothing was counted.
pub fn quantile(counts: &BTreeMap<u16, u64>, q: f64) -> Option<u64> {
    let total: u64 = counts.values().sum();
    let wanted = ((total as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
    let mut seen = 0;
    for (bucket, count) in counts {
        seen += count;
        if seen >= wanted {
            let bounds = bounds(*bucket);
            return Some(((bounds.start + bounds.end - 1) / 2) as u64);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for number in 0..400 {
            assert_eq!(bounds(number).end, bounds(number + 1).start, "{number}");
        }
        assert_eq!(bucket(u64::MAX), 495);
    }

    #[test]
    fn a_quantile_is_near_the_true_one() {
        let times: Vec<u64> = (1..=10_000u64).map(|step| step * 137).collect();
        let mut counts = BTreeMap::new();
        for time in &times {
            *counts.entry(bucket(*time)).or_default() += 1;
        }
        for q in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = times[((times.len() as f64 * q).ceil() as usize).max(1) - 1] as f64;
            let found = quantile(&counts, q).expect("there are times") as f64;
            assert!(
                (found - exact).abs() / exact <= 0.1,
                "{q}: {found} for {exact}"
            );
        }
        assert_eq!(quantile(&BTreeMap::new(), 0.5), None);
    }

    proptest! {
        #[test]
        fn a_time_is_in_its_bucket(us: u64) {
            prop_assert!(bounds(bucket(us)).contains(&u128::from(us)));
        }
    }
}
