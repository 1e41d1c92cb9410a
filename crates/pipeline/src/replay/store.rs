//! Recordings on disk.
//!
//! ```text
//! recordings/<key>/<name>/recording.json   inputs, files of commands, the name of the layer
//!                         log              the output as it came
//! layers/<digest>/upper, changes           a layer, named by its content
//! latest/<step>.json                       the last call of a step, to tell what changed since
//! new/                                     what is being written
//! ```
//!
//! Everything is made in `new` and renamed into its place when it is whole, so that a crash leaves
//! nothing half written; a layer is compared with its digest each time it is used. All of it can be
//! removed at any time, also while steps run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sandbox::Layer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::{Call, hex};
use super::observe::{Input, hash_file};

/// How many recordings of one call are tried.
const MOST_TRIED: usize = 16;

/// What a step depended on, and what it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// How long the step took, in milliseconds.
    pub took: u64,
    /// Everything it depended on.
    pub inputs: Vec<Input>,
    /// Whether it looked at private temporary files.
    pub temporary: bool,
    /// The name of its layer; none if it changed nothing.
    pub layer: Option<String>,
    /// What it wrote to the files of commands, by the name of the file.
    pub files: BTreeMap<String, String>,
    /// How many bytes its layer holds.
    pub bytes: u64,
    /// Its output as it came; in a file of its own.
    #[serde(skip)]
    pub output: Vec<u8>,
}

