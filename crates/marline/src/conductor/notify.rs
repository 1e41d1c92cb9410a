//! People are told: what fires goes through the team's `alertmanager.yml` to its receivers.
//!
//! The configuration is that of the newest release. Whom to tell, and when, is for
//! [`watch::dispatch`] to say; how, for [`watch::notify`]. Each outcome is a fact.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use guard::vault::Vault;
use jiff::Timestamp;
use journal::{Fact, ReleaseId};
use source::Finding;
use source::alertmanager::forward::Forwarding;
use source::alertmanager::{self, Config};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use watch::dispatch::{Dispatcher, Notification, Present, State, Why};
use watch::notify::{self, Desk, Letter, ReadFile, RunWithInput, TellError, forward};
use watch::probe::CommandOutput;

use super::Conductor;
use crate::state::State as StateDir;

/// The file with the team's receivers and routes.
pub const CONFIGURATION: &str = "alertmanager.yml";

/// The file whose `alerting` names real Alertmanagers.
pub const FORWARDING: &str = "prometheus.yml";

/// After how long what could not be sent is sent again.
const SEND_AGAIN: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody is to be told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a notification is tried, at least and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));

/// How long a command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// Where Compose puts secrets: a file of this folder that is not there is read from the vault.
const SECRETS: &str = "/run/secrets";

/// For whom a secret of the vault must be, to be used here.
const SECRETS_FOR: &str = "alertmanager";

/// A notification whose outcome is known.
type Delivered = (Notification, Result<String, TellError>);

impl Conductor {
    /// Tells people until the process ends.
    pub(super) async fn notify_people(self: Arc<Self>) -> anyhow::Result<()> {
        let mut of: Option<ReleaseId> = None;
        let mut office: Option<Office> = None;
        let mut state = State::resuming(&self.view());
        let mut seen = None;
        let mut under_way: JoinSet<Delivered> = JoinSet::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Some(delivered) = under_way.join_next() => {
                    if let Ok((notification, outcome)) = delivered {
                        self.put_down(&mut state, &notification, outcome).await?;
                    }
                }
            }
            let newest = self.view().newest_release().map(|(release, _)| release.clone());
            if newest != of {
                office = newest.as_ref().and_then(|release| self.office_of(release));
                state = state.regrouped();
                (of, seen) = (newest, None);
            }
            let Some(office) = &office else { continue };
            let now = self.journal.now();
            let (newest, present) = {
                let view = self.view();
                let is_due = state.due().is_some_and(|due| due <= now);
                if view.newest == seen && !is_due {
                    continue;
                }
                (view.newest, Present::of(&view, now))
            };
            seen = newest;
            let (next, notifications) = office.dispatcher.step(state, now, &present);
            state = next;
            for notification in notifications {
                if notification.why == Why::NotSaid {
                    let fact =
                        notification.skipped("this channel is not told of the end of alerts");
                    self.append(None, fact).await?;
                    state.told(&notification, now, String::new());
                    continue;
                }
                let Some(letter) = office.letter(&notification, now) else { continue };
                let patience = notification.patience.clamp(PATIENCE.0, PATIENCE.1);
                under_way.spawn(async move {
                    let outcome = notify::deliver(letter, patience).await;
                    (notification, outcome)
                });
            }
        }
    }

    /// Sends alerts to the real Alertmanagers that the newest release names, until the process ends.
    pub(super) async fn forward_alerts(self: Arc<Self>) -> anyhow::Result<()> {
        let mut of: Option<ReleaseId> = None;
        let mut to = Forwarding::default();
        let mut last = BTreeMap::new();
        let mut unreachable: BTreeSet<String> = BTreeSet::new();
        let mut due = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let newest = self.view().newest_release().map(|(release, _)| release.clone());
            if newest != of {
                to = newest.as_ref().map(|release| self.forwarding_of(release)).unwrap_or_default();
                of = newest;
            }
            if to.targets.is_empty() {
                continue;
            }
            let now = self.journal.now();
            let present = Present::of(&self.view(), now);
            let states = present.alerts.iter().map(|(key, alert)| (key.clone(), alert.ended));
            let states: BTreeMap<String, Option<Timestamp>> = states.collect();
            let has_changed = states != last;
            if !has_changed && tokio::time::Instant::now() < due {
                continue;
            }
            last = states;
            due = tokio::time::Instant::now() + forward::RESEND_EVERY;
            let alerts = forward::alerts(&present, &to.labels, &self.page(), now);
            if alerts.is_empty() {
                continue;
            }
            for target in &to.targets {
                let outcome = forward::send(target, &alerts).await;
                let channel = format!("alertmanager/{}", target.name);
                let subject = explain::words::count(alerts.len() as u64, "alert", "alerts");
                let fact = match outcome {
                    Ok(()) if unreachable.remove(&channel) || has_changed => {
                        told_alertmanager(channel, subject)
                    }
                    Ok(()) => continue,
                    Err(error) => {
                        due = due.min(tokio::time::Instant::now() + SEND_AGAIN);
                        if !unreachable.insert(channel.clone()) {
                            continue;
                        }
                        let (error, group) = (error.to_string(), String::new());
                        Fact::NotificationFailed { channel, subject, error, group }
                    }
                };
                self.append(None, fact).await?;
            }
        }
    }

    fn forwarding_of(&self, release: &ReleaseId) -> Forwarding {
        let path = self.releases.files(release).join(FORWARDING);
        let Ok(text) = std::fs::read_to_string(path) else { return Forwarding::default() };
        source::alertmanager::forward::read(FORWARDING, &text).0
    }

    /// Returns where people reach the pages; empty before they are served.
    fn page(&self) -> String {
        self.address.get().map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Puts down what became of a notification.
    async fn put_down(
        &self,
        state: &mut State,
        notification: &Notification,
        outcome: Result<String, TellError>,
    ) -> anyhow::Result<()> {
        let cause = notification.alerts.iter().map(|alert| alert.event).max();
        match outcome {
            Ok(receipt) => {
                let event = self.append(cause, notification.sent(receipt.clone())).await?;
                state.told(notification, event.at, receipt);
            }
            Err(error) => {
                tracing::warn!(channel = %notification.channel, %error, "somebody was not told");
                self.append(cause, notification.failed(error.to_string())).await?;
                state.not_told(notification);
            }
        }
        Ok(())
    }

    /// Reads the configuration of a release; what is wrong in it was found before it was cut.
    fn office_of(self: &Arc<Self>, release: &ReleaseId) -> Option<Office> {
        let folder = self.releases.files(release);
        let text = std::fs::read_to_string(folder.join(CONFIGURATION)).ok()?;
        let (config, findings) = alertmanager::read(CONFIGURATION, &text);
        if let Some(error) = findings.iter().find(|finding| finding.is_error()) {
            tracing::warn!(place = %error.place, error = %error.message, "nobody is told");
            return None;
        }
        Some(Office::new(config?, &folder, &self.state, self.page()))
    }
}

