//! Durations, counts, shares, sizes and moments as people say them.

use jiff::Timestamp;

/// Says how long: `420 ms`, `1.2 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 days`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..10_000 => {
            let tenths = (milliseconds + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10).replace(".0 s", " s")
        }
        10_000..60_000 => format!("{} s", (milliseconds + 500) / 1000),
        60_000..3_600_000 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600_000..86_400_000 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => count(seconds / 86_400, "day", "days"),
    }
}

fn two(big: u64, big_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    }
}

/// Says how long in words a manager reads: `a moment`, `8 seconds`, `about 3 minutes`.
pub fn plain_duration(milliseconds: u64) -> String {
    let seconds = (milliseconds + 500) / 1000;
    match seconds {
        0 => "less than a second".to_owned(),
        1..90 => count(seconds, "second", "seconds"),
        90..5400 => format!("about {}", count((seconds + 30) / 60, "minute", "minutes")),
        5400..129_600 => format!("about {}", count((seconds + 1800) / 3600, "hour", "hours")),
        _ => format!("about {}", count((seconds + 43_200) / 86_400, "day", "days")),
    }
}

/// Says a number with its noun: `1 request`, `12,480 requests`, `no requests`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        _ => format!("{} {many}", thousands(number)),
    }
}

/// Says how tests went: `1 test failed, 41 passed, 2 skipped`.
pub fn tests(passed: u32, failed: u32, skipped: u32) -> String {
    let counts = [(failed, "failed"), (passed, "passed"), (skipped, "skipped")];
    let mut told = String::new();
    for (number, word) in counts.iter().filter(|(number, _)| *number > 0) {
        if told.is_empty() {
            told = format!("{} {word}", count(u64::from(*number), "test", "tests"));
        } else {
            told.push_str(&format!(", {} {word}", thousands(u64::from(*number))));
        }
    }
    if told.is_empty() { "no tests".to_owned() } else { told }
}

/// Writes a number with commas between thousands: `12,480`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut written = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

/// Says what share of a whole something is: `0 %`, `0.4 %`, `12 %`, `under 0.1 %`.
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent {
        _ if part == whole => "100 %".to_owned(),
        p if p < 0.1 => "under 0.1 %".to_owned(),
        p if p < 10.0 => format!("{p:.1} %").replace(".0 %", " %"),
        p if p > 99.0 => "over 99 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

/// Says a share as people count: `1 in 12`; nothing below one in a thousand.
pub fn one_in(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "none".to_owned();
    }
    match (whole + part / 2) / part {
        0 | 1 => "nearly all".to_owned(),
        many @ 2..1000 => format!("about 1 in {many}"),
        _ => "very few".to_owned(),
    }
}

/// Says a share given in hundredths of a percent: `10 %`, `0.5 %`.
pub fn basis_points(points: u32) -> String {
    match points % 100 {
        0 => format!("{} %", points / 100),
        rest if rest % 10 == 0 => format!("{}.{} %", points / 100, rest / 10),
        rest => format!("{}.{rest:02} %", points / 100),
    }
}

/// Says a size: `512 B`, `14.2 kB`, `3.1 MB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    match size {
        s if s < 9.95 => format!("{s:.1} {}", units[unit]),
        s => format!("{s:.0} {}", units[unit]),
    }
}

/// Says when, seen from `now`: `just now`, `12 s ago`, `5 min ago`, `3 h ago`, `yesterday`,
/// `in 5 min`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let milliseconds = now.as_millisecond() - at.as_millisecond();
    let seconds = milliseconds.unsigned_abs() / 1000;
    let span = match seconds {
        0..3 => return "just now".to_owned(),
        3..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400..172_800 if milliseconds > 0 => return "yesterday".to_owned(),
        _ => count(seconds / 86_400, "day", "days"),
    };
    if milliseconds >= 0 { format!("{span} ago") } else { format!("in {span}") }
}

/// Says the time of day in UTC: `14:02:07`.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// Says the exact moment in UTC: `2026-09-14 14:02:07 UTC`.
pub fn exact(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Joins with commas and a last `and`: `a, b and c`.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [rest @ .., last] => {
            let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", rest.join(", "), last.as_ref())
        }
    }
}

/// Makes the first letter a capital.
pub fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Cuts a text to at most `limit` characters, with `…` where something is left out.
pub fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// Ends a sentence with a full stop unless it has an end already.
pub fn full_stop(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', '!', '?', '…', ':']) {
        return text.to_owned();
    }
    format!("{text}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let said = |ms| duration(ms);
        assert_eq!(said(420), "420 ms");
        assert_eq!(said(1_240), "1.2 s");
        assert_eq!(said(3_000), "3 s");
        assert_eq!(said(42_400), "42 s");
        assert_eq!(said(200_000), "3 min 20 s");
        assert_eq!(said(7_500_000), "2 h 5 min");
        assert_eq!(said(260_000_000), "3 days");
    }

    #[test]
    fn shares_never_round_to_a_lie() {
        assert_eq!(share(1, 100_000), "under 0.1 %");
        assert_eq!(share(999, 1000), "over 99 %");
        assert_eq!(share(1000, 1000), "100 %");
        assert_eq!(share(83, 1000), "8.3 %");
        assert_eq!(share(0, 0), "0 %");
        assert_eq!(basis_points(50), "0.5 %");
        assert_eq!(basis_points(1_000), "10 %");
        assert_eq!(one_in(83, 1000), "about 1 in 12");
    }

    #[test]
    fn moments_are_relative_in_both_directions() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let at = |ago: i64| Timestamp::from_second(1_000_000 - ago).expect("a time");
        assert_eq!(relative(at(1), now), "just now");
        assert_eq!(relative(at(59), now), "59 s ago");
        assert_eq!(relative(at(7200), now), "2 h ago");
        assert_eq!(relative(at(90_000), now), "yesterday");
        assert_eq!(relative(at(-300), now), "in 5 min");
    }

    #[test]
    fn sizes_and_counts_have_units() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(14_200), "14 kB");
        assert_eq!(bytes(3_140_000), "3.1 MB");
        assert_eq!(count(12_480, "request", "requests"), "12,480 requests");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(shorten("a long sentence", 7), "a long…");
    }
}
