//! From a checked document to what the engine is told.
//!
//! One direction, once, at the edge: percentages become fractions in millionths, durations milliseconds,
//! names of defaults their values. The engine's unit of size is a node; for a `ScaledObject` policy it is a
//! replica, and the same arithmetic holds with "GPUs per replica".
//!
//! This module must not decide anything: a field that it cannot translate is an error with the field's path.

use jiff::tz::TimeZone;

use crate::policy::config::{self, Config, Micro};
use crate::policy::{dcgm, schedule};

use super::behavior::{RatePolicy, RateType, ScaleDown, ScaleUp, SelectPolicy, StrategyKind};
use super::bounds::{DataQuality, ScaleIn, Schedule, Victims};
use super::defaults;
use super::duration::HumanDuration;
use super::numbers::{NodeCount, Percent, Quantile, StepSize, Threshold};
use super::policy::{GpuScalePolicy, GpuScalePolicySpec, SizeBounds, Workload};
use super::signal::{Absent, Across, DcgmMetric, Signal, Source, Unit, WindowRule};

/// A checked policy that the engine cannot be told about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}; {remedy}")]
pub struct CompileError {
    /// Path of the field, such as `spec.signals[0]`.
    pub path: String,
    /// What is wrong with it.
    pub problem: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl CompileError {
    fn new(path: impl Into<String>, problem: &'static str, remedy: &'static str) -> Self {
        Self {
            path: path.into(),
            problem,
            remedy,
        }
    }
}

/// Translates a policy that [`validate`](fn@super::validate) returned.
///
/// # Errors
///
/// A [`CompileError`] when the policy uses what the engine does not have (`strategy.forecast`), or when it
/// was not validated and breaks a rule that the translation rests on.
pub fn compile(policy: &GpuScalePolicy) -> Result<Config, CompileError> {
    let spec = &policy.spec;
    let SizeBounds { min, max } = spec.bounds().ok_or_else(|| {
        CompileError::new(
            "spec",
            "the largest size is missing",
            "set maxNodes (maxReplicas for a ScaledObject)",
        )
    })?;
    let signals = indexed(&spec.signals, "spec.signals", signal)?;
    Ok(Config {
        strategy: strategy(spec)?,
        workload: match spec.workload {
            Workload::Shared => config::Workload::Shared,
            Workload::Exclusive => config::Workload::Exclusive,
        },
        min_nodes: min.get(),
        max_nodes: max.get(),
        spare_nodes: spec.spare_nodes().get(),
        up: scale_up(&spec.behavior.scale_up),
        down: scale_down(&spec.behavior.scale_down),
        settle_ms: spec.settle.as_millis(),
        provision_timeout_ms: spec.provision_timeout().as_millis(),
        evaluation_interval_ms: spec.evaluation_interval.as_millis(),
        budget_micro_usd_per_hour: spec.budget.as_ref().map(|budget| budget.usd_per_hour.micros()),
        schedules: indexed(spec.schedules(), "spec.schedules", schedule)?,
        scale_in: scale_in(&spec.scale_in()),
        data_quality: data_quality(&spec.data_quality, &signals),
        saturation: config::Saturation {
            step: Micro::from(spec.saturation_step.get()) * PERCENT,
            ..config::Saturation::default()
        },
        suspend: if spec.suspend {
            config::Suspend::Suspended
        } else {
            config::Suspend::Active
        },
        signals,
    })
}

/// One percent as a fraction in millionths.
const PERCENT: Micro = config::ONE / 100;

/// Translates a list, with the path of the item in an error.
fn indexed<T, U>(
    items: &[T],
    list: &str,
    translate: fn(&T, &str) -> Result<U, CompileError>,
) -> Result<Vec<U>, CompileError> {
    items
        .iter()
        .enumerate()
        .map(|(index, item)| translate(item, &format!("{list}[{index}]")))
        .collect()
}

fn strategy(spec: &GpuScalePolicySpec) -> Result<config::Strategy, CompileError> {
    match spec.strategy.kind() {
        Some(StrategyKind::Step(step)) => Ok(config::Strategy::Step {
            up: step.up.get(),
            down: step.down.get(),
        }),
        Some(StrategyKind::TargetUtilization) => Ok(config::Strategy::TargetUtilization),
        Some(StrategyKind::Forecast(_)) => Err(CompileError::new(
            "spec.strategy.forecast",
            "this version of the engine does not forecast",
            "use targetUtilization",
        )),
        None => Err(CompileError::new(
            "spec.strategy",
            "not exactly one strategy",
            "set one of step, targetUtilization or forecast",
        )),
    }
}

fn signal(signal: &Signal, path: &str) -> Result<config::Signal, CompileError> {
    let source = match signal.source() {
        Some(Source::Dcgm(dcgm)) => config::SignalSource::Device(metric(dcgm.metric)),
        Some(Source::PromQl(_, unit)) => config::SignalSource::Series(series_unit(unit)),
        Some(Source::GpuRequests) => config::SignalSource::GpuRequests,
        None => {
            return Err(CompileError::new(
                path,
                "not exactly one source",
                "set one of dcgm, promql (with unit) or gpuRequests",
            ));
        }
    };
    let scale = Scale::of(source);
    let up = match &signal.up {
        Some(up) => Some(rule(
            up.above,
            up.r#for,
            (up.rule, up.quantile),
            scale,
            &format!("{path}.up"),
        )?),
        None => None,
    };
    let down = match &signal.down {
        Some(down) => Some(rule(
            down.below,
            down.r#for,
            (down.rule, down.quantile),
            scale,
            &format!("{path}.down"),
        )?),
        None => None,
    };
    // A utilization with nothing but a name aims at the default target; one with rules only is a guard.
    let bare_utilization = scale != Scale::Load && up.is_none() && down.is_none();
    let default_target = bare_utilization.then_some(defaults::TARGET_PERCENTAGE);
    Ok(config::Signal {
        name: signal.name.as_str().to_owned(),
        source,
        across: match signal.across {
            Across::Mean => config::Across::Mean,
            Across::Max => config::Across::Max,
        },
        target: signal
            .target_percentage
            .or(default_target)
            .map(Percent::ratio_micros),
        per_node: signal
            .per_node
            .or(signal.per_replica)
            .map(super::numbers::LoadPerNode::micros),
        up,
        down,
        demand_window_ms: signal.window.as_millis(),
        absent: match signal.absent {
            Absent::Unknown => config::Absent::Unknown,
            Absent::Zero => config::Absent::Zero,
        },
    })
}

/// What the number in a signal's thresholds means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Percent of a device; the engine wants the fraction.
    Percent,
    /// Busy GPUs, as written.
    Gpus,
    /// A count, as written.
    Load,
}

