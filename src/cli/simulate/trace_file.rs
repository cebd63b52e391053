//! `--trace`: every decision of one run, written while it runs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use gpuscale::report::json::{Document, ResultRow};
use gpuscale::report::trace::{End, Line};
use gpuscale::simulator::closed_loop::Tick;
use gpuscale::simulator::scenario_run::headrooms;

use crate::cli::sweep::Prepared;
use crate::error::Error;

/// Runs the one policy of the one case under observation, and the references beside it.
pub(super) fn traced(prepared: &[Prepared], path: &Path) -> Result<Document, Error> {
    let [one] = prepared else {
        return Err(too_many("scenario"));
    };
    let ([judged], 1) = (one.judged.as_slice(), one.seeds.end - one.seeds.start) else {
        return Err(too_many("policy and one seed"));
    };
    let fault = |source: io::Error| {
        if path.as_os_str() == "-" {
            Error::Output(source)
        } else {
            Error::Write {
                what: "trace",
                path: path.to_owned(),
                source,
            }
        }
    };
    let mut lines = Lines::to(path).map_err(fault)?;
    let mut watch = |tick: &Tick<'_>| lines.write(&Line::new(tick, &judged.config));
    let run = one.case.policy_row(judged, one.seeds.start, &mut watch);
    lines.write(&End::new(run.ticks, run.checksum));
    lines.finish().map_err(fault)?;
    let price = one.price();
    let references = one.case.optima(&headrooms(&one.judged));
    let references = references.into_iter().chain(one.case.peers());
    let rows = std::iter::once(ResultRow::policy(&run, price))
        .chain(references.map(|row| ResultRow::new(&row, price)))
        .collect();
    Ok(one.document(rows))
}

fn too_many(what: &str) -> Error {
    Error::Usage(format!("`--trace` is of one run; name one {what}"))
}

/// JSON lines to a file or standard output. A run cannot be stopped by its observer, so the first error is kept and
/// the rest of the lines is dropped.
struct Lines {
    out: BufWriter<Box<dyn Write>>,
    result: io::Result<()>,
}

impl Lines {
    fn to(path: &Path) -> io::Result<Self> {
        let out: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(anstream::stdout().lock())
        } else {
            Box::new(File::create(path)?)
        };
        Ok(Self {
            out: BufWriter::new(out),
            result: Ok(()),
        })
    }

    fn write(&mut self, line: &impl serde::Serialize) {
        if self.result.is_ok() {
            self.result = serde_json::to_writer(&mut self.out, line)
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"));
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.result?;
        self.out.flush()
    }
}
