//! One look at a cluster for all policies that have a pool in it.
//!
//! A tick looks at its pools, and a platform counts every look: with sixteen policies of one subscription and a tick each 15
//! seconds, a read of each pool is all that AKS grants, and those who come last would never see theirs. [`Listed`] asks for
//! all pools of a cluster in one call and answers glances from it for [`FRESH_MS`]. A pool that is about to be written, or
//! that was written and has not settled, is read by itself and at once, as before.
//!
//! It must not wait by itself, spawn or read any clock but the port. Whoever glances first makes the call; those who come
//! meanwhile wait for it, each for as long as its own time lasts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::policy::config::{MINUTE_MS, Millis};

use super::gate::Permits;
use super::ports::{Accepted, Clock, NodePools, Pool, PoolError, PoolErrorKind, PoolKey, PoolList, Progress};

/// How long a list is looked at: ticks of the shortest interval see a new one each.
pub const FRESH_MS: Millis = 4_000;

/// How long a pool counts as looked at, for whether a list is worth its bytes.
const RECENT_MS: Millis = 2 * MINUTE_MS;

/// Node pools of which a glance costs little.
pub struct Listed<P, C> {
    inner: P,
    clock: Rc<C>,
    clusters: RefCell<BTreeMap<Arc<str>, Rc<Cluster>>>,
}

/// What is known of a cluster.
struct Cluster {
    /// One call at a time.
    turn: Permits,
    list: RefCell<Option<List>>,
    /// Writes that began or ended: a list that was asked for before one may show what was there before it.
    writes: Cell<u64>,
    /// When each pool was looked at last.
    looks: RefCell<BTreeMap<Arc<str>, Millis>>,
}

/// The pools of a cluster, or why there is no list, which is known for as long: everybody else would ask for one in vain, one
/// after the other.
struct List {
    asked_ms: Millis,
    pools: Result<BTreeMap<Arc<str>, Result<Pool, PoolError>>, PoolError>,
}

impl<P: NodePools, C: Clock> Listed<P, C> {
    /// Puts lists before `inner`.
    #[must_use]
    pub fn new(inner: P, clock: Rc<C>) -> Self {
        Self {
            inner,
            clock,
            clusters: RefCell::default(),
        }
    }

    fn now_ms(&self) -> Millis {
        self.clock.now().timer_ms
    }

    fn cluster(&self, name: &Arc<str>) -> Rc<Cluster> {
        let mut clusters = self.clusters.borrow_mut();
        let cluster = clusters.entry(Arc::clone(name)).or_insert_with(|| {
            Rc::new(Cluster {
                turn: Permits::new(1),
                list: RefCell::default(),
                writes: Cell::new(0),
                looks: RefCell::default(),
            })
        });
        Rc::clone(cluster)
    }

    /// What the list says of a pool.
    fn in_list(&self, cluster: &Cluster, pool: &PoolKey) -> Listing {
        let list = cluster.list.borrow();
        let now_ms = self.now_ms();
        let fresh = list
            .as_ref()
            .filter(|list| (0..FRESH_MS).contains(&now_ms.saturating_sub(list.asked_ms)));
        match fresh.map(|list| &list.pools) {
            None => Listing::None,
            // The platform asks for patience, whatever is asked.
            Some(Err(error)) if matches!(error.kind, PoolErrorKind::Throttled(_)) => {
                Listing::Says(Err(error.clone()))
            }
            // A list may be what alone cannot be had.
            Some(Err(_)) => Listing::Lacks,
            Some(Ok(pools)) => pools
                .get(&pool.name)
                .map_or(Listing::Lacks, |pool| Listing::Says(pool.clone())),
        }
    }

    async fn write<T>(&self, pool: &PoolKey, writing: impl Future<Output = T>) -> T {
        let cluster = self.cluster(&pool.cluster);
        cluster.written();
        let answer = writing.await;
        cluster.written();
        answer
    }
}

/// What a list says of a pool.
enum Listing {
    /// There is no list to look at.
    None,
    /// The pool is not in it.
    Lacks,
    Says(Result<Pool, PoolError>),
}

impl Cluster {
    fn written(&self) {
        self.writes.set(self.writes.get() + 1);
        self.list.replace(None);
    }

    /// Takes note of a look; whether others look at other pools of the cluster.
    fn is_shared(&self, pool: &PoolKey, now_ms: Millis) -> bool {
        let mut looks = self.looks.borrow_mut();
        looks.retain(|_, at_ms| now_ms.saturating_sub(*at_ms) < RECENT_MS);
        looks.insert(Arc::clone(&pool.name), now_ms);
        looks.len() > 1
    }
}

