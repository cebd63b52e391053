//! The ports of the controller over the world, with the gate in front of every call.
//!
//! A call takes a moment there and a moment back. A resize that was sent arrives whatever becomes of its sender:
//! it is mail, and the world delivers it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use gpuscale::control::ports::{
    Accepted, Answer, ClusterError, ClusterView, Completeness, MetricsSource, NodePools, PolicyKey, Pool,
    PoolError, PoolErrorKind, PoolKey, Ports, Progress, Randomness, ReadRequest, Selector, SourceError,
    SourceErrorKind, StateStore, StoreError, View,
};
use gpuscale::control::state::Saved;
use gpuscale::policy::config::Millis;

use crate::chance::Stream;
use crate::clock::{Time, VirtualClock};
use crate::event::{Event, PolicyId, PoolId};
use crate::gate::{Fate, Gate, Passage, Port, Side, Silence};
use crate::invariants::Violation;
use crate::shapes::POLICIES;
use crate::watch::Shelf;
use crate::world::prometheus::METRICS;
use crate::world::whole::World;

/// The words of a panic that the plan wanted.
pub const PLANNED_PANIC: &str = "planned";

/// What the world, the ports and the driver of a run share.
#[derive(Debug)]
pub struct Shared {
    pub time: Time,
    pub gate: RefCell<Gate>,
    pub world: RefCell<World>,
    /// How long the process stays down after the crash at hand.
    pub down_ms: Cell<Millis>,
    /// Faults, by number, at which the administrator has to act at once.
    pub summons: RefCell<Vec<usize>>,
    /// Troubles that no fact in the log shows.
    pub troubles: RefCell<Vec<Violation>>,
    /// The journals, by policy.
    pub shelves: [Shelf; POLICIES],
    verbose: bool,
}

impl Shared {
    /// Around a world.
    pub fn new(time: Time, gate: Gate, world: World, verbose: bool) -> Self {
        Self {
            time,
            gate: RefCell::new(gate),
            world: RefCell::new(world),
            down_ms: Cell::new(0),
            summons: RefCell::new(Vec::new()),
            troubles: RefCell::new(Vec::new()),
            shelves: Default::default(),
            verbose,
        }
    }

    /// Adds a fact at the time now.
    pub fn log(&self, event: Event) {
        self.world.borrow_mut().log.add(self.time.true_ms(), event);
    }

    /// Whether every event is printed.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Something that must not happen.
    pub fn trouble(&self, invariant: &'static str, message: String) {
        self.troubles.borrow_mut().push(Violation {
            at_ms: self.time.true_ms(),
            invariant,
            message,
        });
    }

    /// Kills the process, which then stays down so long.
    fn die(&self, down_ms: Millis) {
        self.down_ms.set(down_ms);
        self.time.crash();
    }
}

/// The number of a policy.
pub fn policy_of(key: &PolicyKey) -> PolicyId {
    number_at_end(&key.name)
}

/// The number that a name ends with.
fn number_at_end(name: &str) -> usize {
    name.as_bytes()
        .last()
        .map_or(0, |digit| usize::from(digit.wrapping_sub(b'0')))
}

/// The ports of one process.
#[derive(Debug)]
pub struct SimPorts {
    clock: VirtualClock,
    randomness: SimRandomness,
    calls: Calls,
}

impl SimPorts {
    /// For a process whose monotonic clock and randomness begin with these.
    pub fn new(shared: Rc<Shared>, origin_ms: Millis, stream: Stream) -> Self {
        Self {
            clock: VirtualClock::new(shared.time.clone(), origin_ms),
            randomness: SimRandomness(RefCell::new(stream)),
            calls: Calls(shared),
        }
    }
}

impl Ports for SimPorts {
    type Clock = VirtualClock;
    type Randomness = SimRandomness;
    type Metrics = Calls;
    type Pools = Calls;
    type Cluster = Calls;
    type Store = Calls;

    fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    fn randomness(&self) -> &SimRandomness {
        &self.randomness
    }

    fn metrics(&self) -> &Calls {
        &self.calls
    }

    fn pools(&self) -> &Calls {
        &self.calls
    }

    fn cluster(&self) -> &Calls {
        &self.calls
    }

    fn store(&self) -> &Calls {
        &self.calls
    }
}

/// Random numbers of one process.
#[derive(Debug)]
pub struct SimRandomness(RefCell<Stream>);

