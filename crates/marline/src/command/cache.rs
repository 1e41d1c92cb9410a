//! `marline cache`: files that jobs cached.

use anyhow::Context as _;
use explain::{Standing, words};
use jiff::Timestamp;
use journal::{Actor, Fact};
use pipeline::results::Entry;
use serde_json::json;

use super::artifact::store;
use super::run::account;
use super::timeline::{clean, paint, sign, tell};
use crate::cli::{CacheCommand, Global};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Lists or removes caches.
pub async fn run(command: &CacheCommand, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    match command {
        CacheCommand::List => list(&here),
        CacheCommand::Rm { key, branch, dry_run } => {
            remove(&here, key, branch.as_deref(), *dry_run).await
        }
    }
}

/// The branch of an entry, as people name it.
fn branch(entry: &Entry) -> &str {
    entry.scope.strip_prefix("refs/heads/").unwrap_or(&entry.scope)
}

fn list(here: &Here) -> Outcome {
    let entries = store(here)?.map(|store| store.cache_entries()).unwrap_or_default();
    if here.json {
        tell(&format!("{}\n", json!(entries)))?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        tell("  nothing is cached\n")?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let width = entries.iter().map(|entry| entry.key.chars().count()).max().unwrap_or(0);
    let mut told = String::new();
    for entry in &entries {
        let saved = format!("saved {}", words::relative(entry.created, now));
        told += &format!(
            "  {:<width$}  {}  on {}  {}\n",
            clean(&entry.key),
            words::bytes(entry.bytes),
            clean(branch(entry)),
            paint(here.colour, "2", &saved),
        );
    }
    tell(&told)?;
    Ok(Exit::Done)
}

async fn remove(here: &Here, key: &str, on: Option<&str>, dry_run: bool) -> Outcome {
    let Some(store) = store(here)? else {
        return Err(Failure::new(Exit::NotFound, "nothing is cached"));
    };
    let mut entries = store.cache_entries();
    entries.retain(|entry| entry.key == key && on.is_none_or(|on| branch(entry) == on));
    if entries.is_empty() {
        let text = format!("no cache has the key `{}`", clean(key));
        return Err(Failure::new(Exit::NotFound, text).help("`marline cache list` lists them"));
    }
    let journal = here.journal()?;
    for entry in &entries {
        let on = clean(branch(entry));
        if dry_run {
            tell(&format!("  would remove {} of {on}\n", clean(key)))?;
            continue;
        }
        // The journal first: without it nothing may change.
        let fact = Fact::CacheRemoved { key: entry.key.clone(), scope: entry.scope.clone() };
        journal.append(Actor::Person(account()), None, fact).await?;
        store.remove_cache(entry).context("remove the cache")?;
        if here.json {
            tell(&format!("{}\n", json!({ "removed": entry.key, "scope": entry.scope })))?;
        } else {
            let sign = sign(here.colour, Standing::Ok);
            tell(&format!("  {sign} {} of {on} is removed\n", clean(key)))?;
        }
    }
    if !dry_run && !here.json {
        eprintln!("  the next run that asks for it makes it anew");
    }
    Ok(Exit::Done)
}
