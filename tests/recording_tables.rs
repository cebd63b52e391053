//! The readers of answers, exports, tables and Parquet with what people really have: files that were cut short, packed,
//! sorted wrongly, joined twice, written in another unit, or not metrics at all.

#![cfg(feature = "parquet")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests may fail as tests do"
)]

mod documents;

use std::io::Read;

use gpuscale::recording::{
    Cause, Format, MAX_SERIES, Metrics, Place, ReadError, ReadOptions, TimeUnit, read, unpacked,
};

use documents::{T0, document, found, gzip, two_gpus, wanted, zstandard};

/// The formats of this file; `tests/recording_text.rs` has the others.
const FORMATS: [Format; 5] = [
    Format::QueryJson,
    Format::VmExport,
    Format::CsvWide,
    Format::CsvLong,
    Format::Parquet,
];

/// The bound of a line of an export and of a row of a table.
const LINE: usize = 64 << 20;

/// The bound of a string in an answer.
const STRING: usize = 1 << 20;

/// Those that are text.
const TEXT: [Format; 4] = [
    Format::QueryJson,
    Format::VmExport,
    Format::CsvWide,
    Format::CsvLong,
];

fn read_bytes(format: Format, bytes: &[u8]) -> Result<Metrics, ReadError> {
    read(format, &mut &*bytes, &ReadOptions::default())
}

fn read_packed(format: Format, bytes: &[u8]) -> Result<Metrics, ReadError> {
    read(format, &mut *unpacked(bytes)?, &ReadOptions::default())
}

#[test]
fn every_format_is_told_from_its_first_bytes_and_gives_the_same_samples() {
    let samples = two_gpus(100);
    for format in FORMATS {
        let bytes = document(format, &samples);
        assert_eq!(Format::detect(&bytes[..bytes.len().min(4096)]), Ok(format));
        let metrics = read_bytes(format, &bytes).unwrap();
        assert_eq!(found(&metrics), wanted(&samples), "{format}");
        assert_eq!(metrics.tally().samples, 200, "{format}");
    }
}

#[test]
fn packed_forms_give_the_same_also_in_several_streams() {
    let samples = two_gpus(100);
    for format in FORMATS {
        let bytes = document(format, &samples);
        for pack in [gzip, zstandard] {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            for packed in [pack(&bytes), [pack(first), pack(second)].concat()] {
                let metrics = read_packed(format, &packed).unwrap();
                assert_eq!(found(&metrics), wanted(&samples), "{format}");
            }
        }
    }
}

