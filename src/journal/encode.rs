//! Records into bytes. `decode.rs` is its mirror: what one writes, the other reads, in the same order.

use super::numbers::{put, put_difference, put_length, put_option, put_signed, put_text};
use super::record::{Newest, Why};
use super::samples::{MOST_SAMPLES, put_samples};
use super::seen::{LONGEST_LIST, Seen};
use super::{ActionRecord, Checkpoint, Decided, JournalError, TickRecord};
use crate::policy::Memory;
use crate::policy::config::Millis;
use crate::policy::evaluation::Reason;
use crate::policy::observation::Now;
use crate::policy::sample::Sample;
use crate::policy::windows::{Delta, Device, ReadStatus};

pub(super) const BEGIN: u8 = 0;
pub(super) const CONTINUE: u8 = 1;
pub(super) const TICK: u8 = 2;
pub(super) const CHECKPOINT: u8 = 3;
pub(super) const ACTION: u8 = 4;

/// The devices follow.
pub(super) const INVENTORY: u8 = 1;
/// The reads ended otherwise than at the tick before.
pub(super) const READS: u8 = 2;
/// Something was decided.
pub(super) const DECIDED: u8 = 4;
/// The memory follows, changed by the loop.
pub(super) const CHANGED: u8 = 8;
/// The memory follows, as it was.
pub(super) const UNCHANGED: u8 = 16;
/// The reason is another than before.
pub(super) const REASON: u8 = 32;
/// The devices are given, and are those of the tick before.
pub(super) const SAME_INVENTORY: u8 = 64;

/// Samples that room is kept for between two ticks.
const SAMPLES_KEPT_ROOM_FOR: usize = 1_024;

/// What the next tick is written against.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    now_ms: Millis,
    tick_ms: Millis,
    timer_ms: Millis,
    samples: Vec<Sample>,
    inventory: Vec<Device>,
    reads: Vec<ReadStatus>,
    seen: Seen,
    reason: Option<Reason>,
}

/// The beginning of a stretch, as it is written.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) policy: String,
    pub(super) now: Now,
    pub(super) why: Why,
}

pub(super) fn put_begin(out: &mut Vec<u8>, stretch: &Stretch) {
    out.push(BEGIN);
    put_stretch(out, stretch);
}

fn put_stretch(out: &mut Vec<u8>, stretch: &Stretch) {
    put_text(out, env!("CARGO_PKG_VERSION"));
    put_text(out, &stretch.policy);
    put_now(out, stretch.now);
    out.push(stretch.why as u8);
}

fn put_now(out: &mut Vec<u8>, now: Now) {
    put_signed(out, now.wall_ms);
    put_signed(out, now.timer_ms);
}

/// What a segment in the middle of a stretch begins with.
pub(super) struct Middle<'a> {
    pub(super) stretch: &'a Stretch,
    pub(super) ticks: u64,
    pub(super) now: Now,
    pub(super) memory: &'a Memory,
    pub(super) inventory: Option<&'a [Device]>,
    pub(super) newest: &'a [Newest],
}

pub(super) fn put_continue(out: &mut Vec<u8>, middle: &Middle<'_>) -> Result<(), JournalError> {
    out.push(CONTINUE);
    put_stretch(out, middle.stretch);
    put(out, middle.ticks);
    put_now(out, middle.now);
    put_memory(out, middle.memory)?;
    match middle.inventory {
        None => out.push(0),
        Some(devices) => {
            out.push(1);
            put_devices(out, devices);
        }
    }
    put_length(out, middle.newest.len());
    for newest in middle.newest {
        put_option(out, newest.at_ms);
        put_option(out, newest.reading.map(|(at_ms, _)| at_ms));
        put_option(out, newest.reading.and_then(|(_, value)| value));
    }
    Ok(())
}

pub(super) fn put_checkpoint(out: &mut Vec<u8>, memory: &Memory) -> Result<(), JournalError> {
    out.push(CHECKPOINT);
    put_memory(out, memory)
}

fn put_memory(out: &mut Vec<u8>, memory: &Memory) -> Result<(), JournalError> {
    let text = serde_json::to_string(memory).map_err(|error| JournalError(error.to_string()))?;
    put_text(out, &text);
    Ok(())
}

fn put_devices(out: &mut Vec<u8>, devices: &[Device]) {
    put_length(out, devices.len());
    for device in devices {
        put(out, u64::from(device.id.0));
        put(out, u64::from(device.node.0));
        put_signed(out, device.weight);
        put_signed(out, device.ready_since_ms);
        out.push(device.health as u8);
    }
}

