//! The fluid world: a [`FluidPool`] run by a [`Platform`], and what the policy sees of them.

use crate::policy::config::{Config, Micro, Millis, ONE, SignalSource};
use crate::policy::observation::{Booting, Nodes, Observation, Placement, PodRequest, Waiting};
use crate::simulator::fluid::FluidPool;

use super::Setup;
use super::backlog::Backlog;
use super::platform::{Change, Platform};

/// The pool, the platform that runs it, and the work that waits.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) pool: FluidPool,
    pub(super) platform: Platform<'a>,
    pub(super) backlog: Backlog,
    gpus_per_node: u32,
    driver_delay_ms: Millis,
    booting: Vec<Booting>,
}

impl<'a> World<'a> {
    pub(super) fn new(setup: &Setup<'a>) -> Self {
        let nodes = setup.spec.bounded(setup.initial_nodes);
        Self {
            pool: FluidPool::new(setup.spec.gpus_per_node, nodes),
            platform: Platform::new(setup, nodes),
            backlog: Backlog::new(setup.unserved, setup.demand.step_ms(), setup.spec.boot_ms),
            gpus_per_node: setup.spec.gpus_per_node,
            driver_delay_ms: setup.driver_delay_ms.max(0),
            booting: Vec::new(),
        }
    }

    /// Moves time to `now_ms`: faults strike, nodes arrive.
    #[inline]
    pub(super) fn advance(&mut self, now_ms: Millis) {
        self.pool.advance(now_ms);
        let vanished = self.platform.advance(now_ms);
        if vanished > 0 {
            self.pool.lose(vanished);
        }
    }

    /// What the policy sees of the pool. A failure is told once.
    #[inline]
    pub(super) fn observe(&mut self) -> Observation<'_> {
        self.booting.clear();
        self.booting.extend(self.pool.boots().iter().map(|boot| Booting {
            nodes: boot.nodes,
            since_ms: boot.requested_at_ms,
        }));
        Observation {
            asked: self.platform.count(),
            ready: self.pool.ready(),
            schedulable: self.pool.ready(),
            booting: &self.booting,
            gpus_per_node: self.gpus_per_node,
            nodes: Nodes::Interchangeable,
            failure: self.platform.take_failure(),
            ..Observation::default()
        }
    }

    /// Asks the platform for `target` nodes.
    #[inline]
    pub(super) fn resize(&mut self, now_ms: Millis, target: u32) {
        match self.platform.resize(target, self.pool.asked()) {
            Change::None => {}
            Change::Go(nodes) => {
                self.pool.release(nodes);
            }
            Change::Boot(nodes) => self.boot(now_ms, nodes),
        }
    }

    fn boot(&mut self, now_ms: Millis, nodes: u32) {
        if let Some(boot_ms) = self.platform.constant_boot() {
            self.pool.request(now_ms, nodes, boot_ms + self.driver_delay_ms);
            return;
        }
        for _ in 0..nodes {
            let boot_ms = self.platform.next_boot_ms() + self.driver_delay_ms;
            self.pool.request(now_ms, 1, boot_ms);
        }
    }
}

/// What a cluster view would show of the work that waits: one-GPU pods, for a policy that asks for them.
#[derive(Debug)]
pub(super) struct ClusterView {
    asked_for: bool,
    /// As many equal pods as ever waited at once.
    pods: Vec<PodRequest>,
}

impl ClusterView {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            asked_for: config
                .signals
                .iter()
                .any(|signal| signal.source == SignalSource::GpuRequests),
            pods: Vec::new(),
        }
    }

    /// `waiting` micro-GPUs of work as pods, a started GPU as one.
    #[inline]
    pub(super) fn waiting(&mut self, waiting: Micro) -> Waiting<'_> {
        if !self.asked_for {
            return Waiting::Unseen;
        }
        let started = waiting / ONE + Micro::from(waiting % ONE > 0);
        let pods = usize::try_from(started).unwrap_or(0);
        if pods > self.pods.len() {
            let pod = PodRequest {
                gpus: 1,
                placement: Placement::AnyNode,
            };
            self.pods.resize(pods, pod);
        }
        Waiting::Pods(&self.pods[..pods])
    }
}
