//! Artifacts: files of a run under a name.
//!
//! An artifact is a zip archive, or one file as it is, in the [`Store`], and a record that says whose
//! it is. The archive of a tree depends on nothing but the tree, so that two runs that build the same
//! keep it once.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;

use super::store::{self, Staged, Store, StoreError};

/// What a zip archive is called among the kinds of files.
pub const ZIP: &str = "application/zip";

/// How long an artifact stays when nobody says.
pub const RETENTION_DAYS: u32 = 90;

/// The longest name.
pub const MAX_NAME: usize = 255;

/// How many artifacts a run may keep.
pub const MAX_PER_RUN: usize = 1000;

/// How much is taken out of one archive.
pub const MAX_UNPACKED: u64 = 32 * 1024 * 1024 * 1024;

/// How many files are taken out of one archive.
const MAX_FILES: usize = 1_000_000;

/// Files of a run under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its number; it grows.
    pub id: u64,
    /// The run it is of.
    pub run: u64,
    /// The job that kept it.
    pub job: String,
    /// Its name.
    pub name: String,
    /// The SHA-256 of its content, in hexadecimal.
    pub digest: String,
    /// The length of its content.
    pub bytes: u64,
    /// How many files it holds.
    pub files: u32,
    /// What kind of file its content is: a zip archive, or one file as it is.
    pub mime: String,
    /// When it was kept.
    pub created: Timestamp,
    /// When it goes.
    pub expires: Timestamp,
}

impl Artifact {
    /// Whether its content is an archive of its files.
    pub fn is_archive(&self) -> bool {
        self.mime == ZIP
    }
}

/// What is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// The run it is of.
    pub run: u64,
    /// The job that keeps it.
    pub job: String,
    /// Its name.
    pub name: String,
    /// What kind of file its content is.
    pub mime: String,
    /// When it goes; the usual time if it is not said.
    pub expires: Option<Timestamp>,
}

/// Why an artifact could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The run has one of that name.
    #[error("this run has an artifact `{0}` already")]
    Exists(String),
    /// The run has too many.
    #[error("a run keeps at most {MAX_PER_RUN} artifacts")]
    TooMany,
    /// The store could not be written to.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Says what is wrong with the name of an artifact.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_wrong = |c: char| "\":<>|*?\r\n\\/".contains(c) || c.is_control();
    match name.chars().find(|c| is_wrong(*c)) {
        Some(c) => Err(format!("the name of an artifact may not hold {c:?}")),
        None if name.is_empty() || name == "." || name == ".." => {
            Err(format!("`{name}` is no name for an artifact"))
        }
        None if name.len() > MAX_NAME => {
            Err(format!("the name of an artifact may have at most {MAX_NAME} bytes"))
        }
        None => Ok(()),
    }
}

