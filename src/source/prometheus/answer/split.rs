//! Takes an answer apart while it arrives: the series one by one, and what is around them.
//!
//! An answer is `{"status":…,"data":{"resultType":…,"result":[{series},{series},…]}}` with the keys in any order. Its size is
//! in the series, and a JSON parser that is given all of a document keeps all of it in memory. So bytes are followed only
//! as far as brackets and strings go, until the list of series is found. Each series is handed on as soon as its last byte
//! is there, and what is left is small. Whether the pieces are JSON is for the parser to say that gets them.

use super::AnswerError;

/// Most bytes of an answer besides its series: status, warnings, errors.
pub(super) const MOST_ENVELOPE: usize = 256 << 10;

/// Most bytes of one series: more than a month of samples at 15 s.
pub(super) const MOST_PIECE: usize = 8 << 20;

/// Deepest nesting around the series that is followed.
const DEEPEST: usize = 32;

/// Longest key that is looked at.
const LONGEST_KEY: usize = 16;

/// What may come next in the list of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    SeriesOrEnd,
    Series,
    CommaOrEnd,
}

/// Which string is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    None,
    Key,
    Other,
}

/// Where the value that is read is, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Elsewhere,
    Data,
    DataResult,
}

/// Follows an answer.
#[derive(Debug)]
pub(super) struct Splitter {
    /// What was opened and is not closed: `{` or `[`.
    open: Vec<u8>,
    text: Text,
    escaped: bool,
    /// Whether a string that begins now is a key.
    key_next: bool,
    key: Vec<u8>,
    path: Path,
    /// Within the list of series: what comes next.
    next: Option<Next>,
    lists: usize,
    /// Depth within a series, if one is being read.
    piece: Option<usize>,
    /// The beginning of a series whose end is in a later chunk.
    begun: Vec<u8>,
    envelope: Vec<u8>,
    bytes: u64,
}

impl Splitter {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            text: Text::None,
            escaped: false,
            key_next: false,
            key: Vec::new(),
            path: Path::Elsewhere,
            next: None,
            lists: 0,
            piece: None,
            begun: Vec::new(),
            envelope: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes, and hands on every series that ends in them.
    pub(super) fn feed(
        &mut self,
        mut rest: &[u8],
        mut series: impl FnMut(&[u8]) -> Result<(), AnswerError>,
    ) -> Result<(), AnswerError> {
        while !rest.is_empty() {
            let taken = match self.piece {
                Some(depth) => self.within(depth, rest, &mut series)?,
                None => self.around(rest)?,
            };
            rest = rest.get(taken..).unwrap_or_default();
            self.bytes += taken as u64;
        }
        Ok(())
    }

    /// What was around the series, with an empty list in their place.
    pub(super) fn finish(self) -> Result<Vec<u8>, AnswerError> {
        if self.piece.is_some() || !self.open.is_empty() || self.text != Text::None {
            return Err(AnswerError::Cut { bytes: self.bytes });
        }
        Ok(self.envelope)
    }

