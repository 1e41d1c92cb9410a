//! A Git repository, asked through the real `git` command.
//!
//! Every function blocks for as long as `git` takes; async callers use `spawn_blocking`. Nothing
//! here writes to the user's worktree, index or refs: what is made goes to a directory the caller
//! names. What users typed (revisions, branch names, paths) is never read as an option, and the
//! environment that hooks and other tools leave behind (`GIT_DIR`, `GIT_INDEX_FILE`, …) is dropped.
//!
//! Names are bytes: paths are [`PathBuf`]s that may hold spaces, newlines and bytes that are not
//! UTF-8. Needs Git 2.31 or newer.

mod history;
mod remote;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

pub use remote::{fetch_to, remote_commit};
use serde::{Deserialize, Serialize};

/// A repository with a worktree and at least one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    root: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    /// The commit that was asked for last, which is asked for again: a commit never changes.
    last_commit: Last<Commit>,
    last_files: Last<Vec<TreeEntry>>,
}

/// What was found out about one commit, the last one.
#[derive(Debug, Clone)]
struct Last<T>(Arc<Mutex<Option<(CommitId, T)>>>);

impl<T: Clone> Last<T> {
    fn get_or(
        &self,
        commit: &CommitId,
        ask: impl FnOnce() -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, value)) = &*lock()
            && known == commit
        {
            return Ok(value.clone());
        }
        let value = ask()?;
        *lock() = Some((commit.clone(), value.clone()));
        Ok(value)
    }
}

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// What is remembered makes no other repository of it.
impl<T> PartialEq for Last<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Last<T> {}

impl Repository {
    /// Finds the repository that holds `dir`.
    pub fn discover(dir: &Path) -> Result<Self, GitError> {
        if let Err(source) = fs::read_dir(dir) {
            return Err(GitError::Io { path: dir.to_owned(), source });
        }
        let ask = |questions: &[&str]| {
            let mut git = Git::in_dir(dir, "find the repository");
            git.args(["rev-parse", "--path-format=absolute"]).args(questions);
            git.output().map_err(|error| error.explain_discovery(dir))
        };
        const QUESTIONS: [&str; 5] = [
            "--is-bare-repository",
            "--absolute-git-dir",
            "--git-common-dir",
            "--show-toplevel",
            "HEAD^{commit}",
        ];
        let all = ask(&QUESTIONS).unwrap_or_default();
        let lines: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
        let is_whole = matches!(lines[..], [b"false", _, _, _, _, b""]);
        let [git_dir, common_dir, root] = match lines[..] {
            [_, git_dir, common_dir, root, ..] if is_whole => {
                [git_dir, common_dir, root].map(path_of)
            }
            // One by one, where a path has lines of its own or there is something to say.
            _ => {
                let ask = |question| ask(&[question]).map(path_line);
                let git_dir = ask("--absolute-git-dir")?;
                if ask("--is-bare-repository")?.as_os_str() == "true" {
                    return Err(GitError::Bare { dir: git_dir });
                }
                [git_dir, ask("--git-common-dir")?, ask("--show-toplevel")?]
            }
        };
        let (last_commit, last_files) = Default::default();
        let repository = Self { root, git_dir, common_dir, last_commit, last_files };
        if !is_whole && repository.rev("HEAD")?.is_none() {
            return Err(GitError::Empty { root: repository.root });
        }
        Ok(repository)
    }

    /// The top of the worktree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The `.git` directory of this worktree; differs from [`Self::common_dir`] in linked worktrees.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The `.git` directory that all worktrees share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Returns every directory that holds objects of this repository, its own first.
    ///
    /// A clone made by [`Self::clone_to`] reads from them, so a box around it must let it.
    pub fn object_dirs(&self) -> Vec<PathBuf> {
        let mut found = vec![self.common_dir.join("objects")];
        let mut next = 0;
        while let Some(dir) = found.get(next).cloned() {
            next += 1;
            let Ok(alternates) = fs::read(dir.join("info/alternates")) else {
                continue;
            };
            for line in alternates.split(|byte| *byte == b'\n') {
                if line.is_empty() || line.starts_with(b"#") {
                    continue;
                }
                let other = dir.join(Path::new(OsStr::from_bytes(line)));
                if !found.contains(&other) && found.len() < 64 {
                    found.push(other);
                }
            }
        }
        found
    }

