//! More load never means fewer nodes.
//!
//! Stated precisely: two pools with the same nodes, the same policy and, before each evaluation, equal memory; at every instant
//! every device of the second, and every series, shows at least what it shows in the first. Then, tick by tick, the
//! second's decision is not the smaller one. It holds for every strategy, statistic and workload. Two things are kept
//! out of its premises, each with its reason:
//!
//! - Decisions are not carried out, so the breaker (`NoRelief`) never opens: it takes a pinned device for a fault and
//!   leaves its signal out of growth, so that more load can mean less growth, by design.
//! - A device that reads zero while it draws power is not believed, so a reading above zero is news that may lower
//!   what was assumed. No power is shown here.

use proptest::prelude::*;

use crate::configs::{any_config, cases};
use crate::rig::View;
use crate::world::{Load, World};

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
                prop_assert!(
                    more.decision.to >= less.decision.to && more.decision.wish >= less.decision.wish,
                    "light {:?}\n{:#?}\nheavy {:?}\n{:#?}",
                    less.decision, less.steps(), more.decision, more.steps()
                );
            }
        }
    }
}
