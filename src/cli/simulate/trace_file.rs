//! `--trace` and `--explain`: the decisions of one run, all as JSON lines or one in words.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use gpuscale::report::json::{Document, ResultRow};
use gpuscale::report::trace::{End, Line};
use gpuscale::report::{self, explain};
use gpuscale::simulator::closed_loop::{Tick, Watch};
use gpuscale::simulator::scenario_run::{Judged, PolicyRow, headrooms};
use jiff::Timestamp;

use super::Simulate;
use crate::cli::sweep::Prepared;
use crate::error::Error;

/// Runs the one policy of the one case under observation, also by `watch`, and the references beside it.
pub(super) fn traced(prepared: &[Prepared], path: &Path, watch: &mut impl Watch) -> Result<Document, Error> {
    let (one, judged) = only_run(prepared, "--trace")?;
    let mut lines = Lines::to(path)?;
    let mut both = |tick: &Tick<'_>| {
        lines.write(&Line::new(tick, &judged.config));
        watch.tick(tick);
    };
    let run = one.case.policy_row(judged, one.seeds.start, &mut both);
    lines.write(&End::new(run.ticks, run.checksum));
    lines.finish()?;
    Ok(document(one, &run))
}

/// The same without a trace.
pub(super) fn untraced(one: &Prepared, judged: &Judged, watch: &mut impl Watch) -> Document {
    document(one, &one.case.policy_row(judged, one.seeds.start, watch))
}

/// A run's row with the references beside it.
fn document(one: &Prepared, run: &PolicyRow) -> Document {
    let price = one.price();
    let references = one.case.optima(&headrooms(&one.judged));
    let references = references.into_iter().chain(one.case.peers());
    let rows = std::iter::once(ResultRow::policy(run, price))
        .chain(references.map(|row| ResultRow::new(&row, price)))
        .collect();
    one.document(rows)
}

/// The first decision at `time` or after it, in words.
pub(super) fn explained(prepared: &[Prepared], time: Timestamp) -> Result<String, Error> {
    let (one, judged) = only_run(prepared, "--explain")?;
    let mut words = None;
    let mut watch = |tick: &Tick<'_>| {
        if words.is_none() && tick.now_ms >= time.as_millisecond() {
            let explanation = explain(tick.evaluation, &judged.config);
            words = Some(format!("{}: {explanation}", report::trace::time(tick.now_ms)));
        }
    };
    one.case.policy_row(judged, one.seeds.start, &mut watch);
    let demand = &one.case.demand;
    let span_ms = (demand.start_ms(), demand.start_ms() + demand.duration_ms());
    words.ok_or_else(|| no_decision(time, span_ms))
}

/// The time asked for is not in the recording.
pub(super) fn no_decision(time: Timestamp, (start_ms, end_ms): (i64, i64)) -> Error {
    Error::Usage(format!(
        "no decision at or after {time}; the recording is from {} to {}",
        report::trace::time(start_ms),
        report::trace::time(end_ms)
    ))
}

/// Whether the trace goes to standard output, so that the result must not.
pub(super) fn to_stdout(args: &Simulate) -> bool {
    args.trace.as_ref().is_some_and(|path| path.as_os_str() == "-")
}

/// The one scenario and its one policy, with one seed.
pub(super) fn only_run<'a>(
    prepared: &'a [Prepared],
    flag: &str,
) -> Result<(&'a Prepared, &'a Judged), Error> {
    let too_many = |what: &str| Error::Usage(format!("`{flag}` is of one run; name one {what}"));
    let [one] = prepared else {
        return Err(too_many("scenario"));
    };
    match (one.judged.as_slice(), one.seeds.end - one.seeds.start) {
        ([judged], 1) => Ok((one, judged)),
        _ => Err(too_many("policy and one seed")),
    }
}

/// JSON lines to a file or standard output. A run cannot be stopped by its observer, so the first error is kept and
/// the rest of the lines is dropped.
pub(in crate::cli) struct Lines {
    path: PathBuf,
    out: BufWriter<Box<dyn Write>>,
    result: io::Result<()>,
}

impl Lines {
    pub(in crate::cli) fn to(path: &Path) -> Result<Self, Error> {
        let out: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(anstream::stdout().lock())
        } else {
            Box::new(File::create(path).map_err(|source| fault(path, source))?)
        };
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(out),
            result: Ok(()),
        })
    }

    pub(in crate::cli) fn write(&mut self, line: &impl serde::Serialize) {
        if self.result.is_ok() {
            self.result = serde_json::to_writer(&mut self.out, line)
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"));
        }
    }

    pub(in crate::cli) fn finish(mut self) -> Result<(), Error> {
        let result = self.result.and_then(|()| self.out.flush());
        result.map_err(|source| fault(&self.path, source))
    }
}

fn fault(path: &Path, source: io::Error) -> Error {
    if path.as_os_str() == "-" {
        Error::Output(source)
    } else {
        Error::Write {
            what: "trace",
            path: path.to_owned(),
            source,
        }
    }
}
