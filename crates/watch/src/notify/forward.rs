//! Sending alerts to a real Alertmanager, as Prometheus does: all that fire, again and again, and
//! what ended for a while after.
//!
//! The rules are those of Prometheus 3.14: `rules/alerting.go` (`resolvedRetention`, `ResendDelay`)
//! and `notifier/alert.go`.

use std::time::Duration;

use jiff::Timestamp;
use journal::Labels;
use serde_json::{Value as Json, json};
use source::alertmanager::forward::Target;

use super::TellError;
use super::client::Request;
use crate::dispatch::Present;

/// How often what fires is sent again.
pub const RESEND_EVERY: Duration = Duration::from_mins(1);

/// For how long what ended is sent again.
const ENDED_FOR: Duration = Duration::from_mins(15);

/// How long an Alertmanager that hears nothing more keeps an alert: four times the pause, so that
/// a message that is lost resolves nothing.
const KEPT_FOR: Duration = Duration::from_mins(4);

/// Returns the alerts of a moment as `POST /api/v2/alerts` takes them. `external` are labels that
/// each gets unless it has its own.
pub fn alerts(present: &Present, external: &Labels, url: &str, now: Timestamp) -> Vec<Json> {
    let ended_after = now.saturating_sub(ENDED_FOR).unwrap_or(Timestamp::MIN);
    let kept = |alert: &&crate::dispatch::Alert| alert.ended.is_none_or(|at| at >= ended_after);
    let told = present.alerts.values().filter(kept).map(|alert| {
        let mut labels = external.clone();
        labels.extend(alert.labels.clone());
        let until = now.saturating_add(KEPT_FOR).unwrap_or(Timestamp::MAX);
        json!({
            "labels": labels,
            "annotations": alert.annotations,
            "startsAt": alert.started,
            "endsAt": alert.ended.unwrap_or(until),
            "generatorURL": url,
        })
    });
    told.collect()
}

/// Sends alerts to one Alertmanager.
pub async fn send(target: &Target, alerts: &[Json]) -> Result<(), TellError> {
    let url = format!("{}/api/v2/alerts", target.url.trim_end_matches('/'));
    let request = Request::json(url, &Json::from(alerts.to_vec()));
    request.send().await.map(drop)
}
