//! What the control loop needs of the world, as traits.
//!
//! The loop reads metrics, sees and resizes node pools, looks at the cluster, keeps its state, tells the time and
//! draws random numbers through these and through nothing else. The binary brings Prometheus, ARM and Kubernetes;
//! the simulation of the whole system brings worlds in memory, in virtual time, with every fault there is.
//!
//! Futures need not be `Send`: the loop is one task on one thread, which at 5,000 policies is busy for a few
//! percent of the time. A port may fail, hang, or do what was asked and lose the answer; the loop puts a timeout
//! on every call and never takes a missing answer for one.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::config::{Micro, Millis};
use crate::policy::observation::{Failure, Now, PodRequest};

pub use super::series::{Series, SeriesBuilder, SeriesTable};
use super::state::Saved;

/// A policy by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl PolicyKey {
    /// The policy `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A node pool by cluster and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// The cluster, by the name that the administrator gave it.
    pub cluster: Arc<str>,
    /// The pool's name in the cluster.
    pub name: Arc<str>,
}

impl PoolKey {
    /// The pool `name` of `cluster`.
    #[must_use]
    pub fn new(cluster: &str, name: &str) -> Self {
        Self {
            cluster: cluster.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

/// The world, as a set of ports.
pub trait Ports {
    /// Tells the time.
    type Clock: Clock;
    /// Draws random numbers.
    type Randomness: Randomness;
    /// Answers what the GPUs did.
    type Metrics: MetricsSource;
    /// Holds the node pools.
    type Pools: NodePools;
    /// Shows nodes and pods.
    type Cluster: ClusterView;
    /// Keeps what must survive a restart.
    type Store: StateStore;

    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The source of randomness.
    fn randomness(&self) -> &Self::Randomness;
    /// The metrics.
    fn metrics(&self) -> &Self::Metrics;
    /// The node pools.
    fn pools(&self) -> &Self::Pools;
    /// The cluster.
    fn cluster(&self) -> &Self::Cluster;
    /// The state.
    fn store(&self) -> &Self::Store;
}

// --- time and chance ---

/// Tells the time, and when it has come.
pub trait Clock {
    /// The local wall clock, which may jump, and a monotonic one, which does not.
    fn now(&self) -> Now;

    /// Comes back once the monotonic clock reads `timer_ms` or later.
    fn sleep_until(&self, timer_ms: Millis) -> impl Future<Output = ()>;
}

/// Draws random numbers: for spreading ticks and retries in time, never for a decision.
pub trait Randomness {
    /// The next one, uniform over all of `u64`.
    fn next(&self) -> u64;
}

// --- metrics ---

/// Answers what the GPUs did.
pub trait MetricsSource {
    /// Reads the raw samples that a selector matches in the last `window_ms` of the source's own time.
    ///
    /// # Errors
    /// [`SourceError`] if there is no answer or none that can be trusted to be whole or marked as partial. An
    /// answer without series is not an error.
    fn read(&self, request: &ReadRequest<'_>) -> impl Future<Output = Result<Answer, SourceError>>;
}

/// What is read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'a> {
    /// The source, by the name that policies use.
    pub source: &'a str,
    /// Which series.
    pub selector: &'a Selector,
    /// How far back.
    pub window_ms: Millis,
    /// As of which time of the source's clock; `None` is now.
    pub as_of_ms: Option<Millis>,
}

/// Which series are read. One metric each: Azure Managed Prometheus takes no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// All series of a metric that carry these labels.
    Metric {
        /// The metric's name.
        name: &'static str,
        /// Labels, matched exactly.
        match_labels: Vec<(String, String)>,
    },
    /// A PromQL expression, evaluated at every multiple of the step.
    Expression {
        /// The expression, which gives one series.
        promql: String,
        /// Time between two evaluations.
        step_ms: Millis,
    },
}

/// As people write it: `metric{label="value"}`, or the expression.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, match_labels) = match self {
            Self::Metric { name, match_labels } => (name, match_labels),
            Self::Expression { promql, .. } => return f.write_str(promql),
        };
        f.write_str(name)?;
        for (number, (label, value)) in match_labels.iter().enumerate() {
            write!(f, "{}{label}={value:?}", if number == 0 { '{' } else { ',' })?;
        }
        f.write_str(if match_labels.is_empty() { "" } else { "}" })
    }
}

/// What a source answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The source's own time when it answered: nothing later is known yet.
    pub now_ms: Millis,
    /// Whether the source says that it is all there is.
    pub completeness: Completeness,
    /// The series, each once, with their samples.
    pub series: SeriesTable,
}

impl Answer {
    /// How far its newest sample is behind the source's clock. What comes late comes after it, so the next read begins
    /// there: a source that lags by minutes would otherwise never show a sample.
    pub(super) fn behind_ms(&self) -> Option<Millis> {
        let newest = self.series.iter().filter_map(|series| series.samples.last());
        let newest_ms = newest.map(|(at_ms, _)| *at_ms).max()?;
        Some(self.now_ms.saturating_sub(newest_ms).max(0))
    }
}

