//! A notification with everything that is needed to tell it: settings, texts and secrets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use journal::Labels;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use source::alertmanager::{Config, Integration};
use source::yaml::Node;

use super::client::Request;
use super::{TellError, hindrance};
use crate::dispatch::{Alert, Notification};
use crate::probe::{CommandOutput, Running};
use crate::template::{Definitions, Scope, Template, Value};

/// Settings by their keys.
pub(super) type Settings = BTreeMap<String, Node>;

/// Reads a file that holds a secret.
pub type ReadFile = Arc<dyn Fn(&Path) -> std::io::Result<String> + Send + Sync>;

/// Runs a command with a text on its standard input; the caller knows in which box.
pub type RunWithInput = Arc<dyn Fn(Vec<String>, String) -> Running<CommandOutput> + Send + Sync>;

/// What notifiers need of the world around them.
#[derive(Clone)]
pub struct Desk {
    /// Where people reach the pages.
    pub external_url: String,
    /// The texts that settings may name.
    pub definitions: Arc<Definitions>,
    /// Reads `…_file` settings.
    pub read: ReadFile,
    /// Runs commands; without it, commands are refused.
    pub run: Option<RunWithInput>,
}

/// A notification, ready to be told.
pub struct Letter {
    /// What it is about.
    pub notification: Notification,
    integration: Integration,
    global: Settings,
    desk: Desk,
    now: Timestamp,
    /// What was read as a secret, to be cut out of what is said about it.
    secrets: Mutex<Vec<String>>,
}

impl Letter {
    /// Returns the letter of a notification; nothing if the configuration has no such channel.
    pub fn new(
        config: &Config,
        notification: Notification,
        desk: &Desk,
        now: Timestamp,
    ) -> Option<Self> {
        let receiver = config.receiver(&notification.receiver)?;
        let integration = receiver.integrations.get(notification.integration)?.clone();
        let (global, desk) = (config.global.clone(), desk.clone());
        Some(Self { notification, integration, global, desk, now, secrets: Mutex::default() })
    }

