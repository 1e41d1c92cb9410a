//! Texts with `{{ $labels.job }}` in them: the part of Go's templates that rule files use.
//!
//! Values (`$labels.x`, `$labels`, `$value`, and `.Labels.x`, `.Value`), texts and numbers,
//! `index $labels "x"`, `printf`, pipes, and the functions of [`FUNCTIONS`]. All else is refused.

use std::fmt::Write as _;

use series::Labels;

/// A text with places to fill.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// Calls, each of which gets the result of the one before as its last argument.
    Fill(Vec<Call>),
}

/// A function with its arguments, or a value by itself.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    function: Option<&'static str>,
    arguments: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Value,
    Labels,
    Label(String),
    Text(String),
    Number(f64),
}

/// What fills a template.
pub(super) struct Scope<'a> {
    pub labels: &'a Labels,
    pub value: f64,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateError {
    pub message: String,
    pub help: Option<String>,
}

/// The functions, with how many arguments each takes, the piped one included.
const FUNCTIONS: [(&str, usize); 9] = [
    ("humanize", 1),
    ("humanize1024", 1),
    ("humanizeDuration", 1),
    ("humanizePercentage", 1),
    ("title", 1),
    ("toLower", 1),
    ("toUpper", 1),
    ("index", 2),
    ("printf", usize::MAX),
];

fn refuse(message: impl Into<String>) -> TemplateError {
    let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
    let help = format!("use `$labels.name`, `$value` and these functions: {}", names.join(", "));
    TemplateError { message: message.into(), help: Some(help) }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        let mut trim_next = false;
        while let Some(open) = rest.find("{{") {
            let mut before = &rest[..open];
            if trim_next {
                before = before.trim_start();
            }
            let inside = &rest[open + 2..];
            let Some(close) = find_close(inside) else {
                return Err(TemplateError { message: "`{{` has no `}}`".to_owned(), help: None });
            };
            rest = &inside[close + 2..];
            let mut action = &inside[..close];
            if let Some(trimmed) = action.strip_prefix("- ") {
                before = before.trim_end();
                action = trimmed;
            }
            trim_next = action.ends_with(" -");
            let action = action.strip_suffix(" -").unwrap_or(action).trim();
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            if !(action.starts_with("/*") && action.ends_with("*/")) {
                parts.push(Part::Fill(pipeline(action)?));
            }
        }
        let rest = if trim_next { rest.trim_start() } else { rest };
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    pub(super) fn fill(&self, scope: &Scope) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Fill(calls) => {
                    let mut piped = None;
                    for call in calls {
                        piped = Some(call.result(scope, piped));
                    }
                    out.push_str(&piped.map(|value| value.text()).unwrap_or_default());
                }
            }
        }
        out
    }
}

/// Where the `}}` stands that is not inside a quoted text.
fn find_close(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[index..].starts_with("}}") => return Some(index),
            None => {}
        }
    }
    None
}

fn words(action: &str) -> Result<Vec<String>, TemplateError> {
    let mut words = Vec::new();
    let mut chars = action.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
        } else if c == '|' || c == '(' || c == ')' {
            chars.next();
            words.push(c.to_string());
        } else if c == '"' || c == '`' {
            chars.next();
            let mut text = String::from('"');
            loop {
                match chars.next() {
                    None => return Err(refuse("a text has no closing quote")),
                    Some(end) if end == c => break,
                    Some('\\') if c == '"' => match chars.next() {
                        Some('n') => text.push('\n'),
                        Some('t') => text.push('\t'),
                        Some(other) => text.push(other),
                        None => return Err(refuse("a text has no closing quote")),
                    },
                    Some(other) => text.push(other),
                }
            }
            words.push(text);
        } else {
            let mut word = String::new();
            while let Some(&c) = chars.peek() {
                if c.is_whitespace() || matches!(c, '|' | '(' | ')' | '"' | '`') {
                    break;
                }
                word.push(c);
                chars.next();
            }
            words.push(word);
        }
    }
    Ok(words)
}

fn pipeline(action: &str) -> Result<Vec<Call>, TemplateError> {
    let words = words(action)?;
    let mut calls = Vec::new();
    for (place, part) in words.split(|word| word == "|").enumerate() {
        calls.push(call(part, place > 0, action)?);
    }
    Ok(calls)
}

