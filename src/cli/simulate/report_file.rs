//! `--report`: one run as a page for people.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use gpuscale::report::advice::AdviceDocument;
use gpuscale::report::html::{Input, Loop, Stretch, StretchKind, Subject, Timeline, page};
use gpuscale::report::json::Document;
use gpuscale::simulator::history::{self, Derived};
use gpuscale::simulator::open_loop::Advice;

use super::trace_file::{only_run, traced, untraced};
use crate::cli::sweep::Prepared;
use crate::error::Error;

/// Runs the one policy of the one case, writes its page to `path` and, if wanted, its trace to `trace`.
pub(super) fn reported(prepared: &[Prepared], path: &Path, trace: Option<&Path>) -> Result<Document, Error> {
    let (one, judged) = only_run(prepared, "--report")?;
    let fault = |source: io::Error| Error::Write {
        what: "report",
        path: path.to_owned(),
        source,
    };
    // Before the run, so that a folder that is not there is told at once.
    let mut file = File::create(path).map_err(fault)?;
    let mut timeline = Timeline::new(&judged.config, one.case.spec.gpus_per_node, Loop::Closed);
    let document = match trace {
        Some(trace) => traced(prepared, trace, &mut timeline)?,
        None => untraced(one, judged, &mut timeline),
    };
    let page = page(&Input {
        subject: Subject::Scorecard(&document),
        timeline: &timeline,
        stretches: &one
            .derived
            .as_ref()
            .map(|(_, derived)| stretches(derived))
            .unwrap_or_default(),
    });
    file.write_all(page.as_bytes()).map_err(fault)?;
    Ok(document)
}

/// Where the demand is not what the recording shows.
fn stretches(derived: &Derived) -> Vec<Stretch> {
    let of = |all: &[history::Stretch], kind| -> Vec<Stretch> {
        let stretches = all.iter().map(|stretch| Stretch {
            from_ms: stretch.from_ms,
            to_ms: stretch.to_ms,
            kind,
        });
        stretches.collect()
    };
    let mut stretches = of(&derived.censored, StretchKind::Censored);
    stretches.extend(of(&derived.unknown, StretchKind::Unknown));
    stretches
}

/// The page of what a policy said to a history.
pub(super) fn advised(
    document: &AdviceDocument,
    advice: &Advice,
    timeline: &Timeline<'_>,
    path: &Path,
) -> Result<(), Error> {
    let page = page(&Input {
        subject: Subject::Advice(document),
        timeline,
        stretches: &advice.derived.as_ref().map(stretches).unwrap_or_default(),
    });
    fs::write(path, page).map_err(|source| Error::Write {
        what: "report",
        path: path.to_owned(),
        source,
    })
}
