//! `marline run`: workflows run here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use explain::words;
use indexmap::IndexMap;
use journal::{Actor, AnnotationLevel, Conclusion, Fact, JobKey, RunId};
use pipeline::execute::{Approvals, Debugger, Groups};
use pipeline::log::{Kind, Line};
use pipeline::plan::Plan;
use pipeline::replay::Verdict;
use pipeline::retry::{Candidate, candidates};
use tokio::sync::watch;

use super::debug::Visitor;
use super::preview;
use super::watch::{State, Watcher};
use crate::approval::{Asking, Manner};
use crate::cli::{Global, RunArgs};
use crate::conductor::secret_values;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::{Here, git_failure};
use crate::runs::{Audience, Given, Order, Runner, Started, Subject, last_durations};

/// How many of the last lines of a failed step are repeated at the end.
const LAST_LINES: usize = 12;

/// Runs workflows, or shows what would run.
pub async fn run(args: &RunArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    check_terminal(args, &here)?;
    if args.watch {
        again_and_again(args, global, &here).await
    } else {
        once(args, global, here).await
    }
}

/// Runs workflows whenever a file has changed, until somebody ends it.
async fn again_and_again(args: &RunArgs, global: &Global, here: &Here) -> Outcome {
    let mut watcher = Watcher::new(&here.repository)?;
    let mut state = State::of(&here.repository)?;
    // One from the beginning to the end, so that no Ctrl-C falls between two.
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let stop = Arc::new(AtomicBool::new(false));
    loop {
        match once(args, global, Here::find(global)?).await {
            Ok(Exit::Cancelled) => return Ok(Exit::Interrupted),
            Ok(exit @ Exit::Interrupted) => return Ok(exit),
            Ok(_) => {}
            // A file that is half written may be whole the next time.
            Err(failure) => failure.print(here.json),
        }
        if !here.json {
            eprintln!("\nwaiting for a change; end with Ctrl-C");
        }
        let stopped = Arc::clone(&stop);
        let mut waiting = tokio::task::spawn_blocking(move || {
            let now = watcher.wait(&state, &stopped)?;
            anyhow::Ok((watcher, state, now))
        });
        let waited = tokio::select! {
            waited = &mut waiting => waited,
            _ = interrupts.recv() => {
                stop.store(true, Ordering::Relaxed);
                waiting.await
            }
        };
        let (same, before, now) = waited.context("wait for a change")??;
        let Some(now) = now else { return Ok(Exit::Interrupted) };
        if !here.json {
            let what = now.difference(&before).map(|path| path.display().to_string());
            eprintln!("{} changed\n", what.as_deref().unwrap_or("the commit"));
        }
        (watcher, state) = (same, now);
    }
}

async fn once(args: &RunArgs, global: &Global, here: Here) -> Outcome {
    let head = here.repository.head().map_err(git_failure)?;
    let before =
        here.repository.commit(&head.commit).map_err(git_failure)?.parents.first().cloned();
    let subject = Subject {
        repository: here.repository.clone(),
        dirty: !args.committed && here.repository.is_dirty().map_err(git_failure)?,
        commit: head.commit,
        branch: head.branch,
        before,
    };
    // Opening the vault makes it, and asking for a plan must not write.
    let vault = here.state.vault().exists().then(|| guard::vault::Vault::open(&here.state.vault()));
    let given = Given {
        event: args.event.clone(),
        payload: args
            .event_file
            .as_deref()
            .map(|path| payload(&meant(&global.directory, path)))
            .transpose()?,
        workflows: args
            .workflows
            .as_deref()
            .map(|path| existing(meant(&global.directory, path)))
            .transpose()?,
        inputs: pairs(&args.inputs, "--input")?,
        vars: pairs(&args.vars, "--var")?,
        matrix: combinations(&args.matrix)?,
        actions: here.state.actions(),
        secrets: match vault {
            Some(vault) => vault?.list()?.into_iter().map(|entry| entry.name).collect(),
            None => BTreeSet::new(),
        },
    };
    let mut started = subject.plan(&given)?;
    let mut wanted = Wanted::of(args.what.as_deref(), &mut started)?;
    let text = |path: &str| here.text(path);
    if !started.findings.is_empty() && !here.json {
        eprint!("{}", source::render::text(&started.findings, here.look(), &text));
    }
    if args.plan {
        preview::show(&here, &started, wanted.job.as_deref());
        return Ok(if started.is_refused() { Exit::Failed } else { Exit::Done });
    }
    if started.is_refused() {
        if here.json {
            println!("{}", source::render::json(&started.findings));
        }
        let summary = source::render::summary(&started.findings);
        return Err(Failure::new(Exit::Failed, format!("nothing was started: {summary}")));
    }
    if started.plans.is_empty() {
        return Err(nothing_starts(&started, &args.event));
    }
    if let Some(step) = &args.from {
        wanted.go_on_from(step, &here, &mut started)?;
    }
    go(&here, args, subject, started, wanted).await
}

