//! The arithmetic of shrinking, and the choice of nodes.

use proptest::prelude::*;

use super::super::config::{
    Absent, Across, DataQuality, MINUTE_MS, RatePolicy, Saturation, ScaleIn, Signal, SignalSource, Strategy,
    Suspend, Workload,
};
use super::super::dcgm::DcgmMetric;
use super::super::sample::{DeviceId, NodeId, Sample};
use super::super::windows::{Delta, Device};
use super::*;

fn resized(resizes: &[(Millis, i64)]) -> Memory {
    let entries: Vec<_> = resizes
        .iter()
        .map(|(ago_ms, added)| serde_json::json!({ "atMs": -ago_ms, "added": added }))
        .collect();
    Memory {
        resizes: serde_json::from_value(entries.into()).unwrap(),
        ..Memory::default()
    }
}

fn limits(select: SelectPolicy, policies: &[(RateKind, u32, Millis)]) -> Behavior {
    Behavior {
        policies: policies
            .iter()
            .map(|&(kind, value, period_ms)| RatePolicy {
                kind,
                value,
                period_ms,
            })
            .collect(),
        select,
        tolerance: 0,
        stabilization_ms: 0,
        cooldown_ms: 0,
    }
}

#[test]
fn the_smallest_size_is_that_of_the_hpas_scale_down_limit() {
    use RateKind::{Nodes, Percent};
    use SelectPolicy::{Disabled, Max, Min};
    let minute = MINUTE_MS;
    for (current, resizes, select, policies, wanted) in [
        (4, vec![], Max, vec![], 0),
        (4, vec![], Disabled, vec![(Nodes, 4, minute)], 4),
        (4, vec![], Max, vec![(Nodes, 1, minute)], 3),
        (4, vec![], Max, vec![(Nodes, 9, minute)], 0),
        (4, vec![], Max, vec![(Percent, 100, minute)], 0),
        (4, vec![], Max, vec![(Percent, 200, minute)], 0),
        (10, vec![], Max, vec![(Percent, 25, minute)], 7), // trunc(7.5)
        (
            10,
            vec![],
            Max,
            vec![(Nodes, 4, minute), (Percent, 25, minute)],
            6,
        ),
        (
            10,
            vec![],
            Min,
            vec![(Nodes, 4, minute), (Percent, 25, minute)],
            7,
        ),
        // Three of the four were taken within the minute, and two came.
        (7, vec![(30_000, -3)], Max, vec![(Nodes, 4, minute)], 6),
        (7, vec![(30_000, 2)], Max, vec![(Nodes, 4, minute)], 1),
        (7, vec![(minute, -3)], Max, vec![(Nodes, 4, minute)], 3), // exactly a period ago
        (6, vec![(30_000, -2)], Max, vec![(Percent, 25, minute)], 6),
        (1, vec![], Max, vec![(Percent, 1, minute)], 0), // room for one
        (0, vec![], Max, vec![(Percent, 50, minute)], 0),
    ] {
        let seen = smallest(
            &limits(select, &policies),
            &resized(&resizes),
            Now::at(0),
            current,
        );
        assert_eq!(
            seen, wanted,
            "{current} after {resizes:?}, {select:?} of {policies:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_percentage_lets_one_go_and_never_more_than_it_says(current in 1..10_000_u32, percent in 0..=100_u32) {
        let behavior = limits(SelectPolicy::Max, &[(RateKind::Percent, percent, MINUTE_MS)]);
        let allowed = smallest(&behavior, &Memory::default(), Now::at(0), current);
        prop_assert!(allowed < current);
        let exact = f64::from(current) * (1.0 - f64::from(percent) / 100.0);
        prop_assert!(f64::from(current - allowed) <= (f64::from(current) - exact) + 1.0);
    }
}

const IDLE_WINDOW: Millis = 10 * MINUTE_MS;
const NOW: Millis = 100 * MINUTE_MS;

fn config(victims: VictimPolicy, replace_unhealthy: Replace, spare_nodes: u32) -> Config {
    Config {
        signals: vec![Signal {
            name: "gpu".into(),
            source: SignalSource::Device(DcgmMetric::GpuUtilization),
            across: Across::Mean,
            target: None,
            per_node: None,
            up: None,
            down: None,
            demand_window_ms: MINUTE_MS,
            absent: Absent::Unknown,
        }],
        strategy: Strategy::TargetUtilization,
        workload: Workload::Shared,
        min_nodes: 0,
        max_nodes: 100,
        spare_nodes,
        up: limits(SelectPolicy::Max, &[]),
        down: limits(SelectPolicy::Max, &[]),
        settle_ms: 0,
        provision_timeout_ms: 0,
        evaluation_interval_ms: 15_000,
        budget_micro_usd_per_hour: None,
        schedules: vec![],
        scale_in: ScaleIn {
            victims,
            drain_timeout_ms: 0,
            replace_unhealthy,
        },
        data_quality: DataQuality {
            min_coverage: 0,
            max_age_ms: 0,
            scrape_interval_ms: 30_000,
            warm_up_ms: 0,
            idle_window_ms: IDLE_WINDOW,
        },
        saturation: Saturation::default(),
        suspend: Suspend::Active,
    }
}

/// An idle, healthy, old node without pods.
fn node(id: u32) -> NodeView {
    NodeView {
        id: NodeId(id),
        ready_since_ms: 0,
        free_gpus: 1,
        gpu_pods: 0,
        protection: Protection::None,
        condition: Condition::Healthy,
    }
}

/// Windows in which each node's one device was idle since long, but for those in `busy`.
fn windows(config: &Config, nodes: &[NodeView], busy: &[u32]) -> Windows {
    let mut inventory: Vec<Device> = nodes
        .iter()
        .map(|node| Device::new(DeviceId(node.id.0), node.id, 0))
        .collect();
    inventory.sort_by_key(|device| device.id);
    let samples: Vec<Sample> = nodes
        .iter()
        .flat_map(|node| {
            let value = if busy.contains(&node.id.0) { 500_000 } else { 0 };
            (0..=12)
                .map(move |minute| Sample::of_device(0, DeviceId(node.id.0), NOW - minute * MINUTE_MS, value))
        })
        .collect();
    let mut windows = Windows::new(config);
    windows.ingest(&Delta {
        now_ms: NOW,
        samples: &samples,
        inventory: Some(&inventory),
        reads: &[],
    });
    windows
}

fn chosen(config: &Config, nodes: &[NodeView], busy: &[u32], wanted: u32) -> Vec<u32> {
    let windows = windows(config, nodes, busy);
    let victims = choose(config, &windows, nodes, NOW - IDLE_WINDOW, wanted);
    victims.as_slice().iter().map(|node| node.0).collect()
}

#[test]
fn as_many_go_as_are_wanted_and_no_more_than_may() {
    let config = config(VictimPolicy::IdleFirst, Replace::Never, 0);
    let nodes: Vec<NodeView> = [5, 3, 9, 1].map(node).to_vec();
    for (wanted, busy, victims) in [
        (0, vec![], vec![]),
        (2, vec![], vec![1, 3]),
        (9, vec![], vec![1, 3, 5, 9]),
        (2, vec![1, 5], vec![3, 9]),
        (4, vec![1, 3, 5, 9], vec![]),
    ] {
        assert_eq!(
            chosen(&config, &nodes, &busy, wanted),
            victims,
            "{wanted} wanted, {busy:?} busy"
        );
    }
}

#[test]
fn each_thing_that_keeps_a_node_keeps_it() {
    type Change = fn(&mut NodeView);
    let keep: [(&str, Change, bool, bool); 6] = [
        ("nothing", |_| {}, true, true),
        ("a GPU pod", |node| node.gpu_pods = 1, false, false),
        (
            "protection",
            |node| node.protection = Protection::Protected,
            false,
            false,
        ),
        (
            "youth",
            |node| node.ready_since_ms = NOW - IDLE_WINDOW + 1,
            false,
            false,
        ),
        (
            "a pod that opted in",
            |node| (node.gpu_pods, node.protection) = (1, Protection::Drainable),
            false,
            true,
        ),
        (
            "a sick GPU under a pod",
            |node| (node.gpu_pods, node.condition) = (1, Condition::Unhealthy),
            false,
            false,
        ),
    ];
    for (why, keep, idle_first, drain) in keep {
        let mut nodes = [node(0)];
        keep(&mut nodes[0]);
        for (victims, wanted) in [
            (VictimPolicy::IdleFirst, idle_first),
            (VictimPolicy::Drain, drain),
        ] {
            let config = config(victims, Replace::Never, 0);
            assert_eq!(
                !chosen(&config, &nodes, &[], 1).is_empty(),
                wanted,
                "{why}, {victims:?}"
            );
        }
    }
}

#[test]
fn unhealthy_first_then_emptiest_then_by_identity() {
    let config = config(VictimPolicy::Drain, Replace::Never, 0);
    let drainable = |id, gpu_pods| NodeView {
        gpu_pods,
        protection: Protection::Drainable,
        ..node(id)
    };
    let sick = |view: NodeView| NodeView {
        condition: Condition::Unhealthy,
        ..view
    };
    let nodes = [
        drainable(0, 4),
        drainable(1, 1),
        node(2),
        sick(drainable(3, 2)),
        sick(node(4)),
        node(5),
    ];
    assert_eq!(chosen(&config, &nodes, &[], 6), [4, 3, 2, 5, 1, 0]);
    assert_eq!(chosen(&config, &nodes, &[], 3), [4, 3, 2]);
}

#[test]
fn spare_nodes_are_healthy_empty_ones_that_stay() {
    let empty: Vec<NodeView> = (0..4).map(node).collect();
    for (spare, wanted, victims) in [(0, 4, 4), (1, 4, 3), (2, 1, 1), (3, 2, 1), (4, 4, 0), (9, 4, 0)] {
        let mut config = config(VictimPolicy::IdleFirst, Replace::Never, spare);
        config.workload = Workload::Exclusive;
        assert_eq!(
            chosen(&config, &empty, &[], wanted).len(),
            victims,
            "{spare} spare, {wanted} wanted"
        );
    }
}

#[test]
fn at_most_as_many_as_a_decision_can_name() {
    let config = config(VictimPolicy::IdleFirst, Replace::Never, 0);
    let nodes: Vec<NodeView> = (0..40).map(node).collect();
    assert_eq!(chosen(&config, &nodes, &[], 30).len(), MAX_VICTIMS);
}

proptest! {
    #[test]
    fn no_order_of_the_nodes_changes_the_choice(
        pods in prop::collection::vec((0..3_u32, any::<bool>(), any::<bool>()), 1..12),
        wanted in 0..12_u32,
        turn in 0..12_usize,
    ) {
        let config = config(VictimPolicy::Drain, Replace::Never, 1);
        let mut nodes: Vec<NodeView> = (0..).zip(pods).map(|(id, (gpu_pods, drainable, sick))| NodeView {
            gpu_pods,
            protection: if drainable { Protection::Drainable } else { Protection::None },
            condition: if sick { Condition::Unhealthy } else { Condition::Healthy },
            ..node(id)
        }).collect();
        let straight = chosen(&config, &nodes, &[], wanted);
        let turn = turn % nodes.len();
        nodes.rotate_left(turn);
        prop_assert_eq!(&chosen(&config, &nodes, &[], wanted), &straight);
        for id in straight {
            let node = nodes.iter().find(|node| node.id.0 == id).unwrap();
            prop_assert!(node.gpu_pods == 0 || node.protection == Protection::Drainable);
        }
    }
}
