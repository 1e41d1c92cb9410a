//! `marline rules`: rule files looked through, their unit tests run, and those shown that every
//! service gets.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::json;
use source::Finding;
use source::render::{self, Look};
use source::rules::RuleFile;
use source::rules::unit_test;
use watch::rule::unit_test::{Failure as Unmet, Outcome as Tested};
use watch::rule::{Rules, automatic};

use super::timeline::{clean, paint, tell};
use crate::cli::{Global, RulesCheckArgs, RulesCommand, RulesTestArgs};
use crate::conductor::alerts;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Looks through rule files, or runs their tests.
pub async fn run(command: &RulesCommand, global: &Global) -> Outcome {
    match command {
        RulesCommand::Check(args) => check(args, global),
        RulesCommand::Test(args) => test(args, global),
        RulesCommand::Backtest(args) => super::backtest::run(args, global).await,
        RulesCommand::Automatic => print_automatic(global),
    }
}

/// A file as it was read.
pub(super) struct Text {
    pub path: String,
    pub text: String,
}

impl Text {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            let exit = if is_missing { Exit::NotFound } else { Exit::Failed };
            Failure::new(exit, format!("could not read {shown}: {error}"))
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::new(Exit::Failed, format!("{shown} is not UTF-8")))?;
        Ok(Self { path: shown, text })
    }
}

/// Prints findings under the lines that they are about.
pub(super) fn told(findings: &[Finding], texts: &[Text], global: &Global) -> String {
    let look = if global.colour() { Look::Colour } else { Look::Plain };
    render::text(findings, look, |path| {
        texts.iter().find(|text| text.path == path).map(|text| text.text.clone())
    })
}

/// Returns the rule files of the repository when none is named.
pub(super) fn files(named: &[PathBuf], global: &Global) -> Result<Vec<PathBuf>, Failure> {
    if !named.is_empty() {
        return Ok(named.iter().map(|path| global.directory.join(path)).collect());
    }
    let here = Here::find(global)?;
    let folder = here.repository.root().join("rules");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    found.retain(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml"));
    found.sort();
    if found.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there are no rule files in rules/")
            .help("name them: marline rules check FILE…"));
    }
    Ok(found)
}

/// How often a group is evaluated that does not say it.
const INTERVAL: std::time::Duration = std::time::Duration::from_mins(1);

/// Reads a rule file and finds what is wrong with it, queries and templates included.
pub(super) fn read(text: &Text) -> (Option<RuleFile>, Vec<Finding>) {
    let (file, mut findings) = source::rules::read(&text.path, &text.text);
    if let Some(file) = &file {
        findings.extend(Rules::new(&text.path, file, INTERVAL).1);
    }
    (file, findings)
}

/// Prints the rules that the services of the newest release get, and says which the team has its
/// own of.
fn print_automatic(global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let Some(text) = alerts::automatic_text(&view) else {
        return Err(Failure::new(Exit::NotFound, "no service is released yet")
            .help("`marline up` cuts a release of the newest commit"));
    };
    let own = crate::tree::Tree::of_work_tree(&here.repository).rules();
    let own = own.map_err(crate::project::git_failure)?;
    let taken = own.iter().filter_map(|file| source::rules::read(&file.path, &file.text).0);
    let taken = taken.flat_map(|file| automatic::alerts(&file).collect::<Vec<_>>()).collect();
    let left_out = alerts::automatic_rules(&view, &taken).map(|(_, names)| names);
    let left_out = left_out.unwrap_or_default();
    if global.json {
        tell(&format!("{}\n", json!({"file": text, "left_out": left_out})))?;
        return Ok(Exit::Done);
    }
    tell(&text)?;
    if !left_out.is_empty() {
        let names = explain::words::list(&left_out);
        eprintln!("left out, because rules/ has its own: {}", clean(&names));
    }
    Ok(Exit::Done)
}

fn check(args: &RulesCheckArgs, global: &Global) -> Outcome {
    let mut texts = Vec::new();
    for path in files(&args.files, global)? {
        texts.push(Text::read(&path)?);
    }
    let mut findings = Vec::new();
    let mut counts = Vec::new();
    for text in &texts {
        let (file, own) = read(text);
        let rules = file.iter().flat_map(|file| &file.groups).map(|group| group.rules.len()).sum();
        let rules: usize = rules;
        counts.push((text.path.clone(), rules, own.iter().any(Finding::is_error)));
        findings.extend(own);
    }
    if global.json {
        let files: Vec<_> =
            counts.iter().map(|(path, rules, _)| json!({"path": path, "rules": rules})).collect();
        tell(&format!("{}\n", json!({"files": files, "findings": findings})))?;
    } else {
        let mut out = told(&findings, &texts, global);
        if !out.is_empty() {
            out.push('\n');
        }
        for (path, rules, is_wrong) in &counts {
            let plural = if *rules == 1 { "rule" } else { "rules" };
            let sign = sign(*is_wrong, global);
            out += &format!("{sign} {}  {rules} {plural}\n", clean(path));
        }
        tell(&out)?;
    }
    Ok(if findings.iter().any(Finding::is_error) { Exit::Failed } else { Exit::Done })
}

fn sign(is_wrong: bool, global: &Global) -> String {
    if is_wrong { paint(global.colour(), "31", "✗") } else { paint(global.colour(), "32", "✓") }
}

/// What the tests of one file gave.
struct Ran {
    path: String,
    outcomes: Vec<Tested>,
    findings: Vec<Finding>,
}

