//! Lines of a stream, one after the other, however its bytes happen to arrive.
//!
//! Readers of text borrow each line from one buffer that is read into in large blocks; nothing is copied but the
//! beginning of a line whose end has not come yet. A line is handed out with its number, and with the knowledge
//! whether its end was there: only the reader of a format knows what a missing one means.
//!
//! What a line holds is not looked at here, not even whether it is UTF-8.

use std::io::{self, Read};

use memchr::memchr;

use super::packed;
use super::read_error::{Cause, ReadError};

/// Bytes asked for at a time: enough that a read is cheap, little enough to stay in the cache.
const BLOCK: usize = 1 << 20;

/// What some editors put at the very beginning of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: u64,
    /// Its bytes, without `\n` or `\r\n`, and without a byte order mark in the first line.
    pub(super) text: &'a [u8],
    /// Whether it was ended.
    pub(super) end: LineEnd,
}

/// Whether a line has an end; only the last one may lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// It is whole.
    Present,
    /// The stream ended before the line did.
    Missing,
}

/// Cuts a stream into lines.
pub(super) struct Lines<'a> {
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    /// Where the next line starts, and where the bytes that were read end.
    start: usize,
    end: usize,
    /// Of the last line that was handed out.
    number: u64,
    /// A longer line is refused.
    longest: usize,
}

impl<'a> Lines<'a> {
    /// The lines of `input`; one longer than `longest` bytes is an error.
    pub(super) fn new(input: &'a mut dyn Read, longest: usize) -> Self {
        Self {
            input,
            buffer: vec![0; BLOCK],
            start: 0,
            end: 0,
            number: 0,
            longest,
        }
    }

