//! Decision quality: one policy over a suite of traces, beside the HPA, as geometric means of regret.
//!
//! A mean of ratios over traces of different size is only fair as a geometric one. Means hide, so the table of all
//! traces stands above them, and a policy that some peer beats in both node-hours and misses is counted.

use serde::Serialize;
use statrs::statistics::Statistics;

use super::figures::text;
use super::json::{Document, ResultRow, SCHEMA_VERSION};
use super::sentence::dominated_by;
use crate::simulator::scenario_suite::Bars;
use crate::simulator::scorecard::Kind;

/// The peer that means are given for.
const RIVAL: &str = "HPA 70";

/// The rows of each trace, after the policy's.
const PEERS: [&str; 3] = [RIVAL, "KEDA sum 70", "threshold 70/30"];

/// The result of a suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// Version of the schema.
    pub schema_version: u32,
    /// The suite's name.
    pub suite: String,
    /// The policy's name.
    pub policy: String,
    /// The policy over all traces.
    pub policy_means: Means,
    /// The HPA over all traces.
    pub hpa_means: Means,
    /// What the policy has to stay under.
    pub bars: Bars,
    /// Traces on which a peer is better in both, node-hours and misses.
    pub dominated_traces: usize,
    /// The scorecard of each trace.
    pub traces: Vec<Document>,
}

/// Figures over all traces.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Means {
    /// Geometric mean of `regret_hard` at p = 10.
    pub regret_hard_p10: f64,
    /// At p = 50.
    pub regret_hard_p50: f64,
    /// At p = 100.
    pub regret_hard_p100: f64,
    /// Arithmetic mean of flaps per day.
    pub flaps_per_day: f64,
}

impl Means {
    fn of(rows: &[&ResultRow]) -> Self {
        let all = |key: &'static str| rows.iter().filter_map(move |row| row.figures.get(key));
        Self {
            regret_hard_p10: thousandths(all("regret_hard.p10").geometric_mean()),
            regret_hard_p50: thousandths(all("regret_hard.p50").geometric_mean()),
            regret_hard_p100: thousandths(all("regret_hard.p100").geometric_mean()),
            flaps_per_day: thousandths(all("flaps_per_day").mean()),
        }
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn policy(document: &Document) -> Option<&ResultRow> {
    document.rows.iter().find(|row| row.kind == Kind::Policy)
}

fn peer<'a>(document: &'a Document, name: &str) -> Option<&'a ResultRow> {
    document
        .rows
        .iter()
        .find(|row| row.kind == Kind::Peer && row.name == name)
}

impl Quality {
    /// Joins the scorecards of a suite.
    #[must_use]
    pub fn of(suite: &str, bars: Bars, traces: Vec<Document>) -> Self {
        let policies: Vec<&ResultRow> = traces.iter().filter_map(policy).collect();
        let rivals: Vec<&ResultRow> = traces
            .iter()
            .filter_map(|document| peer(document, RIVAL))
            .collect();
        let beaten = traces.iter().filter(|document| !dominators(document).is_empty());
        Self {
            schema_version: SCHEMA_VERSION,
            suite: suite.to_owned(),
            policy: policies.first().map(|row| row.name.clone()).unwrap_or_default(),
            policy_means: Means::of(&policies),
            hpa_means: Means::of(&rivals),
            bars,
            dominated_traces: beaten.count(),
            traces,
        }
    }

    /// Which bars are not kept, one line each. A bar is kept by what is not above it.
    #[must_use]
    pub fn above_bars(&self) -> Vec<String> {
        let (means, bars) = (self.policy_means, self.bars);
        [
            ("p = 10", means.regret_hard_p10, bars.p10),
            ("p = 50", means.regret_hard_p50, bars.p50),
            ("p = 100", means.regret_hard_p100, bars.p100),
        ]
        .into_iter()
        .filter(|(_, mean, bar)| mean.is_nan() || mean > bar)
        .map(|(at, mean, bar)| {
            format!(
                "`{}` has regret_hard {mean:.3} at {at}, the bar is {bar}",
                self.policy
            )
        })
        .collect()
    }

    /// Node-hours and misses: headings and one row for each trace.
    #[must_use]
    pub fn costs(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let headings = vec![
            "trace",
            "policy\nnode-h",
            "\nmiss %",
            "HPA 70\nnode-h",
            "\nmiss %",
            "KEDA sum\nnode-h",
            "\nmiss %",
            "70/30\nnode-h",
            "\nmiss %",
        ];
        let rows = self.traces.iter().map(|document| {
            let peers = PEERS.into_iter().map(|name| peer(document, name));
            let shown = std::iter::once(policy(document)).chain(peers);
            let cells = shown.flat_map(|row| [cell(row, "node_hours", 0), cell(row, "miss_percent", 2)]);
            std::iter::once(document.scenario.name.clone())
                .chain(cells)
                .collect()
        });
        (headings, rows.collect())
    }

