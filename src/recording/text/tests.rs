//! Expositions and dumps, line by line: what is read, and what is refused, where and why.

use proptest::prelude::*;

use crate::recording::lines::tests::Pieces;
use crate::recording::{
    Cause, Format, Labels, Metrics, Place, ReadError, ReadOptions, Tally, TimeUnit, read,
};

const T0: i64 = 1_700_000_000_000;

/// Series as text, each with its samples, values by their bits.
type Held = Vec<(String, Vec<(i64, u64)>)>;

fn held(metrics: &Metrics) -> Held {
    let samples =
        |series: &crate::recording::Series| series.samples().map(|(t, v)| (t, v.to_bits())).collect();
    let series = metrics.series().iter();
    series
        .map(|series| (series.labels().to_string(), samples(series)))
        .collect()
}

fn read_as(format: Format, text: &[u8]) -> Result<Metrics, ReadError> {
    read(format, &mut &*text, &ReadOptions::default())
}

/// Prometheus text gives these series, each with one value at [`T0`].
fn check(text: &str, wanted: &[(&str, f64)]) {
    let metrics =
        read_as(Format::Prometheus, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let wanted: Held = wanted
        .iter()
        .map(|(series, value)| ((*series).to_owned(), vec![(T0, value.to_bits())]))
        .collect();
    assert_eq!(held(&metrics), wanted, "{text}");
}

/// The text is refused at this line and column (0: the whole line, 0 and 0: no line), with this message.
fn refuse(format: Format, text: &str, line: u64, column: usize, message: &str) {
    let error = read_as(format, text.as_bytes()).err();
    let error = error.unwrap_or_else(|| panic!("{text:?} is not refused"));
    let place = if line == 0 {
        Place::Whole
    } else {
        Place::Line { line, column }
    };
    assert_eq!(
        (error.place, error.cause.to_string().as_str()),
        (place, message),
        "{text:?}"
    );
    assert!(!error.cause.remedy().is_empty());
}

#[test]
fn every_way_to_write_a_series_is_read() {
    for (text, series) in [
        ("m", "m"),
        ("m{}", "m"),
        ("m {}", "m"),
        ("m{a=\"b\"}", "m{a=\"b\"}"),
        ("  m\t{ a = \"b\" ,\tc=\"d\" , } ", "m{a=\"b\",c=\"d\"}"),
        ("m{c=\"d\",a=\"b\"}", "m{a=\"b\",c=\"d\"}"),
        ("m{a=\"\",c=\"d\"}", "m{c=\"d\"}"),
        ("job:gpu:avg5m{a=\"b\"}", "job:gpu:avg5m{a=\"b\"}"),
        (":m", ":m"),
        ("_m9{_a9=\"b\"}", "_m9{_a9=\"b\"}"),
        ("{\"gpu.util\",a=\"b\"}", "gpu.util{a=\"b\"}"),
        ("{a=\"b\",\"gpu.util\"}", "gpu.util{a=\"b\"}"),
        ("{\"gpu.util\"}", "gpu.util"),
        ("{__name__=\"m\",a=\"b\"}", "m{a=\"b\"}"),
        ("m{\"a.b\"=\"c\"}", "m{a.b=\"c\"}"),
        ("m{a=\"x}y,z=w{ # v\"}", "m{a=\"x}y,z=w{ # v\"}"),
        ("m{a=\"\\\\ \\\" \\n\"}", "m{a=\"\\\\ \\\" \\n\"}"),
        ("m{a=\"é\u{1f980}\"}", "m{a=\"é\u{1f980}\"}"),
    ] {
        check(&format!("{text} 57 1700000000000\n"), &[(series, 57.0)]);
    }
}

#[test]
fn blanks_comments_and_line_ends_are_as_in_prometheus() {
    for text in [
        "m 5 1700000000000\n",
        "m 5 1700000000000\r\n",
        "\u{feff}m 5 1700000000000\n",
        "\n\n  \nm 5 1700000000000\n\n",
        "m\t5\t1700000000000\t \n",
        "m   5   1700000000000\n",
        "m{}5 1700000000000\n",
        "# HELP m Text with \u{fc} and {braces\n# TYPE m gauge\n#\n# a comment\nm 5 1700000000000\n# EOF\n",
        "m 5 1700000000000 # {trace_id=\"a}b\"} 0.5 1700000000.5\n",
        "m 5 1700000000000 # {} 0.5\n",
    ] {
        check(text, &[("m", 5.0)]);
    }
}

#[test]
fn every_value_of_prometheus_is_read() {
    for (text, value) in [
        ("0", 0.0),
        ("0.029399", 0.029_399),
        ("-1.5e-3", -0.0015),
        ("9223372036854775794", 9_223_372_036_854_775_794.0),
        ("+Inf", f64::INFINITY),
        ("Inf", f64::INFINITY),
        ("-Inf", f64::NEG_INFINITY),
    ] {
        check(&format!("m {text} 1700000000000\n"), &[("m", value)]);
    }
    let metrics = read_as(Format::Prometheus, b"m NaN 1700000000000\n").unwrap();
    assert!(metrics.series()[0].samples().all(|(_, value)| value.is_nan()));
    assert_eq!(metrics.tally().not_finite, 1);
}

fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found `{found}`")
}

