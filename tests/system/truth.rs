//! What the invariants may ask of the true world.

use gpuscale::policy::config::{Micro, Millis};

use crate::event::{PolicyId, PoolId};
use crate::invariants::Truth;
use crate::world::whole::World;

impl Truth for World {
    fn count(&self, pool: PoolId) -> u32 {
        self.arm.count(pool)
    }

    fn present(&self, pool: PoolId) -> u32 {
        self.fleets[pool].present()
    }

    fn schedulable(&self, pool: PoolId) -> u32 {
        self.fleets[pool].schedulable()
    }

    fn unhealthy(&self, pool: PoolId) -> u32 {
        let ill = self.fleets[pool]
            .nodes()
            .iter()
            .filter(|node| node.unhealthy)
            .count();
        u32::try_from(ill).unwrap_or(u32::MAX)
    }

    fn operation_runs(&self, pool: PoolId) -> bool {
        self.arm.is_busy(pool)
    }

    fn demand(&self, policy: PolicyId, at_ms: Millis) -> Micro {
        Self::demand(self, policy, at_ms)
    }

    fn known_share(
        &self,
        pool: PoolId,
        from_ms: Millis,
        to_ms: Millis,
        hold_ms: Millis,
        warm_up_ms: Millis,
    ) -> Micro {
        self.prometheus
            .known_time(pool, &self.fleets[pool], (from_ms, to_ms), hold_ms, warm_up_ms)
    }

    fn stepped_ms(&self, from_ms: Millis, to_ms: Millis) -> Millis {
        self.prometheus.stepped_ms(from_ms, to_ms)
    }

    fn newest_sample_ms(&self, pool: PoolId) -> Option<Millis> {
        self.prometheus.newest_sample_ms(pool, &self.fleets[pool])
    }
}
