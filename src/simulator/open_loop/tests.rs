//! Small histories written by hand, and what a policy says to them.

use super::*;
use crate::api::{self, Query};
use crate::devices::LabelMapping;
use crate::recording::{Labels, Metrics, MetricsBuilder, schema};
use crate::simulator::closed_loop::Unwatched;
use crate::simulator::history::HistoryError;

/// 2023-11-14T22:13:20Z rounded up to a whole minute.
const T0: i64 = 1_700_000_040_000;
const MINUTE: i64 = 60_000;

/// A recording under construction: samples every 30 seconds.
#[derive(Default)]
struct Tape {
    builder: MetricsBuilder,
}

impl Tape {
    /// Writes a value every 30 seconds from one minute up to another, the end exclusive.
    fn hold(
        mut self,
        name: &str,
        labels: &[(&str, &str)],
        minutes: std::ops::Range<i64>,
        value: f64,
    ) -> Self {
        let labels = Labels::new(name, labels.iter().copied()).unwrap();
        let id = self.builder.series(labels).unwrap();
        for half in minutes.start * 2..minutes.end * 2 {
            self.builder.push(id, T0 + half * 30_000, value, 1).unwrap();
        }
        self
    }

    /// Utilization in percent of both GPUs of a node.
    fn node(self, node: &str, minutes: std::ops::Range<i64>, percent: f64) -> Self {
        let uuids = [format!("{node}-0"), format!("{node}-1")];
        let [first, second] = uuids
            .each_ref()
            .map(|uuid| [("UUID", uuid.as_str()), ("Hostname", node)]);
        self.hold("DCGM_FI_DEV_GPU_UTIL", &first, minutes.clone(), percent)
            .hold("DCGM_FI_DEV_GPU_UTIL", &second, minutes, percent)
    }

    /// The inventory says that a node with two GPUs is there.
    fn listed(self, node: &str, minutes: std::ops::Range<i64>) -> Self {
        self.hold(schema::NODE_GPUS, &[("node", node)], minutes, 2.0)
    }

    fn end(self) -> Metrics {
        self.builder.finish().unwrap()
    }
}

fn policy(rest: &str) -> (Config, Vec<Query>) {
    let yaml = format!(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: p }}\nspec:\n  \
         targetRef: {{ kind: AksNodePool, name: p }}\n  maxNodes: 8\n{rest}"
    );
    let policy = api::validate(&yaml).unwrap_or_else(|error| panic!("{error}"));
    (api::compile(&policy).unwrap(), api::queries(&policy))
}

fn serving() -> (Config, Vec<Query>) {
    policy(
        "  signals: [ { name: gpu, dcgm: { metric: GpuUtilization }, targetPercentage: 75 } ]\n  \
         behavior: { scaleDown: { stabilization: 5m, cooldown: 1m } }\n",
    )
}

const DECLARED: Declared = Declared {
    nodes: None,
    gpus_per_node: 2,
    node_price: None,
    interval_ms: 15_000,
};

fn said(metrics: &Metrics, (config, queries): &(Config, Vec<Query>)) -> (Advice, Vec<Evaluation>) {
    let history = History::new(metrics, config, queries, &LabelMapping::default()).unwrap();
    let mut seen = Vec::new();
    let mut watch = |tick: &Tick<'_>| seen.push(*tick.evaluation);
    let advice = open_loop(history, config, &DECLARED, &mut watch);
    (advice, seen)
}

fn quality_at(seen: &[Evaluation], minute: i64) -> Quality {
    let at = |evaluation: &&Evaluation| evaluation.at.wall_ms == T0 + minute * MINUTE;
    seen.iter().find(at).unwrap().signals()[0].quality
}

