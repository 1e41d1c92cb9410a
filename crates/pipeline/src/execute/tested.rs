//! Results of tests that the steps of a job leave.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::SystemTime;

use journal::Fact;
use journal::fact::TestResult;

use super::job::JobRun;
use super::output::Output;
use crate::history::JobResults;
use crate::log::Kind;
use crate::report::{self, Outcome, Test, Tests};

/// How many tests that did not pass are named in the journal.
const MAX_NAMED: usize = 100;

/// How much of a file tells whether it may hold results.
const HEAD: u64 = 4096;

/// How many entries of a workspace are looked at where steps have no layers.
const MAX_ENTRIES: usize = 20_000;

/// Directories in which nobody writes results of tests.
const ELSEWHERE: &[&str] = &[".git", "node_modules", ".fingerprint", "incremental"];

impl JobRun {
    /// Takes the results that a step printed and wrote.
    pub fn collect_tests(&self, output: &mut Output) {
        let printed = std::mem::take(&mut output.printed).finish();
        let mut paths = std::mem::take(&mut output.reports);
        if !self.sandbox.has_layers() {
            paths = written_since(&self.dirs.workspace, output.began);
        }
        let mut files = Tests::default();
        for path in paths {
            if let Some(found) = self.read_report(&path) {
                files.add(found);
            }
        }
        let tests = printed.with_files(files);
        if !tests.is_empty() {
            let mut all = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((output.step(), tests));
        }
    }

    fn read_report(&self, path: &Path) -> Option<Tests> {
        if path.components().any(|part| ELSEWHERE.iter().any(|name| part.as_os_str() == *name)) {
            return None;
        }
        let mut file = self.disk().open(path).ok()?;
        let mut head = Vec::new();
        file.by_ref().take(HEAD).read_to_end(&mut head).ok()?;
        if !may_begin(path, &String::from_utf8_lossy(&head)) {
            return None;
        }
        let mut bytes = head;
        file.take(report::MAX_FILE).read_to_end(&mut bytes).ok()?;
        let mut tests = report::read_file(path, &String::from_utf8_lossy(&bytes))?;
        let masker = &self.engine.masker;
        for test in &mut tests.list {
            for text in [&mut test.suite, &mut test.name, &mut test.message] {
                *text = masker.mask(text);
            }
        }
        Some(tests)
    }

    /// Keeps the results of the job and tells what did not pass.
    pub fn report_tests(&self) {
        let found = std::mem::take(&mut *self.tests.lock().unwrap_or_else(PoisonError::into_inner));
        if found.is_empty() {
            return;
        }
        let mut named = Vec::new();
        let mut all = Tests::default();
        for (step, tests) in found {
            let notable = |test: &&Test| matches!(test.outcome, Outcome::Failed | Outcome::Flaky);
            for test in tests.list.iter().filter(notable) {
                if named.len() < MAX_NAMED {
                    named.push(TestResult {
                        test: test.to_string(),
                        step,
                        flaky: test.outcome == Outcome::Flaky,
                        message: test.message.clone(),
                    });
                }
            }
            all.add(tests);
        }
        let results = JobResults {
            workflow: self.engine.plan.workflow.path.clone(),
            job: self.key.clone(),
            inputs: self.engine.surroundings.inputs.clone(),
            tests: all.list,
            unnamed: all.unnamed,
            dropped: all.dropped,
        };
        if let Err(error) = results.write(&self.engine.surroundings.tests) {
            let why = format!("the results of the tests could not be kept: {error}");
            self.say(Kind::Warning, &why);
        }
        let passed = results.count(Outcome::Passed) + results.count(Outcome::Flaky);
        self.engine.recorder.record(Fact::TestsReported {
            run: self.engine.surroundings.run,
            job: self.key.clone(),
            passed: passed.saturating_add(results.unnamed),
            failed: results.count(Outcome::Failed),
            skipped: results.count(Outcome::Skipped),
            tests: named,
        });
    }
}

/// Whether a file that begins like this may hold results.
fn may_begin(path: &Path, head: &str) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xml") => head.contains("<testsuite"),
        Some("tap") => true,
        _ => head.starts_with('{') && (head.contains("\"Action\"") || head.contains("\"event\"")),
    }
}

/// Files that may hold results and are newer than a moment.
fn written_since(root: &Path, began: SystemTime) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    let mut left = MAX_ENTRIES;
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if left == 0 {
                return found;
            }
            left -= 1;
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !ELSEWHERE.iter().any(|elsewhere| name == *elsewhere) {
                open.push(path);
            } else if kind.is_file()
                && report::may_be_report(&path)
                && entry.metadata().and_then(|found| found.modified()).is_ok_and(|at| at >= began)
            {
                found.push(path);
            }
        }
    }
    found
}
