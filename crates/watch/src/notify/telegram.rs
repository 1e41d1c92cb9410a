//! Telegram: a bot that writes to a chat.

use std::sync::Arc;

use serde_json::json;

use super::client::Request;
use super::letter::{cut, field};
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "telegram", tell: |letter| Box::pin(tell(letter)) };

/// The longest message, in characters.
const LONGEST: usize = 4096;

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let token = letter.needed("bot_token", "telegram_bot_token")?;
    let chat = letter.needed("chat_id", "")?;
    let base = letter.plain("api_url", "telegram_api_url").unwrap_or("https://api.telegram.org");
    let url = format!("{}/bot{token}/sendMessage", base.trim_end_matches('/'));
    let mut message = json!({
        "chat_id": chat.parse::<i64>().map_or_else(|_| json!(chat), |number| json!(number)),
        "text": cut(letter.text("message", "telegram.default.message")?, LONGEST),
        "disable_notification": letter.flag("disable_notifications") == Some(true),
    });
    // The default text is plain; a mode only helps somebody's own.
    if letter.node("message").is_some() {
        let mode = letter.plain("parse_mode", "").unwrap_or("HTML");
        message["parse_mode"] = json!(mode);
    }
    let thread = letter.plain("message_thread_id", "").and_then(|text| text.parse::<i64>().ok());
    if let Some(thread) = thread {
        message["message_thread_id"] = json!(thread);
    }
    let answer = letter.signed(Request::json(url, &message))?.send().await?.body;
    Ok(field(&answer, &["result", "message_id"]))
}
