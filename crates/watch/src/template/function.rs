//! The functions of templates: Go's own, Prometheus' and Alertmanager's.

use std::cmp::Ordering;
use std::fmt::Write as _;

use jiff::Timestamp;
use regex::Regex;

use super::number::{exponent, general, humanize, humanize_duration};
use super::{FillError, Scope, Value};

/// A function and how many values it takes.
#[derive(Debug)]
pub(super) struct Function {
    pub name: &'static str,
    least: usize,
    most: usize,
    call: fn(&Scope, Vec<Value>) -> Result<Value, FillError>,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const ANY: usize = usize::MAX;

const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    call: fn(&Scope, Vec<Value>) -> Result<Value, FillError>,
) -> Function {
    Function { name, least, most, call }
}

/// All functions. Prometheus' are those of its documentation under "Template reference",
/// Alertmanager's those under "Notification template reference".
pub(super) static FUNCTIONS: &[Function] = &[
    function("and", 1, ANY, |_, all| Ok(last(all))),
    function("args", 0, ANY, |_, all| {
        let named = all.into_iter().enumerate();
        Ok(Value::Map(named.map(|(at, value)| (format!("arg{at}"), value)).collect()))
    }),
    function("eq", 2, ANY, |_, all| {
        for other in &all[1..] {
            if compared(&all[0], other)? == Ordering::Equal {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    function("externalURL", 0, 0, |scope, _| Ok(scope.external_url.into())),
    function("first", 1, 1, |_, all| match &all[0] {
        Value::List(list) => match list.first() {
            Some(value) => Ok(value.clone()),
            None => Err(FillError("first of nothing".to_owned())),
        },
        other => Err(FillError(format!("first takes a list, not {}", other.kind()))),
    }),
    function("ge", 2, 2, |_, all| Ok(Value::Bool(ordered(&all)?.is_some_and(Ordering::is_ge)))),
    function("graphLink", 1, 1, |scope, all| Ok(link(scope, &all[0].text(), 0))),
    function("gt", 2, 2, |_, all| Ok(Value::Bool(ordered(&all)?.is_some_and(Ordering::is_gt)))),
    function("html", 1, 1, |_, all| Ok(Value::Text(html(&all[0].text())))),
    function("humanize", 1, 1, |_, all| Ok(Value::Text(humanize(all[0].number()?, 1000.0)))),
    function("humanize1024", 1, 1, |_, all| Ok(Value::Text(humanize(all[0].number()?, 1024.0)))),
    function("humanizeDuration", 1, 1, |_, all| {
        Ok(Value::Text(humanize_duration(all[0].number()?)))
    }),
    function("humanizePercentage", 1, 1, |_, all| {
        Ok(Value::Text(format!("{}%", general(all[0].number()? * 100.0, Some(4)))))
    }),
    function("humanizeTimestamp", 1, 1, |_, all| {
        let number = all[0].number()?;
        Ok(Value::Text(match moment(number) {
            Ok(time) => Value::Time(time).text(),
            Err(_) => general(number, Some(4)),
        }))
    }),
    function("index", 2, ANY, |_, all| {
        let mut value = all[0].clone();
        for key in &all[1..] {
            value = match (&value, key) {
                (Value::Map(map), Value::Text(name)) => {
                    map.get(name).cloned().unwrap_or_else(|| "".into())
                }
                (Value::List(list), Value::Whole(at)) => usize::try_from(*at)
                    .ok()
                    .and_then(|at| list.get(at).cloned())
                    .ok_or_else(|| FillError(format!("there is no element {at}")))?,
                (other, key) => {
                    let text = format!("{} has no index {}", other.kind(), key.text());
                    return Err(FillError(text));
                }
            };
        }
        Ok(value)
    }),
    function("join", 2, 2, |_, all| match &all[1] {
        Value::List(list) => {
            let texts: Vec<String> = list.iter().map(Value::text).collect();
            Ok(Value::Text(texts.join(&all[0].text())))
        }
        other => Err(FillError(format!("join takes a list, not {}", other.kind()))),
    }),
    function("label", 2, 2, |_, all| {
        let labels = all[1].reached(&["Labels".to_owned()], Vec::new())?;
        labels.reached(&[all[0].text()], Vec::new())
    }),
    function("le", 2, 2, |_, all| Ok(Value::Bool(ordered(&all)?.is_some_and(Ordering::is_le)))),
    function("len", 1, 1, |_, all| {
        Ok(Value::Whole(match &all[0] {
            Value::Text(text) => text.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            other => return Err(FillError(format!("{} has no length", other.kind()))),
        } as i64))
    }),
    function("lt", 2, 2, |_, all| Ok(Value::Bool(ordered(&all)?.is_some_and(Ordering::is_lt)))),
    function("match", 2, 2, |_, all| Ok(Value::Bool(pattern(&all[0])?.is_match(&all[1].text())))),
    function("ne", 2, 2, |_, all| Ok(Value::Bool(compared(&all[0], &all[1])? != Ordering::Equal))),
    function("not", 1, 1, |_, all| Ok(Value::Bool(!all[0].is_true()))),
    function("now", 0, 0, |scope, _| Ok(Value::Number(scope.now.as_millisecond() as f64 / 1e3))),
    function("or", 1, ANY, |_, all| Ok(last(all))),
    function("parseDuration", 1, 1, |_, all| {
        let text = all[0].text();
        match source::rules::parse_duration(text.trim_start_matches('-')) {
            Some(duration) => {
                let seconds = duration.as_secs_f64();
                Ok(Value::Number(if text.starts_with('-') { -seconds } else { seconds }))
            }
            None => Err(FillError(format!("{text:?} is not a duration"))),
        }
    }),
    function("pathPrefix", 0, 0, |scope, _| {
        let after = scope.external_url.split_once("://").map_or("", |(_, rest)| rest);
        Ok(Value::Text(after.find('/').map_or_else(String::new, |at| after[at..].to_owned())))
    }),
    function("print", 0, ANY, |_, all| {
        Ok(Value::Text(all.iter().map(Value::text).collect::<Vec<_>>().join(" ")))
    }),
    function("printf", 1, ANY, |_, all| match all.split_first() {
        Some((Value::Text(format), rest)) => Ok(Value::Text(printf(format, rest)?)),
        _ => Err(FillError("printf begins with a text".to_owned())),
    }),
    function("println", 0, ANY, |_, all| {
        Ok(Value::Text(all.iter().map(Value::text).collect::<Vec<_>>().join(" ") + "\n"))
    }),
    function("query", 1, 1, |scope, all| match scope.ask {
        Some(ask) => ask(&all[0].text()).map(Value::List).map_err(FillError),
        None => Err(FillError("query cannot be asked here".to_owned())),
    }),
    function("queryEscape", 1, 1, |_, all| Ok(Value::Text(escaped(&all[0].text())))),
    function("reReplaceAll", 3, 3, |_, all| {
        let (pattern, text) = (pattern(&all[0])?, all[2].text());
        Ok(Value::Text(pattern.replace_all(&text, all[1].text().as_str()).into_owned()))
    }),
    function("safeHtml", 1, 1, |_, all| Ok(Value::Text(all[0].text()))),
    function("safeUrl", 1, 1, |_, all| Ok(Value::Text(all[0].text()))),
    function("since", 1, 1, |scope, all| match &all[0] {
        Value::Time(time) => {
            let millis = scope.now.as_millisecond() - time.as_millisecond();
            Ok(Value::Number(millis as f64 / 1e3))
        }
        other => Err(FillError(format!("since takes a time, not {}", other.kind()))),
    }),
    function("sortByLabel", 2, 2, |_, all| match &all[1] {
        Value::List(list) => {
            let name = all[0].text();
            let mut list = list.clone();
            list.sort_by_key(|sample| {
                sample
                    .reached(&["Labels".to_owned(), name.clone()], Vec::new())
                    .map(|value| value.text())
                    .unwrap_or_default()
            });
            Ok(Value::List(list))
        }
        other => Err(FillError(format!("sortByLabel takes a list, not {}", other.kind()))),
    }),
    function("stringSlice", 0, ANY, |_, all| Ok(Value::List(all))),
    function("stripDomain", 1, 1, |_, all| {
        let text = all[0].text();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
            _ => (text.as_str(), None),
        };
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        let short = if is_address { host } else { host.split('.').next().unwrap_or(host) };
        Ok(Value::Text(port.map_or_else(|| short.to_owned(), |port| format!("{short}:{port}"))))
    }),
    function("stripPort", 1, 1, |_, all| {
        let text = all[0].text();
        let host = match text.rsplit_once(':') {
            Some((host, port))
                if port.bytes().all(|b| b.is_ascii_digit())
                    && (!host.contains(':') || host.starts_with('[')) =>
            {
                host.trim_start_matches('[').trim_end_matches(']').to_owned()
            }
            _ => text.clone(),
        };
        Ok(Value::Text(host))
    }),
    function("strvalue", 1, 1, |_, all| {
        all[0].reached(&["Labels".to_owned(), "__value__".to_owned()], Vec::new())
    }),
    function("tableLink", 1, 1, |scope, all| Ok(link(scope, &all[0].text(), 1))),
    function("title", 1, 1, |_, all| Ok(Value::Text(title(&all[0].text())))),
    function("toJson", 1, 1, |_, all| Ok(Value::Text(json(&all[0]).to_string()))),
    function("toLower", 1, 1, |_, all| Ok(Value::Text(all[0].text().to_lowercase()))),
    function("toTime", 1, 1, |_, all| moment(all[0].number()?).map(Value::Time)),
    function("toUpper", 1, 1, |_, all| Ok(Value::Text(all[0].text().to_uppercase()))),
    function("trimSpace", 1, 1, |_, all| Ok(Value::Text(all[0].text().trim().to_owned()))),
    function("urlquery", 1, 1, |_, all| Ok(Value::Text(escaped(&all[0].text())))),
    function("urlUnescape", 1, 1, |_, all| {
        let text = all[0].text().replace('+', " ");
        Ok(Value::Text(
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned(),
        ))
    }),
    function("value", 1, 1, |_, all| all[0].reached(&["Value".to_owned()], Vec::new())),
];

impl Function {
    /// Says why it does not take so many values.
    pub(super) fn takes(&self, given: usize) -> Result<(), String> {
        if (self.least..=self.most).contains(&given) {
            return Ok(());
        }
        let wanted = match (self.least, self.most) {
            (least, ANY) => format!("at least {least}"),
            (least, most) if least == most => most.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        let plural = if wanted == "1" { "value" } else { "values" };
        Err(format!("`{}` takes {wanted} {plural}, not {given}", self.name))
    }

    pub(super) fn call(&self, scope: &Scope, values: Vec<Value>) -> Result<Value, FillError> {
        self.takes(values.len()).map_err(FillError)?;
        (self.call)(scope, values)
    }
}

fn last(mut values: Vec<Value>) -> Value {
    values.pop().unwrap_or_default()
}

/// Compares values of one kind, as Go does.
fn compared(a: &Value, b: &Value) -> Result<Ordering, FillError> {
    Ok(match (a, b) {
        // What is not a number is not even equal to itself.
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Less),
        (Value::Whole(a), Value::Whole(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Nothing, Value::Nothing) => Ordering::Equal,
        (Value::Nothing, _) | (_, Value::Nothing) => Ordering::Less,
        (a, b) => {
            let text = format!("{} and {} cannot be compared", a.kind(), b.kind());
            return Err(FillError(text));
        }
    })
}

fn ordered(values: &[Value]) -> Result<Option<Ordering>, FillError> {
    if values.iter().any(|value| matches!(value, Value::Number(number) if number.is_nan())) {
        return Ok(None);
    }
    compared(&values[0], &values[1]).map(Some)
}

fn pattern(value: &Value) -> Result<Regex, FillError> {
    let text = value.text();
    Regex::new(&text).map_err(|_| FillError(format!("{text:?} is not a regular expression")))
}

fn moment(seconds: f64) -> Result<Timestamp, FillError> {
    let millis = seconds * 1000.0;
    let in_range = millis.is_finite() && millis.abs() < 1e17;
    let time = in_range.then(|| Timestamp::from_millisecond(millis.round() as i64).ok()).flatten();
    time.ok_or_else(|| FillError(format!("{} is not a time", general(seconds, None))))
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            b' ' => out.push('+'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

fn link(scope: &Scope, query: &str, tab: u8) -> Value {
    let query = escaped(query);
    let url = scope.external_url.trim_end_matches('/');
    Value::Text(format!("{url}/graph?g0.expr={query}&g0.tab={tab}"))
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn title(text: &str) -> String {
    let mut out = String::new();
    let mut starts = true;
    for c in text.chars() {
        if starts {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts = c.is_whitespace();
    }
    out
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nothing => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => (*value).into(),
        Value::Whole(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => map.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        Value::Time(time) => time.to_string().into(),
    }
}

/// The widest and the most precise that a number is printed.
const WIDEST: usize = 1000;

fn printf(format: &str, values: &[Value]) -> Result<String, FillError> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(c) = chars.next_if(|c| "+-# 0".contains(*c)) {
            flags.push(c);
        }
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars>| {
            let mut number = String::new();
            while let Some(c) = chars.next_if(char::is_ascii_digit) {
                number.push(c);
            }
            number
        };
        let width = digits(&mut chars);
        let precision = chars.next_if_eq(&'.').map(|_| digits(&mut chars));
        let size = |text: &str| match text.parse::<usize>() {
            Ok(size) if size > WIDEST => {
                Err(FillError(format!("printf cannot print {size} characters")))
            }
            Ok(size) => Ok(size),
            Err(_) => Ok(0),
        };
        let width = size(&width)?;
        let precision = precision.map(|text| size(&text)).transpose()?;
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            let _ = write!(out, "%!{verb}(MISSING)");
            continue;
        };
        let mut text = verbed(verb, value, precision);
        if flags.contains('+') && matches!(value, Value::Number(v) if *v >= 0.0) {
            text.insert(0, '+');
        }
        if flags.contains('-') {
            let _ = write!(out, "{text:<width$}");
        } else if flags.contains('0') && verb != 's' {
            let (sign, number) = match text.strip_prefix('-') {
                Some(number) => ("-", number),
                None => ("", text.as_str()),
            };
            let _ = write!(out, "{sign}{number:0>fill$}", fill = width.saturating_sub(sign.len()));
        } else {
            let _ = write!(out, "{text:>width$}");
        }
    }
    if values.next().is_some() {
        out.push_str("%!(EXTRA)");
    }
    Ok(out)
}

fn verbed(verb: char, value: &Value, precision: Option<usize>) -> String {
    match (verb, value) {
        ('f' | 'F', Value::Number(value)) => match value {
            value if value.is_finite() => format!("{value:.*}", precision.unwrap_or(6)),
            value => general(*value, None),
        },
        ('g', Value::Number(value)) => general(*value, precision),
        ('e', Value::Number(value)) => exponent(*value, precision.unwrap_or(6)),
        ('d', Value::Whole(value)) => value.to_string(),
        ('x', Value::Whole(value)) => format!("{value:x}"),
        ('c', Value::Whole(value)) => {
            u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('t', Value::Bool(value)) => value.to_string(),
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('s' | 'v', Value::Text(text)) => match precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.clone(),
        },
        ('s', Value::List(_) | Value::Map(_) | Value::Time(_)) => value.text(),
        ('v', value) => match (value, precision) {
            (Value::Number(number), precision) => general(*number, precision),
            (value, _) => value.text(),
        },
        (other, value) => {
            let kind = match value {
                Value::Number(_) => "float64",
                Value::Whole(_) => "int",
                Value::Bool(_) => "bool",
                Value::Text(_) => "string",
                _ => "interface {}",
            };
            format!("%!{other}({kind}={})", value.text())
        }
    }
}