#[test]
fn an_idle_pool_would_shrink_and_a_full_one_grow() {
    let idle = Tape::default().node("a", 0..60, 3.0).node("b", 0..60, 3.0).end();
    let (advice, seen) = said(&idle, &serving());
    assert_eq!(advice.node_count, NodeCount::Assumed);
    assert_eq!(seen.last().unwrap().decision.from, 2);
    assert_eq!(seen.last().unwrap().decision.to, 1);
    assert_eq!((advice.directions.0, advice.turns), (0, 1), "{advice:?}");

    let full = Tape::default()
        .node("a", 0..60, 100.0)
        .node("b", 0..60, 100.0)
        .end();
    let (advice, seen) = said(&full, &serving());
    assert!(seen.last().unwrap().decision.to > 2);
    assert!(advice.pinned > advice.ticks * 9 / 10, "{advice:?}");
    assert_eq!(advice.directions.1, 0);
}

#[test]
fn a_silent_exporter_of_a_listed_node_stops_shrinking() {
    let listed = Tape::default()
        .node("a", 0..120, 3.0)
        .node("b", 0..30, 3.0)
        .listed("a", 0..120)
        .listed("b", 0..120)
        .end();
    let (advice, seen) = said(&listed, &serving());
    assert_eq!(advice.inventory, Inventory::Recorded);
    assert_eq!(quality_at(&seen, 25), Quality::Good);
    assert_eq!(quality_at(&seen, 60), Quality::LowCoverage);
    let late = seen.iter().filter(|one| one.at.wall_ms >= T0 + 35 * MINUTE);
    assert!(late.clone().count() > 0);
    for one in late {
        assert!(one.decision.to >= one.decision.from, "{:?}", one.decision);
    }
    // Without the inventory nobody can tell the silence from a node that left, and the result says so.
    let unlisted = Tape::default().node("a", 0..120, 3.0).node("b", 0..30, 3.0).end();
    assert_eq!(said(&unlisted, &serving()).0.inventory, Inventory::Assumed);
}

#[test]
fn what_is_drawn_of_a_silent_time_is_not_zero() {
    let metrics = Tape::default()
        .node("a", 0..120, 60.0)
        .node("b", 0..30, 60.0)
        .listed("a", 0..120)
        .listed("b", 0..120)
        .end();
    let (config, queries) = serving();
    let history = History::new(&metrics, &config, &queries, &LabelMapping::default()).unwrap();
    let mut least = i64::MAX;
    open_loop(history, &config, &DECLARED, &mut |tick: &Tick<'_>| {
        least = least.min(tick.demand);
    });
    assert_eq!(least, 2_400_000, "four GPUs at 60 %, whoever is silent");
}

#[test]
fn gpus_that_never_report_are_unknown_and_not_idle() {
    let tape = Tape::default()
        .node("a", 0..60, 3.0)
        .listed("a", 0..60)
        .listed("b", 0..60)
        .end();
    let (advice, seen) = said(&tape, &serving());
    assert_eq!(quality_at(&seen, 30), Quality::LowCoverage);
    assert_eq!(advice.directions.1, 0);
}

#[test]
fn sizes_of_the_history_are_no_fight_over_the_pool() {
    let mut tape = Tape::default().node("a", 0..240, 60.0).node("b", 0..240, 60.0);
    for quarter in 0..16 {
        let nodes = if quarter % 2 == 0 { 2.0 } else { 3.0 };
        let minutes = quarter * 15..(quarter + 1) * 15;
        tape = tape.hold(schema::NODES_REQUESTED, &[("pool", "p")], minutes, nodes);
    }
    let (advice, _) = said(&tape.end(), &serving());
    assert_eq!(advice.node_count, NodeCount::Recorded);
    assert!(
        !advice.reasons.contains_key("Conflicting"),
        "{:?}",
        advice.reasons
    );
}

