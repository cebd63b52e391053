//! What was true of a pool at every scrape, and how much of it was stored: for the invariants, not for the
//! controller.

use std::collections::VecDeque;

use gpuscale::policy::config::{MINUTE_MS, Micro, Millis};

use super::faults::share;

/// How long it is remembered.
pub const REMEMBERED_MS: Millis = 90 * MINUTE_MS;

/// One scrape of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// True time.
    pub(super) at_ms: Millis,
    /// Healthy devices that could be used.
    pub(super) devices: u32,
    /// Those of them whose utilization was stored as it was.
    pub(super) known: u32,
    /// The largest load of any device.
    pub(super) busiest: Micro,
}

/// The scrapes of a pool, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth(VecDeque<Moment>);

impl Truth {
    pub(super) fn push(&mut self, moment: Moment) {
        while self
            .0
            .front()
            .is_some_and(|first| first.at_ms <= moment.at_ms - REMEMBERED_MS)
        {
            self.0.pop_front();
        }
        self.0.push_back(moment);
    }

    fn within(&self, from_ms: Millis, to_ms: Millis) -> impl Iterator<Item = &Moment> {
        let newest_first = self.0.iter().rev().skip_while(move |moment| moment.at_ms > to_ms);
        newest_first.take_while(move |moment| moment.at_ms > from_ms)
    }

    /// The share of device-time in `(from_ms, to_ms]` that was stored as it was; `None` if there was no
    /// device.
    pub(super) fn known_share(&self, from_ms: Millis, to_ms: Millis) -> Option<Micro> {
        let (known, devices) = self
            .within(from_ms, to_ms)
            .fold((0, 0), |(known, devices), moment| {
                (
                    known + u64::from(moment.known),
                    devices + u64::from(moment.devices),
                )
            });
        share(known, devices)
    }

    /// The largest load of any device in `(from_ms, to_ms]`.
    pub(super) fn busiest(&self, from_ms: Millis, to_ms: Millis) -> Micro {
        let loads = self.within(from_ms, to_ms).map(|moment| moment.busiest);
        loads.max().unwrap_or(0)
    }
}
