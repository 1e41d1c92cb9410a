//! What a label must be: `severity=~"page|ticket"`.

use std::fmt;

use regex::Regex;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// What a label must be.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Regex => "=~",
            Op::NotRegex => "!~",
        };
        write!(f, "{}{sign}{:?}", self.name, self.value)
    }
}

impl Matcher {
    /// Returns a matcher, or why its pattern is none.
    pub fn new(name: &str, op: Op, value: &str) -> Result<Self, String> {
        let regex = match op {
            Op::Regex | Op::NotRegex => {
                let regex = regex::RegexBuilder::new(&format!("^(?:{value})$"))
                    .dot_matches_new_line(true)
                    .size_limit(1 << 20)
                    .build();
                Some(regex.map_err(|_| format!("`{value}` is not a regular expression"))?)
            }
            Op::Equal | Op::NotEqual => None,
        };
        if name.is_empty() {
            return Err("a label has a name".to_owned());
        }
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Whether the value of the label, empty if there is none, is what it must be.
    pub fn fits(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (Op::Equal, _) => value == self.value,
            (Op::NotEqual, _) => value != self.value,
            (Op::Regex, regex) => regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            (Op::NotRegex, regex) => !regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }
}

/// Why a text is no list of matchers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatcherError {
    /// Where, in bytes.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads matchers between commas, with or without braces around them.
///
/// ```
/// let matchers = source::alertmanager::matcher::parse(r#"{job="web", code=~"5.."}"#).unwrap();
/// assert!(matchers[1].fits("503"));
/// ```
pub fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let fail = |at: usize, message: &str| Err(MatcherError { at, message: message.to_owned() });
    let lead = text.len() - text.trim_start().len();
    let mut inner = text.trim();
    let mut at = lead;
    if let Some(open) = inner.strip_prefix('{') {
        let Some(closed) = open.strip_suffix('}') else {
            return fail(lead, "`{` has no `}`");
        };
        inner = closed;
        at += 1;
    } else if inner.ends_with('}') && !inner.contains('{') {
        return fail(text.trim_end().len() - 1, "`}` has no `{`");
    }
    let mut found = Vec::new();
    let end = at + inner.len();
    loop {
        let rest = &text[at..end];
        let begin = at + rest.len() - rest.trim_start().len();
        let rest = &text[begin..end];
        if rest.is_empty() {
            return Ok(found);
        }
        let is_quoted = rest.starts_with('"');
        let (name, length) = match quoted(rest) {
            Ok(Some(read)) => read,
            Err(Unclosed) => return fail(begin, "a text has no closing quote"),
            Ok(None) => {
                let length = rest.find(['=', '!', '~', ',', '"']).unwrap_or(rest.len());
                (rest[..length].trim_end().to_owned(), length)
            }
        };
        let sign_at = begin + length;
        let rest = text[sign_at..end].trim_start();
        let sign_at = end - rest.len();
        let (op, width) = match rest.as_bytes() {
            [b'=', b'~', ..] => (Op::Regex, 2),
            [b'!', b'~', ..] => (Op::NotRegex, 2),
            [b'!', b'=', ..] => (Op::NotEqual, 2),
            [b'=', ..] => (Op::Equal, 1),
            _ => {
                return fail(
                    sign_at.min(text.len()),
                    "a label is followed by `=`, `!=`, `=~` or `!~`",
                );
            }
        };
        if name.is_empty() || (!is_quoted && name.contains(char::is_whitespace)) {
            return fail(begin, "a label has a name");
        }
        let rest = text[sign_at + width..end].trim_start();
        let value_at = end - rest.len();
        let (value, length) = match quoted(rest) {
            Ok(Some(read)) => read,
            Err(Unclosed) => return fail(value_at, "a text has no closing quote"),
            Ok(None) => {
                let length = rest.find(',').unwrap_or(rest.len());
                let value = rest[..length].trim_end();
                if let Some(stray) = value.find('"') {
                    return fail(value_at + stray, "a quote inside a value without quotes");
                }
                (value.to_owned(), length)
            }
        };
        let matcher = Matcher::new(&name, op, &value);
        found.push(matcher.map_err(|message| MatcherError { at: value_at, message })?);
        let rest = text[value_at + length..end].trim_start();
        at = end - rest.len();
        if rest.starts_with(',') {
            at += 1;
        } else if !rest.is_empty() {
            return fail(at, "matchers are separated by commas");
        }
    }
}

/// A quote that nothing closes.
struct Unclosed;

/// Reads a text in double quotes at the start; nothing if there is none.
fn quoted(text: &str) -> Result<Option<(String, usize)>, Unclosed> {
    let Some(inside) = text.strip_prefix('"') else { return Ok(None) };
    let mut chars = inside.char_indices();
    let mut out = String::new();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok(Some((out, index + 2))),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, c @ ('"' | '\\'))) => out.push(c),
                Some((_, other)) => out.extend(['\\', other]),
                None => return Err(Unclosed),
            },
            other => out.push(other),
        }
    }
    Err(Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> String {
        match parse(text) {
            Ok(matchers) => {
                let all: Vec<String> = matchers.iter().map(ToString::to_string).collect();
                all.join(" ")
            }
            Err(error) => format!("{}: {}", error.at, error.message),
        }
    }

    #[test]
    fn matchers_are_read_in_every_way_they_are_written() {
        let table = [
            ("severity=page", r#"severity="page""#),
            (r#"{a="1", b!="2",}"#, r#"a="1" b!="2""#),
            (r#"a=~"x|y" , b!~z.*"#, r#"a=~"x|y" b!~"z.*""#),
            (r#""odd name"="a\"b""#, r#"odd name="a\"b""#),
            ("odd name=1", "0: a label has a name"),
            (r#"a="x,y""#, r#"a="x,y""#),
            ("", ""),
            ("{}", ""),
            ("a", "1: a label is followed by `=`, `!=`, `=~` or `!~`"),
            ("{a=1", "0: `{` has no `}`"),
            ("a=\"1", "2: a text has no closing quote"),
            ("a=~\"(\"", "3: `(` is not a regular expression"),
            ("=x", "0: a label has a name"),
            ("a=\"1\" b=2", "6: matchers are separated by commas"),
        ];
        for (text, wanted) in table {
            assert_eq!(told(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_pattern_fits_the_whole_value() {
        let matcher = Matcher::new("a", Op::Regex, "foo1|foo2").expect("a pattern");
        assert!(matcher.fits("foo2") && !matcher.fits("foo22") && !matcher.fits(""));
        assert!(Matcher::new("a", Op::NotEqual, "x").expect("a matcher").fits(""));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ a-z{}=!~,\"\\\\(|é]{0,20}") {
            if let Err(error) = parse(&text) {
                prop_assert!(text.get(error.at..).is_some(), "{} in {text:?}", error.at);
            }
        }
    }
}
