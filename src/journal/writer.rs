//! The writer: records into blocks, blocks into segments, the oldest segment out when there is no more room.
//!
//! A tick costs about a microsecond: it is written against the one before it into a buffer that is kept, and packed
//! together with others. A block is handed on when it is large or old enough, and before anything is done to the
//! platform, so that every write there has its reason kept.

use super::block;
use super::encode::{Encoder, Middle, Stretch, put_action, put_begin, put_checkpoint, put_continue};
use super::record::{Newest, Why};
use super::segments::Segments;
use super::{ActionRecord, Beginning, Decided, JournalError, Sink, TickRecord};
use crate::policy::config::{MAX_SIGNALS, Millis};
use crate::policy::sample::{Channel, POOL, Sample};
use crate::policy::windows::Device;

/// Plain bytes that room is kept for between two blocks. A first read brings whole windows, and no other does.
const PENDING_KEPT_ROOM_FOR: usize = 64 << 10;

/// How much a journal may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments of a policy; the oldest are dropped beyond it.
    pub total_bytes: u64,
    /// Bytes of a segment, roughly: it ends with the tick that passes them.
    pub segment_bytes: u64,
    /// Plain bytes of a block.
    pub block_bytes: usize,
    /// Ticks of a block: as many may be lost in a crash.
    pub block_ticks: u32,
    /// Ticks from one memory to the next. A replay that begins in the middle begins at one.
    pub checkpoint_ticks: u64,
}

impl Default for Limits {
    /// Some 64 MiB for months of a pool of 16 GPUs, ten minutes to a block, an hour to a checkpoint.
    fn default() -> Self {
        Self {
            total_bytes: 64 << 20,
            segment_bytes: 4 << 20,
            block_bytes: 256 << 10,
            block_ticks: 40,
            checkpoint_ticks: 240,
        }
    }
}

/// Writes the journal of one policy.
pub struct Writer<S> {
    segments: S,
    limits: Limits,
    /// Number and bytes of each segment, oldest first; the last one is being written, if one is open.
    kept: Vec<(u64, u64)>,
    state: State,
    encoder: Encoder,
    /// Records that are not handed on yet, and the ticks among them.
    pending: Vec<u8>,
    pending_ticks: u32,
    stretch: Option<Stretch>,
    /// Ticks since the stretch began.
    ticks: u64,
    inventory: Option<Vec<Device>>,
    /// The last reading of each signal that is one series.
    readings: [Option<(Millis, Option<i64>)>; MAX_SIGNALS],
}

/// Whether the segment at hand can be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It can.
    Open,
    /// There is none, or what became of its last block is not known: the next records need a new one.
    Closed,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Writer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            segments,
            kept,
            ticks,
            ..
        } = self;
        f.debug_struct("Writer")
            .field("segments", segments)
            .field("kept", kept)
            .field("ticks", ticks)
            .finish_non_exhaustive()
    }
}

impl<S: Segments> Writer<S> {
    /// Goes on after what `segments` keeps already.
    ///
    /// # Errors
    /// [`JournalError`] if there is no memory to pack blocks in.
    pub fn new(segments: S, limits: Limits) -> Result<Self, JournalError> {
        block::prepare().map_err(|error| JournalError(error.to_string()))?;
        Ok(Self {
            kept: segments.kept(),
            segments,
            limits,
            state: State::Closed,
            encoder: Encoder::default(),
            pending: Vec::new(),
            pending_ticks: 0,
            stretch: None,
            ticks: 0,
            inventory: None,
            readings: [None; MAX_SIGNALS],
        })
    }

