//! The demand CSV: `timestamp,series,value,unit`.
//!
//! One pass over the bytes; gzip is decoded on the way. Every row of every series is checked, also of those
//! that will not be simulated: a file with one bad row is a file whose origin is in doubt.

use std::collections::BTreeMap;
use std::io::Read;

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::demand::micro_from_f64;
use super::{Demand, MAX_DEMAND, MICRO, RecordingError, unpacked};

const HEADER: [&str; 4] = ["timestamp", "series", "value", "unit"];
/// 2000-01-01 and 2100-01-01 in unix seconds. Milliseconds, or a counter that starts at zero, fall outside.
const PLAUSIBLE: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// The most text a recording may unpack to: gzip packs a thousandfold, and a small file must not take all
/// memory.
const MAX_TEXT_BYTES: usize = 512 << 20;

/// `(unix seconds, 1e-6 GPU)` of one series, times rising.
type Rows = Vec<(i64, i64)>;

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Demand>, RecordingError> {
    parse_bounded(bytes, MAX_TEXT_BYTES)
}

fn parse_bounded(bytes: &[u8], limit: usize) -> Result<Vec<Demand>, RecordingError> {
    if bytes.is_empty() {
        return Err(RecordingError::Empty);
    }
    let source = unpacked(bytes).map_err(|error| RecordingError::Unreadable {
        line: 0,
        reason: error.to_string(),
    })?;
    let series = read(Bounded { source, left: limit })?;
    if series.is_empty() {
        return Err(RecordingError::NoRows);
    }
    series
        .into_iter()
        .map(|(name, rows)| Demand::from_rows(name, &rows))
        .collect()
}

fn read(source: impl Read) -> Result<BTreeMap<String, Rows>, RecordingError> {
    // `flexible`, so that a short row gets our error, with what to do.
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(source);
    let mut record = StringRecord::new();
    let mut line = 0;
    let mut next = |record: &mut StringRecord| -> Result<Option<u64>, RecordingError> {
        match reader.read_record(record) {
            Ok(true) => {
                line = record.position().map_or(line + 1, csv::Position::line);
                Ok(Some(line))
            }
            Ok(false) => Ok(None),
            Err(error) => Err(unreadable(&error, line)),
        }
    };

    if next(&mut record)?.is_none() {
        return Err(RecordingError::Empty);
    }
    if record != HEADER[..] {
        return Err(RecordingError::Header {
            found: record.iter().collect::<Vec<_>>().join(","),
        });
    }
    let mut series: BTreeMap<String, Rows> = BTreeMap::new();
    while let Some(line) = next(&mut record)? {
        let row = parse_row(&record, line)?;
        // The common case by far is the series of the row before; a lookup by `&str` allocates nothing.
        match series.get_mut(row.series) {
            Some(rows) => {
                check_order(rows, &row, line)?;
                rows.push((row.seconds, row.value));
            }
            None => {
                series.insert(row.series.to_owned(), vec![(row.seconds, row.value)]);
            }
        }
    }
    Ok(series)
}

/// A reader that fails where it has given `left` bytes and there are more.
struct Bounded<R> {
    source: R,
    left: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.left = self.left.checked_sub(count).ok_or_else(|| {
            std::io::Error::other("the text is larger than 512 MiB; split the recording by series or time")
        })?;
        Ok(count)
    }
}

struct Row<'a> {
    seconds: i64,
    series: &'a str,
    value: i64,
}

fn parse_row(record: &StringRecord, line: u64) -> Result<Row<'_>, RecordingError> {
    let fields: Vec<&str> = record.iter().collect();
    let [timestamp, series, value, unit] = fields[..] else {
        return Err(RecordingError::FieldCount {
            line,
            found: fields.len(),
        });
    };
    if series.is_empty() {
        return Err(RecordingError::UnnamedSeries { line });
    }
    if unit != "gpus" {
        return Err(RecordingError::Unit {
            line,
            found: unit.to_owned(),
        });
    }
    Ok(Row {
        seconds: parse_seconds(timestamp, line)?,
        series,
        value: parse_value(value, line)?,
    })
}

