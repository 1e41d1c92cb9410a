//! The five fields of a schedule, and when its time has come.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// When something is to happen: minute, hour, day of month, month and day of week, as POSIX has
/// them, with the names of months and days and with steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// One bit for each value that fits, in the order of the fields.
    fits: [u64; 5],
    /// Which fields begin with `*`.
    open: [bool; 5],
}

impl Cron {
    /// Reads the five fields, or says why they are no schedule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if text.trim_start().starts_with('@') {
            return Err("names such as `@daily` are not known".to_owned());
        }
        if fields.len() != FIELDS.len() {
            return Err(format!("it has {} of 5 fields", fields.len()));
        }
        let (mut fits, mut open) = ([0; 5], [false; 5]);
        for (at, (text, field)) in fields.iter().zip(&FIELDS).enumerate() {
            fits[at] = field.read(text)?;
            open[at] = text.starts_with('*');
        }
        Ok(Self { fits, open })
    }

    /// Whether a minute of the calendar fits. Where both the day of the month and the day of the week
    /// are restricted, either of them is enough, as POSIX says.
    pub fn fits(&self, at: DateTime) -> bool {
        let is = |field: usize, value: i8| self.fits[field] & (1 << value) != 0;
        let day = is(2, at.day());
        let weekday = is(4, at.weekday().to_sunday_zero_offset());
        let is_day = if self.open[2] || self.open[4] { day && weekday } else { day || weekday };
        is(0, at.minute()) && is(1, at.hour()) && is(3, at.month()) && is_day
    }

    /// Whether its time comes in the minute that begins then, in a time zone.
    ///
    /// What names its hours comes once when clocks change: at the first minute after an hour that is
    /// left out, and in the first of two hours that are the same.
    pub fn comes(&self, zone: &TimeZone, minute: Timestamp) -> bool {
        let at = zone.to_datetime(minute);
        if self.open[1] {
            return self.fits(at);
        }
        if let AmbiguousOffset::Fold { before, .. } = zone.to_ambiguous_timestamp(at).offset()
            && zone.to_offset(minute) != before
        {
            return false;
        }
        let Ok(earlier) = minute.checked_sub(SignedDuration::from_mins(1)) else {
            return self.fits(at);
        };
        let mut missed = zone.to_datetime(earlier);
        if missed >= at {
            return self.fits(at);
        }
        while missed < at {
            missed = missed.saturating_add(1.minute());
            if self.fits(missed) {
                return true;
            }
        }
        false
    }
}

