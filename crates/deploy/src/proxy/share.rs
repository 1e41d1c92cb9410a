//! Which release answers the next request: in random order, yet in exact proportion.

use std::cell::Cell;

/// How many requests are dealt out at once. In each such row every release gets its share, to the
/// nearest whole request, and what was rounded off is made up for in the next.
const ROW: usize = 100;

/// Deals requests to releases by weight.
///
/// A plain random choice gives a release of 1 % nothing in one of three times a hundred requests;
/// counting in turn would always send the same of a client's regular requests to the same release.
/// So the row is counted out first and then shuffled.
#[derive(Debug, Clone)]
pub(super) struct Deck {
    weights: Vec<u16>,
    credit: Vec<i64>,
    row: Vec<u16>,
}

impl Deck {
    pub fn new(weights: Vec<u16>) -> Self {
        let credit = vec![0; weights.len()];
        let row = Vec::new();
        Self { weights, credit, row }
    }

    pub fn weights(&self) -> &[u16] {
        &self.weights
    }

    /// Returns the position of the release that answers next.
    pub fn deal(&mut self) -> usize {
        if self.row.is_empty() {
            self.fill();
        }
        self.row.pop().map_or(0, usize::from)
    }

    fn fill(&mut self) {
        let whole: i64 = self.weights.iter().map(|weight| i64::from(*weight)).sum();
        for _ in 0..ROW {
            for (credit, weight) in self.credit.iter_mut().zip(&self.weights) {
                *credit += i64::from(*weight);
            }
            let first_of_the_richest = |best, next| {
                let is_richer = self.credit[next] > self.credit[best];
                if is_richer { next } else { best }
            };
            let next = (0..self.credit.len()).reduce(first_of_the_richest).unwrap_or(0);
            if let Some(credit) = self.credit.get_mut(next) {
                *credit -= whole;
            }
            self.row.push(next as u16);
        }
        for last in (1..self.row.len()).rev() {
            self.row.swap(last, random_below(last + 1));
        }
    }
}

/// Returns a number below `bound`, good enough for spreading load.
pub(super) fn random_below(bound: usize) -> usize {
    ((u128::from(random()) * bound as u128) >> 64) as usize
}

/// Returns 64 random bits, good enough for spreading load and naming requests, not for secrets.
pub(super) fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(getrandom::u64().unwrap_or(0x9E37_79B9_7F4A_7C15));
    }
    STATE.with(|state| {
        // SplitMix64: a counter and a mixer.
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_percent_of_a_hundred_requests_is_one() {
        let mut deck = Deck::new(vec![9_900, 100]);
        for _ in 0..50 {
            let canary = (0..100).filter(|_| deck.deal() == 1).count();
            assert_eq!(canary, 1);
        }
    }

    #[test]
    fn the_canary_is_not_always_at_the_same_place_in_the_row() {
        let mut deck = Deck::new(vec![9_900, 100]);
        let mut place = || {
            let row: Vec<_> = (0..100).map(|_| deck.deal()).collect();
            row.iter().position(|release| *release == 1)
        };
        let places: Vec<_> = (0..40).map(|_| place()).collect();
        assert!(places.iter().any(|at| *at != places[0]), "{places:?}");
    }

    proptest! {
        #[test]
        fn every_row_gives_each_release_its_share(weights in prop::collection::vec(1u16..5_000, 1..6)) {
            let whole: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let mut deck = Deck::new(weights.clone());
            let mut dealt = vec![0u64; weights.len()];
            for row in 1..=20u64 {
                for _ in 0..ROW {
                    dealt[deck.deal()] += 1;
                }
                for (count, weight) in dealt.iter().zip(&weights) {
                    let due = (row * ROW as u64) as f64 * f64::from(*weight) / whole as f64;
                    prop_assert!((*count as f64 - due).abs() < weights.len() as f64, "{count} for {due}");
                }
            }
        }
    }
}
