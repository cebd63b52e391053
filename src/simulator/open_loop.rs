//! The open loop: what would the policy have said to this history?
//!
//! The recording is played back as it happened, sizes of the pool included, and at each tick the policy says what it
//! would do from there. Nothing it says has an effect, so this judges *verdicts* (is the data good enough, are the
//! rules Met, which way would it go), where the closed loop judges costs. The size changes of the recording count as if
//! the policy had made them: cooldowns and rate limits run, and nobody is suspected of fighting over the pool.
//!
//! The pool of each tick is what was recorded, else what was declared, else what the devices show; [`NodeCount`] tells
//! which. Without a cluster view, any node of a `Shared` pool may go, as in the fluid world. In an `Exclusive` pool a
//! node may go when the pod labels of its devices say that no pod is on it; where no series ever names a pod, none
//! may.

use std::collections::BTreeMap;

use crate::policy::Config;
use crate::policy::config::{Micro, Millis, ONE, Workload};
use crate::policy::evaluation::{Evaluation, Quality};
use crate::policy::observation::{
    Booting, Condition, NodeView, Nodes, Observation, PodRequest, Protection, Waiting,
};
use crate::policy::sample::NodeId;
use crate::policy::windows::Health;

use super::closed_loop::{Driver, Tick, Watch};
use super::history::{Derived, History, Inventory};
use crate::recording::Demand;

/// What the recording does not say of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Nodes asked for and Ready, where they are not recorded.
    pub nodes: Option<u32>,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// Price of a node in micro-USD per hour, where it is not recorded.
    pub node_price: Option<Micro>,
    /// Time between two evaluations, which are at absolute multiples of it.
    pub interval_ms: Millis,
}

/// Where the number of nodes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeCount {
    /// The recording has it.
    Recorded,
    /// It was declared.
    Declared,
    /// As many as had devices.
    Assumed,
}

/// What a policy said to a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Decisions made.
    pub ticks: u64,
    /// Checksum over every decision: equal checksums, equal decisions.
    pub checksum: u64,
    /// First tick and the last, unix milliseconds.
    pub span_ms: (Millis, Millis),
    /// Where the number of nodes comes from.
    pub node_count: NodeCount,
    /// Where the number of devices that should report comes from.
    pub inventory: Inventory,
    /// Sum of the nodes asked for over all ticks.
    pub nodes: u64,
    /// Sum of the nodes that the policy would have asked for.
    pub advised_nodes: u64,
    /// Ticks at which it would have grown, and shrunk.
    pub directions: (u64, u64),
    /// Times that what it would do began or changed.
    pub turns: u64,
    /// Ticks by the quality of the first signal that could not be judged; `Good` where all could.
    pub qualities: BTreeMap<&'static str, u64>,
    /// Ticks that ended with each reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Ticks at which a device was pinned, so that utilization hides demand.
    pub pinned: u64,
    /// Sum over ticks of the worst coverage of any signal, in micros.
    pub coverage: i128,
    /// The demand behind the history, where a device signal shows one.
    pub derived: Option<Derived>,
}

impl Advice {
    fn note(&mut self, evaluation: &Evaluation, before: i64) -> i64 {
        let decision = &evaluation.decision;
        let way = i64::from(decision.to) - i64::from(decision.from);
        self.nodes += u64::from(decision.from);
        self.advised_nodes += u64::from(decision.to);
        self.directions.0 += u64::from(way > 0);
        self.directions.1 += u64::from(way < 0);
        self.turns += u64::from(way != 0 && way != before);
        *self.reasons.entry(decision.reason.as_str()).or_default() += 1;
        let worst = evaluation
            .signals()
            .iter()
            .find(|signal| signal.quality != Quality::Good);
        let quality = worst.map_or(Quality::Good, |signal| signal.quality);
        *self.qualities.entry(quality.as_str()).or_default() += 1;
        self.pinned += u64::from(evaluation.signals().iter().any(|signal| signal.pinned > 0));
        let coverage = evaluation.signals().iter().map(|signal| signal.coverage).min();
        self.coverage += i128::from(coverage.unwrap_or(0));
        way
    }
}

/// The pool as one tick of the history shows it.
struct Pool {
    asked: u32,
    ready: u32,
    booting: Vec<Booting>,
    views: Vec<NodeView>,
    waiting: Option<Vec<PodRequest>>,
}

impl Pool {
    /// Keeps what is on its way in step with the counts; what was asked for first comes first.
    fn boots(&mut self, now_ms: Millis) {
        let coming = self.asked.saturating_sub(self.ready);
        let mut known: u32 = self.booting.iter().map(|boot| boot.nodes).sum();
        while known > coming {
            let Some(first) = self.booting.first_mut() else {
                break;
            };
            first.nodes -= 1;
            known -= 1;
            if first.nodes == 0 {
                self.booting.remove(0);
            }
        }
        if coming > known {
            self.booting.push(Booting {
                nodes: coming - known,
                since_ms: now_ms,
            });
        }
    }
}

