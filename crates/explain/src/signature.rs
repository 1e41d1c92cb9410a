//! What known failures look like in a log.
//!
//! Signatures are data: each entry of `signatures/*.toml` names a pattern of one line, the cause it
//! speaks for, how to mend it, and an example that a test reads. Groups of the pattern fill
//! `{name}` in the words.

use std::sync::LazyLock;

use journal::Certainty;
use regex::{Regex, RegexSet};
use serde::Deserialize;

use crate::novelty;

/// The files of signatures, in the order in which equal ones win.
const FILES: &[(&str, &str)] = &[
    ("rust", include_str!("../signatures/rust.toml")),
    ("node", include_str!("../signatures/node.toml")),
    ("python", include_str!("../signatures/python.toml")),
    ("go", include_str!("../signatures/go.toml")),
    ("shell", include_str!("../signatures/shell.toml")),
    ("git", include_str!("../signatures/git.toml")),
    ("machine", include_str!("../signatures/machine.toml")),
    ("network", include_str!("../signatures/network.toml")),
];

/// The longest line that is looked at; what is longer is cut, so that no log is slow to read.
const LONGEST_LINE: usize = 2_000;

/// What one kind of failure looks like.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Its name, in kebab case.
    pub id: String,
    /// A pattern of one line, colour codes removed.
    pub pattern: String,
    /// The cause in one sentence; `{name}` is a group of the pattern.
    pub cause: String,
    /// The cause for people who do not read logs; no groups, no jargon.
    pub plain: String,
    /// How to mend it.
    pub help: String,
    /// A command that helps, if there is one.
    pub command: Option<String>,
    /// How much it says, from 1 (something failed) to 100 (this and nothing else).
    pub weight: u32,
    /// Whose it is to mend.
    pub owner: Owner,
    /// Whether trying again may help.
    #[serde(default)]
    pub transient: bool,
    /// A log that it must find its line in.
    pub example: String,
    /// The line of the example that is the culprit.
    pub culprit: String,
}

/// Whose it is to mend a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Whoever wrote the code.
    Code,
    /// Whoever chose the dependencies.
    Dependencies,
    /// Whoever set up the workflow or the service.
    Configuration,
    /// Whoever runs the machine.
    Machine,
    /// Whoever runs the network, or nobody.
    Network,
}

/// A line of a log that a signature fits.
#[derive(Debug, Clone)]
pub struct Match {
    /// The signature.
    pub signature: &'static Signature,
    /// The number of the line, from 1.
    pub line: usize,
    /// The line, colour codes removed.
    pub text: String,
    /// The cause with the groups filled in.
    pub cause: String,
    /// How to mend it, filled in.
    pub help: String,
    /// A command that helps, filled in.
    pub command: Option<String>,
    /// Whether the last green run did not have this line.
    pub is_new: bool,
    /// How much speaks for it.
    pub score: u32,
}

impl Match {
    /// How sure this match makes the cause.
    pub fn certainty(&self) -> Certainty {
        match (self.signature.weight, self.is_new) {
            (90.., _) => Certainty::Certain,
            (60.., _) | (30.., true) => Certainty::Likely,
            _ => Certainty::Unsure,
        }
    }
}

/// Returns every signature.
pub fn all() -> &'static [Signature] {
    &LIBRARY.signatures
}