/// Whether an answer is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// It is.
    Whole,
    /// The source says that something may be missing; its words.
    Partial(String),
}

/// Why a source gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}: {message}")]
pub struct SourceError {
    /// What kind of failure it is.
    pub kind: SourceErrorKind,
    /// What was attempted and what came back.
    pub message: String,
}

/// Kinds of failure of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceErrorKind {
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// An HTTP status that is not success.
    Status(u16),
    /// The source says that the query failed.
    Query,
    /// Something that is no answer: cut, garbled, another protocol.
    Malformed,
    /// More than the limits allow.
    TooLarge,
    /// Asked to wait, in ms.
    Throttled(Option<Millis>),
    /// No token, password or certificate to ask with.
    Credential,
}

impl SourceErrorKind {
    /// The word for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::Query => "query",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Throttled(_) => "throttled",
            Self::Credential => "credential",
        }
    }
}

impl fmt::Display for SourceErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            other => f.write_str(other.as_str()),
        }
    }
}

// --- node pools ---

/// Holds the node pools.
pub trait NodePools {
    /// The pool as it is.
    ///
    /// # Errors
    /// [`PoolError`] if it cannot be read.
    fn read(&self, pool: &PoolKey) -> impl Future<Output = Result<Pool, PoolError>>;

    /// The pool as it was a few seconds ago at most: for a look that nothing is written after.
    ///
    /// # Errors
    /// As [`Self::read`], which it is unless there is something cheaper.
    fn glance(&self, pool: &PoolKey) -> impl Future<Output = Result<Pool, PoolError>> {
        self.read(pool)
    }

    /// All pools of a cluster as they are, in one call.
    ///
    /// # Errors
    /// [`PoolError`] if they cannot be read. Without an implementation there is no such call.
    fn all(&self, cluster: &Arc<str>) -> impl Future<Output = Result<PoolList, PoolError>> {
        let error = PoolError {
            kind: PoolErrorKind::BadRequest,
            code: "NoList".to_owned(),
            message: format!("the pools of {cluster} cannot be listed"),
        };
        std::future::ready(Err(error))
    }

    /// Asks for `count` nodes, provided that the pool is still as `seen`: its `etag` goes along as `If-Match`.
    ///
    /// # Errors
    /// [`PoolError`]; [`PoolErrorKind::leaves_unknown`] says whether it may have happened all the same.
    fn resize(
        &self,
        pool: &PoolKey,
        seen: &Pool,
        count: u32,
    ) -> impl Future<Output = Result<Accepted, PoolError>>;

    /// Asks for `least` as the fewest nodes that the pool's own autoscaler keeps, under the same condition. The count stays
    /// as it is; the autoscaler sees to it.
    ///
    /// # Errors
    /// As [`Self::resize`]. Without an implementation there is no such autoscaler.
    fn set_least(
        &self,
        pool: &PoolKey,
        _seen: &Pool,
        _least: u32,
    ) -> impl Future<Output = Result<Accepted, PoolError>> {
        let error = PoolError {
            kind: PoolErrorKind::BadRequest,
            code: "NoAutoscaler".to_owned(),
            message: format!("{pool} has no autoscaler that keeps a fewest"),
        };
        std::future::ready(Err(error))
    }

    /// How an operation is getting on.
    ///
    /// # Errors
    /// [`PoolError`] if it cannot be asked; [`PoolErrorKind::Gone`] if nobody knows the operation any more.
    fn poll(&self, pool: &PoolKey, operation: &str) -> impl Future<Output = Result<Progress, PoolError>>;
}

/// The pools of a cluster: their names, and each as it is or why it cannot be understood.
pub type PoolList = Vec<(Arc<str>, Result<Pool, PoolError>)>;

/// A node pool as its owner shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Nodes asked for.
    pub count: u32,
    /// Changes with every change of the pool.
    pub etag: String,
    /// Whether something is being done to it.
    pub state: PoolState,
    /// Whether somebody else's autoscaler owns the count.
    pub autoscaler: PoolAutoscaler,
    /// GPUs in one node, if known.
    pub gpus_per_node: Option<u32>,
    /// Price of a node in micro-USD per hour, if known.
    pub node_price: Option<Micro>,
    /// Why its last operation failed, where the pool says so.
    pub error: Option<PoolError>,
}

/// Whether something is being done to a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolState {
    /// Nothing: it is as it was asked to be.
    Steady,
    /// Nothing any more: the last operation failed or was cancelled. It can be resized again.
    Failed,
    /// An operation is running, ours or somebody else's.
    Busy,
    /// It is stopped: it has no nodes and takes no resize.
    Stopped,
}

/// Whether the cluster autoscaler owns a pool's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolAutoscaler {
    /// It does not.
    Off,
    /// It does; writing the count would be undone or refused.
    On {
        /// The fewest nodes that it keeps.
        least: u32,
        /// The most that it asks for.
        most: u32,
    },
}

