//! Scenarios and suites: their fields, the files that they name, and what the recording says about the rest.
//!
//! A scenario can be read without its recording and still be about nothing: a fault after the end, a series
//! that is not there, a peak that no size serves. So the files are asked for, and what is in them is held
//! against the document.

mod pool;

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use crate::api::reworded;
use crate::config::Config;
use crate::recording::{self, Demand, Format, ReadError, Recording};
use crate::simulator::scenario::{PolicySource, Reading, Scenario, ScenarioError};
use crate::simulator::scenario_suite::Suite;

use super::codes::{documents, scenarios as codes};
use super::page::Page;
use super::policy::{self, help_of, label_of};
use super::{Checked, Surroundings, culprit};

/// Bytes that are enough to tell a recording's format.
const HEAD: u64 = 1 << 16;
/// The first bytes of a recording of demand.
const DEMAND_HEADER: &[u8] = b"timestamp,series,value,unit";

/// Checks a scenario; gives back its policy's file, where it names one.
pub(super) fn check(
    page: &mut Page<'_>,
    name: &str,
    around: &dyn Surroundings,
    config: Option<&Config>,
) -> Option<Checked> {
    let scenario = match Scenario::parse(page.text) {
        Ok(scenario) => scenario,
        Err(error) => {
            refused(page, &error);
            return None;
        }
    };
    let demand = demand(page, name, around, &scenario);
    let (policy, other) = match &scenario.policy {
        Some(PolicySource::Path(path)) => policy_file(page, name, path, around, config),
        Some(PolicySource::Inline(_)) => (page.within("policy", |page| policy::read(page, config)), None),
        None => (None, None),
    };
    pool::check(
        page,
        &scenario,
        policy.as_ref().map(|(_, config)| config),
        demand.as_ref(),
    );
    other
}

/// Checks the policy in a file of its own.
fn policy_file(
    page: &mut Page<'_>,
    name: &str,
    path: &str,
    around: &dyn Surroundings,
    config: Option<&Config>,
) -> (
    Option<(crate::api::GpuScalePolicy, crate::policy::Config)>,
    Option<Checked>,
) {
    let text = around
        .bytes(name, path)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()));
    let text = match text {
        Ok(text) => text,
        Err(reason) => {
            let message = format!("cannot open policy `{path}`: {reason}");
            page.about(&codes::MISSING_FILE, "policy", "named here", message);
            return (None, None);
        }
    };
    let mut other = Page::new(&text);
    let policy = match other.read() {
        Some(super::Kind::Policy) => policy::read(&mut other, config),
        Some(_) => {
            let span = other.at("name");
            let message = "a scenario names this document as its policy, and it is none";
            other.report(&documents::UNKNOWN_KIND, span, "not a policy", message);
            None
        }
        None => None,
    };
    let mut findings: Vec<_> = other.findings_from(0).collect();
    findings.sort_by_key(|finding| finding.at.span.start);
    let checked = Checked {
        name: around.name(name, path),
        findings,
        text,
    };
    (policy, Some(checked))
}

/// Checks a suite.
pub(super) fn check_suite(page: &mut Page<'_>, name: &str, around: &dyn Surroundings) {
    let suite = match Suite::parse(page.text) {
        Ok(suite) => suite,
        Err(error) => {
            refused(page, &error);
            return;
        }
    };
    let mut read: BTreeMap<String, Option<Recording>> = BTreeMap::new();
    for (index, trace) in suite.traces.iter().enumerate() {
        let path = format!("traces[{index}]");
        if !read.contains_key(&trace.recording) {
            let at = format!("{path}.recording");
            let recording = open(page, name, around, &trace.recording, &at, &Reading::default());
            read.insert(trace.recording.clone(), recording);
        }
        if let Some(Some(recording)) = read.get(&trace.recording) {
            series(page, recording, trace.series.as_deref(), &format!("{path}."));
        }
    }
}

/// The demand of a scenario, where its recording holds one. Recordings of metrics are read to the end, so
/// that what is wrong with them is known before a long simulation.
fn demand(page: &mut Page<'_>, name: &str, around: &dyn Surroundings, scenario: &Scenario) -> Option<Demand> {
    let reading = &scenario.reading;
    let mut demand = None;
    for (index, path) in scenario.recordings.iter().enumerate() {
        let item = format!("recording[{index}]");
        let at = if page.written(&item).is_some() {
            item.as_str()
        } else {
            "recording"
        };
        let recording = open(page, name, around, path, at, reading);
        if let Some(recording) = recording.filter(|_| scenario.recordings.len() == 1) {
            demand = series(page, &recording, scenario.series.as_deref(), "").cloned();
        }
    }
    for (signal, path) in &reading.signals {
        open(page, name, around, path, &format!("signals.{signal}"), reading);
    }
    match demand?.scaled(scenario.scale) {
        Ok(demand) => Some(demand),
        Err(error) => {
            page.about(&codes::SCENARIO, "scale", "with this factor", error.to_string());
            None
        }
    }
}

