//! Tables for each rule of the roster, with and without a cluster view, and properties over disturbed answers.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::control::intake::FIRST_SILENT;
use crate::control::ports::{Answer, Completeness, Node, PoolAutoscaler, PoolState, Selector};
use crate::control::state::Arrival;
use crate::devices::LabelMapping;
use crate::recording::Labels;

const T0: Millis = 1_700_000_000_000;
const G: u32 = 2;

fn intake() -> Intake {
    let text = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  targetRef: { kind: \
                AksNodePool, name: p }\n  signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]\n  maxNodes: 8\n";
    let policy = crate::api::validate(text).unwrap();
    let config = crate::api::compile(&policy).unwrap();
    Intake::new(&config, &crate::api::queries(&policy), LabelMapping::default())
}

fn pool(count: u32) -> Pool {
    Pool {
        count,
        etag: "1".to_owned(),
        state: PoolState::Steady,
        autoscaler: PoolAutoscaler::Off,
        gpus_per_node: Some(G),
        node_price: Some(3_000_000),
        error: None,
    }
}

/// A policy with one pool, its clock at seconds after `T0`.
struct Rig {
    intake: Intake,
    roster: Roster,
    arrivals: Arrivals,
    count: u32,
    second: i64,
    patience_ms: i64,
    /// How far the clock that the roster is told of is ahead of the samples.
    ahead_ms: i64,
}

impl Rig {
    fn new(count: u32) -> Self {
        Self {
            intake: intake(),
            roster: Roster::default(),
            arrivals: Arrivals::default(),
            count,
            second: 0,
            patience_ms: 24 * 3_600_000,
            ahead_ms: 0,
        }
    }

    fn ask(&mut self, count: u32) {
        self.arrivals.asked_changed(self.count, count, self.second * 1000);
        self.count = count;
    }

    /// GPUs answer at that second: node and index of each, with samples of the last minute.
    fn hear(&mut self, second: i64, gpus: &[(u32, u32)]) {
        self.hear_since(second, gpus, second);
    }

    fn hear_since(&mut self, second: i64, gpus: &[(u32, u32)], from: i64) {
        self.second = second;
        let series = gpus.iter().map(|&(node, gpu)| {
            let (uuid, name) = (format!("GPU-{node}-{gpu}"), format!("n{node}"));
            let labels = [("UUID", uuid.as_str()), ("Hostname", name.as_str())];
            let times = (from..=second).step_by(30);
            (
                Arc::new(Labels::new("DCGM_FI_DEV_GPU_UTIL", labels).unwrap()),
                times.map(|at| (T0 + at * 1000, 50.0)),
            )
        });
        let answer = Answer {
            now_ms: T0 + second * 1000,
            completeness: Completeness::Whole,
            series: series.collect(),
        };
        let is_load = |selector: &Selector| matches!(selector, Selector::Metric { name, .. } if *name == "DCGM_FI_DEV_GPU_UTIL");
        assert!(is_load(&self.intake.wants()[0].selector));
        self.intake.take(&[(0, Ok(answer))]);
    }

    fn update(&mut self, view: Option<&View>) {
        let pool = pool(self.count);
        let mut pools = [PoolInput {
            pool: &pool,
            view,
            arrivals: &mut self.arrivals,
        }];
        self.roster.update(
            &mut self.intake,
            Input {
                pools: &mut pools,
                now_ms: T0 + self.second * 1000 + self.ahead_ms,
                timer_ms: self.second * 1000,
                offset_ms: 0,
                gpus_per_node: 8,
                patience_ms: self.patience_ms,
            },
        );
        assert!(self.roster.inventory().is_sorted_by_key(|device| device.id));
    }

    fn tick(&mut self, second: i64, gpus: &[(u32, u32)]) -> (usize, usize) {
        self.hear(second, gpus);
        self.update(None);
        self.shown()
    }

    /// Devices expected, and those of them that were ever heard.
    fn shown(&self) -> (usize, usize) {
        let inventory = self.roster.inventory();
        let heard = inventory.iter().filter(|device| device.id.0 < FIRST_SILENT);
        (inventory.len(), heard.count())
    }

    fn counts(&self) -> (u32, u32, u32) {
        let seen = self.roster.observation(Naming::Unseen);
        (
            seen.asked,
            seen.ready,
            seen.booting.iter().map(|batch| batch.nodes).sum(),
        )
    }
}

