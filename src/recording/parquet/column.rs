//! The cells of a Parquet column, a batch of rows at a time.

use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::schema::types::ColumnDescPtr;

use super::super::read_error::Cause;
use super::refused;

/// The most entries of maps in one page: the levels of a row's entries are in memory together, and run-length encoding
/// makes millions of them out of a few bytes.
const MAX_PAGE_VALUES: u32 = 1 << 22;

/// Encodings whose decoders answer garbled pages with errors.
const SOUND: [Encoding; 4] = [
    Encoding::PLAIN,
    Encoding::PLAIN_DICTIONARY,
    Encoding::RLE_DICTIONARY,
    Encoding::DELTA_BINARY_PACKED,
];

/// A text of a Parquet file.
///
/// # Errors
///
/// [`Cause::NotText`].
pub(super) fn text(bytes: &ByteArray) -> Result<&str, Cause> {
    std::str::from_utf8(bytes.data()).map_err(|_| Cause::NotText)
}

/// The cells of a batch, `None` for null.
pub(super) enum Cells {
    /// Whole numbers.
    Ints(Vec<Option<i64>>),
    /// Other numbers.
    Floats(Vec<Option<f64>>),
    /// Texts.
    Texts(Vec<Option<ByteArray>>),
    /// Maps; a null is an empty one.
    Maps(Vec<Vec<(ByteArray, ByteArray)>>),
}

impl Cells {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(cells) => cells.len(),
            Self::Floats(cells) => cells.len(),
            Self::Texts(cells) => cells.len(),
            Self::Maps(cells) => cells.len(),
        }
    }

    /// A cell as a number.
    pub(super) fn number(&self, row: usize) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "gauges are far below 2^53")]
            Self::Ints(cells) => cells.get(row)?.map(|number| number as f64),
            Self::Floats(cells) => *cells.get(row)?,
            Self::Texts(_) | Self::Maps(_) => None,
        }
    }

    /// A cell as the shortest decimal number.
    pub(super) fn shown_number(&self, row: usize) -> Option<String> {
        match self {
            Self::Ints(cells) => cells.get(row)?.map(|number| number.to_string()),
            Self::Floats(cells) => cells.get(row)?.map(|number| number.to_string()),
            Self::Texts(_) | Self::Maps(_) => None,
        }
    }

    /// A cell as text.
    pub(super) fn bytes(&self, row: usize) -> Option<&ByteArray> {
        match self {
            Self::Texts(cells) => cells.get(row)?.as_ref(),
            Self::Ints(_) | Self::Floats(_) | Self::Maps(_) => None,
        }
    }
}

/// A column that is being read.
pub(super) enum Leaf {
    /// 32-bit whole numbers.
    Int32(Flat<Int32Type>),
    /// 64-bit whole numbers.
    Int64(Flat<Int64Type>),
    /// 32-bit floats.
    Float(Flat<FloatType>),
    /// 64-bit floats.
    Double(Flat<DoubleType>),
    /// Texts.
    Text(Flat<ByteArrayType>),
    /// Maps from text to text: keys and values.
    Map(Box<[Flat<ByteArrayType>; 2]>),
    /// Whole numbers as texts.
    Label(Box<Leaf>),
}

impl Leaf {
    /// A column of single cells.
    pub(super) fn flat(column: ColumnDescPtr, pages: Box<dyn PageReader>) -> Result<Self, Cause> {
        let max_def = column.max_def_level();
        let pages = Guarded::boxed(&column, pages);
        Ok(match get_column_reader(column, pages) {
            ColumnReader::Int32ColumnReader(reader) => Self::Int32(Flat::new(reader, max_def)),
            ColumnReader::Int64ColumnReader(reader) => Self::Int64(Flat::new(reader, max_def)),
            ColumnReader::FloatColumnReader(reader) => Self::Float(Flat::new(reader, max_def)),
            ColumnReader::DoubleColumnReader(reader) => Self::Double(Flat::new(reader, max_def)),
            ColumnReader::ByteArrayColumnReader(reader) => Self::Text(Flat::new(reader, max_def)),
            _ => {
                let reason = "a column has a type that is not read".to_owned();
                return Err(Cause::Parquet { reason });
            }
        })
    }

