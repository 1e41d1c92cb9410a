//! Looks for secrets in the bytes of a file.

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use regex::bytes::Regex;
use source::{Finding, Place, Position, Severity, Span};

use super::Pattern;
use super::config::{Allowlist, RegexTarget, RuleSet, SecretRule};

/// The largest file that is looked through.
const MOST_BYTES: usize = 32 << 20;
/// How much of a file is looked at to tell text from binary.
const HEAD: usize = 8 << 10;
/// How many findings one rule may have in one file; the rest is counted.
const MOST_OF_A_RULE: usize = 100;

/// Rules, ready to look through files; cheap to share between threads.
#[derive(Debug)]
pub struct Scanner {
    rules: Arc<RuleSet>,
    keywords: AhoCorasick,
    /// Which rules each keyword wakes.
    woken: Vec<Vec<usize>>,
    /// Rules without keywords: they look at every file.
    always: Vec<usize>,
    /// The commit that is looked through, in lower case.
    commit: Option<String>,
}

/// What was found in one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// The findings, in the order of the file.
    pub findings: Vec<Finding>,
    /// Why the file could not be looked through, if so.
    pub not_checked: Option<NotScanned>,
}

/// Why a file was not looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotScanned {
    /// It is no text.
    Binary,
    /// It is too large.
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

/// One match of one rule.
struct Hit<'a> {
    rule: &'a SecretRule,
    secret: Range<usize>,
}

