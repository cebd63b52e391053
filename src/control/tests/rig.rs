//! A small world for the tests of the loop: one pool, one busy fleet, a clock that moves when nothing else does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::task::noop_waker;

use super::super::ports::*;
use super::super::state::Saved;
use super::super::{Action, Controller, Policy, Settings, TickResult, Ticked, Watch};
use crate::journal::{ActionRecord, Beginning, JournalError, Sink, TickRecord};
use crate::policy::config::Millis;
use crate::policy::observation::{Failure, Now};
use crate::recording::Labels;

/// Source time at the start.
pub(super) const T0: Millis = 1_700_000_000_000;

/// What a port does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mood {
    #[default]
    Works,
    Fails,
    Hangs,
    Panics,
    /// Does what was asked and never answers.
    LosesReply,
    /// The platform has no machines. The count that was asked for stays.
    NoCapacity,
    /// There is no such pool.
    Gone,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) now_ms: Cell<Millis>,
    timers: RefCell<BTreeMap<(Millis, u64), Waker>>,
    timer_count: Cell<u64>,
    /// Everything that was done, in order.
    pub(super) log: RefCell<Vec<String>>,
    /// Count, etag and state of each pool.
    pub(super) pools: RefCell<BTreeMap<String, Pool>>,
    pub(super) store: RefCell<BTreeMap<String, Saved>>,
    /// How far the source's clock is from where it was at the start, and the machine's.
    pub(super) source_set_ms: Cell<Millis>,
    pub(super) wall_set_ms: Cell<Millis>,
    /// Whether there is a journal whose folder is gone: what waits in memory is kept, and what has to be written is not.
    pub(super) journal_is_gone: Cell<bool>,
    /// When utilization was read, and how far back.
    pub(super) windows: RefCell<Vec<(Millis, Millis)>>,
    /// Percent that each GPU shows.
    pub(super) utilization: Cell<f64>,
    /// How many nodes of a pool work at most: the others never come.
    pub(super) most_working: RefCell<BTreeMap<String, u32>>,
    /// Moods by port: `metrics`, `read`, `resize`, `poll`, `save`, `load`; `metrics:NAME` for the source of that name,
    /// `read:NAME`, `resize:NAME` and `poll:NAME` for the pool of that name. Operations are asked about where `poll` has a mood: then
    /// they are over and failed, and the count stays.
    pub(super) moods: RefCell<BTreeMap<String, Mood>>,
    /// Called right before a resize is carried out.
    pub(super) at_save: RefCell<Option<Box<dyn Fn()>>>,
}

impl World {
    pub(super) fn new(count: u32) -> Rc<Self> {
        let world = Self::default();
        world.utilization.set(100.0);
        world.add_pool("a100", count);
        Rc::new(world)
    }

    pub(super) fn add_pool(&self, name: &str, count: u32) {
        let pool = Pool {
            count,
            etag: "0".to_owned(),
            state: PoolState::Steady,
            autoscaler: PoolAutoscaler::Off,
            gpus_per_node: Some(1),
            node_price: None,
            error: None,
        };
        self.pools.borrow_mut().insert(name.to_owned(), pool);
    }

    /// The pool's own autoscaler sets its count.
    pub(super) fn autoscale(&self, name: &str, count: u32) {
        if let Some(pool) = self.pools.borrow_mut().get_mut(name) {
            pool.count = count;
            pool.etag.push('*');
        }
    }

    pub(super) fn set(&self, port: &str, mood: Mood) {
        self.moods.borrow_mut().insert(port.to_owned(), mood);
    }

    pub(super) fn count(&self, pool: &str) -> u32 {
        self.pools.borrow()[pool].count
    }

    /// What was done, of one kind.
    pub(super) fn done(&self, kind: &str) -> Vec<String> {
        let log = self.log.borrow();
        log.iter()
            .filter(|line| line.starts_with(kind))
            .cloned()
            .collect()
    }

    fn note(&self, line: String) {
        self.log.borrow_mut().push(line);
    }

    async fn mood(&self, port: &str) -> Mood {
        let mood = self.moods.borrow().get(port).copied().unwrap_or_default();
        match mood {
            Mood::Hangs => pending().await,
            Mood::Panics => panic!("{port} panics"),
            mood => mood,
        }
    }

    /// Runs a future until it is over or the clock reads `until_ms`.
    pub(super) fn run(&self, future: impl Future<Output = ()>, until_ms: Millis) -> Poll<()> {
        let mut future = pin!(future);
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        loop {
            // Wakers of inner futures are woken before; polling once more than needed does no harm.
            for _ in 0..8 {
                if future.as_mut().poll(&mut context).is_ready() {
                    return Poll::Ready(());
                }
            }
            let next = self.timers.borrow_mut().pop_first();
            match next {
                Some(((at_ms, _), waker)) if at_ms <= until_ms => {
                    self.now_ms.set(self.now_ms.get().max(at_ms));
                    waker.wake();
                }
                Some((key, waker)) => {
                    self.timers.borrow_mut().insert(key, waker);
                    self.now_ms.set(until_ms);
                    return Poll::Pending;
                }
                None => return Poll::Pending,
            }
        }
    }
}

