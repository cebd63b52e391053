//! Waiting in line for one of a few places, on one thread and on any executor.
//!
//! [`Gate`] is what bounds how many ticks run at a time and, with a single place and an order of its own, what makes
//! submissions to a cluster one at a time (see [`super::turnstile`]). It knows neither policies nor time: whoever
//! cannot wait for ever drops the future.
//!
//! Places are not handed over. A place that becomes free wakes those who are next, and whoever is next when polled
//! takes it. So nothing is lost when one that was woken never comes back: a future that is dropped, by a timeout, a
//! panic or a shutdown, leaves the line, and those behind it are woken in its stead.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A gate with a number of places and a line before it, in the order of `K` and, among equals, of arrival.
///
/// A clone is the same gate.
pub struct Gate<K> {
    line: Rc<RefCell<Line<K>>>,
}

/// Permits for a bounded number of things at a time, first come, first served.
pub type Permits = Gate<()>;

/// A place in the line: the order asked for, then the order of arrival.
type Ticket<K> = (K, u64);

struct Line<K> {
    free: usize,
    arrivals: u64,
    /// Those who wait. A waker that has been used is gone until its owner is polled again.
    waiting: BTreeMap<Ticket<K>, Option<Waker>>,
}

impl<K: Ord + Clone> Gate<K> {
    /// A gate with this many places; at least one, since a gate without any would hold everyone for ever.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let line = Line {
            free: places.max(1),
            arrivals: 0,
            waiting: BTreeMap::new(),
        };
        Self {
            line: Rc::new(RefCell::new(line)),
        }
    }

    /// Comes back with a place, as soon as one is free and nobody with a lesser `order` waits. The wait begins when
    /// the future is first polled, and ends when it is dropped.
    pub fn enter(&self, order: K) -> Enter<K> {
        Enter {
            line: Rc::clone(&self.line),
            stage: Stage::Outside(Some(order)),
        }
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.borrow().waiting.len()
    }

    /// How many places are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.line.borrow().free
    }
}

impl Permits {
    /// Comes back with a permit, as soon as one is free.
    pub fn acquire(&self) -> Enter<()> {
        self.enter(())
    }
}

impl<K: Ord> Line<K> {
    fn is_next(&self, ticket: &Ticket<K>) -> bool {
        self.waiting.range(..ticket).take(self.free).count() < self.free
    }

    /// The wakers of those who may come in now. They are woken when the line is no longer borrowed: a waker is
    /// foreign code, which may poll or drop futures of this very gate.
    fn wakers(&mut self) -> Vec<Waker> {
        let next = self.waiting.values_mut().take(self.free);
        next.filter_map(Option::take).collect()
    }
}

fn wake_next<K: Ord>(line: &RefCell<Line<K>>) {
    let wakers = line.borrow_mut().wakers();
    wakers.into_iter().for_each(Waker::wake);
}

/// The wait for a place.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Enter<K: Ord> {
    line: Rc<RefCell<Line<K>>>,
    stage: Stage<K>,
}

enum Stage<K> {
    /// Not polled yet; the order asked for.
    Outside(Option<K>),
    Waiting(Ticket<K>),
    Over,
}

// Nothing in it is pinned.
impl<K: Ord> Unpin for Enter<K> {}

impl<K: Ord + Clone> Future for Enter<K> {
    type Output = Place<K>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Place<K>> {
        let this = self.get_mut();
        let mut line = this.line.borrow_mut();
        if let Stage::Outside(order) = &mut this.stage
            && let Some(order) = order.take()
        {
            line.arrivals += 1;
            let ticket = (order, line.arrivals);
            line.waiting.insert(ticket.clone(), None);
            this.stage = Stage::Waiting(ticket);
        }
        let Stage::Waiting(ticket) = &this.stage else {
            return Poll::Pending;
        };
        if line.is_next(ticket) {
            line.waiting.remove(ticket);
            line.free -= 1;
            drop(line);
            this.stage = Stage::Over;
            return Poll::Ready(Place {
                line: Rc::clone(&this.line),
            });
        }
        let waker = context.waker().clone();
        let before = line
            .waiting
            .get_mut(ticket)
            .and_then(|place| place.replace(waker));
        drop(line);
        drop(before);
        Poll::Pending
    }
}

