//! Bytes into records. The mirror of `encode.rs`; the bytes are foreign.

use super::Checkpoint;
use super::encode::{
    ACTION, BEGIN, CHANGED, CHECKPOINT, CONTINUE, DECIDED, INVENTORY, READS, REASON, SAME_INVENTORY, TICK,
    UNCHANGED,
};
use super::numbers::{Input, Malformed};
use super::record::{Action, Begin, Continue, Decided, Newest, Record, Said, Tick, Why};
use super::samples::take_samples;
use super::seen::{LONGEST_LIST, Seen, one_of};
use crate::policy::Memory;
use crate::policy::config::{MAX_SIGNALS, Micro, Millis, ONE};
use crate::policy::observation::Now;
use crate::policy::sample::{DeviceId, NodeId, Sample};
use crate::policy::windows::{Device, Health, ReadStatus};

/// The most GPUs that a device may stand for: a million, in micro-GPUs.
const HEAVIEST: Micro = 1_000_000 * ONE;

/// What the next tick is read against.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    now_ms: Millis,
    tick_ms: Millis,
    timer_ms: Millis,
    samples: Vec<Sample>,
    inventory: Vec<Device>,
    reads: Vec<ReadStatus>,
    seen: Seen,
    reason: String,
    headed: Headed,
}

/// Whether the segment has begun.
#[derive(Debug, Default, PartialEq, Eq)]
enum Headed {
    #[default]
    No,
    Yes,
}

impl Decoder {
    /// Reads the next record.
    pub(super) fn record(&mut self, input: &mut Input<'_>) -> Result<Record, Malformed> {
        match input.byte()? {
            BEGIN => {
                *self = Self::begun();
                Ok(Record::Begin(begin(input)?))
            }
            CONTINUE => {
                *self = Self::begun();
                Ok(Record::Continue(Box::new(middle(input)?)))
            }
            TICK if self.headed == Headed::Yes => Ok(Record::Tick(Box::new(self.tick(input)?))),
            TICK => Err(Malformed::Headless),
            CHECKPOINT => Ok(Record::Checkpoint(Box::new(memory(input)?))),
            ACTION => Ok(Record::Action(action(input)?)),
            _ => Err(Malformed::Unknown("a kind of record")),
        }
    }

    fn begun() -> Self {
        Self {
            headed: Headed::Yes,
            ..Self::default()
        }
    }

    fn tick(&mut self, input: &mut Input<'_>) -> Result<Tick, Malformed> {
        let flags = input.byte()?;
        self.tick_ms = input.difference(self.tick_ms)?;
        self.now_ms = self.now_ms.wrapping_add(self.tick_ms);
        let mut tick = Tick {
            now_ms: self.now_ms,
            ..Tick::default()
        };
        if flags & INVENTORY != 0 {
            self.inventory = devices(input)?;
        }
        if flags & (INVENTORY | SAME_INVENTORY) != 0 {
            tick.inventory = Some(self.inventory.clone());
        }
        if flags & READS != 0 {
            self.reads.clear();
            let statuses = [ReadStatus::Answered, ReadStatus::Partial, ReadStatus::Failed];
            for _ in 0..input.count(LONGEST_LIST, "a list of reads")? {
                self.reads
                    .push(one_of(&statuses, input.byte()?, "the end of a read")?);
            }
        }
        tick.reads.clone_from(&self.reads);
        take_samples(input, &mut tick.samples, &self.samples, self.now_ms, self.tick_ms)?;
        self.samples.clone_from(&tick.samples);
        if flags & DECIDED != 0 {
            tick.decided = Some(self.decided(input, flags)?);
        }
        Ok(tick)
    }

    fn decided(&mut self, input: &mut Input<'_>, flags: u8) -> Result<Decided, Malformed> {
        let wall_ms = input.difference(self.now_ms)?;
        let timer_ms = input.difference(self.timer_ms.wrapping_add(self.tick_ms))?;
        self.timer_ms = timer_ms;
        self.seen.take(input)?;
        let memory = match (flags & CHANGED != 0, flags & UNCHANGED != 0) {
            (true, _) => Some((memory(input)?, Checkpoint::Changed)),
            (_, true) => Some((memory(input)?, Checkpoint::Unchanged)),
            _ => None,
        };
        let from = input.small("a size")?;
        let size = |input: &mut Input<'_>| {
            u32::try_from(input.difference(i64::from(from))?).map_err(|_| Malformed::Range("a size"))
        };
        let (to, wish) = (size(input)?, size(input)?);
        if flags & REASON != 0 {
            input.text()?.clone_into(&mut self.reason);
        }
        Ok(Decided {
            now: Now { wall_ms, timer_ms },
            seen: self.seen.clone(),
            memory,
            said: Said {
                from,
                to,
                wish,
                reason: self.reason.clone(),
            },
            evaluation: checksum(input)?,
            after: checksum(input)?,
        })
    }
}

fn checksum(input: &mut Input<'_>) -> Result<u64, Malformed> {
    let bytes = input.bytes(8)?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn now(input: &mut Input<'_>) -> Result<Now, Malformed> {
    Ok(Now {
        wall_ms: input.signed()?,
        timer_ms: input.signed()?,
    })
}

fn begin(input: &mut Input<'_>) -> Result<Begin, Malformed> {
    Ok(Begin {
        version: input.text()?.to_owned(),
        policy: input.text()?.to_owned(),
        now: now(input)?,
        why: one_of(&[Why::Start, Why::Change], input.byte()?, "a beginning")?,
    })
}

fn middle(input: &mut Input<'_>) -> Result<Continue, Malformed> {
    Ok(Continue {
        begin: begin(input)?,
        ticks: input.number()?,
        now: now(input)?,
        memory: memory(input)?,
        inventory: match input.byte()? {
            0 => None,
            _ => Some(devices(input)?),
        },
        newest: {
            let count = input.count(MAX_SIGNALS, "a list of signals")?;
            (0..count).map(|_| newest(input)).collect::<Result<_, _>>()?
        },
    })
}

fn newest(input: &mut Input<'_>) -> Result<Newest, Malformed> {
    let at_ms = input.option()?;
    let (read_ms, value) = (input.option()?, input.option()?);
    Ok(Newest {
        at_ms,
        reading: read_ms.map(|read_ms| (read_ms, value)),
    })
}

fn memory(input: &mut Input<'_>) -> Result<Memory, Malformed> {
    serde_json::from_str(input.text()?).map_err(|_| Malformed::Memory)
}

fn devices(input: &mut Input<'_>) -> Result<Vec<Device>, Malformed> {
    let mut devices: Vec<Device> = Vec::new();
    for _ in 0..input.count(LONGEST_LIST, "an inventory")? {
        let device = Device {
            id: DeviceId(input.small("a device")?),
            node: NodeId(input.small("a node")?),
            weight: input.signed()?,
            ready_since_ms: input.signed()?,
            health: one_of(&[Health::Healthy, Health::Unhealthy], input.byte()?, "a health")?,
        };
        // The engine looks devices up by halving, and adds their weights.
        let sorted = devices.last().is_none_or(|last| last.id < device.id);
        if !sorted || !(0..=HEAVIEST).contains(&device.weight) {
            return Err(Malformed::Range("a device"));
        }
        devices.push(device);
    }
    Ok(devices)
}

fn action(input: &mut Input<'_>) -> Result<Action, Malformed> {
    Ok(Action {
        now: now(input)?,
        pool: input.text()?.to_owned(),
        from: input.small("a size")?,
        to: input.small("a size")?,
        what: input.text()?.to_owned(),
        message: input.text()?.to_owned(),
    })
}