/// Returns the moment so many days from now.
pub fn in_days(days: u32) -> Timestamp {
    let now = Timestamp::now();
    now.checked_add(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(now)
}

impl Store {
    /// Returns the artifacts of a run that have not expired, oldest first.
    pub fn artifacts_of(&self, run: u64) -> Vec<Artifact> {
        let now = Timestamp::now();
        let mut artifacts: Vec<Artifact> = Self::read_records(&self.artifacts(run))
            .into_iter()
            .map(|(_, artifact): (_, Artifact)| artifact)
            .filter(|artifact| artifact.expires > now)
            .collect();
        artifacts.sort_by_key(|artifact| artifact.id);
        artifacts
    }

    /// Returns the artifacts of every run, those of the newest run first.
    pub fn every_artifact(&self) -> Vec<Artifact> {
        let mut runs: Vec<u64> = fs::read_dir(self.all_artifacts())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        runs.sort_unstable_by(|one, two| two.cmp(one));
        runs.into_iter().flat_map(|run| self.artifacts_of(run)).collect()
    }

    /// Returns the artifact of a run with a name.
    pub fn artifact(&self, run: u64, name: &str) -> Option<Artifact> {
        self.artifacts_of(run).into_iter().find(|artifact| artifact.name == name)
    }

    /// Keeps what was staged as an artifact; one of the same name goes if `overwrite` says so.
    pub fn keep_artifact(
        &self,
        new: New,
        staged: &Staged,
        files: u32,
        overwrite: bool,
    ) -> Result<Artifact, KeepError> {
        let held = self.hold()?;
        let known = self.artifacts_of(new.run);
        let same: Vec<&Artifact> = known.iter().filter(|one| one.name == new.name).collect();
        if !same.is_empty() && !overwrite {
            return Err(KeepError::Exists(new.name));
        }
        if known.len() - same.len() >= MAX_PER_RUN {
            return Err(KeepError::TooMany);
        }
        let folder = self.artifacts(new.run);
        let path = |id: u64| folder.join(format!("{id}.json"));
        let artifact = Artifact {
            id: store::next_id(&held, |id| path(id).exists()),
            run: new.run,
            job: new.job,
            name: new.name,
            digest: staged.digest.clone(),
            bytes: staged.bytes,
            files,
            mime: new.mime,
            created: Timestamp::now(),
            expires: new.expires.unwrap_or_else(|| in_days(RETENTION_DAYS)),
        };
        self.keep_blob(&held, staged)?;
        self.write_record(&held, &path(artifact.id), &artifact)?;
        for old in &same {
            let _ = fs::remove_file(path(old.id));
        }
        Ok(artifact)
    }

    /// Removes an artifact; returns whether it was there.
    pub fn remove_artifact(&self, artifact: &Artifact) -> Result<bool, StoreError> {
        let held = self.hold()?;
        let path = self.artifacts(artifact.run).join(format!("{}.json", artifact.id));
        let was_there = match fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(StoreError::new("remove", &path, error)),
        };
        self.collect_held(&held);
        Ok(was_there)
    }

    /// Removes the artifacts whose time is over.
    pub fn expire_artifacts(&self) -> Result<(), StoreError> {
        let held = self.hold()?;
        let now = Timestamp::now();
        for run in fs::read_dir(self.all_artifacts()).into_iter().flatten().flatten() {
            for (path, artifact) in Self::read_records::<Artifact>(&run.path()) {
                if artifact.expires <= now {
                    let _ = fs::remove_file(path);
                }
            }
            // Only an empty folder can be removed so.
            let _ = fs::remove_dir(run.path());
        }
        self.collect_held(&held);
        Ok(())
    }

    /// Puts the content of an artifact into a directory as one file.
    pub fn put(&self, artifact: &Artifact, name: &str, target: &Path) -> Result<(), String> {
        let mut blob = self.blob(&artifact.digest).map_err(|error| error.line())?;
        let mut file = fresh(target, Path::new(name))?;
        io::copy(&mut blob, &mut file).map_err(|error| said("write", target, &error))?;
        Ok(())
    }

    /// Puts the files of an artifact below a directory, which must be there.
    pub fn unpack(&self, artifact: &Artifact, target: &Path) -> Result<u32, String> {
        let blob = self.blob(&artifact.digest).map_err(|error| error.line())?;
        if !artifact.is_archive() {
            return self.put(artifact, &artifact.name, target).map(|()| 1);
        }
        unpack(blob, target)
    }
}

