//! A seeded life of one policy: readings, a pool, restarts, and a journal of it all.

use crate::journal::*;
use crate::policy::config::{Micro, Millis, ONE};
use crate::policy::memory::Intent;
use crate::policy::observation::*;
use crate::policy::sample::{Channel, DeviceId, NodeId, Sample};
use crate::policy::windows::{Delta, Device, Health, ReadStatus};
use crate::policy::{Config, Memory, Windows, evaluate};

pub(super) const TICK_MS: Millis = 15_000;
pub(super) const FIRST_TIMER_MS: Millis = 5_000;
pub(super) const PRICE: Micro = 3_000_000;
/// Ticks until the demand window of one minute can be judged, with warm-up behind it.
pub(super) const WHOLE_WINDOW_TICKS: Millis = 4;

pub(super) fn policy(target: u32) -> String {
    format!(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: a100 }}\nspec:\n  \
         targetRef: {{ kind: AksNodePool, name: a100 }}\n  maxNodes: 12\n  settle: 1m\n  signals:\n  \
         - {{ name: gpu, dcgm: {{ metric: GpuUtilization }}, targetPercentage: {target}, \
         down: {{ below: 25, for: 3m, rule: Hold }} }}\n  \
         - {{ name: queue, promql: 'sum(waiting)', unit: count, perNode: 8, absent: Zero }}\n  \
         - {{ name: pods, gpuRequests: {{}} }}\n  \
         behavior: {{ scaleDown: {{ stabilization: 3m, cooldown: 2m }} }}\n"
    )
}

/// What a life holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everything but crashes.
    Eventful,
    /// One process that never restarts.
    Stretch,
    /// Processes that die with their pending block.
    Crashes,
    /// Four GPUs at one load, and nothing else.
    Constant(Micro),
}

/// A seeded stream (Steele, Lea and Flood's `SplitMix64`, whose constants these are).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(sides)).unwrap()
    }

    fn one_in(&mut self, sides: u32) -> bool {
        self.throw(sides) == 0
    }
}

pub(super) struct Life<S: Segments = InMemory> {
    plan: Plan,
    limits: Limits,
    dice: Dice,
    document: String,
    config: Config,
    windows: Windows,
    memory: Memory,
    /// Whether the next decision has to be given its memory.
    touched: bool,
    asked: u32,
    devices: Vec<Device>,
    load: Micro,
    wall_ms: Millis,
    timer_ms: Millis,
    recent: Vec<Sample>,
    pub(super) writer: Option<Writer<S>>,
    pub(super) decisions: u64,
    pub(super) refusals: u32,
    /// The decision before which a memory is passed for unchanged that was changed.
    pub(super) tampered: Option<u64>,
}

impl Life {
    pub(super) fn new(seed: u64, plan: Plan, limits: Limits) -> Self {
        Self::over(seed, plan, limits, InMemory::default())
    }

    pub(super) fn end(mut self) -> InMemory {
        let mut writer = self.writer.take().unwrap();
        writer.flush().unwrap();
        writer.into_segments()
    }
}

impl<S: Segments> Life<S> {
    pub(super) fn over(seed: u64, plan: Plan, limits: Limits, segments: S) -> Self {
        let document = policy(70);
        let config = Policy::new(&document).unwrap().config;
        let mut life = Self {
            plan,
            limits,
            dice: Dice(seed),
            document,
            windows: Windows::new(&config),
            config,
            memory: Memory::default(),
            touched: false,
            asked: 4,
            devices: (0..4)
                .map(|number| Device::new(DeviceId(number), NodeId(number), 0))
                .collect(),
            load: ONE / 2,
            wall_ms: 1_700_000_000_000,
            timer_ms: FIRST_TIMER_MS,
            recent: Vec::new(),
            writer: Some(Writer::new(segments, limits).unwrap()),
            decisions: 0,
            refusals: 0,
            tampered: None,
        };
        life.begin();
        life
    }