pub(super) fn put_action(out: &mut Vec<u8>, action: &ActionRecord<'_>) {
    out.push(ACTION);
    put_now(out, action.now);
    put_text(out, action.pool);
    put(out, u64::from(action.from));
    put(out, u64::from(action.to));
    put_text(out, action.what);
    put_text(out, action.message);
}

impl Encoder {
    /// Writes a tick.
    pub(super) fn put_tick(&mut self, out: &mut Vec<u8>, tick: &TickRecord<'_>) -> Result<(), JournalError> {
        let delta = &tick.delta;
        refuse_too_large(tick)?;
        let inventory = match delta.inventory {
            None => 0,
            Some(devices) if devices == self.inventory => SAME_INVENTORY,
            Some(_) => INVENTORY,
        };
        let reads = if delta.reads == self.reads { 0 } else { READS };
        let decided = tick
            .decided
            .as_ref()
            .map_or(0, |decided| self.decided_flags(decided));
        out.push(TICK);
        out.push(inventory | reads | decided);
        self.put_delta(out, delta, inventory, reads);
        match &tick.decided {
            Some(decided) => self.put_decided(out, decided),
            None => Ok(()),
        }
    }

    fn decided_flags(&self, decided: &Decided<'_>) -> u8 {
        let memory = match decided.memory {
            None => 0,
            Some((_, Checkpoint::Changed)) => CHANGED,
            Some((_, Checkpoint::Unchanged)) => UNCHANGED,
        };
        let same = self.reason == Some(decided.evaluation.decision.reason);
        DECIDED | memory | if same { 0 } else { REASON }
    }

    fn put_delta(&mut self, out: &mut Vec<u8>, delta: &Delta<'_>, inventory: u8, reads: u8) {
        let tick_ms = delta.now_ms.wrapping_sub(self.now_ms);
        put_difference(out, tick_ms, self.tick_ms);
        (self.now_ms, self.tick_ms) = (delta.now_ms, tick_ms);
        if let (INVENTORY, Some(devices)) = (inventory, delta.inventory) {
            put_devices(out, devices);
            self.inventory.clear();
            self.inventory.extend_from_slice(devices);
        }
        if reads == READS {
            put_length(out, delta.reads.len());
            out.extend(delta.reads.iter().map(|read| *read as u8));
            self.reads.clear();
            self.reads.extend_from_slice(delta.reads);
        }
        put_samples(out, delta.samples, &self.samples, delta.now_ms, tick_ms);
        self.samples.clear();
        // A first read brings whole windows, and no other does.
        self.samples.shrink_to(SAMPLES_KEPT_ROOM_FOR);
        self.samples.extend_from_slice(delta.samples);
    }

    fn put_decided(&mut self, out: &mut Vec<u8>, decided: &Decided<'_>) -> Result<(), JournalError> {
        put_difference(out, decided.now.wall_ms, self.now_ms);
        // The timer is expected to go as the source's clock does.
        let timer_ms = self.timer_ms.wrapping_add(self.tick_ms);
        put_difference(out, decided.now.timer_ms, timer_ms);
        self.timer_ms = decided.now.timer_ms;
        self.seen.put(out, decided.observation);
        if let Some((memory, _)) = decided.memory {
            put_memory(out, memory)?;
        }
        let decision = &decided.evaluation.decision;
        put(out, u64::from(decision.from));
        put_difference(out, i64::from(decision.to), i64::from(decision.from));
        put_difference(out, i64::from(decision.wish), i64::from(decision.from));
        if self.reason != Some(decision.reason) {
            put_text(out, decision.reason.as_str());
            self.reason = Some(decision.reason);
        }
        out.extend_from_slice(&decided.evaluation.checksum().to_le_bytes());
        out.extend_from_slice(&decided.after.checksum().to_le_bytes());
        Ok(())
    }
}

/// A reader refuses more than this, so a writer does.
fn refuse_too_large(tick: &TickRecord<'_>) -> Result<(), JournalError> {
    let delta = &tick.delta;
    let lists = delta.inventory.map_or(0, <[Device]>::len).max(delta.reads.len());
    let decided = tick.decided.as_ref();
    if delta.samples.len() > MOST_SAMPLES
        || lists > LONGEST_LIST
        || decided.is_some_and(|decided| Seen::is_too_long(decided.observation))
    {
        return Err(JournalError(format!(
            "a tick of {} readings is too large to be kept; split the policy's pool",
            delta.samples.len()
        )));
    }
    Ok(())
}
