//! The policies of a run, drawn from its seed, as documents that go through the same validation as everybody's.

use std::cell::RefCell;

use gpuscale::control::Policy;
use gpuscale::policy::config::{Micro, Millis};

use crate::chance::Stream;
use crate::event::PolicyId;

/// Policies in a run.
pub const POLICIES: usize = 2;

/// The most GPUs of a policy.
pub const MAX_GPUS: u32 = 16;

/// The cluster that everything is in.
pub const CLUSTER: &str = "sim";

const MINUTE_MS: Millis = 60_000;

/// What was drawn for a policy.
#[derive(Debug, Clone)]
pub struct Shape {
    pub id: PolicyId,
    pub gpus_per_node: u32,
    pub min_nodes: u32,
    pub max_nodes: u32,
    pub start_nodes: u32,
    pub fallback: Fallback,
    pub victims: Victims,
    pub signals: Signals,
    pub rules: Rules,
    pub target_percent: i64,
    pub stabilization_ms: Millis,
    pub cooldown_ms: Millis,
    pub provision_timeout_ms: Millis,
    pub settle_ms: Millis,
    pub max_age_ms: Millis,
    pub warm_up_ms: Millis,
    pub budget: Budget,
}

/// Whether the policy has a second pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    None,
    One,
}

/// How victims are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victims {
    PlatformChooses,
    IdleFirst,
}

/// What the policy looks at besides utilization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    Alone,
    WithQueue,
    WithPods,
}

/// The rules of the utilization signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Percent and minutes.
    pub up: Option<(i64, i64)>,
    pub down: Option<(i64, i64)>,
}

/// Whether spending is limited, in USD per hour; a node costs 3.60 for each GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    None,
    UsdPerHour(u32),
}

thread_local! {
    /// The policies read last: the invariants, the loop and the replay want the same.
    static READ: RefCell<Vec<Policy>> = const { RefCell::new(Vec::new()) };
}

/// The policies of a seed.
pub fn draw_all(seed: u64) -> [Shape; POLICIES] {
    std::array::from_fn(|id| Shape::draw(seed, id))
}

impl Shape {
    fn draw(seed: u64, id: PolicyId) -> Self {
        let mut stream = Stream::new(seed, &[0x5a9e, id as u64]);
        // Where the stabilization window is long, it hides whether the cooldown is kept.
        let eager = if Stream::new(seed, &[0x57ab, id as u64]).percent(33) {
            5
        } else {
            1
        };
        let gpus_per_node = *stream.of(&[1_u32, 2, 2, 4, 4, 8]);
        let max_nodes = MAX_GPUS / gpus_per_node;
        let min_nodes = u32::try_from(stream.between(0, 2)).unwrap_or(0).min(max_nodes);
        let start_nodes = min_nodes.max(u32::try_from(stream.between(1, i64::from(max_nodes))).unwrap_or(1));
        let signals = if min_nodes == 0 {
            // From zero nodes only something that exists without nodes brings the pool back.
            Signals::WithQueue
        } else {
            *stream.of(&[
                Signals::Alone,
                Signals::Alone,
                Signals::WithQueue,
                Signals::WithPods,
            ])
        };
        Self {
            id,
            gpus_per_node,
            min_nodes,
            max_nodes,
            start_nodes,
            fallback: if stream.percent(33) {
                Fallback::One
            } else {
                Fallback::None
            },
            victims: if stream.percent(80) {
                Victims::PlatformChooses
            } else {
                Victims::IdleFirst
            },
            signals,
            rules: Rules {
                up: stream
                    .percent(40)
                    .then(|| (stream.between(76, 85), stream.between(1, 3))),
                down: stream
                    .percent(50)
                    .then(|| (stream.between(10, 40), stream.between(5, 12))),
            },
            target_percent: stream.between(60, 75),
            stabilization_ms: stream.between(5, 20) * MINUTE_MS / eager,
            cooldown_ms: stream.between(2, 10) * MINUTE_MS * eager.min(2),
            provision_timeout_ms: stream.between(12, 20) * MINUTE_MS,
            settle_ms: stream.between(1, 3) * MINUTE_MS,
            max_age_ms: stream.between(90, 180) * 1_000,
            warm_up_ms: stream.between(1, 3) * MINUTE_MS,
            budget: if stream.percent(20) {
                Budget::UsdPerHour(*stream.of(&[30, 45, 58]))
            } else {
                Budget::None
            },
        }
    }

