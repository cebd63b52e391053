//! What a page is about: a scorecard, or what a policy said to a history.

use std::fmt::Write;

use super::escape::text;
use super::tables;
use crate::report::advice::{AdviceDocument, Said};
use crate::report::json::{DerivedFrom, Document, ResultRow};
use crate::report::sentence;
use crate::simulator::scenario_run::ZERO_MISS;
use crate::simulator::scorecard::Kind;

/// Rows whose final cost is drawn beside the policy's: what could have been, and what people use instead.
const REFERENCES: [&str; 3] = [ZERO_MISS, "HPA 70", "static peak"];

/// What a page is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A closed loop; the policy whose run is drawn is its first policy.
    Scorecard(&'a Document),
    /// An open loop; the policy whose advice is drawn is its first policy.
    Advice(&'a AdviceDocument),
}

impl<'a> Subject<'a> {
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Scorecard(document) => &document.scenario.name,
            Self::Advice(document) => &document.history.name,
        }
    }

    pub(super) fn policy(self) -> &'a str {
        let name = match self {
            Self::Scorecard(_) => self.policy_row().map(|row| row.name.as_str()),
            Self::Advice(document) => document.policies.first().map(|said| said.name.as_str()),
        };
        name.unwrap_or("policy")
    }

    /// The row of the policy that was run.
    pub(super) fn policy_row(self) -> Option<&'a ResultRow> {
        self.rows().iter().find(|row| row.kind == Kind::Policy)
    }

    /// The rows of the scorecard, if there is one.
    pub(super) fn rows(self) -> &'a [ResultRow] {
        match self {
            Self::Scorecard(document) => &document.rows,
            Self::Advice(_) => &[],
        }
    }

    /// Price of a node-hour in US dollars.
    pub(super) fn price(self) -> Option<f64> {
        match self {
            Self::Scorecard(document) => document.scenario.price_usd_per_node_hour,
            Self::Advice(_) => None,
        }
    }

    /// What it comes to, in sentences without a full stop.
    pub(super) fn conclusions(self) -> Vec<String> {
        match self {
            Self::Scorecard(document) => sentence::conclusions(&document.rows),
            Self::Advice(document) => document.policies.iter().flat_map(Said::sentences).collect(),
        }
    }

    /// What has to be known to read it rightly, in sentences without a full stop.
    pub(super) fn notes(self) -> Vec<String> {
        match self {
            Self::Scorecard(document) => {
                let derived = document.scenario.derived_from.as_ref();
                derived.map(DerivedFrom::notes).unwrap_or_default()
            }
            Self::Advice(document) => document.history.notes(),
        }
    }

    /// What the [`REFERENCES`] paid in the end: money where the price is known, else node-hours.
    pub(super) fn references(self) -> Vec<(&'a str, f64)> {
        let key = match self.price() {
            Some(_) => "cost_usd",
            None => "node_hours",
        };
        let found = REFERENCES.iter().filter_map(|name| {
            let row = self
                .rows()
                .iter()
                .find(|row| row.kind != Kind::Policy && row.name == *name)?;
            Some((row.name.as_str(), row.figures.get(key)?))
        });
        found.collect()
    }

    /// What was run, as names and values.
    pub(super) fn facts(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Scorecard(document) => scenario(document),
            Self::Advice(document) => history(document),
        }
    }

    /// The section of the page that holds its figures.
    pub(super) fn figures(self) -> String {
        match self {
            Self::Scorecard(document) => format!(
                "<section aria-labelledby=\"scorecard-title\">\n<h2 id=\"scorecard-title\">Scorecard</h2>\n\
                 <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-labelledby=\"scorecard-title\">\
                 <table class=\"scorecard\">{}</table></div>\n<p class=\"notes\">Regret is (node-hours + p × missed \
                 node-hours) ÷ the optimum's: 1 is the least that was possible. Optima know the future; peers are what \
                 people use today.</p>\n</section>",
                tables::scorecard(&document.rows)
            ),
            Self::Advice(document) => {
                let said = document.policies.first();
                let shares = said.map(|said| {
                    [
                        shares("What had the last word", &said.reasons),
                        shares("Whether signals could be judged", &said.qualities),
                    ]
                });
                format!(
                    "<section aria-labelledby=\"scorecard-title\">\n<h2 id=\"scorecard-title\">Share of time</h2>\n\
                     {}</section>",
                    shares.map(|tables| tables.concat()).unwrap_or_default()
                )
            }
        }
    }
}

fn scenario(document: &Document) -> Vec<(&'static str, String)> {
    let summary = &document.scenario;
    let scale = if (summary.scale - 1.0).abs() < f64::EPSILON {
        String::new()
    } else {
        format!(" × {}", summary.scale)
    };
    let price = summary
        .price_usd_per_node_hour
        .map_or("unknown".to_owned(), |usd| format!("{usd} USD per node-hour"));
    vec![
        (
            "Demand",
            format!("{}, {}{scale}", summary.recording, summary.series),
        ),
        (
            "Pool",
            format!(
                "{} to {} nodes of {} GPUs, {} at the start",
                summary.min_nodes, summary.max_nodes, summary.gpus_per_node, summary.initial_nodes
            ),
        ),
        (
            "Boot",
            format!("{} from request to first work", summary.boot_delay),
        ),
        ("Price", price),
        (
            "World",
            format!(
                "{}, seed {}, {} faults",
                summary.world, summary.seed, summary.faults
            ),
        ),
    ]
}

fn history(document: &AdviceDocument) -> Vec<(&'static str, String)> {
    let history = &document.history;
    vec![
        ("Recording", history.recording.clone()),
        (
            "Samples",
            format!("{} in {} series", history.samples, history.series),
        ),
        (
            "Devices",
            format!(
                "{} in {} nodes, {}",
                history.devices, history.nodes, history.coverage
            ),
        ),
        (
            "Pool",
            format!(
                "nodes of {} GPUs, their number {}",
                history.gpus_per_node, history.node_count
            ),
        ),
    ]
}

/// Shares of time as a table, the largest first.
fn shares(title: &str, shares: &std::collections::BTreeMap<String, f64>) -> String {
    let mut sorted: Vec<(&String, &f64)> = shares.iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    let mut html = format!(
        "<table class=\"scorecard\"><thead><tr><th scope=\"col\">{}</th><th scope=\"col\">% of time</th></tr></thead>\
         <tbody>",
        text(title)
    );
    for (word, percent) in sorted {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{percent:.2}</td></tr>",
            text(word)
        );
    }
    html.push_str("</tbody></table>\n");
    html
}
