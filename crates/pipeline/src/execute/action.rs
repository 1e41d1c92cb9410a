//! Actions that are not built in, while they run: what is done before the first step of a job, in
//! its step, and after the last.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use journal::Conclusion;
use source::Spanned;
use source::workflow::action::{JavaScript, Runs};
use source::workflow::{Entries, Step, StepKind, Template};

use super::job::{JobRun, text_of};
use super::milliseconds;
use super::output::Output;
use super::process::Program;
use super::scope::Status;
use super::step::{Ended, Pairs, written_name};
use crate::action::{Actions, Loaded, MAX_DEPTH, Reference, Remote, read_in};
use crate::built_in::BuiltIn;
use crate::expression::{Object, Value};
use crate::log::Kind;
use crate::template::{self, Condition};

/// Which part of an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Pre,
    Main,
}

/// Whose steps run: those of the job itself, or those of a composite action.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    /// The `steps` context.
    pub steps: Object,
    /// How the action has gone so far; none for the job itself.
    pub status: Option<Status>,
    /// The variables of the steps whose action this is, which go before those of the job.
    pub outer_env: Pairs,
    /// What is to be done after the last step of the job for the steps of this action.
    posts: Vec<Post>,
    /// The repository that `$/` means, when it is another one.
    home: Option<(Remote, PathBuf)>,
    depth: usize,
}

impl Frame {
    /// The job itself, with what its steps gave.
    pub fn of_job(steps: Object) -> Self {
        Self { steps, ..Self::default() }
    }
}

/// What an action does after the last step of its job.
#[derive(Debug, Clone)]
pub(super) struct Post {
    /// The step that used the action.
    step: Step,
    /// Its name as shown.
    name: String,
    place: String,
    loaded: Loaded,
    what: PostKind,
}

#[derive(Debug, Clone)]
enum PostKind {
    /// A program.
    Script,
    /// The clean-up of a composite action's steps, in the frame they had.
    Steps { inside: Box<Inside>, posts: Vec<Post> },
}

/// What the steps of a composite action see.
#[derive(Debug, Clone)]
struct Inside {
    frame: Frame,
    inputs: Option<Value>,
    action: [Option<Value>; 3],
}

const ACTION_KEYS: [&str; 3] = ["action_path", "action_ref", "action_repository"];

/// The steps that have something to do before the first step of the job.
pub(super) fn with_pre<'a>(actions: &Actions, steps: &'a [Step]) -> Vec<&'a Step> {
    let flat = super::background::numbered(steps).map(|(_, step)| step);
    flat.filter(|step| step_has_pre(actions, step, 1)).collect()
}

/// The steps of a job with their numbers; what actions do first is counted before them.
pub(crate) fn numbered<'a>(
    actions: Option<&Actions>,
    steps: &'a [Step],
) -> impl Iterator<Item = (u32, &'a Step)> {
    let pre = actions.map_or(0, |actions| with_pre(actions, steps).len());
    let pre = u32::try_from(pre).unwrap_or(u32::MAX);
    super::background::numbered(steps).map(move |(number, step)| (number + pre, step))
}

fn step_has_pre(actions: &Actions, step: &Step, depth: usize) -> bool {
    let StepKind::Uses { action, .. } = &step.kind else { return false };
    let Some(Reference::Remote(remote)) = Reference::parse(&action.value) else { return false };
    if depth > MAX_DEPTH || BuiltIn::is_named(&action.value) {
        return false;
    }
    let Ok(fetched) = actions.fetch(&remote) else { return false };
    match read_in(&fetched.dir.join(&remote.path), &action.value).map(|action| action.runs) {
        Ok(Runs::JavaScript(script)) => script.pre.is_some(),
        Ok(Runs::Composite(steps)) => {
            steps.iter().any(|step| step_has_pre(actions, step, depth + 1))
        }
        Ok(Runs::Docker { .. }) | Err(_) => false,
    }
}

