//! Bounds hold, and no busy node is taken.

use std::cell::Cell;
use std::collections::BTreeMap;

use gpuscale::policy::config::{Config, Millis, SignalSource, VictimPolicy};
use gpuscale::policy::evaluation::{Evaluation, Quality};
use gpuscale::policy::observation::{Operation, Protection};
use gpuscale::policy::sample::NodeId;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::configs::{any_config, cases};
use crate::hostile::{life, live, pool, view};
use crate::rig::View;
use crate::world::World;

/// The upper bound in force, reckoned anew: open schedules replace `maxNodes`, the largest wins, and the budget
/// caps it.
fn most(config: &Config, world: &World, from: u32) -> u32 {
    let open = config
        .schedules
        .iter()
        .filter(|schedule| schedule.is_open(world.rig.now_ms));
    let most = open
        .map(|schedule| schedule.max_nodes.unwrap_or(config.max_nodes))
        .max();
    let most = most.unwrap_or(config.max_nodes);
    match (config.budget_micro_usd_per_hour, world.rig.node_price) {
        (None, _) => most,
        (Some(_), None) => most.min(from),
        (Some(budget), Some(price)) => most.min(u32::try_from(budget / price).unwrap()),
    }
}

/// When each node last showed all its devices.
type Seen = BTreeMap<NodeId, Millis>;

fn has_unknown(evaluation: &Evaluation) -> bool {
    evaluation
        .signals()
        .iter()
        .any(|signal| signal.quality != Quality::Good)
}

fn check(config: &Config, world: &World, seen: &Seen, evaluation: &Evaluation) -> Result<(), TestCaseError> {
    let decision = &evaluation.decision;
    let (from, to) = (decision.from, decision.to);
    let most = most(config, world, from);
    prop_assert!(to <= most.max(from), "{from} → {to}, at most {most}");
    let unknown = has_unknown(evaluation);
    prop_assert!(
        !unknown || to >= from,
        "{from} → {to} on {:?}",
        evaluation.signals()
    );
    if to != from {
        prop_assert_eq!(world.rig.operation, Operation::None, "one resize at a time");
        let last = evaluation.steps().last().map(|step| step.after);
        prop_assert_eq!(last, Some(to), "the steps lead to the decision");
    }
    if world.rig.view == View::Named && to < from {
        let victims = decision.victims.as_slice();
        prop_assert!(
            (from - to) as usize <= victims.len(),
            "{from} → {to} without {victims:?}"
        );
        for id in victims {
            let node = world.rig.nodes.iter().find(|node| node.id == *id);
            let node = node.expect("a victim is a node of the pool");
            let drained =
                config.scale_in.victims == VictimPolicy::Drain && node.protection == Protection::Drainable;
            prop_assert!(node.gpu_pods == 0 || drained, "{node:?} has pods");
            prop_assert!(node.protection != Protection::Protected, "{node:?}");
            // A healthy node that goes because it is idle has shown so within the hold limit, where the policy looks.
            let shown = seen
                .get(id)
                .is_some_and(|&at_ms| world.rig.now_ms - at_ms < config.data_quality.hold_limit_ms());
            let watched = config
                .signals
                .iter()
                .any(|signal| matches!(signal.source, SignalSource::Device(_)));
            let idle = !watched || shown && node.gpus.iter().flatten().all(|&percent| percent <= 2.0);
            let sick = node.condition == gpuscale::policy::observation::Condition::Unhealthy;
            prop_assert!(idle || drained || sick, "{node:?} is not known to be idle");
        }
        let mut distinct = victims.to_vec();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), victims.len());
    }
    Ok(())
}

/// Also counts what the lives were made of: a promise kept in worlds where nothing happens is none.
#[test]
fn bounds_hold_and_no_busy_node_is_taken() {
    let (grown, shrunk, unknown) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let lives = (any_config(), 0_u32..10, life(30), view());
    let proved = TestRunner::new(cases(1500)).run(&lives, |(config, nodes, turns, view)| {
        let mut seen = Seen::new();
        live(&mut pool(&config, nodes, view), &turns, |world, evaluation| {
            for node in world.rig.nodes.iter().filter(|node| !node.gpus.contains(&None)) {
                seen.insert(node.id, world.rig.now_ms);
            }
            let decision = &evaluation.decision;
            grown.set(grown.get() + u32::from(decision.to > decision.from));
            shrunk.set(shrunk.get() + u32::from(decision.to < decision.from));
            unknown.set(unknown.get() + u32::from(has_unknown(evaluation)));
            check(&config, world, &seen, evaluation)
        })
    });
    assert_eq!(proved.map_err(|failure| failure.to_string()), Ok(()));
    let seen = (grown.get(), shrunk.get(), unknown.get());
    assert!(seen.0 > 500 && seen.1 > 200 && seen.2 > 5_000, "{seen:?}");
}
