//! Reads the workspace and fails where it breaks what it says about itself: the arrows between
//! crates, names, where `unsafe` may stand, and what the documents name.
//!
//! Every complaint begins with `file:line`. The standard library is enough, so this builds at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates from top to bottom, and those that each may name.
///
/// The table in ARCHITECTURE.md says the same; an arrow that is in neither does not exist.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "marline",
        &[
            "pipeline", "guard", "deploy", "watch", "web", "explain", "journal", "promql",
            "series", "source", "sandbox",
        ],
    ),
    ("pipeline", &["journal", "source", "sandbox"]),
    ("guard", &["journal", "source"]),
    ("deploy", &["journal", "series", "source", "sandbox"]),
    ("watch", &["journal", "promql", "series", "source"]),
    ("web", &["explain", "journal", "promql", "series", "source"]),
    ("explain", &["journal", "source"]),
    ("journal", &["source"]),
    ("promql", &["series"]),
    ("series", &[]),
    ("source", &[]),
    ("sandbox", &[]),
];

/// Names that say nothing about what is inside.
const SAYS_NOTHING: &[&str] =
    &["common", "core", "helper", "helpers", "manager", "misc", "types", "util", "utils"];

/// What is not kept: unfinished work, and places of one machine.
const NOT_KEPT: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "/root/", "/Users/"];

/// Folders at the top whose paths in documents must exist.
const FOLDERS: &[&str] = &["crates", "docs", "examples", "bench", "fuzz", "scripts", ".ci"];

/// This file, which has to name what it forbids.
const THIS_FILE: &str = "crates/marline/tests/tidy.rs";

