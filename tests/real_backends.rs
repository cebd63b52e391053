//! Recordings made by the programs that people make them with, read back sample by sample.
//!
//! One synthetic fleet goes into Prometheus and into VictoriaMetrics and comes out in every form that these have for
//! it. A reader that agrees with its author's idea of a format and not with the format fails here. Where a program
//! itself changes the data — `query_range` resamples, VictoriaMetrics drops NaN — the change is modelled and asserted
//! exactly: it is what a user's recording will show, too.
//!
//! `backends` says where the programs come from. Everything is on 127.0.0.1.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod backends;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use backends::exporter::Exporter;
use backends::{Hints, Place, Program, Server, find, place, run, victoria_metrics, wait_for};
use gpuscale::recording::{self, Format, Labels, Metrics, ReadOptions};
use serde_json::Value;
use tempfile::TempDir;

/// What is known to be true of a recording: each series' samples as (unix milliseconds, value).
type Truth = BTreeMap<Labels, Vec<(i64, f64)>>;

/// 2026-11-20T12:10:00.250Z. Between two multiples of Prometheus' two-hour blocks, and not on a whole second.
const START_MS: i64 = 1_795_176_600_250;

/// Between two scrapes.
const STEP_MS: i64 = 15_000;

/// Three hours.
const SCRAPES: i64 = 720;

/// From this scrape on, pods run on the first node.
const POD_AT: i64 = 240;

/// Scrapes at which the second node is silent, for longer than Prometheus looks back.
const GAP: std::ops::Range<i64> = 320..400;

const LAST_MS: i64 = START_MS + (SCRAPES - 1) * STEP_MS;

fn labels<const N: usize>(name: &str, pairs: [(&str, &str); N]) -> Labels {
    Labels::new(name, pairs).unwrap()
}

/// Eight GPUs on two nodes, three metrics, labelled as dcgm-exporter labels them.
fn fleet() -> Truth {
    let mut fleet = Truth::new();
    for gpu in 0..8 {
        for scrape in (0..SCRAPES).filter(|scrape| gpu < 4 || !GAP.contains(scrape)) {
            let at_ms = START_MS + scrape * STEP_MS;
            for (metric, value) in values(gpu, scrape) {
                let pods = gpu < 4 && scrape >= POD_AT;
                let series = device(metric, gpu, pods);
                fleet.entry(series).or_default().push((at_ms, value));
            }
        }
    }
    fleet
}