    /// Reads on within a series; the number of bytes that belong to it.
    fn within(
        &mut self,
        mut depth: usize,
        chunk: &[u8],
        series: &mut impl FnMut(&[u8]) -> Result<(), AnswerError>,
    ) -> Result<usize, AnswerError> {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            if self.text != Text::None {
                at += self.text_part(chunk.get(at..).unwrap_or_default());
                continue;
            }
            at += 1;
            match byte {
                b'"' => self.text = Text::Other,
                b'{' => depth += 1,
                b'}' if depth > 1 => depth -= 1,
                b'}' => {
                    let last = chunk.get(..at).unwrap_or_default();
                    if self.begun.is_empty() {
                        series(last)?;
                    } else {
                        self.keep(last)?;
                        series(&self.begun)?;
                        self.begun.clear();
                    }
                    (self.piece, self.next) = (None, Some(Next::CommaOrEnd));
                    return Ok(at);
                }
                _ => {}
            }
        }
        self.piece = Some(depth);
        self.keep(chunk)?;
        Ok(at)
    }

    /// How many bytes belong to the string that is being read, its closing quote among them.
    fn text_part(&mut self, rest: &[u8]) -> usize {
        if std::mem::take(&mut self.escaped) {
            return 1;
        }
        let Some(at) = memchr::memchr2(b'"', b'\\', rest) else {
            return rest.len();
        };
        self.escaped = rest.get(at) == Some(&b'\\');
        if !self.escaped {
            self.text = Text::None;
        }
        at + 1
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), AnswerError> {
        if self.begun.len() + part.len() > MOST_PIECE {
            return Err(AnswerError::SeriesTooLong { most: MOST_PIECE });
        }
        self.begun.extend_from_slice(part);
        Ok(())
    }

    /// Follows the document outside of series; the number of bytes before the next one.
    fn around(&mut self, chunk: &[u8]) -> Result<usize, AnswerError> {
        for (at, &byte) in chunk.iter().enumerate() {
            let place = self.bytes + at as u64;
            match (self.next, byte) {
                (None, _) => self.follow(byte, place)?,
                (Some(_), b' ' | b'\n' | b'\r' | b'\t') => {}
                (Some(Next::SeriesOrEnd | Next::Series), b'{') => {
                    self.piece = Some(0);
                    return Ok(at);
                }
                (Some(Next::CommaOrEnd), b',') => self.next = Some(Next::Series),
                (Some(Next::SeriesOrEnd | Next::CommaOrEnd), b']') => {
                    self.next = None;
                    self.follow(byte, place)?;
                }
                (Some(Next::SeriesOrEnd), _) => return Err(AnswerError::NoSeries),
                (Some(_), byte) => return Err(AnswerError::Byte { byte, place }),
            }
        }
        Ok(chunk.len())
    }

    /// One byte of what is around the series.
    fn follow(&mut self, byte: u8, place: u64) -> Result<(), AnswerError> {
        if self.envelope.len() >= MOST_ENVELOPE {
            return Err(AnswerError::EnvelopeTooLong { most: MOST_ENVELOPE });
        }
        self.envelope.push(byte);
        if self.text != Text::None {
            self.follow_text(byte);
            return Ok(());
        }
        match byte {
            b'"' => {
                let known = self.open.len() <= 2 && self.open.last() == Some(&b'{');
                self.text = if self.key_next && known {
                    self.key.clear();
                    Text::Key
                } else {
                    Text::Other
                };
            }
            b'{' | b'[' => self.opens(byte)?,
            b'}' | b']' => {
                let opened = if byte == b'}' { b'{' } else { b'[' };
                if self.open.pop() != Some(opened) {
                    return Err(AnswerError::Byte { byte, place });
                }
                self.key_next = false;
            }
            b',' => self.key_next = self.open.last() == Some(&b'{'),
            b':' => self.key_next = false,
            _ => {}
        }
        Ok(())
    }

    fn follow_text(&mut self, byte: u8) {
        if std::mem::take(&mut self.escaped) {
            return;
        }
        match byte {
            b'\\' => self.escaped = true,
            b'"' => {
                if self.text == Text::Key {
                    self.path = match (self.open.len(), self.path, self.key.as_slice()) {
                        (1, _, b"data") => Path::Data,
                        (2, Path::Data, b"result") => Path::DataResult,
                        (2, Path::DataResult, key) if key != b"result" => Path::Data,
                        (2, path, _) => path,
                        _ => Path::Elsewhere,
                    };
                }
                self.text = Text::None;
            }
            _ if self.text == Text::Key && self.key.len() < LONGEST_KEY => self.key.push(byte),
            _ => {}
        }
    }

    fn opens(&mut self, bracket: u8) -> Result<(), AnswerError> {
        if self.open.len() >= DEEPEST {
            return Err(AnswerError::TooDeep { most: DEEPEST });
        }
        let of_series = self.open == b"{{" && self.path == Path::DataResult;
        self.open.push(bracket);
        self.key_next = bracket == b'{';
        if bracket == b'[' && of_series {
            self.lists += 1;
            if self.lists > 1 {
                return Err(AnswerError::TwoLists);
            }
            self.next = Some(Next::SeriesOrEnd);
        }
        Ok(())
    }
}
