//! The arithmetic of growth: what the rate policies allow, and what counts as missing.

use proptest::prelude::*;

use super::super::config::RatePolicy;
use super::super::observation::Booting;
use super::*;

/// A memory of these resizes: (ms ago, nodes added).
fn resized(resizes: &[(Millis, i64)]) -> Memory {
    let entries: Vec<_> = resizes
        .iter()
        .map(|(ago_ms, added)| serde_json::json!({ "atMs": -ago_ms, "added": added }))
        .collect();
    Memory {
        resizes: serde_json::from_value(entries.into()).unwrap(),
        ..Memory::default()
    }
}

fn limits(select: SelectPolicy, policies: &[(RateKind, u32, Millis)]) -> Behavior {
    Behavior {
        policies: policies
            .iter()
            .map(|&(kind, value, period_ms)| RatePolicy {
                kind,
                value,
                period_ms,
            })
            .collect(),
        select,
        tolerance: 0,
        stabilization_ms: 0,
        cooldown_ms: 0,
    }
}

#[test]
fn the_largest_size_is_that_of_the_hpas_scale_up_limit() {
    use RateKind::{Nodes, Percent};
    use SelectPolicy::{Disabled, Max, Min};
    let minute = MINUTE_MS;
    for (current, resizes, select, policies, wanted) in [
        (4, vec![], Max, vec![], u32::MAX),
        (4, vec![], Disabled, vec![], 4),
        (4, vec![], Max, vec![(Nodes, 4, minute)], 8),
        (4, vec![], Max, vec![(Percent, 100, minute)], 8),
        (3, vec![], Max, vec![(Percent, 10, minute)], 4), // ⌈3.3⌉
        (10, vec![], Max, vec![(Percent, 10, minute)], 11),
        (
            10,
            vec![],
            Max,
            vec![(Nodes, 4, minute), (Percent, 100, minute)],
            20,
        ),
        (
            10,
            vec![],
            Min,
            vec![(Nodes, 4, minute), (Percent, 100, minute)],
            14,
        ),
        (
            1,
            vec![],
            Max,
            vec![(Nodes, 4, minute), (Percent, 100, minute)],
            5,
        ),
        (10, vec![], Disabled, vec![(Nodes, 4, minute)], 10),
        // Two of the four were used within the minute, and one node left.
        (8, vec![(30_000, 2)], Max, vec![(Nodes, 4, minute)], 10),
        (8, vec![(30_000, -1)], Max, vec![(Nodes, 4, minute)], 13),
        (8, vec![(minute, 2)], Max, vec![(Nodes, 4, minute)], 12), // exactly a period ago
        (8, vec![(minute - 1, 2)], Max, vec![(Nodes, 4, minute)], 10),
        // More was added than allowed, by a limit that was larger then: nothing more, and nothing back.
        (8, vec![(30_000, 6)], Max, vec![(Nodes, 4, minute)], 6),
        // Each policy looks over its own period.
        (
            8,
            vec![(90_000, 4)],
            Min,
            vec![(Nodes, 4, minute), (Nodes, 6, 5 * minute)],
            10,
        ),
        (
            0,
            vec![],
            Max,
            vec![(Nodes, 4, minute), (Percent, 100, minute)],
            4,
        ),
    ] {
        let seen = largest(
            &limits(select, &policies),
            &resized(&resizes),
            Now::at(0),
            current,
        );
        assert_eq!(
            seen, wanted,
            "{current} after {resizes:?}, {select:?} of {policies:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_percentage_always_leaves_room_for_one(current in 1..10_000_u32, percent in 1..500_u32) {
        let behavior = limits(SelectPolicy::Min, &[(RateKind::Percent, percent, MINUTE_MS)]);
        let allowed = largest(&behavior, &Memory::default(), Now::at(0), current);
        prop_assert!(allowed > current);
        let exact = f64::from(current) * (1.0 + f64::from(percent) / 100.0);
        prop_assert!((f64::from(allowed) - exact) < 1.0 && f64::from(allowed) >= exact - 1e-6);
    }
}

#[test]
fn a_node_is_missing_when_it_is_neither_ready_nor_coming_in_time() {
    const TIMEOUT: Millis = 20 * MINUTE_MS;
    for (asked, ready, booting, wanted) in [
        (4, 4, vec![], 0),
        (4, 3, vec![], 1), // evicted
        (6, 4, vec![(2, 0)], 0),
        (6, 4, vec![(2, TIMEOUT - 1)], 0),
        (6, 4, vec![(2, TIMEOUT)], 2),
        (6, 4, vec![(1, TIMEOUT), (1, 0)], 1),
        (4, 6, vec![], 0), // a surge node is more than was asked for
        (0, 0, vec![], 0),
    ] {
        let now = Now::at(10 * TIMEOUT);
        let coming: Vec<Booting> = booting
            .iter()
            .map(|&(nodes, age_ms)| Booting {
                nodes,
                since_ms: now.timer_ms - age_ms,
            })
            .collect();
        let observation = Observation {
            asked,
            ready,
            booting: &coming,
            ..Observation::default()
        };
        let config = config();
        assert_eq!(
            missing(&config, &observation, now),
            wanted,
            "{asked} {ready} {booting:?}"
        );
    }
}

fn config() -> Config {
    use super::super::config::{DataQuality, Replace, Saturation, ScaleIn, Strategy, VictimPolicy, Workload};
    Config {
        signals: vec![],
        strategy: Strategy::TargetUtilization,
        workload: Workload::Shared,
        min_nodes: 1,
        max_nodes: 10,
        spare_nodes: 0,
        up: limits(SelectPolicy::Max, &[]),
        down: limits(SelectPolicy::Max, &[]),
        settle_ms: 0,
        provision_timeout_ms: 20 * MINUTE_MS,
        evaluation_interval_ms: 15_000,
        budget_micro_usd_per_hour: None,
        schedules: vec![],
        scale_in: ScaleIn {
            victims: VictimPolicy::IdleFirst,
            drain_timeout_ms: 0,
            replace_unhealthy: Replace::Never,
        },
        data_quality: DataQuality {
            min_coverage: 0,
            max_age_ms: 0,
            scrape_interval_ms: 0,
            warm_up_ms: 0,
            idle_window_ms: 0,
        },
        saturation: Saturation::default(),
        suspend: Suspend::Active,
    }
}
