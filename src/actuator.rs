//! What carries decisions out: the node pools of a platform, behind the port of the control loop.

pub mod aks;
