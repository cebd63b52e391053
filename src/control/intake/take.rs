//! One round of reads: what is done with the answers, in order.

use crate::control::ports::{Answer, Completeness, Series, SourceError};
use crate::devices::{MEBIBYTES, Unit, xid_code};
use crate::policy::config::{Micro, Millis, ONE};
use crate::policy::dcgm::DcgmMetric;
use crate::policy::sample::{Channel, DeviceId, Dropped, POOL, Sample};
use crate::policy::windows::ReadStatus;
use crate::policy::{READS_ZERO, WORKING_POWER};

use super::census::{Census, Gpu, Heard};
use super::reader::{Known, Reader};
use super::recent::Recent;
use super::wants::Use;
use super::{Counters, Intake, MOST_SAMPLES, MOST_SERIES, Output, Refused, Times};

/// Samples that room is kept for between two rounds. The first one brings whole windows, and no other does.
const SAMPLES_KEPT_ROOM_FOR: usize = 1_024;

/// Values of an expression that may change once more: those that two reads have in common, and as many again.
const REPEATED: usize = 8;

type Results = [(usize, Result<Answer, SourceError>)];

/// The instant and the lengths of time that samples are judged by.
#[derive(Debug, Clone, Copy)]
struct Frame {
    now_ms: Millis,
    oldest_ms: Millis,
    times: Times,
    beside: Beside,
}

/// Whether what tells if a signal can be believed could be read in this round, of every device.
#[derive(Debug, Clone, Copy)]
struct Beside {
    power: Reading,
    memory: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Answered,
    Unknown,
}

pub(super) fn take(intake: &mut Intake, results: &Results) {
    intake.out.samples.clear();
    intake.out.samples.shrink_to(SAMPLES_KEPT_ROOM_FOR);
    intake.out.counters = Counters::default();
    intake.refused.clear();
    intake.told_ms = None;
    intake.reads.fill(ReadStatus::Answered);
    let beside = judge(intake, results);
    let Some(now_ms) = source_time(intake, results) else {
        return;
    };
    begin_again(intake, results);
    if let Some(before_ms) = intake.now_ms.filter(|&before_ms| now_ms < before_ms) {
        rewind(intake, before_ms, now_ms);
    }
    (intake.now_ms, intake.told_ms) = (Some(now_ms), Some(now_ms));
    locate(intake, results);
    open(intake, results, now_ms);
    let frame = Frame {
        now_ms,
        oldest_ms: now_ms.saturating_sub(intake.times.horizon_ms),
        times: intake.times,
        beside,
    };
    note_splits(intake, results, frame);
    scale_memory(intake, results);
    for of_signal in [true, false] {
        for want in 0..intake.readers.len() {
            let (Some(answer), Some(reader)) = (answer(intake, results, want), intake.readers.get_mut(want))
            else {
                continue;
            };
            if reader.is_of_signal() != of_signal {
                continue;
            }
            if reader.is_expression() {
                take_expression(reader, answer, frame, &mut intake.out);
            } else {
                take_devices(reader, answer, frame, &mut intake.census, &mut intake.out);
            }
            settle(reader, answer);
        }
    }
    in_order(&mut intake.out.samples);
    apply_xids(intake);
    sweep(intake, frame);
}

/// Whole windows come out device by device in the order of time. Metric by metric, each sample of the second one would
/// be put between two that the engine has already, and a first read would take the square of its length.
fn in_order(samples: &mut [Sample]) {
    if samples.len() > SAMPLES_KEPT_ROOM_FOR {
        samples.sort_by_key(|sample| (sample.device, sample.at_ms, sample.channel));
    }
}

/// The answer to a want, if there is one that can be taken.
fn answer<'r>(intake: &Intake, results: &'r Results, want: usize) -> Option<&'r Answer> {
    let place = intake.results.get(want).copied().flatten()?;
    results.get(place)?.1.as_ref().ok()
}