impl Scale {
    fn of(source: config::SignalSource) -> Self {
        use config::{SeriesUnit, SignalSource};
        match source {
            SignalSource::Device(_) | SignalSource::Series(SeriesUnit::Percent | SeriesUnit::Ratio) => {
                Self::Percent
            }
            SignalSource::Series(SeriesUnit::Gpus) => Self::Gpus,
            SignalSource::Series(SeriesUnit::Count) | SignalSource::GpuRequests => Self::Load,
        }
    }

    fn threshold(self, threshold: Threshold) -> Micro {
        match self {
            Self::Percent => threshold.micros() / 100,
            Self::Gpus | Self::Load => threshold.micros(),
        }
    }
}

fn rule(
    threshold: Threshold,
    window: HumanDuration,
    statistic: (WindowRule, Option<Quantile>),
    scale: Scale,
    path: &str,
) -> Result<config::Rule, CompileError> {
    let statistic = match statistic {
        (WindowRule::Mean, None) => config::Statistic::Mean,
        (WindowRule::Hold, None) => config::Statistic::Hold,
        (WindowRule::Quantile, Some(quantile)) => config::Statistic::Quantile(quantile.micros()),
        _ => {
            return Err(CompileError::new(
                path,
                "rule Quantile and the field quantile go together",
                "set both or neither",
            ));
        }
    };
    Ok(config::Rule {
        threshold: scale.threshold(threshold),
        window_ms: window.as_millis(),
        statistic,
    })
}