/// What one GPU exports at one scrape: whole numbers, and ratios with six decimals.
#[expect(
    clippy::cast_precision_loss,
    reason = "the numbers are small, and a division of integers rounds as a decimal that is read"
)]
fn values(gpu: i64, scrape: i64) -> [(&'static str, f64); 3] {
    let util = match (gpu, scrape) {
        (3, 100) => f64::NAN,
        (2, 500) => f64::INFINITY,
        _ => ((scrape * 7 + gpu * 13) % 101) as f64,
    };
    let engine = ((scrape * 7919 + gpu * 31) % 1_000_001) as f64 / 1e6;
    let used = ((scrape * 311 + gpu) % 81_559) as f64;
    [
        ("DCGM_FI_DEV_GPU_UTIL", util),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", engine),
        ("DCGM_FI_DEV_FB_USED", used),
    ]
}

fn device(metric: &str, gpu: i64, pods: bool) -> Labels {
    let node = if gpu < 4 { "a" } else { "b" };
    let index = gpu % 4;
    let mut pairs = vec![
        ("gpu", index.to_string()),
        ("UUID", format!("GPU-5b4e07f6-3a86-4340-039d-25f2a83cdc{gpu:02}")),
        ("pci_bus_id", format!("00000000:{index:02}:00.0")),
        ("device", format!("nvidia{index}")),
        ("modelName", "NVIDIA A100-SXM4-80GB".to_owned()),
        ("Hostname", format!("aks-gpu-vmss00000{node}")),
        ("DCGM_FI_DRIVER_VERSION", "595.58.03".to_owned()),
    ];
    if pods {
        // Characters that every one of the formats has to escape, or must not.
        pairs.extend([
            ("container", "main".to_owned()),
            ("namespace", "ml, \"prod\" {x=1}".to_owned()),
            ("pod", format!("train\\er\n{index}")),
        ]);
    }
    Labels::new(metric, pairs).unwrap()
}

/// gpuscale's own series, as a recording holds them beside those of the exporter.
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
fn schema() -> Truth {
    let info = labels(
        "gpuscale_recording_info",
        [("version", "1"), ("gpus_per_node", "4")],
    );
    let mut schema = Truth::from([(info, vec![(START_MS, 1.0)])]);
    for minute in 0..150_i64 {
        let at_ms = START_MS + minute * 60_000;
        let ready = 2 + minute / 50;
        let mut push = |series, value| schema.entry(series).or_insert_with(Vec::new).push((at_ms, value));
        push(labels("gpuscale_pool_nodes_requested", []), 4.0);
        push(labels("gpuscale_pool_nodes_ready", []), ready as f64);
        for (node, from) in [("a", 0), ("b", 0), ("c", 50), ("d", 100)] {
            let gpus = if minute >= from { 4.0 } else { 0.0 };
            push(labels("gpuscale_node_gpus", [("node", node)]), gpus);
        }
        push(labels("gpuscale_node_price_usd_per_hour", []), 14.692);
        let queue = minute as f64 / 8.0;
        push(labels("gpuscale_signal", [("signal", "queue")]), queue);
    }
    schema
}

fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

/// Unix seconds with three decimals.
fn seconds(at_ms: i64) -> String {
    format!("{}.{:03}", at_ms / 1000, at_ms % 1000)
}

/// OpenMetrics text: families with their types, times in seconds, a last line.
fn open_metrics(truth: &Truth) -> String {
    let (mut text, mut family) = (String::new(), "");
    for (series, samples) in truth {
        if series.name() != family {
            family = series.name();
            // The name of an `info` family is that of its sample without the suffix.
            match family.strip_suffix("_info") {
                Some(stem) => writeln!(text, "# TYPE {stem} info").unwrap(),
                None => writeln!(text, "# TYPE {family} gauge").unwrap(),
            }
        }
        for &(at_ms, value) in samples {
            writeln!(text, "{series} {} {}", number(value), seconds(at_ms)).unwrap();
        }
    }
    text + "# EOF\n"
}

/// Prometheus text: no last line, times in milliseconds.
fn prometheus_text(truth: &Truth) -> String {
    let mut text = String::new();
    for (series, samples) in truth {
        for &(at_ms, value) in samples {
            writeln!(text, "{series} {} {at_ms}", number(value)).unwrap();
        }
    }
    text
}

/// Reads bytes that have to be told to be `format`.
fn read(format: Format, bytes: &[u8]) -> Metrics {
    let head = |length: usize| {
        let mut head = Vec::new();
        let unpacked = recording::unpacked(bytes).unwrap();
        unpacked.take(length as u64).read_to_end(&mut head).unwrap();
        head
    };
    assert_eq!(Format::detect(&head(4096)).unwrap(), format);
    let mut unpacked = recording::unpacked(bytes).unwrap();
    recording::read(format, &mut unpacked, &ReadOptions::default()).unwrap_or_else(|error| {
        panic!("{format}: {error}\n{}", String::from_utf8_lossy(&head(1000)));
    })
}

fn contents(metrics: &Metrics) -> Truth {
    let series = metrics.series().iter();
    series
        .map(|series| (series.labels().clone(), series.samples().collect()))
        .collect()
}

/// Asserts that the same series with the same samples are there; a NaN is a NaN.
fn assert_same(expected: &Truth, found: &Truth) {
    let names = |truth: &Truth| truth.keys().map(Labels::to_string).collect::<Vec<_>>();
    assert_eq!(names(expected), names(found));
    for (series, samples) in expected {
        let others = &found[series];
        let same =
            |(a, b): &(&(i64, f64), &(i64, f64))| a.0 == b.0 && (a.1 == b.1 || a.1.is_nan() && b.1.is_nan());
        if let Some((index, (a, b))) = samples
            .iter()
            .zip(others)
            .enumerate()
            .find(|(_, pair)| !same(pair))
        {
            panic!("{series}: sample {index} is {b:?} and not {a:?}");
        }
        assert_eq!(samples.len(), others.len(), "{series}");
    }
}

/// What `query_range` makes of samples: at each point of the grid the newest one that is young enough.
fn resampled(truth: &Truth, young_enough: impl Fn(i64) -> bool) -> Truth {
    let mut resampled = Truth::new();
    for (series, samples) in truth {
        let points = (0..SCRAPES).map(|point| START_MS + point * STEP_MS);
        let held = points.filter_map(|point_ms| {
            let newest = samples[..samples.partition_point(|sample| sample.0 <= point_ms)].last()?;
            young_enough(point_ms - newest.0).then_some((point_ms, newest.1))
        });
        resampled.insert(series.clone(), held.collect());
    }
    resampled
}

fn count(truth: &Truth) -> usize {
    truth.values().map(Vec::len).sum()
}

/// A directory whose `data` holds the blocks that promtool makes of OpenMetrics text; nothing if it is left out.
fn backfilled(truth: &Truth) -> Option<TempDir> {
    let promtool = find(Program::Promtool)?;
    let folder = tempfile::tempdir().unwrap();
    let (text, data) = (folder.path().join("recording.om"), folder.path().join("data"));
    fs::write(&text, open_metrics(truth)).unwrap();
    // `tsdb dump` wants the folder of a write-ahead log, be it empty.
    fs::create_dir_all(data.join("wal")).unwrap();
    let create = ["tsdb", "create-blocks-from", "openmetrics"].map(OsStr::new);
    run(
        &promtool,
        create.into_iter().chain([text.as_os_str(), data.as_os_str()]),
    );
    Some(folder)
}

fn dumped(folder: &Path) -> Vec<u8> {
    let promtool = find(Program::Promtool).unwrap();
    let data = folder.join("data");
    run(
        &promtool,
        [OsStr::new("tsdb"), OsStr::new("dump"), data.as_os_str()],
    )
}

/// `query_range` over the fleet's three hours, in steps of a scrape, on the times of the scrapes.
fn query_range(server: &Server, extra: &[(&str, &str)]) -> Vec<u8> {
    let (start, end) = (seconds(START_MS), seconds(LAST_MS));
    let query = [
        ("query", "{__name__=~\"DCGM.+\"}"),
        ("start", &start),
        ("end", &end),
        ("step", "15"),
    ];
    server.get("/api/v1/query_range", &[&query, extra].concat())
}

/// The raw samples of the fleet: a range selector, longer than the recording, at its end.
fn raw(server: &Server) -> Vec<u8> {
    let query = [
        ("query", "{__name__=~\"DCGM.+\"}[6h]"),
        ("time", &seconds(LAST_MS)),
    ];
    server.get("/api/v1/query", &query)
}

// ---- What is written is what is read ----

#[test]
fn the_texts_that_are_handed_to_the_servers_say_what_is_meant() {
    let truth = fleet();
    assert_eq!(count(&truth), 4 * 3 * 720 + 4 * 3 * 640);
    assert_same(
        &truth,
        &contents(&read(Format::OpenMetrics, open_metrics(&truth).as_bytes())),
    );
    assert_same(
        &truth,
        &contents(&read(Format::Prometheus, prometheus_text(&truth).as_bytes())),
    );
}

// ---- Prometheus ----

#[test]
fn a_dump_of_a_backfilled_prometheus_holds_every_sample() {
    let truth = fleet();
    let Some(folder) = backfilled(&truth) else { return };
    let metrics = read(Format::TsdbDump, &dumped(folder.path()));
    assert_same(&truth, &contents(&metrics));
    assert_eq!(
        metrics.tally().not_finite,
        2,
        "one NaN, one infinity, both carried through"
    );
    // The dump goes block by block, which is in the order of time for each series.
    assert_eq!(metrics.tally().late.count, 0);
}

#[test]
fn a_range_selector_of_prometheus_gives_every_raw_sample() {
    let truth = fleet();
    let Some(folder) = backfilled(&truth) else { return };
    let Some(server) = backends::prometheus(folder, "") else {
        return;
    };
    assert_same(&truth, &contents(&read(Format::QueryJson, &raw(&server))));
}

#[test]
fn query_range_of_prometheus_repeats_what_is_younger_than_five_minutes() {
    const LOOKBACK_MS: i64 = 300_000;
    let truth = fleet();
    let Some(folder) = backfilled(&truth) else { return };
    let Some(server) = backends::prometheus(folder, "") else {
        return;
    };
    let found = contents(&read(Format::QueryJson, &query_range(&server, &[])));
    // Up to version 2 a sample that is exactly as old as the lookback still counts.
    let build: Value = serde_json::from_slice(&server.get("/api/v1/status/buildinfo", &[])).unwrap();
    let version = build["data"]["version"].as_str().unwrap();
    let closed = version.starts_with("2.");
    let expected = resampled(&truth, |age_ms| {
        age_ms < LOOKBACK_MS || (closed && age_ms == LOOKBACK_MS)
    });
    assert_same(&expected, &found);

    // Said in words. Silence of 20 minutes looks like 15 of it, and nothing says which samples are copies.
    let copies = if closed { 20 } else { 19 };
    let silent = &found[&device("DCGM_FI_DEV_GPU_UTIL", 5, false)];
    assert_eq!(silent.len(), 640 + copies);
    // When a pod came, the GPU got other labels: for five minutes it is there twice, once as it was.
    let before = &found[&device("DCGM_FI_DEV_GPU_UTIL", 0, false)];
    let after = &found[&device("DCGM_FI_DEV_GPU_UTIL", 0, true)];
    let both = before.iter().filter(|sample| sample.0 >= after[0].0);
    assert_eq!(both.count(), copies);
    // Apart from copies nothing was added, and nothing was lost.
    assert_eq!(count(&found), count(&truth) + (4 + 4) * 3 * copies);
}

#[test]
fn an_exporter_that_dies_ends_its_series_with_a_stale_marker() {
    let start = |config: &str| backends::prometheus(tempfile::tempdir().unwrap(), config);
    let Some((server, served)) = scraped_until_death(start) else {
        return;
    };
    let selected = server.get("/api/v1/query", &[("query", "{__name__=~\"DCGM.+\"}[5m]")]);
    server.post("/-/quit", b"");
    let folder = server.ended();
    let dump = read(Format::TsdbDump, &dumped(folder.path()));

    // A range selector leaves the marker out; a dump ends with it.
    let selected = assert_scraped(&read(Format::QueryJson, &selected), served, Ending::Open);
    assert_eq!(assert_scraped(&dump, served, Ending::Marker), selected);
    let [up] = dump.of("up") else { panic!("one `up`") };
    let up: Vec<f64> = up.samples().map(|sample| sample.1).collect();
    assert!(
        up.starts_with(&vec![1.0; served]) && up.ends_with(&[0.0]),
        "{up:?}"
    );
}

#[test]
fn promtool_takes_a_recording_of_gpuscale_for_open_metrics() {
    let mut truth = schema();
    truth.extend(fleet());
    assert_same(
        &truth,
        &contents(&read(Format::OpenMetrics, open_metrics(&truth).as_bytes())),
    );
    let Some(folder) = backfilled(&truth) else { return };
    assert_same(&truth, &contents(&read(Format::TsdbDump, &dumped(folder.path()))));
}

// ---- VictoriaMetrics ----

/// A VictoriaMetrics that holds the samples; nothing if it is left out.
fn imported(truth: &Truth) -> Option<Server> {
    let server = victoria_metrics(None)?;
    server.post("/api/v1/import/prometheus", prometheus_text(truth).as_bytes());
    server.get("/internal/force_flush", &[]);
    Some(server)
}

/// What VictoriaMetrics takes from text: infinities, too, but nothing that is not a number.
fn numbers(mut truth: Truth) -> Truth {
    for samples in truth.values_mut() {
        samples.retain(|sample| !sample.1.is_nan());
    }
    truth
}

#[test]
fn an_export_of_victoria_metrics_holds_every_number() {
    let mut truth = fleet();
    truth.extend(schema());
    let Some(server) = imported(&truth) else { return };
    let truth = numbers(truth);
    let query = [("match[]", "{__name__!=\"\"}")];
    let plain = server.get("/api/v1/export", &query);
    assert_same(&truth, &contents(&read(Format::VmExport, &plain)));
    let packed = server.ask("/api/v1/export", &query, &[("Accept-Encoding", "gzip")]);
    let packed = packed.unwrap().ok();
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < plain.len() / 2);
    assert_same(&truth, &contents(&read(Format::VmExport, &packed)));
}

