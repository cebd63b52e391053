//! The series that gpuscale's own recordings have beside those of the exporters, version 1.
//!
//! A recording is a file of ordinary metrics in any of the formats, so every tool that reads those reads it too.
//! What a policy's signals measure stands there as the exporters named it; what only the pool knows has these names.
//! `simulations/README.md` documents them for people.

/// Constant 1; its labels say what the recording is: [`VERSION_LABEL`], [`GPUS_PER_NODE_LABEL`].
pub const INFO: &str = "gpuscale_recording_info";

/// Label of [`INFO`]: the version of this schema.
pub const VERSION_LABEL: &str = "version";

/// The version that this code reads and writes.
pub const VERSION: &str = "1";

/// Label of [`INFO`]: GPUs of one node.
pub const GPUS_PER_NODE_LABEL: &str = "gpus_per_node";

/// Nodes asked for.
pub const NODES_REQUESTED: &str = "gpuscale_pool_nodes_requested";

/// Nodes that are Ready.
pub const NODES_READY: &str = "gpuscale_pool_nodes_ready";

/// GPUs of the node in label [`NODE_LABEL`] that can be scheduled onto; 0 when it is not there. The inventory over
/// time: a node is there from a value above 0 until the next 0.
pub const NODE_GPUS: &str = "gpuscale_node_gpus";

/// Label of [`NODE_GPUS`]: the node, as the device series name it.
pub const NODE_LABEL: &str = "node";

/// Price of a node in US dollars per hour.
pub const NODE_PRICE: &str = "gpuscale_node_price_usd_per_hour";

/// Pods that wait for GPUs of this pool and ask for as many as label [`GPUS_LABEL`] says.
pub const PODS_WAITING: &str = "gpuscale_pods_waiting";

/// Label of [`PODS_WAITING`]: GPUs that each of them asks for.
pub const GPUS_LABEL: &str = "gpus";

/// Value of the policy's PromQL signal in label [`SIGNAL_LABEL`], in the unit that the policy states.
pub const SIGNAL: &str = "gpuscale_signal";

/// Label of [`SIGNAL`]: the signal's name in the policy.
pub const SIGNAL_LABEL: &str = "signal";