/// Plays a history to a policy and shows each decision to `watch`.
///
/// In the [`Tick`]s, `demand` and `served` are the GPUs at work (see [`History::demand`]: a silent device counts as busy
/// as the others, and never as idle), `asked` and `ready` are those of the history, and what the policy would have asked for is in the decision.
pub fn open_loop(
    mut history: History<'_>,
    config: &Config,
    declared: &Declared,
    watch: &mut impl Watch,
) -> Advice {
    let step_ms = declared.interval_ms.max(1);
    history.declare(declared.nodes, declared.gpus_per_node);
    let reads = history.reads(config.signals.len());
    let (start_ms, end_ms) = history.span_ms();
    let first_ms = start_ms.div_euclid(step_ms) * step_ms + if start_ms % step_ms == 0 { 0 } else { step_ms };
    let mut advice = Advice {
        ticks: 0,
        checksum: 0,
        span_ms: (first_ms, first_ms),
        node_count: node_count(&history, declared),
        inventory: history.inventory(),
        nodes: 0,
        advised_nodes: 0,
        directions: (0, 0),
        turns: 0,
        qualities: BTreeMap::new(),
        reasons: BTreeMap::new(),
        pinned: 0,
        coverage: 0,
        derived: history.demand(config, step_ms).ok(),
    };
    let mut pool = Pool {
        asked: 0,
        ready: 0,
        booting: Vec::new(),
        views: Vec::new(),
        waiting: None,
    };
    let mut driver = Driver::new(config);
    let (mut samples, mut way) = (Vec::new(), 0);
    let mut now_ms = first_ms;
    while now_ms <= end_ms {
        samples.clear();
        history.read_until(now_ms, |sample| samples.push(sample));
        driver.ingest_read(now_ms, &samples, history.devices_changed(now_ms), &reads);
        let asked_before = pool.asked;
        see(&mut pool, &history, config, declared, now_ms);
        if pool.asked != asked_before {
            driver.adopt(now_ms, asked_before, pool.asked);
        }
        let evaluation = driver.decide(now_ms, &observation(&pool, &history, config, declared, now_ms));
        driver.note(&evaluation);
        way = advice.note(&evaluation, way);
        advice.span_ms.1 = now_ms;
        let busy = advice
            .derived
            .as_ref()
            .map_or(0, |derived| at(&derived.demand, now_ms));
        watch.tick(&Tick {
            now_ms,
            demand: busy,
            served: busy,
            asked: pool.asked,
            ready: pool.ready,
            evaluation: &evaluation,
        });
        now_ms += step_ms;
    }
    (advice.checksum, advice.ticks) = driver.fingerprint();
    advice
}

fn node_count(history: &History<'_>, declared: &Declared) -> NodeCount {
    let (start_ms, _) = history.span_ms();
    if history
        .requested_at(start_ms)
        .or(history.ready_at(start_ms))
        .is_some()
    {
        NodeCount::Recorded
    } else if declared.nodes.is_some() {
        NodeCount::Declared
    } else {
        NodeCount::Assumed
    }
}

/// The pool at `now_ms`, after the fleet of that time.
fn see(pool: &mut Pool, history: &History<'_>, config: &Config, declared: &Declared, now_ms: Millis) {
    let requested = history.requested_at(now_ms);
    let ready = history.ready_at(now_ms);
    let shown = declared.nodes.unwrap_or_else(|| history.nodes_present());
    pool.asked = requested.or(ready).unwrap_or(shown);
    // Nodes that are there and were not asked for are on their way out, and no supply.
    pool.ready = ready.or(requested).unwrap_or(shown).min(pool.asked);
    pool.boots(now_ms);
    pool.waiting = history.waiting_at(now_ms);
    if config.workload == Workload::Exclusive {
        pool.views = views(history, now_ms);
    }
}

fn observation<'p>(
    pool: &'p Pool,
    history: &History<'_>,
    config: &Config,
    declared: &Declared,
    now_ms: Millis,
) -> Observation<'p> {
    let exclusive = config.workload == Workload::Exclusive;
    Observation {
        asked: pool.asked,
        ready: pool.ready,
        schedulable: pool.ready,
        booting: &pool.booting,
        gpus_per_node: declared.gpus_per_node,
        waiting: pool.waiting.as_deref().map_or(Waiting::Unseen, Waiting::Pods),
        free_gpus: exclusive.then(|| pool.views.iter().map(|view| view.free_gpus).sum()),
        nodes: if exclusive {
            Nodes::Named(&pool.views)
        } else {
            Nodes::Interchangeable
        },
        node_price: history.price_at(now_ms).or(declared.node_price),
        ..Observation::default()
    }
}

/// The nodes by name, with the pods that the labels of their devices show.
fn views(history: &History<'_>, now_ms: Millis) -> Vec<NodeView> {
    let free = history.free_devices(now_ms);
    let mut views: BTreeMap<NodeId, NodeView> = BTreeMap::new();
    for device in history.expected() {
        let view = views.entry(device.node).or_insert(NodeView {
            id: device.node,
            ready_since_ms: device.ready_since_ms,
            free_gpus: 0,
            gpu_pods: 0,
            protection: Protection::None,
            condition: Condition::Healthy,
        });
        if !history.knows_pods() || !free.contains(&device.id) {
            view.gpu_pods += 1;
        } else {
            view.free_gpus += u32::from(device.weight == ONE);
        }
        if device.health == Health::Unhealthy {
            view.condition = Condition::Unhealthy;
        }
    }
    views.into_values().collect()
}

/// The demand in force at a time.
fn at(demand: &Demand, now_ms: Millis) -> Micro {
    let place = (now_ms - demand.start_ms()).div_euclid(demand.step_ms());
    let value = usize::try_from(place)
        .ok()
        .and_then(|place| demand.values().get(place));
    value.copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
