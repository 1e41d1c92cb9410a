//! Files that a repository does not have yet, written from what was found in it.

use std::collections::BTreeSet;

use super::{Certainty, Detected, Detection, What};

/// A service to run where no Compose file says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestedService {
    /// Its name.
    pub name: String,
    /// Its directory, from the top of the repository; empty for the top itself.
    pub directory: String,
    /// What starts it, for a shell.
    pub command: String,
    /// What must be done once for each release before.
    pub before: Vec<String>,
    /// The port it is published at; `None` for a worker.
    pub port: Option<u16>,
    /// The path that tells its health.
    pub health: Option<String>,
    /// The file that says so.
    pub from: String,
    /// How sure it is.
    pub certainty: Certainty,
}

impl Detection {
    /// Returns the services to run: the lines of the Procfile, or else what each directory starts.
    ///
    /// A `release` line of the Procfile runs before the others, once for each release.
    pub fn services(&self) -> Vec<SuggestedService> {
        let top = self.found.iter().find(|found| found.directory.is_empty());
        let build = |found: &Detected| found.build.iter().map(|build| build.text.clone()).collect();
        if !self.procfile.is_empty() {
            let mut before: Vec<String> = top.map(build).unwrap_or_default();
            let release = self.procfile.iter().filter(|(name, _)| name == "release");
            before.extend(release.map(|(_, command)| command.clone()));
            let lines = self.procfile.iter().filter(|(name, _)| name != "release");
            return lines
                .map(|(name, command)| {
                    let is_web = name == "web";
                    let port = top.and_then(|top| top.port.as_ref()).map_or(8080, |port| port.port);
                    let health = top.and_then(|top| top.health.as_ref());
                    SuggestedService {
                        name: name.clone(),
                        directory: String::new(),
                        command: command.clone(),
                        before: before.clone(),
                        port: is_web.then_some(port),
                        health: health.filter(|_| is_web).map(|health| health.text.clone()),
                        from: "Procfile".into(),
                        certainty: Certainty::Certain,
                    }
                })
                .collect();
        }
        let mut seen = BTreeSet::new();
        let mut names = BTreeSet::new();
        let startable = self.found.iter().filter_map(|found| Some((found, found.start.as_ref()?)));
        startable
            .filter(|(found, _)| seen.insert(&found.directory))
            .map(|(found, start)| {
                let base = service_name(found);
                let mut name = base.clone();
                let mut number = 1;
                while !names.insert(name.clone()) {
                    number += 1;
                    name = format!("{base}-{number}");
                }
                SuggestedService {
                    name,
                    directory: found.directory.clone(),
                    command: start.text.clone(),
                    before: build(found),
                    port: found.port.as_ref().map(|port| port.port),
                    health: found.health.as_ref().map(|health| health.text.clone()),
                    from: start.from.clone(),
                    certainty: start.certainty,
                }
            })
            .collect()
    }

    /// Returns a workflow that builds and tests what was found; `None` when nothing has a test.
    pub fn workflow(&self) -> Option<String> {
        let tested: Vec<(&Detected, &str)> = self
            .found
            .iter()
            .filter_map(|found| Some((found, found.test.as_ref()?.text.as_str())))
            .collect();
        if tested.is_empty() {
            return None;
        }
        let mut text = String::from("name: ci\non: [push, workflow_dispatch]\njobs:\n");
        let mut names = BTreeSet::new();
        for (found, test) in tested {
            let base = match found.directory.as_str() {
                "" => "test".to_owned(),
                directory => format!("test-{}", name_of(directory)),
            };
            let tool = format!("{base}-{}", name_of(&found.what.to_string()));
            let name = if names.insert(base.clone()) { base } else { tool };
            text.push_str(&format!("  {name}:\n    runs-on: ubuntu-latest\n"));
            if !found.directory.is_empty() {
                let directory = quoted(&found.directory);
                text.push_str("    defaults:\n      run:\n");
                text.push_str(&format!("        working-directory: {directory}\n"));
            }
            text.push_str("    steps:\n      - uses: actions/checkout@v4\n");
            // What tests compile themselves needs no build of its own before them.
            let compiles = matches!(
                found.what,
                What::Cargo | What::Go | What::Dotnet | What::Maven | What::Gradle
            );
            if let Some(build) = found.build.as_ref().filter(|_| !compiles) {
                text.push_str(&format!(
                    "      - name: Prepare\n        run: {}\n",
                    quoted(&build.text)
                ));
            }
            text.push_str(&format!("      - name: Test\n        run: {}\n", quoted(test)));
        }
        Some(text)
    }
}

/// Returns a Compose file that runs the services; `None` when there is none to run.
pub fn suggested_compose(detection: &Detection) -> Option<String> {
    let services = detection.services();
    if services.is_empty() {
        return None;
    }
    let mut text = String::from("services:\n");
    for service in services {
        let context = if service.directory.is_empty() { "." } else { &service.directory };
        text.push_str(&format!("  {}:\n    build: {}\n", service.name, quoted(&escaped(context))));
        text.push_str(&format!("    command: {}\n", command_list(&service.command)));
        if !service.before.is_empty() {
            text.push_str("    pre_start:\n");
            for command in &service.before {
                text.push_str(&format!("      - command: {}\n", command_list(command)));
            }
        }
        if let Some(port) = service.port {
            text.push_str(&format!(
                "    ports:\n      - {{target: {port}, published: \"{port}\", app_protocol: http}}\n"
            ));
            if let Some(health) = &service.health {
                text.push_str(&format!("    x-marline: {{http: {}}}\n", quoted(&escaped(health))));
            }
        }
    }
    Some(text)
}

/// A command as a YAML list: its words, or a shell where it needs one.
fn command_list(command: &str) -> String {
    let needs_shell = command
        .contains(['$', '&', '|', ';', '<', '>', '*', '?', '(', '`', '~', '#', '='])
        || command.starts_with("exec ");
    let words = match crate::compose::shell_words(command) {
        Ok(words) if !needs_shell && !words.is_empty() => words,
        _ => vec!["/bin/sh".into(), "-c".into(), command.into()],
    };
    let words: Vec<String> = words.iter().map(|word| json(&escaped(word))).collect();
    format!("[{}]", words.join(", "))
}

/// A text in which Compose sees no variable.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// A text as YAML takes it for a text: bare where that is safe.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ./_-=".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.' || c == '/');
    if begins && text.chars().all(is_plain) && text.trim() == text && text.contains(['.', '/', ' '])
    {
        text.to_owned()
    } else {
        json(text)
    }
}

fn service_name(found: &Detected) -> String {
    match found.directory.rsplit('/').next() {
        Some(name) if !name.is_empty() => name_of(name),
        _ if found.port.is_some() => "web".into(),
        _ => "app".into(),
    }
}

/// A text as a name of jobs and services.
fn name_of(text: &str) -> String {
    let name: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well { name } else { format!("app-{name}").trim_end_matches('-').to_owned() }
}

/// A word as a shell takes it.
pub(super) fn shell_quoted(word: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "/._-+=:,@%$".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
