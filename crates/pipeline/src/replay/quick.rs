//! The recordings of the quick steps of a job.
//!
//! A file for each costs more to make than such a step takes, so they lie together in one, which is
//! written when the job has ended. What is lost with a job that was killed is soon made up for.
//! Nearly all that such steps depend on is the same for each, their shell and its libraries, so each
//! input stands once in the file.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::observe::Input;
use super::store::{CHECKSUM, Recording, Store, checked, sealed};

/// How long a step may take that is quick, in milliseconds.
const LONGEST: u64 = 100;

/// The most output of a quick step, in bytes.
const MOST_OUTPUT: usize = 4096;

/// How many recordings of one call are kept.
const MOST_TRIED: usize = 4;

/// How many recordings a job has at most.
const MOST: usize = 500;

/// The recordings of the quick steps of a job while it runs.
#[derive(Debug)]
pub struct Quick {
    store: Store,
    file: PathBuf,
    shelf: Mutex<Shelf>,
}

/// Names a recording of a job while the job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u64);

/// Recordings, those last used first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Shelf {
    /// What they depend on, each input once.
    inputs: Vec<Input>,
    recordings: VecDeque<Entry>,
    /// Where in the list an input is; none before the first recording of this run.
    #[serde(skip)]
    known: HashMap<Input, usize>,
    #[serde(skip)]
    is_changed: bool,
    #[serde(skip)]
    is_used: bool,
    #[serde(skip)]
    next: u64,
}

/// A recording and the key of its call.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    key: String,
    inputs: Vec<usize>,
    output: String,
    /// The recording without its inputs and its output.
    rest: Recording,
    #[serde(skip)]
    id: u64,
    #[serde(skip)]
    is_used: bool,
}

impl Quick {
    pub(super) fn open(store: Store, file: PathBuf) -> Self {
        let shelf = Mutex::new(Shelf::read(&file).unwrap_or_default());
        Self { store, file, shelf }
    }

    /// Lists the recordings of a call that may be replayed, the last one used first.
    pub fn find(&self, key: &str) -> Vec<(Id, Recording)> {
        let shelf = self.lock();
        let found = shelf.of(key).filter(|entry| !entry.rest.only_below);
        found.map(|entry| (Id(entry.id), shelf.recording(entry))).collect()
    }

    /// Returns the last recording of a call; none if the last one is not of a quick step.
    pub fn newest(&self, key: &str) -> Option<(Id, Recording)> {
        let shelf = self.lock();
        shelf.of(key).next().map(|entry| (Id(entry.id), shelf.recording(entry)))
    }

    /// Tells whether there is a recording of a call.
    pub fn has(&self, key: &str) -> bool {
        self.lock().of(key).next().is_some()
    }

    /// Makes a recording one that was used last.
    pub fn touch(&self, id: Id) {
        let mut shelf = self.lock();
        shelf.is_used = true;
        if let Some(entry) = shelf.recordings.iter_mut().find(|entry| entry.id == id.0) {
            entry.is_used = true;
        }
    }

    /// Forgets a recording that turned out to be damaged.
    pub fn forget(&self, id: Id) {
        let mut shelf = self.lock();
        shelf.recordings.retain(|entry| entry.id != id.0);
        shelf.is_changed = true;
    }

    /// Keeps a recording if its step was quick; gives it back if not.
    pub fn keep(&self, key: &str, mut recording: Recording) -> Result<(), Recording> {
        let mut shelf = self.lock();
        let is_quick = recording.took <= LONGEST
            && recording.output.len() <= MOST_OUTPUT
            && std::str::from_utf8(&recording.output).is_ok();
        if !is_quick {
            // Then the last one is elsewhere.
            let before = shelf.recordings.len();
            shelf.recordings.retain(|entry| entry.key != key);
            shelf.is_changed |= shelf.recordings.len() < before;
            return Err(recording);
        }
        let output = std::mem::take(&mut recording.output);
        let output = String::from_utf8_lossy(&output).into_owned();
        let inputs = std::mem::take(&mut recording.inputs);
        let inputs: Vec<usize> = inputs.into_iter().map(|input| shelf.intern(input)).collect();
        // The same inputs with another result: the newer one counts.
        shelf.recordings.retain(|entry| entry.key != key || entry.inputs != inputs);
        let id = shelf.next_id();
        let key = key.to_owned();
        let entry = Entry { key, inputs, output, rest: recording, id, is_used: true };
        shelf.recordings.push_front(entry);
        shelf.is_changed = true;
        Ok(())
    }

