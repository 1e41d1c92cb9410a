//! Files by their content.
//!
//! ```text
//! store/
//!   lock               held while records change
//!   blobs/ab/cdef…     what was kept, named by its SHA-256
//!   incoming/X/        what is being written; held by a lock, so that what a process left behind
//!                      when it was killed is known and removed
//!   artifacts/RUN/N    what is kept for a run, and where
//!   caches/N           what is kept under keys, and where
//! ```
//!
//! A record or a blob is written beside its place, synced, and renamed: it is there whole or not at
//! all. What no record names any more is removed by [`Store::collect`].

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The largest record that is read.
const MAX_RECORD: u64 = 64 * 1024;

/// Why the store could not be used.
#[derive(Debug, Error)]
#[error("could not {doing} {path}")]
pub struct StoreError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StoreError {
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }

    /// Returns what happened in one line, with its cause.
    pub fn line(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

/// Where artifacts and caches are kept; clones are the same store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

/// Something on its way into the store; dropping it removes what was written so far.
#[derive(Debug)]
pub struct Incoming {
    dir: PathBuf,
    _lock: File,
}

/// Something that was written whole, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Where it lies until it is kept.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}

/// Held while records change.
#[derive(Debug)]
pub(super) struct Held(#[allow(dead_code, reason = "dropping it lets go")] File);

impl Store {
    /// Opens the store below a directory, making it if it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self { root: root.into() };
        for dir in ["blobs", "incoming", "artifacts", "caches"] {
            make(&store.root.join(dir))?;
        }
        Ok(store)
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn artifacts(&self, run: u64) -> PathBuf {
        self.root.join("artifacts").join(run.to_string())
    }

    pub(super) fn all_artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    pub(super) fn caches(&self) -> PathBuf {
        self.root.join("caches")
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        let (folder, name) = digest.split_at_checked(2).unwrap_or(("", digest));
        self.root.join("blobs").join(folder).join(name)
    }

    /// Opens what is kept under a digest.
    pub fn blob(&self, digest: &str) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| StoreError::new("open", &path, error))
    }

    /// Begins to take something in.
    pub fn incoming(&self) -> Result<Incoming, StoreError> {
        let dir = self.root.join("incoming").join(random());
        let _held = self.hold()?;
        make(&dir)?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|error| StoreError::new("make", &path, error))?;
        lock.lock().map_err(|error| StoreError::new("lock", &path, error))?;
        Ok(Incoming { dir, _lock: lock })
    }

    /// Waits until nobody else changes records, and keeps others from it.
    pub(super) fn hold(&self) -> Result<Held, StoreError> {
        let path = self.root.join("lock");
        let said = |error| StoreError::new("lock", &path, error);
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(said)?;
        file.lock().map_err(said)?;
        Ok(Held(file))
    }

    /// Puts what was staged in its place among the blobs.
    pub(super) fn keep_blob(&self, _: &Held, staged: &Staged) -> Result<(), StoreError> {
        let path = self.blob_path(&staged.digest);
        let Some(folder) = path.parent() else { return Ok(()) };
        make(folder)?;
        if path.is_file() {
            return Ok(());
        }
        fs::rename(&staged.path, &path).map_err(|error| StoreError::new("keep", &path, error))?;
        sync(folder)
    }

    /// Writes a record, whole or not at all.
    pub(super) fn write_record(
        &self,
        _: &Held,
        path: &Path,
        record: &impl Serialize,
    ) -> Result<(), StoreError> {
        let folder = path.parent().unwrap_or(&self.root);
        make(folder)?;
        let beside = folder.join(format!(".{}", random()));
        let said = |error| StoreError::new("write", path, error);
        let text = serde_json::to_vec_pretty(record).map_err(|error| said(error.into()))?;
        let mut file = File::create(&beside).map_err(said)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(said)?;
        fs::rename(&beside, path).map_err(said)?;
        sync(folder)
    }

    /// Reads every record of a folder; one that cannot be read is passed over and told.
    pub(super) fn read_records<T: DeserializeOwned>(folder: &Path) -> Vec<(PathBuf, T)> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut records = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let is_record = path.extension().is_some_and(|extension| extension == "json");
            if !is_record {
                continue;
            }
            let text = File::open(&path).and_then(|file| {
                let mut text = Vec::new();
                file.take(MAX_RECORD).read_to_end(&mut text).map(|_| text)
            });
            match text.map(|text| serde_json::from_slice(&text)) {
                Ok(Ok(record)) => records.push((path, record)),
                Ok(Err(error)) => tracing::warn!("{} is no record: {error}", path.display()),
                Err(error) => tracing::warn!("could not read {}: {error}", path.display()),
            }
        }
        records
    }

    /// Removes what no record names, and what processes left behind that were killed.
    pub fn collect(&self) -> Result<(), StoreError> {
        let held = self.hold()?;
        self.collect_held(&held);
        Ok(())
    }

    pub(super) fn collect_held(&self, _: &Held) {
        for entry in fs::read_dir(self.root.join("incoming")).into_iter().flatten().flatten() {
            let is_left =
                File::open(entry.path().join("lock")).map_or(true, |lock| lock.try_lock().is_ok());
            if is_left {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let mut named: HashSet<String> = HashSet::new();
        for run in fs::read_dir(self.all_artifacts()).into_iter().flatten().flatten() {
            let records = Self::read_records::<Named>(&run.path());
            named.extend(records.into_iter().map(|(_, record)| record.digest));
        }
        let records = Self::read_records::<Named>(&self.caches());
        named.extend(records.into_iter().map(|(_, record)| record.digest));
        for folder in fs::read_dir(self.root.join("blobs")).into_iter().flatten().flatten() {
            let first = folder.file_name();
            for blob in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let digest =
                    format!("{}{}", first.to_string_lossy(), blob.file_name().to_string_lossy());
                if !named.contains(&digest) {
                    let _ = fs::remove_file(blob.path());
                }
            }
        }
    }
}

