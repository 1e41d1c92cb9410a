//! Patterns of branches, tags and paths, as `on.push` has them.
//!
//! `*` is any characters but `/`, `**` any at all, `?` and `+` repeat the character before them,
//! `[…]` is one of a set, `\` takes the next character as it is, and a leading `!` excludes what
//! an earlier pattern included.

use regex::bytes::Regex;
use thiserror::Error;

/// A row of patterns, of which the last that matches decides.
#[derive(Debug, Clone)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    excludes: bool,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{pattern}` is not a pattern: {why}")]
pub struct PatternError {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

impl Patterns {
    /// Reads patterns.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        patterns
            .iter()
            .map(|pattern| {
                let pattern = pattern.as_ref();
                let (body, excludes) = match pattern.strip_prefix('!') {
                    Some(rest) => (rest, true),
                    None => (pattern, false),
                };
                let regex = regex(body)
                    .and_then(|text| Regex::new(&text).map_err(|_| "it is too long".to_owned()))
                    .map_err(|why| PatternError { pattern: pattern.to_owned(), why })?;
                Ok(Pattern { regex, excludes })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a name is let through by `branches`, `tags` or `paths`.
    pub fn includes(&self, name: &[u8]) -> bool {
        let last = self.0.iter().rev().find(|pattern| pattern.regex.is_match(name));
        last.is_some_and(|pattern| !pattern.excludes)
    }

    /// Whether a name is left out by `branches-ignore`, `tags-ignore` or `paths-ignore`.
    pub fn ignores(&self, name: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.regex.is_match(name) != pattern.excludes)
    }
}

fn regex(pattern: &str) -> Result<String, String> {
    let mut regex = String::from("(?s-u)^");
    let quote = |c: char, regex: &mut String| {
        let mut bytes = [0; 4];
        for byte in c.encode_utf8(&mut bytes).bytes() {
            regex.push_str(&format!("\\x{byte:02x}"));
        }
    };
    let mut rest = pattern.chars().peekable();
    let mut is_first = true;
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                if rest.next_if_eq(&'/').is_some() {
                    regex.push_str("(?:.+/)?");
                } else {
                    regex.push_str(".*");
                }
            }
            '*' => regex.push_str("[^/]*"),
            '?' | '+' if !is_first => {
                // What stands before may be several bytes, or end in a repetition of its own.
                let start = atom_start(&regex);
                let atom = regex.split_off(start);
                regex.push_str(&format!("(?:{atom}){c}"));
            }
            '[' => {
                let mut set = String::new();
                loop {
                    match rest.next() {
                        Some(']') if set.is_empty() => return Err("a set is empty".to_owned()),
                        Some(']') => break,
                        Some(c) if c.is_ascii_alphanumeric() || (c == '-' && !set.is_empty()) => {
                            set.push(c);
                        }
                        Some(c) => return Err(format!("`{c}` may not stand in a set")),
                        None => return Err("`[` is not closed by `]`".to_owned()),
                    }
                }
                if set.ends_with('-') {
                    return Err("a range in a set has no end".to_owned());
                }
                regex.push_str(&format!("[{set}]"));
            }
            '\\' => match rest.next() {
                Some(c) => quote(c, &mut regex),
                None => return Err("nothing follows `\\`".to_owned()),
            },
            c => quote(c, &mut regex),
        }
        is_first = false;
    }
    regex.push('$');
    Ok(regex)
}

/// Where the last atom of a regular expression of ours begins.
fn atom_start(regex: &str) -> usize {
    for (suffix, length) in [("(?:.+/)?", 8), ("[^/]*", 5), (".*", 2)] {
        if regex.ends_with(suffix) {
            return regex.len() - length;
        }
    }
    if regex.ends_with(']') {
        return regex.rfind('[').unwrap_or(0);
    }
    if regex.ends_with(['?', '+']) {
        // A repetition of ours is a group; find where it opens.
        let mut depth = 0;
        for (at, c) in regex.char_indices().rev() {
            match c {
                ')' => depth += 1,
                '(' => {
                    depth -= 1;
                    if depth == 0 {
                        return at;
                    }
                }
                _ => {}
            }
        }
    }
    // A character is one byte as `\xNN`, or a lead byte with its continuation bytes.
    let mut start = regex.len().saturating_sub(4);
    while start >= 4 && continues(&regex[start..start + 4]) && regex[start - 4..].starts_with("\\x")
    {
        start -= 4;
    }
    start
}

fn continues(byte: &str) -> bool {
    u8::from_str_radix(&byte[2..], 16).is_ok_and(|byte| byte & 0xc0 == 0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_is_not_utf_8_can_be_matched() {
        let patterns = Patterns::parse(&["docs/**"]).expect("is a pattern");
        assert!(patterns.includes(b"docs/caf\xe9.md"));
        let patterns = Patterns::parse(&["caf\u{e9}+"]).expect("is a pattern");
        assert!(patterns.includes("caf\u{e9}\u{e9}".as_bytes()));
    }

    #[test]
    fn a_set_that_is_not_closed_is_no_pattern() {
        assert!(Patterns::parse(&["v[12"]).is_err());
        assert!(Patterns::parse(&["[]"]).is_err());
        assert!(Patterns::parse(&["a\\"]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "[-a-c*?+!/\\[\\]\\\\.\u{e9}]{0,12}|\\PC{0,12}") {
            if let Ok(patterns) = Patterns::parse(&[text]) {
                let _ = patterns.includes(b"a/b/c");
            }
        }

        #[test]
        fn a_plain_name_matches_itself_alone(name in "[a-z0-9_./ ()^$|{}\u{e9}]{1,12}", other in "[a-z]{1,12}") {
            let patterns = Patterns::parse(&[&name]).expect("is a pattern");
            prop_assert!(patterns.includes(name.as_bytes()));
            prop_assert_eq!(patterns.includes(other.as_bytes()), other == name);
        }
    }
}
