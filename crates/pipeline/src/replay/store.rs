//! Recordings on disk.
//!
//! ```text
//! recordings/<..>/<key>-<name>             a checksum; inputs, files of commands, the name of the
//!                                          layer; the output as it came
//! quick/<job>                              the recordings of the quick steps of a job
//! layers/<digest>/upper, changes           a layer, named by its content
//! latest/<job>.json                        the last calls of its steps, to tell what changed since
//! new/                                     what is being written
//! ```
//!
//! Everything is made in `new` and renamed into its place when it is whole. Nobody waits for the
//! disk: what a loss of power leaves half written is found by its checksum, as a layer is by its
//! digest, each time it is used. All of it can be removed at any time, also while steps run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use sandbox::Layer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::{Call, hex};
use super::observe::{Input, hash_file};
use super::quick::{Quick, Shelf};

/// How the file of a recording ends that only is what a run may go on above; of one call, the newest.
const ONLY_BELOW: &[u8] = b"-below";

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
    /// Whether it only is what a run may go on above: the step would not do the same again.
    #[serde(default)]
    pub only_below: bool,
    /// Its output as it came; in a file of its own.
    #[serde(skip)]
    pub output: Vec<u8>,
}

impl Recording {
    /// Reads a recording; none if it is damaged.
    fn read(file: &[u8]) -> Option<Self> {
        let rest = checked(file)?;
        let end = memchr::memchr(b'\n', rest)?;
        let mut recording: Self = serde_json::from_slice(&rest[..end]).ok()?;
        recording.output = rest[end + 1..].to_vec();
        Some(recording)
    }

    /// Writes a recording: a checksum of what follows, a line of JSON, the output.
    fn written(&self) -> io::Result<Vec<u8>> {
        let mut file = vec![0; CHECKSUM];
        serde_json::to_writer(&mut file, self)?;
        file.push(b'\n');
        file.extend(&self.output);
        Ok(sealed(file))
    }
}

/// How many bytes of a file are the checksum of the rest.
pub(super) const CHECKSUM: usize = 32;

/// Puts the checksum before the rest of a file, where there is room for it.
pub(super) fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let checksum = Sha256::digest(&file[CHECKSUM..]);
    file[..CHECKSUM].copy_from_slice(&checksum);
    file
}

