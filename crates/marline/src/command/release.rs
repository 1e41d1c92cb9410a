//! `marline release`: what was cut, what is in it, and how two of them differ.
//!
//! Manifests are read where they lie: the store itself belongs to the conductor, which may be
//! cutting a release at this moment.

use std::fs;
use std::io;

use anyhow::Context as _;
use deploy::Manifest;
use deploy::release::{ReleaseDiff, diff};
use explain::{Standing, words};
use jiff::Timestamp;
use journal::view::Release;
use journal::{ReleaseId, ServiceName, View};
use serde_json::json;

use super::timeline::{clean, moment, one_line, paint, sign, tell};
use crate::cli::{Global, ReleaseCommand};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// How many files of each kind a comparison names.
const FILES_NAMED: usize = 30;

/// Lists, shows or compares releases.
pub fn run(command: &ReleaseCommand, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    match command {
        ReleaseCommand::List => list(&here, &view),
        ReleaseCommand::Show { release } => show(&here, &view, release),
        ReleaseCommand::Diff { from, to } => compare(&here, &view, from, to),
    }
}

fn list(here: &Here, view: &View) -> Outcome {
    if here.json {
        let all: Vec<_> =
            view.releases.iter().rev().map(|(id, it)| json_of(id, it, view)).collect();
        tell(&format!("{}\n", json!(all)))?;
        return Ok(Exit::Done);
    }
    if view.releases.is_empty() {
        tell("  no release yet\n")?;
        eprintln!("  a commit that passes the gate becomes one: marline up");
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let mut told = String::new();
    for (id, release) in view.releases.iter().rev() {
        let runs = runs_for(id, view);
        let standing = if runs.is_empty() { Standing::Off } else { Standing::Ok };
        let state = match (runs.as_slice(), release.is_removed) {
            ([], true) => "files removed".to_owned(),
            ([], false) => String::new(),
            (services, _) => format!("runs {}", words::list(services)),
        };
        told += &format!(
            "  {} {}  {}  {:<40}  {:>7}  {:>12}  {}\n",
            sign(here.colour, standing),
            paint(here.colour, "1", id.short()),
            release.commit.short(),
            one_line(subject(release, view), 40),
            words::bytes(release.bytes),
            words::relative(release.at, now),
            clean(&state),
        );
    }
    tell(&told)?;
    eprintln!("  more: marline release show RELEASE · go back: marline rollback --to RELEASE");
    Ok(Exit::Done)
}

fn show(here: &Here, view: &View, name: &str) -> Outcome {
    let (id, release) = find(view, name)?;
    let manifest = if release.is_removed { None } else { Some(manifest(here, id)?) };
    if here.json {
        let mut value = json_of(id, release, view);
        value["manifest"] = json!(manifest);
        tell(&format!("{value}\n"))?;
        return Ok(Exit::Done);
    }
    let mut told = format!("release {}\n", paint(here.colour, "1", id.as_str()));
    let mut row = |name: &str, words: String| told += &format!("  {name:<9} {}\n", clean(&words));
    let commit = view.commits.get(&release.commit);
    row("commit", format!("{} “{}”", release.commit.short(), subject(release, view)));
    if let Some(commit) = commit {
        row("author", commit.author.clone());
    }
    row(
        "cut",
        format!("{} ({})", moment(release.at), words::relative(release.at, Timestamp::now())),
    );
    let names: Vec<&str> = release.services.iter().map(ServiceName::as_str).collect();
    row("services", words::list(&names));
    row(
        "runs",
        match runs_for(id, view).as_slice() {
            [] => "nowhere at the moment".to_owned(),
            services => words::list(services),
        },
    );
    let files = words::count(u64::from(release.files), "file", "files");
    row("size", format!("{files}, {}", words::bytes(release.bytes)));
    match &manifest {
        Some(manifest) => {
            let runs: Vec<String> = manifest.runs.iter().map(|run| format!("run {run}")).collect();
            if !runs.is_empty() {
                row("tested by", words::list(&runs));
            }
            row(
                "files",
                here.state.releases().join(id.as_str()).join("files").display().to_string(),
            );
        }
        None => row("files", "removed".to_owned()),
    }
    tell(&told)?;
    Ok(Exit::Done)
}

fn compare(here: &Here, view: &View, from: &str, to: &str) -> Outcome {
    let (older, newer) = (find(view, from)?, find(view, to)?);
    for (id, release) in [older, newer] {
        if release.is_removed {
            let short = id.short();
            return Err(Failure::new(
                Exit::NotFound,
                format!("the files of release {short} are gone"),
            )
            .help(format!(
                "compare the commits: `git diff {} {}`",
                older.1.commit.short(),
                newer.1.commit.short()
            )));
        }
    }
    let found = diff(&manifest(here, older.0)?, &manifest(here, newer.0)?);
    if here.json {
        let value = json!({
            "from": older.0,
            "to": newer.0,
            "added": found.added,
            "removed": found.removed,
            "changed": found.changed,
            "environment": found.environment,
        });
        tell(&format!("{value}\n"))?;
        return Ok(Exit::Done);
    }
    tell(&difference(&found, here.colour))?;
    let (from, to) = (older.1.commit.short(), newer.1.commit.short());
    if !found.is_empty() && from != to {
        eprintln!("  line by line: git diff {from} {to}");
    }
    Ok(Exit::Done)
}

fn difference(found: &ReleaseDiff, colour: bool) -> String {
    if found.is_empty() {
        return "  nothing differs\n".to_owned();
    }
    let mut told = String::new();
    let kinds = [
        ("+", "32", "added", &found.added),
        ("–", "31", "removed", &found.removed),
        ("~", "33", "changed", &found.changed),
    ];
    for (sign, code, word, paths) in kinds {
        for path in paths.iter().take(FILES_NAMED) {
            told += &format!("  {} {}\n", paint(colour, code, sign), clean(path));
        }
        if paths.len() > FILES_NAMED {
            told += &format!("    and {} more {word}\n", paths.len() - FILES_NAMED);
        }
    }
    for (service, keys) in &found.environment {
        let keys = words::list(keys);
        told += &clean(&format!("  ~ environment of {service}: {keys}"));
        told.push('\n');
    }
    told
}

/// Finds a release by the beginning of its id or of its commit.
fn find<'a>(view: &'a View, name: &str) -> Result<(&'a ReleaseId, &'a Release), Failure> {
    let name = name.trim();
    let fitting: Vec<_> = view
        .releases
        .iter()
        .filter(|_| !name.is_empty())
        .filter(|(id, it)| id.as_str().starts_with(name) || it.commit.as_str().starts_with(name))
        .collect();
    match fitting.as_slice() {
        [one] => Ok(*one),
        [] => {
            Err(Failure::new(Exit::NotFound, format!("no release begins with `{}`", clean(name)))
                .help("`marline release list` lists them"))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|(id, _)| id.short()).collect();
            let text = format!("`{}` fits {} releases", clean(name), several.len());
            Err(Failure::new(Exit::Usage, text)
                .help(format!("they are {}; write more of its name", words::list(&ids))))
        }
    }
}