impl<P: NodePools, C: Clock> NodePools for Listed<P, C> {
    async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        self.inner.read(pool).await
    }

    async fn glance(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        let cluster = self.cluster(&pool.cluster);
        if !cluster.is_shared(pool, self.now_ms()) {
            return self.inner.read(pool).await;
        }
        if let Listing::Says(said) = self.in_list(&cluster, pool) {
            return said;
        }
        let turn = cluster.turn.acquire().await;
        if let Listing::None = self.in_list(&cluster, pool) {
            let (asked_ms, writes) = (self.now_ms(), cluster.writes.get());
            let pools = self.inner.all(&pool.cluster).await;
            let pools = pools.map(|pools| pools.into_iter().collect());
            if cluster.writes.get() == writes {
                cluster.list.replace(Some(List { asked_ms, pools }));
            }
        }
        drop(turn);
        match self.in_list(&cluster, pool) {
            Listing::Says(said) => said,
            // That there is no such pool is for the pool itself to say; and a list that came too late says nothing.
            Listing::Lacks | Listing::None => self.inner.read(pool).await,
        }
    }

    async fn all(&self, cluster: &Arc<str>) -> Result<PoolList, PoolError> {
        self.inner.all(cluster).await
    }

    async fn resize(&self, pool: &PoolKey, seen: &Pool, count: u32) -> Result<Accepted, PoolError> {
        self.write(pool, self.inner.resize(pool, seen, count)).await
    }

    async fn set_least(&self, pool: &PoolKey, seen: &Pool, least: u32) -> Result<Accepted, PoolError> {
        self.write(pool, self.inner.set_least(pool, seen, least)).await
    }

    async fn poll(&self, pool: &PoolKey, operation: &str) -> Result<Progress, PoolError> {
        self.inner.poll(pool, operation).await
    }
}

