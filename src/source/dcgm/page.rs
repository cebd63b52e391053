//! One page of an exporter, as of now.
//!
//! `prometheus-parse` reads it, which is made for such pages, and loses what it does not understand without a word: lines
//! with a `}` in a value, labels with a `,` or `=` in theirs, escapes, all but the first word of a value. So each line is
//! accounted for: if what it made of a line has not the line's length, byte for byte, our strict reader judges the line and
//! either reads or refuses it. A refused line costs that sample, and is counted; the others of the page are good.
//!
//! What is no page at all (the error page of a proxy, one cut short) is refused as a whole. An empty page is a page: that
//! is what dcgm-exporter answers, with status 200, while it starts anew. It says nothing, so nothing is known.

use std::borrow::Cow;
use std::fmt::Write as _;

use prometheus_parse::{Scrape, Value};
use thiserror::Error;

use crate::recording::{Labels, live_sample};

/// How much of a line is shown of it.
const SHOWN: usize = 120;

/// What a page says.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The wanted series with their values, in the order of the page.
    pub(super) samples: Vec<(Labels, f64)>,
    /// Lines with wanted names that say nothing that can be understood.
    pub(super) refused: usize,
    /// The first of them and what is wrong with it.
    pub(super) first_refused: Option<String>,
}

/// Why something is no page.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum PageError {
    /// A web page.
    #[error("this is a web page and none of an exporter; it begins with {0:?}")]
    WebPage(String),
    /// The last line has no end.
    #[error("the page was cut short in line {line}: {found:?}")]
    CutShort {
        /// Its number, from 1.
        line: usize,
        /// Its beginning.
        found: String,
    },
}

impl Page {
    /// Reads the series whose names are wanted.
    ///
    /// # Errors
    /// [`PageError`] for what is no page.
    pub(super) fn read(body: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Self, PageError> {
        if body.trim_ascii_start().starts_with(b"<") {
            return Err(PageError::WebPage(beginning(body.trim_ascii_start())));
        }
        let mut page = Self::default();
        for (index, line) in body.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            let Some(line) = line.strip_suffix(b"\n") else {
                let found = beginning(line);
                return Err(PageError::CutShort { line: number, found });
            };
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") || !name(line).is_none_or(&wanted) {
                continue;
            }
            match sample(line) {
                // A name in quotes is known only now.
                Ok((labels, _)) if !wanted(labels.name()) => {}
                Ok(read) => page.samples.push(read),
                Err(message) => page.refuse(number, line, &message),
            }
        }
        Ok(page)
    }

    fn refuse(&mut self, number: usize, line: &[u8], message: &str) {
        self.refused += 1;
        self.first_refused
            .get_or_insert_with(|| format!("line {number}, {message}: {:?}", beginning(line)));
    }
}

/// The name that a line begins with; `None` if it begins with something else, such as a name in quotes.
fn name(line: &[u8]) -> Option<&str> {
    let end = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t'));
    let name = line.get(..end.unwrap_or(line.len()))?;
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

fn sample(line: &[u8]) -> Result<(Labels, f64), String> {
    match std::str::from_utf8(line).ok().and_then(by_library) {
        Some(read) => Ok(read),
        None => live_sample(line),
    }
}

/// What `prometheus-parse` makes of a line, if it accounts for all of it.
///
/// Lines are given to it one by one and without those that say types, so that it assembles nothing.
fn by_library(line: &str) -> Option<(Labels, f64)> {
    let lines = std::iter::once(Ok(line.to_owned()));
    let mut scrape = Scrape::parse(lines).ok()?;
    let read = scrape.samples.pop().filter(|_| scrape.samples.is_empty())?;
    let Value::Untyped(value) = read.value else {
        return None;
    };
    // Labels come in no order, but each stands in the line, and all of them together make its length.
    let mut head = read.metric.len();
    for (name, value) in read.labels.iter() {
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let text = format!(r#"{name}="{value}""#);
        if !is_name || value.contains(['\\', '"']) || !line.contains(&text) {
            return None;
        }
        head += text.len() + 1;
    }
    // The comma before the first label is not there, and the braces are.
    head += usize::from(!read.labels.is_empty());
    let rest = line.get(head..)?;
    let word = rest.strip_prefix(' ')?;
    // A second word is a timestamp, or what is left of a value.
    if word.contains([' ', '\t']) || !word.parse().is_ok_and(|again: f64| same(again, value)) {
        return None;
    }
    let labels = Labels::new(&read.metric, read.labels.iter()).ok()?;
    Some((labels, value))
}

fn same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
}

/// The first bytes of something, as text.
fn beginning(bytes: &[u8]) -> String {
    let first = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut shown = match String::from_utf8_lossy(first) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    };
    if first.len() < bytes.len() {
        // Writing into a string cannot fail.
        let _ = write!(shown, "…");
    }
    shown
}

#[cfg(test)]
mod tests;
