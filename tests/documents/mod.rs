//! The same samples written in every format: what tests of readers begin with.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use gpuscale::recording::{Format, Labels, Metrics};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// 2023-11-14T22:13:20Z in unix milliseconds.
pub const T0: i64 = 1_700_000_000_000;

/// A sample to write.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Of this series.
    pub labels: Labels,
    /// Unix milliseconds.
    pub at_ms: i64,
    pub value: f64,
}

/// `count` samples of each of two GPUs, 15 seconds apart.
pub fn two_gpus(count: i64) -> Vec<Sample> {
    (0..count)
        .flat_map(|tick| ["0", "1"].map(|gpu| (tick, gpu)))
        .map(|(tick, gpu)| Sample {
            labels: Labels::new("DCGM_FI_DEV_GPU_UTIL", [("gpu", gpu), ("node", "a")]).unwrap(),
            at_ms: T0 + tick * 15_000,
            value: f64::from(u32::try_from(tick % 101).unwrap()),
        })
        .collect()
}

/// Samples by series and time; NaN is one value.
pub type Flat = BTreeMap<String, BTreeMap<i64, u64>>;

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }.to_bits()
}

/// What a reader is to find. Samples of one series and time have to be equal.
pub fn wanted(samples: &[Sample]) -> Flat {
    let mut flat = Flat::new();
    for sample in samples {
        let series = flat.entry(sample.labels.to_string()).or_default();
        series.insert(sample.at_ms, bits(sample.value));
    }
    flat
}

/// What a reader found.
pub fn found(metrics: &Metrics) -> Flat {
    let samples =
        |series: &gpuscale::recording::Series| series.samples().map(|(at, v)| (at, bits(v))).collect();
    let series = metrics.series().iter();
    series
        .map(|series| (series.labels().to_string(), samples(series)))
        .collect()
}

