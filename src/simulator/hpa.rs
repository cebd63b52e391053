//! The Kubernetes Horizontal Pod Autoscaler, exactly: for predictions and as a reference autoscaler.
//!
//! Whoever answers an HPA (through KEDA, say) must know what it will do with the answer: a ratio inside the
//! tolerance moves nothing, a ceiling makes 4 of 3.01, and old recommendations hold the size for minutes.
//! This is a transcription of the rules of `pkg/controller/podautoscaler/{replica_calculator,horizontal}.go`
//! (Kubernetes 1.36) into two pure parts:
//!
//! - the calculator: one function per metric form, from usage and target to a count;
//! - the controller, [`Hpa`]: bounds, stabilization, rate limits, in that order.
//!
//! Usage and targets are integers in milli-units, as in the original; ratios and percentages are `f64`, also
//! as in the original, because its roundings are part of the behaviour (`ceil(50 · 1.1)` is 56 there). IEEE
//! arithmetic makes that reproducible. It reads no metrics and no clock, and knows nothing of pools.

use std::cmp::Ordering;

/// How far a usage ratio may be from 1 without effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
}

impl Tolerance {
    /// The controller's default, `--horizontal-pod-autoscaler-tolerance=0.1`.
    pub const DEFAULT: Self = Self { down: 0.1, up: 0.1 };

    /// Both ends belong to it; releases before the per-direction tolerances compared `|1 − r| ≤ tolerance`,
    /// which at r = 1.1 is false in `f64`.
    fn holds(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// An external metric with `AverageValue`: the usage is a sum, and the target is what one replica should have
/// of it.
///
/// `status_replicas` are all replicas, ready or not. This is the form KEDA uses by default.
#[must_use]
pub fn external_average_value(
    status_replicas: u32,
    usage_milli: i64,
    target_milli: i64,
    tolerance: Tolerance,
) -> u32 {
    let (usage, target) = (float(usage_milli), float(target_milli));
    // Without replicas the ratio is NaN or infinite, and never inside the tolerance: zero can be left.
    if tolerance.holds(usage / (target * f64::from(status_replicas))) {
        status_replicas
    } else {
        replicas((usage / target).ceil())
    }
}

/// An external metric with `Value`: the usage itself is compared to the target, and the ratio multiplies the
/// *ready* pods. With pods still starting, that can scale down under overload.
#[must_use]
pub fn external_value(
    spec_replicas: u32,
    ready_pods: u32,
    usage_milli: i64,
    target_milli: i64,
    tolerance: Tolerance,
) -> u32 {
    let ratio = float(usage_milli) / float(target_milli);
    if spec_replicas == 0 {
        replicas(ratio.ceil())
    } else if tolerance.holds(ratio) {
        spec_replicas
    } else {
        replicas((ratio * f64::from(ready_pods)).ceil())
    }
}

/// The pods behind a per-pod metric. Deleted and failed pods are in none of the groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodGroups {
    /// Ready pods with a metric.
    pub ready: u32,
    /// The sum of their metrics, in milli-units.
    pub usage_milli: i64,
    /// Pods that are pending, or too young for their CPU metric to count.
    pub unready: u32,
    /// Pods without a metric.
    pub missing: u32,
}

/// What a pod without a metric is taken for when the others would shrink the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodMetric {
    /// A `Pods` metric: exactly the target.
    Plain,
    /// A `Resource` metric in milli-percent of the request: the whole request, or the target if that is more.
    Resource,
}

/// A per-pod average (`Pods` and `Resource` metrics), or `None` if no ready pod has a metric.
///
/// Pods that cannot be judged only ever dampen: they count as idle on the way up, and as busy on the way
/// down.
#[must_use]
pub fn pod_average(
    current: u32,
    pods: PodGroups,
    target_milli: i64,
    metric: PodMetric,
    tolerance: Tolerance,
) -> Option<u32> {
    if pods.ready == 0 {
        return None;
    }
    let ratio_of = |usage: i64, count: u32| float(usage / i64::from(count)) / float(target_milli);
    let ratio = ratio_of(pods.usage_milli, pods.ready);
    let unready = if ratio > 1.0 { pods.unready } else { 0 };
    if unready == 0 && pods.missing == 0 {
        let wanted = replicas((ratio * f64::from(pods.ready)).ceil());
        return Some(if tolerance.holds(ratio) { current } else { wanted });
    }
    let busy = match metric {
        PodMetric::Plain => target_milli,
        PodMetric::Resource => target_milli.max(100_000),
    };
    let fill = if ratio < 1.0 { busy } else { 0 };
    let count = pods.ready + unready + pods.missing;
    let filled = ratio_of(pods.usage_milli + i64::from(pods.missing) * fill, count);
    let flipped = (ratio < 1.0 && filled > 1.0) || (ratio > 1.0 && filled < 1.0);
    if tolerance.holds(filled) || flipped {
        return Some(current);
    }
    let wanted = replicas((filled * f64::from(count)).ceil());
    let against = (filled < 1.0 && wanted > current) || (filled > 1.0 && wanted < current);
    Some(if against { current } else { wanted })
}

