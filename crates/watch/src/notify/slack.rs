//! Slack and what takes the same messages: an incoming webhook, or an app's token, with which a
//! message may be changed instead of sent again (`update_message`).

use std::sync::Arc;

use http::header::AUTHORIZATION;
use serde_json::{Map, Value as Json, json};

use super::client::Request;
use super::letter::{cut, field};
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "slack", tell: |letter| Box::pin(slack(letter)) };
pub(super) const MATTERMOST: Notifier =
    Notifier { name: "mattermost", tell: |letter| Box::pin(mattermost(letter)) };

/// Where an app posts messages.
const POST_MESSAGE: &str = "https://slack.com/api/chat.postMessage";

async fn slack(letter: Arc<Letter>) -> Result<String, TellError> {
    let mut message = message(&letter, "text", "slack.default.username")?;
    if let Some(text) = letter.node("message_text").and_then(|node| node.as_str()) {
        message.insert("text".to_owned(), json!(letter.filled("message_text", text)?));
    }
    // What is said for one integration goes before what is said for all.
    let own_url = ["api_url", "api_url_file"].iter().any(|key| letter.node(key).is_some());
    let token = if own_url { None } else { letter.secret("app_token", "slack_app_token")? };
    let Some(token) = token else {
        let url = letter.needed("api_url", "slack_api_url")?;
        let request = Request::json(url, &Json::Object(message));
        letter.signed(request)?.send().await?;
        return Ok(String::new());
    };
    let mut url = letter.plain("app_url", "slack_app_url").unwrap_or(POST_MESSAGE).to_owned();
    // The receipt of the message before: its channel and its time, which names it.
    let before = letter.notification.before.as_ref().map(|told| told.receipt.clone());
    let before = before.filter(|_| letter.flag("update_message") == Some(true));
    if let Some((channel, time)) = before.as_ref().and_then(|receipt| receipt.split_once(' ')) {
        message.insert("channel".to_owned(), json!(channel));
        message.insert("ts".to_owned(), json!(time));
        url = url.replace("chat.postMessage", "chat.update");
    }
    let request = Request::json(url, &Json::Object(message));
    let request = letter.signed(request)?.header(AUTHORIZATION, format!("Bearer {token}"));
    let answer = request.send().await?.body;
    if field(&answer, &["ok"]) != "true" {
        let error = format!("Slack refused it: {}", field(&answer, &["error"]));
        return Err(TellError::lasting(error));
    }
    Ok(format!("{} {}", field(&answer, &["channel"]), field(&answer, &["ts"])))
}

async fn mattermost(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.needed("webhook_url", "mattermost_webhook_url")?;
    let message = message(&letter, "", "slack.default.username")?;
    letter.signed(Request::json(url, &Json::Object(message)))?.send().await?;
    Ok(String::new())
}

/// Returns the message with one attachment. `text_key` is the setting of the attachment's text;
/// where there is none, `text` is that of the message itself.
fn message(
    letter: &Letter,
    text_key: &str,
    username: &str,
) -> Result<Map<String, Json>, TellError> {
    let text = if text_key.is_empty() {
        letter.filled("text", "{{ template \"slack.default.text\" . }}")?
    } else {
        letter.text(text_key, "slack.default.text")?
    };
    let mut attachment = json!({
        "color": letter.text("color", "__color")?,
        "title": cut(letter.text("title", "slack.default.title")?, 1024),
        "title_link": letter.text("title_link", "slack.default.titlelink")?,
        "fallback": letter.text("fallback", "slack.default.fallback")?,
        "text": text,
        "mrkdwn_in": ["fallback", "pretext", "text"],
    });
    for key in ["pretext", "footer", "image_url", "thumb_url", "callback_id"] {
        let text = letter.text(key, "")?;
        if !text.is_empty() {
            attachment[key] = json!(text);
        }
    }
    let fields = letter.mappings("fields")?;
    if !fields.is_empty() {
        attachment["fields"] = json!(fields);
    }
    let mut message = Map::new();
    message.insert("attachments".to_owned(), json!([attachment]));
    message.insert("username".to_owned(), json!(letter.text("username", username)?));
    for key in ["channel", "icon_emoji", "icon_url"] {
        let text = letter.text(key, "")?;
        if !text.is_empty() {
            message.insert(key.to_owned(), json!(text));
        }
    }
    if text_key.is_empty() && letter.node("text").is_some() {
        message.insert("text".to_owned(), json!(letter.text("text", "")?));
    }
    if letter.flag("link_names") == Some(true) {
        message.insert("link_names".to_owned(), json!(true));
    }
    Ok(message)
}
