//! Each algorithm against an exact model: what was admitted, when, and nothing else.

use proptest::prelude::*;

use super::*;

/// One call as the model knows it.
#[derive(Debug, Clone, Copy)]
struct Call {
    at_us: u64,
    cost: u64,
}

fn shape(kind: Kind, window_us: u64, max: u64, burst: u64) -> Shape {
    Shape {
        kind,
        window_us,
        max,
        burst,
        max_wait_us: 0,
    }
}

fn moment(at_us: u64) -> Moment {
    Moment {
        mono_us: at_us,
        wall_us: at_us,
    }
}

/// Calls at random times of some windows, many at once and some apart.
fn calls(window_us: u64, most_cost: u64) -> impl Strategy<Value = Vec<Call>> {
    let pause = prop_oneof![
        3 => Just(0),
        3 => 0..window_us / 50,
        1 => 0..window_us * 2,
    ];
    prop::collection::vec((pause, 1..=most_cost), 1..200).prop_map(move |pauses| {
        let mut at_us = window_us * 100;
        pauses
            .into_iter()
            .map(|(pause, cost)| {
                at_us += pause;
                Call { at_us, cost }
            })
            .collect()
    })
}

/// Runs the calls; at each, the model says whether there is room, knowing what was admitted so far.
fn against(
    shape: &Shape,
    calls: &[Call],
    has_room: impl Fn(&[Call], Call) -> bool,
) -> Result<Vec<Call>, TestCaseError> {
    let mut cell = Cell::new(shape);
    let mut admitted = Vec::new();
    for call in calls {
        let room = has_room(&admitted, *call);
        let taken = cell.take(shape, call.cost, moment(call.at_us));
        prop_assert_eq!(taken.is_ok(), room, "{:?} after {:?}", call, admitted);
        match taken {
            Ok(_) => admitted.push(*call),
            // Whoever comes back when told finds room, if nobody else came.
            Err(full) => {
                let later = moment(call.at_us + full.after_us);
                prop_assert!(cell.clone().take(shape, call.cost, later).is_ok());
                let sooner = moment(call.at_us + full.after_us.saturating_sub(2));
                prop_assert!(
                    full.after_us < 2 || cell.clone().take(shape, call.cost, sooner).is_err()
                );
            }
        }
    }
    Ok(admitted)
}

/// A bucket has room if no span that ends now takes more than the burst and what flows in meanwhile.
fn bucket_has_room(shape: &Shape, admitted: &[Call], call: Call) -> bool {
    let mut sum = u128::from(call.cost);
    let mut fits = sum <= u128::from(shape.burst);
    for earlier in admitted.iter().rev() {
        sum += u128::from(earlier.cost);
        let flowed = u128::from(call.at_us - earlier.at_us) * u128::from(shape.max);
        let most = u128::from(shape.burst) * u128::from(shape.window_us) + flowed;
        fits &= sum * u128::from(shape.window_us) <= most;
    }
    fits
}

