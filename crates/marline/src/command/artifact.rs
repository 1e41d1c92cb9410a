//! `marline artifact`: files that runs kept.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use explain::{Standing, words};
use jiff::Timestamp;
use journal::{Actor, Fact, RunId};
use pipeline::results::{Artifact, Store};
use serde_json::json;

use super::run::account;
use super::timeline::{clean, paint, sign, tell};
use crate::cli::{ArtifactCommand, Global};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Lists, fetches or removes artifacts.
pub async fn run(command: &ArtifactCommand, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    match command {
        ArtifactCommand::List { run } => list(&here, *run),
        ArtifactCommand::Download { name, run, to } => {
            let to = to.clone().unwrap_or_else(|| PathBuf::from(name));
            download(&here, name, *run, &global.directory.join(to))
        }
        ArtifactCommand::Rm { name, run, dry_run } => remove(&here, name, *run, *dry_run).await,
    }
}

/// Opens the store of a repository; none if nothing was ever kept there.
pub(super) fn store(here: &Here) -> anyhow::Result<Option<Store>> {
    if !here.state.artifacts().is_dir() {
        return Ok(None);
    }
    Store::open(here.state.artifacts()).context("open the store of artifacts").map(Some)
}

fn list(here: &Here, run: Option<u64>) -> Outcome {
    let mut artifacts = store(here)?.map(|store| store.every_artifact()).unwrap_or_default();
    artifacts.retain(|artifact| run.is_none_or(|run| artifact.run == run));
    if here.json {
        tell(&format!("{}\n", json!(artifacts)))?;
        return Ok(Exit::Done);
    }
    if artifacts.is_empty() {
        tell("  no run kept anything\n")?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let width = artifacts.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    let mut told = String::new();
    for one in &artifacts {
        let kept = format!("kept {}", words::relative(one.created, now));
        told += &format!(
            "  run {:<4} {:<width$}  {}, {}  {}\n",
            one.run,
            clean(&one.name),
            words::count(u64::from(one.files), "file", "files"),
            words::bytes(one.bytes),
            paint(here.colour, "2", &kept),
        );
    }
    tell(&told)?;
    Ok(Exit::Done)
}

fn find(here: &Here, name: &str, run: Option<u64>) -> Result<(Store, Artifact), Failure> {
    let found = store(here)?.and_then(|store| {
        let mut artifacts = store.every_artifact().into_iter();
        let found = artifacts.find(|one| one.name == name && run.is_none_or(|run| one.run == run));
        found.map(|found| (store, found))
    });
    found.ok_or_else(|| {
        let who =
            run.map_or_else(|| "no run kept".to_owned(), |run| format!("run {run} did not keep"));
        let text = format!("{who} `{}`", clean(name));
        Failure::new(Exit::NotFound, text).help("`marline artifact list` lists what there is")
    })
}

fn download(here: &Here, name: &str, run: Option<u64>, to: &Path) -> Outcome {
    let (store, artifact) = find(here, name, run)?;
    std::fs::create_dir_all(to).with_context(|| format!("make the directory {}", to.display()))?;
    let to = std::fs::canonicalize(to).context("find the directory")?;
    let files = store
        .unpack(&artifact, &to)
        .map_err(|error| anyhow::anyhow!("put `{name}` into {}: {error}", to.display()))?;
    if here.json {
        tell(&format!("{}\n", json!({ "run": artifact.run, "files": files, "directory": to })))?;
        return Ok(Exit::Done);
    }
    let sign = sign(here.colour, Standing::Ok);
    let count = words::count(u64::from(files), "file", "files");
    tell(&format!("  {sign} {count} of run {} are in {}\n", artifact.run, to.display()))?;
    Ok(Exit::Done)
}

async fn remove(here: &Here, name: &str, run: Option<u64>, dry_run: bool) -> Outcome {
    let (store, artifact) = find(here, name, run)?;
    if dry_run {
        tell(&format!("  would remove {} of run {}\n", clean(name), artifact.run))?;
        return Ok(Exit::Done);
    }
    // The journal first: without it nothing may change.
    let journal = here.journal()?;
    let fact = Fact::ArtifactRemoved { run: RunId(artifact.run), name: artifact.name.clone() };
    journal.append(Actor::Person(account()), None, fact).await?;
    store.remove_artifact(&artifact).context("remove the artifact")?;
    if here.json {
        tell(&format!("{}\n", json!({ "removed": name, "run": artifact.run })))?;
        return Ok(Exit::Done);
    }
    let sign = sign(here.colour, Standing::Ok);
    tell(&format!("  {sign} {} of run {} is removed\n", clean(name), artifact.run))?;
    eprintln!("  there is no way back but to run again: marline run");
    Ok(Exit::Done)
}
