//! Foreign bytes before they are a format: the mark that some editors put in front, an answer that is a web page, and
//! lines with their numbers.

use std::io::{BufRead, BufReader, Chain, Cursor, Read};

use super::packed::fault;
use super::read_error::{Cause, ReadError};
use super::time::shown;

/// The byte order mark of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Bytes that are looked at before anything is read.
const HEAD: usize = 256;

/// Buffer of a reader: large enough that the decoders behind it work in whole blocks.
const BUFFER: usize = 64 << 10;

/// The longest line, and the longest row of a table. A line of a VictoriaMetrics export holds a series with all of its
/// samples: 64 MiB are two years of one at 15 seconds.
pub(super) const MAX_LINE: usize = 64 << 20;

/// Bytes that were looked at.
pub(super) type Opened<'a> = BufReader<Chain<Cursor<Vec<u8>>, &'a mut dyn Read>>;

/// Looks at the first bytes of a text and passes it on without a byte order mark.
///
/// # Errors
///
/// [`Cause::Empty`] if there is nothing but white space, [`Cause::WebPage`] if a page was saved instead of an answer,
/// and what reading says.
pub(super) fn open(input: &mut dyn Read) -> Result<Opened<'_>, ReadError> {
    let mut head = Vec::with_capacity(HEAD);
    let read = (&mut *input).take(HEAD as u64).read_to_end(&mut head);
    read.map_err(|error| ReadError::whole(fault(&error)))?;
    if head.starts_with(BOM) {
        head.drain(..BOM.len());
    }
    let content = head.trim_ascii_start();
    if content.is_empty() && head.len() < HEAD - BOM.len() {
        return Err(ReadError::whole(Cause::Empty));
    }
    if content.starts_with(b"<") {
        let first = content.split(|&byte| byte == b'\n').next().unwrap_or_default();
        return Err(ReadError::whole(Cause::WebPage { found: shown(first) }));
    }
    Ok(BufReader::with_capacity(BUFFER, Cursor::new(head).chain(input)))
}

/// Lines of bounded length.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    limit: usize,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `limit` bytes, their ends included.
    pub(super) fn new(input: R, limit: usize) -> Self {
        Self {
            input,
            limit,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line with its end, or `None` after the last. Only the last one may lack its end.
    ///
    /// # Errors
    ///
    /// [`Cause::LineTooLong`], and what reading says, with the line.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.line.clear();
        self.number += 1;
        let most = self.limit as u64 + 1;
        let read = self.input.by_ref().take(most).read_until(b'\n', &mut self.line);
        match read {
            Ok(0) => {
                self.number -= 1;
                Ok(None)
            }
            Ok(_) if self.line.len() > self.limit => {
                let cause = Cause::LineTooLong { limit: self.limit };
                Err(ReadError::at(self.number, 0, cause))
            }
            Ok(_) => Ok(Some(&self.line)),
            Err(error) => Err(ReadError::at(self.number, 0, fault(&error))),
        }
    }
}

/// A line without its end, and the end.
pub(super) fn without_end(line: &[u8]) -> (&[u8], &[u8]) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    line.split_at(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_are_looked_at_and_given_back() {
        let check = |bytes: &[u8], wanted: Result<&[u8], Cause>| {
            let mut input = bytes;
            let found = open(&mut input).map(|mut opened| {
                let mut all = Vec::new();
                opened.read_to_end(&mut all).unwrap();
                all
            });
            assert_eq!(
                found.map_err(|error| error.cause),
                wanted.map(<[u8]>::to_vec),
                "{bytes:?}"
            );
        };
        check(b"", Err(Cause::Empty));
        check(b"\xef\xbb\xbf \r\n", Err(Cause::Empty));
        check(b"\xef\xbb\xbftime,a", Ok(b"time,a"));
        check(b"x", Ok(b"x"));
        let found = "<html>".to_owned();
        check(b"\n <html>\n<body>", Err(Cause::WebPage { found }));
        let long = [b' '; 3 * HEAD];
        check(&long, Ok(&long));
    }

    #[test]
    fn lines_are_numbered_and_bounded() {
        let mut lines = Lines::new(&b"a\r\n\nbcd\ne"[..], 4);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let line = without_end(line).0.to_vec();
            seen.push((lines.number(), String::from_utf8(line).unwrap()));
        }
        let seen: Vec<_> = seen.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(seen, [(1, "a"), (2, ""), (3, "bcd"), (4, "e")]);
        assert_eq!(lines.number(), 4);
        let mut lines = Lines::new(&b"a\nbcdef\n"[..], 4);
        lines.next().unwrap();
        let error = lines.next().unwrap_err();
        assert_eq!(error, ReadError::at(2, 0, Cause::LineTooLong { limit: 4 }));
    }
}
