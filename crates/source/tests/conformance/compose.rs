//! How many of other people's Compose documents are read as they read them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use source::compose::{ComposeFile, Environment, is_usable, read};

/// The folder with public test data; `None`, said aloud, when it is not there.
fn conformance(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let given = std::env::var_os("MARLINE_CONFORMANCE").map(PathBuf::from);
    let dir = given.unwrap_or_else(|| root.join("../shared/conformance")).join("compose");
    if !dir.is_dir() {
        println!("skipped {test}: no {}", dir.display());
        return None;
    }
    Some(dir)
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the index is there");
    serde_json::from_str(&text).expect("the index is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_template_of_the_public_cases_is_filled_in() {
    let name = "every_template_of_the_public_cases_is_filled_in";
    let Some(dir) = conformance(name) else { return };
    let data = json(&dir.join("template-cases.json"));
    let given = data["env"].as_object().expect("variables");
    let environment = Environment::new(given.iter().map(|(k, v)| (k, v.as_str().expect("a text"))))
        .in_directory("cases");
    let cases = data["cases"].as_array().expect("cases");
    for case in cases {
        let (template, expected) = (text(case, "template"), text(case, "expected"));
        let quoted = serde_json::to_string(template).expect("texts are JSON");
        let file = ComposeFile::new("c.yaml", format!("x-case: {quoted}\n"));
        let (project, findings) = read(&[file], &environment);
        assert!(is_usable(&findings), "{template}: {findings:?}");
        let project = project.expect("a project");
        assert_eq!(project.extensions["x-case"], Value::from(expected), "{template}");
    }
    println!("templates: {0} of {0}", cases.len());
}

#[test]
fn the_documents_of_compose_go_are_read_as_it_reads_them() {
    let name = "the_documents_of_compose_go_are_read_as_it_reads_them";
    let Some(dir) = conformance(name) else { return };
    let index = json(&dir.join("compose-go-embedded/INDEX.json"));
    let (mut strict, mut alike, mut total, mut beyond) = (0, 0, 0, 0);
    for case in index.as_array().expect("cases").iter().filter(|case| case["kind"] == "single") {
        let expect_ok = match text(case, "expect") {
            "ok" => true,
            "error" => false,
            _ => continue,
        };
        let path = text(case, "path");
        let document = std::fs::read_to_string(dir.join(path)).expect("the document is there");
        if is_beyond_one_document(&document, text(case, "message")) {
            beyond += 1;
            continue;
        }
        let environment = Environment::new([("HOME", "/home/user")]).in_directory("cases");
        let (_, findings) = read(&[ComposeFile::new("compose.yaml", document)], &environment);
        total += 1;
        strict += usize::from(is_usable(&findings) == expect_ok);
        // Many of them are one layer of several, or are loaded there without looking at the whole.
        let of_the_whole = |rule: &str| {
            rule == "compose-nothing-to-run"
                || rule == "compose-name"
                || rule.starts_with("compose-unknown-") && rule != "compose-unknown-key"
        };
        let error = findings.iter().find(|f| f.is_error() && !(expect_ok && of_the_whole(&f.rule)));
        if error.is_none() == expect_ok {
            alike += 1;
        } else {
            let said = error.map(|e| format!("{}: {}", e.place, e.message)).unwrap_or_default();
            println!("not alike: {path} (ok there: {expect_ok}) {said}");
        }
    }
    println!("compose-go documents ({beyond} more need other files):");
    println!("  read alike {alike} of {total}; alike with the checks of the whole {strict}");
    assert!(alike * 100 >= total * 98, "{alike} of {total} are read alike");
    assert!(strict * 100 >= total * 91, "{strict} of {total} are judged alike");
}

/// Whether other files decide, or a variable or name that the test there gives by other means.
fn is_beyond_one_document(document: &str, message: &str) -> bool {
    let extends_a_file = document.contains("extends") && document.contains("file: ");
    document.lines().any(|line| line.starts_with("include:"))
        || extends_a_file
        || document.contains("this-file-does-not-exist")
        || document.contains("%[1]") // a template that the test fills in
        || document.contains(": %")
        || message.contains("project name must not be empty")
}

#[test]
fn layers_are_laid_over_each_other_as_compose_go_does() {
    let name = "layers_are_laid_over_each_other_as_compose_go_does";
    let Some(dir) = conformance(name) else { return };
    let index = json(&dir.join("compose-go-embedded/INDEX.json"));
    let (mut right, mut total) = (0, 0);
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
        total += 1;
        let merged = normalised(&[layer("base.yaml"), layer("override.yaml")]);
        let expected = normalised(&[layer("expected.yaml")]);
        if merged.0 == expected.0 && merged.0.is_some() {
            right += 1;
        } else {
            println!("not alike: {path} {merged:?}\n  expected {expected:?}");
        }
    }
    println!("compose-go merges: {right} of {total}");
    assert!(right == total, "{right} of {total} merges are alike");
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
