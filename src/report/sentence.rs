//! What a scorecard says, in words: each policy against the least that was possible and against what people run.
//!
//! Computed from the rows that are shown, so that the sentence cannot say something else than the table.

use super::json::ResultRow;
use crate::simulator::scenario_run::ZERO_MISS;
use crate::simulator::scorecard::Kind;

/// The peer that a policy is compared with in words: what most people would use instead.
const USUAL: &str = "HPA 70";

/// One sentence for each policy; empty if the rows have no zero-miss optimum.
#[must_use]
pub fn conclusions(rows: &[ResultRow]) -> Vec<String> {
    let hours = |row: &ResultRow| row.figures.get("node_hours");
    let Some(best) = named(rows, ZERO_MISS).and_then(hours).filter(|best| *best > 0.0) else {
        return Vec::new();
    };
    let pays = |row: &ResultRow| Some((hours(row)? / best, row.figures.get("miss_percent")?));
    rows.iter()
        .filter(|row| row.kind == Kind::Policy)
        .filter_map(|row| {
            let (factor, missed) = pays(row)?;
            let usual = named(rows, USUAL)
                .and_then(pays)
                .map_or(String::new(), |(factor, missed)| {
                    format!("; `{USUAL}` pays {factor:.2}× and misses {}", percent(missed))
                });
            Some(format!(
                "`{}` pays {factor:.2}× the zero-miss optimum and misses {} of demand{usual}; {}",
                row.name,
                percent(missed),
                standing(row, rows)
            ))
        })
        .collect()
}

fn percent(value: f64) -> String {
    if value == 0.0 {
        "none".to_owned()
    } else if value < 0.1 {
        format!("{value:.3} %")
    } else {
        format!("{value:.2} %")
    }
}

fn named<'a>(rows: &'a [ResultRow], name: &str) -> Option<&'a ResultRow> {
    rows.iter()
        .find(|row| row.kind != Kind::Policy && row.name == name)
}

/// The peers that are at least as good in both, node-hours and misses, and better in one.
#[must_use]
pub fn dominated_by<'a>(row: &ResultRow, rows: &'a [ResultRow]) -> Vec<&'a str> {
    let both = |row: &ResultRow| Some((row.figures.get("node_hours")?, row.figures.get("miss_percent")?));
    let Some((hours, missed)) = both(row) else {
        return Vec::new();
    };
    rows.iter()
        .filter(|other| other.kind == Kind::Peer)
        .filter(|other| {
            both(other).is_some_and(|(h, m)| h <= hours && m <= missed && (h < hours || m < missed))
        })
        .map(|other| other.name.as_str())
        .collect()
}

fn standing(row: &ResultRow, rows: &[ResultRow]) -> String {
    let better = dominated_by(row, rows);
    if better.is_empty() {
        return "no peer is better in both".to_owned();
    }
    let names: Vec<String> = better.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((only, [])) => format!("{only} is cheaper and misses no more"),
        Some((last, others)) => format!("{} and {last} are cheaper and miss no more", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::document;
    use super::*;

    #[test]
    fn a_policy_is_put_into_words() {
        let rows = document(&[
            (Kind::Policy, "mine", 124.0, 0.25),
            (Kind::Optimum, ZERO_MISS, 100.0, 0.0),
            (Kind::Peer, "HPA 70", 143.0, 0.18),
        ])
        .rows;
        assert_eq!(
            conclusions(&rows),
            [
                "`mine` pays 1.24× the zero-miss optimum and misses 0.25 % of demand; `HPA 70` pays 1.43× and \
                 misses 0.18 %; no peer is better in both"
            ]
        );
    }

    #[test]
    fn a_policy_that_is_beaten_is_told_so() {
        let check = |peers: &[(f64, f64)], expected: &str| {
            let mut all = vec![
                (Kind::Policy, "mine", 124.0, 0.0),
                (Kind::Optimum, ZERO_MISS, 100.0, 0.0),
            ];
            let names = ["a", "b", "c"];
            all.extend(
                peers
                    .iter()
                    .zip(names)
                    .map(|(&(hours, miss), name)| (Kind::Peer, name, hours, miss)),
            );
            let found = conclusions(&document(&all).rows);
            assert!(found[0].ends_with(expected), "{found:?}");
        };
        check(
            &[(120.0, 0.0), (90.0, 0.1)],
            "; `a` is cheaper and misses no more",
        );
        check(
            &[(120.0, 0.0), (90.0, 0.0)],
            "; `a` and `b` are cheaper and miss no more",
        );
        check(
            &[(120.0, 0.0), (90.0, 0.0), (80.0, 0.0)],
            "; `a`, `b` and `c` are cheaper and miss no more",
        );
        check(
            &[(124.0, 0.0)],
            "misses none of demand; no peer is better in both",
        );
    }

    #[test]
    fn without_an_optimum_nothing_is_claimed() {
        assert!(conclusions(&document(&[(Kind::Policy, "mine", 1.0, 0.0)]).rows).is_empty());
        let idle = document(&[
            (Kind::Policy, "mine", 1.0, 0.0),
            (Kind::Optimum, ZERO_MISS, 0.0, 0.0),
        ]);
        assert!(conclusions(&idle.rows).is_empty());
    }
}
