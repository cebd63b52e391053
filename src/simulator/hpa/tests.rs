//! Tables computed from the original's source, and loops seen with it.

use super::PodMetric::{Plain, Resource};
use super::*;
use proptest::prelude::*;

const SYNC_MS: i64 = 15_000;

fn milli(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "test values are small")]
    let milli = (value * 1000.0).round() as i64;
    milli
}

#[test]
fn average_value_divides_the_sum() {
    let check = |n: u32, sum: f64, target: f64, expected: u32| {
        let found = external_average_value(n, milli(sum), milli(target), Tolerance::DEFAULT);
        assert_eq!(found, expected, "n {n}, sum {sum}, target {target}");
    };
    check(4, 280.0, 70.0, 4);
    check(4, 308.0, 70.0, 4);
    check(4, 308.001, 70.0, 5);
    check(4, 252.0, 70.0, 4);
    check(4, 251.999, 70.0, 4);
    check(3, 20.0, 5.0, 4);
    check(1, 77.0, 70.0, 1);
    check(1, 77.001, 70.0, 2);
    check(2, 100.0, 70.0, 2);
    check(10, 50.0, 5.0, 10);
    check(0, 10.0, 70.0, 1);
    check(0, 0.0, 70.0, 0);
    check(4, 0.0, 70.0, 0);
}

#[test]
fn value_multiplies_the_ready_pods() {
    let check = |spec: u32, ready: u32, value: f64, target: f64, expected: u32| {
        let found = external_value(spec, ready, milli(value), milli(target), Tolerance::DEFAULT);
        assert_eq!(
            found, expected,
            "spec {spec}, ready {ready}, value {value}, target {target}"
        );
    };
    check(3, 3, 20.0, 5.0, 12);
    check(4, 4, 77.0, 70.0, 4);
    check(4, 4, 77.001, 70.0, 5);
    check(4, 4, 62.999, 70.0, 4);
    check(5, 5, 80.0, 70.0, 6);
    check(5, 5, 35.0, 70.0, 3);
    check(4, 2, 105.0, 70.0, 3); // a scale-down under overload
    check(3, 0, 140.0, 70.0, 0); // and to the minimum while none is ready
    check(0, 0, 35.0, 70.0, 1);
    check(0, 0, 140.0, 70.0, 2);
    check(1, 1, 1e12, 0.001, i32::MAX.unsigned_abs());
}

#[test]
fn the_tolerance_of_each_direction_is_its_own() {
    let check = |sum: f64, down: f64, up: f64, expected: u32| {
        let found = external_average_value(10, milli(sum), milli(10.0), Tolerance { down, up });
        assert_eq!(found, expected, "sum {sum}, tolerance -{down} +{up}");
    };
    check(105.0, 0.1, 0.0, 11);
    check(105.0, 0.0, 0.1, 10);
    check(85.0, 0.1, 0.0, 9);
    check(85.0, 0.2, 0.0, 10);
}

#[test]
fn pods_that_cannot_be_judged_only_dampen() {
    // (ready, usage of each, unready, missing) at target 70, of all pods as the current count.
    let check = |ready: u32, each: f64, unready: u32, missing: u32, metric: PodMetric, expected: u32| {
        let groups = PodGroups {
            ready,
            usage_milli: milli(each) * i64::from(ready),
            unready,
            missing,
        };
        let current = ready + unready + missing;
        let found = pod_average(current, groups, milli(70.0), metric, Tolerance::DEFAULT);
        assert_eq!(found, Some(expected), "{groups:?}");
    };
    check(4, 70.0, 0, 0, Plain, 4);
    check(4, 77.0, 0, 0, Plain, 4);
    check(4, 80.0, 0, 0, Plain, 5);
    check(4, 35.0, 0, 0, Plain, 2);
    // Shrinking with unready pods: only the ready ones are multiplied.
    check(4, 35.0, 2, 0, Plain, 2);
    // Growing: unready pods count as idle; 400/6 = 66.7 flips the direction, 400/5 = 80 does not.
    check(4, 100.0, 2, 0, Plain, 6);
    check(4, 100.0, 1, 0, Plain, 6);
    // Missing pods: at the target (plain) or at the whole request (resource) on the way down, idle on the way
    // up.
    check(3, 10.0, 0, 1, Plain, 2);
    check(3, 10.0, 0, 1, Resource, 2);
    check(1, 40.0, 0, 3, Plain, 4);
    check(1, 40.0, 0, 3, Resource, 4);
    check(4, 100.0, 0, 4, Plain, 8);
    assert_eq!(
        pod_average(
            3,
            PodGroups {
                unready: 3,
                ..PodGroups::default()
            },
            1,
            Plain,
            Tolerance::DEFAULT
        ),
        None
    );
}

