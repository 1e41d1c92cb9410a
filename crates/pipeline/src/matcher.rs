//! Problem matchers: patterns that find errors in the output of tools.
//!
//! `::add-matcher::FILE` names a JSON file of matchers, as VS Code and GitHub read it. From then on
//! each line of output is tried with them, in this job, until `::remove-matcher owner=NAME::`. The
//! rules are those of `IssueMatcher.cs` and `OutputManager.cs` of GitHub's runner; patterns are
//! ECMAScript's, so `\d`, `\s` and `\w` mean ASCII. Reading and matching are pure.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fancy_regex::{Regex, RegexBuilder};
use serde_json::Value;
use thiserror::Error;

/// The largest file of matchers that is read.
pub const MAX_FILE: u64 = 1024 * 1024;

/// The longest line that is tried; a compiler says less on one.
const MAX_LINE: usize = 64 * 1024;

/// How much work one pattern may make of one line. GitHub gives it a second, three times.
const MAX_STEPS: usize = 100_000;

/// A problem matcher.
#[derive(Debug)]
pub struct Matcher {
    /// Who it belongs to; a newer one of the same owner takes its place.
    pub owner: String,
    severity: String,
    patterns: Vec<Pattern>,
}

/// One line of what a matcher looks for.
#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// Which group of the expression has each part.
    groups: [Option<usize>; PARTS.len()],
    repeats: bool,
}

/// What groups of a pattern can be.
const PARTS: [&str; 7] = ["file", "line", "column", "severity", "code", "message", "fromPath"];

const FILE: usize = 0;
const LINE: usize = 1;
const COLUMN: usize = 2;
const SEVERITY: usize = 3;
const CODE: usize = 4;
const MESSAGE: usize = 5;
const FROM_PATH: usize = 6;

/// A problem that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    parts: [Option<String>; PARTS.len()],
}

impl Problem {
    fn part(&self, part: usize) -> Option<&str> {
        self.parts[part].as_deref().filter(|text| !text.trim().is_empty())
    }

    /// Returns what is wrong; without it a match is no problem.
    pub fn message(&self) -> Option<&str> {
        self.part(MESSAGE)
    }

    /// Returns how bad it is, as the tool or the matcher says it.
    pub fn severity(&self) -> &str {
        self.parts[SEVERITY].as_deref().unwrap_or_default()
    }

    /// Returns the tool's name of the problem.
    pub fn code(&self) -> Option<&str> {
        self.part(CODE).map(str::trim)
    }

    /// Returns the file, as the tool says it.
    pub fn file(&self) -> Option<&str> {
        self.part(FILE)
    }

    /// Returns the file in whose directory the other one is.
    pub fn from_path(&self) -> Option<&str> {
        self.part(FROM_PATH)
    }

    /// Returns the line; what is no number was not said.
    pub fn line(&self) -> Option<u32> {
        number(self.part(LINE)?)
    }

