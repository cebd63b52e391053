//! What the server has of one pool: it scrapes the pool's nodes into rows, and reads the rows back.

use gpuscale::control::ports::SeriesBuilder;
use gpuscale::policy::config::{Micro, Millis};

use super::super::demand::STEP_MS;
use super::super::fleet::{Fleet, FleetNode, Gpu, Stage};
use super::exporter::{Exporter, early, report};
use super::faults::{Active, GHOST_MS, share};
use super::series::{Device, KEEP_ROWS, Own, Row, Server, Worth};
use super::truth::{Moment, Truth};

/// What is stored of a pool.
#[derive(Debug)]
pub(super) struct Pool {
    seed: u64,
    index: usize,
    exporter: Exporter,
    pub(super) labels: Vec<(String, String)>,
    /// By device number.
    devices: Vec<Device>,
    /// Numbers of the devices with rows.
    listed: Vec<u32>,
    pub(super) truth: Truth,
}

/// What is read.
pub(super) struct Within<'a> {
    pub(super) faults: &'a Active,
    pub(super) true_ms: Millis,
    /// When it is looked: what came late by then is there.
    pub(super) looked_ms: Millis,
    pub(super) now_ms: Millis,
    pub(super) from_ms: Millis,
}

impl Within<'_> {
    /// Up to when the samples of a node can be read, or those of the queries, on the server's clock.
    pub(super) fn readable_until(&self, node: Option<u32>) -> Millis {
        // What could be read then was read, also if nothing as new could be read now.
        let then_ms = self.faults.readable_until(node, self.true_ms);
        let readable_ms = then_ms.max(self.faults.readable_until(node, self.looked_ms));
        readable_ms - self.true_ms + self.now_ms
    }
}

impl Pool {
    /// The pool with this index in the run, without rows.
    pub(super) fn new(seed: u64, index: usize, labels: Vec<(String, String)>, exporter: Exporter) -> Self {
        Self {
            seed,
            index,
            exporter,
            labels,
            devices: Vec::new(),
            listed: Vec::new(),
            truth: Truth::default(),
        }
    }

    /// Scrapes its nodes at `true_ms`, which is `now_ms` on the server's clock.
    pub(super) fn scrape(&mut self, true_ms: Millis, now_ms: Millis, fleet: &Fleet, faults: &Active) {
        let down = faults.down();
        let mut moment = Moment {
            at_ms: true_ms,
            devices: 0,
            known: 0,
            busiest: fleet.busiest(),
        };
        for node in fleet
            .nodes()
            .iter()
            .filter(|node| node.stage == Stage::Schedulable)
        {
            let healthy = u32::from(!node.unhealthy);
            let silent = down || faults.silent(node.number, true_ms);
            let at_ms = now_ms - early(self.seed, node.number);
            for (place, gpu) in node.gpus.iter().enumerate() {
                moment.devices += healthy;
                if silent {
                    continue;
                }
                let when = (true_ms, at_ms);
                let row = report(self.seed, self.index, gpu, when, self.exporter, faults);
                let device = self.device(node, place, gpu);
                device.scraped_ms = true_ms;
                if device.push(row) && row.worth == Worth::Faithful {
                    moment.known += healthy;
                }
            }
        }
        self.truth.push(moment);
        if faults.ghosts() && !down {
            self.haunt(true_ms, now_ms, fleet);
        }
    }

    /// A device, with its labels made when it is new.
    fn device(&mut self, node: &FleetNode, place: usize, gpu: &Gpu) -> &mut Device {
        let exporter = self.exporter;
        let number = gpu.device as usize;
        if self.devices.len() <= number {
            self.devices.resize_with(number + 1, Device::default);
        }
        let device = &mut self.devices[number];
        if !device.is_named() {
            let mut pairs = self.labels.clone();
            let mut tell = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
            tell("gpu", &place.to_string());
            tell(exporter.node_label, &node.name);
            tell("modelName", "NVIDIA A100-SXM4-80GB");
            if exporter.uuid {
                tell("UUID", &node.uuids[place]);
            }
            let pod = format!("worker-{}-{place}", node.name);
            device.name(node.number, Own { pairs, pod });
        }
        if !device.listed {
            device.listed = true;
            self.listed.push(gpu.device);
        }
        device
    }