#[test]
fn pods_that_own_their_gpus_keep_their_nodes() {
    let training = policy(
        "  workload: Exclusive\n  signals:\n  - { name: gpu, dcgm: { metric: GpuUtilization } }\n  - { name: pods, gpuRequests: {} }\n  \
         behavior: { scaleDown: { stabilization: 5m, cooldown: 1m } }\n",
    );
    let gpu = |tape: Tape, node: &str, pod: &str, percent: f64| {
        let labels = [("UUID", node), ("Hostname", node), ("pod", pod)];
        let tape = if node == "a" {
            tape.hold(schema::PODS_WAITING, &[("gpus", "1")], 0..120, 0.0)
        } else {
            tape
        };
        tape.hold("DCGM_FI_DEV_GPU_UTIL", &labels, 0..120, percent)
    };
    let mut declared = DECLARED;
    declared.gpus_per_node = 1;
    let last = |metrics: &Metrics| {
        let (config, queries) = &training;
        let history = History::new(metrics, config, queries, &LabelMapping::default()).unwrap();
        let mut last = None;
        open_loop(history, config, &declared, &mut |tick: &Tick<'_>| {
            last = Some(*tick.evaluation);
        });
        last.unwrap().decision
    };
    let half = gpu(gpu(Tape::default(), "a", "train-0", 99.0), "b", "", 0.0).end();
    let decision = last(&half);
    assert_eq!((decision.from, decision.to), (2, 1));
    assert_eq!(decision.victims.as_slice(), [NodeId(1)], "the node without a pod");
    // Memory may be held between two epochs: idle for hours, and still not free.
    let waiting = gpu(gpu(Tape::default(), "a", "train-0", 99.0), "b", "train-1", 0.0).end();
    assert_eq!(last(&waiting).to, 2);
    // Where no series ever names a pod, nobody knows.
    let unlabelled = gpu(gpu(Tape::default(), "a", "", 99.0), "b", "", 0.0).end();
    assert_eq!(last(&unlabelled).to, 2);
}

#[test]
fn pods_that_waited_grow_the_pool() {
    let training = policy("  workload: Exclusive\n  signals: [ { name: pods, gpuRequests: {} } ]\n");
    let metrics = Tape::default()
        .hold(schema::NODES_READY, &[], 0..30, 1.0)
        .hold(schema::PODS_WAITING, &[("gpus", "2")], 0..10, 0.0)
        .hold(schema::PODS_WAITING, &[("gpus", "2")], 10..30, 3.0)
        .end();
    let (_, seen) = said(&metrics, &training);
    assert_eq!(seen.last().unwrap().decision.wish, 4);
}

#[test]
fn a_query_is_replayed_in_the_unit_that_the_policy_states() {
    let queue = policy(
        "  minNodes: 1\n  signals:\n  - { name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }\n",
    );
    let metrics = Tape::default()
        .hold(schema::SIGNAL, &[("signal", "queue")], 0..30, 30.0)
        .hold(schema::NODES_READY, &[], 0..30, 1.0)
        .end();
    let (_, seen) = said(&metrics, &queue);
    assert_eq!(seen.last().unwrap().decision.wish, 4);
}

#[test]
fn a_recording_without_anything_to_read_says_what_it_lacks() {
    let metrics = Tape::default().hold("up", &[("job", "dcgm")], 0..5, 1.0).end();
    let (config, queries) = serving();
    let error = History::new(&metrics, &config, &queries, &LabelMapping::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the recording has nothing that the policy reads; it reads `DCGM_FI_DEV_GPU_UTIL`, and the recording has `up`"
    );
    let nameless = Tape::default()
        .hold("DCGM_FI_DEV_GPU_UTIL", &[("job", "x")], 0..5, 1.0)
        .end();
    let error = History::new(&nameless, &config, &queries, &LabelMapping::default()).unwrap_err();
    assert!(matches!(error, HistoryError::Unidentified { .. }), "{error}");
    let newer = Tape::default()
        .hold(schema::INFO, &[("version", "2")], 0..5, 1.0)
        .node("a", 0..5, 1.0)
        .end();
    let error = History::new(&newer, &config, &queries, &LabelMapping::default()).unwrap_err();
    assert!(error.to_string().contains("schema version `2`"), "{error}");
}