/// Where recordings are kept.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Keeps recordings in a directory, which is made when it is needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Lists the recordings of a call, the last one used first.
    pub fn find(&self, key: &str) -> Vec<(PathBuf, Recording)> {
        let mut found: Vec<(SystemTime, PathBuf)> =
            fs::read_dir(self.dir.join("recordings").join(key))
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
                .collect();
        found.sort_by(|one, other| other.cmp(one));
        let recordings = found.into_iter().take(MOST_TRIED).filter_map(|(_, dir)| {
            let text = fs::read(dir.join("recording.json")).ok()?;
            let mut recording: Recording = serde_json::from_slice(&text).ok()?;
            recording.output = fs::read(dir.join("log")).ok()?;
            Some((dir, recording))
        });
        recordings.collect()
    }

    /// Makes a recording the last one used.
    pub fn touch(&self, dir: &Path) {
        if let Ok(file) = fs::File::open(dir) {
            // What cannot be touched is only forgotten earlier.
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Forgets a recording that turned out to be damaged.
    pub fn forget(&self, dir: &Path) {
        let _ = fs::remove_dir_all(dir);
    }

    /// Copies a kept layer for one use and returns it if it is what its name says.
    ///
    /// Its files get times from now on, in the order they had, as a step that ran now would have
    /// given them.
    pub fn layer(&self, digest: &str, copy: &Path) -> io::Result<Layer> {
        Layer::kept(self.dir.join("layers").join(digest)).keep(copy)?;
        let layer = Layer::kept(copy);
        let (found, _) = digest_of(&layer)?;
        if found != digest {
            let _ = fs::remove_dir_all(self.dir.join("layers").join(digest));
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kept layer is damaged"));
        }
        make_new(&copy.join("upper"))?;
        Ok(layer)
    }

    /// Keeps a layer and returns its name and size.
    pub fn keep_layer(&self, layer: &Layer) -> io::Result<(String, u64)> {
        let (digest, bytes) = digest_of(layer)?;
        let place = self.dir.join("layers").join(&digest);
        if !place.is_dir() {
            let new = self.new_dir()?;
            layer.keep(&new)?;
            put(&new, &place)?;
        }
        Ok((digest, bytes))
    }

    /// Keeps a recording.
    pub fn keep(&self, call: &Call, recording: &Recording) -> io::Result<()> {
        let new = self.new_dir()?;
        fs::create_dir(&new)?;
        write_whole(&new.join("log"), &recording.output)?;
        write_whole(&new.join("recording.json"), &serde_json::to_vec(recording)?)?;
        let name = hex(&Sha256::digest(serde_json::to_vec(&recording.inputs)?))[..16].to_owned();
        let place = self.dir.join("recordings").join(call.key()).join(name);
        // The same inputs with another result: the newer one counts.
        let _ = fs::remove_dir_all(&place);
        put(&new, &place)
    }

    /// Remembers the last call of a step.
    pub fn remember(&self, call: &Call) -> io::Result<()> {
        let new = self.new_dir()?;
        fs::write(&new, serde_json::to_vec(call)?)?;
        put(&new, &self.latest(&call.step))
    }

    /// Returns the last call of a step.
    pub fn last_call(&self, step: &str) -> Option<Call> {
        serde_json::from_slice(&fs::read(self.latest(step)).ok()?).ok()
    }

    fn latest(&self, step: &str) -> PathBuf {
        let name = hex(&Sha256::digest(step.as_bytes()));
        self.dir.join("latest").join(format!("{}.json", &name[..32]))
    }

    fn new_dir(&self) -> io::Result<PathBuf> {
        let new = self.dir.join("new");
        fs::create_dir_all(&new)?;
        let mut name = [0; 12];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(new.join(hex(&name)))
    }

    /// Removes what was used longest ago until at most so many bytes of layers and recordings stay.
    pub fn evict(&self, most_bytes: u64, most_recordings: usize) {
        let mut all: Vec<(SystemTime, PathBuf, Option<String>, u64)> = Vec::new();
        let keys = fs::read_dir(self.dir.join("recordings")).into_iter().flatten().flatten();
        for dir in keys.flat_map(|key| fs::read_dir(key.path()).into_iter().flatten().flatten()) {
            let dir = dir.path();
            let read = fs::read(dir.join("recording.json")).ok();
            let recording = read.and_then(|text| serde_json::from_slice::<Recording>(&text).ok());
            let used = fs::metadata(&dir).and_then(|found| found.modified());
            match (recording, used) {
                (Some(recording), Ok(used)) => {
                    let log = fs::metadata(dir.join("log")).map_or(0, |log| log.len());
                    let own = log + 200 * recording.inputs.len() as u64;
                    all.push((used, dir, recording.layer, recording.bytes + own));
                }
                _ => self.forget(&dir),
            }
        }
        all.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut bytes = 0;
        let mut wanted = std::collections::BTreeSet::new();
        for (at, (_, dir, layer, size)) in all.into_iter().enumerate() {
            bytes += size;
            if bytes > most_bytes || at >= most_recordings {
                self.forget(&dir);
            } else {
                wanted.extend(layer);
            }
        }
        let layers = fs::read_dir(self.dir.join("layers")).into_iter().flatten().flatten();
        for layer in
            layers.filter(|layer| !wanted.contains(layer.file_name().to_string_lossy().as_ref()))
        {
            // One that was just kept may wait for its recording.
            if is_old(&layer.path()) {
                let _ = fs::remove_dir_all(layer.path());
            }
        }
        for left in fs::read_dir(self.dir.join("new")).into_iter().flatten().flatten() {
            if is_old(&left.path()) {
                let _ = fs::remove_dir_all(left.path()).or_else(|_| fs::remove_file(left.path()));
            }
        }
    }
}

/// Tells whether nobody can be at work on a path any more.
fn is_old(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).map(|found| found.ctime());
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    changed.is_ok_and(|changed| changed + 600 < now as i64)
}

fn put(new: &Path, place: &Path) -> io::Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::rename(new, place) {
        Ok(()) => Ok(()),
        // Somebody else was first with the same content.
        Err(_) if place.is_dir() => fs::remove_dir_all(new),
        Err(error) => Err(error),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Names a layer by its content: paths, kinds, permissions, bytes, and what it says is deleted.
fn digest_of(layer: &Layer) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    hash.update(fs::read(layer.dir().join("changes"))?);
    walk(&layer.dir().join("upper"), Path::new(""), &mut |path, at, found| {
        let kind = found.file_type();
        let text = if kind.is_file() {
            bytes += found.len();
            hash_file(path)?
        } else if kind.is_symlink() {
            fs::read_link(path)?.to_string_lossy().into_owned()
        } else if kind.is_char_device() && found.rdev() == 0 {
            "gone".to_owned()
        } else if kind.is_dir() {
            String::new()
        } else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it made a pipe or a socket"));
        };
        let mode = if kind.is_symlink() { 0 } else { found.mode() };
        hash.update(format!("{}\0{mode:o}\0{text}\0", at.to_string_lossy()));
        Ok(())
    })?;
    Ok((hex(&hash.finalize()), bytes))
}