    /// Hands on what is pending.
    ///
    /// # Errors
    /// [`JournalError`] if it was not kept. It is lost then, and the journal goes on in a new segment.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.append();
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT_ROOM_FOR);
        self.pending_ticks = 0;
        if result.is_err() {
            self.state = State::Closed;
            return result;
        }
        self.make_room()
    }

    /// Where the bytes go.
    pub fn segments(&self) -> &S {
        &self.segments
    }

    /// Where the bytes go, to be changed.
    pub fn segments_mut(&mut self) -> &mut S {
        &mut self.segments
    }

    /// Where the bytes went. What is pending is lost.
    pub fn into_segments(self) -> S {
        self.segments
    }

    fn append(&mut self) -> Result<(), JournalError> {
        let Some((number, kept)) = self.kept.last_mut() else {
            return Err(JournalError("there is no segment".to_owned()));
        };
        let segments = &mut self.segments;
        let appended = block::sealed(&self.pending, |block| {
            *kept += block.len() as u64;
            segments.append(*number, block)
        });
        appended.unwrap_or_else(|error| Err(JournalError(error.to_string())))
    }

    /// Drops the oldest segments while all of them together are too large.
    fn make_room(&mut self) -> Result<(), JournalError> {
        let mut total: u64 = self.kept.iter().map(|(_, bytes)| bytes).sum();
        while let [(oldest, bytes), _, ..] = *self.kept.as_slice()
            && total > self.limits.total_bytes
        {
            self.segments.drop_segment(oldest)?;
            self.kept.remove(0);
            total -= bytes;
        }
        Ok(())
    }

    fn new_segment(&mut self) {
        let number = self.kept.last().map_or(0, |(number, _)| number + 1);
        self.kept.push((number, 0));
        self.state = State::Open;
    }

    /// Begins a segment after a decision, with all that a replay needs to begin there.
    fn rotate(&mut self, decided: &Decided<'_>) -> Result<(), JournalError> {
        self.flush()?;
        let Some(stretch) = &self.stretch else {
            return Ok(());
        };
        let signals = decided.evaluation.signals();
        let newest: Vec<Newest> = signals
            .iter()
            .zip(&self.readings)
            .map(|(evidence, reading)| {
                // The windows may have forgotten all, after a clock that was put back.
                let is_known = evidence.age_ms != Millis::MAX;
                Newest {
                    at_ms: is_known.then(|| decided.now.wall_ms.saturating_sub(evidence.age_ms)),
                    reading: reading.filter(|_| is_known),
                }
            })
            .collect();
        put_continue(
            &mut self.pending,
            &Middle {
                stretch,
                ticks: self.ticks,
                now: decided.now,
                memory: decided.after,
                inventory: self.inventory.as_deref(),
                newest: &newest,
            },
        )?;
        self.encoder = Encoder::default();
        self.new_segment();
        Ok(())
    }

    /// Keeps what the beginning of a segment says of all before it.
    fn note(&mut self, tick: &TickRecord<'_>) {
        self.ticks += 1;
        if let Some(devices) = tick.delta.inventory {
            let known = self.inventory.get_or_insert_default();
            if known != devices {
                known.clear();
                known.extend_from_slice(devices);
            }
        }
        for reading in &mut self.readings {
            // The source's clock was ahead: what it said of the future was never so.
            *reading = reading.filter(|(at_ms, _)| *at_ms <= tick.delta.now_ms);
        }
        let of_pool = |sample: &&Sample| sample.device == POOL && sample.channel == Channel::Load;
        for sample in tick.delta.samples.iter().filter(of_pool) {
            let Some(last) = self.readings.get_mut(usize::from(sample.signal)) else {
                continue;
            };
            // Of two readings of one instant the larger counts, as in the windows.
            if sample.at_ms <= tick.delta.now_ms {
                *last = (*last).max(Some((sample.at_ms, sample.value)));
            }
        }
    }

    fn is_segment_full(&self) -> bool {
        let written = self.kept.last().map_or(0, |(_, bytes)| *bytes);
        written >= self.limits.segment_bytes
    }
}

impl<S: Segments> Sink for Writer<S> {
    fn flush(&mut self) -> Result<(), JournalError> {
        Self::flush(self)
    }

    fn begin(&mut self, beginning: &Beginning<'_>) -> Result<(), JournalError> {
        let flushed = self.flush();
        let why = if self.stretch.is_none() {
            Why::Start
        } else {
            Why::Change
        };
        let stretch = Stretch {
            policy: beginning.policy.to_owned(),
            now: beginning.now,
            why,
        };
        if self.state == State::Closed || self.is_segment_full() {
            self.new_segment();
        }
        put_begin(&mut self.pending, &stretch);
        self.stretch = Some(stretch);
        self.encoder = Encoder::default();
        self.ticks = 0;
        self.inventory = None;
        self.readings = [None; MAX_SIGNALS];
        flushed
    }

    fn tick(&mut self, tick: &TickRecord<'_>) -> Result<(), JournalError> {
        if self.stretch.is_none() {
            return Err(JournalError(
                "a tick before the beginning of a stretch".to_owned(),
            ));
        }
        self.note(tick);
        if self.state == State::Closed {
            // What was lost left a gap; from the next decision on the journal can be read alone.
            return tick
                .decided
                .as_ref()
                .map_or(Ok(()), |decided| self.rotate(decided));
        }
        let before = self.pending.len();
        if let Err(error) = self.encoder.put_tick(&mut self.pending, tick) {
            self.pending.truncate(before);
            let _ = self.flush();
            self.state = State::Closed;
            return Err(error);
        }
        self.pending_ticks += 1;
        let Some(decided) = &tick.decided else {
            return self.flush_if_due();
        };
        if self.is_segment_full() {
            return self.rotate(decided);
        }
        if self.ticks.is_multiple_of(self.limits.checkpoint_ticks.max(1)) {
            put_checkpoint(&mut self.pending, decided.after)?;
        }
        self.flush_if_due()
    }

    fn action(&mut self, action: &ActionRecord<'_>) -> Result<(), JournalError> {
        if self.state == State::Closed {
            return Err(JournalError(
                "the last block could not be kept; the next tick begins anew".to_owned(),
            ));
        }
        put_action(&mut self.pending, action);
        self.flush()
    }
}

impl<S: Segments> Writer<S> {
    fn flush_if_due(&mut self) -> Result<(), JournalError> {
        if self.pending.len() >= self.limits.block_bytes || self.pending_ticks >= self.limits.block_ticks {
            return self.flush();
        }
        Ok(())
    }
}