#[test]
fn the_same_history_gives_the_same_decisions() {
    let metrics = Tape::default()
        .node("a", 0..90, 40.0)
        .node("b", 10..50, 95.0)
        .end();
    let (config, queries) = serving();
    let run = || {
        let history = History::new(&metrics, &config, &queries, &LabelMapping::default()).unwrap();
        open_loop(history, &config, &DECLARED, &mut Unwatched)
    };
    assert_eq!(run(), run());
}

mod derived {
    use super::*;
    use crate::recording::MICRO;
    use crate::simulator::history::{Derived, Stretch};

    fn derive(metrics: &Metrics) -> Derived {
        let (config, queries) = serving();
        let history = History::new(metrics, &config, &queries, &LabelMapping::default()).unwrap();
        history.demand(&config, 15_000).unwrap()
    }

    fn at(derived: &Derived, minute: i64) -> i64 {
        let index = (T0 + minute * MINUTE - derived.demand.start_ms()) / derived.demand.step_ms();
        derived.demand.values()[usize::try_from(index).unwrap()]
    }

    #[test]
    fn demand_is_the_sum_of_what_devices_do() {
        let derived = derive(
            &Tape::default()
                .node("a", 0..60, 50.0)
                .node("b", 20..60, 25.0)
                .end(),
        );
        assert_eq!((at(&derived, 10), at(&derived, 30)), (MICRO, MICRO * 3 / 2));
        assert!(derived.censored.is_empty() && derived.unknown.is_empty());
    }

    #[test]
    fn a_pinned_device_makes_demand_a_lower_bound() {
        let tape = Tape::default()
            .node("a", 0..20, 50.0)
            .node("a", 20..40, 100.0)
            .node("a", 40..60, 50.0);
        let derived = derive(&tape.end());
        let pinned = Stretch {
            from_ms: T0 + 20 * MINUTE,
            to_ms: T0 + 40 * MINUTE,
        };
        assert_eq!(derived.censored, [pinned]);
        assert_eq!(at(&derived, 30), 2 * MICRO);
    }

    #[test]
    fn a_silent_device_counts_as_busy_as_the_others_and_never_as_idle() {
        let tape = Tape::default()
            .node("a", 0..60, 80.0)
            .node("b", 0..20, 40.0)
            .node("b", 40..60, 40.0)
            .end();
        let derived = derive(&tape);
        assert_eq!(at(&derived, 10), MICRO * 24 / 10);
        assert_eq!(at(&derived, 30), MICRO * 32 / 10, "four GPUs at 80 %");
        assert_eq!(derived.unknown.len(), 1);
        let silent = derived.unknown[0];
        // The last reading holds for 90 seconds.
        assert_eq!(silent.from_ms, T0 + 20 * MINUTE - 30_000 + 90_000);
        assert_eq!(silent.to_ms, T0 + 40 * MINUTE);
    }

    #[test]
    fn when_nobody_reports_demand_stays_what_it_was() {
        let tape = Tape::default()
            .node("a", 0..20, 80.0)
            .node("a", 40..60, 10.0)
            .end();
        assert_eq!(at(&derive(&tape), 30), MICRO * 16 / 10);
    }

    #[test]
    fn a_zero_under_power_is_unknown() {
        let labels = [
            ("UUID", "b-0"),
            ("Hostname", "b"),
            ("modelName", "NVIDIA A100 80GB PCIe"),
        ];
        let tape = Tape::default()
            .node("a", 0..60, 60.0)
            .hold("DCGM_FI_DEV_GPU_UTIL", &labels, 0..60, 0.0)
            .hold("DCGM_FI_DEV_POWER_USAGE", &labels, 0..60, 290.0)
            .end();
        let derived = derive(&tape);
        assert_eq!(at(&derived, 30), MICRO * 18 / 10);
        assert_eq!(derived.unknown_share, MICRO / 3);
    }
}

/// What a review of the replay found by feeding it recordings as they are in the field.
mod odd {
    use super::*;
    use crate::recording::MICRO;

    fn history<'a>(metrics: &'a Metrics, policy: &'a (Config, Vec<Query>)) -> History<'a> {
        History::new(metrics, &policy.0, &policy.1, &LabelMapping::default()).unwrap()
    }

