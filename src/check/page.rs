//! One document of a text: its places, and the findings about it so far.

use std::ops::Range;

use serde_json::Value;

use crate::api::spans::{Place, Spans};

use super::codes::{self, Entry};
use super::{Finding, Kind, Label};

/// The parts of a text that hold a document: YAML separates them by lines that begin with `---`. Parts with
/// nothing but space, comments and directives are left out.
pub fn documents(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            // What follows on the line of the marker belongs to the document.
            starts.push(at - line.len() + 3);
        }
    }
    let ends: Vec<usize> = starts
        .iter()
        .skip(1)
        .map(|start| start - 3)
        .chain([text.len()])
        .collect();
    let ranges: Vec<Range<usize>> = starts.into_iter().zip(ends).map(|(from, to)| from..to).collect();
    ranges.into_iter().filter(|range| !is_blank(&text[range.clone()]))
}

fn is_blank(part: &str) -> bool {
    let says_nothing = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '%']) || line == "..."
    };
    part.lines().all(says_nothing)
}

/// One document and what was found in it; places are in bytes of this document.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) text: &'a str,
    spans: Spans,
    /// The value of the document, or of the part that was entered.
    pub(super) value: Value,
    /// Path of the part that was entered, with a point at its end.
    prefix: String,
    findings: Vec<Finding>,
}

