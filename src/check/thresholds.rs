//! Numbers of a policy that are within their bounds and still ill-chosen: thresholds, windows, delays.
//!
//! Only what can be said exactly is said: that a threshold is never read, that a window holds one sample,
//! that a delay is longer than a boot.

use crate::api::GpuScalePolicy;
use crate::api::behavior::StrategyKind;
use crate::api::duration::HumanDuration;
use crate::api::signal::{Across, DcgmMetric, Signal, Source, Unit, WindowRule};

use super::Finding;
use super::codes::metrics::POWER_FLOOR;
use super::codes::policy as codes;
use super::page::Page;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// The shortest boot of an A100 node that was measured on AKS is 5 minutes, the longest 12.
const LONG_BOOT_MS: i64 = 12 * MINUTE_MS;
/// One in a million of [`crate::api::numbers::Threshold`] and quantiles.
const ONE: i64 = 1_000_000;
/// Percent from which a device counts as pinned.
const PINNED_PERCENT: i64 = 95;
/// Percent of its limit that no data-centre GPU falls below while it is on.
const IDLE_POWER_PERCENT: i64 = 10;

/// Checks the numbers of a policy.
pub(super) fn check(page: &mut Page<'_>, policy: &GpuScalePolicy) {
    let scrape = policy.spec.data_quality.scrape_interval;
    for (index, signal) in policy.spec.signals.iter().enumerate() {
        let path = format!("spec.signals[{index}]");
        if is_share(signal) {
            shares(page, signal, &path);
            no_target(page, policy, signal, &path);
        }
        windows(page, signal, &path, scrape);
    }
    delays(page, policy);
    size(page, policy);
}

/// Whether the thresholds of a signal are percentages.
fn is_share(signal: &Signal) -> bool {
    matches!(
        signal.source(),
        Some(Source::Dcgm(_) | Source::PromQl(_, Unit::Percent | Unit::Ratio))
    )
}

fn shares(page: &mut Page<'_>, signal: &Signal, path: &str) {
    if let Some(up) = &signal.up
        && up.above.micros() == 100 * ONE
        && signal.across == Across::Mean
    {
        let message = "this is met only while every device reads exactly 100 in every sample";
        page.about(
            &codes::UNREACHABLE,
            &format!("{path}.up.above"),
            "next to never read",
            message,
        );
    }
    let Some(down) = &signal.down else { return };
    let below = down.below.micros();
    let at = format!("{path}.down.below");
    let is_power =
        matches!(signal.source(), Some(Source::Dcgm(dcgm)) if dcgm.metric == DcgmMetric::PowerRatio);
    if is_power && below < IDLE_POWER_PERCENT * ONE {
        let message = "an idle GPU draws 10 to 20 % of its power limit, so this is never met";
        page.about(&POWER_FLOOR, &at, "below the idle draw", message);
    } else if below == 0 {
        let message = "this is met only while every sample is exactly 0";
        page.about(&codes::UNREACHABLE, &at, "one health check prevents it", message);
    } else if below < ONE {
        let shown = page.text.get(page.at(&at)).unwrap_or_default().to_owned();
        let message = format!("this means {shown} %, next to nothing");
        page.about(&codes::FRACTION, &at, "a percentage", message)
            .help(format!("write {} for {} %", percent(below), percent(below)));
    }
    if down.rule == WindowRule::Quantile && down.quantile.is_some_and(|q| q.micros() <= ONE / 2) {
        let message =
            "the pool may shrink although it was above the threshold for half of the window or more";
        page.about(
            &codes::HASTY_SHRINK,
            &format!("{path}.down.quantile"),
            "half or less",
            message,
        );
    }
}

/// An up rule that permits what nothing asks for: without a target, demand is held against fully busy nodes,
/// and no reading exceeds those.
fn no_target(page: &mut Page<'_>, policy: &GpuScalePolicy, signal: &Signal, path: &str) {
    let is_step = matches!(policy.spec.strategy.kind(), Some(StrategyKind::Step(_)));
    let Some(up) = signal
        .up
        .as_ref()
        .filter(|_| signal.target_percentage.is_none() && !is_step)
    else {
        return;
    };
    let is_device = signal.dcgm.is_some();
    // Devices that are pinned hide demand, and the pool grows for that; a series tells nothing of devices.
    if is_device && up.above.micros() >= PINNED_PERCENT * ONE {
        return;
    }
    let message = if is_device {
        format!(
            "signal `{}` has no target: the pool grows only once devices are pinned at {PINNED_PERCENT} %",
            signal.name
        )
    } else {
        format!(
            "signal `{}` has no target, so it never asks for a node",
            signal.name
        )
    };
    let span = page
        .written(&format!("{path}.up"))
        .and_then(|place| place.key.clone());
    let span = span.unwrap_or_else(|| page.at(path));
    page.report(&codes::NO_TARGET, span, "permits what nothing asks for", message);
}

