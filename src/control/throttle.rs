//! The throttles of AKS, kept on this side of the wire.
//!
//! [`Throttled`] wraps any [`NodePools`] and refuses a call that the platform would refuse, without making it: a
//! refused request counts against the caller there, and a client that keeps knocking is locked out for longer. The
//! buckets are those that AKS documents:
//!
//! | call | scope | burst | refill |
//! |---|---|---|---|
//! | resize (PUT of the pool) | pool | 20 | 1 a minute |
//! | operation status | subscription | 200 | 2 a second |
//! | everything else, reads among them | subscription | 60 | 1 a second |
//!
//! After an answer that asks to wait, no call of that scope goes out before the time it named.
//!
//! What was used up is remembered by this process alone. A restart begins with full buckets, and other clients of the
//! subscription are not counted: the platform's own refusals stay the last word, and are honoured.
//!
//! It must not wait, spawn or read any clock but the port: a refusal says when to come again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::policy::config::{MINUTE_MS, Millis};

use super::ports::{Accepted, Clock, NodePools, Pool, PoolError, PoolErrorKind, PoolKey, PoolList, Progress};

/// The code of a refusal that never left this process.
pub const CLIENT_SIDE_THROTTLE: &str = "ClientSideThrottle";

/// The longest that an answer may keep a scope shut: longer than any the platform gives, and short enough that a
/// garbled one does not end the work for good.
const LONGEST_HOLD_MS: Millis = 60 * MINUTE_MS;
/// How often keys are forgotten whose buckets are full again.
const FORGET_EVERY_MS: Millis = 10 * MINUTE_MS;

const RESIZES: Quota = Quota::per_minute(at_least_one(1)).allow_burst(at_least_one(20));
const OPERATION_READS: Quota = Quota::per_second(at_least_one(2)).allow_burst(at_least_one(200));
const OTHER_CALLS: Quota = Quota::per_second(at_least_one(1)).allow_burst(at_least_one(60));

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Node pools behind the throttles of their platform.
pub struct Throttled<P, C: Clock> {
    inner: P,
    clock: Timer<C>,
    /// Subscriptions by cluster; a cluster that is not here is taken for a subscription of its own.
    subscriptions: BTreeMap<Arc<str>, Arc<str>>,
    resizes: Bucket<PoolKey, C>,
    operation_reads: Bucket<Arc<str>, C>,
    other_calls: Bucket<Arc<str>, C>,
    forget_at_ms: Cell<Millis>,
}

impl<P: NodePools, C: Clock> Throttled<P, C> {
    /// Puts full buckets before `inner`, each cluster in a subscription of its own.
    #[must_use]
    pub fn new(inner: P, clock: Rc<C>) -> Self {
        let clock = Timer(clock);
        Self {
            inner,
            subscriptions: BTreeMap::new(),
            resizes: Bucket::new(RESIZES, &clock),
            operation_reads: Bucket::new(OPERATION_READS, &clock),
            other_calls: Bucket::new(OTHER_CALLS, &clock),
            forget_at_ms: Cell::new(clock.now_ms().saturating_add(FORGET_EVERY_MS)),
            clock,
        }
    }

    /// Says which clusters share a subscription, and with it the buckets that are not a pool's own.
    #[must_use]
    pub fn with_subscriptions(mut self, by_cluster: BTreeMap<Arc<str>, Arc<str>>) -> Self {
        self.subscriptions = by_cluster;
        self
    }

    fn subscription<'a>(&'a self, pool: &'a PoolKey) -> &'a Arc<str> {
        self.subscriptions.get(&pool.cluster).unwrap_or(&pool.cluster)
    }

    /// Forgets, every so often, what is indistinguishable from never having been used: policies come and go.
    fn forget(&self) {
        let now_ms = self.clock.now_ms();
        if now_ms >= self.forget_at_ms.get() {
            self.forget_at_ms.set(now_ms.saturating_add(FORGET_EVERY_MS));
            self.resizes.forget(now_ms);
            self.operation_reads.forget(now_ms);
            self.other_calls.forget(now_ms);
        }
    }
}

impl<P: NodePools, C: Clock> NodePools for Throttled<P, C> {
    async fn read(&self, pool: &PoolKey) -> Result<Pool, PoolError> {
        self.forget();
        let scope = self.subscription(pool);
        self.other_calls.take(scope, &self.clock)?;
        let answer = self.inner.read(pool).await;
        self.other_calls.heed(scope, &answer, &self.clock);
        answer
    }

    async fn all(&self, cluster: &Arc<str>) -> Result<PoolList, PoolError> {
        self.forget();
        let scope = self.subscriptions.get(cluster).unwrap_or(cluster);
        self.other_calls.take(scope, &self.clock)?;
        let answer = self.inner.all(cluster).await;
        self.other_calls.heed(scope, &answer, &self.clock);
        answer
    }

