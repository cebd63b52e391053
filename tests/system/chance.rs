//! Chance that can be repeated: numbers drawn by hashing what they are for.
//!
//! There is no shared stream. What a draw gives depends on the seed and on its own names and nothing else, so that a
//! fault that is taken out of a plan leaves every other draw as it was.

/// A number for a purpose: the same words give the same number.
pub fn draw(seed: u64, words: &[u64]) -> u64 {
    let mut state = mix(seed ^ 0x5851_f42d_4c95_7f2d);
    for word in words {
        state = mix(state ^ *word);
    }
    state
}

/// A small stream of its own, for one purpose.
#[derive(Debug, Clone)]
pub struct Stream(u64);

impl Stream {
    /// The stream of a purpose.
    pub fn new(seed: u64, words: &[u64]) -> Self {
        Self(draw(seed, words))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1).unsigned_abs()).cast_signed()
    }

    /// Whether something with this chance in a hundred happens.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    /// One of a list.
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[(self.next() % list.len() as u64) as usize]
    }
}

/// The finaliser of `SplitMix64`.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
