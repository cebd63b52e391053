//! What reading an answer of the query API costs, beside `serde_json` reading the same bytes into values.
//!
//! `cargo bench --bench source`. Two answers: of a tick (three samples of each series, which are those of the answer before)
//! and of a first read (a window of ten minutes, of series that nobody knows). The rival keeps everything and judges
//! nothing; what it made would still have to be looked through.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gpuscale::source::prometheus::answer::{Body, Catalogue, Limits, Reader};
use serde_json::Value;

const SERIES: usize = 1_000;
const SCRAPE_MS: usize = 15_000;

/// Bytes that come in one piece from a connection.
const CHUNK: usize = 16 << 10;

const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    series: 20_000,
    samples: 2_000_000,
};

/// The answer to `DCGM_FI_DEV_GPU_UTIL[…]` with the labels of dcgm-exporter.
fn answer(samples: usize) -> String {
    let mut body = r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned();
    for gpu in 0..SERIES {
        if gpu > 0 {
            body.push(',');
        }
        write!(
            body,
            r#"{{"metric":{{"__name__":"DCGM_FI_DEV_GPU_UTIL","DCGM_FI_DRIVER_VERSION":"580.95.05","Hostname":"aks-a100-31604720-vmss{:06}","UUID":"GPU-8d3c2b1a-5f6e-4a2b-9e10-{gpu:012x}","container":"server","device":"nvidia{}","gpu":"{}","instance":"10.224.0.{}:19400","job":"dcgm-exporter","modelName":"NVIDIA A100-SXM4-80GB","namespace":"inference","pci_bus_id":"00000001:00:00.0","pod":"vllm-{gpu}"}},"values":["#,
            gpu / 8,
            gpu % 8,
            gpu % 8,
            gpu / 8 % 250,
        )
        .unwrap();
        for sample in 0..samples {
            let at_ms = sample * SCRAPE_MS + gpu * 37 % SCRAPE_MS;
            let comma = if sample > 0 { "," } else { "" };
            write!(
                body,
                "{comma}[{}.{:03},\"{}\"]",
                1_700_000_000 + at_ms / 1000,
                at_ms % 1000,
                (sample * 7 + gpu) % 101
            )
            .unwrap();
        }
        body.push_str("]}");
    }
    body.push_str("]}}");
    body
}

fn read(catalogue: &mut Catalogue, body: &str) -> Body {
    let mut reader = Reader::new(catalogue, LIMITS);
    for chunk in body.as_bytes().chunks(CHUNK) {
        reader.feed(chunk).unwrap();
    }
    reader.finish().unwrap()
}

fn answers(criterion: &mut Criterion) {
    for (what, samples) in [("tick", 3), ("first", 41)] {
        let body = answer(samples);
        let mut known = Catalogue::default();
        let all = read(&mut known, &body).series;
        assert_eq!((all.len(), all.samples()), (SERIES, SERIES * samples));
        let mut group = criterion.benchmark_group("answer");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("gpuscale", what), |bencher| {
            if samples == 3 {
                bencher.iter(|| black_box(read(&mut known, &body)));
            } else {
                bencher.iter(|| black_box(read(&mut Catalogue::default(), &body)));
            }
        });
        group.bench_function(BenchmarkId::new("serde_json", what), |bencher| {
            bencher.iter(|| black_box(serde_json::from_slice::<Value>(body.as_bytes()).unwrap()));
        });
        group.finish();
    }
}

criterion_group!(benches, answers);
criterion_main!(benches);
