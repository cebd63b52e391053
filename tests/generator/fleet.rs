//! Nodes, their GPUs and the exporter on each, and how a store sees them.
//!
//! A scrape that fails or a series that is gone leaves a stale marker at the time of the next scrape; a server that
//! did not scrape at all leaves nothing. When a pod starts or stops, the labels of its GPU change, so the old series
//! ends with a marker and another one goes on. What happens on a GPU is asked of a [`Plan`].

use super::export::{Export, Fixed, Id, Labels};
use super::load::{MINUTE, Noise, SECOND};

/// Time between two scrapes: dcgm-exporter's own collect interval.
pub(super) const SCRAPE_MS: i64 = 30 * SECOND;

/// The GPU of the size `Standard_NC96ads_A100_v4`.
const MODEL: &str = "NVIDIA A100 80GB PCIe";
const DRIVER: &str = "560.35.03";

/// A metric as the exporter names it, and its decimals here.
///
/// The exporter writes six decimals. Fewer are kept, since the last ones are noise and noise does not pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    /// Percent.
    GpuUtil,
    /// Per mille, written as a ratio.
    GraphicsEngine,
    /// Tenths of a watt.
    Power,
    /// MiB.
    MemoryUsed,
    /// MiB.
    MemoryFree,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::GpuUtil => "DCGM_FI_DEV_GPU_UTIL",
            Self::GraphicsEngine => "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
            Self::Power => "DCGM_FI_DEV_POWER_USAGE",
            Self::MemoryUsed => "DCGM_FI_DEV_FB_USED",
            Self::MemoryFree => "DCGM_FI_DEV_FB_FREE",
        }
    }

    fn decimals(self) -> u32 {
        match self {
            Self::GraphicsEngine => 3,
            Self::Power => 1,
            Self::GpuUtil | Self::MemoryUsed | Self::MemoryFree => 0,
        }
    }
}

/// A slice of a GPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instance {
    pub(super) profile: &'static str,
    pub(super) id: u32,
}

/// A whole GPU, or an instance of one: a row of the exporter's page.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// Index in the node.
    pub(super) gpu: usize,
    pub(super) uuid: String,
    pub(super) instance: Option<Instance>,
    /// Which of all devices it is; the number of its noise.
    pub(super) number: u64,
}

/// What a store does not get of an exporter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Silence {
    /// Scrapes fail: series end with a marker.
    Down { from: i64, to: i64 },
    /// The server itself is away: nothing at all.
    Unscraped { from: i64, to: i64 },
}

/// What a scrape brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scrape {
    Page,
    Failure,
    Nothing,
}

/// A node, from the first page of its exporter until it is taken away. Times are milliseconds from the start of the
/// recording.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) devices: Vec<Device>,
    pub(super) silences: Vec<Silence>,
    /// The exporter's address and since when: a restart brings another one.
    pub(super) addresses: Vec<(i64, String)>,
    /// When in the scrape interval its turn is.
    pub(super) offset: i64,
}

impl Node {
    /// A node of four GPUs, `layout` telling into which instances each is cut.
    pub(super) fn new(seed: u64, number: u64, pool: &str, span: (i64, i64), layout: &[Instance]) -> Self {
        let mut noise = Noise::new(seed, 1_000_000 + number);
        let mut devices = Vec::new();
        for gpu in 0..4_usize {
            let uuid = format!(
                "GPU-{}-{}-{}-{}-{}",
                noise.hexadecimal(8),
                noise.hexadecimal(4),
                noise.hexadecimal(4),
                noise.hexadecimal(4),
                noise.hexadecimal(12)
            );
            let rows = layout.iter().copied().map(Some);
            let whole = layout.is_empty().then_some(None);
            for instance in rows.chain(whole) {
                devices.push(Device {
                    gpu,
                    uuid: uuid.clone(),
                    instance,
                    number: number * 100 + u64::try_from(devices.len()).unwrap(),
                });
            }
        }
        let base36 = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let (high, low) = (
            usize::try_from(number / 36).unwrap(),
            usize::try_from(number % 36).unwrap(),
        );
        let tail = [base36[high], base36[low]].map(char::from);
        Self {
            name: format!("aks-{pool}-31847265-vmss0000{}{}", tail[0], tail[1]),
            from: span.0,
            to: span.1,
            devices,
            silences: Vec::new(),
            addresses: vec![(span.0, address(&mut noise))],
            offset: noise.within(0, 29_999),
        }
    }

