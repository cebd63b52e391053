//! A series as people and tools write it: `name{label="value"}`.
//!
//! This is the form of the exposition format and of a legend in Grafana, where it heads the column of a table. There a
//! name may stand inside the braces too, as the label `__name__` or, for names with other characters than usual, in
//! quotes by itself.

use super::labels::{Labels, NAME_LABEL};
use super::read_error::Cause;
use super::time::shown;

/// The most labels of a series; a device of dcgm-exporter has ten to forty.
pub(super) const MAX_LABELS: usize = 1000;

/// Whether a text is meant as a series and not as the name of a machine.
pub(super) fn is_series(text: &str) -> bool {
    text.trim_end().ends_with('}') && text.contains('{')
}

/// Reads `name`, `name{…}` or `{…}`; a series without a name gets that of `metric`.
///
/// # Errors
///
/// [`Cause::Syntax`], [`Cause::DuplicateLabel`], [`Cause::TooManyLabels`].
pub(super) fn parse(text: &str, metric: Option<&str>) -> Result<Labels, Cause> {
    let (name, rest) = match text.find('{') {
        Some(brace) => (text[..brace].trim(), Some(&text[brace + 1..])),
        None => (text.trim(), None),
    };
    if name.contains(['"', '}', '=', ',']) || name.contains(char::is_whitespace) {
        return Err(syntax("the name of a metric", name));
    }
    let mut pairs = match rest {
        Some(rest) => braces(rest)?,
        None => Vec::new(),
    };
    let named = !name.is_empty() || pairs.iter().any(|(label, _)| label == NAME_LABEL);
    if let (false, Some(metric)) = (named, metric) {
        pairs.push((NAME_LABEL.to_owned(), metric.to_owned()));
    }
    labels(name, pairs)
}

/// Labels of a series, each once.
///
/// # Errors
///
/// [`Cause::DuplicateLabel`].
pub(super) fn labels(name: &str, pairs: Vec<(String, String)>) -> Result<Labels, Cause> {
    Labels::new(name, pairs).map_err(|label| Cause::DuplicateLabel { label })
}

/// What stands after the opening brace: `a="1", b="2"}`, a comma after the last one or not.
fn braces(mut rest: &str) -> Result<Vec<(String, String)>, Cause> {
    let mut pairs = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return match after.trim() {
                "" => Ok(pairs),
                more => Err(syntax("nothing after `}`", more)),
            };
        }
        if pairs.len() == MAX_LABELS {
            return Err(Cause::TooManyLabels { limit: MAX_LABELS });
        }
        let (pair, after) = pair(rest)?;
        pairs.push(pair);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err(syntax("`,` or `}`", rest)),
        }
    }
}

/// `label="value"`, `"label"="value"`, or the name of the metric in quotes.
fn pair(rest: &str) -> Result<((String, String), &str), Cause> {
    let (label, after) = if rest.starts_with('"') {
        let (label, after) = quoted(rest)?;
        if !after.trim_start().starts_with('=') {
            return Ok(((NAME_LABEL.to_owned(), label), after));
        }
        (label, after)
    } else {
        let end = rest.find(['=', ',', '}', '"', '{']).unwrap_or(rest.len());
        (rest[..end].trim().to_owned(), &rest[end..])
    };
    let value = after.trim_start().strip_prefix('=');
    match value {
        Some(value) if !label.is_empty() => {
            let (value, after) = quoted(value.trim_start())?;
            Ok(((label, value), after))
        }
        _ => Err(syntax("`label=\"value\"`", rest)),
    }
}

/// A text in quotes, and what stands after it.
fn quoted(rest: &str) -> Result<(String, &str), Cause> {
    let inner = rest
        .strip_prefix('"')
        .ok_or_else(|| syntax("a value in quotes", rest))?;
    let mut text = String::new();
    let mut letters = inner.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((text, &inner[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => text.push(escaped),
                _ => return Err(syntax("`\\\\`, `\\\"` or `\\n`", &inner[at..])),
            },
            other => text.push(other),
        }
    }
    Err(syntax("a closing quote", ""))
}

fn syntax(expected: &'static str, found: &str) -> Cause {
    Cause::Syntax {
        expected,
        found: shown(found.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_a_series_is_read() {
        let check = |text: &str, wanted: &str| {
            let found = parse(text, None).map_or_else(|cause| cause.to_string(), |labels| labels.to_string());
            assert_eq!(found, wanted, "{text}");
        };
        check("up", "up");
        check(" up { } ", "up");
        check(r#"m{b="2",a="1"}"#, r#"m{a="1",b="2"}"#);
        check(r#"m{ a = "1" , b="2", }"#, r#"m{a="1",b="2"}"#);
        check(r#"{__name__="m", a="x,y}"}"#, r#"m{a="x,y}"}"#);
        check(
            r#"{"gpu.util", a="k=v", "b.c"="1"}"#,
            r#"gpu.util{a="k=v",b.c="1"}"#,
        );
        check(r#"m{a="\"\\\n"}"#, r#"m{a="\"\\\n"}"#);
        check(r#"job:gpu:avg5m{a=""}"#, "job:gpu:avg5m");
        check(r#"{a="1"}"#, r#"{a="1"}"#);
        check(r#"m{a="1"} x"#, "expected nothing after `}`, found `x`");
        check(r#"m{a="1" b="2"}"#, r#"expected `,` or `}`, found `b="2"}`"#);
        check(r#"m{a=1}"#, "expected a value in quotes, found `1}`");
        check(r#"m{="1"}"#, r#"expected `label="value"`, found `="1"}`"#);
        check(r#"m{a="1"#, "expected a closing quote, found ``");
        check(r#"m{a="1""#, "expected `,` or `}`, found ``");
        check(r#"m{a="\q"}"#, r#"expected `\\`, `\"` or `\n`, found `\q"}`"#);
        check(r#"m{a="1",a="2"}"#, "label `a` occurs twice");
        check(r#"n m{a="1"}"#, "expected the name of a metric, found `n m`");
    }

    #[test]
    fn a_series_without_a_name_gets_the_one_that_is_given() {
        let named = |text| parse(text, Some("given")).unwrap().to_string();
        assert_eq!(named(r#"{a="1"}"#), r#"given{a="1"}"#);
        assert_eq!(named(r#"own{a="1"}"#), r#"own{a="1"}"#);
        assert_eq!(named(r#"{__name__="own"}"#), "own");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(pairs in prop::collection::btree_map("[a-z_.]{1,5}", ".{0,8}", 0..5)) {
            let name = "m";
            let labels = Labels::new(name, pairs).unwrap();
            // Names with a dot are quoted by those who write them; read without quotes they are the same.
            prop_assert_eq!(parse(&labels.to_string(), None).unwrap(), labels);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z{}=\",\\\\ é\n]{0,40}") {
            let _ = parse(&text, None);
        }
    }
}
