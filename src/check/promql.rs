//! Expressions: whether they can be read, what they yield, and what they quietly do to missing data.
//!
//! The parser gives a tree without positions, so places are found again among the expression's own words
//! ([`tokens`]), and those in the document where the expression stands there as it is read: in one line, or
//! in a block of its own indentation. Otherwise the whole value is pointed at.

mod tokens;
mod units;
mod walk;

use std::collections::BTreeSet;
use std::ops::Range;

use promql_parser::parser::{self, value::ValueType};

use crate::api::signal::{Signal, Unit};

use super::codes::metrics as codes;
use super::page::Page;
use tokens::{Kind, Token};

/// An expression and where it stands.
struct Query<'q> {
    text: &'q str,
    tokens: Vec<Token>,
    /// The value in the document.
    value: Range<usize>,
    /// Where each line of the expression begins in the document, when it stands there as it is read.
    lines: Option<Vec<usize>>,
}

impl<'q> Query<'q> {
    fn new(page: &Page<'_>, path: &str, text: &'q str) -> Self {
        let value = page.at(&format!("{path}.promql"));
        let raw = page.text.get(value.clone()).unwrap_or_default();
        Self {
            lines: lines(raw, text).map(|lines| lines.into_iter().map(|at| value.start + at).collect()),
            tokens: tokens::tokens(text),
            text,
            value,
        }
    }

    /// A part of the expression in the document.
    fn place(&self, part: Range<usize>) -> Range<usize> {
        let Some(lines) = &self.lines else {
            return self.value.clone();
        };
        let at = |offset: usize| {
            let before = &self.text[..offset];
            let line = before.matches('\n').count();
            let column = offset - before.rfind('\n').map_or(0, |end| end + 1);
            lines.get(line).map(|start| start + column)
        };
        match (at(part.start), at(part.end)) {
            (Some(start), Some(end)) => start..end,
            _ => self.value.clone(),
        }
    }

    /// The first word that is `name`, in the document.
    fn word(&self, name: &str) -> Range<usize> {
        let found = self
            .tokens
            .iter()
            .find(|token| token.kind == Kind::Word && self.text[token.range.clone()] == *name);
        found.map_or_else(|| self.value.clone(), |token| self.place(token.range.clone()))
    }

    /// The first of some operators that stands outside of braces and is not followed by `bool`.
    fn filter(&self) -> Range<usize> {
        let mut braces = 0_u32;
        let mut tokens = self.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            let text = &self.text[token.range.clone()];
            match text {
                "{" => braces += 1,
                "}" => braces = braces.saturating_sub(1),
                ">" | "<" | ">=" | "<=" | "==" | "!=" if braces == 0 => {
                    let next = tokens.peek().map(|token| &self.text[token.range.clone()]);
                    if next != Some("bool") {
                        return self.place(token.range.clone());
                    }
                }
                _ => {}
            }
        }
        self.value.clone()
    }
}

/// Where each line of `text` begins in `raw`: the same words, after more indentation. `None` where a line was
/// folded or escaped.
fn lines(raw: &str, text: &str) -> Option<Vec<usize>> {
    let mut starts = Vec::new();
    let mut written = raw.split_inclusive('\n').scan(0, |at, line| {
        *at += line.len();
        Some((*at - line.len(), line))
    });
    for (index, line) in text.trim_end().split('\n').enumerate() {
        let (start, whole) = written.next()?;
        // The first line may stand behind a quote, the others behind the indentation of the block.
        let found = if index == 0 {
            whole.find(line)?
        } else {
            let indent = whole.len() - whole.trim_start_matches(' ').len();
            let own = line.len() - line.trim_start_matches(' ').len();
            let same = whole.trim().strip_suffix(['"', '\'']).unwrap_or(whole.trim()) == line.trim()
                || whole.trim() == line.trim();
            same.then(|| indent.checked_sub(own))??
        };
        starts.push(start + found);
    }
    Some(starts)
}

/// Checks the expression of the signal at `path`.
pub(super) fn check(page: &mut Page<'_>, signal: &Signal, text: &str, unit: Unit, path: &str) {
    let query = Query::new(page, path, text);
    let tree = match parser::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            unreadable(page, &query, &error);
            return;
        }
    };
    match tree.value_type() {
        ValueType::Vector | ValueType::Scalar => {}
        ValueType::Matrix => {
            let range =
                tokens::range(&query.tokens, query.text).map_or(query.value.clone(), |r| query.place(r));
            let message = "the expression yields a range of samples for every series, not one value";
            page.report(&codes::PROMQL_TYPE, range, "this makes it a range", message);
            return;
        }
        ValueType::String => {
            let message = "the expression yields a text, not a number";
            page.report(&codes::PROMQL_TYPE, query.value.clone(), "a text", message);
            return;
        }
    }
    walk::check(page, &query, signal, &tree);
    units::check(page, &query, &tree, unit, path);
}

/// The metrics that an expression names, each once; `None` for a selector without a full name. Nothing if it is none.
pub(super) fn metrics(text: &str) -> BTreeSet<Option<String>> {
    let tree = parser::parse(text).ok();
    let selectors = tree.iter().flat_map(|tree| walk::selectors(tree));
    selectors.map(walk::name).collect()
}

/// Points at what the parser stumbled over.
fn unreadable(page: &mut Page<'_>, query: &Query<'_>, error: &str) {
    let (span, label) = stumble(query, error);
    let what = match error {
        "invalid promql query" => "the expression cannot be read as PromQL".to_owned(),
        other => format!("the expression cannot be read as PromQL: {other}"),
    };
    page.report(&codes::PROMQL_SYNTAX, span, label, what);
}

fn stumble(query: &Query<'_>, error: &str) -> (Range<usize>, &'static str) {
    if let Some((part, label)) = tokens::unbalanced(&query.tokens, query.text) {
        return (query.place(part), label);
    }
    // The parser quotes the word that it does not know.
    let quoted = error.split('\'').nth(1).filter(|_| error.contains("function"));
    if let Some(name) = quoted {
        let label = if error.starts_with("unknown function") {
            "there is no such function"
        } else {
            "this function"
        };
        return (query.word(name), label);
    }
    // `by` and its like take their labels in brackets.
    let mut pairs = query.tokens.windows(2);
    let bare = pairs.find(|pair| {
        let [word, next] = [
            &query.text[pair[0].range.clone()],
            &query.text[pair[1].range.clone()],
        ];
        matches!(word, "by" | "without" | "on" | "ignoring") && pair[1].kind == Kind::Word && next != "("
    });
    if let Some([_, label]) = bare {
        return (query.place(label.range.clone()), "labels stand in brackets");
    }
    let is_operator = |token: &&Token| {
        token.kind == Kind::Sign && !matches!(&query.text[token.range.clone()], ")" | "}" | "]")
    };
    if let Some(last) = query.tokens.last().filter(is_operator) {
        return (query.place(last.range.clone()), "nothing follows");
    }
    // The word without which the rest can be read; there are few words, and a parse takes microseconds.
    let without = |token: &&Token| {
        let rest = [
            &query.text[..token.range.start],
            " ",
            &query.text[token.range.end..],
        ]
        .concat();
        parser::parse(&rest).is_ok()
    };
    match query.tokens.iter().take(MOST_TRIALS).find(without) {
        Some(token) => (query.place(token.range.clone()), "this does not belong here"),
        None => (query.value.clone(), "in here"),
    }
}

/// Words that are left out one by one in search of the one that is too many.
const MOST_TRIALS: usize = 100;