impl JobRun {
    /// Does what actions do before the first step; gives the number of that step.
    pub async fn run_pre(&mut self, steps: &[Step]) -> u32 {
        let mut number = 1;
        for step in with_pre(&self.engine.actions.clone(), steps) {
            self.heed_stops();
            let name = self.engine.masker.mask(&format!("Pre {}", written_name(step)));
            // What an action does first is not asked about the step's own condition.
            let step = Step { condition: Some(Template::unwritten("always()")), ..step.clone() };
            let (_, env, decided) = self.decide(&step);
            self.record_start(number, &name);
            let began = Instant::now();
            let mut output = self.output(number);
            self.running.begin(&name, step.condition.as_ref());
            self.running.forgiven = self.allows_failure(&step);
            let mut ended = match decided {
                Ok(_) => {
                    let place = format!("{}", self.main_number(steps, &step));
                    self.perform(&step, &env, &place, Stage::Pre, &mut output).await
                }
                Err(error) => self.failed_to_decide(&error),
            };
            self.end_stage(number, &name, &step, began, output, &mut ended);
            number += 1;
        }
        number
    }

    /// The number that the step has as one of the job.
    fn main_number(&self, steps: &[Step], step: &Step) -> usize {
        let pre = with_pre(&self.engine.actions, steps).len();
        let at = super::background::numbered(steps).position(|(_, one)| one.span == step.span);
        pre + at.map_or(0, |at| at + 1)
    }

    /// Does what actions do after the last step, the last first.
    pub async fn run_posts(&mut self, first: u32) {
        let mut number = first;
        while let Some(post) = self.posts.pop() {
            self.heed_stops();
            let name = self.engine.masker.mask(&format!("Post {}", post.name));
            let began = Instant::now();
            let mut output = self.output(number);
            let always = Template::unwritten("always()");
            self.running.begin(&name, Some(&always));
            let step = Step { condition: Some(always), ..post.step.clone() };
            let (_, env, decided) = self.decide(&step);
            self.running.forgiven = self.allows_failure(&step);
            let condition = match &post.what {
                PostKind::Script => self.post_condition(&post, &env),
                PostKind::Steps { .. } => Ok(true),
            };
            let (outcome, mut ended) = match (decided, condition) {
                (Err(error), _) => (None, self.failed_to_decide(&error)),
                (_, Err(message)) => (None, Ended::bad(message)),
                (_, Ok(false)) => (Some(Conclusion::Skipped), Ended::good()),
                (_, Ok(true)) => {
                    self.record_start(number, &name);
                    (None, self.run_post(&post, &env, &mut output).await)
                }
            };
            if let Some(outcome) = outcome {
                ended.outcome = outcome;
                self.record_end(number, &name, outcome, 0, ended, None);
            } else {
                self.end_stage(number, &name, &step, began, output, &mut ended);
            }
            number += 1;
        }
    }

    fn end_stage(
        &mut self,
        number: u32,
        name: &str,
        step: &Step,
        began: Instant,
        mut output: Output,
        ended: &mut Ended,
    ) {
        self.conclude(&mut output, ended, step);
        let allowed = ended.outcome == Conclusion::Failure && self.allows_failure(step);
        let conclusion = if allowed { Conclusion::AllowedFailure } else { ended.outcome };
        if conclusion == Conclusion::Failure && self.status == Status::Success {
            self.status = Status::Failure;
        }
        let ended = std::mem::replace(ended, Ended::good());
        self.record_end(number, name, conclusion, milliseconds(began.elapsed()), ended, None);
    }

    fn post_condition(&mut self, post: &Post, env: &[(String, String)]) -> Result<bool, String> {
        let Runs::JavaScript(script) = &post.loaded.action.runs else { return Ok(true) };
        self.stage_holds(script.post_if.as_ref(), env)
    }

    /// Whether `pre-if` or `post-if` holds; always when it is not written.
    fn stage_holds(
        &mut self,
        condition: Option<&Template>,
        env: &[(String, String)],
    ) -> Result<bool, String> {
        if condition.is_none() {
            return Ok(true);
        }
        let _ = env;
        let condition = Condition::parse(condition).map_err(|error| error.to_string())?;
        let answer = condition.answer(&self.scope()).map_err(|error| error.to_string())?;
        Ok(answer.holds)
    }

