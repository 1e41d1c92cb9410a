//! What tests did over many runs.
//!
//! The results of each job are kept as a file beside its log. A test that passed and failed with
//! the same inputs is flaky by proof: nothing that it depends on differed, as far as Marline knows
//! inputs (the commit and what was not committed, the event, inputs and variables).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use journal::{JobKey, RunId};
use serde::{Deserialize, Serialize};

use crate::log;
use crate::report::{Outcome, Test};

/// The largest file of results that is read.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// The results of the tests of a job in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResults {
    /// The path of the workflow.
    pub workflow: String,
    /// The job.
    pub job: JobKey,
    /// What the run depended on, in one text; none if that is not known.
    #[serde(default)]
    pub inputs: Option<String>,
    /// Each test that has a name.
    pub tests: Vec<Test>,
    /// How many more passed without one.
    #[serde(default)]
    pub unnamed: u32,
    /// How many were too many to be kept.
    #[serde(default)]
    pub dropped: u32,
}

impl JobResults {
    /// Keeps the results in a directory of its run.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let path = path(dir, &self.job);
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(temporary, path)
    }

    /// Reads the results of a job.
    pub fn read(dir: &Path, job: &JobKey) -> io::Result<Self> {
        read_file(&path(dir, job))
    }

    /// Reads the results of all jobs of a run; a file that cannot be read is passed over.
    pub fn all(dir: &Path) -> Vec<Self> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        paths.iter().filter_map(|path| read_file(path).ok()).collect()
    }

    /// Returns how many ended in a way.
    pub fn count(&self, outcome: Outcome) -> u32 {
        self.tests.iter().filter(|test| test.outcome == outcome).count() as u32
    }
}

fn path(dir: &Path, job: &JobKey) -> PathBuf {
    log::path(dir, job).with_extension("json")
}

fn read_file(path: &Path) -> io::Result<JobResults> {
    if path.metadata()?.len() > MAX_FILE {
        return Err(io::Error::other("it is too large"));
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// A test over many runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestHistory {
    /// The path of the workflow.
    pub workflow: String,
    /// The job.
    pub job: JobKey,
    /// What the test is part of.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// What it did, the newest run first.
    pub seen: Vec<Seen>,
}

/// What a test did in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, if that was said.
    pub milliseconds: Option<u64>,
    /// Why it failed.
    pub message: String,
    /// What the run depended on.
    pub inputs: Option<String>,
}

/// That a test is flaky: with the same inputs it passed and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// A run in which it passed.
    pub passed: RunId,
    /// A run in which it failed; the same one if it was tried again there.
    pub failed: RunId,
}

impl TestHistory {
    /// Returns the newest proof that the test is flaky, if there is one.
    pub fn flaky(&self) -> Option<Proof> {
        for (at, newer) in self.seen.iter().enumerate() {
            if newer.outcome == Outcome::Flaky {
                return Some(Proof { passed: newer.run, failed: newer.run });
            }
            let Some(inputs) = &newer.inputs else { continue };
            let other = match newer.outcome {
                Outcome::Passed => Outcome::Failed,
                Outcome::Failed => Outcome::Passed,
                Outcome::Skipped | Outcome::Flaky => continue,
            };
            let is_other =
                |older: &&Seen| older.outcome == other && older.inputs.as_ref() == Some(inputs);
            if let Some(older) = self.seen[at + 1..].iter().find(is_other) {
                let (passed, failed) = match other {
                    Outcome::Failed => (newer.run, older.run),
                    _ => (older.run, newer.run),
                };
                return Some(Proof { passed, failed });
            }
        }
        None
    }

    /// Returns how often it ended in a way.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.seen.iter().filter(|seen| seen.outcome == outcome).count()
    }
}

impl std::fmt::Display for TestHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.suite.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{} › {}", self.suite, self.name)
        }
    }
}