    /// The exporter is away for some time; its new pod has another address.
    pub(super) fn restart_exporter(&mut self, seed: u64, from: i64, to: i64) {
        let mut noise = Noise::new(seed, 2_000_000 + u64::try_from(from / MINUTE).unwrap());
        self.silences.push(Silence::Down { from, to });
        self.addresses.push((to, address(&mut noise)));
    }

    fn scrape(&self, at: i64) -> Scrape {
        let within = |from: i64, to: i64| (from..to).contains(&at);
        if self
            .silences
            .iter()
            .any(|silence| matches!(*silence, Silence::Unscraped { from, to } if within(from, to)))
        {
            return Scrape::Nothing;
        }
        let down = self
            .silences
            .iter()
            .any(|silence| matches!(*silence, Silence::Down { from, to } if within(from, to)));
        if down || !(self.from..self.to).contains(&at) {
            Scrape::Failure
        } else {
            Scrape::Page
        }
    }

    /// The number of the address at a time.
    fn address_at(&self, at: i64) -> usize {
        let later = self.addresses.partition_point(|&(since, _)| since <= at);
        later.saturating_sub(1)
    }

    /// Labels in the exporter's order, then those of the scrape.
    fn labels(&self, device: &Device, metric: Metric, pod: Option<&Pod>, address: usize) -> Labels {
        let mut labels: Labels = vec![
            ("__name__", metric.name().to_owned()),
            ("gpu", device.gpu.to_string()),
            ("UUID", device.uuid.clone()),
            ("pci_bus_id", format!("0000000{}:00:00.0", device.gpu + 1)),
            ("device", format!("nvidia{}", device.gpu)),
            ("modelName", MODEL.to_owned()),
        ];
        if let Some(instance) = device.instance {
            labels.push(("GPU_I_PROFILE", instance.profile.to_owned()));
            labels.push(("GPU_I_ID", instance.id.to_string()));
        }
        labels.push(("Hostname", self.name.clone()));
        labels.push(("DCGM_FI_DRIVER_VERSION", DRIVER.to_owned()));
        if let Some(pod) = pod {
            labels.push(("container", pod.container.to_owned()));
            labels.push(("namespace", pod.namespace.to_owned()));
            labels.push(("pod", pod.name.clone()));
        }
        labels.push(("instance", self.addresses[address].1.clone()));
        labels.push(("job", "dcgm-exporter".to_owned()));
        labels
    }
}

fn address(noise: &mut Noise) -> String {
    format!("10.244.{}.{}:9400", noise.within(1, 40), noise.within(4, 250))
}

/// A pod on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: &'static str,
    pub(super) container: &'static str,
    pub(super) name: String,
}

/// What a page says of a device: who is on it, and its metrics in their units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) pod: Option<Pod>,
    pub(super) values: Vec<(Metric, i64)>,
}

/// What happens on the devices. It is asked about one device after the other, each from the beginning to the end.
pub(super) trait Plan {
    fn reading(&mut self, node: usize, device: &Device, at: i64) -> Reading;
}

/// Tells the whole history of all nodes; `start_ms` is its first moment, `length` its length.
pub(super) fn tell(export: &mut Export, nodes: &[Node], start_ms: i64, length: i64, plan: &mut impl Plan) {
    for (index, node) in nodes.iter().enumerate() {
        for device in &node.devices {
            tell_device(export, (index, node), device, (start_ms, length), plan);
        }
    }
}

