//! What a running loop shows of itself: counters and gauges in the form that Prometheus reads.
//!
//! Names follow Prometheus: base units, `_total` for counters, `_ratio` from 0 to 1, one prefix. Labels are bounded: the
//! namespace and name of a policy, a signal's name, a pool, and words that this program has a list of. A policy that is gone
//! takes its series along.
//!
//! What is shown is what was decided and why, and never computed again: the numbers come from the record of the decision.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::control::ports::PolicyKey;
use crate::control::{Action, Policy, TickResult, Ticked, Watch};
use crate::journal::Sink;
use crate::policy::evaluation::{Evaluation, Quality};

/// The series of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPolicy {
    namespace: String,
    policy: String,
}

impl From<&PolicyKey> for OfPolicy {
    fn from(key: &PolicyKey) -> Self {
        Self {
            namespace: key.namespace.to_string(),
            policy: key.name.to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    namespace: String,
    policy: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSignal {
    namespace: String,
    policy: String,
    signal: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQuality {
    namespace: String,
    policy: String,
    signal: String,
    quality: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResize {
    namespace: String,
    policy: String,
    cluster: String,
    pool: String,
    direction: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFailure {
    source: String,
    kind: String,
}

type Count = Gauge<i64, AtomicI64>;
type Real = Gauge<f64, AtomicU64>;

/// The metrics of a process. Clones share them.
#[derive(Debug, Clone, Default)]
struct Series {
    ticks: Family<OfReason, Counter>,
    last_tick: Family<OfPolicy, Real>,
    asked: Family<OfPolicy, Count>,
    wanted: Family<OfPolicy, Count>,
    coverage: Family<OfSignal, Real>,
    demand: Family<OfSignal, Real>,
    signals: Family<OfQuality, Counter>,
    resizes: Family<OfResize, Counter>,
    policies: Count,
    frozen: Count,
    reload_failed: Count,
    source_reads: Family<OfSource, Counter>,
    source_queries: Family<OfSource, Counter>,
    source_failures: Family<OfFailure, Counter>,
}

/// Text for whoever scrapes; it may be asked from any thread.
#[derive(Debug, Clone)]
pub struct Page(Arc<Registry>);

/// How the text of a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' own text format, 0.0.4.
    Plain,
}

impl Format {
    /// What a scraper accepts, by its `Accept` header.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Plain,
        }
    }

    /// The content type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Page {
    /// The page as it is now.
    ///
    /// # Errors
    /// If a value cannot be written as text, which is a fault of this program.
    pub fn text(&self, format: Format) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.0)?;
        match format {
            Format::OpenMetrics => Ok(page),
            Format::Plain => plain(&page),
        }
    }
}

/// `OpenMetrics` as Prometheus' own text: there a counter is called by the name of its samples, information is a gauge, and
/// nothing tells units or the end.
fn plain(page: &str) -> Result<String, std::fmt::Error> {
    let mut plain = String::with_capacity(page.len());
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
        }
    }
    let named = |name: &str| match kinds.get(name) {
        Some(&"counter") => format!("{name}_total"),
        Some(&"info") => format!("{name}_info"),
        _ => name.to_owned(),
    };
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            writeln!(plain, "# HELP {} {help}", named(name))?;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let kind = if kind == "info" { "gauge" } else { kind };
            writeln!(plain, "# TYPE {} {kind}", named(name))?;
        } else if !line.starts_with('#') {
            writeln!(plain, "{line}")?;
        }
    }
    Ok(plain)
}

/// What a source was asked and failed at since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceCounts {
    /// Questions of policies.
    pub reads: u64,
    /// Questions to the source.
    pub queries: u64,
    /// Those of them that failed, by the word for the kind of failure.
    pub failures: BTreeMap<&'static str, u64>,
}

/// Counts what is told, and tells it on.
#[derive(Debug)]
pub struct Metered<W> {
    inner: W,
    series: Series,
    page: Page,
    /// Names of the signals of each policy, in order.
    policies: RefCell<BTreeMap<PolicyKey, Vec<String>>>,
    /// Signals and resizes that have series, to take them away with their policy.
    shown: RefCell<BTreeMap<PolicyKey, Shown>>,
}

