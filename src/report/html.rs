//! A run as one HTML file: charts over time, every decision with its reason, and the scorecard.
//!
//! The file is for people, and for later: it is read from a build's artefacts, sent by mail, opened in a year. So it
//! holds everything it needs, asks no network for anything (its content security policy forbids it), and is under a
//! megabyte for a month of fifteen-second ticks. Where that makes a series coarser than the run was, the page says how
//! coarse. Without scripts, on paper, and to a screen reader, the tables say what the charts show.
//!
//! It shows what was recorded and computes nothing again: figures come from the result document, words from
//! [`explain`](fn@super::explain) and [`sentence`](super::sentence), and the same input gives the same bytes. It knows
//! no clock, no files, and not how anything was decided.
//!
//! `page.html`, `report.css` and `report.js` beside this module are the page's own parts. Whatever comes from a
//! document passes through the private module `escape`.

mod data;
mod escape;
mod events;
mod phrases;
mod subject;
mod tables;
mod thin;
mod timeline;

use crate::policy::config::Millis;

use super::json::duration;
pub use subject::Subject;
pub use timeline::{Loop, Timeline};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/report.css");
const SCRIPT: &str = include_str!("html/report.js");

/// What a page is about.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What was run, and what came of it.
    pub subject: Subject<'a>,
    /// The run over time.
    pub timeline: &'a Timeline<'a>,
    /// Stretches to be shaded besides those that the timeline saw itself, in any order.
    pub stretches: &'a [Stretch],
}

/// Some of the time, to be shaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its start, in milliseconds since the Unix epoch.
    pub from_ms: Millis,
    /// Its end, which is not part of it.
    pub to_ms: Millis,
    /// What is so about it.
    pub kind: StretchKind,
}

/// What a stretch is shaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StretchKind {
    /// The recording was saturated, so demand was at least this much, and nobody knows how much more.
    Censored,
    /// The recording does not say.
    Unknown,
}

/// The page.
#[must_use]
pub fn page(input: &Input<'_>) -> String {
    let subject = input.subject;
    // Only a number that is not finite cannot be written, and figures are never that.
    let data = serde_json::to_string(&data::data(input)).unwrap_or_default();
    let conclusions: Vec<String> = subject.conclusions().iter().map(|one| capital(one)).collect();
    fill(PAGE, |part| match part {
        "title" => escape::text(&format!("{} – {}", subject.name(), subject.policy())),
        "scenario" => escape::text(subject.name()),
        "policy" => escape::text(subject.policy()),
        "kind" => match input.timeline.run() {
            Loop::Closed => "simulated".to_owned(),
            Loop::Live => "as it was".to_owned(),
            Loop::Open => "against its history".to_owned(),
        },
        "version" => env!("CARGO_PKG_VERSION").to_owned(),
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "conclusions" => each(&conclusions, "<p>", "</p>").replace(" %", "&nbsp;%"),
        "tiles" => tables::tiles(subject.rows()),
        "facts" => tables::facts(input),
        "notes" => each(&notes(input), "<li>", "</li>"),
        "remarks" => each(&remarks(input), "<p class=\"remark\">", "</p>"),
        "figures" => subject.figures(),
        "decisions" => tables::decisions(input.timeline),
        "data" => escape::json(&data),
        _ => String::new(),
    })
}

/// Sentences, each in an element of its own.
fn each(sentences: &[String], opening: &str, closing: &str) -> String {
    sentences.iter().fold(String::new(), |html, sentence| {
        html + opening + &escape::prose(sentence) + closing
    })
}

