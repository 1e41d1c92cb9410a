//! What is known of a step before it starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Counts the ways in which recordings were ever made; another number means another key.
const VERSION: &str = "marline replay 1";

/// Variables that differ from run to run or from commit to commit though the step may not care.
///
/// They are left out of the key. Whoever reads one must name it somewhere: in its script or in a
/// file that it reads. There the last part of the name is looked for, and then the value counts.
/// Who reads all variables at once gives himself away by [`CANARY`].
pub(crate) const VOLATILE: &[(&str, &str)] = &[
    ("GITHUB_RUN_ID", "RUN_ID"),
    ("GITHUB_RUN_NUMBER", "RUN_NUMBER"),
    ("GITHUB_SHA", "GITHUB_SHA"),
    ("GITHUB_WORKFLOW_SHA", "WORKFLOW_SHA"),
    ("ACTIONS_RUNTIME_TOKEN", "RUNTIME_TOKEN"),
    ("ACTIONS_RUNTIME_URL", "RUNTIME_URL"),
    ("ACTIONS_RESULTS_URL", "RESULTS_URL"),
    ("ACTIONS_CACHE_URL", "CACHE_URL"),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ID_TOKEN_REQUEST"),
    ("ACTIONS_ID_TOKEN_REQUEST_URL", "ID_TOKEN_REQUEST"),
    ("RUNNER_TRACKING_ID", "TRACKING_ID"),
];

/// A variable with a random value: it appears in what a step leaves only if the step shows its
/// whole environment.
pub const CANARY: &str = "MARLINE_STEP";

/// What says in `env:` how a step may be replayed: `never`, or what to overlook of `network`,
/// `clock` and `random`.
pub const SETTING: &str = "MARLINE_REPLAY";

/// What is known of a step before it starts, part by part, so that a difference can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Which step of which workflow this is; no part of the key.
    pub step: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The text of the script.
    pub script: String,
    /// Where it starts.
    pub cwd: String,
    /// Its variables, without those that change with every run.
    pub env: BTreeMap<String, String>,
    /// The walls around it, the machine and the user.
    pub around: String,
    /// The variables that were left out.
    #[serde(skip)]
    pub volatile: BTreeMap<String, String>,
}

impl Call {
    /// Sorts the variables of a step.
    pub fn new(
        step: String,
        argv: Vec<String>,
        script: String,
        cwd: String,
        env: impl IntoIterator<Item = (String, String)>,
        around: String,
    ) -> Self {
        let is_volatile = |name: &String| VOLATILE.iter().any(|(known, _)| known == name);
        let (volatile, env): (BTreeMap<_, _>, BTreeMap<_, _>) = env
            .into_iter()
            .filter(|(name, _)| name != CANARY)
            .partition(|(name, _)| is_volatile(name));
        Self { step, argv, script, cwd, env, around, volatile }
    }

    /// Returns the name under which recordings of this step are kept.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        add(VERSION);
        add(&self.argv.len().to_string());
        self.argv.iter().for_each(|argument| add(argument));
        add(&self.script);
        add(&self.cwd);
        add(&self.around);
        for (name, value) in &self.env {
            add(name);
            add(value);
        }
        hex(&hash.finalize())
    }

    /// Says what makes it another program than an earlier call of the same step; none if it is the
    /// same.
    pub(crate) fn another_program(&self, before: &Self) -> Option<String> {
        if self.script != before.script {
            return Some("its script changed".to_owned());
        }
        if self.argv != before.argv {
            return Some("its shell or its arguments changed".to_owned());
        }
        if self.cwd != before.cwd {
            return Some("its working directory changed".to_owned());
        }
        None
    }

    /// Says what differs from an earlier call of the same step; none if nothing does.
    pub fn difference(&self, before: &Self) -> Option<String> {
        if let Some(why) = self.another_program(before) {
            return Some(why);
        }
        let names = self.env.keys().chain(before.env.keys());
        if let Some(name) = names
            .into_iter()
            .find(|name| self.env.get(name.as_str()) != before.env.get(name.as_str()))
        {
            return Some(format!("the variable `{name}` changed"));
        }
        (self.around != before.around)
            .then(|| "the machine or the walls of the box changed".to_owned())
    }

    /// Tells what may be overlooked.
    pub(crate) fn allows(&self, what: &str) -> bool {
        self.env
            .get(SETTING)
            .is_some_and(|value| value.split([' ', ',']).any(|word| word.trim() == what))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    crate::built_in::artifact::hex(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(env: &[(&str, &str)]) -> Call {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Call::new("s".into(), vec!["bash".into()], "true".into(), "/w".into(), env, "box".into())
    }

    #[test]
    fn the_number_of_the_run_is_no_part_of_the_key_and_other_variables_are() {
        let one = call(&[("GITHUB_RUN_ID", "1"), ("CI", "true"), (CANARY, "x")]);
        let two = call(&[("GITHUB_RUN_ID", "2"), ("CI", "true"), (CANARY, "y")]);
        assert_eq!(one.key(), two.key());
        let other = call(&[("GITHUB_RUN_ID", "2"), ("CI", "false")]);
        assert_ne!(one.key(), other.key());
        assert_eq!(other.difference(&one), Some("the variable `CI` changed".to_owned()));
        assert_eq!(two.difference(&one), None);
    }

    #[test]
    fn texts_that_run_together_are_different_keys() {
        let mut one = call(&[("A", "b")]);
        let mut two = one.clone();
        one.argv = vec!["ab".into(), "c".into()];
        two.argv = vec!["a".into(), "bc".into()];
        assert_ne!(one.key(), two.key());
    }
}
