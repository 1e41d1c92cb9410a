//! RE2 patterns, read by the `regex` crate.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

/// A pattern as written, compiled when first needed.
#[derive(Debug)]
pub struct Pattern {
    /// The pattern as written.
    pub text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Takes a pattern; nothing is compiled yet.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// Why the pattern cannot be used, if so.
    pub fn fault(&self) -> Option<String> {
        if self.regex().is_some() {
            return None;
        }
        let error = compile(&self.text).err()?.to_string();
        let last = error.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
        Some(last.trim().trim_start_matches("error: ").to_owned())
    }

    /// The compiled pattern; none if it cannot be used.
    pub fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.text).ok()).as_ref()
    }

    /// Whether it matches somewhere in the text.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }
}

impl Clone for Pattern {
    fn clone(&self) -> Self {
        Self::new(self.text.clone())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    const MOST_BYTES: usize = 32 << 20;
    let translated = translate(text);
    let build =
        |unicode| RegexBuilder::new(&translated).unicode(unicode).size_limit(MOST_BYTES).build();
    // Go's `\w`, `\d`, `\s` and `\b` are ASCII. Only a pattern that names Unicode classes or
    // characters needs the other mode.
    build(false).or_else(|error| build(true).map_err(|_| error))
}

/// Rewrites RE2 syntax that the `regex` crate reads differently.
///
/// That is: a `{` that begins no repetition, a `[`, `&`, `~` or doubled `-` in a class, a `-` behind
/// `\w` and its like there, `\<` and `\>`, and `\Q…\E`.
pub fn translate(re2: &str) -> String {
    let chars: Vec<char> = re2.chars().collect();
    let mut out = String::with_capacity(re2.len() + 8);
    let mut at = 0;
    while at < chars.len() {
        at = match chars[at] {
            '\\' => escape(&chars, at, &mut out),
            '[' => class(&chars, at, &mut out),
            '{' if !is_repetition(&chars[at..]) => {
                out.push_str(r"\{");
                at + 1
            }
            other => {
                out.push(other);
                at + 1
            }
        };
    }
    out
}

/// Copies an escape; returns where to go on.
fn escape(chars: &[char], at: usize, out: &mut String) -> usize {
    match chars.get(at + 1) {
        Some('Q') => {
            let mut next = at + 2;
            while next < chars.len() && !(chars[next] == '\\' && chars.get(next + 1) == Some(&'E'))
            {
                push_literal(chars[next], out);
                next += 1;
            }
            next + 2
        }
        Some(bracket @ ('<' | '>')) => {
            out.push(*bracket);
            at + 2
        }
        // `\p{Greek}`, `\x{10FFFF}`: the braces belong to the escape.
        Some('p' | 'P' | 'x') if chars.get(at + 2) == Some(&'{') => {
            let close =
                chars[at..].iter().position(|c| *c == '}').map_or(chars.len(), |i| at + i + 1);
            out.extend(&chars[at..close]);
            close
        }
        Some(other) => {
            out.push('\\');
            out.push(*other);
            at + 2
        }
        None => {
            out.push('\\');
            at + 1
        }
    }
}

/// Copies a class; returns where to go on.
fn class(chars: &[char], at: usize, out: &mut String) -> usize {
    out.push('[');
    let mut at = at + 1;
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    if chars.get(at) == Some(&']') {
        out.push_str(r"\]");
        at += 1;
    }
    while at < chars.len() {
        at = match chars[at] {
            ']' => {
                out.push(']');
                return at + 1;
            }
            '\\' => {
                let next = escape(chars, at, out);
                let is_class = matches!(
                    chars.get(at + 1),
                    Some('w' | 'W' | 'd' | 'D' | 's' | 'S' | 'p' | 'P')
                );
                // `[\w-.]`: no range begins with a class, so the `-` is itself.
                if is_class && chars.get(next) == Some(&'-') {
                    out.push_str(r"\-");
                    next + 1
                } else {
                    next
                }
            }
            '[' if chars.get(at + 1) == Some(&':') => match posix_end(&chars[at..]) {
                Some(length) => {
                    out.extend(&chars[at..at + length]);
                    at + length
                }
                None => {
                    out.push_str(r"\[");
                    at + 1
                }
            },
            '[' => {
                out.push_str(r"\[");
                at + 1
            }
            symbol @ ('&' | '~') => {
                out.push('\\');
                out.push(symbol);
                at + 1
            }
            // In `a--b` the first is the operator of the range and the second its end.
            '-' if chars.get(at + 1) == Some(&'-') => {
                let is_first = matches!(out.chars().last(), Some('[' | '^'));
                out.push_str(if is_first { r"\-" } else { r"-\-" });
                at + if is_first { 1 } else { 2 }
            }
            other => {
                out.push(other);
                at + 1
            }
        };
    }
    at
}

/// How long `[:name:]` is, if it stands here.
fn posix_end(chars: &[char]) -> Option<usize> {
    let length = chars.iter().skip(2).take(12).position(|c| *c == ':')? + 2;
    (chars.get(length + 1) == Some(&']')).then_some(length + 2)
}

/// Whether `{n}`, `{n,}` or `{n,m}` stands here.
fn is_repetition(chars: &[char]) -> bool {
    let inner: String = chars.iter().skip(1).take(16).take_while(|c| **c != '}').collect();
    let closed = chars.get(inner.chars().count() + 1) == Some(&'}');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    closed
        && match inner.split_once(',') {
            None => is_number(&inner),
            Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        }
}

fn push_literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_re2_reads_as_text_stays_text() {
        for (re2, rust) in [
            ("a{", r"a\{"),
            ("a{2,3}{x}", r"a{2,3}\{x}"),
            ("[[a]", r"[\[a]"),
            ("[[:alpha:]_]", "[[:alpha:]_]"),
            ("[[:a]", r"[\[:a]"),
            ("[]a]", r"[\]a]"),
            ("[a&&b]", r"[a\&\&b]"),
            (r"[\w-.\d-]", r"[\w\-.\d\-]"),
            (r"[a-z0-9-_]{,5}", r"[a-z0-9-_]\{,5}"),
            (r"\Qa.b{\E+", r"a\.b\{+"),
            (r"\<b\>", "<b>"),
            (r"\x{41}[\x{42}]", r"\x{41}[\x{42}]"),
            (r"\w\/\_\'", r"\w\/\_\'"),
        ] {
            assert_eq!(translate(re2), rust);
            assert_eq!(Pattern::new(re2).fault(), None, "{re2}");
        }
    }

    #[test]
    fn classes_are_ascii_as_in_go() {
        let pattern = Pattern::new(r"^\w+$");
        assert!(pattern.is_in(b"abc_1"));
        assert!(!pattern.is_in("\u{e9}".as_bytes()));
    }

    #[test]
    fn a_pattern_that_cannot_be_used_says_why() {
        assert_eq!(Pattern::new("(a").fault().as_deref(), Some("unclosed group"));
    }

    proptest! {
        #[test]
        fn any_text_translates_without_panic(text in "\\PC{0,40}|[\\[\\]{}\\\\a-cQE:&~<>^,0-9-]{0,24}") {
            let _ = Pattern::new(text).fault();
        }

        #[test]
        fn an_escaped_text_matches_itself(text in "[ -~]{1,24}") {
            prop_assume!(!text.contains('\\'));
            let pattern = Pattern::new(format!(r"^\Q{text}\E$"));
            prop_assert!(pattern.is_in(text.as_bytes()), "{}", translate(&pattern.text));
        }
    }
}
