//! Files written with the crate that reads them, then damaged in every way that made it fall over.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::recording::TimeUnit;

/// What a leaf is written with: values, definition levels, repetition levels.
enum Written {
    Int32(Vec<i32>),
    Int64(Vec<i64>, Option<Vec<i16>>),
    Double(Vec<f64>, Option<Vec<i16>>),
    Float(Vec<f32>),
    Text(Vec<&'static str>, Option<Vec<i16>>, Option<Vec<i16>>),
}

/// A file of one row group for each of `groups`.
fn file(schema: &str, compression: Compression, groups: &[Vec<Written>]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message recording {{ {schema} }}")).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    for group in groups {
        let mut row_group = writer.next_row_group().unwrap();
        for written in group {
            let mut column = row_group.next_column().unwrap().unwrap();
            match (column.untyped(), written) {
                (ColumnWriter::Int32ColumnWriter(to), Written::Int32(values)) => {
                    to.write_batch(values, None, None).unwrap();
                }
                (ColumnWriter::Int64ColumnWriter(to), Written::Int64(values, levels)) => {
                    to.write_batch(values, levels.as_deref(), None).unwrap();
                }
                (ColumnWriter::DoubleColumnWriter(to), Written::Double(values, levels)) => {
                    to.write_batch(values, levels.as_deref(), None).unwrap();
                }
                (ColumnWriter::FloatColumnWriter(to), Written::Float(values)) => {
                    to.write_batch(values, None, None).unwrap();
                }
                (ColumnWriter::ByteArrayColumnWriter(to), Written::Text(values, levels, repetitions)) => {
                    let values: Vec<ByteArray> = values.iter().map(|&text| text.into()).collect();
                    to.write_batch(&values, levels.as_deref(), repetitions.as_deref())
                        .unwrap();
                }
                _ => panic!("the schema has another type"),
            }
            column.close().unwrap();
        }
        row_group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn shown_series(bytes: &[u8], options: &ReadOptions) -> Result<Vec<String>, String> {
    let metrics = read(&mut &*bytes, options).map_err(|error| error.to_string())?;
    let show = |series: &crate::recording::Series| {
        let samples: Vec<_> = series.samples().map(|(at, v)| format!("{v}@{at}")).collect();
        format!("{} {}", series.labels(), samples.join(" "))
    };
    Ok(metrics.series().iter().map(show).collect())
}

fn metric(name: &str) -> ReadOptions {
    ReadOptions {
        metric: Some(name.to_owned()),
        ..ReadOptions::default()
    }
}

const T: i64 = 1_700_000_000_000;

#[test]
fn a_flat_table_is_read_in_each_compression() {
    let schema = "required int64 time (TIMESTAMP(MILLIS,true)); optional double value; \
        required binary metric (STRING); optional binary node (STRING); required int32 gpu;";
    let group = |start: i64| {
        vec![
            Written::Int64(vec![start, start + 15_000, start + 30_000], None),
            Written::Double(vec![1.5, f64::NAN], Some(vec![1, 0, 1])),
            Written::Text(vec!["U", "U", "U"], None, None),
            Written::Text(vec!["a"], Some(vec![1, 0, 0]), None),
            Written::Int32(vec![0, 0, 1]),
        ]
    };
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let bytes = file(schema, compression, &[group(T), group(T + 60_000)]);
        assert_eq!(
            shown_series(&bytes, &ReadOptions::default()).unwrap(),
            [
                r#"U{gpu="0",node="a"} 1.5@1700000000000 1.5@1700000060000"#,
                r#"U{gpu="1"} NaN@1700000030000 NaN@1700000090000"#,
            ]
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn times_are_read_in_the_unit_that_the_file_says() {
    let check = |time: &str, written: Written, options: &ReadOptions, wanted: Result<i64, &str>| {
        let schema = format!("required {time}; required double value;");
        let bytes = file(
            &schema,
            Compression::UNCOMPRESSED,
            &[vec![written, Written::Double(vec![1.0], None)]],
        );
        let found = read(
            &mut &*bytes,
            &ReadOptions {
                metric: Some("m".to_owned()),
                ..options.clone()
            },
        );
        let found = found
            .map(|metrics| metrics.span_ms().0)
            .map_err(|error| error.to_string());
        match wanted {
            Ok(at_ms) => assert_eq!(found.unwrap(), at_ms, "{time}"),
            Err(text) => assert!(found.clone().unwrap_err().contains(text), "{time}: {found:?}"),
        }
    };
    let plain = ReadOptions::default();
    let seconds = ReadOptions {
        timestamps: Some(TimeUnit::Seconds),
        ..ReadOptions::default()
    };
    let long = |value| Written::Int64(vec![value], None);
    let text = |value| Written::Text(vec![value], None, None);
    check(
        "int64 time (TIMESTAMP(MILLIS,true))",
        long(T + 1),
        &plain,
        Ok(T + 1),
    );
    check(
        "int64 time (TIMESTAMP_MICROS)",
        long((T + 1) * 1000 + 499),
        &plain,
        Ok(T + 1),
    );
    check(
        "int64 time (TIMESTAMP(NANOS,false))",
        long((T + 1) * 1_000_000),
        &seconds,
        Ok(T + 1),
    );
    check("int64 ts", long(T + 1), &plain, Ok(T + 1));
    check("int64 timestamp", long(T / 1000), &seconds, Ok(T));
    check(
        "int64 time",
        long(T / 1000),
        &plain,
        Err("row 1: timestamp `1700000000` as milliseconds"),
    );
    check("int32 time", Written::Int32(vec![1_700_000_000]), &seconds, Ok(T));
    check(
        "double time",
        Written::Double(vec![1_700_000_000.123], None),
        &plain,
        Ok(T + 123),
    );
    check(
        "binary time (STRING)",
        text("2023-11-14T22:13:20Z"),
        &plain,
        Ok(T),
    );
    check("binary time", text("1700000000.5"), &plain, Ok(T + 500));
    check(
        "binary time",
        text("noon"),
        &plain,
        Err("row 1: timestamp `noon` is no date"),
    );
    check(
        "int64 time (TIMESTAMP(MICROS,true))",
        long(T),
        &plain,
        Err("is not between the years"),
    );
    check(
        "int64 time (TIMESTAMP(NANOS,true))",
        long(i64::MAX),
        &plain,
        Err("is not between the years"),
    );
    check(
        "int64 time (DECIMAL(10,2))",
        long(T),
        &plain,
        Err("column `time` is of the type INT64"),
    );
    check(
        "float time",
        Written::Float(vec![1.7e9]),
        &plain,
        Err("column `time` is of the type FLOAT"),
    );
}

#[test]
fn labels_may_be_a_map() {
    let schema = "required int64 time; required float value; required binary name (STRING); \
        optional group labels (MAP) { repeated group key_value { required binary key (STRING); \
        optional binary value (STRING); } }";
    let keys = Written::Text(
        vec!["gpu", "node", "gpu", "pod"],
        Some(vec![2, 2, 1, 0, 2, 2]),
        Some(vec![0, 1, 0, 0, 0, 1]),
    );
    let values = Written::Text(
        vec!["0", "a", "1"],
        Some(vec![3, 3, 1, 0, 3, 2]),
        Some(vec![0, 1, 0, 0, 0, 1]),
    );
    let group = vec![
        Written::Int64(vec![T, T, T + 15_000, T + 15_000], None),
        Written::Float(vec![1.0, 2.0, 3.0, 4.0]),
        Written::Text(vec!["U"; 4], None, None),
        keys,
        values,
    ];
    let bytes = file(schema, Compression::UNCOMPRESSED, &[group]);
    assert_eq!(
        shown_series(&bytes, &ReadOptions::default()).unwrap(),
        [
            "U 2@1700000000000 3@1700000015000",
            r#"U{gpu="0",node="a"} 1@1700000000000"#,
            r#"U{gpu="1"} 4@1700000015000"#,
        ]
    );
}

#[test]
fn schemas_that_do_not_fit_are_refused() {
    let check = |schema: &str, wanted: &str| {
        let bytes = file(schema, Compression::UNCOMPRESSED, &[]);
        let error = shown_series(&bytes, &ReadOptions::default()).unwrap_err();
        assert!(error.starts_with(wanted), "{schema}: {error}");
    };
    check(
        "required int64 time;",
        "there is no column `value` among: time; see the table of formats",
    );
    check(
        "required int64 at; required double value;",
        "there is no column `time`",
    );
    check(
        "required int64 time; required binary value;",
        "column `value` is text and not a number",
    );
    check(
        "required int64 time; required int32 value (DATE);",
        "column `value` is of the type INT32",
    );
    check(
        "required int64 time; required double value; required boolean up;",
        "column `up` is of the type BOOLEAN",
    );
    check(
        "required int64 time; repeated double value;",
        "column `value` is a list",
    );
    check(
        "required int64 time; required double value; required group a { required binary b; }",
        "column `a` is nested",
    );
    check(
        "required int64 time; required double value; optional group a (MAP) { repeated group key_value \
         { required binary key; optional binary value; } }",
        "column `a` is a map; only `labels` may be one",
    );
    check(
        "required int64 time; required double value; optional group labels (MAP) { repeated group key_value \
         { required binary key; optional int32 value; } }",
        "column `labels` is not a map from text to text",
    );
    check(
        "required int64 time; required double value;",
        "there is no sample in it",
    );
}

/// A small file with dictionaries, nulls and a map.
fn small() -> Vec<u8> {
    let schema = "required int64 time (TIMESTAMP(MILLIS,true)); optional double value; \
        required binary node (STRING); optional group labels (MAP) { repeated group key_value { \
        required binary key (STRING); optional binary value (STRING); } }";
    let entries = |texts: [&'static str; 2], level| {
        Written::Text(texts.repeat(20), Some(vec![level; 40]), Some([0, 1].repeat(20)))
    };
    let group = vec![
        Written::Int64((0..20).map(|i| T + i * 15_000).collect(), None),
        Written::Double((0..10).map(f64::from).collect(), Some([1, 0].repeat(10))),
        Written::Text(["a", "b"].repeat(10), None, None),
        entries(["gpu", "pod"], 2),
        entries(["0", "x"], 3),
    ];
    file(schema, Compression::SNAPPY, &[group])
}

#[test]
fn a_file_that_is_cut_or_garbled_anywhere_is_no_panic() {
    let bytes = small();
    let options = metric("m");
    let whole = shown_series(&bytes, &options).unwrap();
    assert_eq!(whole.len(), 1, "{whole:?}");
    for cut in 0..bytes.len() {
        let error = read(&mut &bytes[..cut], &options).unwrap_err();
        let wanted = match cut {
            0 => Cause::Empty,
            1..4 => Cause::Parquet {
                reason: "it does not begin with `PAR1`".to_owned(),
            },
            _ => Cause::Truncated { what: "Parquet file" },
        };
        assert_eq!(error.cause, wanted, "cut at {cut}");
    }
    for at in 0..bytes.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut garbled = bytes.clone();
            garbled[at] ^= flip;
            let _ = read(&mut &*garbled, &options);
        }
    }
}
