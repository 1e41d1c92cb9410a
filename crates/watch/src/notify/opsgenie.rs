//! Opsgenie: an alert is made, and closed by its alias, which is the group.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use serde_json::{Map, json};

use super::client::Request;
use super::letter::{cut, field};
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "opsgenie", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let base = letter.plain("api_url", "opsgenie_api_url").unwrap_or("https://api.opsgenie.com/");
    let base = format!("{}/v2/alerts", base.trim_end_matches('/'));
    let alias = letter.group_digest();
    let source = letter.text("source", "opsgenie.default.source")?;
    let (url, message) = if letter.is_over() {
        let url = format!("{base}/{alias}/close?identifierType=alias");
        (url, json!({"source": source}))
    } else {
        let mut details = Map::new();
        let common = letter.notification.group_labels.iter();
        details.extend(common.map(|(name, value)| (name.clone(), json!(value))));
        let own = letter.mapping("details")?;
        details.extend(own.into_iter().map(|(name, text)| (name, json!(text))));
        let tags = letter.text("tags", "")?;
        let tags: Vec<&str> =
            tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
        let mut message = json!({
            "alias": alias,
            "message": cut(letter.text("message", "opsgenie.default.message")?, 130),
            "description": cut(letter.text("description", "opsgenie.default.description")?, 15_000),
            "details": details,
            "source": source,
            "tags": tags,
        });
        for key in ["note", "priority", "entity"] {
            let text = letter.text(key, "")?;
            if !text.is_empty() {
                message[key] = json!(text);
            }
        }
        let responders = letter.mappings("responders")?;
        if !responders.is_empty() {
            message["responders"] = json!(responders);
        }
        (base, message)
    };
    let token = letter.needed("api_key", "opsgenie_api_key")?;
    let request = letter.signed(Request::json(url, &message))?;
    let answer = request.header(AUTHORIZATION, format!("GenieKey {token}")).send().await?.body;
    Ok(field(&answer, &["requestId"]))
}
