//! Stories: whole situations, minute by minute, as an operator would tell them.

mod rig;

use gpuscale::policy::config::{Absent, MINUTE_MS, Workload};
use gpuscale::policy::evaluation::{Quality, Reason, Rule};
use gpuscale::policy::observation::{Condition, Failure, Operation, Placement, PodRequest};
use gpuscale::policy::schedule::{Cron, Schedule};
use rig::{Rig, View, limited_by, pods_signal, policy, queue_signal};

fn pods(count: usize, gpus: u32) -> Vec<PodRequest> {
    vec![
        PodRequest {
            gpus,
            placement: Placement::AnyNode
        };
        count
    ]
}

#[test]
fn from_zero_and_back_to_zero() {
    let mut config = policy();
    config.min_nodes = 0;
    config.signals = vec![queue_signal(8.0, Absent::Zero), rig::gpu_signal()];
    let mut rig = Rig::new(config, 0, 8);
    // The queue has no series at all, and its source answers: that is a known zero.
    assert!(rig.live_minutes(10).iter().all(|&size| size == 0));
    // Seventeen requests wait: three nodes at eight each, after the demand window has seen them.
    rig.series = vec![(0, Some(17.0))];
    let sizes = rig.live_minutes(10);
    assert_eq!(sizes.last(), Some(&3), "{sizes:?}");
    assert_eq!(rig.nodes.len(), 3, "the nodes have booted");
    rig.load_all(60.0);
    rig.series = vec![(0, Some(4.0))];
    assert!(
        rig.live_minutes(10).iter().all(|&size| size >= 3),
        "60 % of three nodes is work for three"
    );
    // Everything is done: after the stabilization and idle windows, zero.
    rig.load_all(0.0);
    rig.series = vec![(0, None)];
    let sizes = rig.live_minutes(30);
    assert_eq!(sizes.last(), Some(&0), "{sizes:?}");
    assert!(
        sizes[..8].iter().all(|&size| size == 3),
        "not before the windows have passed: {sizes:?}"
    );
}

#[test]
fn one_hot_node_among_idle_ones() {
    let mut rig = Rig::new(policy(), 6, 8);
    rig.load(2, 100.0);
    let sizes = rig.live_minutes(30);
    assert!(
        sizes.iter().all(|&size| size <= 6),
        "idle nodes cover it: {sizes:?}"
    );
    assert_eq!(
        sizes.last(),
        Some(&2),
        "one node's load, and half a node that it may hide"
    );
    assert!(
        rig.nodes.iter().any(|node| node.gpu_pods > 0),
        "the busy node stays"
    );
}

#[test]
fn eight_full_nodes_and_two_empty_ones_with_nothing_waiting() {
    let mut config = policy();
    config.workload = Workload::Exclusive;
    config.signals.push(pods_signal());
    let mut rig = Rig::new(config, 10, 8);
    rig.waiting = Some(vec![]);
    (0..8).for_each(|node| rig.load(node, 100.0));
    let sizes = rig.live_minutes(30);
    assert_eq!(
        sizes.last(),
        Some(&8),
        "pods do not move by themselves: the empty nodes go"
    );
    assert!(rig.nodes.iter().all(|node| node.gpu_pods > 0), "and only they");

    // The same pool, serving: two empty nodes are what the eight pinned ones need next.
    let mut rig = Rig::new(policy(), 10, 8);
    (0..8).for_each(|node| rig.load(node, 100.0));
    let evaluation = rig.watch_minutes(30);
    assert_eq!(evaluation.decision.to, 10);
    assert_eq!(
        limited_by(&evaluation),
        Some(Rule::FreeCapacity),
        "and no third is bought while they are free"
    );
}

#[test]
fn a_training_pool_at_100_percent() {
    let mut config = policy();
    config.workload = Workload::Exclusive;
    config.signals.push(pods_signal());
    let mut rig = Rig::new(config, 4, 8);
    rig.waiting = Some(vec![]);
    rig.load_all(100.0);
    assert!(
        rig.live_minutes(60).iter().all(|&size| size == 4),
        "100 % is its normal state"
    );
    rig.waiting = Some(pods(2, 8));
    let evaluation = rig.tick();
    assert_eq!(
        (evaluation.decision.to, evaluation.decision.reason),
        (6, Reason::PodsWaiting)
    );
    // While the nodes boot, the same two pods want nothing more.
    rig.carry_out(&evaluation);
    assert!(rig.live_minutes(7).iter().all(|&size| size == 6));
}

