//! Long tables in Parquet.
//!
//! The columns are those of every [long table](super::long_table). They are read one by one in batches of rows and not
//! through the crate's rows: those are built by asserting what a file says of itself, and a garbled file must not end
//! the process. For the same reason pages are looked at before they are decoded, see `column::Guarded`.
//!
//! A Parquet file says at its end where everything is, so it is held as a whole and may not be larger than
//! [`MAX_FILE`].

mod column;
mod plan;

use std::io::Read;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use self::column::{Cells, Leaf};
use self::plan::{Clock, Plan};
use super::csv_table;
use super::format::ReadOptions;
use super::long_table::{LongTable, Part, Role};
use super::metrics::Metrics;
use super::packed::fault;
use super::read_error::{Cause, Place, ReadError};
use super::time::{self, plausible};

/// The largest file: about 500 million samples of one column, far more than a recording may hold.
const MAX_FILE: u64 = 1 << 30;

/// What a Parquet file begins and ends with.
const MAGIC: &[u8] = b"PAR1";

/// Rows that are read at once.
const BATCH: usize = 4096;

/// Reads a Parquet file.
pub(super) fn read(input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    let file = SerializedFileReader::new(whole(input)?).map_err(|error| ReadError::whole(refused(&error)))?;
    let plan = Plan::of(file.metadata().file_metadata().schema_descr(), options).map_err(ReadError::whole)?;
    let mut samples = LongTable::new(plan.roles(), options.metric.as_deref());
    let mut rows_before = 0;
    for index in 0..file.num_row_groups() {
        let here = |cause| ReadError {
            place: Place::Row(rows_before + 1),
            cause,
        };
        let group = file.get_row_group(index).map_err(|error| here(refused(&error)))?;
        rows_before = read_group(&*group, &plan, rows_before, &mut samples)?;
    }
    samples.finish()
}

/// The whole file.
fn whole(input: &mut dyn Read) -> Result<Bytes, ReadError> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| ReadError::whole(fault(&error)))?;
    let cause = if bytes.is_empty() {
        Cause::Empty
    } else if bytes.len() as u64 > MAX_FILE {
        Cause::FileTooLarge { limit: MAX_FILE }
    } else if !bytes.starts_with(MAGIC) {
        let reason = "it does not begin with `PAR1`".to_owned();
        Cause::Parquet { reason }
    } else if bytes.len() == MAGIC.len() || !bytes.ends_with(MAGIC) {
        Cause::Truncated { what: "Parquet file" }
    } else {
        return Ok(bytes.into());
    };
    Err(ReadError::whole(cause))
}

/// What the crate says.
fn refused(error: &ParquetError) -> Cause {
    let reason = match error {
        ParquetError::General(reason) | ParquetError::NYI(reason) | ParquetError::EOF(reason) => {
            reason.clone()
        }
        other => other.to_string(),
    };
    Cause::Parquet { reason }
}

/// Adds the rows of a group and returns how many there are then.
fn read_group(
    group: &dyn RowGroupReader,
    plan: &Plan,
    rows_before: u64,
    samples: &mut LongTable<'_>,
) -> Result<u64, ReadError> {
    let at = |row, cause| ReadError {
        place: Place::Row(row),
        cause,
    };
    let mut row = rows_before;
    let mut leaves = plan.open(group).map_err(|cause| at(row + 1, cause))?;
    loop {
        let batch = leaves
            .iter_mut()
            .map(|leaf| leaf.batch(BATCH))
            .collect::<Result<Vec<Cells>, Cause>>();
        let batch = batch.map_err(|cause| at(row + 1, cause))?;
        let rows = batch.first().map_or(0, Cells::len);
        if batch.iter().any(|cells| cells.len() != rows) {
            let reason = "its columns have different numbers of rows".to_owned();
            return Err(at(row + 1, Cause::Parquet { reason }));
        }
        if rows == 0 {
            break;
        }
        for index in 0..rows {
            row += 1;
            add_row(plan, &batch, index, row, samples).map_err(|cause| at(row, cause))?;
        }
    }
    let stated = group.metadata().num_rows();
    if u64::try_from(stated) == Ok(row - rows_before) {
        return Ok(row);
    }
    let reason = format!(
        "a row group has {} rows and says that it has {stated}",
        row - rows_before
    );
    Err(at(row.max(1), Cause::Parquet { reason }))
}

/// Adds one row of a batch. A row without a value is no sample.
fn add_row(
    plan: &Plan,
    batch: &[Cells],
    index: usize,
    row: u64,
    samples: &mut LongTable<'_>,
) -> Result<(), Cause> {
    let (mut at_ms, mut value) = (None, None);
    let mut parts = Vec::with_capacity(batch.len());
    for (column, cells) in batch.iter().enumerate() {
        match plan.role(column) {
            Role::Time => at_ms = time_of(cells, index, plan.clock())?,
            Role::Value => value = cells.number(index),
            _ => match cells {
                Cells::Maps(maps) => {
                    for (label, value) in maps.get(index).map(Vec::as_slice).unwrap_or_default() {
                        parts.push(Part::Entry(column::text(label)?, column::text(value)?));
                    }
                }
                cells => {
                    if let Some(text) = cells.bytes(index) {
                        parts.push(Part::Cell(column, column::text(text)?));
                    }
                }
            },
        }
    }
    let at_ms = at_ms.ok_or(Cause::NoTimestamp)?;
    match value {
        Some(value) => samples.push(&parts, at_ms, value, row),
        None => Ok(()),
    }
}

/// The time in a cell.
fn time_of(cells: &Cells, index: usize, clock: Clock) -> Result<Option<i64>, Cause> {
    let at_ms = match (cells, clock) {
        (Cells::Ints(ints), Clock::Ticks { per_ms }) => {
            let Some(ticks) = ints.get(index).copied().flatten() else {
                return Ok(None);
            };
            let at_ms = ticks.saturating_add(per_ms / 2).div_euclid(per_ms);
            if !plausible(at_ms) {
                let found = format!("{ticks} (1/{per_ms} ms)");
                return Err(Cause::ImplausibleDate { found });
            }
            Some(at_ms)
        }
        (cells, Clock::Number(unit) | Clock::Text(unit)) => match cells.bytes(index) {
            Some(text) if matches!(clock, Clock::Text(_)) => {
                Some(csv_table::time(column::text(text)?, unit)?)
            }
            Some(_) => None,
            None => match cells.shown_number(index) {
                Some(number) => Some(time::parse(number.as_bytes(), unit)?),
                None => None,
            },
        },
        (_, Clock::Ticks { .. }) => None,
    };
    Ok(at_ms)
}

#[cfg(test)]
mod tests;
