//! Wide tables: one row per time, one column per series.
//!
//! Grafana exports this as "Series joined by time", and public traces of GPU clusters come so: a column of times, then
//! one column for each machine. A heading is a series (`DCGM_FI_DEV_GPU_UTIL{gpu="0"}`), or it names the thing that was
//! measured and somebody has to say of which metric (`--metric`) and what the heading is (`--column-label`).

use std::collections::HashMap;
use std::io::Read;

use super::csv_table::{Row, Table, is_time, time, value};
use super::format::{Format, ReadOptions};
use super::labels::Labels;
use super::metrics::{Metrics, MetricsBuilder, SeriesId};
use super::read_error::{Cause, ReadError};
use super::series_text;
use super::time::shown;

/// The label that a plain heading is the value of, unless it is told otherwise.
const COLUMN_LABEL: &str = "instance";

/// Reads a wide table.
///
/// The times are in the first column with such a heading, else in the first. An empty cell is no sample.
pub(super) fn read(input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    let unit = options.timestamps.unwrap_or(Format::CsvWide.time_unit());
    let mut table = Table::open(input)?;
    let mut builder = MetricsBuilder::new();
    let times = table.row().iter().position(is_time).unwrap_or(0);
    let columns =
        columns(table.row(), times, options, &mut builder).map_err(|cause| table.row().fault(cause))?;
    while table.advance()? {
        let row = table.row();
        let at_ms = time(row.get(times), unit).map_err(|cause| row.fault(cause))?;
        for &(column, id) in &columns {
            let cell = value(row.get(column)).map_err(|cause| row.fault(cause))?;
            if let Some(value) = cell {
                let pushed = builder.push(id, at_ms, value, row.line());
                pushed.map_err(|cause| row.fault(cause))?;
            }
        }
    }
    builder.finish().map_err(ReadError::whole)
}

/// The series of each column but that of the times.
fn columns(
    header: &Row,
    times: usize,
    options: &ReadOptions,
    builder: &mut MetricsBuilder,
) -> Result<Vec<(usize, SeriesId)>, Cause> {
    let mut columns = Vec::with_capacity(header.len());
    let mut seen: HashMap<SeriesId, usize> = HashMap::new();
    for (column, heading) in header.iter().enumerate().filter(|&(column, _)| column != times) {
        let labels = series(heading.trim(), column, options)?;
        let shown_series = shown(heading.trim().as_bytes());
        let id = builder.series(labels)?;
        if let Some(first) = seen.insert(id, column) {
            let (first, second) = (first + 1, column + 1);
            let problem = format!("columns {first} and {second} are both the series `{shown_series}`");
            return Err(Cause::Header { problem });
        }
        columns.push((column, id));
    }
    Ok(columns)
}

/// The series that a heading stands for.
fn series(heading: &str, column: usize, options: &ReadOptions) -> Result<Labels, Cause> {
    if heading.is_empty() {
        let problem = format!("column {} has no heading", column + 1);
        return Err(Cause::Header { problem });
    }
    let metric = options.metric.as_deref();
    let no_metric = || Cause::NoMetric {
        heading: shown(heading.as_bytes()),
    };
    if series_text::is_series(heading) {
        let labels = series_text::parse(heading, metric)?;
        return if labels.name().is_empty() {
            Err(no_metric())
        } else {
            Ok(labels)
        };
    }
    let label = options.column_label.as_deref().unwrap_or(COLUMN_LABEL);
    let metric = metric.ok_or_else(no_metric)?;
    Labels::new(metric, [(label, heading)]).map_err(|label| Cause::DuplicateLabel { label })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(metric: Option<&str>, column_label: Option<&str>) -> ReadOptions {
        ReadOptions {
            timestamps: None,
            metric: metric.map(str::to_owned),
            column_label: column_label.map(str::to_owned),
        }
    }

    fn shown_series(text: &str, options: &ReadOptions) -> Result<Vec<String>, String> {
        let metrics = read(&mut text.as_bytes(), options).map_err(|error| error.to_string())?;
        let show = |series: &crate::recording::Series| {
            let samples: Vec<_> = series
                .samples()
                .map(|(at, v)| format!("{v}@{}", at / 1000))
                .collect();
            format!("{} {}", series.labels(), samples.join(" "))
        };
        Ok(metrics.series().iter().map(show).collect())
    }

    #[test]
    fn headings_are_series_in_each_of_their_forms() {
        let text = "sep=,\r\n\"Time\",\"m{gpu=\"\"0\"\", node=\"\"a\"\"}\",\"{__name__=\"\"m\"\", gpu=\"\"1\"\"}\",n{}\r\n\
            2023-11-14 22:13:20,1,2,\r\n1700000015,3,NaN,4";
        assert_eq!(
            shown_series(text, &ReadOptions::default()).unwrap(),
            [
                r#"m{gpu="0",node="a"} 1@1700000000 3@1700000015"#,
                r#"m{gpu="1"} 2@1700000000 NaN@1700000015"#,
                "n 4@1700000015",
            ]
        );
    }

    #[test]
    fn plain_headings_are_values_of_a_label() {
        let text = "Time,10.140.1.2,{gpu=\"0\"}\n1700000000,1,2\n";
        assert_eq!(
            shown_series(text, &options(Some("U"), None)).unwrap(),
            [
                r#"U{gpu="0"} 2@1700000000"#,
                r#"U{instance="10.140.1.2"} 1@1700000000"#
            ]
        );
        let named = shown_series(text, &options(Some("U"), Some("node"))).unwrap();
        assert_eq!(named[1], r#"U{node="10.140.1.2"} 1@1700000000"#);
        let error = shown_series(text, &ReadOptions::default()).unwrap_err();
        assert_eq!(
            error,
            "line 1: nothing says which metric `10.140.1.2` is of; give it with `--metric` (and with \
             `--column-label` what the headings are), or write it as `metric{label=\"value\"}`"
        );
    }

    #[test]
    fn the_times_may_stand_in_another_column() {
        let text = "a,timestamp\n1,1700000000\n";
        assert_eq!(
            shown_series(text, &options(Some("U"), None)).unwrap(),
            [r#"U{instance="a"} 1@1700000000"#]
        );
    }

    #[test]
    fn faults_of_the_header_and_of_cells_are_refused() {
        let check = |text: &str, wanted: &str| {
            let error = shown_series(text, &options(Some("U"), None)).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        };
        check(
            "time,a,\"U{instance=\"\"a\"\"}\"\n1700000000,1,2\n",
            "line 1: columns 2 and 3 are both the series `U{instance=\"a\"}`; see the table of formats",
        );
        check("time,a,\n1700000000,1,\n", "line 1: column 3 has no heading");
        check(
            "time,\"m{a=1}\"\n1700000000,1\n",
            "line 1: expected a value in quotes",
        );
        check("time,a\n", "there is no sample in it");
        check("time,a\n1700000000,\n", "there is no sample in it");
        check(
            "time,a\n1700000000,1\n1700000015,85%\n",
            "line 3: value `85%` is written for people; export the raw values",
        );
        check(
            "time,a\n1700000000000,1\n",
            "line 2: timestamp `1700000000000` as seconds",
        );
    }
}
