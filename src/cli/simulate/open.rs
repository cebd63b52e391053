//! `--loop open`: what policies would have said to a history.

use std::path::Path;

use gpuscale::report::advice::{AdviceDocument, Origin, lines};
use gpuscale::report::html::{Loop, Timeline};
use gpuscale::report::trace::{End, Line};
use gpuscale::report::{self, explain};
use gpuscale::simulator::closed_loop::{Tick, Unwatched, Watch};
use gpuscale::simulator::open_loop::{Advice, open_loop};
use gpuscale::simulator::scenario_run::Judged;
use jiff::Timestamp;

use super::Simulate;
use super::prepare::Replay;
use super::report_file;
use super::trace_file::{self, Lines};
use crate::cli::Format;
use crate::cli::output::{self, Terminal};
use crate::error::Error;

/// Runs every policy over one history and prints what they said.
pub(super) fn run(args: &Simulate, replay: &Replay, terminal: &Terminal) -> Result<(), Error> {
    refuse(args)?;
    if let Some(time) = args.explain {
        return output::print(&explained(replay, time)?);
    }
    let mut said = Vec::new();
    let mut timeline = None;
    if let Some(path) = &args.report {
        let judged = only_policy(replay, "--report")?;
        let mut seen = Timeline::new(&judged.config, replay.declared.gpus_per_node, Loop::Open);
        let advice = match &args.trace {
            None => open_loop(
                replay.history(judged)?,
                &judged.config,
                &replay.declared,
                &mut seen,
            ),
            Some(trace) => traced(replay, trace, &mut seen)?,
        };
        said.push((judged.name.clone(), advice));
        timeline = Some((path, seen));
    } else {
        for judged in &replay.judged {
            let history = replay.history(judged)?;
            let advice = match &args.trace {
                None => open_loop(history, &judged.config, &replay.declared, &mut Unwatched),
                Some(path) => traced(replay, path, &mut Unwatched)?,
            };
            said.push((judged.name.clone(), advice));
        }
    }
    let Some(first) = replay.judged.first() else {
        return Ok(());
    };
    let origin = Origin {
        name: &replay.name,
        recording: &replay.recording,
    };
    let history = replay.history(first)?;
    let document = AdviceDocument::new(origin, &replay.metrics, &history, &replay.declared, &said);
    if let (Some((path, timeline)), Some((_, advice))) = (&timeline, said.first()) {
        report_file::advised(&document, advice, timeline, path)?;
    }
    let text = match args.output.format {
        Format::Json => output::json(&document)?,
        Format::Table => {
            let lines = lines(&document);
            let wrapped: Vec<String> = lines.iter().map(|line| terminal.wrapped(line)).collect();
            wrapped.join("\n")
        }
    };
    if trace_file::to_stdout(args) {
        output::print_beside(&text)
    } else {
        output::print(&text)
    }
}

/// What only makes sense where decisions have an effect.
fn refuse(args: &Simulate) -> Result<(), Error> {
    let used = [
        (!args.gates.is_empty(), "--fail-if"),
        (args.compare.is_some(), "--compare"),
        (args.seeds.is_some(), "--seeds"),
    ];
    match used.iter().find(|(used, _)| *used) {
        Some((_, flag)) => Err(Error::Usage(format!(
            "`{flag}` is about costs, and in the open loop nothing that the policy says has an effect; leave it out, or \
             use `--loop closed`"
        ))),
        None => Ok(()),
    }
}

fn traced(replay: &Replay, path: &Path, watch: &mut impl Watch) -> Result<Advice, Error> {
    let judged = only_policy(replay, "--trace")?;
    let mut lines = Lines::to(path)?;
    let mut both = |tick: &Tick<'_>| {
        lines.write(&Line::new(tick, &judged.config));
        watch.tick(tick);
    };
    let history = replay.history(judged)?;
    let advice = open_loop(history, &judged.config, &replay.declared, &mut both);
    lines.write(&End::new(advice.ticks, advice.checksum));
    lines.finish()?;
    Ok(advice)
}

fn explained(replay: &Replay, time: Timestamp) -> Result<String, Error> {
    let judged = only_policy(replay, "--explain")?;
    let mut words = None;
    let mut watch = |tick: &Tick<'_>| {
        if words.is_none() && tick.now_ms >= time.as_millisecond() {
            let explanation = explain(tick.evaluation, &judged.config);
            words = Some(format!("{}: {explanation}", report::trace::time(tick.now_ms)));
        }
    };
    let advice = open_loop(
        replay.history(judged)?,
        &judged.config,
        &replay.declared,
        &mut watch,
    );
    words.ok_or_else(|| trace_file::no_decision(time, advice.span_ms))
}

fn only_policy<'a>(replay: &'a Replay, flag: &str) -> Result<&'a Judged, Error> {
    match replay.judged.as_slice() {
        [judged] => Ok(judged),
        _ => Err(Error::Usage(format!("`{flag}` is of one run; name one policy"))),
    }
}
