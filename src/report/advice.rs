//! What a policy said to a history: the result of an open loop, as a document and as lines of text.
//!
//! `simulate --loop open` writes it. Its keys are an interface, documented in `simulations/README.md`. Like the
//! scorecard it holds no time of day and no path of the machine, so the same inputs give the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::json::{SCHEMA_VERSION, fingerprint};
use crate::policy::config::{Micro, ONE};
use crate::recording::Metrics;
use crate::simulator::history::{History, Inventory};
use crate::simulator::open_loop::{Advice, Declared, NodeCount};

/// One history with what each policy said to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdviceDocument {
    /// Version of the schema.
    pub schema_version: u32,
    /// What was replayed.
    pub history: Replayed,
    /// What each policy said.
    pub policies: Vec<Said>,
}

/// A history, as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The scenario's name, or the recording's.
    pub name: String,
    /// File names of the recordings.
    pub recording: String,
    /// Always `open`.
    pub r#loop: String,
    /// Hours from the first decision to the last.
    pub hours: f64,
    /// Seconds between two decisions.
    pub interval_seconds: f64,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// Series of the recording.
    pub series: usize,
    /// Samples of the recording.
    pub samples: u64,
    /// Samples that were there twice, had two values, came late, or were not finite.
    pub seen: Seen,
    /// Devices that reported for the policy's signals.
    pub devices: usize,
    /// Nodes that they were in.
    pub nodes: usize,
    /// `recorded` or `assumed`: where the number of devices that should report comes from.
    pub coverage: String,
    /// `recorded`, `declared` or `assumed`: where the number of nodes comes from.
    pub node_count: String,
    /// What else has to be known of the recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What was odd about the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// With the same time and value as another one.
    pub duplicates: u64,
    /// With the same time as another one and a different value.
    pub conflicts: u64,
    /// Older than one before it.
    pub late: u64,
    /// NaN or infinite; stale markers among them.
    pub not_finite: u64,
}

/// What a policy said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Its name.
    pub name: String,
    /// Fingerprint of all decisions: equal fingerprints, equal decisions.
    pub checksum: String,
    /// Decisions.
    pub ticks: u64,
    /// Node-hours that the history asked for.
    pub node_hours: f64,
    /// Node-hours of the sizes that the policy would have asked for, each from the size of the moment.
    pub advised_node_hours: f64,
    /// Time in which it would have grown, percent.
    pub grow_percent: f64,
    /// Time in which it would have shrunk, percent.
    pub shrink_percent: f64,
    /// Times that what it would do began or turned.
    pub turns: u64,
    /// Time in which a signal could not be judged, percent.
    pub unknown_percent: f64,
    /// Time in which a device was pinned, so that utilization hides demand, percent.
    pub censored_percent: f64,
    /// Mean share of devices and time that was known, percent.
    pub coverage_percent: f64,
    /// Time by the quality of the first signal that could not be judged, percent.
    pub qualities: BTreeMap<String, f64>,
    /// Time by the rule that had the last word, percent.
    pub reasons: BTreeMap<String, f64>,
}

/// Names of what a history was made from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The scenario's name, or the recording's.
    pub name: &'a str,
    /// File names of the recordings.
    pub recording: &'a str,
}

impl AdviceDocument {
    /// The document of a history; `said` is in the order of the policies.
    #[must_use]
    pub fn new(
        origin: Origin<'_>,
        metrics: &Metrics,
        history: &History<'_>,
        declared: &Declared,
        said: &[(String, Advice)],
    ) -> Self {
        let tally = metrics.tally();
        let advice = said.first().map(|(_, advice)| advice);
        let span_ms = advice.map_or((0, 0), |advice| advice.span_ms);
        Self {
            schema_version: SCHEMA_VERSION,
            history: Replayed {
                name: origin.name.to_owned(),
                recording: origin.recording.to_owned(),
                r#loop: "open".to_owned(),
                hours: rounded(hours(span_ms.1 - span_ms.0)),
                interval_seconds: rounded(hours(declared.interval_ms) * 3600.0),
                gpus_per_node: declared.gpus_per_node,
                series: metrics.series().len(),
                samples: tally.samples,
                seen: Seen {
                    duplicates: tally.duplicates.count,
                    conflicts: tally.conflicts.count,
                    late: tally.late.count,
                    not_finite: tally.not_finite,
                },
                devices: history.devices(),
                nodes: history.nodes(),
                coverage: match history.inventory() {
                    Inventory::Recorded => "recorded",
                    Inventory::Assumed => "assumed",
                }
                .to_owned(),
                node_count: advice
                    .map_or("assumed", |advice| count_word(advice.node_count))
                    .to_owned(),
                remarks: remarks(history, advice),
            },
            policies: said
                .iter()
                .map(|(name, advice)| Said::new(name, advice, declared.interval_ms))
                .collect(),
        }
    }
}

