//! Constant load under constant limits never oscillates.

use gpuscale::policy::config::Config;
use proptest::prelude::*;

use crate::configs::{cases, config, fixtures};
use crate::world::{Load, World, constant};

/// Long enough for every window, rate limit and boot of these policies, one after the other.
const SETTLING_MINUTES: i64 = 8 * 60;

/// How long the size must then stand still.
const STILL_MINUTES: i64 = 90;

fn check(config: &Config, nodes: u32, gpus: u32, load: &Load, queue: f64) -> Result<(), TestCaseError> {
    let mut world = World::new(constant(config), nodes, gpus, load.clone(), queue);
    let mut sizes = vec![nodes];
    sizes.extend(world.run(SETTLING_MINUTES));
    let settled = world.rig.asked;
    let still = world.run(STILL_MINUTES);
    sizes.dedup();
    prop_assert!(
        still.iter().all(|&size| size == settled),
        "{sizes:?} … {load:?} queue {queue} on {gpus} GPUs a node"
    );
    let moves: Vec<bool> = sizes.windows(2).map(|pair| pair[1] > pair[0]).collect();
    let turns = moves.windows(2).filter(|pair| pair[0] != pair[1]).count();
    prop_assert!(
        turns <= 1,
        "{sizes:?} {load:?} queue {queue} on {gpus} GPUs a node"
    );
    Ok(())
}

fn load() -> impl Strategy<Value = Load> {
    prop_oneof![
        (0.0_f64..14.0).prop_map(Load::Spread),
        prop::collection::vec(0.0_f64..130.0, 1..8).prop_map(|percents| Load::Pinned(
            percents
                .iter()
                .map(|p| if *p < 40.0 { 0.0 } else { p.min(100.0) })
                .collect()
        )),
    ]
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn constant_load_never_oscillates(
        config in config(), nodes in 1_u32..9, gpus in 1_u32..3, load in load(), queue in 0.0_f64..60.0,
    ) {
        check(&config, nodes, gpus, &load, queue)?;
    }
}

#[test]
fn constant_load_never_oscillates_under_any_shipped_policy() {
    for (name, config) in fixtures() {
        for load in [
            Load::Spread(0.0),
            Load::Spread(5.3),
            Load::Pinned(vec![100.0, 0.0, 55.0]),
        ] {
            let checked = check(&config, 4, 2, &load, 11.0);
            assert!(checked.is_ok(), "{name}: {checked:?}");
        }
    }
}