    /// Stores the last values once more for devices whose nodes left. One whose exporter is dead stays
    /// silent: a value that is repeated for a node that is there could not be told from a true one.
    fn haunt(&mut self, true_ms: Millis, now_ms: Millis, fleet: &Fleet) {
        for &number in &self.listed {
            let device = &mut self.devices[number as usize];
            let node = fleet
                .nodes()
                .binary_search_by_key(&device.node, |node| node.number);
            let silent_ms = true_ms - device.scraped_ms;
            if let Some(&last) = device.rows.last()
                && node.is_err()
                && silent_ms <= GHOST_MS
            {
                device.push(Row {
                    at_ms: now_ms,
                    ..last
                });
            }
        }
    }

    /// Forgets devices that were not scraped for longer than anything is kept.
    pub(super) fn forget(&mut self, true_ms: Millis) {
        let kept_ms = STEP_MS * i64::try_from(KEEP_ROWS).unwrap_or(i64::MAX / STEP_MS);
        let devices = &mut self.devices;
        self.listed.retain(|&number| {
            let device = &mut devices[number as usize];
            let keep = device.scraped_ms > true_ms - kept_ms;
            if !keep {
                *device = Device::default();
            }
            keep
        });
    }

    /// Adds its series of a metric to an answer.
    pub(super) fn answer(&mut self, metric: usize, within: &Within<'_>, series: &mut SeriesBuilder) {
        for &number in &self.listed {
            if within.faults.lacks(number) {
                continue;
            }
            let device = &mut self.devices[number as usize];
            let range = (within.from_ms, within.readable_until(Some(device.node)));
            device.answer(metric, (Server::First, 0), range, series);
            if let Some(shift_ms) = within.faults.replica() {
                device.answer(metric, (Server::Second, shift_ms), range, series);
            }
        }
    }

    /// The share of the device-time of the nodes that are there, Ready for `warm_up_ms` and healthy, of which
    /// the utilization was known: see [`Device::known_ms`]. `None` without any device-time.
    pub(super) fn known_time(
        &self,
        fleet: &Fleet,
        within: &Within<'_>,
        hold_ms: Millis,
        warm_up_ms: Millis,
    ) -> Option<Micro> {
        let (from_ms, to_ms) = (within.from_ms, within.now_ms);
        let offset_ms = within.now_ms - within.true_ms;
        let (mut known_ms, mut all_ms) = (0, 0);
        for node in fleet.nodes().iter().filter(|node| !node.unhealthy) {
            let warm_ms = node
                .ready_at_ms
                .saturating_add(warm_up_ms)
                .saturating_add(offset_ms);
            let start_ms = from_ms.max(warm_ms);
            let readable_ms = within.readable_until(Some(node.number));
            for gpu in &node.gpus {
                all_ms += (to_ms - start_ms).max(0);
                let device = self.devices.get(gpu.device as usize);
                known_ms += device.map_or(0, |device| {
                    device.known_ms((start_ms, to_ms, readable_ms), hold_ms)
                });
            }
        }
        share(known_ms.unsigned_abs(), all_ms.unsigned_abs())
    }

    /// The newest faithful sample of the nodes that are there, on the server's clock.
    pub(super) fn newest_ms(&self, fleet: &Fleet, within: &Within<'_>) -> Option<Millis> {
        let newest = |node: &FleetNode| {
            let to_ms = within.readable_until(Some(node.number));
            let devices = node
                .gpus
                .iter()
                .filter_map(|gpu| self.devices.get(gpu.device as usize));
            devices.filter_map(|device| device.newest_ms(to_ms)).max()
        };
        fleet.nodes().iter().filter_map(newest).max()
    }

    /// Moves all that is stored in time.
    pub(super) fn shift(&mut self, by_ms: Millis) {
        for row in self.devices.iter_mut().flat_map(|device| &mut device.rows) {
            row.at_ms += by_ms;
        }
    }
}
