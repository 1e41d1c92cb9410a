//! Microsoft Teams: a workflow's webhook with an adaptive card (`msteamsv2`), and the older
//! connector (`msteams`).

use std::sync::Arc;

use serde_json::json;

use super::client::Request;
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "msteamsv2", tell: |letter| Box::pin(card(letter)) };
pub(super) const CONNECTOR: Notifier =
    Notifier { name: "msteams", tell: |letter| Box::pin(connector(letter)) };

async fn card(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.needed("webhook_url", "")?;
    let colour = if letter.is_over() { "Good" } else { "Attention" };
    let message = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [
                    {
                        "type": "TextBlock",
                        "text": letter.text("title", "msteamsv2.default.title")?,
                        "weight": "Bolder",
                        "size": "Medium",
                        "wrap": true,
                        "style": "heading",
                        "color": colour,
                    },
                    {
                        "type": "TextBlock",
                        "text": letter.text("text", "msteamsv2.default.text")?,
                        "wrap": true,
                    },
                ],
                "msteams": {"width": "full"},
            },
        }],
    });
    letter.signed(Request::json(url, &message))?.send().await?;
    Ok(String::new())
}

async fn connector(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.needed("webhook_url", "")?;
    let message = json!({
        "@context": "http://schema.org/extensions",
        "@type": "MessageCard",
        "title": letter.text("title", "msteams.default.title")?,
        "summary": letter.text("summary", "msteams.default.summary")?,
        "text": letter.text("text", "msteams.default.text")?,
        "themeColor": if letter.is_over() { "2DC72D" } else { "8C1A1A" },
    });
    let answer = letter.signed(Request::json(url, &message))?.send().await?.body;
    // The connector answers 200 to what it could not pass on, and says so in words.
    if answer.contains("error") {
        return Err(TellError::passing("Teams took it and could not pass it on"));
    }
    Ok(String::new())
}