/// Refuses a shell where nobody could type into it.
fn check_terminal(args: &RunArgs, here: &Here) -> Result<(), Failure> {
    if !args.debug
        || (std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !here.json)
    {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "`--debug` opens a shell, and there is no terminal for it")
        .help("run a command in the failed step's box: --debug-command 'env; ls -la'"))
}

async fn go(
    here: &Here,
    args: &RunArgs,
    subject: Subject,
    started: Started,
    wanted: Wanted,
) -> Outcome {
    let journal = here.journal()?;
    end_interrupted(here, &journal).await?;
    let (stop, cancel) = watch::channel(false);
    let interrupted = tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        eprintln!("\nstopping; what must still run does. Press Ctrl-C again to end at once.");
        stop.send_replace(true);
        let _ = tokio::signal::ctrl_c().await;
        Exit::Interrupted
    });
    let screen = Arc::new(Screen::new(here, args));
    let debug = Visitor::of(args, &screen).map(|visitor| Arc::new(visitor) as Arc<dyn Debugger>);
    let groups = Groups::new(here.state.concurrency());
    let manner = Manner::of(args, here, Arc::clone(&screen))?;
    let commit = (!subject.dirty).then(|| journal::CommitId::from(subject.commit.as_str()));
    let asking = Asking::new(journal.clone(), manner, commit).approve(&args.approve);
    let asking = Arc::new(asking);
    let mut tasks = tokio::task::JoinSet::new();
    for plan in started.plans {
        let runner = Runner {
            journal: journal.clone(),
            state: here.state.clone(),
            actor: Actor::Person(account()),
            secrets: secret_values(&here.state.vault(), &plan),
            groups: groups.clone(),
            approvals: Arc::clone(&asking) as Arc<dyn Approvals>,
            audience: Some(Arc::clone(&screen) as Arc<dyn Audience>),
        };
        let number = journal.take_run()?;
        let order = Order {
            subject: subject.clone(),
            durations: last_durations(&journal, &plan)?,
            plan,
            cause: None,
            again: None,
            from: wanted.from.clone(),
            fresh: args.fresh,
            debug: debug.clone(),
            only: wanted.job.clone().map(|job| BTreeSet::from([job])),
            cancel: cancel.clone(),
        };
        tasks.spawn(async move { runner.run(order, number).await });
    }
    let mut conclusions = Vec::new();
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            conclusions.push(ended.context("run a workflow")??);
        }
        anyhow::Ok(())
    };
    let listening = interrupted.abort_handle();
    tokio::select! {
        ended = ended => ended?,
        exit = interrupted => return Ok(exit.unwrap_or(Exit::Interrupted)),
    }
    listening.abort();
    screen.end();
    let has = |end: Conclusion| conclusions.contains(&end);
    Ok(match () {
        () if has(Conclusion::Failure) => Exit::Failed,
        () if asking.is_held() => Exit::Held,
        () if has(Conclusion::Cancelled) => Exit::Cancelled,
        () => Exit::Done,
    })
}