    /// Returns what is checked out: a commit and, unless the head is detached, a branch.
    pub fn head(&self) -> Result<Head, GitError> {
        let mut git = self.git("read the head");
        // Both in one answer, so that they belong together.
        git.args(["rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD"]);
        let Some(both) = git.output_unless(128)? else {
            // There is no commit, unless this says what is wrong.
            self.rev("HEAD")?;
            return Err(GitError::Empty { root: self.root.clone() });
        };
        let mut lines = both.split(|byte| *byte == b'\n');
        let commit = CommitId::read(lines.next().unwrap_or_default())?;
        let name = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        Ok(Head { branch: name.strip_prefix("refs/heads/").map(str::to_owned), commit })
    }

    /// Returns the commit that a revision names: a branch, a tag, `HEAD~2`, a short id.
    pub fn resolve(&self, rev: &str) -> Result<CommitId, GitError> {
        self.rev(rev)?.ok_or_else(|| GitError::UnknownRevision { rev: rev.to_owned() })
    }

    /// Returns the commit a local branch points at; `None` when there is no such branch.
    ///
    /// One short `git` process, cheap enough to ask twice a second; works with loose, packed and
    /// reftable refs alike.
    pub fn branch_tip(&self, branch: &str) -> Result<Option<CommitId>, GitError> {
        self.rev(&format!("refs/heads/{branch}"))
    }

    fn rev(&self, rev: &str) -> Result<Option<CommitId>, GitError> {
        if rev.is_empty() || rev.contains('\0') {
            return Ok(None);
        }
        let mut git = self.git("resolve a revision");
        git.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        git.arg(format!("{rev}^{{commit}}"));
        let Some(out) = git.output_unless_refused()? else {
            return Ok(None);
        };
        Ok(Some(CommitId::read(trim_line(&out))?))
    }

    /// Returns what a commit says about itself.
    pub fn commit(&self, id: &CommitId) -> Result<Commit, GitError> {
        self.last_commit.get_or(id, || {
            let mut commits = self.read_log(&[OsStr::new("--no-walk"), OsStr::new(id.as_str())])?;
            commits.pop().ok_or_else(|| GitError::UnknownRevision { rev: id.to_string() })
        })
    }

    /// Returns the commits reachable from `range.to` but not from `range.after`, newest first.
    pub fn log(&self, range: &Range, limit: usize) -> Result<Vec<Commit>, GitError> {
        let count = OsString::from(format!("--max-count={limit}"));
        let mut args = vec![count, OsString::from(range.to.as_str())];
        if let Some(after) = &range.after {
            args.push(OsString::from(format!("^{after}")));
        }
        let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
        self.read_log(&args)
    }

    fn read_log(&self, args: &[&OsStr]) -> Result<Vec<Commit>, GitError> {
        let mut git = self.git("read the history");
        git.args(["log", "--no-patch", "--no-color", "--no-show-signature", "--encoding=UTF-8"]);
        git.arg("--format=tformat:%H%x00%P%x00%an%x00%ae%x00%ct%x00%s%x00%b%x00");
        git.args(args).arg("--");
        let out = git.output().map_err(|error| error.explain_object(args))?;
        let fields: Vec<&[u8]> = out.split(|byte| *byte == 0).collect();
        fields.chunks_exact(7).map(Commit::read).collect()
    }

    /// Returns the files that differ between two commits; from `None`, every file is an added one.
    ///
    /// A renamed file is one deleted and one added. Submodules count as files.
    pub fn changed_files(
        &self,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<Vec<FileChange>, GitError> {
        let Some(from) = from else {
            let added = |entry: TreeEntry| FileChange { path: entry.path, change: Change::Added };
            return Ok(self.files_at(to)?.into_iter().map(added).collect());
        };
        let mut git = self.git("compare two commits");
        git.args(["diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--name-status"]);
        git.args([from.as_str(), to.as_str(), "--"]);
        let out = git.output()?;
        let mut fields = out.split(|byte| *byte == 0);
        let mut changes = Vec::new();
        while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
            let change = match status.first() {
                Some(b'A') => Change::Added,
                Some(b'D') => Change::Deleted,
                _ => Change::Modified,
            };
            changes.push(FileChange { path: path_of(path), change });
        }
        Ok(changes)
    }

    /// Returns how much differs between two commits; from `None`, all of `to` is new.
    pub fn diff_summary(
        &self,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<DiffSummary, GitError> {
        let mut git = self.git("compare two commits");
        git.args(["diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--numstat"]);
        match from {
            Some(from) => git.args([from.as_str(), to.as_str()]),
            None => git.args([self.empty_tree()?.as_str(), to.as_str()]),
        };
        git.arg("--");
        let mut summary = DiffSummary::default();
        for line in git.output()?.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let mut parts = line.splitn(3, |byte| *byte == b'\t');
            let mut number =
                || -> Option<u64> { std::str::from_utf8(parts.next()?).ok()?.trim().parse().ok() };
            summary.files += 1;
            summary.insertions += number().unwrap_or(0); // `-` for a binary file
            summary.deletions += number().unwrap_or(0);
        }
        Ok(summary)
    }