#[test]
fn an_export_of_victoria_metrics_ends_the_series_of_a_dead_exporter() {
    let Some((server, served)) = scraped_until_death(|config| victoria_metrics(Some(config))) else {
        return;
    };
    server.get("/internal/force_flush", &[]);
    let everything = ("match[]", "{__name__!=\"\"}");
    let merged = server.get("/api/v1/export", &[everything]);
    let merged = assert_scraped(&read(Format::VmExport, &merged), served, Ending::Marker);
    // Spared memory, it writes a line for each of its blocks, in no order of time.
    let blocks = server.get("/api/v1/export", &[everything, ("reduce_mem_usage", "1")]);
    assert!(
        blocks.iter().filter(|&&byte| byte == b'\n').count() > 3,
        "more lines than series"
    );
    let blocks = assert_scraped(&read(Format::VmExport, &blocks), served, Ending::Marker);
    assert_eq!(blocks, merged);
    // Its range selector gives the marker, too.
    let selected = server.get("/api/v1/query", &[("query", "{__name__=~\"DCGM.+\"}[5m]")]);
    let selected = assert_scraped(&read(Format::QueryJson, &selected), served, Ending::Marker);
    assert_eq!(selected, merged);
}

#[test]
fn query_range_of_victoria_metrics_repeats_one_and_a_half_scrapes() {
    let truth = fleet();
    let Some(server) = imported(&truth) else { return };
    let truth = numbers(truth);
    assert_same(&truth, &contents(&read(Format::QueryJson, &raw(&server))));
    // `nocache` keeps it from moving the grid to multiples of the step.
    let found = contents(&read(
        Format::QueryJson,
        &query_range(&server, &[("nocache", "1")]),
    ));
    // It looks back over the usual distance of a series' samples and half of it again.
    assert_same(&resampled(&truth, |age_ms| age_ms < STEP_MS * 3 / 2), &found);
}

