//! How many of other people's Compose documents are read as they read them.

use std::path::{Path, PathBuf};

use scoreboard::Suite;
use serde_json::Value;
use source::Finding;
use source::compose::{ComposeFile, Environment, is_usable, read, read_with};

/// The folder with public test data; `None`, said aloud, when it is not there.
fn conformance(test: &str) -> Option<PathBuf> {
    scoreboard::data(test, "compose")
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the index is there");
    serde_json::from_str(&text).expect("the index is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The first error, in words.
fn first_error(findings: &[Finding]) -> Option<String> {
    let error = findings.iter().find(|finding| finding.is_error())?;
    Some(format!("{}: {}", error.place, error.message))
}

/// Compares whether there was an error with whether there is one elsewhere.
fn alike(error: Option<String>, is_good_there: bool) -> Result<(), String> {
    match (error, is_good_there) {
        (None, true) | (Some(_), false) => Ok(()),
        (Some(error), true) => Err(error),
        (None, false) => Err("read without an error".into()),
    }
}

#[test]
fn compose_templates() {
    let Some(dir) = conformance("compose-templates") else { return };
    let data = json(&dir.join("template-cases.json"));
    let given = data["env"].as_object().expect("variables");
    let environment = Environment::new(given.iter().map(|(k, v)| (k, v.as_str().expect("a text"))))
        .in_directory("cases");
    let mut suite = Suite::new("compose-templates");
    for case in data["cases"].as_array().expect("cases") {
        let (template, expected) = (text(case, "template"), text(case, "expected"));
        let quoted = serde_json::to_string(template).expect("texts are JSON");
        let file = ComposeFile::new("c.yaml", format!("x-case: {quoted}\n"));
        let (project, findings) = read(&[file], &environment);
        let got = project.map(|project| project.extensions["x-case"].clone());
        let is_right = is_usable(&findings) && got == Some(Value::from(expected));
        suite.case(template, is_right.then_some(()).ok_or(format!("{got:?} {findings:?}")));
    }
    suite.must_pass(100.0);
}

/// Rules that need a whole project, where many cases are one layer of several, or are loaded there
/// without looking at the whole.
fn is_of_the_whole(rule: &str) -> bool {
    rule == "compose-nothing-to-run"
        || rule == "compose-name"
        || rule.starts_with("compose-unknown-") && rule != "compose-unknown-key"
}

#[test]
fn compose_documents() {
    let Some(dir) = conformance("compose-documents") else { return };
    let index = json(&dir.join("compose-go-embedded/INDEX.json"));
    let mut suite = Suite::new("compose-documents");
    for case in index.as_array().expect("cases").iter().filter(|case| case["kind"] == "single") {
        let path = text(case, "path");
        let is_good_there = match text(case, "expect") {
            "ok" => true,
            "error" => false,
            _ => {
                suite.exclude(path, "the index does not say what is expected of it");
                continue;
            }
        };
        let document = std::fs::read_to_string(dir.join(path)).expect("the document is there");
        if let Some(why) = is_beyond_one_document(path, &document, text(case, "message")) {
            suite.exclude(path, why);
            continue;
        }
        let environment = Environment::new([("HOME", "/home/user")]).in_directory("cases");
        let beside = |other: &str| {
            let sibling = WRITTEN_BY_TESTS.iter().find_map(|(test, name, number)| {
                (path.contains(test) && *name == other)
                    .then(|| path.rsplit_once('-').map(|(test, _)| format!("{test}-{number}.yaml")))
            });
            let there = match sibling.flatten() {
                Some(sibling) => dir.join(sibling),
                None => dir.join("compose-go/loader").join(other),
            };
            std::fs::read_to_string(there).ok()
        };
        let file = ComposeFile::new("compose.yaml", document);
        let (project, mut findings) = read_with(&[file], &environment, &beside);
        if let (Some(project), false) = (&project, is_good_there) {
            for service in project.services.values() {
                findings.extend(project.environment_of(service, &environment, beside).1);
            }
        }
        if let Some(why) = needs_more(&findings) {
            suite.exclude(path, why);
            continue;
        }
        findings.retain(|finding| !(is_good_there && is_of_the_whole(&finding.rule)));
        suite.case(path, alike(first_error(&findings), is_good_there));
    }
    suite.must_pass(100.0);
}

/// Files that tests write for themselves: whose, where, and which of their documents it is.
const WRITTEN_BY_TESTS: [(&str, &str, u32); 6] = [
    ("/TestOverrideMiddle-", "base.yaml", 1),
    ("/TestOverrideMiddle-", "override.yaml", 2),
    ("/TestLoadExtendsMultipleFiles-", "a/compose.yaml", 1),
    ("/TestLoadExtendsMultipleFiles-", "b/compose.yaml", 2),
    ("/TestLoadExtendsSameFile-", "sub/compose.yaml", 1),
    ("/TestLoadExtendsListenerMultipleFiles-", "sub/compose.yaml", 1),
];

/// Documents that say nothing alone, by a part of the path.
const BEYOND_THE_DOCUMENT: [(&str, &str); 5] = [
    ("/TestExtendsWihtMissingService-1", "extends `base.yaml`, which is not among the test data"),
    ("/TestLoadWithMultipleInclude-1", "the test there sets the variables that decide"),
    ("/TestLoadWithInterpolationCastFull-1", "the test there sets the variables that decide"),
    ("/TestInterpolateInt-1", "the test there sets the variables that decide"),
    ("/TestResetCycle-6", "an alias inside its own anchor: ignored there, refused here by name"),
];

/// Why something that is not in the document decides, if it does.
fn is_beyond_one_document(path: &str, document: &str, message: &str) -> Option<&'static str> {
    if document.contains("%[1]") || document.contains(": %") {
        return Some("a template that the test there fills in");
    }
    if message.contains("project name must not be empty") {
        return Some("the test there gives an empty project name by its own means");
    }
    BEYOND_THE_DOCUMENT.iter().find(|(part, _)| path.contains(part)).map(|(_, why)| *why)
}

/// Why a document could not be read to its end here, if that is for want of other files.
fn needs_more(findings: &[Finding]) -> Option<String> {
    let mut of_files = findings.iter().filter(|finding| finding.rule == "compose-file");
    if of_files.clone().any(|finding| finding.message.contains("nothing is fetched")) {
        return Some("loaded through a fetcher that the test there brings along".into());
    }
    let missing = of_files.find(|finding| finding.message.starts_with("there is no file"))?;
    Some(format!("{}: it is not among the test data", missing.message))
}

#[test]
fn compose_merges() {
    let Some(dir) = conformance("compose-merges") else { return };
    let index = json(&dir.join("compose-go-embedded/INDEX.json"));
    let mut suite = Suite::new("compose-merges");
    for case in index.as_array().expect("cases").iter().filter(|case| case["kind"] == "merge") {
        let path = text(case, "dir");
        let layer = |name: &str| {
            let text = std::fs::read_to_string(dir.join(path).join(name)).expect("a layer");
            ComposeFile::new(name, text)
        };
        let environment = Environment::default().in_directory("cases");
        let normalised = |files: &[ComposeFile]| {
            let (project, findings) = read(files, &environment);
            let broken = findings.iter().find(|f| f.rule == "compose-type" || f.rule == "yaml");
            (project.map(|project| sorted(project.normalised())), broken.cloned())
        };
        let merged = normalised(&[layer("base.yaml"), layer("override.yaml")]);
        let expected = normalised(&[layer("expected.yaml")]);
        let is_right = merged.0 == expected.0 && merged.0.is_some();
        suite.case(path, is_right.then_some(()).ok_or(format!("{merged:?} not {expected:?}")));
    }
    suite.must_pass(100.0);
}

/// Files of compose-go's tests that it refuses.
const REFUSED_FILES: [&str; 4] = [
    "compose-depends-on-cycle.yaml",
    "compose-depends-on-self.yaml",
    "compose-include-cycle.yaml",
    "empty.yaml",
];

/// Files that are no case by themselves.
const NO_CASES: [(&str, &str); 3] = [
    ("commands/", "says how to call an implementation; it is no Compose file"),
    ("using-variables.yaml", "for a schema without variables filled in"),
    ("profile-no-cycle.yaml", "its name says that there is no circle, and there is one"),
];

#[test]
fn compose_files() {
    let Some(dir) = conformance("compose-files") else { return };
    let mut suite = Suite::new("compose-files");
    let folders = ["compose-go", "conformance-tests"];
    let files = folders.iter().flat_map(|f| scoreboard::files(&dir.join(f), &["yaml", "yml"]));
    for path in files {
        let name = path.strip_prefix(&dir).expect("it was found there").display().to_string();
        if let Some((_, why)) = NO_CASES.iter().find(|(part, _)| name.contains(part)) {
            suite.exclude(name, *why);
            continue;
        }
        let document = std::fs::read_to_string(&path).expect("the file is there");
        let folder = path.parent().expect("a file lies in a folder");
        let file_name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let beside = |path: &str| std::fs::read_to_string(folder.join(path)).ok();
        let environment = Environment::new([("HOME", "/home/user")]).in_directory("cases");
        let file = ComposeFile::new(file_name.clone(), document);
        let (_, mut findings) = read_with(&[file], &environment, &beside);
        if let Some(why) = needs_more(&findings) {
            suite.exclude(name, why);
            continue;
        }
        let is_good_there = !REFUSED_FILES.contains(&file_name.as_str());
        findings.retain(|finding| !(is_good_there && is_of_the_whole(&finding.rule)));
        suite.case(name, alike(first_error(&findings), is_good_there));
    }
    suite.must_pass(100.0);
}

/// Snippets of the specification that are no Compose files.
const FRAGMENTS: [(&str, &str); 7] = [
    ("13-merge-001", "`key1` and `key2` stand for any keys"),
    ("13-merge-002", "`key1` and `key2` stand for any keys"),
    ("13-merge-003", "`key1` and `key2` stand for any keys"),
    ("13-merge-004", "writes `DNS` for `dns`, which no reader takes"),
    ("13-merge-005", "writes `DNS` for `dns`, which no reader takes"),
    ("13-merge-006", "writes `DNS` for `dns`, which no reader takes"),
    ("13-merge-016", "its lines have lost their indentation"),
];

#[test]
fn compose_specification() {
    let Some(dir) = conformance("compose-specification") else { return };
    let mut suite = Suite::new("compose-specification");
    for path in scoreboard::files(&dir.join("compose-spec"), &["yaml", "yml"]) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if let Some((_, why)) = FRAGMENTS.iter().find(|(part, _)| name.contains(part)) {
            suite.exclude(name, *why);
            continue;
        }
        let document = std::fs::read_to_string(&path).expect("the snippet is there");
        let environment = Environment::new([("HOME", "/home/user")]).in_directory("cases");
        let (_, mut findings) = read(&[ComposeFile::new("compose.yaml", document)], &environment);
        if let Some(why) = needs_more(&findings) {
            suite.exclude(name, why);
            continue;
        }
        findings.retain(|finding| !is_of_the_whole(&finding.rule));
        suite.case(name, alike(first_error(&findings), true));
    }
    suite.must_pass(100.0);
}

/// The order of keys says nothing.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
