//! Same input, same bytes; and a memory that was saved and read back is the memory that was never saved.

use gpuscale::policy::Memory;
use proptest::prelude::*;

use crate::configs::{any_config, cases};
use crate::hostile::{life, live, pool, view};

/// Most bytes of a saved memory.
const LARGEST_MEMORY: usize = 16 * 1024;

fn bytes(memory: &Memory) -> Vec<u8> {
    serde_json::to_vec(memory).unwrap()
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_same_life_gives_the_same_bytes_and_memory_round_trips_at_any_tick(
        config in any_config(), nodes in 0_u32..8, turns in life(40), view in view(), every in 1_usize..30,
    ) {
        let mut told = Vec::new();
        live(&mut pool(&config, nodes, view), &turns, |world, evaluation| {
            let saved = bytes(&world.rig.memory);
            prop_assert!(saved.len() <= LARGEST_MEMORY, "{} bytes", saved.len());
            told.push((*evaluation, saved));
            Ok(())
        })?;
        let mut again = told.iter();
        let mut tick = 0;
        live(&mut pool(&config, nodes, view), &turns, |world, evaluation| {
            let first = again.next().expect("as many ticks as before");
            prop_assert_eq!(&first.0, evaluation);
            prop_assert_eq!(&first.1, &bytes(&world.rig.memory));
            tick += 1;
            if tick % every == 0 {
                world.rig.memory = serde_json::from_slice(&first.1).unwrap();
            }
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(cases(6))]

    /// Days of foreign writes, failures and resizes do not make it grow.
    #[test]
    fn memory_stays_small_through_a_long_hostile_life(
        config in any_config(), turns in prop::collection::vec(life(40), 8), view in view(),
    ) {
        let mut world = pool(&config, 4, view);
        for _ in 0..4 {
            for life in &turns {
                live(&mut world, life, |_, _| Ok(()))?;
                let size = bytes(&world.rig.memory).len();
                prop_assert!(size <= LARGEST_MEMORY, "{size} bytes");
            }
        }
    }
}