/// Joins the answers of several metrics, `None` for one that could not be read: the largest counts, and
/// partial data never shrinks. `None` means hold.
#[must_use]
pub fn largest(current: u32, metrics: &[Option<u32>]) -> Option<u32> {
    let wanted = metrics.iter().flatten().copied().max()?;
    let partial = metrics.iter().any(Option::is_none);
    (!partial || wanted >= current).then_some(wanted)
}

/// Which of several policies of a direction counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// What may change in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A number of pods.
    Pods(u32),
    /// A percentage of the count at the period's start.
    Percent(u32),
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// What may change.
    pub change: Change,
    /// In which time, in milliseconds.
    pub period_ms: i64,
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingRules {
    /// For how long a recommendation counts, in milliseconds.
    pub stabilization_ms: i64,
    /// The rate limits.
    pub policies: Vec<ScalingPolicy>,
    /// Which of them counts.
    pub select: SelectPolicy,
}

/// `spec.behavior` of an HPA, with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behavior {
    /// Growing.
    pub up: ScalingRules,
    /// Shrinking.
    pub down: ScalingRules,
}

/// `--horizontal-pod-autoscaler-downscale-stabilization`, 5 minutes.
const DOWNSCALE_STABILIZATION_MS: i64 = 300_000;
/// The period of the default policies.
const DEFAULT_PERIOD_MS: i64 = 15_000;

impl Default for Behavior {
    /// What the API server fills in: up 4 pods or 100 % per 15 s at once, down 100 % per 15 s after 5
    /// minutes.
    fn default() -> Self {
        let policy = |change| ScalingPolicy {
            change,
            period_ms: DEFAULT_PERIOD_MS,
        };
        let rules = |stabilization_ms, policies| ScalingRules {
            stabilization_ms,
            policies,
            select: SelectPolicy::Max,
        };
        Self {
            up: rules(0, vec![policy(Change::Pods(4)), policy(Change::Percent(100))]),
            down: rules(DOWNSCALE_STABILIZATION_MS, vec![policy(Change::Percent(100))]),
        }
    }
}

/// A change of the count, kept for the rate limits.
#[derive(Debug, Clone, Copy)]
struct ScaleEvent {
    at_ms: i64,
    replicas: i64,
}

/// The controller of one HPA object.
#[derive(Debug, Clone)]
pub struct Hpa {
    min: u32,
    max: u32,
    behavior: Option<Behavior>,
    /// `(time, raw desired count)`, oldest first; only those that can still count.
    recommendations: Vec<(i64, u32)>,
    added: Vec<ScaleEvent>,
    removed: Vec<ScaleEvent>,
    started: bool,
}

