//! Slots in which jobs run: as many as run at once, and who waits longest for the end goes first.
//!
//! Which job that is depends on all that want to run, so nobody gets a slot while one who was
//! announced has not lined up yet: of jobs that become ready together the one with the longest way
//! begins first, whoever of them was quicker.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// All slots of a run.
#[derive(Debug)]
pub(super) struct Slots {
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    free: usize,
    /// How many were announced that have not lined up.
    coming: usize,
    /// Who waits, the longest way first, and of the same the one who came first.
    waiting: BTreeMap<(Reverse<u64>, u64), oneshot::Sender<Slot>>,
    /// How many have lined up so far.
    count: u64,
}

/// A slot; it goes to the next in line when this is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

/// Somebody who will line up soon, or go away.
#[derive(Debug)]
pub(super) struct Coming(Arc<Slots>);

impl Slots {
    pub fn new(count: usize) -> Arc<Self> {
        let line = Line { free: count, coming: 0, waiting: BTreeMap::new(), count: 0 };
        Arc::new(Self { line: Mutex::new(line) })
    }

    /// Announces somebody who lines up or goes away without waiting for anything before.
    pub fn announce(self: &Arc<Self>) -> Coming {
        self.change(|line| line.coming += 1);
        Coming(Arc::clone(self))
    }

    /// Lines up with so much left to do until the end of the run, in milliseconds.
    pub fn line_up(self: &Arc<Self>, way: u64) -> oneshot::Receiver<Slot> {
        let (give, got) = oneshot::channel();
        self.change(|line| {
            line.waiting.insert((Reverse(way), line.count), give);
            line.count += 1;
        });
        self.hand_out();
        got
    }

    fn hand_out(self: &Arc<Self>) {
        // One at a time and outside the lock: a slot that nobody takes comes back at once.
        while let Some(give) = self.change(Line::next) {
            let _ = give.send(Slot(Arc::clone(self)));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        change(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Line {
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        if self.free == 0 || self.coming > 0 {
            return None;
        }
        let (_, next) = self.waiting.pop_first()?;
        self.free -= 1;
        Some(next)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.change(|line| line.free += 1);
        self.0.hand_out();
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.change(|line| line.coming -= 1);
        self.0.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_slot(waits: &mut oneshot::Receiver<Slot>) -> Option<Slot> {
        waits.try_recv().ok()
    }

    #[test]
    fn who_has_the_longest_way_goes_first_once_all_have_lined_up() {
        let slots = Slots::new(1);
        let (one, other) = (slots.announce(), slots.announce());
        let mut short = slots.line_up(10);
        drop(one);
        assert!(has_slot(&mut short).is_none(), "the other may have more to do");
        let mut long = slots.line_up(20);
        drop(other);
        let slot = has_slot(&mut long).expect("it goes first");
        assert!(has_slot(&mut short).is_none());
        drop(slot);
        assert!(has_slot(&mut short).is_some());
    }

    #[test]
    fn equal_ways_go_in_the_order_in_which_they_came() {
        let slots = Slots::new(2);
        let mut all: Vec<_> = (0..4).map(|_| slots.line_up(5)).collect();
        let got: Vec<Option<Slot>> = all.iter_mut().map(has_slot).collect();
        let has: Vec<bool> = got.iter().map(Option::is_some).collect();
        assert_eq!(has, [true, true, false, false]);
    }

    #[test]
    fn a_slot_for_somebody_who_has_gone_away_goes_to_the_next() {
        let slots = Slots::new(1);
        let mut first = slots.line_up(1);
        let held = has_slot(&mut first).expect("it is free");
        drop(slots.line_up(9));
        let mut second = slots.line_up(2);
        drop(held);
        assert!(has_slot(&mut second).is_some());
        // One that was given to somebody who never looked comes back as well.
        let unseen = slots.line_up(3);
        drop(unseen);
        assert!(has_slot(&mut slots.line_up(1)).is_some());
    }
}
