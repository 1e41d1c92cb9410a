//! ntfy: a message on a topic.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use serde_json::json;

use super::client::Request;
use super::letter::{cut, field};
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "ntfy", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.plain("url", "").unwrap_or("https://ntfy.sh");
    let usual = if letter.is_over() { 3 } else { 4 };
    let priority = letter.text("priority", "")?;
    let mut message = json!({
        "topic": letter.needed("topic", "")?,
        "title": cut(letter.text("title", "__subject")?, 250),
        "message": cut(letter.text("message", "__text")?, 3500),
        "priority": priority.parse::<u8>().unwrap_or(usual).clamp(1, 5),
        "tags": [if letter.is_over() { "white_check_mark" } else { "rotating_light" }],
    });
    if !letter.external_url().is_empty() {
        message["click"] = json!(letter.external_url());
    }
    let mut request = letter.signed(Request::json(url, &message))?;
    if let Some(token) = letter.secret("token", "")? {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    Ok(field(&request.send().await?.body, &["id"]))
}
