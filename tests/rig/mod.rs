//! A small pool under the engine's eyes, moved tick by tick: the stage on which the stories and rules are told.
//!
//! The rig plays the world honestly and by hand: nodes boot, devices report (or do not), pods sit on GPUs, the
//! count is what was last asked for. A test sets the scene, lets time pass, and reads what the engine said.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::unused_self,
    reason = "each test binary uses its own part of the rig, and a rig that is set up wrongly should stop the test"
)]

use gpuscale::policy::config::{
    Absent, Across, Behavior, Config, DataQuality, MINUTE_MS, Micro, Millis, Replace, Saturation, ScaleIn,
    SelectPolicy, Signal, SignalSource, Strategy, Suspend, VictimPolicy, Workload,
};
use gpuscale::policy::dcgm::DcgmMetric;
use gpuscale::policy::evaluation::{Evaluation, Reason, Rule};
use gpuscale::policy::observation::{
    Booting, Condition, Failure, Freeze, NodeView, Nodes, Now, Observation, Operation, Overrides, PodRequest,
    Protection, Waiting,
};
use gpuscale::policy::sample::{Channel, DeviceId, NodeId, Sample};
use gpuscale::policy::windows::{Delta, Device, Health, Ingested, ReadStatus, Windows};
use gpuscale::policy::{Memory, evaluate};

/// Time between two evaluations, and between two samples of a device.
pub const TICK_MS: Millis = 15_000;

/// Where every story begins: 2026-11-20T12:00:00Z, a Friday.
pub const START_MS: Millis = 1_795_176_000_000;

/// A node of the rig.
#[derive(Debug, Clone)]
pub struct Node {
    pub id: NodeId,
    pub ready_since_ms: Millis,
    /// What each GPU shows, in percent; `None` is silence.
    pub gpus: Vec<Option<f64>>,
    /// Pods that hold GPUs.
    pub gpu_pods: u32,
    pub free_gpus: u32,
    pub protection: Protection,
    pub condition: Condition,
}

/// The pool, its surroundings and the engine's state.
pub struct Rig {
    pub config: Config,
    pub windows: Windows,
    pub memory: Memory,
    pub now_ms: Millis,
    pub nodes: Vec<Node>,
    pub asked: u32,
    pub booting: Vec<Booting>,
    pub boot_ms: Millis,
    pub gpus_per_node: u32,
    /// Whether nodes are shown by name, or as interchangeable, or not at all.
    pub view: View,
    pub waiting: Option<Vec<PodRequest>>,
    pub operation: Operation,
    pub failure: Option<Failure>,
    pub node_price: Option<Micro>,
    pub overrides: Overrides,
    pub freeze: Freeze,
    /// Values of pool-wide signals by signal number, in the signal's unit; `None` is silence, and what is no
    /// number is read as such.
    pub series: Vec<(u16, Option<f64>)>,
    pub reads: Vec<ReadStatus>,
    pub ingested: Ingested,
    next_node: u32,
}

/// What the engine is shown of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Named,
    Interchangeable,
    Unseen,
}

/// A pool policy with one GPU signal, target 75 %, and round numbers everywhere.
pub fn policy() -> Config {
    Config {
        signals: vec![gpu_signal()],
        strategy: Strategy::TargetUtilization,
        workload: Workload::Shared,
        min_nodes: 1,
        max_nodes: 12,
        spare_nodes: 0,
        up: behavior(0),
        down: behavior(10 * MINUTE_MS),
        settle_ms: 3 * MINUTE_MS,
        provision_timeout_ms: 20 * MINUTE_MS,
        evaluation_interval_ms: TICK_MS,
        budget_micro_usd_per_hour: None,
        schedules: vec![],
        scale_in: ScaleIn {
            victims: VictimPolicy::IdleFirst,
            drain_timeout_ms: 15 * MINUTE_MS,
            replace_unhealthy: Replace::Never,
        },
        data_quality: DataQuality {
            min_coverage: 800_000,
            max_age_ms: 2 * MINUTE_MS,
            scrape_interval_ms: 30_000,
            warm_up_ms: 5 * MINUTE_MS,
            idle_window_ms: 10 * MINUTE_MS,
        },
        saturation: Saturation::default(),
        suspend: Suspend::Active,
    }
}