    fn empty_tree(&self) -> Result<String, GitError> {
        let mut git = self.git("name the empty tree");
        git.args(["hash-object", "-t", "tree", "--stdin"]);
        Ok(String::from_utf8_lossy(trim_line(&git.output()?)).into_owned())
    }

    /// Whether anything tracked differs from the head or anything untracked is not ignored.
    pub fn is_dirty(&self) -> Result<bool, GitError> {
        Ok(!self.uncommitted()?.is_empty())
    }

    /// Returns everything in the worktree and the index that is not committed.
    pub fn uncommitted(&self) -> Result<Vec<Uncommitted>, GitError> {
        let mut git = self.git("list what is not committed");
        git.args(["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"]);
        git.arg("--ignore-submodules=none");
        let out = git.output()?;
        let entries = out.split(|byte| *byte == 0).filter(|entry| entry.len() > 3);
        Ok(entries
            .map(|entry| {
                let state = match (entry[0], entry[1]) {
                    (b'?', _) => UncommittedState::Untracked,
                    (b'U', _) | (_, b'U') | (b'A', b'A') | (b'D', b'D') => {
                        UncommittedState::Conflicted
                    }
                    (_, b'D') | (b'D', _) => UncommittedState::Deleted,
                    (b'A', _) => UncommittedState::Added,
                    _ => UncommittedState::Modified,
                };
                Uncommitted { path: path_of(&entry[3..]), state }
            })
            .collect())
    }

    /// Whether history was cut off when this repository was cloned.
    pub fn is_shallow(&self) -> Result<bool, GitError> {
        let mut git = self.git("ask whether the clone is shallow");
        git.args(["rev-parse", "--is-shallow-repository"]);
        Ok(trim_line(&git.output()?) == b"true")
    }

    /// Returns the paths at which a commit mounts other repositories.
    pub fn submodules(&self, commit: &CommitId) -> Result<Vec<PathBuf>, GitError> {
        let entries = self.files_at(commit)?.into_iter();
        Ok(entries.filter(|e| e.kind == EntryKind::Submodule).map(|e| e.path).collect())
    }

    /// Returns every file of a commit, in Git's order.
    pub fn files_at(&self, commit: &CommitId) -> Result<Vec<TreeEntry>, GitError> {
        self.last_files.get_or(commit, || self.list_tree(commit, None))
    }

    fn list_tree(
        &self,
        commit: &CommitId,
        path: Option<&Path>,
    ) -> Result<Vec<TreeEntry>, GitError> {
        let mut git = self.git("list the files of a commit");
        git.args(["ls-tree", "-z", "--full-tree"]);
        if path.is_none() {
            git.arg("-r");
        }
        git.arg(commit.as_str());
        if let Some(path) = path {
            git.arg("--").arg(path);
        }
        let out = git.output().map_err(|e| e.explain_object(&[OsStr::new(commit.as_str())]))?;
        Ok(out.split(|byte| *byte == 0).filter_map(TreeEntry::read).collect())
    }

    /// Returns the content of one file of a commit; `None` when there is no such file.
    ///
    /// A symbolic link gives its target.
    pub fn read_at(&self, commit: &CommitId, path: &Path) -> Result<Option<Vec<u8>>, GitError> {
        if !is_plain(path) {
            return Ok(None);
        }
        let entry = self.list_tree(commit, Some(path))?.into_iter().find(|e| e.path == path);
        let Some(entry) = entry.filter(TreeEntry::has_content) else {
            return Ok(None);
        };
        Ok(self.read_objects(&[entry.object])?.pop().flatten())
    }

    /// Returns the contents of many files of a commit, in the order asked, with two processes.
    pub fn read_many_at(
        &self,
        commit: &CommitId,
        paths: &[PathBuf],
    ) -> Result<Vec<Option<Vec<u8>>>, GitError> {
        let objects: HashMap<PathBuf, String> = self
            .files_at(commit)?
            .into_iter()
            .filter(TreeEntry::has_content)
            .map(|entry| (entry.path, entry.object))
            .collect();
        let known: Vec<Option<String>> = paths.iter().map(|p| objects.get(p).cloned()).collect();
        let asked: Vec<String> = known.iter().flatten().cloned().collect();
        let mut contents = self.read_objects(&asked)?.into_iter();
        Ok(known.iter().map(|id| id.as_ref().and_then(|_| contents.next().flatten())).collect())
    }

