//! Draws for the platform: each is a hash of the pool's seed, of what is drawn and of which one, so that a fault
//! taken out of a plan leaves all other draws as they were. It keeps no stream.

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub enum Draw {
    /// How the platform behaves where nobody knows what the real one does.
    Platform,
    /// Everything about one operation.
    Operation,
    /// How long an operation takes.
    Duration,
    /// How long until its progress is to be asked for.
    RetryAfter,
    /// When in its course something befalls an operation.
    Moment,
    /// How much of it was done.
    Part,
    /// When its nodes leave.
    Leaves,
    /// How long a node boots.
    Boot,
    /// How long its driver takes.
    Driver,
    /// How a foreign write goes.
    Foreign,
    /// Whether a call is struck.
    Call,
}

/// A source of draws.
#[derive(Debug, Clone, Copy)]
pub struct Chance(u64);

impl Chance {
    /// The draws of `place` in the run `seed`.
    pub fn new(seed: u64, place: u64) -> Self {
        Self(mixed(seed ^ mixed(place)))
    }

    /// Number `index` of `what`, uniform over all of `u64`.
    pub fn draw(self, what: Draw, index: u64) -> u64 {
        mixed(self.0 ^ mixed(index ^ ((what as u64 + 1) << 56)))
    }

    /// The same between `low` and `high`, both included.
    pub fn between(self, what: Draw, index: u64, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).expect("low is not above high") + 1;
        low + i64::try_from(self.draw(what, index) % span).expect("a span fits")
    }

    /// Whether the draw falls into `percent` of a hundred.
    pub fn strikes(self, what: Draw, index: u64, percent: u8) -> bool {
        percent >= 100 || self.draw(what, index) % 100 < u64::from(percent)
    }
}

/// The finaliser of splitmix64.
fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
