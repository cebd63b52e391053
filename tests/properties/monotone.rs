//! More load never means fewer nodes.
//!
//! Stated precisely: two pools with the same nodes, the same policy and, before each evaluation, equal memory; at every instant
//! every device of the second, and every series, shows at least what it shows in the first. Then, tick by tick, the
//! second's decision is not the smaller one. It holds for every strategy, statistic and workload, with three
//! exceptions, each with its reason:
//!
//! - A growth that rests on a guess (a pinned device, a step) waits for `settle` and the breaker, a measured one
//!   does not; ticks at which one of the two spoke are left out.
//! - A growth for the minimum, or for spare nodes, is not asked whether free GPUs cover it, and a growth for demand
//!   is; ticks at which they did, below `minNodes` or with spare nodes wanted, are left out (`found` has both cases).
//! - A device that reads zero while it draws power is not believed, so a reading above zero is news that may lower
//!   what was assumed. No power is shown here.

use gpuscale::policy::config::Config;
use gpuscale::policy::evaluation::{Effect, Evaluation, Rule};
use proptest::prelude::*;

use crate::configs::{any_config, cases};
use crate::rig::View;
use crate::world::{Load, World};

fn waits_with_a_guess(evaluation: &Evaluation) -> bool {
    evaluation
        .steps()
        .iter()
        .any(|step| matches!(step.rule, Rule::Settle | Rule::NoRelief) && step.effect == Effect::Vetoed)
}

fn covered_by_free_nodes(evaluation: &Evaluation, config: &Config) -> bool {
    let exempt = config.spare_nodes > 0 || evaluation.decision.from < config.min_nodes;
    exempt && evaluation.limits().any(|step| step.rule == Rule::FreeCapacity)
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn more_load_never_means_fewer_nodes(
        config in any_config(),
        history in prop::collection::vec((1_usize..60, prop::collection::vec(0.0_f64..100.0, 6)), 1..8),
        extra in prop::collection::vec((prop::collection::vec(0.0_f64..100.0, 6), 0.0_f64..40.0), 8),
        nodes in 1_u32..6,
        queue in 0.0_f64..60.0,
        named in any::<bool>(),
    ) {
        let new = |percents: Vec<f64>, queue| {
            let mut world = World::new(config.clone(), nodes, 2, Load::Pinned(percents), queue);
            world.rig.view = if named { View::Named } else { View::Interchangeable };
            world
        };
        let mut light = new(vec![], queue);
        let mut heavy = new(vec![], queue);
        for ((ticks, percents), (more, queued)) in history.iter().zip(&extra) {
            heavy.queue = queue + queued;
            for index in 0..nodes as usize {
                // Pods are the same in both: what differs is what they do.
                let pods = percents[index] > 1.0;
                let percent = if pods { percents[index] } else { 0.0 };
                light.rig.load(index, percent);
                heavy.rig.load(index, percent);
                heavy.rig.nodes[index].gpus.fill(Some((percent + more[index]).min(100.0)));
            }
            for _ in 0..*ticks {
                heavy.rig.memory = light.rig.memory.clone();
                let (less, more) = (light.watch(), heavy.watch());
                if waits_with_a_guess(&more) || covered_by_free_nodes(&more, &config) {
                    continue;
                }
                prop_assert!(
                    more.decision.to >= less.decision.to && more.decision.wish >= less.decision.wish,
                    "light {:?}\n{:#?}\nheavy {:?}\n{:#?}",
                    less.decision, less.steps(), more.decision, more.steps()
                );
            }
        }
    }
}