    fn refused(metrics: &Metrics) -> String {
        let (config, queries) = serving();
        let result = History::new(metrics, &config, &queries, &LabelMapping::default());
        result.map(|_| ()).unwrap_err().to_string()
    }

    fn never_shrinks(metrics: &Metrics, policy: &(Config, Vec<Query>)) -> Advice {
        let (advice, _) = said(metrics, policy);
        assert_eq!(advice.directions.1, 0, "{:?}", advice.reasons);
        advice
    }

    #[test]
    fn ready_nodes_without_devices_are_unknown_and_not_idle() {
        // Three of four exporters die for good, and there is no inventory.
        let mut tape = Tape::default()
            .node("a", 0..240, 20.0)
            .hold(schema::NODES_REQUESTED, &[], 0..240, 4.0)
            .hold(schema::NODES_READY, &[], 0..240, 4.0);
        for node in ["b", "c", "d"] {
            tape = tape.node(node, 0..60, 90.0);
        }
        let metrics = tape.end();
        let (advice, seen) = said(&metrics, &serving());
        assert_eq!(quality_at(&seen, 120), Quality::LowCoverage);
        let after = seen.iter().filter(|one| one.at.wall_ms > T0 + 63 * MINUTE);
        assert!(
            after.clone().all(|one| one.decision.to >= one.decision.from),
            "{advice:?}"
        );
        // And they are no idle demand either.
        let policy = serving();
        let derived = history(&metrics, &policy).demand(&policy.0, 15_000).unwrap();
        assert!(
            derived
                .demand
                .values()
                .iter()
                .all(|&gpus| gpus >= MICRO * 16 / 10),
            "8 GPUs at 20 %"
        );
        assert!(derived.share(&derived.unknown) > MICRO / 2);
    }

    #[test]
    fn a_declared_size_is_expected_too() {
        let metrics = Tape::default().node("a", 0..120, 3.0).end();
        let (config, queries) = serving();
        let declared = Declared {
            nodes: Some(4),
            ..DECLARED
        };
        let history = History::new(&metrics, &config, &queries, &LabelMapping::default()).unwrap();
        let advice = open_loop(history, &config, &declared, &mut Unwatched);
        assert_eq!((advice.node_count, advice.directions.1), (NodeCount::Declared, 0));
    }

    /// As the loop sees it: what the silent node did before counts for as long as windows reach back to it.
    #[test]
    fn a_node_of_a_declared_pool_that_falls_silent_has_not_left() {
        let metrics = Tape::default()
            .node("a", 0..120, 50.0)
            .node("b", 0..30, 50.0)
            .end();
        let (config, queries) = serving();
        let quality = |nodes: u32| {
            let declared = Declared {
                nodes: Some(nodes),
                ..DECLARED
            };
            let history = History::new(&metrics, &config, &queries, &LabelMapping::default()).unwrap();
            let mut seen = Vec::new();
            let mut watch = |tick: &Tick<'_>| seen.push(*tick.evaluation);
            open_loop(history, &config, &declared, &mut watch);
            let spoken_for_ms = T0 + 30 * MINUTE - 30_000 + 90_000;
            let after = seen.iter().filter(|one| one.at.wall_ms >= spoken_for_ms);
            after.map(|one| one.signals()[0].quality).collect::<Vec<_>>()
        };
        let of_two = quality(2);
        assert_eq!(of_two[0], Quality::Good, "most of the window is known");
        assert!(
            of_two[20..]
                .iter()
                .all(|&quality| quality == Quality::LowCoverage),
            "{of_two:?}"
        );
        // With room for a third node nobody knows which one is missing.
        assert_eq!(quality(3)[0], Quality::LowCoverage);
    }

