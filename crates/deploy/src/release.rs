//! An immutable, content-addressed copy of what shall run, and the store of them.
//!
//! A release is a directory `releases/<id>/` with `files/`, read-only, and `manifest.json`. It is
//! built under a temporary name, synced, and renamed, so it is either whole or not there; cutting
//! the same input again finds the release that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use journal::{CommitId, ReleaseId, RunId, ServiceName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a release is cut from.
#[derive(Debug, Clone)]
pub struct Cut<'a> {
    /// The commit.
    pub commit: CommitId,
    /// Its tree, checked out; `.git` at its top is left out.
    pub tree: &'a Path,
    /// Artifacts of the runs, unpacked; laid over the tree in this order.
    pub artifacts: &'a [PathBuf],
    /// The Compose file as it was understood.
    pub compose: Option<ComposeSnapshot>,
    /// The runs that it passed.
    pub runs: Vec<RunId>,
    /// SHA-256 of the findings that the gate saw, in hexadecimal.
    pub findings: String,
}

/// The Compose file of a release as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeSnapshot {
    /// The whole model, normalised, as text.
    pub text: String,
    /// The environment of each service, to tell which keys changed.
    pub environment: BTreeMap<ServiceName, BTreeMap<String, String>>,
}

/// What is known about a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's shape.
    pub version: u32,
    /// The release.
    pub release: ReleaseId,
    /// The commit.
    pub commit: CommitId,
    /// The runs that it passed when it was cut first.
    pub runs: Vec<RunId>,
    /// SHA-256 of the findings that the gate saw then.
    pub findings: String,
    /// When it was cut.
    pub cut: Timestamp,
    /// The Compose file as it was understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeSnapshot>,
    /// The files, sorted by path.
    pub files: Vec<ReleaseFile>,
}

impl Manifest {
    /// Returns the size of all files in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFile {
    /// Its path; a backslash is `\\` and a byte that is not UTF-8 is `\xNN`.
    pub path: String,
    /// What kind of file it is.
    pub mode: FileMode,
    /// SHA-256 of its content, or of the target of a link.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What kind of file it is, as Git tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMode {
    /// An ordinary file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link.
    Link,
}

/// What differs between two releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseDiff {
    /// Paths only in the newer one.
    pub added: Vec<String>,
    /// Paths only in the older one.
    pub removed: Vec<String>,
    /// Paths in both with other content or mode.
    pub changed: Vec<String>,
    /// Keys of each service's environment that were added, removed or given another value.
    pub environment: BTreeMap<ServiceName, Vec<String>>,
}

impl ReleaseDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A file that is not as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// It is gone.
    Missing(String),
    /// It has other content or another mode.
    Changed(String),
    /// It was not there when the release was cut.
    Added(String),
}

/// Why a release could not be cut, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// A file cannot be used.
    #[error("use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no such release.
    #[error("find release {release}")]
    Unknown {
        /// The release.
        release: ReleaseId,
    },
    /// The short name fits several releases.
    #[error("tell which release `{name}` means: {count} begin so")]
    Ambiguous {
        /// What was typed.
        name: String,
        /// How many fit.
        count: usize,
    },
    /// The manifest cannot be understood.
    #[error("read {}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file is neither a file, a directory nor a link.
    #[error("put {} into a release: it is a device, a socket or a pipe", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ReleaseError {
    let path = path.to_owned();
    move |source| ReleaseError::File { path, source }
}

/// The releases of one repository, in a directory.
#[derive(Debug, Clone)]
pub struct ReleaseStore {
    directory: PathBuf,
}