impl<P: fmt::Debug, C> fmt::Debug for Listed<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use crate::control::ports::{PoolAutoscaler, PoolState};
    use crate::control::throttle::Throttled;
    use crate::policy::observation::Now;

    use super::*;

    struct HandClock(Cell<Millis>);

    impl Clock for HandClock {
        fn now(&self) -> Now {
            Now::at(self.0.get())
        }

        async fn sleep_until(&self, _: Millis) {
            pending::<()>().await;
        }
    }

    /// A cluster with pools `p0`, `p1`, …, each with as many nodes as its number and what was written on top.
    #[derive(Default)]
    struct Site {
        pools: u32,
        written: Cell<u32>,
        reads: Cell<u32>,
        lists: Cell<u32>,
        fails: Cell<Option<PoolErrorKind>>,
        hangs: Cell<bool>,
    }

    fn failed(kind: PoolErrorKind) -> PoolError {
        PoolError {
            kind,
            code: "planted".to_owned(),
            message: "planted".to_owned(),
        }
    }

    impl Site {
        fn shown(&self, number: u32) -> Pool {
            Pool {
                count: number + self.written.get(),
                etag: self.written.get().to_string(),
                state: PoolState::Steady,
                autoscaler: PoolAutoscaler::Off,
                gpus_per_node: None,
                node_price: None,
                error: None,
            }
        }
    }

    impl NodePools for &Site {
        async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
            self.reads.set(self.reads.get() + 1);
            let number: u32 = pool.name[1..].parse().unwrap();
            if number < self.pools {
                Ok(self.shown(number))
            } else {
                Err(failed(PoolErrorKind::Gone))
            }
        }

        async fn all(&self, _: &Arc<str>) -> Result<PoolList, PoolError> {
            self.lists.set(self.lists.get() + 1);
            let shown = (0..self.pools).map(|number| (format!("p{number}").into(), Ok(self.shown(number))));
            let shown = shown.collect();
            if self.hangs.get() {
                self.hangs.set(false);
                // The list was made; its answer is on its way.
                let mut polled = false;
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut polled, true) {
                        std::task::Poll::Ready(())
                    } else {
                        std::task::Poll::Pending
                    }
                })
                .await;
            }
            if let Some(kind) = self.fails.get() {
                return Err(failed(kind));
            }
            Ok(shown)
        }

        async fn resize(&self, _: &PoolKey, _: &Pool, _: u32) -> Result<Accepted, PoolError> {
            self.written.set(self.written.get() + 1);
            Ok(Accepted {
                operation: None,
                retry_after_ms: None,
            })
        }

        async fn poll(&self, _: &PoolKey, _: &str) -> Result<Progress, PoolError> {
            Ok(Progress::Succeeded)
        }
    }

    fn key(number: u32) -> PoolKey {
        PoolKey::new("prod", &format!("p{number}"))
    }

    struct Rig<'a> {
        site: &'a Site,
        clock: Rc<HandClock>,
        pools: Listed<&'a Site, HandClock>,
    }

    impl<'a> Rig<'a> {
        fn new(site: &'a Site) -> Self {
            let clock = Rc::new(HandClock(Cell::new(0)));
            let pools = Listed::new(site, Rc::clone(&clock));
            Self { site, clock, pools }
        }

        fn glance(&self, number: u32) -> Result<u32, PoolErrorKind> {
            let seen = self.pools.glance(&key(number)).now_or_never().unwrap();
            seen.map(|pool| pool.count).map_err(|error| error.kind)
        }

        fn after(&self, ms: Millis) {
            self.clock.0.set(self.clock.0.get() + ms);
        }

        fn calls(&self) -> (u32, u32) {
            (self.site.reads.take(), self.site.lists.take())
        }
    }

    #[test]
    fn all_pools_of_a_cluster_are_looked_at_in_one_call() {
        let site = Site {
            pools: 40,
            ..Site::default()
        };
        let rig = Rig::new(&site);
        for tick in 0..10 {
            for number in 0..40 {
                assert_eq!(rig.glance(number), Ok(number));
            }
            // The first look of all cannot know that others follow.
            assert_eq!(rig.calls(), (u32::from(tick == 0), 1), "tick {tick}");
            rig.after(15_000);
        }
        rig.after(RECENT_MS);
        assert_eq!((rig.glance(7), rig.calls()), (Ok(7), (1, 0)), "alone, it is read");
    }

    #[test]
    fn a_list_is_looked_at_for_a_while_and_not_after_a_write() {
        let site = Site {
            pools: 2,
            ..Site::default()
        };
        let rig = Rig::new(&site);
        assert_eq!((rig.glance(0), rig.glance(1)), (Ok(0), Ok(1)));
        site.written.set(1);
        rig.after(FRESH_MS - 1);
        assert_eq!(rig.glance(0), Ok(0), "as it was");
        rig.after(1);
        assert_eq!(rig.glance(0), Ok(1), "as it is");
        let seen = rig.pools.read(&key(0)).now_or_never().unwrap().unwrap();
        let written = rig.pools.resize(&key(0), &seen, 5).now_or_never().unwrap();
        assert!(written.is_ok());
        assert_eq!(rig.glance(0), Ok(2), "nothing of before the write");
    }

    #[test]
    fn a_list_that_a_write_overtook_is_not_believed() {
        let site = Site {
            pools: 2,
            ..Site::default()
        };
        let rig = Rig::new(&site);
        assert_eq!((rig.glance(0), rig.glance(1)), (Ok(0), Ok(1)));
        rig.after(FRESH_MS);
        site.hangs.set(true);
        let glance = async {
            let (zero, one) = (key(0), key(1));
            let (seen, ()) = futures_util::future::join(rig.pools.glance(&zero), async {
                let seen = site.shown(1);
                assert!(rig.pools.resize(&one, &seen, 9).await.is_ok());
            })
            .await;
            seen.unwrap().count
        };
        assert_eq!(settle(glance), 1);
    }

    /// Polls until it is over: who hangs here wakes itself.
    fn settle<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let waker = futures_util::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        loop {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
        }
    }

    #[test]
    fn what_the_list_does_not_say_the_pool_says_itself() {
        let site = Site {
            pools: 2,
            ..Site::default()
        };
        let rig = Rig::new(&site);
        assert_eq!((rig.glance(0), rig.glance(1)), (Ok(0), Ok(1)));
        rig.calls();
        assert_eq!(rig.glance(9), Err(PoolErrorKind::Gone));
        assert_eq!(rig.calls(), (1, 0));
        let throttled = PoolErrorKind::Throttled(9_000);
        for (kind, said, reads) in [
            (PoolErrorKind::Unavailable, Ok(1), 3),
            (throttled, Err(throttled), 0),
        ] {
            rig.after(FRESH_MS);
            site.fails.set(Some(kind));
            for _ in 0..3 {
                assert_eq!(rig.glance(1), said);
            }
            assert_eq!(rig.calls(), (reads, 1), "{kind}: a list is asked for once");
        }
        site.fails.set(None);
        rig.after(FRESH_MS);
        assert_eq!((rig.glance(1), rig.calls()), (Ok(1), (0, 1)));
    }

    #[test]
    fn those_who_come_meanwhile_wait_for_the_same_list_and_one_that_gives_up_harms_nobody() {
        let site = Site {
            pools: 30,
            ..Site::default()
        };
        let rig = Rig::new(&site);
        assert_eq!((rig.glance(0), rig.glance(1)), (Ok(0), Ok(1)));
        rig.after(FRESH_MS);
        rig.calls();
        site.hangs.set(true);
        let zero = key(0);
        assert!(
            rig.pools.glance(&zero).now_or_never().is_none(),
            "it gives up in mid-call"
        );
        site.hangs.set(true);
        let keys: Vec<PoolKey> = (0..30).map(key).collect();
        let all = join_all(keys.iter().map(|key| rig.pools.glance(key)));
        let seen = settle(all);
        assert!(seen.iter().all(Result::is_ok));
        assert_eq!(rig.calls(), (0, 2));
    }

    /// Found by review: of more than fifteen pools of a subscription, the same ones were never seen.
    #[test]
    fn a_hundred_pools_of_a_subscription_are_all_seen_within_the_throttles() {
        let site = Site {
            pools: 100,
            ..Site::default()
        };
        let clock = Rc::new(HandClock(Cell::new(0)));
        let throttled = Throttled::new(&site, Rc::clone(&clock));
        let pools = Listed::new(throttled, Rc::clone(&clock));
        for _ in 0..100 {
            for number in 0..100 {
                let seen = pools.glance(&key(number)).now_or_never().unwrap();
                assert_eq!(seen.map(|pool| pool.count), Ok(number));
                // Ticks are spread over the interval of 15 s.
                clock.0.set(clock.0.get() + 150);
            }
        }
    }
}
