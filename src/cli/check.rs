//! `gpuscale check`: opens files, lets the library find what is wrong, and draws it into their text.

#[cfg(feature = "source")]
mod live;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use gpuscale::check::codes::{self, Severity};
use gpuscale::check::{self, Checked, Finding, Surroundings, guide};
use gpuscale::config::Config;
use gpuscale::report::table::Ink;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde::Serialize;

use super::output::{self, Terminal};
use super::{Format, FormatArgs};
use crate::error::Error;

pub(super) const ABOUT: &str = "\
Validate policies, scenarios, suites and the administrator's configuration.

What a file is, is told from its content. Policies are held against the same rules that the API server \
has, their PromQL is parsed, their metrics are looked up among what dcgm-exporter emits, and they run for \
a simulated day. Scenarios are checked with their recording and their policy.

Nothing is contacted, unless `--live` asks for it: then the metrics sources of the configuration are asked \
what the policies would ask, and what is wrong with the answers is found as well. Nothing is changed.";

pub(super) const EXAMPLES: &str = "\
Exit codes:
  0  no errors (and, with `--deny warnings`, no warnings)
  2  a file cannot be read at all
  3  findings of severity error

Examples:
  gpuscale check policy.yaml
  gpuscale check simulations/*/scenario.yaml --deny warnings
  gpuscale check --config gpuscale.yaml policies/*.yaml
  gpuscale check --live --config gpuscale.yaml policies/*.yaml
  kubectl get gsp -o yaml a100 | gpuscale check -
  gpuscale check --explain GS301";

/// The word for standard input.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Policies, scenarios (or their directories), suites, configurations; `-` reads standard input
    #[arg(required_unless_present_any = ["codes", "explain", "config"], value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Configuration that names of sources and clusters must be in; it is checked too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Ask the metrics sources of the configuration, too
    #[cfg(feature = "source")]
    #[arg(long, requires = "config", conflicts_with_all = ["codes", "explain"])]
    live: bool,

    /// Fail on warnings too
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,

    /// Leave notes out
    #[arg(long)]
    no_notes: bool,

    /// Print what one code means
    #[arg(long, value_name = "CODE", conflicts_with_all = ["files", "codes"])]
    explain: Option<String>,

    /// Print the guide to all codes, as Markdown
    #[arg(long, conflicts_with = "files")]
    codes: bool,

    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Fail on warnings
    Warnings,
}

pub(super) fn run(args: &CheckArgs, terminal: &Terminal) -> Result<(), Error> {
    if args.codes {
        return output::print(&guide::markdown());
    }
    if let Some(code) = &args.explain {
        let Some(entry) = codes::entry(code) else {
            let message = format!("there is no code `{code}`; `gpuscale check --codes` lists all of them");
            return Err(Error::Usage(message));
        };
        return output::print(&guide::section(entry));
    }
    let mut checked = all(args)?;
    let asked = asked(args, &mut checked)?;
    if args.no_notes {
        for file in &mut checked {
            file.findings
                .retain(|finding| finding.severity() > Severity::Note);
        }
    }
    match args.format.format {
        Format::Table => output::print(&drawn(&checked, asked.as_ref(), terminal))?,
        Format::Json => output::print(&output::json(&json(&checked, asked.as_ref()))?)?,
    }
    let least = match args.deny {
        Some(Deny::Warnings) => Severity::Warning,
        None => Severity::Error,
    };
    let mut findings = checked.iter().flat_map(|file| &file.findings);
    if findings.any(|finding| finding.severity() >= least) {
        return Err(Error::Findings);
    }
    Ok(())
}

/// What was asked and answered.
#[derive(Debug)]
struct Asked {
    /// For people, one line each.
    text: String,
    /// For programs.
    json: serde_json::Value,
}

/// Asks the sources where that is wanted, and adds what is found.
#[cfg(feature = "source")]
fn asked(args: &CheckArgs, checked: &mut [Checked]) -> Result<Option<Asked>, Error> {
    if !args.live {
        return Ok(None);
    }
    let given: Vec<String> = args.files.iter().map(|path| name(path)).collect();
    live::ask(checked, &given)
}

/// Without the client there is nobody to ask.
#[cfg(not(feature = "source"))]
#[expect(clippy::unnecessary_wraps, reason = "the other one may fail")]
fn asked(_: &CheckArgs, _: &mut [Checked]) -> Result<Option<Asked>, Error> {
    Ok(None)
}

/// How a file is called in reports.
fn name(path: &Path) -> String {
    if path.as_os_str() == STDIN {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Checks the configuration and every file; a file that is named twice is told once.
fn all(args: &CheckArgs) -> Result<Vec<Checked>, Error> {
    let mut checked: Vec<Checked> = Vec::new();
    let mut config = None;
    if let Some(path) = &args.config {
        let text = text(path)?;
        // A configuration that cannot be read is told by its findings; names are then not looked up.
        config = Config::parse(&text).ok();
        add(
            &mut checked,
            check::check(&path.display().to_string(), &text, &Files, None),
        );
    }
    for path in &args.files {
        let path = if path.is_dir() {
            path.join("scenario.yaml")
        } else {
            path.clone()
        };
        let text = text(&path)?;
        add(
            &mut checked,
            check::check(&name(&path), &text, &Files, config.as_ref()),
        );
    }
    Ok(checked)
}

fn add(checked: &mut Vec<Checked>, files: Vec<Checked>) {
    for file in files {
        if !checked.contains(&file) {
            checked.push(file);
        }
    }
}

fn text(path: &Path) -> Result<String, Error> {
    let read = if path.as_os_str() == STDIN {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|source| Error::Open {
        what: "file",
        path: path.to_owned(),
        source,
    })
}

/// The files around a document: paths are relative to its directory.
struct Files;

impl Files {
    fn path(from: &str, path: &str) -> PathBuf {
        Path::new(from).parent().unwrap_or(Path::new("")).join(path)
    }
}

impl Surroundings for Files {
    fn bytes(&self, from: &str, path: &str) -> Result<Vec<u8>, String> {
        fs::read(Self::path(from, path)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        })
    }

    fn name(&self, from: &str, path: &str) -> String {
        Self::path(from, path).display().to_string()
    }
}

/// The findings drawn into their texts, what was answered, and the summary.
fn drawn(checked: &[Checked], asked: Option<&Asked>, terminal: &Terminal) -> String {
    let theme = match terminal.ink() {
        Ink::Terminal => GraphicalTheme::unicode(),
        Ink::Plain => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(terminal.width().into())
        .with_urls(false)
        .with_context_lines(1);
    let mut drawn = String::new();
    for file in checked {
        for finding in &file.findings {
            let report = Report::new(diagnostic(finding))
                .with_source_code(NamedSource::new(&file.name, file.text.clone()));
            // Writing to a String does not fail.
            let _ = handler.render_report(&mut drawn, report.as_ref());
            drawn.push('\n');
        }
    }
    drawn.push_str(asked.map_or("", |asked| &asked.text));
    let count = |severity| (severity, checked.iter().map(|file| file.count(severity)).sum());
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(count);
    let _ = writeln!(drawn, "{}", guide::summary(counts, checked.len()));
    drawn
}

fn diagnostic(finding: &Finding) -> MietteDiagnostic {
    let label =
        |label: &check::Label| LabeledSpan::new(Some(label.text.clone()), label.span.start, label.span.len());
    let severity = match finding.severity() {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
        Severity::Note => miette::Severity::Advice,
    };
    let help = format!("{}\nsee {}", finding.help, guide::link(finding.entry));
    let first = &finding.at;
    let primary = LabeledSpan::new_primary_with_span(Some(first.text.clone()), first.span.clone());
    MietteDiagnostic::new(finding.message.clone())
        .with_code(format!("{}[{}]", finding.severity(), finding.code()))
        .with_severity(severity)
        .with_help(help)
        .with_label(primary)
        .and_labels(finding.also.iter().map(label))
}

/// One finding for programs.
#[derive(Serialize)]
struct Row<'f> {
    file: &'f str,
    code: &'static str,
    severity: Severity,
    message: &'f str,
    help: &'f str,
    at: Place<'f>,
    #[serde(skip_serializing_if = "Option::is_none")]
    also: Option<Place<'f>>,
    guide: String,
}

/// A place for programs: lines and columns from 1, columns in characters, offsets in bytes from 0.
#[derive(Serialize)]
struct Place<'f> {
    line: usize,
    column: usize,
    start: usize,
    end: usize,
    label: &'f str,
}

/// Everything for programs.
#[derive(Serialize)]
struct Document<'f> {
    files: Vec<&'f str>,
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<Row<'f>>,
    /// Sources and signals that answered, with `--live`.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'f serde_json::Value>,
}

fn json<'f>(checked: &'f [Checked], asked: Option<&'f Asked>) -> Document<'f> {
    let count = |severity| checked.iter().map(|file| file.count(severity)).sum();
    let rows = checked.iter().flat_map(|file| {
        file.findings.iter().map(move |finding| Row {
            file: &file.name,
            code: finding.code(),
            severity: finding.severity(),
            message: &finding.message,
            help: &finding.help,
            at: place(&file.text, &finding.at),
            also: finding.also.as_ref().map(|also| place(&file.text, also)),
            guide: guide::link(finding.entry),
        })
    });
    Document {
        files: checked.iter().map(|file| file.name.as_str()).collect(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        findings: rows.collect(),
        live: asked.map(|asked| &asked.json),
    }
}

fn place<'f>(text: &str, label: &'f check::Label) -> Place<'f> {
    let before = &text[..label.span.start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        start: label.span.start,
        end: label.span.end,
        label: &label.text,
    }
}
