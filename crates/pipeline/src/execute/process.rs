//! The program of a step: its variables, its output, its files, its end.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use journal::{Conclusion, Fact};
use nix::fcntl::OFlag;
use sandbox::{End, Exit, Patience, Process, STREAM_GRACE};
use source::workflow::Template;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::background::Written;
use super::job::{JobRun, arch, text_of};
use super::output::{Effect, Output};
use super::step::{Ended, Pairs};
use crate::built_in::artifact;
use crate::expression::{Object, Value};
use crate::file_command::{FileCommand, read_pairs, read_paths};
use crate::log::Kind;
use crate::replay::key::CANARY;
use crate::subject;

/// A time that does not come.
const FAR: Duration = Duration::from_hours(365 * 24);

/// The largest summary of a step.
const MAX_SUMMARY: u64 = 1024 * 1024;

/// The largest file of variables or outputs of a step.
pub(super) const MAX_FILE: u64 = 16 * 1024 * 1024;

/// How many changed files a step names.
const MAX_CHANGES: usize = 100;

/// The step of the job that runs, whatever is part of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    pub name: String,
    /// Its condition, asked again when the job is stopped.
    pub condition: Option<Template>,
    /// What its condition sees, when an action's own steps see something else.
    pub contexts: Option<Object>,
    pub deadline: Option<Deadline>,
    pub is_background: bool,
    /// Whether the job goes on when it fails.
    pub forgiven: bool,
    /// Whether somebody was shown its box after it failed.
    pub was_visited: bool,
}

/// Until when a step may run.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    pub at: tokio::time::Instant,
    /// How many minutes it was given, in words.
    pub minutes: String,
}

impl Running {
    /// Notes which step runs now.
    pub fn begin(&mut self, name: &str, condition: Option<&Template>) {
        *self = Self {
            name: name.to_owned(),
            condition: condition.cloned(),
            contexts: None,
            deadline: None,
            is_background: self.is_background,
            forgiven: false,
            was_visited: false,
        };
    }
}

/// A program that a step runs.
pub(super) struct Program {
    /// The program; without a `/` it is looked up in the step's `PATH`.
    pub name: String,
    pub arguments: Vec<String>,
    pub cwd: PathBuf,
    /// Variables that only it gets.
    pub env: Pairs,
    /// The file that was written for it to run, and what is in it.
    pub script: Option<(PathBuf, String)>,
}

/// The files a program may write to, so that the steps that follow know.
pub(super) struct Files {
    pub id: String,
    pub list: Vec<(FileCommand, PathBuf)>,
    /// Where the program finds what earlier steps said they made.
    made: PathBuf,
}

impl JobRun {
    /// Names fresh files, which the contexts see from now on.
    pub fn files(&mut self) -> Files {
        let id = match &mut self.replay {
            Some(replay) => replay.next_name(&self.running.name),
            None => random_name(),
        };
        let list: Vec<(FileCommand, PathBuf)> = FileCommand::ALL
            .iter()
            .map(|file| (*file, self.dirs.commands.join(format!("{}{id}", file.prefix()))))
            .collect();
        for (file, path) in &list {
            self.github.insert(file.name(), text_of(path));
        }
        let made = self.dirs.commands.join(format!("artifacts_list_{id}"));
        self.github.insert("artifacts_list", text_of(&made));
        self.contexts.insert("github", self.github.clone());
        Files { id, list, made }
    }