/// `DCGM_FI_DEV_GPU_UTIL` with target 75 %, demand over one minute, no rules.
pub fn gpu_signal() -> Signal {
    Signal {
        name: "gpu".into(),
        source: SignalSource::Device(DcgmMetric::GpuUtilization),
        across: Across::Mean,
        target: Some(750_000),
        per_node: None,
        up: None,
        down: None,
        demand_window_ms: MINUTE_MS,
        absent: Absent::Unknown,
    }
}

/// Pods that wait.
pub fn pods_signal() -> Signal {
    Signal {
        name: "pods".into(),
        source: SignalSource::GpuRequests,
        target: None,
        ..gpu_signal()
    }
}

/// A queue of which one node carries `per_node`.
pub fn queue_signal(per_node: f64, absent: Absent) -> Signal {
    Signal {
        name: "queue".into(),
        source: SignalSource::Series(gpuscale::policy::config::SeriesUnit::Count),
        target: None,
        per_node: Some(micros(per_node)),
        absent,
        ..gpu_signal()
    }
}

/// No rate limits, 5 % tolerance, no cooldown.
pub fn behavior(stabilization_ms: Millis) -> Behavior {
    Behavior {
        policies: vec![],
        select: SelectPolicy::Max,
        tolerance: 50_000,
        stabilization_ms,
        cooldown_ms: 0,
    }
}

/// A whole number of the engine's units.
pub fn micros(value: f64) -> Micro {
    gpuscale::policy::sample::micros(value).unwrap()
}

impl Rig {
    /// `nodes` nodes of `gpus_per_node` idle GPUs, Ready for a day, nothing known yet.
    pub fn new(config: Config, nodes: u32, gpus_per_node: u32) -> Self {
        let windows = Windows::new(&config);
        let mut rig = Self {
            config,
            windows,
            memory: Memory::default(),
            now_ms: START_MS,
            nodes: Vec::new(),
            asked: nodes,
            booting: Vec::new(),
            boot_ms: 8 * MINUTE_MS,
            gpus_per_node,
            view: View::Named,
            waiting: None,
            operation: Operation::None,
            failure: None,
            node_price: None,
            overrides: Overrides::default(),
            freeze: Freeze::Off,
            series: Vec::new(),
            reads: Vec::new(),
            ingested: Ingested::default(),
            next_node: 0,
        };
        for _ in 0..nodes {
            rig.add_node(START_MS - 24 * 60 * MINUTE_MS);
        }
        rig
    }

