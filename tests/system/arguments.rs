//! What the simulation was asked to do: arguments and environment.
//!
//! Cargo hands the flags of its own test harness to every test binary, so those are taken and have no effect.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

/// How to run it; printed for `--help`.
pub const USAGE: &str = "\
Simulates the whole system: the control loop, its faults and its world, in virtual time. A seed is six hours.

  --seed N           only this seed, with its whole log of faults
  --seeds N          this many seeds (200)
  --from N           the first of them (fresh ones)
  --cpu-minutes X    as many seeds as fit into this CPU time of all threads
  --threads N        threads (one for each core)
  --only I,J,...     of the seed's faults only these, by number
  --shrink           finds the fewest faults with which the seed still fails
  --verbose          every event of the seed
  --journals DIR     keeps the journals of the seeds there

SYSTEM_SEED and SYSTEM_CPU_MINUTES in the environment stand for `--from` and `--cpu-minutes`.";

/// How many seeds to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    Seeds(u64),
    CpuMinutes(f64),
}

/// Whether to look for the fewest faults of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrinking {
    Off,
    On,
}

/// How much to say of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Summary,
    Faults,
    Events,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    pub from: u64,
    pub amount: Amount,
    pub threads: usize,
    pub only: Option<Vec<usize>>,
    pub shrinking: Shrinking,
    pub detail: Detail,
    pub journals: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Run(Arguments),
    /// The flags of another harness asked for nothing that is here.
    Nothing,
    Help,
}

impl Command {
    /// Reads the arguments and the environment of this process.
    pub fn read() -> Result<Self, String> {
        Self::of(std::env::args().skip(1), |name| std::env::var(name).ok())
    }

    fn of(
        mut arguments: impl Iterator<Item = String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut asked = Arguments {
            from: match environment("SYSTEM_SEED") {
                Some(seed) => number("SYSTEM_SEED", Some(seed))?,
                None => fresh(),
            },
            amount: match environment("SYSTEM_CPU_MINUTES").filter(|minutes| !minutes.is_empty()) {
                Some(minutes) => Amount::CpuMinutes(number("SYSTEM_CPU_MINUTES", Some(minutes))?),
                None => Amount::Seeds(200),
            },
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            only: None,
            shrinking: Shrinking::Off,
            detail: Detail::Summary,
            journals: None,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seed" => {
                    asked.from = number("--seed", arguments.next())?;
                    asked.amount = Amount::Seeds(1);
                    asked.detail = asked.detail.max_with(Detail::Faults);
                }
                "--seeds" => asked.amount = Amount::Seeds(number("--seeds", arguments.next())?),
                "--from" => asked.from = number("--from", arguments.next())?,
                "--cpu-minutes" => {
                    asked.amount = Amount::CpuMinutes(number("--cpu-minutes", arguments.next())?);
                }
                "--threads" => asked.threads = number::<usize>("--threads", arguments.next())?.max(1),
                "--only" => asked.only = Some(numbers(&arguments.next().unwrap_or_default())?),
                "--shrink" => asked.shrinking = Shrinking::On,
                "--verbose" => asked.detail = Detail::Events,
                "--journals" => asked.journals = arguments.next().map(PathBuf::from),
                "--help" | "-h" => return Ok(Self::Help),
                "--list" => return Ok(Self::Nothing),
                "--test-threads" | "--format" | "--color" | "--skip" | "--logfile" | "-Z" => {
                    arguments.next();
                }
                flag if flag.starts_with('-') => {}
                filter if "system".contains(filter) => {}
                _ => return Ok(Self::Nothing),
            }
        }
        Ok(Self::Run(asked))
    }
}

impl Detail {
    fn max_with(self, other: Self) -> Self {
        if self == Self::Events { self } else { other }
    }
}

fn number<T: std::str::FromStr>(name: &str, value: Option<String>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{name} takes a number"))?;
    value
        .trim()
        .parse()
        .map_err(|_| format!("{name} takes a number, not `{value}`"))
}

/// A list of numbers; empty for an empty text.
fn numbers(list: &str) -> Result<Vec<usize>, String> {
    let parts = list.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| number("--only", Some(part.to_owned())))
        .collect()
}

/// A first seed that no earlier run had: the standard library keys its hash maps from the system's entropy.
fn fresh() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000_000 / 1_000 * 1_000
}
