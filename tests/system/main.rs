//! The simulation of the whole system: the control loop as it ships, over a world in memory, in virtual time.
//!
//! A seed is a world, two policies and a list of faults, for six hours. Seeds know nothing of each other and run on
//! all cores. What must hold is in `invariants`; a seed that breaks one is printed with the command that repeats it.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::match_overlapping_arm,
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a simulation may fail as tests do, its numbers are small, and its tables are long"
)]

mod arguments;
mod chance;
mod clock;
mod director;
mod event;
mod executor;
mod gate;
mod invariants;
mod plan;
mod ports;
mod run;
mod shapes;
mod shrink;
mod totals;
mod truth;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arguments::{Amount, Arguments, Command, Detail, Shrinking, USAGE};
use invariants::Violation;
use run::{Outcome, Scene};
use totals::{Totals, cpu_seconds};

/// Every so many seeds one is run twice and must come out the same.
const TWICE: u64 = 64;

fn main() -> ExitCode {
    match Command::read() {
        Ok(Command::Run(arguments)) => simulate(&arguments),
        Ok(Command::Nothing) => ExitCode::SUCCESS,
        Ok(Command::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn simulate(arguments: &Arguments) -> ExitCode {
    hush_planned_panics();
    world::checks::run();
    world::arm_checks::run();
    invariants::checks::run();
    println!("seeds {}.. on {} threads", arguments.from, arguments.threads);
    let next = AtomicU64::new(arguments.from);
    let totals = Mutex::new(Totals::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                while let Some(seed) = claim(&next, arguments) {
                    let outcome = one(seed, arguments);
                    // A soak takes hours; what it finds is told at once.
                    if let Some(found) = outcome.violations.first() {
                        println!("seed {seed} breaks {}", found.invariant);
                    }
                    totals
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(seed, outcome);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.print(arguments);
    if arguments.shrinking == Shrinking::On
        && let Some((seed, violation)) = totals.first_failure()
    {
        fewest(seed, &violation, arguments);
    }
    if totals.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The next seed, while there are seeds or time left.
fn claim(next: &AtomicU64, arguments: &Arguments) -> Option<u64> {
    let seed = next.fetch_add(1, Ordering::Relaxed);
    let goes_on = match arguments.amount {
        Amount::Seeds(count) => seed - arguments.from < count,
        Amount::CpuMinutes(minutes) => cpu_seconds() < minutes * 60.0,
    };
    goes_on.then_some(seed)
}

/// Runs a seed as asked for. A panic of the simulation itself is a failure of the seed.
fn one(seed: u64, arguments: &Arguments) -> Outcome {
    let scene = Scene::of(seed, arguments.only.as_deref());
    if arguments.detail != Detail::Summary {
        scene.print();
    }
    let mut outcome = guarded(&scene, arguments);
    if seed.is_multiple_of(TWICE) {
        let again = guarded(&scene, &quietly(arguments));
        if again.checksum != outcome.checksum {
            outcome.violations.push(Violation {
                at_ms: 0,
                invariant: "same-seed-same-run",
                message: "two runs of the seed differ: something in it is not drawn from the seed".to_owned(),
            });
        }
        outcome.checks.push(("same-seed-same-run", 1));
    }
    outcome
}

/// The same, without a word.
fn quietly(arguments: &Arguments) -> Arguments {
    Arguments {
        detail: Detail::Summary,
        journals: None,
        ..arguments.clone()
    }
}

fn guarded(scene: &Scene, arguments: &Arguments) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run::run(scene, arguments))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic");
        Outcome::failed(Violation {
            at_ms: 0,
            invariant: "simulation-panicked",
            message: words.to_owned(),
        })
    })
}

/// Prints the fewest faults with which a seed still breaks the same invariant.
fn fewest(seed: u64, violation: &Violation, arguments: &Arguments) {
    let quiet = quietly(arguments);
    let all: Vec<usize> = arguments
        .only
        .clone()
        .unwrap_or_else(|| (0..Scene::of(seed, None).plan.len()).collect());
    let kept = shrink::shrink(all.len(), |places| {
        let only: Vec<usize> = places.iter().map(|&place| all[place]).collect();
        let outcome = guarded(&Scene::of(seed, Some(&only)), &quiet);
        outcome
            .violations
            .iter()
            .any(|found| found.invariant == violation.invariant)
    });
    let only: Vec<usize> = kept.iter().map(|&place| all[place]).collect();
    let scene = Scene::of(seed, Some(&only));
    println!(
        "\nfewest faults with which seed {seed} breaks `{}`:",
        violation.invariant
    );
    scene.print();
    let list: Vec<String> = only.iter().map(ToString::to_string).collect();
    println!(
        "  cargo test --profile ci --test system -- --seed {seed} --only '{}'",
        list.join(",")
    );
}

/// Panics that a plan wanted are no news; the loop must catch them.
fn hush_planned_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&ports::PLANNED_PANIC) {
            usual(info);
        }
    }));
}