    /// A node with idle GPUs.
    pub fn add_node(&mut self, ready_since_ms: Millis) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.nodes.push(Node {
            id,
            ready_since_ms,
            gpus: vec![Some(0.0); self.gpus_per_node as usize],
            gpu_pods: 0,
            free_gpus: self.gpus_per_node,
            protection: Protection::None,
            condition: Condition::Healthy,
        });
        id
    }

    /// Every GPU of every node shows `percent`, and has a pod when that is more than nothing.
    pub fn load_all(&mut self, percent: f64) {
        for index in 0..self.nodes.len() {
            self.load(index, percent);
        }
    }

    /// Every GPU of one node shows `percent`.
    pub fn load(&mut self, index: usize, percent: f64) {
        let gpus = self.gpus_per_node;
        let node = &mut self.nodes[index];
        node.gpus.fill(Some(percent));
        (node.gpu_pods, node.free_gpus) = if percent > 0.0 { (gpus, 0) } else { (0, gpus) };
    }

    /// Every GPU of one node falls silent; what its pods do is not known.
    pub fn silence(&mut self, index: usize) {
        self.nodes[index].gpus.fill(None);
    }

    pub fn device(&self, node: &Node, gpu: usize) -> DeviceId {
        DeviceId(node.id.0 * 64 + u32::try_from(gpu).unwrap())
    }

    fn inventory(&self) -> Vec<Device> {
        let mut devices: Vec<Device> = self
            .nodes
            .iter()
            .flat_map(|node| {
                (0..node.gpus.len()).map(move |gpu| Device {
                    health: match node.condition {
                        Condition::Healthy => Health::Healthy,
                        Condition::Unhealthy => Health::Unhealthy,
                    },
                    ..Device::new(self.device(node, gpu), node.id, node.ready_since_ms)
                })
            })
            .collect();
        devices.sort_by_key(|device| device.id);
        devices
    }

    fn samples(&self) -> Vec<Sample> {
        let at_ms = self.now_ms;
        let mut samples: Vec<Sample> = Vec::new();
        for (signal, _) in self
            .config
            .signals
            .iter()
            .enumerate()
            .filter(|(_, s)| matches!(s.source, SignalSource::Device(_)))
        {
            let signal = u16::try_from(signal).unwrap();
            for node in &self.nodes {
                for (gpu, value) in node.gpus.iter().enumerate() {
                    if let Some(percent) = value {
                        let device = self.device(node, gpu);
                        samples.push(Sample::of_device(signal, device, at_ms, micros(percent / 100.0)));
                    }
                }
            }
        }
        for (signal, value) in &self.series {
            if let Some(value) = value {
                samples.push(Sample {
                    value: gpuscale::policy::sample::micros(*value).ok(),
                    ..Sample::of_pool(*signal, at_ms, 0)
                });
            }
        }
        samples
    }

    /// Lets one tick pass and asks the engine. What it decides is not carried out.
    pub fn tick(&mut self) -> Evaluation {
        self.now_ms += TICK_MS;
        self.arrive();
        let samples = self.samples();
        self.tick_with(&samples)
    }

    /// Asks the engine at the present instant, with these samples instead of the rig's own.
    pub fn tick_with(&mut self, samples: &[Sample]) -> Evaluation {
        let inventory = self.inventory();
        self.ingested = self.windows.ingest(&Delta {
            now_ms: self.now_ms,
            samples,
            inventory: Some(&inventory),
            reads: &self.reads,
        });
        self.evaluate()
    }

    /// Asks the engine at the present instant without new data.
    pub fn evaluate(&mut self) -> Evaluation {
        let views: Vec<NodeView> = self
            .nodes
            .iter()
            .map(|node| NodeView {
                id: node.id,
                ready_since_ms: node.ready_since_ms,
                free_gpus: node.free_gpus,
                gpu_pods: node.gpu_pods,
                protection: node.protection,
                condition: node.condition,
            })
            .collect();
        let ready = u32::try_from(self.nodes.len()).unwrap();
        let unhealthy = self
            .nodes
            .iter()
            .filter(|node| node.condition == Condition::Unhealthy)
            .count();
        let free: u32 = self.nodes.iter().map(|node| node.free_gpus).sum();
        let observation = Observation {
            asked: self.asked,
            ready,
            schedulable: ready,
            unhealthy: u32::try_from(unhealthy).unwrap(),
            booting: &self.booting,
            gpus_per_node: self.gpus_per_node,
            free_gpus: (self.view == View::Named).then_some(free),
            waiting: self
                .waiting
                .as_ref()
                .map_or(Waiting::Unseen, |pods| Waiting::Pods(pods)),
            nodes: match self.view {
                View::Named => Nodes::Named(&views),
                View::Interchangeable => Nodes::Interchangeable,
                View::Unseen => Nodes::Unseen,
            },
            operation: self.operation,
            failure: self.failure.take(),
            node_price: self.node_price,
            overrides: self.overrides,
            freeze: self.freeze,
        };
        let now = Now::at(self.now_ms);
        evaluate(&self.config, &self.windows, &observation, &mut self.memory, now)
    }

    /// Lets time pass without carrying anything out; the last evaluation.
    pub fn watch_minutes(&mut self, minutes: i64) -> Evaluation {
        let mut last = self.tick();
        for _ in 1..minutes * MINUTE_MS / TICK_MS {
            last = self.tick();
        }
        last
    }

    /// Lets time pass and carries every decision out; the sizes asked for, one a minute.
    pub fn live_minutes(&mut self, minutes: i64) -> Vec<u32> {
        let mut sizes = Vec::new();
        for _ in 0..minutes {
            for _ in 0..MINUTE_MS / TICK_MS {
                let evaluation = self.tick();
                self.carry_out(&evaluation);
            }
            sizes.push(self.asked);
        }
        sizes
    }

    /// Does what was decided: asks for nodes, or lets the named ones (else the youngest) go.
    pub fn carry_out(&mut self, evaluation: &Evaluation) {
        let decision = &evaluation.decision;
        if decision.to > self.asked {
            self.booting.push(Booting {
                nodes: decision.to - self.asked,
                since_ms: self.now_ms,
            });
        } else if decision.to < self.asked {
            let victims = decision.victims.as_slice();
            self.nodes.retain(|node| !victims.contains(&node.id));
            let mut left = (self.asked - decision.to).saturating_sub(u32::try_from(victims.len()).unwrap());
            while left > 0 {
                match self.booting.last_mut() {
                    Some(boot) => {
                        boot.nodes -= 1;
                        if boot.nodes == 0 {
                            self.booting.pop();
                        }
                    }
                    None => drop(self.nodes.pop()),
                }
                left -= 1;
            }
        }
        self.asked = decision.to;
    }

    fn arrive(&mut self) {
        let due: u32 = self
            .booting
            .iter()
            .filter(|b| self.now_ms - b.since_ms >= self.boot_ms)
            .map(|b| b.nodes)
            .sum();
        let (now_ms, boot_ms) = (self.now_ms, self.boot_ms);
        self.booting.retain(|boot| now_ms - boot.since_ms < boot_ms);
        for _ in 0..due {
            self.add_node(self.now_ms);
        }
    }
}