    /// The number of the last line that [`Lines::next`] gave; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Cause::LineTooLong`]; [`Cause::Truncated`] or [`Cause::Unreadable`] if the stream breaks, at the last line
    /// that could be read.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, ReadError> {
        let mut searched = self.start;
        loop {
            if let Some(offset) = memchr(b'\n', &self.buffer[searched..self.end]) {
                let (from, to) = (self.start, searched + offset);
                self.start = to + 1;
                return self.line(from, to, LineEnd::Present).map(Some);
            }
            let begun = self.end - self.start;
            if begun > self.longest {
                return Err(self.too_long());
            }
            if self.fill().map_err(|error| self.broken(&error))? == 0 {
                let (from, to) = (self.start, self.end);
                self.start = to;
                return if begun == 0 {
                    Ok(None)
                } else {
                    self.line(from, to, LineEnd::Missing).map(Some)
                };
            }
            searched = self.start + begun;
        }
    }

    fn line(&mut self, from: usize, to: usize, end: LineEnd) -> Result<Line<'_>, ReadError> {
        if to - from > self.longest {
            return Err(self.too_long());
        }
        self.number += 1;
        let mut text = &self.buffer[from..to];
        if self.number == 1 {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        if end == LineEnd::Present {
            text = text.strip_suffix(b"\r").unwrap_or(text);
        }
        Ok(Line {
            number: self.number,
            text,
            end,
        })
    }

    /// Reads more, with what is left of the last block moved to the front. The number of new bytes; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }

    fn too_long(&self) -> ReadError {
        let limit = self.longest;
        ReadError::at(self.number + 1, 0, Cause::LineTooLong { limit })
    }

    fn broken(&self, error: &io::Error) -> ReadError {
        let cause = packed::fault(error);
        match self.number {
            0 => ReadError::whole(cause),
            last => ReadError::at(last, 0, cause),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that arrive in pieces of the given sizes, over and over.
    pub(in crate::recording) struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl<'a> Pieces<'a> {
        pub(in crate::recording) fn of(bytes: &'a [u8], sizes: &'a [usize]) -> Self {
            let sizes = sizes.iter().cycle();
            Self { bytes, sizes }
        }
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes.next().map_or(1, |&size| size.min(buffer.len()));
            self.bytes.read(&mut buffer[..size])
        }
    }

    type Owned = Vec<(u64, Vec<u8>, LineEnd)>;

    fn all(input: &mut dyn Read, longest: usize) -> (Owned, Option<ReadError>) {
        let mut lines = Lines::new(input, longest);
        let mut found = Vec::new();
        loop {
            match lines.next() {
                Ok(Some(line)) => found.push((line.number, line.text.to_vec(), line.end)),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let (lines, error) = all(&mut &*bytes, 100);
        assert_eq!(error, None);
        lines
            .into_iter()
            .map(|(_, text, _)| String::from_utf8(text).unwrap())
            .collect()
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_no_part_of_a_line() {
        assert_eq!(texts(b""), Vec::<String>::new());
        assert_eq!(texts(b"\n"), [""]);
        assert_eq!(texts(b"a\nb\n"), ["a", "b"]);
        assert_eq!(texts(b"a\r\n\r\nb"), ["a", "", "b"]);
        assert_eq!(texts(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n"), ["a", "\u{feff}b"]);
        assert_eq!(texts(b"a\rb\n\r"), ["a\rb", "\r"]);
    }

    #[test]
    fn only_the_last_line_may_lack_its_end() {
        let (lines, _) = all(&mut &b"a\nb"[..], 100);
        assert_eq!(
            lines,
            [
                (1, b"a".to_vec(), LineEnd::Present),
                (2, b"b".to_vec(), LineEnd::Missing)
            ]
        );
    }

    #[test]
    fn a_line_may_outgrow_a_block() {
        let mut bytes = vec![b'x'; 3 * BLOCK];
        bytes.extend_from_slice(b"\nlast\n");
        let (lines, error) = all(&mut &*bytes, 4 * BLOCK);
        assert_eq!(error, None);
        assert_eq!((lines.len(), lines[0].1.len()), (2, 3 * BLOCK));
    }

    #[test]
    fn a_line_is_too_long_whether_or_not_its_end_is_seen() {
        for rest in ["", "\n", "x", "\nnext\n"] {
            let bytes = format!("ok\n{}{rest}", "y".repeat(11));
            let (lines, error) = all(&mut bytes.as_bytes(), 10);
            assert_eq!(lines.len(), 1);
            assert_eq!(error, Some(ReadError::at(2, 0, Cause::LineTooLong { limit: 10 })));
        }
        let exactly = format!("{}\n", "y".repeat(10));
        assert_eq!(all(&mut exactly.as_bytes(), 10).1, None);
    }

    #[test]
    fn a_stream_that_breaks_is_blamed_at_the_last_line_read() {
        struct Broken<'a>(&'a [u8], io::ErrorKind);
        impl Read for Broken<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(self.1.into()),
                    count => Ok(count),
                }
            }
        }
        let truncated = Cause::Truncated { what: "packed data" };
        let error = all(&mut Broken(b"a\nb\nc", io::ErrorKind::UnexpectedEof), 10).1;
        assert_eq!(error, Some(ReadError::at(2, 0, truncated.clone())));
        let error = all(&mut Broken(b"", io::ErrorKind::UnexpectedEof), 10).1;
        assert_eq!(error, Some(ReadError::whole(truncated)));
        let error = all(&mut Broken(b"a\n", io::ErrorKind::InvalidData), 10)
            .1
            .unwrap();
        assert!(matches!(error.cause, Cause::Unreadable { .. }), "{error}");
    }

    #[test]
    fn an_interrupted_read_is_tried_again() {
        struct Interrupted<'a>(&'a [u8], bool);
        impl Read for Interrupted<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                self.0.read(buffer)
            }
        }
        let (lines, error) = all(&mut Interrupted(b"a\nb\n", false), 10);
        assert_eq!((lines.len(), error), (2, None));
    }

    proptest! {
        #[test]
        fn the_size_of_reads_makes_no_difference(
            bytes in prop::collection::vec(prop::sample::select(b"\n\rab\xef\xbb\xbf".to_vec()), 0..60),
            sizes in prop::collection::vec(1_usize..9, 1..6),
        ) {
            let whole = all(&mut &*bytes, 8);
            prop_assert_eq!(all(&mut Pieces::of(&bytes, &sizes), 8), whole);
        }
    }
}