/// Says of runs whose process was killed that they were interrupted; returns the present before.
async fn end_interrupted(here: &Here, journal: &journal::Journal) -> Result<(), Failure> {
    for event in journal.unfinished_runs()? {
        let Fact::RunStarted { run, .. } = event.fact else { continue };
        if !crate::lock::is_held(&here.state.run(run).join("lock")) {
            let conclusion = Conclusion::Interrupted;
            let fact = Fact::RunFinished { run, conclusion, milliseconds: 0 };
            journal.append(Actor::Person(account()), Some(event.id), fact).await?;
        }
    }
    Ok(())
}

/// What of the started workflows is wanted.
#[derive(Debug, Default)]
struct Wanted {
    /// Only this job and what it needs.
    job: Option<String>,
    /// The step of it to go on from.
    from: Option<pipeline::retry::From>,
}

impl Wanted {
    /// Keeps what was asked for: a workflow by file or name, or the workflows with a job.
    fn of(what: Option<&str>, started: &mut Started) -> Result<Self, Failure> {
        let Some(what) = what else { return Ok(Self::default()) };
        let is_it = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            let stem = file.trim_end_matches(".yml").trim_end_matches(".yaml");
            path == what || file == what || stem == what
        };
        let is_named = |plan: &Plan| is_it(&plan.workflow.path) || plan.name == what;
        let has_job = |plan: &Plan| plan.jobs.iter().any(|job| job.id == what);
        let is_workflow = started.plans.iter().any(is_named)
            || started.not_triggered.iter().any(|other| is_it(&other.workflow))
            || started.findings.iter().any(|finding| is_it(&finding.place.path));
        if is_workflow {
            started.plans.retain(is_named);
            started.not_triggered.retain(|other| is_it(&other.workflow));
            started.findings.retain(|finding| is_it(&finding.place.path));
            return Ok(Self::default());
        }
        if started.plans.iter().any(has_job) {
            started.plans.retain(has_job);
            started.not_triggered.clear();
            return Ok(Self { job: Some(what.to_owned()), from: None });
        }
        let names: Vec<String> = started
            .plans
            .iter()
            .flat_map(|plan| {
                let jobs = plan.jobs.iter().map(|job| job.id.clone());
                std::iter::once(plan.name.clone()).chain(jobs)
            })
            .collect();
        let failure =
            Failure::new(Exit::NotFound, format!("no workflow or job is called `{what}`"));
        Err(if names.is_empty() {
            failure
        } else {
            failure.help(format!("there are {}", words::list(&names)))
        })
    }
}

impl Wanted {
    /// Keeps the workflow and the job with a step that is to be gone on from.
    fn go_on_from(
        &mut self,
        step: &str,
        here: &Here,
        started: &mut Started,
    ) -> Result<(), Failure> {
        let runs = here.known().map(|(_, view)| view.runs).unwrap_or_default();
        let recordings = here.state.replay();
        let mut steps: Vec<(usize, Candidate)> = Vec::new();
        for (at, plan) in started.plans.iter().enumerate() {
            let path = &plan.workflow.path;
            let was_skipped = |job: &JobKey, number: u32| {
                let mut newest = runs.values().rev().filter(|run| run.workflow == *path);
                let last = newest.find_map(|run| run.jobs.get(job)?.steps.get(&number));
                last.is_some_and(|step| step.conclusion == Some(Conclusion::Skipped))
            };
            let found = candidates(plan, &recordings, &was_skipped);
            steps.extend(found.into_iter().map(|one| (at, one)));
        }
        steps.retain(|(_, one)| self.job.as_ref().is_none_or(|job| one.top == *job));
        let addresses = |wanted: &dyn Fn(&Candidate) -> bool| {
            let list = steps.iter().map(|(_, one)| one).filter(|one| wanted(one));
            words::list(&list.map(Candidate::address).collect::<Vec<_>>())
        };
        let meant: Vec<&(usize, Candidate)> =
            steps.iter().filter(|(_, one)| one.is_meant(step)).collect();
        let failed = |text: String| Failure::new(Exit::NotFound, text);
        match meant.as_slice() {
            [] => Err(failed(format!("no step is called `{step}`"))
                .help(format!("there are {}", addresses(&|_| true)))),
            [(at, one)] => match &one.missing {
                None => {
                    started.plans = vec![started.plans.swap_remove(*at)];
                    self.job = Some(one.top.clone());
                    self.from = Some(one.from.clone());
                    Ok(())
                }
                Some(missing) => Err(failed(format!(
                    "the run cannot go on from `{step}`: the step “{missing}” before it has no recording"
                ))
                .help(format!(
                    "run it once without --from; steps that one can go on from: {}",
                    addresses(&|one| one.missing.is_none())
                ))),
            },
            _ => Err(failed(format!("more than one step is called `{step}`")).help(format!(
                "name one of {}, or give its number, as in {}/{}; name the workflow if it is in several",
                addresses(&|one| one.is_meant(step)),
                meant[0].1.from.job,
                meant[0].1.from.step
            ))),
        }
    }
}