impl Randomness for SimRandomness {
    fn next(&self) -> u64 {
        self.0.borrow_mut().next()
    }
}

/// The calls, through the gate, to the world.
#[derive(Debug)]
pub struct Calls(Rc<Shared>);

/// A call that was turned back on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turned {
    Refused,
    NoAnswer,
}

impl Calls {
    /// What becomes of a call; the process may die of it, or the call panic.
    async fn enter(&self, port: Port, whom: PolicyId) -> Passage {
        if self.0.time.is_crashing() {
            return pending().await;
        }
        let passage = self.0.gate.borrow_mut().pass(port, whom, self.0.time.true_ms());
        if let Some((name, what)) = passage.struck {
            self.0.log(Event::Fault { name, what });
        }
        if let Some((number, Side::Before)) = passage.summons {
            self.0.summons.borrow_mut().push(number);
        }
        match passage.fate {
            Fate::Panic => std::panic::panic_any(PLANNED_PANIC),
            Fate::CrashBefore { down_ms } => {
                self.0.die(down_ms);
                pending().await
            }
            _ => passage,
        }
    }

    /// The way there.
    async fn there(&self, port: Port, whom: PolicyId) -> Result<Passage, Turned> {
        let passage = self.enter(port, whom).await;
        if passage.fate == Fate::RequestLost(Silence::ForEver) {
            return pending().await;
        }
        self.0.time.sleep(passage.there_ms).await;
        match passage.fate {
            Fate::Refused => Err(Turned::Refused),
            Fate::RequestLost(_) => Err(Turned::NoAnswer),
            _ => Ok(passage),
        }
    }

    /// The way back.
    async fn back(&self, passage: Passage) -> Result<(), Turned> {
        match passage.fate {
            Fate::ReplyLost(Silence::ForEver) => return pending().await,
            Fate::CrashAfter { down_ms } => {
                self.0.die(down_ms);
                return pending().await;
            }
            _ => self.0.time.sleep(passage.back_ms).await,
        }
        if let Some((number, Side::After)) = passage.summons {
            self.0.summons.borrow_mut().push(number);
            // The process must not run on before the administrator has acted.
            self.0.time.sleep(1).await;
        }
        match passage.fate {
            Fate::ReplyLost(Silence::Error) => Err(Turned::NoAnswer),
            _ => Ok(()),
        }
    }

    fn pool(&self, pool: &PoolKey) -> PoolId {
        self.0.world.borrow().pool(&pool.name)
    }

    fn owner(&self, pool: PoolId) -> PolicyId {
        self.0.world.borrow().owner(pool)
    }
}

// --- metrics ---

impl MetricsSource for Calls {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        let policy = number_at_end(request.source);
        let answer = self.fetch(policy, request).await;
        let (whole, newest_ms) = match &answer {
            Ok(answer) => (answer.completeness == Completeness::Whole, newest(answer)),
            Err(_) => (false, None),
        };
        self.0.log(Event::MetricsRead {
            policy,
            of_signal: of_signal(request.selector),
            whole,
            newest_ms,
        });
        answer
    }
}

impl Calls {
    async fn fetch(&self, policy: PolicyId, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        let passage = self.there(Port::Metrics, policy).await.map_err(source_error)?;
        let answer = self.0.world.borrow_mut().metrics(self.0.time.true_ms(), request);
        self.back(passage).await.map_err(source_error)?;
        answer
    }
}

/// Whether a signal is read from it: the policies have utilization and an expression, and no other metric.
fn of_signal(selector: &Selector) -> bool {
    match selector {
        Selector::Metric { name, .. } => *name == METRICS[0],
        Selector::Expression { .. } => true,
    }
}

fn newest(answer: &Answer) -> Option<Millis> {
    answer
        .series
        .iter()
        .filter_map(|series| series.samples.last())
        .map(|(at_ms, _)| *at_ms)
        .max()
}

fn source_error(turned: Turned) -> SourceError {
    SourceError {
        kind: match turned {
            Turned::Refused => SourceErrorKind::Unreachable,
            Turned::NoAnswer => SourceErrorKind::Malformed,
        },
        message: "planned".to_owned(),
    }
}

// --- node pools ---