/// Visits all below a directory, in the order of names; a directory after what it holds.
fn walk(
    dir: &Path,
    at: &Path,
    visit: &mut dyn FnMut(&Path, &Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let (path, at) = (dir.join(&name), at.join(&name));
        let found = fs::symlink_metadata(&path)?;
        if found.is_dir() {
            walk(&path, &at, visit)?;
        }
        visit(&path, &at, &found)?;
    }
    Ok(())
}

/// Visits the files of a layer with their content.
pub(crate) fn each_file(
    layer: &Layer,
    visit: &mut dyn FnMut(&Path, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    walk(&layer.dir().join("upper"), Path::new(""), &mut |path, at, found| {
        if found.is_file() { visit(at, &fs::read(path)?) } else { Ok(()) }
    })
}

/// Moves the times of all below a directory to now, and keeps their order.
fn make_new(dir: &Path) -> io::Result<()> {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::{TimeSpec, TimeValLike};
    let mut all = Vec::new();
    walk(dir, Path::new(""), &mut |path, _, found| {
        let is_gone = found.file_type().is_char_device();
        if !is_gone {
            all.push(((found.mtime(), found.mtime_nsec()), path.to_owned()));
        }
        Ok(())
    })?;
    all.sort_by_key(|(time, _)| *time);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut step = 0;
    let mut last = None;
    for (time, path) in all {
        if last.is_some_and(|last| last != time) {
            step += 1000;
        }
        last = Some(time);
        let at = TimeSpec::nanoseconds(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX) + step);
        utimensat(nix::fcntl::AT_FDCWD, &path, &at, &at, UtimensatFlags::NoFollowSymlink)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::observe::Question;
    use super::*;

    fn recording(answer: &str) -> Recording {
        Recording {
            took: 7,
            inputs: vec![Input {
                path: "/w/x".into(),
                question: Question::Content,
                answer: answer.into(),
            }],
            temporary: false,
            layer: None,
            files: BTreeMap::new(),
            bytes: 0,
            output: b"out\xff".to_vec(),
        }
    }

    fn call(script: &str) -> Call {
        let none: [(String, String); 0] = [];
        Call::new("s".into(), vec!["sh".into()], script.into(), "/w".into(), none, String::new())
    }

    #[test]
    fn what_was_kept_is_found_and_what_is_damaged_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        let call = call("true");
        assert!(store.find(&call.key()).is_empty());
        store.keep(&call, &recording("one")).expect("kept");
        store.keep(&call, &recording("two")).expect("kept");
        let mut answers: Vec<_> = store
            .find(&call.key())
            .into_iter()
            .map(|(_, one)| one.inputs[0].answer.clone())
            .collect();
        answers.sort();
        assert_eq!(answers, ["one", "two"]);
        assert_eq!(store.find(&call.key())[0].1.output, b"out\xff");
        for (dir, _) in store.find(&call.key()) {
            fs::write(dir.join("recording.json"), b"{\"took\":").expect("damaged");
        }
        assert!(store.find(&call.key()).is_empty());
        store.evict(u64::MAX, 10);
        let left = fs::read_dir(dir.path().join("recordings").join(call.key())).expect("there");
        assert_eq!(left.count(), 0, "what is damaged goes");
    }

    #[test]
    fn the_store_keeps_to_its_bounds_and_forgets_what_was_used_longest_ago() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        for script in ["a", "b", "c"] {
            store.keep(&call(script), &recording(script)).expect("kept");
            let (dir, _) = store.find(&call(script).key()).remove(0);
            let age = std::time::Duration::from_secs(if script == "a" { 1 } else { 100 });
            fs::File::open(dir).expect("there").set_modified(SystemTime::now() - age).expect("set");
        }
        store.evict(u64::MAX, 1);
        let left = |script| store.find(&call(script).key()).len();
        assert_eq!([left("a"), left("b"), left("c")], [1, 0, 0]);
    }

    #[test]
    fn the_last_call_of_a_step_is_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        assert_eq!(store.last_call("s"), None);
        store.remember(&call("one")).expect("kept");
        store.remember(&call("two")).expect("kept");
        assert_eq!(store.last_call("s"), Some(call("two")));
    }
}
