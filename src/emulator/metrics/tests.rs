//! Pages that our own readers read, and answers that our own reader believes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::*;
use crate::control::ports::{Completeness, ReadRequest, Selector, SeriesTable};
use crate::emulator::message::Method;
use crate::source::prometheus::answer::{Catalogue, Limits, Reader};
use crate::source::prometheus::query::text;

const START_MS: Millis = 1_700_000_000_000;
const MINUTE: Millis = 60_000;

/// Two nodes of two GPUs, three quarters busy; a third node is asked for after five minutes.
fn after(minutes: Millis, more: &str) -> (Arm, Metrics) {
    let pool = "{ gpusPerNode: 2, vmSize: X, count: 2, demand: { gpus: 3 } }";
    let scenario = Scenario::from_yaml(&format!("pools: {{ a: {pool} }}\n{more}")).unwrap();
    let mut arm = Arm::new(&scenario, START_MS);
    let mut metrics = Metrics::new(&scenario, START_MS);
    let end_ms = START_MS + minutes * MINUTE;
    while metrics.next_event_ms() <= end_ms {
        let at_ms = metrics.next_event_ms();
        arm.advance(at_ms);
        if at_ms == START_MS + 5 * MINUTE {
            arm.fleet_mut("a").unwrap().ask(at_ms, 1);
        }
        metrics.scrape(&arm);
    }
    arm.advance(end_ms);
    (arm, metrics)
}

fn ask(metrics: &Metrics, query: &str, at_ms: Millis) -> Reply {
    let mut call = Call::new(Method::Post, "/prometheus/api/v1/query");
    let mut encoded = String::new();
    for byte in query.bytes() {
        write!(encoded, "%{byte:02X}").unwrap();
    }
    call.body = format!("query={encoded}&time={}.{:03}", at_ms / 1000, at_ms % 1000);
    metrics.handle(at_ms, &call)
}

/// As gpuscale asks, and as it reads.
fn read(metrics: &Metrics, selector: &Selector, window_ms: Millis, at_ms: Millis) -> SeriesTable {
    let request = ReadRequest {
        source: "default",
        selector,
        window_ms,
        as_of_ms: None,
    };
    let reply = ask(metrics, &text(&request), at_ms);
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut catalogue = Catalogue::default();
    let limits = Limits {
        bytes: 1 << 20,
        series: 100,
        samples: 10_000,
    };
    let mut reader = Reader::new(&mut catalogue, limits);
    reader.feed(reply.body().to_string().as_bytes()).unwrap();
    let body = reader.finish().unwrap();
    assert_eq!(body.completeness, Completeness::Whole);
    body.series
}

#[test]
fn gpuscale_believes_the_answers() {
    let (_, metrics) = after(30, "");
    let end_ms = START_MS + 30 * MINUTE;
    let selector = Selector::Metric {
        name: "DCGM_FI_DEV_GPU_UTIL",
        match_labels: vec![("agentpool".to_owned(), "a".to_owned())],
    };
    let series = read(&metrics, &selector, 10 * MINUTE, end_ms);
    // Three nodes by then, and the range is open on its left: 40 samples for each of 6 GPUs.
    assert_eq!((series.len(), series.samples()), (6, 240));
    let expression = Selector::Expression {
        promql: "DCGM_FI_DEV_GPU_UTIL{instance=\"aks-a-12345678-vmss000000\"} # one node".to_owned(),
        step_ms: 30_000,
    };
    let series = read(&metrics, &expression, 10 * MINUTE, end_ms);
    assert_eq!((series.len(), series.samples()), (2, 40));
}

