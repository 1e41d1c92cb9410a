//! `marline approve`: somebody's yes or no to a run that waits.

use journal::{Actor, EventId, Fact, RunId};
use serde_json::json;

use super::run::account;
use super::timeline::{clean, tell};
use crate::cli::{ApproveArgs, Global};
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Answers what a run asks.
pub async fn run(args: &ApproveArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (journal, view) = here.known()?;
    let run = RunId(args.run);
    let found = view.runs.get(&run);
    let found =
        found.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no run {run}")))?;
    let is_wanted = |subject: &str| {
        let name = subject.strip_prefix("environment ").unwrap_or(subject);
        args.environment.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let asked: Vec<(EventId, String, String)> = view
        .asked_by(run)
        .filter(|(_, asked)| is_wanted(&asked.subject))
        .map(|(id, asked)| (id, asked.subject.clone(), asked.effect.clone()))
        .collect();
    if asked.is_empty() {
        let what = args.environment.as_deref().unwrap_or("approval");
        let failure =
            Failure::new(Exit::NotFound, format!("nothing of run {run} waits for {what}"));
        let others: Vec<String> =
            view.asked_by(run).map(|(_, asked)| asked.subject.clone()).collect();
        return Err(match found.conclusion {
            _ if !others.is_empty() => failure.help(format!("it waits for {}", others.join(", "))),
            Some(end) => failure.help(format!("it has ended: {end}")),
            None => failure,
        });
    }
    if found.conclusion.is_some() && found.dirty {
        return Err(Failure::new(
            Exit::NotFound,
            format!("run {run} has ended, and what it ran was not committed"),
        )
        .help("commit it and run it again, or run it with --approve ENVIRONMENT"));
    }
    for (request, subject, effect) in asked {
        if args.dry_run {
            tell(&format!("  {} waits: {}\n", clean(&subject), clean(&effect)))?;
            continue;
        }
        let note = args.note.clone();
        let fact = if args.deny {
            Fact::Rejected { request, note }
        } else {
            Fact::Approved { request, note }
        };
        if client::is_up(here.state.root()).await {
            client::request(here.state.root(), &fact).await?;
        } else {
            journal.append(Actor::Person(account()), Some(request), fact).await?;
        }
        let word = if args.deny { "denied" } else { "approved" };
        if here.json {
            let answer =
                json!({ "run": run, "request": request, "subject": subject, "answer": word });
            tell(&format!("{answer}\n"))?;
        } else {
            tell(&format!("  {word} {}: {}\n", clean(&subject), clean(&effect)))?;
        }
    }
    if found.conclusion.is_some() && !args.deny && !args.dry_run && !here.json {
        tell("  The run has ended meanwhile; run it again and it goes on: marline run\n")?;
    }
    Ok(Exit::Done)
}