/// Puts the results of runs together by test, in the order of their names.
///
/// A test that a job ran more than once, as in two configurations, failed there if one of them did.
pub fn histories(runs: impl IntoIterator<Item = (RunId, JobResults)>) -> Vec<TestHistory> {
    let mut found: BTreeMap<(String, String, String, String), Vec<Seen>> = BTreeMap::new();
    for (run, results) in runs {
        for test in results.tests {
            let key = (results.workflow.clone(), results.job.0.clone(), test.suite, test.name);
            let seen = found.entry(key).or_default();
            let one = Seen {
                run,
                outcome: test.outcome,
                milliseconds: test.milliseconds,
                message: test.message,
                inputs: results.inputs.clone(),
            };
            match seen.iter_mut().find(|known| known.run == run) {
                Some(known) if worse(one.outcome) > worse(known.outcome) => *known = one,
                Some(_) => {}
                None => seen.push(one),
            }
        }
    }
    found
        .into_iter()
        .map(|((workflow, job, suite, name), mut seen)| {
            seen.sort_by_key(|one| std::cmp::Reverse(one.run));
            TestHistory { workflow, job: JobKey(job), suite, name, seen }
        })
        .collect()
}

fn worse(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Skipped => 0,
        Outcome::Passed => 1,
        Outcome::Flaky => 2,
        Outcome::Failed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(inputs: Option<&str>, outcomes: &[Outcome]) -> JobResults {
        let tests = outcomes.iter().map(|outcome| Test {
            suite: "shop".to_owned(),
            name: "adds up".to_owned(),
            outcome: *outcome,
            milliseconds: None,
            message: String::new(),
        });
        JobResults {
            workflow: "ci.yml".to_owned(),
            job: JobKey("test".to_owned()),
            inputs: inputs.map(str::to_owned),
            tests: tests.collect(),
            unnamed: 0,
            dropped: 0,
        }
    }

    use Outcome::{Failed, Flaky, Passed, Skipped};

    fn flaky(runs: &[(Option<&str>, &[Outcome])]) -> Option<(u64, u64)> {
        let runs = runs
            .iter()
            .zip(1..)
            .map(|((inputs, outcomes), run)| (RunId(run), results(*inputs, outcomes)));
        let all = histories(runs);
        assert_eq!(all.len(), 1);
        all[0].flaky().map(|proof| (proof.passed.0, proof.failed.0))
    }

    #[test]
    fn only_the_same_inputs_prove_that_a_test_is_flaky() {
        assert_eq!(flaky(&[(Some("a"), &[Passed]), (Some("a"), &[Failed])]), Some((1, 2)));
        assert_eq!(
            flaky(&[(Some("a"), &[Failed]), (Some("b"), &[Failed]), (Some("a"), &[Passed])]),
            Some((3, 1))
        );
        assert_eq!(flaky(&[(Some("a"), &[Passed]), (Some("b"), &[Failed])]), None);
        assert_eq!(flaky(&[(None, &[Passed]), (None, &[Failed])]), None);
        assert_eq!(flaky(&[(Some("a"), &[Skipped]), (Some("a"), &[Failed])]), None);
        assert_eq!(flaky(&[(None, &[Flaky])]), Some((1, 1)));
    }

    #[test]
    fn two_configurations_in_one_job_prove_nothing() {
        assert_eq!(flaky(&[(Some("a"), &[Passed, Failed])]), None);
        assert_eq!(flaky(&[(Some("a"), &[Failed, Passed]), (Some("a"), &[Passed])]), Some((2, 1)));
    }

    #[test]
    fn results_come_back_from_their_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let written = results(Some("a"), &[Passed, Failed]);
        written.write(dir.path()).expect("written");
        std::fs::write(dir.path().join("other.json"), "{").expect("written");
        assert_eq!(JobResults::read(dir.path(), &written.job).expect("read"), written);
        assert_eq!(JobResults::all(dir.path()), [written]);
    }
}
