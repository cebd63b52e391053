//! `gpuscale check`: what is wrong, doubtful or surprising in a document, with the place and what to do.
//!
//! A policy that the API server accepts may still never scale: its query names a series that no exporter
//! emits, its threshold lies where no reading ever comes, its two averages delay each other. These faults
//! look like calm until the day of the peak. This module says them beforehand, from the text alone: it reads
//! the document strictly, parses its PromQL, knows what dcgm-exporter emits and with which labels and units,
//! and lets the policy run for a simulated day.
//!
//! Reading order: [`codes`] (every code with its explanation; one table), [`Finding`] (one place and what is
//! wrong with it), [`check`] (text in, findings out), then the groups: `policy`, `metrics`, `promql`,
//! `rehearsal`, `scenario`, `settings`, and [`guide`] (the table as a document).
//!
//! It is pure: text in, findings out. Files that a document names are asked for through [`Surroundings`],
//! which the command implements and tests can fake. It knows no terminal and draws nothing.

pub mod codes;
mod culprit;
pub mod guide;
#[cfg(feature = "source")]
pub mod live;
mod metrics;
mod page;
mod policy;
mod promql;
mod rehearsal;
mod scenario;
mod schedules;
mod series;
mod settings;
mod thresholds;

use std::ops::Range;

use crate::config::Config;

use codes::{Entry, Severity};
use page::Page;
pub use page::documents;

/// A place in a text, and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is there, in a few words.
    pub text: String,
}

/// One thing that is wrong, doubtful or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its entry in the table of codes.
    pub entry: &'static Entry,
    /// What is wrong, with the names and numbers of this document.
    pub message: String,
    /// Where.
    pub at: Label,
    /// A second place that belongs to it.
    pub also: Option<Label>,
    /// What to do.
    pub help: String,
}

impl Finding {
    /// The code, such as `GS301`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.entry.code
    }

    /// How grave it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.entry.severity
    }

    /// Replaces the default remedy.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = help.into();
        self
    }

    /// Adds a second place.
    pub(crate) fn also(&mut self, span: Range<usize>, text: impl Into<String>) -> &mut Self {
        if span != self.at.span {
            self.also = Some(Label {
                span,
                text: text.into(),
            });
        }
        self
    }
}

/// A file and what was found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The name under which it was given, or by which another document names it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What was found, in the order of the text.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// How many findings have a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity() == severity).count()
    }
}

/// The files around a document: it names them, and somebody else opens them.
pub trait Surroundings {
    /// The bytes of a file that the document `from` names by `path`, relative to itself.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, in words.
    fn bytes(&self, from: &str, path: &str) -> Result<Vec<u8>, String>;

    /// The name of such a file in reports.
    fn name(&self, from: &str, path: &str) -> String;
}

/// A document that stands alone: every file that it names is missing.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Surroundings for Alone {
    fn bytes(&self, _: &str, _: &str) -> Result<Vec<u8>, String> {
        Err("no file can be opened here".to_owned())
    }

    fn name(&self, _: &str, path: &str) -> String {
        path.to_owned()
    }
}

/// What a document is, told from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A `GpuScalePolicy`.
    Policy,
    /// A scenario of the simulator.
    Scenario,
    /// A suite of traces.
    Suite,
    /// The administrator's configuration.
    Settings,
}

/// Checks every document of a text: the text itself first, then the files that it names and that have
/// findings of their own.
///
/// `name` is how the text is called in reports and what [`Surroundings`] resolves paths against; names of
/// sources and clusters are held against `config` where there is one.
#[must_use]
pub fn check(name: &str, text: &str, around: &dyn Surroundings, config: Option<&Config>) -> Vec<Checked> {
    let mut checked = Checked {
        name: name.to_owned(),
        text: text.to_owned(),
        findings: Vec::new(),
    };
    let mut others = Vec::new();
    let parts: Vec<_> = documents(text).collect();
    if parts.is_empty() {
        checked.findings.push(empty());
    }
    for part in parts {
        let mut page = Page::new(&text[part.clone()]);
        match page.read() {
            None => {}
            Some(Kind::Policy) => policy::check(&mut page, config),
            Some(Kind::Scenario) => others.extend(scenario::check(&mut page, name, around, config)),
            Some(Kind::Suite) => scenario::check_suite(&mut page, name, around),
            Some(Kind::Settings) => settings::check(&mut page),
        }
        checked.findings.extend(page.findings_from(part.start));
    }
    checked.findings.sort_by_key(|finding| finding.at.span.start);
    let mut all = vec![checked];
    all.extend(others);
    all
}

fn empty() -> Finding {
    Finding {
        entry: &codes::documents::EMPTY,
        message: "the file holds no document".to_owned(),
        at: Label {
            span: 0..0,
            text: "nothing here but space and comments".to_owned(),
        },
        also: None,
        help: codes::documents::EMPTY.remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests;