fn nodes(nodes: std::ops::Range<u32>) -> Vec<(u32, u32)> {
    nodes
        .flat_map(|node| (0..G).map(move |gpu| (node, gpu)))
        .collect()
}

fn node(name: u32, ready_second: Option<i64>, gpus: u32) -> Node {
    Node {
        name: format!("n{name}").into(),
        ready_since_ms: ready_second.map(|second| T0 + second * 1000),
        schedulable_gpus: gpus,
        free_gpus: gpus,
        gpu_pods: 0,
        unhealthy: false,
    }
}

fn view(nodes: Vec<Node>) -> View {
    View {
        nodes,
        waiting: Vec::new(),
    }
}

#[test]
fn an_empty_first_answer_makes_every_node_unknown_and_none_booting() {
    let mut rig = Rig::new(5);
    assert_eq!(rig.tick(0, &[]), (10, 0));
    assert_eq!(rig.counts(), (5, 5, 0));
    assert!(
        rig.roster
            .inventory()
            .iter()
            .all(|device| device.ready_since_ms < T0 - 3_600_000)
    );
    assert!(rig.roster.changed().is_some());
    assert_eq!(rig.tick(15, &[]), (10, 0));
    assert!(rig.roster.changed().is_none(), "nothing changed");
    // They come back one after the other, and the rest stay unknown.
    assert_eq!(rig.tick(30, &nodes(0..2)), (10, 4));
    assert_eq!(rig.tick(60, &nodes(0..5)), (10, 10));
}

#[test]
fn nodes_that_fall_silent_stay_expected_for_as_long_as_they_are_asked_for() {
    let mut rig = Rig::new(3);
    assert_eq!(rig.tick(0, &nodes(0..3)), (6, 6));
    for second in (30..30_000).step_by(30) {
        assert_eq!(rig.tick(second, &nodes(0..1)).0, 6, "at {second}");
        assert_eq!(rig.counts(), (3, 3, 0));
    }
    rig.ask(1);
    assert_eq!(rig.tick(30_000, &nodes(0..1)), (2, 2));
}

#[test]
fn a_node_that_is_silent_for_too_long_while_others_are_heard_is_missing_and_may_be_busy() {
    let mut rig = Rig::new(3);
    rig.patience_ms = 1_200_000;
    rig.tick(0, &nodes(0..3));
    for second in (30..1_200).step_by(30) {
        assert_eq!(rig.tick(second, &nodes(0..1)).0, 6, "at {second}");
    }
    assert_eq!(rig.tick(1_260, &nodes(0..1)).0, 2);
    assert_eq!(rig.counts(), (3, 1, 0), "others may grow in their place");
    assert_eq!(rig.roster.unheard_nodes(), 2, "and nothing shrinks by count");
    assert_eq!(rig.tick(1_290, &nodes(0..3)).0, 6, "until they are heard again");
    assert_eq!((rig.counts(), rig.roster.unheard_nodes()), ((3, 3, 0), 0));
}

#[test]
fn while_nobody_is_heard_no_node_is_given_up() {
    let mut rig = Rig::new(3);
    rig.patience_ms = 1_200_000;
    rig.tick(0, &nodes(0..3));
    for second in (30..7_200).step_by(30) {
        assert_eq!(rig.tick(second, &[]).0, 6, "at {second}");
    }
    assert_eq!(
        rig.tick(7_200, &nodes(0..1)).0,
        6,
        "the others have their time again"
    );
    assert_eq!(rig.tick(7_230, &nodes(0..3)), (6, 6));
}

#[test]
fn a_node_that_was_never_heard_is_waited_for_as_long_as_one_that_fell_silent() {
    let mut rig = Rig::new(3);
    rig.patience_ms = 1_200_000;
    for second in (0..1_200).step_by(30) {
        assert_eq!(rig.tick(second, &nodes(0..1)).0, 6, "at {second}");
    }
    assert_eq!(rig.tick(1_260, &nodes(0..1)).0, 2);
    assert_eq!(rig.counts(), (3, 1, 0));
}

