//! `gpuscale replay`: the decisions of a journal, made again.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use gpuscale::journal::{Policy, Replay, Replayer, Told};
use gpuscale::report::replay::ReplayDocument;
use gpuscale::report::trace::Line;

use super::journal_dir::Directory;
use super::output::{self, Terminal};
use super::simulate::Lines;
use super::{Format, FormatArgs, input};
use crate::error::Error;

pub(super) const ABOUT: &str = "\
Makes every decision of a journal again, from what it was made from, and compares it with the record.

The journal of the live loop holds what was seen at each tick, and checksums of the decision and of what was \
remembered. A replay runs the recorded policy over it: either every decision is byte-equal, or the first that \
is not is shown. Where the oldest part is not kept any more, it begins where the windows are whole again.

With `--policy` another policy is asked beside the recorded one: where they differ first, how often, and the \
node-hours that each asked for. It must have no other signals, since only those were recorded. This is an open \
loop: the pool is the recorded one, whatever the other policy would have made of it.";

pub(super) const EXAMPLES: &str = "\
Examples:
  # Prove every decision
  gpuscale replay journal/a100

  # What would a lower threshold have said?
  gpuscale replay journal/a100 --policy mine.yaml

  # Every decision as a JSON line
  gpuscale replay journal/a100 --trace - | jq 'select(.from != .to)'";

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Journals: directories of segments, or segments in their order
    #[arg(value_name = "FILE|DIR", required = true)]
    journals: Vec<PathBuf>,

    /// Another policy, to be asked beside the recorded one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Write every decision as a JSON line, the other policy's if there is one; with `-` to standard output, and the
    /// result to standard error
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    #[command(flatten)]
    output: FormatArgs,
}

pub(super) fn run(args: &ReplayArgs, terminal: &Terminal) -> Result<(), Error> {
    let other = args.policy.as_deref().map(other_policy).transpose()?;
    let files = files(&args.journals)?;
    let mut lines = args.trace.as_deref().map(Lines::to).transpose()?;
    let mut replayer = Replayer::new(other);
    for path in &files {
        let file = File::open(path).map_err(|source| open_fault(path, source))?;
        let mut watch = |told: &Told<'_>| {
            if let Some(lines) = &mut lines {
                lines.write(&Line::of(told.now_ms, told.ready, told.evaluation, told.config));
            }
        };
        replayer.segment(&input::file_name(path), BufReader::new(file), &mut watch)?;
    }
    lines.map_or(Ok(()), Lines::finish)?;
    let replay = replayer.finish();
    let document = ReplayDocument::new(&replay);
    let text = match args.output.format {
        Format::Json => output::json(&document)?,
        Format::Table => wrapped(&document, terminal),
    };
    if args.trace.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        output::print_beside(&text)?;
    } else {
        output::print(&text)?;
    }
    verdict(&replay)
}

/// Each line at the terminal's width; the lines of an explanation keep their indent.
fn wrapped(document: &ReplayDocument, terminal: &Terminal) -> String {
    let lines = document.lines();
    let lines = lines.iter().flat_map(|line| line.lines());
    let wrapped: Vec<String> = lines.map(|line| terminal.wrapped(line)).collect();
    wrapped.join("\n")
}

fn verdict(replay: &Replay) -> Result<(), Error> {
    if replay.differing > 0 {
        return Err(Error::Findings);
    }
    let damaged = replay.faults.iter().find(|fault| !fault.error.cause.is_cut());
    if let Some(fault) = damaged {
        return Err(Error::Usage(format!(
            "the journal could be read only in part: `{}`, {}",
            fault.segment, fault.error
        )));
    }
    if replay.ticks == 0 {
        return Err(Error::Usage("there is no tick in the journal".to_owned()));
    }
    Ok(())
}

fn other_policy(path: &Path) -> Result<Policy, Error> {
    let judged = input::policy_file(path)?;
    Ok(Policy {
        name: judged.name,
        config: judged.config,
        queries: judged.queries,
    })
}

/// The segments of all journals, in their order.
fn files(journals: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in journals {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let segments = Directory::new(path)
            .files()
            .map_err(|source| open_fault(path, source))?;
        if segments.is_empty() {
            return Err(Error::Usage(format!(
                "`{}` holds no segments of a journal, which are called like `0000000000.gsj`; name the directory of one \
                 policy",
                path.display()
            )));
        }
        files.extend(segments.into_iter().map(|(_, path)| path));
    }
    Ok(files)
}

fn open_fault(path: &Path, source: std::io::Error) -> Error {
    Error::Open {
        what: "journal",
        path: path.to_owned(),
        source,
    }
}