fn nothing_starts(started: &Started, event: &str) -> Failure {
    if started.not_triggered.is_empty() {
        return Failure::new(Exit::NotFound, "there are no workflows in .github/workflows")
            .help("`marline` says what it would run here; save a workflow to run it");
    }
    let reasons: Vec<String> = started
        .not_triggered
        .iter()
        .map(|other| format!("{}: {}", other.workflow, other.reason))
        .collect();
    Failure::new(Exit::NotFound, format!("no workflow starts for `{event}`"))
        .help(format!("{}; choose another event with -e", reasons.join("; ")))
}

/// A path as it is meant: from the directory that `-C` names if it is there, else from here.
fn meant(directory: &Path, path: &Path) -> PathBuf {
    let below = directory.join(path);
    if below.exists() { below } else { path.to_owned() }
}

fn existing(path: PathBuf) -> Result<PathBuf, Failure> {
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(Exit::NotFound, format!("there is no workflow at {}", path.display()))
        .help("give a file, or a folder that holds .yml files"))
}

/// Reads a file that says what `github.event` is.
pub(super) fn payload(path: &Path) -> Result<serde_json::Value, Failure> {
    let shown = path.display();
    let usage = |why: String| {
        Failure::new(Exit::Usage, format!("{shown} is no event: {why}"))
            .help("it holds one JSON object, as `github.event` does")
    };
    let text = std::fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| usage(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(usage("it is not an object".to_owned())) }
}

/// Reads `NAME=VALUE` words.
pub(super) fn pairs(words: &[String], option: &str) -> Result<BTreeMap<String, String>, Failure> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Failure::new(Exit::Usage, format!("`{option} {word}` has no `name=value`"))
                .help(format!("write it as {option} name=value"))),
        })
        .collect()
}

/// Reads `KEY:VALUE` words; several values of one key are all kept.
fn combinations(words: &[String]) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for word in words {
        let Some((key, value)) = word.split_once([':', '=']) else {
            return Err(Failure::new(Exit::Usage, format!("`--matrix {word}` has no `key:value`"))
                .help("write it as --matrix os:linux"));
        };
        kept.entry(key.to_owned()).or_default().insert(value.to_owned());
    }
    Ok(kept)
}

/// Returns the name of the account this runs as.
pub fn account() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map_or_else(|| "somebody".to_owned(), |user| user.name)
}

/// Shows one line per job as it goes, and what failed at the end.
pub(crate) struct Screen {
    verbose: bool,
    explain_cache: bool,
    pub json: bool,
    colour: bool,
    live: Option<indicatif::MultiProgress>,
    inner: Mutex<Shown>,
    /// What is to be shown when somebody gives the terminal back.
    held: Mutex<Option<Vec<String>>>,
}

#[derive(Default)]
struct Shown {
    begun: Option<Instant>,
    bars: IndexMap<JobKey, indicatif::ProgressBar>,
    failures: Vec<Failed>,
    ended: Vec<(JobKey, Conclusion)>,
    runs: Vec<RunId>,
    /// Tests that are flaky by proof, with a run in which they passed and one in which they failed.
    flaky: Vec<(String, RunId, RunId)>,
    /// What the tests of each job said, in words.
    tests: BTreeMap<JobKey, String>,
    /// What of each job did not have to run: steps, and milliseconds saved.
    cached: BTreeMap<JobKey, (u32, u64)>,
}

/// A step that failed, for the end.
struct Failed {
    run: RunId,
    job: JobKey,
    name: String,
    message: String,
    place: Option<source::Place>,
    last_lines: Vec<String>,
}