/// What every record says of itself.
#[derive(serde::Deserialize)]
struct Named {
    digest: String,
}

impl Incoming {
    /// Returns where the whole is to be written.
    pub fn whole(&self) -> PathBuf {
        self.dir.join("whole")
    }

    /// Returns where a part of it is to be written.
    pub(super) fn part(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads what was written as the whole, and syncs it.
    pub fn finish(&self) -> Result<Staged, StoreError> {
        let path = self.whole();
        let said = |error| StoreError::new("read", &path, error);
        let mut file = File::open(&path).map_err(said)?;
        file.sync_all().map_err(said)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer).map_err(said)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            digest.update(&buffer[..read]);
        }
        let digest = crate::built_in::artifact::hex(&digest.finalize());
        Ok(Staged { path, digest, bytes })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Returns a number that no record of a folder has: the time in microseconds, or the next free one.
pub(super) fn next_id(_: &Held, taken: impl Fn(u64) -> bool) -> u64 {
    let now = jiff::Timestamp::now().as_microsecond();
    let mut id = u64::try_from(now).unwrap_or(1);
    while taken(id) {
        id += 1;
    }
    id
}

fn make(dir: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| StoreError::new("make", dir, error))
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| StoreError::new("sync", folder, error))
}

/// A name that nobody else takes.
pub(super) fn random() -> String {
    let mut bytes = [0; 16];
    // Names need not be secret; the clock serves where the system gives no random bytes.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
    }
    crate::built_in::artifact::hex(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path().join("store")).expect("opens");
        (dir, store)
    }

    fn stage(store: &Store, text: &str) -> (Incoming, Staged) {
        let incoming = store.incoming().expect("begins");
        fs::write(incoming.whole(), text).expect("is written");
        let staged = incoming.finish().expect("is whole");
        (incoming, staged)
    }

    #[test]
    fn what_was_kept_is_found_by_its_content() {
        let (_dir, store) = store();
        let (_incoming, staged) = stage(&store, "hello");
        assert_eq!(staged.bytes, 5);
        assert!(staged.digest.starts_with("2cf24dba5fb0a30e"));
        let held = store.hold().expect("is held");
        store.keep_blob(&held, &staged).expect("is kept");
        let mut text = String::new();
        store.blob(&staged.digest).expect("is there").read_to_string(&mut text).expect("reads");
        assert_eq!(text, "hello");
    }

    #[test]
    fn what_nobody_names_is_collected_and_what_is_being_written_stays() {
        let (_dir, store) = store();
        let (incoming, staged) = stage(&store, "hello");
        store.keep_blob(&store.hold().expect("is held"), &staged).expect("is kept");
        let (writing, _) = stage(&store, "more");
        // As a process leaves it that was killed: nobody holds its lock.
        let left = store.root().join("incoming/left");
        fs::create_dir(&left).expect("a directory");
        fs::write(left.join("lock"), "").expect("a file");
        store.collect().expect("collects");
        assert!(store.blob(&staged.digest).is_err());
        assert!(!left.exists());
        assert!(writing.whole().exists());
        drop(incoming);
    }

    #[test]
    fn a_digest_that_is_none_names_no_file_outside() {
        let (_dir, store) = store();
        for digest in ["", "a", "é", "../lock"] {
            assert!(
                store.blob(digest).map_or(true, |file| !file.metadata().expect("is").is_file())
            );
        }
    }
}