fn test(args: &RulesTestArgs, global: &Global) -> Outcome {
    let wanted: Vec<Regex> = (args.run.iter())
        .map(|text| {
            Regex::new(text).map_err(|error| {
                Failure::new(Exit::Usage, format!("--run {text:?} is no pattern: {error}"))
            })
        })
        .collect::<Result<_, _>>()?;
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|pattern| pattern.is_match(name));
    let mut texts = Vec::new();
    let mut ran = Vec::new();
    for path in &args.files {
        let path = global.directory.join(path);
        let text = Text::read(&path)?;
        let (file, mut findings) = unit_test::read(&text.path, &text.text);
        let mut outcomes = Vec::new();
        let mut rules = Vec::new();
        if let Some(file) = &file {
            let folder = path.parent().unwrap_or(Path::new("."));
            for pattern in &file.rule_files {
                let found = fitting(folder, &pattern.value);
                if found.is_empty() {
                    let place = source::Place::at(&text.path, pattern.span);
                    let message = format!("no file fits `{}`", pattern.value);
                    findings.push(
                        Finding::error("unit-test-rule-file", message, place)
                            .help("paths are looked for beside the file with the tests"),
                    );
                }
                for path in found {
                    let text = Text::read(&path)?;
                    let (file, own) = read(&text);
                    findings.extend(own);
                    rules.extend(file.map(|file| (text.path.clone(), file)));
                    texts.push(text);
                }
            }
            if !findings.iter().any(Finding::is_error) {
                let (tested, more) =
                    watch::rule::unit_test::run(&text.path, file, &rules, is_wanted);
                findings.extend(more);
                outcomes = tested;
            }
        }
        ran.push(Ran { path: text.path.clone(), outcomes, findings });
        texts.push(text);
    }
    let is_wrong = ran.iter().any(|ran| {
        ran.findings.iter().any(Finding::is_error)
            || ran.outcomes.iter().any(|outcome| !outcome.failures.is_empty())
    });
    if global.json {
        tell(&format!("{}\n", ran.iter().map(Ran::json).collect::<serde_json::Value>()))?;
    } else {
        let mut out = String::new();
        for ran in &ran {
            let findings = told(&ran.findings, &texts, global);
            if !findings.is_empty() {
                out += &findings;
                out.push('\n');
            }
            out += &ran.text(global);
        }
        tell(&out)?;
    }
    Ok(if is_wrong { Exit::Failed } else { Exit::Done })
}

impl Ran {
    fn text(&self, global: &Global) -> String {
        let failed: Vec<&Tested> =
            self.outcomes.iter().filter(|outcome| !outcome.failures.is_empty()).collect();
        let is_wrong = !failed.is_empty() || self.findings.iter().any(Finding::is_error);
        let (all, path) = (self.outcomes.len(), clean(&self.path));
        let plural = if all == 1 { "test" } else { "tests" };
        let mut out = match (is_wrong, all) {
            (true, 0) => format!("{} {path}  no test was run\n", sign(true, global)),
            (true, _) => {
                let failed = failed.len();
                format!("{} {path}  {failed} of {all} {plural} failed\n", sign(true, global))
            }
            (false, _) => format!("{} {path}  {all} {plural}\n", sign(false, global)),
        };
        for outcome in failed {
            let name = clean(&outcome.name);
            out += &format!("  {name}\n");
            for unmet in &outcome.failures {
                out += &self.unmet(unmet);
            }
        }
        out
    }

    fn unmet(&self, unmet: &Unmet) -> String {
        let place = unmet.span.start;
        let mut out = format!("    {}:{place}: {}\n", clean(&self.path), clean(&unmet.about));
        if !unmet.expected.is_empty() || !unmet.got.is_empty() {
            for (word, lines) in [("expected", &unmet.expected), ("got", &unmet.got)] {
                if lines.is_empty() {
                    out += &format!("      {word:<9} nothing\n");
                }
                for (at, line) in lines.iter().enumerate() {
                    let word = if at == 0 { word } else { "" };
                    out += &format!("      {word:<9} {}\n", clean(line));
                }
            }
        }
        out
    }

    fn json(&self) -> serde_json::Value {
        let tests: Vec<_> = (self.outcomes.iter())
            .map(|outcome| {
                let failures: Vec<_> = (outcome.failures.iter())
                    .map(|unmet| {
                        json!({
                            "line": unmet.span.start.line,
                            "about": unmet.about,
                            "expected": unmet.expected,
                            "got": unmet.got,
                        })
                    })
                    .collect();
                json!({"name": outcome.name, "passed": failures.is_empty(), "failures": failures})
            })
            .collect();
        json!({"path": self.path, "tests": tests, "findings": self.findings})
    }
}

/// Returns the files below a folder that fit a path with `*`, `?` and `[…]` in its parts, sorted.
fn fitting(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') { "/".into() } else { folder.to_owned() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let is_pattern = part.contains(['*', '?', '[']);
        let matcher = globset::GlobBuilder::new(part).literal_separator(true).build();
        found = match (is_pattern, matcher) {
            (true, Ok(glob)) => {
                let matcher = glob.compile_matcher();
                let within = |folder: &PathBuf| {
                    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                    entries.filter(|entry| matcher.is_match(entry.file_name())).collect::<Vec<_>>()
                };
                found.iter().flat_map(within).map(|entry| entry.path()).collect()
            }
            _ => found.iter().map(|folder| folder.join(part)).collect(),
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}
