//! One line of text that holds a sample: `name{label="value",…} value timestamp`.
//!
//! This is the careful way: everything is checked, and a fault is told with the byte at which it is. The grammar is
//! that of the Prometheus and OpenMetrics expositions with quoted UTF-8 names, and with it that of `promtool tsdb
//! dump`, where the name is the label `__name__`. The two differ in the escapes of quoted text and in nothing else
//! that matters, so they share a parser. Blanks are allowed wherever the Prometheus format allows them.
//!
//! It does not know which series were seen before, nor what comments say.

use std::borrow::Cow;

use memchr::memchr2;

use super::value;
use crate::recording::read_error::Cause;
use crate::recording::time::{self, shown};
use crate::recording::{Labels, NAME_LABEL, TimeUnit};

/// Which dialect a line is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::recording) enum Dialect {
    /// An exposition: the escapes are `\\`, `\"` and `\n`, and an exemplar may follow a sample.
    Exposition,
    /// A dump of promtool, which quotes as Go does (`strconv.Quote`).
    Dump,
}

/// A sample, and where in the line its series is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    /// The bytes before this one alone decide about `labels`.
    pub(super) labels_end: usize,
    pub(super) value: f64,
    pub(super) at_ms: i64,
}

/// What is wrong, and with which byte of the line, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) cause: Cause,
}

/// Reads the sample in a line.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub(super) fn sample(line: &[u8], dialect: Dialect, unit: TimeUnit) -> Result<Sample, Fault> {
    let mut cursor = Cursor { line, at: 0, dialect };
    let labels = cursor.series()?;
    let labels_end = cursor.at;
    let value = cursor.value(&labels)?;
    let at_ms = cursor.timestamp(unit)?;
    cursor.rest()?;
    Ok(Sample {
        labels,
        labels_end,
        value,
        at_ms,
    })
}

/// Reads the sample in a line of a live exporter's page, which has no timestamp: it is as of now.
///
/// # Errors
///
/// The first thing that is not as it should be; a timestamp is one.
#[cfg(feature = "source")]
pub(super) fn live_sample(line: &[u8]) -> Result<(Labels, f64), Fault> {
    let dialect = Dialect::Exposition;
    let mut cursor = Cursor { line, at: 0, dialect };
    let labels = cursor.series()?;
    let value = cursor.value(&labels)?;
    cursor.rest()?;
    Ok((labels, value))
}

/// What stands between braces: the metric's name, if it is there, and labels with the place of each.
#[derive(Default)]
struct Braces<'a> {
    name: Option<Cow<'a, str>>,
    labels: Vec<(Cow<'a, str>, Cow<'a, str>, usize)>,
}

impl<'a> Braces<'a> {
    /// Takes a metric's name, of which there may be one.
    fn rename(&mut self, name: Cow<'a, str>, offset: usize) -> Result<(), Fault> {
        if name.is_empty() {
            let (expected, found) = ("the name of a metric", "\"\"".to_owned());
            let cause = Cause::Syntax { expected, found };
            return Err(Fault { offset, cause });
        }
        match self.name {
            None => self.name = Some(name),
            Some(_) => return Err(twice(NAME_LABEL, offset)),
        }
        Ok(())
    }

    fn into_labels(self, start: usize) -> Result<Labels, Fault> {
        let Some(name) = &self.name else {
            let (expected, found) = ("the name of a metric", "{".to_owned());
            let cause = Cause::Syntax { expected, found };
            return Err(Fault { offset: start, cause });
        };
        let pairs = self
            .labels
            .iter()
            .map(|(label, value, _)| (label.as_ref(), value.as_ref()));
        Labels::new(name, pairs).map_err(|label| {
            let second = self.labels.iter().rfind(|(name, ..)| *name == label);
            twice(&label, second.map_or(start, |(.., offset)| *offset))
        })
    }
}

