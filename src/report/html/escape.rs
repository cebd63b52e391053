//! Foreign text in a page: escaped, always.
//!
//! Names of policies, series and files come from documents that somebody else wrote. They enter the page through
//! [`text`] or inside [`json`], and nowhere else.

/// Text for the content of an element or a quoted attribute.
pub(super) fn text(foreign: &str) -> String {
    let mut safe = String::with_capacity(foreign.len());
    for c in foreign.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters are not allowed in HTML, and some end lines in places where none should.
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// The same, with what stands between backticks as code.
pub(super) fn prose(foreign: &str) -> String {
    let safe = text(foreign);
    let parts: Vec<&str> = safe.split('`').collect();
    if parts.len().is_multiple_of(2) {
        // One backtick is alone: it is part of a name, and there is no telling where code begins.
        return safe;
    }
    let mut prose = String::with_capacity(safe.len());
    for (number, part) in parts.into_iter().enumerate() {
        if number % 2 == 0 {
            prose.push_str(part);
        } else {
            prose.push_str("<code>");
            prose.push_str(part);
            prose.push_str("</code>");
        }
    }
    prose
}

/// JSON for the content of a `script` element, where `</script>` and `<!--` would end or change it.
pub(super) fn json(document: &str) -> String {
    document
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        for (foreign, safe) in [
            ("a100", "a100"),
            (
                "<img src=x onerror=\"f('&')\">",
                "&lt;img src=x onerror=&quot;f(&#39;&amp;&#39;)&quot;&gt;",
            ),
            ("bell\u{7}", "bell\u{fffd}"),
        ] {
            assert_eq!(text(foreign), safe);
        }
    }

    #[test]
    fn backticks_are_code() {
        for (foreign, safe) in [
            ("`a<b` pays", "<code>a&lt;b</code> pays"),
            ("plain", "plain"),
            ("odd ` one", "odd ` one"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ] {
            assert_eq!(prose(foreign), safe);
        }
    }

    #[test]
    fn json_cannot_end_its_element() {
        let foreign = serde_json::to_string("</script><!-- & \u{2028}").unwrap();
        let safe = json(&foreign);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "{safe}");
        assert_eq!(
            serde_json::from_str::<String>(&safe).unwrap(),
            serde_json::from_str::<String>(&foreign).unwrap()
        );
    }
}