impl<K: Ord> Drop for Enter<K> {
    fn drop(&mut self) {
        if let Stage::Waiting(ticket) = &self.stage {
            let waker = self.line.borrow_mut().waiting.remove(ticket);
            drop(waker);
            wake_next(&self.line);
        }
    }
}

/// A place behind the gate, free again when it is dropped.
#[must_use = "the place is free again as soon as this is dropped"]
pub struct Place<K: Ord> {
    line: Rc<RefCell<Line<K>>>,
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        self.line.borrow_mut().free += 1;
        wake_next(&self.line);
    }
}

impl<K> Clone for Gate<K> {
    fn clone(&self) -> Self {
        Self {
            line: Rc::clone(&self.line),
        }
    }
}

impl<K> fmt::Debug for Gate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl<K: Ord> fmt::Debug for Enter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enter").finish_non_exhaustive()
    }
}

impl<K: Ord> fmt::Debug for Place<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures_util::task::noop_waker;
    use proptest::prelude::*;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<K: Ord + Clone>(enter: &mut Enter<K>, waker: &Waker) -> Option<Place<K>> {
        match Pin::new(enter).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        (count, waker)
    }

    fn woken(count: &Arc<Count>) -> usize {
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn as_many_come_in_as_there_are_places() {
        let gate = Permits::new(2);
        let waker = noop_waker();
        let first = poll(&mut gate.acquire(), &waker).unwrap();
        let _second = poll(&mut gate.acquire(), &waker).unwrap();
        let mut third = gate.acquire();
        assert!(poll(&mut third, &waker).is_none());
        assert_eq!((gate.free(), gate.waiting()), (0, 1));
        drop(first);
        assert!(poll(&mut third, &waker).is_some());
    }

    #[test]
    fn a_gate_has_at_least_one_place() {
        assert!(poll(&mut Permits::new(0).acquire(), &noop_waker()).is_some());
    }

    #[test]
    fn the_lesser_order_comes_in_first_and_equals_in_the_order_of_arrival() {
        let gate = Gate::new(1);
        let waker = noop_waker();
        let mut held = poll(&mut gate.enter(0), &waker);
        let mut line: Vec<(usize, Enter<i32>)> = [5, 3, 5, 1, 3]
            .into_iter()
            .map(|order| gate.enter(order))
            .enumerate()
            .collect();
        for (_, enter) in &mut line {
            assert!(poll(enter, &waker).is_none());
        }
        let mut came = Vec::new();
        while !line.is_empty() {
            held.take();
            let index = line.iter_mut().position(|(_, enter)| {
                held = poll(enter, &waker);
                held.is_some()
            });
            came.push(line.remove(index.unwrap()).0);
        }
        assert_eq!(came, [3, 1, 4, 0, 2]);
    }

    #[test]
    fn a_free_place_wakes_only_those_it_is_for() {
        let gate = Permits::new(1);
        let held = poll(&mut gate.acquire(), &noop_waker());
        let (mut first, mut second) = (gate.acquire(), gate.acquire());
        let ((first_count, first_waker), (second_count, second_waker)) = (counted(), counted());
        assert!(poll(&mut first, &first_waker).is_none());
        assert!(poll(&mut second, &second_waker).is_none());
        drop(held);
        assert_eq!((woken(&first_count), woken(&second_count)), (1, 0));
    }

    #[test]
    fn one_that_was_woken_and_left_passes_the_place_on() {
        let gate = Permits::new(1);
        let held = poll(&mut gate.acquire(), &noop_waker());
        let (mut first, mut second) = (gate.acquire(), gate.acquire());
        let (count, waker) = counted();
        assert!(poll(&mut first, &noop_waker()).is_none());
        assert!(poll(&mut second, &waker).is_none());
        drop(held);
        drop(first);
        assert_eq!((woken(&count), gate.waiting()), (1, 1));
        assert!(poll(&mut second, &waker).is_some());
        assert_eq!((gate.free(), gate.waiting()), (1, 0));
    }

    #[test]
    fn one_that_leaves_the_middle_of_the_line_leaves_no_trace() {
        let gate = Permits::new(1);
        let waker = noop_waker();
        let held = poll(&mut gate.acquire(), &waker);
        let (mut first, mut second) = (gate.acquire(), gate.acquire());
        assert!(poll(&mut first, &waker).is_none() && poll(&mut second, &waker).is_none());
        drop(second);
        drop(gate.acquire());
        assert_eq!(gate.waiting(), 1);
        drop(held);
        assert!(poll(&mut first, &waker).is_some());
        assert_eq!((gate.free(), gate.waiting()), (1, 0));
    }

    #[test]
    fn the_latest_waker_is_the_one_that_counts() {
        let gate = Permits::new(1);
        let held = poll(&mut gate.acquire(), &noop_waker());
        let mut enter = gate.acquire();
        let ((old_count, old), (new_count, new)) = (counted(), counted());
        assert!(poll(&mut enter, &old).is_none() && poll(&mut enter, &new).is_none());
        drop(held);
        assert_eq!((woken(&old_count), woken(&new_count)), (0, 1));
    }

    #[test]
    fn a_place_that_a_panic_drops_is_free_again() {
        let gate = Permits::new(1);
        let place = poll(&mut gate.acquire(), &noop_waker());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _place = place;
            panic!("planted");
        }));
        assert!(panicked.is_err());
        assert_eq!(gate.free(), 1);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Somebody comes, with this order.
        Come(u8),
        /// A waiting one, by index, is polled though nobody woke it.
        Poll(usize),
        /// A waiting one gives up.
        GiveUp(usize),
        /// A holder leaves.
        Leave(usize),
        /// Everybody who was woken is polled.
        Run,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..3).prop_map(Step::Come),
            2 => any::<usize>().prop_map(Step::Poll),
            1 => any::<usize>().prop_map(Step::GiveUp),
            2 => any::<usize>().prop_map(Step::Leave),
            2 => Just(Step::Run),
        ];
        prop::collection::vec(step, 1..120)
    }

    struct Waiter {
        enter: Enter<u8>,
        count: Arc<Count>,
        waker: Waker,
        seen: usize,
    }

    impl Waiter {
        fn poll(&mut self) -> Option<Place<u8>> {
            self.seen = woken(&self.count);
            poll(&mut self.enter, &self.waker)
        }
    }

    /// Polls those who were woken, until nobody is: what an executor does.
    fn run(waiters: &mut Vec<Waiter>, holders: &mut Vec<Place<u8>>) {
        while let Some(index) = waiters.iter().position(|w| woken(&w.count) > w.seen) {
            if let Some(place) = waiters[index].poll() {
                waiters.remove(index);
                holders.push(place);
            }
        }
    }

    proptest! {
        #[test]
        fn nobody_is_let_in_too_many_and_everybody_who_stays_comes_in(
            places in 1_usize..4,
            steps in steps(),
        ) {
            let gate = Gate::new(places);
            let (mut waiters, mut holders): (Vec<Waiter>, Vec<Place<u8>>) = (Vec::new(), Vec::new());
            let pick = |index: usize, len: usize| (len > 0).then(|| index % len);
            for step in steps {
                match step {
                    Step::Come(order) => {
                        let (count, waker) = counted();
                        let mut waiter = Waiter { enter: gate.enter(order), count, waker, seen: 0 };
                        match waiter.poll() {
                            Some(place) => holders.push(place),
                            None => waiters.push(waiter),
                        }
                    }
                    Step::Poll(index) => {
                        if let Some(index) = pick(index, waiters.len())
                            && let Some(place) = waiters[index].poll()
                        {
                            waiters.remove(index);
                            holders.push(place);
                        }
                    }
                    Step::GiveUp(index) => {
                        if let Some(index) = pick(index, waiters.len()) {
                            waiters.remove(index);
                        }
                    }
                    Step::Leave(index) => {
                        if let Some(index) = pick(index, holders.len()) {
                            drop(holders.remove(index));
                        }
                    }
                    Step::Run => run(&mut waiters, &mut holders),
                }
                prop_assert!(holders.len() <= places);
                prop_assert_eq!(gate.free(), places - holders.len());
                prop_assert_eq!(gate.waiting(), waiters.len());
            }
            // Only wakers drive the rest: whoever is not woken would wait for ever.
            run(&mut waiters, &mut holders);
            while !waiters.is_empty() {
                prop_assert!(!holders.is_empty(), "{} wait at a free gate", waiters.len());
                drop(holders.remove(0));
                run(&mut waiters, &mut holders);
            }
            drop(holders);
            prop_assert_eq!((gate.free(), gate.waiting()), (places, 0));
        }
    }
}
