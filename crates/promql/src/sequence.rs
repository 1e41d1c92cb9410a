//! Samples written in short, as unit tests of rules have them: `up{job="web"} 1 1x3 _ stale`.
//!
//! | written | means |
//! |---|---|
//! | `3`, `-1e6`, `NaN` | a number |
//! | `1x4` | 1, and 1 four times more |
//! | `1+2x3`, `1-2x3` | 1, then three times 2 more or less than before |
//! | `_`, `_x5` | no sample, once or five times |
//! | `stale` | the series ends here |
//! | `{{schema:1 sum:3 count:2 buckets:[1 1]}}` | a native histogram, also with `x`, `+` and `-` |

use std::sync::Arc;

use series::histogram::{Bucket, CUSTOM, ResetHint};
use series::{Histogram, Labels, Millis, STALE};

use crate::expr::{Node, Span};
use crate::lex;
use crate::parse::{ParseError, parse};

/// One place of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// No sample.
    Missing,
    /// A number, or the marker of the end of a series.
    Number(f64),
    /// A native histogram.
    Histogram {
        /// How the observations are distributed.
        value: Box<Histogram>,
        /// Whether it is written what is known about a reset.
        tells_reset: bool,
    },
}

/// The most places that one sequence may stand for.
const MOST: usize = 1_000_000;

/// Reads a series and its samples.
///
/// ```
/// let (labels, items) = promql::sequence::series(r#"up{job="web"} 1 0x1 _"#).unwrap();
/// assert_eq!(labels.to_string(), r#"up{job="web"}"#);
/// assert_eq!(items.len(), 4);
/// ```
pub fn series(text: &str) -> Result<(Labels, Vec<Item>), ParseError> {
    let split = series_end(text);
    let labels = labels(&text[..split])?;
    Ok((labels, items(&text[split..], split)?))
}

/// Reads what names a series.
pub fn labels(text: &str) -> Result<Labels, ParseError> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed == "{}" {
        return Ok(Labels::empty());
    }
    // A series may have labels that a selector would not select anything by.
    let padded = match trimmed.strip_suffix('}') {
        Some(open) => {
            let comma = if open.trim_end().ends_with(['{', ',']) { "" } else { "," };
            format!("{open}{comma}__sequence__=\"1\"}}")
        }
        None => trimmed.to_owned(),
    };
    let whole = Span { start: 0, end: text.len() };
    let expr = parse(&padded).map_err(|error| ParseError { span: whole, ..error })?;
    match expr.node {
        Node::Selector(selector)
            if selector.matchers.iter().all(|m| m.op() == series::Op::Equal)
                && selector.shift == crate::expr::Shift::default() =>
        {
            let pairs = selector.matchers.iter().filter(|m| m.name() != "__sequence__");
            Ok(Labels::new(pairs.map(|m| (m.name(), m.value()))))
        }
        _ => Err(ParseError::new(whole, "this does not name a series")
            .help("write it as `metric{label=\"value\"}`")),
    }
}

/// Where the name of a series ends and its samples begin.
fn series_end(text: &str) -> usize {
    let (mut quote, mut depth, mut escaped, mut started) = (None, 0, false, false);
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(open) => {
                escaped = c == '\\' && open != '`';
                if c == open {
                    quote = None;
                }
            }
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' if depth == 0 && text[index..].starts_with("{{") => return index,
                '{' => {
                    depth += 1;
                    started = true;
                }
                '}' => {
                    depth -= 1;
                    if depth <= 0 {
                        return index + 1;
                    }
                }
                c if c.is_whitespace() && depth == 0 && started => {
                    let rest = text[index..].trim_start();
                    if !rest.starts_with('{') || rest.starts_with("{{") {
                        return index;
                    }
                }
                c if !c.is_whitespace() => started = true,
                _ => {}
            },
        }
    }
    text.len()
}

