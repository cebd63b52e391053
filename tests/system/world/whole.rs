//! The whole world: pools with their nodes, the work that is wanted of them, the server that scrapes them, the
//! platform, the store, and the mail between the controller and the platform.
//!
//! It goes on by itself in true time. It knows nothing of the controller's process and of the plan; whoever drives
//! the run turns its faults on and off.

use std::sync::Arc;

use gpuscale::control::ports::{
    Accepted, Answer, ClusterError, PolicyKey, Pool, PoolError, Progress, ReadRequest, SourceError,
    StoreError, View,
};
use gpuscale::control::state::Saved;
use gpuscale::policy::config::{Micro, Millis, ONE};
use gpuscale::policy::observation::{Placement, PodRequest};

use crate::event::{Event, Left, Log, PolicyId, PoolId};
use crate::plan::ViewFault;
use crate::shapes::{Fallback, MAX_GPUS, Shape};

use super::arm::{Arm, Machines, PoolSetup, Taken};
use super::demand::{Demand, STEP_MS};
use super::fleet::{Fleet, FleetSpec, put};
use super::prometheus::{PoolLabels, Prometheus};
use super::store::{Kept, Store};

/// Pods that wait at most.
const MOST_WAITING: i64 = 32;

/// Whether there is a cluster view at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visible {
    Never,
    Always,
}

/// The world of a run.
#[derive(Debug)]
pub struct World {
    pub log: Log,
    pub fleets: Vec<Fleet>,
    pub arm: Arm,
    pub prometheus: Prometheus,
    pub store: Store,
    /// What is wrong with the cluster view.
    pub view_fault: Option<ViewFault>,
    /// The cluster view is complete from here on.
    pub synced_ms: Millis,
    pub visible: Visible,
    demands: Vec<Demand>,
    /// When a policy's GPUs are all busy however many there are: the policy, from and to.
    saboteurs: Vec<(PolicyId, Millis, Millis)>,
    /// Pools of each policy.
    groups: Vec<Vec<PoolId>>,
    owners: Vec<PolicyId>,
    names: Vec<Arc<str>>,
    /// Work of each policy that nobody does.
    unserved: Vec<Micro>,
    mail: Vec<Letter>,
    letters: u64,
    /// When the demand may change next, and the sum of the fleets' versions that it was put on.
    put_at_ms: Millis,
    put_version: u64,
    next_scrape_ms: Millis,
}

/// A resize on its way, or its answer.
#[derive(Debug)]
struct Letter {
    number: u64,
    arrives_ms: Millis,
    pool: PoolId,
    etag: String,
    count: u32,
    answer: Option<Result<Accepted, PoolError>>,
}