fn twice(label: &str, offset: usize) -> Fault {
    let label = label.to_owned();
    Fault {
        offset,
        cause: Cause::DuplicateLabel { label },
    }
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// Steps over a byte if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Steps over bytes as long as they fit.
    fn run(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.line[self.at..];
        let len = rest.iter().position(|&byte| !fits(byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// Steps over everything up to the next blank.
    fn word(&mut self) -> &'a [u8] {
        self.run(|byte| !matches!(byte, b' ' | b'\t'))
    }

    /// Something else should be here.
    fn expected(&self, expected: &'static str) -> Fault {
        let rest = &self.line[self.at..];
        let cause = if rest.is_empty() {
            Cause::LineEnds { expected }
        } else {
            let blank = rest.iter().position(|&byte| matches!(byte, b' ' | b'\t'));
            let found = shown(&rest[..blank.unwrap_or(rest.len()).max(1)]);
            Cause::Syntax { expected, found }
        };
        Fault {
            offset: self.at,
            cause,
        }
    }

    /// `name`, `name{…}` or `{…}` with the name inside.
    fn series(&mut self) -> Result<Labels, Fault> {
        self.blanks();
        let start = self.at;
        let mut braces = Braces::default();
        if self.peek() != Some(b'{') {
            braces.name = Some(self.bare("the name of a metric", metric_byte)?);
        }
        let end = self.at;
        self.blanks();
        if self.peek() == Some(b'{') {
            self.braces(&mut braces)?;
        } else if self.at == end && end < self.line.len() {
            return Err(self.expected("`{` or a blank after the name"));
        } else {
            self.at = end;
        }
        braces.into_labels(start)
    }

    /// A name without quotes.
    fn bare(&mut self, expected: &'static str, fits: fn(u8) -> bool) -> Result<Cow<'a, str>, Fault> {
        if self.peek().is_none_or(|first| first.is_ascii_digit()) {
            return Err(self.expected(expected));
        }
        let name = self.run(fits);
        match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => Ok(Cow::Borrowed(name)),
            _ => Err(self.expected(expected)),
        }
    }

    fn braces(&mut self, into: &mut Braces<'a>) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.blanks();
            if self.take(b'}') {
                return Ok(());
            }
            self.item(into)?;
            self.blanks();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}` after a label"));
            }
        }
    }

    /// `label="value"`, `"label"="value"`, or the metric's name in quotes.
    fn item(&mut self, into: &mut Braces<'a>) -> Result<(), Fault> {
        let start = self.at;
        let quoted = self.peek() == Some(b'"');
        let label = if quoted {
            self.quoted()?
        } else {
            self.bare("the name of a label", label_byte)?
        };
        self.blanks();
        if !self.take(b'=') {
            return if quoted {
                into.rename(label, start)
            } else {
                Err(self.expected("`=` after the name of a label"))
            };
        }
        if label.is_empty() {
            self.at = start;
            return Err(self.expected("the name of a label"));
        }
        self.blanks();
        let value_at = self.at;
        let value = self.quoted()?;
        if label == NAME_LABEL {
            into.rename(value, value_at)
        } else {
            into.labels.push((label, value, start));
            Ok(())
        }
    }

    /// Text in quotes, with its escapes resolved.
    fn quoted(&mut self) -> Result<Cow<'a, str>, Fault> {
        if !self.take(b'"') {
            return Err(self.expected("a value in double quotes"));
        }
        let start = self.at;
        let mut resolved: Option<Vec<u8>> = None;
        loop {
            let rest = &self.line[self.at..];
            let Some(len) = memchr2(b'"', b'\\', rest) else {
                self.at = self.line.len();
                return Err(self.expected("a closing double quote"));
            };
            self.at += len;
            if let Some(bytes) = &mut resolved {
                bytes.extend_from_slice(&rest[..len]);
            }
            if rest[len] == b'\\' {
                let so_far = &self.line[start..self.at];
                let bytes = resolved.get_or_insert_with(|| so_far.to_vec());
                let escape = &self.line[self.at..];
                let read = match self.dialect {
                    Dialect::Exposition => exposition_escape(escape, bytes),
                    Dialect::Dump => go_escape(escape, bytes),
                };
                self.at += read.ok_or_else(|| self.expected(self.escapes()))?;
                continue;
            }
            let end = self.at;
            self.at += 1;
            return match resolved {
                None => {
                    let text = std::str::from_utf8(&self.line[start..end]);
                    text.map(Cow::Borrowed)
                        .map_err(|error| not_text(start + error.valid_up_to()))
                }
                Some(bytes) => {
                    let text = String::from_utf8(bytes);
                    text.map(Cow::Owned).map_err(|_| not_text(start))
                }
            };
        }
    }

    fn escapes(&self) -> &'static str {
        match self.dialect {
            Dialect::Exposition => r#"one of the escapes `\\`, `\"` and `\n`"#,
            Dialect::Dump => r#"an escape of Go such as `\\`, `\"`, `\n` or `\u00e9`"#,
        }
    }

    fn value(&mut self, labels: &Labels) -> Result<f64, Fault> {
        self.blanks();
        let offset = self.at;
        if self.peek() == Some(b'{') {
            let series = labels.to_string();
            let cause = Cause::Histogram { series };
            return Err(Fault { offset, cause });
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.expected("a value"));
        }
        value::parse(word).ok_or_else(|| Fault {
            offset,
            cause: Cause::Value {
                found: shown(words(&self.line[offset..])),
            },
        })
    }

    fn timestamp(&mut self, unit: TimeUnit) -> Result<i64, Fault> {
        self.blanks();
        let offset = self.at;
        let cause = match self.peek() {
            None | Some(b'#') => Cause::NoTimestamp,
            Some(_) => match time::parse(self.word(), unit) {
                Ok(at_ms) => return Ok(at_ms),
                Err(cause) => cause,
            },
        };
        Err(Fault { offset, cause })
    }

    /// Nothing, or an exemplar: `# {labels} value [timestamp]`. It has to be well formed; it is not kept.
    fn rest(&mut self) -> Result<(), Fault> {
        self.blanks();
        if self.dialect == Dialect::Exposition && self.take(b'#') {
            self.blanks();
            if self.peek() != Some(b'{') {
                return Err(self.expected("the labels of an exemplar"));
            }
            self.braces(&mut Braces::default())?;
            for expected in ["the value of an exemplar", "the timestamp of an exemplar"] {
                self.blanks();
                let start = self.at;
                let word = self.word();
                let missing = word.is_empty() && expected.contains("timestamp");
                if !missing && value::parse(word).is_none() {
                    self.at = start;
                    return Err(self.expected(expected));
                }
            }
            self.blanks();
        }
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the line")),
        }
    }
}

