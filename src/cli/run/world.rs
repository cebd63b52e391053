//! The ports of the loop, as a process outside a cluster has them.

use std::rc::Rc;

use gpuscale::actuator::aks::Aks;
use gpuscale::clock::SystemRandomness;
use gpuscale::control::listed::Listed;
use gpuscale::control::ports::{
    Clock, ClusterError, ClusterView, PolicyKey, PoolKey, Ports, StateStore, StoreError, View,
};
use gpuscale::control::state::Saved;
use gpuscale::control::throttle::Throttled;
use gpuscale::source::connect::Sources;

use super::store::Folder;

/// Real metrics, real pools, a folder of files, and no cluster.
pub(in crate::cli) struct World<C: Clock> {
    pub(in crate::cli) clock: Rc<C>,
    pub(in crate::cli) randomness: Rc<SystemRandomness>,
    pub(in crate::cli) sources: Rc<Sources<C, SystemRandomness>>,
    pub(in crate::cli) pools: Listed<Throttled<Aks, C>, C>,
    /// `None` where nothing is resized, so that nothing has to survive.
    pub(in crate::cli) store: Option<Folder>,
}

impl<C: Clock + 'static> Ports for World<C> {
    type Clock = C;
    type Randomness = SystemRandomness;
    type Metrics = Sources<C, SystemRandomness>;
    type Pools = Listed<Throttled<Aks, C>, C>;
    type Cluster = Self;
    type Store = Self;

    fn clock(&self) -> &C {
        &self.clock
    }

    fn randomness(&self) -> &SystemRandomness {
        &self.randomness
    }

    fn metrics(&self) -> &Self::Metrics {
        &self.sources
    }

    fn pools(&self) -> &Self::Pools {
        &self.pools
    }

    fn cluster(&self) -> &Self {
        self
    }

    fn store(&self) -> &Self {
        self
    }
}

/// Nobody shows nodes and pods here.
impl<C: Clock> ClusterView for World<C> {
    async fn look(&self, _: &PoolKey) -> Result<View, ClusterError> {
        Err(ClusterError::None)
    }
}

impl<C: Clock> StateStore for World<C> {
    async fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        self.store.as_ref().map_or(Ok(None), |folder| folder.load(policy))
    }

    async fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        self.store
            .as_ref()
            .map_or(Ok(()), |folder| folder.save(policy, state))
    }
}
