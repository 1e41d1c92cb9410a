//! When a route is muted or active.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::{items, known, optional};
use crate::Spanned;
use crate::yaml::{Findings, Node};

/// A named list of times.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// `name`, unique.
    pub name: Spanned<String>,
    /// `time_intervals`: it is on when one of them is.
    pub times: Vec<Times>,
}

/// A time is one of these when it fits every list that is not empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Times {
    /// `times`: minutes of the day, the end not included.
    pub minutes: Vec<(u16, u16)>,
    /// `weekdays`, from Sunday, which is 0.
    pub weekdays: Vec<(i32, i32)>,
    /// `days_of_month`; below zero they are counted from the end.
    pub days: Vec<(i32, i32)>,
    /// `months`.
    pub months: Vec<(i32, i32)>,
    /// `years`.
    pub years: Vec<(i32, i32)>,
    /// `location`; UTC if left out.
    pub zone: Option<String>,
}

impl Interval {
    /// Whether it is on at a time.
    pub fn is_on(&self, at: Timestamp) -> bool {
        self.times.iter().any(|times| times.holds(at))
    }
}

impl Times {
    fn holds(&self, at: Timestamp) -> bool {
        let zone = self.zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let at = at.to_zoned(zone.unwrap_or(TimeZone::UTC));
        let within = |ranges: &[(i32, i32)], value: i32| {
            ranges.is_empty() || ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
        };
        let minute = at.hour() as u16 * 60 + at.minute() as u16;
        let last = i32::from(at.days_in_month());
        let day = i32::from(at.day());
        let from_start = |day: i32| if day < 0 { last + 1 + day } else { day };
        let in_days = self.days.is_empty()
            || self.days.iter().any(|(from, to)| {
                (from_start(*from).max(1)..=from_start(*to).min(last)).contains(&day)
            });
        (self.minutes.is_empty()
            || self.minutes.iter().any(|(from, to)| (*from..*to).contains(&minute)))
            && within(&self.weekdays, i32::from(at.weekday().to_sunday_zero_offset()))
            && in_days
            && within(&self.months, i32::from(at.month()))
            && within(&self.years, i32::from(at.year()))
    }
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("sunday", Weekday::Sunday),
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

pub(super) fn interval(node: &Node, findings: &mut Findings) -> Option<Interval> {
    known(node, &["name", "time_intervals"], findings)?;
    let name = optional(node, "name").and_then(|name| {
        let text = name.expect_scalar(findings)?;
        (!text.is_empty()).then(|| Spanned::new(text.to_owned(), name.span))
    });
    if name.is_none() {
        findings.error("missing-key", "a time interval has no `name`", node.span.first());
    }
    let times = items(node, "time_intervals", findings);
    let times = times.iter().filter_map(|node| self::times(node, findings)).collect();
    Some(Interval { name: name?, times })
}

fn times(node: &Node, findings: &mut Findings) -> Option<Times> {
    const KEYS: &[&str] = &["times", "weekdays", "days_of_month", "months", "years", "location"];
    known(node, KEYS, findings)?;
    let mut minutes = Vec::new();
    for node in items(node, "times", findings) {
        known(node, &["start_time", "end_time"], findings);
        let mut minute = |key: &str| {
            let value = optional(node, key)?;
            let text = value.expect_scalar(findings)?;
            let read = minute(text);
            if read.is_none() {
                let message = format!("`{text}` is not a time of the day");
                findings.error("alertmanager-time", message, value.span).help =
                    Some("write it as `09:00`, up to `24:00`".to_owned());
            }
            read
        };
        match (minute("start_time"), minute("end_time")) {
            (Some(from), Some(to)) if from < to => minutes.push((from, to)),
            (Some(_), Some(_)) => {
                let message = "the end of a time is after its start";
                findings.error("alertmanager-time", message, node.span).help =
                    Some("make two of what goes over midnight".to_owned());
            }
            _ if findings.has_errors() => {}
            _ => {
                let message = "a time has `start_time` and `end_time`";
                findings.error("alertmanager-time", message, node.span);
            }
        }
    }
    let weekday = |text: &str| {
        let place = WEEKDAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        place.map(|(_, day)| i32::from(day.to_sunday_zero_offset()))
    };
    let day =
        |text: &str| text.parse().ok().filter(|day: &i32| *day != 0 && (-31..=31).contains(day));
    let month = |text: &str| {
        let named = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.map(|at| at as i32 + 1).or(text.parse().ok().filter(|m| (1..=12).contains(m)))
    };
    let year = |text: &str| text.parse().ok().filter(|year: &i32| (0..=9999).contains(year));
    let zone = optional(node, "location").and_then(|location| {
        let name = location.expect_scalar(findings)?;
        if TimeZone::get(name).is_err() {
            let message = format!("no time zone is called `{name}`");
            findings.error("alertmanager-time", message, location.span).help =
                Some("write it as `Europe/Berlin`".to_owned());
        }
        Some(name.to_owned())
    });
    Some(Times {
        minutes,
        weekdays: ranges(node, "weekdays", "a day of the week", &weekday, findings),
        days: ranges(node, "days_of_month", "a day of the month", &day, findings),
        months: ranges(node, "months", "a month", &month, findings),
        years: ranges(node, "years", "a year", &year, findings),
        zone,
    })
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= 24 * 60).then_some(all)
}

/// Reads `a` and `a:b`.
fn ranges(
    node: &Node,
    key: &str,
    what: &str,
    read: &dyn Fn(&str) -> Option<i32>,
    findings: &mut Findings,
) -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    for item in items(node, key, findings) {
        let Some(text) = item.expect_scalar(findings) else { continue };
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        match (read(from.trim()), read(to.trim())) {
            // Days counted from both ends cannot be compared before the month is known.
            (Some(from), Some(to)) if from <= to || (from > 0) != (to > 0) => {
                found.push((from, to));
            }
            (Some(_), Some(_)) => {
                let message = format!("`{text}` ends before it begins");
                findings.error("alertmanager-time", message, item.span);
            }
            _ => {
                let message = format!("`{text}` is not {what}");
                findings.error("alertmanager-time", message, item.span).help =
                    Some("a range is written as `first:last`".to_owned());
            }
        }
    }
    found
}
