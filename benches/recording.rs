//! How fast recorded text is read, with `prometheus-parse` in the same run, and how much memory a month of it takes.
//!
//! `cargo bench --bench recording` prints the memory first, while the process is still small, and then criterion's
//! figures in bytes of (unpacked) text per second. The text is what a fleet of 64 GPUs exports in four metrics: 174,080
//! lines of some 300 bytes with 10 labels. The rival reads the same Prometheus text; it gives no time but now for
//! OpenMetrics, so that comparing them there would compare nothing.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot read its data has nothing to measure, and what it measures is printed"
)]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Read, Write as _};

use criterion::{Criterion, Throughput, criterion_group};
use gpuscale::recording::{Format, ReadOptions, read, unpacked};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const T0_MS: i64 = 1_700_000_000_000;
const SCRAPE_MS: i64 = 15_000;

/// Nodes have eight GPUs, which are scraped together.
const NODE_GPUS: usize = 8;

/// 64 GPUs with four metrics, 680 times: 174,080 samples.
const PAGE_GPUS: usize = 64;
const PAGE_SCRAPES: usize = 680;
const METRICS: [&str; 4] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_MEM_COPY_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
];

/// One sample: which series it is of, when it was taken, and its value as it is printed.
struct Sample {
    metric: &'static str,
    gpu: usize,
    at_ms: i64,
    value: String,
}

/// All samples in the order of the scrapes; the same on every machine.
fn samples() -> Vec<Sample> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut samples = Vec::with_capacity(PAGE_SCRAPES * PAGE_GPUS * METRICS.len());
    for scrape in (0_i64..).take(PAGE_SCRAPES) {
        for metric in METRICS {
            for gpu in 0..PAGE_GPUS {
                let number = random.next_u32();
                samples.push(Sample {
                    metric,
                    gpu,
                    at_ms: T0_MS + scrape * SCRAPE_MS + jitter_ms(gpu / NODE_GPUS, scrape),
                    value: match metric {
                        "DCGM_FI_DEV_FB_USED" => (number % 81_920).to_string(),
                        "DCGM_FI_PROF_GR_ENGINE_ACTIVE" => {
                            format!("{:.6}", f64::from(number % 1_000_001) / 1e6)
                        }
                        _ => (number % 101).to_string(),
                    },
                });
            }
        }
    }
    samples
}

/// How late a node is scraped: up to 100 ms, different each time and for each node, so that no axis of time is even and
/// only the devices of one node share theirs. The mixing is that of `SplitMix64` (Steele, Lea, Flood 2014).
fn jitter_ms(node: usize, scrape: i64) -> i64 {
    let mut bits = (node as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ scrape.unsigned_abs();
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    i64::try_from((bits ^ (bits >> 31)) % 100).unwrap()
}

/// The labels of a GPU, with `=` and `,` between them as they are in this form of text.
fn labels(gpu: usize, separator: &str) -> String {
    let node = gpu / NODE_GPUS;
    let index = gpu % NODE_GPUS;
    [
        format!("gpu=\"{index}\""),
        format!("UUID=\"GPU-{gpu:08x}-3a86-4340-039d-25f2a83cdc43\""),
        format!("pci_bus_id=\"00000000:{index:02x}:00.0\""),
        format!("device=\"nvidia{index}\""),
        "modelName=\"NVIDIA A100-SXM4-80GB\"".to_owned(),
        format!("Hostname=\"aks-gpu-38417205-vmss{node:06x}\""),
        "DCGM_FI_DRIVER_VERSION=\"550.144.03\"".to_owned(),
        "container=\"trainer\"".to_owned(),
        "namespace=\"ml-research\"".to_owned(),
        format!("pod=\"train-{node:04}-worker-0\""),
    ]
    .join(separator)
}

fn prometheus(samples: &[Sample]) -> String {
    let labels: Vec<String> = (0..PAGE_GPUS).map(|gpu| labels(gpu, ",")).collect();
    let mut text = String::new();
    for Sample {
        metric,
        gpu,
        at_ms,
        value,
    } in samples
    {
        writeln!(text, "{metric}{{{}}} {value} {at_ms}", labels[*gpu]).unwrap();
    }
    text
}

/// Family by family, as the format demands.
fn openmetrics(samples: &[Sample]) -> String {
    let labels: Vec<String> = (0..PAGE_GPUS).map(|gpu| labels(gpu, ",")).collect();
    let mut text = String::new();
    for family in METRICS {
        writeln!(text, "# TYPE {family} gauge").unwrap();
        for Sample {
            metric,
            gpu,
            at_ms,
            value,
        } in samples.iter().filter(|sample| sample.metric == family)
        {
            let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
            writeln!(text, "{metric}{{{}}} {value} {seconds}.{ms:03}", labels[*gpu]).unwrap();
        }
    }
    text + "# EOF\n"
}

/// Series by series.
fn dump(samples: &[Sample]) -> String {
    let labels: Vec<String> = (0..PAGE_GPUS).map(|gpu| labels(gpu, ", ")).collect();
    let mut sorted: Vec<&Sample> = samples.iter().collect();
    sorted.sort_by_key(|sample| (sample.metric, sample.gpu, sample.at_ms));
    let mut text = String::new();
    for Sample {
        metric,
        gpu,
        at_ms,
        value,
    } in sorted
    {
        writeln!(
            text,
            "{{__name__=\"{metric}\", {}}} {value} {at_ms}",
            labels[*gpu]
        )
        .unwrap();
    }
    text
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn readers(criterion: &mut Criterion) {
    let samples = samples();
    let count = samples.len() as u64;
    let (prometheus, openmetrics, dump) = (prometheus(&samples), openmetrics(&samples), dump(&samples));
    let cases = [
        (
            "prometheus",
            Format::Prometheus,
            &prometheus,
            prometheus.clone().into_bytes(),
        ),
        (
            "openmetrics",
            Format::OpenMetrics,
            &openmetrics,
            openmetrics.clone().into_bytes(),
        ),
        ("tsdb_dump", Format::TsdbDump, &dump, dump.clone().into_bytes()),
        (
            "openmetrics_gzip",
            Format::OpenMetrics,
            &openmetrics,
            gzip(&openmetrics),
        ),
        (
            "openmetrics_zstd",
            Format::OpenMetrics,
            &openmetrics,
            zstd::encode_all(openmetrics.as_bytes(), 3).unwrap(),
        ),
    ];
    let mut group = criterion.benchmark_group("recorded_text");
    group.sample_size(10);
    for (name, format, text, bytes) in &cases {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let mut input = unpacked(bytes.as_slice()).unwrap();
                let metrics = read(*format, &mut input, &ReadOptions::default()).unwrap();
                assert_eq!(metrics.tally().samples, count);
                metrics
            });
        });
    }
    group.throughput(Throughput::Bytes(prometheus.len() as u64));
    group.bench_function("prometheus_by_prometheus_parse", |bencher| {
        bencher.iter(|| {
            let lines = prometheus.as_bytes().lines();
            let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
            assert_eq!(scrape.samples.len() as u64, count);
            scrape
        });
    });
    group.finish();
}

