//! What the columns of a Parquet file are, from its schema.
//!
//! Everything that the reader relies on is checked here, once: which columns there are, of which types, and that none
//! is nested but a map of labels. What a value looks like in a page is the business of `column`.

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit as Tick, Type as Physical};
use parquet::file::reader::RowGroupReader;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};

use super::super::format::{Format, ReadOptions, TimeUnit};
use super::super::long_table::{Role, roles};
use super::super::read_error::Cause;
use super::{Leaf, refused};

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// A TIMESTAMP: so many of them are a millisecond.
    Ticks {
        /// 1, 1,000 or 1,000,000.
        per_ms: i64,
    },
    /// A number in this unit.
    Number(TimeUnit),
    /// A date, or a number in this unit, as text.
    Text(TimeUnit),
}

/// Where the cells of a column are, and in which form their labels come.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In one leaf, as they are.
    Leaf(usize),
    /// In one leaf of whole numbers that stand for text: the index of a GPU.
    Label(usize),
    /// In two: the keys and the values of maps.
    Map(usize, usize),
}

/// What to read.
pub(super) struct Plan {
    columns: Vec<(Role, Place)>,
    clock: Clock,
    leaves: usize,
}

impl Plan {
    /// Reads the schema.
    ///
    /// # Errors
    ///
    /// [`Cause::Header`] for columns that are missing, double, or of a type that does not fit.
    pub(super) fn of(schema: &SchemaDescriptor, options: &ReadOptions) -> Result<Self, Cause> {
        let mut leaves_of: Vec<Vec<usize>> = vec![Vec::new(); schema.root_schema().get_fields().len()];
        for leaf in 0..schema.num_columns() {
            leaves_of[schema.get_column_root_idx(leaf)].push(leaf);
        }
        let fields = schema.root_schema().get_fields();
        let roles = roles(fields.iter().map(|field| field.name()))?;
        let mut clock = None;
        let mut columns = Vec::with_capacity(fields.len());
        for ((field, leaves), role) in fields.iter().zip(&leaves_of).zip(roles) {
            let place = place(schema, field, leaves, &role)?;
            if let (Role::Time, Place::Leaf(leaf)) = (&role, place) {
                clock = Some(clock_of(&schema.column(leaf), options)?);
            }
            columns.push((role, place));
        }
        let problem = "there is no column `time`".to_owned();
        Ok(Self {
            columns,
            clock: clock.ok_or(Cause::Header { problem })?,
            leaves: schema.num_columns(),
        })
    }

    /// What each column is.
    pub(super) fn roles(&self) -> Vec<Role> {
        self.columns.iter().map(|(role, _)| role.clone()).collect()
    }

    /// What a column is.
    pub(super) fn role(&self, column: usize) -> &Role {
        &self.columns[column].0
    }

    /// How times are written.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Opens the columns of a row group.
    ///
    /// # Errors
    ///
    /// [`Cause::Parquet`].
    pub(super) fn open(&self, group: &dyn RowGroupReader) -> Result<Vec<Leaf>, Cause> {
        if group.num_columns() != self.leaves {
            let reason = format!(
                "a row group has {} columns and not {}",
                group.num_columns(),
                self.leaves
            );
            return Err(Cause::Parquet { reason });
        }
        let schema = group.metadata().schema_descr();
        let pages = |leaf| {
            let chunk = group.metadata().column(leaf);
            let places = [
                chunk.dictionary_page_offset().unwrap_or(0),
                chunk.data_page_offset(),
                chunk.compressed_size(),
            ];
            if places.iter().any(|&place| place < 0) {
                let reason = "a column begins before the file or is shorter than nothing".to_owned();
                return Err(Cause::Parquet { reason });
            }
            group
                .get_column_page_reader(leaf)
                .map_err(|error| refused(&error))
        };
        let open = |&(_, place): &(Role, Place)| match place {
            Place::Leaf(leaf) => Leaf::flat(schema.column(leaf), pages(leaf)?),
            Place::Label(leaf) => Ok(Leaf::flat(schema.column(leaf), pages(leaf)?)?.as_labels()),
            Place::Map(key, value) => Leaf::map(
                (schema.column(key), pages(key)?),
                (schema.column(value), pages(value)?),
            ),
        };
        self.columns.iter().map(open).collect()
    }
}