#[test]
fn exporter_restart() {
    let mut rig = Rig::new(policy(), 4, 8);
    rig.load_all(70.0);
    rig.live_minutes(30);
    // All exporters are gone for four minutes, and come back with zeros for one scrape.
    (0..4).for_each(|node| rig.silence(node));
    let mut seen_unknown = false;
    for _ in 0..16 {
        let evaluation = rig.tick();
        assert_eq!(evaluation.decision.to, 4);
        seen_unknown |= evaluation.signals()[0].quality != Quality::Good;
    }
    assert!(seen_unknown, "silence is Unknown, not idleness");
    rig.nodes.iter_mut().for_each(|node| node.gpus.fill(Some(0.0)));
    assert_eq!(rig.tick().decision.to, 4);
    rig.nodes.iter_mut().for_each(|node| node.gpus.fill(Some(70.0)));
    assert!(rig.live_minutes(30).iter().all(|&size| size == 4));
}

#[test]
fn the_one_busy_device_goes_silent() {
    let mut rig = Rig::new(policy(), 2, 4);
    // One GPU of eight is busy; its pod holds it. The mean says one node is plenty.
    rig.nodes[1].gpus[0] = Some(100.0);
    (rig.nodes[1].gpu_pods, rig.nodes[1].free_gpus) = (1, 3);
    rig.watch_minutes(5);
    rig.nodes[1].gpus[0] = None;
    let sizes = rig.live_minutes(60);
    assert!(sizes.iter().all(|&size| size >= 1), "{sizes:?}");
    assert!(
        rig.nodes.iter().any(|node| node.id.0 == 1),
        "the node with the silent, busy device stays"
    );
    // Without a cluster view nobody may go: the device is not known to be idle.
    let mut rig = Rig::new(policy(), 2, 4);
    rig.view = View::Unseen;
    rig.config.scale_in.victims = gpuscale::policy::config::VictimPolicy::PlatformChooses;
    rig.nodes[1].gpus[0] = Some(100.0);
    rig.watch_minutes(5);
    rig.nodes[1].gpus[0] = None;
    for _ in 0..240 {
        assert_eq!(rig.tick().decision.to, 2);
    }
}

#[test]
fn quota_partial_fill() {
    let mut rig = Rig::new(policy(), 8, 8);
    rig.load_all(100.0);
    rig.watch_minutes(4);
    let evaluation = rig.tick();
    assert_eq!(evaluation.decision.reason, Reason::Saturated);
    let wanted = evaluation.decision.to;
    assert_eq!(wanted, 12);
    // The platform takes the count, gives one node, and says why there are no more.
    rig.asked = wanted;
    rig.booting.push(gpuscale::policy::observation::Booting {
        nodes: 1,
        since_ms: rig.now_ms,
    });
    rig.failure = Some(Failure::QuotaLow);
    for minute in 0..9 {
        let evaluation = rig.watch_minutes(1);
        assert!(
            evaluation.decision.to <= wanted,
            "minute {minute}: {:?}",
            evaluation.decision
        );
        assert!(
            evaluation.decision.unplaced > 0,
            "minute {minute}: the rest is for the fallback pool"
        );
        rig.load_all(100.0);
    }
    assert_eq!(rig.nodes.len(), 9, "what was given works");
}

#[test]
fn spot_evicts_four_of_ten_and_nothing_comes_back() {
    let mut rig = Rig::new(policy(), 10, 8);
    rig.load_all(70.0);
    rig.live_minutes(30);
    rig.nodes.truncate(6);
    rig.load_all(100.0);
    // The load of ten on six: asked for once more, within the bound, and never again.
    let sizes = rig.live_minutes(5);
    assert_eq!(sizes.last(), Some(&12), "{sizes:?}");
    rig.boot_ms = i64::MAX;
    let evaluation = rig.watch_minutes(60);
    assert_eq!(
        evaluation.decision.to, 12,
        "no more than max, and not put back down"
    );
    assert!(evaluation.decision.unplaced > 0, "{:?}", evaluation.decision);
}