fn tell_device(
    export: &mut Export,
    (index, node): (usize, &Node),
    device: &Device,
    (start_ms, length): (i64, i64),
    plan: &mut impl Plan,
) {
    let mut shown: Option<(Option<Pod>, usize)> = None;
    let mut ids: Vec<Id> = Vec::new();
    // One more scrape than its life has: the one that does not find it any more.
    let end = length.min(node.to + 2 * SCRAPE_MS);
    let mut at = node.offset;
    while at < end {
        let scrape = if at < node.from {
            Scrape::Nothing
        } else {
            node.scrape(at)
        };
        if scrape == Scrape::Failure && shown.take().is_some() {
            mark(export, &mut ids, start_ms + at);
        } else if scrape == Scrape::Page {
            let Reading { pod, values } = plan.reading(index, device, at);
            let identity = (pod, node.address_at(at));
            if shown.as_ref() != Some(&identity) {
                mark(export, &mut ids, start_ms + at);
                let labels = |metric| node.labels(device, metric, identity.0.as_ref(), identity.1);
                ids = values
                    .iter()
                    .map(|&(metric, _)| export.series(labels(metric)))
                    .collect();
                shown = Some(identity);
            }
            for (&id, (metric, number)) in ids.iter().zip(values) {
                let value = Fixed {
                    number,
                    decimals: metric.decimals(),
                };
                export.push(id, start_ms + at, Some(value));
            }
        }
        at += SCRAPE_MS;
    }
}

/// Ends series.
fn mark(export: &mut Export, ids: &mut Vec<Id>, at_ms: i64) {
    for id in ids.drain(..) {
        export.push(id, at_ms, None);
    }
}

/// What gpuscale itself records beside the exporters' series, schema version 1.
pub(super) struct PoolRecord<'a> {
    pub(super) pool: &'static str,
    pub(super) nodes: &'a [Node],
    /// Time from the request of a node to the first page of its exporter.
    pub(super) boot: i64,
    /// Micro-USD per hour.
    pub(super) price: i64,
}

impl PoolRecord<'_> {
    /// Writes the series of the pool, on the grid of the scrape interval.
    pub(super) fn tell(&self, export: &mut Export, start_ms: i64, length: i64) {
        let named = |name: &str| vec![("__name__", name.to_owned())];
        let mut information = named("gpuscale_recording_info");
        information.push(("version", "1".to_owned()));
        information.push(("gpus_per_node", "4".to_owned()));
        information.push(("vm_size", "Standard_NC96ads_A100_v4".to_owned()));
        information.push(("pool", self.pool.to_owned()));
        let present = |at: i64, early: i64| {
            let there = self
                .nodes
                .iter()
                .filter(|node| (node.from - early..node.to).contains(&at));
            i64::try_from(there.count()).unwrap()
        };
        let grid = || (0..length).step_by(usize::try_from(SCRAPE_MS).unwrap());
        let mut line = |labels: Labels, value: &dyn Fn(i64) -> Fixed| {
            let id = export.series(labels);
            for at in grid() {
                export.push(id, start_ms + at, Some(value(at)));
            }
        };
        line(information, &|_| Fixed::whole(1));
        line(named("gpuscale_pool_nodes_requested"), &|at| {
            Fixed::whole(present(at, self.boot))
        });
        line(named("gpuscale_pool_nodes_ready"), &|at| {
            Fixed::whole(present(at, 0))
        });
        line(named("gpuscale_node_price_usd_per_hour"), &|_| Fixed {
            number: self.price,
            decimals: 6,
        });
        for node in self.nodes {
            let mut labels = named("gpuscale_node_gpus");
            labels.push(("node", node.name.clone()));
            line(labels, &|at| {
                Fixed::whole(if (node.from..node.to).contains(&at) { 4 } else { 0 })
            });
        }
    }
}
