//! The arithmetic of bounds: money, time and what people asked for.

use super::super::observation::Overrides;
use super::*;

#[test]
fn a_budget_pays_for_whole_nodes() {
    for (budget, price, wanted) in [
        (60, 10, 6),
        (59, 10, 5),
        (9, 10, 0),
        (0, 10, 0),
        (60, 0, u32::MAX),
        (60, -1, u32::MAX),
        (Micro::MAX, 1, u32::MAX),
    ] {
        assert_eq!(nodes_within(budget, price), wanted, "{budget} ÷ {price}");
    }
}

#[test]
fn an_override_lasts_until_its_instant() {
    for (at_least_until, now_ms, wanted) in [
        (None, 0, 0),
        (Some((8, 100)), 99, 8),
        (Some((8, 100)), 100, 0),
        (Some((8, 100)), 101, 0),
    ] {
        let observation = Observation {
            overrides: Overrides {
                at_least: at_least_until,
                ..Overrides::default()
            },
            ..Observation::default()
        };
        assert_eq!(
            at_least(&observation, Now::at(now_ms)),
            wanted,
            "{at_least_until:?} at {now_ms}"
        );
    }
}

#[test]
fn an_override_reads_the_sources_clock_and_a_timer_its_own() {
    let now = Now {
        wall_ms: 1_000,
        timer_ms: 5,
    };
    let observation = Observation {
        overrides: Overrides {
            at_least: Some((8, 500)),
            ..Overrides::default()
        },
        ..Observation::default()
    };
    assert_eq!(at_least(&observation, now), 0);
    assert_eq!(since(Some(2), now), 3);
    assert_eq!(since(None, now), Millis::MAX);
    assert_eq!(since(Some(Millis::MIN), now), Millis::MAX, "no overflow");
}