#[test]
fn partial_data_never_shrinks() {
    let check = |metrics: &[Option<u32>], expected: Option<u32>| {
        assert_eq!(largest(5, metrics), expected, "{metrics:?}");
    };
    check(&[Some(3), Some(7)], Some(7));
    check(&[Some(3), Some(2)], Some(3));
    check(&[Some(3), None], None);
    check(&[Some(7), None], Some(7));
    check(&[None], None);
    check(&[], None);
}

#[test]
fn the_default_caps_upwards() {
    let check = |current: u32, with: u32, without: u32| {
        let cap = |behavior| Hpa::new(0, 1000, behavior).reconcile(0, current, Some(1000));
        assert_eq!(
            (cap(Some(Behavior::default())), cap(None)),
            (with, without),
            "current {current}"
        );
    };
    check(0, 4, 4);
    check(1, 5, 4);
    check(2, 6, 4);
    check(3, 7, 6);
    check(4, 8, 8);
    check(5, 10, 10);
    check(10, 20, 20);
}

#[test]
fn bounds_come_first_and_need_no_metrics() {
    for behavior in [None, Some(Behavior::default())] {
        let next = |current, desired| Hpa::new(2, 6, behavior.clone()).reconcile(0, current, desired);
        assert_eq!(next(9, None), 6);
        assert_eq!(next(1, None), 2);
        assert_eq!(next(0, Some(5)), 0, "zero replicas with a minimum above is off");
        assert_eq!(next(4, None), 4);
        assert_eq!(next(5, Some(9)), 6);
    }
}

fn rules(stabilization_ms: i64, select: SelectPolicy, policies: &[(Change, i64)]) -> ScalingRules {
    let policies = policies
        .iter()
        .map(|&(change, period_ms)| ScalingPolicy { change, period_ms })
        .collect();
    ScalingRules {
        stabilization_ms,
        policies,
        select,
    }
}

#[test]
fn policies_limit_a_period_in_either_direction() {
    let policies = [(Change::Pods(3), 60_000), (Change::Percent(50), 60_000)];
    // Wants 100 (or 0) for two minutes, one sync each 15 s: the count after the 1st, 4th, 5th and 8th sync.
    let check = |select: SelectPolicy, desired: u32, expected: [u32; 4]| {
        let side = rules(0, select, &policies);
        let mut hpa = Hpa::new(
            0,
            1000,
            Some(Behavior {
                up: side.clone(),
                down: side,
            }),
        );
        let mut current = 10;
        let counts: Vec<u32> = (0..8)
            .map(|sync| {
                current = hpa.reconcile(sync * SYNC_MS, current, Some(desired));
                current
            })
            .collect();
        assert_eq!(
            [counts[0], counts[3], counts[4], counts[7]],
            expected,
            "{select:?} towards {desired}"
        );
    };
    check(SelectPolicy::Max, 100, [15, 15, 23, 23]);
    check(SelectPolicy::Min, 100, [13, 13, 16, 16]);
    check(SelectPolicy::Disabled, 100, [10, 10, 10, 10]);
    check(SelectPolicy::Max, 0, [5, 5, 2, 2]);
    check(SelectPolicy::Min, 0, [7, 7, 4, 4]);
    check(SelectPolicy::Disabled, 0, [10, 10, 10, 10]);
}

#[test]
fn percentages_round_as_the_original_does() {
    let up = rules(0, SelectPolicy::Max, &[(Change::Percent(10), 15_000)]);
    let behavior = Behavior {
        up,
        ..Behavior::default()
    };
    // 50 · 1.1 is 55.00000000000001 in an f64, and is rounded up.
    assert_eq!(Hpa::new(0, 100, Some(behavior)).reconcile(0, 50, Some(100)), 56);
}

#[test]
fn an_up_window_takes_the_least_recommendation() {
    let up = rules(60_000, SelectPolicy::Max, &[(Change::Percent(900), 15_000)]);
    let mut hpa = Hpa::new(
        1,
        100,
        Some(Behavior {
            up,
            ..Behavior::default()
        }),
    );
    let wishes = [5, 9, 7, 8, 9, 9];
    let counts: Vec<u32> = (0..)
        .zip(wishes)
        .map(|(i, w)| hpa.reconcile(i * SYNC_MS, 5, Some(w)))
        .collect();
    // The first recommendations (5) leave the window after 60 s; 7 stays the least of what is in it.
    assert_eq!(counts, [5, 5, 5, 5, 7, 7]);
}