#[test]
fn portal_sets_a_count_above_max() {
    let mut rig = Rig::new(policy(), 4, 8);
    rig.load_all(70.0);
    rig.live_minutes(30);
    // Somebody asks for 16 where 12 is the bound; the nodes come, and are busy.
    rig.asked = 16;
    for _ in 4..16 {
        rig.add_node(rig.now_ms);
    }
    rig.load_all(70.0);
    let evaluation = rig.tick();
    assert_eq!(evaluation.decision.to, 16, "the count is adopted");
    assert!(rig.memory.adopted_at(gpuscale::policy::Now::at(rig.now_ms)));
    assert!(
        rig.live_minutes(60).iter().all(|&size| size == 16),
        "no busy node is forced out"
    );
    rig.load_all(100.0);
    assert!(
        rig.live_minutes(10).iter().all(|&size| size == 16),
        "and nothing is added above the bound"
    );
    (8..16).for_each(|node| rig.load(node, 0.0));
    (0..8).for_each(|node| rig.load(node, 70.0));
    let sizes = rig.live_minutes(60);
    assert!(
        sizes.last().is_some_and(|&size| size <= 12),
        "idle ones leave by the ordinary rules: {sizes:?}"
    );
}

#[test]
fn terraform_resets_to_one_mid_operation() {
    let mut rig = Rig::new(policy(), 4, 8);
    rig.load_all(100.0);
    rig.watch_minutes(2);
    let evaluation = rig.tick();
    rig.carry_out(&evaluation);
    rig.operation = Operation::Ours;
    rig.tick();
    // A plan that knew nothing of us: count 1, and an operation that is not ours.
    rig.asked = 1;
    rig.booting.clear();
    rig.operation = Operation::Foreign;
    let evaluation = rig.tick();
    assert_eq!(
        evaluation.decision.to, 1,
        "adopted, and nothing is written into a running operation"
    );
    assert_eq!(limited_by(&evaluation), Some(Rule::PoolBusy));
    rig.nodes.truncate(1);
    rig.load_all(100.0);
    rig.operation = Operation::None;
    let sizes = rig.live_minutes(30);
    assert!(
        sizes.last().is_some_and(|&size| size > 1),
        "then it grows from there: {sizes:?}"
    );
    // Three times an hour is a fight, and a fight is not won by writing more.
    let mut evaluation = rig.tick();
    for _ in 0..3 {
        rig.tick();
        rig.asked = 1;
        rig.booting.clear();
        rig.nodes.truncate(1);
        rig.load_all(100.0);
        evaluation = rig.watch_minutes(2);
        rig.carry_out(&evaluation);
    }
    assert_eq!(limited_by(&evaluation), Some(Rule::Conflicting));
    rig.load_all(100.0);
    let evaluation = rig.watch_minutes(61);
    assert_ne!(
        limited_by(&evaluation),
        Some(Rule::Conflicting),
        "an hour of peace ends it"
    );
}

#[test]
fn a_night_window_with_busy_nodes() {
    let mut config = policy();
    config.schedules = vec![Schedule {
        name: "night".into(),
        cron: Cron::parse("0 13 * * *").unwrap(),
        time_zone: jiff::tz::TimeZone::UTC,
        duration_ms: 10 * 60 * MINUTE_MS,
        min_nodes: Some(0),
        max_nodes: Some(2),
    }];
    let mut rig = Rig::new(config, 6, 8);
    rig.load_all(70.0);
    assert!(rig.live_minutes(59).iter().all(|&size| size == 6));
    // The window opens at 13:00 with six busy nodes.
    assert!(
        rig.live_minutes(60).iter().all(|&size| size == 6),
        "busy nodes are not forced out"
    );
    rig.load_all(100.0);
    assert!(
        rig.live_minutes(10).iter().all(|&size| size == 6),
        "and nothing is added"
    );
    (1..6).for_each(|node| rig.load(node, 0.0));
    rig.load(0, 50.0);
    let sizes = rig.live_minutes(60);
    assert_eq!(sizes.last(), Some(&1), "what became idle leaves: {sizes:?}");
}

#[test]
fn an_upgrades_surge_node() {
    let mut rig = Rig::new(policy(), 4, 8);
    rig.load_all(60.0);
    rig.live_minutes(30);
    // The upgrade adds a node that nobody asked for, idle, while its operation runs.
    let surge = rig.add_node(rig.now_ms);
    rig.operation = Operation::Foreign;
    for _ in 0..240 {
        let evaluation = rig.tick();
        assert_eq!(evaluation.decision.to, 4);
        assert!(
            !evaluation.decision.victims.as_slice().contains(&surge),
            "a surge node is no victim"
        );
    }
}