// ---- The exporter ----

/// Two families of a real page: an idle NVIDIA L40S on a managed Kubernetes of UpCloud, dcgm-exporter's defaults, as
/// a public tutorial shows it. Only the values change from scrape to scrape.
fn l40s_page(scrape: usize) -> String {
    let labels = r#"{gpu="0",UUID="GPU-5b4e07f6-3a86-4340-039d-25f2a83cdc43",pci_bus_id="00000000:00:07.0",device="nvidia0",modelName="NVIDIA L40S",Hostname="gpu1-wl8sg",DCGM_FI_DRIVER_VERSION="595.58.03"}"#;
    let (power, util) = (
        l40s("DCGM_FI_DEV_POWER_USAGE", scrape),
        l40s("DCGM_FI_DEV_GPU_UTIL", scrape),
    );
    format!(
        "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\n\
         # TYPE DCGM_FI_DEV_POWER_USAGE gauge\n\
         DCGM_FI_DEV_POWER_USAGE{labels} {power:.6}\n\
         # HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n\
         # TYPE DCGM_FI_DEV_GPU_UTIL gauge\n\
         DCGM_FI_DEV_GPU_UTIL{labels} {util}\n"
    )
}

/// The value of a metric at a scrape.
fn l40s(metric: &str, scrape: usize) -> f64 {
    let step = f64::from(u32::try_from(scrape).unwrap());
    match metric {
        "DCGM_FI_DEV_GPU_UTIL" => (step * 7.0) % 101.0,
        _ => 35.6875 + step * 0.25,
    }
}