/// The published recipe (average utilization as `AverageValue`), the calculator alone: it can only swing.
#[test]
fn the_broken_recipe_swings() {
    let check = |load: f64, target: f64, expected: &[u32]| {
        let mut n = 1;
        for (i, &expected) in expected.iter().enumerate() {
            let utilization = (load / f64::from(n)).min(100.0);
            n = external_average_value(n, milli(utilization), milli(target), Tolerance::DEFAULT).clamp(1, 20);
            assert_eq!(n, expected, "load {load}, target {target}, step {i}");
        }
    };
    check(100.0, 5.0, &[20, 1, 20, 1]);
    check(400.0, 5.0, &[20, 4, 20, 4]);
    // At target 70 it never asks for more than two: the average cannot exceed 100.
    for load in [141.0, 400.0, 1e6] {
        check(load, 70.0, &[2, 2, 2, 2]);
    }
    check(78.0, 70.0, &[2, 1, 2, 1]);
    check(140.0, 70.0, &[2, 1, 2, 1]);
}

/// The same recipe under the whole controller, for an hour from one pod.
#[test]
fn the_broken_recipe_for_an_hour() {
    // Expected: runs of (count, seconds) at the start, then the pair that repeats, then the mean.
    let check = |load: f64, behavior: Option<Behavior>, head: &[(u32, i64)], cycle: [(u32, i64); 2]| {
        let mut hpa = Hpa::new(1, 20, behavior);
        let (mut n, mut runs) = (1_u32, Vec::<(u32, i64)>::new());
        for sync in 0..240 {
            let utilization = (load / f64::from(n)).min(100.0);
            let wish = external_average_value(n, milli(utilization), milli(5.0), Tolerance::DEFAULT);
            n = hpa.reconcile(sync * SYNC_MS, n, Some(wish));
            match runs.last_mut() {
                Some((count, seconds)) if *count == n => *seconds += 15,
                _ => runs.push((n, 15)),
            }
        }
        assert_eq!(runs[..head.len()], *head, "head at load {load}");
        let tail = &runs[head.len()..runs.len() - 1];
        assert!(tail.len() > 6, "{runs:?}");
        for (run, expected) in tail.iter().zip(cycle.iter().cycle()) {
            assert_eq!(run, expected, "cycle at load {load}: {runs:?}");
        }
        runs.iter()
            .map(|&(count, seconds)| f64::from(count) * f64::from(i32::try_from(seconds).unwrap()))
            .sum::<f64>()
            / 3600.0
    };
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.05, "mean {found}");
    // What the 20 falls to is a wish made on the way up; it leaves the window one sync later, then the cycle
    // starts.
    let head = [(4, 15), (8, 15), (16, 15), (20, 270), (5, 15), (4, 15)];
    near(check(100.0, None, &head, [(5, 315), (4, 15)]), 6.1);
    let head = [(4, 15), (8, 15), (16, 15), (20, 285), (10, 15), (8, 15)];
    near(check(400.0, None, &head, [(10, 315), (8, 15)]), 10.7);
    check(100.0, Some(Behavior::default()), &[(5, 300)], [(4, 15), (5, 300)]);
    check(400.0, Some(Behavior::default()), &[(5, 15)], [(10, 300), (8, 15)]);
}

/// Without `behavior` an old recommendation can raise the count; with it, it can only hold it.
#[test]
fn an_old_recommendation_raises_only_without_behavior() {
    let check = |behavior: Option<Behavior>, expected: u32| {
        let mut hpa = Hpa::new(1, 100, behavior);
        assert_eq!(hpa.reconcile(0, 8, Some(8)), 8);
        // Someone else set the count to 5.
        assert_eq!(hpa.reconcile(SYNC_MS, 5, Some(5)), expected);
    };
    check(None, 8);
    check(Some(Behavior::default()), 5);
}

proptest! {
    #[test]
    fn bounds_hold_whatever_is_wished(
        wishes in prop::collection::vec(prop::option::of(0..500_u32), 1..100),
        min in 1..5_u32, extra in 0..30_u32, start in 1..40_u32, nil in any::<bool>(),
    ) {
        let max = min + extra;
        let mut hpa = Hpa::new(min, max, (!nil).then(Behavior::default));
        let mut current = start;
        for (i, wish) in (0..).zip(wishes) {
            current = hpa.reconcile(i * SYNC_MS, current, wish);
            prop_assert!((min..=max).contains(&current));
        }
    }
}