#[test]
fn how_long_a_node_is_waited_for_does_not_depend_on_the_clock_of_the_source() {
    let mut rig = Rig::new(3);
    rig.patience_ms = 1_200_000;
    // Until the source answers, the local clock stands for its own, and may be years ahead.
    rig.ahead_ms = 77 * 365 * 24 * 3_600_000;
    for second in (0..300).step_by(30) {
        assert_eq!(rig.tick(second, &nodes(0..1)).0, 6, "at {second}");
    }
    rig.ahead_ms = 0;
    for second in (300..1_500).step_by(30) {
        assert_eq!(rig.tick(second, &nodes(0..1)).0, 6, "at {second}");
    }
    assert_eq!(rig.tick(1_560, &nodes(0..1)).0, 2);
}

#[test]
fn after_a_shrink_the_nodes_that_are_heard_on_are_kept() {
    let mut rig = Rig::new(4);
    rig.tick(0, &nodes(0..4));
    rig.tick(30, &nodes(0..4));
    rig.ask(2);
    // The first two left, and nobody said which.
    for second in [60, 90, 120] {
        rig.tick(second, &nodes(2..4));
    }
    let left: std::collections::BTreeSet<_> = rig.roster.inventory().iter().map(|d| d.node).collect();
    let names: Vec<_> = left.iter().filter_map(|&id| rig.intake.node_name(id)).collect();
    assert_eq!(names, ["n2", "n3"]);
}

#[test]
fn of_too_many_nodes_those_that_are_silent_the_longest_are_given_up_first() {
    let mut rig = Rig::new(3);
    rig.tick(0, &nodes(0..3));
    rig.tick(300, &nodes(1..3));
    rig.tick(600, &nodes(2..3));
    rig.ask(2);
    rig.tick(630, &nodes(2..3));
    let left: std::collections::BTreeSet<_> = rig.roster.inventory().iter().map(|d| d.node).collect();
    let names: Vec<_> = left.iter().filter_map(|&id| rig.intake.node_name(id)).collect();
    assert_eq!(names, ["n1", "n2"]);
}

#[test]
fn nodes_asked_for_are_booting_until_they_are_heard() {
    let mut rig = Rig::new(2);
    rig.tick(0, &nodes(0..2));
    rig.hear(30, &nodes(0..2));
    rig.ask(4);
    rig.update(None);
    assert_eq!((rig.counts(), rig.shown()), ((4, 2, 2), (4, 4)));
    assert_eq!(rig.tick(400, &nodes(0..3)), (6, 6));
    assert_eq!(rig.counts(), (4, 3, 1));
    let newest = rig
        .roster
        .inventory()
        .iter()
        .map(|device| device.ready_since_ms)
        .max();
    assert_eq!(newest, Some(T0 + 400_000));
    // The other never comes: it is neither Ready nor expected, and the engine's timeout calls it missing.
    assert_eq!(rig.tick(10_000, &nodes(0..3)), (6, 6));
    assert_eq!(rig.counts(), (4, 3, 1));
    assert_eq!(rig.roster.observation(Naming::Unseen).booting[0].since_ms, 30_000);
}

#[test]
fn a_node_that_comes_does_not_take_the_place_of_one_that_fell_silent() {
    let mut rig = Rig::new(2);
    rig.tick(0, &nodes(0..2));
    rig.tick(300, &nodes(0..1));
    rig.ask(3);
    assert_eq!(rig.tick(700, &[(0, 0), (0, 1), (2, 0), (2, 1)]), (6, 6));
    assert_eq!(rig.counts(), (3, 3, 0));
}

#[test]
fn a_ghost_beyond_the_count_is_not_expected() {
    let mut rig = Rig::new(2);
    rig.tick(0, &nodes(0..2));
    rig.ask(1);
    assert_eq!(rig.tick(30, &nodes(0..2)), (2, 2));
    assert_eq!(rig.roster.excess_nodes(), 1, "and nothing shrinks by count");
    // The one that was taken for the ghost is the one that stays.
    assert_eq!(rig.tick(300, &nodes(1..2)), (2, 2));
    assert_eq!(rig.roster.excess_nodes(), 0);
    let id = rig.roster.inventory()[0].node;
    assert_eq!(rig.intake.node_name(id), Some("n1"));
}

#[test]
fn after_a_restart_what_was_booting_is_still_booting() {
    let mut rig = Rig::new(3);
    rig.arrivals = Arrivals::resumed(
        &[Arrival {
            nodes: 1,
            since_ms: -600_000,
            refused: false,
        }],
        500_000,
    );
    rig.hear_since(0, &nodes(0..1), -300);
    rig.update(None);
    assert_eq!((rig.shown(), rig.counts()), ((4, 2), (3, 2, 1)));
    // One that began to report after it was asked for has come.
    rig.hear_since(30, &nodes(0..2), 0);
    rig.update(None);
    assert_eq!((rig.shown(), rig.counts()), ((6, 4), (3, 3, 0)));
}

