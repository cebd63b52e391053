//! The door of the platform: who is let in, who is asked to wait, and in which words a caller is sent away.
//!
//! It holds the documented token buckets whatever the faults, so that a caller who asks too much is found out.

use gpuscale::control::ports::{PoolError, PoolErrorKind};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

use super::chance::{Chance, Draw};
use super::faults::{ArmFault, ArmFaultKind, Faults};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Read,
    Resize,
    Poll,
}

/// Why a caller is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub kind: PoolErrorKind,
    pub code: &'static str,
    pub message: &'static str,
}

/// A refusal, and the fault that it comes of, if it comes of one.
pub type Refused = (Refusal, Option<ArmFaultKind>);

impl Refusal {
    pub const GONE: Self = Self::of(
        PoolErrorKind::Gone,
        "ResourceNotFound",
        "the operation was not found",
    );
    pub const BUSY: Self = Self::of(
        PoolErrorKind::Busy,
        "OperationNotAllowed",
        "another operation (Scaling) is in progress",
    );
    pub const STALE: Self = Self::of(
        PoolErrorKind::Stale,
        "PreconditionFailed",
        "the etag is not the current one",
    );
    pub const AUTOSCALED: Self = Self::of(
        PoolErrorKind::BadRequest,
        "BadRequest",
        "cannot scale a node pool whose cluster autoscaler is enabled",
    );
    pub const STOPPED: Self = Self::of(
        PoolErrorKind::BadRequest,
        "PoolStopped",
        "the agent pool is stopped",
    );
    pub const TOO_MANY: Self = Self::of(
        PoolErrorKind::BadRequest,
        "InvalidParameter",
        "the count is above 1000",
    );
    pub const STUCK: Self = Self::of(
        PoolErrorKind::Unavailable,
        "InternalOperationError",
        "the operation did not end in time",
    );
    const AUTH: Self = Self::of(
        PoolErrorKind::Auth,
        "ExpiredAuthenticationToken",
        "the access token expired",
    );
    const UNAVAILABLE: Self = Self::of(
        PoolErrorKind::Unavailable,
        "ServiceUnavailable",
        "the service is not available",
    );
    const DROPPED: Self = Self::of(
        PoolErrorKind::NoAnswer,
        "ConnectionReset",
        "the connection was closed",
    );

    const fn of(kind: PoolErrorKind, code: &'static str, message: &'static str) -> Self {
        Self { kind, code, message }
    }

    /// No capacity, in the platform's words.
    pub fn capacity(failure: Failure) -> Self {
        let (code, message) = match failure {
            Failure::QuotaLow => (
                "ErrCode_InsufficientVCPUQuota",
                "insufficient vcpu quota requested 96, remaining 48",
            ),
            Failure::QuotaZero => (
                "OperationNotAllowed",
                "the operation would exceed the approved cores quota",
            ),
            Failure::Allocation => ("AllocationFailed", "there is not enough capacity in the region"),
            Failure::Sku => ("SkuNotAvailable", "the size is not available in the location"),
        };
        Self::of(PoolErrorKind::Capacity(failure), code, message)
    }

    fn throttled(wait_ms: Millis) -> Self {
        Self::of(
            PoolErrorKind::Throttled(wait_ms),
            "Throttled",
            "the request limit is exceeded",
        )
    }

    /// The same as the callers know it.
    pub fn error(self) -> PoolError {
        PoolError {
            kind: self.kind,
            code: self.code.to_owned(),
            message: self.message.to_owned(),
        }
    }
}

/// A bucket of tokens that fills up evenly.
#[derive(Debug)]
pub struct Bucket {
    refill_ms: Millis,
    burst: Millis,
    /// When it will be full again.
    full_at_ms: Millis,
}