    pub(super) fn end_over(mut self) {
        self.writer.take().unwrap().flush().unwrap();
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: self.wall_ms,
            timer_ms: self.timer_ms,
        }
    }

    fn begin(&mut self) {
        let now = self.now();
        self.windows = Windows::new(&self.config);
        let beginning = Beginning {
            policy: &self.document,
            now,
        };
        self.writer.as_mut().unwrap().begin(&beginning).unwrap();
    }

    fn restart(&mut self) {
        let mut writer = self.writer.take().unwrap();
        if self.plan != Plan::Crashes {
            writer.flush().unwrap();
        }
        let saved = self.now();
        self.writer = Some(Writer::new(writer.into_segments(), self.limits).unwrap());
        self.wall_ms += 60_000;
        self.timer_ms = i64::from(self.dice.throw(1_000_000));
        let text = serde_json::to_string(&self.memory).unwrap();
        self.memory = serde_json::from_str(&text).unwrap();
        self.memory.resume(saved, self.now());
        self.touched = true;
        self.begin();
    }

    fn happen(&mut self) {
        if matches!(self.plan, Plan::Constant(_)) {
            return;
        }
        if self.plan != Plan::Stretch && self.dice.one_in(150) {
            self.restart();
        }
        if self.plan == Plan::Eventful && self.dice.one_in(250) {
            self.document = policy([50, 60, 70, 80][self.dice.throw(4) as usize]);
            self.config = Policy::new(&self.document).unwrap().config;
            self.begin();
        }
        if self.dice.one_in(60) {
            self.memory.intent = None;
            self.memory.capacity = Some((Failure::Allocation, self.timer_ms + 600_000));
            self.touched = true;
        }
        if self.dice.one_in(12) {
            self.load = i64::from(self.dice.throw(1_100_000)).min(ONE);
        }
        if self.dice.one_in(300) {
            self.wall_ms += [-40_000, 3_000_000, 40_000][self.dice.throw(3) as usize];
        }
    }

    /// The pool becomes what it was asked to be, or what somebody else asked for.
    fn resize(&mut self, to: u32) {
        self.asked = if self.dice.one_in(40) {
            1 + self.dice.throw(8)
        } else {
            to
        };
        let ready_ms = self.wall_ms;
        while self.devices.len() > self.asked as usize {
            self.devices
                .remove(self.dice.throw(u32::try_from(self.devices.len()).unwrap()) as usize);
        }
        while self.devices.len() < self.asked as usize {
            let number = self.devices.last().map_or(0, |last| last.id.0 + 1);
            self.devices
                .push(Device::new(DeviceId(number), NodeId(number), ready_ms));
        }
    }

    fn samples(&mut self) -> Vec<Sample> {
        let calm = matches!(self.plan, Plan::Constant(_));
        if let Plan::Constant(load) = self.plan {
            self.load = load;
        }
        let at_ms = self.wall_ms - if calm { 0 } else { 4_000 };
        let mut fresh = Vec::new();
        for device in &self.devices {
            if !calm && self.dice.one_in(15) {
                continue;
            }
            let noise = if calm {
                0
            } else {
                i64::from(self.dice.throw(40_000)) - 20_000
            };
            let mut sample = Sample::of_device(0, device.id, at_ms, (self.load + noise).clamp(0, ONE));
            if !calm && self.dice.one_in(60) {
                sample.value = None;
            }
            if !calm && self.dice.one_in(10) {
                let power = Sample {
                    channel: Channel::Power,
                    value: Some(400_000),
                    ..sample
                };
                fresh.push(power);
            }
            fresh.push(sample);
        }
        if !calm && self.load > 900_000 {
            fresh.push(Sample::of_pool(1, at_ms, i64::from(self.dice.throw(30)) * ONE));
        }
        // The overlap of the read before, and a late sample.
        let mut all = std::mem::replace(&mut self.recent, fresh.clone());
        if !calm && self.dice.one_in(20) && !fresh.is_empty() {
            let mut late = fresh[0];
            late.at_ms -= 70_000;
            all.push(late);
        }
        all.extend(fresh);
        all
    }

    pub(super) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.happen();
            self.tick();
            self.wall_ms += TICK_MS;
            self.timer_ms += TICK_MS;
        }
    }

    fn tick(&mut self) {
        let calm = matches!(self.plan, Plan::Constant(_));
        let samples = self.samples();
        let failed = !calm && self.dice.one_in(25);
        let reads = if failed {
            [ReadStatus::Failed; 3]
        } else {
            [ReadStatus::Answered; 3]
        };
        let inventory: Option<Vec<Device>> = (!self.dice.one_in(3) || calm).then(|| {
            let mut devices = self.devices.clone();
            if !calm && self.dice.one_in(30) {
                devices[0].health = Health::Unhealthy;
            }
            devices
        });
        let skew_ms = if calm { 0 } else { i64::from(self.dice.throw(3)) };
        let delta = Delta {
            now_ms: self.wall_ms - skew_ms,
            samples: if failed { &[] } else { &samples },
            inventory: inventory.as_deref(),
            reads: &reads,
        };
        self.windows.ingest(&delta);
        if !calm && self.dice.one_in(20) {
            self.keep(&TickRecord { delta, decided: None });
            return;
        }
        let to = self.decide(delta, calm);
        if !calm && !self.dice.one_in(4) {
            self.resize(to);
        }
    }

    fn views(&self) -> Vec<NodeView> {
        self.devices
            .iter()
            .map(|device| NodeView {
                id: device.node,
                ready_since_ms: device.ready_since_ms,
                free_gpus: u32::from(device.id.0 % 2 == 0),
                gpu_pods: u32::from(device.id.0 % 2 == 1),
                protection: Protection::None,
                condition: Condition::Healthy,
            })
            .collect()
    }

    fn decide(&mut self, delta: Delta<'_>, calm: bool) -> u32 {
        let asked = self.asked;
        let some = |dice: &mut Dice| if calm { false } else { dice.one_in(8) };
        let booting = [Booting {
            nodes: 1,
            since_ms: self.timer_ms - 30_000,
        }];
        let pods = [
            PodRequest {
                gpus: 1,
                placement: Placement::AnyNode,
            },
            PodRequest {
                gpus: 1,
                placement: Placement::NewNode,
            },
        ];
        let views = self.views();
        let late = some(&mut self.dice);
        let observation = Observation {
            asked,
            ready: asked - u32::from(late),
            schedulable: asked - u32::from(late),
            booting: if late { &booting } else { &[] },
            gpus_per_node: 1,
            free_gpus: some(&mut self.dice).then_some(1),
            waiting: if some(&mut self.dice) {
                Waiting::Pods(&pods)
            } else {
                Waiting::Pods(&[])
            },
            nodes: if some(&mut self.dice) {
                Nodes::Named(&views)
            } else {
                Nodes::Interchangeable
            },
            operation: if some(&mut self.dice) {
                Operation::Ours
            } else {
                Operation::None
            },
            failure: (some(&mut self.dice) && some(&mut self.dice)).then_some(Failure::QuotaLow),
            node_price: Some(PRICE),
            overrides: Overrides {
                at_least: some(&mut self.dice).then_some((3, self.wall_ms + 60_000)),
                pause: if some(&mut self.dice) {
                    Pause::At(3)
                } else {
                    Pause::None
                },
            },
            freeze: if some(&mut self.dice) {
                Freeze::On
            } else {
                Freeze::Off
            },
            ..Observation::default()
        };
        self.judge(delta, &observation)
    }

    fn judge(&mut self, delta: Delta<'_>, observation: &Observation<'_>) -> u32 {
        let now = self.now();
        if self.tampered == Some(self.decisions) {
            self.memory.intent = Some(Intent {
                from: 1,
                to: 99,
                ..Intent::default()
            });
        }
        let before = self.memory.clone();
        let evaluation = evaluate(&self.config, &self.windows, observation, &mut self.memory, now);
        let after = self.memory.clone();
        let memory = if std::mem::take(&mut self.touched) {
            Some((&before, Checkpoint::Changed))
        } else if self.tampered == Some(self.decisions) || self.dice.one_in(50) {
            Some((&before, Checkpoint::Unchanged))
        } else {
            None
        };
        let decided = Some(Decided {
            now,
            observation,
            memory,
            evaluation: &evaluation,
            after: &after,
        });
        self.keep(&TickRecord { delta, decided });
        self.decisions += 1;
        let decision = evaluation.decision;
        if !decision.is_hold() && self.dice.one_in(2) {
            let action = ActionRecord {
                now,
                pool: "a100",
                from: decision.from,
                to: decision.to,
                what: "sending",
                message: "",
            };
            self.refusals += u32::from(self.writer.as_mut().unwrap().action(&action).is_err());
        }
        decision.to
    }

    fn keep(&mut self, tick: &TickRecord<'_>) {
        self.refusals += u32::from(self.writer.as_mut().unwrap().tick(tick).is_err());
    }
}
