//! The table of codes as a document: the sections of `deploy/guide/findings.md`, and what `--explain` prints.

use std::fmt::Write;

use super::codes::{self, Entry, Severity};

/// Where the document stands in the repository.
pub const PATH: &str = "deploy/guide/findings.md";

/// The whole document, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("# Findings of `gpuscale check`\n\n");
    paragraph(
        &mut text,
        "Generated from the table in `src/check/codes/` by `gpuscale check --codes`; do not edit.",
    );
    paragraph(
        &mut text,
        "An **error** cannot be used. A **warning** works and most likely does not do what its writer wants. A \
         **note** is worth knowing, and often meant so. `gpuscale check --explain GS301` prints one section.",
    );
    text.truncate(text.trim_end().len() + 1);
    for group in &codes::GROUPS {
        let _ = write!(text, "\n## {}\n", group.title);
        for entry in group.entries {
            let _ = write!(text, "\n{}", section(entry));
        }
    }
    text
}

/// The section of one code, as Markdown.
#[must_use]
pub fn section(entry: &Entry) -> String {
    let mut text = format!(
        "### {}\n\n**{}: {}**\n\n",
        entry.code, entry.severity, entry.title
    );
    paragraph(&mut text, entry.explanation);
    paragraph(&mut text, &format!("What to do: {}.", entry.remedy));
    let _ = write!(text, "```yaml\n{}\n```\n", entry.example);
    text
}

/// The link to the section of a code, relative to the repository.
#[must_use]
pub fn link(entry: &Entry) -> String {
    format!("{PATH}#{}", entry.code.to_ascii_lowercase())
}

/// Adds a paragraph in lines of at most 110 characters.
fn paragraph(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 110 {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text.push_str("\n\n");
}

/// How many findings there were, in words: `3 errors, 1 warning in 2 files`.
#[must_use]
pub fn summary(counts: [(Severity, usize); 3], files: usize) -> String {
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let found: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| plural(count, &severity.to_string()))
        .collect();
    let found = if found.is_empty() {
        "no findings".to_owned()
    } else {
        found.join(", ")
    };
    format!("{found} in {}", plural(files, "file"))
}
