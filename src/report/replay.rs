//! What a replay of a journal came to, as a document and as lines of text.
//!
//! `gpuscale replay` prints it. It names no path of the machine and no time but those of the journal, so the same
//! journal gives the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::explain::explain;
use super::figures::text;
use super::json::SCHEMA_VERSION;
use super::trace::time;
use crate::journal::record::Said;
use crate::journal::{Apart, Comparison, Difference, Differs, Replay};
use crate::policy::evaluation::Evaluation;

/// A replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayDocument {
    /// Version of the schema.
    pub schema_version: u32,
    /// The policy's name.
    pub policy: String,
    /// Versions of gpuscale that wrote the journal.
    pub written_by: Vec<String>,
    /// Segments that were read.
    pub segments: u64,
    /// Starts of the process.
    pub starts: u64,
    /// Changes of the policy under a running process.
    pub policy_changes: u64,
    /// Places where ticks are missing.
    pub gaps: u64,
    /// Time of the first tick; `null` if there is none.
    pub from: Option<String>,
    /// Time of the last tick.
    pub to: Option<String>,
    /// Ticks.
    pub ticks: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions that were made again.
    pub verified: u64,
    /// Decisions that grew the pool.
    pub grown: u64,
    /// Decisions that shrank it.
    pub shrunk: u64,
    /// What became of decisions, and how often.
    pub actions: BTreeMap<String, u64>,
    /// Decisions that came out otherwise.
    pub differing: u64,
    /// The first of them.
    pub first_difference: Option<FirstDifference>,
    /// What the other policy would have said.
    pub comparison: Option<Compared>,
    /// Segments that could be read only in part.
    pub faults: Vec<FaultLine>,
}

/// A decision that came out otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FirstDifference {
    /// When.
    pub time: String,
    /// Its number among the decisions, from 0.
    pub decision: u64,
    /// `memory before`, `evaluation` or `memory after`.
    pub what: &'static str,
    /// What was recorded.
    pub recorded: Decided,
    /// What this build makes of it.
    pub replayed: Decided,
    /// The same in words.
    pub explanation: String,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    /// Nodes asked for before.
    pub from: u32,
    /// Nodes to ask for.
    pub to: u32,
    /// The size that the evidence wished for.
    pub wish: u32,
    /// The rule that had the last word.
    pub reason: String,
}

/// Another policy beside the recorded one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The other policy's name.
    pub policy: String,
    /// Always `open`.
    pub r#loop: &'static str,
    /// Decisions of both.
    pub decisions: u64,
    /// Decisions of different sizes or reasons.
    pub differing: u64,
    /// Decisions of different sizes.
    pub differing_in_size: u64,
    /// Node-hours of the sizes that the recorded policy asked for.
    pub recorded_node_hours: f64,
    /// Node-hours of the sizes that the other would have asked for.
    pub node_hours: f64,
    /// Cost of the recorded ones where the price is known; `null` if it never is.
    pub recorded_cost_usd: Option<f64>,
    /// Cost of the other ones there.
    pub cost_usd: Option<f64>,
    /// Hours of which the price is not known, and which are in no cost.
    pub hours_without_price: f64,
    /// How much further back the other policy looks than what a start fetched, in seconds.
    pub longer_window_seconds: f64,
    /// The first decision that differs.
    pub first: Option<FirstApart>,
}

/// A decision on which two policies differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FirstApart {
    /// When.
    pub time: String,
    /// What the recorded policy said.
    pub recorded: Decided,
    /// What the other would have said.
    pub other: Decided,
    /// The same in words.
    pub explanation: String,
}

/// A segment that could be read only in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultLine {
    /// Its name.
    pub segment: String,
    /// Where the block begins that could not be read.
    pub offset: u64,
    /// Whether a crash leaves such an end.
    pub cut: bool,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl From<&Said> for Decided {
    fn from(said: &Said) -> Self {
        Self {
            from: said.from,
            to: said.to,
            wish: said.wish,
            reason: said.reason.clone(),
        }
    }
}

impl From<&Evaluation> for Decided {
    fn from(evaluation: &Evaluation) -> Self {
        let decision = &evaluation.decision;
        Self {
            from: decision.from,
            to: decision.to,
            wish: decision.wish,
            reason: decision.reason.as_str().to_owned(),
        }
    }
}

impl FirstDifference {
    fn new(first: &Difference) -> Self {
        Self {
            time: time(first.at.wall_ms),
            decision: first.decision,
            what: match first.what {
                Differs::MemoryBefore => "memory before",
                Differs::Evaluation => "evaluation",
                Differs::MemoryAfter => "memory after",
            },
            recorded: (&first.recorded).into(),
            replayed: (&*first.evaluation).into(),
            explanation: explain(&first.evaluation, &first.config),
        }
    }
}

