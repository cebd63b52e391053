//! Long tables of text: one row per sample.
//!
//! What the columns mean is told by their headings, as in every [long table](super::long_table).

use std::io::Read;

use super::csv_table::{Row, Table, time, value};
use super::format::{Format, ReadOptions, TimeUnit};
use super::long_table::{LongTable, Part, Role, roles};
use super::metrics::Metrics;
use super::read_error::{Cause, ReadError};

/// Reads a long table. A row with an empty value is no sample.
pub(super) fn read(input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    let unit = options.timestamps.unwrap_or(Format::CsvLong.time_unit());
    let mut table = Table::open(input)?;
    let roles = roles(table.row().iter()).map_err(|cause| table.row().fault(cause))?;
    let columns = Columns::of(&roles);
    let mut samples = LongTable::new(roles, options.metric.as_deref());
    while table.advance()? {
        let row = table.row();
        add(row, &columns, unit, &mut samples).map_err(|cause| row.fault(cause))?;
    }
    samples.finish()
}

/// Where in a row what is.
struct Columns {
    time: usize,
    value: usize,
    identity: Vec<usize>,
}

impl Columns {
    fn of(roles: &[Role]) -> Self {
        let place = |wanted: &Role| roles.iter().position(|role| role == wanted).unwrap_or_default();
        let names_series = |&column: &usize| !matches!(roles[column], Role::Time | Role::Value);
        Self {
            time: place(&Role::Time),
            value: place(&Role::Value),
            identity: (0..roles.len()).filter(names_series).collect(),
        }
    }
}

fn add(row: &Row, columns: &Columns, unit: TimeUnit, samples: &mut LongTable<'_>) -> Result<(), Cause> {
    let at_ms = time(row.get(columns.time), unit);
    let value = value(row.get(columns.value));
    let parts: Vec<Part<'_>> = columns
        .identity
        .iter()
        .map(|&column| Part::Cell(column, row.get(column)))
        .collect();
    match value? {
        Some(value) => samples.push(&parts, at_ms?, value, row.line()),
        None => at_ms.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_series(text: &str, metric: Option<&str>) -> Result<Vec<String>, String> {
        let options = ReadOptions {
            metric: metric.map(str::to_owned),
            ..ReadOptions::default()
        };
        let metrics = read(&mut text.as_bytes(), &options).map_err(|error| error.to_string())?;
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
    fn every_column_without_a_meaning_is_a_label() {
        let text = "time,metric,value,gpu,Hostname\n1700000000,U,1,0,a\n1700000000,U,2,1,a\n\
            2023-11-14T22:13:35Z,U,3,0,a\n1700000030,U,,0,a\n1700000030,U,null,1,\n";
        assert_eq!(
            shown_series(text, None).unwrap(),
            [
                r#"U{Hostname="a",gpu="0"} 1@1700000000 3@1700000015"#,
                r#"U{Hostname="a",gpu="1"} 2@1700000000"#,
                r#"U{gpu="1"} NaN@1700000030"#,
            ]
        );
    }

    #[test]
    fn series_and_labels_may_be_written_in_one_cell() {
        let text = "time,value,series\n1700000000,1,\"U{gpu=\"\"0\"\"}\"\n1700000000,2,plain\n";
        assert_eq!(
            shown_series(text, None).unwrap(),
            [r#"U{gpu="0"} 1@1700000000"#, "plain 2@1700000000"]
        );
        let text =
            "time,value,labels\n1700000000,1,\"{\"\"gpu\"\":\"\"0\"\"}\"\n1700000015,2,\"{gpu=\"\"0\"\"}\"\n";
        assert_eq!(
            shown_series(text, Some("U")).unwrap(),
            [r#"U{gpu="0"} 1@1700000000 2@1700000015"#]
        );
    }

    #[test]
    fn faults_have_their_line_and_the_way_out() {
        let check = |text: &str, wanted: &str| {
            let error = shown_series(text, None).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        };
        check(
            "timestamp,series,value,unit\n1700000000,a,1,gpus\n",
            "line 2: this is a demand recording: its unit is `gpus`; give it as the `recording` of a scenario",
        );
        check(
            "time,value,gpu\n1700000000,1,0\n",
            "line 2: nothing says which metric `{gpu=\"0\"}` is of; give it with `--metric`",
        );
        check(
            "time,value,name\n1700000000,1,m\n,2,m\n",
            "line 3: the sample has no timestamp",
        );
        check(
            "time,value,name\n1700000000,1.5 GiB,m\n",
            "line 2: value `1.5 GiB` is written for people",
        );
        check(
            "time,value,name\n1700000000,1\n",
            "line 2: expected 3 fields, found 2",
        );
        check("time,value,name\n", "there is no sample in it");
        check(
            "time,name\n",
            "line 1: there is no column `value` among: time, name",
        );
    }
}