#[test]
fn a_crash_looping_pod_with_xid_31() {
    use gpuscale::policy::windows::{Health, health_after_xid};
    assert_eq!(
        health_after_xid(None, 31),
        Health::Healthy,
        "an application fault says nothing about the GPU"
    );
    assert_eq!(health_after_xid(Some(0), 79), Health::Unhealthy);
    assert_eq!(
        health_after_xid(Some(79), 79),
        Health::Healthy,
        "only a newly seen one counts"
    );
    // The pod starts and dies: its GPUs flicker between 0 and 100 % every half minute.
    let mut rig = Rig::new(policy(), 3, 8);
    (0..3).for_each(|node| rig.load(node, 60.0));
    rig.live_minutes(30);
    for minute in 0..60 {
        rig.nodes[0]
            .gpus
            .fill(Some(if minute % 2 == 0 { 0.0 } else { 100.0 }));
        let sizes = rig.live_minutes(1);
        assert!((3..=4).contains(&sizes[0]), "minute {minute}: {sizes:?}");
    }
}

#[test]
fn a_sick_quarter_is_unknown_and_never_a_reason_to_grow() {
    let mut rig = Rig::new(policy(), 8, 8);
    rig.load_all(70.0);
    rig.live_minutes(30);
    (0..2).for_each(|node| rig.nodes[node].condition = Condition::Unhealthy);
    (2..8).for_each(|node| rig.load(node, 100.0));
    for _ in 0..40 {
        let evaluation = rig.tick();
        assert_eq!(evaluation.decision.to, 8);
        assert_eq!(evaluation.signals()[0].quality, Quality::TooManyUnhealthy);
    }
}

#[test]
fn mig_slices() {
    use gpuscale::policy::dcgm::mig_weight;
    use gpuscale::policy::sample::{DeviceId, Sample};
    use gpuscale::policy::windows::{Delta, Device};
    // One GPU of the node is cut into seven slices, one of which is busy; the other GPU is whole and busy.
    let slice = mig_weight("1g.10gb").unwrap();
    let mut rig = Rig::new(policy(), 1, 2);
    rig.nodes[0].gpus.clear();
    let node = rig.nodes[0].id;
    let since = rig.nodes[0].ready_since_ms;
    let mut devices: Vec<Device> = (0..7)
        .map(|i| Device {
            weight: slice,
            ..Device::new(DeviceId(i), node, since)
        })
        .collect();
    devices.push(Device::new(DeviceId(7), node, since));
    let mut evaluation = rig.evaluate();
    for _ in 0..20 {
        rig.now_ms += rig::TICK_MS;
        let samples: Vec<Sample> = devices
            .iter()
            .map(|device| {
                let busy = device.id.0 == 0 || device.id.0 == 7;
                let value = if busy { 1_000_000 } else { 0 };
                Sample {
                    weight: device.weight,
                    ..Sample::of_device(0, device.id, rig.now_ms, value)
                }
            })
            .collect();
        rig.windows.ingest(&Delta {
            now_ms: rig.now_ms,
            samples: &samples,
            inventory: Some(&devices),
            reads: &[],
        });
        evaluation = rig.evaluate();
    }
    assert_eq!(
        evaluation.signals()[0].demand_low,
        1_000_000 + slice,
        "a slice counts as a seventh of a GPU"
    );
}

#[test]
fn an_empty_queue_series() {
    let mut config = policy();
    config.signals.push(queue_signal(8.0, Absent::Zero));
    let mut rig = Rig::new(config.clone(), 6, 8);
    rig.load_all(10.0);
    rig.nodes
        .iter_mut()
        .skip(1)
        .for_each(|node| (node.gpu_pods, node.free_gpus) = (0, 8));
    (1..6).for_each(|node| rig.load(node, 0.0));
    let sizes = rig.live_minutes(40);
    assert_eq!(
        sizes.last(),
        Some(&1),
        "`absent: Zero`, and the source answers: {sizes:?}"
    );
    // The same silence while the source does not answer.
    let mut rig = Rig::new(config.clone(), 6, 8);
    rig.reads = vec![
        gpuscale::policy::windows::ReadStatus::Answered,
        gpuscale::policy::windows::ReadStatus::Failed,
    ];
    assert!(rig.live_minutes(40).iter().all(|&size| size == 6));
    // And where an absent series means that nothing is known.
    config.signals[1].absent = Absent::Unknown;
    let mut rig = Rig::new(config, 6, 8);
    assert!(rig.live_minutes(40).iter().all(|&size| size == 6));
}