impl Bucket {
    /// A full bucket of `burst` tokens, with one more every `refill_ms`.
    pub fn new(burst: Millis, refill_ms: Millis) -> Self {
        Self {
            refill_ms,
            burst,
            full_at_ms: Millis::MIN,
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long to wait for one, in whole seconds as on the wire.
    fn take(&mut self, now_ms: Millis) -> Result<(), Millis> {
        let full_at_ms = self.full_at_ms.max(now_ms) + self.refill_ms;
        let over_ms = full_at_ms - now_ms - self.burst * self.refill_ms;
        if over_ms > 0 {
            return Err((over_ms + 999) / 1000 * 1000);
        }
        self.full_at_ms = full_at_ms;
        Ok(())
    }
}

/// The door of one pool.
#[derive(Debug)]
pub struct Door {
    /// Writes of this pool.
    pub writes: Bucket,
    /// Until when each kind of caller was asked to wait.
    wait_until_ms: [Millis; 3],
    calls: u64,
    /// Calls that came before the time they were asked to wait for.
    pub impatient: u32,
    /// Calls that were sent away since there were too many: no fault, but the caller's own doing.
    pub self_inflicted: u32,
}

impl Door {
    /// A door that nobody knocked at.
    pub fn new() -> Self {
        Self {
            writes: Bucket::new(20, 60_000),
            wait_until_ms: [Millis::MIN; 3],
            calls: 0,
            impatient: 0,
            self_inflicted: 0,
        }
    }

    /// Lets a caller in, or says why not and which fault it was, if one was.
    ///
    /// `shared` is the bucket of this kind of call, if it is not the pool's own.
    pub fn knock(
        &mut self,
        now_ms: Millis,
        call: Call,
        shared: Option<&mut Bucket>,
        faults: &Faults,
        chance: Chance,
    ) -> Result<(), Refused> {
        self.calls += 1;
        if now_ms < self.wait_until_ms[call as usize] {
            self.impatient += 1;
        }
        if let Err(wait_ms) = shared.unwrap_or(&mut self.writes).take(now_ms) {
            self.self_inflicted += 1;
            return Err((self.ask_to_wait(now_ms, call, wait_ms), None));
        }
        if faults.none() {
            return Ok(());
        }
        self.struck(now_ms, call, faults, chance)
            .map_or(Ok(()), |(refusal, kind)| Err((refusal, Some(kind))))
    }

    fn struck(
        &mut self,
        now_ms: Millis,
        call: Call,
        faults: &Faults,
        chance: Chance,
    ) -> Option<(Refusal, ArmFaultKind)> {
        let strikes =
            |kind: ArmFaultKind, percent| chance.strikes(Draw::Call, self.calls << 8 | kind as u64, percent);
        if faults.has(ArmFaultKind::AuthExpired) {
            return Some((Refusal::AUTH, ArmFaultKind::AuthExpired));
        }
        if let Some(ArmFault::Unavailable { percent }) = faults.get(ArmFaultKind::Unavailable)
            && strikes(ArmFaultKind::Unavailable, percent)
        {
            return Some((Refusal::UNAVAILABLE, ArmFaultKind::Unavailable));
        }
        if let Some(ArmFault::PollsDropped { percent }) = faults.get(ArmFaultKind::PollsDropped)
            && call == Call::Poll
            && strikes(ArmFaultKind::PollsDropped, percent)
        {
            return Some((Refusal::DROPPED, ArmFaultKind::PollsDropped));
        }
        if let Some(ArmFault::Throttled {
            percent,
            retry_after_ms,
        }) = faults.get(ArmFaultKind::Throttled)
            && strikes(ArmFaultKind::Throttled, percent)
        {
            return Some((
                self.ask_to_wait(now_ms, call, retry_after_ms),
                ArmFaultKind::Throttled,
            ));
        }
        None
    }

    fn ask_to_wait(&mut self, now_ms: Millis, call: Call, wait_ms: Millis) -> Refusal {
        self.wait_until_ms[call as usize] = now_ms + wait_ms;
        Refusal::throttled(wait_ms)
    }
}