impl NodePools for Calls {
    async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        let pool = self.pool(pool);
        let passage = self
            .there(Port::PoolRead, self.owner(pool))
            .await
            .map_err(pool_error)?;
        let answer = self.0.world.borrow_mut().read(self.0.time.true_ms(), pool);
        self.back(passage).await.map_err(pool_error)?;
        answer
    }

    async fn resize(&self, pool: &PoolKey, seen: &Pool, count: u32) -> Result<Accepted, PoolError> {
        let pool = self.pool(pool);
        let passage = self.enter(Port::Resize, self.owner(pool)).await;
        self.0.log(Event::ResizeSent {
            pool,
            etag: seen.etag.clone(),
            count,
        });
        let told = Returned {
            shared: &self.0,
            pool,
            answered: Cell::new(false),
        };
        let sent = match passage.fate {
            Fate::Refused | Fate::RequestLost(_) => None,
            _ => {
                let arrives_ms = self.0.time.true_ms() + passage.there_ms;
                Some(
                    self.0
                        .world
                        .borrow_mut()
                        .post(arrives_ms, pool, &seen.etag, count),
                )
            }
        };
        match passage.fate {
            Fate::RequestLost(Silence::ForEver) => return pending().await,
            Fate::CrashAfter { down_ms } => {
                self.0.die(down_ms);
                return pending().await;
            }
            _ => self.0.time.sleep(passage.there_ms).await,
        }
        let answer = match sent {
            Some(letter) => self.0.world.borrow_mut().answer(letter),
            None => return Err(pool_error(refusal(passage.fate))),
        };
        self.back(passage).await.map_err(pool_error)?;
        told.answered.set(true);
        answer
    }

    async fn poll(&self, pool: &PoolKey, operation: &str) -> Result<Progress, PoolError> {
        let pool = self.pool(pool);
        let passage = self
            .there(Port::Poll, self.owner(pool))
            .await
            .map_err(pool_error)?;
        let answer = self.0.world.borrow_mut().poll(self.0.time.true_ms(), operation);
        self.back(passage).await.map_err(pool_error)?;
        answer
    }
}

fn refusal(fate: Fate) -> Turned {
    if fate == Fate::Refused {
        Turned::Refused
    } else {
        Turned::NoAnswer
    }
}

/// Tells that a resize came back, or was given up, however it ends.
struct Returned<'a> {
    shared: &'a Shared,
    pool: PoolId,
    answered: Cell<bool>,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.shared.log(Event::ResizeReturned {
            pool: self.pool,
            answered: self.answered.get(),
        });
    }
}

fn pool_error(turned: Turned) -> PoolError {
    let (kind, code) = match turned {
        Turned::Refused => (PoolErrorKind::Unavailable, "ServiceUnavailable"),
        Turned::NoAnswer => (PoolErrorKind::NoAnswer, "ConnectionReset"),
    };
    PoolError {
        kind,
        code: code.to_owned(),
        message: "planned".to_owned(),
    }
}

// --- the cluster ---

impl ClusterView for Calls {
    async fn look(&self, pool: &PoolKey) -> Result<View, ClusterError> {
        let pool = self.pool(pool);
        let unreachable = |_| ClusterError::Unreachable("planned".to_owned());
        if !self.0.world.borrow().has_cluster_view() {
            return Err(ClusterError::None);
        }
        let passage = self
            .there(Port::Look, self.owner(pool))
            .await
            .map_err(unreachable)?;
        let view = self.0.world.borrow_mut().look(self.0.time.true_ms(), pool);
        self.back(passage).await.map_err(unreachable)?;
        view
    }
}

// --- state ---

impl StateStore for Calls {
    async fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        let number = policy_of(policy);
        let passage = self.there(Port::Load, number).await.map_err(store_error)?;
        let state = self.0.world.borrow_mut().load(policy);
        self.back(passage).await.map_err(store_error)?;
        state
    }

    async fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        let number = policy_of(policy);
        let passage = self.there(Port::Save, number).await.map_err(store_error)?;
        let saved = self
            .0
            .world
            .borrow_mut()
            .save(self.0.time.true_ms(), number, policy, state);
        self.back(passage).await.map_err(store_error)?;
        saved
    }
}

fn store_error(turned: Turned) -> StoreError {
    StoreError(match turned {
        Turned::Refused => "refused".to_owned(),
        Turned::NoAnswer => "no answer".to_owned(),
    })
}
