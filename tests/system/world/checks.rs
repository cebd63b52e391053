//! Checks of the world itself, run before any seed: a world that is not what it says proves nothing.

mod known;
mod metrics;

use gpuscale::policy::config::{MINUTE_MS, Micro, Millis, ONE};

use crate::clock::EPOCH_MS;

use super::demand::{Demand, PLATEAU_FROM_MS, RUN_MS, SILENCE_FROM_MS, STEP_MS, Shape};
use super::fleet::{Fleet, FleetSpec, LEAST_LOAD, Removed, Spread, put};

/// Checks the worlds.
///
/// # Panics
///
/// If one is not what it says.
pub fn run() {
    demand_has_all_that_a_controller_must_meet();
    demand_ends_alike_in_every_run();
    waves_stay_in_their_bounds();
    nodes_boot_in_two_steps();
    the_platform_takes_the_busiest();
    work_is_neither_lost_nor_made();
    metrics::run();
    known::run();
}

// --- demand ---

/// How long the longest stretch is for which something holds.
fn longest(demand: &Demand, holds: impl Fn(Micro) -> bool) -> Millis {
    let (mut longest, mut now) = (0, 0);
    for step in 0..PLATEAU_FROM_MS / STEP_MS {
        now = if holds(demand.at(step * STEP_MS)) {
            now + STEP_MS
        } else {
            0
        };
        longest = longest.max(now);
    }
    longest
}

fn demand_has_all_that_a_controller_must_meet() {
    let most = 8 * ONE;
    let demands: Vec<Demand> = (0..20).map(|seed| Demand::new(seed, 1, 8)).collect();
    let count = |what: &dyn Fn(&Demand) -> bool| demands.iter().filter(|demand| what(demand)).count();
    assert!(count(&|demand| longest(demand, |load| load == 0) >= 30 * MINUTE_MS) > 10);
    assert!(count(&|demand| longest(demand, |load| load > most) >= 5 * MINUTE_MS) > 5);
    assert!(count(&|demand| longest(demand, |load| load > 0) >= 30 * MINUTE_MS) > 15);
    let short = |demand: &Demand| {
        let turns = (1..PLATEAU_FROM_MS / STEP_MS).filter(|step| {
            let (before, now) = (demand.at((step - 1) * STEP_MS), demand.at(step * STEP_MS));
            (before < most / 2) != (now < most / 2)
        });
        turns.count() > 10
    };
    assert!(count(&short) > 5, "few demands go up and down");
    for demand in &demands {
        let steps = (0..RUN_MS / STEP_MS).map(|step| demand.at(step * STEP_MS));
        let wrong = steps
            .clone()
            .find(|&load| load != 0 && !(most / 20..=2 * most).contains(&load));
        assert_eq!(
            wrong, None,
            "a load that an engine may take for idle, or beyond all measure"
        );
    }
    assert_ne!(demands[0], demands[1]);
    let other = |seed: u64| Demand::new(seed, 2, 8).plateau() != Demand::new(seed, 1, 8).plateau();
    assert!((0..10).any(other), "two pools of a run have the same demand");
    assert_eq!(demands[3], Demand::new(3, 1, 8));
}

fn demand_ends_alike_in_every_run() {
    for seed in 0..15 {
        let demand = Demand::new(seed, 0, 16);
        let plateau = demand.plateau();
        assert!(
            (16 * ONE * 3 / 10..=16 * ONE * 8 / 10).contains(&plateau),
            "{plateau}"
        );
        assert_eq!(demand.at(PLATEAU_FROM_MS), plateau);
        assert_eq!(demand.at(SILENCE_FROM_MS - 1), plateau);
        assert_eq!(demand.most(SILENCE_FROM_MS, RUN_MS * 2), 0);
        assert_eq!(demand.next_change_ms(PLATEAU_FROM_MS), Some(SILENCE_FROM_MS));
        assert_eq!(demand.next_change_ms(SILENCE_FROM_MS), None);
        assert_eq!(demand.at(-1), 0);
    }
}

fn waves_stay_in_their_bounds() {
    for shape in [Shape::Sine, Shape::Square, Shape::Sawtooth] {
        let heights: Vec<i64> = (0..20)
            .map(|step| shape.at(step * STEP_MS, 20 * STEP_MS))
            .collect();
        assert!(
            heights.iter().all(|height| (-1_000..=1_000).contains(height)),
            "{shape:?}"
        );
        assert!(
            heights.iter().any(|&height| height > 850),
            "{shape:?}: {heights:?}"
        );
        assert!(
            heights.iter().any(|&height| height < -850),
            "{shape:?}: {heights:?}"
        );
        assert!(
            heights.iter().sum::<i64>().abs() <= 1_000,
            "{shape:?}: {heights:?}"
        );
    }
}

// --- fleet ---

fn fleet(gpus_per_node: u32, nodes: u32) -> Fleet {
    Fleet::new(FleetSpec { gpus_per_node }, nodes).named("a100")
}