fn ends(what: &str) -> String {
    format!("expected {what}, but the line ends")
}

/// Each line, among good ones, is refused at this column.
fn check_faults(faults: &[(&str, usize, String)]) {
    for (line, column, message) in faults {
        let text = format!("# TYPE m gauge\nup 1 1700000000000\n{line}\nup 2 1700000015000\n");
        refuse(Format::Prometheus, &text, 3, *column, message);
    }
}

#[test]
fn a_fault_in_a_series_is_told_with_its_column() {
    check_faults(&[
        ("5 5 1", 1, expected("the name of a metric", "5")),
        ("{a=\"b\"} 5 1", 1, expected("the name of a metric", "{")),
        ("{} 5 1", 1, expected("the name of a metric", "{")),
        ("{\"\"} 5 1", 2, expected("the name of a metric", "\"\"")),
        ("m-x 5 1", 2, expected("`{` or a blank after the name", "-x")),
        ("m", 2, ends("a value")),
        ("m{", 3, ends("the name of a label")),
        ("m{,} 5 1", 3, expected("the name of a label", ",}")),
        (
            "m{a:b=\"c\"} 5 1",
            4,
            expected("`=` after the name of a label", ":b=\"c\"}"),
        ),
        ("m{1a=\"c\"} 5 1", 3, expected("the name of a label", "1a=\"c\"}")),
        (
            "m{\"\"=\"c\"} 5 1",
            3,
            expected("the name of a label", "\"\"=\"c\"}"),
        ),
        ("m{a} 5 1", 4, expected("`=` after the name of a label", "}")),
        ("m{a=b} 5 1", 5, expected("a value in double quotes", "b}")),
        ("m{a='b'} 5 1", 5, expected("a value in double quotes", "'b'}")),
        ("m{a=\"b} 5 1", 12, ends("a closing double quote")),
        (
            "m{a=\"b\\",
            7,
            expected("one of the escapes `\\\\`, `\\\"` and `\\n`", "\\"),
        ),
        (
            "m{a=\"b\\t\"} 5 1",
            7,
            expected("one of the escapes `\\\\`, `\\\"` and `\\n`", "\\t\"}"),
        ),
        (
            "m{a=\"b\";c=\"d\"} 5 1",
            8,
            expected("`,` or `}` after a label", ";c=\"d\"}"),
        ),
        (
            "m{a=\"b\" c=\"d\"} 5 1",
            9,
            expected("`,` or `}` after a label", "c=\"d\"}"),
        ),
        ("m{a=\"b\",a=\"c\"} 5 1", 9, "label `a` occurs twice".to_owned()),
        (
            "m{__name__=\"m\"} 5 1",
            12,
            "label `__name__` occurs twice".to_owned(),
        ),
        ("m{\"n\"} 5 1", 3, "label `__name__` occurs twice".to_owned()),
    ]);
}