/// Label values of one policy that have series.
#[derive(Debug, Default)]
struct Shown {
    reasons: BTreeSet<&'static str>,
    signals: BTreeSet<String>,
    qualities: BTreeSet<(String, &'static str)>,
    resizes: Vec<OfResize>,
}

impl<W> Metered<W> {
    /// What is told goes on to `inner`.
    pub fn new(inner: W) -> Self {
        let series = Series::default();
        let mut registry = Registry::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("gpuscale_build", "The version that runs", Info::new(version));
        series.register(&mut registry);
        Self {
            inner,
            series,
            page: Page(Arc::new(registry)),
            policies: RefCell::default(),
            shown: RefCell::default(),
        }
    }

    /// The page that is scraped.
    pub fn page(&self) -> Page {
        self.page.clone()
    }

    /// These are the policies from now on; series of others end.
    pub fn set_policies<'a>(&self, policies: impl IntoIterator<Item = &'a Policy>) {
        let named = |policy: &Policy| {
            let signals = policy.config.signals.iter().map(|signal| signal.name.clone());
            (policy.key.clone(), signals.collect())
        };
        let policies: BTreeMap<_, _> = policies.into_iter().map(named).collect();
        self.series
            .policies
            .set(policies.len().try_into().unwrap_or(i64::MAX));
        let gone: Vec<PolicyKey> = {
            let shown = self.shown.borrow();
            shown
                .keys()
                .filter(|key| !policies.contains_key(key))
                .cloned()
                .collect()
        };
        for key in gone {
            if let Some(shown) = self.shown.borrow_mut().remove(&key) {
                self.series.forget(&key, &shown);
            }
        }
        self.policies.replace(policies);
    }

    /// Whether all changes are stopped.
    pub fn set_frozen(&self, freeze: crate::policy::observation::Freeze) {
        let frozen = freeze != crate::policy::observation::Freeze::Off;
        self.series.frozen.set(frozen.into());
    }

    /// Whether the files could be read again when they changed last.
    pub fn set_reload(&self, outcome: Result<(), ()>) {
        self.series.reload_failed.set(outcome.is_err().into());
    }

    /// What a source was asked since the start.
    pub fn set_source(&self, source: &str, counts: &SourceCounts) {
        let labels = OfSource {
            source: source.to_owned(),
        };
        rise(&self.series.source_reads.get_or_create(&labels), counts.reads);
        rise(&self.series.source_queries.get_or_create(&labels), counts.queries);
        for (kind, count) in &counts.failures {
            let labels = OfFailure {
                source: source.to_owned(),
                kind: (*kind).to_owned(),
            };
            rise(&self.series.source_failures.get_or_create(&labels), *count);
        }
    }
}

/// A counter that others count.
fn rise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

impl Series {
    fn register(&self, registry: &mut Registry) {
        let s = self.clone();
        registry.register(
            "gpuscale_ticks",
            "Ticks by the rule that had the last word, or why there was no decision",
            s.ticks,
        );
        registry.register(
            "gpuscale_last_tick_timestamp_seconds",
            "When the last tick of a policy ended, by the local clock",
            s.last_tick,
        );
        registry.register(
            "gpuscale_asked_nodes",
            "Nodes asked for in all pools of a policy",
            s.asked,
        );
        registry.register(
            "gpuscale_wanted_nodes",
            "Nodes that the last decision wants",
            s.wanted,
        );
        registry.register(
            "gpuscale_signal_coverage_ratio",
            "Share of a signal's window that is known",
            s.coverage,
        );
        registry.register(
            "gpuscale_signal_demand",
            "Demand that is known for sure: GPUs for utilization, the unit of the query otherwise",
            s.demand,
        );
        registry.register(
            "gpuscale_signal_ticks",
            "Ticks of a signal by what its data was worth",
            s.signals,
        );
        registry.register(
            "gpuscale_resizes",
            "Resizes of pools and what became of them",
            s.resizes,
        );
        registry.register("gpuscale_policies", "Policies that are run", s.policies);
        registry.register(
            "gpuscale_frozen",
            "1 while the administrator stops all changes",
            s.frozen,
        );
        registry.register(
            "gpuscale_reload_failed",
            "1 while files that changed cannot be used, and the last good ones are",
            s.reload_failed,
        );
        registry.register(
            "gpuscale_source_reads",
            "Questions of policies to a metrics source",
            s.source_reads,
        );
        registry.register(
            "gpuscale_source_queries",
            "Those that the source was asked; the others were answered already",
            s.source_queries,
        );
        registry.register(
            "gpuscale_source_failures",
            "Questions without a whole answer, by the kind of failure",
            s.source_failures,
        );
    }

