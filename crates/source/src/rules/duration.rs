//! Durations as Prometheus writes them.

use std::time::Duration;

/// The units from large to small, with their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads `1h30m`: whole numbers with units, from large to small, each at most once; or `0`.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let unit = &rest[..letters];
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*milliseconds)?)?;
        rest = &rest[letters..];
    }
    // Prometheus counts nanoseconds in 64 bits.
    let fits = total <= i64::MAX as u64 / 1_000_000;
    (!text.is_empty() && fits).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_go_from_large_to_small_and_each_comes_once() {
        for (text, milliseconds) in
            [("0", 0), ("0s", 0), ("5m", 300_000), ("1h30m", 5_400_000), ("1d2ms", 86_400_002)]
        {
            assert_eq!(parse(text).map(|d| d.as_millis()), Some(milliseconds), "{text}");
        }
        for bad in ["", "5", "m", "1.5h", "-5m", "5m1h", "1m1m", "5 m", "5M", "1x", "300y", "5é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