fn told_alertmanager(channel: String, subject: String) -> Fact {
    Fact::NotificationSent {
        channel,
        subject,
        group: String::new(),
        firing: Vec::new(),
        resolved: Vec::new(),
        receipt: String::new(),
    }
}

/// The configuration of a release, at work.
pub struct Office {
    dispatcher: Dispatcher,
    desk: Desk,
}

impl Office {
    /// Returns the office of a configuration, whose files are in a folder.
    pub fn new(config: Config, folder: &Path, state: &StateDir, external_url: String) -> Self {
        let own = texts(&config, folder);
        let definitions = notify::definitions(own.iter().map(String::as_str)).or_else(|error| {
            tracing::warn!(error, "a template cannot be used, and the texts are the usual ones");
            notify::definitions([])
        });
        let (vault, base) = (state.vault(), folder.to_owned());
        let read: ReadFile = Arc::new(move |path| read_secret(&base, &vault, path));
        let (root, base) = (state.root().to_owned(), folder.to_owned());
        let run: RunWithInput = Arc::new(move |words, input| {
            let (root, folder) = (root.clone(), base.clone());
            Box::pin(async move { run_boxed(&root, &folder, words, input).await })
        });
        let definitions = Arc::new(definitions.unwrap_or_default());
        let desk = Desk { external_url, definitions, read, run: Some(run) };
        Self { dispatcher: Dispatcher::new(config), desk }
    }

    /// Returns a notification with all that is needed to tell it.
    pub fn letter(&self, notification: &Notification, now: Timestamp) -> Option<Letter> {
        Letter::new(self.dispatcher.config(), notification.clone(), &self.desk, now)
    }
}

