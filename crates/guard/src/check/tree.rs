//! The files of a subject.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ignore::WalkBuilder;
use source::Finding;
use source::compose::{self, ComposeFile, Environment, Project};
use source::git::{EntryKind, Repository};
use source::yaml::core_schema::{Typed, resolve};
use source::yaml::{self, Node, Value};

use super::{CheckError, Subject};
use crate::policy::{Input, PolicyFile, Workflow};
use crate::secret::{NotScanned, Scan, Scanner};

/// The largest file that is read as a whole.
const MOST_BYTES: u64 = 32 << 20;
/// How many threads look for secrets.
const THREADS: usize = 2;
/// How many files of a commit are fetched at once.
const BATCH: usize = 256;

/// The files of a subject, listed once.
pub(super) struct Tree<'a> {
    pub subject: Subject<'a>,
    paths: BTreeSet<PathBuf>,
    /// Directories that are other repositories.
    submodules: Vec<PathBuf>,
    /// Why parts of a directory could not be listed.
    unlisted: Vec<String>,
}

/// The Compose project, what is wrong with it, and its files.
type ReadCompose = (Option<Project>, Vec<Finding>, Vec<ComposeFile>);

/// What became of one file.
type Scanned = (PathBuf, Result<Scan, String>);

impl<'a> Tree<'a> {
    pub fn of(subject: Subject<'a>) -> Result<Self, CheckError> {
        let mut tree =
            Self { subject, paths: BTreeSet::new(), submodules: Vec::new(), unlisted: Vec::new() };
        match subject {
            Subject::Directory(root) => {
                let failed = |source| CheckError::Directory { path: root.to_owned(), source };
                std::fs::read_dir(root).map_err(failed)?;
                tree.walk(root);
                tree.add_tracked(root);
            }
            Subject::Commit { repository, commit } => {
                for entry in repository.files_at(commit).map_err(CheckError::Git)? {
                    match entry.kind {
                        EntryKind::File | EntryKind::Executable => {
                            tree.paths.insert(entry.path);
                        }
                        EntryKind::Submodule => tree.submodules.push(entry.path),
                        EntryKind::Symlink | EntryKind::Directory => {}
                    }
                }
            }
        }
        Ok(tree)
    }

