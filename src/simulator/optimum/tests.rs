//! The solvers against two independent ones that are too slow to be wrong: the textbook O(T·N²) recursion,
//! and full enumeration of all schedules.

use super::*;
use crate::recording::MICRO;
use proptest::prelude::*;

const STEP: i64 = 15_000;

fn demand(gpus: &[i64]) -> Demand {
    Demand::new("d", 0, STEP, gpus.iter().map(|g| g * MICRO / 4).collect()).unwrap()
}

fn pool(boot_steps: i64, min_nodes: u32, max_nodes: u32) -> PoolSpec {
    PoolSpec {
        gpus_per_node: 1,
        min_nodes,
        max_nodes,
        boot_ms: boot_steps * STEP,
    }
}

/// The objective in 1e-6 GPU · ms, or `None` if a schedule that must not miss does.
fn cost(demand: &Demand, spec: &PoolSpec, penalty: Option<u32>, nodes: &[u32]) -> Option<i128> {
    let node = i128::from(spec.node_capacity());
    let mut total = 0_i128;
    for (i, &n) in nodes.iter().enumerate() {
        let short = i128::from(demand.values()[i]) - i128::from(n) * node;
        let started = if i == 0 {
            0
        } else {
            i128::from(n) - i128::from(nodes[i - 1])
        };
        total += i128::from(n) * node * i128::from(STEP) + started.max(0) * node * i128::from(spec.boot_ms);
        if short > 0 {
            // Where even the largest pool is too small, a miss is no fault of the schedule.
            match penalty {
                Some(p) => total += short * i128::from(STEP) * i128::from(p),
                None if n < spec.max_nodes => return None,
                None => {}
            }
        }
    }
    Some(total)
}

/// The recursion of [`soft`]'s documentation, word for word, with the minimum over all `m`.
fn naive(demand: &Demand, spec: &PoolSpec, penalty: Option<u32>) -> i128 {
    let states: Vec<u32> = (spec.min_nodes..=spec.max_nodes).collect();
    let node = i128::from(spec.node_capacity());
    let mut best: Vec<Option<i128>> = vec![Some(0); states.len()];
    for (t, &value) in demand.values().iter().enumerate() {
        let one = Demand::new("d", 0, STEP, vec![value]).unwrap();
        best = states
            .iter()
            .map(|&n| {
                let own = cost(&one, spec, penalty, &[n])?;
                let arrive = states.iter().zip(&best).filter_map(|(&m, before)| {
                    let started = if t == 0 { 0 } else { n.saturating_sub(m) };
                    Some((*before)? + i128::from(started) * node * i128::from(spec.boot_ms))
                });
                Some(own + arrive.min()?)
            })
            .collect();
    }
    best.into_iter().flatten().min().unwrap()
}

/// The least cost over all (max − min + 1)^T schedules.
fn enumerated(demand: &Demand, spec: &PoolSpec, penalty: Option<u32>) -> i128 {
    let mut nodes = vec![spec.min_nodes; demand.values().len()];
    let mut best = None;
    loop {
        best = [best, cost(demand, spec, penalty, &nodes)]
            .into_iter()
            .flatten()
            .min();
        let Some(i) = nodes.iter().position(|&n| n < spec.max_nodes) else {
            return best.unwrap();
        };
        nodes[..i].fill(spec.min_nodes);
        nodes[i] += 1;
    }
}

fn own(optimum: &Optimum, spec: &PoolSpec, penalty: u32) -> i128 {
    optimum.node_ms * i128::from(spec.node_capacity()) + optimum.missed * i128::from(penalty)
}

#[test]
fn gaps_up_to_one_boot_are_bridged() {
    let check = |gpus: &[i64], boot: i64, expected: &[u32]| {
        let found = zero_miss(&demand(gpus), &pool(boot, 0, 9));
        assert_eq!(found.nodes, expected, "{gpus:?} with boots of {boot} steps");
    };
    check(&[8, 4, 4, 8], 2, &[2, 2, 2, 2]);
    check(&[8, 4, 4, 8], 1, &[2, 1, 1, 2]);
    check(&[8, 0, 4, 0, 8], 3, &[2, 2, 2, 2, 2]);
    check(&[8, 0, 4, 0, 8], 2, &[2, 1, 1, 1, 2]);
    check(&[8, 0, 0, 0, 8], 2, &[2, 0, 0, 0, 2]);
    check(
        &[12, 4, 8, 4, 12],
        1,
        &[3, 2, 2, 2, 3].map(|n| if n == 2 { 2 } else { n }),
    );
    check(&[4, 0, 0], 2, &[1, 0, 0]);
}