/// Says what Marline cannot do of a configuration, the team's own template files included.
pub fn findings(path: &str, config: &Config, folder: &Path) -> Vec<Finding> {
    let mut found = notify::findings(path, config);
    for pattern in &config.templates {
        let text = texts_of(&pattern.value, folder);
        let place = source::Place::at(path, pattern.span);
        if text.is_empty() {
            let message = format!("no file of the repository is meant by `{}`", pattern.value);
            found.push(Finding::warning("notify-template", message, place.clone()));
        }
        if let Err(error) = notify::definitions(text.iter().map(String::as_str)) {
            let message = format!("a template in `{}` cannot be used: {error}", pattern.value);
            found.push(Finding::error("notify-template", message, place));
        }
    }
    found
}

/// Reads the team's own template files.
fn texts(config: &Config, folder: &Path) -> Vec<String> {
    config.templates.iter().flat_map(|pattern| texts_of(&pattern.value, folder)).collect()
}

/// Reads the files that a pattern means; only in its last part may there be stars.
fn texts_of(pattern: &str, folder: &Path) -> Vec<String> {
    let path = folder.join(pattern);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let Ok(glob) = globset::Glob::new(&name.to_string_lossy()) else { return Vec::new() };
    let glob = glob.compile_matcher();
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| glob.is_match(name)));
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Reads what `…_file` names: a file, or a secret of the vault by the path that it would have for
/// a service of Compose.
fn read_secret(folder: &Path, vault: &Path, path: &Path) -> std::io::Result<String> {
    let read = std::fs::read_to_string(folder.join(path));
    let (Err(error), Ok(name)) = (&read, path.strip_prefix(SECRETS)) else { return read };
    if error.kind() != std::io::ErrorKind::NotFound {
        return read;
    }
    let name = name.to_string_lossy();
    let kept = if vault.exists() {
        Vault::open(vault).and_then(|vault| vault.get_for(&name, SECRETS_FOR))
    } else {
        Ok(None)
    };
    match kept {
        Ok(Some(secret)) => Ok(secret.expose().to_owned()),
        Ok(None) => Err(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            format!("there is no such file, and no secret `{name}` (`marline secret set {name}`)"),
        )),
        Err(error) => Err(std::io::Error::other(error.to_string())),
    }
}

/// Runs a command in a box of its own, with a text on its standard input.
async fn run_boxed(root: &Path, folder: &Path, words: Vec<String>, input: String) -> CommandOutput {
    let outcome = tokio::time::timeout(COMMAND_WITHIN, run_in(root, folder, words, input)).await;
    match outcome {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => CommandOutput { exit: Err(format!("{error:#}")), output: String::new() },
        Err(_) => {
            let seconds = COMMAND_WITHIN.as_secs();
            CommandOutput {
                exit: Err(format!("it took longer than {seconds} s")),
                output: String::new(),
            }
        }
    }
}

async fn run_in(
    root: &Path,
    folder: &Path,
    words: Vec<String>,
    input: String,
) -> anyhow::Result<CommandOutput> {
    let scratch = tempfile::Builder::new().prefix("notify-").tempdir_in(root)?;
    let workspace = scratch.path().join("work");
    std::fs::create_dir(&workspace)?;
    let message = scratch.path().join("message.json");
    std::fs::write(&message, input)?;
    let message = std::fs::File::open(&message)?;
    let spec = sandbox::BoxSpec::new(&workspace).hidden(root).readable(folder);
    let sandbox = sandbox::Sandbox::open(&spec).await.context("make a box")?;
    let (program, arguments) = words.split_first().context("there is no command")?;
    let command = sandbox::Command::new(program)
        .args(arguments)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &workspace)
        .cwd(folder)
        .stdin(std::os::fd::OwnedFd::from(message));
    let ran = async {
        let mut process = sandbox.spawn(command).await.context("start the command")?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let read = |pipe: Option<tokio::net::unix::pipe::Receiver>| async move {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                let _ = pipe.take(64 << 10).read_to_end(&mut bytes).await;
            }
            bytes
        };
        let (mut out, err) = tokio::join!(read(stdout), read(stderr));
        out.extend(err);
        let exit = process.wait().await.context("wait for the command")?;
        anyhow::Ok((exit, out))
    };
    let ran = ran.await;
    sandbox.close().await;
    let (exit, output) = ran?;
    let output = String::from_utf8_lossy(&output).trim().to_owned();
    let exit = match exit.end {
        sandbox::End::Code(code) => Ok(code),
        sandbox::End::Signal(signal) => Err(format!("signal {signal} ended it")),
    };
    Ok(CommandOutput { exit, output })
}
