//! Matrix: a message in a room.

use std::sync::Arc;

use http::Method;
use http::header::AUTHORIZATION;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::client::Request;
use super::letter::{digest, field};
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "matrix", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let home = letter.needed("homeserver_url", "")?;
    let token = letter.needed("access_token", "")?;
    let room = letter.needed("room_id", "")?;
    let text = letter.text("message", "telegram.default.message")?;
    // The same message has the same number however often it is tried, so that it comes once.
    let told = &letter.notification;
    let before = told.before.as_ref().map(|before| before.at);
    let number = digest(&format!("{} {} {:?} {before:?}", told.channel, told.group, told.firing));
    let url = format!(
        "{}/_matrix/client/v3/rooms/{}/send/m.room.message/{}",
        home.trim_end_matches('/'),
        utf8_percent_encode(&room, NON_ALPHANUMERIC),
        &number[..32],
    );
    let message = json!({"msgtype": "m.text", "body": text});
    let request = Request::json(url, &message).method(Method::PUT);
    let request = letter.signed(request)?.header(AUTHORIZATION, format!("Bearer {token}"));
    Ok(field(&request.send().await?.body, &["event_id"]))
}
