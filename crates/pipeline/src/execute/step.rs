//! One step of a job.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use journal::{Conclusion, Explained, Fact, StepFailure};
use source::Spanned;
use source::workflow::{Entries, Step, StepKind, Template};

use super::action::Stage;
use super::job::{JobRun, Stop, env_context, minutes, text_of};
use super::milliseconds;
use super::output::Output;
use super::process::{Deadline, Program};
use super::scope::Status;
use crate::built_in::{self, BuiltIn, artifact, cache, checkout, setup};
use crate::expression::{Object, Value};
use crate::log::Kind;
use crate::plan::setting;
use crate::shell::Shell;
use crate::template::{self, Condition, TemplateError};

/// Names with values.
pub(super) type Pairs = Vec<(String, String)>;

/// How a step ended.
pub(super) struct Ended {
    pub outcome: Conclusion,
    pub failure: Option<StepFailure>,
    pub files_changed: Vec<String>,
    pub outputs: Pairs,
    /// What an action keeps for its clean-up.
    pub state: Pairs,
    /// How many milliseconds were saved, if nothing had to run.
    pub cached: Option<u64>,
    /// Whether its last program was the only one in the box, and left none running.
    pub alone: bool,
}

impl Ended {
    pub fn good() -> Self {
        Self {
            outcome: Conclusion::Success,
            failure: None,
            files_changed: Vec::new(),
            outputs: Vec::new(),
            state: Vec::new(),
            cached: None,
            alone: false,
        }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        let mut ended = Self::good();
        ended.fail(message.into());
        ended
    }