#[test]
fn a_packed_file_that_is_cut_is_refused_in_every_format() {
    for format in FORMATS {
        let bytes = document(format, &two_gpus(50));
        for packed in [gzip(&bytes), zstandard(&bytes)] {
            // From where its head is whole, so that it is still known to be packed.
            for cut in (18..packed.len()).step_by(7).chain([packed.len() - 1]) {
                let error = read_packed(format, &packed[..cut]).unwrap_err();
                let what = "packed data";
                assert_eq!(error.cause, Cause::Truncated { what }, "{format} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_plain_file_that_is_cut_is_refused_where_the_format_can_tell() {
    let samples = two_gpus(20);
    for format in [Format::QueryJson, Format::Parquet] {
        let bytes = document(format, &samples);
        for cut in 1..bytes.len() {
            assert!(
                read_bytes(format, &bytes[..cut]).is_err(),
                "{format} cut at {cut} of {}",
                bytes.len()
            );
        }
    }
    // An export can be cut between two lines without anyone seeing it, but not in a line.
    let export = document(Format::VmExport, &samples);
    for cut in 1..export.len() {
        let between = export[cut] == b'\n' || export[cut - 1] == b'\n';
        let what = "JSON line";
        match read_bytes(Format::VmExport, &export[..cut]) {
            Ok(_) => assert!(between, "cut at {cut}"),
            Err(error) => assert!(
                !between && error.cause == Cause::Truncated { what },
                "cut at {cut}: {error}"
            ),
        }
    }
}

#[test]
fn a_row_that_is_cut_is_refused_with_its_line() {
    // A table can be cut between two rows, or inside its last number. A row with fewer fields is seen.
    let wide = "Time,m{},n{}\r\n1700000000,10,20\r\n1700000015,30,40\r\n";
    let long = "time,value,name\n1700000000,10,m\n1700000015,20,m\n";
    for (format, text) in [(Format::CsvWide, wide), (Format::CsvLong, long)] {
        let header = text.find('\n').unwrap() + 1;
        for cut in header + 1..text.len() {
            let kept = &text[..cut];
            let last = kept.rsplit('\n').next().unwrap_or_default();
            let found = last.split(',').count();
            if last.is_empty() || found == 3 {
                continue;
            }
            let error = read_bytes(format, kept.as_bytes()).unwrap_err();
            let line = kept.matches('\n').count() as u64 + 1;
            assert_eq!(
                error.place,
                Place::Line { line, column: 0 },
                "{format} cut at {cut}"
            );
            assert_eq!(
                error.cause,
                Cause::FieldCount { expected: 3, found },
                "{format} cut at {cut}"
            );
        }
    }
}

#[test]
fn times_in_another_unit_are_refused_with_the_right_one() {
    let check = |format: Format, text: &str, hint: TimeUnit, at_ms: i64| {
        let error = read_bytes(format, text.as_bytes()).unwrap_err();
        let remedy = format!("say `--timestamps {}` if that is what it is in", hint.short());
        assert_eq!(error.cause.remedy(), remedy, "{format}");
        let options = ReadOptions {
            timestamps: Some(hint),
            ..ReadOptions::default()
        };
        let metrics = read(format, &mut text.as_bytes(), &options).unwrap();
        assert_eq!(metrics.span_ms(), (at_ms, at_ms), "{format}");
    };
    let ms = TimeUnit::Milliseconds;
    let t = T0 + 123;
    check(Format::CsvWide, &format!("Time,m{{}}\n{t},1\n"), ms, t);
    check(Format::CsvLong, &format!("ts,value,name\n{t},1,m\n"), ms, t);
    let json = format!(r#"{{"data":{{"result":[{{"metric":{{}},"value":[{t},"1"]}}]}}}}"#);
    check(Format::QueryJson, &json, ms, t);
    let seconds = T0 / 1000;
    let export = format!(r#"{{"metric":{{}},"values":[1],"timestamps":[{seconds}]}}"#);
    check(Format::VmExport, &export, TimeUnit::Seconds, T0);
}

#[test]
fn a_date_needs_no_unit() {
    let text = "Time,m{}\n2023-11-14 22:13:20,1\n2023-11-14T23:13:20.5+01:00,2\n";
    for timestamps in [None, Some(TimeUnit::Seconds), Some(TimeUnit::Milliseconds)] {
        let options = ReadOptions {
            timestamps,
            ..ReadOptions::default()
        };
        let metrics = read(Format::CsvWide, &mut text.as_bytes(), &options).unwrap();
        assert_eq!(metrics.span_ms(), (T0, T0 + 500));
    }
}

#[test]
fn samples_out_of_order_are_counted_and_put_into_their_places() {
    let samples = two_gpus(50);
    let mut reversed = samples.clone();
    reversed.reverse();
    for format in [
        Format::QueryJson,
        Format::VmExport,
        Format::CsvLong,
        Format::Parquet,
    ] {
        let metrics = read_bytes(format, &document(format, &reversed)).unwrap();
        assert_eq!(found(&metrics), wanted(&samples), "{format}");
        assert_eq!(metrics.tally().late.count, 98, "{format}");
        assert!(metrics.tally().late.first_line > 0, "{format}");
    }
    let wide = "Time,m{}\n1700000030,3\n1700000000,1\n1700000015,2\n";
    let metrics = read_bytes(Format::CsvWide, wide.as_bytes()).unwrap();
    let values: Vec<f64> = metrics.series()[0].samples().map(|(_, value)| value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
    let late = metrics.tally().late;
    assert_eq!((late.count, late.first_line), (2, 3));
}

#[test]
fn samples_that_come_twice_are_counted_and_the_larger_of_two_is_kept() {
    let samples = two_gpus(50);
    let mut doubled: Vec<_> = samples
        .iter()
        .flat_map(|sample| [sample.clone(), sample.clone()])
        .collect();
    let mut lower = samples[10].clone();
    lower.value -= 1.0;
    doubled.push(lower);
    for format in [
        Format::QueryJson,
        Format::VmExport,
        Format::CsvLong,
        Format::Parquet,
    ] {
        let metrics = read_bytes(format, &document(format, &doubled)).unwrap();
        assert_eq!(found(&metrics), wanted(&samples), "{format}");
        assert_eq!(metrics.tally().duplicates.count, 100, "{format}");
        assert_eq!(metrics.tally().conflicts.count, 1, "{format}");
    }
    let wide = "Time,m{}\n1700000000,1\n1700000000,2\n1700000000,2\n";
    let metrics = read_bytes(Format::CsvWide, wide.as_bytes()).unwrap();
    assert_eq!(metrics.series()[0].samples().collect::<Vec<_>>(), [(T0, 2.0)]);
    assert_eq!(
        (metrics.tally().conflicts.count, metrics.tally().duplicates.count),
        (1, 1)
    );
}

#[test]
fn what_is_not_metrics_at_all_is_named() {
    let page = b"\r\n<!DOCTYPE html><html><body>502 Bad Gateway</body></html>";
    for format in TEXT {
        let cause = |bytes: &[u8]| read_bytes(format, bytes).unwrap_err().cause;
        assert!(matches!(cause(page), Cause::WebPage { .. }), "{format}");
        assert_eq!(cause(b""), Cause::Empty, "{format}");
        assert_eq!(cause(b"\xef\xbb\xbf\r\n"), Cause::Empty, "{format}");
    }
    for format in [Format::CsvWide, Format::CsvLong] {
        let sixteen: Vec<u8> = "Time,value,name\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let error = read_bytes(format, &[&[0xff, 0xfe][..], &sixteen].concat()).unwrap_err();
        assert_eq!(error.cause, Cause::NotText, "{format}");
    }
    assert_eq!(read_bytes(Format::Parquet, b"").unwrap_err().cause, Cause::Empty);
    let error = read_bytes(Format::Parquet, b"Time,value\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the Parquet file: it does not begin with `PAR1`; write it again, uncompressed or with Snappy or \
         Zstandard"
    );
}

#[test]
fn the_answers_of_real_servers_are_read_or_refused_with_their_reason() {
    // Captured on loopback from Prometheus 2.42.0 and VictoriaMetrics 1.79.5; the matrix is shortened to two series.
    let matrix = r#"{"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"Hostname": "aks-gpunp-1-vmss000000", "UUID": "GPU-00000000-0000-0000-0000-000000000000",
          "__name__": "DCGM_FI_DEV_GPU_UTIL", "gpu": "0", "modelName": "NVIDIA A100 80GB PCIe"},
         "values": [[1795316340, "100"], [1795316400, "92"], [1795316460, "95"]]},
        {"metric": {"Hostname": "aks-gpunp-1-vmss000000", "UUID": "GPU-00000000-0000-0000-0000-000000000001",
          "__name__": "DCGM_FI_DEV_GPU_UTIL", "gpu": "1", "modelName": "NVIDIA A100 80GB PCIe"},
         "values": [[1795316340, "7"]]}]}}"#;
    let metrics = read_bytes(Format::QueryJson, matrix.as_bytes()).unwrap();
    let series = metrics.of("DCGM_FI_DEV_GPU_UTIL");
    assert_eq!(series.len(), 2);
    assert_eq!(series[0].labels().get("gpu"), Some("0"));
    assert_eq!(metrics.span_ms(), (1_795_316_340_000, 1_795_316_460_000));
    let refused = |body: &str, wanted: &str| {
        let error = read_bytes(Format::QueryJson, body.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(wanted), "{error}");
    };
    refused(
        r#"{"status":"error","errorType":"execution","error":"found duplicate series for the match group"}"#,
        "the server answered with an error: execution: found duplicate series for the match group; correct the query",
    );
    refused(
        r#"{"status":"success","data":{"resultType":"scalar","result":[1795332635.115,"2"]}}"#,
        "line 1, column ",
    );
    refused(
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        "there is no sample in it",
    );
}

#[test]
fn places_are_those_of_the_text() {
    let place = |format, bytes: &[u8]| read_bytes(format, bytes).unwrap_err().place;
    let wide = b"Time,\"m{a=\"\"x\ny\"\"}\"\r\n\r\n1700000000,1\r\n1700000015,85%\r\n";
    assert_eq!(place(Format::CsvWide, wide), Place::Line { line: 5, column: 0 });
    let long = b"ts,value,name\n1700000000,1,m\n\n1700000015,1\n";
    assert_eq!(place(Format::CsvLong, long), Place::Line { line: 4, column: 0 });
    let export = b"{\"metric\":{},\"values\":[1],\"timestamps\":[1700000000000]}\n{]\n";
    assert_eq!(
        place(Format::VmExport, export),
        Place::Line { line: 2, column: 2 }
    );
    let json = b"{\"data\":{\"result\":[\n  {\"metric\":{},\"value\":[1700000000,\"x\"]}]}}";
    assert!(matches!(
        place(Format::QueryJson, json),
        Place::Line { line: 2, .. }
    ));
}

/// An endless stream of one piece after another.
struct Endless {
    block: Vec<u8>,
    given: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.block[self.given % self.block.len()..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let check = |format: Format, start: &str, piece: &str, most: usize, wanted: Cause| {
        let mut endless = Endless {
            block: piece.repeat(10_000).into_bytes(),
            given: 0,
        };
        let mut input = start.as_bytes().chain(&mut endless);
        let error = read(format, &mut input, &ReadOptions::default()).unwrap_err();
        assert_eq!(error.cause, wanted, "{format}");
        assert!(
            endless.given <= most + (1 << 20),
            "{format} took {} bytes",
            endless.given
        );
    };
    let long = || Cause::LineTooLong { limit: LINE };
    check(
        Format::VmExport,
        "{\"metric\":{},\"values\":[1",
        ",1",
        LINE,
        long(),
    );
    check(Format::CsvWide, "Time,", "x", LINE, long());
    check(
        Format::CsvLong,
        "time,value,name\n1700000000,1,\"",
        &format!("{}\n", "x".repeat(999)),
        LINE,
        long(),
    );
    let start = r#"{"data":{"result":[{"metric":{"a":""#;
    check(
        Format::QueryJson,
        start,
        "x",
        STRING,
        Cause::StringTooLong { limit: STRING },
    );
    let many = "{\"data\":{\"result\":[{\"metric\":{\"a\":\"\"";
    check(
        Format::QueryJson,
        many,
        ",\"a\":\"1\"",
        1 << 20,
        Cause::Json {
            message: "a series has more than 1000 labels".to_owned(),
        },
    );
}

#[test]
fn more_series_than_there_may_be_are_refused() {
    let headings: Vec<String> = (0..=MAX_SERIES).map(|index| format!("n{index}")).collect();
    let text = format!("Time,{}\n", headings.join(","));
    let options = ReadOptions {
        metric: Some("m".to_owned()),
        ..ReadOptions::default()
    };
    let error = read(Format::CsvWide, &mut text.as_bytes(), &options).unwrap_err();
    assert_eq!(error.cause, Cause::TooManySeries);
}

#[test]
fn a_small_file_that_unpacks_to_much_of_the_same_stays_small_in_memory() {
    // 20 MB of one row: the samples are all the same, and nothing but them is kept.
    let rows = "1700000000,1,m,0\n".repeat(20 << 20 >> 4);
    let text = format!("time,value,name,gpu\n{rows}");
    for packed in [gzip(text.as_bytes()), zstandard(text.as_bytes())] {
        assert!(packed.len() < text.len() / 100);
        let metrics = read_packed(Format::CsvLong, &packed).unwrap();
        assert_eq!(metrics.tally().samples, 1);
        assert!(metrics.heap_bytes() < 1000);
    }
}

#[test]
fn the_examples_of_the_documentation_are_read_as_it_says() {
    let page = include_str!("../simulations/README.md");
    let section = page
        .split("## Recordings\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let examples: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
    let wanted = [
        (Format::QueryJson, 2),
        (Format::VmExport, 3),
        (Format::CsvWide, 4),
        (Format::CsvWide, 3),
        (Format::CsvLong, 2),
        (Format::OpenMetrics, 4),
    ];
    assert_eq!(examples.len(), wanted.len());
    for (example, (format, samples)) in examples.into_iter().zip(wanted) {
        let (_, text) = example.split_once('\n').unwrap();
        assert_eq!(Format::detect(text.as_bytes()), Ok(format), "{text}");
        let options = ReadOptions {
            metric: Some("DCGM_FI_DEV_GPU_UTIL".to_owned()),
            column_label: Some("node".to_owned()),
            ..ReadOptions::default()
        };
        let metrics = read(format, &mut text.as_bytes(), &options).unwrap();
        assert_eq!(metrics.tally().samples, samples, "{text}");
    }
    for format in Format::ALL {
        assert!(
            section.contains(&format!("| `{format}` |")),
            "{format} is not in the table"
        );
    }
}
