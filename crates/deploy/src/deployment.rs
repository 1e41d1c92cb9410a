//! What an engine is told to run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::{ReleaseId, ServiceName};
use serde::{Deserialize, Serialize};

/// One service of one release with everything its instances need.
///
/// Two deployments with the same service and release are the same one to an engine: that pair is
/// what [`Engine::scale`](crate::Engine::scale) counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The service.
    pub service: ServiceName,
    /// The release.
    pub release: ReleaseId,
    /// Where the files of the release are; they are only read.
    pub files: PathBuf,
    /// What is started.
    pub command: Command,
    /// Where it is started, relative to `files`: the build context and `working_dir` joined.
    pub directory: PathBuf,
    /// The service's own environment, already interpolated.
    pub environment: BTreeMap<String, String>,
    /// Where the services that it may talk to are found, given as `DB_HOST` and `DB_PORT`.
    pub peers: BTreeMap<ServiceName, Peer>,
    /// The secrets that the service names, and no others.
    pub secrets: Vec<Secret>,
    /// Directories that outlive releases: named volumes and bind mounts.
    pub volumes: Vec<Volume>,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// How long it may take to stop before it is killed.
    pub stop_grace: Duration,
    /// The user that it runs as; only root may choose another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it may use.
    pub limits: Limits,
}

/// What is started: words, or a line for the shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A program and its arguments; `$PORT` and `${PORT}` inside them are replaced.
    Words(Vec<String>),
    /// A line for `sh -c`.
    Shell(String),
}

impl Command {
    /// Returns what is really executed when the instance was given `port`.
    ///
    /// A shell finds `PORT` in its environment, so only words need replacing.
    pub fn words(&self, port: u16) -> Vec<String> {
        match self {
            Self::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            Self::Words(words) => words.iter().map(|word| put_port(word, port)).collect(),
        }
    }

    /// Returns the command as a person would type it.
    pub fn shown(&self) -> String {
        match self {
            Self::Shell(line) => line.clone(),
            Self::Words(words) => {
                words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// Replaces `${PORT}` and `$PORT` unless a longer name follows, as in `$PORTAL`.
fn put_port(word: &str, port: u16) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let plain = tail
            .strip_prefix("$PORT")
            .filter(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        if let Some(after) = tail.strip_prefix("${PORT}").or(plain) {
            out.push_str(&port.to_string());
            rest = after;
        } else {
            out.push('$');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    out
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+${}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Where a service answers, whichever release has its traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The address, as in `127.0.0.1`.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A secret and how the service gets it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The name under which it is kept.
    pub name: String,
    /// The value. It is never printed and never stored with the deployment.
    #[serde(skip)]
    pub value: Vec<u8>,
    /// How it is given.
    pub given: SecretGiven,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

/// How a secret reaches a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretGiven {
    /// As a file readable only by the service; its path is in the variable `NAME_FILE`.
    File,
    /// As an environment variable of this name.
    Variable(String),
}

/// A directory that outlives releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The name in Compose, or the host path of a bind mount.
    pub name: String,
    /// The directory on this machine.
    pub host: PathBuf,
    /// The path that the service expects.
    pub target: PathBuf,
    /// Whether the service may only read it.
    pub read_only: bool,
}

impl Volume {
    /// Returns the variable that names the directory to a process without a box: `VOLUME_DATA`.
    pub fn variable(&self) -> String {
        format!("VOLUME_{}", variable_name(&self.name))
    }
}

/// Turns a name into the shape of an environment variable: `my-db.eu` becomes `MY_DB_EU`.
pub fn variable_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}

/// What an instance may use; nothing set is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time, in thousandths of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

/// A signal by its number on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub i32);

impl Signal {
    /// Asks a process to end.
    pub const TERM: Self = Self(15);
    /// Ends a process at once.
    pub const KILL: Self = Self(9);

    /// Reads `SIGTERM`, `TERM` or `15`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return (1..=64).contains(&number).then_some(Self(number));
        }
        let upper = text.to_ascii_uppercase();
        let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        full.parse::<nix::sys::signal::Signal>().ok().map(|signal| Self(signal as i32))
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "signal {}", self.0),
        }
    }
}

/// Returns `base` joined with `path` if the result stays inside `base`.
pub fn inside(base: &Path, path: &Path) -> Option<PathBuf> {
    use std::path::Component;
    let mut joined = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => joined.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !joined.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(base.join(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_put_where_the_command_asks_for_it_and_nowhere_else() {
        let command = Command::Words(
            ["serve", "--port=$PORT", "${PORT}/x", "$PORTAL", "$HOME", "a$"]
                .map(String::from)
                .into(),
        );
        assert_eq!(
            command.words(8123),
            ["serve", "--port=8123", "8123/x", "$PORTAL", "$HOME", "a$"]
        );
    }

    #[test]
    fn a_shell_line_is_left_to_the_shell() {
        let command = Command::Shell("exec serve $PORT".to_owned());
        assert_eq!(command.words(1), ["/bin/sh", "-c", "exec serve $PORT"]);
    }

    #[test]
    fn a_path_that_leaves_its_base_is_refused() {
        let base = Path::new("/r");
        assert_eq!(inside(base, Path::new("./a/../b")), Some(PathBuf::from("/r/b")));
        assert_eq!(inside(base, Path::new("a/../../b")), None);
        assert_eq!(inside(base, Path::new("/etc")), None);
    }

    #[test]
    fn signals_are_read_by_name_and_number() {
        assert_eq!(Signal::parse("SIGTERM"), Some(Signal::TERM));
        assert_eq!(Signal::parse("term"), Some(Signal::TERM));
        assert_eq!(Signal::parse("9"), Some(Signal::KILL));
        assert_eq!(Signal::parse("0"), None);
        assert_eq!(Signal::parse("SIGNOPE"), None);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret {
            name: "token".to_owned(),
            value: b"hunter2".to_vec(),
            given: SecretGiven::File,
        };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
