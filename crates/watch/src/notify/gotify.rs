//! Gotify: a message of an application.

use std::sync::Arc;

use http::HeaderName;
use serde_json::json;

use super::client::Request;
use super::letter::field;
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "gotify", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.needed("url", "")?;
    let usual = if letter.is_over() { 4 } else { 8 };
    let message = json!({
        "title": letter.text("title", "__subject")?,
        "message": letter.text("message", "__text")?,
        "priority": letter.text("priority", "")?.parse::<u8>().unwrap_or(usual),
    });
    let request = Request::json(format!("{}/message", url.trim_end_matches('/')), &message);
    let token = letter.needed("token", "")?;
    let request = letter.signed(request)?.header(HeaderName::from_static("x-gotify-key"), token);
    Ok(field(&request.send().await?.body, &["id"]))
}
