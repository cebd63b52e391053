//! `--report`: one run as a page for people.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use gpuscale::report::html::{Input, Loop, Timeline, page};
use gpuscale::report::json::Document;

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
        document: &document,
        timeline: &timeline,
        stretches: &[],
    });
    file.write_all(page.as_bytes()).map_err(fault)?;
    Ok(document)
}