    fn read_objects(&self, ids: &[String]) -> Result<Vec<Option<Vec<u8>>>, GitError> {
        let doing = "read files of a commit";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut git = self.git(doing);
        git.args(["cat-file", "--batch"]);
        let failed = |source| GitError::Spawn { doing, source };
        let mut child = git
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| GitError::spawn(doing, source))?;
        let mut input = child.stdin.take().expect("stdin is piped above");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped above"));
        // Asking and reading at once: with one after the other, both pipes could fill up.
        let contents = std::thread::scope(|scope| {
            scope.spawn(move || ids.iter().try_for_each(|id| writeln!(input, "{id}")));
            ids.iter().map(|_| read_batch_entry(&mut output)).collect::<Result<Vec<_>, _>>()
        });
        drop(output);
        child.wait().map_err(failed)?;
        contents.map_err(failed)
    }

    /// Writes exactly the tree of a commit into `dir`, which is empty or does not exist yet.
    ///
    /// As a checkout does it: executable bits, symbolic links, line endings and filters as the
    /// attributes say. The user's index and worktree are not touched. Submodules stay empty
    /// directories.
    pub fn checkout_to(&self, commit: &CommitId, dir: &Path) -> Result<(), GitError> {
        prepare_empty(dir)?;
        let scratch = tempfile::tempdir()
            .map_err(|source| GitError::Io { path: std::env::temp_dir(), source })?;
        let mut git = Git::in_dir(dir, "check out a commit");
        git.env("GIT_DIR", &self.git_dir);
        git.env("GIT_WORK_TREE", dir);
        git.env("GIT_INDEX_FILE", scratch.path().join("index"));
        git.args(CHECKOUT_CONFIG);
        git.args(["read-tree", "--reset", "-u", commit.as_str()]);
        git.output().map_err(|e| e.explain_object(&[OsStr::new(commit.as_str())]))?;
        Ok(())
    }

    /// Makes a clone to work in: `.git` is usable, history and tags are there, `git status` is clean.
    ///
    /// Objects are shared with this repository, so `dir` works only while the [`Self::object_dirs`]
    /// are there. With `uncommitted`, what is not committed here lies changed and uncommitted there
    /// too. Hooks are not taken along.
    pub fn clone_to(
        &self,
        commit: &CommitId,
        dir: &Path,
        options: &CloneOptions,
    ) -> Result<(), GitError> {
        prepare_empty(dir)?;
        self.init_sharing(dir)?;
        let target = |doing| Git::in_dir(dir, doing);

        let mut git = target("point the head of a clone");
        match &options.branch {
            Some(branch) => git.args(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]),
            None => git.args(["update-ref", "--no-deref", "HEAD", commit.as_str()]),
        };
        git.output()?;
        self.copy_refs(commit, dir, options)?;

        let mut git = target("check out a clone");
        git.args(CHECKOUT_CONFIG);
        git.args(["read-tree", "--reset", "-u", "HEAD"]);
        git.output().map_err(|e| e.explain_object(&[OsStr::new(commit.as_str())]))?;
        if options.include_uncommitted {
            self.overlay_uncommitted(dir)?;
        }
        Ok(())
    }

    fn init_sharing(&self, dir: &Path) -> Result<(), GitError> {
        let mut git = self.git("ask for the object format");
        git.args(["rev-parse", "--show-object-format"]);
        let format = String::from_utf8_lossy(trim_line(&git.output()?)).into_owned();

        let mut git = Git::in_dir(dir, "make a clone");
        git.args(["init", "--quiet", "--template=", &format!("--object-format={format}")]);
        git.output()?;

        let info = dir.join(".git/objects/info");
        let mut objects = self.common_dir.join("objects").into_os_string().into_vec();
        if objects.contains(&b'\n') || objects.starts_with(b"\"") {
            objects = quote_c(&objects); // the file's own way to name such a directory
        }
        objects.push(b'\n');
        write_file(&info.join("alternates"), &objects)?;
        let shallow = self.common_dir.join("shallow");
        match fs::read(&shallow) {
            Ok(commits) => write_file(&dir.join(".git/shallow"), &commits)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(GitError::Io { path: shallow, source });
            }
        }
        for remote in self.remotes()? {
            let mut git = Git::in_dir(dir, "name the remotes of a clone");
            git.args(["config", "--local", &format!("remote.{}.url", remote.name)]);
            git.arg(&remote.url);
            git.output()?;
            let mut git = Git::in_dir(dir, "name the remotes of a clone");
            git.args(["config", "--local", &format!("remote.{}.fetch", remote.name)]);
            git.arg(format!("+refs/heads/*:refs/remotes/{}/*", remote.name));
            git.output()?;
        }
        Ok(())
    }

    /// Takes tags and remote branches along, so that `git describe` and `git merge-base` answer.
    fn copy_refs(
        &self,
        commit: &CommitId,
        dir: &Path,
        options: &CloneOptions,
    ) -> Result<(), GitError> {
        let mut git = self.git("list tags and remote branches");
        git.args(["for-each-ref", "--format=%(objectname) %(symref) %(refname)"]);
        git.args(["refs/tags", "refs/remotes"]);
        let listed = git.output()?;
        let mut wishes = Vec::new();
        if let Some(branch) = &options.branch {
            wishes.extend_from_slice(format!("create refs/heads/{branch}\0{commit}\0").as_bytes());
        }
        for line in listed.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(3, |byte| *byte == b' ');
            let (Some(id), Some(b""), Some(name)) = (parts.next(), parts.next(), parts.next())
            else {
                continue; // a symbolic ref such as `origin/HEAD`
            };
            wishes.extend_from_slice(b"create ");
            wishes.extend_from_slice(name);
            wishes.push(0);
            wishes.extend_from_slice(id);
            wishes.push(0);
        }
        let mut git = Git::in_dir(dir, "write the refs of a clone");
        git.args(["update-ref", "--stdin", "-z"]);
        git.input(wishes);
        git.output().map_err(|e| e.explain_object(&[OsStr::new(commit.as_str())]))?;
        Ok(())
    }

    fn overlay_uncommitted(&self, dir: &Path) -> Result<(), GitError> {
        let mut changes = self.uncommitted()?;
        // What is gone goes first: a deleted link or file may make room for a directory.
        let is_gone =
            |change: &Uncommitted| fs::symlink_metadata(self.root.join(&change.path)).is_err();
        changes.sort_by_cached_key(|change| !is_gone(change));
        for change in changes {
            let from = self.root.join(&change.path);
            let to = dir.join(&change.path);
            overlay(&from, &to, dir).map_err(|source| GitError::Io { path: from, source })?;
        }
        Ok(())
    }

    /// Returns the remotes by name. An address may hold a password: show [`Remote::shown_url`].
    pub fn remotes(&self) -> Result<Vec<Remote>, GitError> {
        let mut git = self.git("list the remotes");
        git.args(["config", "-z", "--get-regexp", r"^remote\..*\.url$"]);
        let Some(out) = git.output_unless(1)? else {
            return Ok(Vec::new());
        };
        let text = String::from_utf8_lossy(&out).into_owned();
        let mut remotes: Vec<Remote> = Vec::new();
        for entry in text.split('\0') {
            let Some((key, url)) = entry.split_once('\n') else {
                continue;
            };
            let name = key.strip_prefix("remote.").and_then(|key| key.strip_suffix(".url"));
            let Some(name) = name else { continue };
            if !remotes.iter().any(|known| known.name == name) {
                remotes.push(Remote { name: name.to_owned(), url: url.to_owned() });
            }
        }
        Ok(remotes)
    }

    fn git(&self, doing: &'static str) -> Git {
        let mut git = Git::in_dir(&self.root, doing);
        git.env("GIT_DIR", &self.git_dir).env("GIT_WORK_TREE", &self.root);
        git
    }
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The branch; `None` when the head is detached.
    pub branch: Option<String>,
    /// The commit.
    pub commit: CommitId,
}