impl Hpa {
    /// A controller that has just started. `behavior` is `None` where `spec.behavior` is absent, as in the
    /// HPAs that KEDA writes unless told otherwise: that path stabilizes and limits by older rules.
    #[must_use]
    pub fn new(min: u32, max: u32, behavior: Option<Behavior>) -> Self {
        let (recommendations, added, removed) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            min,
            max,
            behavior,
            recommendations,
            added,
            removed,
            started: false,
        }
    }

    /// One sync: the count to set, from the current count and what the metrics ask for (`None`: unreadable,
    /// hold).
    pub fn reconcile(&mut self, now_ms: i64, current: u32, desired: Option<u32>) -> u32 {
        if !self.started {
            // This is why a restart of the controller blocks scale-down for one window.
            self.started = true;
            self.recommendations.push((now_ms, current));
        }
        let next = if current == 0 && self.min != 0 {
            return 0; // autoscaling is switched off
        } else if current > self.max {
            self.max
        } else if current < self.min {
            self.min
        } else {
            let Some(desired) = desired else { return current };
            match self.behavior.take() {
                None => self.without_behavior(now_ms, current, desired),
                Some(behavior) => {
                    let next = self.with_behavior(&behavior, now_ms, current, desired);
                    self.behavior = Some(behavior);
                    next
                }
            }
        };
        self.record_change(now_ms, current, next);
        next
    }

    /// The largest recommendation of five minutes, grown by at most a factor of two (or to four).
    fn without_behavior(&mut self, now_ms: i64, current: u32, desired: u32) -> u32 {
        // A recommendation exactly as old as the window counts here, unlike with `behavior`.
        self.recommendations
            .retain(|&(at_ms, _)| at_ms >= now_ms - DOWNSCALE_STABILIZATION_MS);
        self.recommendations.push((now_ms, desired));
        let stabilized = self
            .recommendations
            .iter()
            .map(|&(_, count)| count)
            .max()
            .unwrap_or(desired);
        let up_limit = current.saturating_mul(2).max(4);
        stabilized.min(self.max.min(up_limit)).max(self.min)
    }

    fn with_behavior(&mut self, behavior: &Behavior, now_ms: i64, current: u32, desired: u32) -> u32 {
        let within = |at_ms: i64, window_ms: i64| at_ms > now_ms - window_ms;
        let (up, down) = (&behavior.up, &behavior.down);
        let (mut least, mut most) = (desired, desired);
        for &(at_ms, count) in &self.recommendations {
            if within(at_ms, up.stabilization_ms) {
                least = least.min(count);
            }
            if within(at_ms, down.stabilization_ms) {
                most = most.max(count);
            }
        }
        let longest = up.stabilization_ms.max(down.stabilization_ms);
        self.recommendations.retain(|&(at_ms, _)| within(at_ms, longest));
        self.recommendations.push((now_ms, desired));

        let stabilized = current.max(least).min(most);
        match stabilized.cmp(&current) {
            Ordering::Greater => {
                let limit = self.limit(up, Direction::Up, now_ms, current);
                stabilized.min(self.max.min(limit.max(current)))
            }
            Ordering::Less => {
                let limit = self.limit(down, Direction::Down, now_ms, current);
                stabilized.max(self.min.max(limit.min(current)))
            }
            Ordering::Equal => current,
        }
    }

    /// How far the policies of a direction let the count go.
    fn limit(&self, rules: &ScalingRules, direction: Direction, now_ms: i64, current: u32) -> u32 {
        let changed = |events: &[ScaleEvent], period_ms: i64| -> i64 {
            events
                .iter()
                .filter(|event| event.at_ms > now_ms - period_ms)
                .map(|event| event.replicas)
                .sum()
        };
        let limits = rules.policies.iter().map(|policy| {
            let added = changed(&self.added, policy.period_ms);
            let base = i64::from(current) - added + changed(&self.removed, policy.period_ms);
            match (direction, policy.change) {
                (Direction::Up, Change::Pods(pods)) => base + i64::from(pods),
                (Direction::Down, Change::Pods(pods)) => base - i64::from(pods),
                (Direction::Up, Change::Percent(percent)) => i64::from(replicas(
                    (float(base) * (1.0 + f64::from(percent) / 100.0)).ceil(),
                )),
                (Direction::Down, Change::Percent(percent)) => i64::from(replicas(
                    (float(base) * (1.0 - f64::from(percent) / 100.0)).trunc(),
                )),
            }
        });
        let limit = match (rules.select, direction) {
            (SelectPolicy::Disabled, _) => None,
            (SelectPolicy::Max, Direction::Up) | (SelectPolicy::Min, Direction::Down) => limits.max(),
            (SelectPolicy::Min, Direction::Up) | (SelectPolicy::Max, Direction::Down) => limits.min(),
        };
        limit.map_or(current, |limit| u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
    }

    fn record_change(&mut self, now_ms: i64, from: u32, to: u32) {
        let Some(behavior) = &self.behavior else { return };
        let policies = behavior.up.policies.iter().chain(&behavior.down.policies);
        let longest = policies.map(|policy| policy.period_ms).max().unwrap_or(0);
        let replicas = i64::from(from.abs_diff(to));
        let events = match to.cmp(&from) {
            Ordering::Greater => &mut self.added,
            Ordering::Less => &mut self.removed,
            Ordering::Equal => return,
        };
        events.retain(|event| event.at_ms > now_ms - longest);
        events.push(ScaleEvent {
            at_ms: now_ms,
            replicas,
        });
    }
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

#[expect(clippy::cast_precision_loss, reason = "the original converts the same way")]
fn float(milli: i64) -> f64 {
    milli as f64
}

/// A count of replicas, held where the original's `int32` ends.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before the cast"
)]
fn replicas(count: f64) -> u32 {
    count.clamp(0.0, f64::from(i32::MAX)) as u32
}

#[cfg(test)]
mod tests;
