//! Why labels match nothing, told from the series that are there without them.

use std::collections::BTreeSet;

use crate::control::ports::SeriesTable;
use crate::recording::Labels;

use super::few;

/// Names and values that are shown of many.
const SHOWN: usize = 5;

/// The label that keeps all series out, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeptOut<'l> {
    /// Its name; `None` where each label matches some series, and no series has them all.
    pub(super) label: Option<&'l str>,
    pub(super) message: String,
    pub(super) help: String,
}

/// Looks for the label that no series carries as it is wanted. `there` are series of the metric without any labels
/// asked for; there has to be one.
pub(super) fn kept_out<'l>(wanted: &'l [(String, String)], there: &SeriesTable) -> KeptOut<'l> {
    let count = there.len();
    let has = |labels: &Labels, (name, value): &(String, String)| labels.get(name) == Some(value);
    let unmatched = |pair: &&(String, String)| there.iter().all(|series| !has(series.labels, pair));
    let Some((name, value)) = wanted.iter().find(unmatched) else {
        return KeptOut {
            label: None,
            message: format!(
                "{count} series are there without `matchLabels`: each of the labels matches some, and no series has all"
            ),
            help: "leave out the label that is of other series".to_owned(),
        };
    };
    let values: BTreeSet<&str> = there
        .iter()
        .filter_map(|series| series.labels.get(name))
        .collect();
    let message = if values.is_empty() {
        let names = label_names(there.iter().map(|series| series.labels.as_ref()));
        format!(
            "{count} series are there without `matchLabels`, and none has a label `{name}`; they have {}",
            few(&names, 12)
        )
    } else {
        let values: Vec<&str> = values.into_iter().collect();
        format!(
            "{count} series are there without `matchLabels`, and `{name}` is never `{value}` but {}",
            few(&values, SHOWN)
        )
    };
    let elsewhere = there.iter().find_map(|series| {
        let mut labels = series.labels.iter();
        labels.find(|(_, other)| other == value).map(|(name, _)| name)
    });
    let help = match elsewhere {
        Some(other) if other.strip_prefix("exported_") == Some(name) => format!(
            "match `{other}: {value}`: the scrape has `honorLabels: false`, and `{name}` is the exporter's own"
        ),
        Some(other) => format!("match `{other}: {value}`, which is there"),
        None if values_are_there(there, name) => format!("match `{name}` by one of these values"),
        None => "match by a label that is there, or add this one when scraping".to_owned(),
    };
    KeptOut {
        label: Some(name),
        message,
        help,
    }
}

fn values_are_there(there: &SeriesTable, name: &str) -> bool {
    there.iter().any(|series| series.labels.get(name).is_some())
}

/// Names of all labels, in order.
pub(super) fn label_names<'a>(all: impl Iterator<Item = &'a Labels>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = all
        .flat_map(|labels| labels.iter().map(|(name, _)| name))
        .collect();
    names.into_iter().collect()
}

/// Whether a node's name looks like that of a pod of the exporter: `dcgm-exporter-x7k2p`, with whatever in front.
pub(super) fn is_exporter(node: &str) -> bool {
    let Some((_, rest)) = node.split_once("dcgm-exporter-") else {
        return false;
    };
    let last = rest.rsplit('-').next().unwrap_or_default();
    last.len() == 5
        && last
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