    /// A column of maps.
    pub(super) fn map(
        keys: (ColumnDescPtr, Box<dyn PageReader>),
        values: (ColumnDescPtr, Box<dyn PageReader>),
    ) -> Result<Self, Cause> {
        match (Self::flat(keys.0, keys.1)?, Self::flat(values.0, values.1)?) {
            (Self::Text(keys), Self::Text(values)) => Ok(Self::Map(Box::new([keys, values]))),
            _ => {
                let reason = "a map is not from text to text".to_owned();
                Err(Cause::Parquet { reason })
            }
        }
    }

    /// The same with its numbers as texts.
    pub(super) fn as_labels(self) -> Self {
        Self::Label(Box::new(self))
    }

    /// The next rows, at most so many; none after the last.
    ///
    /// # Errors
    ///
    /// [`Cause::Parquet`].
    pub(super) fn batch(&mut self, rows: usize) -> Result<Cells, Cause> {
        Ok(match self {
            Self::Int32(leaf) => Cells::Ints(leaf.cells(rows, |&number| i64::from(number))?),
            Self::Int64(leaf) => Cells::Ints(leaf.cells(rows, |&number| number)?),
            Self::Float(leaf) => Cells::Floats(leaf.cells(rows, |&number| f64::from(number))?),
            Self::Double(leaf) => Cells::Floats(leaf.cells(rows, |&number| number)?),
            Self::Text(leaf) => Cells::Texts(leaf.cells(rows, ByteArray::clone)?),
            Self::Map(leaves) => Cells::Maps(maps(leaves, rows)?),
            Self::Label(leaf) => match leaf.batch(rows)? {
                Cells::Ints(ints) => {
                    let text = |number: i64| ByteArray::from(number.to_string().into_bytes());
                    Cells::Texts(ints.into_iter().map(|cell| cell.map(text)).collect())
                }
                other => other,
            },
        })
    }
}

/// One leaf of the schema, and the batch that was read last.
pub(super) struct Flat<T: DataType> {
    reader: ColumnReaderImpl<T>,
    max_def: i16,
    values: Vec<T::T>,
    /// For each cell, whether it is there: then it is `max_def`.
    definitions: Vec<i16>,
    /// For each entry of a list, 0 if it begins a row.
    repetitions: Vec<i16>,
}

impl<T: DataType> Flat<T> {
    fn new(reader: ColumnReaderImpl<T>, max_def: i16) -> Self {
        Self {
            reader,
            max_def,
            values: Vec::new(),
            definitions: Vec::new(),
            repetitions: Vec::new(),
        }
    }

    fn fill(&mut self, rows: usize) -> Result<(), Cause> {
        self.values.clear();
        self.definitions.clear();
        self.repetitions.clear();
        let (definitions, repetitions) = (&mut self.definitions, &mut self.repetitions);
        let read = self
            .reader
            .read_records(rows, Some(definitions), Some(repetitions), &mut self.values);
        read.map(drop).map_err(|error| refused(&error))
    }

    fn cells<V>(&mut self, rows: usize, convert: impl Fn(&T::T) -> V) -> Result<Vec<Option<V>>, Cause> {
        self.fill(rows)?;
        if self.max_def == 0 {
            return Ok(self.values.iter().map(|value| Some(convert(value))).collect());
        }
        let mut values = self.values.iter();
        let cell = |&definition: &i16| {
            let there = definition == self.max_def;
            there.then(|| values.next().map(&convert)).flatten()
        };
        Ok(self.definitions.iter().map(cell).collect())
    }
}

/// Puts maps together from their keys and values. A value that is null is empty, which is the same as no label.
fn maps(
    leaves: &mut [Flat<ByteArrayType>; 2],
    rows: usize,
) -> Result<Vec<Vec<(ByteArray, ByteArray)>>, Cause> {
    for leaf in &mut *leaves {
        leaf.fill(rows)?;
    }
    let [keys, values] = leaves;
    if keys.repetitions != values.repetitions || keys.definitions.len() != values.definitions.len() {
        let reason = "the keys and values of a map are not equally many".to_owned();
        return Err(Cause::Parquet { reason });
    }
    let (mut names, mut texts) = (keys.values.iter(), values.values.iter());
    let mut maps: Vec<Vec<(ByteArray, ByteArray)>> = Vec::new();
    let levels = keys
        .repetitions
        .iter()
        .zip(keys.definitions.iter().zip(&values.definitions));
    for (&repetition, (&name, &text)) in levels {
        if repetition == 0 {
            maps.push(Vec::new());
        }
        let name = (name == keys.max_def).then(|| names.next()).flatten();
        let text = (text == values.max_def).then(|| texts.next()).flatten();
        if let (Some(map), Some(name)) = (maps.last_mut(), name) {
            map.push((name.clone(), text.cloned().unwrap_or_else(|| ByteArray::from(""))));
        }
    }
    Ok(maps)
}