fn not_text(offset: usize) -> Fault {
    let cause = Cause::NotText;
    Fault { offset, cause }
}

fn metric_byte(byte: u8) -> bool {
    label_byte(byte) || byte == b':'
}

fn label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What stands for a value, without the timestamp after it: dcgm-exporter writes `ERROR - FAILED TO CONVERT TO
/// STRING`, which is more than one word.
fn words(rest: &[u8]) -> &[u8] {
    let rest = rest.trim_ascii_end();
    let blank = |&byte: &u8| matches!(byte, b' ' | b'\t');
    match rest.iter().rposition(blank) {
        Some(last) if value::parse(&rest[last + 1..]).is_some() => rest[..last].trim_ascii_end(),
        _ => rest,
    }
}

/// Resolves the escape at the beginning of `text`. The number of bytes that it takes.
fn exposition_escape(text: &[u8], into: &mut Vec<u8>) -> Option<usize> {
    into.push(match text.get(1)? {
        b'n' => b'\n',
        &byte @ (b'\\' | b'"') => byte,
        _ => return None,
    });
    Some(2)
}

/// As [`exposition_escape`], for all that Go's `strconv.Quote` writes: a byte by `\x`, a character by `\u` or `\U`.
fn go_escape(text: &[u8], into: &mut Vec<u8>) -> Option<usize> {
    let hex = |digits: usize| {
        let digits = std::str::from_utf8(text.get(2..2 + digits)?).ok()?;
        let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    let byte = match text.get(1)? {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        &byte @ (b'\\' | b'"') => byte,
        b'x' => {
            into.push(u8::try_from(hex(2)?).ok()?);
            return Some(4);
        }
        long @ (b'u' | b'U') => {
            let digits = if *long == b'u' { 4 } else { 8 };
            let character = char::from_u32(hex(digits)?)?;
            into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(2 + digits);
        }
        _ => return None,
    };
    into.push(byte);
    Some(2)
}
