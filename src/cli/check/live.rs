//! The asking of `check --live`: every source of the configuration, and what each policy wants of its own.
//!
//! Questions go through the same sources that the control loop has, with their limits, their timeouts and their patience.
//! What comes back is judged by [`gpuscale::check::live`]. Sources are asked at the same time, so that one that hangs
//! costs its own timeout and hides nothing of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::rc::Rc;

use futures_util::future::join_all;
use gpuscale::api::text::Name;
use gpuscale::check::live::{self, Heard, Outcome, Policy, Signal, SignalLine, SourceHeard, SourceLine};
use gpuscale::check::{Checked, Finding};
use gpuscale::clock::SystemClock;
use gpuscale::config::{Config, MetricsSource};
use gpuscale::control::ports::{
    Answer, MetricsSource as _, ReadRequest, Selector, SourceError, SourceErrorKind,
};
use gpuscale::source::connect::Kind;
use serde::Serialize;

use super::Asked;
use crate::cli::sources::{self, Connected};
use crate::error::Error;

/// A metric that nobody has: whoever answers "nothing" to it speaks the API, and it costs nothing.
const PROBE: &str = "gpuscale_probe";

/// Policies that are asked about at a time, for each source.
const AT_A_TIME: usize = 4;

/// How far back is asked for what is only to be there.
const PRESENCE_MS: i64 = 300_000;

/// A policy of one of the files.
struct Wanted {
    /// Number of the file.
    file: usize,
    policy: Policy,
}

/// What was heard of one source.
struct Report {
    heard: SourceHeard,
    /// For each policy by its number, what was heard about its signals.
    policies: Vec<(usize, Vec<Option<Heard>>)>,
}

/// Lines for programs.
#[derive(Serialize)]
struct Lines {
    sources: Vec<SourceLine>,
    signals: Vec<SignalLine>,
}