fn call(words: &[String], piped: bool, action: &str) -> Result<Call, TemplateError> {
    let Some(first) = words.first() else {
        return Err(refuse(format!("`{{{{ {action} }}}}` is empty where a value should be")));
    };
    let function = FUNCTIONS.iter().find(|(name, _)| name == first);
    let rest = if function.is_some() { &words[1..] } else { words };
    let arguments: Vec<Term> =
        rest.iter().map(|word| term(word, action)).collect::<Result<_, _>>()?;
    match function {
        Some((name, takes)) => {
            let given = arguments.len() + usize::from(piped);
            if *takes != usize::MAX && given != *takes || given == 0 {
                return Err(refuse(format!("`{name}` does not take {given} values")));
            }
            if *name == "index" && !matches!(arguments.as_slice(), [Term::Labels, Term::Text(_)]) {
                return Err(refuse("`index` is known for `$labels` and a quoted name only"));
            }
            if *name == "printf" && !matches!(arguments.first(), Some(Term::Text(_))) {
                return Err(refuse("`printf` begins with a quoted format"));
            }
            Ok(Call { function: Some(name), arguments })
        }
        None if arguments.len() == 1 && !piped => Ok(Call { function: None, arguments }),
        None => Err(refuse(format!("`{first}` is not a function that is known here"))),
    }
}

fn term(word: &str, action: &str) -> Result<Term, TemplateError> {
    if let Some(text) = word.strip_prefix('"') {
        return Ok(Term::Text(text.to_owned()));
    }
    let word = word.strip_prefix("$.").map_or(word.to_owned(), |rest| format!(".{rest}"));
    for prefix in ["$labels", ".Labels"] {
        if let Some(rest) = word.strip_prefix(prefix) {
            return match rest.strip_prefix('.') {
                None if rest.is_empty() => Ok(Term::Labels),
                Some(name) if !name.is_empty() && !name.contains('.') => {
                    Ok(Term::Label(name.to_owned()))
                }
                _ => Err(refuse(format!("`{word}` is no label"))),
            };
        }
    }
    if word == "$value" || word == ".Value" {
        return Ok(Term::Value);
    }
    if let Ok(number) = word.parse::<f64>() {
        return Ok(Term::Number(number));
    }
    Err(refuse(format!("`{word}` in `{{{{ {action} }}}}` is not supported")))
}

/// A value on its way through a pipe.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Number(f64),
}

impl Piece {
    fn text(&self) -> String {
        match self {
            Piece::Text(text) => text.clone(),
            Piece::Number(number) => general(*number, None),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Piece::Text(text) => text.trim().parse().unwrap_or(f64::NAN),
            Piece::Number(number) => *number,
        }
    }
}

impl Call {
    fn result(&self, scope: &Scope, piped: Option<Piece>) -> Piece {
        let piece = |term: &Term| match term {
            Term::Value => Piece::Number(scope.value),
            Term::Number(number) => Piece::Number(*number),
            Term::Text(text) => Piece::Text(text.clone()),
            Term::Label(name) => Piece::Text(scope.labels.get(name).to_owned()),
            Term::Labels => {
                let all: Vec<String> =
                    scope.labels.iter().map(|(n, v)| format!("{n}:{v}")).collect();
                Piece::Text(format!("map[{}]", all.join(" ")))
            }
        };
        let mut values: Vec<Piece> = self.arguments.iter().map(piece).collect();
        values.extend(piped);
        let last = || values.last().cloned().unwrap_or(Piece::Text(String::new()));
        match self.function {
            None => last(),
            Some("humanize") => Piece::Text(humanize(last().number(), 1000.0)),
            Some("humanize1024") => Piece::Text(humanize(last().number(), 1024.0)),
            Some("humanizeDuration") => Piece::Text(humanize_duration(last().number())),
            Some("humanizePercentage") => {
                Piece::Text(format!("{}%", general(last().number() * 100.0, Some(4))))
            }
            Some("toLower") => Piece::Text(last().text().to_lowercase()),
            Some("toUpper") => Piece::Text(last().text().to_uppercase()),
            Some("title") => Piece::Text(title(&last().text())),
            Some("index") => match self.arguments.as_slice() {
                [_, Term::Text(name)] => Piece::Text(scope.labels.get(name).to_owned()),
                _ => last(),
            },
            Some(_) => {
                let (format, rest) =
                    values.split_first().map_or((String::new(), &[][..]), |(f, r)| (f.text(), r));
                Piece::Text(printf(&format, rest))
            }
        }
    }
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

fn printf(format: &str, values: &[Piece]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while chars.peek().is_some_and(|c| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | ' '))
        {
            flags.extend(chars.next());
        }
        let precision = flags.split_once('.').map(|(_, digits)| digits.parse().unwrap_or(0));
        let width: usize = flags
            .split('.')
            .next()
            .unwrap_or("")
            .trim_start_matches(['+', '-', ' '])
            .parse()
            .unwrap_or(0);
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
        let text = match verb {
            'f' | 'F' => format!("{:.*}", precision.unwrap_or(6), value.number()),
            'g' => general(value.number(), precision),
            'e' => exponent(value.number(), precision.unwrap_or(6)),
            'd' => format!("{:.0}", value.number()),
            'q' => format!("{:?}", value.text()),
            's' | 'v' => match (value, precision) {
                (Piece::Text(text), Some(most)) => text.chars().take(most).collect(),
                _ => value.text(),
            },
            other => format!("%!{other}({})", value.text()),
        };
        if flags.starts_with('-') {
            let _ = write!(out, "{text:<width$}");
        } else {
            let _ = write!(out, "{text:>width$}");
        }
    }
    out
}