/// Sorts results by want, and says how the read of each signal ended.
fn judge(intake: &mut Intake, results: &Results) -> Beside {
    intake.results.fill(None);
    for (place, (want, result)) in results.iter().enumerate() {
        let (Some(slot), Some(reader)) = (intake.results.get_mut(*want), intake.readers.get(*want)) else {
            continue;
        };
        let Ok(answer) = result else { continue };
        match refusal(reader, answer) {
            None => *slot = Some(place),
            Some(message) => intake.refused.push(Refused { want: *want, message }),
        }
    }
    let mut beside = Beside {
        power: Reading::Answered,
        memory: Reading::Answered,
    };
    for want in 0..intake.readers.len() {
        let Some(reader) = intake.readers.get(want) else {
            continue;
        };
        // What was left out of a partial answer is left out of the windows until all of it was read again, whether or
        // not the source answers in between.
        let status = match answer(intake, results, want).map(|answer| &answer.completeness) {
            Some(Completeness::Partial(_)) => ReadStatus::Partial,
            Some(Completeness::Whole) if reader.gaps.left && !reader.again => ReadStatus::Partial,
            None if reader.gaps.left => ReadStatus::Partial,
            None => ReadStatus::Failed,
            Some(Completeness::Whole) => continue,
        };
        for (what, read) in [(Use::Power, &mut beside.power), (Use::Memory, &mut beside.memory)] {
            if reader.has(what) {
                *read = Reading::Unknown;
            }
        }
        for signal in reader.uses.iter().filter_map(|what| what.signal()) {
            if let Some(read) = intake.reads.get_mut(usize::from(signal)) {
                *read = status;
            }
        }
    }
    beside
}

/// Why an answer cannot be taken.
fn refusal(reader: &Reader, answer: &Answer) -> Option<String> {
    let series = answer.series.len();
    if series > MOST_SERIES {
        return Some(format!(
            "the answer has {series} series, and at most {MOST_SERIES} are taken; narrow the labels"
        ));
    }
    if reader.is_expression() && series > 1 {
        return Some(format!(
            "the expression gives {series} series and must give one; sum or average it"
        ));
    }
    let samples = answer.series.samples();
    (samples > MOST_SAMPLES).then(|| {
        format!("the answer has {samples} samples, and at most {MOST_SAMPLES} are taken; narrow the labels")
    })
}

/// The source's time: the earliest of those that came with signals, else of any.
fn source_time(intake: &Intake, results: &Results) -> Option<Millis> {
    let earliest = |of_signal: bool| {
        let readers = intake.readers.iter().enumerate();
        let wanted = readers.filter(|(_, reader)| reader.is_of_signal() == of_signal);
        let times = wanted.filter_map(|(want, _)| Some(answer(intake, results, want)?.now_ms));
        times.min()
    };
    earliest(true).or_else(|| earliest(false))
}

/// Where all of the window was to be read again and was, every sample passes once more.
fn begin_again(intake: &mut Intake, results: &Results) {
    for want in 0..intake.readers.len() {
        let answer = answer(intake, results, want);
        let whole = answer.is_some_and(|answer| answer.completeness == Completeness::Whole);
        if let Some(reader) = intake
            .readers
            .get_mut(want)
            .filter(|reader| reader.again && whole)
        {
            reader.begin_again();
        }
    }
}

/// The source's clock was ahead and is right again. Where it was ahead by more than a moment, the windows slid too far
/// and are read anew.
fn rewind(intake: &mut Intake, before_ms: Millis, now_ms: Millis) {
    let far = before_ms.saturating_sub(now_ms) > intake.times.hold_ms;
    intake.census.forget_after(now_ms);
    intake.swept_ms = intake.swept_ms.min(now_ms);
    for reader in &mut intake.readers {
        reader.forget_after(now_ms);
        if far {
            reader.again = true;
        }
    }
}

/// Finds the series of all answers, and gives numbers to devices that are new.
fn locate(intake: &mut Intake, results: &Results) {
    for want in 0..intake.readers.len() {
        let answer = answer(intake, results, want);
        let (Some(answer), Some(reader)) = (answer, intake.readers.get_mut(want)) else {
            continue;
        };
        if reader.is_expression() || !reader.locate(&answer.series, &intake.mapping, &mut intake.census) {
            continue;
        }
        if reader.is_of_signal() {
            reader.report(&mut intake.census);
        }
    }
    let numbered = intake.census.number();
    for reader in &mut intake.readers {
        if numbered || reader.order.is_empty() {
            reader.sort(&intake.census);
        }
    }
}

/// Notes the first sample of all, once.
fn open(intake: &mut Intake, results: &Results, now_ms: Millis) {
    if intake.times.opening_ms.is_none() {
        let answers = (0..intake.readers.len()).filter_map(|want| answer(intake, results, want));
        let series = answers.flat_map(|answer| answer.series.iter());
        let first = series.filter_map(|series| Some(series.samples.first()?.0));
        intake.times.opening_ms = first.filter(|&at_ms| at_ms <= now_ms).min();
    }
}