/// Says why `text` is no schedule: minute, hour, day of month, month, day of week.
pub(super) fn check(text: &str) -> Result<(), String> {
    Cron::parse(text).map(drop)
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Words for the numbers from `least` up.
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        words: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    },
    Field {
        name: "day of week",
        least: 0,
        most: 6,
        words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

impl Field {
    /// Returns a bit for each value that fits.
    fn read(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |fits, item| Ok(fits | self.item(item)?))
    }

    fn item(&self, item: &str) -> Result<u64, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let every: u32 = match step {
            Some(step) => step.parse().map_err(|_| self.fault(item))?,
            None => 1,
        };
        if every == 0 {
            return Err(format!("the step of the {} is 0", self.name));
        }
        let (from, to) = if range == "*" {
            (self.least, self.most)
        } else if let Some((from, to)) = range.split_once('-') {
            (self.number(from)?, self.number(to)?)
        } else {
            let from = self.number(range)?;
            (from, if step.is_some() { self.most } else { from })
        };
        if from > to {
            return Err(format!("the {} range `{range}` runs backwards", self.name));
        }
        let values = (from..=to).step_by(every as usize);
        Ok(values.fold(0, |fits, value| fits | (1 << value)))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(self.least + at as u32);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.fault(text));
        }
        let number: u32 = text.parse().map_err(|_| self.fault(text))?;
        if !(self.least..=self.most).contains(&number) {
            return Err(format!("the {} is {}–{}", self.name, self.least, self.most));
        }
        Ok(number)
    }

    fn fault(&self, text: &str) -> String {
        format!("`{text}` is not a {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comes(cron: &str, zone: &str, minute: &str) -> bool {
        let zone = TimeZone::get(zone).expect("is a zone");
        Cron::parse(cron).expect("is a schedule").comes(&zone, minute.parse().expect("is a time"))
    }

    #[test]
    fn a_minute_fits_by_all_fields_and_by_either_kind_of_day() {
        for (cron, minute, is) in [
            ("30 5 * * *", "2026-11-24T05:30:00Z", true),
            ("30 5 * * *", "2026-11-24T05:31:00Z", false),
            ("*/15 * * * *", "2026-11-24T05:45:00Z", true),
            ("5/20 * * * *", "2026-11-24T05:45:00Z", true),
            ("5/20 * * * *", "2026-11-24T05:40:00Z", false),
            ("0 0 1,15 * *", "2026-11-15T00:00:00Z", true),
            ("0 9-17 * nov mon-FRI", "2026-11-24T17:00:00Z", true),
            ("0 9-17 * * 1-5", "2026-11-22T10:00:00Z", false),
            ("0 0 * * SUN", "2026-11-22T00:00:00Z", true),
            // The 13th, and each Friday.
            ("0 0 13 * 5", "2026-11-13T00:00:00Z", true),
            ("0 0 13 * 5", "2026-11-20T00:00:00Z", true),
            ("0 0 14 * 5", "2026-11-14T00:00:00Z", true),
            ("0 0 14 * 5", "2026-11-16T00:00:00Z", false),
            // A field that begins with a star restricts the other kind of day.
            ("0 0 */2 * 5", "2026-11-20T00:00:00Z", false),
        ] {
            assert_eq!(comes(cron, "UTC", minute), is, "{cron} at {minute}");
        }
    }

    #[test]
    fn a_zone_moves_the_time_and_its_changes_of_the_clock_skip_and_double_nothing() {
        let zone = "Europe/Berlin";
        for (cron, minute, is) in [
            ("30 9 * * *", "2026-11-24T08:30:00Z", true),
            ("30 9 * * *", "2026-07-24T07:30:00Z", true),
            // From 2:00 clocks go on to 3:00.
            ("30 2 * * *", "2026-03-29T01:00:00Z", true),
            ("30 2 * * *", "2026-03-29T01:30:00Z", false),
            ("30 3 * * *", "2026-03-29T01:30:00Z", true),
            ("30 * * * *", "2026-03-29T01:00:00Z", false),
            // From 3:00 clocks go back to 2:00.
            ("30 2 * * *", "2026-10-25T00:30:00Z", true),
            ("30 2 * * *", "2026-10-25T01:30:00Z", false),
            ("0 3 * * *", "2026-10-25T02:00:00Z", true),
            ("*/30 * * * *", "2026-10-25T01:30:00Z", true),
        ] {
            assert_eq!(comes(cron, zone, minute), is, "{cron} at {minute}");
        }
    }

    #[test]
    fn a_schedule_has_five_fields_in_their_ranges() {
        for good in ["* * * * *", "0 */12 * * *", "30 5 1,15 JAN-mar MON-FRI", "0-30/5 4 * * 6"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("@daily", "names such as `@daily` are not known"),
            ("0 0 * *", "it has 4 of 5 fields"),
            ("60 0 * * *", "the minute is 0–59"),
            ("0 0 0 * *", "the day of month is 1–31"),
            ("0 0 * FOO *", "`FOO` is not a month"),
            ("*/0 0 * * *", "the step of the minute is 0"),
            ("0 9-5 * * *", "the hour range `9-5` runs backwards"),
            ("0 0 ? * *", "`?` is not a day of month"),
            ("0 0 * * 7", "the day of week is 0–6"),
            (", 0 * * *", "`` is not a minute"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
