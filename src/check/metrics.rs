//! What a signal looks at: DCGM metrics and their labels here, expressions in [`super::promql`].

use crate::api::GpuScalePolicy;
use crate::api::bounds::TargetKind;
use crate::api::signal::{DcgmMetric, DcgmSource, Signal, Source};

use super::codes::metrics as codes;
use super::page::Page;
use super::promql;
use super::series::{Carried, carries};

/// Checks the source of the signal at `path`.
pub(super) fn check(page: &mut Page<'_>, policy: &GpuScalePolicy, signal: &Signal, path: &str) {
    match signal.source() {
        Some(Source::Dcgm(dcgm)) => {
            metric(page, policy, signal, dcgm, path);
            labels(page, dcgm, path);
        }
        Some(Source::PromQl(query, unit)) => {
            promql::check(page, signal, query.as_str(), unit, path);
        }
        Some(Source::GpuRequests) | None => {}
    }
}

fn metric(page: &mut Page<'_>, policy: &GpuScalePolicy, signal: &Signal, dcgm: &DcgmSource, path: &str) {
    let at = format!("{path}.dcgm.metric");
    match dcgm.metric {
        DcgmMetric::GpuUtilization => mig(page, policy, dcgm, path),
        DcgmMetric::SmActive => {
            let message =
                "SmActive reads DCGM_FI_PROF_SM_ACTIVE, which the exporter's default counters leave out";
            page.about(&codes::CUSTOM_COUNTERS, &at, "not exported by default", message);
        }
        DcgmMetric::MemoryUsed
            if signal.down.is_none() || signal.up.is_some() || signal.target_percentage.is_some() =>
        {
            let message = format!(
                "signal `{}` grows the pool by the memory that is held",
                signal.name
            );
            page.about(&codes::MEMORY_IS_NOT_LOAD, &at, "memory, not load", message);
        }
        _ => {}
    }
}

/// `GpuUtilization` where MIG is.
fn mig(page: &mut Page<'_>, policy: &GpuScalePolicy, dcgm: &DcgmSource, path: &str) {
    let at = format!("{path}.dcgm.metric");
    let label = dcgm
        .match_labels
        .keys()
        .find(|label| label.as_str().starts_with("GPU_I_"));
    if let Some(label) = label {
        let selector = page.at(&format!("{path}.dcgm.matchLabels.{label}"));
        let message = format!("`{label}` selects MIG instances, and GpuUtilization does not exist for them");
        page.about(&codes::NOT_FOR_MIG, &at, "not for MIG", message)
            .also(selector, "selects MIG instances");
        return;
    }
    let target = &policy.spec.target_ref;
    if target.kind == TargetKind::AksNodePool && target.name.as_str().starts_with("mig") {
        let pool = page.at("spec.targetRef.name");
        let message = format!(
            "pool `{}` is called after MIG, where GpuUtilization does not exist",
            target.name
        );
        page.about(&codes::NOT_FOR_MIG, &at, "not for MIG", message)
            .also(pool, "looks like a pool of MIG instances");
    }
}

fn labels(page: &mut Page<'_>, dcgm: &DcgmSource, path: &str) {
    for label in dcgm.match_labels.keys() {
        let at = format!("{path}.dcgm.matchLabels.{label}");
        let span = page.written(&at).and_then(|place| place.key.clone());
        let span = span.unwrap_or_else(|| page.at(&at));
        report_label(page, label.as_str(), span, "matched");
    }
}

/// Reports a label of DCGM series that they do not carry, or not everywhere.
pub(super) fn report_label(page: &mut Page<'_>, label: &str, span: std::ops::Range<usize>, used: &str) {
    match carries(label) {
        Carried::Always => {}
        Carried::Never => {
            let message = format!("dcgm-exporter never sets `{label}`, which is {used} here");
            page.report(&codes::LABEL_NOT_SET, span, "no series has it", message);
        }
        Carried::Depends(other) => {
            let message = if other.eq_ignore_ascii_case(label) {
                format!("other versions of the exporter write `{label}` as `{other}`")
            } else {
                format!("`{label}` may name the exporter itself, and the workload's be `{other}`")
            };
            page.report(&codes::LABEL_AMBIGUOUS, span, format!("or `{other}`?"), message);
        }
        Carried::Elsewhere => {
            let message =
                format!("dcgm-exporter does not set `{label}`; it is there only if the scrape adds it");
            page.report(&codes::LABEL_AMBIGUOUS, span, "added by the scrape?", message)
                .help("make sure that the scrape adds this label, or match by one that the exporter sets");
        }
    }
}
