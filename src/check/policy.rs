//! Policies: the rules of the resource first, then everything that is valid and still ill-advised.
//!
//! Advice is given only about a policy whose rules hold: half of it would be about fields that have to change
//! anyway.

use crate::api::bounds::TargetKind;
use crate::api::{self, ApiError, GpuScalePolicy};
use crate::config::Config as Settings;
use crate::policy::Config;

use super::page::Page;
use super::{codes, culprit, metrics, promql, rehearsal, schedules, thresholds};

/// Checks a policy document.
pub(super) fn check(page: &mut Page<'_>, settings: Option<&Settings>) {
    read(page, settings);
}

/// Checks a policy document and gives it back where it can be run, for those who know more of its
/// surroundings.
pub(super) fn read(page: &mut Page<'_>, settings: Option<&Settings>) -> Option<(GpuScalePolicy, Config)> {
    let validated = if page.is_part() {
        api::validate_value(page.value.clone())
    } else {
        api::validate(page.text)
    };
    let policy = match validated {
        Ok(policy) => policy,
        Err(error) => {
            refused(page, &error);
            return None;
        }
    };
    if let Some(settings) = settings {
        names(page, &policy, settings);
    }
    for (index, signal) in policy.spec.signals.iter().enumerate() {
        metrics::check(page, &policy, signal, &format!("spec.signals[{index}]"));
    }
    thresholds::check(page, &policy);
    let config = match api::compile(&policy) {
        Ok(config) => config,
        Err(error) => {
            let message = format!("the policy is valid, but {}", error.problem);
            page.about(&codes::policy::NOT_RUN, &error.path, "asked for here", message)
                .help(error.remedy);
            return None;
        }
    };
    schedules::check(page, &config);
    rehearsal::check(page, &policy, &config);
    Some((policy, config))
}

/// Turns a refusal into findings.
fn refused(page: &mut Page<'_>, error: &ApiError) {
    match error {
        ApiError::Rules(violations) => {
            for violation in violations {
                culprit::report(page, violation);
            }
        }
        ApiError::Read {
            line,
            column,
            message,
        } => {
            let at = page.token(*line, *column);
            let (what, help) = culprit::split(message);
            let help = help.unwrap_or_else(|| {
                help_of(message, "`kubectl explain gpuscalepolicy.spec` lists all of them")
            });
            page.report(&codes::documents::FIELD, at, label_of(message), what)
                .help(help);
        }
        other @ ApiError::WrongKind { .. } => {
            let path = if page.written("kind").is_some() {
                "apiVersion"
            } else {
                "kind"
            };
            page.about(&codes::documents::UNKNOWN_KIND, path, "here", other.to_string());
        }
        other @ (ApiError::Value(_) | ApiError::Internal(_)) => {
            page.about(&codes::documents::FIELD, "spec", "in here", other.to_string());
        }
    }
}

/// What stands at the place of a reader's complaint.
pub(super) fn label_of(message: &str) -> &'static str {
    if message.starts_with("unknown field") {
        "there is no such field"
    } else if message.starts_with("unknown variant") {
        "there is no such value"
    } else if message.starts_with("missing field") {
        "something is missing in here"
    } else {
        "this cannot be"
    }
}

/// What to do about a reader's complaint that does not say it itself; `lists` says where all fields are
/// listed.
pub(super) fn help_of(message: &str, lists: &str) -> String {
    if message.starts_with("missing field") {
        "add the field".to_owned()
    } else if message.starts_with("unknown") {
        format!("remove or rename it; {lists}")
    } else {
        "replace the marked value by one that the message allows".to_owned()
    }
}

/// A rule of Azure Managed Prometheus (Microsoft's "Query Prometheus metrics using the API and PromQL").
fn one_metric_each(page: &mut Page<'_>, policy: &GpuScalePolicy) {
    for (index, signal) in policy.spec.signals.iter().enumerate() {
        let Some(text) = &signal.promql else { continue };
        let names = promql::metrics(text.as_str());
        if names.is_empty() || (names.len() == 1 && !names.contains(&None)) {
            continue;
        }
        let known: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
        let message = if known.len() > 1 {
            format!("the query names {} metrics: {}", known.len(), known.join(", "))
        } else {
            "the query selects metrics without naming one".to_owned()
        };
        page.about(
            &codes::metrics::ONE_METRIC,
            &format!("spec.signals[{index}].promql"),
            "refused by this source",
            message,
        );
    }
}

/// Names of sources and clusters must be in the configuration.
fn names(page: &mut Page<'_>, policy: &GpuScalePolicy, settings: &Settings) {
    let mut unknown = |path: &str, what: &str, name: &str, known: Vec<&str>| {
        if known.contains(&name) {
            return;
        }
        let has = if known.is_empty() {
            "it has none".to_owned()
        } else {
            format!("it has {}", known.join(", "))
        };
        let message = format!("the configuration has no {what} `{name}`; {has}");
        page.about(
            &codes::policy::NOT_CONFIGURED,
            path,
            format!("no such {what}"),
            message,
        );
    };
    let source = policy.spec.metrics_source.as_str();
    unknown(
        "spec.metricsSource",
        "metrics source",
        source,
        settings.source_names(),
    );
    let target = &policy.spec.target_ref;
    if let (TargetKind::AksNodePool, Some(cluster)) = (target.kind, &target.cluster) {
        unknown(
            "spec.targetRef.cluster",
            "AKS cluster",
            cluster.as_str(),
            settings.cluster_names(),
        );
    }
    let of_azure = settings
        .metrics_sources
        .iter()
        .find(|(name, _)| name.as_str() == source);
    if of_azure.is_some_and(|(_, source)| source.azure_managed_prometheus.is_some()) {
        one_metric_each(page, policy);
    }
}