impl FirstApart {
    fn new(first: &Apart) -> Self {
        Self {
            time: time(first.at.wall_ms),
            recorded: (&first.recorded).into(),
            other: (&*first.evaluation).into(),
            explanation: explain(&first.evaluation, &first.policy.config),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn hours(ms: i128) -> f64 {
    ms as f64 / 3_600_000.0
}

impl Compared {
    fn new(comparison: &Comparison) -> Self {
        let usd = |cost: i128| (comparison.priced_ms > 0).then(|| hours(cost) / 1e6);
        Self {
            policy: comparison.policy.clone(),
            r#loop: "open",
            decisions: comparison.decisions,
            differing: comparison.differing,
            differing_in_size: comparison.resized,
            recorded_node_hours: hours(comparison.node_ms.0),
            node_hours: hours(comparison.node_ms.1),
            recorded_cost_usd: usd(comparison.cost.0),
            cost_usd: usd(comparison.cost.1),
            hours_without_price: hours(comparison.unpriced_ms),
            longer_window_seconds: hours(comparison.longer_ms.into()) * 3600.0,
            first: comparison.first.as_ref().map(FirstApart::new),
        }
    }

    fn lines(&self) -> Vec<String> {
        let name = &self.policy;
        let mut lines = vec![format!(
            "open loop: what `{name}` would have said to what was seen. The pool is the recorded one, whatever `{name}` \
             would have made of it"
        )];
        if self.differing == 0 {
            lines.push(format!(
                "`{name}` says the same at all {} decisions",
                self.decisions
            ));
        } else {
            lines.push(format!(
                "of {} decisions {} differ, {} of them in size",
                self.decisions, self.differing, self.differing_in_size
            ));
        }
        let mut asked = format!(
            "sizes asked for: recorded {} node-hours, `{name}` {}",
            text(self.recorded_node_hours, 1),
            text(self.node_hours, 1)
        );
        if let (Some(recorded), Some(cost)) = (self.recorded_cost_usd, self.cost_usd) {
            let _ = write!(
                asked,
                "; at the recorded price {} and {} USD",
                text(recorded, 2),
                text(cost, 2)
            );
            if self.hours_without_price > 0.0 {
                let _ = write!(
                    asked,
                    ", without {} hours of unknown price",
                    text(self.hours_without_price, 1)
                );
            }
        }
        lines.push(asked);
        if self.longer_window_seconds > 0.0 {
            lines.push(format!(
                "`{name}` looks further back than the recorded policy, so after each start it knows less than it would \
                 have fetched",
            ));
        }
        if let Some(first) = &self.first {
            lines.push(format!(
                "they differ first at {}; recorded: {}",
                first.time,
                first.recorded.sentence()
            ));
            lines.push(format!("`{name}`: {}", first.explanation));
        }
        lines
    }
}

impl Decided {
    fn sentence(&self) -> String {
        let Self { from, to, reason, .. } = self;
        if from == to {
            format!("hold at {to} ({reason})")
        } else {
            format!("{from} to {to} ({reason})")
        }
    }
}

/// The result of a replay in one line.
const EQUAL: &str = "every decision is byte-equal";

impl ReplayDocument {
    /// The document of a replay.
    #[must_use]
    pub fn new(replay: &Replay) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            policy: replay.policy.clone(),
            written_by: replay.versions.clone(),
            segments: replay.segments,
            starts: replay.starts,
            policy_changes: replay.changes,
            gaps: replay.gaps,
            from: replay.span_ms.map(|(from_ms, _)| time(from_ms)),
            to: replay.span_ms.map(|(_, to_ms)| time(to_ms)),
            ticks: replay.ticks,
            decisions: replay.decisions,
            verified: replay.verified,
            grown: replay.grown,
            shrunk: replay.shrunk,
            actions: replay.actions.clone(),
            differing: replay.differing,
            first_difference: replay.first_difference.as_ref().map(FirstDifference::new),
            comparison: replay.comparison.as_ref().map(Compared::new),
            faults: replay
                .faults
                .iter()
                .map(|fault| FaultLine {
                    segment: fault.segment.clone(),
                    offset: fault.error.offset,
                    cut: fault.error.cause.is_cut(),
                    problem: fault.error.cause.to_string(),
                })
                .collect(),
        }
    }

    /// The document for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let (Some(from), Some(to)) = (&self.from, &self.to) else {
            let mut lines = vec!["there is no tick in the journal".to_owned()];
            lines.extend(self.fault_lines());
            return lines;
        };
        let mut lines = vec![
            format!(
                "`{}`: {} ticks from {from} to {to}, in {}, with {} and {} of the policy; written by gpuscale {}",
                self.policy,
                self.ticks,
                counted(self.segments, "segment"),
                counted(self.starts, "start"),
                counted(self.policy_changes, "change"),
                self.written_by.join(", ")
            ),
            self.decisions_line(),
        ];
        lines.extend(self.fault_lines());
        if self.gaps > 0 {
            lines.push(format!("ticks are missing in {}", counted(self.gaps, "place")));
        }
        let unproved = self.decisions - self.verified;
        if unproved > 0 && self.verified > 0 {
            lines.push(format!(
                "{unproved} decisions could not be made again: what they were made from is not all kept"
            ));
        }
        lines.push(self.verdict());
        if let Some(compared) = &self.comparison {
            lines.extend(compared.lines());
        }
        lines
    }

    fn decisions_line(&self) -> String {
        let mut line = format!(
            "{} decisions: {} grew the pool, {} shrank it",
            self.decisions, self.grown, self.shrunk
        );
        if !self.actions.is_empty() {
            let actions: Vec<String> = self
                .actions
                .iter()
                .map(|(what, count)| format!("{count} {what}"))
                .collect();
            let _ = write!(line, "; actions: {}", actions.join(", "));
        }
        line
    }

    fn fault_lines(&self) -> Vec<String> {
        let line =
            |fault: &FaultLine| format!("`{}`, byte {}: {}", fault.segment, fault.offset, fault.problem);
        self.faults.iter().map(line).collect()
    }

    fn verdict(&self) -> String {
        if self.verified == 0 {
            return "no decision could be made again: the journal is shorter than the windows of its policy"
                .to_owned();
        }
        let Some(first) = &self.first_difference else {
            return format!("{} decisions were made again: {EQUAL}", self.verified);
        };
        format!(
            "{} of {} decisions made again differ, first the {} of decision {} at {}; recorded: {}; this build: {}",
            self.differing,
            self.verified,
            first.what,
            first.decision,
            first.time,
            first.recorded.sentence(),
            first.explanation
        )
    }
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
