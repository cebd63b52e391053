//! Questions and answers of the Prometheus API, of which there is the instant query.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::emulator::message::{Call, Method, Reply, parameter};
use crate::policy::config::{Micro, Millis};

use super::history::{Found, History};
use super::query::Query;

/// One in 1e-6.
const ONE: Micro = 1_000_000;

/// Answers a request.
pub(super) fn answer(history: &History, now_ms: Millis, call: &Call) -> Reply {
    match call.path.trim_end_matches('/').rsplit('/').next() {
        Some("query") => {}
        _ => {
            return failed(
                404,
                "not_found",
                "the emulator has /api/v1/query and nothing else",
            );
        }
    }
    let form = match call.method {
        Method::Get => call.query.as_str(),
        Method::Post => call.body.as_str(),
        _ => return failed(405, "bad_data", "queries are asked by GET or POST"),
    };
    let Some(text) = parameter(form, "query") else {
        return failed(400, "bad_data", "invalid parameter \"query\": there is none");
    };
    let at_ms = match parameter(form, "time").as_deref().map(time_ms) {
        None => now_ms,
        Some(Some(at_ms)) => at_ms,
        Some(None) => return failed(400, "bad_data", "invalid parameter \"time\": cannot parse it"),
    };
    match Query::parse(&text) {
        Ok(query) => found(history, &query, at_ms),
        Err(error) => failed(400, "bad_data", &error.to_string()),
    }
}

fn found(history: &History, query: &Query, at_ms: Millis) -> Reply {
    let (kind, found) = match query {
        Query::Instant(selector) => ("vector", history.instant(selector, at_ms)),
        Query::Range(selector, window_ms) => {
            let from_ms = at_ms.saturating_sub(*window_ms);
            ("matrix", history.range(selector, from_ms, at_ms))
        }
        Query::Subquery(selector, window_ms, step_ms) => {
            let from_ms = at_ms.saturating_sub(*window_ms);
            ("matrix", history.steps(selector, from_ms, at_ms, *step_ms))
        }
    };
    let metric = match query {
        Query::Instant(selector) | Query::Range(selector, _) | Query::Subquery(selector, ..) => {
            &selector.metric
        }
    };
    let result = series(kind, metric, found);
    Reply::json(
        200,
        json!({ "status": "success", "data": { "resultType": kind, "result": result } }),
    )
}

fn series(kind: &str, metric: &str, found: Found) -> Vec<Value> {
    let one = |(labels, samples): (super::LabelSet, Vec<(Millis, Micro)>)| {
        let mut named = serde_json::Map::new();
        named.insert("__name__".to_owned(), metric.into());
        for (label, value) in labels.iter() {
            named.insert(label.clone(), value.clone().into());
        }
        let mut pairs = samples
            .into_iter()
            .map(|(at_ms, micro)| json!([seconds(at_ms), value(micro)]));
        if kind == "vector" {
            json!({ "metric": named, "value": pairs.next() })
        } else {
            json!({ "metric": named, "values": pairs.collect::<Vec<Value>>() })
        }
    };
    found.into_iter().map(one).collect()
}

fn failed(status: u16, kind: &str, error: &str) -> Reply {
    Reply::json(
        status,
        json!({ "status": "error", "errorType": kind, "error": error }),
    )
}

/// A value as Prometheus writes it: a text, without zeros at its end.
fn value(micro: Micro) -> String {
    let (whole, rest) = (micro.div_euclid(ONE), micro.rem_euclid(ONE));
    if rest == 0 {
        return whole.to_string();
    }
    let decimals = format!("{rest:06}");
    format!("{whole}.{}", decimals.trim_end_matches('0'))
}

/// Seconds, with three decimals where they are not whole. Exact in an `f64` until long after the year 9999.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2⁵³ ms")]
fn seconds(at_ms: Millis) -> Value {
    if at_ms % 1000 == 0 {
        (at_ms / 1000).into()
    } else {
        (at_ms as f64 / 1000.0).into()
    }
}

/// Seconds since the Unix epoch, or a time of RFC 3339, in ms.
fn time_ms(text: &str) -> Option<Millis> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || !digits(whole) || !digits(decimals) {
        return None;
    }
    let ms: String = decimals.chars().chain("000".chars()).take(3).collect();
    let (seconds, ms): (Millis, Millis) = (whole.parse().ok()?, ms.parse().ok()?);
    Some(seconds * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_does() {
        for (micro, expected) in [
            (0, "0"),
            (73_000_000, "73"),
            (500_000, "0.5"),
            (123_456, "0.123456"),
        ] {
            assert_eq!(value(micro), expected);
        }
        assert_eq!(seconds(1_700_000_000_000).to_string(), "1700000000");
        assert_eq!(seconds(1_700_000_000_012).to_string(), "1700000000.012");
    }

    #[test]
    fn times_are_read_to_the_millisecond() {
        let check = |text: &str, expected: Option<Millis>| assert_eq!(time_ms(text), expected, "{text}");
        check("1700000000", Some(1_700_000_000_000));
        check("1700000000.5", Some(1_700_000_000_500));
        check("1700000000.0129", Some(1_700_000_000_012));
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000));
        check("", None);
        check("-1", None);
        check("1e9", None);
        check("now", None);
    }
}
