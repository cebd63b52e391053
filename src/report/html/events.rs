//! Every resize of a run, and every change of what holds it, in bounded memory and bounded text.
//!
//! An evaluation that decides the same for the same reasons as the one before is no event, so a quiet day is one.
//! Resizes come first: when there are too many events, holds that were in force for the shortest time go.

use super::phrases::Phrases;

/// Most holds that are kept.
const MOST_HOLDS: usize = 8_000;
/// Most resizes that are kept.
const MOST_RESIZES: usize = 6_000;
/// Most bytes of shortened sentences, of holds and of resizes; it is what keeps a page under one megabyte.
const MOST_BYTES: usize = 200_000;

/// A resize, or the first tick of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Ticks from the start.
    pub(super) tick: u32,
    /// Nodes before.
    pub(super) from: u32,
    /// Nodes after; equal to `from` for a hold.
    pub(super) to: u32,
    /// Shortened sentences with semicolons between: the decision, its limits, its signals.
    pub(super) says: String,
}

impl Event {
    pub(super) fn is_resize(&self) -> bool {
        self.from != self.to
    }
}

/// Events in the order of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    all: Vec<Event>,
    phrases: Phrases,
    resizes: Tally,
    holds: Tally,
    /// Holds are at least this many ticks after the event before them.
    gap: u32,
    resizes_left_out: u64,
    resizes_cut_short: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: usize,
    bytes: usize,
}

impl Tally {
    fn add(&mut self, event: &Event) {
        self.count += 1;
        self.bytes += event.says.len();
    }
}

impl Events {
    /// Adds an event. The first sentence is the decision, and it is kept even where the others are not.
    pub(super) fn push(&mut self, tick: u32, from: u32, to: u32, sentences: &[String]) {
        let mut event = Event {
            tick,
            from,
            to,
            says: String::new(),
        };
        if event.is_resize() {
            if self.resizes.count >= MOST_RESIZES {
                self.resizes_left_out += 1;
                return;
            }
            let cut = self.resizes.bytes > MOST_BYTES && sentences.len() > 1;
            self.resizes_cut_short += u64::from(cut);
            event.says = self.shortened(if cut { &sentences[..1] } else { sentences });
            self.resizes.add(&event);
            self.all.push(event);
        } else if self.is_apart(&event) {
            event.says = self.shortened(sentences);
            self.holds.add(&event);
            self.all.push(event);
            while self.holds.count > MOST_HOLDS || self.holds.bytes > MOST_BYTES {
                self.thin();
            }
        }
    }

    fn is_apart(&self, hold: &Event) -> bool {
        let last = self.all.last();
        last.is_none_or(|last| hold.tick.saturating_sub(last.tick) >= self.gap)
    }

    fn shortened(&mut self, sentences: &[String]) -> String {
        let short: Vec<String> = sentences
            .iter()
            .map(|sentence| self.phrases.shorten(sentence))
            .collect();
        short.join(";")
    }

    /// Doubles the gap, and drops the holds that are too close by now.
    fn thin(&mut self) {
        self.gap = self.gap.saturating_mul(2).max(2);
        self.holds = Tally::default();
        for event in std::mem::take(&mut self.all) {
            if event.is_resize() {
                self.all.push(event);
            } else if self.is_apart(&event) {
                self.holds.add(&event);
                self.all.push(event);
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[Event] {
        &self.all
    }

    pub(super) fn phrases(&self) -> &Phrases {
        &self.phrases
    }

    /// The sentences of an event again.
    pub(super) fn sentences(&self, event: &Event) -> Vec<String> {
        let short = event.says.split(';');
        short.map(|short| self.phrases.whole(short)).collect()
    }

    /// Holds that began within this many ticks after another event are not there; 0 if all are.
    pub(super) fn gap(&self) -> u32 {
        self.gap
    }

    /// Resizes, kept or not.
    pub(super) fn resizes(&self) -> u64 {
        self.resizes_left_out + self.resizes.count as u64
    }

    /// Resizes that are not there, all of them after those that are.
    pub(super) fn resizes_left_out(&self) -> u64 {
        self.resizes_left_out
    }

    /// Resizes of which only the decision is there, and not how it came about.
    pub(super) fn resizes_cut_short(&self) -> u64 {
        self.resizes_cut_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(sentences: &[&str]) -> Vec<String> {
        sentences.iter().map(|sentence| (*sentence).to_owned()).collect()
    }

    #[test]
    fn an_event_says_what_it_was_given() {
        let mut events = Events::default();
        let sentences = says(&["grow from 4 to 5 nodes", "`MaxNodes` is 5; no more"]);
        events.push(3, 4, 5, &sentences);
        assert_eq!(events.sentences(&events.as_slice()[0]), sentences);
        assert_eq!((events.gap(), events.resizes()), (0, 1));
    }

    #[test]
    fn too_many_holds_leave_the_longest_and_every_resize() {
        let mut events = Events::default();
        for tick in 0..40_000 {
            if tick % 100 == 50 {
                events.push(tick, 4, 5, &says(&["grow"]));
            } else {
                events.push(tick, 5, 5, &says(&["hold"]));
            }
        }
        let (resizes, holds): (Vec<_>, Vec<_>) =
            events.as_slice().iter().partition(|event| event.is_resize());
        assert_eq!(resizes.len(), 400);
        assert!(holds.len() <= MOST_HOLDS && holds.len() > 1000, "{}", holds.len());
        let apart = |pair: &[Event]| pair[1].is_resize() || pair[1].tick - pair[0].tick >= events.gap();
        assert!(events.as_slice().windows(2).all(apart));
    }

    #[test]
    fn more_resizes_than_can_be_kept_are_counted() {
        let mut events = Events::default();
        let long = vec!["x".to_owned(); 30];
        for tick in 0..7000 {
            events.push(tick, tick, tick + 1, &long);
        }
        assert_eq!(events.as_slice().len(), MOST_RESIZES);
        assert_eq!((events.resizes(), events.resizes_left_out()), (7000, 1000));
        assert!(events.resizes_cut_short() > 0);
        let bytes: usize = events.as_slice().iter().map(|event| event.says.len()).sum();
        assert!(bytes < MOST_BYTES + 20_000, "{bytes}");
    }
}