/// Looks at pages before they are decoded.
///
/// The crate takes some things on trust that a garbled file may get wrong, and then panics or takes all memory: that a
/// page which refers to a dictionary has one, how many values a dictionary holds, that there are bytes left for the
/// length of a text, and the lengths of texts that are packed by their differences and of floats that are split into
/// streams. The encodings of the last two are refused; the common tools do not write them unless they are told to.
struct Guarded {
    pages: Box<dyn PageReader>,
    column: ColumnDescPtr,
    dictionary: Dictionary,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dictionary {
    Missing,
    Seen,
}

impl Guarded {
    fn boxed(column: &ColumnDescPtr, pages: Box<dyn PageReader>) -> Box<dyn PageReader> {
        Box::new(Self {
            pages,
            column: ColumnDescPtr::clone(column),
            dictionary: Dictionary::Missing,
        })
    }

    /// The page, if its decoder will get along with it.
    fn check(&mut self, page: Page) -> Result<Page, &'static str> {
        let encoding = page.encoding();
        let by_dictionary = matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        if let Page::DictionaryPage { buf, num_values, .. } = &page {
            // Every value of the types that are read takes a byte at least.
            if *num_values as usize > buf.len() {
                return Err("a dictionary is shorter than it says");
            }
            self.dictionary = Dictionary::Seen;
        } else if !SOUND.contains(&encoding) {
            return Err("a page has an encoding that is not read; use dictionaries or PLAIN");
        } else if by_dictionary && self.dictionary == Dictionary::Missing {
            return Err("a page refers to a dictionary that is not there");
        } else if self.column.max_rep_level() > 0 && page.num_values() > MAX_PAGE_VALUES {
            return Err("a page of maps has more than 4194304 entries");
        }
        let plain = encoding == Encoding::PLAIN || !page.is_data_page();
        if plain && self.column.physical_type() == Physical::BYTE_ARRAY {
            return self.check_texts(page);
        }
        Ok(page)
    }

    /// Follows the lengths of texts to the end of the page, and puts a length there that no text has: if there are
    /// fewer texts than the page says, its decoder stops at that one with an error.
    fn check_texts(&self, mut page: Page) -> Result<Page, &'static str> {
        let start = self
            .values_start(&page)
            .ok_or("the levels of a page are longer than the page")?;
        let (Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. }) =
            &mut page;
        let mut rest = buf.get(start..).unwrap_or_default();
        while !rest.is_empty() {
            rest = after_text(rest).ok_or("a text is longer than its page")?;
        }
        *buf = [buf.as_ref(), &[0xff; LENGTH]].concat().into();
        Ok(page)
    }

    /// Where the values of a page begin, after its levels.
    fn values_start(&self, page: &Page) -> Option<usize> {
        match page {
            Page::DictionaryPage { .. } => Some(0),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let start = def_levels_byte_len.checked_add(*rep_levels_byte_len)? as usize;
                (start <= buf.len()).then_some(start)
            }
            Page::DataPage {
                buf,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let mut rest = buf.as_ref();
                for (most, encoding) in [
                    (self.column.max_rep_level(), rep_level_encoding),
                    (self.column.max_def_level(), def_level_encoding),
                ] {
                    if most > 0 {
                        // The other encoding of levels is deprecated, and has no length.
                        rest = after_text(rest).filter(|_| *encoding == Encoding::RLE)?;
                    }
                }
                Some(buf.len() - rest.len())
            }
        }
    }
}

/// Bytes of the length in front of a text, and of levels.
const LENGTH: usize = 4;

/// What comes after a length and as many bytes.
fn after_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.get(u32::from_le_bytes(*length) as usize..)
}

impl Iterator for Guarded {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Guarded {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else {
            return Ok(None);
        };
        let checked = self.check(page);
        checked
            .map(Some)
            .map_err(|reason| ParquetError::General(reason.to_owned()))
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }
}