    /// Returns the column; what is no number was not said.
    pub fn column(&self) -> Option<u32> {
        number(self.part(COLUMN)?)
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Why a file of matchers cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatcherError {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// Something in it is of another kind than it must be.
    #[error("`{0}` must be {1}")]
    Kind(String, &'static str),
    /// A matcher has no owner.
    #[error("Owner must not be empty")]
    NoOwner,
    /// Two matchers have one owner.
    #[error("Duplicate owner name '{0}'")]
    SameOwner(String),
    /// A severity is none.
    #[error("Matcher '{0}' contains unexpected default severity '{1}'")]
    Severity(String, String),
    /// A matcher has no patterns.
    #[error("Matcher '{0}' does not contain any patterns")]
    NoPatterns(String),
    /// No pattern gives a message.
    #[error("At least one pattern must set 'message'")]
    NoMessage,
    /// `loop` stands where it may not.
    #[error("Only the last pattern in a multiline matcher may set 'loop'")]
    Loop,
    /// `loop` without a message.
    #[error("The loop pattern must set 'message'")]
    LoopMessage,
    /// A part is given by two patterns.
    #[error("The property '{0}' is set twice")]
    Twice(&'static str),
    /// A group that the expression does not have.
    #[error("The property '{0}' is set to {1} which is out of range")]
    Range(&'static str, i64),
    /// An expression that cannot be understood.
    #[error("the expression `{0}` cannot be used: {1}")]
    Expression(String, String),
}

/// Reads a file of matchers.
pub fn read(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value =
        serde_json::from_str(text).map_err(|error| MatcherError::Json(error.to_string()))?;
    let list = match value.get("problemMatcher") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(MatcherError::Kind("problemMatcher".to_owned(), "a list")),
    };
    let mut owners = BTreeSet::new();
    let mut matchers = Vec::new();
    for one in list {
        let matcher = read_matcher(one)?;
        if !owners.insert(matcher.owner.to_lowercase()) {
            return Err(MatcherError::SameOwner(matcher.owner));
        }
        matchers.push(matcher);
    }
    Ok(matchers)
}

fn read_matcher(value: &Value) -> Result<Matcher, MatcherError> {
    let text = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(MatcherError::Kind(key.to_owned(), "a text")),
    };
    let owner = text("owner")?;
    if owner.is_empty() {
        return Err(MatcherError::NoOwner);
    }
    let severity = text("severity")?;
    if !["", "error", "warning", "notice"].iter().any(|known| severity.eq_ignore_ascii_case(known))
    {
        return Err(MatcherError::Severity(owner, severity));
    }
    let list = match value.get("pattern") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return Err(MatcherError::Kind("pattern".to_owned(), "a list")),
    };
    if list.is_empty() {
        return Err(MatcherError::NoPatterns(owner));
    }
    let mut patterns: Vec<Pattern> = Vec::new();
    let last = list.len() - 1;
    for (at, one) in list.iter().enumerate() {
        let pattern = read_pattern(one)?;
        if pattern.repeats && (at == 0 || at != last) {
            return Err(MatcherError::Loop);
        }
        if pattern.repeats && pattern.groups[MESSAGE].is_none() {
            return Err(MatcherError::LoopMessage);
        }
        for (part, name) in PARTS.iter().enumerate() {
            let has = |pattern: &Pattern| pattern.groups[part].is_some();
            if has(&pattern) && patterns.iter().any(has) {
                return Err(MatcherError::Twice(name));
            }
        }
        patterns.push(pattern);
    }
    if patterns.iter().all(|pattern| pattern.groups[MESSAGE].is_none()) {
        return Err(MatcherError::NoMessage);
    }
    Ok(Matcher { owner, severity, patterns })
}

fn read_pattern(value: &Value) -> Result<Pattern, MatcherError> {
    let written = match value.get("regexp") {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return Err(MatcherError::Kind("regexp".to_owned(), "a text")),
    };
    let wrong = |why: String| MatcherError::Expression(written.to_owned(), why);
    let regex = RegexBuilder::new(&ecma_script(written))
        .backtrack_limit(MAX_STEPS)
        .delegate_size_limit(1 << 20)
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let order = group_order(&regex);
    let mut groups = [None; PARTS.len()];
    for (part, name) in PARTS.iter().enumerate() {
        let group = match value.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_i64(),
        };
        let group =
            group.ok_or_else(|| MatcherError::Kind((*name).to_owned(), "the number of a group"))?;
        let found = usize::try_from(group).ok().and_then(|group| order.get(group));
        groups[part] = Some(*found.ok_or(MatcherError::Range(name, group))?);
    }
    let repeats = match value.get("loop") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(repeats)) => *repeats,
        Some(_) => return Err(MatcherError::Kind("loop".to_owned(), "true or false")),
    };
    Ok(Pattern { regex, groups, repeats })
}

/// Which group has which number: .NET counts those without a name first.
fn group_order(regex: &Regex) -> Vec<usize> {
    let names: Vec<Option<&str>> = regex.capture_names().collect();
    let plain = (0..names.len()).filter(|group| names[*group].is_none());
    let named = (0..names.len()).filter(|group| names[*group].is_some());
    plain.chain(named).collect()
}