/// What of a pool is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Lever {
    /// Its count.
    #[default]
    Count,
    /// The fewest nodes that its own autoscaler keeps.
    Least,
}

impl Pool {
    /// Where a lever stands; nowhere if the pool has none.
    #[must_use]
    pub fn stands_at(&self, lever: Lever) -> Option<u32> {
        match (lever, self.autoscaler) {
            (Lever::Count, _) => Some(self.count),
            (Lever::Least, PoolAutoscaler::On { least, .. }) => Some(least),
            (Lever::Least, PoolAutoscaler::Off) => None,
        }
    }
}

/// A resize that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Where to ask for its progress; `None` if it is over already.
    pub operation: Option<String>,
    /// How long to wait before asking, if the owner said.
    pub retry_after_ms: Option<Millis>,
}

/// How an operation is getting on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It runs; how long to wait before asking again, if the owner said.
    Running(Option<Millis>),
    /// It is over and did what was asked.
    Succeeded,
    /// It is over and failed, perhaps after part of the work.
    Failed(PoolError),
    /// Somebody cancelled it, or a later operation took its place.
    Cancelled,
}

/// Why a pool could not be read, resized or asked about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} ({code}): {message}")]
pub struct PoolError {
    /// What to do about it.
    pub kind: PoolErrorKind,
    /// The owner's code, such as `OperationNotAllowed`.
    pub code: String,
    /// The owner's words.
    pub message: String,
}

/// Classes of failure, by what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolErrorKind {
    /// Another operation is in progress: look again at the next tick.
    Busy,
    /// Asked to wait, in ms.
    Throttled(Millis),
    /// The pool is no longer as it was seen: look again and decide anew.
    Stale,
    /// No capacity: back off, and use the fallback pools.
    Capacity(Failure),
    /// Not permitted: for a person to mend.
    Auth,
    /// No such pool or operation.
    Gone,
    /// The request is wrong: for a person to mend.
    BadRequest,
    /// Refused before anything was done: a connection that was not made, 503 at the door.
    Unavailable,
    /// No answer: it may have happened or not.
    NoAnswer,
}

impl PoolErrorKind {
    /// Whether what was asked may have happened all the same.
    #[must_use]
    pub fn leaves_unknown(self) -> bool {
        self == Self::NoAnswer
    }

    /// The word for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Throttled(_) => "throttled",
            Self::Stale => "stale",
            Self::Capacity(Failure::QuotaLow | Failure::QuotaZero) => "quota",
            Self::Capacity(Failure::Allocation) => "allocation",
            Self::Capacity(Failure::Sku) => "sku",
            Self::Auth => "auth",
            Self::Gone => "gone",
            Self::BadRequest => "bad_request",
            Self::Unavailable => "unavailable",
            Self::NoAnswer => "no_answer",
        }
    }
}

impl fmt::Display for PoolErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// --- the cluster ---

/// Shows nodes and pods.
pub trait ClusterView {
    /// The nodes of a pool and the pods that wait for it.
    ///
    /// # Errors
    /// [`ClusterError::None`] where there is no cluster view at all, which is a way to run;
    /// [`ClusterError::Unsynced`] or [`ClusterError::Unreachable`] where there is one and it cannot be believed now.
    fn look(&self, pool: &PoolKey) -> impl Future<Output = Result<View, ClusterError>>;
}

/// The nodes of a pool and the pods that wait for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes, whatever their state.
    pub nodes: Vec<Node>,
    /// Pods that count for this pool.
    pub waiting: Vec<PodRequest>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, which the metrics carry too.
    pub name: Arc<str>,
    /// Since when it is Ready on the cluster's clock; `None` if it is not.
    pub ready_since_ms: Option<Millis>,
    /// GPUs that can be scheduled onto: 0 until driver and device plugin are up.
    pub schedulable_gpus: u32,
    /// GPUs that no pod has.
    pub free_gpus: u32,
    /// Pods with GPUs.
    pub gpu_pods: u32,
    /// Whether a GPU health condition is set.
    pub unhealthy: bool,
}

/// Why there is no view.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClusterError {
    /// There is none: no kubeconfig, no permission to list.
    #[error("there is no cluster view")]
    None,
    /// The stores have not been filled yet.
    #[error("the cluster view is not complete yet")]
    Unsynced,
    /// The API server does not answer.
    #[error("the cluster cannot be seen: {0}")]
    Unreachable(String),
}

// --- state ---

/// Keeps what must survive a restart.
pub trait StateStore {
    /// What was saved last; `None` if nothing ever was.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read. A policy whose state cannot be read does not act.
    fn load(&self, policy: &PolicyKey) -> impl Future<Output = Result<Option<Saved>, StoreError>>;

    /// Saves. Once it comes back, a restart sees it.
    ///
    /// # Errors
    /// [`StoreError`] if it was not saved, or if nobody knows.
    fn save(&self, policy: &PolicyKey, state: &Saved) -> impl Future<Output = Result<(), StoreError>>;
}

/// State that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("state of the policy: {0}")]
pub struct StoreError(pub String);
