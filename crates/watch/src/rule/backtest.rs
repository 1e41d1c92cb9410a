//! When an alert would have fired, had its rule been there, and how that meets what really
//! happened.

use std::collections::BTreeSet;

use series::Millis;

/// A time in which an alert fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    /// When it begins to fire.
    pub from: Millis,
    /// When it is resolved; nothing while it still fires.
    pub to: Option<Millis>,
}

/// Something that really happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happening {
    /// When it began.
    pub onset: Millis,
    /// When it was noticed.
    pub noticed: Millis,
    /// When it was over; nothing while it is not.
    pub over: Option<Millis>,
}

/// How long before its onset a firing may begin and still be about it: what leads to a failure
/// shows before it.
const AHEAD: Millis = 5 * 60 * 1000;

/// Returns when the alert of one series fires.
///
/// `held` are the times at which the condition held, of all those from `start` to `end` that are
/// `step` apart; the rule is evaluated at each, as [`super::Rules`] does it.
pub fn firings(
    held: &BTreeSet<Millis>,
    (start, end, step): (Millis, Millis, Millis),
    hold: Millis,
    keep_firing: Millis,
) -> Vec<Firing> {
    let mut found: Vec<Firing> = Vec::new();
    let (mut since, mut ended, mut fires) = (None, None, false);
    let mut at = start;
    while at <= end {
        if held.contains(&at) {
            ended = None;
            let began = *since.get_or_insert(at);
            if !fires && at - began >= hold {
                fires = true;
                found.push(Firing { from: at, to: None });
            }
        } else {
            let over = *ended.get_or_insert(at);
            if !fires || at - over >= keep_firing {
                if let Some(last) = found.last_mut().filter(|_| fires) {
                    last.to = Some(at);
                }
                (since, ended, fires) = (None, None, false);
            }
        }
        at += step.max(1);
    }
    found
}

/// Returns how much earlier than somebody noticed what happened the alert would have fired, by
/// the first firing that is about it; below zero for later, nothing if none is.
pub fn earlier(firings: &[Firing], happening: &Happening) -> Option<Millis> {
    let about = firings.iter().filter(|firing| is_about(firing, happening));
    let first = about.map(|firing| firing.from).min()?;
    Some(happening.noticed - first)
}

/// Whether a firing falls into the time of what happened.
pub fn is_about(firing: &Firing, happening: &Happening) -> bool {
    let begins = happening.onset.saturating_sub(AHEAD);
    happening.over.is_none_or(|over| firing.from <= over)
        && firing.to.is_none_or(|to| to >= begins)
        && (firing.from >= begins || firing.to.is_none_or(|to| to >= happening.onset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(held: &[Millis], hold: Millis, keep: Millis) -> Vec<(Millis, Option<Millis>)> {
        let held = held.iter().copied().collect();
        let firings = firings(&held, (0, 100, 10), hold, keep);
        firings.iter().map(|firing| (firing.from, firing.to)).collect()
    }

    #[test]
    fn an_alert_fires_when_its_condition_held_long_enough() {
        assert_eq!(at(&[], 0, 0), []);
        assert_eq!(at(&[20, 30], 0, 0), [(20, Some(40))]);
        assert_eq!(at(&[20, 30, 40, 60, 70, 80, 90, 100], 20, 0), [(40, Some(50)), (80, None)]);
        // A gap shorter than `keep_firing_for` ends nothing.
        assert_eq!(at(&[20, 30, 50, 60], 0, 20), [(20, Some(90))]);
        assert_eq!(at(&[20, 30], 30, 0), []);
    }

    #[test]
    fn a_firing_meets_what_happened_in_its_time() {
        let minute = 60_000;
        let happening =
            Happening { onset: 20 * minute, noticed: 22 * minute, over: Some(30 * minute) };
        let firing = |from: Millis, to: Option<Millis>| {
            earlier(&[Firing { from: from * minute, to: to.map(|to| to * minute) }], &happening)
        };
        assert_eq!(firing(21, Some(25)), Some(minute));
        assert_eq!(firing(17, Some(18)), Some(5 * minute));
        assert_eq!(firing(24, None), Some(-2 * minute));
        assert_eq!(firing(2, Some(10)), None);
        assert_eq!(firing(31, None), None);
    }
}