impl<'a> Page<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            spans: Spans::of(text),
            value: Value::Null,
            prefix: String::new(),
            findings: Vec::new(),
        }
    }

    /// The findings, with places in the text that this document begins at `base` of.
    pub(super) fn findings_from(self, base: usize) -> impl Iterator<Item = Finding> {
        self.findings.into_iter().map(move |mut finding| {
            let shift = |label: &mut Label| label.span = label.span.start + base..label.span.end + base;
            shift(&mut finding.at);
            finding.also.iter_mut().for_each(shift);
            finding
        })
    }

    /// Reads the document and tells its kind; `None`, with a finding, when it has none.
    pub(super) fn read(&mut self) -> Option<Kind> {
        match serde_saphyr::from_str::<Value>(self.text) {
            Ok(value) => self.value = value,
            Err(error) => {
                self.unreadable(&error);
                return None;
            }
        }
        let has = |field: &str| self.value.get(field).is_some();
        let is_policy = self.value.get("kind").and_then(Value::as_str) == Some("GpuScalePolicy")
            || self
                .value
                .get("apiVersion")
                .and_then(Value::as_str)
                .is_some_and(|version| version.starts_with("gpuscale.dev/"));
        if is_policy {
            Some(Kind::Policy)
        } else if has("apiVersion") || has("kind") {
            self.foreign();
            None
        } else if has("recording") {
            Some(Kind::Scenario)
        } else if has("traces") {
            Some(Kind::Suite)
        } else if has("metricsSources") || has("aksClusters") {
            Some(Kind::Settings)
        } else {
            self.foreign();
            None
        }
    }

    fn unreadable(&mut self, error: &serde_saphyr::Error) {
        if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error.without_snippet() {
            let at = error
                .location()
                .map_or(0..0, |at| self.token(at.line(), at.column()));
            let first = first_key(self.text, key, at.start);
            let message = format!("`{key}` is written twice");
            let finding = self.report(&codes::documents::TWICE, at, "written again here", message);
            if let Some(first) = first {
                finding.also(first, "and first here");
            }
            return;
        }
        let at = error
            .location()
            .map_or(0..0, |at| self.token(at.line(), at.column()));
        let message = plain(error);
        self.report(&codes::documents::NOT_YAML, at, "reading stopped here", message);
    }

    fn foreign(&mut self) {
        let said = |field| self.value.get(field).and_then(Value::as_str);
        let message = match (said("apiVersion"), said("kind")) {
            (Some(version), Some(kind)) => {
                format!("this is a {kind} of {version}, which gpuscale does not read")
            }
            (Some(version), None) => format!("the document has apiVersion {version} and no kind"),
            (None, Some(kind)) => format!("the document is a {kind} without an apiVersion"),
            (None, None) => "the document is no policy, scenario, suite or configuration".to_owned(),
        };
        let place = ["kind", "apiVersion"]
            .iter()
            .find_map(|field| self.spans.exact(field));
        let at = place.map_or_else(|| self.first_word(), Place::shown);
        self.report(
            &codes::documents::UNKNOWN_KIND,
            at,
            "this says what it is",
            message,
        );
    }

    /// The first thing that is written.
    fn first_word(&self) -> Range<usize> {
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            let written = line.trim_start();
            if !written.is_empty() && !written.starts_with('#') {
                start += line.len() - written.len();
                break;
            }
            start += line.len();
        }
        word_from(self.text, start)
    }

    /// Runs a check of the document that stands inside of this one under a field; its paths begin there.
    pub(super) fn within<T>(&mut self, field: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let inner = self.value.get(field).cloned().unwrap_or_default();
        let outer = std::mem::replace(&mut self.value, inner);
        self.prefix = format!("{field}.");
        let result = check(self);
        self.prefix.clear();
        self.value = outer;
        result
    }

    /// Whether the document is a part of another one.
    pub(super) fn is_part(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// The place of a field that is written.
    pub(super) fn written(&self, path: &str) -> Option<&Place> {
        self.spans.exact(&format!("{}{path}", self.prefix))
    }

    /// Paths of the fields called `name` beneath `path`, the shallowest first.
    pub(super) fn named(&self, path: &str, name: &str) -> Vec<String> {
        let full = format!("{}{path}", self.prefix);
        let found = self.spans.named(full.trim_end_matches('.'), name);
        found
            .into_iter()
            .map(|path| path[self.prefix.len()..].to_owned())
            .collect()
    }

    /// Adds a finding with the default remedy.
    pub(super) fn report(
        &mut self,
        entry: &'static Entry,
        span: Range<usize>,
        label: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Finding {
        let finding = Finding {
            entry,
            message: message.into(),
            at: Label {
                span: self.inside(span),
                text: label.into(),
            },
            also: None,
            help: entry.remedy.to_owned(),
        };
        // One word may be found twice, as a label that an expression names twice.
        let same = |other: &Finding| other.message == finding.message && other.at == finding.at;
        let at = self.findings.iter().position(same).unwrap_or(self.findings.len());
        if at == self.findings.len() {
            self.findings.push(finding);
        }
        &mut self.findings[at]
    }

    /// Adds a finding about a field.
    pub(super) fn about(
        &mut self,
        entry: &'static Entry,
        path: &str,
        label: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Finding {
        let span = self.at(path);
        self.report(entry, span, label, message)
    }

    /// Whether a finding of this entry was made.
    pub(super) fn has(&self, entry: &'static Entry) -> bool {
        self.findings
            .iter()
            .any(|finding| std::ptr::eq(finding.entry, entry))
    }

    /// Where a field, or its nearest parent, is to be pointed at.
    pub(super) fn at(&self, path: &str) -> Range<usize> {
        let Some(place) = self.spans.nearest(&format!("{}{path}", self.prefix)) else {
            return self.first_word();
        };
        let shown = place.shown();
        if shown.is_empty() {
            // An item of a list that is a map: all of it in braces, else its first word.
            return braces_from(self.text, shown.start).unwrap_or_else(|| word_from(self.text, shown.start));
        }
        let trimmed = self.text.get(shown.clone()).unwrap_or_default().trim_end();
        shown.start..shown.start + trimmed.len()
    }

    /// The word at a line and column, both from 1, the column in characters.
    pub(super) fn token(&self, line: u64, column: u64) -> Range<usize> {
        let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(0);
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(index(line))
            .map(str::len)
            .sum();
        let rest = self.text[start..].lines().next().unwrap_or_default();
        let offset = rest
            .char_indices()
            .nth(index(column))
            .map_or(rest.len(), |(at, _)| at);
        word_from(self.text, start + offset)
    }

    /// A range that lies in the text, on the borders of characters.
    fn inside(&self, span: Range<usize>) -> Range<usize> {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        start..floor(span.end.max(start))
    }
}

/// The word that begins at `start`: up to a space or a bracket; one character at least, where there is one.
fn word_from(text: &str, start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let quoted = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let ends = |(at, c): &(usize, char)| match c {
        // A colon ends a key; inside of a word, as in an address, it does not.
        ':' => rest[at + 1..].chars().next().is_none_or(char::is_whitespace),
        c => c.is_whitespace() || matches!(c, ',' | '}' | ']' | '{' | '['),
    };
    let length = match quoted {
        Some(quote) => rest[1..].find([quote, '\n']).map_or(rest.len(), |end| end + 2),
        None => rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at),
    };
    let first = rest
        .chars()
        .next()
        .filter(|c| *c != '\n')
        .map_or(0, char::len_utf8);
    start..start + length.max(first).min(rest.len())
}

/// The braces that open at `start`, when they close on the same line.
fn braces_from(text: &str, start: usize) -> Option<Range<usize>> {
    let line = text.get(start..)?.lines().next()?;
    let mut depth = 0_u32;
    for (at, c) in line.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then_some(start..start + at + 1);
        }
    }
    None
}

/// The first place of a key before `before`, at the beginning of a line or after a bracket or comma.
fn first_key(text: &str, key: &str, before: usize) -> Option<Range<usize>> {
    text[..before.min(text.len())]
        .match_indices(key)
        .filter(|(at, _)| {
            let opens = text[..*at].trim_end_matches([' ', '"', '\'']).chars().next_back();
            let follows = text[at + key.len()..]
                .trim_start_matches(['"', '\''])
                .starts_with(':');
            opens.is_none_or(|c| matches!(c, '\n' | '{' | ',' | '-')) && follows
        })
        .last()
        .map(|(at, _)| at..at + key.len())
}

/// A reader's message without its picture of the source and its repeated position.
pub(super) fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    text[..text.find(" at line ").unwrap_or(text.len())].to_owned()
}