#[test]
fn a_gpu_of_a_node_that_never_reported_is_unknown() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.tick(0, &[(0, 0)]), (2, 1));
    assert_eq!(rig.tick(30, &nodes(0..1)), (2, 2));
}

#[test]
fn a_gpu_that_was_replaced_counts_until_its_successor_reports() {
    let mut rig = Rig::new(1);
    rig.tick(0, &nodes(0..1));
    assert_eq!(rig.tick(600, &[(0, 0)]), (2, 2));
    assert_eq!(rig.tick(630, &[(0, 0), (0, 7)]), (2, 2));
    assert!(rig.roster.inventory().iter().all(|device| device.id.0 != 1));
}

#[test]
fn with_a_view_the_nodes_are_those_that_it_shows() {
    let mut rig = Rig::new(4);
    rig.hear(0, &[(0, 0), (0, 1), (9, 0)]);
    let shown = view(vec![
        node(0, Some(-5_000), G),
        node(1, Some(-60), G),
        node(2, Some(-10), 0),
        node(3, None, 0),
    ]);
    rig.update(Some(&shown));
    // Node 9 is a ghost, node 2 has no driver yet, node 3 is on its way.
    assert_eq!(rig.shown(), (4, 2));
    let seen = rig.roster.observation(Naming::Unseen);
    assert_eq!((seen.ready, seen.schedulable, seen.free_gpus), (3, 2, Some(4)));
    assert_eq!(rig.counts(), (4, 3, 1));
    assert_eq!(seen.waiting, Waiting::Pods(&[]));
    assert_eq!(
        (seen.nodes, seen.node_price, seen.gpus_per_node),
        (Nodes::Unseen, Some(3_000_000), G)
    );
    let since: Vec<_> = rig
        .roster
        .inventory()
        .iter()
        .map(|d| (d.ready_since_ms - T0) / 1000)
        .collect();
    assert_eq!(since, [-5_000, -5_000, -60, -60]);
    assert!(matches!(rig.roster.observation(Naming::Named).nodes, Nodes::Named(nodes) if nodes.len() == 4));
    rig.hear(30, &[(0, 0), (9, 0)]);
    assert_eq!(rig.intake.counters().foreign_series, 1);
}

#[test]
fn with_a_view_what_comes_is_what_was_asked_for_and_what_was_evicted_is_no_supply() {
    let mut rig = Rig::new(2);
    let ready = |names: &[u32]| view(names.iter().map(|&name| node(name, Some(-5_000), G)).collect());
    rig.hear(0, &[]);
    rig.update(Some(&ready(&[0, 1])));
    rig.ask(4);
    rig.update(Some(&ready(&[0, 1])));
    assert_eq!(rig.counts(), (4, 2, 2));
    // One arrives while another is evicted.
    rig.update(Some(&ready(&[0, 2])));
    assert_eq!(rig.counts(), (4, 2, 1));
    assert_eq!(rig.shown(), (4, 0));
    rig.update(Some(&ready(&[0, 2, 3, 4])));
    assert_eq!(rig.counts(), (4, 4, 0));
}

#[test]
fn a_node_that_waits_for_its_driver_arrives_once_however_long_it_takes() {
    let mut rig = Rig::new(2);
    rig.hear(0, &nodes(0..2));
    rig.update(Some(&view(vec![
        node(0, Some(-5_000), G),
        node(1, Some(-5_000), G),
    ])));
    rig.ask(4);
    for second in (30..7_200).step_by(30) {
        rig.hear(second, &nodes(0..2));
        let slow = view(vec![
            node(0, Some(-5_000), G),
            node(1, Some(-5_000), G),
            node(2, Some(20), 0),
        ]);
        rig.update(Some(&slow));
        assert_eq!(rig.counts(), (4, 3, 1), "at {second}");
    }
}