#[test]
fn crates_name_only_those_below_them() {
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| path.starts_with("crates/") && path.ends_with("/Cargo.toml")) {
        let name = path.split('/').nth(1).expect("it is below crates/");
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            complaints.push(format!("{path}:1: crate `{name}` is not in the table of arrows"));
            continue;
        };
        let mut is_dependencies = false;
        for (number, line) in numbered(&text) {
            if line.starts_with('[') {
                is_dependencies = line.trim_matches(['[', ']']).ends_with("dependencies");
                continue;
            }
            let to = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let is_ours = ARROWS.iter().any(|(ours, _)| *ours == to);
            if is_dependencies && is_ours && to != name && !allowed.contains(&to) {
                complaints.push(format!("{path}:{number}: `{name}` must not name `{to}`"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_table_of_arrows_in_the_architecture_is_the_one_that_is_checked() {
    let text = read("ARCHITECTURE.md");
    let mut complaints = Vec::new();
    let mut told = BTreeSet::new();
    for (number, line) in numbered(&text) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [from, to] = cells[..] else { continue };
        let [from] = codes(from)[..] else { continue };
        let Some((from, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else { continue };
        told.insert(*from);
        let said: BTreeSet<&str> = codes(to).into_iter().collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        if said != allowed {
            complaints.push(format!("ARCHITECTURE.md:{number}: `{from}` may name {allowed:?}"));
        }
    }
    for (from, _) in ARROWS.iter().filter(|(from, _)| !told.contains(from)) {
        complaints.push(format!("ARCHITECTURE.md:1: the table of arrows has no row for `{from}`"));
    }
    none(&complaints);
}

#[test]
fn every_name_says_what_is_inside() {
    let mut complaints = Vec::new();
    for path in tracked() {
        let says_nothing = path.split('/').any(|part| {
            let stem = part.split('.').next().unwrap_or_default().to_lowercase();
            SAYS_NOTHING.contains(&stem.as_str())
        });
        if says_nothing {
            complaints.push(format!("{path}:1: this name says nothing; look for the noun"));
        }
    }
    none(&complaints);
}

#[test]
fn nothing_but_sandbox_is_unsafe() {
    let mut complaints = Vec::new();
    let is_asked = |path: &str| {
        is_kind(path, "rs") && !path.starts_with("crates/sandbox/") && path != THIS_FILE
    };
    for (path, text) in texts(is_asked) {
        for (number, line) in numbered(&text) {
            if is_unsafe(line) {
                complaints.push(format!("{path}:{number}: `unsafe` belongs into crate `sandbox`"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_crate_begins_with_a_glossary() {
    let mut complaints = Vec::new();
    for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "marline") {
        let path = format!("crates/{name}/src/lib.rs");
        let text = read(&path);
        if !text.starts_with("//! ") {
            complaints.push(format!("{path}:1: the first line does not say what the crate is"));
        }
        if !text.lines().any(|line| line == "//! # Glossary") {
            complaints.push(format!("{path}:1: there is no `# Glossary`"));
        }
    }
    none(&complaints);
}

#[test]
fn nothing_unfinished_and_no_place_of_one_machine_is_kept() {
    let here = root().canonicalize().expect("the workspace is there");
    let here = here.to_string_lossy().into_owned();
    let mut complaints = Vec::new();
    for (path, text) in texts(|path| path != THIS_FILE) {
        for (number, line) in numbered(&text) {
            let kept = NOT_KEPT.iter().copied().chain([here.as_str()]);
            for word in kept.filter(|word| begins_in(line, word)) {
                complaints.push(format!("{path}:{number}: `{word}` is not kept"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn paths_in_documents_exist() {
    let mut complaints = Vec::new();
    for (path, text) in texts(is_document) {
        for (number, line) in prose(&text) {
            for code in codes(line).into_iter().filter(|code| !exists(code)) {
                complaints.push(format!("{path}:{number}: `{code}` does not exist"));
            }
            let folder = Path::new(&path).parent().expect("a file is in a folder");
            for target in links(line) {
                if !root().join(folder).join(target).exists() {
                    complaints.push(format!("{path}:{number}: the link to {target} leads nowhere"));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn commands_in_documents_are_commands_of_marline() {
    let mut marline = Marline::default();
    let mut complaints = Vec::new();
    for (path, text) in texts(is_document) {
        let mut commands: Vec<(usize, &str)> = Vec::new();
        for (number, line) in console(&text) {
            commands.extend(line.strip_prefix("$ ").map(|command| (number, command)));
        }
        // What stands in a sentence must be true as well; the past may name what is gone.
        if path != "CHANGELOG.md" {
            for (number, line) in prose(&text) {
                let named = codes(line).into_iter().filter(|code| code.starts_with("marline "));
                commands.extend(named.map(|code| (number, code)));
            }
        }
        for (number, command) in commands {
            for words in calls_of_marline(command) {
                if let Err(wrong) = marline.understands(&words) {
                    complaints.push(format!("{path}:{number}: {wrong}"));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn blocks_that_are_run_name_an_example() {
    let mut complaints = Vec::new();
    for (path, text) in texts(is_document) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in numbered(&text) {
            let Some(name) =
                line.strip_prefix("<!-- run: ").and_then(|rest| rest.strip_suffix(" -->"))
            else {
                continue;
            };
            if !root().join("examples").join(name).is_dir() {
                complaints.push(format!("{path}:{number}: there is no example `{name}`"));
            }
            if lines.get(number) != Some(&"```console") {
                complaints.push(format!("{path}:{number}: no `console` block follows"));
            }
        }
    }
    none(&complaints);
}

/// The help of the real binary, asked once for each command.
#[derive(Default)]
struct Marline {
    known: BTreeMap<Vec<String>, Help>,
}

/// What `--help` says.
#[derive(Default)]
struct Help {
    /// Names of commands below this one.
    commands: BTreeSet<String>,
    /// Options, and whether each takes a value.
    options: BTreeMap<String, bool>,
    /// Whether it may be called with words of its own instead of a command.
    takes_words: bool,
}

impl Marline {
    fn help(&mut self, command: &[String]) -> &Help {
        self.known.entry(command.to_vec()).or_insert_with(|| {
            let output = Command::new(env!("CARGO_BIN_EXE_marline"))
                .args(command)
                .arg("--help")
                .output()
                .expect("the binary that was just built starts");
            assert!(output.status.success(), "marline {} --help failed", command.join(" "));
            Help::read(&String::from_utf8_lossy(&output.stdout))
        })
    }

    /// Says which word of a command line is not understood.
    fn understands(&mut self, words: &[String]) -> Result<(), String> {
        let mut command: Vec<String> = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let so_far = format!("marline {}", command.join(" "));
            let so_far = so_far.trim_end();
            let help = self.help(&command);
            if let Some(long) = word.strip_prefix("--") {
                if long.is_empty() {
                    return Ok(());
                }
                let (name, value) = match word.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (word.as_str(), None),
                };
                let takes_value = *help
                    .options
                    .get(name)
                    .ok_or_else(|| format!("`{so_far}` has no option `{name}`"))?;
                if takes_value && value.is_none() {
                    words.next();
                }
            } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
                let first: String = short.chars().take(1).collect();
                let takes_value = *help
                    .options
                    .get(&format!("-{first}"))
                    .ok_or_else(|| format!("`{so_far}` has no option `-{first}`"))?;
                if takes_value && short.len() == 1 {
                    words.next();
                }
            } else if !help.commands.is_empty() {
                if !help.commands.contains(word) && help.takes_words {
                    continue;
                }
                if !help.commands.contains(word) {
                    return Err(format!("`{so_far}` has no command `{word}`"));
                }
                command.push(word.clone());
            }
        }
        Ok(())
    }
}

impl Help {
    fn read(text: &str) -> Self {
        let mut help = Self::default();
        let mut is_commands = false;
        for line in text.lines() {
            if !line.starts_with(' ') {
                is_commands = line == "Commands:";
                help.takes_words |= line == "Arguments:";
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            let line = line.trim_start();
            if is_commands && indent == 2 {
                help.commands.extend(line.split_whitespace().next().map(str::to_owned));
            } else if !is_commands && line.starts_with('-') && !line.starts_with("- ") {
                let written = line.split("  ").next().unwrap_or_default();
                let takes_value = written.contains('<');
                let names = written.split([',', ' ', '=']).filter(|word| word.starts_with('-'));
                for name in names {
                    help.options.insert(name.trim_end_matches("...").to_owned(), takes_value);
                }
            }
        }
        help
    }
}

/// Returns the words of each call of Marline in a command line, without `marline` itself.
fn calls_of_marline(line: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for words in commands_of(line) {
        let is_setting =
            |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
        let words: Vec<String> = words.iter().skip_while(is_setting).cloned().collect();
        let is_call = |name: &str| words.first().is_some_and(|word| word == name);
        if is_call("marline") {
            calls.push(words[1..].to_vec());
        } else if is_call("cargo") && words.get(1).is_some_and(|word| word == "run") {
            let after = words.iter().skip_while(|word| *word != "--").skip(1);
            calls.push(after.cloned().collect());
        }
    }
    calls
}

/// Splits a line of shell into commands and those into words, as far as documents need it.
fn commands_of(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '&' | '|' | ';' | '(' | ')' | '<' | '>') => {
                if let (Some(done), Some(words)) = (word.take(), commands.last_mut()) {
                    words.push(done);
                }
                match c {
                    ' ' => {}
                    // What follows names a file and not a command.
                    '<' | '>' => commands.push(vec![c.to_string()]),
                    _ => commands.push(Vec::new()),
                }
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let (Some(done), Some(words)) = (word, commands.last_mut()) {
        words.push(done);
    }
    commands.retain(|words| !words.is_empty());
    commands
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a line of Rust makes something unsafe, or allows it.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    if code.contains("allow(unsafe_code)") || code.contains("expect(unsafe_code") {
        return true;
    }
    code.match_indices("unsafe").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].trim_start();
        let is_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
        let begins = ["{", "(", "fn ", "impl ", "impl<", "trait ", "extern "];
        is_word && begins.iter().any(|begin| after.starts_with(begin))
    })
}

/// Whether a word stands in a line and is not the end of a longer one.
fn begins_in(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-}".contains(c))
    })
}

/// Whether what stands in backticks exists, if it looks like a path of the repository.
fn exists(code: &str) -> bool {
    let is_path = code.chars().all(|c| c.is_ascii_alphanumeric() || "._-/*".contains(c));
    let first = code.split('/').next().unwrap_or_default();
    let is_crate = ARROWS.iter().any(|(name, _)| *name == first);
    let path = if code.contains('/') && FOLDERS.contains(&first) {
        code.to_owned()
    } else if is_crate && (code.contains("/src/") || code.contains("/tests/")) {
        format!("crates/{code}")
    } else {
        return true;
    };
    if !is_path {
        return true;
    }
    // `NAME.rs` and `*.md` stand for what is in the folder.
    let is_place_holder = |part: &&str| part.contains('*') || part.contains("NAME");
    let known: PathBuf = path.split('/').take_while(|part| !is_place_holder(part)).collect();
    root().join(known).exists()
}

/// Returns what stands between single backticks.
fn codes(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Returns where the links and pictures of a line lead, if that is inside the repository.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains(':')).collect()
}

/// Returns the lines outside fenced blocks.
fn prose(text: &str) -> Vec<(usize, &str)> {
    fenced(text).into_iter().filter(|(.., fence)| fence.is_none()).map(|(n, l, _)| (n, l)).collect()
}

/// Returns the lines inside `console` blocks.
fn console(text: &str) -> Vec<(usize, &str)> {
    let lines = fenced(text).into_iter();
    lines.filter(|(.., fence)| *fence == Some("console")).map(|(n, l, _)| (n, l)).collect()
}

/// Returns every line with the language of the fenced block it is in.
fn fenced(text: &str) -> Vec<(usize, &str, Option<&str>)> {
    let mut fence = None;
    let mut lines = Vec::new();
    for (number, line) in numbered(text) {
        match (fence, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => fence = Some(language.trim()),
            (Some(_), Some(_)) => fence = None,
            _ => lines.push((number, line, fence)),
        }
    }
    lines
}

fn is_document(path: &str) -> bool {
    let at_the_top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    at_the_top.contains(&path)
        || path == "examples/README.md"
        || path.starts_with("docs/") && is_kind(path, "md")
}

fn is_kind(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Returns the tracked text files that are asked for, with what stands in them.
fn texts(is_asked: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let paths = tracked().into_iter().filter(|path| is_asked(path));
    let with_text = |path: String| {
        // Pictures and the like are no text.
        let text = fs::read_to_string(root().join(&path)).ok()?;
        Some((path, text))
    };
    paths.filter_map(with_text).collect()
}

/// Returns the paths that Git tracks, or would with the next `git add`.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("Marline needs git, and so do its tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let paths = String::from_utf8(output.stdout).expect("our own names are UTF-8");
    let paths: BTreeSet<&str> = paths.split_terminator('\0').collect();
    paths.into_iter().map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}:1: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
