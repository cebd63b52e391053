//! What the properties found, as the smallest cases: each was a bug, and is a regression test.

use gpuscale::policy::config::{MINUTE_MS, RateKind, RatePolicy, Workload};
use gpuscale::policy::observation::{Booting, Nodes, Now, Observation, Placement, PodRequest, Waiting};
use gpuscale::policy::sample::Sample;
use gpuscale::policy::{Evaluation, Memory, Windows, evaluate};

use crate::rig::{Rig, TICK_MS, View, pods_signal, policy, queue_signal};
use crate::world::{Load, World};

fn ask(observation: &Observation<'_>, now: Now) -> Evaluation {
    let mut config = policy();
    config.signals.push(pods_signal());
    let windows = Windows::new(&config);
    evaluate(&config, &windows, observation, &mut Memory::default(), now)
}

const NOON: Now = Now {
    wall_ms: 1_795_176_000_000,
    timer_ms: 1_795_176_000_000,
};

#[test]
fn a_policy_that_only_counts_pods_lets_empty_nodes_go() {
    let mut config = policy();
    config.workload = Workload::Exclusive;
    config.min_nodes = 0;
    config.signals = vec![pods_signal()];
    let mut rig = Rig::new(config, 4, 8);
    rig.waiting = Some(vec![]);
    assert_eq!(rig.live_minutes(180).last(), Some(&0));
}

#[test]
fn two_readings_of_one_instant_reduce_by_max_in_any_order_and_number() {
    let config = policy();
    // Device by device, as a range query answers.
    let demand = |values: &[i64]| {
        let mut rig = Rig::new(config.clone(), 1, 4);
        let start = rig.now_ms;
        let mut samples = Vec::new();
        for gpu in 0..4 {
            let device = rig.device(&rig.nodes[0], gpu);
            for tick in 0..40 {
                let at = |value: &i64| Sample::of_device(0, device, start + tick * TICK_MS, *value);
                samples.extend(values.iter().map(at));
            }
        }
        rig.now_ms += 39 * TICK_MS;
        rig.tick_with(&samples).signals()[0].demand_low
    };
    let (once, twice, thrice) = (
        demand(&[900_000]),
        demand(&[100_000, 900_000]),
        demand(&[100_000, 300_000, 900_000]),
    );
    assert_eq!((once, once), (twice, thrice));
}

#[test]
fn four_billion_unhealthy_nodes_do_not_overflow() {
    let mut rig = Rig::new(policy(), 1, 1);
    rig.tick();
    let observation = Observation {
        asked: 1,
        ready: 1,
        unhealthy: u32::MAX,
        ..Observation::default()
    };
    evaluate(
        &rig.config,
        &rig.windows,
        &observation,
        &mut rig.memory,
        Now::at(rig.now_ms),
    );
}

#[test]
fn four_billion_booting_nodes_do_not_overflow() {
    let booting = [Booting {
        nodes: u32::MAX,
        since_ms: NOON.timer_ms,
    }; 2];
    ask(
        &Observation {
            asked: 1,
            booting: &booting,
            ..Observation::default()
        },
        NOON,
    );
}

#[test]
fn four_billion_gpus_in_a_node_do_not_overflow() {
    ask(
        &Observation {
            asked: 0,
            gpus_per_node: u32::MAX,
            free_gpus: Some(3),
            ..Observation::default()
        },
        NOON,
    );
    let config = {
        let mut c = policy();
        c.min_nodes = 3;
        c.signals = vec![queue_signal(1.0, gpuscale::policy::config::Absent::Zero)];
        c
    };
    let mut rig = Rig::new(config, 0, 1);
    rig.series = vec![(0, Some(9.0))];
    rig.watch_minutes(3);
    let observation = Observation {
        asked: 3,
        ready: 3,
        gpus_per_node: u32::MAX,
        free_gpus: Some(3),
        ..Observation::default()
    };
    evaluate(
        &rig.config,
        &rig.windows,
        &observation,
        &mut rig.memory,
        Now::at(rig.now_ms),
    );
}

#[test]
fn a_pod_on_four_billion_nodes_does_not_take_sixteen_gigabytes() {
    let pods = [PodRequest {
        gpus: 1,
        placement: Placement::AnyNode,
    }];
    let waiting = Waiting::Pods(&pods);
    ask(
        &Observation {
            asked: 50_000_000,
            ready: 50_000_000,
            waiting,
            nodes: Nodes::Interchangeable,
            ..Observation::default()
        },
        NOON,
    );
    ask(
        &Observation {
            asked: u32::MAX,
            ready: u32::MAX,
            waiting,
            nodes: Nodes::Interchangeable,
            ..Observation::default()
        },
        NOON,
    );
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for at_ms in [i64::MIN, i64::MAX] {
        let mut rig = Rig::new(policy(), 1, 1);
        rig.tick();
        rig.now_ms = at_ms;
        rig.tick_with(&[]);
    }
}

/// 94 % of eight nodes is a measured demand for eleven and grows at once; 96 % is more, and waits for `settle`.
#[test]
fn a_pinned_device_does_not_hold_back_what_was_measured() {
    let size = |percent: f64| {
        let mut config = policy();
        config.settle_ms = 10 * MINUTE_MS;
        let mut rig = Rig::new(config, 8, 8);
        rig.view = View::Interchangeable;
        rig.load_all(percent);
        rig.watch_minutes(3).decision.to
    };
    assert!(size(96.0) >= size(94.0), "{} < {}", size(96.0), size(94.0));
}