#[test]
fn a_fault_after_a_series_is_told_with_its_column() {
    check_faults(&[
        ("m{a=\"b\"}", 9, ends("a value")),
        (
            "m{a=\"b\"} x 1700000000000",
            10,
            "value `x` is not a number".to_owned(),
        ),
        (
            "m 0x10 1700000000000",
            3,
            "value `0x10` is not a number".to_owned(),
        ),
        ("m 5,5 1700000000000", 3, "value `5,5` is not a number".to_owned()),
        (
            "m {count:3} 5",
            9,
            expected("`=` after the name of a label", ":3}"),
        ),
        (
            "m{a=\"b\"} {count:3} 5",
            10,
            "`m{a=\"b\"}` is a histogram".to_owned(),
        ),
        ("m 5", 4, "the sample has no timestamp".to_owned()),
        ("m 5 ", 5, "the sample has no timestamp".to_owned()),
        ("m 5 # {} 1", 5, "the sample has no timestamp".to_owned()),
        (
            "m 5 now",
            5,
            "timestamp `now` is not a number of milliseconds".to_owned(),
        ),
        (
            "m 5 1700000000",
            5,
            "timestamp `1700000000` as milliseconds is not between the years 2000 and 2100".to_owned(),
        ),
        ("m 5 1700000000000 m", 19, expected("the end of the line", "m")),
        ("m 5 1700000000000 #", 20, ends("the labels of an exemplar")),
        (
            "m 5 1700000000000 # 5",
            21,
            expected("the labels of an exemplar", "5"),
        ),
        (
            "m 5 1700000000000 # {a=\"b\"}",
            28,
            ends("the value of an exemplar"),
        ),
        (
            "m 5 1700000000000 # {} 1 t",
            26,
            expected("the timestamp of an exemplar", "t"),
        ),
        (
            "m 5 1700000000000 # {} 1 2 3",
            28,
            expected("the end of the line", "3"),
        ),
    ]);
}

#[test]
fn text_that_is_no_utf8_is_refused_where_it_is() {
    for (line, column) in [
        (&b"m{a=\"b\xff\"} 5 1\n"[..], 7),
        (b"m{a=\"\\n\xff\"} 5 1\n", 6),
        (b"m{\"a\xff\"=\"b\"} 5 1\n", 5),
    ] {
        let error = read_as(Format::Prometheus, line).unwrap_err();
        assert_eq!(error, ReadError::at(1, column, Cause::NotText));
    }
    let error = read_as(Format::Prometheus, b"m\xff 5 1\n").unwrap_err();
    assert!(matches!(error.cause, Cause::Syntax { .. }), "{error}");
}

#[test]
fn the_frame_of_openmetrics_is_required() {
    let text =
        "# TYPE m gauge\n# UNIT m ratio\nm{a=\"b\"} 0.5 1700000000.123\nm_created 1.5e9 1700000000\n# EOF";
    for end in ["", "\n", "\r\n", "\n\n"] {
        let metrics = read_as(Format::OpenMetrics, format!("{text}{end}").as_bytes()).unwrap();
        let first: Vec<_> = metrics.of("m")[0].samples().collect();
        assert_eq!(first, [(T0 + 123, 0.5)]);
        assert_eq!(metrics.series().len(), 2);
    }
    let early = "the text ends without `# EOF`, so it was cut short";
    refuse(Format::OpenMetrics, "m 1 1700000000\n", 1, 0, early);
    refuse(Format::OpenMetrics, "m 1 1700000000\nm 1 17000", 2, 0, early);
    refuse(Format::OpenMetrics, "m 1 1700000000\n# EO", 2, 0, early);
    refuse(Format::OpenMetrics, "m 1 1700000000\n# EOF \n", 2, 0, early);
    refuse(Format::OpenMetrics, "\n\n", 2, 0, early);
    for after in ["m 1 1700000015", "# TYPE m gauge", "# EOF"] {
        let text = format!("m 1 1700000000\n# EOF\n{after}\n");
        refuse(Format::OpenMetrics, &text, 3, 0, "there is text after `# EOF`");
    }
    refuse(Format::OpenMetrics, "# EOF\n", 0, 0, "there is no sample in it");
}