/// Writes samples, in their order, in a format.
pub fn document(format: Format, samples: &[Sample]) -> Vec<u8> {
    match format {
        Format::OpenMetrics => exposition(samples, |ms| format!("{}.{:03}", ms / 1000, ms % 1000), "# EOF\n"),
        Format::Prometheus => exposition(samples, |ms| ms.to_string(), ""),
        Format::TsdbDump => tsdb_dump(samples),
        Format::QueryJson => query_json(samples),
        Format::VmExport => vm_export(samples),
        Format::CsvWide => csv_wide(samples),
        Format::CsvLong => csv_long(samples),
        Format::Parquet => parquet_file(samples),
    }
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn exposition(samples: &[Sample], time: impl Fn(i64) -> String, end: &str) -> Vec<u8> {
    // The samples of a metric stand together.
    let names: BTreeSet<&str> = samples.iter().map(|sample| sample.labels.name()).collect();
    let mut text = String::new();
    for name in names {
        writeln!(text, "# TYPE {name} gauge").unwrap();
        for sample in samples.iter().filter(|sample| sample.labels.name() == name) {
            writeln!(
                text,
                "{} {} {}",
                sample.labels,
                number(sample.value),
                time(sample.at_ms)
            )
            .unwrap();
        }
    }
    (text + end).into_bytes()
}

fn with_name(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().chain([("__name__", labels.name())]).collect()
}

fn tsdb_dump(samples: &[Sample]) -> Vec<u8> {
    let mut text = String::new();
    for sample in samples {
        let pairs: Vec<String> = with_name(&sample.labels)
            .iter()
            .map(|(label, value)| format!("{label}={value:?}"))
            .collect();
        writeln!(
            text,
            "{{{}}} {} {}",
            pairs.join(", "),
            number(sample.value),
            sample.at_ms
        )
        .unwrap();
    }
    text.into_bytes()
}

fn query_json(samples: &[Sample]) -> Vec<u8> {
    let mut series: BTreeMap<&Labels, Vec<serde_json::Value>> = BTreeMap::new();
    for sample in samples {
        let seconds = format!("{}.{:03}", sample.at_ms / 1000, sample.at_ms % 1000);
        let seconds: serde_json::Value = serde_json::from_str(&seconds).unwrap();
        series
            .entry(&sample.labels)
            .or_default()
            .push(serde_json::json!([seconds, number(sample.value)]));
    }
    let result: Vec<_> = series
        .into_iter()
        .map(|(labels, values)| serde_json::json!({ "metric": with_name(labels), "values": values }))
        .collect();
    let data = serde_json::json!({ "resultType": "matrix", "result": result });
    serde_json::json!({ "status": "success", "data": data })
        .to_string()
        .into_bytes()
}

fn vm_export(samples: &[Sample]) -> Vec<u8> {
    let mut text = String::new();
    for sample in samples {
        let metric = serde_json::to_string(&with_name(&sample.labels)).unwrap();
        let value = match sample.value {
            value if value.is_nan() => "null".to_owned(),
            f64::INFINITY => "\"Infinity\"".to_owned(),
            f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
            value => value.to_string(),
        };
        let at_ms = sample.at_ms;
        writeln!(
            text,
            r#"{{"metric":{metric},"values":[{value}],"timestamps":[{at_ms}]}}"#
        )
        .unwrap();
    }
    text.into_bytes()
}

fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

fn csv_wide(samples: &[Sample]) -> Vec<u8> {
    let columns: BTreeSet<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
    let times: BTreeSet<i64> = samples.iter().map(|sample| sample.at_ms).collect();
    let mut text = String::from("Time");
    for labels in &columns {
        // Braces, so that a series without labels is still one.
        let heading = labels.to_string();
        let braces = if heading.ends_with('}') { "" } else { "{}" };
        write!(text, ",{}", quoted(&(heading + braces))).unwrap();
    }
    for time in times {
        write!(text, "\r\n{}.{:03}", time / 1000, time % 1000).unwrap();
        for labels in &columns {
            let cell = samples
                .iter()
                .find(|sample| sample.at_ms == time && sample.labels == **labels);
            write!(
                text,
                ",{}",
                cell.map_or(String::new(), |sample| number(sample.value))
            )
            .unwrap();
        }
    }
    (text + "\r\n").into_bytes()
}

fn csv_long(samples: &[Sample]) -> Vec<u8> {
    let mut text = String::from("timestamp,value,labels\n");
    for sample in samples {
        let instant = jiff::Timestamp::from_millisecond(sample.at_ms).unwrap();
        let labels = serde_json::to_string(&with_name(&sample.labels)).unwrap();
        writeln!(text, "{instant},{},{}", number(sample.value), quoted(&labels)).unwrap();
    }
    text.into_bytes()
}

fn parquet_file(samples: &[Sample]) -> Vec<u8> {
    let schema = "message recording { required int64 time (TIMESTAMP(MICROS,true)); required double value; \
        required binary name (STRING); required group labels (MAP) { repeated group key_value { \
        required binary key (STRING); required binary value (STRING); } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let times: Vec<i64> = samples.iter().map(|sample| sample.at_ms * 1000).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let names: Vec<ByteArray> = samples.iter().map(|sample| sample.labels.name().into()).collect();
    let (mut entries, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    for sample in samples {
        let before = entries.len();
        entries.extend(sample.labels.iter());
        let count = entries.len() - before;
        definitions.extend(if count == 0 { vec![0] } else { vec![1; count] });
        repetitions.extend((0..count.max(1)).map(|index| i16::from(index > 0)));
    }
    let texts = |part: fn(&(&str, &str)) -> ByteArray| entries.iter().map(part).collect::<Vec<_>>();
    let columns = [texts(|entry| entry.0.into()), texts(|entry| entry.1.into())];

    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int64Type>()
        .write_batch(&times, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<DoubleType>()
        .write_batch(&values, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<ByteArrayType>()
        .write_batch(&names, None, None)
        .unwrap();
    column.close().unwrap();
    for cells in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let writer = column.typed::<ByteArrayType>();
        writer
            .write_batch(&cells, Some(&definitions), Some(&repetitions))
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

/// Packed with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Packed with Zstandard, with a checksum as the `zstd` command writes it.
pub fn zstandard(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
