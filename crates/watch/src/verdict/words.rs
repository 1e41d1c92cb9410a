//! The numbers of a verdict, for people.

use std::time::Duration;

use super::{Evidence, Lane, Signal, Tally};

pub(super) fn worse(evidence: &Evidence, restarted: [u64; 2], usual: f64) -> String {
    let odds = times(evidence.odds);
    match (evidence.signal, evidence.lane) {
        (Signal::Restarts, _) => format!(
            "instances of the new release ended {} times by themselves, those of the old one {}; \
             that is {odds} times likelier if the new one is worse than if both are equal",
            restarted[0], restarted[1]
        ),
        (signal, Lane::Alone) => format!(
            "{} of {} requests to the release {}, where up to {} is usual for this service; \
             that is {odds} times likelier if the release is worse",
            events(signal, evidence.canary),
            evidence.canary.requests,
            verb(signal),
            percent(usual),
        ),
        (signal, _) => format!(
            "{} of {} requests to the new release {}, and {} of {} to the old one at the same \
             time; that is {odds} times likelier if the new one is worse than if both are equal",
            events(signal, evidence.canary),
            evidence.canary.requests,
            verb(signal),
            events(signal, evidence.baseline),
            evidence.baseline.requests,
        ),
    }
}

pub(super) fn hard_fail(evidence: &Evidence, alone: bool) -> String {
    let Tally { requests, failed, .. } = evidence.baseline;
    let (other, when) =
        if alone { ("before it", "") } else { ("to the old one", " at the same time") };
    format!(
        "{} of the last {} requests to the new release failed, and {failed} of {requests} {other}{when}",
        evidence.canary.failed, evidence.canary.requests,
    )
}

pub(super) fn not_worse(evidence: &Evidence, tolerated: f64) -> String {
    let counts = counts(evidence);
    match evidence.ratio_below {
        Some(ratio) if ratio <= 2.0 => {
            format!("{counts}: it fails less than {} times as often", times(ratio))
        }
        _ => format!("{counts}: it fails less than the {} that is tolerated", percent(tolerated)),
    }
}

pub(super) fn not_enough(evidence: &Evidence) -> String {
    let open = match evidence.signal {
        Signal::Latency => "is slower",
        _ => "fails more often",
    };
    format!("{}: not enough to tell whether it {open}", counts(evidence))
}

fn counts(evidence: &Evidence) -> String {
    let Evidence { signal, canary, baseline, .. } = evidence;
    let (own, verb) = (events(*signal, *canary), verb(*signal));
    match evidence.lane {
        Lane::Alone => format!("{own} of {} requests to the release {verb}", canary.requests),
        _ => format!(
            "{own} of {} requests to the new release {verb}, and {} of {} to the old one",
            canary.requests,
            events(*signal, *baseline),
            baseline.requests,
        ),
    }
}

/// What would make an answer possible: more requests, and how long that takes at this rate.
pub(super) fn would_help(missing: u64, per_second: f64, weight: f64) -> String {
    let share = if weight < 0.5 { ", or a larger share of the traffic" } else { "" };
    if per_second <= 0.0 {
        return format!(
            "about {missing} good requests to the new release would tell, but it gets none"
        );
    }
    let wait = duration(Duration::from_secs_f64((missing as f64 / per_second).min(1e9)));
    format!(
        "about {missing} more good requests to the new release would tell, {wait} at this rate{share}"
    )
}

fn events(signal: Signal, tally: Tally) -> u64 {
    match signal {
        Signal::Latency => tally.slow,
        _ => tally.failed,
    }
}

fn verb(signal: Signal) -> &'static str {
    match signal {
        Signal::Latency => "were slow",
        _ => "failed",
    }
}

/// A share in percent, with as many digits as say something.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent >= 10.0 {
        0
    } else if percent >= 1.0 {
        1
    } else {
        2
    };
    let text = format!("{percent:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// A factor, with two figures that count.
fn times(factor: f64) -> String {
    if !factor.is_finite() || factor > 1e9 {
        return "over a billion".to_owned();
    }
    if factor < 10.0 {
        let text = format!("{factor:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{factor:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time in its one largest unit.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{} s", seconds.max(1)),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
