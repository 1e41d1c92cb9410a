//! Discord: a webhook of a channel, with one embed.

use std::sync::Arc;

use serde_json::json;

use super::client::Request;
use super::letter::cut;
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "discord", tell: |letter| Box::pin(tell(letter)) };

const RED: u32 = 0x008F_1515;
const GREEN: u32 = 0x0023_8D45;

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.needed("webhook_url", "")?;
    let mut message = json!({
        "content": cut(letter.text("content", "")?, 2000),
        "embeds": [{
            "title": cut(letter.text("title", "discord.default.title")?, 256),
            "description": cut(letter.text("message", "discord.default.message")?, 4096),
            "color": if letter.is_over() { GREEN } else { RED },
        }],
    });
    for key in ["username", "avatar_url"] {
        let text = letter.text(key, "")?;
        if !text.is_empty() {
            message[key] = json!(text);
        }
    }
    letter.signed(Request::json(url, &message))?.send().await?;
    Ok(String::new())
}
