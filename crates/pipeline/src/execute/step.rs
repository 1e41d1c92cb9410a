//! One step of a job.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use journal::{Conclusion, Explained, Fact, StepFailure};
use nix::fcntl::OFlag;
use sandbox::{End, Exit, Patience, Process, STREAM_GRACE};
use source::workflow::{Step, StepKind, Template};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::job::{JobRun, arch, env_context, minutes, text_of};
use super::milliseconds;
use super::output::{Effect, Output};
use super::scope::Status;
use crate::built_in::{self, BuiltIn, artifact, cache, checkout};
use crate::expression::{Object, Value};
use crate::file_command::{FileCommand, read_pairs, read_paths};
use crate::log::Kind;
use crate::plan::setting;
use crate::shell::Shell;
use crate::template::{self, Condition, TemplateError};

/// A time that does not come.
const FAR: Duration = Duration::from_hours(365 * 24);

/// The largest summary of a step.
const MAX_SUMMARY: u64 = 1024 * 1024;

/// The largest file of variables or outputs of a step.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// How many changed files a step names.
const MAX_CHANGES: usize = 100;

/// Names with values.
type Pairs = Vec<(String, String)>;

/// What a script needs: its text, its shell, where and how long it runs.
type Prepared = (String, Shell, PathBuf, Option<Duration>);

/// How a step ended.
struct Ended {
    outcome: Conclusion,
    failure: Option<StepFailure>,
    files_changed: Vec<String>,
    outputs: Vec<(String, String)>,
}

