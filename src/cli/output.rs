//! Standard output and the terminal behind it.
//!
//! Everything goes through one locked writer that strips terminal codes where they are not wanted (a pipe,
//! `NO_COLOR`, `TERM=dumb`), and an error of that writer ends the command, quietly if the reader went away.

use std::io::{self, IsTerminal, Write};

use gpuscale::report::table::{Columns, Ink, Look};
use serde::Serialize;

use crate::error::Error;

/// Width of a table where there is no terminal to ask.
const DEFAULT_WIDTH: u16 = 120;

/// What is known of the terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    width: u16,
    ink: Ink,
}

impl Terminal {
    /// Looks at standard output; `width` wins over what it says.
    pub(super) fn new(width: Option<u16>) -> Self {
        let seen = || comfy_table::Table::new().width();
        Self {
            width: width.or_else(seen).unwrap_or(DEFAULT_WIDTH),
            ink: match anstream::AutoStream::choice(&io::stdout()) {
                anstream::ColorChoice::Never => Ink::Plain,
                _ => Ink::Terminal,
            },
        }
    }

    /// How a table should look here.
    pub(super) fn look(&self, extent: Extent) -> Look {
        Look {
            columns: match extent {
                Extent::Fitting => Columns::Within(self.width),
                Extent::Wide => Columns::All,
            },
            ink: self.ink,
        }
    }

    /// Characters of a line.
    pub(super) fn width(&self) -> u16 {
        self.width
    }

    /// Whether terminal codes may be used.
    pub(super) fn ink(&self) -> Ink {
        self.ink
    }

    /// Breaks a sentence into lines that fit, at spaces that are not inside backticks.
    pub(super) fn wrapped(&self, sentence: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut quoted = false;
        let spaces = |c: char| {
            quoted ^= c == '`';
            c == ' ' && !quoted
        };
        for word in sentence.split(spaces) {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= self.width.into() => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.join("\n")
    }
}

/// How much of a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// What fits.
    Fitting,
    /// Everything.
    Wide,
}

/// Whether progress may be drawn on standard error.
pub(super) fn shows_progress() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !dumb && !plain
}

/// Prints a text and a line end if it has none.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = anstream::stdout().lock();
    write_text(&mut stdout, text)?;
    Ok(())
}

/// Prints a text on standard error, for when standard output belongs to something else.
pub(super) fn print_beside(text: &str) -> Result<(), Error> {
    let mut stderr = anstream::stderr().lock();
    write_text(&mut stderr, text)?;
    Ok(())
}

fn write_text(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// A value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Output(error.into()))
}