impl Screen {
    fn new(here: &Here, args: &RunArgs) -> Self {
        let verbose = args.verbose;
        let is_live = std::io::stderr().is_terminal() && !here.json && !verbose;
        Self {
            verbose,
            explain_cache: args.explain_cache,
            json: here.json,
            colour: here.colour,
            live: is_live.then(indicatif::MultiProgress::new),
            inner: Mutex::new(Shown { begun: Some(Instant::now()), ..Shown::default() }),
            held: Mutex::default(),
        }
    }

    /// Keeps quiet while somebody else has the terminal.
    pub fn hush(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        if let Some(live) = &self.live {
            let _ = live.clear();
            live.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
    }

    /// Shows what happened meanwhile, and goes on.
    pub fn go_on(&self) {
        if let Some(live) = &self.live {
            live.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        for line in held.into_iter().flatten() {
            self.line(&line);
        }
    }

    /// Tells that something waits.
    pub fn waits(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            self.line(text);
        }
    }

    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Prints a line above what is live.
    pub fn line(&self, text: &str) {
        if let Some(held) = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            return held.push(text.to_owned());
        }
        match &self.live {
            Some(live) => {
                let _ = live.println(text);
            }
            None => println!("{text}"),
        }
    }

    fn job_line(&self, job: &JobKey, conclusion: Conclusion, rest: &str) -> String {
        let (sign, code) = match conclusion {
            Conclusion::Success => ("✓", "32"),
            Conclusion::Failure => ("✗", "31"),
            Conclusion::AllowedFailure => ("!", "33"),
            Conclusion::Cancelled | Conclusion::Interrupted => ("–", "33"),
            Conclusion::Skipped => ("↷", "2"),
        };
        format!("  {} {job:<24} {rest}", self.paint(code, sign))
    }