    async fn resize(&self, pool: &PoolKey, seen: &Pool, count: u32) -> Result<Accepted, PoolError> {
        self.forget();
        self.resizes.take(pool, &self.clock)?;
        let answer = self.inner.resize(pool, seen, count).await;
        self.resizes.heed(pool, &answer, &self.clock);
        answer
    }

    async fn set_least(&self, pool: &PoolKey, seen: &Pool, least: u32) -> Result<Accepted, PoolError> {
        self.forget();
        self.resizes.take(pool, &self.clock)?;
        let answer = self.inner.set_least(pool, seen, least).await;
        self.resizes.heed(pool, &answer, &self.clock);
        answer
    }

    async fn poll(&self, pool: &PoolKey, operation: &str) -> Result<Progress, PoolError> {
        self.forget();
        let scope = self.subscription(pool);
        self.operation_reads.take(scope, &self.clock)?;
        let answer = self.inner.poll(pool, operation).await;
        self.operation_reads.heed(scope, &answer, &self.clock);
        answer
    }
}

impl<P: fmt::Debug, C: Clock> fmt::Debug for Throttled<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// The monotonic clock of the port, as governor reads it.
struct Timer<C>(Rc<C>);

impl<C> Clone for Timer<C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<C: Clock> Timer<C> {
    fn now_ms(&self) -> Millis {
        self.0.now().timer_ms
    }
}

impl<C: Clock> governor::clock::Clock for Timer<C> {
    type Instant = Nanos;

    /// Governor adds to it without a check: half of the range, 292 years, is left for that.
    fn now(&self) -> Nanos {
        let ns = self.now_ms().max(0).saturating_mul(1_000_000);
        Nanos::new(ns.unsigned_abs())
    }
}

/// Buckets of one kind of call, by scope, and the times before which the platform asked not to call again.
struct Bucket<K: Scope, C: Clock> {
    limiter: Limiter<K, C>,
    holds: RefCell<BTreeMap<K, Millis>>,
}

/// What has a bucket of its own.
trait Scope: Hash + Ord + Clone {}

impl<K: Hash + Ord + Clone> Scope for K {}

/// Governor's limiter on the clock of the port. The order of its map is never seen.
type Limiter<K, C> = RateLimiter<K, HashMapStateStore<K>, Timer<C>, NoOpMiddleware<Nanos>>;

impl<K: Scope, C: Clock> Bucket<K, C> {
    fn new(quota: Quota, clock: &Timer<C>) -> Self {
        Self {
            limiter: RateLimiter::hashmap_with_clock(quota, clock.clone()),
            holds: RefCell::new(BTreeMap::new()),
        }
    }

    /// Takes a token for a call, or says how long there will be none.
    fn take(&self, scope: &K, clock: &Timer<C>) -> Result<(), PoolError> {
        let now_ms = clock.now_ms();
        let hold_ms = self
            .holds
            .borrow()
            .get(scope)
            .map_or(0, |until_ms| until_ms.saturating_sub(now_ms));
        if hold_ms > 0 {
            return Err(refusal(hold_ms, "the platform asked to wait"));
        }
        self.limiter.check_key(scope).map_err(|not_until| {
            let wait = not_until.wait_time_from(governor::clock::Clock::now(clock));
            let wait_ms = Millis::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(Millis::MAX);
            refusal(wait_ms.max(1), "the platform would refuse more calls for now")
        })
    }

    /// Takes to heart what an answer says about the next call.
    fn heed<T>(&self, scope: &K, answer: &Result<T, PoolError>, clock: &Timer<C>) {
        if let Err(PoolError {
            kind: PoolErrorKind::Throttled(wait_ms),
            ..
        }) = answer
        {
            let until_ms = clock
                .now_ms()
                .saturating_add((*wait_ms).clamp(0, LONGEST_HOLD_MS));
            let mut holds = self.holds.borrow_mut();
            let hold = holds.entry(scope.clone()).or_insert(until_ms);
            *hold = until_ms.max(*hold);
        }
    }

    fn forget(&self, now_ms: Millis) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        self.holds.borrow_mut().retain(|_, until_ms| *until_ms > now_ms);
    }
}