/// Lets a server scrape an exporter at least five times, has the exporter die, and waits until the server knows. Gives
/// the server, and the number of pages that were served, all of which it took.
fn scraped_until_death(start: impl Fn(&str) -> Option<Server>) -> Option<(Server, usize)> {
    // A scrape that takes a second fails. On a machine that stood still for so long, the page is served but not taken.
    for _ in 0..5 {
        let exporter = Exporter::start(l40s_page);
        let server = start(&format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: dcgm, static_configs: [{{targets: ['{}']}}]}}]\n",
            exporter.target()
        ))?;
        let value = |query: &str| {
            let answer = server.get("/api/v1/query", &[("query", query)]);
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let text = answer["data"]["result"].get(0)?["value"][1].as_str()?;
            text.parse::<usize>().ok()
        };
        wait_for("five scrapes", || {
            value("sum_over_time(up[5m])").filter(|&taken| taken >= 5)
        });
        let served = exporter.die();
        wait_for("the stale marker", || {
            let gone = value("count(DCGM_FI_DEV_GPU_UTIL)").is_none() && value("up") == Some(0);
            gone.then_some(())
        });
        if value("sum_over_time(up[5m])") == Some(served) {
            return Some((server, served));
        }
    }
    panic!("the server never took all pages that were served")
}

