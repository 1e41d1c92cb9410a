//! The variables a project is read with, and the files that set them.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::ComposeFile;
use super::interpolate::{Room, fill};
use crate::yaml::{LineIndex, Node};
use crate::{Finding, Place, Span};

/// The variables a project is read with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    directory: Option<String>,
}

impl Environment {
    /// Returns the given variables.
    pub fn new<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(key, value)| (key.into(), value.into()));
        Self { variables: variables.collect(), directory: None }
    }

    /// Returns the variables of this process; those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        Self::new(
            std::env::vars_os().filter_map(|(key, value)| {
                Some((key.into_string().ok()?, value.into_string().ok()?))
            }),
        )
    }

    /// Names the directory of the project, whose name is the project's unless another is given.
    pub fn in_directory(mut self, name: impl Into<String>) -> Self {
        self.directory = Some(name.into());
        self
    }

    /// Adds what an `.env` file says; a variable that is set already stays as it is.
    pub fn with_env_file(mut self, path: &str, text: &str, findings: &mut Vec<Finding>) -> Self {
        for (key, value) in read_env_file(path, text, &self, findings) {
            if let Some(value) = value {
                self.variables.entry(key).or_insert(value);
            }
        }
        self
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.variables.insert(name.into(), value.into());
    }
}

/// Reads a file of `NAME=value` lines, in the order written; `NAME` alone has no value.
///
/// Values may be quoted; single quotes keep everything as it is, elsewhere variables are filled in
/// from the lines before and then from `environment`.
pub fn read_env_file(
    path: &str,
    text: &str,
    environment: &Environment,
    findings: &mut Vec<Finding>,
) -> IndexMap<String, Option<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values: IndexMap<String, Option<String>> = IndexMap::new();
    let mut known = environment.clone();
    let mut room = Room::default();
    let index = LineIndex::new(text);
    let mut next = 0;
    let mut lines = text.split_inclusive('\n').map(|line| {
        let start = next;
        next += line.len();
        (
            line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line)),
            start,
        )
    });
    while let Some((line, start)) = lines.next() {
        let place = |line: &str| {
            let end = index.position(text, start + line.len());
            Place::at(path, Span::new(index.position(text, start), end))
        };
        // Blanks at the end belong to a quote that goes on in the next line.
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed).trim_start();
        let split = assignment.find(['=', ':']);
        let (name, rest) = match split {
            Some(at) => (assignment[..at].trim_end(), Some(assignment[at + 1..].trim_start())),
            None => (assignment.trim_end(), None),
        };
        let is_name = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            findings.push(
                Finding::error("env-file-line", "this is no `NAME=value`", place(line))
                    .label("the name has a character that no name may have")
                    .help("write `NAME=value`, and comments after `#`"),
            );
            continue;
        }
        let Some(rest) = rest else {
            values.insert(name.to_owned(), known.get(name).map(str::to_owned));
            continue;
        };
        let value = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut body = rest[1..].to_owned();
                let mut escaped = false;
                let mut closed = closing_quote(&body, 0, quote, &mut escaped);
                while closed.is_none() {
                    let Some((more, _)) = lines.next() else { break };
                    let from = body.len();
                    body.push('\n');
                    body.push_str(more);
                    closed = closing_quote(&body, from, quote, &mut escaped);
                }
                let Some(end) = closed else {
                    findings.push(
                        Finding::error("env-file-line", "the quote is never closed", place(line))
                            .help(format!("end the value of `{name}` with {quote}")),
                    );
                    continue;
                };
                body.truncate(end);
                if quote == '\'' { Ok(body) } else { fill(&unescape(&body), &known, &mut room) }
            }
            _ => {
                let comment = rest.find(" #").or_else(|| rest.find("\t#"));
                let bare = comment.map_or(rest, |at| &rest[..at]).trim_end();
                let bare = if bare.starts_with('#') { "" } else { bare };
                fill(bare, &known, &mut room)
            }
        };
        match value {
            Ok(value) => {
                // What the caller gave wins over the file, also inside later values.
                if environment.get(name).is_none() {
                    known.set(name, value.clone());
                }
                values.insert(name.to_owned(), Some(value));
            }
            Err(message) => findings.push(Finding::error("env-file-line", message, place(line))),
        }
    }
    values
}

/// Reads a file of `NAME=value` lines in which everything behind `=` is the value (`format: raw`).
///
/// A line without `=`, an empty one, and one that begins with `#` say nothing, as for
/// `docker run --env-file`.
pub(super) fn read_raw_env_file(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    })
}

/// Looks for the closing quote from a byte on; `escaped` tells one look what the last one left.
fn closing_quote(body: &str, from: usize, quote: char, escaped: &mut bool) -> Option<usize> {
    for (at, character) in body[from..].char_indices() {
        match character {
            _ if *escaped => *escaped = false,
            '\\' if quote == '"' => *escaped = true,
            _ if character == quote => return Some(from + at),
            _ => {}
        }
    }
    None
}

fn unescape(body: &str) -> String {
    let mut out = String::new();
    let mut characters = body.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(other @ ('"' | '\\' | '\'')) => out.push(other),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Finds the project's name and the variables the files are read with, which include it.
pub(super) fn project_name(
    documents: &[(&ComposeFile, Node)],
    environment: &Environment,
    findings: &mut Vec<Finding>,
) -> (String, Environment) {
    let mut given = environment.clone();
    let written = documents.iter().rev().find_map(|(file, node)| Some((file, node.get("name")?)));
    let default = environment
        .get("COMPOSE_PROJECT_NAME")
        .map(str::to_owned)
        .filter(|name| !name.is_empty())
        .or_else(|| environment.directory.as_deref().map(project_name_of))
        .unwrap_or_default();
    let name = match written {
        Some((file, node)) => {
            let text = node.as_str().unwrap_or_default();
            let name =
                fill(text, environment, &mut Room::default()).unwrap_or_else(|_| text.to_owned());
            if !is_project_name(&name) && node.as_scalar().is_some() {
                let near = project_name_of(&name);
                findings.push(
                    Finding::error(
                        "compose-name",
                        format!("`{name}` cannot be the name of a project"),
                        Place::at(&file.path, node.span),
                    )
                    .why("names of a project become names of directories and routes")
                    .help(match near.as_str() {
                        "" => "use lower-case letters, digits, `-` and `_`".into(),
                        near => format!("write `{near}`"),
                    }),
                );
            }
            name
        }
        None => {
            if default.is_empty()
                && let Some((file, _)) = documents.first()
            {
                findings.push(
                    Finding::error(
                        "compose-name",
                        "the project has no name",
                        Place::file(&file.path),
                    )
                    .help("add `name: my-project` at the top of the file"),
                );
            }
            default
        }
    };
    given.set("COMPOSE_PROJECT_NAME", name.clone());
    (name, given)
}

fn is_project_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.bytes().next().is_some_and(fits) && name.bytes().all(|b| fits(b) || b == b'-' || b == b'_')
}

/// Turns the name of a directory into one a project may have; empty when nothing is left.
fn project_name_of(text: &str) -> String {
    let name: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-' || *c == '_')
        .collect();
    name.trim_start_matches(['-', '_']).to_owned()
}