    /// Regret and flaps of the policy and the HPA: headings, one row for each trace, one for the means.
    #[must_use]
    pub fn regrets(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        const REGRETS: [&str; 3] = ["regret_hard.p10", "regret_hard.p50", "regret_hard.p100"];
        let headings = vec![
            "trace",
            "policy\np=10",
            "\np=50",
            "\np=100",
            "HPA 70\np=10",
            "\np=50",
            "\np=100",
            "flaps/d\npolicy",
            "flaps/d\nHPA 70",
            "dominated by",
        ];
        let mut rows: Vec<Vec<String>> = self
            .traces
            .iter()
            .map(|document| {
                let both = [policy(document), peer(document, RIVAL)];
                let regrets = both.iter().flat_map(|row| REGRETS.map(|key| cell(*row, key, 3)));
                let flaps = both.map(|row| cell(row, "flaps_per_day", 2));
                let beaten = dominators(document);
                let beaten = if beaten.is_empty() {
                    "none".to_owned()
                } else {
                    beaten.join(", ")
                };
                std::iter::once(document.scenario.name.clone())
                    .chain(regrets)
                    .chain(flaps)
                    .chain([beaten])
                    .collect()
            })
            .collect();
        let means = [self.policy_means, self.hpa_means];
        let regrets = means.iter().flat_map(|m| {
            [m.regret_hard_p10, m.regret_hard_p50, m.regret_hard_p100].map(|mean| text(mean, 3))
        });
        rows.push(
            std::iter::once("mean".to_owned())
                .chain(regrets)
                .chain(means.map(|m| text(m.flaps_per_day, 2)))
                .chain([format!("{} of {}", self.dominated_traces, self.traces.len())])
                .collect(),
        );
        (headings, rows)
    }

    /// The result in one line.
    #[must_use]
    pub fn conclusion(&self) -> String {
        let (policy, hpa, bars) = (self.policy_means, self.hpa_means, self.bars);
        format!(
            "regret_hard at p = 10 / 50 / 100: `{}` {:.3} / {:.3} / {:.3}, `{RIVAL}` {:.3} / {:.3} / {:.3}, \
             bars {:.2} / {:.2} / {:.2}; flaps per day {:.2}, `{RIVAL}` {:.2}",
            self.policy,
            policy.regret_hard_p10,
            policy.regret_hard_p50,
            policy.regret_hard_p100,
            hpa.regret_hard_p10,
            hpa.regret_hard_p50,
            hpa.regret_hard_p100,
            bars.p10,
            bars.p50,
            bars.p100,
            policy.flaps_per_day,
            hpa.flaps_per_day
        )
    }
}

fn dominators(document: &Document) -> Vec<&str> {
    policy(document).map_or_else(Vec::new, |row| dominated_by(row, &document.rows))
}

fn cell(row: Option<&ResultRow>, key: &str, decimals: u8) -> String {
    row.and_then(|row| row.figures.get(key))
        .map_or_else(|| "–".to_owned(), |value| text(value, decimals))
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::document;
    use super::*;

    const BARS: Bars = Bars {
        p10: 1.34,
        p50: 1.48,
        p100: 1.62,
    };

    fn trace(policy: (f64, f64), hpa: (f64, f64)) -> Document {
        document(&[
            (Kind::Policy, "mine", policy.0, policy.1),
            (Kind::Peer, "HPA 70", hpa.0, hpa.1),
        ])
    }

    /// The fixture's regret is (node-hours + p · miss) ÷ 100.
    #[test]
    fn means_are_geometric() {
        let quality = Quality::of(
            "q",
            BARS,
            vec![
                trace((100.0, 0.0), (140.0, 0.0)),
                trace((144.0, 0.0), (140.0, 0.0)),
            ],
        );
        assert!((quality.policy_means.regret_hard_p10 - 1.2).abs() < 1e-9);
        assert!((quality.hpa_means.regret_hard_p100 - 1.4).abs() < 1e-9);
        assert_eq!(quality.dominated_traces, 1, "the HPA is cheaper on the second");
        assert!(quality.above_bars().is_empty());
    }

    #[test]
    fn bars_are_held_each_by_itself() {
        let quality = Quality::of("q", BARS, vec![trace((130.0, 0.5), (140.0, 0.0))]);
        assert_eq!(
            quality.above_bars(),
            [
                "`mine` has regret_hard 1.350 at p = 10, the bar is 1.34",
                "`mine` has regret_hard 1.550 at p = 50, the bar is 1.48",
                "`mine` has regret_hard 1.800 at p = 100, the bar is 1.62",
            ]
        );
        assert_eq!(
            Quality::of("q", BARS, Vec::new()).above_bars().len(),
            3,
            "nothing proves nothing"
        );
    }

    #[test]
    fn tables_have_a_cell_for_each_heading() {
        let quality = Quality::of("q", BARS, vec![trace((130.0, 0.5), (140.0, 0.0))]);
        for (headings, rows) in [quality.costs(), quality.regrets()] {
            assert!(rows.iter().all(|row| row.len() == headings.len()), "{rows:?}");
        }
        assert!(quality.conclusion().contains("bars 1.34 / 1.48 / 1.62"));
    }
}