/// The full id of a commit: 40 or 64 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    fn read(bytes: &[u8]) -> Result<Self, GitError> {
        let text = String::from_utf8_lossy(bytes);
        text.parse().map_err(|_| GitError::Answer { answer: text.into_owned() })
    }
}

impl FromStr for CommitId {
    type Err = NotACommitId;

    fn from_str(text: &str) -> Result<Self, NotACommitId> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if matches!(text.len(), 40 | 64) && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotACommitId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for CommitId {
    type Error = NotACommitId;

    fn try_from(text: String) -> Result<Self, NotACommitId> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> String {
        id.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no full commit id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a full commit id of 40 or 64 hexadecimal digits")]
pub struct NotACommitId(String);

/// What a commit says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// The commits it builds on: none for the first, two or more for a merge.
    pub parents: Vec<CommitId>,
    /// Who wrote it.
    pub author_name: String,
    /// Where to write to them.
    pub author_email: String,
    /// When it was committed, in seconds since 1970.
    pub committed_at: i64,
    /// The first paragraph of the message in one line.
    pub subject: String,
    /// The rest of the message.
    pub body: String,
}

impl Commit {
    fn read(fields: &[&[u8]]) -> Result<Self, GitError> {
        let text = |at: usize| String::from_utf8_lossy(fields[at]).into_owned();
        // Every record but the first begins with the line end of the one before.
        let id = fields[0].strip_prefix(b"\n").unwrap_or(fields[0]);
        Ok(Self {
            id: CommitId::read(id)?,
            parents: text(1)
                .split_whitespace()
                .map(|parent| CommitId::read(parent.as_bytes()))
                .collect::<Result<_, _>>()?,
            author_name: text(2),
            author_email: text(3),
            committed_at: text(4).parse().unwrap_or(0),
            subject: text(5),
            body: text(6).trim_end().to_owned(),
        })
    }
}

/// The commits reachable from one commit and, where given, not from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Where to stop; `None` goes back to the first commit.
    pub after: Option<CommitId>,
    /// The newest commit.
    pub to: CommitId,
}

/// A file that differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path from the top of the repository.
    pub path: PathBuf,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// Its content, mode or type changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// How much differs between two commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffSummary {
    /// Files that differ.
    pub files: u64,
    /// Lines that are new; binary files count none.
    pub insertions: u64,
    /// Lines that are gone.
    pub deletions: u64,
}