/// Packs files into an archive. `files` are paths below `root`; the order does not matter.
pub fn pack(root: &Path, files: &[PathBuf], to: &Path, level: Option<i64>) -> Result<(), String> {
    let file = File::create(to).map_err(|error| said("make", to, &error))?;
    let mut zip = zip::ZipWriter::new(io::BufWriter::with_capacity(256 * 1024, file));
    // The same tree gives the same archive: no times, and an order of its own.
    let plain = match level {
        Some(0) => SimpleFileOptions::DEFAULT.compression_method(zip::CompressionMethod::Stored),
        level => SimpleFileOptions::DEFAULT
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(level),
    };
    let plain = plain.last_modified_time(zip::DateTime::default());
    let mut sorted: Vec<&PathBuf> = files.iter().collect();
    sorted.sort();
    for path in sorted {
        let relative = path.strip_prefix(root).unwrap_or(path);
        let name = relative
            .to_str()
            .ok_or_else(|| format!("{} is not UTF-8 and cannot be kept", path.display()))?;
        let mut file = File::open(path).map_err(|error| said("keep", path, &error))?;
        let found = file.metadata().map_err(|error| said("keep", path, &error))?;
        let options = plain
            .unix_permissions(found.permissions().mode() & 0o777)
            .large_file(found.len() >= u64::from(u32::MAX));
        let wrote = zip.start_file(name, options).map_err(io::Error::other);
        wrote
            .and_then(|()| io::copy(&mut file, &mut zip))
            .map_err(|error| said("keep", path, &error))?;
    }
    let done = zip.finish().map_err(io::Error::other);
    done.and_then(|mut writer| writer.flush()).map_err(|error| said("write", to, &error))
}

/// Returns how many files an archive holds.
pub fn count(archive: &Path) -> Result<u32, String> {
    let file = File::open(archive).map_err(|error| said("read", archive, &error))?;
    let zip = zip::ZipArchive::new(io::BufReader::new(file))
        .map_err(|error| format!("the archive cannot be read: {error}"))?;
    let files = zip
        .file_names()
        .filter(|name| name.as_ref().is_ok_and(|name| !name.ends_with('/')))
        .count();
    Ok(u32::try_from(files).unwrap_or(u32::MAX))
}

/// Takes an archive apart below a directory, which must be there; returns how many files it gave.
///
/// Nothing leads out of the directory, by name or through a link; links in the archive are left out.
pub fn unpack(archive: impl Read + io::Seek, target: &Path) -> Result<u32, String> {
    let broken = |error: zip::result::ZipError| format!("the archive cannot be read: {error}");
    let mut zip = zip::ZipArchive::new(io::BufReader::new(archive)).map_err(broken)?;
    if zip.len() > MAX_FILES {
        return Err(format!("the archive holds more than {MAX_FILES} files"));
    }
    let mut left = MAX_UNPACKED;
    let mut files = 0;
    for at in 0..zip.len() {
        let mut entry = zip.by_index(at).map_err(broken)?;
        let name = PathBuf::from(entry.name().map_err(broken)?.into_owned());
        if entry.is_symlink() {
            continue;
        }
        if entry.is_dir() {
            crate::built_in::checkout::inside(target, &name.to_string_lossy())?;
            continue;
        }
        let mut file = fresh(target, &name)?;
        let wrote = io::copy(&mut entry.by_ref().take(left + 1), &mut file)
            .map_err(|error| said("write", &target.join(&name), &error))?;
        left = left
            .checked_sub(wrote)
            .ok_or_else(|| format!("the archive holds more than {MAX_UNPACKED} bytes"))?;
        if let Some(mode) = entry.unix_mode() {
            let _ = file.set_permissions(fs::Permissions::from_mode((mode & 0o777) | 0o600));
        }
        files += 1;
    }
    Ok(files)
}

/// Makes a file below a directory that is new: a link that lies there is removed, not followed.
fn fresh(target: &Path, name: &Path) -> Result<File, String> {
    let outside = || format!("`{}` leads out of the directory", name.display());
    let Some(Component::Normal(file)) = name.components().next_back() else {
        return Err(outside());
    };
    let parent = name.parent().unwrap_or(Path::new(""));
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let folder = crate::built_in::checkout::inside(target, &parent.to_string_lossy())?;
    let path = folder.join(file);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(said("replace", &path, &error));
        }
        _ => {}
    }
    File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|error| said("write", &path, &error))
}