/// Writes an ECMAScript expression so that Rust's engine reads it as it was meant.
fn ecma_script(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    let mut chars = written.char_indices().peekable();
    let mut in_class = false;
    // Where a `]` stands for itself: right after the beginning of a class.
    let mut class_began = false;
    while let Some((at, c)) = chars.next() {
        let began = std::mem::take(&mut class_began);
        match c {
            '\\' => {
                let Some((_, escaped)) = chars.next() else {
                    out.push('\\');
                    break;
                };
                let class = match escaped {
                    'd' => "0-9",
                    'w' => "a-zA-Z0-9_",
                    's' => " \\f\\n\\r\\t\\v",
                    'D' => "^0-9",
                    'W' => "^a-zA-Z0-9_",
                    'S' => "^ \\f\\n\\r\\t\\v",
                    // No letter, and no escape of the other engine's own.
                    '<' | '>' => {
                        out.push(escaped);
                        continue;
                    }
                    _ => {
                        out.push('\\');
                        out.push(escaped);
                        continue;
                    }
                };
                if in_class && !class.starts_with('^') {
                    out.push_str(class);
                } else {
                    out.push('[');
                    out.push_str(class);
                    out.push(']');
                }
            }
            '[' if !in_class => {
                in_class = true;
                class_began = true;
                out.push('[');
                if let Some((_, '^')) = chars.peek() {
                    chars.next();
                    out.push('^');
                }
            }
            ']' if in_class && began => out.push_str("\\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            // These have a meaning of their own inside a class, to the other engine.
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            // Two of them would take one set from another.
            '-' if in_class && written[at..].starts_with("--") => {
                if began {
                    out.push_str("\\-");
                } else {
                    chars.next();
                    out.push_str("-\\-");
                }
            }
            '{' if !in_class && !is_count(&written[at..]) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    out
}

/// Whether a text begins with `{3}`, `{3,}` or `{3,5}`; other braces stand for themselves.
fn is_count(text: &str) -> bool {
    let Some((count, _)) = text[1..].split_once('}') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match count.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(count),
    }
}

/// The matchers of a job; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Matchers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Grows with each change, so that a line costs one look while nothing changes.
    version: AtomicU64,
    list: Mutex<Vec<Arc<Matcher>>>,
}

impl Matchers {
    /// Adds matchers before the others; those of the same owners go.
    pub fn add(&self, matchers: Vec<Matcher>) {
        let owners: Vec<String> = matchers.iter().map(|one| one.owner.to_lowercase()).collect();
        self.change(|list| {
            list.retain(|one| !owners.contains(&one.owner.to_lowercase()));
            list.splice(..0, matchers.into_iter().map(Arc::new));
        });
    }

    /// Removes the matchers of owners.
    pub fn remove(&self, owners: &[String]) {
        let owners: Vec<String> = owners.iter().map(|owner| owner.to_lowercase()).collect();
        self.change(|list| list.retain(|one| !owners.contains(&one.owner.to_lowercase())));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Matcher>>)) {
        let mut list = self.shared.list.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut list);
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// Returns what reads the output of one step.
    pub fn scan(&self) -> Scan {
        Scan { matchers: self.clone(), version: 0, states: Vec::new(), dropped: Vec::new() }
    }
}

/// The matchers of a job on their way through the output of one step.
#[derive(Debug)]
pub struct Scan {
    matchers: Matchers,
    version: u64,
    states: Vec<State>,
    /// Owners whose patterns took too long, for whoever tells people.
    pub dropped: Vec<String>,
}

#[derive(Debug)]
struct State {
    matcher: Arc<Matcher>,
    /// What each pattern but the last has found so far.
    found: Vec<Option<Problem>>,
    is_dropped: bool,
}

