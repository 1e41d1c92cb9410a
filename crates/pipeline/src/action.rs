//! Actions that are not built in: what `uses` names, where it comes from, what it needs.
//!
//! [`prepare`] looks at everything a workflow uses before it runs: actions of other repositories
//! are fetched by Git into the [`Library`], actions of this one are read, and those in them too.
//! What cannot be had refuses the run with its place, so that no run stops half way for it.

mod library;
mod prepare;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use source::workflow::action::{self, Action};

pub use library::{FetchError, Fetched, Library, MIRROR};
pub use prepare::{OwnFiles, prepare};

/// How deep actions may use each other; as on GitHub.
pub const MAX_DEPTH: usize = 10;

/// What the value of `uses` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `docker://image`.
    Docker(String),
    /// `./path`: in the workspace, as it is when the step runs.
    Workspace(String),
    /// `$/path`: in the repository of the file that says so, at its commit.
    Own(String),
    /// `owner/name/path@ref`.
    Remote(Remote),
}

/// An action of another repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// `owner/name`.
    pub repository: String,
    /// The folder in it; empty for its top.
    pub path: String,
    /// A tag, a branch or a commit.
    pub git_ref: String,
}

impl Reference {
    /// Reads the value of `uses`; none if it names nothing.
    pub fn parse(uses: &str) -> Option<Self> {
        if let Some(image) = uses.strip_prefix("docker://") {
            return Some(Self::Docker(image.to_owned()));
        }
        if let Some(path) = uses.strip_prefix("$/") {
            return inner_path(path).map(Self::Own);
        }
        if uses.starts_with("./") || uses.starts_with(".\\") || uses == "." {
            return Some(Self::Workspace(uses.replace('\\', "/")));
        }
        let (path, git_ref) = uses.split_once('@')?;
        let path = path.replace('\\', "/");
        let mut parts = path.splitn(3, '/');
        let (owner, name) = (parts.next()?, parts.next()?);
        let inner = inner_path(parts.next().unwrap_or_default())?;
        let is_plain = |text: &str| {
            !matches!(text, "" | "." | "..")
                && !text.starts_with('-')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let is_ref = !git_ref.is_empty()
            && !git_ref.starts_with('-')
            && !git_ref.contains("..")
            && !git_ref.chars().any(|c| c.is_control() || c == ' ' || "~^:?*[\\".contains(c));
        (is_plain(owner) && is_plain(name) && is_ref).then(|| {
            Self::Remote(Remote {
                repository: format!("{owner}/{name}"),
                path: inner,
                git_ref: git_ref.to_owned(),
            })
        })
    }
}

/// A path that stays where it begins.
fn inner_path(path: &str) -> Option<String> {
    let parts: Option<Vec<&str>> = Path::new(path)
        .components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    Some(parts?.join("/"))
}

/// The actions of a run: those fetched before it began, and where to get others from.
#[derive(Debug, Clone)]
pub struct Actions {
    library: Library,
    known: Arc<Mutex<HashMap<(String, String), Fetched>>>,
}

impl Actions {
    /// Returns the actions of a library, none of them fetched yet.
    pub fn new(library: Library) -> Self {
        Self { library, known: Arc::default() }
    }

    /// The directory that jobs read actions from.
    pub fn dir(&self) -> &Path {
        self.library.dir()
    }

    /// Fetches the repository of an action, unless that was done for this run.
    pub fn fetch(&self, remote: &Remote) -> Result<Fetched, FetchError> {
        let key = (remote.repository.to_lowercase(), remote.git_ref.clone());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(fetched) = known {
            return Ok(fetched);
        }
        let fetched = self.library.fetch(&remote.repository, &remote.git_ref)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, fetched.clone());
        Ok(fetched)
    }

    /// Every commit that a tag or branch was taken for, as `owner/name@ref` with the commit.
    pub fn resolved(&self) -> Vec<(String, String)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<(String, String)> = known
            .iter()
            .map(|((repository, git_ref), fetched)| {
                (format!("{repository}@{git_ref}"), fetched.commit.clone())
            })
            .collect();
        list.sort();
        list
    }
}

/// Where an action's files are, and the repository they belong to.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub action: Arc<Action>,
    /// Its folder.
    pub dir: PathBuf,
    /// The action as it was named, for people.
    pub shown: String,
    /// Its repository, when it is another one.
    pub remote: Option<(Remote, Fetched)>,
}

/// Reads the action in a folder; `shown` names the folder in messages.
pub(crate) fn read_in(dir: &Path, shown: &str) -> Result<Action, String> {
    for name in action::FILE_NAMES {
        let path = dir.join(name);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("could not read {shown}/{name}: {error}")),
        };
        let (action, mut findings) = action::read(&format!("{shown}/{name}"), &text);
        if let Some(action) = &action {
            findings.extend(prepare::expression_findings(action));
        }
        let wrong: Vec<String> = findings
            .iter()
            .filter(|finding| finding.is_error())
            .map(|finding| format!("{}: {}", finding.place, finding.message))
            .collect();
        return match action {
            Some(action) if wrong.is_empty() => Ok(action),
            _ => Err(wrong.join("\n")),
        };
    }
    if dir.join("Dockerfile").is_file() {
        return Err(format!(
            "`{shown}` is an action that runs in Docker, which is not supported yet"
        ));
    }
    Err(format!(
        "Can't find 'action.yml', 'action.yaml' or 'Dockerfile' under '{shown}'. Did you forget to run actions/checkout before running your local action?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_names_an_action_in_one_of_four_ways() {
        assert_eq!(Reference::parse("docker://a"), Some(Reference::Docker("a".to_owned())));
        assert_eq!(Reference::parse("./a/b"), Some(Reference::Workspace("./a/b".to_owned())));
        assert_eq!(Reference::parse("$/a/b"), Some(Reference::Own("a/b".to_owned())));
        assert_eq!(
            Reference::parse("o/r/a/b@v1"),
            Some(Reference::Remote(Remote {
                repository: "o/r".to_owned(),
                path: "a/b".to_owned(),
                git_ref: "v1".to_owned(),
            }))
        );
    }

    #[test]
    fn no_name_leads_out_of_its_repository() {
        for name in
            ["o/r/../x@v1", "../r@v1", "o/..@v1", "o/r", "o@v1", "-o/r@v1", "o/r@--x", "$/../x"]
        {
            assert_eq!(Reference::parse(name), None, "{name}");
        }
    }
}