impl ReleaseStore {
    /// Opens a directory, makes it if need be, and removes what a killed process left half done.
    ///
    /// One process opens a store at a time.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, ReleaseError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(at(&directory))?;
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).map_err(at(&directory))?;
        for entry in fs::read_dir(&directory).map_err(at(&directory))? {
            let entry = entry.map_err(at(&directory))?;
            if entry.file_name().as_bytes().starts_with(b".") {
                remove_tree(&entry.path())?;
            }
        }
        Ok(Self { directory })
    }

    /// Cuts a release, or finds the one that was cut from the same input.
    pub fn cut(&self, cut: &Cut<'_>, now: Timestamp) -> Result<Manifest, ReleaseError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the system gives random bytes");
        let building = self.directory.join(format!(".cut-{}", hex(&random)));
        let made = self.build(cut, &building, now);
        if building.exists() {
            remove_tree(&building)?;
        }
        made
    }

    fn build(
        &self,
        cut: &Cut<'_>,
        building: &Path,
        now: Timestamp,
    ) -> Result<Manifest, ReleaseError> {
        let files_dir = building.join("files");
        fs::create_dir_all(&files_dir).map_err(at(&files_dir))?;
        copy_tree(cut.tree, &files_dir, true)?;
        for artifact in cut.artifacts {
            copy_tree(artifact, &files_dir, false)?;
        }
        let files = read_tree(&files_dir)?;
        let release = identify(&cut.commit, cut.compose.as_ref(), &files);
        if let Ok(known) = self.manifest(&release) {
            return Ok(known);
        }
        let manifest = Manifest {
            version: 1,
            release,
            commit: cut.commit.clone(),
            runs: cut.runs.clone(),
            findings: cut.findings.clone(),
            cut: now,
            compose: cut.compose.clone(),
            files,
        };
        let path = building.join("manifest.json");
        let text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        fs::write(&path, text).map_err(at(&path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o400)).map_err(at(&path))?;
        seal(&files_dir)?;
        sync(building)?;
        let final_dir = self.directory.join(manifest.release.as_str());
        if final_dir.exists() {
            // Its manifest could not be read, so it is no release.
            remove_tree(&final_dir)?;
        }
        fs::rename(building, &final_dir).map_err(at(&final_dir))?;
        sync(&self.directory)?;
        Ok(manifest)
    }

    /// Returns where the files of a release are.
    pub fn files(&self, release: &ReleaseId) -> PathBuf {
        self.directory.join(release.as_str()).join("files")
    }

    /// Returns what is known about a release.
    pub fn manifest(&self, release: &ReleaseId) -> Result<Manifest, ReleaseError> {
        let path = self.directory.join(release.as_str()).join("manifest.json");
        let text = match fs::read(&path) {
            Ok(text) if is_id(release.as_str()) => text,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => return Err(ReleaseError::Unknown { release: release.clone() }),
        };
        serde_json::from_slice(&text).map_err(|source| ReleaseError::Manifest { path, source })
    }

    /// Returns all releases, newest first.
    pub fn list(&self) -> Result<Vec<Manifest>, ReleaseError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(at(&self.directory))? {
            let name = entry.map_err(at(&self.directory))?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_id(name)) {
                found.push(self.manifest(&ReleaseId::from(name))?);
            }
        }
        found.sort_by(|a, b| b.cut.cmp(&a.cut).then_with(|| a.release.cmp(&b.release)));
        Ok(found)
    }

    /// Finds a release by the beginning of its id or of its commit.
    pub fn find(&self, name: &str) -> Result<Manifest, ReleaseError> {
        let fits = |manifest: &Manifest| {
            manifest.release.as_str().starts_with(name)
                || manifest.commit.as_str().starts_with(name)
        };
        let mut found: Vec<_> = self.list()?.into_iter().filter(fits).collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(ReleaseError::Unknown { release: name.into() }),
            count => Err(ReleaseError::Ambiguous { name: name.to_owned(), count }),
        }
    }

    /// Returns every file of a release that is not as it was cut.
    pub fn verify(&self, release: &ReleaseId) -> Result<Vec<Damage>, ReleaseError> {
        let manifest = self.manifest(release)?;
        let now = by_path(read_tree(&self.files(release))?);
        let mut damage = Vec::new();
        let mut known = BTreeSet::new();
        for file in &manifest.files {
            known.insert(file.path.clone());
            match now.get(&file.path) {
                None => damage.push(Damage::Missing(file.path.clone())),
                Some(found) if found != file => damage.push(Damage::Changed(file.path.clone())),
                Some(_) => {}
            }
        }
        damage.extend(now.into_keys().filter(|path| !known.contains(path)).map(Damage::Added));
        Ok(damage)
    }

    /// Returns what differs between two releases.
    pub fn diff(&self, older: &ReleaseId, newer: &ReleaseId) -> Result<ReleaseDiff, ReleaseError> {
        Ok(diff(&self.manifest(older)?, &self.manifest(newer)?))
    }

    /// Removes all but the newest `keep` releases and those that `needed` names.
    ///
    /// The caller names what runs and what a roll-back would need.
    pub fn prune(&self, keep: usize, needed: &[ReleaseId]) -> Result<Vec<ReleaseId>, ReleaseError> {
        let mut removed = Vec::new();
        for manifest in self.list()?.into_iter().skip(keep) {
            if needed.contains(&manifest.release) {
                continue;
            }
            let path = self.directory.join(manifest.release.as_str());
            // Renamed first, so that a killed process never leaves half a release.
            let doomed = self.directory.join(format!(".gone-{}", manifest.release));
            fs::rename(&path, &doomed).map_err(at(&path))?;
            remove_tree(&doomed)?;
            removed.push(manifest.release);
        }
        Ok(removed)
    }
}