/// What has to be known of the history, and of what was made of it.
fn remarks(history: &History<'_>, advice: Option<&Advice>) -> Vec<String> {
    let mut remarks = history.remarks().to_vec();
    if advice.is_some_and(|advice| advice.derived.is_none()) {
        remarks.push(
            "no device metric is read, so nobody knows the demand; where it is drawn or traced as 0, that is no \
             reading"
                .to_owned(),
        );
    }
    remarks
}

fn count_word(count: NodeCount) -> &'static str {
    match count {
        NodeCount::Recorded => "recorded",
        NodeCount::Declared => "declared",
        NodeCount::Assumed => "assumed",
    }
}

impl Said {
    #[expect(clippy::cast_precision_loss, reason = "counts of ticks are far below 2^53")]
    fn new(name: &str, advice: &Advice, interval_ms: i64) -> Self {
        let ticks = advice.ticks.max(1) as f64;
        let percent = |count: u64| rounded(count as f64 * 100.0 / ticks);
        let node_hours = |nodes: u64| rounded(nodes as f64 * hours(interval_ms));
        let by_word = |counts: &BTreeMap<&'static str, u64>| {
            let shares = counts
                .iter()
                .map(|(&word, &count)| (word.to_owned(), percent(count)));
            shares.collect()
        };
        let good = advice.qualities.get("Good").copied().unwrap_or(0);
        Self {
            name: name.to_owned(),
            checksum: fingerprint(advice.checksum),
            ticks: advice.ticks,
            node_hours: node_hours(advice.nodes),
            advised_node_hours: node_hours(advice.advised_nodes),
            grow_percent: percent(advice.directions.0),
            shrink_percent: percent(advice.directions.1),
            turns: advice.turns,
            unknown_percent: percent(advice.ticks.saturating_sub(good)),
            censored_percent: percent(advice.pinned),
            coverage_percent: rounded(advice.coverage as f64 / ticks / (ONE as f64) * 100.0),
            qualities: by_word(&advice.qualities),
            reasons: by_word(&advice.reasons),
        }
    }

    /// What it said, in sentences.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![format!(
            "`{}` would have grown the pool for {} % of the time and shrunk it for {} %, in {} stretches; it asks for {} \
             node-hours where the history had {}",
            self.name,
            self.grow_percent,
            self.shrink_percent,
            self.turns,
            self.advised_node_hours,
            self.node_hours
        )];
        let unknown: Vec<String> = largest(&self.qualities)
            .into_iter()
            .filter(|(word, percent)| *word != "Good" && *percent > 0.0)
            .map(|(word, percent)| format!("{word} {percent} %"))
            .collect();
        sentences.push(if unknown.is_empty() {
            "its data could be judged at every tick".to_owned()
        } else {
            format!(
                "its data could not be judged for {} % of the time ({}), and nothing shrinks then",
                self.unknown_percent,
                unknown.join(", ")
            )
        });
        if self.censored_percent > 0.0 {
            sentences.push(format!(
                "for {} % of the time a device was at its limit, so demand may have been higher than utilization shows",
                self.censored_percent
            ));
        }
        let reasons: Vec<String> = largest(&self.reasons)
            .into_iter()
            .take(5)
            .filter(|(_, percent)| *percent > 0.0)
            .map(|(word, percent)| format!("{word} {percent} %"))
            .collect();
        sentences.push(format!("what had the last word: {}", reasons.join(", ")));
        sentences
    }
}

/// Shares, the largest first.
fn largest(shares: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    let mut sorted: Vec<(&str, f64)> = shares
        .iter()
        .map(|(word, &share)| (word.as_str(), share))
        .collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    sorted
}

impl Replayed {
    /// The history in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        format!(
            "{}: open loop over {}, {:.1} h at {} s; {} devices in {} nodes of {} GPUs",
            self.name,
            self.recording,
            self.hours,
            self.interval_seconds,
            self.devices,
            self.nodes,
            self.gpus_per_node
        )
    }

    /// What has to be known to read the result rightly.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.coverage == "assumed" {
            notes.push(
                "coverage is assumed: the recording has no inventory (`gpuscale_node_gpus`), so a device counts from its \
                 first sample to its last"
                    .to_owned(),
            );
        }
        if self.node_count == "assumed" {
            notes.push(
                "the number of nodes is assumed from the devices that report; record \
                 `gpuscale_pool_nodes_requested`, or give `--nodes`"
                    .to_owned(),
            );
        }
        notes.extend(self.remarks.iter().cloned());
        notes.extend(oddities(&self.seen));
        notes
    }
}