    #[test]
    fn a_time_in_which_nobody_reported_has_the_demand_of_the_time_around_it() {
        let late = Tape::default()
            .hold(schema::NODES_READY, &[], 0..120, 1.0)
            .node("a", 60..120, 50.0)
            .end();
        let policy = serving();
        let derived = history(&late, &policy).demand(&policy.0, 15_000).unwrap();
        assert!(
            derived.demand.values().iter().all(|&gpus| gpus == MICRO),
            "one GPU's work, from the start"
        );
        assert!(derived.share(&derived.unknown) > MICRO * 4 / 10);
        // Where the inventory says that there is no node, nothing was wanted of nobody.
        let gone = Tape::default()
            .node("a", 0..60, 50.0)
            .listed("a", 0..60)
            .hold(schema::NODE_GPUS, &[("node", "a")], 60..120, 0.0)
            .end();
        let derived = history(&gone, &policy).demand(&policy.0, 15_000).unwrap();
        assert_eq!(derived.demand.values().last(), Some(&0));
    }

    #[test]
    fn what_a_recording_says_of_itself_is_no_time() {
        let metrics = Tape::default()
            .hold(schema::INFO, &[("version", "1")], -40_000..-39_999, 1.0)
            .node("a", 0..60, 50.0)
            .end();
        let policy = serving();
        assert_eq!(history(&metrics, &policy).span_ms().0, T0);
    }

    #[test]
    fn a_blank_limit_is_no_limit() {
        let power =
            policy("  signals: [ { name: watts, dcgm: { metric: PowerRatio }, targetPercentage: 75 } ]\n");
        let labels = [
            ("UUID", "a-0"),
            ("Hostname", "a"),
            ("modelName", "NVIDIA A100-SXM4-80GB"),
        ];
        for blank in [9_223_372_036_854_775_794.0, 2_147_483_632.0] {
            let metrics = Tape::default()
                .hold("DCGM_FI_DEV_POWER_USAGE", &labels, 0..60, 390.0)
                .hold("DCGM_FI_DEV_POWER_MGMT_LIMIT", &labels, 0..60, blank)
                .end();
            let (_, seen) = said(&metrics, &power);
            let last = seen.last().unwrap().signals()[0];
            assert!(last.demand_low > 900_000, "390 of 400 W is busy: {last:?}");
        }
    }

    #[test]
    fn gpu_utilization_of_a_mig_instance_is_no_reading() {
        let labels = [
            ("UUID", "a"),
            ("GPU_I_ID", "3"),
            ("GPU_I_PROFILE", "3g.40gb"),
            ("Hostname", "a"),
        ];
        let metrics = Tape::default()
            .hold("DCGM_FI_DEV_GPU_UTIL", &labels, 0..120, 0.0)
            .end();
        let policy = serving();
        let advice = never_shrinks(&metrics, &policy);
        assert!(!advice.qualities.contains_key("Good"), "{advice:?}");
        assert!(history(&metrics, &policy).remarks()[0].contains("does not exist for MIG"));
    }

    #[test]
    fn an_instance_without_a_profile_is_refused() {
        let labels = [("UUID", "a"), ("GPU_I_ID", "3"), ("Hostname", "a")];
        let metrics = Tape::default()
            .hold("DCGM_FI_DEV_GPU_UTIL", &labels, 0..5, 0.0)
            .end();
        assert!(refused(&metrics).contains("needs the label `GPU_I_PROFILE`"));
    }

    #[test]
    fn a_gpu_that_was_split_keeps_its_past() {
        let engine = policy(
            "  signals: [ { name: gpu, dcgm: { metric: GraphicsEngineActive }, targetPercentage: 75 } ]\n",
        );
        let whole = [("UUID", "a"), ("Hostname", "a")];
        let mut tape = Tape::default()
            .hold("DCGM_FI_PROF_GR_ENGINE_ACTIVE", &whole, 0..60, 0.7)
            .hold(schema::NODE_GPUS, &[("node", "a")], 0..120, 1.0);
        for instance in ["1", "2"] {
            let labels = [
                whole[0],
                whole[1],
                ("GPU_I_ID", instance),
                ("GPU_I_PROFILE", "3g.40gb"),
            ];
            tape = tape.hold("DCGM_FI_PROF_GR_ENGINE_ACTIVE", &labels, 60..120, 0.5);
        }
        let metrics = tape.end();
        let (_, seen) = said(&metrics, &engine);
        assert_eq!(
            (quality_at(&seen, 50), quality_at(&seen, 110)),
            (Quality::Good, Quality::Good)
        );
        let derived = history(&metrics, &engine).demand(&engine.0, 15_000).unwrap();
        assert_eq!(derived.demand.values().first(), Some(&700_000));
        assert_eq!(derived.demand.values().last(), Some(&428_570));
    }