/// Reads the samples of a series; `offset` is where the text stands in a longer one.
pub fn items(text: &str, offset: usize) -> Result<Vec<Item>, ParseError> {
    let mut reader = Reader { text, at: 0, offset };
    let mut all = Vec::new();
    loop {
        reader.blanks();
        if reader.rest().is_empty() {
            return Ok(all);
        }
        reader.item(&mut all)?;
        if all.len() > MOST {
            return Err(reader.error(reader.at, format!("more than {MOST} samples in one series")));
        }
    }
}

/// Reads distances from the times of samples, as in `-30s-1mx2`: one for each sample, or nothing.
pub fn distances(text: &str) -> Result<Vec<Option<Millis>>, ParseError> {
    let mut reader = Reader { text, at: 0, offset: 0 };
    let mut all = Vec::new();
    loop {
        reader.blanks();
        if reader.rest().is_empty() {
            return Ok(all);
        }
        if reader.eat("_") {
            let times = reader.times()?.unwrap_or(1);
            all.extend(std::iter::repeat_n(None, times));
        } else {
            let first = reader.distance()?;
            let by = match reader.rest().chars().next() {
                Some('+' | '-') => reader.distance()?,
                _ => 0,
            };
            let times = reader.times()?.unwrap_or(0);
            let step = |n: usize| first.saturating_add(by.saturating_mul(n as i64));
            all.extend((0..=times).map(|n| Some(step(n))));
        }
        if all.len() > MOST {
            return Err(reader.error(reader.at, format!("more than {MOST} samples in one series")));
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    offset: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, word: &str) -> bool {
        let is = self.rest().starts_with(word);
        if is {
            self.at += word.len();
        }
        is
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        let end = self.text.len().max(start);
        let span = Span { start: self.offset + start, end: self.offset + end };
        ParseError::new(span, message)
    }

    /// Reads `x5`, if it is there.
    fn times(&mut self) -> Result<Option<usize>, ParseError> {
        let start = self.at;
        if !self.eat("x") {
            return Ok(None);
        }
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let count = self.rest()[..digits].parse().ok().filter(|count| *count <= MOST);
        self.at += digits;
        let message = format!("`x` is followed by how often, at most {MOST} times");
        count.map(Some).ok_or_else(|| self.error(start, message))
    }

    fn distance(&mut self) -> Result<Millis, ParseError> {
        let start = self.at;
        let negative = self.rest().starts_with('-');
        let _sign = self.eat("-") || self.eat("+");
        let ends = |c: char| !c.is_ascii_alphanumeric() || c == 'x';
        let end = self.rest().find(ends).unwrap_or(self.rest().len());
        let word = &self.rest()[..end];
        self.at += end;
        let millis = if word == "0" { Some(0) } else { lex::duration(word) };
        match millis {
            Some(millis) => Ok(if negative { -millis } else { millis }),
            None => Err(self.error(start, "expected a duration such as `-30s`")),
        }
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        let start = self.at;
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
        let word =
            rest[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |e| e + end);
        let lower = rest[end..word].to_ascii_lowercase();
        let named = ["infinity", "inf", "nan"].iter().find(|name| lower.starts_with(**name));
        if let Some(name) = named {
            end += name.len();
        } else {
            let is = |place: usize, class: fn(&u8) -> bool| bytes.get(place).is_some_and(class);
            while is(end, |b| b.is_ascii_digit() || matches!(b, b'.' | b'_')) {
                end += 1;
            }
            if is(end, |b| matches!(b, b'e' | b'E')) {
                let sign = usize::from(is(end + 1, |b| matches!(b, b'+' | b'-')));
                if is(end + 1 + sign, u8::is_ascii_digit) {
                    end += 1 + sign;
                    while is(end, u8::is_ascii_digit) {
                        end += 1;
                    }
                }
            }
        }
        let written = rest[..end].replace('_', "");
        self.at += end;
        written.parse().map_err(|_| {
            self.error(start, "expected a number, `_`, `stale` or a histogram in `{{…}}`")
        })
    }

    fn item(&mut self, all: &mut Vec<Item>) -> Result<(), ParseError> {
        let start = self.at;
        if self.eat("stale") {
            all.push(Item::Number(STALE));
        } else if self.eat("_") {
            let times = self.times()?.unwrap_or(1);
            all.extend(std::iter::repeat_n(Item::Missing, times));
        } else if self.rest().starts_with("{{") {
            self.histograms(all)?;
        } else {
            let first = self.number()?;
            let sign = self.rest().chars().next();
            let by = match sign {
                Some('+' | '-') => self.number()?,
                _ => 0.0,
            };
            let times = self.times()?;
            if matches!(sign, Some('+' | '-')) && times.is_none() {
                let message = "`+` and `-` are followed by how often, as in `1+2x3`";
                return Err(self.error(start, message));
            }
            let mut value = first;
            for _ in 0..=times.unwrap_or(0) {
                all.push(Item::Number(value));
                value += by;
            }
        }
        if self.rest().is_empty() || self.rest().starts_with(char::is_whitespace) {
            return Ok(());
        }
        Err(self.error(self.at, "expected a blank between two samples"))
    }

    fn histograms(&mut self, all: &mut Vec<Item>) -> Result<(), ParseError> {
        let start = self.at;
        let (first, tells_reset) = self.histogram()?;
        let (rises, falls) = (self.eat("+"), self.eat("-"));
        let by = if rises || falls { Some(self.histogram()?.0) } else { None };
        let times = self.times()?.unwrap_or(0);
        let mut value = first;
        for n in 0..=times {
            if let Some(by) = by.as_ref().filter(|_| n > 0) {
                let next = if rises { value.plus(by) } else { value.minus(by) };
                let (next, _) = next.map_err(|error| self.error(start, error.to_string()))?;
                value = next;
            }
            let value = Box::new(value.clone());
            all.push(Item::Histogram { value, tells_reset });
            if all.len() > MOST {
                break;
            }
        }
        Ok(())
    }

    fn histogram(&mut self) -> Result<(Histogram, bool), ParseError> {
        let start = self.at;
        let end = self.rest().starts_with("{{").then(|| self.rest().find("}}")).flatten();
        let Some(end) = end else {
            return Err(self.error(start, "a histogram stands between `{{` and `}}`"));
        };
        let inside = &self.rest()[2..end];
        let inside_at = self.at + 2;
        self.at += end + 2;
        let mut histogram = Histogram::default();
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        let (mut offset, mut negative_offset) = (0, 0);
        let mut tells_reset = false;
        let mut reader = Reader { text: inside, at: 0, offset: self.offset + inside_at };
        loop {
            reader.blanks();
            if reader.rest().is_empty() {
                break;
            }
            let place = reader.at;
            let Some((name, _)) = reader.rest().split_once(':') else {
                return Err(reader.error(place, "expected `name:value` within a histogram"));
            };
            let name = name.to_owned();
            reader.at += name.len() + 1;
            match name.as_str() {
                "schema" => histogram.schema = reader.integer()?,
                "sum" => histogram.sum = reader.number()?,
                "count" => histogram.count = reader.number()?,
                "z_bucket" => histogram.zero_count = reader.number()?,
                "z_bucket_w" => histogram.zero_threshold = reader.number()?,
                "offset" => offset = reader.integer()?,
                "n_offset" => negative_offset = reader.integer()?,
                "buckets" => positive = reader.numbers()?,
                "n_buckets" => negative = reader.numbers()?,
                "custom_values" => histogram.bounds = Arc::from(reader.numbers()?),
                "counter_reset_hint" => {
                    tells_reset = true;
                    histogram.hint = reader.hint()?;
                }
                _ => {
                    return Err(reader.error(place, format!("a histogram has no `{name}`")).help(
                        "it has schema, sum, count, buckets, offset, n_buckets, n_offset, z_bucket, z_bucket_w, custom_values and counter_reset_hint",
                    ));
                }
            }
        }
        if histogram.schema != CUSTOM && !histogram.bounds.is_empty() {
            return Err(self.error(start, format!("custom_values go with schema:{CUSTOM} only")));
        }
        let buckets = |offset: i32, counts: Vec<f64>| -> Vec<Bucket> {
            let place = |(n, count): (usize, f64)| {
                let index = offset.saturating_add(i32::try_from(n).unwrap_or(i32::MAX));
                Bucket { index, count }
            };
            counts.into_iter().enumerate().map(place).collect()
        };
        histogram.positive = buckets(offset, positive);
        histogram.negative = buckets(negative_offset, negative);
        let checked = histogram.checked().map_err(|error| self.error(start, error.to_string()))?;
        Ok((checked, tells_reset))
    }

    fn integer(&mut self) -> Result<i32, ParseError> {
        let start = self.at;
        let number = self.number()?;
        if number.fract() == 0.0 && number.abs() < 1e9 {
            return Ok(number as i32);
        }
        Err(self.error(start, "expected a whole number"))
    }

    fn numbers(&mut self) -> Result<Vec<f64>, ParseError> {
        let start = self.at;
        if !self.eat("[") {
            return Err(self.error(start, "expected numbers in brackets, as in `[1 2]`"));
        }
        let mut numbers = Vec::new();
        loop {
            self.blanks();
            if self.eat("]") {
                return Ok(numbers);
            }
            numbers.push(self.number()?);
        }
    }

    fn hint(&mut self) -> Result<ResetHint, ParseError> {
        for (word, hint) in [
            ("unknown", ResetHint::Unknown),
            ("not_reset", ResetHint::NotReset),
            ("reset", ResetHint::Reset),
            ("gauge", ResetHint::Gauge),
        ] {
            if self.eat(word) {
                return Ok(hint);
            }
        }
        Err(self.error(self.at, "expected `unknown`, `reset`, `not_reset` or `gauge`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match items(text, 0) {
            Ok(items) => {
                let item = |item: &Item| match item {
                    Item::Missing => "_".to_owned(),
                    Item::Number(value) if series::is_stale(*value) => "stale".to_owned(),
                    Item::Number(value) => value.to_string(),
                    Item::Histogram { value, .. } => value.to_string(),
                };
                items.iter().map(item).collect::<Vec<_>>().join(" ")
            }
            Err(error) => format!("{}: {error}", error.span.start),
        }
    }

    #[test]
    fn a_sequence_stands_for_its_samples() {
        for (text, wanted) in [
            ("1 2x1 1+2x2 5-1x2", "1 2 2 1 3 5 5 4 3"),
            ("0x2 -1.5 NaN inf", "0 0 0 -1.5 NaN inf"),
            ("_ _x2 stale", "_ _ _ stale"),
            ("1e3-1e2x1", "1000 900"),
            (
                "{{sum:1 count:1 buckets:[1]}}+{{count:1 buckets:[1]}}x1",
                "{count:1, sum:1, (0.5,1]:1} {count:2, sum:1, (0.5,1]:2}",
            ),
            ("1+1", "0: `+` and `-` are followed by how often, as in `1+2x3`"),
            ("1 two", "2: expected a number, `_`, `stale` or a histogram in `{{…}}`"),
            ("1x", "1: `x` is followed by how often, at most 1000000 times"),
            ("{{sum:x}}", "6: expected a number, `_`, `stale` or a histogram in `{{…}}`"),
            ("{{schema:9}}", "0: schema 9 is not one of -4 to 8 or -53"),
        ] {
            assert_eq!(told(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_series_may_be_named_in_every_way() {
        for text in [
            "up{job=\"web\"} 1",
            "up {job=\"web\"} 1",
            "{__name__=\"up\", job='web'} 1",
            "{\"up\", \"job\"=\"web\"} 1",
            "up{job=\"web\",}\t1",
        ] {
            let (labels, items) = series(text).expect(text);
            assert_eq!(labels.to_string(), "up{job=\"web\"}", "{text}");
            assert_eq!(items, [Item::Number(1.0)], "{text}");
        }
        assert_eq!(series("{} 1").expect("no labels").0, Labels::empty());
        assert_eq!(series("up 1").expect("a name").0.to_string(), "up");
    }

    #[test]
    fn distances_are_from_the_time_of_each_sample() {
        let found = distances("_x2 -30s-1mx1 0 1ms").expect("distances");
        let wanted = [None, None, Some(-30_000), Some(-90_000), Some(0), Some(1)];
        assert_eq!(found, wanted);
    }
}