/// A fraction in millionths as the percentage that was meant.
fn percent(micros: i64) -> String {
    let hundredths = micros / 100;
    if hundredths % 100 == 0 {
        (hundredths / 100).to_string()
    } else {
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

fn windows(page: &mut Page<'_>, signal: &Signal, path: &str, scrape: HumanDuration) {
    if signal.gpu_requests.is_some() {
        return;
    }
    let mut spans = Vec::new();
    if let Some(up) = &signal.up {
        spans.push((format!("{path}.up"), up.r#for, up.quantile));
    }
    if let Some(down) = &signal.down {
        spans.push((format!("{path}.down"), down.r#for, down.quantile));
    }
    for (rule, window, quantile) in spans {
        // The part of the window beyond the quantile, in millisecond-millionths.
        let beyond = quantile.map(|q| window.as_millis() * (ONE - q.micros()).min(q.micros()));
        if window.as_millis() < 2 * scrape.as_millis() {
            let message = format!("a window of {window} holds one sample at a scrape interval of {scrape}");
            one_sample(page, &format!("{rule}.for"), "judged by one sample", message);
        } else if beyond.is_some_and(|beyond| beyond < scrape.as_millis() * ONE) {
            let message = format!(
                "with one sample every {scrape}, this quantile of {window} is a single sample, the largest \
                 or the smallest"
            );
            one_sample(
                page,
                &format!("{rule}.quantile"),
                "decided by one sample",
                message,
            )
            .help("choose a quantile nearer to the middle, or a longer window");
        }
    }
    let own_window = page.written(&format!("{path}.window")).is_some();
    if own_window && signal.window.as_millis() < 2 * scrape.as_millis() {
        let window = signal.window;
        let message = format!("a window of {window} holds one sample at a scrape interval of {scrape}");
        one_sample(page, &format!("{path}.window"), "averages one sample", message);
    }
}

fn one_sample<'f>(page: &'f mut Page<'_>, at: &str, label: &str, message: String) -> &'f mut Finding {
    let interval = page.written("spec.dataQuality.scrapeInterval").is_some();
    let other = interval.then(|| page.at("spec.dataQuality.scrapeInterval"));
    let finding = page.about(&codes::FEW_SAMPLES, at, label, message);
    if let Some(other) = other {
        finding.also(other, "the scrape interval");
    }
    finding
}

fn delays(page: &mut Page<'_>, policy: &GpuScalePolicy) {
    let spec = &policy.spec;
    let quality = &spec.data_quality;
    if quality.max_age.as_millis() < 2 * quality.scrape_interval.as_millis() {
        let (age, scrape) = (quality.max_age, quality.scrape_interval);
        let message = format!("data is stale after {age}, and a sample comes every {scrape}");
        page.about(
            &codes::IMPATIENT,
            "spec.dataQuality.maxAge",
            "less than two scrapes",
            message,
        );
    }
    let down = &spec.behavior.scale_down;
    let up = &spec.behavior.scale_up;
    for (path, delay, limit_ms, what) in [
        (
            "spec.behavior.scaleDown.stabilization",
            down.stabilization,
            12 * HOUR_MS,
            "before it shrinks",
        ),
        (
            "spec.behavior.scaleDown.cooldown",
            down.cooldown,
            12 * HOUR_MS,
            "between two steps down",
        ),
        (
            "spec.behavior.scaleUp.stabilization",
            up.stabilization,
            5 * MINUTE_MS,
            "before it grows",
        ),
        (
            "spec.settle",
            spec.settle,
            20 * MINUTE_MS,
            "after each resize before it grows again",
        ),
    ] {
        if delay.as_millis() > limit_ms {
            let message = format!("the pool waits {delay} {what}");
            page.about(&codes::LONG_DELAY, path, "very long", message);
        }
    }
    if let Some(timeout) = spec.provision_timeout
        && timeout.as_millis() < LONG_BOOT_MS
    {
        let message =
            format!("nodes that are not Ready after {timeout} are asked for again, and a boot may take 12m");
        page.about(
            &codes::SHORT_PROVISION,
            "spec.provisionTimeout",
            "shorter than a boot",
            message,
        );
    }
}

fn size(page: &mut Page<'_>, policy: &GpuScalePolicy) {
    let spec = &policy.spec;
    let Some(bounds) = spec.bounds() else { return };
    if bounds.min != bounds.max || !spec.schedules().is_empty() {
        return;
    }
    let max = if spec.max_nodes.is_some() {
        "maxNodes"
    } else {
        "maxReplicas"
    };
    let min = if spec.max_nodes.is_some() {
        "minNodes"
    } else {
        "minReplicas"
    };
    let message = format!("{min} and {max} are both {}", bounds.max.get());
    let other = page.written(&format!("spec.{min}")).is_some();
    let other = other.then(|| page.at(&format!("spec.{min}")));
    let finding = page.about(
        &codes::FIXED_SIZE,
        &format!("spec.{max}"),
        "also the minimum",
        message,
    );
    if let Some(other) = other {
        finding.also(other, "also the maximum");
    }
}
