//! Which series are meant.

use std::fmt;

use crate::Labels;

/// A condition on one label, as in `{job="web", code=~"5.."}`.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: Op,
    value: String,
    /// Anchored on both sides; only there for `=~` and `!~`.
    regex: Option<regex::Regex>,
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the whole value matches the pattern.
    Matches,
    /// `!~`: the whole value does not match the pattern.
    NotMatches,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Matches => "=~",
            Op::NotMatches => "!~",
        })
    }
}

/// Why a matcher could not be made.
#[derive(Debug, thiserror::Error)]
#[error("read the pattern `{pattern}` of label `{name}`")]
pub struct MatcherError {
    /// The label.
    pub name: String,
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

impl Matcher {
    /// Returns a matcher; fails only when a pattern is no regular expression.
    pub fn new(
        name: impl Into<String>,
        op: Op,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            Op::Equal | Op::NotEqual => None,
            Op::Matches | Op::NotMatches => match anchored(&value) {
                Ok(regex) => Some(regex),
                Err(source) => {
                    return Err(MatcherError { name, pattern: value, source });
                }
            },
        };
        Ok(Self { name, op, value, regex })
    }

    /// Returns `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: Op::Equal, value: value.into(), regex: None }
    }

    /// Returns the label this is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how it compares.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Returns what it compares with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a value of the label fits.
    pub fn matches(&self, value: &str) -> bool {
        let fits = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.value == value,
        };
        fits == matches!(self.op, Op::Equal | Op::Matches)
    }

    /// Whether labels fit; a label that is not there has the empty value.
    pub fn fits(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name))
    }
}

/// Returns the expression that fits a whole value, as Prometheus reads it.
///
/// A brace that begins no repetition stands for itself there.
pub fn anchored(pattern: &str) -> Result<regex::Regex, regex::Error> {
    let anchor = |pattern: &str| regex::Regex::new(&format!("^(?s:{pattern})$"));
    anchor(pattern).or_else(|error| {
        let plain = with_plain_braces(pattern);
        if plain == pattern { Err(error) } else { anchor(&plain).map_err(|_| error) }
    })
}

fn with_plain_braces(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len() + 8);
    let (mut escaped, mut class) = (false, false);
    for (place, c) in pattern.char_indices() {
        let inside = pattern[place..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let repeats = inside.is_some_and(|(inside, _)| {
            inside.starts_with(|c: char| c.is_ascii_digit())
                && inside.chars().all(|c| c.is_ascii_digit() || c == ',')
        });
        // `\p{…}` and `\x{…}` name characters.
        let names = plain.ends_with("\\p") || plain.ends_with("\\P") || plain.ends_with("\\x");
        if c == '{' && !escaped && !class && !repeats && !names {
            plain.push('\\');
        }
        class = !escaped && (c == '[' || class && c != ']');
        escaped = c == '\\' && !escaped;
        plain.push(c);
    }
    plain
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op, self.value)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_must_match_the_whole_value() {
        let matcher = Matcher::new("code", Op::Matches, "5..|404").expect("a pattern");
        assert!(matcher.matches("503"));
        assert!(matcher.matches("404"));
        assert!(!matcher.matches("5033"));
        assert!(!matcher.matches("x404"));
    }

    #[test]
    fn a_negative_matcher_fits_a_label_that_is_not_there() {
        let matcher = Matcher::new("env", Op::NotEqual, "prod").expect("a matcher");
        assert!(matcher.fits(&Labels::empty()));
        assert!(Matcher::equal("env", "").fits(&Labels::empty()));
    }

    #[test]
    fn a_brace_that_repeats_nothing_stands_for_itself() {
        let fits = |pattern: &str, value: &str| anchored(pattern).expect(pattern).is_match(value);
        assert!(fits("{.*", "{a"));
        assert!(fits("a{b}", "a{b}"));
        assert!(fits("a{2}", "aa"));
        assert!(fits("[{]{1,2}", "{{"));
        assert!(anchored("a{2}(").is_err());
    }

    #[test]
    fn a_broken_pattern_names_the_label() {
        let error = Matcher::new("env", Op::Matches, "(").expect_err("not a pattern");
        assert_eq!(error.to_string(), "read the pattern `(` of label `env`");
    }
}