/// What was odd about the samples, in one sentence; none if nothing was.
#[must_use]
pub fn oddities(seen: &Seen) -> Option<String> {
    let parts: Vec<String> = [
        (seen.duplicates, "twice"),
        (seen.conflicts, "with two values, of which the larger counts"),
        (seen.late, "out of order"),
        (
            seen.not_finite,
            "not finite, each of which ends the one before it",
        ),
    ]
    .into_iter()
    .filter(|&(count, _)| count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    (!parts.is_empty()).then(|| format!("of its samples, {}", parts.join("; ")))
}

/// The document as text, line by line; the caller breaks long ones.
#[must_use]
pub fn lines(document: &AdviceDocument) -> Vec<String> {
    let mut lines = vec![document.history.headline(), String::new()];
    lines.extend(document.history.notes());
    for said in &document.policies {
        lines.extend(said.sentences());
        let mut last = String::new();
        let _ = write!(last, "decisions: {}, fingerprint {}", said.ticks, said.checksum);
        lines.push(last);
    }
    lines
}

#[expect(
    clippy::cast_precision_loss,
    reason = "durations of recordings are exact in an f64"
)]
fn hours(ms: i64) -> f64 {
    ms as f64 / 3_600_000.0
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A share in micros as a percentage with two decimals.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a share is at most a million")]
pub fn percent(share: Micro) -> f64 {
    rounded(share as f64 * 100.0 / ONE as f64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What two policies said to an hour of a history that says little of itself.
    pub(in crate::report) fn document() -> AdviceDocument {
        let shares = |pairs: &[(&str, f64)]| {
            let pairs = pairs.iter().map(|&(word, share)| (word.to_owned(), share));
            pairs.collect::<BTreeMap<_, _>>()
        };
        let said = Said {
            name: "mine".to_owned(),
            checksum: fingerprint(7),
            ticks: 240,
            node_hours: 4.0,
            advised_node_hours: 3.5,
            grow_percent: 0.0,
            shrink_percent: 50.0,
            turns: 1,
            unknown_percent: 25.0,
            censored_percent: 10.0,
            coverage_percent: 90.0,
            qualities: shares(&[("Good", 75.0), ("LowCoverage", 25.0), ("Stale", 0.0)]),
            reasons: shares(&[
                ("DemandBelowTarget", 50.0),
                ("DataQuality", 25.0),
                ("WithinTarget", 25.0),
            ]),
        };
        let calm = Said {
            name: "calm".to_owned(),
            unknown_percent: 0.0,
            censored_percent: 0.0,
            qualities: shares(&[("Good", 100.0)]),
            ..said.clone()
        };
        AdviceDocument {
            schema_version: SCHEMA_VERSION,
            history: Replayed {
                name: "a <week>".to_owned(),
                recording: "dcgm.om".to_owned(),
                r#loop: "open".to_owned(),
                hours: 1.0,
                interval_seconds: 15.0,
                gpus_per_node: 4,
                series: 20,
                samples: 4800,
                seen: Seen {
                    duplicates: 2,
                    conflicts: 0,
                    late: 0,
                    not_finite: 3,
                },
                devices: 16,
                nodes: 4,
                coverage: "assumed".to_owned(),
                node_count: "assumed".to_owned(),
                remarks: Vec::new(),
            },
            policies: vec![said, calm],
        }
    }

    #[test]
    fn what_is_assumed_and_what_was_odd_is_said() {
        let lines = lines(&document());
        assert_eq!(
            lines[0],
            "a <week>: open loop over dcgm.om, 1.0 h at 15 s; 16 devices in 4 nodes of 4 GPUs"
        );
        let text = lines.join("\n");
        for words in [
            "coverage is assumed",
            "the number of nodes is assumed",
            "of its samples, 2 twice; 3 not finite, each of which ends the one before it",
            "its data could not be judged for 25 % of the time (LowCoverage 25 %), and nothing shrinks then",
            "for 10 % of the time a device was at its limit",
            "what had the last word: DemandBelowTarget 50 %, DataQuality 25 %, WithinTarget 25 %",
            "its data could be judged at every tick",
        ] {
            assert!(text.contains(words), "no `{words}` in:\n{text}");
        }
        assert!(
            !text.contains("Stale"),
            "a share of nothing is not worth a word:\n{text}"
        );
    }

    #[test]
    fn the_document_is_read_back() {
        let text = serde_json::to_string(&document()).unwrap();
        assert_eq!(serde_json::from_str::<AdviceDocument>(&text).unwrap(), document());
    }
}