impl Scanner {
    /// Gets rules ready.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        let mut words: Vec<&str> = Vec::new();
        let mut woken: Vec<Vec<usize>> = Vec::new();
        let mut always = Vec::new();
        for (index, rule) in rules.rules.iter().enumerate() {
            // An empty keyword is in every file, as it is for gitleaks.
            if rule.keywords.iter().all(String::is_empty) {
                always.push(index);
                continue;
            }
            for word in rule.keywords.iter().filter(|word| !word.is_empty()) {
                match words.iter().position(|known| known == word) {
                    Some(at) => woken[at].push(index),
                    None => {
                        words.push(word);
                        woken.push(vec![index]);
                    }
                }
            }
        }
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&words)
            .expect("the words of a file of bounded size make an automaton");
        Self { rules, keywords, woken, always, commit: None }
    }

    /// Says which commit is looked through, for allowlists that name commits.
    pub fn of_commit(mut self, commit: &str) -> Self {
        self.commit = Some(commit.to_lowercase());
        self
    }

    /// Whether a file of this size is looked through; what is larger need not be read.
    pub fn takes(bytes: u64) -> Result<(), NotScanned> {
        if bytes > MOST_BYTES as u64 { Err(NotScanned::TooLarge { bytes }) } else { Ok(()) }
    }

    /// Looks through a file.
    pub fn scan(&self, path: &str, content: &[u8]) -> Scan {
        if let Err(why) = Self::takes(content.len() as u64) {
            return Scan { findings: self.by_path(path), not_checked: Some(why) };
        }
        if memchr::memchr(0, &content[..content.len().min(HEAD)]).is_some() {
            let findings = self.by_path(path);
            return Scan { findings, not_checked: Some(NotScanned::Binary) };
        }
        let mut findings = self.by_path(path);
        let mut hits = Vec::new();
        let mut more = Vec::new();
        for index in self.awake(content) {
            let rule = &self.rules.rules[index];
            let Some(regex) = rule.regex.as_ref().and_then(Pattern::regex) else { continue };
            if rule.path.as_ref().is_some_and(|pattern| !pattern.is_in(path.as_bytes())) {
                continue;
            }
            let count = self.matches(rule, regex, path, content, &mut hits);
            if count > MOST_OF_A_RULE {
                more.push((rule, count - MOST_OF_A_RULE));
            }
        }
        let lines = Lines::new(content, !hits.is_empty());
        hits.sort_by_key(|hit| (hit.secret.start, hit.rule.is_generic()));
        for (at, hit) in hits.iter().enumerate() {
            // What a rule of its own knows needs no guess.
            let is_known =
                |other: &Hit<'_>| !other.rule.is_generic() && overlap(&other.secret, &hit.secret);
            if hit.rule.is_generic()
                && (hits[..at].iter().any(is_known) || hits[at..].iter().any(is_known))
            {
                continue;
            }
            findings.push(finding(hit, path, content, &lines));
        }
        for (rule, count) in more {
            let message = format!("{count} more findings of this rule are not shown");
            findings.push(with_severity(rule.severity(), &rule.id, message, Place::file(path)));
        }
        Scan { findings, not_checked: None }
    }

    /// The rules whose keywords stand in the content, in order.
    fn awake(&self, content: &[u8]) -> Vec<usize> {
        let mut is_awake = vec![false; self.rules.rules.len()];
        for index in &self.always {
            is_awake[*index] = true;
        }
        let mut seen = vec![false; self.woken.len()];
        let mut unseen = seen.len();
        for found in self.keywords.find_overlapping_iter(content) {
            let word = found.pattern().as_usize();
            if !seen[word] {
                seen[word] = true;
                unseen -= 1;
                for index in &self.woken[word] {
                    is_awake[*index] = true;
                }
                if unseen == 0 {
                    break;
                }
            }
        }
        (0..is_awake.len()).filter(|index| is_awake[*index]).collect()
    }

    /// Findings of rules that look at paths only.
    fn by_path(&self, path: &str) -> Vec<Finding> {
        let rules = self.rules.rules.iter().filter(|rule| rule.regex.is_none());
        let found = rules.filter(|rule| {
            rule.path.as_ref().is_some_and(|pattern| pattern.is_in(path.as_bytes()))
                && !self
                    .lists_of(rule)
                    .any(|list| !list.paths.is_empty() && self.lets_be(list, path, b"", b"", b""))
        });
        found
            .map(|rule| {
                let message = described(rule);
                with_severity(rule.severity(), &rule.id, message, Place::file(path)).help(HELP)
            })
            .collect()
    }

    /// Collects what a rule finds, at most [`MOST_OF_A_RULE`]; returns how much there is.
    fn matches<'a>(
        &self,
        rule: &'a SecretRule,
        regex: &Regex,
        path: &str,
        content: &[u8],
        hits: &mut Vec<Hit<'a>>,
    ) -> usize {
        let mut count = 0;
        for groups in regex.captures_iter(content) {
            let whole = groups.get(0).expect("group 0 is the match").range();
            let secret = if rule.secret_group > 0 {
                groups.get(rule.secret_group).map(|group| group.range())
            } else {
                let mut inner = (1..groups.len()).filter_map(|index| groups.get(index));
                inner.find(|group| !group.is_empty()).map(|group| group.range())
            };
            let secret = secret.unwrap_or_else(|| trimmed(content, &whole));
            let text = &content[secret.clone()];
            if text.is_empty() || (rule.entropy > 0.0 && entropy(text) <= rule.entropy) {
                continue;
            }
            if rule.is_generic() && !text.iter().any(u8::is_ascii_digit) {
                continue;
            }
            let line = &content[line_of(content, &whole)];
            if says_allow(line) {
                continue;
            }
            let found = &content[whole.clone()];
            if self.lists_of(rule).any(|list| self.lets_be(list, path, text, found, line)) {
                continue;
            }
            count += 1;
            if count <= MOST_OF_A_RULE {
                hits.push(Hit { rule, secret });
            }
        }
        count
    }

    fn lists_of<'a>(&'a self, rule: &'a SecretRule) -> impl Iterator<Item = &'a Allowlist> {
        let general = self.rules.allowlists.iter();
        rule.allowlists
            .iter()
            .chain(general.filter(|list| list.rules.is_empty() || list.rules.contains(&rule.id)))
    }

    /// Whether an allowlist lets a match be.
    fn lets_be(
        &self,
        list: &Allowlist,
        path: &str,
        secret: &[u8],
        found: &[u8],
        line: &[u8],
    ) -> bool {
        let target = match list.target {
            RegexTarget::Secret => secret,
            RegexTarget::Match => found,
            RegexTarget::Line => line,
        };
        let lowered = secret.to_ascii_lowercase();
        let conditions = [
            (!list.commits.is_empty())
                .then(|| self.commit.as_ref().is_some_and(|id| list.commits.contains(id))),
            (!list.paths.is_empty()).then(|| list.paths.iter().any(|p| p.is_in(path.as_bytes()))),
            (!list.regexes.is_empty()).then(|| list.regexes.iter().any(|p| p.is_in(target))),
            (!list.stopwords.is_empty()).then(|| {
                let has = |word: &String| memchr::memmem::find(&lowered, word.as_bytes()).is_some();
                list.stopwords.iter().any(has)
            }),
        ];
        let mut asked = conditions.into_iter().flatten().peekable();
        if asked.peek().is_none() {
            false
        } else if list.all {
            asked.all(|holds| holds)
        } else {
            asked.any(|holds| holds)
        }
    }
}