/// Returns what the checksum before it stands for; none if it does not.
pub(super) fn checked(file: &[u8]) -> Option<&[u8]> {
    let (checksum, rest) = file.split_at_checked(CHECKSUM)?;
    (Sha256::digest(rest)[..] == *checksum).then_some(rest)
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

    /// Lists the recordings of a call that may be replayed, the last one used first.
    pub fn find(&self, key: &str) -> Vec<(PathBuf, Recording)> {
        self.find_those(key, |name| !name.ends_with(ONLY_BELOW))
    }

    /// Lists all recordings of a call, the last one used first.
    pub fn find_any(&self, key: &str) -> Vec<(PathBuf, Recording)> {
        self.find_those(key, |_| true)
    }

    fn find_those(&self, key: &str, wanted: fn(&[u8]) -> bool) -> Vec<(PathBuf, Recording)> {
        let mut found: Vec<(SystemTime, PathBuf)> = fs::read_dir(self.drawer(key))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                name.as_bytes().starts_with(key.as_bytes()) && wanted(name.as_bytes())
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        found.sort_by(|one, other| other.cmp(one));
        let recordings = found.into_iter().take(MOST_TRIED).filter_map(|(_, path)| {
            let recording = Recording::read(&fs::read(&path).ok()?)?;
            Some((path, recording))
        });
        recordings.collect()
    }

    /// Tells cheaply whether there may be a recording of a call.
    pub fn may_have(&self, key: &str) -> bool {
        self.drawer(key).exists()
    }

    /// Makes a recording the last one used.
    pub fn touch(&self, recording: &Path) {
        if let Ok(file) = fs::File::open(recording) {
            // What cannot be touched is only forgotten earlier.
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Forgets a recording that turned out to be damaged.
    pub fn forget(&self, recording: &Path) {
        let _ = fs::remove_file(recording);
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
            let new = self.new_name()?;
            making_its_directory(&new, || layer.keep(&new))?;
            put(&new, &place)?;
        }
        Ok((digest, bytes))
    }

    /// Keeps a recording of the call with this key.
    pub fn keep(&self, key: &str, recording: &Recording) -> io::Result<()> {
        // The same inputs with another result: the newer one counts.
        let place = if recording.only_below {
            self.drawer(key).join(format!("{key}{}", String::from_utf8_lossy(ONLY_BELOW)))
        } else {
            let name = hex(&Sha256::digest(serde_json::to_vec(&recording.inputs)?));
            self.drawer(key).join(format!("{key}-{}", &name[..16]))
        };
        self.put_file(&recording.written()?, &place)
    }

    /// Returns the directory of a recording: one for each two digits, as a directory for each key
    /// costs more to make than the recording.
    fn drawer(&self, key: &str) -> PathBuf {
        self.dir.join("recordings").join(&key[..2])
    }

    /// Returns the last calls of the steps of a job.
    pub fn last_calls(&self, job: &str) -> LastCalls {
        let name = hex(&Sha256::digest(job.as_bytes()));
        let file = self.dir.join("latest").join(format!("{}.json", &name[..32]));
        LastCalls { store: self.clone(), file, before: OnceLock::new(), since: Mutex::default() }
    }

    /// Returns the recordings of the quick steps of a job.
    pub fn quick(&self, job: &str) -> Quick {
        let name = hex(&Sha256::digest(job.as_bytes()));
        Quick::open(self.clone(), self.dir.join("quick").join(&name[..32]))
    }

    pub(super) fn put_file(&self, bytes: &[u8], place: &Path) -> io::Result<()> {
        let new = self.new_name()?;
        making_its_directory(&new, || fs::write(&new, bytes))?;
        making_its_directory(place, || fs::rename(&new, place))
    }

    fn new_name(&self) -> io::Result<PathBuf> {
        let mut name = [0; 12];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(self.dir.join("new").join(hex(&name)))
    }

    /// Removes what was used longest ago until at most so many bytes of layers and recordings stay.
    pub fn evict(&self, most_bytes: u64, most_recordings: usize) {
        let mut all: Vec<(SystemTime, PathBuf, Vec<String>, u64)> = Vec::new();
        let mut wanted = std::collections::BTreeSet::new();
        for quick in fs::read_dir(self.dir.join("quick")).into_iter().flatten().flatten() {
            let path = quick.path();
            let used = fs::metadata(&path).and_then(|found| found.modified());
            match (Shelf::read(&path), used) {
                (Some(shelf), Ok(used)) => {
                    all.push((used, path, shelf.layers(), shelf.size()));
                }
                _ => self.forget(&path),
            }
        }
        let drawers = fs::read_dir(self.dir.join("recordings")).into_iter().flatten().flatten();
        for path in drawers.flat_map(|one| fs::read_dir(one.path()).into_iter().flatten().flatten())
        {
            let path = path.path();
            let recording = fs::read(&path).ok().and_then(|bytes| Recording::read(&bytes));
            let used = fs::metadata(&path).and_then(|found| found.modified());
            match (recording, used) {
                (Some(recording), Ok(used)) => {
                    let own = recording.output.len() as u64 + 200 * recording.inputs.len() as u64;
                    let layers = recording.layer.into_iter().collect();
                    all.push((used, path, layers, recording.bytes + own));
                }
                _ => self.forget(&path),
            }
        }
        all.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut bytes = 0;
        for (at, (_, path, layers, size)) in all.into_iter().enumerate() {
            bytes += size;
            if bytes > most_bytes || at >= most_recordings {
                self.forget(&path);
            } else {
                wanted.extend(layers);
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

/// The last calls of the steps of a job.
#[derive(Debug)]
pub struct LastCalls {
    store: Store,
    file: PathBuf,
    before: OnceLock<BTreeMap<String, Call>>,
    since: Mutex<Vec<Arc<Call>>>,
}

impl LastCalls {
    /// Returns the last call of a step in an earlier run.
    pub fn of(&self, step: &str) -> Option<&Call> {
        self.before().get(step)
    }

    /// Whether a step whose name begins so has a recording.
    pub fn any(&self, step: &str, store: &Store, quick: &Quick) -> bool {
        let mut calls = self.before().range(step.to_owned()..);
        calls
            .next()
            .filter(|(name, _)| name.starts_with(step))
            .map(|(_, call)| call.key())
            .is_some_and(|key| quick.has(&key) || !store.find_any(&key).is_empty())
    }

    fn before(&self) -> &BTreeMap<String, Call> {
        let read = || serde_json::from_slice(&fs::read(&self.file).ok()?).ok();
        self.before.get_or_init(|| read().unwrap_or_default())
    }

    /// Remembers a call for the runs that follow.
    pub fn remember(&self, call: Arc<Call>) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Writes down what was remembered. What is lost before that is only told less well.
    pub fn save(&self) -> io::Result<()> {
        let since = std::mem::take(&mut *self.since.lock().unwrap_or_else(PoisonError::into_inner));
        if since.is_empty() {
            return Ok(());
        }
        let mut all: BTreeMap<&str, &Call> =
            self.before().iter().map(|(step, call)| (step.as_str(), call)).collect();
        all.extend(since.iter().map(|call| (call.step.as_str(), call.as_ref())));
        self.store.put_file(&serde_json::to_vec(&all)?, &self.file)
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
    match making_its_directory(place, || fs::rename(new, place)) {
        Ok(()) => Ok(()),
        // Somebody else was first with the same content.
        Err(_) if place.is_dir() => fs::remove_dir_all(new),
        Err(error) => Err(error),
    }
}

/// Does what makes a file in a directory; makes the directory, too, if it is not there.
fn making_its_directory(path: &Path, make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match (make(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent)?;
            make()
        }
        (done, _) => done,
    }
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
            only_below: false,
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
        store.keep(&call.key(), &recording("one")).expect("kept");
        store.keep(&call.key(), &recording("two")).expect("kept");
        let mut answers: Vec<_> = store
            .find(&call.key())
            .into_iter()
            .map(|(_, one)| one.inputs[0].answer.clone())
            .collect();
        answers.sort();
        assert_eq!(answers, ["one", "two"]);
        assert_eq!(store.find(&call.key())[0].1.output, b"out\xff");
        for (path, _) in store.find(&call.key()) {
            let mut bytes = fs::read(&path).expect("there");
            // The last byte is one of the output, which nothing but the checksum looks at.
            *bytes.last_mut().expect("long") ^= 1;
            fs::write(path, bytes).expect("damaged");
        }
        assert!(store.find(&call.key()).is_empty());
        store.evict(u64::MAX, 10);
        let left = fs::read_dir(store.drawer(&call.key())).expect("there");
        assert_eq!(left.count(), 0, "what is damaged goes");
    }

    #[test]
    fn the_store_keeps_to_its_bounds_and_forgets_what_was_used_longest_ago() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        for script in ["a", "b", "c"] {
            store.keep(&call(script).key(), &recording(script)).expect("kept");
            let (path, _) = store.find(&call(script).key()).remove(0);
            let age = std::time::Duration::from_secs(if script == "a" { 1 } else { 100 });
            fs::File::open(path)
                .expect("there")
                .set_modified(SystemTime::now() - age)
                .expect("set");
        }
        store.evict(u64::MAX, 1);
        let left = |script| store.find(&call(script).key()).len();
        assert_eq!([left("a"), left("b"), left("c")], [1, 0, 0]);
    }

    #[test]
    fn the_last_call_of_a_step_is_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        let again = |script: &str| {
            let calls = store.last_calls("job");
            let before = calls.of("s").cloned();
            calls.remember(Arc::new(call(script)));
            calls.save().expect("kept");
            before
        };
        assert_eq!(again("one"), None);
        assert_eq!(again("two"), Some(call("one")));
        assert_eq!(again("two"), Some(call("two")));
        assert_eq!(store.last_calls("other").of("s"), None);
    }
}