    fn decided(&self, policy: &OfPolicy, signals: &[String], evaluation: &Evaluation, shown: &mut Shown) {
        let decision = &evaluation.decision;
        self.asked.get_or_create(policy).set(decision.from.into());
        self.wanted.get_or_create(policy).set(decision.to.into());
        for (name, evidence) in signals.iter().zip(evaluation.signals()) {
            let labels = OfSignal {
                namespace: policy.namespace.clone(),
                policy: policy.policy.clone(),
                signal: name.clone(),
            };
            self.coverage.get_or_create(&labels).set(real(evidence.coverage));
            if evidence.quality == Quality::Good {
                self.demand.get_or_create(&labels).set(real(evidence.demand_low));
            } else {
                // No data is not zero: there is no number.
                self.demand.remove(&labels);
            }
            let quality = evidence.quality.as_str();
            let labels = OfQuality {
                namespace: policy.namespace.clone(),
                policy: policy.policy.clone(),
                signal: name.clone(),
                quality: quality.to_owned(),
            };
            self.signals.get_or_create(&labels).inc();
            shown.qualities.insert((name.clone(), quality));
            shown.signals.insert(name.clone());
        }
    }

    fn forget(&self, key: &PolicyKey, shown: &Shown) {
        let policy = OfPolicy::from(key);
        let (namespace, name) = (&policy.namespace, &policy.policy);
        for reason in &shown.reasons {
            self.ticks.remove(&OfReason {
                namespace: namespace.clone(),
                policy: name.clone(),
                reason: (*reason).to_owned(),
            });
        }
        for signal in &shown.signals {
            let labels = OfSignal {
                namespace: namespace.clone(),
                policy: name.clone(),
                signal: signal.clone(),
            };
            self.coverage.remove(&labels);
            self.demand.remove(&labels);
        }
        for (signal, quality) in &shown.qualities {
            self.signals.remove(&OfQuality {
                namespace: namespace.clone(),
                policy: name.clone(),
                signal: signal.clone(),
                quality: (*quality).to_owned(),
            });
        }
        for labels in &shown.resizes {
            self.resizes.remove(labels);
        }
        self.last_tick.remove(&policy);
        self.asked.remove(&policy);
        self.wanted.remove(&policy);
    }
}

/// Micros as a number of floating point: for people, and never for a decision.
#[expect(clippy::cast_precision_loss, reason = "a metric for people")]
fn real(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// The outcome of an action as a label. Refusals have words of their own, which this program has a list of.
fn outcome(what: &str) -> String {
    what.replace(' ', "_")
}

impl<W: Watch> Watch for Metered<W> {
    fn tick(&self, tick: &Ticked<'_>) {
        let policy = OfPolicy::from(tick.policy);
        let policies = self.policies.borrow();
        // A policy that was just removed says its last word.
        if let Some(signals) = policies.get(tick.policy) {
            let mut all = self.shown.borrow_mut();
            let shown = all.entry(tick.policy.clone()).or_default();
            let reason = tick.result.reason();
            shown.reasons.insert(reason);
            let labels = OfReason {
                namespace: policy.namespace.clone(),
                policy: policy.policy.clone(),
                reason: reason.to_owned(),
            };
            self.series.ticks.get_or_create(&labels).inc();
            self.series
                .last_tick
                .get_or_create(&policy)
                .set(real(tick.now.wall_ms.saturating_mul(1000)));
            if let TickResult::Decided(evaluation) = tick.result {
                self.series.decided(&policy, signals, evaluation, shown);
            }
        }
        drop(policies);
        self.inner.tick(tick);
    }

    fn action(&self, action: &Action<'_>) {
        if self.policies.borrow().contains_key(action.policy) {
            let labels = OfResize {
                namespace: action.policy.namespace.to_string(),
                policy: action.policy.name.to_string(),
                cluster: action.pool.cluster.to_string(),
                pool: action.pool.name.to_string(),
                direction: if action.to < action.from { "down" } else { "up" }.to_owned(),
                outcome: outcome(action.what),
            };
            self.series.resizes.get_or_create(&labels).inc();
            let mut all = self.shown.borrow_mut();
            let shown = all.entry(action.policy.clone()).or_default();
            if !shown.resizes.contains(&labels) {
                shown.resizes.push(labels);
            }
        }
        self.inner.action(action);
    }

    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>> {
        self.inner.journal(policy)
    }
}

#[cfg(test)]
mod tests;