/// Shannon's entropy of a text, in bits per byte.
pub fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let total = text.len() as f64;
    let shares =
        counts.into_iter().filter(|count| *count > 0).map(|count| f64::from(count) / total);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}

const HELP: &str = "revoke it where it was issued, for Git keeps what was committed; keep the new \
                    one with `marline secret set`, and end the line with a `marline:allow` comment \
                    if it is none";

fn finding(hit: &Hit<'_>, path: &str, content: &[u8], lines: &Lines) -> Finding {
    let secret = &content[hit.secret.clone()];
    // Of a secret of many lines, the first is shown.
    let blank = secret.iter().take_while(|byte| byte.is_ascii_whitespace()).count() % secret.len();
    let from = hit.secret.start + blank;
    let length = memchr::memchr(b'\n', &secret[blank..]).unwrap_or(secret.len() - blank);
    let start = lines.position(content, from);
    let end = lines.position(content, from + length.max(1));
    let place = Place::at(path, Span::new(start, end));
    with_severity(hit.rule.severity(), &hit.rule.id, described(hit.rule), place)
        .label(masked(secret))
        .why("whoever can read the repository, now or later, can use it")
        .help(HELP)
}

fn with_severity(severity: Severity, rule: &str, message: String, place: Place) -> Finding {
    let make = match severity {
        Severity::Note => Finding::note,
        Severity::Warning => Finding::warning,
        Severity::Error => Finding::error,
    };
    make(rule.to_owned(), message, place)
}

fn described(rule: &SecretRule) -> String {
    if rule.description.is_empty() {
        format!("this looks like a secret ({})", rule.id)
    } else {
        rule.description.clone()
    }
}

/// Shows of a secret what is needed to find it: `AKIA…, 20 characters`.
fn masked(secret: &[u8]) -> String {
    const SHOWN: usize = 4;
    const LEAST: usize = 20;
    let text = String::from_utf8_lossy(secret);
    let count = text.chars().count();
    let is_fit = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
    let shown: String = if count >= LEAST {
        text.chars().take(SHOWN).take_while(is_fit).collect()
    } else {
        String::new()
    };
    format!("{shown}…, {count} characters")
}

/// The match without the line ends around it.
fn trimmed(content: &[u8], range: &Range<usize>) -> Range<usize> {
    let text = &content[range.clone()];
    let before = text.iter().take_while(|byte| **byte == b'\n').count();
    let after = text[before..].iter().rev().take_while(|byte| **byte == b'\n').count();
    range.start + before..range.end - after
}

/// The lines that a range touches, bounded for files without line ends.
fn line_of(content: &[u8], range: &Range<usize>) -> Range<usize> {
    const MOST: usize = 4 << 10;
    let from = range.start.saturating_sub(MOST);
    let to = (range.end + MOST).min(content.len());
    let start =
        memchr::memrchr(b'\n', &content[from..range.start]).map_or(from, |at| from + at + 1);
    // A match that takes its line end along does not touch the next line.
    let last = range.end.saturating_sub(1).max(range.start);
    let end = memchr::memchr(b'\n', &content[last..to]).map_or(to, |at| last + at);
    start..end.max(range.end)
}

fn says_allow(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"gitleaks:allow").is_some()
        || memchr::memmem::find(line, b"marline:allow").is_some()
}

fn overlap(one: &Range<usize>, two: &Range<usize>) -> bool {
    one.start < two.end && two.start < one.end
}

/// Where the lines of a content begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(content: &[u8], needed: bool) -> Self {
        let mut starts = vec![0];
        if needed {
            starts.extend(memchr::memchr_iter(b'\n', content).map(|at| at + 1));
        }
        Self(starts)
    }

    fn position(&self, content: &[u8], offset: usize) -> Position {
        let line = self.0.partition_point(|start| *start <= offset).max(1);
        let before = &content[self.0[line - 1]..offset.min(content.len())];
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        Position::new(
            u32::try_from(line).unwrap_or(u32::MAX),
            u32::try_from(column).unwrap_or(u32::MAX),
        )
    }
}