/// Two free nodes, a minimum of four, and a queue that needs five: fewer than the minimum are asked for.
#[test]
fn free_nodes_do_not_keep_a_pool_with_a_queue_below_its_minimum() {
    let mut config = policy();
    config.min_nodes = 4;
    config.signals = vec![queue_signal(8.0, gpuscale::policy::config::Absent::Unknown)];
    let mut rig = Rig::new(config, 2, 8);
    rig.series = vec![(0, Some(40.0))];
    let decision = rig.watch_minutes(3).decision;
    assert!(decision.to >= 4, "{decision:?}");
}

/// Three busy nodes and an empty one, and two spare nodes wanted: the empty one is counted against the fifth.
#[test]
fn spare_nodes_are_not_counted_as_free_capacity() {
    let mut config = policy();
    config.spare_nodes = 2;
    config.signals.push(pods_signal());
    let mut rig = Rig::new(config, 4, 2);
    rig.waiting = Some(vec![]);
    (0..3).for_each(|node| rig.load(node, 60.0));
    let decision = rig.watch_minutes(5).decision;
    assert_eq!(decision.to, 5, "{decision:?}");
}

#[test]
fn percent_of_nothing_still_leaves_room_for_one_node() {
    let mut config = policy();
    config.min_nodes = 0;
    config.signals = vec![queue_signal(8.0, gpuscale::policy::config::Absent::Zero)];
    config.up.policies = vec![RatePolicy {
        kind: RateKind::Percent,
        value: 100,
        period_ms: MINUTE_MS,
    }];
    let mut rig = Rig::new(config, 0, 8);
    rig.series = vec![(0, Some(17.0))];
    assert_eq!(rig.live_minutes(60).last(), Some(&3));
}

/// A node that leaves takes the past of its load with it: until the demand window has passed, what is left looks
/// like all there is.
#[test]
fn load_that_moves_off_a_leaving_node_is_not_forgotten() {
    let mut config = policy();
    config.down.stabilization_ms = 0;
    config.signals[0].demand_window_ms = 5 * MINUTE_MS;
    let mut world = World::new(config, 8, 2, Load::Spread(8.9), 0.0);
    let sizes = world.run(180);
    let least = sizes.iter().min();
    assert_eq!(least, Some(&6), "8.9 GPUs at 75 % are six nodes: {:?}", {
        let mut s = sizes.clone();
        s.dedup();
        s
    });
}

#[test]
fn a_target_at_which_devices_count_as_pinned_does_not_oscillate() {
    let mut config = policy();
    config.max_nodes = 40;
    config.signals[0].target = Some(980_000);
    let mut world = World::new(config, 10, 1, Load::Spread(9.7), 0.0);
    let mut sizes = world.run(480);
    sizes.dedup();
    assert!(sizes.len() < 5, "{sizes:?}");
}

/// The source's clock is a day ahead for one read, then right again.
#[test]
fn a_clock_that_was_ahead_for_one_read_does_not_stop_the_engine_for_a_day() {
    let mut rig = Rig::new(policy(), 4, 8);
    rig.load_all(10.0);
    rig.view = View::Interchangeable;
    rig.watch_minutes(5);
    let now_ms = rig.now_ms;
    rig.now_ms += 24 * 60 * MINUTE_MS;
    rig.tick();
    rig.now_ms = now_ms;
    assert!(rig.watch_minutes(120).decision.to < 4, "{:?}", rig.evaluate());
}

/// The same, when somebody changed the count meanwhile.
#[test]
fn a_foreign_write_while_the_clock_was_ahead_does_not_stop_shrinking_for_a_day() {
    let mut config = policy();
    config.signals[0].down = Some(gpuscale::policy::config::Rule {
        threshold: 300_000,
        window_ms: 10 * MINUTE_MS,
        statistic: gpuscale::policy::config::Statistic::Mean,
    });
    let mut rig = Rig::new(config, 4, 8);
    rig.load_all(10.0);
    rig.view = View::Interchangeable;
    rig.watch_minutes(5);
    rig.memory.down_since_ms = Some(rig.now_ms + 24 * 60 * MINUTE_MS);
    assert!(
        rig.watch_minutes(120).decision.to < 4,
        "{:?}",
        rig.evaluate().signals()
    );
}

/// A view of the nodes that does not say since when one is ready, and gives the start of time instead.
#[test]
fn a_device_that_is_ready_since_the_start_of_time_does_not_overflow() {
    let mut rig = Rig::new(policy(), 1, 1);
    rig.nodes[0].ready_since_ms = i64::MIN;
    rig.load_all(50.0);
    rig.watch_minutes(1);
}

#[test]
fn the_smallest_value_with_a_large_weight_does_not_overflow() {
    let mut rig = Rig::new(policy(), 1, 1);
    let device = rig.device(&rig.nodes[0], 0);
    let sample = Sample {
        weight: 8_000_000,
        ..Sample::of_device(0, device, rig.now_ms, i64::MIN)
    };
    rig.tick_with(&[sample]);
    assert_eq!(rig.ingested.impossible, 1);
    rig.now_ms += 10 * MINUTE_MS;
    rig.tick_with(&[]);
}

/// One empty node, one spare node wanted: it is not let go and asked for again.
#[test]
fn a_policy_that_only_counts_pods_keeps_its_spare_nodes() {
    let mut config = policy();
    (config.min_nodes, config.max_nodes, config.spare_nodes) = (0, 4, 1);
    config.signals = vec![pods_signal()];
    (
        config.up.stabilization_ms,
        config.down.stabilization_ms,
        config.down.cooldown_ms,
    ) = (0, 0, 0);
    config.settle_ms = 0;
    let mut world = World::new(config, 1, 1, Load::Pinned(vec![0.0]), 0.0);
    let mut sizes = world.run(120);
    sizes.dedup();
    assert_eq!(sizes, [1]);
}
