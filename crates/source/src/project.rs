//! What a repository is, seen from its files: languages, frameworks, and what to run.
//!
//! [`detect`] is a pure function of a [`Listing`]. It names the file behind everything it says and
//! how sure it is, so that nothing is passed off as known that was guessed.

mod detectors;
mod listing;
mod sources;
mod suggest;

use std::fmt;

use serde::Serialize;

pub use listing::{Directory, Files, Listing};
pub use suggest::{SuggestedService, suggested_compose};

/// What a repository is, seen from its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// The workflows under `.github/workflows`.
    pub workflows: Vec<String>,
    /// The Compose files that make up the project, the base first.
    pub compose: Vec<String>,
    /// The Dockerfiles.
    pub dockerfiles: Vec<Dockerfile>,
    /// The lines of the `Procfile`: a name and a shell command each.
    pub procfile: Vec<(String, String)>,
    /// What is built here, most telling first.
    pub found: Vec<Detected>,
}

/// One thing that is built in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detected {
    /// The tool that builds or runs it.
    pub what: What,
    /// The framework it uses, if one was recognised: `axum`, `Django`.
    pub framework: Option<String>,
    /// The file that gave it away.
    pub from: String,
    /// Its directory, from the top of the repository; empty for the top itself.
    pub directory: String,
    /// What starts it.
    pub start: Option<Suggestion>,
    /// What tests it.
    pub test: Option<Suggestion>,
    /// What must be done once before it can start.
    pub build: Option<Suggestion>,
    /// The port it listens on.
    pub port: Option<PortGuess>,
    /// The path that tells its health over HTTP.
    pub health: Option<Suggestion>,
}

impl Detected {
    /// Says what it is in a few words: `Rust web service (axum)`.
    pub fn title(&self) -> String {
        let kind = match (self.what, &self.start, &self.port) {
            (What::StaticSite, ..) => return "static site".into(),
            (_, _, Some(_)) => "web service",
            (_, Some(_), None) => "program",
            (_, None, None) => "library",
        };
        match &self.framework {
            Some(framework) => format!("{} {kind} ({framework})", self.what),
            None => format!("{} {kind}", self.what),
        }
    }
}

/// A command or path that was worked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The command, for a shell, or the path.
    pub text: String,
    /// The file it comes from.
    pub from: String,
    /// How sure it is.
    pub certainty: Certainty,
}

/// A port that something listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortGuess {
    /// The port.
    pub port: u16,
    /// Where it was seen: a file, or the habit of a framework.
    pub from: String,
    /// How sure it is.
    pub certainty: Certainty,
    /// Whether the program takes another from the variable `PORT`, as far as could be seen.
    pub reads_variable: bool,
}

/// How sure something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// A guess; ask before relying on it.
    Unsure,
    /// The usual way of the tool or framework.
    Likely,
    /// Written down in a file.
    Certain,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsure => "unsure",
            Self::Likely => "likely",
            Self::Certain => "certain",
        })
    }
}

/// The tool that builds or runs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Rust with Cargo.
    Cargo,
    /// Deno.
    Deno,
    /// Node.js or Bun, with npm, pnpm, Yarn or Bun.
    Npm,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Java with Maven.
    Maven,
    /// Java or Kotlin with Gradle.
    Gradle,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// Elixir with Mix.
    Elixir,
    /// .NET.
    Dotnet,
    /// Files that a web server hands out as they are.
    StaticSite,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cargo => "Rust",
            Self::Deno => "Deno",
            Self::Npm => "Node",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::Maven => "Java (Maven)",
            Self::Gradle => "Java (Gradle)",
            Self::Ruby => "Ruby",
            Self::Php => "PHP",
            Self::Elixir => "Elixir",
            Self::Dotnet => ".NET",
            Self::StaticSite => "static",
        })
    }
}

/// What a Dockerfile says about running the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dockerfile {
    /// Its path.
    pub path: String,
    /// The first TCP port it exposes.
    pub port: Option<u16>,
    /// What its last stage runs: entrypoint and command in one.
    pub command: Option<String>,
}

/// Works out what a repository is.
pub fn detect(listing: &dyn Listing) -> Detection {
    let paths = listing.paths();
    let is_workflow = |path: &&String| {
        path.strip_prefix(".github/workflows/").is_some_and(|name| {
            !name.contains('/') && [".yml", ".yaml"].iter().any(|end| name.ends_with(end))
        })
    };
    let compose = crate::compose::default_files(|name| paths.contains(name));
    let dockerfiles = detectors::dockerfiles(listing);
    let mut found = Vec::new();
    for directory in detectors::directories(listing) {
        detectors::detect_in(listing, &directory, &dockerfiles, &mut found);
    }
    Detection {
        workflows: paths.iter().filter(is_workflow).cloned().collect(),
        compose: compose.into_iter().map(str::to_owned).collect(),
        procfile: listing.read("Procfile").map(|text| procfile(&text)).unwrap_or_default(),
        dockerfiles,
        found,
    }
}

/// Reads the lines `name: command` of a Procfile.
fn procfile(text: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, command)| (name.trim(), command.trim()))
        .filter(|(name, command)| {
            !name.is_empty() && name.chars().all(is_name) && !command.is_empty()
        })
        .map(|(name, command)| (name.to_owned(), command.to_owned()))
        .collect()
}
