//! The arithmetic of sizes, and how several signals make one wish.

use proptest::prelude::*;

use super::super::evaluation::Evaluation;
use super::super::observation::Now;
use super::*;

#[test]
fn nodes_for_a_load_are_rounded_up() {
    for (load, per_node, wanted) in [
        (0, 1, 0),
        (-5, 1, 0),
        (1, ONE, 1),
        (ONE, ONE, 1),
        (ONE + 1, ONE, 2),
        (280, 70, 4),
        (281, 70, 5),
        (Micro::MAX, 1, u32::MAX),
        (Micro::MAX, Micro::MAX, 1),
    ] {
        assert_eq!(nodes_for(load, per_node), wanted, "{load} ÷ {per_node}");
    }
}

#[test]
fn tolerance_widens_upward_and_narrows_downward() {
    for (carried, tolerance, wanted) in [
        (3_000_000, 50_000, 3_150_000),
        (3_000_000, -50_000, 2_850_000),
        (3_000_000, 0, 3_000_000),
        (0, 50_000, 0),
        (Micro::MAX, 50_000, Micro::MAX),
    ] {
        assert_eq!(
            with_tolerance(carried, tolerance),
            wanted,
            "{carried} and {tolerance}"
        );
    }
}

proptest! {
    #[test]
    fn the_size_carries_the_load_and_one_node_fewer_does_not(load in 1..=1_000_000_000_000_i64, per_node in 1_000..=100_000_000_i64) {
        let nodes = i64::from(nodes_for(load, per_node));
        prop_assert!(nodes * per_node >= load);
        prop_assert!((nodes - 1) * per_node < load);
    }
}

/// Signals that want at least and object below these sizes; `None` for one that is Unknown.
fn combined(current: u32, missing: u32, signals: &[Option<(u32, u32)>]) -> (Wish, Evaluation) {
    let mut evaluation = Evaluation::hold(Now::default(), current);
    let mut trace = Trace::new(&mut evaluation);
    for signal in signals {
        let evidence = trace.next_signal().unwrap();
        evidence.up = Verdict::Met;
        evidence.down = Verdict::Met;
        let supply = current - missing;
        (evidence.quality, evidence.needs_up, evidence.needs_down) = match *signal {
            Some((up, down)) => (Quality::Good, up, down),
            None => (Quality::Stale, 0, supply),
        };
    }
    let reasons = vec![Reason::DemandAboveTarget; signals.len()];
    let wish = combine(&reasons, missing, &mut trace);
    (wish, evaluation)
}

#[test]
fn the_wish_is_the_largest_that_grows_else_the_largest_that_nobody_objects_to() {
    for (signals, wanted) in [
        (vec![Some((6, 4))], 6),
        (vec![Some((6, 4)), Some((8, 4))], 8),
        (vec![Some((6, 4)), Some((0, 1))], 6), // one wants more, the other less
        (vec![Some((0, 2)), Some((0, 3))], 3),
        (vec![Some((0, 2)), Some((0, 4))], 4),
        (vec![Some((0, 2)), None], 4), // Unknown never shrinks
        (vec![Some((6, 4)), None], 6), // and stops no growth
        (vec![None, Some((6, 4))], 6),
        (vec![None], 4),
        (vec![], 4), // no signal is no evidence
        (vec![Some((0, 0))], 0),
        (vec![Some((4, 4))], 4),
    ] {
        let (_, evaluation) = combined(4, 0, &signals);
        assert_eq!(evaluation.decision.wish, wanted, "{signals:?}");
    }
}

#[test]
fn what_the_load_needs_it_needs_besides_the_missing_nodes() {
    for (missing, signal, wanted) in [
        (1, (4, 3), 5), // four that work, one that never came
        (1, (3, 3), 4),
        (1, (0, 1), 2), // a shrink leaves the missing one counted
        (4, (1, 0), 5),
        (2, (0, 0), 2),
    ] {
        let (_, evaluation) = combined(4, missing, &[Some(signal)]);
        assert_eq!(evaluation.decision.wish, wanted, "{missing} missing, {signal:?}");
    }
}

#[test]
fn the_first_signal_that_is_not_known_is_named() {
    let (wish, _) = combined(4, 0, &[Some((0, 1)), None, None]);
    let not_known = Known::Not {
        signal: 1,
        quality: Quality::Stale,
    };
    assert_eq!((wish.known, wish.floor), (not_known, 4));
    let (wish, _) = combined(4, 0, &[Some((0, 1))]);
    assert_eq!((wish.known, wish.floor), (Known::All, 1));
}

#[test]
fn good_data_whose_down_rule_is_unknown_is_not_known() {
    for (down, wanted) in [
        (Verdict::Met, Known::All),
        (Verdict::NotMet, Known::All),
        (
            Verdict::Unknown,
            Known::Not {
                signal: 3,
                quality: Quality::ShortHistory,
            },
        ),
    ] {
        let evidence = SignalEvidence {
            quality: Quality::Good,
            down,
            ..SignalEvidence::default()
        };
        assert_eq!(trusted(3, &evidence), wanted, "{down:?}");
    }
}

#[test]
fn a_growth_that_rests_on_a_pinned_device_or_a_step_is_a_guess() {
    for (reason, wanted) in [
        (Reason::Saturated, Growth::Guessed),
        (Reason::RuleMet, Growth::Guessed),
        (Reason::DemandAboveTarget, Growth::Measured),
        (Reason::PodsWaiting, Growth::Measured),
    ] {
        let mut evaluation = Evaluation::hold(Now::default(), 4);
        let mut trace = Trace::new(&mut evaluation);
        let evidence = trace.next_signal().unwrap();
        (evidence.quality, evidence.needs_up) = (Quality::Good, 6);
        assert_eq!(combine(&[reason], 0, &mut trace).growth, wanted, "{reason}");
    }
}