    /// Returns the name of its kind of channel.
    pub fn kind(&self) -> &'static str {
        self.integration.kind.name
    }

    /// Returns why nobody can be told by these settings, if that is so.
    pub(super) fn hindrance(&self) -> Option<String> {
        hindrance(&self.integration, &self.global)
    }

    pub(super) fn run(&self) -> Option<&RunWithInput> {
        self.desk.run.as_ref()
    }

    pub(super) fn external_url(&self) -> &str {
        &self.desk.external_url
    }

    /// Whether nothing fires any more.
    pub(super) fn is_over(&self) -> bool {
        self.notification.firing.is_empty()
    }

    pub(super) fn status(&self) -> &'static str {
        if self.is_over() { "resolved" } else { "firing" }
    }

    /// Returns the group's name as one word of hexadecimal digits, as Alertmanager makes it.
    pub(super) fn group_digest(&self) -> String {
        digest(&self.notification.group)
    }

    // ── settings ─────────────────────────────────────────────────────────────────────────────

    pub(super) fn node(&self, key: &str) -> Option<&Node> {
        self.integration.settings.get(key)
    }

    /// Returns a setting as it is written, its own or the file's.
    pub(super) fn plain(&self, key: &str, global_key: &str) -> Option<&str> {
        self.integration.text(key, &self.global, global_key)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.node(key).and_then(Node::as_str).map(|text| text == "true")
    }

    /// Returns a setting with its places filled, or the text of this name when it is left out.
    pub(super) fn text(&self, key: &str, name: &str) -> Result<String, TellError> {
        match self.node(key).and_then(Node::as_str) {
            Some(text) => self.filled(key, text),
            None if name.is_empty() => Ok(String::new()),
            None => self.filled(key, &format!("{{{{ template {name:?} . }}}}")),
        }
    }

    /// Fills the places of a text.
    pub(super) fn filled(&self, key: &str, text: &str) -> Result<String, TellError> {
        let wrong = |why: String| {
            TellError::lasting(format!("the template of `{key}` cannot be used: {why}"))
        };
        let template = Template::parse(text, &[]).map_err(|error| wrong(error.message))?;
        let scope = Scope {
            dot: self.data(),
            external_url: &self.desk.external_url,
            definitions: Some(&self.desk.definitions),
            now: self.now,
            ..Scope::default()
        };
        Ok(template.fill(&scope).map_err(|error| wrong(error.to_string()))?.trim().to_owned())
    }

    /// Returns a mapping of texts with their places filled.
    pub(super) fn mapping(&self, key: &str) -> Result<Vec<(String, String)>, TellError> {
        let entries = self.node(key).and_then(Node::as_mapping).unwrap_or_default();
        let pairs =
            entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value.as_str()?)));
        pairs.map(|(name, text)| Ok((name.to_owned(), self.filled(key, text)?))).collect()
    }

    /// Returns a list of mappings of texts with their places filled.
    pub(super) fn mappings(&self, key: &str) -> Result<Vec<Json>, TellError> {
        let items = self.node(key).and_then(Node::as_sequence).unwrap_or_default();
        let mapping = |node: &Node| {
            let mut object = serde_json::Map::new();
            for (name, value) in node.as_mapping().unwrap_or_default() {
                let (Some(name), Some(text)) = (name.as_str(), value.as_str()) else { continue };
                let filled = self.filled(key, text)?;
                let is_flag = matches!(filled.as_str(), "true" | "false");
                let value = if is_flag { json!(filled == "true") } else { json!(filled) };
                object.insert(name.to_owned(), value);
            }
            Ok(Json::Object(object))
        };
        items.iter().map(mapping).collect()
    }

    /// Returns a secret: the setting, or what the file named by `…_file` holds; its own or the
    /// global one of the second name.
    pub(super) fn secret(&self, key: &str, global_key: &str) -> Result<Option<String>, TellError> {
        let file = format!("{key}_file");
        let own = |key: &str| self.node(key).and_then(Node::as_str);
        let global = |key: &str| self.global.get(key).and_then(Node::as_str);
        let global_file = format!("{global_key}_file");
        let found = own(key).map(|value| (value, false)).or_else(|| {
            let of_file = own(&file).map(|path| (path, true));
            of_file
                .or_else(|| global(global_key).map(|value| (value, false)))
                .or_else(|| global(&global_file).map(|path| (path, true)))
        });
        let Some((text, is_file)) = found else { return Ok(None) };
        let value = if is_file { self.of_file(&file, text)? } else { text.to_owned() };
        Ok(Some(value).filter(|value| !value.is_empty()).inspect(|value| self.hide(value)))
    }

    /// Returns a secret that must be there.
    pub(super) fn needed(&self, key: &str, global_key: &str) -> Result<String, TellError> {
        let found = self.secret(key, global_key)?;
        found.ok_or_else(|| TellError::lasting(format!("`{key}` is empty")))
    }

    fn of_file(&self, key: &str, path: &str) -> Result<String, TellError> {
        let read = (self.desk.read)(Path::new(path));
        // A file may be there in a moment: secrets are often put in place by something else.
        let read = read.map_err(|error| {
            TellError::passing(format!("could not read {path}, which `{key}` names: {error}"))
        })?;
        Ok(read.trim().to_owned())
    }

    fn hide(&self, value: &str) {
        // What is shorter is no secret, and would be found in many a word.
        if value.len() < SHORTEST_SECRET {
            return;
        }
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if !secrets.iter().any(|known| known == value) {
            secrets.push(value.to_owned());
            // The other side may well answer with the path of an address.
            let url: Option<http::Uri> = value.parse().ok();
            let path = url.filter(|url| url.scheme().is_some());
            let path = path.and_then(|url| Some(url.path_and_query()?.as_str().to_owned()));
            secrets.extend(path.filter(|path| path.len() >= SHORTEST_SECRET));
        }
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Cuts out what was read as a secret.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "•••"))
    }

    /// Gives a request the credentials of `http_config`.
    pub(super) fn signed(&self, request: Request) -> Result<Request, TellError> {
        let Some(http) = self.node("http_config").or_else(|| self.global.get("http_config")) else {
            return Ok(request);
        };
        let value = |node: &Node, key: &str| -> Result<Option<String>, TellError> {
            let file = format!("{key}_file");
            let value = match (node.get(key).and_then(Node::as_str), node.get(&file)) {
                (Some(value), _) => Some(value.to_owned()),
                (None, Some(path)) => Some(self.of_file(&file, path.as_str().unwrap_or_default())?),
                (None, None) => None,
            };
            Ok(value.inspect(|value| self.hide(value)))
        };
        let header = if let Some(basic) = http.get("basic_auth") {
            let name = basic.get("username").and_then(Node::as_str).unwrap_or_default();
            let pair = format!("{name}:{}", value(basic, "password")?.unwrap_or_default());
            let coded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair);
            self.hide(&coded);
            Some(format!("Basic {coded}"))
        } else if let Some(own) = http.get("authorization") {
            let scheme = own.get("type").and_then(Node::as_str).unwrap_or("Bearer");
            value(own, "credentials")?.map(|value| format!("{scheme} {value}"))
        } else {
            value(http, "bearer_token")?.map(|token| format!("Bearer {token}"))
        };
        Ok(match header {
            Some(header) => request.header(http::header::AUTHORIZATION, header),
            None => request,
        })
    }

    // ── what is said ─────────────────────────────────────────────────────────────────────────

    /// Returns the labels that all alerts have alike.
    fn common(&self, of: impl Fn(&Alert) -> &Labels) -> Labels {
        let mut alerts = self.notification.alerts.iter();
        let mut common = alerts.next().map(|alert| of(alert).clone()).unwrap_or_default();
        for alert in alerts {
            common.retain(|name, value| of(alert).get(name) == Some(value));
        }
        common
    }

    /// Returns what templates know, as Alertmanager's "Notification template reference" has it.
    fn data(&self) -> Value {
        let alerts = self.notification.alerts.iter().map(|alert| {
            let fields = [
                ("Status", if alert.ended.is_some() { "resolved" } else { "firing" }.into()),
                ("Labels", labels(&alert.labels)),
                ("Annotations", labels(&alert.annotations)),
                ("StartsAt", Value::Time(alert.started)),
                ("EndsAt", alert.ended.map_or(Value::Time(NEVER), Value::Time)),
                ("GeneratorURL", self.desk.external_url.as_str().into()),
                ("Fingerprint", alert.fingerprint().as_str().into()),
            ];
            fields.into_iter().collect()
        });
        let fields = [
            ("Receiver", self.notification.receiver.as_str().into()),
            ("Status", self.status().into()),
            ("Alerts", Value::List(alerts.collect())),
            ("GroupLabels", labels(&self.notification.group_labels)),
            ("CommonLabels", labels(&self.common(|alert| &alert.labels))),
            ("CommonAnnotations", labels(&self.common(|alert| &alert.annotations))),
            ("ExternalURL", self.desk.external_url.as_str().into()),
        ];
        fields.into_iter().collect()
    }

    /// Returns the message of Alertmanager's webhook, version 4, with `most` alerts at most.
    pub(super) fn message(&self, most: usize) -> Json {
        let alerts = &self.notification.alerts;
        let most = if most == 0 { alerts.len() } else { most.min(alerts.len()) };
        let told: Vec<Json> = alerts[..most].iter().map(|alert| self.told(alert)).collect();
        json!({
            "receiver": self.notification.receiver,
            "status": self.status(),
            "alerts": told,
            "groupLabels": self.notification.group_labels,
            "commonLabels": self.common(|alert| &alert.labels),
            "commonAnnotations": self.common(|alert| &alert.annotations),
            "externalURL": self.desk.external_url,
            "version": "4",
            "groupKey": self.notification.group,
            "truncatedAlerts": alerts.len() - most,
        })
    }

    fn told(&self, alert: &Alert) -> Json {
        json!({
            "status": if alert.ended.is_some() { "resolved" } else { "firing" },
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": alert.started,
            "endsAt": alert.ended.unwrap_or(NEVER),
            "generatorURL": self.desk.external_url,
            "fingerprint": alert.fingerprint(),
        })
    }
}

/// The length from which on a secret is cut out of what is said, in bytes.
const SHORTEST_SECRET: usize = 4;

/// What Go writes for a time that is not set.
const NEVER: Timestamp = Timestamp::constant(-62_135_596_800, 0);

fn labels(labels: &Labels) -> Value {
    Value::Map(labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect())
}

/// Returns SHA-256 in hexadecimal.
pub(super) fn digest(text: &str) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Cuts a text to so many characters, with an ellipsis in the place of the rest.
pub(super) fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Returns a field of an answer in JSON as a text.
pub(super) fn field(body: &str, path: &[&str]) -> String {
    let json: Json = serde_json::from_str(body).unwrap_or_default();
    let found = path.iter().try_fold(&json, |json, name| json.get(name));
    match found {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