impl Scan {
    /// Takes a line and gives the problem that it ends, if it does.
    pub fn line(&mut self, line: &str) -> Option<Problem> {
        self.see();
        if self.states.is_empty() || line.len() > MAX_LINE {
            return None;
        }
        let plain = without_colours(line);
        for at in 0..self.states.len() {
            let state = &mut self.states[at];
            if state.is_dropped {
                continue;
            }
            match state.try_line(&plain) {
                Ok(None) => {}
                Ok(Some(problem)) => {
                    for (other, state) in self.states.iter_mut().enumerate() {
                        if other != at {
                            state.reset();
                        }
                    }
                    if problem.message().is_some() && level(problem.severity()).is_some() {
                        return Some(problem);
                    }
                }
                Err(TooLong) => {
                    state.is_dropped = true;
                    self.dropped.push(state.matcher.owner.clone());
                }
            }
        }
        None
    }

    /// Follows changes of the job's matchers; those that stay go on where they were.
    fn see(&mut self) {
        let shared = &self.matchers.shared;
        if shared.version.load(Ordering::Acquire) == self.version {
            return;
        }
        let list = shared.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.version = shared.version.load(Ordering::Acquire);
        let mut before = std::mem::take(&mut self.states);
        self.states = list
            .iter()
            .map(|matcher| match before.iter().position(|one| Arc::ptr_eq(&one.matcher, matcher)) {
                Some(at) => before.swap_remove(at),
                None => State {
                    found: vec![None; matcher.patterns.len() - 1],
                    matcher: Arc::clone(matcher),
                    is_dropped: false,
                },
            })
            .collect();
    }
}

/// A pattern took more work than it may.
struct TooLong;

impl State {
    fn reset(&mut self) {
        self.found.fill(None);
    }

    /// Tries the patterns from the last to the first, so that one line is one pattern's.
    fn try_line(&mut self, line: &str) -> Result<Option<Problem>, TooLong> {
        let matcher = Arc::clone(&self.matcher);
        let last = matcher.patterns.len() - 1;
        for (at, pattern) in matcher.patterns.iter().enumerate().rev() {
            let before = match at.checked_sub(1) {
                None => None,
                Some(before) => match &self.found[before] {
                    None => continue,
                    found => found.clone(),
                },
            };
            let found = pattern.find(line, before.as_ref())?;
            if at < last {
                self.found[at] = found;
                continue;
            }
            match found {
                Some(mut problem) => {
                    self.reset();
                    if pattern.repeats {
                        self.found[last - 1] = before;
                    }
                    if problem.severity().is_empty() && !matcher.severity.is_empty() {
                        problem.parts[SEVERITY] = Some(matcher.severity.clone());
                    }
                    return Ok(Some(problem));
                }
                None if last > 0 => self.found[last - 1] = None,
                None => {}
            }
        }
        Ok(None)
    }
}

impl Pattern {
    fn find(&self, line: &str, before: Option<&Problem>) -> Result<Option<Problem>, TooLong> {
        let Some(groups) = self.regex.captures(line).map_err(|_| TooLong)? else {
            return Ok(None);
        };
        let mut problem = before.cloned().unwrap_or_default();
        for (part, group) in self.groups.iter().enumerate() {
            if problem.parts[part].is_none()
                && let Some(group) = group
            {
                let text = groups.get(*group).map_or("", |found| found.as_str());
                problem.parts[part] = Some(text.to_owned());
            }
        }
        Ok(Some(problem))
    }
}

/// Returns how loud a severity is; none for one that GitHub passes over.
pub fn level(severity: &str) -> Option<journal::AnnotationLevel> {
    use journal::AnnotationLevel::{Error, Notice, Warning};
    match severity.to_ascii_lowercase().as_str() {
        "" | "error" => Some(Error),
        "warning" => Some(Warning),
        "notice" => Some(Notice),
        _ => None,
    }
}