/// Returns what differs between two manifests.
pub fn diff(older: &Manifest, newer: &Manifest) -> ReleaseDiff {
    let (before, after) = (by_path(older.files.clone()), by_path(newer.files.clone()));
    let environment = |manifest: &Manifest| {
        manifest.compose.as_ref().map(|compose| compose.environment.clone()).unwrap_or_default()
    };
    let (was, is) = (environment(older), environment(newer));
    let services: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let none = BTreeMap::new();
    ReleaseDiff {
        added: after.keys().filter(|path| !before.contains_key(*path)).cloned().collect(),
        removed: before.keys().filter(|path| !after.contains_key(*path)).cloned().collect(),
        changed: after
            .iter()
            .filter(|(path, file)| before.get(*path).is_some_and(|old| old != *file))
            .map(|(path, _)| path.clone())
            .collect(),
        environment: services
            .into_iter()
            .filter_map(|service| {
                let (was, is) =
                    (was.get(service).unwrap_or(&none), is.get(service).unwrap_or(&none));
                let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
                let changed: Vec<_> =
                    keys.into_iter().filter(|key| was.get(*key) != is.get(*key)).cloned().collect();
                (!changed.is_empty()).then(|| (service.clone(), changed))
            })
            .collect(),
    }
}

fn by_path(files: Vec<ReleaseFile>) -> BTreeMap<String, ReleaseFile> {
    files.into_iter().map(|file| (file.path.clone(), file)).collect()
}

fn identify(
    commit: &CommitId,
    compose: Option<&ComposeSnapshot>,
    files: &[ReleaseFile],
) -> ReleaseId {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(commit.as_str().as_bytes());
    part(compose.map_or("", |compose| compose.text.as_str()).as_bytes());
    for file in files {
        part(file.path.as_bytes());
        part(&[file.mode as u8]);
        part(file.sha256.as_bytes());
    }
    ReleaseId(hex(&hash.finalize()))
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

/// Shows a path so that it can be read back: backslashes doubled, odd bytes as `\xNN`.
fn show_path(path: &Path) -> String {
    let mut shown = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        shown.push_str(&chunk.valid().replace('\\', r"\\"));
        for byte in chunk.invalid() {
            write!(shown, r"\x{byte:02x}").expect("a string takes all text");
        }
    }
    shown
}

fn copy_tree(from: &Path, to: &Path, is_tree: bool) -> Result<(), ReleaseError> {
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        if is_tree && entry.file_name() == ".git" {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&source))?;
        let before = fs::symlink_metadata(&target).ok().map(|meta| meta.is_dir());
        if let Some(was_dir) = before
            && !(was_dir && kind.is_dir())
        {
            if was_dir {
                remove_tree(&target)?;
            } else {
                fs::remove_file(&target).map_err(at(&target))?;
            }
        }
        if kind.is_dir() {
            if before != Some(true) {
                fs::create_dir(&target).map_err(at(&target))?;
            }
            copy_tree(&source, &target, false)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(at(&source))?;
            symlink(link, &target).map_err(at(&target))?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(at(&source))?;
        } else {
            return Err(ReleaseError::Unfit { path: source });
        }
    }
    Ok(())
}

fn read_tree(root: &Path) -> Result<Vec<ReleaseFile>, ReleaseError> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).map_err(at(&directory))? {
            let path = entry.map_err(at(&directory))?.path();
            let meta = fs::symlink_metadata(&path).map_err(at(&path))?;
            if meta.is_dir() {
                open.push(path);
                continue;
            }
            let (mode, sha256, size) = if meta.is_symlink() {
                let link = fs::read_link(&path).map_err(at(&path))?.into_os_string().into_vec();
                (FileMode::Link, hex(&Sha256::digest(&link)), link.len() as u64)
            } else {
                let executable = meta.permissions().mode() & 0o111 != 0;
                let mode = if executable { FileMode::Executable } else { FileMode::File };
                (mode, hash_file(&path)?, meta.len())
            };
            let relative = path.strip_prefix(root).expect("the walk stays below its root");
            files.push(ReleaseFile { path: show_path(relative), mode, sha256, size });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn hash_file(path: &Path) -> Result<String, ReleaseError> {
    use io::Read as _;
    let mut file = File::open(path).map_err(at(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Makes files and directories read-only, innermost first.
fn seal(directory: &Path) -> Result<(), ReleaseError> {
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        let meta = fs::symlink_metadata(&path).map_err(at(&path))?;
        if meta.is_dir() {
            seal(&path)?;
        } else if meta.is_file() {
            let mode = if meta.permissions().mode() & 0o111 != 0 { 0o555 } else { 0o444 };
            fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(at(&path))?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o555)).map_err(at(directory))
}

/// Removes a tree, read-only or not; one that is not there is no error.
fn remove_tree(path: &Path) -> Result<(), ReleaseError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path)(error)),
    };
    if !meta.is_dir() {
        return fs::remove_file(path).map_err(at(path));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at(path))?;
    for entry in fs::read_dir(path).map_err(at(path))? {
        remove_tree(&entry.map_err(at(path))?.path())?;
    }
    fs::remove_dir(path).map_err(at(path))
}

/// Waits until everything written to the file system of `directory` is on the disk.
fn sync(directory: &Path) -> Result<(), ReleaseError> {
    let open = File::open(directory).map_err(at(directory))?;
    nix::unistd::syncfs(&open).map_err(|errno| at(directory)(errno.into()))?;
    open.sync_all().map_err(at(directory))
}

#[cfg(test)]
mod tests;