fn parse_seconds(field: &str, line: u64) -> Result<i64, RecordingError> {
    let seconds = field.parse().map_err(|_| RecordingError::Timestamp {
        line,
        found: field.to_owned(),
    })?;
    if PLAUSIBLE.contains(&seconds) {
        return Ok(seconds);
    }
    let hint = if PLAUSIBLE.contains(&(seconds / 1000)) {
        "it looks like milliseconds, divide by 1000"
    } else if PLAUSIBLE.contains(&(seconds / 1_000_000_000)) {
        "it looks like nanoseconds, divide by 1000000000"
    } else {
        "give unix seconds"
    };
    Err(RecordingError::ImplausibleYear { line, seconds, hint })
}

fn parse_value(field: &str, line: u64) -> Result<i64, RecordingError> {
    #[expect(clippy::cast_precision_loss, reason = "1e6 and 1e12 are exact in an f64")]
    let (unit, limit) = (MICRO as f64, MAX_DEMAND as f64);
    match field.parse::<f64>() {
        // Not `-0.0`: a sign before a demand is a fault of the writer, whatever follows it.
        Ok(gpus) if gpus.is_sign_positive() && gpus * unit <= limit => Ok(micro_from_f64(gpus * unit)),
        _ => Err(RecordingError::Value {
            line,
            found: field.to_owned(),
        }),
    }
}

fn check_order(rows: &Rows, row: &Row<'_>, line: u64) -> Result<(), RecordingError> {
    let Some(&(previous, _)) = rows.last() else {
        return Ok(());
    };
    let (series, seconds) = (row.series, row.seconds);
    match seconds.cmp(&previous) {
        std::cmp::Ordering::Greater => Ok(()),
        std::cmp::Ordering::Equal => Err(RecordingError::DuplicateTime {
            line,
            series: series.to_owned(),
            seconds,
        }),
        std::cmp::Ordering::Less => Err(RecordingError::Disorder {
            line,
            series: series.to_owned(),
            previous,
            seconds,
        }),
    }
}

