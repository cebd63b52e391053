//! The figures of a scorecard row: their keys, headings and roundings, each written once.
//!
//! JSON keys, gate expressions, table columns, sweeps and comparisons all walk [`FIGURES`]. A figure that is added
//! there is in all of them; one that is missing there is in none. Figures are rounded when they enter a report, so
//! that a saved result and the next one on another machine compare equal.

use std::collections::BTreeMap;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::simulator::scorecard::Row;

/// How many figures a row has.
pub const COUNT: usize = 18;

/// One figure of a scorecard.
#[derive(Debug)]
pub struct Figure {
    /// Its key in JSON and in gate expressions; a dot stands for a nested object.
    pub key: &'static str,
    /// Its heading in a table; a line break where the heading is wider than its numbers.
    pub heading: &'static str,
    /// Decimals that are reported.
    pub decimals: u8,
    /// What it is, with its unit.
    pub meaning: &'static str,
    of: fn(&Row) -> Option<f64>,
}

macro_rules! figures {
    ($($key:literal, $heading:literal, $decimals:literal, $of:expr, $meaning:literal;)*) => {
        /// All figures, in the order in which they are shown.
        pub const FIGURES: [Figure; COUNT] = [$(Figure {
            key: $key, heading: $heading, decimals: $decimals, meaning: $meaning, of: $of,
        }),*];
    };
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a simulation are far below 2^53"
)]
fn count(value: u64) -> f64 {
    value as f64
}

figures! {
    "node_hours", "node\nhours", 1, |row| Some(row.node_hours),
        "node-hours billed, from the request of a node to its release, boots included";
    "gpu_hours", "GPU\nhours", 1, |row| Some(row.gpu_hours), "the same in GPU-hours";
    "cost_usd", "cost\nUSD", 0, |row| Some(row.cost_usd), "the same in US dollars; null without a price";
    "miss_percent", "miss\n%", 3, |row| Some(row.miss_percent), "unserved demand, percent of all demand";
    "missed_node_hours", "missed\nnode-h", 2, |row| Some(row.missed_node_hours),
        "unserved demand in hours of a whole node";
    "saturated_percent", "satu-\nrated %", 2, |row| Some(row.saturated_percent),
        "time in which demand exceeded what was ready, percent";
    "idle_percent", "idle\n%", 2, |row| Some(row.idle_percent),
        "billed GPU-hours that served nothing, boots included, percent";
    "resizes", "resizes", 0, |row| Some(count(row.resizes)), "changes of the number of nodes asked for";
    "flaps_per_day", "flaps\n/day", 2, |row| Some(row.flaps_per_day),
        "resizes against the one before within 30 minutes of it, per day";
    "time_to_react_p50_seconds", "react s\np50", 0, |row| row.time_to_react_p50_seconds,
        "median length of the spells in which demand exceeded what was ready; null if there was none";
    "time_to_react_p95_seconds", "react s\np95", 0, |row| row.time_to_react_p95_seconds,
        "95th percentile of the same";
    "busy_nodes_taken", "busy\ntaken", 0, |row| Some(count(row.busy_nodes_taken)),
        "nodes taken while work ran on them that could not move; must be 0";
    "regret_hard.p10", "regret\np=10", 3, |row| Some(row.regret_hard.p10),
        "(node-hours + 10 x missed node-hours) / node-hours of the zero-miss optimum";
    "regret_hard.p50", "regret\np=50", 3, |row| Some(row.regret_hard.p50), "the same at 50";
    "regret_hard.p100", "regret\np=100", 3, |row| Some(row.regret_hard.p100), "the same at 100";
    "regret_soft.p10", "regret_soft\np=10", 3, |row| Some(row.regret_soft.p10),
        "(node-hours + 10 x missed node-hours) / cost of the soft optimum at 10";
    "regret_soft.p50", "regret_soft\np=50", 3, |row| Some(row.regret_soft.p50), "the same at 50";
    "regret_soft.p100", "regret_soft\np=100", 3, |row| Some(row.regret_soft.p100), "the same at 100";
}

/// The place of a key in [`FIGURES`].
#[must_use]
pub fn index_of(key: &str) -> Option<usize> {
    FIGURES.iter().position(|figure| figure.key == key)
}

/// The figures of one row, rounded; those that are not known are `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures([Option<f64>; COUNT]);

impl Figures {
    /// The figures of a row. `Price::Unknown` makes the cost unknown, which is not the same as nothing.
    #[must_use]
    pub fn of(row: &Row, price: Price) -> Self {
        Self::from_fn(|figure| match (figure.key, price) {
            ("cost_usd", Price::Unknown) => None,
            _ => (figure.of)(row),
        })
    }

    /// Figures by a rule, rounded.
    pub(super) fn from_fn(mut value: impl FnMut(&Figure) -> Option<f64>) -> Self {
        let mut figures = [None; COUNT];
        for (place, figure) in figures.iter_mut().zip(&FIGURES) {
            *place = value(figure)
                .filter(|v| v.is_finite())
                .map(|v| round(v, figure.decimals));
        }
        Self(figures)
    }

    /// The figure called `key`; `None` if there is no such key or it is not known.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<f64> {
        self.at(index_of(key)?)
    }

    /// The figure at a place of [`FIGURES`].
    #[must_use]
    pub fn at(&self, index: usize) -> Option<f64> {
        self.0.get(index).copied().flatten()
    }
}

