//! Many runs on all cores, in an order that does not depend on which core was first.

use gpuscale::report::figures::Price;
use gpuscale::report::json::{DerivedFrom, Document, Origin, ResultRow, SCHEMA_VERSION, Summary};
use gpuscale::report::sweep::aggregate;
use gpuscale::simulator::closed_loop::Unwatched;
use gpuscale::simulator::history::Derived;
use gpuscale::simulator::scenario_run::{Case, Judged, headrooms};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;

use super::output;

/// A case with its policies and seeds, ready to run.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The scenario's name.
    pub(super) name: String,
    /// The recording's file name.
    pub(super) recording: String,
    /// Factor on the demand.
    pub(super) scale: f64,
    /// The case.
    pub(super) case: Case,
    /// The policies under judgement.
    pub(super) judged: Vec<Judged>,
    /// The seeds, rising by one.
    pub(super) seeds: std::ops::Range<u64>,
    /// What the demand was derived from, if it was, and what is not known about it.
    pub(super) derived: Option<(DerivedFrom, Derived)>,
}

impl Prepared {
    /// Whether the price of a node is known.
    pub(super) fn price(&self) -> Price {
        if self.case.pool.node_price.is_some() {
            Price::Known
        } else {
            Price::Unknown
        }
    }

    /// The document of these rows.
    pub(super) fn document(&self, rows: Vec<ResultRow>) -> Document {
        let origin = Origin {
            name: &self.name,
            recording: &self.recording,
            scale: self.scale,
            seeds: (self.seeds.start, self.seeds.end - self.seeds.start),
        };
        Document {
            schema_version: SCHEMA_VERSION,
            scenario: Summary {
                derived_from: self.derived.as_ref().map(|(from, _)| from.clone()),
                ..Summary::of(&self.case, origin)
            },
            rows,
        }
    }

    fn jobs(&self, number: usize) -> Vec<Job> {
        let policies = (0..self.judged.len()).flat_map(|policy| {
            self.seeds.clone().map(move |seed| Job {
                number,
                part: Part::Policy { policy, seed },
            })
        });
        let references = [Part::Optima, Part::Peers].map(|part| Job { number, part });
        policies.chain(references).collect()
    }

    fn run(&self, part: Part) -> Vec<ResultRow> {
        let price = self.price();
        let rows = match part {
            Part::Policy { policy, seed } => {
                let run = self.case.policy_row(&self.judged[policy], seed, &mut Unwatched);
                return vec![ResultRow::policy(&run, price)];
            }
            Part::Optima => self.case.optima(&headrooms(&self.judged)),
            Part::Peers => self.case.peers(),
        };
        rows.iter().map(|row| ResultRow::new(row, price)).collect()
    }
}

/// One independent piece of work: a part of the scorecard of one case.
#[derive(Debug, Clone, Copy)]
struct Job {
    number: usize,
    part: Part,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Policy { policy: usize, seed: u64 },
    Optima,
    Peers,
}

/// Every row of every case, unjoined: first by case, then policies by seed, optima, peers.
fn all_rows(prepared: &[Prepared]) -> Vec<(usize, ResultRow)> {
    let jobs: Vec<Job> = prepared
        .iter()
        .enumerate()
        .flat_map(|(number, prepared)| prepared.jobs(number))
        .collect();
    let progress = progress(jobs.len());
    let rows: Vec<Vec<ResultRow>> = jobs
        .par_iter()
        .map(|job| {
            let rows = prepared[job.number].run(job.part);
            progress.inc(1);
            rows
        })
        .collect();
    progress.finish_and_clear();
    jobs.iter()
        .zip(rows)
        .flat_map(|(job, rows)| rows.into_iter().map(|row| (job.number, row)))
        .collect()
}

/// Runs everything: one document for each case, with several seeds joined.
pub(super) fn documents(prepared: &[Prepared]) -> Vec<Document> {
    let mut rows = all_rows(prepared).into_iter().peekable();
    prepared
        .iter()
        .enumerate()
        .map(|(number, prepared)| {
            let mut own = Vec::new();
            while let Some((_, row)) = rows.next_if(|(of, _)| *of == number) {
                own.push(row);
            }
            prepared.document(aggregate(own))
        })
        .collect()
}

/// Progress on standard error, where somebody can see it.
fn progress(jobs: usize) -> ProgressBar {
    if jobs < 8 || !output::shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(jobs as u64), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