    /// The policy as the loop runs it.
    pub fn policy(&self, edition: Edition) -> Policy {
        let document = self.document(edition);
        READ.with_borrow_mut(|read| {
            if let Some(known) = read.iter().find(|known| *known.document == *document) {
                return known.clone();
            }
            let policy = Policy::new(&document, self.id as i64, CLUSTER).expect("drawn policies are valid");
            read.truncate(2 * POLICIES - 1);
            read.insert(0, policy.clone());
            policy
        })
    }

    /// The expression for the requests that wait.
    pub fn queue(&self) -> String {
        format!("sum(waiting{{team=\"team{}\"}})", self.id)
    }

    /// Price of a node in micro-USD per hour.
    pub fn node_price(&self) -> Micro {
        3_600_000 * Micro::from(self.gpus_per_node)
    }

    /// The document; `other` is a valid edit of it with another threshold.
    pub fn document(&self, edition: Edition) -> String {
        let target = self.target_percent + if edition == Edition::Edited { -5 } else { 0 };
        let up = self.rules.up.map_or(String::new(), |(above, minutes)| {
            format!(", up: {{ above: {above}, for: {minutes}m, rule: Mean }}")
        });
        let down = self.rules.down.map_or(String::new(), |(below, minutes)| {
            format!(", down: {{ below: {below}, for: {minutes}m, rule: Hold }}")
        });
        let id = self.id;
        let more = match self.signals {
            Signals::Alone => String::new(),
            Signals::WithQueue => format!(
                "\n    - {{ name: queue, promql: '{}', unit: count, perNode: {} }}",
                self.queue(),
                8 * self.gpus_per_node
            ),
            Signals::WithPods => "\n    - { name: pods, gpuRequests: {} }".to_owned(),
        };
        let fallback = match self.fallback {
            Fallback::None => String::new(),
            Fallback::One => format!("\n  fallbackNodePools: [ {{ name: spare{id} }} ]"),
        };
        let budget = match self.budget {
            Budget::None => String::new(),
            Budget::UsdPerHour(usd) => format!("\n  budget: {{ usdPerHour: {usd} }}"),
        };
        let victims = match self.victims {
            Victims::PlatformChooses => "PlatformChooses",
            Victims::IdleFirst => "IdleFirst",
        };
        format!(
            "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: policy{id}, namespace: sim }}
spec:
  mode: Enforce
  targetRef: {{ kind: AksNodePool, name: pool{id}, cluster: {CLUSTER} }}{fallback}
  metricsSource: pool{id}
  evaluationInterval: 15s
  signals:
    - {{ name: gpu, dcgm: {{ metric: GpuUtilization, matchLabels: {{ team: team{id} }} }}, targetPercentage: {target}{up}{down} }}{more}
  minNodes: {min}
  maxNodes: {max}
  behavior:
    scaleDown:
      policies: [ {{ type: Percent, value: 50, period: 5m }}, {{ type: Nodes, value: 2, period: 5m }} ]
      stabilization: {stabilization}s
      cooldown: {cooldown}s
  settle: {settle}s
  provisionTimeout: {provision}s{budget}
  scaleIn: {{ victims: {victims} }}
  dataQuality: {{ minCoverage: 0.8, maxAge: {age}s, scrapeInterval: 15s, warmUp: {warm_up}s }}
",
            min = self.min_nodes,
            max = self.max_nodes,
            stabilization = self.stabilization_ms / 1_000,
            cooldown = self.cooldown_ms / 1_000,
            settle = self.settle_ms / 1_000,
            provision = self.provision_timeout_ms / 1_000,
            age = self.max_age_ms / 1_000,
            warm_up = self.warm_up_ms / 1_000,
        )
    }
}

/// Which text of a policy is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    First,
    Edited,
}