/// The ports of a world.
#[derive(Clone)]
pub(super) struct Rig(pub(super) Rc<World>);

impl Ports for Rig {
    type Clock = Self;
    type Randomness = Self;
    type Metrics = Self;
    type Pools = Self;
    type Cluster = Self;
    type Store = Self;

    fn clock(&self) -> &Self {
        self
    }
    fn randomness(&self) -> &Self {
        self
    }
    fn metrics(&self) -> &Self {
        self
    }
    fn pools(&self) -> &Self {
        self
    }
    fn cluster(&self) -> &Self {
        self
    }
    fn store(&self) -> &Self {
        self
    }
}

impl Clock for Rig {
    fn now(&self) -> Now {
        Now {
            wall_ms: T0 + self.0.now_ms.get() + self.0.wall_set_ms.get(),
            timer_ms: self.0.now_ms.get(),
        }
    }

    async fn sleep_until(&self, timer_ms: Millis) {
        let mut place = None;
        std::future::poll_fn(|context| {
            if let Some(key) = place.take() {
                self.0.timers.borrow_mut().remove(&key);
            }
            if self.0.now_ms.get() >= timer_ms {
                return Poll::Ready(());
            }
            let number = self.0.timer_count.get();
            self.0.timer_count.set(number + 1);
            self.0
                .timers
                .borrow_mut()
                .insert((timer_ms, number), context.waker().clone());
            place = Some((timer_ms, number));
            Poll::Pending
        })
        .await;
    }
}

impl Randomness for Rig {
    fn next(&self) -> u64 {
        0
    }
}

impl MetricsSource for Rig {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        let failed = SourceError {
            kind: SourceErrorKind::Unreachable,
            message: "connection refused".to_owned(),
        };
        for port in ["metrics".to_owned(), format!("metrics:{}", request.source)] {
            if self.0.mood(&port).await == Mood::Fails {
                return Err(failed);
            }
        }
        let now_ms = T0 + self.0.now_ms.get() + self.0.source_set_ms.get();
        let Selector::Metric {
            name: "DCGM_FI_DEV_GPU_UTIL",
            ..
        } = request.selector
        else {
            return Ok(Answer {
                now_ms,
                completeness: Completeness::Whole,
                series: SeriesTable::default(),
            });
        };
        self.0
            .windows
            .borrow_mut()
            .push((self.0.now_ms.get(), request.window_ms));
        let first = (now_ms - request.window_ms).div_euclid(15_000) + 1;
        let times = (first..=now_ms.div_euclid(15_000)).map(|step| step * 15_000);
        let samples: Vec<(i64, f64)> = times.map(|at_ms| (at_ms, self.0.utilization.get())).collect();
        let most = self.0.most_working.borrow();
        let working = |(name, pool): (&String, &Pool)| pool.count.min(*most.get(name).unwrap_or(&u32::MAX));
        let nodes = self.0.pools.borrow().iter().map(working).sum::<u32>();
        let series = (0..nodes).map(|node| {
            let (uuid, host) = (format!("GPU-{node}"), format!("n{node}"));
            let labels = [("gpu", "0"), ("UUID", &*uuid), ("Hostname", &*host)];
            let labels = Arc::new(Labels::new("DCGM_FI_DEV_GPU_UTIL", labels).unwrap());
            (labels, samples.clone())
        });
        Ok(Answer {
            now_ms,
            completeness: Completeness::Whole,
            series: series.collect(),
        })
    }
}

/// What a pool's owner says when it is not well.
pub(super) fn unavailable() -> PoolError {
    PoolError {
        kind: PoolErrorKind::Unavailable,
        code: "503".to_owned(),
        message: "try later".to_owned(),
    }
}

/// What it says when it has no machines.
fn no_capacity() -> PoolError {
    PoolError {
        kind: PoolErrorKind::Capacity(Failure::Allocation),
        code: "AllocationFailed".to_owned(),
        message: "no machines of that size".to_owned(),
    }
}

impl Rig {
    /// How an operation of a pool ends.
    async fn ends(&self, pool: &PoolKey) -> Mood {
        match self.0.mood("poll").await {
            Mood::Works => self.0.mood(&format!("poll:{}", pool.name)).await,
            mood => mood,
        }
    }
}

