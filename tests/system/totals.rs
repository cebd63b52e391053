//! What came of all seeds together, and how it is told.

use std::collections::BTreeMap;

use crate::arguments::{Amount, Arguments};
use crate::invariants::Violation;
use crate::run::Outcome;

/// Failing seeds that are printed.
const MOST_TOLD: usize = 5;

/// From so many seeds on, every fault and every invariant must have had its turn.
const LONG_RUN: u64 = 500;

/// Faults that a long run must have met.
const REQUIRED: &[&str] = &[
    "F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F13", "F14", "F15", "F16", "F17", "F18",
    "F20", "F23", "F24", "F25", "F27",
];

/// Ticks of the kernel's accounting in a second.
const KERNEL_HZ: f64 = 100.0;

/// Totals over seeds.
#[derive(Debug)]
pub struct Totals {
    seeds: u64,
    policy_ms: i64,
    ticks: u64,
    faults: BTreeMap<(&'static str, &'static str), u64>,
    checks: BTreeMap<&'static str, u64>,
    failures: BTreeMap<u64, Violation>,
}

impl Totals {
    /// Of no seed.
    pub fn new() -> Self {
        Self {
            seeds: 0,
            policy_ms: 0,
            ticks: 0,
            faults: BTreeMap::new(),
            checks: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Adds what came of a seed.
    pub fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.policy_ms += outcome.policy_ms;
        self.ticks += outcome.ticks;
        for (fault, struck) in outcome.faults {
            *self.faults.entry(fault).or_default() += struck;
        }
        for (invariant, checked) in outcome.checks {
            *self.checks.entry(invariant).or_default() += checked;
        }
        if let Some(violation) = outcome.violations.into_iter().next() {
            self.failures.insert(seed, violation);
        }
    }

    /// The first seed that failed.
    pub fn first_failure(&self) -> Option<(u64, Violation)> {
        self.failures
            .iter()
            .next()
            .map(|(seed, violation)| (*seed, violation.clone()))
    }

    /// Whether anything is not as it should be.
    pub fn failed(&self) -> bool {
        !self.failures.is_empty() || !self.never().is_empty()
    }

    /// What never happened though it should have in so many seeds.
    fn never(&self) -> Vec<String> {
        if self.seeds < LONG_RUN {
            return Vec::new();
        }
        let met = |name: &str| self.faults.keys().any(|fault| fault.0 == name);
        let faults = REQUIRED.iter().filter(|name| !met(name));
        let checks = self.checks.iter().filter(|(_, checked)| **checked == 0);
        faults
            .map(|name| format!("fault {name} never struck"))
            .chain(checks.map(|(name, _)| format!("invariant {name} was never checked")))
            .collect()
    }

    /// Tells it.
    pub fn print(&self, arguments: &Arguments) {
        let hours = self.policy_ms as f64 / 3_600_000.0;
        let cpu = cpu_seconds();
        if self.seeds > 1 || self.failures.is_empty() {
            println!("\nfaults that struck");
            for ((name, what), struck) in &self.faults {
                println!("  {name:<6} {what:<38} {struck:>9}");
            }
            println!("\ninvariants checked");
            for (name, checked) in &self.checks {
                println!("  {name:<45} {checked:>9}");
            }
        }
        self.print_failures(arguments);
        for never in self.never() {
            println!("FAILED: {never}");
        }
        println!(
            "\n{} seeds, {} failed; {hours:.0} policy-hours, {} ticks, {cpu:.1} CPU seconds: {:.0} policy-hours per \
             CPU-minute, {:.1} us per tick",
            self.seeds,
            self.failures.len(),
            self.ticks,
            hours / (cpu / 60.0),
            cpu * 1e6 / self.ticks.max(1) as f64,
        );
    }

    fn print_failures(&self, arguments: &Arguments) {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for violation in self.failures.values() {
            *kinds.entry(violation.invariant).or_default() += 1;
        }
        for (kind, seeds) in kinds {
            println!("FAILED: {kind} in {seeds} seeds");
        }
        for (seed, violation) in self.failures.iter().take(MOST_TOLD) {
            let only = match (&arguments.only, arguments.amount) {
                (Some(only), Amount::Seeds(1)) => {
                    let list: Vec<String> = only.iter().map(ToString::to_string).collect();
                    format!(" --only '{}'", list.join(","))
                }
                _ => String::new(),
            };
            println!(
                "\nseed {seed} at {}: {}: {}\n  cargo test --profile ci --test system -- --seed {seed}{only}",
                crate::run::clock_face(violation.at_ms),
                violation.invariant,
                violation.message,
            );
        }
    }
}

/// CPU time of all threads of this process so far, as the kernel counts it.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the command in parentheses and may hold anything; fields are counted behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / KERNEL_HZ
}