#[test]
fn values_follow_the_load_and_the_nodes() {
    let (_, metrics) = after(30, "");
    let value = |metric: &str, minute: Millis| {
        let reply = ask(&metrics, metric, START_MS + minute * MINUTE);
        let result = reply.body()["data"]["result"].as_array().unwrap().clone();
        let values: BTreeSet<String> = result
            .iter()
            .map(|series| series["value"][1].to_string())
            .collect();
        (result.len(), values.into_iter().collect::<Vec<_>>().join(" "))
    };
    // Asked for at minute 5; it boots for 8 minutes and its driver takes one.
    assert_eq!(value("DCGM_FI_DEV_GPU_UTIL", 13), (4, "\"75\"".to_owned()));
    assert_eq!(value("DCGM_FI_DEV_GPU_UTIL", 14), (6, "\"50\"".to_owned()));
    assert_eq!(
        value("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 14),
        (6, "\"0.5\"".to_owned())
    );
    assert_eq!(value("DCGM_FI_DEV_POWER_USAGE", 13), (4, "\"238\"".to_owned()));
    assert_eq!(value("NOBODY", 14).0, 0);
}

#[test]
fn a_node_that_is_gone_is_silent_at_once() {
    let (mut arm, mut metrics) = after(10, "");
    let at_ms = metrics.next_event_ms();
    let name = arm.fleet("a").unwrap().nodes()[0].name.clone();
    arm.fleet_mut("a")
        .unwrap()
        .remove(at_ms, &BTreeSet::from([name.clone()]));
    metrics.scrape(&arm);
    let count = |query: &str| {
        let reply = ask(&metrics, query, at_ms);
        reply.body()["data"]["result"].as_array().unwrap().len()
    };
    let gone = format!("DCGM_FI_DEV_GPU_UTIL{{instance=\"{name}\"}}");
    assert_eq!((count(&gone), count(&format!("{gone}[5m]"))), (0, 2));
    assert_eq!(count("DCGM_FI_DEV_GPU_UTIL"), 2);
}

#[test]
fn azure_keeps_four_labels() {
    let (_, metrics) = after(1, "metrics: { labels: azureManaged, scrapeInterval: 30s }");
    let reply = ask(&metrics, "DCGM_FI_DEV_GPU_UTIL", START_MS);
    let labels = reply.body()["data"]["result"][0]["metric"]
        .as_object()
        .unwrap()
        .clone();
    let names: Vec<&String> = labels.keys().collect();
    assert_eq!(names, ["__name__", "cluster", "gpu", "instance", "job"]);
}

#[test]
fn samples_are_kept_for_a_while() {
    let (_, metrics) = after(30, "metrics: { retention: 10m }");
    let reply = ask(&metrics, "DCGM_FI_DEV_GPU_UTIL[1h]", START_MS + 30 * MINUTE);
    let values = reply.body()["data"]["result"][0]["values"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(values, 41);
}

#[test]
fn what_is_not_understood_is_an_error_of_the_api() {
    let (_, metrics) = after(1, "");
    let check = |call: Call, status: u16| {
        let reply = metrics.handle(START_MS, &call);
        assert_eq!(
            (reply.status, &reply.body()["status"]),
            (status, &Value::from("error")),
            "{call:?}"
        );
    };
    let path = "/prometheus/api/v1/query";
    check(Call::new(Method::Get, &format!("{path}?query=sum(up)")), 400);
    check(
        Call::new(Method::Get, &format!("{path}?query=up&time=later")),
        400,
    );
    check(Call::new(Method::Get, path), 400);
    check(Call::new(Method::Put, path), 405);
    check(Call::new(Method::Get, "/prometheus/api/v1/labels"), 404);
    let reply = ask(&metrics, "sum(up)", START_MS);
    assert_eq!(reply.body()["errorType"], "bad_data");
}

#[test]
fn a_page_looks_like_the_exporters() {
    let (arm, _) = after(1, "");
    let fleet = arm.fleet("a").unwrap();
    let name = fleet.nodes()[0].name.clone();
    let page = page_of(fleet, &name, START_MS).unwrap();
    // The labels of a real page, in its order.
    let real = include_str!("../../../tests/fixtures/dcgm/one-gpu-l40s.prom");
    let names = |page: &str| -> Vec<String> {
        let row = page
            .lines()
            .find(|line| line.starts_with("DCGM_FI_DEV_GPU_UTIL{"))
            .unwrap();
        let (labels, _) = row.split_once('{').unwrap().1.rsplit_once('}').unwrap();
        labels
            .split(',')
            .map(|label| label.split_once('=').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(names(&page), names(real));
    // Every head that the real one has too is the same.
    for line in page
        .lines()
        .filter(|line| line.starts_with('#') && !line.contains("XID"))
    {
        assert!(real.lines().any(|known| known == line), "{line}");
    }
    assert!(page.contains("DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",UUID=\"GPU-"));
    assert_eq!(page.lines().filter(|line| line.starts_with("DCGM")).count(), 22);
    assert!(page.lines().any(|line| line.ends_with("} 0.750000")));
    assert_eq!(page_of(fleet, &name, START_MS), Some(page));
    assert_eq!(page_of(fleet, "nobody", START_MS), None);
}

#[test]
fn a_page_is_there_once_the_driver_is() {
    let (mut arm, _) = after(0, "");
    let fleet = arm.fleet_mut("a").unwrap();
    fleet.ask(START_MS, 1);
    let name = fleet.nodes()[2].name.clone();
    assert!(page_of(fleet, &name, START_MS + 8 * MINUTE).is_none());
    assert!(page_of(fleet, &name, START_MS + 9 * MINUTE).is_some());
}
