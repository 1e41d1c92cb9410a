//! Alertmanager's webhook: a POST of JSON, version 4.

use std::sync::Arc;

use source::yaml::Node;

use super::client::Request;
use super::{Letter, Notifier, TellError};

pub(super) const NOTIFIER: Notifier =
    Notifier { name: "webhook", tell: |letter| Box::pin(tell(letter)) };

async fn tell(letter: Arc<Letter>) -> Result<String, TellError> {
    let url = letter.needed("url", "")?;
    let most = letter.node("max_alerts").and_then(Node::as_str).and_then(|text| text.parse().ok());
    let request = Request::json(url, &letter.message(most.unwrap_or(0)));
    letter.signed(request)?.send().await?;
    Ok(String::new())
}