impl World {
    /// The world of these policies.
    pub fn new(
        seed: u64,
        shapes: &[Shape],
        visible: Visible,
        saboteurs: Vec<(PolicyId, Millis, Millis)>,
    ) -> Self {
        let mut fleets = Vec::new();
        let mut setups = Vec::new();
        let mut groups = vec![Vec::new(); shapes.len()];
        let mut owners = Vec::new();
        for (shape, name, nodes) in pools_of(shapes) {
            groups[shape.id].push(fleets.len());
            owners.push(shape.id);
            let spec = FleetSpec {
                gpus_per_node: shape.gpus_per_node,
            };
            fleets.push(Fleet::new(spec, nodes).named(&name));
            setups.push(PoolSetup {
                count: nodes,
                gpus_per_node: shape.gpus_per_node,
                price: shape.node_price(),
                largest: shape.max_nodes,
            });
        }
        let labels = |(pool, fleet): (PoolId, &Fleet)| {
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            PoolLabels(vec![
                pair("agentpool", fleet.pool()),
                pair("team", &format!("team{}", owners[pool])),
            ])
        };
        let mut prometheus = Prometheus::new(seed, fleets.iter().enumerate().map(labels).collect());
        for shape in shapes {
            prometheus.register(&shape.queue());
        }
        let names = fleets.iter().map(|fleet| Arc::clone(fleet.pool())).collect();
        let demands = shapes
            .iter()
            .map(|shape| Demand::new(seed, shape.id as u64, MAX_GPUS))
            .collect();
        Self {
            log: Log::default(),
            arm: Arm::new(seed, &setups),
            next_scrape_ms: prometheus.next_scrape_ms(0),
            prometheus,
            fleets,
            store: Store::new(),
            view_fault: None,
            synced_ms: 0,
            visible,
            demands,
            saboteurs,
            unserved: vec![0; groups.len()],
            groups,
            owners,
            names,
            mail: Vec::new(),
            letters: 0,
            put_at_ms: 0,
            put_version: u64::MAX,
        }
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> PoolId {
        self.names
            .iter()
            .position(|other| &**other == name)
            .expect("only pools of the run are asked for")
    }

    /// Pools in the world.
    pub fn pools(&self) -> usize {
        self.fleets.len()
    }

    /// The pools of a policy.
    pub fn group(&self, policy: PolicyId) -> &[PoolId] {
        &self.groups[policy]
    }

    /// The policy of a pool.
    pub fn owner(&self, pool: PoolId) -> PolicyId {
        self.owners[pool]
    }

    /// Whether there is a cluster view at all.
    pub fn has_cluster_view(&self) -> bool {
        self.visible == Visible::Always
    }

    /// Work that is wanted of the pools of a policy.
    pub fn demand(&self, policy: PolicyId, at_ms: Millis) -> Micro {
        let sabotaged = self
            .saboteurs
            .iter()
            .any(|&(whom, from_ms, to_ms)| whom == policy && (from_ms..to_ms).contains(&at_ms));
        if sabotaged {
            // More than the largest pool there can be.
            return 1_000 * ONE;
        }
        self.demands[policy].at(at_ms)
    }

    /// Whether the demand on a policy's pools goes up and down for a while.
    pub fn waves(&self, policy: PolicyId) -> bool {
        self.demands[policy].waves() > 0
    }

    // --- time ---

    /// When something happens next.
    pub fn next_event_ms(&self) -> Millis {
        let mail = self
            .mail
            .iter()
            .filter(|letter| letter.answer.is_none())
            .map(|letter| letter.arrives_ms);
        let fleets = self.fleets.iter().filter_map(Fleet::next_event_ms);
        let arm = self.arm.next_event_ms();
        mail.chain(fleets)
            .chain(arm)
            .fold(self.next_scrape_ms.min(self.put_at_ms), Millis::min)
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now_ms: Millis) {
        for pool in 0..self.fleets.len() {
            for _ in 0..self.fleets[pool].advance(now_ms) {
                self.log.add(now_ms, Event::NodeCame { pool });
            }
        }
        self.arm.advance(now_ms, &mut self.fleets, &mut self.log);
        self.deliver(now_ms);
        self.put_load(now_ms);
        if now_ms >= self.next_scrape_ms {
            self.prometheus.scrape(now_ms, &self.fleets, &self.unserved);
            self.next_scrape_ms = self.prometheus.next_scrape_ms(now_ms + 1);
        }
    }

    /// Puts the demand on the nodes, if one or the other changed.
    fn put_load(&mut self, now_ms: Millis) {
        let version: u64 = self.fleets.iter().map(Fleet::version).sum();
        if now_ms < self.put_at_ms && version == self.put_version {
            return;
        }
        for policy in 0..self.groups.len() {
            let demand = self.demand(policy, now_ms);
            self.unserved[policy] = put(demand, &mut self.fleets, &self.groups[policy]);
        }
        self.put_at_ms = now_ms - now_ms.rem_euclid(STEP_MS) + STEP_MS;
        self.put_version = self.fleets.iter().map(Fleet::version).sum();
    }

    // --- the platform ---

    /// The pool as it is shown.
    pub fn read(&mut self, now_ms: Millis, pool: PoolId) -> Result<Pool, PoolError> {
        self.arm.read(now_ms, pool)
    }

    /// How an operation is getting on.
    pub fn poll(&mut self, now_ms: Millis, operation: &str) -> Result<Progress, PoolError> {
        self.arm.poll(now_ms, operation)
    }

    /// Sends a resize, which arrives whatever becomes of its sender; its number.
    pub fn post(&mut self, arrives_ms: Millis, pool: PoolId, etag: &str, count: u32) -> u64 {
        self.letters += 1;
        self.mail.push(Letter {
            number: self.letters,
            arrives_ms,
            pool,
            etag: etag.to_owned(),
            count,
            answer: None,
        });
        self.letters
    }

    /// What was answered to a resize that has arrived.
    pub fn answer(&mut self, number: u64) -> Result<Accepted, PoolError> {
        let place = self.mail.iter().position(|letter| letter.number == number);
        let letter = self.mail.swap_remove(place.expect("a letter is asked for once"));
        letter.answer.expect("mail is delivered before its sender wakes")
    }

    fn deliver(&mut self, now_ms: Millis) {
        for letter in &mut self.mail {
            if letter.answer.is_some() || letter.arrives_ms > now_ms {
                continue;
            }
            let (answer, arrived) = self.arm.resize(now_ms, letter.pool, &letter.etag, letter.count);
            self.log.add(now_ms, Event::ResizeArrived(arrived));
            letter.answer = Some(answer);
        }
    }

    /// Nodes are evicted or die.
    pub fn evict(&mut self, now_ms: Millis, pool: PoolId, nodes: u32, salt: u64) {
        let removed = self.fleets[pool].evict(now_ms, nodes, salt);
        if removed.nodes > 0 {
            let (nodes, busy, why) = (removed.nodes, removed.busy, Left::Evicted);
            self.log.add(
                now_ms,
                Event::NodesLeft {
                    pool,
                    nodes,
                    busy,
                    why,
                },
            );
        }
    }

    // --- metrics ---

    /// Answers what the GPUs did.
    pub fn metrics(&mut self, now_ms: Millis, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        self.prometheus.read(now_ms, request.selector, request.window_ms)
    }

    // --- the cluster ---

    /// The nodes of a pool and the pods that wait for it.
    pub fn look(&mut self, now_ms: Millis, pool: PoolId) -> Result<View, ClusterError> {
        if now_ms < self.synced_ms {
            self.log
                .add(now_ms, fault("F10", "cluster view not complete yet"));
            return Err(ClusterError::Unsynced);
        }
        match self.view_fault {
            Some(ViewFault::Unsynced) => {
                self.log
                    .add(now_ms, fault("F10", "cluster view no longer complete"));
                return Err(ClusterError::Unsynced);
            }
            Some(ViewFault::Unreachable) => {
                self.log.add(now_ms, fault("F22", "cluster unreachable"));
                return Err(ClusterError::Unreachable("planned".to_owned()));
            }
            None => {}
        }
        let mut view = View::default();
        self.fleets[pool].show(now_ms, &mut view.nodes);
        let owner = self.owners[pool];
        if self.groups[owner].first() == Some(&pool) {
            let pods = (self.unserved[owner] / ONE).clamp(0, MOST_WAITING);
            let pod = PodRequest {
                gpus: 1,
                placement: Placement::AnyNode,
            };
            view.waiting.extend((0..pods).map(|_| pod));
        }
        Ok(view)
    }

    // --- the store ---

    /// What was kept last of a policy.
    pub fn load(&mut self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        self.store.load(policy)
    }

    /// Keeps the state of a policy.
    pub fn save(
        &mut self,
        now_ms: Millis,
        policy: PolicyId,
        key: &PolicyKey,
        state: &Saved,
    ) -> Result<(), StoreError> {
        let (answer, kept) = self.store.save(key, state);
        let in_flight = state.pools.iter().any(|pool| pool.in_flight.is_some());
        let kept = kept == Kept::Yes;
        self.log.add(
            now_ms,
            Event::Saved {
                policy,
                in_flight,
                kept,
            },
        );
        answer
    }
}

fn fault(name: &'static str, what: &'static str) -> Event {
    Event::Fault { name, what }
}

/// Every pool of the policies, with its name and the nodes it begins with.
fn pools_of(shapes: &[Shape]) -> Vec<(&Shape, String, u32)> {
    let mut pools = Vec::new();
    for shape in shapes {
        pools.push((shape, format!("pool{}", shape.id), shape.start_nodes));
        if shape.fallback == Fallback::One {
            pools.push((shape, format!("spare{}", shape.id), 0));
        }
    }
    pools
}

impl Machines for Fleet {
    fn boot(&mut self, now_ms: Millis, boot_ms: Millis, driver_ms: Millis) {
        Self::boot(self, now_ms, boot_ms, driver_ms);
    }

    fn remove_busiest(&mut self, now_ms: Millis, nodes: u32) -> Taken {
        taken(Self::remove_busiest(self, now_ms, nodes))
    }

    fn remove_booting(&mut self, now_ms: Millis, nodes: u32) -> u32 {
        Self::remove_booting(self, now_ms, nodes)
    }

    fn evict(&mut self, now_ms: Millis, nodes: u32, salt: u64) -> Taken {
        taken(Self::evict(self, now_ms, nodes, salt))
    }

    fn present(&self) -> u32 {
        Self::present(self)
    }
}

fn taken(removed: super::fleet::Removed) -> Taken {
    Taken {
        nodes: removed.nodes,
        busy: removed.busy,
    }
}