    /// Runs a program to its end and reads what it wrote for others.
    pub async fn run_program(
        &mut self,
        program: Program,
        files: Files,
        env: &[(String, String)],
        output: &mut Output,
    ) -> Ended {
        let mut ended = Ended::good();
        let made = files.list.iter().try_for_each(|(_, path)| self.spares.make(path));
        let made =
            made.and_then(|()| self.spares.write(&files.made, self.subjects.to_json().as_bytes()));
        if let Err(error) = made {
            return Ended::bad(format!("could not make the files of the step: {error}"));
        }
        self.flush(output);
        let mut variables = self.variables(env, &files.list);
        variables.insert("GITHUB_ARTIFACTS_LIST".to_owned(), text_of(&files.made));
        variables.extend(program.env.iter().cloned());
        // What cannot be a variable is left out, as the shell would leave it out.
        variables.retain(|name, value| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        });
        let attempt = self.attempt(output.step(), &program, &mut variables, &files);
        if let Some(attempt) = &attempt
            && self.replay(attempt, &files.list, output, &mut ended).await
        {
            self.read_files(&files, output, &mut ended, true);
            ended.alone = true;
            return ended;
        }
        let mut alone = false;
        let seen = self.engine.surroundings.debug.is_some().then(|| variables.clone());
        output.tape = attempt.is_some().then(Vec::new);
        match self.spawn(&program, variables, attempt.is_some()).await {
            Ok((process, pipe)) => {
                output.disk.process = Some(Arc::clone(&process));
                self.follow(Arc::clone(&process), pipe, output, &mut ended).await;
                alone = process.exit().is_some_and(|exit| exit.alone);
                output.disk.process = None;
                if let Some(attempt) = attempt {
                    self.record(attempt, &process, &files.list, output, &ended).await;
                }
            }
            Err(message) => ended.fail(message),
        }
        if let Some(mut variables) = seen {
            variables.shift_remove(CANARY);
            let quiet =
                self.visit(Some(&program), &program.cwd, variables, &mut ended, output).await;
            alone &= quiet;
        }
        self.read_files(&files, output, &mut ended, alone);
        ended.alone = alone;
        ended
    }

    /// Starts a program in the box; its standard output and error share one pipe, so that their
    /// lines stay in order.
    async fn spawn(
        &self,
        program: &Program,
        variables: IndexMap<String, String>,
        observed: bool,
    ) -> Result<(Arc<Process>, pipe::Receiver), String> {
        let pipe = || -> std::io::Result<(pipe::Receiver, OwnedFd, OwnedFd)> {
            let (reader, writer) = std::io::pipe()?;
            let second = writer.try_clone()?;
            let reader = pipe::Receiver::from_owned_fd(reader.into())?;
            Ok((reader, writer.into(), second.into()))
        };
        let (reader, stdout, stderr) =
            pipe().map_err(|error| format!("could not make a pipe: {error}"))?;
        let command = sandbox::Command::new(&program.name)
            .args(&program.arguments)
            .envs(variables)
            .cwd(&program.cwd)
            .layer(true)
            .hold(observed)
            .observe(observed)
            .stdout(stdout)
            .stderr(stderr);
        let process = self.sandbox.spawn(command).await.map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(String::new, |cause| format!(": {cause}"));
            format!("could not {error}{cause}")
        })?;
        Ok((Arc::new(process), reader))
    }

    /// Every variable of a step's program: from outside, the workflow, the job, earlier steps, the
    /// step, and last what Marline says itself.
    pub fn variables(
        &self,
        own: &[(String, String)],
        files: &[(FileCommand, PathBuf)],
    ) -> IndexMap<String, String> {
        let surroundings = &self.engine.surroundings;
        let mut env: IndexMap<String, String> = surroundings.env.iter().cloned().collect();
        let home = std::path::absolute(&surroundings.home).unwrap_or_default();
        env.insert("HOME".to_owned(), text_of(&home));
        env.insert("CI".to_owned(), "true".to_owned());
        env.extend(self.env.clone());
        env.extend(self.frame.outer_env.iter().cloned());
        env.extend(own.iter().cloned());
        if !self.path.is_empty() {
            let mut path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
            let rest = env.get("PATH").cloned().unwrap_or_default();
            path.push(&rest);
            let path = path.join(":");
            env.insert("PATH".to_owned(), path);
        }
        const NAMES: &[&str] = &[
            "action",
            "actor",
            "triggering_actor",
            "api_url",
            "base_ref",
            "event_name",
            "event_path",
            "graphql_url",
            "head_ref",
            "job",
            "ref",
            "ref_name",
            "ref_type",
            "ref_protected",
            "repository",
            "repository_owner",
            "run_attempt",
            "run_id",
            "run_number",
            "server_url",
            "sha",
            "workflow",
            "workflow_ref",
            "workflow_sha",
            "workspace",
        ];
        for name in NAMES {
            let value = self.github.get(name).map_or_else(String::new, Value::to_text);
            env.insert(format!("GITHUB_{}", name.to_ascii_uppercase()), value);
        }
        for name in ["action_path", "action_ref", "action_repository"] {
            if let Some(value) = self.github.get(name).map(Value::to_text)
                && !value.is_empty()
            {
                env.insert(format!("GITHUB_{}", name.to_ascii_uppercase()), value);
            }
        }
        for (file, path) in files {
            env.insert(file.variable().to_owned(), text_of(path));
        }
        let fixed = [
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("RUNNER_OS", "Linux".to_owned()),
            ("RUNNER_ARCH", arch().to_owned()),
            ("RUNNER_NAME", "marline".to_owned()),
            ("RUNNER_ENVIRONMENT", "self-hosted".to_owned()),
            ("RUNNER_TEMP", text_of(&self.dirs.temp)),
            ("RUNNER_TOOL_CACHE", text_of(&self.dirs.tools)),
            (
                "RUNNER_WORKSPACE",
                text_of(self.dirs.workspace.parent().unwrap_or(&self.dirs.workspace)),
            ),
        ];
        env.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        env
    }

    /// Reads the output of a process until both have ended, and stops it when it must end.
    async fn follow(
        &mut self,
        process: Arc<Process>,
        mut pipe: pipe::Receiver,
        output: &mut Output,
        ended: &mut Ended,
    ) {
        enum Why {
            TimedOut,
            Stopped,
            CleanUpOver,
        }
        let mut buffer = Vec::with_capacity(16 * 1024);
        let far = tokio::time::Instant::now() + FAR;
        let deadline = self.running.deadline.as_ref().map_or(far, |deadline| deadline.at);
        let mut clean_up = self.ending.until().unwrap_or(far);
        let mut stops = self.stops.clone();
        let mut may_stop = self.ending.until().is_none() || self.stops.asked.is_some();
        let mut grace = far;
        let mut exit: Option<Result<Exit, sandbox::BoxLost>> = None;
        let mut is_open = true;
        let mut is_killed = false;
        let mut why = None;
        while is_open || exit.is_none() {
            tokio::select! {
                biased;
                read = pipe.read_buf(&mut buffer), if is_open => {
                    match read {
                        Ok(0) | Err(_) => is_open = false,
                        Ok(_) => {
                            output.push(&buffer);
                            buffer.clear();
                            self.flush(output);
                            self.apply_now(output);
                        }
                    }
                }
                end = process.wait(), if exit.is_none() => {
                    exit = Some(end);
                    grace = tokio::time::Instant::now() + STREAM_GRACE;
                }
                () = tokio::time::sleep_until(grace), if is_open && exit.is_some() => {
                    // Something the step left behind holds its output open.
                    if is_killed {
                        is_open = false;
                    } else {
                        is_killed = true;
                        let _ = process.kill().await;
                        grace = tokio::time::Instant::now() + Duration::from_secs(1);
                    }
                }
                () = tokio::time::sleep_until(deadline), if why.is_none() && exit.is_none() => {
                    why = Some(Why::TimedOut);
                    terminate(&process);
                }
                () = tokio::time::sleep_until(clean_up), if why.is_none() && exit.is_none() => {
                    why = Some(Why::CleanUpOver);
                    terminate(&process);
                }
                stop = stops.wait(), if may_stop && why.is_none() && exit.is_none() => {
                    may_stop = false;
                    if self.goes_on(stop) {
                        clean_up = self.ending.until().unwrap_or(far);
                    } else {
                        why = Some(Why::Stopped);
                        terminate(&process);
                    }
                }
            }
        }
        let Some(Ok(exit)) = exit else {
            return ended.fail("the box of the job was lost".to_owned());
        };
        output.finish();
        Self::note_changes(&exit, output, ended);
        match why {
            Some(Why::TimedOut) => {
                let minutes = self.running.deadline.as_ref().map(|deadline| &deadline.minutes);
                ended.fail(format!(
                    "The action '{}' has timed out after {} minutes.",
                    self.running.name,
                    minutes.map_or("0", String::as_str)
                ));
            }
            Some(Why::Stopped) => {
                ended.fail("The operation was canceled.".to_owned());
                ended.outcome = Conclusion::Cancelled;
            }
            Some(Why::CleanUpOver) => {
                ended.fail("Cleaning up after the cancellation took too long.".to_owned());
                ended.outcome = Conclusion::Cancelled;
            }
            None => judge(&exit, ended),
        }
    }

    fn note_changes(exit: &Exit, output: &mut Output, ended: &mut Ended) {
        if let Some(why) = &exit.layer_failure {
            output
                .say(Kind::Warning, &format!("what the step changed could not be recorded: {why}"));
        }
        if let Some(layer) = &exit.layer {
            Self::note_layer(layer, output, ended);
        }
    }

    pub(super) fn note_layer(layer: &sandbox::Layer, output: &mut Output, ended: &mut Ended) {
        if let Ok(changes) = layer.changes() {
            let files = changes.iter().filter(|change| {
                change.file == sandbox::FileKind::File
                    && change.kind != sandbox::ChangeKind::Deleted
            });
            files.for_each(|change| output.wrote(&change.path));
            ended.files_changed = changes
                .iter()
                .filter(|change| change.file != sandbox::FileKind::Directory)
                .take(MAX_CHANGES)
                .map(|change| change.path.to_string_lossy().into_owned())
                .collect();
        }
    }

    /// Shows what was read so far.
    pub fn flush(&self, output: &mut Output) {
        let lines = std::mem::take(&mut output.lines);
        self.show(&lines);
    }

    /// Annotations are told as they come; the rest waits for the end of the step.
    pub(super) fn apply_now(&self, output: &mut Output) {
        if output.effects.is_empty() {
            return;
        }
        let step = output.step();
        for effect in std::mem::take(&mut output.effects) {
            match effect {
                Effect::Annotation { level, message, title, place } => {
                    self.engine.recorder.record(Fact::AnnotationMade {
                        run: self.engine.surroundings.run,
                        job: self.key.clone(),
                        step,
                        level,
                        message,
                        title,
                        place,
                    });
                }
                other => output.kept.push(other),
            }
        }
    }

    /// Takes over what the step asked for.
    pub fn apply(&mut self, output: &mut Output, ended: &mut Ended) {
        self.apply_now(output);
        for effect in std::mem::take(&mut output.kept) {
            match effect {
                // What was written to the file counts more than what was said.
                Effect::Output(name, value) => {
                    if !ended.outputs.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                        ended.outputs.push((name, value));
                    }
                }
                Effect::Env(name, value) => self.set_variable(name, value),
                Effect::State(name, value) => {
                    if !ended.state.iter().any(|(known, _)| *known == name) {
                        ended.state.push((name, value));
                    }
                }
                Effect::Path(dir) => self.prepend(dir),
                Effect::Refused(why) => ended.fail(why),
                Effect::Annotation { .. } => {}
            }
        }
        self.flush(output);
    }

    pub fn prepend(&mut self, dir: String) {
        if self.running.is_background {
            self.written.push(Written::Path(dir.clone()));
        }
        self.path.retain(|known| *known != dir);
        self.path.push(dir);
    }

    /// Sets a variable for the steps that follow.
    pub fn set_variable(&mut self, name: String, value: String) {
        if self.running.is_background {
            self.written.push(Written::Variable(name.clone(), value.clone()));
        }
        self.env.insert(name, value);
    }

    /// Reads the files the step wrote to, however it ended, and removes them.
    fn read_files(&mut self, files: &Files, output: &mut Output, ended: &mut Ended, alone: bool) {
        self.spares.put_away(&files.made, alone);
        for (file, path) in &files.list {
            let limit = match file {
                FileCommand::StepSummary => MAX_SUMMARY,
                FileCommand::Artifacts => subject::MAX_FILE,
                _ => MAX_FILE,
            };
            let text = read_written(path, limit);
            self.spares.put_away(path, alone);
            let wrong = match (file, text) {
                (_, Ok(text)) if text.is_empty() => Ok(()),
                (FileCommand::Env, Ok(text)) => self.set_variables(&text, output),
                (FileCommand::Output, Ok(text)) => read_pairs(&text)
                    .map(|pairs| {
                        for (name, value) in pairs {
                            ended.outputs.retain(|(known, _)| *known != name);
                            ended.outputs.push((name, value));
                        }
                    })
                    .map_err(|error| error.to_string()),
                (FileCommand::Path, Ok(text)) => {
                    for dir in read_paths(&text) {
                        self.prepend(dir);
                    }
                    Ok(())
                }
                (FileCommand::State, Ok(text)) => read_pairs(&text)
                    .map(|pairs| {
                        for (name, value) in pairs {
                            ended.state.retain(|(known, _)| *known != name);
                            ended.state.push((name, value));
                        }
                    })
                    .map_err(|error| error.to_string()),
                (FileCommand::StepSummary, Ok(text)) => {
                    if !self.summary.is_empty() && !self.summary.ends_with('\n') {
                        self.summary.push('\n');
                    }
                    let masked = self.engine.masker.mask(&text);
                    self.summary.push_str(&masked);
                    Ok(())
                }
                (FileCommand::Artifacts, Ok(text)) => self.declare(&text, output),
                (_, Err(error)) => Err(error),
            };
            if let Err(error) = wrong {
                let what =
                    format!("Unable to process file command '{}' successfully.", file.name());
                output.say(Kind::Error, &error);
                if *file == FileCommand::StepSummary {
                    // A summary too large is not shown, and fails nothing.
                    output.say(Kind::Error, &what);
                } else {
                    ended.fail(format!("{what} {error}"));
                }
            }
        }
    }

    /// Takes over what a step says it made.
    fn declare(&mut self, text: &str, output: &mut Output) -> Result<(), String> {
        let disk = self.disk();
        let digest = |path: &str| subject::digest(disk.open(Path::new(path)));
        let declared = subject::read(text, &text_of(&self.dirs.workspace), &digest)?;
        let added = self.subjects.add(declared)?;
        if added > 0 {
            output.say(
                Kind::Output,
                &format!(
                    "Captured {added} artifact subject(s) from this step (job total: {}).",
                    self.subjects.len()
                ),
            );
        }
        Ok(())
    }

    fn set_variables(&mut self, text: &str, output: &mut Output) -> Result<(), String> {
        for (name, value) in read_pairs(text).map_err(|error| error.to_string())? {
            let upper = name.to_ascii_uppercase();
            if upper == "NODE_OPTIONS" {
                return Err(
                    "Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command."
                        .to_owned(),
                );
            }
            if upper.starts_with("GITHUB_") || upper.starts_with("RUNNER_") {
                output.say(Kind::Warning, &format!("`{name}` cannot be changed by a step"));
                continue;
            }
            self.set_variable(name, value);
        }
        Ok(())
    }
}