/// Notes when the instances of split GPUs reported, before any whole GPU is believed.
fn note_splits(intake: &mut Intake, results: &Results, frame: Frame) {
    for want in 0..intake.readers.len() {
        let (Some(answer), Some(reader)) = (answer(intake, results, want), intake.readers.get(want)) else {
            continue;
        };
        if !reader.split || !reader.is_of_signal() {
            continue;
        }
        for (series, known) in reader.answered(answer) {
            let device = known.device().and_then(|place| intake.census.devices.get(place));
            let Some(device) = device.filter(|device| device.instance) else {
                continue;
            };
            let told = series.samples.iter().map(|&(at_ms, _)| at_ms);
            let told = told.filter(|&at_ms| at_ms <= frame.now_ms);
            let Some(gpu) = intake.census.gpus.get_mut(device.gpu) else {
                continue;
            };
            for at_ms in told {
                let (first_ms, last_ms) = gpu.split_ms.unwrap_or((at_ms, at_ms));
                gpu.split_ms = Some((first_ms.min(at_ms), last_ms.max(at_ms)));
            }
        }
    }
}

/// Used and free memory of one time are the memory of a device. It is looked for until it is found.
fn scale_memory(intake: &mut Intake, results: &Results) {
    for want in 0..intake.readers.len() {
        let (Some(free), Some(free_of)) = (answer(intake, results, want), intake.readers.get(want)) else {
            continue;
        };
        if !free_of.has(Use::MemoryFree) {
            continue;
        }
        let lacking = free_of.answered(free).filter_map(|(series, known)| {
            let device = intake.census.devices.get(known.device()?)?;
            (device.id.is_some() && device.memory_mib.is_none()).then_some((
                known.device()?,
                device.id,
                series,
            ))
        });
        let mut found = Vec::new();
        for (place, id, series) in lacking {
            for other in (0..intake.readers.len()).filter(|&other| other != want) {
                let (Some(used), Some(used_of)) = (answer(intake, results, other), intake.readers.get(other))
                else {
                    continue;
                };
                if !used_of.has(Use::Memory) {
                    continue;
                }
                let used = used_of.answered_of(used, &intake.census, id);
                if let Some(mib) = used.and_then(|used| together(used.samples, series.samples)) {
                    found.push((place, mib));
                }
            }
        }
        for (place, mib) in found {
            if let Some(device) = intake.census.devices.get_mut(place) {
                device.memory_mib = Some(mib);
            }
        }
    }
}

/// The sum of the newest readings of one time.
fn together(used: &[(Millis, f64)], free: &[(Millis, f64)]) -> Option<f64> {
    let mut free = free.iter().rev().peekable();
    for &(at_ms, used) in used.iter().rev() {
        while free.next_if(|&&(free_ms, _)| free_ms > at_ms).is_some() {}
        let Some(&&(free_ms, free)) = free.peek() else {
            break;
        };
        let plausible = MEBIBYTES.contains(&used) && MEBIBYTES.contains(&free) && used + free > 0.0;
        if free_ms == at_ms && plausible {
            return Some(used + free);
        }
    }
    None
}

/// Whether a sample is to be looked at: it is of the past, of the window, and new.
fn passes(recent: &mut Recent, at_ms: Millis, frame: Frame, counters: &mut Counters) -> bool {
    if at_ms > frame.now_ms {
        counters.future += 1;
        return false;
    }
    if at_ms < frame.oldest_ms {
        counters.old += 1;
        return false;
    }
    recent.note(at_ms)
}

fn valued(unit: Unit, raw: f64, counters: &mut Counters) -> Option<Micro> {
    match unit.normalize(raw) {
        Ok(value) => Some(value),
        Err(Dropped::NotFinite) => {
            counters.not_finite += 1;
            None
        }
        Err(Dropped::OutOfRange) => {
            counters.out_of_range += 1;
            None
        }
    }
}

