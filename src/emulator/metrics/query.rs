//! The queries that are understood: a metric with labels, over a range, or as a subquery.
//!
//! They are those that gpuscale sends, and the plain ones that a person types. Anything else is an error and never a
//! wrong answer.

use std::str::FromStr as _;

use thiserror::Error;

use crate::api::duration::HumanDuration;
use crate::policy::config::Millis;

use super::history::LabelSet;

/// Deepest nesting of parentheses.
const MOST_NESTED: usize = 16;

/// Most steps of a subquery, as Prometheus bounds them.
const MOST_STEPS: Millis = 11_000;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The newest sample of each series.
    Instant(Selector),
    /// All samples of this many ms.
    Range(Selector, Millis),
    /// The values at steps, for so many ms in steps of so many ms.
    Subquery(Selector, Millis, Millis),
}

/// Series of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// The metric.
    pub metric: String,
    matchers: Vec<(String, Sense, String)>,
}

/// Which way a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Equal,
    Unequal,
}

/// A query that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the emulator understands `metric{{label=\"value\"}}`, with `[range]` or as a subquery, and nothing else: {problem} at \
     character {place}"
)]
pub struct QueryError {
    problem: &'static str,
    place: usize,
}

impl Selector {
    /// Whether it takes a series with these labels. A label that is not there is empty.
    #[must_use]
    pub fn takes(&self, labels: &LabelSet) -> bool {
        self.matchers.iter().all(|(name, sense, wanted)| {
            let own = labels.iter().find(|(label, _)| label == name);
            let equal = own.map_or("", |(_, value)| value.as_str()) == wanted;
            equal == (*sense == Sense::Equal)
        })
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// [`QueryError`] for everything that is not understood.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut parser = Parser { text, at: 0 };
        let query = parser.expression(0)?;
        parser.space();
        if parser.rest().is_empty() {
            Ok(query)
        } else {
            Err(parser.error("there is more"))
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, problem: &'static str) -> QueryError {
        QueryError {
            problem,
            place: self.at + 1,
        }
    }

    /// Goes past spaces, line ends and comments.
    fn space(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        self.space();
        let there = self.rest().starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn expects(&mut self, word: &'static str, problem: &'static str) -> Result<(), QueryError> {
        if self.takes(word) {
            Ok(())
        } else {
            Err(self.error(problem))
        }
    }

    fn expression(&mut self, nested: usize) -> Result<Query, QueryError> {
        if nested > MOST_NESTED {
            return Err(self.error("there are too many parentheses"));
        }
        let inner = if self.takes("(") {
            let inner = self.expression(nested + 1)?;
            self.expects(")", "a parenthesis is not closed")?;
            inner
        } else {
            Query::Instant(self.selector()?)
        };
        if !self.takes("[") {
            return Ok(inner);
        }
        let Query::Instant(selector) = inner else {
            return Err(self.error("a range of a range"));
        };
        let window_ms = self.duration()?;
        let query = if self.takes(":") {
            let step_ms = self.duration()?;
            if window_ms / step_ms > MOST_STEPS {
                return Err(self.error("a subquery of more than 11000 steps"));
            }
            Query::Subquery(selector, window_ms, step_ms)
        } else {
            Query::Range(selector, window_ms)
        };
        self.expects("]", "a range is not closed")?;
        Ok(query)
    }

    fn selector(&mut self) -> Result<Selector, QueryError> {
        let mut selector = Selector {
            metric: self.word(":").to_owned(),
            matchers: Vec::new(),
        };
        if self.takes("{") {
            while !self.takes("}") {
                let matcher = self.matcher()?;
                match (matcher.0.as_str(), matcher.1) {
                    ("__name__", Sense::Equal) if selector.metric.is_empty() => selector.metric = matcher.2,
                    ("__name__", _) => return Err(self.error("a name is not asked for like this")),
                    _ => selector.matchers.push(matcher),
                }
                if !self.takes(",") {
                    self.expects("}", "labels are not closed")?;
                    break;
                }
            }
        }
        if selector.metric.is_empty() || selector.metric.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.error("there is no name of a metric"));
        }
        Ok(selector)
    }

    fn matcher(&mut self) -> Result<(String, Sense, String), QueryError> {
        let label = self.word("").to_owned();
        if label.is_empty() {
            return Err(self.error("there is no name of a label"));
        }
        if self.takes("=~") || self.takes("!~") {
            return Err(self.error("patterns are not understood"));
        }
        let sense = if self.takes("!=") {
            Sense::Unequal
        } else {
            self.expects("=", "there is no `=`")?;
            Sense::Equal
        };
        Ok((label, sense, self.string()?))
    }