fn refusal(wait_ms: Millis, message: &str) -> PoolError {
    PoolError {
        kind: PoolErrorKind::Throttled(wait_ms),
        code: CLIENT_SIDE_THROTTLE.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;

    use crate::control::ports::{PoolAutoscaler, PoolState};
    use crate::policy::observation::Now;

    use super::*;

    /// A clock that is moved by hand.
    struct HandClock(Cell<Millis>);

    impl Clock for HandClock {
        fn now(&self) -> Now {
            Now::at(self.0.get())
        }

        async fn sleep_until(&self, _: Millis) {
            pending::<()>().await;
        }
    }

    /// Pools that count the calls that reach them, and answer what they are told.
    #[derive(Default)]
    struct Counting {
        calls: Cell<u32>,
        throttle_ms: Cell<Option<Millis>>,
    }

    impl Counting {
        fn answer<T>(&self, value: T) -> Result<T, PoolError> {
            self.calls.set(self.calls.get() + 1);
            self.throttle_ms.take().map_or(Ok(value), |ms| {
                Err(PoolError {
                    kind: PoolErrorKind::Throttled(ms),
                    code: "TooManyRequests".into(),
                    message: "planted".into(),
                })
            })
        }
    }

    impl NodePools for &Counting {
        async fn read(&self, _: &PoolKey) -> Result<Pool, PoolError> {
            self.answer(pool_as_seen())
        }

        async fn resize(&self, _: &PoolKey, _: &Pool, _: u32) -> Result<Accepted, PoolError> {
            self.answer(Accepted {
                operation: None,
                retry_after_ms: None,
            })
        }

        async fn poll(&self, _: &PoolKey, _: &str) -> Result<Progress, PoolError> {
            self.answer(Progress::Succeeded)
        }
    }

    fn pool_as_seen() -> Pool {
        Pool {
            count: 1,
            etag: "1".into(),
            state: PoolState::Steady,
            autoscaler: PoolAutoscaler::Off,
            gpus_per_node: None,
            node_price: None,
            error: None,
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Call {
        Read,
        Resize,
        Poll,
    }
    use Call::{Poll, Read, Resize};

    struct Rig<'a> {
        clock: Rc<HandClock>,
        inner: &'a Counting,
        pools: Throttled<&'a Counting, HandClock>,
    }

    impl<'a> Rig<'a> {
        fn new(inner: &'a Counting, start_ms: Millis) -> Self {
            let clock = Rc::new(HandClock(Cell::new(start_ms)));
            let shared = BTreeMap::from([("east-a".into(), "east".into()), ("east-b".into(), "east".into())]);
            let pools = Throttled::new(inner, Rc::clone(&clock)).with_subscriptions(shared);
            Rig { clock, inner, pools }
        }

        fn call(&self, call: Call, pool: &PoolKey) -> Result<(), PoolError> {
            match call {
                Read => self.pools.read(pool).now_or_never().unwrap().map(drop),
                Resize => self
                    .pools
                    .resize(pool, &pool_as_seen(), 2)
                    .now_or_never()
                    .unwrap()
                    .map(drop),
                Poll => self
                    .pools
                    .poll(pool, "operation")
                    .now_or_never()
                    .unwrap()
                    .map(drop),
            }
        }

        /// Calls as often as it is let, up to `most`; how often it was, and for how long it was refused then.
        fn exhaust(&self, call: Call, pool: &PoolKey, most: u32) -> (u32, Option<Millis>) {
            for calls in 0..most {
                if let Err(error) = self.call(call, pool) {
                    assert_eq!(error.code, CLIENT_SIDE_THROTTLE);
                    return (calls, wait_ms(&error));
                }
            }
            (most, None)
        }

        fn advance(&self, ms: Millis) {
            self.clock.0.set(self.clock.0.get() + ms);
        }
    }

    fn wait_ms(error: &PoolError) -> Option<Millis> {
        match error.kind {
            PoolErrorKind::Throttled(ms) => Some(ms),
            _ => None,
        }
    }

    #[test]
    fn the_buckets_are_those_of_the_platform() {
        for start_ms in [0, 1_000_000_007, Millis::MAX / 2_000_000] {
            for (call, burst, refill_ms) in [(Resize, 20, 60_000), (Poll, 200, 500), (Read, 60, 1_000)] {
                let inner = Counting::default();
                let rig = Rig::new(&inner, start_ms);
                let pool = PoolKey::new("west", "p");
                let mut total = 0;
                for (after_ms, allowed, wait_ms) in [
                    (0, burst, refill_ms),
                    (0, 0, refill_ms),
                    (refill_ms - 1, 0, 1),
                    (1, 1, refill_ms),
                    (refill_ms * 3 + refill_ms / 2, 3, refill_ms / 2),
                    (refill_ms * 1_000, burst, refill_ms),
                ] {
                    rig.advance(after_ms);
                    let came = rig.exhaust(call, &pool, 1_000);
                    assert_eq!(
                        came,
                        (allowed, Some(wait_ms)),
                        "{call:?} after {after_ms} ms from {start_ms}"
                    );
                    total += allowed;
                    assert_eq!(inner.calls.get(), total, "a refused call goes nowhere");
                }
            }
        }
    }

    #[test]
    fn scopes_and_kinds_of_call_do_not_use_up_each_other() {
        let inner = Counting::default();
        let rig = Rig::new(&inner, 5);
        let (here, beside) = (PoolKey::new("west", "p"), PoolKey::new("west", "q"));
        let (east_a, east_b) = (PoolKey::new("east-a", "p"), PoolKey::new("east-b", "p"));
        for (call, used, asked, allowed) in [
            (Resize, &here, &here, 0),
            (Resize, &here, &beside, 20),
            (Read, &here, &beside, 0),
            (Poll, &here, &beside, 0),
            (Read, &here, &east_a, 60),
            (Poll, &here, &east_a, 200),
            (Read, &east_a, &east_b, 0),
            (Resize, &east_a, &east_b, 20),
        ] {
            rig.exhaust(call, used, 1_000);
            assert_eq!(
                rig.exhaust(call, asked, 1_000).0,
                allowed,
                "{call:?} of {asked} after {used}"
            );
            rig.advance(24 * 60 * MINUTE_MS);
        }
    }

    #[test]
    fn after_an_answer_that_asks_to_wait_the_scope_is_silent() {
        let pools = [
            PoolKey::new("east-a", "p"),
            PoolKey::new("east-b", "p"),
            PoolKey::new("west", "p"),
        ];
        for (call, shut) in [
            (Resize, [true, false, false]),
            (Read, [true, true, false]),
            (Poll, [true, true, false]),
        ] {
            let inner = Counting::default();
            let rig = Rig::new(&inner, 77);
            inner.throttle_ms.set(Some(9_000));
            let error = rig.call(call, &pools[0]).unwrap_err();
            assert_eq!(
                (error.code.as_str(), wait_ms(&error)),
                ("TooManyRequests", Some(9_000))
            );
            rig.advance(8_999);
            for (pool, shut) in pools.iter().zip(shut) {
                let wait = rig.call(call, pool).err().and_then(|error| wait_ms(&error));
                assert_eq!(wait, shut.then_some(1), "{call:?} of {pool}");
            }
            for other in [Resize, Read, Poll].into_iter().filter(|other| *other != call) {
                assert_eq!(rig.call(other, &pools[0]), Ok(()), "{other:?} after {call:?}");
            }
            rig.advance(1);
            assert_eq!(rig.call(call, &pools[0]), Ok(()));
        }
    }

    #[test]
    fn a_shorter_wait_does_not_cut_a_longer_one_and_a_garbled_one_ends() {
        let inner = Counting::default();
        let rig = Rig::new(&inner, 0);
        let pool = PoolKey::new("west", "p");
        // Two calls that were on their way together: both answers count.
        rig.pools
            .other_calls
            .heed(&pool.cluster, &Err::<(), _>(refusal(9_000, "")), &rig.pools.clock);
        rig.pools
            .other_calls
            .heed(&pool.cluster, &Err::<(), _>(refusal(4_000, "")), &rig.pools.clock);
        assert_eq!(rig.exhaust(Read, &pool, 1), (0, Some(9_000)));
        inner.throttle_ms.set(Some(Millis::MAX));
        assert!(rig.call(Resize, &pool).is_err());
        assert_eq!(rig.exhaust(Resize, &pool, 1), (0, Some(LONGEST_HOLD_MS)));
        inner.throttle_ms.set(Some(-5));
        assert!(rig.call(Poll, &pool).is_err());
        assert_eq!(rig.call(Poll, &pool), Ok(()));
    }

    #[test]
    fn what_is_full_again_is_forgotten() {
        let inner = Counting::default();
        let rig = Rig::new(&inner, 0);
        let names: Vec<String> = (0..100).map(|index| format!("p{index}")).collect();
        for name in &names {
            inner.throttle_ms.set(Some(1));
            assert!(rig.call(Resize, &PoolKey::new(name, name)).is_err());
            assert_eq!(rig.call(Read, &PoolKey::new(name, name)), Ok(()));
        }
        let kept = |rig: &Rig<'_>| {
            let holds = rig.pools.resizes.holds.borrow().len();
            (
                rig.pools.resizes.limiter.len(),
                rig.pools.other_calls.limiter.len(),
                holds,
            )
        };
        assert_eq!(kept(&rig), (100, 100, 100));
        rig.advance(FORGET_EVERY_MS);
        assert_eq!(rig.call(Read, &PoolKey::new("west", "p")), Ok(()));
        assert_eq!(kept(&rig), (0, 1, 0));
        assert_eq!(rig.inner.calls.get(), 201);
    }

    #[test]
    fn what_is_used_up_is_not_forgotten() {
        let inner = Counting::default();
        let rig = Rig::new(&inner, 0);
        let pool = PoolKey::new("west", "p");
        assert_eq!(rig.exhaust(Resize, &pool, 1_000).0, 20);
        rig.advance(FORGET_EVERY_MS);
        assert_eq!(rig.exhaust(Resize, &pool, 1_000).0, 10);
    }
}