proptest! {
    #[test]
    fn a_bucket_takes_exactly_its_burst_and_its_rate(
        calls in calls(1_000_000, 7), max in 1u64..200, burst in 7u64..60,
    ) {
        let shape = shape(Kind::Bucket, 1_000_000, max, burst);
        against(&shape, &calls, |admitted, call| bucket_has_room(&shape, admitted, call))?;
    }

    #[test]
    fn a_governed_bucket_takes_exactly_its_burst_and_its_rate(
        calls in calls(60_000_000, 1), tenth in 1u64..60, burst in 1u64..60,
    ) {
        // Rates that are whole nanoseconds, as the model knows no rounding.
        let max = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 600][(tenth % 13) as usize];
        let shape = shape(Kind::Governed, 60_000_000, max, burst);
        prop_assert!(governed::expresses(60_000_000, max, burst));
        against(&shape, &calls, |admitted, call| bucket_has_room(&shape, admitted, call))?;
    }

    #[test]
    fn a_rounded_governed_bucket_never_takes_more(
        calls in calls(1_000_000, 1), max in 1u64..900, burst in 1u64..60,
    ) {
        let shape = shape(Kind::Governed, 1_000_000, max, burst);
        let mut cell = Cell::new(&shape);
        let mut admitted: Vec<Call> = Vec::new();
        for call in calls {
            let room = bucket_has_room(&shape, &admitted, call);
            let taken = cell.take(&shape, 1, moment(call.at_us)).is_ok();
            prop_assert!(room || !taken);
            if taken {
                admitted.push(call);
            }
        }
    }

    #[test]
    fn a_sliding_window_takes_exactly_its_slices(
        calls in calls(6_000_000, 5), max in 5u64..100,
    ) {
        let shape = shape(Kind::Sliding, 6_000_000, max, max);
        let slice = |at_us: u64| at_us / 100_000;
        let admitted = against(&shape, &calls, |admitted, call| {
            let first = slice(call.at_us) - 60;
            let inside = admitted.iter().filter(|earlier| slice(earlier.at_us) >= first);
            inside.map(|earlier| earlier.cost).sum::<u64>() + call.cost <= max
        })?;
        // And so no window of its length holds more.
        for (at, last) in admitted.iter().enumerate() {
            let inside = admitted[..=at].iter().filter(|call| call.at_us > last.at_us - 6_000_000);
            prop_assert!(inside.map(|call| call.cost).sum::<u64>() <= max);
        }
    }

    #[test]
    fn a_fixed_window_takes_exactly_its_maximum(
        calls in calls(1_000_000, 5), max in 5u64..100,
    ) {
        let shape = shape(Kind::Fixed, 1_000_000, max, max);
        let window = |at_us: u64| at_us / 1_000_000;
        against(&shape, &calls, |admitted, call| {
            let inside = admitted.iter().filter(|earlier| window(earlier.at_us) == window(call.at_us));
            inside.map(|earlier| earlier.cost).sum::<u64>() + call.cost <= max
        })?;
    }

    #[test]
    fn a_leaky_bucket_lets_calls_through_one_after_the_other(
        calls in calls(1_000_000, 3), tenth in 0usize..5, max_wait_us in 0u64..800_000,
    ) {
        let max = [1, 2, 5, 10, 50][tenth];
        let shape = Shape { max_wait_us, ..shape(Kind::Leaky, 1_000_000, max, max) };
        let mut cell = Cell::new(&shape);
        // When the next may begin.
        let mut free_us = 0;
        for call in calls {
            let wait_us = u64::saturating_sub(free_us, call.at_us);
            let taken = cell.take(&shape, call.cost, moment(call.at_us));
            if wait_us > max_wait_us {
                prop_assert_eq!(taken, Err(Full { after_us: wait_us - max_wait_us }));
            } else {
                prop_assert_eq!(taken.map(|taken| taken.wait_us), Ok(wait_us));
                free_us = call.at_us + wait_us + call.cost * (1_000_000 / max);
            }
        }
    }

    #[test]
    fn what_is_settled_to_nothing_was_never_taken(
        kind in prop::sample::select(vec![Kind::Bucket, Kind::Sliding, Kind::Fixed, Kind::Governed]),
        calls in calls(60_000_000, 1),
    ) {
        let shape = shape(kind, 60_000_000, 20, 20);
        let mut cell = Cell::new(&shape);
        let mut without = Cell::new(&shape);
        for (at, call) in calls.iter().enumerate() {
            let now = moment(call.at_us);
            let taken = cell.take(&shape, 1, now);
            if at % 2 == 0 {
                if let Ok(taken) = taken {
                    cell.settle(&shape, taken, 0, now);
                }
            } else {
                prop_assert_eq!(taken.is_ok(), without.take(&shape, 1, now).is_ok());
            }
            prop_assert_eq!(cell.left(&shape, now), without.left(&shape, now));
        }
    }

    #[test]
    fn a_changed_figure_keeps_what_is_used(used in 0u64..50, from in 1u64..500, to in 1u64..500) {
        for (old, new) in [
            (Kind::Governed, Kind::Governed),
            (Kind::Governed, Kind::Bucket),
            (Kind::Bucket, Kind::Governed),
            (Kind::Bucket, Kind::Bucket),
            (Kind::Sliding, Kind::Sliding),
            (Kind::Fixed, Kind::Fixed),
        ] {
            let now = moment(6_000_000_000);
            let (old, new) = (shape(old, 60_000_000, from, 1000), shape(new, 60_000_000, to, 1000));
            let mut cell = Cell::new(&old);
            let taken = (0..used).filter(|_| cell.take(&old, 1, now).is_ok()).count() as u64;
            cell.reshape(&old, &new, now);
            let most = if matches!(new.kind, Kind::Governed | Kind::Bucket) { 1000 } else { to };
            prop_assert_eq!(cell.left(&new, now).remaining, most.saturating_sub(taken));
        }
    }
}