/// A path that is not as the head has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncommitted {
    /// The path from the top of the repository; ends in `/` for a repository inside this one.
    pub path: PathBuf,
    /// What is not committed about it.
    pub state: UncommittedState,
}

/// What is not committed about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UncommittedState {
    /// Added to the index.
    Added,
    /// Changed in the index or the worktree.
    Modified,
    /// Deleted in the index or the worktree.
    Deleted,
    /// Unknown to Git and not ignored.
    Untracked,
    /// Left unmerged.
    Conflicted,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path from the top of the repository.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// The id of its content.
    pub object: String,
}

impl TreeEntry {
    fn read(line: &[u8]) -> Option<Self> {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut meta = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
        let kind = match meta.next()? {
            "100755" => EntryKind::Executable,
            "120000" => EntryKind::Symlink,
            "160000" => EntryKind::Submodule,
            "040000" => EntryKind::Directory,
            _ => EntryKind::File,
        };
        let object = meta.nth(1)?.to_owned();
        Some(Self { path: path_of(&line[tab + 1..]), kind, object })
    }

    fn has_content(&self) -> bool {
        matches!(self.kind, EntryKind::File | EntryKind::Executable | EntryKind::Symlink)
    }
}

/// What a tree entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An ordinary file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link; its content is its target.
    Symlink,
    /// Another repository at a commit.
    Submodule,
    /// A directory; only where one path was asked for.
    Directory,
}

/// Another repository that this one knows by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its name: `origin`.
    pub name: String,
    /// Its address as configured; may hold a password.
    pub url: String,
}

impl Remote {
    /// The address without user and password.
    pub fn shown_url(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return self.url.clone();
        };
        let end = rest.find('/').unwrap_or(rest.len());
        match rest[..end].rfind('@') {
            Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
            None => self.url.clone(),
        }
    }
}

/// How [`Repository::clone_to`] makes its clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloneOptions {
    /// The branch that the head of the clone is on; `None` detaches it.
    pub branch: Option<String>,
    /// Whether to take along what is not committed.
    pub include_uncommitted: bool,
}

