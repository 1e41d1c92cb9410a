//! Actions that Marline does itself, without fetching anything.

pub(crate) mod artifact;
pub(crate) mod cache;
pub(crate) mod checkout;
pub mod setup;

use source::Span;
use source::workflow::Entries;

/// An action that Marline does itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    /// `actions/checkout`.
    Checkout,
    /// `actions/upload-artifact`.
    UploadArtifact,
    /// `actions/download-artifact`.
    DownloadArtifact,
    /// `actions/cache`: restores, and saves when the job ends well.
    Cache,
    /// `actions/cache/restore`.
    RestoreCache,
    /// `actions/cache/save`.
    SaveCache,
    /// `actions/setup-node` and its like.
    SetUp(setup::Tool),
}

/// What a built-in action is called and which inputs it understands.
struct Definition {
    name: &'static str,
    action: BuiltIn,
    /// Inputs that do something here.
    inputs: &'static [&'static str],
    /// Inputs that may be given and change nothing here.
    ignored: &'static [&'static str],
    /// Inputs that must keep their default, which is this.
    fixed: &'static [(&'static str, &'static str)],
}

const BUILT_INS: &[Definition] = &[
    Definition {
        name: "actions/checkout",
        action: BuiltIn::Checkout,
        inputs: &["ref", "path", "clean", "fetch-depth", "fetch-tags"],
        ignored: &[
            "token",
            "ssh-key",
            "ssh-known-hosts",
            "ssh-strict",
            "ssh-user",
            "persist-credentials",
            "set-safe-directory",
            "show-progress",
            "github-server-url",
            "allow-unsafe-pr-checkout",
        ],
        fixed: &[
            ("repository", "${{ github.repository }}"),
            ("filter", ""),
            ("sparse-checkout", ""),
            ("sparse-checkout-cone-mode", "true"),
            ("lfs", "false"),
            ("submodules", "false"),
        ],
    },
    Definition {
        name: "actions/upload-artifact",
        action: BuiltIn::UploadArtifact,
        inputs: &[
            "name",
            "path",
            "if-no-files-found",
            "overwrite",
            "include-hidden-files",
            "retention-days",
            "compression-level",
            "archive",
        ],
        ignored: &[],
        fixed: &[],
    },
    Definition {
        name: "actions/download-artifact",
        action: BuiltIn::DownloadArtifact,
        inputs: &["name", "path", "pattern", "merge-multiple", "artifact-ids", "skip-decompress"],
        ignored: &["github-token", "digest-mismatch"],
        fixed: &[("repository", "${{ github.repository }}"), ("run-id", "${{ github.run_id }}")],
    },
    Definition {
        name: "actions/cache",
        action: BuiltIn::Cache,
        inputs: &["path", "key", "restore-keys", "fail-on-cache-miss", "lookup-only"],
        ignored: &["upload-chunk-size", "enableCrossOsArchive", "save-always"],
        fixed: &[],
    },
    Definition {
        name: "actions/cache/restore",
        action: BuiltIn::RestoreCache,
        inputs: &["path", "key", "restore-keys", "fail-on-cache-miss", "lookup-only"],
        ignored: &["enableCrossOsArchive"],
        fixed: &[],
    },
    Definition {
        name: "actions/cache/save",
        action: BuiltIn::SaveCache,
        inputs: &["path", "key"],
        ignored: &["upload-chunk-size", "enableCrossOsArchive"],
        fixed: &[],
    },
    Definition {
        name: "actions/setup-node",
        action: BuiltIn::SetUp(setup::Tool::Node),
        inputs: &["node-version", "node-version-file"],
        ignored: &[
            "architecture",
            "check-latest",
            "token",
            "cache",
            "cache-dependency-path",
            "cache-write",
            "always-auth",
            "package-manager-cache",
        ],
        fixed: &[],
    },
    Definition {
        name: "actions/setup-python",
        action: BuiltIn::SetUp(setup::Tool::Python),
        inputs: &["python-version", "python-version-file"],
        ignored: &[
            "architecture",
            "check-latest",
            "token",
            "cache",
            "cache-dependency-path",
            "cache-write",
            "update-environment",
            "allow-prereleases",
            "freethreaded",
            "pip-version",
        ],
        fixed: &[],
    },
    Definition {
        name: "actions/setup-go",
        action: BuiltIn::SetUp(setup::Tool::Go),
        inputs: &["go-version", "go-version-file"],
        ignored: &[
            "architecture",
            "check-latest",
            "token",
            "cache",
            "cache-dependency-path",
            "cache-write",
            "go-download-base-url",
        ],
        fixed: &[],
    },
    Definition {
        name: "actions/setup-java",
        action: BuiltIn::SetUp(setup::Tool::Java),
        inputs: &["java-version", "java-version-file", "distribution"],
        ignored: &[
            "architecture",
            "check-latest",
            "token",
            "cache",
            "cache-dependency-path",
            "cache-write",
            "java-package",
            "overwrite-settings",
        ],
        fixed: &[],
    },
    Definition {
        name: "dtolnay/rust-toolchain",
        action: BuiltIn::SetUp(setup::Tool::Rust),
        inputs: &["toolchain", "components", "targets", "target"],
        ignored: &["profile"],
        fixed: &[],
    },
    Definition {
        name: "actions-rs/toolchain",
        action: BuiltIn::SetUp(setup::Tool::Rust),
        inputs: &["toolchain", "components", "targets", "target"],
        ignored: &["profile", "override", "default"],
        fixed: &[],
    },
    Definition {
        name: "actions-rust-lang/setup-rust-toolchain",
        action: BuiltIn::SetUp(setup::Tool::Rust),
        inputs: &["toolchain", "components", "targets", "target"],
        ignored: &[
            "cache",
            "cache-workspaces",
            "cache-on-failure",
            "rustflags",
            "override",
            "matcher",
        ],
        fixed: &[],
    },
];