/// Puts parts into a template. What is put in is not looked at again, so it may hold anything.
fn fill(template: &str, part: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or(("", after));
        filled.push_str(before);
        filled.push_str(&part(name));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// What stands above charts that would otherwise only be blank.
fn remarks(input: &Input<'_>) -> Vec<String> {
    let timeline = input.timeline;
    if timeline.ticks() == 0 {
        return vec!["There is nothing to draw: the run has no tick.".to_owned()];
    }
    let mut remarks = Vec::new();
    let buckets = timeline.buckets.as_slice();
    if buckets.iter().all(|bucket| bucket.demand.max == 0) {
        remarks.push("Demand is zero from start to end: what is billed below served nothing.".to_owned());
    }
    if buckets.iter().all(|bucket| bucket.busy.mean().is_none()) {
        remarks.push("No GPU was ever ready, so there is no utilization to draw.".to_owned());
    }
    if timeline.events.resizes() == 0 {
        let size = timeline.asked.as_slice().first().map_or(0, |change| change.1);
        let nodes = if size == 1 { "node" } else { "nodes" };
        remarks.push(match timeline.run() {
            Loop::Closed | Loop::Live => {
                format!("No decision changed the size: the pool stayed at {size} {nodes}.")
            }
            Loop::Open => "The policy would have asked for one size from start to end.".to_owned(),
        });
    }
    remarks
}

/// How exact the page is, and what it leaves out.
fn notes(input: &Input<'_>) -> Vec<String> {
    let timeline = input.timeline;
    let ticks = |ticks: u32| duration(timeline.step_ms().saturating_mul(i64::from(ticks)));
    let mut notes: Vec<String> = input.subject.notes().iter().map(|note| capital(note)).collect();
    let per = timeline.buckets.per();
    notes.push(if per == 1 {
        format!("Demand and utilization are drawn tick by tick, every {}.", ticks(1))
    } else {
        format!(
            "Demand and utilization are kept as {} points of {} ({per} ticks each): the line is the mean, the band \
             around it reaches from the least to the most. The sizes of the pool are kept change by change.",
            timeline.buckets.as_slice().len(),
            ticks(per)
        )
    });
    let sizes = [&timeline.asked, &timeline.ready, &timeline.would];
    let gap = sizes.iter().map(|steps| steps.gap()).max().unwrap_or(1);
    if gap > 1 {
        notes.push(format!("Changes of size within {} are drawn as one.", ticks(gap)));
    }
    let gap = timeline.saturated.gap().max(timeline.unknown.gap());
    if gap > 0 {
        notes.push(format!(
            "Shaded stretches less than {} apart are drawn as one.",
            ticks(gap + 1)
        ));
    }
    let events = &timeline.events;
    if events.gap() > 1 {
        notes.push(format!(
            "What holds the size is kept where it lasted; changes of it within {} are left out. Every resize is kept.",
            ticks(events.gap())
        ));
    }
    if events.resizes_left_out() > 0 {
        let count = events.resizes_left_out();
        notes.push(format!(
            "The last {count} resizes are drawn in the sizes, but have no mark."
        ));
    }
    if events.resizes_cut_short() > 0 {
        let count = events.resizes_cut_short();
        notes.push(format!(
            "Of the last {count} resizes that have a mark, only the decision is kept, not how it came about; \
             `--trace` has it all."
        ));
    }
    let schedules = &timeline.config().schedules;
    if !schedules.is_empty() {
        let names: Vec<String> = schedules
            .iter()
            .map(|schedule| format!("`{}`", schedule.name))
            .collect();
        notes.push(format!(
            "The bounds drawn are the policy's own; they are not drawn as its schedules change them ({}).",
            names.join(", ")
        ));
    }
    notes.extend(cost_note(input));
    notes
}

/// A sentence of another report as one of this page: with a capital and a full stop.
fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

/// The cost line adds up what was asked for. Where the scorecard bills something else, that has to be said.
fn cost_note(input: &Input<'_>) -> Option<String> {
    let buckets = input.timeline.buckets.as_slice();
    let asked: u64 = buckets.iter().map(|bucket| bucket.asked).sum();
    #[expect(clippy::cast_precision_loss, reason = "hours for people")]
    let hours = asked as f64 * input.timeline.step_ms() as f64 / 3_600_000.0;
    let billed = input.subject.policy_row()?.figures.get("node_hours")?;
    let differs = (hours - billed).abs() > 0.05 + billed * 0.000_1;
    (input.timeline.run() == Loop::Closed && differs).then(|| {
        format!(
            "The cost line adds up the nodes asked for, {} node-hours. The scorecard bills {}: nodes that were \
             lost are asked for and not billed, nodes that drain are billed and no longer asked for.",
            tables::grouped(hours, 1),
            tables::grouped(billed, 1)
        )
    })
}

#[cfg(test)]
mod tests;