fn unreadable(error: &csv::Error, line: u64) -> RecordingError {
    match error.kind() {
        ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            RecordingError::Truncated { line }
        }
        ErrorKind::Utf8 { .. } => RecordingError::Unreadable {
            line,
            reason: "not UTF-8 text".to_owned(),
        },
        _ => RecordingError::Unreadable {
            line,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "timestamp,series,value,unit\n1700000000,a,1.5,gpus\n1700000060,a,2,gpus\n";

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_gzip_give_the_same_series() {
        let plain = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(plain, parse(&gzip(GOOD)).unwrap());
        assert_eq!(plain[0].values(), [1_500_000, 2_000_000]);
        assert_eq!(
            (plain[0].start_ms(), plain[0].step_ms()),
            (1_700_000_000_000, 60_000)
        );
    }

    #[test]
    fn windows_line_ends_and_mixed_series_are_read() {
        let text = "timestamp,series,value,unit\r\n1700000000,b,1,gpus\r\n1700000000,a,2,gpus\r\n\
            1700000015,b,3,gpus\r\n1700000030,a,4,gpus\r\n";
        let series = parse(text.as_bytes()).unwrap();
        let summary: Vec<_> = series
            .iter()
            .map(|d| (d.name(), d.step_ms(), d.values().to_vec()))
            .collect();
        assert_eq!(
            summary,
            [
                ("a", 30_000, vec![2_000_000, 4_000_000]),
                ("b", 15_000, vec![1_000_000, 3_000_000]),
            ]
        );
    }

    #[test]
    fn each_fault_is_refused_with_its_line_and_the_way_out() {
        let check = |rows: &str, expected: &str| {
            let text = format!("timestamp,series,value,unit\n1700000000,a,1,gpus\n{rows}");
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.starts_with("line 3: ") && error.contains(expected),
                "{rows:?} gave: {error}"
            );
        };
        check(
            "1700000060,a,1",
            "expected 4 fields, found 3; if this is the last line, the file was cut short",
        );
        check("1700000060,a,1,gpus,x\n", "found 5");
        check(
            "1700000060,a,1,gp",
            "unknown unit `gp`; demand is given in `gpus`",
        );
        check("1700000060,a,1,percent\n", "unknown unit `percent`");
        check("1700000060,a,NaN,gpus\n", "value `NaN`");
        check("1700000060,a,inf,gpus\n", "value `inf`");
        check("1700000060,a,-1,gpus\n", "value `-1`");
        check("1700000060,a,-0,gpus\n", "value `-0`");
        check("1700000060,a,,gpus\n", "value ``");
        check("1700000060,a,1000001,gpus\n", "between 0 and 1000000");
        check("1700000060,,1,gpus\n", "no name");
        check(
            "1700000060.5,a,1,gpus\n",
            "`1700000060.5` is not a whole number of unix seconds",
        );
        check("2026-01-01,a,1,gpus\n", "not a whole number");
        check(
            "1700000060000,a,1,gpus\n",
            "it looks like milliseconds, divide by 1000",
        );
        check("1700000060000000000,a,1,gpus\n", "nanoseconds");
        check("60,a,1,gpus\n", "give unix seconds");
        check(
            "1700000000,a,1,gpus\n",
            "timestamp 1700000000 of series `a` was there before",
        );
        check(
            "1699999999,a,1,gpus\n",
            "goes back in time, from 1700000000 to 1699999999; sort the rows by time",
        );
    }

    #[test]
    fn a_wrong_or_missing_head_is_told_apart() {
        assert_eq!(parse(b"").unwrap_err(), RecordingError::Empty);
        assert_eq!(
            parse(b"timestamp,series,value,unit\n").unwrap_err(),
            RecordingError::NoRows
        );
        let error = parse(b"time,series,value,unit\n").unwrap_err();
        assert_eq!(
            error,
            RecordingError::Header {
                found: "time,series,value,unit".into()
            }
        );
        let error = parse(b"timestamp,series,value,unit\n1700000000,a,1,gpus\n").unwrap_err();
        assert_eq!(error, RecordingError::SingleRow { series: "a".into() });
    }

    #[test]
    fn a_cut_gzip_is_seen_wherever_it_is_cut() {
        let mut text = String::from(
            "timestamp,series,value,unit
",
        );
        for i in 0..2000 {
            writeln!(text, "{},a,{i},gpus", 1_700_000_000 + i * 60).unwrap();
        }
        let bytes = gzip(&text);
        for cut in [11, bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
            let error = parse(&bytes[..cut]).unwrap_err();
            assert!(
                matches!(error, RecordingError::Truncated { .. }),
                "cut at {cut}: {error}"
            );
        }
        let mut flipped = bytes.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        assert!(matches!(
            parse(&flipped).unwrap_err(),
            RecordingError::Unreadable { .. }
        ));
    }

    #[test]
    fn a_small_file_cannot_unpack_to_more_than_the_limit() {
        for bytes in [GOOD.as_bytes(), &gzip(GOOD)] {
            assert!(parse_bounded(bytes, GOOD.len()).is_ok());
            let error = parse_bounded(bytes, GOOD.len() - 1).unwrap_err();
            assert!(
                error.to_string().contains("larger than 512 MiB; split"),
                "{error}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let error = parse(b"timestamp,series,value,unit\n1700000000,\xff,1,gpus\n").unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[&[0x1f, 0x8b][..], &bytes].concat());
        }

        #[test]
        fn what_is_written_is_read_back(values in prop::collection::vec(0..MAX_DEMAND, 2..40)) {
            let mut text = String::from("timestamp,series,value,unit\n");
            for (i, v) in values.iter().enumerate() {
                let (whole, part) = (v / MICRO, v % MICRO);
                writeln!(text, "{},s,{whole}.{part:06},gpus", 1_700_000_000 + i * 15).unwrap();
            }
            let series = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(series[0].values(), values);
        }
    }
}