/// Why Git could not answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` command.
    #[error("the `git` command was not found")]
    Missing,
    /// No repository holds the directory.
    #[error("`{}` is not in a Git repository", dir.display())]
    NotARepository {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The repository has no commit yet.
    #[error("the repository `{}` has no commit yet", root.display())]
    Empty {
        /// The top of the worktree.
        root: PathBuf,
    },
    /// The repository has no worktree.
    #[error("the repository `{}` is bare: it has no files to work on", dir.display())]
    Bare {
        /// The repository.
        dir: PathBuf,
    },
    /// The repository belongs to another user, and Git will not trust it.
    #[error("the repository at `{}` belongs to another user", dir.display())]
    UnsafeOwnership {
        /// The directory as Git names it.
        dir: PathBuf,
    },
    /// No commit goes by this name.
    #[error("`{rev}` names no commit of this repository")]
    UnknownRevision {
        /// What was asked for.
        rev: String,
    },
    /// The directory to write to holds something already.
    #[error("`{}` is not empty", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// `git` ran and failed.
    #[error("`git` could not {doing}: {stderr}")]
    Failed {
        /// What it was to do.
        doing: &'static str,
        /// What it said, on one line.
        stderr: String,
    },
    /// `git` could not be run or talked to.
    #[error("`git` could not be run to {doing}")]
    Spawn {
        /// What it was to do.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `git` gave an answer that is not understood.
    #[error("`git` answered `{answer}`, which is not a commit id")]
    Answer {
        /// The answer.
        answer: String,
    },
    /// A file or directory could not be read or written.
    #[error("could not use `{}`", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl GitError {
    /// Says how to mend it, where that is known.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing => "install Git, for example with `apt-get install git`".into(),
            Self::NotARepository { dir } => {
                format!("run `git init {}` or choose another directory with `-C`", shown(dir))
            }
            Self::Empty { .. } => {
                "commit something first: `git add . && git commit -m \"first\"`".into()
            }
            Self::Bare { dir } => {
                format!("work in a clone of it: `git clone {} work`", shown(dir))
            }
            Self::UnsafeOwnership { dir } => format!(
                "if you trust its owner: `git config --global --add safe.directory {}`",
                shown(dir)
            ),
            Self::UnknownRevision { .. } => {
                "`git log --all --oneline` lists the commits; in a shallow clone \
                 `git fetch --unshallow` brings the older ones"
                    .into()
            }
            Self::NotEmpty { .. } => "choose an empty directory".into(),
            Self::Failed { .. } | Self::Spawn { .. } | Self::Answer { .. } | Self::Io { .. } => {
                return None;
            }
        })
    }

    fn spawn(doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Spawn { doing, source },
        }
    }

    fn explain_discovery(self, dir: &Path) -> Self {
        let Self::Failed { stderr, .. } = &self else {
            return self;
        };
        if stderr.contains("dubious ownership") {
            let named = stderr.split('\'').nth(1).map_or_else(|| dir.to_owned(), PathBuf::from);
            return Self::UnsafeOwnership { dir: named };
        }
        if stderr.contains("not a git repository") {
            return Self::NotARepository { dir: dir.to_owned() };
        }
        if stderr.contains("must be run in a work tree") {
            return Self::Bare { dir: dir.to_owned() };
        }
        self
    }

    /// Turns Git's complaint about a missing object into the revision that was asked for.
    fn explain_object(self, args: &[&OsStr]) -> Self {
        let Self::Failed { stderr, .. } = &self else {
            return self;
        };
        let missing = ["bad object", "bad revision", "not a tree object", "not a valid object"]
            .iter()
            .any(|complaint| stderr.contains(complaint))
            || stderr.contains("nonexistent object")
            || stderr.contains("failed to unpack tree object");
        let rev = args.iter().map(|arg| arg.to_string_lossy()).find(|arg| !arg.starts_with('-'));
        match rev {
            Some(rev) if missing => Self::UnknownRevision { rev: rev.into_owned() },
            _ => self,
        }
    }
}

/// One `git` command with a clean environment.
struct Git {
    command: Command,
    doing: &'static str,
    input: Option<Vec<u8>>,
}

/// Settings that must hold whatever the user's configuration says: no hooks, no prompts, no
/// background work, nothing run or written on the side.
const CONFIG: [&str; 14] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.splitIndex=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "submodule.recurse=false",
    "-c",
    "advice.detachedHead=false",
];

/// Settings for writing a whole tree: all of it, on all cores.
const CHECKOUT_CONFIG: [&str; 4] = ["-c", "core.sparseCheckout=false", "-c", "checkout.workers=0"];

/// What of Git's own environment is kept: where its configuration and its programs are.
const KEPT: [&str; 6] = [
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
];

