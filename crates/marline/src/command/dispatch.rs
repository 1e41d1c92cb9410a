//! `marline dispatch`: somebody's word that starts workflows.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::Fact;
use serde_json::{Value, json};

use super::run::pairs;
use super::timeline::{clean, tell};
use crate::cli::{DispatchArgs, Global};
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// How long the conductor may take to say which workflows start.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks the conductor for the workflows of a `repository_dispatch`, and tells which start.
pub async fn run(args: &DispatchArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let client_payload = match &args.payload {
        Some(path) => super::run::payload(path)?,
        None => json!(pairs(&args.inputs, "--input")?),
    };
    let wish = Fact::RunRequested {
        commit: None,
        workflow: None,
        event: format!("repository_dispatch.{}", args.event_type),
        inputs: BTreeMap::new(),
        payload: Some(json!({ "action": args.event_type, "client_payload": client_payload })),
    };
    let asked = client::request(here.state.root(), &wish).await?.id;
    let mut events = here.journal()?.follow(asked);
    let answer = async {
        loop {
            let event = events.next().await?;
            match event.fact {
                Fact::RunRequested { workflow: Some(workflow), .. }
                    if event.cause == Some(asked) =>
                {
                    return Ok::<_, Failure>(workflow);
                }
                Fact::RequestRefused { request, why } if request == asked => {
                    return Err(Failure::new(Exit::NotFound, why));
                }
                _ => {}
            }
        }
    };
    let workflow = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
        Failure::new(Exit::TimedOut, "the conductor did not say which workflows start")
    })??;
    if here.json {
        let said: Value = json!({ "event": args.event_type, "starts": workflow, "request": asked });
        tell(&format!("{said}\n"))?;
    } else {
        tell(&format!("  {} starts {}\n", clean(&args.event_type), clean(&workflow)))?;
    }
    Ok(Exit::Done)
}