pub(super) fn metric(metric: DcgmMetric) -> dcgm::DcgmMetric {
    match metric {
        DcgmMetric::GpuUtilization => dcgm::DcgmMetric::GpuUtilization,
        DcgmMetric::GraphicsEngineActive => dcgm::DcgmMetric::GraphicsEngineActive,
        DcgmMetric::SmActive => dcgm::DcgmMetric::SmActive,
        DcgmMetric::TensorActive => dcgm::DcgmMetric::TensorActive,
        DcgmMetric::DramActive => dcgm::DcgmMetric::DramActive,
        DcgmMetric::MemoryUsed => dcgm::DcgmMetric::MemoryUsed,
        DcgmMetric::PowerRatio => dcgm::DcgmMetric::PowerRatio,
    }
}

fn series_unit(unit: Unit) -> config::SeriesUnit {
    match unit {
        Unit::Percent => config::SeriesUnit::Percent,
        Unit::Ratio => config::SeriesUnit::Ratio,
        Unit::Count => config::SeriesUnit::Count,
        Unit::Gpus => config::SeriesUnit::Gpus,
    }
}

fn scale_up(up: &ScaleUp) -> config::Behavior {
    let defaults = [
        (
            config::RateKind::Nodes,
            defaults::SCALE_UP_NODES,
            defaults::SCALE_UP_PERIOD,
        ),
        (
            config::RateKind::Percent,
            defaults::SCALE_UP_PERCENT,
            defaults::SCALE_UP_PERIOD,
        ),
    ];
    config::Behavior {
        policies: rates(&up.policies, &defaults),
        select: select(up.select_policy),
        tolerance: up.tolerance.micros(),
        stabilization_ms: up.stabilization.as_millis(),
        // Growth waits for `settle` and for the evidence window; a further wait would only be late.
        cooldown_ms: 0,
    }
}

fn scale_down(down: &ScaleDown) -> config::Behavior {
    let defaults = [(
        config::RateKind::Percent,
        defaults::SCALE_DOWN_PERCENT,
        defaults::SCALE_DOWN_PERIOD,
    )];
    config::Behavior {
        policies: rates(&down.policies, &defaults),
        select: select(down.select_policy),
        tolerance: down.tolerance.micros(),
        stabilization_ms: down.stabilization.as_millis(),
        cooldown_ms: down.cooldown.as_millis(),
    }
}

/// The rates of a direction, or the default ones where none is given.
fn rates(
    policies: &[RatePolicy],
    defaults: &[(config::RateKind, StepSize, HumanDuration)],
) -> Vec<config::RatePolicy> {
    let rate = |(kind, value, period): (config::RateKind, StepSize, HumanDuration)| config::RatePolicy {
        kind,
        value: value.get(),
        period_ms: period.as_millis(),
    };
    if policies.is_empty() {
        return defaults.iter().copied().map(rate).collect();
    }
    let kind = |policy: &RatePolicy| match policy.r#type {
        RateType::Nodes | RateType::Pods => config::RateKind::Nodes,
        RateType::Percent => config::RateKind::Percent,
    };
    policies
        .iter()
        .map(|policy| rate((kind(policy), policy.value, policy.period)))
        .collect()
}

fn select(select: SelectPolicy) -> config::SelectPolicy {
    match select {
        SelectPolicy::Max => config::SelectPolicy::Max,
        SelectPolicy::Min => config::SelectPolicy::Min,
        SelectPolicy::Disabled => config::SelectPolicy::Disabled,
    }
}

fn schedule(schedule: &Schedule, path: &str) -> Result<schedule::Schedule, CompileError> {
    let time_zone = TimeZone::get(schedule.time_zone.as_str()).map_err(|_| {
        CompileError::new(
            format!("{path}.timeZone"),
            "not in the time zone database",
            "use an IANA name such as Europe/Berlin",
        )
    })?;
    Ok(schedule::Schedule {
        name: schedule.name.as_str().to_owned(),
        cron: schedule.cron.cron().clone(),
        time_zone,
        duration_ms: schedule.duration.as_millis(),
        min_nodes: schedule.min_nodes.or(schedule.min_replicas).map(NodeCount::get),
        max_nodes: schedule.max_nodes.or(schedule.max_replicas).map(NodeCount::get),
    })
}

