//! Where the state of policies is kept: in memory, as a clone, with the failures of a store far away.
//!
//! Every fiftieth save takes the way through JSON that the real store takes every time, so that state that does not
//! survive it, or that grows beyond what an object may hold, stops the run.

use gpuscale::control::ports::{PolicyKey, StoreError};
use gpuscale::control::state::Saved;

/// How often a save takes the way through JSON.
const EVERY: u64 = 50;
/// The most that a policy's memory may take as JSON.
const MOST_BYTES: usize = 16 * 1024;

/// A fault of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing can be loaded or saved.
    Unavailable,
    /// Saves are not kept, and an error is answered.
    LostAndError,
    /// Saves are kept, but an error is answered.
    KeptAndError,
}

impl StoreFault {
    /// Its name in the list of faults, and what it is.
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Unavailable => ("F22", "store unavailable"),
            Self::KeptAndError => ("F22", "saved, but an error answered"),
            Self::LostAndError => ("F22", "not saved, and an error answered"),
        }
    }
}

/// Whether the store has now what was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    No,
}

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    slots: Vec<(PolicyKey, Saved)>,
    faults: [Option<StoreFault>; 3],
    saves: u64,
    struck: u32,
    largest: usize,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns a fault on.
    pub fn set(&mut self, fault: StoreFault) {
        self.faults[fault as usize] = Some(fault);
    }

    /// Turns a fault off.
    pub fn clear(&mut self, fault: StoreFault) {
        self.faults[fault as usize] = None;
    }

    /// What was kept last.
    pub fn load(&mut self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        if self.faults[StoreFault::Unavailable as usize].is_some() {
            self.struck += 1;
            return Err(refusal());
        }
        Ok(self.kept(policy).cloned())
    }

    /// Saves; what is answered, and what is true.
    pub fn save(&mut self, policy: &PolicyKey, state: &Saved) -> (Result<(), StoreError>, Kept) {
        self.saves += 1;
        if self.saves.is_multiple_of(EVERY) {
            self.take_the_long_way(state);
        }
        // Of several at once, the worst.
        let fault = self.faults.iter().flatten().next();
        self.struck += u32::from(fault.is_some());
        match fault {
            None => {
                self.keep(policy, state);
                (Ok(()), Kept::Yes)
            }
            Some(StoreFault::KeptAndError) => {
                self.keep(policy, state);
                (Err(refusal()), Kept::Yes)
            }
            Some(StoreFault::Unavailable | StoreFault::LostAndError) => (Err(refusal()), Kept::No),
        }
    }

    /// What is kept, whatever the faults: for those who judge.
    pub fn kept(&self, policy: &PolicyKey) -> Option<&Saved> {
        self.slots
            .iter()
            .find(|(key, _)| key == policy)
            .map(|(_, saved)| saved)
    }

    /// How often a fault struck.
    pub fn struck(&self) -> u32 {
        self.struck
    }

    /// The largest memory that was measured, in bytes of JSON.
    pub fn largest(&self) -> usize {
        self.largest
    }

    fn keep(&mut self, policy: &PolicyKey, state: &Saved) {
        match self.slots.iter_mut().find(|(key, _)| key == policy) {
            Some((_, saved)) => saved.clone_from(state),
            None => self.slots.push((policy.clone(), state.clone())),
        }
    }

    fn take_the_long_way(&mut self, state: &Saved) {
        let text = serde_json::to_string(state).expect("state can be written");
        let back: Saved = serde_json::from_str(&text).expect("what was written can be read");
        assert_eq!(&back, state, "state does not survive JSON");
        let bytes = serde_json::to_string(&state.memory)
            .expect("memory can be written")
            .len();
        assert!(bytes <= MOST_BYTES, "the memory of a policy takes {bytes} bytes");
        self.largest = self.largest.max(bytes);
    }
}

fn refusal() -> StoreError {
    StoreError("the store does not answer".to_owned())
}