fn said(doing: &str, path: &Path, error: &io::Error) -> String {
    format!("could not {doing} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path().join("store")).expect("opens");
        (dir, store)
    }

    fn new(run: u64, name: &str) -> New {
        New {
            run,
            job: "build".to_owned(),
            name: name.to_owned(),
            mime: ZIP.to_owned(),
            expires: None,
        }
    }

    fn keep(store: &Store, new: New, files: &[(&str, &str)]) -> Result<Artifact, KeepError> {
        let tree = tempfile::tempdir().expect("a directory");
        let paths: Vec<PathBuf> = files
            .iter()
            .map(|(name, text)| {
                let path = tree.path().join(name);
                fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
                fs::write(&path, text).expect("a file");
                path
            })
            .collect();
        let incoming = store.incoming().expect("begins");
        pack(tree.path(), &paths, &incoming.whole(), None).expect("is packed");
        let staged = incoming.finish().expect("is whole");
        store.keep_artifact(new, &staged, files.len() as u32, false)
    }

    #[test]
    fn the_same_tree_is_kept_once() {
        let (_dir, store) = store();
        let one = keep(&store, new(1, "a"), &[("x/y", "1"), ("z", "2")]).expect("is kept");
        let two = keep(&store, new(2, "b"), &[("z", "2"), ("x/y", "1")]).expect("is kept");
        assert_eq!(one.digest, two.digest);
        assert!(two.id > one.id);
        store.remove_artifact(&one).expect("is removed");
        assert!(store.blob(&two.digest).is_ok(), "another run still has it");
        store.remove_artifact(&two).expect("is removed");
        assert!(store.blob(&two.digest).is_err(), "nobody has it any more");
    }

    #[test]
    fn a_name_is_taken_until_it_is_overwritten_or_expires() {
        let (_dir, store) = store();
        let mut short = new(1, "a");
        short.expires = Some(Timestamp::now());
        keep(&store, short, &[("x", "1")]).expect("is kept");
        keep(&store, new(1, "a"), &[("x", "1")]).expect("the first has expired");
        assert!(matches!(keep(&store, new(1, "a"), &[("x", "2")]), Err(KeepError::Exists(_))));
        store.expire_artifacts().expect("expires");
        assert_eq!(store.artifacts_of(1).len(), 1);
    }

    #[test]
    fn an_archive_gives_back_its_files_and_their_modes() {
        let (dir, store) = store();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("a directory");
        fs::write(tree.join("tool"), "#!/bin/sh\n").expect("a file");
        fs::set_permissions(tree.join("tool"), fs::Permissions::from_mode(0o755)).expect("is set");
        let incoming = store.incoming().expect("begins");
        pack(&tree, &[tree.join("tool")], &incoming.whole(), Some(0)).expect("is packed");
        let staged = incoming.finish().expect("is whole");
        let artifact = store.keep_artifact(new(1, "a"), &staged, 1, false).expect("is kept");
        let out = dir.path().join("out");
        fs::create_dir(&out).expect("a directory");
        assert_eq!(store.unpack(&artifact, &out), Ok(1));
        let mode = fs::metadata(out.join("tool")).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn no_entry_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("out");
        fs::create_dir(&out).expect("a directory");
        std::os::unix::fs::symlink(dir.path(), out.join("link")).expect("a link");
        for name in ["../x", "/tmp/marline-x", "a/../../x", "link/x"] {
            let mut bytes = Vec::new();
            let mut zip = zip::ZipWriter::new(io::Cursor::new(&mut bytes));
            zip.start_file(name, SimpleFileOptions::DEFAULT).expect("starts");
            zip.write_all(b"x").expect("writes");
            zip.finish().expect("ends");
            assert!(unpack(io::Cursor::new(bytes), &out).is_err(), "{name}");
        }
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn names_are_what_the_clients_allow() {
        for name in ["", ".", "..", "a/b", "a:b", "a\nb", &"x".repeat(256)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("report (3.12) – ü").is_ok());
    }
}