    fn walk(&mut self, root: &Path) {
        let walk = WalkBuilder::new(root)
            .hidden(false)
            // Only what Git leaves out is left out, and by its own rules alone.
            .ignore(false)
            .require_git(false)
            .parents(Repository::discover(root).is_ok())
            .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git")
            .build();
        for entry in walk {
            match entry {
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                    if let Ok(path) = entry.path().strip_prefix(root) {
                        self.paths.insert(path.to_owned());
                    }
                }
                Ok(_) => {}
                Err(error) => self.unlisted.push(error.to_string()),
            }
        }
    }

    /// Adds what Git tracks although it is ignored: it is in every clone.
    fn add_tracked(&mut self, root: &Path) {
        let Ok(repository) = Repository::discover(root) else { return };
        let Ok(root) = root.canonicalize() else { return };
        let Ok(head) = repository.head() else { return };
        let Ok(top) = repository.root().canonicalize() else { return };
        let Ok(below) = root.strip_prefix(&top) else { return };
        for entry in repository.files_at(&head.commit).unwrap_or_default() {
            let Ok(path) = entry.path.strip_prefix(below) else { continue };
            match entry.kind {
                EntryKind::File | EntryKind::Executable => {
                    let is_file = |meta: std::fs::Metadata| meta.file_type().is_file();
                    if root.join(path).symlink_metadata().is_ok_and(is_file) {
                        self.paths.insert(path.to_owned());
                    }
                }
                EntryKind::Submodule => self.submodules.push(path.to_owned()),
                EntryKind::Symlink | EntryKind::Directory => {}
            }
        }
    }

    /// The content of a file; `None` when there is no such file.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, CheckError> {
        if !self.paths.contains(path)
            || !path.components().all(|c| matches!(c, Component::Normal(_)))
        {
            return Ok(None);
        }
        match self.subject {
            Subject::Directory(root) => {
                let path = root.join(path);
                let content = read_file(&path);
                content.map(Some).map_err(|source| CheckError::Directory { path, source })
            }
            Subject::Commit { repository, commit } => {
                repository.read_at(commit, path).map_err(CheckError::Git)
            }
        }
    }

    /// The files of a folder with one of the endings, and of the folders in it where asked.
    pub fn in_folder(&self, folder: &str, endings: &[&str], deep: bool) -> Vec<PathBuf> {
        let is_meant = |path: &&PathBuf| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            let is_there = if deep {
                path.starts_with(folder)
            } else {
                path.parent() == Some(Path::new(folder))
            };
            is_there && ending.is_some_and(|ending| endings.contains(&ending))
        };
        self.paths.iter().filter(is_meant).cloned().collect()
    }

    /// Looks for secrets in every file, with as many threads as the machine can spare.
    pub fn scan(&self, scanner: &Scanner) -> Result<Vec<Scanned>, CheckError> {
        let paths: Vec<&PathBuf> = self.paths.iter().collect();
        let batches: Vec<&[&PathBuf]> = paths.chunks(BATCH).collect();
        let next = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<usize, Result<Vec<Scanned>, CheckError>>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..THREADS.min(batches.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(batch) = batches.get(index) else { return };
                        let scanned = self.scan_batch(scanner, batch);
                        done.lock().expect("no thread fails with it").insert(index, scanned);
                    }
                });
            }
        });
        let mut all = Vec::with_capacity(paths.len());
        for batch in done.into_inner().expect("no thread fails with it").into_values() {
            all.extend(batch?);
        }
        let submodules = self.submodules.iter();
        all.extend(submodules.map(|path| {
            (path.clone(), Err("a submodule, checked in its own repository".to_owned()))
        }));
        let unlisted = self.unlisted.iter();
        all.extend(unlisted.map(|why| (PathBuf::from("."), Err(why.clone()))));
        Ok(all)
    }

    fn scan_batch(
        &self,
        scanner: &Scanner,
        batch: &[&PathBuf],
    ) -> Result<Vec<Scanned>, CheckError> {
        let scan = |path: &PathBuf, content: &[u8]| {
            (path.clone(), Ok(scanner.scan(&shown(path), content)))
        };
        match self.subject {
            Subject::Directory(root) => {
                let one = |path: &&PathBuf| {
                    let full = root.join(path);
                    match full.metadata().map(|meta| Scanner::takes(meta.len())) {
                        Ok(Err(why)) => (PathBuf::clone(path), Ok(unread(why))),
                        _ => match read_file(&full) {
                            Ok(content) => scan(path, &content),
                            Err(error) => (PathBuf::clone(path), Err(error.to_string())),
                        },
                    }
                };
                Ok(batch.iter().map(one).collect())
            }
            Subject::Commit { repository, commit } => {
                let asked: Vec<PathBuf> = batch.iter().copied().cloned().collect();
                let contents = repository.read_many_at(commit, &asked).map_err(CheckError::Git)?;
                let pairs = asked.iter().zip(contents);
                Ok(pairs
                    .map(|(path, content)| match content {
                        Some(content) => scan(path, &content),
                        None => {
                            (path.clone(), Err("its content is not in the repository".to_owned()))
                        }
                    })
                    .collect())
            }
        }
    }

    /// The Compose project, what is wrong with it, and its files.
    pub fn compose(&self, environment: &Environment) -> Result<ReadCompose, CheckError> {
        let names = compose::default_files(|name| self.paths.contains(Path::new(name)));
        let mut findings = Vec::new();
        let mut files = Vec::new();
        for name in &names {
            let content = self.read(Path::new(name))?.unwrap_or_default();
            match yaml::decode(name, &content) {
                Ok(text) => files.push(ComposeFile::new(*name, text)),
                Err(finding) => findings.push(finding),
            }
        }
        if files.is_empty() {
            return Ok((None, findings, files));
        }
        let mut environment = environment.clone();
        if let Some(content) = self.read(Path::new(".env"))?
            && let Ok(text) = yaml::decode(".env", &content)
        {
            environment = environment.with_env_file(".env", text, &mut findings);
        }
        let root = match self.subject {
            Subject::Directory(root) => root,
            Subject::Commit { repository, .. } => repository.root(),
        };
        if let Some(name) = root.canonicalize().ok().as_deref().and_then(Path::file_name) {
            environment = environment.in_directory(name.to_string_lossy());
        }
        let others = RefCell::new(Vec::new());
        let other = |path: &str| {
            let content = self.read(Path::new(path)).ok().flatten()?;
            let text = yaml::decode(path, &content).ok()?.to_owned();
            others.borrow_mut().push(ComposeFile::new(path, text.clone()));
            Some(text)
        };
        let (project, found) = compose::read_with(&files, &environment, &other);
        files.extend(others.into_inner());
        findings.extend(found);
        Ok((project, findings, files))
    }

    /// The policies, and what is wrong with those that are no text.
    pub fn policies(&self) -> Result<(Vec<PolicyFile>, Vec<Finding>), CheckError> {
        let mut files = Vec::new();
        let mut findings = Vec::new();
        for path in self.in_folder("policy", &["rego"], true) {
            let name = shown(&path);
            if name.ends_with("_test.rego") {
                continue;
            }
            let content = self.read(&path)?.unwrap_or_default();
            match yaml::decode(&name, &content) {
                Ok(text) => files.push(PolicyFile { path: name.clone(), text: text.to_owned() }),
                Err(finding) => {
                    // A file without Rego in it: the evaluator refuses it, and so the gate holds.
                    files.push(PolicyFile { path: name.clone(), text: String::new() });
                    findings.push(finding);
                }
            }
        }
        Ok((files, findings))
    }

    pub fn complete(&self, environment: &Environment, input: Input) -> Result<Input, CheckError> {
        let (project, ..) = self.compose(environment)?;
        let mut workflows = Vec::new();
        for path in self.in_folder(".github/workflows", &["yml", "yaml"], false) {
            let name = shown(&path);
            let content = self.read(&path)?.unwrap_or_default();
            let Ok(text) = yaml::decode(&name, &content) else { continue };
            let (root, _) = yaml::read(&name, text, &yaml::Options::default());
            let document = root.as_ref().map_or(serde_json::Value::Null, document);
            workflows.push(Workflow { path: name, document });
        }
        let compose = project.map_or(serde_json::Value::Null, |project| project.normalised());
        Ok(Input { compose, workflows, ..input })
    }
}

/// A path as findings name it.
pub(super) fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    Ok(content)
}

fn unread(why: NotScanned) -> Scan {
    Scan { findings: Vec::new(), not_checked: Some(why) }
}

/// A YAML tree as JSON, typed as YAML 1.2 has it.
fn document(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Sequence(items) => items.iter().map(document).collect(),
        Value::Mapping(entries) => {
            let entry =
                |(key, value): &(Node, Node)| Some((key.as_str()?.to_owned(), document(value)));
            serde_json::Value::Object(entries.iter().filter_map(entry).collect())
        }
        Value::Scalar(scalar) => match resolve(node) {
            Ok(Typed::Null) => serde_json::Value::Null,
            Ok(Typed::Boolean(value)) => value.into(),
            Ok(Typed::Integer(value)) if value.abs() < 9.0e15 => (value as i64).into(),
            Ok(Typed::Integer(value) | Typed::Float(value)) => value.into(),
            Ok(Typed::Text(_)) | Err(_) => scalar.text.as_str().into(),
        },
    }
}
