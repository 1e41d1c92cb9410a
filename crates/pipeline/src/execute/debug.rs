//! A failed step's box, shown to whoever looks for the cause.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indexmap::IndexMap;
use journal::{Conclusion, JobKey};
use sandbox::{Patience, Process};
use tokio::io::AsyncReadExt;

use super::job::JobRun;
use super::output::Output;
use super::process::Program;
use super::step::Ended;
use crate::log::Kind;

/// The longest line of a command that is masked as a whole.
const MAX_LINE: usize = 1024 * 1024;

/// Who looks into the boxes of failed steps, one at a time.
pub trait Debugger: Send + Sync + Debug {
    /// Hears of a failed step, and says what is run in its box.
    fn enter(&self, failed: &FailedStep) -> std::io::Result<Visit>;

    /// Takes a line that a command printed, masked.
    fn line(&self, failed: &FailedStep, line: &str);

    /// Hears that the visit has ended, and why there was none if there was not.
    fn leave(&self, failed: &FailedStep, refused: Option<&str>);
}

/// A step that failed, while its box still is as it left it.
#[derive(Debug, Clone)]
pub struct FailedStep {
    /// The job.
    pub job: JobKey,
    /// The number of the step.
    pub step: u32,
    /// Its name, masked.
    pub name: String,
    /// Why it failed, masked.
    pub message: String,
    /// The program that failed with its arguments, masked; none if it failed without one.
    pub ran: Option<String>,
    /// Where it ran.
    pub cwd: PathBuf,
}

/// What is run in the box of a failed step.
#[derive(Debug)]
pub enum Visit {
    /// A command of the shell, with no input; its output is masked.
    Command(String),
    /// A shell at a terminal, given as its three streams.
    Terminal([OwnedFd; 3]),
}

impl JobRun {
    /// Shows the box of a step that failed, if somebody wants to see it. Returns whether no process of
    /// the visit is left.
    pub(super) async fn visit(
        &mut self,
        program: Option<&Program>,
        cwd: &Path,
        variables: IndexMap<String, String>,
        ended: &mut Ended,
        output: &mut Output,
    ) -> bool {
        let Some(debugger) = self.engine.surroundings.debug.clone() else { return true };
        if ended.outcome != Conclusion::Failure
            || self.running.forgiven
            || self.running.was_visited
            || *self.engine.cancel.borrow()
        {
            return true;
        }
        self.running.was_visited = true;
        self.flush(output);
        let engine = self.engine.clone();
        let mask = |text: &str| engine.masker.mask(text);
        let failed = FailedStep {
            job: self.key.clone(),
            step: output.step(),
            name: mask(&self.running.name),
            message: mask(ended.failure.as_ref().map_or("it failed", |failure| &failure.message)),
            ran: program.map(|program| {
                let words = std::iter::once(&program.name).chain(&program.arguments);
                mask(&words.map(String::as_str).collect::<Vec<_>>().join(" "))
            }),
            cwd: cwd.to_owned(),
        };
        let began = Instant::now();
        let turn = engine.visited.lock().await;
        let shown = self.show_box(debugger.as_ref(), &failed, variables).await;
        debugger.leave(&failed, shown.as_ref().err().map(String::as_str));
        drop(turn);
        // Who looks for a cause may take longer than the job may.
        self.stops.postpone(began.elapsed());
        let quiet = shown.unwrap_or(true);
        if let Some(replay) = &mut self.replay {
            replay.disturb(quiet);
        }
        output.say(Kind::Debug, "its box was shown to somebody, who may have changed it");
        self.flush(output);
        quiet
    }

    /// Runs what the debugger wants. Returns whether nothing of it is left running.
    async fn show_box(
        &self,
        debugger: &dyn Debugger,
        failed: &FailedStep,
        variables: IndexMap<String, String>,
    ) -> Result<bool, String> {
        let visit = debugger.enter(failed).map_err(|error| error.to_string())?;
        let shell = if self.has_bash { "bash" } else { "sh" };
        // Where the step failed to get in, the shell need not.
        let cwd = if failed.cwd.is_dir() { &failed.cwd } else { &self.dirs.workspace };
        let command = sandbox::Command::new(shell).cwd(cwd).layer(true);
        let command = match visit {
            Visit::Command(text) => {
                let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
                let second = writer.try_clone().map_err(|error| error.to_string())?;
                let command = command
                    .args(["-c", &text])
                    .envs(variables)
                    .stdout(OwnedFd::from(writer))
                    .stderr(OwnedFd::from(second));
                return self.run_command(command, reader, debugger, failed).await;
            }
            Visit::Terminal([stdin, stdout, stderr]) => {
                let mut variables = variables;
                let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
                variables.insert("TERM".to_owned(), term);
                variables.insert("PS1".to_owned(), format!("{} \\w\\$ ", failed.job));
                let quiet: &[&str] = if self.has_bash { &["--noprofile", "--norc"] } else { &[] };
                command
                    .args(quiet)
                    .arg("-i")
                    .envs(variables)
                    .stdin(stdin)
                    .stdout(stdout)
                    .stderr(stderr)
            }
        };
        let process = self.start_visit(command).await?;
        self.end_visit(&process).await
    }

    async fn run_command(
        &self,
        command: sandbox::Command,
        reader: std::io::PipeReader,
        debugger: &dyn Debugger,
        failed: &FailedStep,
    ) -> Result<bool, String> {
        let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())
            .map_err(|error| error.to_string())?;
        let process = self.start_visit(command).await?;
        let told = async {
            let mut text = Vec::new();
            while let Ok(count @ 1..) = reader.read_buf(&mut text).await {
                let from = text.len() - count;
                let end = text[from..].iter().rposition(|byte| *byte == b'\n').map(|at| from + at);
                let end = end.or((text.len() >= MAX_LINE).then(|| text.len() - 1));
                if let Some(end) = end {
                    self.tell_lines(debugger, failed, &text[..=end]);
                    text.drain(..=end);
                }
            }
            self.tell_lines(debugger, failed, &text);
        };
        tokio::pin!(told);
        let ending = self.end_visit(&process);
        tokio::pin!(ending);
        tokio::select! {
            () = &mut told => ending.await,
            quiet = &mut ending => {
                // What it left behind may hold its output open.
                let _ = tokio::time::timeout(sandbox::STREAM_GRACE, told).await;
                quiet
            }
        }
    }

    fn tell_lines(&self, debugger: &dyn Debugger, failed: &FailedStep, text: &[u8]) {
        for line in self.engine.masker.mask(&String::from_utf8_lossy(text)).lines() {
            debugger.line(failed, line);
        }
    }

    async fn start_visit(&self, command: sandbox::Command) -> Result<Process, String> {
        self.sandbox.spawn(command).await.map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(String::new, |cause| format!(": {cause}"));
            format!("could not {error}{cause}")
        })
    }

    /// Waits for the end of a visit, and ends it when the run is cancelled.
    async fn end_visit(&self, process: &Process) -> Result<bool, String> {
        let mut cancel = self.engine.cancel.clone();
        let cancelled = async {
            if cancel.wait_for(|value| *value).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let exit = tokio::select! {
            exit = process.wait() => Some(exit),
            () = cancelled => None,
        };
        let exit = match exit {
            Some(exit) => exit,
            None => process.terminate(&Patience::default()).await,
        };
        exit.map(|exit| exit.alone).map_err(|error| format!("could not {error}"))
    }
}