    /// Writes down what is new, when the job has ended.
    pub fn save(&self) -> io::Result<()> {
        let mut shelf = self.lock();
        if shelf.is_changed {
            shelf.shrink();
            let mut file = vec![0; CHECKSUM];
            serde_json::to_writer(&mut file, &*shelf)?;
            self.store.put_file(&sealed(file), &self.file)?;
        } else if shelf.is_used {
            fs::File::open(&self.file)?.set_modified(SystemTime::now())?;
        }
        (shelf.is_changed, shelf.is_used) = (false, false);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Reads a file; none if it is not there or damaged.
    pub fn read(file: &Path) -> Option<Self> {
        let bytes = fs::read(file).ok()?;
        let mut shelf: Self = serde_json::from_slice(checked(&bytes)?).ok()?;
        let count = shelf.inputs.len();
        if shelf.recordings.iter().flat_map(|entry| &entry.inputs).any(|at| *at >= count) {
            return None;
        }
        for at in 0..shelf.recordings.len() {
            shelf.recordings[at].id = shelf.next_id();
        }
        Some(shelf)
    }

    /// About how many bytes it and its layers take.
    pub fn size(&self) -> u64 {
        let one = |entry: &Entry| 1024 + entry.output.len() as u64 + entry.rest.bytes;
        self.recordings.iter().map(one).sum()
    }

    /// Lists the layers that it names.
    pub fn layers(&self) -> Vec<String> {
        self.recordings.iter().filter_map(|entry| entry.rest.layer.clone()).collect()
    }

    fn of(&self, key: &str) -> impl Iterator<Item = &Entry> {
        self.recordings.iter().filter(move |entry| entry.key == key)
    }

    fn recording(&self, entry: &Entry) -> Recording {
        Recording {
            inputs: entry.inputs.iter().map(|at| self.inputs[*at].clone()).collect(),
            output: entry.output.clone().into_bytes(),
            ..entry.rest.clone()
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns the place of an input, which it gets if it is new.
    fn intern(&mut self, input: Input) -> usize {
        if self.known.is_empty() {
            self.known = self.inputs.iter().cloned().zip(0..).collect();
        }
        *self.known.entry(input).or_insert_with_key(|input| {
            self.inputs.push(input.clone());
            self.inputs.len() - 1
        })
    }

    /// Leaves what was used last, and only the inputs that it needs.
    fn shrink(&mut self) {
        let (first, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.recordings).into_iter().partition(|entry| entry.is_used);
        let mut count: HashMap<String, usize> = HashMap::new();
        let is_wanted = |entry: &Entry| {
            let count = count.entry(entry.key.clone()).or_default();
            *count += 1;
            *count <= MOST_TRIED
        };
        self.recordings = first.into_iter().chain(rest).filter(is_wanted).take(MOST).collect();
        let before = std::mem::take(&mut self.inputs);
        self.known.clear();
        let mut places = vec![None; before.len()];
        for entry in &mut self.recordings {
            for at in &mut entry.inputs {
                *at = *places[*at].get_or_insert_with(|| {
                    self.inputs.push(before[*at].clone());
                    self.inputs.len() - 1
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::observe::Question;
    use super::*;

    fn recording(answer: &str, took: u64) -> Recording {
        let input = |path: &str, answer: &str| Input {
            path: path.into(),
            question: Question::Content,
            answer: answer.into(),
        };
        Recording {
            took,
            inputs: vec![input("/same", "s"), input("/w/x", answer)],
            temporary: false,
            layer: Some(format!("layer of {answer}")),
            files: [("GITHUB_OUTPUT".to_owned(), answer.to_owned())].into(),
            bytes: 3,
            only_below: false,
            output: answer.into(),
        }
    }

    fn quick(dir: &Path) -> Quick {
        Store::new(dir).quick("job")
    }

    fn found(quick: &Quick, key: &str) -> Vec<Recording> {
        quick.find(key).into_iter().map(|(_, recording)| recording).collect()
    }

    #[test]
    fn what_a_job_kept_is_found_by_the_next_and_what_is_damaged_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let one = quick(dir.path());
        for (key, answer) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")] {
            one.keep(key, recording(answer, 5)).expect("it is quick");
        }
        assert_eq!(found(&one, "a"), [recording("1", 5), recording("3", 5)]);
        assert!(found(&quick(dir.path()), "a").is_empty(), "it is written at the end");
        one.save().expect("saved");
        let two = quick(dir.path());
        assert_eq!(found(&two, "a").len(), 2);
        assert_eq!(found(&two, "b"), [recording("2", 5)]);
        let mut bytes = fs::read(&two.file).expect("there");
        assert_eq!(String::from_utf8_lossy(&bytes).matches("/same").count(), 1);
        *bytes.last_mut().expect("long") ^= 1;
        fs::write(&two.file, bytes).expect("damaged");
        assert!(found(&quick(dir.path()), "a").is_empty());
    }

    #[test]
    fn a_step_that_is_not_quick_is_given_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let quick = quick(dir.path());
        assert!(quick.keep("a", recording("slow", 101)).is_err());
        assert!(quick.keep("a", recording(&"x".repeat(5000), 1)).is_err());
        let bytes = Recording { output: vec![0xff], ..recording("1", 1) };
        assert!(quick.keep("a", bytes).is_err());
        quick.keep("a", recording("1", 1)).expect("it is quick");
        assert!(quick.has("a"));
        assert!(quick.keep("a", recording("slow", 101)).is_err());
        assert!(!quick.has("a"), "the last one is elsewhere");
        let below = Recording { only_below: true, ..recording("2", 1) };
        quick.keep("a", below.clone()).expect("it is quick");
        assert!(found(&quick, "a").is_empty(), "it is not to be replayed");
        assert_eq!(quick.newest("a").expect("one").1, below);
    }

    #[test]
    fn what_was_used_last_comes_first_and_the_rest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let save = |change: &dyn Fn(&Quick)| {
            let quick = quick(dir.path());
            change(&quick);
            quick.save().expect("saved");
        };
        for answer in 0..6 {
            save(&|quick| quick.keep("a", recording(&answer.to_string(), 1)).expect("is quick"));
        }
        let answers = || -> Vec<String> {
            let all = found(&quick(dir.path()), "a");
            all.iter().map(|one| String::from_utf8_lossy(&one.output).into_owned()).collect()
        };
        assert_eq!(answers(), ["5", "4", "3", "2"]);
        save(&|quick| {
            quick.touch(quick.find("a")[3].0);
            quick.keep("b", recording("b", 1)).expect("is quick");
        });
        assert_eq!(answers(), ["2", "5", "4", "3"]);
        save(&|quick| quick.forget(quick.find("a")[1].0));
        assert_eq!(answers(), ["2", "4", "3"]);
    }

    #[test]
    fn the_store_keeps_what_a_job_names_and_forgets_it_with_the_job() {
        let dir = tempfile::tempdir().expect("a directory");
        let one = quick(dir.path());
        one.keep("a", recording("1", 1)).expect("it is quick");
        one.save().expect("saved");
        let store = Store::new(dir.path());
        store.evict(u64::MAX, 10);
        assert_eq!(found(&quick(dir.path()), "a").len(), 1);
        store.evict(1, 10);
        assert!(found(&quick(dir.path()), "a").is_empty());
    }
}