/// Where the cells of a field are, if it is of a type that its role can have.
fn place(schema: &SchemaDescriptor, field: &Type, leaves: &[usize], role: &Role) -> Result<Place, Cause> {
    let unfit = |what: &str| Cause::Header {
        problem: format!("column `{}` is {what}", field.name()),
    };
    match leaves {
        &[key, value] if is_map(field) => {
            let texts = [key, value].map(|leaf| schema.column(leaf).physical_type() == Physical::BYTE_ARRAY);
            return match role {
                Role::Labels if texts == [true, true] => Ok(Place::Map(key, value)),
                Role::Labels => Err(unfit("not a map from text to text")),
                _ => Err(unfit("a map; only `labels` may be one")),
            };
        }
        &[leaf] if field.is_primitive() => {
            let column = schema.column(leaf);
            if column.max_rep_level() > 0 || column.max_def_level() > 1 {
                return Err(unfit("a list"));
            }
            let kind = (column.physical_type(), role);
            match kind {
                (Physical::BYTE_ARRAY, Role::Value) => Err(unfit("text and not a number")),
                (Physical::BYTE_ARRAY, _)
                | (Physical::DOUBLE | Physical::FLOAT, Role::Value)
                | (Physical::DOUBLE, Role::Time) => Ok(Place::Leaf(leaf)),
                (Physical::INT32 | Physical::INT64, Role::Time) => Ok(Place::Leaf(leaf)),
                (Physical::INT32 | Physical::INT64, Role::Value) if is_whole(&column) => {
                    Ok(Place::Leaf(leaf))
                }
                (Physical::INT32 | Physical::INT64, Role::Label(_)) if is_whole(&column) => {
                    Ok(Place::Label(leaf))
                }
                (physical, _) => Err(unfit(&format!("of the type {physical}, which does not fit"))),
            }
        }
        _ => Err(unfit("nested")),
    }
}

/// Whether whole numbers mean what they say, and are not decimals, dates or the like.
fn is_whole(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16};
    matches!(
        column.converted_type(),
        INT_8 | INT_16 | INT_32 | INT_64 | NONE | UINT_8 | UINT_16
    ) && matches!(column.logical_type_ref(), None | Some(LogicalType::Integer(_)))
}

/// A MAP as the specification lays it out: a repeated group of two.
fn is_map(field: &Type) -> bool {
    let info = field.get_basic_info();
    let annotated = matches!(
        info.converted_type(),
        ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE
    ) || matches!(info.logical_type_ref(), Some(LogicalType::Map));
    let [entries] = field.get_fields() else {
        return false;
    };
    let repeated = |of: &Type| {
        of.get_basic_info().has_repetition() && of.get_basic_info().repetition() == Repetition::REPEATED
    };
    annotated
        && !entries.is_primitive()
        && repeated(entries)
        && !repeated(field)
        && entries
            .get_fields()
            .iter()
            .all(|leaf| leaf.is_primitive() && !repeated(leaf))
}

/// How the column of times writes them.
fn clock_of(column: &ColumnDescriptor, options: &ReadOptions) -> Result<Clock, Cause> {
    let problem = |what: String| Cause::Header {
        problem: format!("column `{}` is {what}", column.name()),
    };
    match (
        column.physical_type(),
        column.logical_type_ref(),
        column.converted_type(),
    ) {
        (Physical::INT64, Some(LogicalType::Timestamp(stamp)), _) => Ok(Clock::Ticks {
            per_ms: match stamp.unit {
                Tick::MILLIS => 1,
                Tick::MICROS => 1000,
                Tick::NANOS => 1_000_000,
            },
        }),
        (Physical::INT64, None, ConvertedType::TIMESTAMP_MILLIS) => Ok(Clock::Ticks { per_ms: 1 }),
        (Physical::INT64, None, ConvertedType::TIMESTAMP_MICROS) => Ok(Clock::Ticks { per_ms: 1000 }),
        (Physical::INT64 | Physical::INT32, _, _) if is_whole(column) => Ok(Clock::Number(
            options.timestamps.unwrap_or(Format::Parquet.time_unit()),
        )),
        // A number with a fraction is in seconds, as everywhere.
        (Physical::DOUBLE, ..) => Ok(Clock::Number(options.timestamps.unwrap_or(TimeUnit::Seconds))),
        (Physical::BYTE_ARRAY, ..) => Ok(Clock::Text(options.timestamps.unwrap_or(TimeUnit::Seconds))),
        (physical, ..) => Err(problem(format!("of the type {physical} and holds no times"))),
    }
}