impl Git {
    fn in_dir(dir: &Path, doing: &'static str) -> Self {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            let is_git = name.as_bytes().starts_with(b"GIT_");
            if is_git && !KEPT.iter().any(|kept| name == *kept) {
                command.env_remove(name);
            }
        }
        command
            .envs([("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0")])
            .envs([("GIT_LITERAL_PATHSPECS", "1"), ("GIT_PAGER", "cat"), ("LC_ALL", "C")])
            .arg("-C")
            .arg(dir)
            .args(CONFIG)
            .stdin(Stdio::null());
        Self { command, doing, input: None }
    }

    fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.command.args(args);
        self
    }

    fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    fn input(&mut self, input: Vec<u8>) -> &mut Self {
        self.input = Some(input);
        self
    }

    /// Returns what it prints, or the error that it ends with.
    fn output(&mut self) -> Result<Vec<u8>, GitError> {
        let output = self.run()?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failed(&output.stderr)) }
    }

    /// Returns what it prints; `None` when it ends with `code`, which is an answer of its own.
    fn output_unless(&mut self, code: i32) -> Result<Option<Vec<u8>>, GitError> {
        let output = self.run()?;
        match output.status.code() {
            Some(0) => Ok(Some(output.stdout)),
            Some(ended) if ended == code => Ok(None),
            _ => Err(self.failed(&output.stderr)),
        }
    }

    /// Returns what it prints; `None` when it does not know the revision.
    ///
    /// `rev-parse --quiet` ends with 1 for an unknown name, with 128 for one that is no name.
    fn output_unless_refused(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        let output = self.run()?;
        match output.status.code() {
            Some(0) => Ok(Some(output.stdout)),
            Some(1 | 128) if !is_trouble(&output.stderr) => Ok(None),
            _ => Err(self.failed(&output.stderr)),
        }
    }

    fn run(&mut self) -> Result<Output, GitError> {
        let doing = self.doing;
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| GitError::spawn(doing, source))?;
        let input = self.input.take();
        let writer = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let (Some(input), Some(mut writer)) = (input, writer) {
                // Git may end before it has read all; its exit says why.
                scope.spawn(move || writer.write_all(&input));
            }
            child.wait_with_output()
        });
        output.map_err(|source| GitError::Spawn { doing, source })
    }

    fn failed(&self, stderr: &[u8]) -> GitError {
        let stderr = String::from_utf8_lossy(stderr);
        let lines: Vec<&str> = stderr
            .lines()
            .map(|line| line.trim().trim_start_matches("fatal: ").trim_start_matches("error: "))
            .filter(|line| !line.is_empty())
            .collect();
        let stderr = if lines.is_empty() { "it said nothing".into() } else { lines.join("; ") };
        GitError::Failed { doing: self.doing, stderr }
    }
}

/// Whether Git complains about the repository itself and not about the name it was given.
fn is_trouble(stderr: &[u8]) -> bool {
    let stderr = String::from_utf8_lossy(stderr);
    ["dubious ownership", "not a git repository", "corrupt", "Permission denied", "bad config"]
        .iter()
        .any(|trouble| stderr.contains(trouble))
}

/// Reads one answer of `cat-file --batch`; `None` when the object is missing.
fn read_batch_entry(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut header = String::new();
    from.read_line(&mut header)?;
    let Some(size) = header.trim_end().rsplit(' ').next().and_then(|size| size.parse().ok()) else {
        return if header.trim_end().ends_with(" missing") {
            Ok(None)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        };
    };
    let mut content = Vec::new();
    from.take(size).read_to_end(&mut content)?;
    if content.len() as u64 != size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    from.read_exact(&mut [0])?;
    Ok(Some(content))
}

/// Makes `to` be what `from` is: a file, a link, or nothing. Never writes outside `top`.
fn overlay(from: &Path, to: &Path, top: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from).ok();
    if meta.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Ok(()); // another repository: a submodule or a clone inside this one
    }
    let Some(meta) = meta else {
        return remove(to);
    };
    if let Some(parent) = to.parent() {
        make_real_dirs(parent, top)?;
    }
    remove(to)?;
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)
    } else if meta.is_file() {
        fs::copy(from, to).map(drop)
    } else {
        Ok(()) // sockets and pipes are nobody's source
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Makes every part of `dir` below `top` a directory, in place of a file or link that stood there.
fn make_real_dirs(dir: &Path, top: &Path) -> io::Result<()> {
    if dir == top {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_real_dirs(parent, top)?;
    }
    match fs::symlink_metadata(dir) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => fs::remove_file(dir).and_then(|()| fs::create_dir(dir)),
        Err(_) => fs::create_dir(dir),
    }
}

fn prepare_empty(dir: &Path) -> Result<(), GitError> {
    let failed = |source| GitError::Io { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    match fs::read_dir(dir).map_err(failed)?.next() {
        None => Ok(()),
        Some(_) => Err(GitError::NotEmpty { dir: dir.to_owned() }),
    }
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), GitError> {
    let write = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, content)
    };
    write().map_err(|source| GitError::Io { path: path.to_owned(), source })
}

/// Quotes a path the way Git's own files do.
fn quote_c(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in path {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            0..=31 | 127.. => quoted.extend(format!("\\{byte:03o}").into_bytes()),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn trim_line(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

fn path_line(bytes: Vec<u8>) -> PathBuf {
    path_of(trim_line(&bytes))
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// A path as a shell would take it.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let is_safe = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_safe) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