    /// Repeats what failed, with its cause, and sums up.
    fn end(&self) {
        let shown = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if self.json {
            return;
        }
        let mut out = std::io::stdout().lock();
        for failed in &shown.failures {
            let place = failed.place.as_ref().map(|place| format!(", {place}")).unwrap_or_default();
            let _ = writeln!(out, "\n  {} failed at step “{}”{place}", failed.job, failed.name);
            for line in &failed.last_lines {
                let _ = writeln!(out, "    {line}");
            }
            let _ = writeln!(out, "  {}", self.paint("31", &failed.message));
            let _ = writeln!(
                out,
                "  Next     marline why run {}   ·   marline logs {}",
                failed.run, failed.run
            );
        }
        for (test, passed, failed) in &shown.flaky {
            let sign = self.paint("33", "~");
            let _ = writeln!(
                out,
                "\n  {sign} {test} is flaky: on the same inputs it passed in run {passed} and failed in run {failed}"
            );
        }
        let count = |wanted: fn(Conclusion) -> bool| {
            shown.ended.iter().filter(|(_, conclusion)| wanted(*conclusion)).count()
        };
        let parts = [
            (count(|end| end == Conclusion::Failure), "failed"),
            (count(|end| end == Conclusion::AllowedFailure), "failed and allowed to"),
            (count(|end| end == Conclusion::Success), "passed"),
            (count(|end| end == Conclusion::Skipped), "skipped"),
            (count(|end| end == Conclusion::Cancelled), "cancelled"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let took = shown.begun.map_or(0, |begun| begun.elapsed().as_millis() as u64);
        let runs: Vec<String> = shown.runs.iter().map(|run| format!("run {run}")).collect();
        let _ = writeln!(
            out,
            "\n  {} in {} ({})",
            parts.join(", "),
            words::duration(took),
            words::list(&runs)
        );
    }
}

impl Audience for Screen {
    fn fact(&self, fact: &Fact) {
        if self.json {
            let value = serde_json::json!({ "fact": fact });
            self.line(&value.to_string());
            return;
        }
        let mut shown = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match fact {
            Fact::RunStarted { run, name, workflow, dirty, .. } => {
                shown.runs.push(*run);
                let with = if *dirty { ", with uncommitted changes" } else { "" };
                self.line(&format!("{name} ({workflow}), run {run}{with}"));
            }
            Fact::JobStarted { job, protection, .. } => {
                if let Some(live) = &self.live {
                    let bar = live.add(indicatif::ProgressBar::new_spinner());
                    bar.set_message(format!("{job}"));
                    bar.enable_steady_tick(std::time::Duration::from_millis(120));
                    shown.bars.insert(job.clone(), bar);
                }
                if self.verbose && !protection.is_empty() {
                    self.line(&format!("  {job}: {protection}"));
                }
            }
            Fact::StepStarted { job, name, .. } => {
                if let Some(bar) = shown.bars.get(job) {
                    bar.set_message(format!("{job:<24} {name}"));
                }
                if self.verbose {
                    self.line(&format!("  {job}: {}", self.paint("1", name)));
                }
            }
            Fact::StepFinished { job, cached: Some(saved), .. } => {
                let cached = shown.cached.entry(job.clone()).or_default();
                *cached = (cached.0 + 1, cached.1 + saved);
            }
            Fact::StepFinished { run, job, name, conclusion, failure: Some(failure), .. }
                if *conclusion != Conclusion::AllowedFailure =>
            {
                let from = failure.last_lines.len().saturating_sub(LAST_LINES);
                shown.failures.push(Failed {
                    run: *run,
                    job: job.clone(),
                    name: name.clone(),
                    message: failure.message.clone(),
                    place: failure.place.clone(),
                    last_lines: failure.last_lines[from..].to_vec(),
                });
            }
            // What keeps a job from running, or fails it though no step did.
            Fact::AnnotationMade {
                job, step: 0, level: AnnotationLevel::Error, message, ..
            } => {
                self.line(&format!("  {job}: {message}"));
            }
            Fact::TestsReported { job, passed, failed, skipped, .. } => {
                let told = words::tests(*passed, *failed, *skipped);
                shown.tests.insert(job.clone(), told);
            }
            Fact::TestFoundFlaky { test, passed, failed, .. } => {
                shown.flaky.push((test.clone(), *passed, *failed));
            }
            Fact::JobSkipped { job, reason, .. } => {
                shown.ended.push((job.clone(), Conclusion::Skipped));
                self.line(&self.job_line(job, Conclusion::Skipped, &format!("skipped: {reason}")));
            }
            Fact::JobFinished { job, conclusion, milliseconds, .. } => {
                if let Some(bar) = shown.bars.shift_remove(job) {
                    bar.finish_and_clear();
                }
                shown.ended.push((job.clone(), *conclusion));
                let mut rest = words::duration(*milliseconds);
                if let Some(tests) = shown.tests.get(job) {
                    rest += &format!("  {tests}");
                }
                if let Some((steps, saved)) = shown.cached.get(job) {
                    let steps = words::count(u64::from(*steps), "step", "steps");
                    rest += &format!("  {steps} cached, {} saved", words::duration(*saved));
                }
                self.line(&self.job_line(job, *conclusion, &rest));
            }
            _ => {}
        }
    }

    fn replay(&self, job: &JobKey, step: u32, verdict: &Verdict) {
        if !self.explain_cache {
            return;
        }
        let text = match verdict {
            Verdict::Replayed { saved } => format!("cached, {} saved", words::duration(*saved)),
            Verdict::Ran { why } => format!("runs: {why}"),
            Verdict::NotKept { why } => format!("will run again: {why}"),
        };
        if self.json {
            println!(
                "{}",
                serde_json::json!({ "cache": { "job": job, "step": step, "says": text } })
            );
        } else {
            self.line(&format!("  {job}, step {step}: {text}"));
        }
    }

    fn lines(&self, job: &JobKey, lines: &[Line]) {
        if !self.verbose || self.json {
            return;
        }
        for line in lines {
            let code = match line.kind {
                Kind::Error => "31",
                Kind::Warning => "33",
                Kind::Command | Kind::Group => "36",
                Kind::EndGroup | Kind::Debug => "2",
                Kind::Output | Kind::Notice => "0",
            };
            self.line(&format!("  {job} │ {}", self.paint(code, &line.text)));
        }
    }
}
