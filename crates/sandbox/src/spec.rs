//! What a caller wants of a box.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Level;

/// What a box should be like.
///
/// Paths are the same inside and outside, at every level, so that error messages, debug
/// information and caches name files that exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxSpec {
    pub(crate) workspace: PathBuf,
    pub(crate) layers_dir: Option<PathBuf>,
    pub(crate) writable: Vec<PathBuf>,
    pub(crate) readable: Vec<PathBuf>,
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) network: Network,
    pub(crate) hostname: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) tmp_bytes: u64,
    pub(crate) wanted: Level,
    pub(crate) at_least: Level,
}

/// What the processes of a box may reach over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The network of the machine, loopback included.
    #[default]
    Open,
    /// A loopback interface of its own and nothing else.
    None,
}

/// How much a box may use. `None` means no limit of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads in the whole box.
    pub processes: Option<u64>,
    /// Memory of the whole box, in bytes.
    pub memory_bytes: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Size of each file that is written, in bytes.
    pub file_bytes: Option<u64>,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
}

impl BoxSpec {
    /// Describes a box around a workspace, with an open network, no limits of number, and the
    /// well-known secrets of the machine hidden.
    pub fn new(workspace: impl Into<PathBuf>) -> Self {
        Self {
            workspace: workspace.into(),
            layers_dir: None,
            writable: Vec::new(),
            readable: Vec::new(),
            hidden: well_known_secrets(),
            network: Network::Open,
            hostname: None,
            limits: Limits::default(),
            tmp_bytes: 4 << 30,
            wanted: Level::Namespaces,
            at_least: Level::Plain,
        }
    }

    /// Records the changes of each layered process in `<dir>/<number>/`.
    ///
    /// The directory should be on the file system of the workspace and must not be inside it.
    pub fn layers_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.layers_dir = Some(dir.into());
        self
    }

    /// Lets the box write to one more directory or file.
    pub fn writable(mut self, path: impl Into<PathBuf>) -> Self {
        self.writable.push(path.into());
        self
    }

    /// Keeps a path readable though it lies below a hidden one, or below a private `/tmp` or `/run`.
    pub fn readable(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// Puts an empty directory, or an empty file, in the place of a path.
    ///
    /// The workspace and the writable and readable paths below it stay visible. A path that does
    /// not exist when the box opens is passed over.
    pub fn hidden(mut self, path: impl Into<PathBuf>) -> Self {
        self.hidden.push(path.into());
        self
    }

    /// Chooses the network.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Gives the box a host name of its own.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// Limits what the box may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Limits each private temporary directory; 4 GiB when not said.
    pub fn tmp_bytes(mut self, bytes: u64) -> Self {
        self.tmp_bytes = bytes;
        self
    }

    /// Asks for a level; a weaker one is used, and reported, where the machine does not allow it.
    ///
    /// The variable `MARLINE_BOX` (`plain`, `landlock` or `namespaces`) of the caller's own
    /// environment goes before this.
    pub fn level(mut self, level: Level) -> Self {
        self.wanted = level;
        self
    }

    /// Refuses to open the box at any weaker level.
    pub fn at_least(mut self, level: Level) -> Self {
        self.at_least = level;
        self
    }

    /// Returns the workspace directory.
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }
}

/// Names the files on an ordinary machine that no job should read.
fn well_known_secrets() -> Vec<PathBuf> {
    let system =
        ["shadow", "shadow-", "gshadow", "gshadow-", "sudoers", "sudoers.d", "ssl/private"]
            .into_iter()
            .map(|name| Path::new("/etc").join(name));
    let host_keys = ["rsa", "ecdsa", "ed25519"]
        .into_iter()
        .map(|kind| PathBuf::from(format!("/etc/ssh/ssh_host_{kind}_key")));
    let homes =
        std::env::var_os("HOME").map(PathBuf::from).into_iter().chain([PathBuf::from("/root")]);
    let personal = homes.flat_map(|home| PERSONAL.iter().map(move |name| home.join(name)));
    let mut paths: Vec<PathBuf> = system.chain(host_keys).chain(personal).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Credentials that tools keep below a home directory.
const PERSONAL: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".config/gcloud",
    ".config/gh",
    ".config/sops",
    ".config/age",
    ".netrc",
    ".git-credentials",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".bash_history",
    ".zsh_history",
];