#[test]
fn what_holds_no_metrics_is_refused() {
    let web = |found: &str| format!("this is a web page and not metrics: `{found}`");
    for format in [Format::OpenMetrics, Format::Prometheus, Format::TsdbDump] {
        refuse(format, "", 0, 0, "the recording is empty");
        refuse(format, "\n <!DOCTYPE html>\n", 2, 0, &web("<!DOCTYPE html>"));
        refuse(format, "<html>502</html>", 1, 0, &web("<html>502</html>"));
        let long = format!("m{{a=\"{}\"}} 1 1\n", "x".repeat(super::LONGEST_LINE));
        refuse(format, &long, 1, 0, "the line is longer than 1048576 bytes");
    }
    refuse(
        Format::Prometheus,
        "# TYPE m gauge\n",
        0,
        0,
        "there is no sample in it",
    );
    refuse(Format::TsdbDump, "\n", 0, 0, "there is no sample in it");
    let unended = "the last line has no line end, so it may have been cut short";
    refuse(
        Format::Prometheus,
        "m 1 1700000000000\nm 1 17000000",
        2,
        0,
        unended,
    );
    refuse(
        Format::TsdbDump,
        "{__name__=\"m\"} 1 1700000000000",
        1,
        0,
        unended,
    );
}

#[test]
fn a_mistaken_unit_is_refused_and_another_unit_can_be_told() {
    let text = b"m 1 1700000000000\n# EOF\n";
    let error = read_as(Format::OpenMetrics, text).unwrap_err();
    let wanted = "line 1, column 5: timestamp `1700000000000` as seconds is not between the years 2000 and 2100; \
                  say `--timestamps ms` if that is what it is in";
    assert_eq!(error.to_string(), wanted);
    for (format, unit, text) in [
        (Format::OpenMetrics, TimeUnit::Milliseconds, &text[..]),
        (Format::Prometheus, TimeUnit::Seconds, b"m 1 1700000000\n"),
        (
            Format::TsdbDump,
            TimeUnit::Seconds,
            b"{__name__=\"m\"} 1 1700000000.0\n",
        ),
    ] {
        let options = ReadOptions {
            timestamps: Some(unit),
            ..ReadOptions::default()
        };
        let metrics = read(format, &mut &*text, &options).unwrap();
        assert_eq!(metrics.span_ms(), (T0, T0));
    }
}

#[test]
fn late_double_and_conflicting_samples_are_counted_with_their_lines() {
    let text = "m 1 1700000015000\nm 1 1700000015000\nm 2 1700000015000\nm 1 1700000000000\n";
    let metrics = read_as(Format::Prometheus, text.as_bytes()).unwrap();
    let Tally {
        samples,
        duplicates,
        conflicts,
        late,
        ..
    } = *metrics.tally();
    assert_eq!(samples, 2);
    let seen = |seen: crate::recording::Seen| (seen.count, seen.first_line);
    assert_eq!(
        (seen(duplicates), seen(conflicts), seen(late)),
        ((1, 2), (1, 3), (1, 4))
    );
    let samples: Vec<_> = metrics.series()[0].samples().collect();
    assert_eq!(samples, [(T0, 1.0), (T0 + 15_000, 2.0)]);
}

