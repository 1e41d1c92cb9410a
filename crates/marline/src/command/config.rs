//! `marline config`: the Compose model as understood.

use std::path::{Path, PathBuf};

use source::project::{self, Directory};
use source::render;

use super::timeline::{clean, tell};
use crate::cli::Global;
use crate::conductor::spec::{Specifications, name_of, specify};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::{Here, git_failure};
use crate::tree::{Tree, Written};

/// Prints the model, variables filled in and files laid over each other; findings go beside it.
pub fn run(global: &Global, files: &[PathBuf]) -> Outcome {
    let here = Here::find(global)?;
    let found = if files.is_empty() { read(&here)? } else { read_these(&here, global, files)? };
    let is_wrong = found.findings.iter().any(source::Finding::is_error);
    if !found.findings.is_empty() {
        // A suggested file is nowhere but here.
        let text = |path: &str| {
            let written = found.files.iter().find(|file| file.path == path);
            written.map(|file| file.text.clone()).or_else(|| here.text(path))
        };
        eprint!("{}", render::text(&found.findings, here.look(), text));
    }
    let Some(project) = &found.project else {
        return Err(if is_wrong {
            let summary = render::summary(&found.findings);
            Failure::new(Exit::Failed, format!("the Compose file cannot be used: {summary}"))
        } else {
            Failure::new(
                Exit::NotFound,
                "there is no Compose file, and nothing that could be started was found",
            )
            .help("describe a service in `compose.yaml`, or how to start it in a `Procfile`")
        });
    };
    let model = project.normalised();
    if here.json {
        tell(&format!("{}\n", serde_json::to_string_pretty(&model)?))?;
    } else {
        tell(&yaml(&model))?;
    }
    if found.is_detected {
        eprintln!("no Compose file: this is what was worked out from the repository");
        eprintln!("  keep it: marline config > compose.yaml");
    }
    Ok(if is_wrong { Exit::Failed } else { Exit::Done })
}

/// Reads the services of the work tree, from its Compose files or from what can be detected.
pub(super) fn read(here: &Here) -> Result<Specifications, Failure> {
    let root = here.repository.root();
    let written = Tree::of_work_tree(&here.repository).compose().map_err(git_failure)?;
    let detection =
        || Directory::walk(root).map(|files| project::detect(&files)).unwrap_or_default();
    let text = |path: &str| here.text(path);
    Ok(specify(&name_of(root), written, detection, &text, &[]))
}

/// Reads the services of files that somebody names, each laid over the one before.
fn read_these(here: &Here, global: &Global, files: &[PathBuf]) -> Result<Specifications, Failure> {
    let root = here.repository.root();
    let mut written = Vec::new();
    for file in files {
        let there = global.directory.join(file);
        let named = file.display();
        let there = there.canonicalize().map_err(|error| {
            Failure::new(Exit::NotFound, format!("could not read {named}: {error}"))
        })?;
        let inside = there.strip_prefix(root.canonicalize().as_deref().unwrap_or(root));
        let inside = inside.ok().and_then(Path::to_str).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{named} lies outside of the repository"))
                .help("a release holds what stands in its commit; move the file into it")
        })?;
        let bytes = std::fs::read(&there).map_err(|error| {
            Failure::new(Exit::NotFound, format!("could not read {named}: {error}"))
        })?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        written.push(Written { path: inside.to_owned(), text });
    }
    let text = |path: &str| here.text(path);
    Ok(specify(&name_of(root), written, Default::default, &text, &[]))
}

/// Writes a value as YAML that every reader takes the same way.
fn yaml(value: &serde_json::Value) -> String {
    let mut text = String::new();
    match value {
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => block(value, 0, &mut text),
        scalar => text = format!("{}\n", scalar_text(scalar)),
    }
    text
}

fn block(value: &serde_json::Value, level: usize, text: &mut String) {
    let indent = "  ".repeat(level);
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                *text += &format!("{indent}{}:", quoted(key));
                beside(value, level + 1, text);
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                match item {
                    serde_json::Value::Object(entries) if !entries.is_empty() => {
                        // The first entry stands behind the dash.
                        let mut inner = String::new();
                        block(item, level + 1, &mut inner);
                        *text += &format!("{indent}- {}", inner.trim_start());
                    }
                    item => {
                        *text += &format!("{indent}-");
                        beside(item, level + 1, text);
                    }
                }
            }
        }
        scalar => *text += &format!("{indent}{}\n", scalar_text(scalar)),
    }
}

/// Writes what stands behind a key or a dash: a scalar beside it, the rest below.
fn beside(value: &serde_json::Value, level: usize, text: &mut String) {
    match value {
        serde_json::Value::Object(entries) if !entries.is_empty() => {
            text.push('\n');
            block(value, level, text);
        }
        serde_json::Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, level, text);
        }
        scalar => *text += &format!(" {}\n", scalar_text(scalar)),
    }
}

fn scalar_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Object(_) => "{}".to_owned(),
        serde_json::Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// Writes a text so that it stays a text: bare only where nothing else can be read into it.
fn quoted(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_special = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if starts_well && !is_special && text.chars().all(is_word) {
        return text.to_owned();
    }
    if clean(text) != text || text.contains(['\\', '\t']) {
        // Double quotes of YAML read every escape of JSON.
        return escaped(text);
    }
    format!("\"{}\"", text.replace('"', "\\\""))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => escaped += "\\\"",
            '\\' => escaped += "\\\\",
            '\n' => escaped += "\\n",
            '\t' => escaped += "\\t",
            c if (c as u32) < 0x1_0000 && clean(&c.to_string()).is_empty() => {
                escaped += &format!("\\u{:04X}", c as u32);
            }
            c => escaped.push(c),
        }
    }
    escaped.push('"');
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_model_reads_as_yaml() {
        let model = json!({
            "name": "shop",
            "services": { "web": {
                "command": ["python3", "shop.py", "--port=80"],
                "environment": { "MODE": "on", "EMPTY": null, "COUNT": "1" },
                "ports": [{ "target": 80, "published": "8000" }],
                "profiles": [],
            } },
        });
        insta::assert_snapshot!(yaml(&model), @r#"
        name: shop
        services:
          web:
            command:
              - python3
              - shop.py
              - "--port=80"
            environment:
              MODE: "on"
              EMPTY: null
              COUNT: "1"
            ports:
              - target: 80
                published: "8000"
            profiles: []
        "#);
    }

    #[test]
    fn a_text_stays_a_text_and_cannot_command_the_terminal() {
        assert_eq!(quoted("no"), "\"no\"");
        assert_eq!(quoted("1e3"), "\"1e3\"");
        assert_eq!(quoted("a: b"), "\"a: b\"");
        assert_eq!(quoted("a\u{1b}[2Jb\n"), "\"a\\u001B[2Jb\\n\"");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "\\PC{0,30}|[\\x00-\\x7f]{0,20}") {
            let model = json!({ "labels": [{ "label": &text }] });
            let options = source::yaml::Options::default();
            let (nodes, findings) = source::yaml::read_all("c.yaml", &yaml(&model), &options);
            proptest::prop_assert!(findings.is_empty(), "{findings:?}");
            let items = nodes[0].get("labels").and_then(|labels| labels.as_sequence());
            let read = items.and_then(|items| items[0].get("label")?.as_str());
            proptest::prop_assert_eq!(read, Some(text.as_str()));
        }
    }
}
