//! A checksum over integers, and over the whole record of a decision.
//!
//! It proves that a decision was made again as it was made before: equal records have equal checksums, and each word
//! goes through a bijection, so two records that differ in one word never have the same. It is no defence against
//! anybody who wants two records to look alike.

use super::evaluation::{Decision, Evaluation, Reason, SignalEvidence, Step};
use super::observation::Now;

/// A multiplier without small factors: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The checksum of a row of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl Checksum {
    /// The checksum of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(GOLDEN)
    }

    /// Takes a word in.
    #[inline]
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(GOLDEN).rotate_left(29);
    }

    /// Takes two small words in as one.
    #[inline]
    pub fn pair(&mut self, high: u32, low: u32) {
        self.word(u64::from(high) << 32 | u64::from(low));
    }

    /// Takes a signed word in.
    #[inline]
    pub fn signed(&mut self, word: i64) {
        self.word(word.cast_unsigned());
    }

    /// Takes a word in that may be absent, which is not the same as any that is there.
    #[inline]
    pub fn option(&mut self, word: Option<i64>) {
        self.word(u64::from(word.is_some()));
        self.signed(word.unwrap_or(0));
    }

    /// Takes a length in, before what is as long.
    #[inline]
    pub fn length(&mut self, length: usize) {
        self.word(u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// Takes bytes in, and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let last = rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.word(last);
        self.length(bytes.len());
    }

    /// The checksum of everything that was taken in.
    #[must_use]
    pub fn value(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(GOLDEN);
        mixed ^ (mixed >> 29)
    }
}

impl Evaluation {
    /// The checksum over everything in the record.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let mut sum = Checksum::new();
        let Now { wall_ms, timer_ms } = self.at;
        sum.signed(wall_ms);
        sum.signed(timer_ms);
        decision(&mut sum, &self.decision);
        sum.length(self.signals().len());
        for evidence in self.signals() {
            signal(&mut sum, evidence);
        }
        sum.length(self.steps().len());
        for asked in self.steps() {
            step(&mut sum, asked);
        }
        sum.value()
    }
}

fn decision(sum: &mut Checksum, decision: &Decision) {
    let Decision {
        from,
        to,
        wish,
        reason,
        unplaced,
        placeable,
        victims,
    } = decision;
    sum.pair(*from, *to);
    sum.pair(*wish, *unplaced);
    sum.word(u64::from(*placeable));
    sum.word(match reason {
        Reason::WithinTarget => 0,
        Reason::DemandAboveTarget => 1,
        Reason::DemandBelowTarget => 2,
        Reason::Saturated => 3,
        Reason::RuleMet => 4,
        Reason::PodsWaiting => 5,
        Reason::EmptyNodes => 6,
        Reason::Limited(rule) => 256 + *rule as u64,
    });
    sum.length(victims.as_slice().len());
    for victim in victims.as_slice() {
        sum.word(u64::from(victim.0));
    }
}

fn signal(sum: &mut Checksum, evidence: &SignalEvidence) {
    let SignalEvidence {
        quality,
        coverage,
        age_ms,
        demand_low,
        demand_high,
        pinned,
        up,
        down,
        up_value,
        down_value,
        needs_up,
        measured_up,
        needs_down,
    } = evidence;
    sum.word((*quality as u64) << 16 | (*up as u64) << 8 | *down as u64);
    for value in [
        coverage,
        age_ms,
        demand_low,
        demand_high,
        pinned,
        up_value,
        down_value,
    ] {
        sum.signed(*value);
    }
    sum.pair(*needs_up, *measured_up);
    sum.word(u64::from(*needs_down));
}

fn step(sum: &mut Checksum, step: &Step) {
    let Step {
        rule,
        effect,
        before,
        after,
        value,
        limit,
    } = step;
    sum.word((*rule as u64) << 8 | *effect as u64);
    sum.pair(*before, *after);
    sum.signed(*value);
    sum.signed(*limit);
}

#[cfg(test)]
mod tests {
    use super::super::evaluation::{Rule, Trace};
    use super::super::sample::NodeId;
    use super::*;

    fn record() -> Evaluation {
        let mut evaluation = Evaluation::hold(Now::at(60_000), 3);
        let mut trace = Trace::new(&mut evaluation);
        if let Some(signal) = trace.next_signal() {
            signal.demand_low = 1_500_000;
        }
        trace.wish(5, Reason::DemandAboveTarget, 1, 1);
        trace.ask(Rule::MaxNodes, 4, 5, 4);
        evaluation
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let changes: [fn(&mut Evaluation); 12] = [
            |e| e.at.wall_ms += 1,
            |e| e.at.timer_ms -= 1,
            |e| e.decision.from += 1,
            |e| e.decision.to += 1,
            |e| e.decision.wish += 1,
            |e| e.decision.unplaced += 1,
            |e| e.decision.placeable += 1,
            |e| e.decision.reason = Reason::Limited(Rule::MinNodes),
            |e| e.decision.victims.push(NodeId(0)),
            |e| assert!(Trace::new(e).next_signal().is_some()),
            |e| Trace::new(e).pass(Rule::Wish, 0, 0),
            |e| std::mem::swap(&mut e.decision.from, &mut e.decision.to),
        ];
        let whole = record().checksum();
        assert_eq!(record().checksum(), whole);
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = record();
            change(&mut other);
            assert_ne!(other.checksum(), whole, "change {number}");
        }
    }

    #[test]
    fn bytes_differ_by_content_and_by_length() {
        let of = |bytes: &[u8]| {
            let mut sum = Checksum::new();
            sum.bytes(bytes);
            sum.value()
        };
        let texts: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"abcdefgh", b"abcdefgh\0", b"abcdefgi"];
        for (at, one) in texts.iter().enumerate() {
            for other in texts.iter().skip(at + 1) {
                assert_ne!(of(one), of(other), "{one:?} {other:?}");
            }
        }
    }
}
