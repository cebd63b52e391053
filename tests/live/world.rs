//! The production loop in real time over real metrics: pools in memory, and everything that it decided.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a module of tests, and a fault of a fixture may end one at once"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use gpuscale::clock::SystemRandomness;
use gpuscale::config;
use gpuscale::control::ports::{
    Accepted, Clock, ClusterError, ClusterView, NodePools, PolicyKey, Pool, PoolAutoscaler, PoolError,
    PoolKey, PoolState, Ports, Progress, StateStore, StoreError, View,
};
use gpuscale::control::state::Saved;
use gpuscale::control::{Action, TickResult, Ticked, Watch};
use gpuscale::journal::{InMemory, JournalError, Limits, Segments, Sink, Writer};
use gpuscale::policy::evaluation::{Quality, Verdict};
use gpuscale::source::connect::{Issuer, Sources};
use gpuscale::source::http::Tokens;

/// Pools that do at once what they are asked.
#[derive(Debug)]
pub struct Pools {
    nodes: u32,
    gpus_per_node: u32,
    resized: RefCell<BTreeMap<PoolKey, u32>>,
}

impl Pools {
    /// Each has so many nodes at the beginning.
    pub fn new(nodes: u32, gpus_per_node: u32) -> Self {
        Self {
            nodes,
            gpus_per_node,
            resized: RefCell::default(),
        }
    }
}

impl NodePools for Pools {
    async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        let count = self.resized.borrow().get(pool).copied().unwrap_or(self.nodes);
        Ok(Pool {
            count,
            etag: count.to_string(),
            state: PoolState::Steady,
            autoscaler: PoolAutoscaler::Off,
            gpus_per_node: Some(self.gpus_per_node),
            node_price: None,
            error: None,
        })
    }

    async fn resize(&self, pool: &PoolKey, _: &Pool, count: u32) -> Result<Accepted, PoolError> {
        self.resized.borrow_mut().insert(pool.clone(), count);
        Ok(Accepted {
            operation: None,
            retry_after_ms: None,
        })
    }

    async fn poll(&self, _: &PoolKey, _: &str) -> Result<Progress, PoolError> {
        Ok(Progress::Succeeded)
    }
}

/// Sources that need no token of anybody.
pub struct NoTokens;

impl Issuer for NoTokens {
    fn entra(&self, _: &config::Entra, _: config::Cloud) -> Result<Rc<dyn Tokens>, String> {
        Err("nobody asked for any".to_owned())
    }
}

pub struct NoCluster;

impl ClusterView for NoCluster {
    async fn look(&self, _: &PoolKey) -> Result<View, ClusterError> {
        Err(ClusterError::None)
    }
}

#[derive(Debug, Default)]
pub struct States(RefCell<BTreeMap<PolicyKey, Saved>>);

impl StateStore for States {
    async fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        Ok(self.0.borrow().get(policy).cloned())
    }

    async fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        self.0.borrow_mut().insert(policy.clone(), state.clone());
        Ok(())
    }
}

/// The world of the loop.
pub struct World<C> {
    pub clock: Rc<C>,
    pub randomness: Rc<SystemRandomness>,
    pub sources: Rc<Sources<C, SystemRandomness>>,
    pub pools: Pools,
    pub cluster: NoCluster,
    pub states: States,
}

impl<C: Clock + 'static> Ports for World<C> {
    type Clock = C;
    type Randomness = SystemRandomness;
    type Metrics = Sources<C, SystemRandomness>;
    type Pools = Pools;
    type Cluster = NoCluster;
    type Store = States;

    fn clock(&self) -> &C {
        &self.clock
    }

    fn randomness(&self) -> &SystemRandomness {
        &self.randomness
    }

    fn metrics(&self) -> &Self::Metrics {
        &self.sources
    }

    fn pools(&self) -> &Pools {
        &self.pools
    }

    fn cluster(&self) -> &NoCluster {
        &self.cluster
    }

    fn store(&self) -> &States {
        &self.states
    }
}

/// One decision, as far as the tests look at it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at_ms: i64,
    pub wall_ms: i64,
    pub from: u32,
    pub to: u32,
    pub reason: &'static str,
    pub quality: Quality,
    /// What the up rule and the down rule say.
    pub verdicts: [Verdict; 2],
    /// Demand of the utilization signal, in GPUs.
    pub demand: f64,
    /// All of it, in words.
    pub explained: String,
}

/// What the loop decided, and its journals.
#[derive(Debug, Default)]
pub struct Records {
    pub ticks: RefCell<BTreeMap<String, Vec<Seen>>>,
    pub journals: RefCell<BTreeMap<String, Rc<RefCell<InMemory>>>>,
    pub actions: RefCell<Vec<String>>,
}

pub struct Watching(pub Rc<Records>);

impl Watch for Watching {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn tick(&self, tick: &Ticked<'_>) {
        let TickResult::Decided(evaluation) = tick.result else {
            panic!("{} decided nothing: {:?}", tick.policy, tick.result);
        };
        let signal = evaluation.signals()[0];
        let seen = Seen {
            at_ms: tick.now.timer_ms,
            wall_ms: tick.now.wall_ms,
            from: evaluation.decision.from,
            to: evaluation.decision.to,
            reason: evaluation.decision.reason.as_str(),
            quality: signal.quality,
            verdicts: [signal.up, signal.down],
            demand: signal.demand_low as f64 / 1e6,
            explained: format!("{:?}", evaluation.steps()),
        };
        let mut ticks = self.0.ticks.borrow_mut();
        ticks.entry(tick.policy.name.to_string()).or_default().push(seen);
    }

    fn action(&self, action: &Action<'_>) {
        let Action {
            pool, from, to, what, ..
        } = action;
        self.0
            .actions
            .borrow_mut()
            .push(format!("{pool} {from} -> {to} {what}"));
    }

    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>> {
        let kept: Rc<RefCell<InMemory>> = Rc::default();
        let mut journals = self.0.journals.borrow_mut();
        journals.insert(policy.name.to_string(), Rc::clone(&kept));
        Some(Box::new(Writer::new(Kept(kept), Limits::default()).unwrap()))
    }
}

/// Segments that can be looked at while they are written.
#[derive(Debug)]
struct Kept(Rc<RefCell<InMemory>>);

impl Segments for Kept {
    fn kept(&self) -> Vec<(u64, u64)> {
        self.0.borrow().kept()
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        self.0.borrow_mut().append(segment, bytes)
    }

    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError> {
        self.0.borrow_mut().drop_segment(segment)
    }
}