/// Returns the lines of a log that a signature fits, best first, each signature once.
///
/// `new` holds the numbers of the lines that the last green run did not have; it is empty when
/// there was none.
pub fn matches(log: &str, new: &[usize]) -> Vec<Match> {
    let mut found: Vec<Match> = Vec::new();
    for (index, line) in log.lines().enumerate() {
        let text = novelty::plain(cut(line));
        for number in &LIBRARY.set.matches(&text) {
            let signature = &LIBRARY.signatures[number];
            let line = index + 1;
            let is_new = new.binary_search(&line).is_ok();
            let score = signature.weight + if is_new { 15 } else { 0 };
            // The first line of the highest score counts: what follows is mostly its consequence.
            if let Some(before) = found.iter().position(|known| known.signature.id == signature.id)
            {
                if found[before].score >= score {
                    continue;
                }
                found.remove(before);
            }
            let Some(groups) = LIBRARY.patterns[number].captures(&text) else {
                continue;
            };
            let fill = |words: &str| fill(words, &LIBRARY.patterns[number], &groups);
            found.push(Match {
                signature,
                line,
                cause: fill(&signature.cause),
                help: fill(&signature.help),
                command: signature.command.as_deref().map(fill),
                text: text.clone(),
                is_new,
                score,
            });
        }
    }
    found.sort_by(|a, b| b.score.cmp(&a.score).then(a.line.cmp(&b.line)));
    found
}

struct Library {
    signatures: Vec<Signature>,
    patterns: Vec<Regex>,
    set: RegexSet,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        signature: Vec<Signature>,
    }
    let signatures: Vec<Signature> = FILES
        .iter()
        .flat_map(|(name, text)| {
            let file: File = toml::from_str(text).unwrap_or_else(|error| {
                panic!("signatures/{name}.toml is ours and tested: {error}")
            });
            file.signature
        })
        .collect();
    let patterns = signatures
        .iter()
        .map(|signature| Regex::new(&signature.pattern).expect("patterns are ours and tested"))
        .collect();
    let set = RegexSet::new(signatures.iter().map(|signature| &signature.pattern))
        .expect("patterns are ours and tested");
    Library { signatures, patterns, set }
});

fn cut(line: &str) -> &str {
    if line.len() <= LONGEST_LINE {
        return line;
    }
    let mut end = LONGEST_LINE;
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

fn fill(words: &str, pattern: &Regex, groups: &regex::Captures<'_>) -> String {
    let mut filled = words.to_owned();
    for name in pattern.capture_names().flatten() {
        let value = groups.name(name).map_or("", |group| group.as_str().trim());
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_signature_finds_the_culprit_of_its_own_example_first() {
        assert!(all().len() >= 25, "{}", all().len());
        for signature in all() {
            let found = matches(&signature.example, &[]);
            let best = found.first().unwrap_or_else(|| panic!("{} finds nothing", signature.id));
            assert_eq!(best.signature.id, signature.id, "{}", signature.example);
            assert_eq!(best.text.trim(), signature.culprit.trim(), "{}", signature.id);
        }
    }

    #[test]
    fn ids_are_unique_and_words_are_complete() {
        let mut ids = HashSet::new();
        for signature in all() {
            assert!(ids.insert(&signature.id), "{} is there twice", signature.id);
            assert!((1..=100).contains(&signature.weight), "{}", signature.id);
            let first = &matches(&signature.example, &[])[0];
            for words in [&first.cause, &first.help, &signature.plain] {
                assert!(!words.contains('{'), "{}: {words}", signature.id);
            }
        }
    }

    #[test]
    fn a_green_log_fits_nothing() {
        let log = "   Compiling shop v0.1.0\n    Finished test profile in 4.2s\n\
                   test cart::adds_up ... ok\ntest result: ok. 14 passed; 0 failed; 0 ignored\n\
                   0 errors, 0 warnings\nDownloaded 12 crates\nserver listening on 127.0.0.1:3000\n";
        assert!(matches(log, &[]).is_empty(), "{:?}", matches(log, &[]));
    }

    #[test]
    fn a_line_that_is_new_wins_over_one_that_was_always_there() {
        let log = "curl: (28) Operation timed out after 5000 milliseconds\n\
                   curl: (7) Failed to connect to db.internal port 5432: Connection refused\n";
        let best = &matches(log, &[2])[0];
        assert_eq!(best.line, 2);
        assert!(best.is_new);
    }

    #[test]
    fn a_very_long_line_is_cut_and_not_slow() {
        let log = format!("{}\nbash: cargoo: command not found\n", "é".repeat(500_000));
        assert_eq!(matches(&log, &[])[0].line, 2);
    }
}
