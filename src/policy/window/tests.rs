//! The integrals against a naive re-computation, and the queue beneath them.

use proptest::prelude::*;

use super::*;
use crate::policy::config::ONE;

const THRESHOLDS: Thresholds = Thresholds {
    above: 700_000,
    below: 300_000,
};

/// Windows of the three cursors.
const BACKS: [Millis; CURSORS] = [1_000, 5_000, 20_000];

const PAD: Millis = 500;

fn level(covered: Covered, low: Micro, spread: Micro) -> Level {
    Level {
        covered,
        low,
        high: low + spread,
        busy: low * 3,
        missing: spread * 2,
        pinned: if low >= 950_000 { low } else { 0 },
    }
}

fn known(low: Micro) -> Level {
    level(Covered::Yes, low, 0)
}

/// A step function as anybody would write it down: changes in order.
type Steps = Vec<(Millis, Level)>;

/// Level by level, with no sums kept.
fn naive(steps: &Steps, from_ms: Millis, to_ms: Millis) -> Totals {
    let mut totals = Totals::default();
    for (index, (start_ms, level)) in steps.iter().enumerate() {
        let end_ms = steps.get(index + 1).map_or(to_ms, |next| next.0).min(to_ms);
        let duration_ms = end_ms - (*start_ms).max(from_ms);
        if duration_ms <= 0 || level.covered == Covered::No {
            continue;
        }
        let over = |value: Micro| i128::from(value) * i128::from(duration_ms);
        totals.covered_ms += duration_ms;
        totals.above_ms += if level.low >= THRESHOLDS.above {
            duration_ms
        } else {
            0
        };
        totals.below_ms += if level.high <= THRESHOLDS.below {
            duration_ms
        } else {
            0
        };
        totals.low += over(level.low);
        totals.high += over(level.high);
        totals.busy += over(level.busy);
        totals.missing += over(level.missing);
        totals.pinned += over(level.pinned);
    }
    totals
}

/// Changes at gaps of up to two seconds, some of them at one instant, some of them to the same level.
fn steps() -> impl Strategy<Value = Steps> {
    let change = (
        0..2_000_i64,
        prop_oneof![Just(Covered::Yes), Just(Covered::Yes), Just(Covered::No)],
        prop_oneof![Just(0), Just(300_000), Just(700_000), 0..=ONE],
        prop_oneof![Just(0), Just(0), 0..200_000_i64],
    );
    prop::collection::vec(change, 1..120).prop_map(|changes| {
        let mut at_ms = 1_000_000;
        let step = |(gap, covered, low, spread)| {
            at_ms += gap;
            (at_ms, level(covered, low, spread))
        };
        changes.into_iter().map(step).collect()
    })
}

proptest! {
    #[test]
    fn every_window_is_the_naive_sum_wherever_it_slides(steps in steps(), ticks in prop::collection::vec(1..900_i64, 1..80)) {
        let mut series = Series::new(THRESHOLDS, BACKS, PAD);
        let mut told = Steps::new();
        let mut pending = steps.into_iter().peekable();
        let mut now_ms = 1_000_000;
        for tick in ticks {
            now_ms += tick;
            while let Some((at_ms, level)) = pending.next_if(|change| change.0 <= now_ms) {
                series.push(at_ms, level);
                told.push((at_ms, level));
            }
            series.slide(now_ms);
            for (cursor, back_ms) in BACKS.into_iter().enumerate() {
                // The window itself, one cut short, and one that ends before now.
                for (from_ms, to_ms) in [
                    (now_ms - back_ms, now_ms),
                    (now_ms - back_ms / 3, now_ms),
                    (now_ms - back_ms, now_ms - back_ms / 4),
                    (now_ms - back_ms - PAD, now_ms - back_ms),
                ] {
                    let wanted = naive(&told, from_ms, to_ms);
                    prop_assert_eq!(series.span(cursor, from_ms, to_ms), wanted, "({}, {}]", from_ms, to_ms);
                }
                let at_ms = now_ms - back_ms;
                let wanted = told.iter().rev().find(|step| step.0 <= at_ms).map(|step| step.1);
                prop_assert_eq!(series.level_at(cursor, at_ms), wanted);
            }
        }
    }

    #[test]
    fn a_truncated_series_is_as_if_the_rest_had_never_been(steps in steps(), cut in 0..200_000_i64, more in steps()) {
        let cut_ms = 1_000_000 + cut;
        let end_ms = 2_000_000;
        let mut series = Series::new(THRESHOLDS, [1_000_000; CURSORS], PAD);
        for &(at_ms, level) in &steps {
            series.push(at_ms, level);
        }
        series.slide(1_300_000);
        series.truncate(cut_ms);
        let mut told: Steps = steps.into_iter().filter(|step| step.0 < cut_ms).collect();
        prop_assert_eq!(series.span(0, 1_000_000, end_ms), naive(&told, 1_000_000, end_ms));
        for (at_ms, level) in more {
            let at_ms = at_ms + cut;
            series.push(at_ms, level);
            told.push((at_ms, level));
        }
        prop_assert_eq!(series.span(0, 1_000_000, end_ms), naive(&told, 1_000_000, end_ms));
    }
}

