//! What templates work with, and what can be asked of it.
//!
//! | of | methods |
//! |---|---|
//! | a map | `SortedPairs`, `Names`, `Values`, `Remove` |
//! | a list of alerts | `Firing`, `Resolved` |
//! | a list of pairs | `Names`, `Values` |
//! | a time | `Unix`, `UnixMilli`, `UTC`, `Format` |

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use series::Labels;

use super::{FillError, number};

/// A value of a template.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `nil`.
    #[default]
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// A floating number.
    Number(f64),
    /// A whole number.
    Whole(i64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
    /// A moment.
    Time(Timestamp),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&Labels> for Value {
    fn from(labels: &Labels) -> Self {
        Self::Map(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}

impl<'a> FromIterator<(&'a str, Value)> for Value {
    fn from_iter<T: IntoIterator<Item = (&'a str, Value)>>(pairs: T) -> Self {
        Self::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl Value {
    /// Returns a sample, as `query` gives them: `.Labels` and `.Value`.
    pub fn sample(labels: &Labels, value: f64) -> Self {
        [("Labels", Self::from(labels)), ("Value", Self::Number(value))].into_iter().collect()
    }

    /// Returns its text, as Go prints it with `%v`.
    pub fn text(&self) -> String {
        match self {
            Self::Nothing => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => number::general(*value, None),
            Self::Whole(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(list) => {
                let all: Vec<String> = list.iter().map(Self::text).collect();
                format!("[{}]", all.join(" "))
            }
            Self::Map(map) => {
                let all: Vec<String> =
                    map.iter().map(|(name, value)| format!("{name}:{}", value.text())).collect();
                format!("map[{}]", all.join(" "))
            }
            Self::Time(time) => {
                let time = time.to_zoned(TimeZone::UTC);
                time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
            }
        }
    }

    /// Whether `if` takes it for true: all but nothing, zero and what is empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0.0,
            Self::Whole(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(_) => true,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Whole(_) => "a whole number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Time(_) => "a time",
        }
    }

    /// Returns the number that it is or that its text says.
    pub(super) fn number(&self) -> Result<f64, FillError> {
        match self {
            Self::Number(value) => Ok(*value),
            Self::Whole(value) => Ok(*value as f64),
            Self::Text(text) => {
                text.trim().parse().map_err(|_| FillError(format!("{text:?} is not a number")))
            }
            Self::Time(time) => Ok(time.as_millisecond() as f64 / 1000.0),
            other => Err(FillError(format!("a number is needed, not {}", other.kind()))),
        }
    }

    /// Follows the names of a path; what is left over is for a method at its end.
    pub(super) fn reached(
        &self,
        path: &[String],
        arguments: Vec<Value>,
    ) -> Result<Value, FillError> {
        let Some((name, rest)) = path.split_first() else {
            if arguments.is_empty() {
                return Ok(self.clone());
            }
            return Err(FillError(format!("{} is not a function", self.kind())));
        };
        let own = if rest.is_empty() { arguments.clone() } else { Vec::new() };
        let next = self.part(name, &own)?;
        if rest.is_empty() { Ok(next) } else { next.reached(rest, arguments) }
    }

    fn part(&self, name: &str, arguments: &[Value]) -> Result<Value, FillError> {
        let text = |value: &str| Value::Text(value.to_owned());
        match (self, name) {
            (Self::Map(map), _) if map.contains_key(name) => {
                Ok(map.get(name).cloned().unwrap_or_default())
            }
            (Self::Map(map), "SortedPairs") => Ok(Self::List(
                map.iter()
                    .map(|(name, value)| {
                        [("Name", text(name)), ("Value", value.clone())].into_iter().collect()
                    })
                    .collect(),
            )),
            (Self::Map(map), "Names") => Ok(Self::List(map.keys().map(|key| text(key)).collect())),
            (Self::Map(map), "Values") => Ok(Self::List(map.values().cloned().collect())),
            (Self::Map(map), "Remove") => {
                let Some(Self::List(names)) = arguments.first() else {
                    return Err(FillError("Remove takes a list of names".to_owned()));
                };
                let mut map = map.clone();
                map.retain(|own, _| !names.iter().any(|name| name == &text(own)));
                Ok(Self::Map(map))
            }
            // What a map of labels does not have is empty, as in Prometheus.
            (Self::Map(_), _) => Ok(text("")),
            (Self::List(list), "Firing" | "Resolved") => {
                let wanted = text(&name.to_lowercase());
                let fits = |alert: &&Value| match alert {
                    Self::Map(map) => map.get("Status") == Some(&wanted),
                    _ => false,
                };
                Ok(Self::List(list.iter().filter(fits).cloned().collect()))
            }
            // Of a list of pairs, as `SortedPairs` gives it.
            (Self::List(list), "Names" | "Values") => {
                let key = name.trim_end_matches('s').to_owned();
                let part = |pair: &Value| pair.part(&key, &[]);
                Ok(Self::List(list.iter().map(part).collect::<Result<_, _>>()?))
            }
            (Self::Time(time), "Unix") => Ok(Self::Whole(time.as_second())),
            (Self::Time(time), "UnixMilli") => Ok(Self::Whole(time.as_millisecond())),
            (Self::Time(_), "UTC") => Ok(self.clone()),
            (Self::Time(time), "Format") => match arguments {
                [Self::Text(layout)] => Ok(Self::Text(formatted(*time, layout)?)),
                _ => Err(FillError("Format takes a layout".to_owned())),
            },
            _ => Err(FillError(format!("{} has no {name}", self.kind()))),
        }
    }
}

/// The parts of Go's layouts, longest first, as `strftime` writes them.
const LAYOUT: [(&str, &str); 22] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("Z07:00", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("2006", "%Y"),
    (".000", "%.3f"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
];

/// Writes a time as a layout of Go's says.
fn formatted(time: Timestamp, layout: &str) -> Result<String, FillError> {
    let mut format = String::new();
    let mut rest = layout;
    'next: while let Some(c) = rest.chars().next() {
        for (go, own) in LAYOUT {
            if let Some(after) = rest.strip_prefix(go) {
                format.push_str(own);
                rest = after;
                continue 'next;
            }
        }
        if c == '%' {
            format.push('%');
        }
        format.push(c);
        rest = &rest[c.len_utf8()..];
    }
    let time = time.to_zoned(TimeZone::UTC);
    jiff::fmt::strtime::format(&format, &time)
        .map_err(|error| FillError(format!("the layout {layout:?} cannot be used: {error}")))
}