/// Devices of the recording whose memory is measured.
const DEVICES: usize = 512;

/// Prometheus text of a fleet, made as it is read: too much to be held.
struct Fleet {
    series: Vec<String>,
    scrapes: std::ops::Range<i64>,
    /// One scrape of all devices, and how much of it was read.
    text: Vec<u8>,
    read: usize,
}

impl Fleet {
    fn new(scrapes: i64) -> Self {
        let series = |gpu| {
            let (node, index) = (gpu / NODE_GPUS, gpu % NODE_GPUS);
            format!(
                "DCGM_FI_DEV_GPU_UTIL{{gpu=\"{index}\",UUID=\"GPU-{gpu:08x}\",Hostname=\"vmss{node:06x}\"}} "
            )
        };
        Self {
            series: (0..DEVICES).map(series).collect(),
            scrapes: 0..scrapes,
            text: Vec::new(),
            read: 0,
        }
    }

    fn scrape(&mut self, scrape: i64) {
        self.text.clear();
        self.read = 0;
        for (node, devices) in self.series.chunks(NODE_GPUS).enumerate() {
            let at_ms = T0_MS + scrape * SCRAPE_MS + jitter_ms(node, scrape);
            let end = format!(" {at_ms}\n");
            for (index, series) in (0_i64..).zip(devices) {
                self.text.extend_from_slice(series.as_bytes());
                let percent = u8::try_from((scrape * 37 + index * 11) % 100).unwrap();
                self.text
                    .extend_from_slice(&[b'0' + percent / 10, b'0' + percent % 10]);
                self.text.extend_from_slice(end.as_bytes());
            }
        }
    }
}

impl Read for Fleet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.text.len() {
            match self.scrapes.next() {
                Some(scrape) => self.scrape(scrape),
                None => return Ok(0),
            }
        }
        let count = (&self.text[self.read..]).read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

/// Prints the peak memory of reading a month of 512 devices at 15 s, and holds it to 1.5 times eight bytes a sample.
///
/// The kernel's own high-water mark is asked, so that nothing is forgotten: series while they grow, tables, buffers.
fn peak_memory(days: i64) {
    let scrapes = days * 24 * 3_600_000 / SCRAPE_MS;
    let mut fleet = Fleet::new(scrapes);
    // The mark is that of the process; `5` sets it to what is in use now.
    let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = status_bytes("VmRSS:");
    let metrics = read(Format::Prometheus, &mut fleet, &ReadOptions::default()).unwrap();
    let after = status_bytes("VmHWM:");
    let samples = metrics.tally().samples;
    assert_eq!(samples, u64::try_from(scrapes).unwrap() * DEVICES as u64);
    let what = format!("{DEVICES} devices for {days} days at 15 s ({samples} samples)");
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_sample = |bytes: u64| bytes as f64 / samples as f64;
    let held = per_sample(metrics.heap_bytes() as u64);
    match (reset, before, after) {
        (true, Some(before), Some(after)) => {
            let peak = per_sample(after.saturating_sub(before));
            let ratio = peak / 8.0;
            println!(
                "peak memory of reading {what}: {peak:.2} bytes per sample ({ratio:.3} × 8 bytes); held {held:.2}"
            );
            assert!(
                days < 7 || ratio < 1.5,
                "more than 1.5 times the values themselves"
            );
        }
        _ => println!(
            "peak memory of reading {what}: not measured on this system; held {held:.2} bytes per sample"
        ),
    }
    black_box(metrics);
}

/// A figure of `/proc/self/status`, where there is one.
fn status_bytes(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kibibytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

criterion_group!(benches, readers);

fn main() {
    // Without `--bench`, cargo only tries whether the bench works; a list of names needs no reading.
    let arguments: Vec<String> = std::env::args().collect();
    let given = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if !given("--list") {
        peak_memory(if given("--bench") { 31 } else { 1 });
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