fn terminate(process: &Arc<Process>) {
    let process = Arc::clone(process);
    tokio::spawn(async move {
        let _ = process.terminate(&Patience::default()).await;
    });
}

fn judge(exit: &Exit, ended: &mut Ended) {
    let (message, code, signal) = match exit.end {
        End::Code(0) => return,
        End::Code(code) => (format!("Process completed with exit code {code}."), Some(code), None),
        // A shell would have said 128 and the signal.
        End::Signal(signal) if exit.oom => (
            format!(
                "The process was ended by signal {signal}: the job went over its memory limit."
            ),
            None,
            Some(signal),
        ),
        End::Signal(signal) => {
            (format!("The process was ended by signal {signal}."), None, Some(signal))
        }
    };
    ended.fail(message);
    if let Some(failure) = &mut ended.failure {
        failure.exit_code = code;
        failure.signal = signal;
    }
}

/// Reads a file that a job wrote: an ordinary file and nothing that only looks like one, so that
/// no link shows the job a file of the machine.
pub(super) fn read_written(path: &Path, limit: u64) -> Result<String, String> {
    let said = |error: std::io::Error| format!("could not read the file: {error}");
    // Most are never written to.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        return Ok(String::new());
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(said(error)),
    };
    let found = file.metadata().map_err(said)?;
    if !found.is_file() {
        return Err("it is no ordinary file".to_owned());
    }
    if found.len() > limit {
        return Err(format!(
            "it has {} KiB, and at most {} KiB are read",
            found.len() / 1024,
            limit / 1024
        ));
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(limit).read_to_end(&mut bytes).map_err(said)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    // Names need not be secret; the clock serves where the system gives no random bytes.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&super::output::now().to_le_bytes());
    }
    artifact::hex(&bytes)
}