impl NodePools for Rig {
    async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        if self.0.mood("read").await == Mood::Fails {
            return Err(unavailable());
        }
        if self.0.mood(&format!("read:{}", pool.name)).await == Mood::Gone {
            return Err(PoolError {
                kind: PoolErrorKind::Gone,
                code: "NotFound".to_owned(),
                message: "no such pool".to_owned(),
            });
        }
        Ok(self.0.pools.borrow()[&*pool.name].clone())
    }

    async fn resize(&self, pool: &PoolKey, seen: &Pool, count: u32) -> Result<Accepted, PoolError> {
        self.0
            .note(format!("resize {} {} -> {count}", pool.name, seen.count));
        let mood = self.0.mood("resize").await;
        if mood == Mood::Fails {
            return Err(unavailable());
        }
        if self.0.mood(&format!("resize:{}", pool.name)).await == Mood::NoCapacity {
            return Err(no_capacity());
        }
        if let Some(place) = self.0.pools.borrow_mut().get_mut(&*pool.name) {
            assert_eq!(place.etag, seen.etag, "If-Match");
            place.count = count;
            place.etag.push('+');
        }
        if mood == Mood::LosesReply {
            return pending().await;
        }
        let fails = self.ends(pool).await != Mood::Works;
        Ok(Accepted {
            operation: fails.then(|| "op".to_owned()),
            retry_after_ms: None,
        })
    }

    async fn set_least(&self, pool: &PoolKey, seen: &Pool, wanted: u32) -> Result<Accepted, PoolError> {
        self.0.note(format!("least {} {wanted}", pool.name));
        let mood = self.0.mood("resize").await;
        if let Some(place) = self.0.pools.borrow_mut().get_mut(&*pool.name) {
            assert_eq!(place.etag, seen.etag, "If-Match");
            let PoolAutoscaler::On { least, .. } = &mut place.autoscaler else {
                panic!("the pool has no autoscaler");
            };
            *least = wanted;
            place.etag.push('+');
        }
        if mood == Mood::LosesReply {
            return pending().await;
        }
        Ok(Accepted {
            operation: None,
            retry_after_ms: None,
        })
    }

    async fn poll(&self, pool: &PoolKey, _: &str) -> Result<Progress, PoolError> {
        Ok(Progress::Failed(if self.ends(pool).await == Mood::NoCapacity {
            no_capacity()
        } else {
            unavailable()
        }))
    }
}

impl ClusterView for Rig {
    async fn look(&self, _: &PoolKey) -> Result<View, ClusterError> {
        Err(ClusterError::None)
    }
}

impl StateStore for Rig {
    async fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        if self.0.mood("load").await == Mood::Fails {
            return Err(StoreError("no such disk".to_owned()));
        }
        Ok(self.0.store.borrow().get(&policy.to_string()).cloned())
    }

    async fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        let flights = state.pools.iter().filter_map(|pool| pool.in_flight.as_ref());
        let flights: Vec<u32> = flights.map(|flight| flight.to).collect();
        self.0
            .note(format!("save {policy} in flight {flights:?} {:?}", state.ended));
        if let Some(act) = &*self.0.at_save.borrow() {
            act();
        }
        if self.0.mood("save").await == Mood::Fails {
            return Err(StoreError("no space left".to_owned()));
        }
        self.0
            .store
            .borrow_mut()
            .insert(policy.to_string(), state.clone());
        Ok(())
    }
}

impl Watch for Rig {
    fn tick(&self, tick: &Ticked<'_>) {
        let result = match tick.result {
            TickResult::Decided(evaluation) => {
                let decision = evaluation.decision;
                format!("{} -> {} {}", decision.from, decision.to, decision.reason)
            }
            TickResult::Held { reason, .. } => format!("held {reason}"),
            TickResult::TimedOut => "timed out".to_owned(),
            TickResult::Panicked(words) => format!("panicked {words}"),
        };
        self.0.note(format!("tick {} {result}", tick.policy));
    }

    fn action(&self, action: &Action<'_>) {
        self.0.note(format!(
            "action {} {} {}",
            action.policy, action.pool.name, action.what
        ));
    }

    fn journal(&self, _: &PolicyKey) -> Option<Box<dyn Sink>> {
        let gone = self.0.journal_is_gone.get();
        gone.then(|| Box::new(Gone) as Box<dyn Sink>)
    }
}

/// A journal that cannot be written.
struct Gone;

impl Sink for Gone {
    fn begin(&mut self, _: &Beginning<'_>) -> Result<(), JournalError> {
        Ok(())
    }
    fn tick(&mut self, _: &TickRecord<'_>) -> Result<(), JournalError> {
        Ok(())
    }
    fn action(&mut self, _: &ActionRecord<'_>) -> Result<(), JournalError> {
        self.flush()
    }
    fn flush(&mut self) -> Result<(), JournalError> {
        Err(JournalError("no such folder".to_owned()))
    }
}

/// A policy on a pool that wants to grow as soon as its GPUs are full.
pub(super) fn policy(name: &str, pool: &str, created_ms: Millis, more: &str) -> Policy {
    let document = format!(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: {name} }}\nspec:\n  \
         mode: Enforce\n  targetRef: {{ kind: AksNodePool, name: {pool} }}\n  \
         signals: [ {{ name: gpu, dcgm: {{ metric: GpuUtilization }} }} ]\n  maxNodes: 8\n{more}"
    );
    Policy::new(&document, created_ms, "prod").unwrap()
}

/// A loop over a world.
pub(super) fn controller(world: &Rc<World>, settings: Settings) -> Controller<Rig, Rig> {
    Controller::new(Rig(world.clone()), Rig(world.clone()), settings)
}
