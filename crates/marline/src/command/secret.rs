//! `marline secret`: values for jobs and services, encrypted at rest and never shown.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::Context as _;
use explain::{Standing, words};
use guard::vault::{Secret, Vault, VaultError};
use jiff::Timestamp;
use journal::{Actor, Fact};
use serde_json::json;

use super::run::account;
use super::timeline::{clean, paint, sign, tell};
use crate::cli::{Global, SecretCommand};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// The largest value.
const LARGEST: u64 = 1 << 20;

/// Sets, lists, removes or encrypts secrets anew.
pub async fn run(command: &SecretCommand, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    match command {
        SecretCommand::Set { name, scope } => set(&here, name, scope, global.no_input).await,
        SecretCommand::List => list(&here),
        SecretCommand::Rm { name } => remove(&here, name).await,
        SecretCommand::Rotate => rotate(&here),
    }
}

async fn set(here: &Here, name: &str, scope: &[String], no_input: bool) -> Outcome {
    let value = read_value(name, no_input)?;
    // The journal first: without it nothing may change.
    let journal = here.journal()?;
    let vault = Vault::open(&here.state.vault()).map_err(vault_failure)?;
    let is_new = vault.get(name).map_err(vault_failure)?.is_none();
    vault.set(name, &value, scope).map_err(vault_failure)?;
    let fact = Fact::SecretSet { name: name.to_owned(), scope: scope.to_vec() };
    journal.append(Actor::Person(account()), None, fact).await?;
    if here.json {
        tell(&format!("{}\n", json!({ "name": name, "scope": scope, "new": is_new })))?;
        return Ok(Exit::Done);
    }
    let what = if is_new { "set" } else { "has a new value" };
    tell(&format!("  {} {name} {what}, {}\n", sign(here.colour, Standing::Ok), for_whom(scope)))?;
    eprintln!(
        "  use it: `${{{{ secrets.{name} }}}}` in a workflow, `secrets: [{name}]` in Compose"
    );
    if is_new {
        eprintln!("  undo: marline secret rm {name}");
    }
    Ok(Exit::Done)
}

/// Reads the value from standard input; one line end at its end is not part of it.
fn read_value(name: &str, no_input: bool) -> Result<Secret, Failure> {
    let how = format!("pipe it in: `printf %s \"$VALUE\" | marline secret set {}`", clean(name));
    if io::stdin().is_terminal() {
        if no_input {
            return Err(Failure::new(Exit::Usage, "there is no value on standard input").help(how));
        }
        eprintln!("type the value, then Enter and Ctrl-D (it is shown as you type)");
    }
    let mut bytes = Vec::new();
    let mut input = io::stdin().lock().take(LARGEST + 1);
    input.read_to_end(&mut bytes).context("read the value from standard input")?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("the value is larger than {}", words::bytes(LARGEST));
        return Err(Failure::new(Exit::Usage, text).help("keep a key to it, not the file itself"));
    }
    let Ok(mut value) = String::from_utf8(bytes) else {
        return Err(Failure::new(Exit::Usage, "the value is not text")
            .help("encode it first: `base64 FILE | marline secret set NAME`"));
    };
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        return Err(Failure::new(Exit::Usage, "the value is empty").help(how));
    }
    Ok(Secret::new(value))
}

fn list(here: &Here) -> Outcome {
    let entries = if here.state.vault().exists() {
        Vault::open(&here.state.vault()).and_then(|vault| vault.list()).map_err(vault_failure)?
    } else {
        Vec::new()
    };
    if here.json {
        tell(&format!("{}\n", json!(entries)))?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        tell("  no secret is set\n")?;
        eprintln!("  set one: printf %s \"$VALUE\" | marline secret set NAME");
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    let mut told = String::new();
    for entry in &entries {
        let set = paint(here.colour, "2", &format!("set {}", words::relative(entry.changed, now)));
        told += &format!("  {:<width$}  {}  {set}\n", entry.name, for_whom(&entry.scope));
    }
    tell(&told)?;
    Ok(Exit::Done)
}

async fn remove(here: &Here, name: &str) -> Outcome {
    let unknown = || {
        Failure::new(Exit::NotFound, format!("no secret is called `{}`", clean(name)))
            .help("`marline secret list` lists them")
    };
    if !here.state.vault().exists() {
        return Err(unknown());
    }
    let journal = here.journal()?;
    let vault = Vault::open(&here.state.vault()).map_err(vault_failure)?;
    if !vault.remove(name).map_err(vault_failure)? {
        return Err(unknown());
    }
    let fact = Fact::SecretRemoved { name: name.to_owned() };
    journal.append(Actor::Person(account()), None, fact).await?;
    if here.json {
        tell(&format!("{}\n", json!({ "removed": name })))?;
    } else {
        tell(&format!("  {} {name} is removed\n", sign(here.colour, Standing::Ok)))?;
        eprintln!("  what runs keeps its value until it is started again: marline restart SERVICE");
    }
    Ok(Exit::Done)
}

fn rotate(here: &Here) -> Outcome {
    if !here.state.vault().exists() {
        return Err(Failure::new(Exit::NotFound, "no secret is set, so there is no key to change"));
    }
    let vault = Vault::open(&here.state.vault()).map_err(vault_failure)?;
    let count = vault.rotate().map_err(vault_failure)?;
    if here.json {
        tell(&format!("{}\n", json!({ "encrypted": count })))?;
        return Ok(Exit::Done);
    }
    let secrets = words::count(count as u64, "secret", "secrets");
    let sign = sign(here.colour, Standing::Ok);
    tell(&format!("  {sign} a new key; {secrets} encrypted with it, the old key is gone\n"))?;
    Ok(Exit::Done)
}

fn for_whom(scope: &[String]) -> String {
    match scope {
        [] => "for all that name it".to_owned(),
        scope => clean(&format!("for {}", words::list(scope))),
    }
}

fn vault_failure(error: VaultError) -> Failure {
    let (exit, help) = match &error {
        VaultError::Name { .. } => (Exit::Usage, None),
        VaultError::Open { .. } => (Exit::NotAllowed, None),
        VaultError::Identity { .. } | VaultError::Decrypt { .. } => {
            let help = "bring the file `identity` back from a backup, or remove the vault and set the secrets again";
            (Exit::Failed, Some(help.to_owned()))
        }
        VaultError::Io { .. } | VaultError::Encrypt { .. } => (Exit::Failed, None),
    };
    Failure { exit, error: error.into(), help }
}