fn scale_in(scale_in: &ScaleIn) -> config::ScaleIn {
    config::ScaleIn {
        victims: match scale_in.victims {
            Victims::IdleFirst => config::VictimPolicy::IdleFirst,
            Victims::Drain => config::VictimPolicy::Drain,
            Victims::PlatformChooses => config::VictimPolicy::PlatformChooses,
        },
        drain_timeout_ms: scale_in.drain_timeout.as_millis(),
        replace_unhealthy: if scale_in.replace_unhealthy {
            config::Replace::Unhealthy
        } else {
            config::Replace::Never
        },
    }
}

/// A node is idle when it was idle over the longest down window: whoever gives a signal half an hour before
/// the pool may shrink means each of its nodes too.
fn data_quality(quality: &DataQuality, signals: &[config::Signal]) -> config::DataQuality {
    let longest_down = signals
        .iter()
        .filter_map(|s| s.down.as_ref())
        .map(|down| down.window_ms)
        .max();
    config::DataQuality {
        min_coverage: quality.min_coverage.micros(),
        max_age_ms: quality.max_age.as_millis(),
        scrape_interval_ms: quality.scrape_interval.as_millis(),
        warm_up_ms: quality.warm_up.as_millis(),
        idle_window_ms: longest_down.unwrap_or(defaults::IDLE_WINDOW.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::validate;

    const POOL: &str = "
apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: p }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  maxNodes: 12
";

    const REPLICAS: &str = "
apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: p }
spec:
  targetRef: { kind: ScaledObject, name: vllm }
  minReplicas: 2
  maxReplicas: 9
  scaler: { publish: DesiredReplicas }
";

    fn compiled(form: &str, rest: &str) -> Config {
        let policy = validate(&format!("{form}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        compile(&policy).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_least_policy_gets_every_default() {
        let config = compiled(
            POOL,
            "  signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]\n",
        );
        assert_eq!(
            (config.min_nodes, config.max_nodes, config.spare_nodes),
            (1, 12, 0)
        );
        assert_eq!(config.strategy, config::Strategy::TargetUtilization);
        assert_eq!(config.suspend, config::Suspend::Active);
        assert_eq!(config.signals[0].target, Some(850_000));
        assert_eq!(config.signals[0].demand_window_ms, 60_000);
        assert_eq!(
            config.data_quality.idle_window_ms,
            defaults::IDLE_WINDOW.as_millis()
        );
        let rate = |kind, value, period_ms| config::RatePolicy {
            kind,
            value,
            period_ms,
        };
        let up = [
            rate(config::RateKind::Nodes, 4, 60_000),
            rate(config::RateKind::Percent, 100, 60_000),
        ];
        assert_eq!(config.up.policies, up);
        assert_eq!(
            config.down.policies,
            [rate(config::RateKind::Percent, 25, 600_000)]
        );
        assert_eq!(config.saturation, config::Saturation::default());
        assert_eq!(config.provision_timeout_ms, 1_200_000);
    }

    /// One signal, its source, target, load per node, and the thresholds of its rules.
    fn check(
        signal: &str,
        source: config::SignalSource,
        target: Option<Micro>,
        per_node: Option<Micro>,
        thresholds: (Option<Micro>, Option<Micro>),
    ) {
        let config = compiled(POOL, &format!("  signals: [ {{ name: s, {signal} }} ]\n"));
        let got = &config.signals[0];
        assert_eq!(got.source, source, "{signal}");
        assert_eq!(got.target, target, "{signal}");
        assert_eq!(got.per_node, per_node, "{signal}");
        let threshold = |rule: &Option<config::Rule>| rule.as_ref().map(|rule| rule.threshold);
        assert_eq!((threshold(&got.up), threshold(&got.down)), thresholds, "{signal}");
    }

    #[test]
    fn numbers_change_to_the_engines_units() {
        use config::{SeriesUnit, SignalSource};
        let gpu = SignalSource::Device(dcgm::DcgmMetric::GraphicsEngineActive);
        check(
            "dcgm: { metric: GraphicsEngineActive }, targetPercentage: 72.5, up: { above: 80 }, down: { \
                below: 30 }",
            gpu,
            Some(725_000),
            None,
            (Some(800_000), Some(300_000)),
        );
        check(
            "dcgm: { metric: GraphicsEngineActive }, down: { below: 5 }",
            gpu,
            None,
            None,
            (None, Some(50_000)),
        );
        check(
            "promql: x, unit: ratio, up: { above: 80 }",
            SignalSource::Series(SeriesUnit::Ratio),
            None,
            None,
            (Some(800_000), None),
        );
        check(
            "promql: x, unit: count, perNode: 8, up: { above: 20 }",
            SignalSource::Series(SeriesUnit::Count),
            None,
            Some(8_000_000),
            (Some(20_000_000), None),
        );
        check(
            "promql: x, unit: gpus, targetPercentage: 80, up: { above: 6.5 }",
            SignalSource::Series(SeriesUnit::Gpus),
            Some(800_000),
            None,
            (Some(6_500_000), None),
        );
        check(
            "gpuRequests: {}",
            SignalSource::GpuRequests,
            None,
            None,
            (None, None),
        );
    }

    #[test]
    fn replicas_are_the_nodes_of_a_scaled_object() {
        let rest = "  signals: [ { name: queue, promql: q, unit: count, perReplica: 4 } ]
  behavior: { scaleUp: { policies: [ { type: Pods, value: 3, period: 30s } ] } }
  schedules: [ { name: day, cron: '0 8 * * 1-5', timeZone: Asia/Tokyo, duration: 10h, minReplicas: 4 } ]
";
        let config = compiled(REPLICAS, rest);
        assert_eq!((config.min_nodes, config.max_nodes), (2, 9));
        assert_eq!(config.signals[0].per_node, Some(4_000_000));
        assert_eq!(config.up.policies[0].kind, config::RateKind::Nodes);
        assert_eq!(
            (config.schedules[0].min_nodes, config.schedules[0].max_nodes),
            (Some(4), None)
        );
    }

    #[test]
    fn rules_keep_their_windows_and_statistics() {
        let rest = "  signals:
    - name: gpu
      dcgm: { metric: SmActive }
      up: { above: 85, for: 2m, rule: Quantile, quantile: 0.9 }
      down: { below: 20, for: 45m }
";
        let config = compiled(POOL, rest);
        let signal = &config.signals[0];
        assert_eq!(signal.up.unwrap().statistic, config::Statistic::Quantile(900_000));
        assert_eq!(signal.up.unwrap().window_ms, 120_000);
        assert_eq!(signal.down.unwrap().statistic, config::Statistic::Hold);
        assert_eq!(config.data_quality.idle_window_ms, 45 * 60_000);
    }

    #[test]
    fn what_the_engine_lacks_is_named_with_a_remedy() {
        let rest =
            "  signals: [ { name: pods, gpuRequests: {} } ]\n  strategy: { forecast: { missPenalty: 10 } }\n";
        let policy = validate(&format!("{POOL}{rest}")).unwrap();
        assert_eq!(
            compile(&policy).expect_err("no forecast yet").to_string(),
            "spec.strategy.forecast: this version of the engine does not forecast; use targetUtilization"
        );
    }

    #[test]
    fn a_document_that_was_not_validated_is_refused_with_its_path() {
        let mut policy = validate(&format!(
            "{POOL}  signals: [ {{ name: pods, gpuRequests: {{}} }} ]\n"
        ))
        .unwrap();
        policy.spec.signals[0].gpu_requests = None;
        assert_eq!(compile(&policy).expect_err("no source").path, "spec.signals[0]");
        policy.spec.max_nodes = None;
        assert_eq!(compile(&policy).expect_err("no bound").path, "spec");
    }
}
