//! Recorded text as people hold it, through the public way in: unpacked, told apart, read or refused.
//!
//! The first test goes through what a widely used reader of this text, `prometheus-parse` 0.2.5, loses or changes
//! without an error. None of it may happen to a recording, since a scorecard on half of the samples looks just as
//! good as one on all of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests may fail as tests do"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};

use gpuscale::recording::{Cause, Format, Metrics, Place, ReadError, ReadOptions, read, unpacked};

/// 2023-11-14T22:13:20Z.
const T0: i64 = 1_700_000_000_000;

/// Unpacks, tells the format and reads, as the command line does.
fn open(bytes: &[u8]) -> Result<(Format, Metrics), ReadError> {
    let mut head = Vec::new();
    unpacked(bytes)?
        .take(4096)
        .read_to_end(&mut head)
        .unwrap_or_else(|error| panic!("cannot unpack the head: {error}"));
    let format = Format::detect(&head)?;
    let metrics = read(format, &mut unpacked(bytes)?, &ReadOptions::default())?;
    Ok((format, metrics))
}

/// The text is of this format and holds these samples, in the order of their series.
fn check(text: &str, format: Format, wanted: &[(&str, i64, f64)]) {
    let (found, metrics) = open(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(found, format, "{text}");
    let samples = metrics.series().iter().flat_map(|series| {
        let labels = series.labels().to_string();
        series
            .samples()
            .map(move |(at_ms, value)| (labels.clone(), at_ms, value.to_bits()))
    });
    let wanted: Vec<_> = wanted
        .iter()
        .map(|&(series, at_ms, value)| (series.to_owned(), at_ms, value.to_bits()))
        .collect();
    assert_eq!(samples.collect::<Vec<_>>(), wanted, "{text}");
}

fn refused(bytes: &[u8]) -> ReadError {
    match open(bytes) {
        Err(error) => error,
        Ok((format, metrics)) => panic!("read as {format}: {:?}", metrics.tally()),
    }
}

fn line(line: u64, column: usize) -> Place {
    Place::Line { line, column }
}

#[test]
fn labels_that_a_tolerant_reader_loses_are_read() {
    use Format::Prometheus;
    for (series, wanted) in [
        // prometheus-parse: each of these lines is dropped in silence.
        ("m{}", "m"),
        ("job:gpu:avg5m{gpu=\"0\"}", "job:gpu:avg5m{gpu=\"0\"}"),
        ("{\"gpu.util\",a=\"b\"}", "gpu.util{a=\"b\"}"),
        ("m{a=\"x}y\"}", "m{a=\"x}y\"}"),
        // prometheus-parse: `a` becomes `x`.
        ("m{a=\"x,y\",b=\"c\"}", "m{a=\"x,y\",b=\"c\"}"),
        // prometheus-parse: `a` is lost.
        ("m{a=\"k=v\",b=\"c\"}", "m{a=\"k=v\",b=\"c\"}"),
        // prometheus-parse: the label is called ` UUID`, with the blank.
        ("m{gpu=\"0\", UUID=\"GPU-1\"}", "m{UUID=\"GPU-1\",gpu=\"0\"}"),
        // prometheus-parse: escapes stay as they are, and a quote at the end is trimmed.
        (
            "m{a=\"C:\\\\ \\\"q\\\"\",b=\"x\\ny\"}",
            "m{a=\"C:\\\\ \\\"q\\\"\",b=\"x\\ny\"}",
        ),
        // prometheus-parse: right.
        ("m{gpu=\"0\",}", "m{gpu=\"0\"}"),
    ] {
        check(&format!("{series} 1 {T0}\n"), Prometheus, &[(wanted, T0, 1.0)]);
        let openmetrics = format!("{series} 1 1700000000.123\n# EOF\n");
        check(&openmetrics, Format::OpenMetrics, &[(wanted, T0 + 123, 1.0)]);
    }
    // prometheus-parse: the last of the two wins.
    let error = refused(b"m{a=\"1\",a=\"2\"} 1 1700000000000\n");
    assert_eq!(error.place, line(1, 9));
    let label = "a".to_owned();
    assert_eq!(error.cause, Cause::DuplicateLabel { label });
}

#[test]
fn times_are_those_of_the_text() {
    use Format::{OpenMetrics, Prometheus};
    // prometheus-parse: now, whatever the text says.
    check(
        "m 1 1700000000.123\n# EOF\n",
        OpenMetrics,
        &[("m", T0 + 123, 1.0)],
    );
    // prometheus-parse: read as milliseconds, which is 1970-01-20.
    check("m 1 1700000000\n# EOF\n", OpenMetrics, &[("m", T0, 1.0)]);
    // prometheus-parse: right.
    check("m 1 1700000000000\n", Prometheus, &[("m", T0, 1.0)]);
    // prometheus-parse: the value is kept and the time is now.
    let exemplar = "m_bucket{le=\"1\"} 3 1700000000.5 # {trace_id=\"a}b\"} 0.7 1700000000.1\n# EOF\n";
    check(exemplar, OpenMetrics, &[("m_bucket{le=\"1\"}", T0 + 500, 3.0)]);
    // prometheus-parse: now.
    let error = refused(b"# TYPE m gauge\nm 1\n");
    assert_eq!((error.place, error.cause), (line(2, 4), Cause::NoTimestamp));
    // promtool reads it as the year 55840 without a word.
    let read = read(
        OpenMetrics,
        &mut &b"m 1 1700000000000\n# EOF\n"[..],
        &ReadOptions::default(),
    );
    assert!(matches!(read.unwrap_err().cause, Cause::ImplausibleYear { .. }));
}

#[test]
fn values_are_those_of_the_text() {
    use Format::{OpenMetrics, Prometheus};
    let text =
        "inf +Inf 1700000000000\nminus -Inf 1700000000000\nsentinel 9223372036854775794 1700000000000\n";
    // prometheus-parse: right, the sentinel of DCGM as 9.22e18; what a metric can be is not known here either.
    let wanted = [
        ("inf", T0, f64::INFINITY),
        ("minus", T0, f64::NEG_INFINITY),
        ("sentinel", T0, 9.223_372_036_854_776e18),
    ];
    check(text, Prometheus, &wanted);
    let (_, metrics) = open(b"m NaN 1700000000000\n").unwrap();
    assert!(metrics.series()[0].samples().all(|(_, value)| value.is_nan()));
    // prometheus-parse: the names come without their types; `_created` is a sample, as it is here.
    let counter = "# TYPE c counter\nc_total 5 1700000000\nc_created 1.6e9 1700000000\n# EOF\n";
    check(
        counter,
        OpenMetrics,
        &[("c_created", T0, 1.6e9), ("c_total", T0, 5.0)],
    );
    // prometheus-parse: made into one value, at the end and in random order; `_sum` and `_count` beside it.
    let histogram = "# TYPE h histogram\nh_bucket{le=\"1\"} 1 1700000000000\nh_bucket{le=\"+Inf\"} 2 1700000000000\n\
        h_sum 3.5 1700000000000\nh_count 2 1700000000000\n# TYPE s summary\ns{quantile=\"0.5\"} 7 1700000000000\n";
    let wanted = [
        ("h_bucket{le=\"+Inf\"}", T0, 2.0),
        ("h_bucket{le=\"1\"}", T0, 1.0),
        ("h_count", T0, 2.0),
        ("h_sum", T0, 3.5),
        ("s{quantile=\"0.5\"}", T0, 7.0),
    ];
    check(histogram, Prometheus, &wanted);
    // prometheus-parse: the line is dropped in silence.
    let failed =
        b"m{gpu=\"0\"} 1 1700000000000\nm{gpu=\"1\"} ERROR - FAILED TO CONVERT TO STRING 1700000000000\n";
    let found = "ERROR - FAILED TO CONVERT TO STRING".to_owned();
    assert_eq!(refused(failed), ReadError::at(2, 12, Cause::Value { found }));
}

#[test]
fn text_that_was_cut_short_or_is_something_else_is_refused() {
    // prometheus-parse: `# EOF` and `# UNIT` are ignored, so that nobody sees what is missing.
    let whole = "# UNIT m ratio\nm 1 1700000000\nm 2 1700000015\n# EOF\n";
    check(
        whole,
        Format::OpenMetrics,
        &[("m", T0, 1.0), ("m", T0 + 15_000, 2.0)],
    );
    let cut = whole.strip_suffix("# EOF\n").unwrap().as_bytes();
    assert_eq!(refused(cut), ReadError::at(3, 0, Cause::NoEof));
    assert_eq!(refused(&cut[..cut.len() - 3]), ReadError::at(3, 0, Cause::NoEof));
    // prometheus-parse: right, without a sample.
    assert_eq!(refused(b""), ReadError::whole(Cause::Empty));
    let page = refused(b"<html><head><title>502 Bad Gateway</title></head>\n</html>\n");
    assert!(matches!(page.cause, Cause::WebPage { .. }), "{page}");
}

/// Whether a line of a page holds a sample.
fn sample(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

#[test]
fn a_page_of_an_exporter_is_refused_for_its_missing_times() {
    let mut pages = 0;
    for entry in fs::read_dir("tests/fixtures/dcgm").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "prom") {
            continue;
        }
        pages += 1;
        let page = fs::read_to_string(&path).unwrap();
        let name = path.display();
        assert_eq!(Format::detect(page.as_bytes()), Ok(Format::Prometheus), "{name}");
        let error = refused(page.as_bytes());
        let (index, first) = (1..).zip(page.lines()).find(|(_, line)| sample(line)).unwrap();
        assert_eq!(
            error,
            ReadError::at(index, first.len() + 1, Cause::NoTimestamp),
            "{name}"
        );

        // With a time after every sample, it is read to the last line.
        let timed = page.lines().map(|line| {
            if sample(line) {
                format!("{} {T0}\n", line.trim_end())
            } else {
                format!("{line}\n")
            }
        });
        let (_, metrics) =
            open(timed.collect::<String>().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let samples = page.lines().filter(|line| sample(line)).count();
        assert_eq!(metrics.tally().samples, samples as u64, "{name}");
    }
    assert_eq!(pages, 6);
}

#[test]
fn a_dump_of_promtool_is_read() {
    let dump = "{__name__=\"DCGM_FI_DEV_GPU_UTIL\", Hostname=\"n\\u00e91\", gpu=\"0\"} 57 1700000000000\n\
        {__name__=\"DCGM_FI_DEV_GPU_UTIL\", Hostname=\"n\\u00e91\", gpu=\"0\"} 1e+06 1700000015000\n";
    let series = "DCGM_FI_DEV_GPU_UTIL{Hostname=\"né1\",gpu=\"0\"}";
    check(
        dump,
        Format::TsdbDump,
        &[(series, T0, 57.0), (series, T0 + 15_000, 1e6)],
    );
    let stale = open(b"{__name__=\"up\"} NaN 1700000000000\n").unwrap().1;
    assert_eq!((stale.tally().samples, stale.tally().not_finite), (1, 1));
    let histogram = refused(b"{__name__=\"h\"} {count:4, sum:18.4, [-0.5,0.5]:4} 1700000000000\n");
    let series = "h".to_owned();
    assert_eq!(histogram, ReadError::at(1, 16, Cause::Histogram { series }));
}

/// A recording of many lines, so that packed data has several blocks.
fn long() -> String {
    let mut text = String::from("# TYPE m gauge\n");
    for tick in 0..20_000 {
        writeln!(
            text,
            "m{{gpu=\"0\"}} {} {}",
            tick * 7919 % 101,
            1_700_000_000 + tick * 15
        )
        .unwrap();
    }
    text + "# EOF\n"
}

#[test]
fn packed_text_is_read_and_its_truncation_seen() {
    let text = long();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let (_, plain) = open(text.as_bytes()).unwrap();
    for packed in [
        gzip.finish().unwrap(),
        zstd::encode_all(text.as_bytes(), 3).unwrap(),
    ] {
        let (format, metrics) = open(&packed).unwrap();
        assert_eq!(format, Format::OpenMetrics);
        assert_eq!(metrics.tally(), plain.tally());
        let read_cut = |keep: usize| {
            let mut input = unpacked(&packed[..keep]).unwrap();
            read(Format::OpenMetrics, &mut input, &ReadOptions::default()).unwrap_err()
        };
        let error = read_cut(packed.len() - 1);
        assert_eq!(error.cause, Cause::Truncated { what: "packed data" }, "{error}");
        assert!(
            matches!(error.place, Place::Line { line: 10_000.., .. }),
            "{error}"
        );
        assert!(matches!(
            read_cut(packed.len() / 2).cause,
            Cause::Truncated { .. }
        ));
    }
}

#[test]
fn the_format_is_told_from_the_first_lines() {
    use Format::{OpenMetrics, Prometheus, TsdbDump};
    for (head, format) in [
        ("m 1 1700000000\n", OpenMetrics),
        ("m 1 1700000000.5\n", OpenMetrics),
        ("m 1 1.7e9\n", OpenMetrics),
        ("m 1 1700000000000\n", Prometheus),
        ("m\t1\t1700000000000\n", Prometheus),
        ("m 1\n", Prometheus),
        ("m{a=\"b 5\"} 1\n", Prometheus),
        (
            "\u{feff}\n\n# HELP m\nm{a=\"x # y\"} +Inf 1700000000000 \r\n",
            Prometheus,
        ),
        (
            "m{a=\"b\"} 1 1700000000 # {c=\"d # e\"} 1 1700000000000\n",
            OpenMetrics,
        ),
        ("m{a=\"b\\\"} 1 1700000000000\"} 1 1700000000\n", OpenMetrics),
        ("m{a=\"b\",time_zone=\"c\"} 1 1700000000000\n", Prometheus),
        ("m{a=\"b\"} ERROR - FAILED TO CONVERT TO STRING\n", Prometheus),
        (
            "# TYPE m gauge\nm ERROR - FAILED TO CONVERT TO STRING\n",
            Prometheus,
        ),
        ("{\"gpu.util\",a=\"b\"} 1 1700000000\n", OpenMetrics),
        ("{\"gpu.util\"} 1 1700000000000\n", Prometheus),
        ("# TYPE m gauge\n# EOF\n", OpenMetrics),
        ("{__name__=\"m\", a=\"b\"} 1 1700000000000\n", TsdbDump),
    ] {
        assert_eq!(Format::detect(head.as_bytes()), Ok(format), "{head}");
    }
    for head in [
        "hello, world\n",
        "404 page not found\n",
        "upstream connect error\n",
        "\u{1f980}",
    ] {
        let error = Format::detect(head.as_bytes()).unwrap_err();
        assert!(
            matches!(error.cause, Cause::UnknownFormat { .. }),
            "{head}: {error}"
        );
    }
}