/// Takes the codes for colours out of a line.
pub(crate) fn without_colours(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.contains("\u{1b}[") {
        return line.into();
    }
    let mut plain = String::with_capacity(line.len());
    let mut pieces = line.split("\u{1b}[");
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        plain.push_str(rest.strip_prefix('m').unwrap_or(rest));
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(json: &str) -> Scan {
        let matchers = Matchers::default();
        matchers.add(read(json).expect("is a file of matchers"));
        matchers.scan()
    }

    /// What is found in lines: file, line, severity and message.
    fn found(json: &str, lines: &[&str]) -> Vec<String> {
        let mut scan = scan(json);
        let problems = lines.iter().filter_map(|line| scan.line(line));
        problems
            .map(|problem| {
                format!(
                    "{}:{} {} {}",
                    problem.file().unwrap_or("-"),
                    problem.line().map_or_else(|| "-".to_owned(), |line| line.to_string()),
                    problem.severity(),
                    problem.message().unwrap_or_default(),
                )
            })
            .collect()
    }

    const STYLISH: &str = r#"{"problemMatcher": [{"owner": "eslint", "pattern": [
        {"regexp": "^([^\\s].*)$", "file": 1},
        {"regexp": "^\\s+(\\d+):(\\d+)\\s+(error|warning|info)\\s+(.*)\\s\\s+(.*)$",
         "line": 1, "column": 2, "severity": 3, "message": 4, "code": 5, "loop": true}]}]}"#;

    #[test]
    fn a_pattern_of_many_lines_goes_on_as_long_as_its_last_line_fits() {
        let lines = [
            "test.js",
            "  1:0  error  Missing \"use strict\"  strict",
            "  5:10  warning  'x' is not used  no-unused",
            "  7:1  info  passed over  other",
            "",
            "  9:1  error  nobody's  lost",
        ];
        assert_eq!(
            found(STYLISH, &lines),
            ["test.js:1 error Missing \"use strict\"", "test.js:5 warning 'x' is not used"]
        );
    }

    #[test]
    fn a_pattern_without_a_loop_begins_again_after_each_problem() {
        let json = r#"{"problemMatcher": [{"owner": "x", "severity": "warning", "pattern": [
            {"regexp": "^in (.+)$", "file": 1}, {"regexp": "^at (\\d+)$", "line": 1},
            {"regexp": "^  (.*)$", "message": 1}]}]}"#;
        let lines = ["in a.c", "at 3", "  bad", "  worse", "in b.c", "at x", "  no"];
        assert_eq!(found(json, &lines), ["a.c:3 warning bad"]);
    }

    #[test]
    fn colours_do_not_hide_a_problem() {
        let json = r#"{"problemMatcher": [{"owner": "x", "pattern": [
            {"regexp": "^(.+):(\\d+): (.*)$", "file": 1, "line": 2, "message": 3}]}]}"#;
        assert_eq!(
            found(json, &["\u{1b}[1;31ma.c\u{1b}[0m:\u{1b}[32m7\u{1b}[m: bad"]),
            ["a.c:7  bad"]
        );
    }

    #[test]
    fn the_matcher_added_last_is_tried_first_and_owners_are_told_apart_by_name() {
        let json = |owner: &str, severity: &str| {
            format!(
                r#"{{"problemMatcher": [{{"owner": "{owner}", "severity": "{severity}",
                "pattern": [{{"regexp": "^(.*)$", "message": 1}}]}}]}}"#
            )
        };
        let matchers = Matchers::default();
        let add = |owner, severity| matchers.add(read(&json(owner, severity)).expect("legal"));
        let mut scan = matchers.scan();
        let mut severity = |line: &str| scan.line(line).map(|one| one.severity().to_owned());
        assert_eq!(severity("x"), None);
        add("one", "error");
        add("two", "notice");
        assert_eq!(severity("x").as_deref(), Some("notice"));
        add("ONE", "warning");
        assert_eq!(severity("x").as_deref(), Some("warning"));
        matchers.remove(&["One".to_owned()]);
        assert_eq!(severity("x").as_deref(), Some("notice"));
        matchers.remove(&["two".to_owned()]);
        assert_eq!(severity("x"), None);
    }

    #[test]
    fn a_pattern_that_takes_too_long_is_dropped_and_named() {
        let mut scan = scan(
            r#"{"problemMatcher": [{"owner": "slow", "pattern": [
            {"regexp": "^(?:(a|aa)\\1?)+b$", "message": 0}]}]}"#,
        );
        assert_eq!(scan.line(&"a".repeat(60)), None);
        assert_eq!(scan.dropped, ["slow"]);
        assert_eq!(scan.line("ab"), None, "it is not tried again");
    }

    #[test]
    fn expressions_mean_what_they_mean_in_ecma_script() {
        let is = |expression: &str, line: &str| {
            let regex = Regex::new(&ecma_script(expression)).expect("can be read");
            regex.is_match(line).expect("does not take long")
        };
        assert!(is(r"^\d+$", "12") && !is(r"^\d+$", "١٢"));
        assert!(is(r"^[\w.-]+$", "a_b.c-d") && !is(r"^[\w.-]+$", "é"));
        assert!(is(r"^[^\s]+$", "a\u{a0}b"));
        assert!(is(r"^[\S]+$", "ab") && !is(r"^[\S]+$", "a b"));
        assert!(is(r"^[[]a[]]$", "[a]"));
        assert!(is(r"^{(.*)}$", "{x}") && is("^a{2}$", "aa") && is("^a{,2}$", "a{,2}"));
        assert!(is(r"^[a&&b]+$", "a&b") && is(r"^[+--]+$", "+,-"));
        assert!(is(r"^(?<n>a)\<b\/c$", "a<b/c"));
        assert!(is(r"^(?!note)(\w+)$", "error") && !is(r"^(?!note)(\w+)$", "note"));
    }

    #[test]
    fn groups_with_names_are_counted_after_the_others() {
        let json = r#"{"problemMatcher": [{"owner": "x", "pattern": [
            {"regexp": "^(?<what>.*) in (.*)$", "file": 1, "message": 2}]}]}"#;
        assert_eq!(found(json, &["bad in a.c"]), ["a.c:-  bad"]);
    }

    #[test]
    fn what_cannot_be_used_says_why_in_githubs_words() {
        let why = |matcher: &str| {
            read(&format!(r#"{{"problemMatcher": [{matcher}]}}"#))
                .expect_err("is wrong")
                .to_string()
        };
        assert_eq!(why("{}"), "Owner must not be empty");
        assert_eq!(why(r#"{"owner": "x"}"#), "Matcher 'x' does not contain any patterns");
        assert_eq!(
            why(r#"{"owner": "x", "severity": "loud", "pattern": [{}]}"#),
            "Matcher 'x' contains unexpected default severity 'loud'"
        );
        assert_eq!(
            why(r#"{"owner": "x", "pattern": [{"regexp": "a"}]}"#),
            "At least one pattern must set 'message'"
        );
        assert_eq!(
            why(r#"{"owner": "x", "pattern": [{"regexp": "(a)", "message": 2}]}"#),
            "The property 'message' is set to 2 which is out of range"
        );
        assert_eq!(
            why(r#"{"owner": "x", "pattern": [{"regexp": "a", "message": 0, "loop": true}]}"#),
            "Only the last pattern in a multiline matcher may set 'loop'"
        );
        assert_eq!(
            why(r#"{"owner": "x", "pattern": [{"message": 0}, {"message": 0}]}"#),
            "The property 'message' is set twice"
        );
        assert!(read("[").is_err() && read(r#"{"problemMatcher": 1}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_file_of_matchers_or_not(
            expression in "([a-z]|\\\\|\\[|\\]|\\(|\\)|\\{|\\}|\\^|\\*|\\+|\\?|-|&|~|[dwsDWS]|\\PC){0,20}",
            lines in proptest::collection::vec("([a-c]|\u{1b}\\[|[0-9]|m|;|\\PC){0,20}", 0..4),
        ) {
            let json = serde_json::json!({"problemMatcher": [{"owner": "x",
                "pattern": [{"regexp": expression, "file": 0}, {"regexp": expression, "message": 0, "loop": true}]}]});
            if let Ok(read) = read(&json.to_string()) {
                let matchers = Matchers::default();
                matchers.add(read);
                let mut scan = matchers.scan();
                for line in &lines {
                    let _ = scan.line(line);
                }
            }
        }
    }
}