/// Prints a number as Go's `%g` does: without an exponent from 0.0001 up to the precision.
fn general(value: f64, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = match precision {
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    // The shortest form has an exponent from a million on, however few its digits are.
    let most = precision.map_or(6, |digits| digits.max(1) as i32);
    if power < -4 || power >= most {
        return format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let sign = if value < 0.0 { "-" } else { "" };
    if power < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(power.unsigned_abs() as usize - 1));
    }
    let whole = power as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, power)) => {
            let power: i32 = power.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        None => text,
    }
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY: [&str; 8] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn humanize(value: f64, base: f64) -> String {
    let binary = base > 1000.0;
    if value == 0.0 || !value.is_finite() || (binary && value.abs() <= 1.0) {
        return general(value, Some(4));
    }
    let (mut value, mut prefix) = (value, "");
    if value.abs() >= 1.0 {
        for next in if binary { BINARY } else { LARGE } {
            if value.abs() < base {
                break;
            }
            prefix = next;
            value /= base;
        }
    } else {
        for next in SMALL {
            if value.abs() >= 1.0 {
                break;
            }
            prefix = next;
            value *= 1000.0;
        }
    }
    format!("{}{prefix}", general(value, Some(4)))
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return general(value, Some(4));
    }
    if value.abs() < 1.0 {
        return if value == 0.0 {
            "0s".to_owned()
        } else {
            format!("{}s", humanize(value, 1000.0))
        };
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as u64;
    let (days, hours, minutes, seconds) =
        (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", general(value, Some(4))),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(template: &str, value: f64) -> String {
        let labels = Labels::new([("instance", "web:80"), ("job", "web")]);
        let template = Template::parse(template).expect(template);
        template.fill(&Scope { labels: &labels, value })
    }

    #[test]
    fn templates_are_filled_as_prometheus_fills_them() {
        let table = [
            ("{{ $labels.job }} on {{$labels.instance}}", 1.0, "web on web:80"),
            ("{{ $labels }}", 1.0, "map[instance:web:80 job:web]"),
            ("[{{ $labels.nothing }}]", 1.0, "[]"),
            ("{{ index $labels \"job\" }}{{ .Labels.job }}", 1.0, "webweb"),
            ("{{ $value }} {{ .Value }}", 0.25, "0.25 0.25"),
            ("{{ $value }}", 123_456.0, "123456"),
            ("{{ $value }}", 1_234_567.0, "1.234567e+06"),
            ("{{ printf \"%.2f\" $value }}", 1.625_1, "1.63"),
            ("{{ $value | printf \"%.1f%%\" }}", 12.34, "12.3%"),
            ("{{ printf \"%.4g\" $value }}", 123_456.0, "1.235e+05"),
            ("{{ printf \"%5.1f|%-6s|\" $value $labels.job }}", 2.0, "  2.0|web   |"),
            ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
            ("{{ $value | humanize }}", 0.001_5, "1.5m"),
            ("{{ humanize1024 $value }}", 1_572_864.0, "1.5Mi"),
            ("{{ $value | humanizePercentage }}", 0.123_45, "12.35%"),
            ("{{ $value | humanizeDuration }}", 93_784.0, "1d 2h 3m 4s"),
            ("{{ $value | humanizeDuration }}", 0.05, "50ms"),
            ("{{ $labels.job | toUpper | title }}", 0.0, "WEB"),
            ("a {{- $value -}} b{{/* nothing */}}", 2.0, "a2b"),
            ("{{ \"}}\" }}{{ `a\"b` }}", 0.0, "}}a\"b"),
            ("plain { } text", 0.0, "plain { } text"),
        ];
        for (template, value, wanted) in table {
            assert_eq!(fill(template, value), wanted, "{template}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for template in [
            "{{ if gt $value 1.0 }}a{{ end }}",
            "{{ range query \"up\" }}{{ end }}",
            "{{ $externalURL }}",
            "{{ with $x }}",
            "{{ ($value) }}",
            "{{ $value | query }}",
            "{{ humanize }}",
            "{{ }}",
            "{{ $value",
        ] {
            let error = Template::parse(template).expect_err(template);
            assert!(!error.message.is_empty());
        }
        let error = Template::parse("{{ $value | query }}").expect_err("no such function");
        assert_eq!(error.message, "`query` in `{{ $value | query }}` is not supported");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_template_panic(text in "[ a-z$.{}|%\"`()/*-]{0,40}|\\PC{0,20}", value in any::<f64>()) {
            if let Ok(template) = Template::parse(&text) {
                template.fill(&Scope { labels: &Labels::empty(), value });
            }
        }

        #[test]
        fn a_number_reads_back_as_it_was_printed(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            let read: f64 = general(value, None).parse().expect("a number");
            prop_assert!((read - value).abs() <= 0.0, "{read} is not {value}");
        }
    }
}