#[test]
fn tokens_beyond_the_end_make_the_next_calls_wait() {
    for kind in [Kind::Bucket, Kind::Sliding, Kind::Fixed] {
        let shape = shape(kind, 60_000_000, 100, 100);
        let mut cell = Cell::new(&shape);
        let now = moment(600_000_000);
        // A call larger than the limit is let through alone, and reserves all of it.
        let taken = cell.take(&shape, 1_000, now).expect("room");
        assert_eq!(taken.cost, 100);
        cell.settle(&shape, taken, 150, now);
        assert_eq!(cell.left(&shape, now).remaining, 0, "{kind:?}");
        assert!(cell.take(&shape, 1, now).is_err());
        let later = moment(now.mono_us + 29_000_000);
        assert!(cell.take(&shape, 1, later).is_err(), "{kind:?}");
        let much_later = moment(now.mono_us + 62_000_000);
        assert!(cell.take(&shape, 1, much_later).is_ok(), "{kind:?}");
    }
}

/// Threats: B14.
#[test]
fn a_clock_that_jumps_opens_no_window_twice() {
    let shape = shape(Kind::Fixed, 60_000_000, 3, 3);
    let mut cell = Cell::new(&shape);
    let hour = 3_600_000_000;
    let mut takes = |wall_us: u64, count: usize| {
        let now = Moment {
            mono_us: 0,
            wall_us,
        };
        (0..count)
            .filter(|_| cell.take(&shape, 1, now).is_ok())
            .count()
    };
    assert_eq!(takes(100 * hour, 5), 3);
    assert_eq!(takes(103 * hour, 2), 2, "ahead");
    assert_eq!(takes(100 * hour, 5), 0, "and back");
    assert_eq!(takes(103 * hour, 5), 1);
    assert_eq!(takes(100 * hour + 60_000_000, 5), 3);
    assert_eq!(takes(103 * hour, 5), 0);
}

#[test]
fn a_slot_is_free_again_when_its_call_ends() {
    let shape = shape(Kind::Concurrent, 1_000_000, 2, 2);
    let mut cell = Cell::new(&shape);
    let now = moment(0);
    let first = cell.take(&shape, 1, now).expect("a slot");
    assert!(cell.take(&shape, 1, now).is_ok());
    assert!(cell.take(&shape, 1, now).is_err());
    cell.settle(&shape, first, 0, now);
    assert!(cell.take(&shape, 1, now).is_ok());
    assert!(!cell.is_at_rest(&shape, now));
}

#[test]
fn rules_are_kept_by_what_can_express_them() {
    let kind = |rule: &str| {
        let rule: Rule = serde_json::from_str(rule).expect(rule);
        Shape::from(&rule).kind
    };
    for (rule, expected) in [
        (
            r#"{"metric":"requests","per":"minute","max":600}"#,
            Kind::Governed,
        ),
        (
            r#"{"metric":"requests","per":"day","max":1,"burst":100000}"#,
            Kind::Bucket,
        ),
        (
            r#"{"metric":"requests","per":"second","max":5000000}"#,
            Kind::Bucket,
        ),
        (
            r#"{"metric":"tokens","per":"minute","max":600}"#,
            Kind::Bucket,
        ),
        (
            r#"{"metric":"requests","per":"minute","max":6,"algorithm":"leaky_bucket"}"#,
            Kind::Leaky,
        ),
        (
            r#"{"metric":"tokens","per":"hour","max":6,"algorithm":"sliding_window"}"#,
            Kind::Sliding,
        ),
        (
            r#"{"metric":"requests","per":"hour","max":6,"algorithm":"fixed_window"}"#,
            Kind::Fixed,
        ),
        (r#"{"metric":"concurrent","max":6}"#, Kind::Concurrent),
    ] {
        assert_eq!(kind(rule), expected, "{rule}");
    }
}