    pub fn fail(&mut self, message: String) {
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

/// What a step is for those that follow.
pub(super) struct Done {
    pub id: String,
    /// Its entry in the `steps` context; none for a step whose id was made up.
    pub entry: Option<Object>,
    pub conclusion: Conclusion,
}

/// A step that waits for others or ends them, while it does.
pub(super) struct Control {
    name: String,
    began: Instant,
    pub output: Output,
    pub skipped: bool,
}

/// Returns the name of a step before anything in it is known.
pub(crate) fn written_name(step: &Step) -> String {
    if let Some(name) = &step.name
        && !name.text.trim().is_empty()
    {
        return name.text.clone();
    }
    let listed = |ids: &[Spanned<String>]| {
        ids.iter().map(|id| id.value.as_str()).collect::<Vec<_>>().join(", ")
    };
    match &step.kind {
        StepKind::Run { script, .. } => {
            let first = script.text.trim().lines().next().unwrap_or_default();
            format!("Run {first}")
        }
        StepKind::Uses { action, .. } => format!("Run {}", action.value),
        StepKind::Wait(ids) => format!("Wait for {}", listed(ids)),
        StepKind::WaitAll(_) => "Wait for all background steps".to_owned(),
        StepKind::Cancel(id) => format!("Cancel {}", id.value),
        StepKind::Parallel(_) => step.id.clone(),
    }
}

/// What is known of a step before it begins: its name, its own variables, and whether it runs, or
/// else its condition explained.
type Decided = (String, Pairs, Result<Option<Explained>, TemplateError>);

impl JobRun {
    /// Runs a step of the job or skips it, and takes over what it leaves for the steps that follow.
    pub async fn step(&mut self, number: u32, step: &Step) -> Done {
        let started = Instant::now();
        let mut output = self.output(number);
        if self.running.is_background && self.stops.now().is_some() {
            return self.never_began(number, step);
        }
        let (name, env, decided) = self.decide(step);
        let name = self.engine.masker.mask(&name);
        let mut ended = match decided {
            Ok(None) => {
                self.record_start(number, &name);
                self.running.begin(&name, step.condition.as_ref());
                self.running.forgiven = self.allows_failure(step);
                match self.deadline(step) {
                    Ok(deadline) => {
                        self.running.deadline = deadline;
                        let place = format!("{number}");
                        self.perform(step, &env, &place, Stage::Main, &mut output).await
                    }
                    Err(message) => Ended::bad(message),
                }
            }
            Ok(Some(condition)) => return self.skip(number, step, &name, Some(condition)),
            Err(error) => {
                self.record_start(number, &name);
                self.failed_to_decide(&error)
            }
        };
        self.conclude(&mut output, &mut ended, step);
        let allowed = ended.outcome == Conclusion::Failure && self.allows_failure(step);
        let conclusion = if allowed { Conclusion::AllowedFailure } else { ended.outcome };
        if conclusion == Conclusion::Failure && !self.running.was_visited {
            // No program of it failed, but the files and variables of the job are there all the same.
            let workspace = self.dirs.workspace.clone();
            let variables = self.variables(&env, &[]);
            self.visit(None, &workspace, variables, &mut ended, &mut output).await;
        }
        if conclusion == Conclusion::Failure && self.status == Status::Success {
            self.status = Status::Failure;
        }
        let done =
            self.remember(step, ended.outcome, conclusion, std::mem::take(&mut ended.outputs));
        self.record_end(number, &name, conclusion, milliseconds(started.elapsed()), ended, None);
        done
    }

    /// The output of a step of the job.
    pub fn output(&self, number: u32) -> Output {
        let allow = self
            .env
            .get("ACTIONS_ALLOW_UNSECURE_COMMANDS")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Output::new(self.engine.masker.clone(), self.matchers.clone(), self.disk(), number, allow)
    }

    pub fn failed_to_decide(&self, error: &TemplateError) -> Ended {
        let mut ended = Ended::bad(error.to_string());
        // Only the workflow's own file is known to have this place.
        if let Some(failure) = &mut ended.failure
            && self.frame.status.is_none()
        {
            failure.place = Some(self.engine.place(error.span));
        }
        ended
    }

    pub fn allows_failure(&self, step: &Step) -> bool {
        setting(step.continue_on_error.as_ref(), &self.scope())
            .ok()
            .flatten()
            .is_some_and(|value| value.is_truthy())
    }

    /// Says why a step failed and takes over what it said.
    pub fn conclude(&mut self, output: &mut Output, ended: &mut Ended, step: &Step) {
        output.finish();
        self.collect_tests(output);
        if let Some(failure) = &mut ended.failure {
            output.say(Kind::Error, &failure.message);
            failure.message = self.engine.masker.mask(&failure.message);
            output.last.pop_back();
            failure.last_lines = output.last.iter().cloned().collect();
            failure.place.get_or_insert_with(|| self.engine.place(step.span));
        }
        self.apply(output, ended);
    }

    fn never_began(&mut self, number: u32, step: &Step) -> Done {
        let name = self.engine.masker.mask(&written_name(step));
        let done = self.remember(step, Conclusion::Cancelled, Conclusion::Cancelled, Vec::new());
        let ended = Ended { outcome: Conclusion::Cancelled, ..Ended::good() };
        self.record_end(number, &name, Conclusion::Cancelled, 0, ended, None);
        done
    }

    fn skip(&mut self, number: u32, step: &Step, name: &str, condition: Option<Explained>) -> Done {
        let done = self.remember(step, Conclusion::Skipped, Conclusion::Skipped, Vec::new());
        let ended = Ended { outcome: Conclusion::Skipped, ..Ended::good() };
        self.record_end(number, name, Conclusion::Skipped, 0, ended, condition);
        done
    }

    /// Prepares what the step's expressions see and asks whether it runs.
    pub fn decide(&mut self, step: &Step) -> Decided {
        self.github.insert("action", step.id.as_str());
        self.see();
        let env = match template::entries(&step.env, &self.scope()) {
            Ok(entries) => {
                entries.into_iter().map(|(name, value)| (name, value.to_text())).collect::<Vec<_>>()
            }
            Err(error) => return (written_name(step), Vec::new(), Err(error)),
        };
        if !env.is_empty() {
            let mut merged = self.seen_env();
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

    /// Puts into the contexts what changes from step to step.
    pub fn see(&mut self) {
        let job: Object = [("status", self.status.text())].into_iter().collect();
        self.contexts.insert("job", job);
        self.contexts.insert("steps", self.frame.steps.clone());
        self.contexts.insert("github", self.github.clone());
        self.contexts.insert("env", env_context(&self.seen_env()));
    }

    /// The variables a step sees before its own: those of the job, and on top of them those of the
    /// steps whose action it is part of.
    fn seen_env(&self) -> IndexMap<String, String> {
        let mut env = self.env.clone();
        env.extend(self.frame.outer_env.iter().cloned());
        env
    }

    fn deadline(&self, step: &Step) -> Result<Option<Deadline>, String> {
        let timeout = setting(step.timeout_minutes.as_ref(), &self.scope())
            .map_err(|error| error.to_string())?;
        let Some(value) = timeout else { return Ok(None) };
        let time =
            minutes(&value).ok_or_else(|| format!("`timeout-minutes` is no number: {value:?}"))?;
        Ok((!time.is_zero()).then(|| Deadline {
            at: tokio::time::Instant::now() + time,
            minutes: Value::Number(time.as_secs_f64() / 60.0).to_text(),
        }))
    }

    /// Does what a step is for. `place` names the step among all of the job.
    pub async fn perform(
        &mut self,
        step: &Step,
        env: &[(String, String)],
        place: &str,
        stage: Stage,
        output: &mut Output,
    ) -> Ended {
        match &step.kind {
            StepKind::Run { script, shell, working_directory } => {
                self.run_script(script, shell.as_ref(), working_directory.as_ref(), env, output)
                    .await
            }
            StepKind::Uses { action, with } if BuiltIn::is_named(&action.value) => {
                self.run_built_in(action, with, output).await
            }
            StepKind::Uses { action, with } => {
                self.run_action(step, action, with, env, place, stage, output).await
            }
            _ => Ended::bad("this kind of step cannot stand here"),
        }
    }

    async fn run_built_in(
        &mut self,
        action: &Spanned<String>,
        with: &Entries,
        output: &mut Output,
    ) -> Ended {
        let mut ended = Ended::good();
        let inputs: Pairs = match template::entries(with, &self.scope()) {
            Ok(entries) => {
                entries.into_iter().map(|(name, value)| (name, value.to_text())).collect()
            }
            Err(error) => return Ended::bad(error.to_string()),
        };
        let built_in = match BuiltIn::find(&action.value, with) {
            Ok(built_in) => built_in,
            Err(refusal) => return Ended::bad(format!("{} is not supported yet", refusal.what)),
        };
        let workspace = self.dirs.workspace.clone();
        let results = self.results();
        let git_ref = action.value.split_once('@').map_or("", |(_, name)| name).to_owned();
        let path = self.engine.surroundings.env.iter().find(|(name, _)| name == "PATH");
        let path = path.map(|(_, path)| path.clone()).unwrap_or_default();
        let checkout = Arc::clone(&self.engine.checkout);
        let done = tokio::task::spawn_blocking(move || match built_in {
            BuiltIn::Checkout => check_out(checkout.as_ref(), &workspace, &inputs),
            BuiltIn::UploadArtifact => artifact::upload(&results?.shelf, &workspace, &inputs),
            BuiltIn::DownloadArtifact => artifact::download(&results?.shelf, &workspace, &inputs),
            BuiltIn::Cache => cache::restore(&results?, &inputs, true),
            BuiltIn::RestoreCache => cache::restore(&results?, &inputs, false),
            BuiltIn::SaveCache => cache::save_now(&results?, &inputs),
            BuiltIn::SetUp(tool) => setup::set_up(tool, &inputs, &git_ref, &path, &workspace),
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
                for (name, value) in done.variables {
                    self.set_variable(name, value);
                }
                for dir in done.paths {
                    self.prepend(dir);
                }
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
        ended
    }

    async fn run_script(
        &mut self,
        script: &Template,
        shell: Option<&Template>,
        working_directory: Option<&Template>,
        env: &[(String, String)],
        output: &mut Output,
    ) -> Ended {
        let files = self.files();
        let prepared = self.prepare(script, shell, working_directory);
        let (text, shell, cwd) = match prepared {
            Ok(prepared) => prepared,
            Err(message) => return Ended::bad(message),
        };
        let script_path = self.dirs.temp.join(format!("{}{}", files.id, shell.extension));
        let script = shell.script(&text);
        let written = self.spares.write(&script_path, script.as_bytes());
        if let Err(error) = written {
            return Ended::bad(format!("could not write the script of the step: {error}"));
        }
        output.say(Kind::Command, text.trim_end());
        output.say(
            Kind::Command,
            &format!("shell: {} {}", shell.program, shell.arguments("{0}").join(" ")),
        );
        let program = Program {
            arguments: shell.arguments(&text_of(&script_path)),
            name: shell.program,
            cwd,
            env: Vec::new(),
            script: Some((script_path.clone(), script)),
        };
        let ended = self.run_program(program, files, env, output).await;
        self.spares.put_away(&script_path, ended.alone);
        ended
    }

    /// Evaluates what a script needs: its text, its shell and where it runs.
    fn prepare(
        &self,
        script: &Template,
        shell: Option<&Template>,
        working_directory: Option<&Template>,
    ) -> Result<(String, Shell, std::path::PathBuf), String> {
        let scope = self.scope();
        let said = |error: TemplateError| error.to_string();
        let text = template::text(script, &scope).map_err(said)?;
        // What the job says of its steps does not reach into an action.
        let is_own = self.frame.status.is_none();
        let usual = |setting: &Option<String>| is_own.then(|| setting.clone()).flatten();
        let shell = match shell {
            Some(shell) => Some(template::text(shell, &scope).map_err(said)?),
            None => usual(&self.shell),
        };
        let shell = match shell.filter(|shell| !shell.is_empty()) {
            Some(shell) => Shell::parse(&shell).map_err(|error| error.to_string())?,
            None => Shell::unnamed(self.has_bash),
        };
        let cwd = match working_directory {
            Some(dir) => Some(template::text(dir, &scope).map_err(said)?),
            None => usual(&self.working_directory),
        };
        let cwd = cwd
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| self.dirs.workspace.clone(), |dir| self.dirs.workspace.join(dir));
        Ok((text, shell, cwd))
    }

    /// Begins a step that waits for others or ends them.
    pub fn begin_control(&mut self, number: u32, step: &Step) -> Control {
        let began = Instant::now();
        let (name, _, decided) = self.decide(step);
        let name = self.engine.masker.mask(&name);
        let output = self.output(number);
        let skipped = match decided {
            Ok(Some(condition)) => {
                self.skip(number, step, &name, Some(condition));
                true
            }
            Ok(None) | Err(_) => {
                self.record_start(number, &name);
                false
            }
        };
        Control { name, began, output, skipped }
    }

    /// Ends a step that waited for others or ended them.
    pub fn end_control(
        &mut self,
        number: u32,
        step: &Step,
        mut control: Control,
        failure: Option<String>,
        allowed: bool,
    ) {
        let mut ended = failure.map_or_else(Ended::good, Ended::bad);
        self.conclude(&mut control.output, &mut ended, step);
        let conclusion = if allowed { Conclusion::AllowedFailure } else { ended.outcome };
        self.remember(step, ended.outcome, conclusion, Vec::new());
        let time = milliseconds(control.began.elapsed());
        self.record_end(number, &control.name, conclusion, time, ended, None);
    }

    /// Notes that a step meets the end of its job; whether it goes on all the same.
    pub fn goes_on(&mut self, stop: Stop) -> bool {
        if stop == Stop::Asked {
            return false;
        }
        self.stopped(stop);
        if self.running.is_background {
            return false;
        }
        // A step that runs always or when cancelled goes on, with all that is part of it.
        let scope = super::scope::StepScope {
            contexts: self.running.contexts.as_ref().unwrap_or(&self.contexts),
            status: Status::Cancelled,
            is_cancelled: true,
            workspace: self.dirs.workspace.clone(),
        };
        Condition::parse(self.running.condition.as_ref())
            .is_ok_and(|condition| condition.answer(&scope).is_ok_and(|answer| answer.holds))
    }

    /// Puts the step into the `steps` context.
    pub fn remember(
        &mut self,
        step: &Step,
        outcome: Conclusion,
        conclusion: Conclusion,
        outputs: Pairs,
    ) -> Done {
        let entry: Option<Object> = (!step.id.starts_with("__")).then(|| {
            [
                ("outputs", Value::from(outputs.into_iter().collect::<Object>())),
                ("outcome", Value::from(word(outcome))),
                ("conclusion", Value::from(word(conclusion))),
            ]
            .into_iter()
            .collect()
        });
        if let Some(entry) = &entry {
            self.frame.steps.insert(step.id.as_str(), entry.clone());
        }
        Done { id: step.id.clone(), entry, conclusion }
    }

    pub fn record_start(&self, step: u32, name: &str) {
        self.engine.recorder.record(Fact::StepStarted {
            run: self.engine.surroundings.run,
            job: self.key.clone(),
            step,
            name: name.to_owned(),
        });
    }

    pub fn record_end(
        &self,
        step: u32,
        name: &str,
        conclusion: Conclusion,
        milliseconds: u64,
        ended: Ended,
        condition: Option<Explained>,
    ) {
        self.engine.recorder.record(Fact::StepFinished {
            run: self.engine.surroundings.run,
            job: self.key.clone(),
            step,
            name: name.to_owned(),
            outcome: ended.outcome,
            conclusion,
            milliseconds,
            failure: ended.failure,
            condition,
            files_changed: ended.files_changed,
            cached: ended.cached,
        });
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