fn take_expression(reader: &mut Reader, answer: &Answer, frame: Frame, out: &mut Output) {
    let Reader { uses, pool, said, .. } = reader;
    let samples = || answer.series.iter().flat_map(|series| series.samples);
    for &(at_ms, raw) in samples() {
        let before = said.iter().find(|(said_ms, _)| *said_ms == at_ms);
        let changed = before.is_some_and(|(_, before)| before.to_bits() != raw.to_bits());
        if !passes(pool, at_ms, frame, &mut out.counters) && !changed {
            continue;
        }
        for what in uses.iter() {
            let Use::Series(signal, unit) = *what else {
                continue;
            };
            out.samples.push(Sample {
                at_ms,
                signal,
                device: POOL,
                value: valued(Unit::Series(unit), raw, &mut out.counters),
                weight: ONE,
                channel: Channel::Load,
            });
        }
    }
    said.clear();
    let whole = samples().count();
    said.extend(samples().skip(whole.saturating_sub(REPEATED)));
}

fn take_devices(reader: &mut Reader, answer: &Answer, frame: Frame, census: &mut Census, out: &mut Output) {
    let of_signal = reader.is_of_signal();
    let Reader {
        uses, known, order, ..
    } = reader;
    for &(at, place) in order.iter() {
        let (Some(series), Some(known)) = (answer.series.get(at), known.get_mut(place)) else {
            continue;
        };
        let Some(place) = known.device() else {
            out.counters.unidentified_series += u32::from(of_signal);
            continue;
        };
        if census.is_foreign(known.node()) {
            out.counters.foreign_series += u32::from(of_signal);
            continue;
        }
        let Some(device) = census.devices.get_mut(place) else {
            continue;
        };
        let (Some(id), Some(gpu)) = (device.id, census.gpus.get_mut(device.gpu)) else {
            // Power and memory of a device that no signal reads say nothing; an instance without a profile neither.
            out.counters.unidentified_series += u32::from(of_signal);
            continue;
        };
        let mut taker = Taker {
            uses: uses.as_slice(),
            of_signal,
            place,
            id,
            device,
            gpu,
            frame,
        };
        taker.take(series, known, out);
    }
}

/// Takes the samples of one series of one device.
struct Taker<'t> {
    uses: &'t [Use],
    of_signal: bool,
    place: usize,
    id: DeviceId,
    device: &'t mut Heard,
    gpu: &'t mut Gpu,
    frame: Frame,
}