#[test]
fn a_name_that_begins_another_is_not_taken_for_it() {
    let text = "up 1 1700000000000\nup{a=\"b\"} 2 1700000000000\nuptime 3 1700000000000\nup {a=\"c\"} 4 1700000000000\n\
        up 5 1700000015000\nup {a=\"c\"} 6 1700000015000\n";
    let metrics = read_as(Format::Prometheus, text.as_bytes()).unwrap();
    let bits = |values: &[(i64, f64)]| {
        values
            .iter()
            .map(|(at, v)| (T0 + at, v.to_bits()))
            .collect::<Vec<_>>()
    };
    let wanted: Held = vec![
        ("up".to_owned(), bits(&[(0, 1.0), (15_000, 5.0)])),
        ("up{a=\"b\"}".to_owned(), bits(&[(0, 2.0)])),
        ("up{a=\"c\"}".to_owned(), bits(&[(0, 4.0), (15_000, 6.0)])),
        ("uptime".to_owned(), bits(&[(0, 3.0)])),
    ];
    assert_eq!(held(&metrics), wanted);
}

/// A dump gives this one series.
fn check_dump(series: &str, wanted: &Labels) {
    let text = format!("{series} 1e+06 1700000000000\n");
    let metrics =
        read_as(Format::TsdbDump, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(metrics.series()[0].labels(), wanted, "{text}");
    assert_eq!(metrics.series()[0].samples().next(), Some((T0, 1e6)));
}

#[test]
fn a_dump_is_quoted_as_go_quotes() {
    for (quoted, value) in [
        ("plain", "plain"),
        (r#"a\"b\\c"#, "a\"b\\c"),
        (r"\a\b\f\n\r\t\v", "\u{7}\u{8}\u{c}\n\r\t\u{b}"),
        (r"caf\u00e9", "café"),
        (r"\U0001f980", "\u{1f980}"),
        (r"\x7f\x00", "\u{7f}\0"),
        (r"\xc3\xa9", "é"),
        ("café", "café"),
        ("}{ = , #", "}{ = , #"),
    ] {
        let labels = Labels::new("up", [("a", value)]).unwrap();
        check_dump(&format!("{{__name__=\"up\", a=\"{quoted}\"}}"), &labels);
    }
    let dotted = Labels::new("gpu.util", [("a.b", "c")]).unwrap();
    check_dump(r#"{__name__="gpu.util", "a.b"="c"}"#, &dotted);
}

#[test]
fn a_fault_in_a_dump_is_told_with_its_column() {
    let escape = "expected an escape of Go such as `\\\\`, `\\\"`, `\\n` or `\\u00e9`, found ";
    for (line, column, message) in [
        (r#"{__name__="m", a="\q"} 1 1"#, 19, format!("{escape}`\\q\"}}`")),
        (
            r#"{__name__="m", a="\u00"} 1 1"#,
            19,
            format!("{escape}`\\u00\"}}`"),
        ),
        (
            r#"{__name__="m", a="\ud800"} 1 1"#,
            19,
            format!("{escape}`\\ud800\"}}`"),
        ),
        (
            r#"{__name__="m", a="\x+1"} 1 1"#,
            19,
            format!("{escape}`\\x+1\"}}`"),
        ),
        (
            r#"{__name__="m", a="\xff"} 1 1"#,
            19,
            "this is not UTF-8 text".to_owned(),
        ),
        (
            r#"{a="b"} 1 1"#,
            1,
            "expected the name of a metric, found `{`".to_owned(),
        ),
        (
            r#"{__name__=""} 1 1"#,
            11,
            "expected the name of a metric, found `\"\"`".to_owned(),
        ),
        (
            r#"{__name__="m", __name__="m"} 1 1"#,
            25,
            "label `__name__` occurs twice".to_owned(),
        ),
        (
            r#"{__name__="m"} {count:2, sum:3} 1700000000000"#,
            16,
            "`m` is a histogram".to_owned(),
        ),
        (
            r#"{__name__="m"} 1"#,
            17,
            "the sample has no timestamp".to_owned(),
        ),
        (
            r#"{__name__="m"} 1 1700000000000 # {} 1"#,
            32,
            "expected the end of the line, found `#`".to_owned(),
        ),
        ("# EOF", 1, "expected the name of a metric, found `#`".to_owned()),
    ] {
        refuse(Format::TsdbDump, &format!("{line}\n"), 1, column, &message);
    }
}

/// A label's name or value as an exposition quotes it.
fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// As Go's `strconv.Quote` does, or, what means the same, as its `QuoteToASCII`.
fn quoted_by_go(text: &str, ascii: bool) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let shown = match c {
            '"' | '\\' => format!("\\{c}"),
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\0'..=' ' | '\u{7f}' if c != ' ' => format!("\\x{:02x}", u32::from(c)),
            '\u{80}'..='\u{ffff}' if ascii => format!("\\u{:04x}", u32::from(c)),
            '\u{10000}'.. if ascii => format!("\\U{:08x}", u32::from(c)),
            c => c.to_string(),
        };
        quoted.push_str(&shown);
    }
    quoted + "\""
}

/// Text with everything that quoting has to care for.
fn label_value() -> impl Strategy<Value = String> {
    prop::string::string_regex("([a-z}{,=# \\\\\"\n\té\u{1f980}\u{7f}]|\\PC){0,8}").unwrap()
}

/// Labels by name, in any order.
fn label_set() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,4}", "[a-z.é\" }]{1,5}"];
    let set = prop::collection::btree_map(name, label_value(), 0..6);
    set.prop_map(|set| set.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn bare(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn exposed(name: &str, labels: &[(String, String)], blank: &str) -> String {
    let mut items: Vec<String> = labels
        .iter()
        .map(|(label, value)| {
            let label = if bare(label) { label.clone() } else { quoted(label) };
            format!("{blank}{label}{blank}={blank}{}{blank}", quoted(value))
        })
        .collect();
    let before = if bare(name) {
        name
    } else {
        items.insert(0, quoted(name));
        ""
    };
    let comma = if blank.is_empty() || items.is_empty() {
        ""
    } else {
        ","
    };
    format!("{before}{{{}{comma}}}", items.join(","))
}

fn dumped(name: &str, labels: &[(String, String)], ascii: bool) -> String {
    let named = [("__name__".to_owned(), name.to_owned())];
    let items = named.iter().chain(labels).map(|(label, value)| {
        let label = if bare(label) {
            label.clone()
        } else {
            quoted_by_go(label, ascii)
        };
        format!("{label}={}", quoted_by_go(value, ascii))
    });
    format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
}

/// Lines that are right, and lines that someone damaged.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => (0_u8..3, 0_i64..5, "[0-9]{1,3}|NaN|0\\.5|1e3").prop_map(|(gpu, tick, value)| {
            format!("m{{gpu=\"{gpu}\",a=\"x}}y\"}} {value} {}\n", T0 + tick * 15_000)
        }),
        2 => (0_u8..2, 0_i64..5).prop_map(|(n, tick)| format!("up{n} 1 {}\n", 1_700_000_000 + tick)),
        2 => (0_u8..2, 0_i64..5).prop_map(|(n, tick)| format!("{{__name__=\"d\", n=\"{n}\"}} 1 {}\n", T0 + tick)),
        1 => prop::sample::select(vec!["# TYPE m gauge\r\n", "\n", "# EOF\n", "m 1\n"]).prop_map(str::to_owned),
    ];
    let damage = (any::<prop::sample::Index>(), any::<u8>());
    (
        prop::collection::vec(line, 0..12),
        prop::collection::vec(damage, 0..3),
        any::<bool>(),
    )
        .prop_map(|(lines, damages, cut)| {
            let mut bytes = lines.concat().into_bytes();
            for (at, byte) in damages.into_iter().filter(|_| !lines.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut {
                    bytes.truncate(at);
                    break;
                }
            }
            bytes
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        name in prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,6}", "[a-z.é\" }]{1,6}"],
        labels in label_set(),
        blank in prop::sample::select(vec!["", " ", "\t"]),
        ascii in any::<bool>(),
        bits in any::<u64>(),
        at_ms in 946_684_800_000_i64..4_102_444_800_000,
    ) {
        let value = f64::from_bits(bits);
        let wanted = Labels::new(&name, labels.iter().map(|(n, v)| (n, v))).unwrap();
        let seconds = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
        let shown = if value.is_infinite() { format!("{value:+}") } else { format!("{value:e}") };
        // Twice, so that the second line goes the quick way.
        let later = at_ms + 1;
        let later_seconds = format!("{}.{:03}", later / 1000, later % 1000);
        let series = exposed(&name, &labels, blank);
        let dump = dumped(&name, &labels, ascii);
        for (format, text) in [
            (Format::Prometheus, format!("{series} {shown} {at_ms}\n{series} {shown} {later}\n")),
            (Format::OpenMetrics, format!("{series} {shown} {seconds}\n{series} {shown} {later_seconds}\n# EOF\n")),
            (Format::TsdbDump, format!("{dump} {shown} {at_ms}\n{dump} {shown} {later}\n")),
        ] {
            let metrics = read_as(format, text.as_bytes());
            prop_assert!(metrics.is_ok(), "{}: {:?}", text, metrics);
            let metrics = metrics.unwrap();
            prop_assert_eq!(metrics.series().len(), 1);
            prop_assert_eq!(metrics.series()[0].labels(), &wanted);
            let samples: Vec<_> = metrics.series()[0].samples().collect();
            prop_assert_eq!((samples[0].0, samples[1].0), (at_ms, later));
            for (_, read) in samples {
                // Minus zero becomes zero, and every NaN is as good as another.
                prop_assert!(read.to_bits() == (value + 0.0).to_bits() || (read.is_nan() && value.is_nan()));
            }
        }
    }

    #[test]
    fn no_bytes_panic_and_the_size_of_reads_makes_no_difference(
        bytes in prop_oneof![3 => damaged(), 1 => prop::collection::vec(any::<u8>(), 0..200)],
        sizes in prop::collection::vec(1_usize..40, 1..6),
    ) {
        for format in [Format::OpenMetrics, Format::Prometheus, Format::TsdbDump] {
            let all = |result: Result<Metrics, ReadError>| result.map(|metrics| (held(&metrics), *metrics.tally()));
            let whole = all(read_as(format, &bytes));
            let pieces = read(format, &mut Pieces::of(&bytes, &sizes), &ReadOptions::default());
            prop_assert_eq!(all(pieces), whole);
        }
        // Telling the format must not panic either.
        let _ = Format::detect(&bytes);
    }

    #[test]
    fn the_quick_way_and_the_careful_way_agree(order in prop::collection::vec((0_usize..6, 0_i64..4), 1..40)) {
        let series = ["m{a=\"1\"}", "m{a=\"2\"}", "up", "upper", "m{a=\"}\",b=\"2\"}", "{\"q.r\"}"];
        let line = |&(index, tick): &(usize, i64), blank: &str| {
            format!("{} {blank}{index}.5 {}\n", series[index], T0 + tick * 15_000)
        };
        // A second blank keeps a line from the quick way.
        let quick: String = order.iter().map(|row| line(row, "")).collect();
        let careful: String = order.iter().map(|row| line(row, " ")).collect();
        let quick = read_as(Format::Prometheus, quick.as_bytes()).unwrap();
        let careful = read_as(Format::Prometheus, careful.as_bytes()).unwrap();
        prop_assert_eq!(held(&quick), held(&careful));
        prop_assert_eq!(quick.tally(), careful.tally());
    }
}
