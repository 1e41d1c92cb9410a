//! What instances printed, without the secrets that they were given.

use std::io;
use std::path::Path;

use deploy::engine::process::ProcessEngine;
use deploy::engine::{LogCursor, LogLines};
use journal::{Diagnosis, InstanceId};
use pipeline::mask::Masker;

use crate::state::State;

/// Hides every secret that the vault keeps, in the forms in which they usually leak.
///
/// Which service got which secret does not matter here: one that got hold of another's must not
/// show it either.
pub struct Veil {
    masker: Masker,
}

impl Veil {
    /// Returns what hides the secrets of a vault; an unreadable vault gave no service a secret.
    pub fn of(vault: &Path) -> Self {
        let values = || -> Option<Vec<String>> {
            let vault = vault.exists().then(|| guard::vault::Vault::open(vault).ok()).flatten()?;
            let entries = vault.list().ok()?;
            let values = entries.into_iter().filter_map(|entry| vault.get(&entry.name).ok()?);
            Some(values.map(|secret| secret.expose().to_owned()).collect())
        };
        Self { masker: Masker::new(values().unwrap_or_default()) }
    }

    /// Returns a text without secrets.
    pub fn hide(&self, text: &str) -> String {
        self.masker.mask(text)
    }

    /// Returns lines without secrets.
    pub fn hide_lines(&self, lines: Vec<String>) -> Vec<String> {
        lines.iter().map(|line| self.hide(line)).collect()
    }

    /// Returns a diagnosis without secrets.
    pub fn hide_diagnosis(&self, diagnosis: Diagnosis) -> Diagnosis {
        Diagnosis {
            cause: self.hide(&diagnosis.cause),
            certainty: diagnosis.certainty,
            help: diagnosis.help.map(|help| self.hide(&help)),
            last_lines: self.hide_lines(diagnosis.last_lines),
        }
    }
}

/// Returns what an instance printed after a cursor, without secrets.
pub fn read(
    state: &State,
    veil: &Veil,
    instance: &InstanceId,
    cursor: LogCursor,
) -> io::Result<LogLines> {
    let mut read = ProcessEngine::read_log(&state.instances(), instance, cursor)?;
    for line in &mut read.lines {
        line.text = veil.hide(&line.text);
    }
    Ok(read)
}