    #[test]
    fn a_signal_that_is_not_recorded_is_unknown_whatever_its_absence_means() {
        let both = policy(
            "  signals:\n  - { name: gpu, dcgm: { metric: GpuUtilization }, targetPercentage: 75 }\n  \
             - { name: queue, promql: 'sum(waiting)', unit: count, perNode: 8, absent: Zero }\n  \
             behavior: { scaleDown: { stabilization: 5m, cooldown: 1m } }\n",
        );
        let metrics = Tape::default()
            .node("a", 0..120, 3.0)
            .node("b", 0..120, 3.0)
            .end();
        never_shrinks(&metrics, &both);
        assert!(history(&metrics, &both).remarks()[0].contains("nothing of signal `queue`"));
    }

    #[test]
    fn a_device_of_which_nothing_is_heard_is_not_free() {
        let training = policy(
            "  workload: Exclusive\n  signals: [ { name: pods, gpuRequests: {} }, { name: gpu, dcgm: { metric: GpuUtilization } } ]\n",
        );
        let mut declared = DECLARED;
        declared.gpus_per_node = 1;
        let metrics = Tape::default()
            .hold(
                "DCGM_FI_DEV_GPU_UTIL",
                &[("UUID", "a"), ("Hostname", "a"), ("pod", "p")],
                0..120,
                90.0,
            )
            .hold(
                "DCGM_FI_DEV_GPU_UTIL",
                &[("UUID", "b"), ("Hostname", "b"), ("pod", "")],
                0..10,
                0.0,
            )
            .hold(schema::NODE_GPUS, &[("node", "a")], 0..120, 1.0)
            .hold(schema::NODE_GPUS, &[("node", "b")], 0..120, 1.0)
            .hold(schema::PODS_WAITING, &[("gpus", "1")], 0..120, 1.0)
            .end();
        let (config, queries) = &training;
        let history = History::new(&metrics, config, queries, &LabelMapping::default()).unwrap();
        let mut last = None;
        open_loop(history, config, &declared, &mut |tick: &Tick<'_>| {
            last = Some(*tick.evaluation);
        });
        assert!(
            last.unwrap().decision.wish > 2,
            "a silent GPU has no room for the pod that waits"
        );
    }

    #[test]
    fn a_fault_code_does_not_take_work_out_of_the_demand() {
        let labels = [("UUID", "a-0"), ("Hostname", "a")];
        let metrics = Tape::default()
            .node("a", 0..120, 80.0)
            .hold("DCGM_FI_DEV_XID_ERRORS", &labels, 0..30, 0.0)
            .hold("DCGM_FI_DEV_XID_ERRORS", &labels, 30..120, 63.0)
            .end();
        let policy = serving();
        let derived = history(&metrics, &policy).demand(&policy.0, 15_000).unwrap();
        assert_eq!(derived.demand.values().last(), Some(&(MICRO * 16 / 10)));
    }

    #[test]
    fn pods_are_unseen_where_nothing_is_said_of_them() {
        let training = policy("  workload: Exclusive\n  signals: [ { name: pods, gpuRequests: {} } ]\n");
        let metrics = Tape::default()
            .hold(schema::NODES_READY, &[], 0..60, 1.0)
            .hold(schema::PODS_WAITING, &[("gpus", "2")], 20..30, 3.0)
            .hold(schema::PODS_WAITING, &[("gpus", "2")], 30..31, f64::NAN)
            .end();
        let (_, seen) = said(&metrics, &training);
        let at = |minute| quality_at(&seen, minute);
        assert_eq!((at(10), at(25)), (Quality::NoClusterView, Quality::Good));
        assert_eq!(at(45), Quality::NoClusterView);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_series() {
        let tape = || Tape::default().node("a", 0..5, 1.0);
        for (metrics, words) in [
            (
                tape().hold(schema::NODE_PRICE, &[], 0..5, -5.0).end(),
                "has the value -5; a node-hour costs",
            ),
            (
                tape().hold(schema::NODES_READY, &[], 0..5, 1e12).end(),
                "a number of nodes is from 0 to",
            ),
            (
                tape().hold(schema::NODE_GPUS, &[], 0..5, 1.0).end(),
                "needs the label `node`",
            ),
            (
                tape().hold(schema::PODS_WAITING, &[], 0..5, 1.0).end(),
                "needs the label `gpus`",
            ),
            (
                tape().hold(schema::INFO, &[], 0..5, 1.0).end(),
                "needs the label `version`, which is 1",
            ),
            (
                tape()
                    .hold(
                        schema::INFO,
                        &[("version", "1"), ("gpus_per_node", "x")],
                        0..5,
                        1.0,
                    )
                    .end(),
                "needs the label `gpus_per_node` to be a number",
            ),
            (
                tape().listed("aks-a", 0..5).end(),
                "the devices are in nodes `a`, and the inventory",
            ),
            (
                tape()
                    .hold(schema::NODE_GPUS, &[("node", "a"), ("replica", "x")], 0..5, 1.0)
                    .hold(schema::NODE_GPUS, &[("node", "a"), ("replica", "y")], 0..5, 0.0)
                    .end(),
                "has several series",
            ),
        ] {
            let error = refused(&metrics);
            assert!(error.contains(words), "no `{words}` in: {error}");
        }
    }

    #[test]
    fn one_odd_time_is_named_instead_of_walked_to() {
        let metrics = Tape::default()
            .node("a", 0..60, 50.0)
            .hold("up", &[("job", "old")], -12_000_000..-11_999_999, 1.0)
            .end();
        let policy = serving();
        let error = history(&metrics, &policy)
            .demand(&policy.0, 15_000)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`up{job=\"old\"}`") && error.contains("remove the sample"),
            "{error}"
        );
        let short = Tape::default().node("a", 0..1, 50.0).end();
        let error = history(&short, &policy)
            .walkable(600_000)
            .unwrap_err()
            .to_string();
        assert!(error.contains("less than one interval of 600 s"), "{error}");
    }

    #[test]
    fn samples_further_apart_than_one_counts_are_remarked() {
        let mut builder = MetricsBuilder::new();
        let labels = Labels::new("DCGM_FI_DEV_GPU_UTIL", [("UUID", "a"), ("Hostname", "a")]).unwrap();
        let id = builder.series(labels).unwrap();
        for slot in 0..20 {
            builder.push(id, T0 + slot * 5 * MINUTE, 9.0, 1).unwrap();
        }
        let (metrics, policy) = (builder.finish().unwrap(), serving());
        let remarks = history(&metrics, &policy).remarks().to_vec();
        assert!(
            remarks
                .iter()
                .any(|remark| remark.contains("s apart and each counts for 90 s")),
            "{remarks:?}"
        );
    }

    #[test]
    fn a_model_without_a_known_limit_is_remarked() {
        let labels = [("UUID", "a"), ("Hostname", "a"), ("modelName", "NVIDIA GB200")];
        let metrics = Tape::default()
            .hold("DCGM_FI_DEV_GPU_UTIL", &labels, 0..5, 0.0)
            .hold("DCGM_FI_DEV_POWER_USAGE", &labels, 0..5, 390.0)
            .end();
        let policy = serving();
        assert!(
            history(&metrics, &policy).remarks()[0].contains("power limit of `NVIDIA GB200` is not known")
        );
    }
}