/// Whether the price of a node is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// It is.
    Known,
    /// It is not.
    Unknown,
}

/// Rounds half away from zero, and never to a negative zero.
fn round(value: f64, decimals: u8) -> f64 {
    let unit = 10_f64.powi(i32::from(decimals));
    (value * unit).round() / unit + 0.0
}

/// A figure as text, with exactly its decimals.
#[must_use]
pub fn text(value: f64, decimals: u8) -> String {
    format!("{value:.*}", usize::from(decimals))
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut places = FIGURES.iter().zip(self.0).peekable();
        while let Some((figure, value)) = places.next() {
            let Some((group, key)) = figure.key.split_once('.') else {
                map.serialize_entry(figure.key, &number(value, figure.decimals))?;
                continue;
            };
            let mut nested = serde_json::Map::new();
            nested.insert(key.to_owned(), number(value, figure.decimals));
            let same = |figure: &Figure| figure.key.split_once('.').filter(|(g, _)| *g == group);
            while let Some((figure, value)) = places.next_if(|(figure, _)| same(figure).is_some()) {
                if let Some((_, key)) = same(figure) {
                    nested.insert(key.to_owned(), number(value, figure.decimals));
                }
            }
            map.serialize_entry(group, &nested)?;
        }
        map.end()
    }
}

/// A count is written without a point.
fn number(value: Option<f64>, decimals: u8) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and far inside i64")]
    match value {
        Some(whole) if decimals == 0 && whole.abs() < 9e15 => Value::from(whole as i64),
        Some(value) => Value::from(value),
        None => Value::Null,
    }
}

impl<'de> Deserialize<'de> for Figures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let mut figures = [None; COUNT];
        for (place, figure) in figures.iter_mut().zip(&FIGURES) {
            let (group, nested) = match figure.key.split_once('.') {
                Some((group, key)) => (group, Some(key)),
                None => (figure.key, None),
            };
            let value = map
                .get(group)
                .and_then(|value| nested.map_or(Some(value), |key| value.get(key)));
            *place = match value {
                None | Some(Value::Null) => None,
                Some(value) => Some(value.as_f64().ok_or_else(|| {
                    de::Error::custom(format!("`{}` is not a number: {value}", figure.key))
                })?),
            };
        }
        Ok(Self(figures))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::simulator::scorecard::{Kind, PerPenalty};

    pub(crate) fn row(name: &str, node_hours: f64, miss_percent: f64) -> Row {
        let regret = |p: f64| (node_hours + p * miss_percent) / 100.0;
        let penalties = PerPenalty {
            p10: regret(10.0),
            p50: regret(50.0),
            p100: regret(100.0),
        };
        Row {
            kind: Kind::Policy,
            name: name.into(),
            node_hours,
            gpu_hours: node_hours * 4.0,
            cost_usd: node_hours * 14.69,
            miss_percent,
            missed_node_hours: miss_percent,
            saturated_percent: 1.234_567,
            idle_percent: 25.0,
            resizes: 17,
            flaps_per_day: 0.5,
            time_to_react_p50_seconds: None,
            time_to_react_p95_seconds: Some(480.0),
            busy_nodes_taken: 0,
            regret_hard: penalties,
            regret_soft: penalties,
        }
    }

    #[test]
    fn every_key_of_the_scorecard_is_a_figure() {
        let json = serde_json::to_value(row("x", 1.0, 0.0)).unwrap();
        let mut missing = Vec::new();
        for (key, value) in json.as_object().unwrap() {
            let keys: Vec<String> = match value.as_object() {
                Some(nested) => nested.keys().map(|inner| format!("{key}.{inner}")).collect(),
                None => vec![key.clone()],
            };
            missing.extend(keys.into_iter().filter(|key| index_of(key).is_none()));
        }
        assert_eq!(missing, ["kind", "name"], "these two are not figures");
    }

    #[test]
    fn figures_are_rounded_nested_and_read_back() {
        let figures = Figures::of(&row("x", 123.456, 0.123_456), Price::Known);
        let json = serde_json::to_value(figures).unwrap();
        assert_eq!(json["node_hours"], 123.5);
        assert_eq!(json["miss_percent"], 0.123);
        assert_eq!(json["resizes"].to_string(), "17");
        assert_eq!(json["cost_usd"].to_string(), "1814");
        assert_eq!(json["regret_hard"]["p50"], 1.296);
        assert!(json["time_to_react_p50_seconds"].is_null());
        let back: Figures = serde_json::from_value(json).unwrap();
        assert_eq!(back, figures);
        assert_eq!(back.get("regret_hard.p50"), Some(1.296));
        assert_eq!(back.get("regret_hard"), None);
    }

    #[test]
    fn an_unknown_price_is_no_cost_of_zero() {
        let figures = Figures::of(&row("x", 1.0, 0.0), Price::Unknown);
        assert_eq!(figures.get("cost_usd"), None);
        assert_eq!(figures.get("gpu_hours"), Some(4.0));
    }

    #[test]
    fn rounding_has_no_negative_zero() {
        assert_eq!(text(round(-0.000_1, 1), 1), "0.0");
        assert_eq!(text(round(2.25, 1), 1), "2.3");
    }

    #[test]
    fn a_figure_of_another_type_is_refused() {
        let error = serde_json::from_str::<Figures>(r#"{"node_hours":"many"}"#).unwrap_err();
        assert!(
            error.to_string().contains("`node_hours` is not a number"),
            "{error}"
        );
    }
}
