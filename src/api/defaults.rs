//! Every default number of a policy, in one place, with its reason.
//!
//! The numbers that decide the size were chosen by reasoning and then measured, together, on ten traces of two to
//! four weeks (`gpuscale quality` prints the table); none is fitted to a trace, and each sits where its neighbours
//! do about as well. A change here changes the custom resource's schema and the field documentation with it.
//! Functions exist because serde wants a path to call; each returns its
//! constant.

use super::duration::HumanDuration;
use super::numbers::{GrowthPercent, MissPenalty, NodeCount, Percent, Ratio, StepSize, Threshold};

/// Twice as fast as the exporter's usual 30 s collection, so that no fresh sample waits long for a decision.
pub const EVALUATION_INTERVAL: HumanDuration = HumanDuration::from_secs(15);
/// A fixed target of t is billed 1 ÷ t of the optimum, calm or wild: 70 % costs 43 % more. Headroom is only there
/// for what arrives within one boot; the slow release below supplies most of it where load comes in bursts, and
/// nothing where it is calm, so 15 % is left for the target itself.
pub const TARGET_PERCENTAGE: Percent = Percent::whole(85);
/// The span that demand is averaged over when no rule says otherwise: two collections of the exporter.
pub const SIGNAL_WINDOW: HumanDuration = HumanDuration::from_mins(1);
/// Growth is urgent and cheap to undo, so a minute of evidence is enough.
pub const UP_FOR: HumanDuration = HumanDuration::from_mins(1);
/// A lost node costs a boot of many minutes, so shrinking waits for half an hour of evidence.
pub const DOWN_FOR: HumanDuration = HumanDuration::from_mins(30);
/// Demand that exceeds the target by less than this share is noise, not growth.
pub const SCALE_UP_TOLERANCE: Ratio = Ratio::from_micros_clamped(50_000);
/// The same band below the target, so that a pool does not breathe around it.
pub const SCALE_DOWN_TOLERANCE: Ratio = Ratio::from_micros_clamped(50_000);
/// A few nodes a minute, so that small pools are not held back by percentages.
pub const SCALE_UP_NODES: StepSize = StepSize::clamped(4);
/// Or twice the size, whichever is more: a boot takes minutes, so what is needed must be asked for at once, and
/// a wrong signal is still stopped after a minute.
pub const SCALE_UP_PERCENT: StepSize = StepSize::clamped(100);
/// The period of the rates above.
pub const SCALE_UP_PERIOD: HumanDuration = HumanDuration::from_mins(1);
/// No wait: the evidence window has already waited.
pub const SCALE_UP_STABILIZATION: HumanDuration = HumanDuration::ZERO;
/// A quarter of the pool at a time leaves the rest to carry load that comes back.
pub const SCALE_DOWN_PERCENT: StepSize = StepSize::clamped(25);
/// The period of the rate above: longer than a boot, so that a mistake shows before the next step.
pub const SCALE_DOWN_PERIOD: HumanDuration = HumanDuration::from_mins(10);
/// The largest wish of this span holds the size. Keeping a node idle is worth it for one boot time (about eight
/// minutes) if the load surely comes back, and bursts of a serving pool come back within the half hour; the
/// HPA's five minutes are less than a boot, and pay for it with misses and flaps.
pub const SCALE_DOWN_STABILIZATION: HumanDuration = HumanDuration::from_mins(30);
/// After any resize, one boot time during which nothing shrinks.
pub const SCALE_DOWN_COOLDOWN: HumanDuration = HumanDuration::from_mins(10);
/// Load needs this long to spread over new nodes; evidence from before misleads.
pub const SETTLE: HumanDuration = HumanDuration::from_mins(3);
/// A100 nodes boot in 5 to 10 minutes, and AKS reports allocation failures for up to 20.
pub const PROVISION_TIMEOUT: HumanDuration = HumanDuration::from_mins(20);
/// Utilization stops at 100 %, so pinned devices hide the true demand: grow by half and look again.
pub const SATURATION_STEP: GrowthPercent = GrowthPercent::clamped(50);
/// One node at a time is the least surprising step.
pub const STEP_NODES: StepSize = StepSize::clamped(1);
/// One unserved GPU-hour costs as much as ten GPU-hours of capacity: serving matters, at a price.
pub const MISS_PENALTY: MissPenalty = MissPenalty::from_micros_clamped(10_000_000);
/// One node stays: a pool that scales to zero must say so, and must have a signal that exists there.
pub const MIN_NODES: NodeCount = NodeCount::clamped(1);
/// One replica stays, for the same reason.
pub const MIN_REPLICAS: NodeCount = NodeCount::clamped(1);
/// No idle node is kept beyond what demand asks for.
pub const SPARE_NODES: NodeCount = NodeCount::MIN;
/// Activation means "anything at all waits".
pub const ACTIVATION_ABOVE: Threshold = Threshold::from_micros_clamped(0);
/// How long a node must have been idle before it may leave, where no down rule gives a longer window: one
/// boot.
pub const IDLE_WINDOW: HumanDuration = HumanDuration::from_mins(10);
/// Pods get the usual grace periods before a node with them counts as undrainable.
pub const DRAIN_TIMEOUT: HumanDuration = HumanDuration::from_mins(15);
/// One device in five may be missing before the picture is called unknown.
pub const MIN_COVERAGE: Ratio = Ratio::from_micros_clamped(800_000);
/// Four collections without a sample: the exporter is gone, not late.
pub const MAX_AGE: HumanDuration = HumanDuration::from_mins(2);
/// The collection interval of dcgm-exporter; scraping faster adds no facts.
pub const SCRAPE_INTERVAL: HumanDuration = HumanDuration::from_secs(30);
/// A Ready node needs minutes until its exporter and device plugin answer.
pub const WARM_UP: HumanDuration = HumanDuration::from_mins(5);

/// Makes the functions that serde calls.
macro_rules! functions {
    ($($name:ident -> $type:ty = $constant:ident;)*) => {
        $(pub(super) fn $name() -> $type { $constant })*
    };
}

functions! {
    evaluation_interval -> HumanDuration = EVALUATION_INTERVAL;
    signal_window -> HumanDuration = SIGNAL_WINDOW;
    up_for -> HumanDuration = UP_FOR;
    down_for -> HumanDuration = DOWN_FOR;
    scale_up_tolerance -> Ratio = SCALE_UP_TOLERANCE;
    scale_down_tolerance -> Ratio = SCALE_DOWN_TOLERANCE;
    scale_up_stabilization -> HumanDuration = SCALE_UP_STABILIZATION;
    scale_down_stabilization -> HumanDuration = SCALE_DOWN_STABILIZATION;
    scale_down_cooldown -> HumanDuration = SCALE_DOWN_COOLDOWN;
    settle -> HumanDuration = SETTLE;
    saturation_step -> GrowthPercent = SATURATION_STEP;
    step_nodes -> StepSize = STEP_NODES;
    miss_penalty -> MissPenalty = MISS_PENALTY;
    activation_above -> Threshold = ACTIVATION_ABOVE;
    drain_timeout -> HumanDuration = DRAIN_TIMEOUT;
    min_coverage -> Ratio = MIN_COVERAGE;
    max_age -> HumanDuration = MAX_AGE;
    scrape_interval -> HumanDuration = SCRAPE_INTERVAL;
    warm_up -> HumanDuration = WARM_UP;
}