/// The trap named in the module's text: the opening is free, so a node needed soon is held from the start and
/// not started, and one needed later is started at full price.
#[test]
fn the_opening_may_hold_what_would_soon_be_started() {
    let spec = pool(2, 0, 9);
    let soon = zero_miss(&demand(&[0, 0, 4]), &spec);
    assert_eq!(
        (soon.nodes.as_slice(), soon.node_ms, soon.boot_node_ms),
        (&[1, 1, 1][..], 3 * 15_000, 0)
    );
    let later = zero_miss(&demand(&[0, 0, 0, 4]), &spec);
    assert_eq!(
        (later.nodes.as_slice(), later.node_ms),
        (&[0, 0, 0, 1][..], 3 * 15_000)
    );
    assert_eq!(later.boot_node_ms, 2 * 15_000);
    for gpus in [&[0, 0, 4][..], &[0, 0, 0, 4]] {
        assert_eq!(
            soft(&demand(gpus), &spec, 1000).node_ms,
            zero_miss(&demand(gpus), &spec).node_ms
        );
    }
}

#[test]
fn the_soft_optimum_weighs_a_miss_against_a_boot() {
    let (burst, spec) = (demand(&[4, 4, 8, 4, 4]), pool(4, 0, 9));
    // The second node is wanted for one interval: the miss costs p, a start 4 + 1, holding from the opening
    // 3.
    assert_eq!(soft(&burst, &spec, 2).nodes, [1, 1, 1, 1, 1]);
    assert_eq!(soft(&burst, &spec, 2).missed, i128::from(STEP * MICRO));
    assert_eq!(soft(&burst, &spec, 4).nodes, [2, 2, 2, 1, 1]);
}

#[test]
fn headroom_is_the_zero_miss_optimum_of_more_demand() {
    let found = zero_miss_at(&demand(&[7, 14]), &pool(9, 1, 9), 70);
    assert_eq!((found.nodes.as_slice(), found.missed), (&[5, 5][..], 0));
}

#[test]
fn bounds_hold_and_forced_misses_are_told() {
    let found = zero_miss(&demand(&[0, 40, 0]), &pool(0, 1, 2));
    assert_eq!(
        (found.nodes.as_slice(), found.missed),
        (&[1, 2, 1][..], i128::from(8 * MICRO * STEP))
    );
    let found = soft(&demand(&[0, 40, 0]), &pool(0, 1, 2), 10);
    assert_eq!(found.nodes, [1, 2, 1]);
}

#[test]
fn extreme_penalties_do_not_overflow() {
    let long = Demand::new("d", 0, 86_400_000, vec![crate::recording::MAX_DEMAND, 0]).unwrap();
    let spec = PoolSpec {
        gpus_per_node: 1000,
        min_nodes: 0,
        max_nodes: u32::MAX,
        boot_ms: i64::MAX,
    };
    assert_eq!(soft(&long, &spec, u32::MAX).nodes[0], 1000);
    assert_eq!(zero_miss(&long, &spec).nodes[0], 1000);
    let huge = PoolSpec {
        gpus_per_node: u32::MAX,
        min_nodes: u32::MAX,
        max_nodes: u32::MAX,
        boot_ms: 0,
    };
    assert_eq!(soft(&long, &huge, u32::MAX).nodes, [u32::MAX; 2]);
    assert_eq!(zero_miss(&long, &huge).nodes, [u32::MAX; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_solvers_equal_the_textbook_recursion(
        quarters in prop::collection::vec(0..24_i64, 1..40),
        boot in 0..9_i64,
        min in 0..3_u32,
        extra in 0..6_u32,
        penalty in 0..40_u32,
    ) {
        let (demand, spec) = (demand(&quarters), pool(boot, min, min + extra));
        let found = soft(&demand, &spec, penalty);
        prop_assert_eq!(own(&found, &spec, penalty), naive(&demand, &spec, Some(penalty)));
        prop_assert!(found.nodes.iter().all(|n| (min..=min + extra).contains(n)));
        let found = zero_miss(&demand, &spec);
        prop_assert_eq!(own(&found, &spec, 0), naive(&demand, &spec, None));
        prop_assert_eq!(Some(own(&found, &spec, 0)), cost(&demand, &spec, None, &found.nodes));
    }

    #[test]
    fn both_solvers_equal_full_enumeration(
        quarters in prop::collection::vec(0..14_i64, 1..7),
        boot in 0..5_i64,
        min in 0..2_u32,
        extra in 0..3_u32,
        penalty in 0..20_u32,
    ) {
        let (demand, spec) = (demand(&quarters), pool(boot, min, min + extra));
        let found = soft(&demand, &spec, penalty);
        prop_assert_eq!(own(&found, &spec, penalty), enumerated(&demand, &spec, Some(penalty)));
        prop_assert_eq!(own(&zero_miss(&demand, &spec), &spec, 0), enumerated(&demand, &spec, None));
    }
}
