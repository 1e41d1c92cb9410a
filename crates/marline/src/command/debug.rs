//! `marline run --debug`: a look into the box of a step that failed.

use std::sync::{Arc, Mutex, PoisonError};

use pipeline::execute::{Debugger, FailedStep, Visit};
use sandbox::Lent;

use super::run::Screen;
use crate::cli::RunArgs;

/// Looks into boxes: by a command, or with our terminal.
pub(super) struct Visitor {
    command: Option<String>,
    screen: Arc<Screen>,
    lent: Mutex<Option<Lent>>,
}

impl Visitor {
    /// Returns none if nobody asked for it.
    pub fn of(args: &RunArgs, screen: &Arc<Screen>) -> Option<Self> {
        (args.debug || args.debug_command.is_some()).then(|| Self {
            command: args.debug_command.clone(),
            screen: Arc::clone(screen),
            lent: Mutex::default(),
        })
    }

    fn introduce(&self, failed: &FailedStep) {
        let FailedStep { job, name, message, ran, .. } = failed;
        self.screen.line(&format!("\n  {job} failed at step “{name}”"));
        self.screen.line(&format!("  {}", self.screen.paint("31", message)));
        if let Some(ran) = ran {
            self.screen.line(&format!("  It ran   {ran}"));
        }
    }
}

impl Debugger for Visitor {
    fn enter(&self, failed: &FailedStep) -> std::io::Result<Visit> {
        if let Some(command) = &self.command {
            if !self.screen.json {
                self.introduce(failed);
            }
            return Ok(Visit::Command(command.clone()));
        }
        self.introduce(failed);
        self.screen.line(
            "  This is its box, with its variables and files as they were. `exit` lets the job go on.\n",
        );
        self.screen.hush();
        let (lent, streams) = Lent::lend()?;
        *self.lent.lock().unwrap_or_else(PoisonError::into_inner) = Some(lent);
        Ok(Visit::Terminal(streams))
    }

    fn line(&self, failed: &FailedStep, line: &str) {
        if self.screen.json {
            let FailedStep { job, step, .. } = failed;
            let value = serde_json::json!({ "debug": { "job": job, "step": step, "line": line } });
            self.screen.line(&value.to_string());
        } else {
            self.screen.line(&format!("  {} ┆ {line}", failed.job));
        }
    }

    fn leave(&self, failed: &FailedStep, refused: Option<&str>) {
        if self.command.is_none() {
            drop(self.lent.lock().unwrap_or_else(PoisonError::into_inner).take());
            self.screen.go_on();
        }
        if let Some(why) = refused {
            self.line(failed, &format!("its box could not be shown: {why}"));
        }
    }
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor").field("command", &self.command).finish_non_exhaustive()
    }
}