fn manifest(here: &Here, release: &ReleaseId) -> Result<Manifest, Failure> {
    let path = here.state.releases().join(release.as_str()).join("manifest.json");
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("the files of release {} are gone", release.short());
            return Err(Failure::new(Exit::NotFound, text)
                .help("deploy its commit again: `marline deploy`"));
        }
        read => read.with_context(|| format!("read {}", path.display()))?,
    };
    Ok(serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?)
}

/// Returns the services in which a release has traffic.
fn runs_for<'a>(release: &ReleaseId, view: &'a View) -> Vec<&'a str> {
    let has_traffic = |service: &journal::view::Service| {
        service.release.as_ref() == Some(release)
            || service.weights.iter().any(|it| it.release == *release && it.basis_points > 0)
    };
    let services = view.services.iter().filter(|(_, service)| has_traffic(service));
    services.map(|(name, _)| name.as_str()).collect()
}

fn subject<'a>(release: &Release, view: &'a View) -> &'a str {
    view.commits.get(&release.commit).map_or("", |commit| commit.subject.as_str())
}

fn json_of(id: &ReleaseId, release: &Release, view: &View) -> serde_json::Value {
    json!({
        "release": id,
        "commit": release.commit,
        "subject": subject(release, view),
        "cut": release.at,
        "services": release.services,
        "files": release.files,
        "bytes": release.bytes,
        "removed": release.is_removed,
        "runs": runs_for(id, view),
    })
}
