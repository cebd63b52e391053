//! The store keeps what it says it keeps.

use gpuscale::control::ports::PolicyKey;
use gpuscale::control::state::{Ended, STATE_VERSION, Saved};
use gpuscale::policy::Memory;
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Now;

use crate::world::store::{Kept, Store, StoreFault};

fn saved(at_ms: Millis) -> Saved {
    Saved {
        version: STATE_VERSION,
        saved_at: Now::at(at_ms),
        source_ms: Some(at_ms),
        ended: Ended::Running,
        memory: Memory::default(),
        pools: Vec::new(),
    }
}

pub(super) fn saves_are_kept_and_lost() {
    let (one, two) = (PolicyKey::new("a", "one"), PolicyKey::new("a", "two"));
    let mut store = Store::new();
    assert_eq!(store.load(&one), Ok(None));
    for at_ms in 0..50 {
        assert_eq!(store.save(&one, &saved(at_ms)), (Ok(()), Kept::Yes));
    }
    assert!(store.largest() > 0);
    assert_eq!(store.load(&one), Ok(Some(saved(49))));
    assert_eq!(store.load(&two), Ok(None));

    store.set(StoreFault::KeptAndError);
    let (answer, kept) = store.save(&one, &saved(50));
    assert!(answer.is_err() && kept == Kept::Yes);
    assert_eq!(store.load(&one), Ok(Some(saved(50))));

    store.set(StoreFault::LostAndError);
    let (answer, kept) = store.save(&one, &saved(51));
    assert!(answer.is_err() && kept == Kept::No);
    assert_eq!(store.kept(&one), Some(&saved(50)));

    store.set(StoreFault::Unavailable);
    assert!(store.load(&one).is_err());
    for fault in [
        StoreFault::KeptAndError,
        StoreFault::LostAndError,
        StoreFault::Unavailable,
    ] {
        store.clear(fault);
    }
    assert_eq!(store.load(&one), Ok(Some(saved(50))));
    assert_eq!(store.struck(), 3);
}
