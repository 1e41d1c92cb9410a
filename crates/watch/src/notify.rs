//! Telling people: one file for each kind of channel, and what all of them have in common.
//!
//! [`Notifier::tell`] tells once; [`deliver`] tries again, with growing pauses, for as long as it
//! makes sense. What comes back is a receipt or an error, and neither holds a secret: whatever was
//! read as one is cut out of both.
//!
//! Settings are those of `alertmanager.yml`. A kind that Alertmanager has and that is not in
//! [`NOTIFIERS`] is refused by name, never left out.

mod client;
mod command;
mod discord;
mod email;
pub mod forward;
mod gotify;
mod letter;
mod matrix;
mod ntfy;
mod opsgenie;
mod pagerduty;
mod slack;
mod teams;
mod telegram;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use source::alertmanager::{Config, Integration};
use source::yaml::Node;
use source::{Finding, Place};

pub use letter::{Desk, Letter, ReadFile, RunWithInput};

use crate::probe::Running;
use crate::template::{Definitions, Template};

/// A kind of channel.
pub struct Notifier {
    /// Its name, as in `slack_configs`.
    pub name: &'static str,
    tell: fn(Arc<Letter>) -> Running<Result<String, TellError>>,
}

/// Every kind of channel that Marline can tell.
pub const NOTIFIERS: &[Notifier] = &[
    webhook::NOTIFIER,
    email::NOTIFIER,
    slack::NOTIFIER,
    slack::MATTERMOST,
    discord::NOTIFIER,
    teams::NOTIFIER,
    teams::CONNECTOR,
    telegram::NOTIFIER,
    ntfy::NOTIFIER,
    gotify::NOTIFIER,
    matrix::NOTIFIER,
    pagerduty::NOTIFIER,
    opsgenie::NOTIFIER,
    command::NOTIFIER,
];

/// Why somebody could not be told. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TellError {
    message: String,
    /// Whether it may work the next time.
    is_passing: bool,
    /// How long the other side asked to wait.
    wait: Option<Duration>,
}

impl TellError {
    fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_passing: true, wait: None }
    }

    fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_passing: false, wait: None }
    }
}

impl Notifier {
    /// Returns the notifier of this name.
    pub fn named(name: &str) -> Option<&'static Notifier> {
        NOTIFIERS.iter().find(|notifier| notifier.name == name)
    }

    /// Tells once, and gives what the other side gave for it.
    pub async fn tell(&self, letter: &Arc<Letter>) -> Result<String, TellError> {
        if let Some(why) = letter.hindrance() {
            return Err(TellError::lasting(why));
        }
        match (self.tell)(Arc::clone(letter)).await {
            Ok(receipt) => Ok(letter.without_secrets(&receipt)),
            Err(error) => {
                Err(TellError { message: letter.without_secrets(&error.message), ..error })
            }
        }
    }
}

/// The pause before the second try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Tells, again and again while the reason of a failure may pass, for at most `patience`.
pub async fn deliver(letter: Letter, patience: Duration) -> Result<String, TellError> {
    let kind = letter.kind();
    let Some(notifier) = Notifier::named(kind) else {
        return Err(TellError::lasting(format!("Marline cannot tell {kind} yet")));
    };
    let letter = Arc::new(letter);
    let deadline = tokio::time::Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match notifier.tell(&letter).await {
            Ok(receipt) => return Ok(receipt),
            Err(error) => error,
        };
        let wait = error.wait.unwrap_or(pause).max(pause);
        if !error.is_passing || tokio::time::Instant::now() + wait >= deadline {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Settings that Alertmanager knows and that are not honoured here, by kind; `*` is any.
const NOT_HONOURED: &[(&str, &str)] = &[
    ("webhook", "payload"),
    ("slack", "actions"),
    ("opsgenie", "actions"),
    ("mattermost", "props"),
    ("email", "auth_secret"),
    ("email", "auth_secret_file"),
    ("email", "tls_config"),
    ("email", "threading"),
];

/// Keys of `http_config` that are honoured.
const HTTP_KEYS: &[&str] =
    &["basic_auth", "authorization", "bearer_token", "bearer_token_file", "follow_redirects"];

/// Says which channels of a configuration Marline cannot tell as it is asked to, and which texts
/// cannot be filled; `path` is that of the file.
pub fn findings(path: &str, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for integration in config.receivers.iter().flat_map(|receiver| &receiver.integrations) {
        let kind = integration.kind.name;
        if Notifier::named(kind).is_none() {
            let message = format!("Marline cannot tell {kind} yet");
            let place = Place::at(path, integration.span);
            let mut finding = Finding::warning("notify-kind", message, place);
            finding.help = Some("use a webhook, or keep your Alertmanager for it".to_owned());
            found.push(finding);
            continue;
        }
        for (key, node) in &integration.settings {
            if let Some(why) = refused(kind, key, node) {
                let place = Place::at(path, node.span);
                found.push(Finding::warning("notify-setting", why, place));
            }
            texts(path, key, node, &mut found);
        }
        if let Some(node) = config.global.get("http_config")
            && !integration.settings.contains_key("http_config")
            && let Some(why) = refused(kind, "http_config", node)
        {
            found.push(Finding::warning("notify-setting", why, Place::at(path, node.span)));
        }
    }
    found
}

/// Says why a setting is not honoured.
fn refused(kind: &str, key: &str, node: &Node) -> Option<String> {
    if NOT_HONOURED.contains(&(kind, key)) {
        return Some(format!("Marline does not honour `{key}` of {kind}, and tells nobody by it"));
    }
    let entries = node.as_mapping().filter(|_| key == "http_config")?;
    let other = entries.iter().filter_map(|(key, _)| key.as_str());
    let other = other.into_iter().find(|key| !HTTP_KEYS.contains(key))?;
    Some(format!("Marline does not honour `http_config.{other}`, and tells nobody by it"))
}

/// Finds mistakes in the templates of a setting and of what is below it.
fn texts(path: &str, key: &str, node: &Node, found: &mut Vec<Finding>) {
    if let Some(text) = node.as_str()
        && let Err(error) = Template::parse(text, &[])
    {
        let message = format!("the template of `{key}` cannot be used: {}", error.message);
        let mut finding = Finding::error("notify-template", message, Place::at(path, node.span));
        finding.help = error.help;
        found.push(finding);
    }
    for item in node.as_sequence().unwrap_or_default() {
        texts(path, key, item, found);
    }
    for (key, value) in node.as_mapping().unwrap_or_default() {
        texts(path, key.as_str().unwrap_or_default(), value, found);
    }
}

/// Returns why nobody can be told by an integration, if that is so.
fn hindrance(integration: &Integration, global: &letter::Settings) -> Option<String> {
    let kind = integration.kind.name;
    let http = integration.settings.get("http_config").or_else(|| global.get("http_config"));
    let own = integration.settings.iter().map(|(key, node)| (key.as_str(), node));
    let all = own.chain(http.map(|node| ("http_config", node)));
    all.into_iter().find_map(|(key, node)| refused(kind, key, node))
}

/// The texts that are used where a configuration says nothing, by the names that Alertmanager
/// gives them.
const DEFAULT_TEXTS: &str = include_str!("notify/default.tmpl");

/// Returns the default texts with those of the team's own files laid over them.
pub fn definitions<'a>(own: impl IntoIterator<Item = &'a str>) -> Result<Definitions, String> {
    let mut all = Definitions::default();
    for text in std::iter::once(DEFAULT_TEXTS).chain(own) {
        let template = Template::parse(text, &[]).map_err(|error| error.message)?;
        all.add(&template);
    }
    Ok(all)
}
