//! Many runs as one row: the median of each figure, and its 5th and 95th percentile beside it.
//!
//! A single seed is an anecdote. Where something is drawn (boot delays, pod sizes, departures), a policy is judged
//! over many, and a gate looks at the adverse end.

use statrs::statistics::{Data, OrderStatistics};

use super::figures::{Figures, index_of};
use super::json::{ResultRow, Spread};

/// Joins rows of the same kind and name, in the order in which they first occur. A row that occurs once is left as
/// it is.
#[must_use]
pub fn aggregate(rows: impl IntoIterator<Item = ResultRow>) -> Vec<ResultRow> {
    let mut groups: Vec<Vec<ResultRow>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Vec<ResultRow>| {
            group
                .first()
                .is_some_and(|first| first.kind == row.kind && first.name == row.name)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups.into_iter().filter_map(join).collect()
}

fn join(mut runs: Vec<ResultRow>) -> Option<ResultRow> {
    if runs.len() < 2 {
        return runs.pop();
    }
    let percentile = |percent: usize| {
        Figures::from_fn(|figure| {
            let index = index_of(figure.key)?;
            let known: Vec<f64> = runs.iter().filter_map(|run| run.figures.at(index)).collect();
            (!known.is_empty()).then(|| Data::new(known).percentile(percent))
        })
    };
    let first = runs.first()?;
    Some(ResultRow {
        kind: first.kind,
        name: first.name.clone(),
        checksum: checksum(&runs),
        figures: percentile(50),
        spread: Some(Spread {
            runs: runs.len(),
            p5: percentile(5),
            p95: percentile(95),
        }),
    })
}

/// FNV-1a over the runs' fingerprints, in their order; `None` unless every run has one.
fn checksum(runs: &[ResultRow]) -> Option<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for run in runs {
        for byte in run.checksum.as_deref()?.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    Some(super::json::fingerprint(hash))
}

#[cfg(test)]
mod tests {
    use super::super::figures::Price;
    use super::super::figures::tests::row;
    use super::*;
    use crate::simulator::scorecard::Kind;

    fn run(name: &str, node_hours: f64) -> ResultRow {
        ResultRow {
            checksum: Some(format!("{node_hours}")),
            ..ResultRow::new(&row(name, node_hours, 0.0), Price::Known)
        }
    }

    #[test]
    fn runs_are_joined_by_name_and_kind_in_order() {
        let peer = ResultRow {
            kind: Kind::Peer,
            checksum: None,
            ..run("b", 7.0)
        };
        let rows = aggregate([run("b", 1.0), peer, run("a", 5.0), run("b", 3.0), run("b", 2.0)]);
        let names: Vec<_> = rows.iter().map(|row| (row.kind, row.name.as_str())).collect();
        assert_eq!(
            names,
            [(Kind::Policy, "b"), (Kind::Peer, "b"), (Kind::Policy, "a")]
        );
        let spread = rows[0].spread.as_ref().unwrap();
        assert_eq!(spread.runs, 3);
        assert_eq!(rows[0].figures.get("node_hours"), Some(2.0));
        assert_eq!(spread.p5.get("node_hours"), Some(1.0));
        assert_eq!(spread.p95.get("node_hours"), Some(3.0));
        assert_eq!(rows[0].figures.get("time_to_react_p50_seconds"), None);
        assert!(rows[1].spread.is_none() && rows[2].spread.is_none());
    }

    #[test]
    fn the_joint_fingerprint_depends_on_every_run_and_their_order() {
        let joint = |hours: &[f64]| {
            let rows = aggregate(hours.iter().map(|&h| run("a", h)));
            rows[0].checksum.clone().unwrap()
        };
        assert_eq!(joint(&[1.0, 2.0]), joint(&[1.0, 2.0]));
        assert_ne!(joint(&[1.0, 2.0]), joint(&[2.0, 1.0]));
        assert_ne!(joint(&[1.0, 2.0]), joint(&[1.0, 3.0]));
    }
}