fn nodes_boot_in_two_steps() {
    let mut pool = fleet(4, 2);
    assert_eq!((pool.present(), pool.booting(), pool.schedulable()), (2, 0, 2));
    assert_eq!(pool.next_event_ms(), None);
    pool.boot(1_000, 60_000, 30_000);
    assert_eq!((pool.present(), pool.booting(), pool.schedulable()), (3, 1, 2));
    assert_eq!(pool.next_event_ms(), Some(61_000));
    let shown = |pool: &Fleet, now_ms| {
        let mut nodes = Vec::new();
        pool.show(now_ms, &mut nodes);
        nodes
    };
    assert_eq!(shown(&pool, 40_999).len(), 2);
    assert_eq!(shown(&pool, 41_000)[2].ready_since_ms, None);
    assert_eq!(pool.advance(61_000), 0);
    assert_eq!((pool.booting(), pool.schedulable()), (0, 2));
    let node = &shown(&pool, 61_000)[2];
    assert_eq!(
        (node.ready_since_ms, node.schedulable_gpus),
        (Some(EPOCH_MS + 61_000), 0)
    );
    assert_eq!(pool.capacity(), 8 * ONE);
    assert_eq!(pool.next_event_ms(), Some(91_000));
    assert_eq!(pool.advance(91_000), 1);
    assert_eq!((pool.schedulable(), pool.capacity()), (3, 12 * ONE));
    let node = &pool.nodes()[2];
    assert_eq!(&*node.name, "aks-a100-000002");
    assert_eq!(
        node.gpus.iter().map(|gpu| gpu.device).collect::<Vec<_>>(),
        [8, 9, 10, 11]
    );
    assert_eq!(&*node.uuids[3], "GPU-a100-00000011");
    pool.set_unhealthy(2, true);
    assert_eq!((pool.schedulable(), pool.capacity()), (3, 8 * ONE));
    let node = &shown(&pool, 91_000)[2];
    assert!(node.unhealthy && node.free_gpus == 0 && node.schedulable_gpus == 4);
}

fn the_platform_takes_the_busiest() {
    let mut pool = fleet(1, 3).spread(Spread::Packed);
    pool.boot(0, MINUTE_MS, 0);
    pool.set_load(2 * ONE);
    assert_eq!(pool.remove_booting(0, 5), 1);
    pool.boot(0, MINUTE_MS, 0);
    assert_eq!(pool.remove_busiest(0, 1), Removed { nodes: 1, busy: 1 });
    assert_eq!(
        pool.nodes().iter().map(|node| node.number).collect::<Vec<_>>(),
        [1, 2, 4]
    );
    assert_eq!(pool.remove_busiest(0, 2), Removed { nodes: 2, busy: 1 });
    assert_eq!((pool.present(), pool.booting()), (1, 1));
    assert_eq!(pool.evict(0, 1, 7), Removed { nodes: 0, busy: 0 });
    assert_eq!(pool.remove_busiest(0, 9), Removed { nodes: 1, busy: 0 });

    let left = |salt| {
        let mut pool = fleet(1, 8);
        pool.set_load(ONE);
        assert_eq!(pool.evict(0, 3, salt), Removed { nodes: 3, busy: 3 });
        pool.nodes().iter().map(|node| node.number).collect::<Vec<_>>()
    };
    assert_eq!(left(1), left(1));
    assert!((2..9).any(|salt| left(salt) != left(1)));
}

fn work_is_neither_lost_nor_made() {
    let load = |pool: &Fleet| {
        pool.nodes()
            .iter()
            .map(super::fleet::FleetNode::load)
            .sum::<Micro>()
    };
    for spread in Spread::ALL {
        let mut pool = fleet(2, 3).spread(spread);
        pool.set_load(3 * ONE);
        assert_eq!(load(&pool), 3 * ONE, "{spread:?}");
        pool.set_load(7 * ONE);
        assert_eq!((load(&pool), pool.busiest()), (6 * ONE, ONE), "{spread:?}");
        pool.set_load(0);
        assert_eq!(load(&pool), 0, "{spread:?}");
        pool.set_load(1);
        let least = pool
            .nodes()
            .iter()
            .flat_map(|node| &node.gpus)
            .map(|gpu| gpu.load);
        assert!(
            least.clone().all(|load| load == 0 || load >= LEAST_LOAD),
            "{spread:?}"
        );
    }
    let mut packed = fleet(1, 3).spread(Spread::Packed);
    packed.set_load(ONE + ONE / 2);
    let loads = |pool: &Fleet| {
        pool.nodes()
            .iter()
            .map(super::fleet::FleetNode::load)
            .collect::<Vec<_>>()
    };
    assert_eq!(loads(&packed), [ONE, ONE / 2, 0]);
    let mut newest = packed.clone().spread(Spread::PackedNewest);
    newest.set_load(ONE + ONE / 2);
    assert_eq!(loads(&newest), [0, ONE / 2, ONE]);
    packed.set_unhealthy(0, true);
    packed.set_load(ONE + ONE / 2);
    assert_eq!(loads(&packed), [0, ONE, ONE / 2]);

    let mut fleets = [fleet(4, 1), fleet(1, 9), fleet(2, 2)];
    assert_eq!(put(6 * ONE, &mut fleets, &[0, 2]), 0);
    assert_eq!(
        (load(&fleets[0]), load(&fleets[1]), load(&fleets[2])),
        (3 * ONE, 0, 3 * ONE)
    );
    assert_eq!(put(10 * ONE, &mut fleets, &[0, 2]), 2 * ONE);
    assert_eq!(put(ONE, &mut fleets, &[]), ONE);
}
