//! What was asked, from a form or an address.

use jiff::Timestamp;
use promql::Expr;
use series::Millis;

use super::answer::ApiError;

/// The parameters of a request; those of the address come first.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pairs: Vec<(String, String)>,
}

impl Asked {
    /// Reads `a=b&c=d` texts.
    pub fn new(texts: &[&str]) -> Self {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = texts.iter().flat_map(|text| text.split('&')).filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self { pairs: pairs.collect() }
    }

    /// Gives every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn expr(&self, name: &str) -> Result<Expr, ApiError> {
        let text = self.text(name).unwrap_or_default();
        promql::parse(text).map_err(|error| ApiError::parse(name, text, &error))
    }

    pub fn time(&self, name: &str) -> Result<Option<Millis>, ApiError> {
        let text = self.text(name).filter(|text| !text.is_empty());
        text.map(|text| time(name, text)).transpose()
    }

    pub fn needed_time(&self, name: &str) -> Result<Millis, ApiError> {
        time(name, self.text(name).unwrap_or_default())
    }

    pub fn duration(&self, name: &str) -> Result<Option<Millis>, ApiError> {
        let text = self.text(name).filter(|text| !text.is_empty());
        text.map(|text| duration(name, text)).transpose()
    }

    pub fn needed_duration(&self, name: &str) -> Result<Millis, ApiError> {
        duration(name, self.text(name).unwrap_or_default())
    }

    pub fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let text = self.text(name).filter(|text| !text.is_empty());
        let read = |text: &str| {
            text.parse().map_err(|_| {
                ApiError::parameter(name, &format!("{name} must be a non-negative number"))
            })
        };
        text.map(read).transpose()
    }

    /// The most results; 0 is no limit.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        Ok(self.number("limit")?.filter(|limit| *limit > 0))
    }
}

/// Reads seconds since 1970 or an RFC 3339 time.
fn time(name: &str, text: &str) -> Result<Millis, ApiError> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && seconds.abs() < 9e12
    {
        return Ok((seconds * 1000.0).round() as Millis);
    }
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| {
        ApiError::parameter(name, &format!("cannot parse \"{text}\" to a valid timestamp"))
    })
}

/// Reads seconds or a duration as PromQL writes it: `1h30m`.
fn duration(name: &str, text: &str) -> Result<Millis, ApiError> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && seconds.abs() < 9e12
    {
        return Ok((seconds * 1000.0).round() as Millis);
    }
    duration_text(text).ok_or_else(|| {
        ApiError::parameter(name, &format!("cannot parse \"{text}\" to a valid duration"))
    })
}

/// Reads `1h30m`: units from the largest to the smallest, each once.
pub fn duration_text(text: &str) -> Option<Millis> {
    const UNITS: [(&str, Millis); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut total, mut next) = (text, 0i64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: Millis = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let place = UNITS.iter().position(|(unit, _)| *unit == &rest[..end])?;
        if place < next {
            return None;
        }
        total = total.checked_add(number.checked_mul(UNITS[place].1)?)?;
        (rest, next) = (&rest[end..], place + 1);
    }
    (!text.is_empty()).then_some(total)
}

/// Reads a label's name that may be written as `U__http_2e_status`, for what a path cannot hold.
pub(crate) fn unescaped(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = after.split_once('_').and_then(|(code, after)| {
            let code = u32::from_str_radix(code, 16).ok()?;
            Some((char::from_u32(code)?, after))
        });
        match code {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => return name.to_owned(),
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read_as_prometheus_reads_them() {
        let asked =
            Asked::new(&["time=1435781430.781&end=2015-07-01T20%3A10%3A51.781Z", "step=1h30m"]);
        assert_eq!(asked.time("time").ok().flatten(), Some(1_435_781_430_781));
        assert_eq!(asked.time("end").ok().flatten(), Some(1_435_781_451_781));
        assert_eq!(asked.duration("step").ok().flatten(), Some(5_400_000));
        for (text, millis) in [("15", 15_000), ("0.5", 500), ("1d", 86_400_000), ("5s3ms", 5003)] {
            assert_eq!(duration("step", text).ok(), Some(millis), "{text}");
        }
        for text in ["", "x", "1m1h", "1h1h", "1", "h"].into_iter().filter(|text| *text != "1") {
            assert!(duration("step", text).is_err(), "{text}");
        }
        let error = time("start", "noon").expect_err("no time");
        assert_eq!(
            error.message,
            "invalid parameter \"start\": cannot parse \"noon\" to a valid timestamp"
        );
    }

    #[test]
    fn a_name_with_dots_can_stand_in_a_path() {
        assert_eq!(unescaped("job"), "job");
        assert_eq!(unescaped("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescaped("U__broken_"), "U__broken_");
    }
}