/// The rule that had the last word, if a rule had.
pub fn limited_by(evaluation: &Evaluation) -> Option<Rule> {
    match evaluation.decision.reason {
        Reason::Limited(rule) => Some(rule),
        _ => None,
    }
}

/// A reading that ends the one before it.
pub fn stale_marker(signal: u16, device: DeviceId, at_ms: Millis) -> Sample {
    Sample {
        value: None,
        ..Sample::of_device(signal, device, at_ms, 0)
    }
}

/// A power reading as a fraction of the board's limit.
pub fn power(device: DeviceId, at_ms: Millis, ratio: f64) -> Sample {
    Sample {
        channel: Channel::Power,
        ..Sample::of_device(0, device, at_ms, micros(ratio))
    }
}

/// A threshold of `percent` over the last `minutes`.
pub fn threshold(
    percent: f64,
    minutes: Millis,
    statistic: gpuscale::policy::config::Statistic,
) -> gpuscale::policy::config::Rule {
    gpuscale::policy::config::Rule {
        threshold: micros(percent / 100.0),
        window_ms: minutes * MINUTE_MS,
        statistic,
    }
}

impl Rig {
    /// As if the engine had long known the pool as it is: no node has just arrived, so windows count in full.
    pub fn acquainted(mut self) -> Self {
        self.memory.asked = Some(self.asked);
        self.memory.schedulable = u32::try_from(self.nodes.len()).unwrap();
        self.memory.most_schedulable = self.memory.schedulable;
        self
    }

    /// The GPUs of all nodes, in order.
    pub fn devices(&self) -> Vec<DeviceId> {
        let all = |node| (0..self.gpus_per_node as usize).map(move |gpu| self.device(node, gpu));
        self.nodes.iter().flat_map(all).collect()
    }
}
