//! The engine's side of the loop, the same for every world: windows, memory, decision, checksum.

use crate::policy::config::{Config, Millis};
use crate::policy::evaluation::Evaluation;
use crate::policy::memory::Intent;
use crate::policy::observation::{Now, Observation};
use crate::policy::sample::Sample;
use crate::policy::windows::{Delta, Device, ReadStatus};
use crate::policy::{Memory, Windows, evaluate};
use crate::simulator::scorecard::Meter;

use super::Outcome;

/// FNV-1a over the decisions (Fowler, Noll, Vo; 64 bit).
#[derive(Debug, Clone, Copy)]
struct Checksum(u64);

impl Checksum {
    fn add(&mut self, evaluation: &Evaluation) {
        let decision = &evaluation.decision;
        for word in [decision.from, decision.to, decision.wish] {
            self.word(word);
        }
        for victim in decision.victims.as_slice() {
            self.word(victim.0);
        }
    }

    fn word(&mut self, word: u32) {
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

/// A policy at work.
#[derive(Debug)]
pub(in crate::simulator) struct Driver<'a> {
    config: &'a Config,
    windows: Windows,
    memory: Memory,
    checksum: Checksum,
    ticks: u64,
}

impl<'a> Driver<'a> {
    pub(in crate::simulator) fn new(config: &'a Config) -> Self {
        Self {
            config,
            windows: Windows::new(config),
            memory: Memory::default(),
            checksum: Checksum(0xcbf2_9ce4_8422_2325),
            ticks: 0,
        }
    }

    /// Takes samples in; devices are given when they may have changed.
    #[inline]
    pub(in crate::simulator) fn ingest(
        &mut self,
        now_ms: Millis,
        samples: &[Sample],
        inventory: Option<&[Device]>,
    ) {
        self.ingest_read(now_ms, samples, inventory, &[]);
    }

    /// The same, and how each signal was read.
    #[inline]
    pub(in crate::simulator) fn ingest_read(
        &mut self,
        now_ms: Millis,
        samples: &[Sample],
        inventory: Option<&[Device]>,
        reads: &[ReadStatus],
    ) {
        self.windows.ingest(&Delta {
            now_ms,
            samples,
            inventory,
            reads,
        });
    }

    /// Lets the policy decide.
    #[inline]
    pub(in crate::simulator) fn decide(
        &mut self,
        now_ms: Millis,
        observation: &Observation<'_>,
    ) -> Evaluation {
        let now = Now::at(now_ms);
        evaluate(self.config, &self.windows, observation, &mut self.memory, now)
    }

    /// Takes a change of the count that the policy did not make for its own: cooldowns and rate limits begin, and
    /// nobody is suspected of fighting over the pool.
    pub(in crate::simulator) fn adopt(&mut self, now_ms: Millis, from: u32, to: u32) {
        self.memory.intent = Some(Intent {
            from,
            to,
            at_ms: now_ms,
            saturated: false,
        });
    }

    /// Adds a decision to the checksum. Apart from [`Driver::decide`], so that the evaluation, which is
    /// large, is made where it stays.
    #[inline]
    pub(in crate::simulator) fn note(&mut self, evaluation: &Evaluation) {
        self.checksum.add(evaluation);
        self.ticks += 1;
    }

    /// The fingerprint of all decisions so far, and how many there were.
    pub(in crate::simulator) fn fingerprint(&self) -> (u64, u64) {
        (self.checksum.0, self.ticks)
    }

    /// The end of a run.
    pub(in crate::simulator) fn outcome(self, meter: Meter) -> Outcome {
        Outcome {
            meter,
            checksum: self.checksum.0,
            ticks: self.ticks,
            late: 0,
            waiting: 0,
        }
    }
}