#[test]
fn the_last_change_at_an_instant_counts_and_no_change_is_no_segment() {
    let mut series = Series::new(THRESHOLDS, BACKS, PAD);
    series.push(0, known(100_000));
    series.push(10, known(900_000));
    series.push(10, known(500_000));
    assert_eq!(series.last(), Some((10, known(500_000))));
    series.push(20, known(500_000));
    assert_eq!(series.last(), Some((10, known(500_000))), "nothing changed at 20");
    assert_eq!(series.span(0, 0, 30).low, 100_000 * 10 + 500_000 * 20);
}

#[test]
fn time_before_the_first_change_and_without_cover_counts_for_nothing() {
    let mut series = Series::new(THRESHOLDS, BACKS, PAD);
    assert_eq!(series.span(0, 0, 100), Totals::default(), "nothing is known");
    assert_eq!(series.level_at(0, 50), None);
    series.push(100, known(800_000));
    series.push(200, level(Covered::No, 800_000, 0));
    series.push(300, known(200_000));
    let totals = series.span(0, 0, 400);
    assert_eq!(
        (totals.covered_ms, totals.above_ms, totals.below_ms),
        (200, 100, 100)
    );
    assert_eq!(totals.mean(totals.low), Some(500_000));
    assert_eq!(series.level_at(0, 99), None);
    assert_eq!(
        series.level_at(0, 100),
        Some(known(800_000)),
        "a change counts from its instant"
    );
}

#[test]
fn the_queue_grows_and_forgets_and_numbers_stay_valid() {
    let mut series = Series::new(THRESHOLDS, [1_000, 500, 0], 0);
    for step in 0..10_000_i64 {
        series.push(step * 10, known((step % 2) * ONE));
        series.slide(step * 10);
    }
    let kept = series.segments.end - series.segments.first;
    assert_eq!(kept, 101, "1 s of changes and the one that was in force before");
    assert_eq!(
        series.segments.places.len(),
        128,
        "the storage is what a window needs"
    );
    let totals = series.span(0, 98_990, 99_990);
    assert_eq!((totals.covered_ms, totals.low), (1_000, i128::from(500 * ONE)));
    // The storage wraps around; growing it again keeps every place.
    let before = series.span(0, 98_990, 99_990);
    series.segments.grow();
    assert_eq!(series.span(0, 98_990, 99_990), before);
    assert_eq!(series.segments.places.len(), 256);
}

#[test]
fn a_mean_is_exact_beyond_64_bits() {
    for (integral, covered_ms, wanted) in [
        (0, 0, None),
        (10, 4, Some(2)),
        (i128::from(i64::MAX), 1, Some(i64::MAX)),
        (i128::from(i64::MAX) * 1_000, 1_000, Some(i64::MAX)),
        (i128::from(i64::MAX) * 1_000, 1, None),
    ] {
        let totals = Totals {
            covered_ms,
            ..Totals::default()
        };
        assert_eq!(totals.mean(integral), wanted, "{integral} over {covered_ms} ms");
    }
}

#[test]
fn rules_are_at_least_upward_and_at_most_downward() {
    use Statistic::{Hold, Mean, Quantile};
    // (ms at or above 0.7, ms at or below 0.3, ∫, of 1000 ms) and what each statistic says, up and down.
    for (above_ms, below_ms, integral, statistic, wanted) in [
        (0, 0, 700_000_000, Mean, (true, false)),
        (0, 0, 699_999_999, Mean, (false, false)),
        (0, 0, 300_000_000, Mean, (false, true)),
        (0, 0, 300_000_001, Mean, (false, false)),
        (1_000, 0, 0, Hold, (true, false)),
        (999, 1_000, 0, Hold, (false, true)),
        (100, 900, 0, Quantile(900_000), (false, true)),
        (101, 899, 0, Quantile(900_000), (true, false)),
        (1, 999, 0, Quantile(ONE), (true, false)),
        (0, 1_000, 0, Quantile(ONE), (false, true)),
    ] {
        let totals = Totals {
            covered_ms: 1_000,
            above_ms,
            below_ms,
            low: integral,
            high: integral,
            ..Totals::default()
        };
        let rule = |threshold| Rule {
            threshold,
            window_ms: 1_000,
            statistic,
        };
        let seen = (
            totals.satisfies_up(&rule(700_000)).unwrap(),
            totals.satisfies_down(&rule(300_000)).unwrap(),
        );
        assert_eq!(seen, wanted, "{statistic:?} {above_ms} {below_ms} {integral}");
    }
}

#[test]
fn nothing_is_satisfied_by_nothing() {
    for statistic in [Statistic::Mean, Statistic::Hold, Statistic::Quantile(500_000)] {
        let rule = Rule {
            threshold: 0,
            window_ms: 1_000,
            statistic,
        };
        let nothing = Totals::default();
        assert_ne!(nothing.satisfies_up(&rule), Some(true), "{statistic:?}");
        assert_ne!(nothing.satisfies_down(&rule), Some(true), "{statistic:?}");
    }
}