    fn run_post<'a>(
        &'a mut self,
        post: &'a Post,
        env: &'a [(String, String)],
        output: &'a mut Output,
    ) -> Pin<Box<dyn Future<Output = Ended> + Send + 'a>> {
        Box::pin(async move {
            let StepKind::Uses { with, .. } = &post.step.kind else { return Ended::good() };
            match (&post.what, &post.loaded.action.runs) {
                (PostKind::Script, Runs::JavaScript(script)) => {
                    let Some(file) = script.post.clone() else { return Ended::good() };
                    let inputs = match self.inputs(&post.loaded, with, output) {
                        Ok(inputs) => inputs,
                        Err(message) => return Ended::bad(message),
                    };
                    let loaded = post.loaded.clone();
                    self.run_node(&loaded, &file, inputs, env, &post.place, output).await
                }
                (PostKind::Steps { inside, posts }, _) => {
                    let outer = self.enter((**inside).clone());
                    let mut ended = Ended::good();
                    for inner in posts.iter().rev() {
                        let step = Step {
                            condition: Some(Template::unwritten("always()")),
                            ..inner.step.clone()
                        };
                        let (_, env, decided) = self.decide(&step);
                        let holds = match (&inner.what, decided) {
                            (_, Err(error)) => Err(error.to_string()),
                            (PostKind::Script, _) => self.post_condition(inner, &env),
                            (PostKind::Steps { .. }, _) => Ok(true),
                        };
                        output.say(Kind::Command, &format!("Post {}", inner.name));
                        let mut one = match holds {
                            Ok(true) => self.run_post(inner, &env, output).await,
                            Ok(false) => continue,
                            Err(message) => Ended::bad(message),
                        };
                        self.take_in(&mut ended, &mut one, output);
                    }
                    self.enter(outer);
                    ended
                }
                _ => Ended::good(),
            }
        })
    }

    /// Adds how a part ended to how the whole does.
    fn take_in(&mut self, whole: &mut Ended, part: &mut Ended, output: &mut Output) {
        output.finish();
        self.apply(output, part);
        whole.files_changed.append(&mut part.files_changed);
        whole.files_changed.sort();
        whole.files_changed.dedup();
        if part.outcome != Conclusion::Success && whole.outcome == Conclusion::Success {
            whole.outcome = part.outcome;
            whole.failure = part.failure.take();
        }
    }

    /// Runs a part of an action.
    #[allow(clippy::too_many_arguments)]
    pub async fn run_action(
        &mut self,
        step: &Step,
        uses: &Spanned<String>,
        with: &Entries,
        env: &[(String, String)],
        place: &str,
        stage: Stage,
        output: &mut Output,
    ) -> Ended {
        let loaded = match self.load(&uses.value).await {
            Ok(loaded) => loaded,
            Err(message) => return Ended::bad(message),
        };
        if let Some((remote, fetched)) = &loaded.remote
            && stage == Stage::Main
            && self.frame.status.is_none()
        {
            let note = format!("{}@{} is {}", remote.repository, remote.git_ref, fetched.commit);
            output.say(Kind::Command, &note);
        }
        let inputs = match self.inputs(&loaded, with, output) {
            Ok(inputs) => inputs,
            Err(message) => return Ended::bad(message),
        };
        match &loaded.action.runs {
            Runs::Docker { .. } => {
                Ended::bad(format!("`{}` runs in Docker, which is not supported yet", uses.value))
            }
            Runs::JavaScript(script) => {
                self.run_script_action(step, script, &loaded, inputs, env, place, stage, output)
                    .await
            }
            Runs::Composite(steps) => {
                self.run_composite(step, steps, &loaded, inputs, env, place, stage, output).await
            }
        }
    }

    /// Finds the action that `uses` names and reads it.
    async fn load(&self, uses: &str) -> Result<Loaded, String> {
        if self.frame.depth >= MAX_DEPTH {
            return Err(format!("actions use each other more than {MAX_DEPTH} deep"));
        }
        let reference =
            Reference::parse(uses).ok_or_else(|| format!("`{uses}` names no action"))?;
        match reference {
            Reference::Docker(_) => Err("a Docker action is not supported yet".to_owned()),
            Reference::Workspace(path) => {
                let dir = self.dirs.workspace.join(path);
                self.check_inside(&dir)?;
                let action = read_in(&dir, uses)?;
                // As the box sees it: without `.` in the middle.
                let dir = dir.components().collect();
                let shown = uses.to_owned();
                Ok(Loaded { action: Arc::new(action), dir, shown, remote: None })
            }
            Reference::Own(path) => {
                let (dir, remote) = match &self.frame.home {
                    Some((remote, dir)) => (dir.join(&path), Some((remote, dir))),
                    None => (self.own_files().await?.join(&path), None),
                };
                let action = read_in(&dir, uses)?;
                let remote = remote.map(|(remote, dir)| {
                    let fetched = crate::action::Fetched {
                        commit: remote.git_ref.clone(),
                        dir: dir.clone(),
                        stale: None,
                    };
                    (Remote { path, ..remote.clone() }, fetched)
                });
                Ok(Loaded { action: Arc::new(action), dir, shown: uses.to_owned(), remote })
            }
            Reference::Remote(remote) => {
                let actions = self.engine.actions.clone();
                let wanted = remote.clone();
                let fetched = tokio::task::spawn_blocking(move || actions.fetch(&wanted))
                    .await
                    .map_err(|error| error.to_string())?
                    .map_err(|error| format!("`{uses}` could not be fetched: {error}"))?;
                let dir = fetched.dir.join(&remote.path);
                let action = read_in(&dir, uses)?;
                let remote = Some((remote, fetched));
                Ok(Loaded { action: Arc::new(action), dir, shown: uses.to_owned(), remote })
            }
        }
    }

    /// No link or `..` may show the job files that are not its own.
    fn check_inside(&self, dir: &Path) -> Result<(), String> {
        let Ok(real) = dir.canonicalize() else { return Ok(()) };
        let root = self.dirs.root.canonicalize().unwrap_or_else(|_| self.dirs.root.clone());
        if real.starts_with(root) {
            return Ok(());
        }
        Err(format!("`{}` is not below the directory of the job", dir.display()))
    }

    /// The files of the workflow's own commit, beside the workspace.
    async fn own_files(&self) -> Result<PathBuf, String> {
        let dir = self.dirs.commands.join("own");
        if dir.is_dir() {
            return Ok(dir);
        }
        let checkout = Arc::clone(&self.engine.checkout);
        let target = dir.clone();
        tokio::task::spawn_blocking(move || checkout.checkout(None, &target))
            .await
            .map_err(|error| error.to_string())??;
        Ok(dir)
    }

    /// The inputs of an action: those given, and the defaults of the others.
    fn inputs(
        &mut self,
        loaded: &Loaded,
        with: &Entries,
        output: &mut Output,
    ) -> Result<Pairs, String> {
        let scope = self.scope();
        let said = |error: template::TemplateError| error.to_string();
        let given: Pairs = template::entries(with, &scope)
            .map_err(said)?
            .into_iter()
            .map(|(name, value)| (name, value.to_text()))
            .collect();
        let action = &loaded.action;
        let mut inputs = given.clone();
        for input in &action.inputs {
            let name = &input.name.value;
            if inputs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                if let Some(message) = &input.deprecated
                    && given.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
                {
                    let warning =
                        format!("Input '{name}' has been deprecated with message: {message}");
                    output.say(Kind::Warning, &warning);
                }
                continue;
            }
            let value = match &input.default {
                Some(default) => template::text(default, &scope).map_err(said)?,
                None => String::new(),
            };
            inputs.push((name.clone(), value));
        }
        let unexpected: Vec<&str> = given
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| action.input(name).is_none())
            .collect();
        if !unexpected.is_empty() {
            let valid: Vec<&str> =
                action.inputs.iter().map(|input| input.name.value.as_str()).collect();
            output.say(
                Kind::Warning,
                &format!(
                    "Unexpected input(s) '{}', valid inputs are ['{}']",
                    unexpected.join("', '"),
                    valid.join("', '")
                ),
            );
        }
        Ok(inputs)
    }

    #[allow(clippy::too_many_arguments)]
    async fn run_script_action(
        &mut self,
        step: &Step,
        script: &JavaScript,
        loaded: &Loaded,
        inputs: Pairs,
        env: &[(String, String)],
        place: &str,
        stage: Stage,
        output: &mut Output,
    ) -> Ended {
        let file = match stage {
            Stage::Main => {
                if script.pre.is_some() && loaded.remote.is_none() {
                    let warning = format!(
                        "`pre` execution is not supported for local action from '{}'",
                        loaded.shown
                    );
                    output.say(Kind::Warning, &warning);
                }
                &script.main
            }
            Stage::Pre => match (&script.pre, self.stage_holds(script.pre_if.as_ref(), env)) {
                (Some(file), Ok(true)) => file,
                (_, Err(message)) => return Ended::bad(message),
                _ => return Ended::good(),
            },
        };
        if script.post.is_some() {
            self.after(step, place, loaded, PostKind::Script);
        }
        self.run_node(loaded, file, inputs, env, place, output).await
    }

    /// Notes what is to be done after the last step of the job, once for each step.
    fn after(&mut self, step: &Step, place: &str, loaded: &Loaded, what: PostKind) {
        let posts =
            if self.frame.status.is_some() { &mut self.frame.posts } else { &mut self.posts };
        if posts.iter().any(|post| post.place == place) {
            return;
        }
        posts.push(Post {
            step: step.clone(),
            name: written_name(step),
            place: place.to_owned(),
            loaded: loaded.clone(),
            what,
        });
    }

    /// Runs a file of an action with Node.js.
    async fn run_node(
        &mut self,
        loaded: &Loaded,
        file: &Spanned<String>,
        inputs: Pairs,
        env: &[(String, String)],
        place: &str,
        output: &mut Output,
    ) -> Ended {
        let path = loaded.dir.join(&file.value);
        if !path.exists() {
            return Ended::bad(format!("File not found: '{}'", path.display()));
        }
        let before = self.name_action(loaded);
        let files = self.files();
        let mut variables: Pairs = inputs
            .into_iter()
            .map(|(name, value)| {
                (format!("INPUT_{}", name.replace(' ', "_").to_uppercase()), value)
            })
            .collect();
        let state = self.states.get(place).cloned().unwrap_or_default();
        variables.extend(state.into_iter().map(|(name, value)| (format!("STATE_{name}"), value)));
        match self.service_variables().await {
            Ok(service) => variables.extend(service),
            Err(message) => return Ended::bad(message),
        }
        output.say(Kind::Command, &format!("node {}/{}", loaded.shown, file.value));
        let program = Program {
            name: "node".to_owned(),
            arguments: vec![text_of(&path)],
            cwd: self.dirs.workspace.clone(),
            env: variables,
            script: None,
        };
        let mut ended = self.run_program(program, files, env, output).await;
        // What it said on its output counts, too.
        self.apply(output, &mut ended);
        let state = std::mem::take(&mut ended.state);
        let kept = self.states.entry(place.to_owned()).or_default();
        for (name, value) in state {
            kept.retain(|(known, _)| *known != name);
            kept.push((name, value));
        }
        self.rename_action(before);
        ended
    }

    /// Puts into the `github` context which action runs; gives what stood there.
    fn name_action(&mut self, loaded: &Loaded) -> [Option<Value>; 3] {
        let before = ACTION_KEYS.map(|key| self.github.get(key).cloned());
        let (repository, git_ref) = match &loaded.remote {
            Some((remote, _)) => (remote.repository.as_str(), remote.git_ref.as_str()),
            None => ("", ""),
        };
        self.github.insert("action_ref", git_ref);
        self.github.insert("action_repository", repository);
        before
    }

    fn rename_action(&mut self, before: [Option<Value>; 3]) {
        for (key, value) in ACTION_KEYS.into_iter().zip(before) {
            self.github.insert(key, value.unwrap_or_else(|| Value::from("")));
        }
    }

    /// Puts other steps in the place of those that run; gives what was there.
    fn enter(&mut self, inside: Inside) -> Inside {
        let frame = std::mem::replace(&mut self.frame, inside.frame);
        let before = self.contexts.get("inputs").cloned();
        self.contexts.insert("inputs", inside.inputs.unwrap_or_default());
        let action = ACTION_KEYS.map(|key| self.github.get(key).cloned());
        self.rename_action(inside.action);
        Inside { frame, inputs: before, action }
    }

    #[allow(clippy::too_many_arguments)]
    async fn run_composite(
        &mut self,
        step: &Step,
        steps: &[Step],
        loaded: &Loaded,
        inputs: Pairs,
        env: &[(String, String)],
        place: &str,
        stage: Stage,
        output: &mut Output,
    ) -> Ended {
        if self.frame.status.is_none() {
            self.running.contexts = Some(self.contexts.clone());
        }
        let mut outer_env = self.frame.outer_env.clone();
        outer_env.extend(env.iter().cloned());
        let (home, named) = match &loaded.remote {
            Some((remote, fetched)) => (
                Some((remote.clone(), fetched.dir.clone())),
                (remote.git_ref.clone(), remote.repository.clone()),
            ),
            None => (self.frame.home.clone(), (String::new(), String::new())),
        };
        let frame = Frame {
            steps: Object::default(),
            status: Some(Status::Success),
            outer_env,
            posts: Vec::new(),
            home,
            depth: self.frame.depth + 1,
        };
        let inputs: Object = inputs.into_iter().collect();
        let inside = Inside {
            frame,
            inputs: Some(Value::from(inputs)),
            action: [
                Some(Value::from(text_of(&loaded.dir))),
                Some(Value::from(named.0)),
                Some(Value::from(named.1)),
            ],
        };
        let outer = self.enter(inside);
        let id = self.github.get("action").cloned();
        let mut ended = Ended::good();
        for (at, inner) in steps.iter().enumerate() {
            let is_late = self
                .running
                .deadline
                .as_ref()
                .is_some_and(|deadline| deadline.at <= tokio::time::Instant::now());
            // A step that timed out or was stopped takes its action with it.
            if is_late || (ended.outcome == Conclusion::Cancelled && self.was_stopped()) {
                break;
            }
            let place = format!("{place}.{at}");
            if stage == Stage::Pre {
                let actions = self.engine.actions.clone();
                if !step_has_pre(&actions, inner, self.frame.depth + 1) {
                    continue;
                }
            }
            self.embedded(inner, &place, stage, output, &mut ended).await;
        }
        if stage == Stage::Main {
            self.see();
            for entry in &loaded.action.outputs {
                let Some(value) = &entry.value else { continue };
                match template::text(value, &self.scope()) {
                    Ok(text) => ended.outputs.push((entry.name.value.clone(), text)),
                    Err(error) => ended.fail(error.to_string()),
                }
            }
        }
        let mut inside = self.enter(outer);
        if let Some(id) = id {
            self.github.insert("action", id);
        }
        self.see();
        let posts = std::mem::take(&mut inside.frame.posts);
        if !posts.is_empty() {
            self.after(step, place, loaded, PostKind::Steps { inside: Box::new(inside), posts });
        }
        ended
    }

    fn was_stopped(&self) -> bool {
        self.ending.until().is_some()
            || self.stops.asked.as_ref().is_some_and(|asked| *asked.borrow())
    }

    /// Runs a step of a composite action.
    fn embedded<'a>(
        &'a mut self,
        step: &'a Step,
        place: &'a str,
        stage: Stage,
        output: &'a mut Output,
        whole: &'a mut Ended,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let always;
            let asked = if stage == Stage::Pre {
                always = Step { condition: Some(Template::unwritten("always()")), ..step.clone() };
                &always
            } else {
                step
            };
            let (name, env, decided) = self.decide(asked);
            let mut ended = match decided {
                Ok(None) => {
                    output.say(Kind::Command, &name);
                    let forgiven = self.running.forgiven;
                    self.running.forgiven = forgiven || self.allows_failure(step);
                    let ended = self.perform(step, &env, place, stage, output).await;
                    self.running.forgiven = forgiven;
                    ended
                }
                Ok(Some(_)) => {
                    self.remember(step, Conclusion::Skipped, Conclusion::Skipped, Vec::new());
                    return;
                }
                Err(error) => self.failed_to_decide(&error),
            };
            output.finish();
            self.apply(output, &mut ended);
            let allowed = ended.outcome == Conclusion::Failure && self.allows_failure(step);
            let conclusion = if allowed { Conclusion::AllowedFailure } else { ended.outcome };
            if !conclusion.is_good() {
                self.frame.status = Some(Status::Failure);
            }
            let outputs = std::mem::take(&mut ended.outputs);
            self.remember(step, ended.outcome, conclusion, outputs);
            if let Some(failure) = &ended.failure
                && (allowed || whole.outcome != Conclusion::Success)
            {
                output.say(Kind::Error, &failure.message);
            }
            if allowed {
                ended.outcome = Conclusion::Success;
                ended.failure = None;
            }
            self.take_in(whole, &mut ended, output);
        })
    }
}