/// Opens and reads a recording, and gives back one of demand.
fn open(
    page: &mut Page<'_>,
    name: &str,
    around: &dyn Surroundings,
    path: &str,
    at: &str,
    reading: &Reading,
) -> Option<Recording> {
    let bytes = match around.bytes(name, path) {
        Ok(bytes) => bytes,
        Err(reason) => {
            let message = format!("cannot open recording `{path}`: {reason}");
            page.about(&codes::MISSING_FILE, at, "named here", message);
            return None;
        }
    };
    match read(&bytes, reading) {
        Ok(recording) => recording,
        Err((what, help)) => {
            let message = format!("recording `{path}`: {what}");
            let finding = page.about(&codes::RECORDING, at, "cannot be read", message);
            if let Some(help) = help {
                finding.help(help);
            }
            None
        }
    }
}

/// Reads a recording to its end: `Some` for one of demand, `None` for one of metrics, else what is wrong with
/// it and what to do.
fn read(bytes: &[u8], reading: &Reading) -> Result<Option<Recording>, (String, Option<String>)> {
    let refused = |error: ReadError| {
        let remedy = error
            .cause
            .remedy()
            .replace("`--recording-format`", "`recordingFormat`");
        (format!("{}{}", error.place, error.cause), Some(remedy))
    };
    let mut head = Vec::new();
    let opened = recording::unpacked(bytes).map_err(refused)?;
    // Bytes that cannot be unpacked are told by the reader of demand, as the simulator does.
    let torn = opened.take(HEAD).read_to_end(&mut head).is_err() && head.is_empty();
    if torn || reading.format.is_none() && head.starts_with(DEMAND_HEADER) {
        return Recording::from_demand_csv(bytes)
            .map(Some)
            .map_err(|error| culprit::split(&error.to_string()));
    }
    let format = match reading.format {
        Some(format) => format,
        None => Format::detect(&head).map_err(refused)?,
    };
    let mut input = recording::unpacked(bytes).map_err(refused)?;
    recording::read(format, &mut input, &reading.options).map_err(refused)?;
    Ok(None)
}

/// The series that is meant.
fn series<'r>(
    page: &mut Page<'_>,
    recording: &'r Recording,
    wanted: Option<&str>,
    at: &str,
) -> Option<&'r Demand> {
    match recording.demand(wanted) {
        Ok(demand) => Some(demand),
        Err(error) => {
            let (path, label) = match wanted {
                Some(_) => (format!("{at}series"), "no such series"),
                None => (format!("{at}recording"), "holds several series"),
            };
            page.about(&codes::SERIES, &path, label, error.to_string());
            None
        }
    }
}

/// Turns a refusal into a finding.
fn refused(page: &mut Page<'_>, error: &ScenarioError) {
    match error {
        ScenarioError::Read {
            line,
            column,
            message,
        } => {
            let at = page.token(*line, *column);
            let (what, help) = culprit::split(&reworded(message));
            let help = help.unwrap_or_else(|| help_of(message, "`simulations/README.md` lists all of them"));
            page.report(&documents::FIELD, at, label_of(message), what)
                .help(help);
        }
        ScenarioError::Field { field, problem, .. } => {
            let path = culprit_of(page, field, problem);
            let written = page.written(&path).is_some();
            let label = if written { "this" } else { "not written" };
            let (what, help) = culprit::split(problem);
            // The items of `faults` say their number themselves.
            let what = what
                .split_once(": ")
                .filter(|_| path.contains('[') && what.starts_with("number"))
                .map_or(what.as_str(), |(_, what)| what);
            let message = format!("`{field}`: {what}");
            let finding = page.about(&codes::SCENARIO, &path, label, message);
            if let Some(help) = help {
                finding.help(help);
            }
        }
    }
}

/// Path of the field that a refusal is about: an item of `faults` by its number, a field of a trace by its
/// value.
fn culprit_of(page: &Page<'_>, field: &str, problem: &str) -> String {
    let number = problem
        .strip_prefix("number ")
        .and_then(|rest| rest.split(':').next());
    if let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) {
        return format!("{field}[{}]", number.saturating_sub(1));
    }
    let traces = page.value.get("traces").and_then(Value::as_array);
    for (index, trace) in traces.into_iter().flatten().enumerate() {
        let value = trace.get(field).map(|value| value.as_f64().unwrap_or(f64::NAN));
        let is_wrong = match field {
            "scale" => value.is_some_and(|scale| !(scale.is_finite() && scale > 0.0)),
            "gpusPerNode" => value.is_some_and(|gpus| !(1.0..=64.0).contains(&gpus)),
            _ => false,
        };
        if is_wrong {
            return format!("traces[{index}].{field}");
        }
    }
    field.to_owned()
}
