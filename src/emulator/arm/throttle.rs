//! The token buckets of the resource provider, as its documentation lists them.

use std::collections::BTreeMap;

use crate::emulator::behavior::Throttles;
use crate::emulator::message::{Method, Refusal};
use crate::policy::config::Millis;

use super::route::Route;

/// Tokens that come back one by one.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Most that is in it, in ms of refill.
    most: Millis,
    /// Until a token is back.
    refill_ms: Millis,
    /// What is in it, in ms of refill.
    level: Millis,
    filled_at: Millis,
}

impl Bucket {
    fn new(tokens: Millis, refill_ms: Millis, now_ms: Millis) -> Self {
        let most = tokens * refill_ms;
        Self {
            most,
            refill_ms,
            level: most,
            filled_at: now_ms,
        }
    }

    /// Takes a token, or says how long until there is one.
    fn take(&mut self, now_ms: Millis) -> Result<(), Millis> {
        let passed_ms = now_ms.saturating_sub(self.filled_at).max(0);
        self.filled_at = now_ms;
        self.level = self.level.saturating_add(passed_ms).min(self.most);
        if self.level < self.refill_ms {
            return Err(self.refill_ms - self.level);
        }
        self.level -= self.refill_ms;
        Ok(())
    }
}

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct Throttle {
    throttles: Throttles,
    puts: BTreeMap<String, Bucket>,
    monitors: Bucket,
    others: Bucket,
}

impl Throttle {
    pub(super) fn new(throttles: Throttles, now_ms: Millis) -> Self {
        Self {
            throttles,
            puts: BTreeMap::new(),
            monitors: Bucket::new(200, 500, now_ms),
            others: Bucket::new(60, 1000, now_ms),
        }
    }

    /// Lets a request in, or says how long to wait.
    pub(super) fn enter(&mut self, now_ms: Millis, route: &Route, method: Method) -> Result<(), Refusal> {
        if self.throttles == Throttles::Off {
            return Ok(());
        }
        let bucket = match (route, method) {
            (Route::Pool(pool), Method::Put) => self
                .puts
                .entry(pool.clone())
                .or_insert_with(|| Bucket::new(20, 60_000, now_ms)),
            (Route::Monitor(_) | Route::OperationResult(_), _) => &mut self.monitors,
            _ => &mut self.others,
        };
        bucket.take(now_ms).map_err(|wait_ms| Refusal {
            wait_ms: Some(wait_ms),
            ..Refusal::new(
                429,
                "Throttled",
                "The request is throttled; wait as long as Retry-After says.",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(throttle: &mut Throttle, now_ms: Millis, route: &Route, method: Method) -> usize {
        (0..1000)
            .take_while(|_| throttle.enter(now_ms, route, method).is_ok())
            .count()
    }

    #[test]
    fn buckets_are_those_of_the_documentation() {
        let mut throttle = Throttle::new(Throttles::On, 0);
        let pool = |name: &str| Route::Pool(name.to_owned());
        assert_eq!(allowed(&mut throttle, 0, &pool("a"), Method::Put), 20);
        // A bucket for each pool, and another one for reads.
        assert_eq!(allowed(&mut throttle, 0, &pool("b"), Method::Put), 20);
        assert_eq!(allowed(&mut throttle, 0, &pool("a"), Method::Get), 60);
        assert_eq!(allowed(&mut throttle, 0, &Route::Pools, Method::Get), 0);
        assert_eq!(
            allowed(&mut throttle, 0, &Route::Monitor(String::new()), Method::Get),
            200
        );
        assert_eq!(allowed(&mut throttle, 150_000, &pool("a"), Method::Put), 2);
        assert_eq!(allowed(&mut throttle, 150_000, &pool("a"), Method::Get), 60);
        assert_eq!(allowed(&mut throttle, 153_000, &pool("a"), Method::Get), 3);
        let refused = throttle.enter(153_400, &pool("a"), Method::Get).unwrap_err();
        assert_eq!((refused.status, refused.wait_ms), (429, Some(600)));
    }

    #[test]
    fn they_can_be_off() {
        let mut throttle = Throttle::new(Throttles::Off, 0);
        assert_eq!(allowed(&mut throttle, 0, &Route::Pools, Method::Get), 1000);
    }
}
