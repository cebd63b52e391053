//! Two results side by side: what a change of policy, version or defaults did to each row.

use serde::Serialize;

use super::figures::{FIGURES, Figures};
use super::json::{Document, ResultRow, kind_name};

/// The figures that a comparison shows: the two that always stand together, and what joins them.
const SHOWN: [&str; 5] = [
    "node_hours",
    "miss_percent",
    "flaps_per_day",
    "busy_nodes_taken",
    "regret_hard.p10",
];

/// One row in both results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// `policy`, `optimum` or `peer`.
    pub kind: &'static str,
    /// The row's name.
    pub name: String,
    /// The figures that are shown.
    pub figures: Vec<Difference>,
}

/// One figure in both results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The figure's key.
    pub key: &'static str,
    /// Decimals of the figure.
    #[serde(skip)]
    pub decimals: u8,
    /// In the saved result; `None` if the row or the figure is not there.
    pub before: Option<f64>,
    /// Now.
    pub after: Option<f64>,
}

impl Difference {
    /// What was added, when both are known.
    #[must_use]
    pub fn delta(&self) -> Option<f64> {
        Some(self.after? - self.before?)
    }
}

/// Rows of `after`, then those that only `before` has, each with its figures in both.
///
/// Rows are matched by kind and name. If that leaves one policy over on either side, these two are matched: the
/// usual comparison is of two versions of one policy, whose file may have another name.
#[must_use]
pub fn compare(before: &Document, after: &Document) -> Vec<Change> {
    let absent = |other: &[ResultRow], row: &ResultRow| !other.iter().any(|candidate| same(candidate, row));
    let left_over = |rows: &[ResultRow], other: &[ResultRow]| {
        let mut policies = rows
            .iter()
            .filter(|row| kind_name(row.kind) == "policy" && absent(other, row));
        match (policies.next(), policies.next()) {
            (Some(only), None) => Some(only.name.clone()),
            _ => None,
        }
    };
    let renamed = left_over(&before.rows, &after.rows).zip(left_over(&after.rows, &before.rows));
    let earlier = |row: &ResultRow| {
        let by_name = before.rows.iter().find(|candidate| same(candidate, row));
        by_name.or_else(|| {
            let (old, _) = renamed.as_ref().filter(|(_, new)| *new == row.name)?;
            before.rows.iter().find(|candidate| candidate.name == *old)
        })
    };
    let mut changes: Vec<Change> = after
        .rows
        .iter()
        .map(|row| change(earlier(row), Some(row)))
        .collect();
    let gone = before
        .rows
        .iter()
        .filter(|row| absent(&after.rows, row) && renamed.as_ref().is_none_or(|(old, _)| *old != row.name));
    changes.extend(gone.map(|row| change(Some(row), None)));
    changes
}

fn same(a: &ResultRow, b: &ResultRow) -> bool {
    a.kind == b.kind && a.name == b.name
}

fn change(before: Option<&ResultRow>, after: Option<&ResultRow>) -> Change {
    let (kind, name) = match (before, after) {
        (Some(before), Some(after)) if before.name != after.name => {
            (kind_name(after.kind), format!("{} → {}", before.name, after.name))
        }
        (_, Some(row)) | (Some(row), None) => (kind_name(row.kind), row.name.clone()),
        (None, None) => ("", String::new()),
    };
    let get = |row: Option<&ResultRow>, key| row.and_then(|row| Figures::get(&row.figures, key));
    let figures = FIGURES
        .iter()
        .filter(|figure| SHOWN.contains(&figure.key))
        .map(|figure| Difference {
            key: figure.key,
            decimals: figure.decimals,
            before: get(before, figure.key),
            after: get(after, figure.key),
        })
        .collect();
    Change { kind, name, figures }
}

/// What two results do not have in common besides their rows: a comparison of different inputs must say so.
#[must_use]
pub fn differing_inputs(before: &Document, after: &Document) -> Vec<&'static str> {
    let (a, b) = (&before.scenario, &after.scenario);
    #[expect(clippy::float_cmp, reason = "both were written from the same kind of input")]
    [
        ("recording", a.recording != b.recording || a.series != b.series),
        ("scale", a.scale != b.scale),
        (
            "length",
            a.hours != b.hours || a.interval_seconds != b.interval_seconds,
        ),
        ("world", a.world != b.world),
        ("node shape", a.gpus_per_node != b.gpus_per_node),
        ("boot delay", a.boot_delay != b.boot_delay),
        ("seeds", (a.seed, a.seeds) != (b.seed, b.seeds)),
        ("initial nodes", a.initial_nodes != b.initial_nodes),
        ("faults", a.faults != b.faults),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::figures::Price;
    use super::super::figures::tests::row;
    use super::super::json::{SCHEMA_VERSION, Summary};
    use super::*;
    use crate::simulator::scorecard::Kind;

    pub(crate) fn document(rows: &[(Kind, &str, f64, f64)]) -> Document {
        Document {
            schema_version: SCHEMA_VERSION,
            scenario: Summary {
                name: "s".into(),
                recording: "r.csv".into(),
                series: "a".into(),
                scale: 0.3,
                hours: 336.0,
                interval_seconds: 15.0,
                world: "fluid".into(),
                gpus_per_node: 4,
                min_nodes: 1,
                max_nodes: 40,
                initial_nodes: 3,
                boot_delay: "8m".into(),
                boot_seconds: 480.0,
                price_usd_per_node_hour: None,
                faults: 0,
                seed: 0,
                seeds: 1,
                derived_from: None,
            },
            rows: rows
                .iter()
                .map(|&(kind, name, node_hours, miss)| ResultRow {
                    kind,
                    ..ResultRow::new(&row(name, node_hours, miss), Price::Unknown)
                })
                .collect(),
        }
    }

    fn summary(changes: &[Change]) -> Vec<(String, Option<f64>)> {
        let node_hours = |change: &Change| change.figures[0].delta();
        changes
            .iter()
            .map(|change| (change.name.clone(), node_hours(change)))
            .collect()
    }

    #[test]
    fn rows_are_matched_by_name_and_the_only_other_policy_by_its_kind() {
        let before = document(&[
            (Kind::Policy, "old", 100.0, 0.1),
            (Kind::Peer, "HPA 70", 90.0, 0.2),
        ]);
        let after = document(&[
            (Kind::Policy, "new", 80.0, 0.1),
            (Kind::Peer, "HPA 70", 90.0, 0.2),
        ]);
        assert_eq!(
            summary(&compare(&before, &after)),
            [("old → new".into(), Some(-20.0)), ("HPA 70".into(), Some(0.0))]
        );
    }

    #[test]
    fn what_is_only_on_one_side_is_shown_and_has_no_difference() {
        let before = document(&[(Kind::Policy, "a", 1.0, 0.0), (Kind::Peer, "gone", 2.0, 0.0)]);
        let after = document(&[(Kind::Policy, "a", 3.0, 0.0), (Kind::Policy, "b", 4.0, 0.0)]);
        assert_eq!(
            summary(&compare(&before, &after)),
            [("a".into(), Some(2.0)), ("b".into(), None), ("gone".into(), None)]
        );
    }

    #[test]
    fn other_inputs_are_named() {
        let before = document(&[]);
        let mut after = before.clone();
        assert!(differing_inputs(&before, &after).is_empty());
        after.scenario.scale = 0.2;
        after.scenario.seeds = 9;
        assert_eq!(differing_inputs(&before, &after), ["scale", "seeds"]);
    }
}
