//! The JSON that the command line and other programs speak.

use std::convert::Infallible;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use explain::{Audience, Subject, render};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use journal::view::{DeploymentEnd, Gate};
use journal::{Actor, EventId, Fact, View};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::component::service_state;
use crate::entrance::is_same;
use crate::numbers::{Of, Window};
use crate::page::Visitor;
use crate::state::{Evidence, Refusal, WebState};

/// The most events of one answer.
const MOST_EVENTS: usize = 1_000;

/// How far back the numbers of the status go: five minutes.
const NUMBERS: i64 = 5 * 60 * 1000;

/// Answers how everything stands.
pub(crate) async fn status(State(state): State<WebState>) -> Response {
    json_answer(move || {
        let view = state.view();
        Ok(status_of(&state, &view))
    })
    .await
}

fn status_of(state: &WebState, view: &View) -> Value {
    let window = Window::last(NUMBERS, state.now());
    let services: Vec<Value> = view
        .services
        .iter()
        .map(|(name, service)| {
            let (standing, word) = service_state(service);
            json!({
                "service": name,
                "standing": standing,
                "state": word,
                "release": service.release,
                "weights": service.weights,
                "replicas": service.replicas,
                "deployment": service.deployment,
                "exits": service.exits,
                "traffic": state.numbers.traffic(&Of::service(name), window),
                "instances": service.instances.values().map(|instance| json!({
                    "instance": instance.id,
                    "release": instance.release,
                    "health": instance.health,
                    "ready": instance.is_ready,
                    "port": instance.port,
                    "pid": instance.pid,
                    "started": instance.started,
                    "evidence": instance.evidence,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let deployments: Vec<Value> = view
        .deployments
        .values()
        .rev()
        .take(10)
        .map(|deployment| {
            json!({
                "deployment": deployment.id,
                "service": deployment.service,
                "from": deployment.from,
                "to": deployment.to,
                "strategy": deployment.strategy,
                "share": deployment.share(),
                "began": deployment.at,
                "end": match &deployment.end {
                    None => Value::Null,
                    Some(DeploymentEnd::Finished { milliseconds, .. }) => json!({ "finished": true, "milliseconds": milliseconds }),
                    Some(DeploymentEnd::RolledBack { reason, affected, at, .. }) => json!({ "rolled_back": true, "reason": reason, "affected": affected, "at": at }),
                },
            })
        })
        .collect();
    let runs: Vec<Value> = view
        .runs
        .values()
        .rev()
        .take(10)
        .map(|run| {
            json!({
                "run": run.id,
                "name": run.name,
                "workflow": run.workflow,
                "commit": run.commit,
                "conclusion": run.conclusion,
                "milliseconds": run.milliseconds,
                "began": run.at,
                "jobs": run.jobs.iter().map(|(key, job)| json!({ "job": key, "conclusion": job.conclusion, "milliseconds": job.milliseconds })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let incidents: Vec<Value> = view
        .open_incidents()
        .map(|incident| {
            json!({
                "incident": incident.id,
                "service": incident.service,
                "title": incident.title,
                "began_ms": incident.onset_ms,
                "affected": incident.affected,
            })
        })
        .collect();
    let commit = view.newest_commit().map(|(id, commit)| {
        json!({
            "commit": id,
            "subject": commit.subject,
            "author": commit.author,
            "branch": commit.branch,
            "gate": match &commit.gate { Gate::Open => "open", Gate::Passed { .. } => "passed", Gate::Held { .. } => "held" },
            "release": commit.release,
        })
    });
    let told = explain::why(&Subject::Everything, view, &Evidence { state });
    json!({
        "repository": state.repository,
        "sentence": told.as_ref().map(|told| told.sentence.as_str()).unwrap_or_default(),
        "standing": told.as_ref().map(|told| told.standing).ok(),
        "newest_event": view.newest,
        "commit": commit,
        "services": services,
        "deployments": deployments,
        "runs": runs,
        "incidents": incidents,
        "proxy": view.proxy.as_ref().map(|proxy| json!({ "pid": proxy.pid, "addresses": proxy.addresses, "lost": proxy.is_lost })),
        "conductor": view.conductor.as_ref().map(|conductor| json!({ "pid": conductor.pid, "version": conductor.version, "since": conductor.since, "missing_walls": conductor.missing_walls })),
    })
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventsAfter {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    /// Whether to go on with those to come, one JSON value a line.
    #[serde(default)]
    follow: u8,
}

/// Answers the events after one; with `follow=1`, as JSON lines without an end.
pub(crate) async fn events(
    State(state): State<WebState>,
    Query(asked): Query<EventsAfter>,
) -> Response {
    if asked.follow != 0 {
        let lines = crate::live::following(&state, EventId(asked.after)).map(|event| {
            let line = match event {
                Some(event) => {
                    serde_json::to_string(&event).expect("events hold only what JSON can say")
                        + "\n"
                }
                None => "\n".to_owned(),
            };
            Ok::<_, Infallible>(Bytes::from(line))
        });
        return ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines))
            .into_response();
    }
    let limit = asked.limit.unwrap_or(100).min(MOST_EVENTS);
    json_answer(move || {
        let events = state.journal.read(EventId(asked.after), limit).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "could not read events");
            Refusal::new("The journal could not be read.", "Look at the disk of this machine.")
        })?;
        Ok(json!({ "events": events }))
    })
    .await
}

#[derive(Debug, Deserialize)]
pub(crate) struct WhyAsked {
    #[serde(default)]
    subject: String,
    r#for: Option<String>,
}

/// Answers why something is as it is, as JSON and as text for both audiences.
pub(crate) async fn why(State(state): State<WebState>, Query(asked): Query<WhyAsked>) -> Response {
    json_answer(move || {
        let audience: Audience = match asked.r#for.as_deref() {
            None => Audience::Developer,
            Some(name) => name
                .parse()
                .map_err(|why: String| Refusal::new(why, "Ask for `dev` or `manager`."))?,
        };
        let view = state.view();
        let Some(subject) = Subject::find(&asked.subject, &view) else {
            return Err(Refusal::new(
                format!(
                    "There is no run, job, deployment, service, commit or incident called `{}`.",
                    asked.subject
                ),
                "Name a run by its number, as in `12` or `12/test`, or ask without a name.",
            ));
        };
        let told = explain::why(&subject, &view, &Evidence { state: &state }).map_err(|error| {
            Refusal::new(format!("Could not {error}."), "See the timeline for its events.")
        })?;
        let mut answer = render::json(&told);
        answer["text"] = render::text(&told, audience).into();
        Ok(answer)
    })
    .await
}

#[derive(Debug, Deserialize)]
pub(crate) struct WishAsked {
    fact: Fact,
    /// Who asks; only believed on the socket.
    actor: Option<Actor>,
}

/// Grants a wish: the body is `{"fact": {"kind": "RestartRequested", "content": {…}}}`.
pub(crate) async fn request(
    State(state): State<WebState>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    let token =
        headers.get("marline-token").and_then(|token| token.to_str().ok()).unwrap_or_default();
    if visitor.has_session && (!is_json || !is_same(token, &visitor.form_token)) {
        return refused(
            StatusCode::FORBIDDEN,
            &Refusal::new(
                "This request does not carry the token of the session.",
                "Use the forms of the pages, or the command line.",
            ),
        );
    }
    let asked: WishAsked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            let why = format!("The request could not be read: {error}.");
            return refused(
                StatusCode::BAD_REQUEST,
                &Refusal::new(why, "Send {\"fact\": {\"kind\": …, \"content\": {…}}}."),
            );
        }
    };
    let mut visitor = visitor;
    if let Some(actor) = asked.actor.filter(|_| !visitor.has_session) {
        // Marline's own name is for what it decides itself.
        if actor != Actor::Conductor {
            visitor.actor = actor;
        }
    }
    match crate::router::grant(&state, &visitor, asked.fact).await {
        Ok((event, page)) => {
            (StatusCode::ACCEPTED, axum::Json(json!({ "event": event, "page": page })))
                .into_response()
        }
        Err(refusal) => refused(StatusCode::CONFLICT, &refusal),
    }
}

fn refused(status: StatusCode, refusal: &Refusal) -> Response {
    (status, axum::Json(json!({ "why": refusal.why, "mend": refusal.mend }))).into_response()
}

/// Makes an answer away from the threads that serve connections.
async fn json_answer(make: impl FnOnce() -> Result<Value, Refusal> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(value)) => axum::Json(value).into_response(),
        Ok(Err(refusal)) => refused(StatusCode::NOT_FOUND, &refusal),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an answer could not be made"
            );
            refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                &Refusal::new("Something is wrong on our side.", "See the log of the conductor."),
            )
        }
    }
}