#[test]
fn a_node_that_was_there_stays_expected_while_it_is_not_ready() {
    let mut rig = Rig::new(1);
    rig.hear(0, &[]);
    rig.update(Some(&view(vec![node(0, Some(-5_000), G)])));
    for flap in [node(0, None, 0), node(0, Some(0), 0), node(0, Some(10), G)] {
        rig.update(Some(&view(vec![flap])));
        assert_eq!(rig.shown(), (2, 0));
        assert_eq!(rig.roster.inventory()[0].ready_since_ms, T0 - 5_000_000);
    }
    // At first sight, pods say that it works.
    let mut rig = Rig::new(1);
    rig.hear(0, &[]);
    let pods = Node {
        gpu_pods: 1,
        ..node(0, None, 0)
    };
    rig.update(Some(&view(vec![pods])));
    assert_eq!((rig.shown(), rig.roster.any_gpu_pod()), ((2, 0), true));
    assert_eq!(rig.counts(), (1, 0, 0));
}

#[test]
fn a_condition_makes_the_node_and_its_devices_unhealthy() {
    let mut rig = Rig::new(2);
    rig.hear(0, &nodes(0..2));
    let sick = Node {
        unhealthy: true,
        ..node(1, Some(-5_000), G)
    };
    rig.update(Some(&view(vec![node(0, Some(-5_000), G), sick])));
    let unhealthy = rig
        .roster
        .inventory()
        .iter()
        .filter(|d| d.health == Health::Unhealthy);
    assert_eq!(unhealthy.count(), 2);
    let seen = rig.roster.observation(Naming::Unseen);
    assert_eq!((seen.unhealthy, seen.free_gpus), (1, Some(2)));
}

#[test]
fn the_pools_of_a_policy_are_one_group_and_an_unknown_price_is_unknown() {
    let mut rig = Rig::new(0);
    rig.hear(0, &nodes(0..3));
    let (target, fallback, unused) = (
        pool(2),
        pool(2),
        Pool {
            node_price: None,
            ..pool(0)
        },
    );
    let mut arrivals = [Arrivals::default(), Arrivals::default(), Arrivals::default()];
    arrivals[1].asked_changed(1, 2, -1_000);
    for (priced, wanted) in [
        (&unused, Some(3_000_000)),
        (
            &Pool {
                node_price: None,
                ..pool(1)
            },
            None,
        ),
    ] {
        let pools = [&target, &fallback, priced].into_iter().zip(&mut arrivals);
        let mut pools: Vec<_> = pools
            .map(|(pool, arrivals)| PoolInput {
                pool,
                view: None,
                arrivals,
            })
            .collect();
        rig.roster.update(
            &mut rig.intake,
            Input {
                pools: &mut pools,
                now_ms: T0,
                timer_ms: 0,
                offset_ms: 0,
                gpus_per_node: 8,
                patience_ms: rig.patience_ms,
            },
        );
        assert_eq!(rig.roster.observation(Naming::Unseen).node_price, wanted);
    }
    assert_eq!(
        rig.counts(),
        (5, 5, 0),
        "one that was on its way has reported since"
    );
}

proptest! {
    #[test]
    fn nothing_that_is_missing_from_an_answer_makes_less_expected(
        count in 0_u32..6,
        present in prop::collection::vec((0_i64..4, prop::collection::vec(any::<bool>(), 10)), 1..12),
        removed in prop::collection::vec(any::<bool>(), 10),
        grow in 0_u32..3,
    ) {
        let (mut whole, mut holed) = (Rig::new(count), Rig::new(count));
        let mut second = 0;
        for (step, (pause, heard)) in present.iter().enumerate() {
            second += 30 + pause * 60;
            let gpus: Vec<_> = nodes(0..5).into_iter().zip(heard).filter(|(_, heard)| **heard).map(|(gpu, _)| gpu).collect();
            let fewer: Vec<_> = gpus.iter().copied().filter(|&(node, gpu)| !removed[(node * G + gpu) as usize]).collect();
            let (all, some) = (whole.tick(second, &gpus), holed.tick(second, &fewer));
            // What is Ready or on its way is what was asked for, and all that is Ready is expected.
            for (rig, shown) in [(&whole, all), (&holed, some)] {
                let (asked, ready, booting) = rig.counts();
                prop_assert_eq!(asked, ready + booting);
                prop_assert_eq!(shown.0, (ready * G) as usize);
            }
            if grow == 0 {
                prop_assert!(some.0 >= all.0);
            } else if step == 2 {
                whole.ask(count + grow);
                holed.ask(count + grow);
            }
        }
    }
}