/// Asks what the configuration and the policies name, and adds what is found to their findings. The first of `checked`
/// is the configuration; `given` are the names of the files that were named by the user.
///
/// Nothing is asked on behalf of a configuration that cannot be read; its findings say so.
pub(super) fn ask(checked: &mut [Checked], given: &[String]) -> Result<Option<Asked>, Error> {
    let Some((settings, Ok(config))) = checked
        .first()
        .map(|file| (file.text.clone(), Config::parse(&file.text)))
    else {
        return Ok(None);
    };
    let mut wanted = Vec::new();
    for (number, file) in checked.iter().enumerate() {
        if given.contains(&file.name) {
            let policies = live::policies(&file.text).into_iter();
            wanted.extend(policies.map(|policy| Wanted { file: number, policy }));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let reports = runtime.block_on(ask_all(&config, &wanted));
    let secrets = Secrets::of(&config);
    let mut lines = Lines {
        sources: Vec::new(),
        signals: Vec::new(),
    };
    let policies: Vec<&Policy> = wanted.iter().map(|wanted| &wanted.policy).collect();
    let heard = reports
        .iter()
        .map(|(name, report)| (name.clone(), report.heard.clone()));
    let (findings, sources) = live::sources(&settings, &config, &policies, &heard.collect());
    lines.sources = sources;
    add(checked, 0, findings, &secrets);
    let by_name = |name: &str| {
        config
            .metrics_sources
            .iter()
            .find(|(other, _)| other.as_str() == name)
    };
    for (number, heard) in reports.values().flat_map(|report| &report.policies) {
        let Some(Wanted { file, policy }) = wanted.get(*number) else {
            continue;
        };
        let Some((_, source)) = by_name(&policy.source) else {
            continue;
        };
        let text = checked
            .get(*file)
            .map(|file| file.text.clone())
            .unwrap_or_default();
        let (findings, signals) = live::policy(&text, policy, source, heard);
        lines.signals.extend(signals);
        add(checked, *file, findings, &secrets);
    }
    lines
        .signals
        .sort_by(|a, b| (&a.policy, &a.signal).cmp(&(&b.policy, &b.signal)));
    let json = serde_json::to_value(&lines).map_err(|error| Error::Output(io::Error::from(error)))?;
    Ok(Some(Asked {
        text: drawn(&lines),
        json,
    }))
}

fn add(checked: &mut [Checked], file: usize, findings: Vec<Finding>, secrets: &Secrets) {
    if let Some(file) = checked.get_mut(file) {
        file.findings.extend(findings.into_iter().map(|mut finding| {
            finding.message = secrets.without(&finding.message);
            finding.help = secrets.without(&finding.help);
            finding
        }));
        file.findings.sort_by_key(|finding| finding.at.span.start);
    }
}

async fn ask_all(config: &Config, wanted: &[Wanted]) -> BTreeMap<String, Report> {
    // A source whose settings are wrong is not asked: its credential might go where it must not.
    let problems = config.problems();
    let wrong: BTreeSet<&str> = problems
        .iter()
        .filter_map(|problem| problem.path.strip_prefix("metricsSources."))
        .filter_map(|rest| rest.split('.').next())
        .collect();
    let sources = config.metrics_sources.iter();
    let right = sources.filter(|(name, _)| !wrong.contains(name.as_str()));
    let reports = right.map(|(name, source)| async move {
        (name.as_str().to_owned(), ask_source(name, source, wanted).await)
    });
    join_all(reports).await.into_iter().collect()
}

async fn ask_source(name: &Name, source: &MetricsSource, wanted: &[Wanted]) -> Report {
    let connected = match sources::alone(name, source, &Rc::new(SystemClock::new())) {
        Ok(connected) => connected,
        Err(cause) => {
            let heard = SourceHeard {
                outcome: Outcome::Unusable(cause),
                skew_ms: None,
                exporters: Vec::new(),
            };
            return Report {
                heard,
                policies: Vec::new(),
            };
        }
    };
    let name = name.as_str();
    let probe = Selector::Metric {
        name: PROBE,
        match_labels: Vec::new(),
    };
    let answer = read(&connected, name, &probe, PRESENCE_MS).await;
    let outcome = Outcome::Asked(answer.map(|answer| answer.completeness));
    let mut policies = Vec::new();
    if outcome.is_reached() {
        let mine: Vec<(usize, &Policy)> = wanted
            .iter()
            .enumerate()
            .map(|(number, wanted)| (number, &wanted.policy))
            .filter(|(_, policy)| policy.source == name)
            .collect();
        for some in mine.chunks(AT_A_TIME) {
            let asked = some
                .iter()
                .map(|(number, policy)| async { (*number, ask_policy(&connected, policy).await) });
            policies.extend(join_all(asked).await);
        }
    }
    let kind = connected.get(name).map(|source| source.inner().inner());
    let skew_ms = kind.and_then(Kind::skew_ms);
    Report {
        heard: SourceHeard {
            outcome,
            skew_ms,
            exporters: kind.map_or_else(Vec::new, Kind::exporters),
        },
        policies,
    }
}

async fn ask_policy(source: &Connected, policy: &Policy) -> Vec<Option<Heard>> {
    let mut heard = Vec::new();
    for signal in &policy.signals {
        heard.push(ask_signal(source, policy, signal).await);
    }
    heard
}

async fn ask_signal(source: &Connected, policy: &Policy, signal: &Signal) -> Option<Heard> {
    let selector = signal.selector(&policy.quality)?;
    let name = &policy.source;
    let back_ms = signal.back_ms(&policy.quality);
    let mut samples = read(source, name, &selector, back_ms).await;
    let is_too_large = matches!(&samples, Err(error) if error.kind == SourceErrorKind::TooLarge);
    if is_too_large && policy.look_back_ms < back_ms {
        // What the loop reads at most may fit all the same.
        samples = read(source, name, &selector, policy.look_back_ms).await;
    }
    let mut heard = Heard {
        samples,
        unmatched: None,
        missing: Vec::new(),
        beside: 0,
    };
    let Selector::Metric {
        name: metric,
        match_labels,
    } = &selector
    else {
        return Some(heard);
    };
    let Ok(answer) = &heard.samples else {
        return Some(heard);
    };
    let presence_ms = PRESENCE_MS.max(2 * policy.quality.scrape_interval_ms);
    if answer.series.is_empty() && !match_labels.is_empty() {
        let bare = Selector::Metric {
            name: metric,
            match_labels: Vec::new(),
        };
        heard.unmatched = read(source, name, &bare, presence_ms).await.ok();
    }
    for beside in live::BESIDE {
        let selector = Selector::Metric {
            name: beside,
            match_labels: match_labels.clone(),
        };
        match read(source, name, &selector, presence_ms).await {
            Ok(answer) if answer.series.is_empty() => heard.missing.push(beside),
            Ok(_) => heard.beside += 1,
            // Not known; that the source is in trouble is told by its signals.
            Err(_) => {}
        }
    }
    Some(heard)
}

async fn read(
    source: &Connected,
    name: &str,
    selector: &Selector,
    window_ms: i64,
) -> Result<Answer, SourceError> {
    let request = ReadRequest {
        source: name,
        selector,
        window_ms,
        as_of_ms: None,
    };
    source.read(&request).await
}

/// What was asked and answered, one line each.
fn drawn(lines: &Lines) -> String {
    let mut text = String::new();
    for line in &lines.sources {
        let clock = line.skew_ms.map_or_else(
            || "clock unknown".to_owned(),
            |ms| {
                // To the tenth that is shown, so that nothing is less than nothing.
                let ms = ms / 100 * 100;
                format!(
                    "clock {}{}.{} s",
                    sign(ms),
                    ms.abs() / 1000,
                    ms.abs() % 1000 / 100
                )
            },
        );
        // Writing to a String does not fail.
        let _ = writeln!(text, "source {}: reachable, {clock}", line.source);
    }
    for line in &lines.signals {
        let _ = write!(text, "policy {}, signal {}: ", line.policy, line.signal);
        let _ = match (line.reporting, line.devices) {
            (Some(reporting), Some(devices)) => write!(text, "{reporting} of {devices} devices report"),
            _ => write!(text, "answered"),
        };
        if let Some(ms) = line.interval_ms {
            let _ = write!(text, ", every {}.{} s", ms / 1000, ms % 1000 / 100);
        }
        text.push('\n');
    }
    text
}

fn sign(ms: i64) -> char {
    if ms < 0 { '-' } else { '+' }
}

/// Secrets that a server may repeat in what it says.
struct Secrets(Vec<String>);

impl Secrets {
    /// Those of all sources. A file that cannot be read holds nothing that a server could repeat.
    fn of(config: &Config) -> Self {
        let mut secrets = Vec::new();
        for source in config.metrics_sources.values() {
            let Some(prometheus) = &source.prometheus else {
                continue;
            };
            let password = prometheus.basic_auth.as_ref().map(|basic| &basic.password_file);
            let files = prometheus.bearer_token_file.iter().chain(password);
            secrets.extend(files.filter_map(|file| fs::read_to_string(file).ok()));
            secrets.extend(
                prometheus
                    .headers
                    .values()
                    .chain(prometheus.parameters.values())
                    .cloned(),
            );
        }
        for secret in &mut secrets {
            *secret = secret.trim().to_owned();
        }
        // `true` and `5m` are no secrets.
        secrets.retain(|secret| secret.len() >= 8);
        Self(secrets)
    }

    /// A text without them, and without whatever follows the word for a credential.
    fn without(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret, "…");
        }
        for scheme in ["Basic ", "Bearer "] {
            let mut from = 0;
            while let Some(found) = text.get(from..).and_then(|rest| rest.find(scheme)) {
                let start = from + found + scheme.len();
                let rest = text.get(start..).unwrap_or_default();
                let end = start + rest.find([' ', '`', '"', '\'', ',']).unwrap_or(rest.len());
                text.replace_range(start..end, "…");
                from = start;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_secret_is_left_out() {
        let secrets = Secrets(vec!["canary-canary".to_owned()]);
        for (said, shown) in [
            ("all is well", "all is well"),
            ("got canary-canary, twice canary-canary", "got …, twice …"),
            ("`Authorization: Basic Z3B1OmM=`", "`Authorization: Basic …`"),
            ("Bearer abc def Bearer ghi", "Bearer … def Bearer …"),
            ("Bearer ", "Bearer …"),
        ] {
            assert_eq!(secrets.without(said), shown, "{said}");
        }
    }

    #[test]
    fn a_line_says_what_is_there() {
        let lines = Lines {
            sources: vec![
                SourceLine {
                    source: "default".to_owned(),
                    skew_ms: Some(-1_250),
                },
                SourceLine {
                    source: "other".to_owned(),
                    skew_ms: None,
                },
            ],
            signals: vec![SignalLine {
                policy: "a100".to_owned(),
                signal: "gpu".to_owned(),
                devices: Some(16),
                reporting: Some(12),
                interval_ms: Some(15_000),
            }],
        };
        assert_eq!(
            drawn(&lines),
            "source default: reachable, clock -1.2 s\nsource other: reachable, clock unknown\npolicy a100, signal gpu: \
             12 of 16 devices report, every 15.0 s\n"
        );
    }
}
