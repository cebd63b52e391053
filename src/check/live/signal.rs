//! One signal of a policy: whether its series are there, and whether they are what the policy takes them for.

use crate::api::QuerySource;
use crate::check::codes::{Entry, live as codes};
use crate::check::page::Page;
use crate::config::MetricsSource;
use crate::control::ports::{Answer, Completeness, SourceError, SourceErrorKind};
use crate::devices::{MEBIBYTES, Unit, WATTS};
use crate::policy::config::{Millis, SeriesUnit};
use crate::policy::dcgm::{DcgmMetric, DcgmUnit};
use crate::policy::sample::Dropped;

use super::fleet::Fleet;
use super::series::{is_exporter, kept_out, label_names};
use super::{Heard, Policy, Signal, SignalLine, few, span};

/// A result that is a share of something may go above the whole, but hardly this far.
const MOST_OF_A_SHARE: f64 = 5.0;

/// A signal, and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged<'p> {
    pub(super) policy: &'p Policy,
    pub(super) signal: &'p Signal,
    pub(super) source: &'p MetricsSource,
    /// Series of power and memory that are not there.
    pub(super) missing: &'p [&'static str],
}

impl Judged<'_> {
    /// Reports what is wrong; the line is there if there are series.
    pub(super) fn judge(&self, page: &mut Page<'_>, heard: &Heard) -> Option<SignalLine> {
        let answer = match &heard.samples {
            Ok(answer) => answer,
            Err(error) => {
                self.failed(page, error);
                return None;
            }
        };
        if let Completeness::Partial(words) = &answer.completeness {
            self.report(
                page,
                &codes::PARTIAL,
                "only a part",
                &format!("the source says: {words}"),
            );
        }
        if answer.series.is_empty() {
            self.empty(page, heard);
            return None;
        }
        let mut line = SignalLine {
            policy: self.policy.name.clone(),
            signal: self.signal.name.clone(),
            devices: None,
            reporting: None,
            interval_ms: None,
        };
        match &self.signal.query {
            QuerySource::Dcgm { metric, .. } => self.devices(page, *metric, answer, &mut line),
            QuerySource::Promql(_) | QuerySource::GpuRequests => self.expression(page, answer),
        }
        Some(line)
    }

    /// Where the query stands.
    fn path(&self) -> String {
        let field = match self.signal.query {
            QuerySource::Dcgm { .. } => ".dcgm.metric",
            QuerySource::Promql(_) => ".promql",
            QuerySource::GpuRequests => "",
        };
        format!("{}{field}", self.signal.path)
    }

    fn label_path(&self, label: &str) -> String {
        format!("{}.dcgm.matchLabels.{label}", self.signal.path)
    }

    fn report(&self, page: &mut Page<'_>, entry: &'static Entry, label: &str, what: &str) {
        let message = format!("signal `{}`: {what}", self.signal.name);
        page.about(entry, &self.path(), label, message);
    }

    fn report_with(&self, page: &mut Page<'_>, entry: &'static Entry, label: &str, what: &str, help: &str) {
        let message = format!("signal `{}`: {what}", self.signal.name);
        page.about(entry, &self.path(), label, message).help(help);
    }

    fn failed(&self, page: &mut Page<'_>, error: &SourceError) {
        let (entry, label): (&'static Entry, &str) = match error.kind {
            SourceErrorKind::TooLarge => (&codes::TOO_LARGE, "too much"),
            SourceErrorKind::Throttled(_) => (&codes::THROTTLED, "not answered"),
            SourceErrorKind::Timeout => (&codes::TOO_SLOW, "not answered in time"),
            _ => (&codes::QUERY_FAILS, "this fails"),
        };
        self.report(page, entry, label, &error.message);
    }

    fn empty(&self, page: &mut Page<'_>, heard: &Heard) {
        let QuerySource::Dcgm { metric, match_labels } = &self.signal.query else {
            let help = "try its parts in the query page of the source: one of them has no series";
            self.report_with(
                page,
                &codes::NO_SERIES,
                "gives nothing",
                "the expression gives nothing",
                help,
            );
            return;
        };
        if let Some(there) = heard
            .unmatched
            .as_ref()
            .filter(|answer| !answer.series.is_empty())
        {
            let kept = kept_out(match_labels, &there.series);
            let path = kept.label.map_or_else(
                || format!("{}.dcgm.matchLabels", self.signal.path),
                |label| self.label_path(label),
            );
            let message = format!("signal `{}`: {}", self.signal.name, kept.message);
            page.about(&codes::NO_SERIES, &path, "matches no series", message)
                .help(kept.help);
            return;
        }
        let name = metric.series();
        let what = format!("the source has no series {name}");
        let help = if heard.beside > 0 {
            format!("the exporter runs and does not report it: add {name} to its counters file")
        } else if metric.exported_by_default() {
            "see whether dcgm-exporter runs on the nodes, and whether this source scrapes it".to_owned()
        } else {
            format!(
                "see whether dcgm-exporter runs and is scraped; {name} has to be added to its counters file"
            )
        };
        self.report_with(page, &codes::NO_SERIES, "no such series", &what, &help);
    }

    fn devices(&self, page: &mut Page<'_>, metric: DcgmMetric, answer: &Answer, line: &mut SignalLine) {
        let mapping = self.source.label_mapping.labels();
        let fleet = Fleet::of(answer, &mapping);
        self.identities(page, metric, answer, &fleet);
        self.exported(page, answer);
        self.coverage(page, &fleet);
        if let Some(interval_ms) = fleet.interval_ms {
            self.interval(page, interval_ms);
        }
        self.units(page, metric, answer);
        let (count, names) = fleet.duplicates();
        if count > 0 {
            let names: Vec<&str> = names.into_iter().collect();
            let what = format!(
                "{count} of {} devices are there more than once at a time; their series differ in {}",
                fleet.len(),
                few(&names, 4)
            );
            self.report(page, &codes::DUPLICATES, "several series of a device", &what);
        }
        if !self.missing.is_empty() {
            let what = format!("the source has no {} for these labels", few(self.missing, 3));
            self.report(page, &codes::NO_GUARD, "nothing beside it", &what);
        }
        line.devices = Some(fleet.len());
        line.reporting = Some(fleet.reporting(self.policy.quality.max_age_ms));
        line.interval_ms = fleet.interval_ms;
    }

    /// Whether devices, instances and nodes can be told.
    fn identities(&self, page: &mut Page<'_>, metric: DcgmMetric, answer: &Answer, fleet: &Fleet<'_>) {
        if !fleet.nameless.is_empty() {
            let names = label_names(fleet.nameless.iter().copied());
            let what = format!(
                "{} of {} series tell neither a UUID nor a node and a GPU; they have {}",
                fleet.nameless.len(),
                answer.series.len(),
                if names.is_empty() {
                    "no labels".to_owned()
                } else {
                    few(&names, 12)
                }
            );
            self.report(page, &codes::NO_DEVICE, "which device?", &what);
        }
        let mapping = self.source.label_mapping.labels();
        let nodes = answer
            .series
            .iter()
            .filter_map(|series| mapping.node(series.labels));
        if let Some(node) = nodes.into_iter().find(|node| is_exporter(node)) {
            let carries = |label: &&String| {
                let mut all = answer.series.iter();
                all.any(|series| series.labels.get(label) == Some(node))
            };
            let label = mapping.node.iter().find(carries).map_or("node", String::as_str);
            let what = format!("`{label}` is `{node}`, which is a pod of the exporter and no node");
            self.report(page, &codes::EXPORTER_AS_NODE, "on which node?", &what);
        }
        let collapsed = |labels: &crate::recording::Labels| {
            let known = mapping.uuid.iter().chain(&mapping.mig_instance);
            known.into_iter().all(|label| labels.get(label).is_none())
        };
        let count = answer
            .series
            .iter()
            .filter(|series| collapsed(series.labels))
            .count();
        if metric == DcgmMetric::GraphicsEngineActive && count > 0 {
            let what = format!(
                "{count} of {} series have neither a UUID nor GPU_I_ID",
                answer.series.len()
            );
            self.report(page, &codes::MIG_COLLAPSED, "which instance?", &what);
        }
    }

    /// Labels of the policy that are the exporter's own.
    fn exported(&self, page: &mut Page<'_>, answer: &Answer) {
        for (label, value) in self.signal.match_labels() {
            if !matches!(label.as_str(), "pod" | "namespace" | "container") {
                continue;
            }
            let exported = format!("exported_{label}");
            let other = answer
                .series
                .iter()
                .find_map(|series| series.labels.get(&exported));
            if let Some(other) = other {
                let message = format!(
                    "signal `{}`: `{label}: {value}` is the exporter's; the workload's is `{exported}`, such as {other}",
                    self.signal.name
                );
                page.about(
                    &codes::EXPORTED,
                    &self.label_path(label),
                    "the exporter's own",
                    message,
                )
                .help(format!("match `{exported}`, or scrape with `honorLabels: true`"));
            }
        }
    }

    fn coverage(&self, page: &mut Page<'_>, fleet: &Fleet<'_>) {
        let quality = &self.policy.quality;
        let (all, reporting) = (fleet.len(), fleet.reporting(quality.max_age_ms));
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        // reporting ÷ all < min_coverage, in whole numbers.
        let known = count(reporting).saturating_mul(crate::policy::config::ONE);
        if all == 0 || known >= count(all).saturating_mul(quality.min_coverage) {
            return;
        }
        let silent = fleet.silent_nodes(quality.max_age_ms);
        let of = if silent.is_empty() {
            String::new()
        } else {
            format!("; silent are devices of {}", few(&silent, 3))
        };
        let what = format!(
            "{reporting} of {all} devices have a sample younger than {}, and minCoverage wants {} %{of}",
            span(quality.max_age_ms),
            quality.min_coverage / 10_000,
        );
        self.report(page, &codes::COVERAGE_LOW, "too few report", &what);
    }

    fn interval(&self, page: &mut Page<'_>, measured_ms: Millis) {
        let said_ms = self.policy.quality.scrape_interval_ms;
        if measured_ms.saturating_mul(2) >= said_ms
            && measured_ms.saturating_mul(2) <= said_ms.saturating_mul(3)
        {
            return;
        }
        let hold_ms = self.policy.quality.hold_limit_ms();
        let means = if measured_ms > hold_ms {
            "so every window has holes"
        } else if measured_ms > said_ms {
            "so one lost sample may leave a hole"
        } else {
            "so many samples may be lost before anybody notices"
        };
        let message = format!(
            "signal `{}`: samples come every {}, and scrapeInterval is {}; a sample speaks for its device for {}, {means}",
            self.signal.name,
            span(measured_ms),
            span(said_ms),
            span(hold_ms),
        );
        let help = format!(
            "set `dataQuality.scrapeInterval: {}`",
            span(measured_ms.max(1000))
        );
        let written = page.written("spec.dataQuality.scrapeInterval").is_some();
        let path = if written {
            "spec.dataQuality.scrapeInterval".to_owned()
        } else {
            self.path()
        };
        page.about(
            &codes::INTERVAL,
            &path,
            format!("every {}", span(measured_ms)),
            message,
        )
        .help(help);
    }

    /// Values that the metric cannot have.
    fn units(&self, page: &mut Page<'_>, metric: DcgmMetric, answer: &Answer) {
        let (full, range) = match metric.unit() {
            DcgmUnit::Percent => (0.0, "percent from 0 to 100"),
            DcgmUnit::Ratio => (0.0, "a ratio from 0 to 1"),
            // Full scale is each device's own; what no board has is wrong for all of them.
            DcgmUnit::MebibytesOfTotal => (*MEBIBYTES.end(), "MiB"),
            DcgmUnit::WattsOfLimit => (*WATTS.end(), "watts"),
        };
        let unit = Unit::Dcgm(metric, full);
        let all = answer.series.samples();
        let values = || {
            answer
                .series
                .iter()
                .flat_map(|series| series.samples.iter().map(|(_, value)| *value))
        };
        let is_out = |value: &f64| unit.normalize(*value) == Err(Dropped::OutOfRange);
        if let Some(example) = values().find(is_out) {
            let count = values().filter(is_out).count();
            let what =
                format!("{count} of {all} values are not {range}, such as {example}; they are dropped");
            self.report(page, &codes::OUT_OF_UNIT, "other values", &what);
            return;
        }
        // The exporter writes whole percentages, so these are shares that somebody made of them.
        let small = values().all(|value| (0.0..=1.0).contains(&value));
        let share = values().find(|value| value.fract() > 0.0);
        if let (DcgmUnit::Percent, true, Some(example)) = (metric.unit(), small, share) {
            let what = format!(
                "{} is percent from 0 to 100, and all {all} values lie between 0 and 1, such as {example}",
                metric.series()
            );
            self.report(page, &codes::OUT_OF_UNIT, "looks like a ratio", &what);
        }
    }

    fn expression(&self, page: &mut Page<'_>, answer: &Answer) {
        let count = answer.series.len();
        if count > 1 {
            let names = label_names(answer.series.iter().map(|series| series.labels.as_ref()));
            let what = format!(
                "the expression gives {count} series, with the labels {}",
                few(&names, 12)
            );
            self.report(page, &codes::SEVERAL_SERIES, "not one number", &what);
            return;
        }
        let Some(unit) = self.signal.unit else { return };
        let values = || {
            answer
                .series
                .iter()
                .flat_map(|series| series.samples.iter().map(|(_, value)| *value))
        };
        let too_much = match unit {
            SeriesUnit::Ratio => MOST_OF_A_SHARE,
            SeriesUnit::Percent => MOST_OF_A_SHARE * 100.0,
            SeriesUnit::Count | SeriesUnit::Gpus => f64::INFINITY,
        };
        let is_out = |value: &f64| {
            Unit::Series(unit).normalize(*value) == Err(Dropped::OutOfRange)
                || *value < 0.0
                || *value > too_much
        };
        if let Some(example) = values().find(is_out) {
            let word = match unit {
                SeriesUnit::Percent => "percent, 100 for all that there is",
                SeriesUnit::Ratio => "a ratio, 1 for all that there is",
                SeriesUnit::Count => "a number of things",
                SeriesUnit::Gpus => "a number of GPUs",
            };
            let what = format!(
                "{} of {} values are not {word}, such as {example}",
                values().filter(is_out).count(),
                answer.series.samples()
            );
            let help = "state the unit that the expression gives in `unit`, or scale the expression";
            self.report_with(page, &codes::OUT_OF_UNIT, "other values", &what, help);
        }
    }
}