    /// Letters, digits, underscores and what else is allowed.
    fn word(&mut self, more: &str) -> &'t str {
        self.space();
        let rest = self.rest();
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Whole units joined, such as `90000ms` or `1h30m`; not zero.
    fn duration(&mut self) -> Result<Millis, QueryError> {
        let start = self.at;
        let word = self.word("");
        let bare_ms = word
            .strip_suffix("ms")
            .and_then(|digits| digits.parse::<Millis>().ok());
        let ms = bare_ms.or_else(|| HumanDuration::from_str(word).ok().map(HumanDuration::as_millis));
        ms.filter(|ms| *ms > 0).ok_or(QueryError {
            problem: "this is no duration",
            place: start + 1,
        })
    }

    /// A text between quotes, with Go's escapes.
    fn string(&mut self) -> Result<String, QueryError> {
        self.space();
        let mut characters = self.rest().char_indices();
        let Some((_, quote @ ('"' | '\'' | '`'))) = characters.next() else {
            return Err(self.error("there is no text"));
        };
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                end if end == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' if quote != '`' => {
                    let escaped = escape(&mut characters).ok_or_else(|| self.error("an unknown escape"))?;
                    text.push(escaped);
                }
                other => text.push(other),
            }
        }
        Err(self.error("a text is not closed"))
    }
}

/// What follows a backslash.
fn escape(characters: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_, letter) = characters.next()?;
    let mut code = |digits: usize| {
        let code = (0..digits).try_fold(0, |code: u32, _| {
            let (_, digit) = characters.next()?;
            Some(code * 16 + digit.to_digit(16)?)
        })?;
        char::from_u32(code)
    };
    Some(match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '\\' | '"' | '\'' => letter,
        'x' => code(2)?,
        'u' => code(4)?,
        'U' => code(8)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(metric: &str, matchers: &[(&str, Sense, &str)]) -> Selector {
        let own = |&(name, sense, value): &(&str, Sense, &str)| (name.to_owned(), sense, value.to_owned());
        Selector {
            metric: metric.to_owned(),
            matchers: matchers.iter().map(own).collect(),
        }
    }

    #[test]
    fn what_gpuscale_sends_is_understood() {
        let check = |text: &str, expected: Query| {
            assert_eq!(Query::parse(text), Ok(expected), "{text}");
        };
        let plain = || selector("up", &[]);
        check("up", Query::Instant(plain()));
        check(" ( up ) ", Query::Instant(plain()));
        check("{__name__=\"up\"}", Query::Instant(plain()));
        check("up[90000ms]", Query::Range(plain(), 90_000));
        check("up[1h30m]", Query::Range(plain(), 5_400_000));
        check("up{}[5m]", Query::Range(plain(), 300_000));
        check(
            "(up # now\n)[600000ms:15000ms]",
            Query::Subquery(plain(), 600_000, 15_000),
        );
        check(
            r#"a:b{x="1", y!='q"', z="x\"} or vector(0) #\\\n\u0007",}"#,
            Query::Instant(selector(
                "a:b",
                &[
                    ("x", Sense::Equal, "1"),
                    ("y", Sense::Unequal, "q\""),
                    ("z", Sense::Equal, "x\"} or vector(0) #\\\n\u{7}"),
                ],
            )),
        );
    }

    #[test]
    fn everything_else_is_an_error() {
        let cases = [
            "",
            "sum(up)",
            "up + up",
            "up offset 5m",
            "up[5m] offset 5m",
            "up[5m][5m]",
            "up[5]",
            "up[0s]",
            "up[5m:]",
            "up[1d:1s]",
            "up{a=~\"b\"}",
            "up{__name__=\"down\"}",
            "{a=\"b\"}",
            "up{a=\"b}",
            "up{a=\"\\q\"}",
            "up{a=\"b\" c=\"d\"}",
            "((((((((((((((((((up))))))))))))))))))",
            "(up",
            "1",
        ];
        for text in cases {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_label_that_is_not_there_is_empty() {
        let labels: LabelSet = std::sync::Arc::new(vec![("a".to_owned(), "1".to_owned())]);
        let takes = |matchers: &[(&str, Sense, &str)]| selector("up", matchers).takes(&labels);
        assert!(takes(&[("a", Sense::Equal, "1"), ("b", Sense::Equal, "")]));
        assert!(!takes(&[("a", Sense::Unequal, "1")]));
        assert!(!takes(&[("b", Sense::Equal, "1")]));
        assert!(takes(&[("b", Sense::Unequal, "1")]));
    }
}
