//! PagerDuty: events of version 2 (`routing_key`), and of version 1 (`service_key`). The group is
//! the key by which PagerDuty keeps one incident.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::client::Request;
use super::letter::{cut, field};
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "pagerduty", tell: |letter| Box::pin(tell(letter)) };

const VERSION_1: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
const VERSION_2: &str = "https://events.pagerduty.com/v2/enqueue";

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let action = if letter.is_over() { "resolve" } else { "trigger" };
    let mut details = Map::new();
    for (name, text) in [
        ("firing", "{{ template \"pagerduty.default.instances\" .Alerts.Firing }}"),
        ("resolved", "{{ template \"pagerduty.default.instances\" .Alerts.Resolved }}"),
        ("num_firing", "{{ .Alerts.Firing | len }}"),
        ("num_resolved", "{{ .Alerts.Resolved | len }}"),
    ] {
        details.insert(name.to_owned(), json!(letter.filled("details", text)?));
    }
    details.extend(letter.mapping("details")?.into_iter().map(|(name, text)| (name, json!(text))));
    let description = cut(letter.text("description", "pagerduty.default.description")?, 1024);
    let client = letter.text("client", "__alertmanager")?;
    let client_url = letter.text("client_url", "__alertmanagerURL")?;
    let key = letter.group_digest();
    if let Some(service) = letter.secret("service_key", "")? {
        let message = json!({
            "service_key": service,
            "incident_key": key,
            "event_type": action,
            "description": description,
            "client": client,
            "client_url": client_url,
            "details": details,
        });
        let url = letter.plain("url", "pagerduty_url").unwrap_or(VERSION_1);
        let answer = letter.signed(Request::json(url, &message))?.send().await?.body;
        return Ok(field(&answer, &["incident_key"]));
    }
    let severity = letter.text("severity", "")?;
    let source = letter.text("source", "")?;
    let mut payload = json!({
        "summary": description,
        "source": if source.is_empty() { client.clone() } else { source },
        "severity": if severity.is_empty() { "error".to_owned() } else { severity },
        "custom_details": details,
    });
    for key in ["class", "component", "group"] {
        let text = letter.text(key, "")?;
        if !text.is_empty() {
            payload[key] = json!(text);
        }
    }
    let mut message = json!({
        "routing_key": letter.needed("routing_key", "")?,
        "dedup_key": key,
        "event_action": action,
        "client": client,
        "client_url": client_url,
        "payload": payload,
    });
    for key in ["images", "links"] {
        let list: Vec<Json> = letter.mappings(key)?;
        if !list.is_empty() {
            message[key] = json!(list);
        }
    }
    let url = letter.plain("url", "pagerduty_url").unwrap_or(VERSION_2);
    let answer = letter.signed(Request::json(url, &message))?.send().await?.body;
    Ok(field(&answer, &["dedup_key"]))
}