/// How a series is recorded to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With its last sample.
    Open,
    /// With a NaN after it.
    Marker,
}

/// Asserts that a recording holds the values of all pages that were served, and this ending. Gives the samples
/// without the marker.
fn assert_scraped(metrics: &Metrics, served: usize, ending: Ending) -> Truth {
    let mut scraped = Truth::new();
    for metric in ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_POWER_USAGE"] {
        let [series] = metrics.of(metric) else {
            panic!("not one series of {metric}: {:?}", metrics.of(metric))
        };
        assert_eq!(series.labels().get("job"), Some("dcgm"));
        assert_eq!(series.labels().get("Hostname"), Some("gpu1-wl8sg"));
        let mut samples: Vec<(i64, f64)> = series.samples().collect();
        if ending == Ending::Marker {
            let (_, end) = samples.pop().unwrap();
            assert!(end.is_nan(), "{samples:?}, {end}");
        }
        let values: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
        let exported: Vec<f64> = (0..served).map(|scrape| l40s(metric, scrape)).collect();
        assert_eq!(values, exported);
        scraped.insert(series.labels().clone(), samples);
    }
    scraped
}

// ---- Where the programs are ----

#[test]
fn a_program_is_looked_for_in_order_and_what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    };
    let (given, on_path, provided) = (file("mine"), file("bin/promtool"), file("cache/promtool"));
    let bin = on_path.parent().unwrap().as_os_str();
    let lines = format!(
        "# comment\nexport PROMETHEUS_BIN='/x'\nexport PROMTOOL_BIN='{}'\n",
        provided.display()
    );
    let all = Hints {
        skip: "victoria-metrics,chromium",
        variable: Some(given.as_os_str()),
        path: bin,
        env_file: &lines,
    };
    let check = |hints: Hints<'_>, expected: Place| assert_eq!(place(Program::Promtool, hints), expected);
    check(all, Place::At(given.clone()));
    let unset = Hints {
        variable: None,
        ..all
    };
    check(unset, Place::At(on_path.clone()));
    let fetched = Hints {
        path: OsStr::new("/nowhere"),
        ..unset
    };
    check(fetched, Place::At(provided.clone()));
    let skip = Hints {
        skip: "chromium, prometheus",
        ..all
    };
    check(skip, Place::Skipped);
    let wrong = Hints {
        variable: Some(OsStr::new("/nowhere/x")),
        ..all
    };
    check(
        wrong,
        Place::Missing("PROMTOOL_BIN is `/nowhere/x`, which is no file".into()),
    );
    let Place::Missing(text) = place(Program::Promtool, Hints::default()) else {
        panic!("found out of nothing")
    };
    for part in [
        "PROMTOOL_BIN",
        ".ci/provision",
        "GPUSCALE_SKIP_BACKENDS=prometheus",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
