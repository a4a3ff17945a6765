//! The order among candidates: higher ranks first; among equals at random by weight.

use rand::{Rng, RngExt as _};
use weir_api_types::settings::Strategy;

/// Something with a rank and a weight.
#[derive(Debug, Clone)]
pub struct Weighed<R, T> {
    /// Higher goes first.
    pub rank: R,
    /// Share of first places among equals; 0 goes last.
    pub weight: u32,
    pub item: T,
}

/// Puts the items in order, as operators have set.
pub fn order_by<R: Ord, T>(
    strategy: Strategy,
    mut items: Vec<Weighed<R, T>>,
    random: &mut impl Rng,
) -> Vec<T> {
    match strategy {
        Strategy::Weighted => order(items, random),
        Strategy::Failover => {
            items.sort_by(|a, b| (&b.rank, b.weight).cmp(&(&a.rank, a.weight)));
            items.into_iter().map(|item| item.item).collect()
        }
    }
}

/// Puts the items in order. Each place among equals is drawn by the weights of those that are left, so that the first
/// place falls to each by its share.
pub fn order<R: Ord, T>(mut items: Vec<Weighed<R, T>>, random: &mut impl Rng) -> Vec<T> {
    items.sort_by(|a, b| b.rank.cmp(&a.rank));
    let mut ordered = Vec::with_capacity(items.len());
    while !items.is_empty() {
        let equals = items
            .iter()
            .take_while(|item| item.rank == items[0].rank)
            .count();
        let at = if equals == 1 {
            0
        } else {
            draw(&items[..equals], random)
        };
        ordered.push(items.remove(at).item);
    }
    ordered
}

fn draw<R, T>(items: &[Weighed<R, T>], random: &mut impl Rng) -> usize {
    let total: u64 = items.iter().map(|item| u64::from(item.weight)).sum();
    if total == 0 {
        return 0;
    }
    let mut drawn = random.random_range(0..total);
    for (at, item) in items.iter().enumerate() {
        match drawn.checked_sub(u64::from(item.weight)) {
            Some(left) => drawn = left,
            None => return at,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn weighed(rank: i32, weight: u32, item: &'static str) -> Weighed<i32, &'static str> {
        Weighed { rank, weight, item }
    }

    #[test]
    fn with_failover_the_greatest_weight_goes_first_and_chance_has_no_say() {
        for seed in 0..20 {
            let items = vec![
                weighed(0, 9, "low"),
                weighed(1, 1, "light"),
                weighed(1, 5, "heavy"),
                weighed(1, 0, "last"),
            ];
            let mut random = StdRng::seed_from_u64(seed);
            let ordered = order_by(Strategy::Failover, items, &mut random);
            assert_eq!(ordered, ["heavy", "light", "last", "low"]);
        }
    }

    #[test]
    fn ranks_go_first_and_weights_share_the_rest() {
        let mut random = StdRng::seed_from_u64(7);
        let mut first = 0;
        for _ in 0..10_000 {
            let items = vec![
                weighed(1, 100, "spare"),
                weighed(2, 90, "big"),
                weighed(2, 10, "small"),
                weighed(2, 0, "idle"),
            ];
            let ordered = order(items, &mut random);
            assert_eq!((ordered[2], ordered[3]), ("idle", "spare"));
            first += usize::from(ordered[0] == "big");
        }
        assert!(
            (8_800..9_200).contains(&first),
            "{first} of 10000 for a share of 90 %"
        );
    }

    #[test]
    fn weights_of_nothing_still_give_an_order() {
        let ordered = order(
            vec![weighed(1, 0, "a"), weighed(1, 0, "b")],
            &mut StdRng::seed_from_u64(1),
        );
        assert_eq!(ordered, ["a", "b"]);
    }
}
