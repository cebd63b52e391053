//! The words of an expression, with their places.

use std::ops::Range;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, a keyword, a number or a duration.
    Word,
    /// A quoted text; without its end where there is none.
    Text,
    /// A bracket or an operator.
    Sign,
}

/// A word or sign of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Bytes of the expression.
    pub(super) range: Range<usize>,
}

/// Cuts an expression into words; comments and space are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.');
        let (kind, length) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '#' => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            quote @ ('"' | '\'' | '`') => (Kind::Text, quoted(rest, quote)),
            c if word(c) => (Kind::Word, rest.find(|c| !word(c)).unwrap_or(rest.len())),
            c => {
                let two = rest
                    .get(..2)
                    .is_some_and(|two| matches!(two, ">=" | "<=" | "==" | "!=" | "=~" | "!~"));
                (Kind::Sign, if two { 2 } else { c.len_utf8() })
            }
        };
        tokens.push(Token {
            kind,
            range: at..at + length,
        });
        at += length;
    }
    tokens
}

/// Length of a quoted text; up to the end of the expression where the quote is not closed.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The bracket or quote that has no partner, and what to say about it.
pub(super) fn unbalanced(tokens: &[Token], text: &str) -> Option<(Range<usize>, &'static str)> {
    let mut open: Vec<(&str, Range<usize>)> = Vec::new();
    for token in tokens {
        let written = &text[token.range.clone()];
        let partner = match written {
            "(" | "{" | "[" => {
                open.push((written, token.range.clone()));
                continue;
            }
            ")" => "(",
            "}" => "{",
            "]" => "[",
            _ if token.kind == Kind::Text && !closed(written) => {
                return Some((token.range.clone(), "this quote is never closed"));
            }
            _ => continue,
        };
        match open.pop() {
            Some((opened, _)) if opened == partner => {}
            Some((_, range)) => return Some((range, "this bracket is never closed")),
            None => return Some((token.range.clone(), "this bracket was never opened")),
        }
    }
    open.pop()
        .map(|(_, range)| (range, "this bracket is never closed"))
}

fn closed(text: &str) -> bool {
    let mut quotes = text.chars();
    let first = quotes.next();
    text.len() > 1 && quoted(text, first.unwrap_or('"')) == text.len() && quotes.next_back() == first
}

/// The last range such as `[5m]`.
pub(super) fn range(tokens: &[Token], text: &str) -> Option<Range<usize>> {
    let is = |sign: &'static str| move |token: &&Token| text[token.range.clone()] == *sign;
    let opened = tokens.iter().rfind(is("["))?;
    let closed = tokens.iter().rfind(is("]"))?;
    (opened.range.start < closed.range.end).then_some(opened.range.start..closed.range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|token| &text[token.range]).collect()
    }

    #[test]
    fn an_expression_is_cut_into_words() {
        assert_eq!(
            words("sum by (a) (vllm:x{b=~\"c d\"}[5m:30s]) >= bool 1.5 # why"),
            [
                "sum", "by", "(", "a", ")", "(", "vllm:x", "{", "b", "=~", "\"c d\"", "}", "[", "5m:30s",
                "]", ")", ">=", "bool", "1.5"
            ]
        );
        assert_eq!(words("{a='it\\'s'}"), ["{", "a", "=", "'it\\'s'", "}"]);
    }

    #[test]
    fn brackets_and_quotes_without_partner_are_found() {
        let check = |text: &str, expected: Option<&str>| {
            let found = unbalanced(&tokens(text), text).map(|(range, _)| &text[range]);
            assert_eq!(found, expected, "{text}");
        };
        check("sum(x)", None);
        check("sum(rate(x[5m])", Some("("));
        check("sum(x))", Some(")"));
        check("x{a=\"b}", Some("\"b}"));
        check("x{a=\"b\"", Some("{"));
        check("sum(x{a=\"b\")", Some("{"));
        check("\"", Some("\""));
    }

    proptest! {
        /// Whatever is written, tokens lie in order on the borders of characters.
        #[test]
        fn tokens_tile_the_text(text in "\\PC{0,60}") {
            let mut end = 0;
            for token in tokens(&text) {
                prop_assert!(token.range.start >= end && token.range.end > token.range.start);
                prop_assert!(text.get(token.range.clone()).is_some());
                end = token.range.end;
            }
            prop_assert!(end <= text.len());
            let _ = unbalanced(&tokens(&text), &text);
            let _ = range(&tokens(&text), &text);
        }
    }
}