impl Ended {
    fn good() -> Self {
        Self {
            outcome: Conclusion::Success,
            failure: None,
            files_changed: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn fail(&mut self, message: String) {
        if self.outcome == Conclusion::Success {
            self.outcome = Conclusion::Failure;
        }
        if self.failure.is_none() {
            self.failure = Some(StepFailure {
                message,
                exit_code: None,
                signal: None,
                last_lines: Vec::new(),
                place: None,
            });
        }
    }
}

/// Returns the name of a step before anything in it is known.
pub(crate) fn written_name(step: &Step) -> String {
    if let Some(name) = &step.name
        && !name.text.trim().is_empty()
    {
        return name.text.clone();
    }
    match &step.kind {
        StepKind::Run { script, .. } => {
            let first = script.text.trim().lines().next().unwrap_or_default();
            format!("Run {first}")
        }
        StepKind::Uses { action, .. } => format!("Run {}", action.value),
        _ => step.id.clone(),
    }
}

impl JobRun {
    /// Runs a step or skips it, and takes over what it leaves for the steps that follow.
    pub async fn step(&mut self, number: u32, step: &Step) {
        let started = Instant::now();
        self.github.insert("action", step.id.as_str());
        let mut output = Output::new(
            self.engine.masker.clone(),
            number,
            self.env
                .get("ACTIONS_ALLOW_UNSECURE_COMMANDS")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        );
        let (name, env, decided) = self.decide(step);
        let name = self.engine.masker.mask(&name);
        let mut ended = match decided {
            Ok(None) => {
                self.record_start(number, &name);
                self.perform(step, &env, &mut output).await
            }
            Ok(Some(condition)) => {
                self.remember(step, Conclusion::Skipped, Conclusion::Skipped, Vec::new());
                self.record_end(
                    number,
                    &name,
                    Conclusion::Skipped,
                    Conclusion::Skipped,
                    0,
                    None,
                    Some(condition),
                    Vec::new(),
                );
                return;
            }
            Err(error) => {
                self.record_start(number, &name);
                let mut ended = Ended::good();
                ended.fail(error.to_string());
                if let Some(failure) = &mut ended.failure {
                    failure.place = Some(self.engine.place(error.span));
                }
                ended
            }
        };
        output.finish();
        if let Some(failure) = &mut ended.failure {
            output.say(Kind::Error, &failure.message);
            failure.message = self.engine.masker.mask(&failure.message);
            output.last.pop_back();
            failure.last_lines = output.last.iter().cloned().collect();
            failure.place.get_or_insert_with(|| self.engine.place(step.span));
        }
        self.apply(&mut output, &mut ended);

        let allowed = ended.outcome == Conclusion::Failure
            && setting(step.continue_on_error.as_ref(), &self.scope())
                .ok()
                .flatten()
                .is_some_and(|value| value.is_truthy());
        let conclusion = if allowed { Conclusion::AllowedFailure } else { ended.outcome };
        if conclusion == Conclusion::Failure && self.status == Status::Success {
            self.status = Status::Failure;
        }
        self.remember(step, ended.outcome, conclusion, ended.outputs);
        self.record_end(
            number,
            &name,
            ended.outcome,
            conclusion,
            milliseconds(started.elapsed()),
            ended.failure,
            None,
            ended.files_changed,
        );
    }

    /// Prepares what the step's expressions see and asks whether it runs.
    ///
    /// Gives its name, its own variables, and the explained condition if that does not hold.
    fn decide(&mut self, step: &Step) -> (String, Pairs, Result<Option<Explained>, TemplateError>) {
        let job: Object = [("status", self.status.text())].into_iter().collect();
        self.contexts.insert("job", job);
        self.contexts.insert("steps", self.steps.clone());
        self.contexts.insert("github", self.github.clone());
        self.contexts.insert("env", env_context(&self.env));
        let env = match template::entries(&step.env, &self.scope()) {
            Ok(entries) => {
                entries.into_iter().map(|(name, value)| (name, value.to_text())).collect::<Vec<_>>()
            }
            Err(error) => return (written_name(step), Vec::new(), Err(error)),
        };
        if !env.is_empty() {
            let mut merged: IndexMap<String, String> = self.env.clone();
            merged.extend(env.iter().cloned());
            self.contexts.insert("env", env_context(&merged));
        }
        let name = match &step.name {
            Some(name) if !name.text.trim().is_empty() => {
                template::text(name, &self.scope()).unwrap_or_else(|_| written_name(step))
            }
            _ => written_name(step),
        };
        let decided = Condition::parse(step.condition.as_ref()).and_then(|condition| {
            let answer = condition.answer(&self.scope())?;
            Ok((!answer.holds).then(|| self.engine.explained(&condition, &answer)))
        });
        (name, env, decided)
    }

    async fn perform(
        &mut self,
        step: &Step,
        env: &[(String, String)],
        output: &mut Output,
    ) -> Ended {
        match &step.kind {
            StepKind::Run { script, shell, working_directory } => {
                self.run_script(
                    step,
                    script,
                    shell.as_ref(),
                    working_directory.as_ref(),
                    env,
                    output,
                )
                .await
            }
            StepKind::Uses { action, with } => {
                let mut ended = Ended::good();
                let inputs = template::entries(with, &self.scope()).map(|entries| {
                    let texts = entries.into_iter().map(|(name, value)| (name, value.to_text()));
                    texts.collect::<Vec<_>>()
                });
                match (BuiltIn::find(&action.value, with), inputs) {
                    (Ok(built_in), Ok(inputs)) => {
                        self.run_built_in(built_in, inputs, output, &mut ended).await;
                    }
                    (Err(refusal), _) => {
                        ended.fail(format!("{} is not supported yet", refusal.what));
                    }
                    (_, Err(error)) => ended.fail(error.to_string()),
                }
                ended
            }
            _ => {
                let mut ended = Ended::good();
                ended.fail("this kind of step is not supported yet".to_owned());
                ended
            }
        }
    }

    async fn run_built_in(
        &mut self,
        built_in: BuiltIn,
        inputs: Vec<(String, String)>,
        output: &mut Output,
        ended: &mut Ended,
    ) {
        let workspace = self.dirs.workspace.clone();
        let results = self.results();
        let checkout = Arc::clone(&self.engine.checkout);
        let done = tokio::task::spawn_blocking(move || match built_in {
            BuiltIn::Checkout => check_out(checkout.as_ref(), &workspace, &inputs),
            BuiltIn::UploadArtifact => artifact::upload(&results?.shelf, &workspace, &inputs),
            BuiltIn::DownloadArtifact => artifact::download(&results?.shelf, &workspace, &inputs),
            BuiltIn::Cache => cache::restore(&results?, &inputs, true),
            BuiltIn::RestoreCache => cache::restore(&results?, &inputs, false),
            BuiltIn::SaveCache => cache::save_now(&results?, &inputs),
        })
        .await
        .unwrap_or_else(|error| Err(error.to_string()));
        match done {
            Ok(done) => {
                for note in done.notes {
                    output.say(Kind::Output, &note);
                }
                for warning in done.warnings {
                    output.say(Kind::Warning, &warning);
                }
                ended.outputs = done.outputs;
                self.saves.extend(done.save);
                if let Some(stored) = done.stored {
                    self.engine.recorder.record(Fact::ArtifactStored {
                        run: self.engine.surroundings.run,
                        name: stored.name,
                        digest: stored.digest,
                        files: stored.files,
                        bytes: stored.bytes,
                    });
                }
            }
            Err(message) => ended.fail(message),
        }
    }

    async fn run_script(
        &mut self,
        step: &Step,
        script: &Template,
        shell: Option<&Template>,
        working_directory: Option<&Template>,
        env: &[(String, String)],
        output: &mut Output,
    ) -> Ended {
        let mut ended = Ended::good();
        let id = random_name();
        let files: Vec<(FileCommand, PathBuf)> = FileCommand::ALL
            .iter()
            .map(|file| (*file, self.dirs.commands.join(format!("{}{id}", file.prefix()))))
            .collect();
        for (file, path) in &files {
            self.github.insert(file.name(), text_of(path));
        }
        self.contexts.insert("github", self.github.clone());

        let prepared = self.prepare(step, script, shell, working_directory);
        let (text, shell, cwd, timeout) = match prepared {
            Ok(prepared) => prepared,
            Err(message) => {
                ended.fail(message);
                return ended;
            }
        };
        let script_path = self.dirs.temp.join(format!("{id}{}", shell.extension));
        let written = std::fs::write(&script_path, shell.script(&text)).and_then(|()| {
            files.iter().try_for_each(|(_, path)| {
                OpenOptions::new().write(true).create_new(true).open(path).map(drop)
            })
        });
        if let Err(error) = written {
            ended.fail(format!("could not write the script of the step: {error}"));
            return ended;
        }
        let arguments = shell.arguments(&text_of(&script_path));
        output.say(Kind::Command, text.trim_end());
        output.say(
            Kind::Command,
            &format!("shell: {} {}", shell.program, shell.arguments("{0}").join(" ")),
        );
        self.flush(output);

        match self.spawn(&shell.program, &arguments, &cwd, env, &files).await {
            Ok((process, pipe)) => {
                self.follow(step, process, pipe, timeout, output, &mut ended).await;
            }
            Err(message) => ended.fail(message),
        }
        let _ = std::fs::remove_file(&script_path);
        self.read_files(&files, output, &mut ended);
        ended
    }

    /// Evaluates what a script needs: its text, its shell, where and how long it runs.
    fn prepare(
        &self,
        step: &Step,
        script: &Template,
        shell: Option<&Template>,
        working_directory: Option<&Template>,
    ) -> Result<Prepared, String> {
        let scope = self.scope();
        let said = |error: TemplateError| error.to_string();
        let text = template::text(script, &scope).map_err(said)?;
        let shell = match shell {
            Some(shell) => Some(template::text(shell, &scope).map_err(said)?),
            None => self.shell.clone(),
        };
        let shell = match shell.filter(|shell| !shell.is_empty()) {
            Some(shell) => Shell::parse(&shell).map_err(|error| error.to_string())?,
            None => Shell::unnamed(self.has_bash),
        };
        let cwd = match working_directory {
            Some(dir) => Some(template::text(dir, &scope).map_err(said)?),
            None => self.working_directory.clone(),
        };
        let cwd = cwd
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| self.dirs.workspace.clone(), |dir| self.dirs.workspace.join(dir));
        let timeout = setting(step.timeout_minutes.as_ref(), &scope).map_err(said)?;
        let timeout = match &timeout {
            None => None,
            Some(value) => Some(
                minutes(value)
                    .ok_or_else(|| format!("`timeout-minutes` is no number: {value:?}"))?,
            ),
        };
        Ok((text, shell, cwd, timeout.filter(|time| !time.is_zero())))
    }

    /// Starts a program in the box; its standard output and error share one pipe, so that their
    /// lines stay in order.
    async fn spawn(
        &self,
        program: &str,
        arguments: &[String],
        cwd: &Path,
        env: &[(String, String)],
        files: &[(FileCommand, PathBuf)],
    ) -> Result<(Arc<Process>, pipe::Receiver), String> {
        let pipe = || -> std::io::Result<(pipe::Receiver, OwnedFd, OwnedFd)> {
            let (reader, writer) = std::io::pipe()?;
            let second = writer.try_clone()?;
            let reader = pipe::Receiver::from_owned_fd(reader.into())?;
            Ok((reader, writer.into(), second.into()))
        };
        let (reader, stdout, stderr) =
            pipe().map_err(|error| format!("could not make a pipe: {error}"))?;
        let command = sandbox::Command::new(program)
            .args(arguments)
            .envs(self.variables(env, files))
            .cwd(cwd)
            .layer(true)
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
    fn variables(
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
        // What cannot be a variable is left out, as the shell would leave it out.
        env.retain(|name, value| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        });
        env
    }

    /// Reads the output of a process until both have ended, and stops it when it must end.
    async fn follow(
        &mut self,
        step: &Step,
        process: Arc<Process>,
        mut pipe: pipe::Receiver,
        timeout: Option<Duration>,
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
        let deadline = timeout.map_or(far, |time| tokio::time::Instant::now() + time);
        let clean_up = self.clean_up_until.unwrap_or(far);
        let mut stops = self.stops.clone();
        let mut may_stop = self.clean_up_until.is_none();
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
                    self.stopped(stop);
                    // A step that runs always or when cancelled goes on.
                    let goes_on = Condition::parse(step.condition.as_ref())
                        .is_ok_and(|condition| {
                            condition.answer(&self.scope()).is_ok_and(|answer| answer.holds)
                        });
                    if !goes_on {
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
                let minutes = timeout.map_or(0.0, |time| time.as_secs_f64() / 60.0);
                let name = written_name(step);
                ended.fail(format!(
                    "The action '{name}' has timed out after {} minutes.",
                    Value::Number(minutes).to_text()
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
        let Some(layer) = &exit.layer else { return };
        if let Ok(changes) = layer.changes() {
            ended.files_changed = changes
                .iter()
                .filter(|change| change.file != sandbox::FileKind::Directory)
                .take(MAX_CHANGES)
                .map(|change| change.path.to_string_lossy().into_owned())
                .collect();
        }
    }

    /// Shows what was read so far.
    fn flush(&mut self, output: &mut Output) {
        let lines = std::mem::take(&mut output.lines);
        self.show(&lines);
    }

    /// Annotations are told as they come; the rest waits for the end of the step.
    fn apply_now(&mut self, output: &mut Output) {
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
    fn apply(&mut self, output: &mut Output, ended: &mut Ended) {
        self.apply_now(output);
        for effect in std::mem::take(&mut output.kept) {
            match effect {
                // What was written to the file counts more than what was said.
                Effect::Output(name, value) => {
                    if !ended.outputs.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                        ended.outputs.push((name, value));
                    }
                }
                Effect::Env(name, value) => {
                    self.env.insert(name, value);
                }
                Effect::Path(dir) => self.prepend(dir),
                Effect::Refused(why) => ended.fail(why),
                Effect::State(..) | Effect::Annotation { .. } => {}
            }
        }
        self.flush(output);
    }

    fn prepend(&mut self, dir: String) {
        self.path.retain(|known| *known != dir);
        self.path.push(dir);
    }

    /// Reads the files the step wrote to, however it ended, and removes them.
    fn read_files(
        &mut self,
        files: &[(FileCommand, PathBuf)],
        output: &mut Output,
        ended: &mut Ended,
    ) {
        for (file, path) in files {
            let limit = if *file == FileCommand::StepSummary { MAX_SUMMARY } else { MAX_FILE };
            let text = read_written(path, limit);
            let _ = std::fs::remove_file(path);
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
                (FileCommand::State, Ok(text)) => {
                    read_pairs(&text).map(drop).map_err(|error| error.to_string())
                }
                (FileCommand::StepSummary, Ok(text)) => {
                    if !self.summary.is_empty() && !self.summary.ends_with('\n') {
                        self.summary.push('\n');
                    }
                    let masked = self.engine.masker.mask(&text);
                    self.summary.push_str(&masked);
                    Ok(())
                }
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
            self.env.insert(name, value);
        }
        Ok(())
    }

    /// Puts the step into the `steps` context.
    fn remember(
        &mut self,
        step: &Step,
        outcome: Conclusion,
        conclusion: Conclusion,
        outputs: Vec<(String, String)>,
    ) {
        if step.id.starts_with("__") {
            return;
        }
        let entry: Object = [
            ("outputs", Value::from(outputs.into_iter().collect::<Object>())),
            ("outcome", Value::from(word(outcome))),
            ("conclusion", Value::from(word(conclusion))),
        ]
        .into_iter()
        .collect();
        self.steps.insert(step.id.as_str(), entry);
    }

    fn record_start(&self, step: u32, name: &str) {
        self.engine.recorder.record(Fact::StepStarted {
            run: self.engine.surroundings.run,
            job: self.key.clone(),
            step,
            name: name.to_owned(),
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn record_end(
        &self,
        step: u32,
        name: &str,
        outcome: Conclusion,
        conclusion: Conclusion,
        milliseconds: u64,
        failure: Option<StepFailure>,
        condition: Option<Explained>,
        files_changed: Vec<String>,
    ) {
        self.engine.recorder.record(Fact::StepFinished {
            run: self.engine.surroundings.run,
            job: self.key.clone(),
            step,
            name: name.to_owned(),
            outcome,
            conclusion,
            milliseconds,
            failure,
            condition,
            files_changed,
        });
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

fn word(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Success | Conclusion::AllowedFailure => "success",
        Conclusion::Failure | Conclusion::Interrupted => "failure",
        Conclusion::Cancelled => "cancelled",
        Conclusion::Skipped => "skipped",
    }
}

/// Reads a file that a job wrote: an ordinary file and nothing that only looks like one, so that
/// no link shows the job a file of the machine.
fn read_written(path: &Path, limit: u64) -> Result<String, String> {
    let said = |error: std::io::Error| format!("could not read the file: {error}");
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

fn check_out(
    checkout: &dyn super::Checkout,
    workspace: &Path,
    inputs: &[(String, String)],
) -> Result<artifact::Outcome, String> {
    let target = checkout::inside(workspace, built_in::input(inputs, "path").unwrap_or("."))?;
    let mut outcome = artifact::Outcome::default();
    if let Some(depth) = built_in::input(inputs, "fetch-depth")
        && depth != "0"
    {
        outcome
            .notes
            .push("`fetch-depth` changes nothing here: the whole history is there".to_owned());
    }
    // Git wants an empty directory; what a step left there goes, as the action's `clean` does it.
    checkout::empty(&target)
        .map_err(|error| format!("could not empty {}: {error}", target.display()))?;
    let done = checkout.checkout(built_in::input(inputs, "ref"), &target)?;
    outcome.notes.push(format!("checked out {}", done.commit));
    outcome.outputs.push(("ref".to_owned(), done.git_ref));
    outcome.outputs.push(("commit".to_owned(), done.commit));
    Ok(outcome)
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    // Names need not be secret; the clock serves where the system gives no random bytes.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&super::output::now().to_le_bytes());
    }
    artifact::hex(&bytes)
}
