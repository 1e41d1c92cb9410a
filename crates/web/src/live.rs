//! What happens, as it happens: one stream of server-sent events.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderMap, header};
use journal::{Event, EventId};
use serde::Deserialize;

use crate::state::WebState;

/// How often a line is sent when nothing happens, so that a dead connection is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
pub(crate) struct From {
    after: Option<u64>,
}

/// Streams every event after the one the browser saw last.
pub(crate) async fn events(
    State(state): State<WebState>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Response {
    let last_seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .or(from.after);
    let after = last_seen.unwrap_or_else(|| state.view().newest.map_or(0, |newest| newest.0));
    let lines = following(&state, EventId(after)).map(|event| match event {
        Some(event) => server_sent(&event),
        None => ": still here\n\n".to_owned(),
    });
    let opening = stream::iter([format!("retry: 1000\nid: {after}\n\n")]);
    let body =
        opening.chain(lines).map(|text| Ok::<_, std::convert::Infallible>(Bytes::from(text)));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, axum::body::Body::from_stream(body)).into_response()
}

/// Gives each event after `after` for ever, and nothing now and then when nothing happens.
pub(crate) fn following(
    state: &WebState,
    after: EventId,
) -> impl Stream<Item = Option<Event>> + Send + use<> {
    let follower = state.journal.follow(after);
    stream::unfold(follower, |mut follower| async move {
        match tokio::time::timeout(HEARTBEAT, follower.next()).await {
            Err(_) => Some((None, follower)),
            Ok(Ok(event)) => Some((Some(event), follower)),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not follow the journal"
                );
                None
            }
        }
    })
}

fn server_sent(event: &Event) -> String {
    let data = serde_json::json!({ "kind": event.fact.kind(), "topics": topics(event) });
    format!("id: {}\nevent: change\ndata: {data}\n\n", event.id)
}

/// Returns what an event is about, as in `run:12` and `service:web`.
fn topics(event: &Event) -> BTreeSet<String> {
    let body = event.fact.encode();
    let nouns = ["run", "deployment", "incident", "service", "commit", "instance", "release"];
    nouns
        .into_iter()
        .filter_map(|noun| {
            let value = body.get(noun)?;
            let name = value
                .as_str()
                .map(str::to_owned)
                .or_else(|| value.as_u64().map(|number| number.to_string()))?;
            Some(format!("{noun}:{name}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use journal::{Actor, Fact, RunId};

    use super::*;

    #[test]
    fn an_event_names_what_it_is_about() {
        let event = Event {
            id: EventId(7),
            at: jiff::Timestamp::UNIX_EPOCH,
            actor: Actor::Conductor,
            cause: None,
            fact: Fact::CancelRequested { run: RunId(12) },
        };
        assert_eq!(
            server_sent(&event),
            "id: 7\nevent: change\ndata: {\"kind\":\"CancelRequested\",\"topics\":[\"run:12\"]}\n\n"
        );
    }
}