impl Taker<'_> {
    fn take(&mut self, series: Series<'_>, known: &mut Known, out: &mut Output) {
        for &(at_ms, raw) in series.samples {
            if !passes(&mut known.recent, at_ms, self.frame, &mut out.counters) {
                continue;
            }
            if self.of_signal {
                if self.is_spoken_for(at_ms) {
                    continue;
                }
                self.hear(at_ms, raw, known.node());
            }
            for &what in self.uses {
                self.use_for(what, at_ms, raw, known.model, out);
            }
        }
    }

    /// Whether the instances of the GPU speak at that time, so that what is read of it as a whole says nothing.
    fn is_spoken_for(&self, at_ms: Millis) -> bool {
        let quiet_ms = self.frame.times.quiet_ms;
        let split = self.gpu.split_ms.filter(|_| !self.device.instance);
        split
            .is_some_and(|(first_ms, last_ms)| at_ms >= first_ms && at_ms <= last_ms.saturating_add(quiet_ms))
    }

    fn hear(&mut self, at_ms: Millis, raw: f64, node: Option<usize>) {
        let device = &mut *self.device;
        device.first_ms = device.first_ms.min(at_ms);
        if device.node.is_none() {
            device.node = node;
        }
        if raw.is_finite() {
            // A device that is seen in two nodes is where it was seen last.
            if at_ms > device.last_ms || (at_ms == device.last_ms && node < device.node) {
                device.node = node;
                device.last_ms = at_ms;
            }
            if !device.instance {
                self.gpu.whole_ms = self.gpu.whole_ms.max(Some(at_ms));
            }
        }
    }

    fn use_for(&mut self, what: Use, at_ms: Millis, raw: f64, model: f64, out: &mut Output) {
        let (signal, channel, metric) = match what {
            Use::Device(signal, metric) => (signal, Channel::Load, metric),
            // An instance repeats the power of its GPU, which says nothing about the instance.
            Use::Power if !self.device.instance => (0, Channel::Power, DcgmMetric::PowerRatio),
            Use::Memory => (0, Channel::Memory, DcgmMetric::MemoryUsed),
            Use::Xid => {
                out.xids
                    .extend(xid_code(raw).map(|code| (self.place, at_ms, code)));
                return;
            }
            Use::Power | Use::MemoryFree | Use::Series(..) => return,
        };
        let full = match metric {
            DcgmMetric::MemoryUsed => self.device.memory_mib.unwrap_or(model),
            _ => model,
        };
        let unit = match metric {
            DcgmMetric::GpuUtilization if self.device.instance => Unit::Nothing,
            _ => Unit::Dcgm(metric, full),
        };
        let mut value = valued(unit, raw, &mut out.counters);
        match channel {
            Channel::Load if value.is_some_and(|value| self.is_doubtful(at_ms, value)) => {
                out.counters.unverified += 1;
                value = None;
            }
            Channel::Power => {
                let news = self.device.power.is_none_or(|(last_ms, _)| last_ms <= at_ms);
                self.device.power = value
                    .filter(|_| news)
                    .map(|value| (at_ms, value))
                    .or(self.device.power);
            }
            Channel::Memory => {
                let news = self.device.memory.is_none_or(|(last_ms, _)| last_ms <= at_ms);
                self.device.memory = value
                    .filter(|_| news)
                    .map(|value| (at_ms, value))
                    .or(self.device.memory);
            }
            Channel::Load => self.repeat_memory(at_ms, out),
        }
        out.samples.push(Sample {
            at_ms,
            signal,
            device: self.id,
            value,
            weight: if channel == Channel::Load {
                self.device.weight
            } else {
                ONE
            },
            channel,
        });
    }

    /// Memory that was in use when that could last be read is in use until it can be read again: a load that reads idle says
    /// nothing of a model that is held.
    fn repeat_memory(&self, at_ms: Millis, out: &mut Output) {
        let hold_ms = self.frame.times.hold_ms;
        let Some((last_ms, used)) = self.device.memory else {
            return;
        };
        if self.frame.beside.memory == Reading::Unknown && at_ms >= last_ms.saturating_add(hold_ms) {
            out.samples.push(Sample {
                channel: Channel::Memory,
                ..Sample::of_device(0, self.id, at_ms, used)
            });
        }
    }

    /// A zero of a device that was at work by its power when that could last be read, which was too long ago for the
    /// engine to know.
    fn is_doubtful(&self, at_ms: Millis, value: Micro) -> bool {
        let hold_ms = self.frame.times.hold_ms;
        let working = |(last_ms, power): (Millis, Micro)| {
            power > WORKING_POWER && at_ms >= last_ms.saturating_add(hold_ms)
        };
        self.frame.beside.power == Reading::Unknown
            && value <= READS_ZERO
            && self.device.power.is_some_and(working)
    }
}

/// After answers that were partial everything is read once more.
fn settle(reader: &mut Reader, answer: &Answer) {
    let partial = matches!(answer.completeness, Completeness::Partial(_));
    let read_again = std::mem::take(&mut reader.gaps.read_again);
    reader.gaps.left = partial || (reader.gaps.left && !read_again);
    reader.again |= reader.gaps.left && !partial;
}

/// Takes the codes of this round in order of time.
fn apply_xids(intake: &mut Intake) {
    let start_ms = intake.times.opening_ms.unwrap_or(Millis::MIN);
    intake.out.xids.sort_unstable();
    for (place, at_ms, code) in intake.out.xids.drain(..) {
        let device = intake.census.devices.get_mut(place);
        if let Some(device) = device.filter(|device| (at_ms, code) > device.xid_at) {
            device.xids.note(at_ms, code, start_ms);
            device.xid_at = (at_ms, code);
        }
    }
}

/// Forgets what has been silent for longer than any window, every now and then.
fn sweep(intake: &mut Intake, frame: Frame) {
    let due_ms = intake.swept_ms.saturating_add(frame.times.horizon_ms / 2);
    if intake.swept_ms == Millis::MIN {
        intake.swept_ms = frame.now_ms;
    } else if frame.now_ms >= due_ms {
        intake.swept_ms = frame.now_ms;
        let mut in_use = vec![false; intake.census.devices.len()];
        for reader in &mut intake.readers {
            reader.sweep(frame.oldest_ms, &mut in_use);
        }
        let moved = intake.census.sweep(frame.oldest_ms, &in_use);
        for reader in &mut intake.readers {
            reader.moved(&moved);
        }
    }
}