/// Why a step's action cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is not supported, in words.
    pub what: String,
    /// Where, if not at the action's name.
    pub span: Option<Span>,
    /// How to mend it.
    pub help: String,
}

impl BuiltIn {
    /// Whether the value of `uses` names a built-in action, whatever its inputs.
    pub(crate) fn is_named(uses: &str) -> bool {
        let name = uses.split('@').next().unwrap_or(uses);
        BUILT_INS.iter().any(|one| one.name.eq_ignore_ascii_case(name))
    }

    /// Returns the built-in for the value of `uses`, at any version.
    pub(crate) fn find(uses: &str, with: &Entries) -> Result<Self, Refusal> {
        let refuse = |what: String, span, help: String| Refusal { what, span, help };
        let list = || {
            let names: Vec<&str> = BUILT_INS.iter().map(|one| one.name).collect();
            format!("built in are {}; do the rest in `run` steps", names.join(", "))
        };
        let name = uses.split('@').next().unwrap_or(uses);
        let found = BUILT_INS.iter().find(|one| one.name.eq_ignore_ascii_case(name));
        let Some(definition) = found else {
            return Err(refuse(format!("the action `{name}`"), None, list()));
        };
        for entry in with.written() {
            let input = entry.key.text.as_str();
            let is_one_of =
                |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(input));
            if is_one_of(definition.inputs) || is_one_of(definition.ignored) {
                continue;
            }
            let default =
                definition.fixed.iter().find(|(known, _)| known.eq_ignore_ascii_case(input));
            let value = entry.value.coerced();
            if default.is_some_and(|(_, default)| value.is_empty() || value == *default) {
                continue;
            }
            let what = format!("the input `{input}` of `{name}`");
            return Err(refuse(what, Some(entry.key.span), "leave it out".to_owned()));
        }
        Ok(definition.action)
    }
}

/// The value of an input, ignoring case.
pub(crate) fn input<'a>(inputs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    inputs
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// Whether an input says yes, as YAML's core schema has it.
pub(crate) fn is_true(inputs: &[(String, String)], name: &str) -> bool {
    input(inputs, name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
