//! The steps of a job in their order, and those that run beside others.
//!
//! A background step runs in a clone of the job. What it leaves (outputs, variables, paths) is
//! taken over when a `wait` step names it, or at the latest when all steps have run.

use std::sync::Arc;

use journal::Conclusion;
use source::Spanned;
use source::workflow::{Step, StepKind};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::action::Frame;
use super::job::JobRun;
use super::scope::Status;
use super::step::Done;
use crate::log::Kind;
use crate::plan::setting;

/// How many background steps of a job run at once; as on GitHub.
const MOST_AT_ONCE: usize = 10;

/// Something a step left for those that follow.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Variable(String, String),
    Path(String),
}

/// The steps of a job, each with its number from 1: those of `parallel` one by one.
pub(super) fn numbered(steps: &[Step]) -> impl Iterator<Item = (u32, &Step)> {
    let flat = steps.iter().flat_map(|step| match &step.kind {
        StepKind::Parallel(inner) => inner.as_slice(),
        _ => std::slice::from_ref(step),
    });
    (1..).zip(flat)
}

/// A background step that was started.
struct Background {
    id: String,
    name: String,
    task: JoinHandle<(JobRun, Done)>,
    cancel: watch::Sender<bool>,
    is_cancelled: bool,
}

/// The background steps of a job.
struct Backgrounds {
    slots: Arc<Semaphore>,
    open: Vec<Background>,
    /// How those ended that were waited for, as far as it counts at the end of the job.
    ended: Vec<Conclusion>,
}

impl JobRun {
    /// Runs all steps, what actions do before them and what they do after them.
    pub async fn run_steps(&mut self, steps: &[Step]) {
        let first = self.run_pre(steps).await;
        let mut backgrounds = Backgrounds {
            slots: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            open: Vec::new(),
            ended: Vec::new(),
        };
        let mut number = first;
        for step in steps {
            self.heed_stops();
            match &step.kind {
                StepKind::Parallel(inner) => {
                    let mut ids = Vec::new();
                    for inner in inner {
                        ids.push(Spanned { value: inner.id.clone(), span: inner.span });
                        self.start(number, inner, &mut backgrounds);
                        number += 1;
                    }
                    let conclusions = self.wait(&ids, &mut backgrounds).await;
                    self.judge(&conclusions);
                    continue;
                }
                StepKind::Wait(_) | StepKind::WaitAll(_) | StepKind::Cancel(_) => {
                    self.control(number, step, &mut backgrounds).await;
                }
                _ if step.background => self.start(number, step, &mut backgrounds),
                _ => {
                    self.step(number, step).await;
                }
            }
            number += 1;
        }
        // What nobody waited for is waited for before the clean-up.
        let all = backgrounds.ids();
        self.wait(&all, &mut backgrounds).await;
        let ended = std::mem::take(&mut backgrounds.ended);
        self.judge(&ended);
        self.heed_stops();
        self.run_posts(number).await;
    }

    /// Counts how steps ended for the job.
    fn judge(&mut self, conclusions: &[Conclusion]) {
        let is_bad = |one: &Conclusion| {
            matches!(one, Conclusion::Failure | Conclusion::Interrupted | Conclusion::Cancelled)
        };
        if self.status == Status::Success && conclusions.iter().any(is_bad) {
            self.status = Status::Failure;
        }
    }

    /// Starts a step beside those that follow.
    fn start(&mut self, number: u32, step: &Step, backgrounds: &mut Backgrounds) {
        // What runs beside others cannot be told apart from them.
        self.replay = None;
        let mut fork = self.clone();
        let (cancel, cancelled) = watch::channel(false);
        fork.stops.asked = Some(cancelled);
        fork.written.clear();
        fork.posts.clear();
        fork.saves.clear();
        fork.summary.clear();
        fork.frame = Frame::of_job(self.frame.steps.clone());
        fork.running.is_background = true;
        let slots = Arc::clone(&backgrounds.slots);
        let name = super::step::written_name(step);
        let id = step.id.clone();
        let step = step.clone();
        let task = tokio::spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            let done = fork.step(number, &step).await;
            (fork, done)
        });
        backgrounds.open.push(Background { id, name, task, cancel, is_cancelled: false });
    }

    /// Waits for background steps and takes over what they left.
    async fn wait(
        &mut self,
        ids: &[Spanned<String>],
        backgrounds: &mut Backgrounds,
    ) -> Vec<Conclusion> {
        let mut conclusions = Vec::new();
        for id in ids {
            let is_it = |one: &Background| one.id.eq_ignore_ascii_case(&id.value);
            let Some(at) = backgrounds.open.iter().position(is_it) else { continue };
            let background = backgrounds.open.remove(at);
            let conclusion = match background.task.await {
                Ok((fork, done)) => self.take_over(fork, done),
                Err(error) => {
                    tracing::error!("a background step ended in a panic: {error}");
                    Conclusion::Failure
                }
            };
            self.heed_stops();
            // One that was cancelled on purpose fails nothing, unless it had failed before.
            let counts = !(background.is_cancelled && conclusion == Conclusion::Cancelled);
            if counts {
                backgrounds.ended.push(conclusion);
                conclusions.push(conclusion);
            }
        }
        conclusions
    }

    fn take_over(&mut self, fork: JobRun, done: Done) -> Conclusion {
        for written in fork.written {
            match written {
                Written::Variable(name, value) => self.set_variable(name, value),
                Written::Path(dir) => self.prepend(dir),
            }
        }
        if !fork.summary.is_empty() && !self.summary.is_empty() && !self.summary.ends_with('\n') {
            self.summary.push('\n');
        }
        self.summary.push_str(&fork.summary);
        self.posts.extend(fork.posts);
        self.states.extend(fork.states);
        self.saves.extend(fork.saves);
        if let Some(entry) = done.entry {
            self.frame.steps.insert(done.id, entry);
        }
        done.conclusion
    }

    /// Runs a step that waits for background steps or cancels one.
    async fn control(&mut self, number: u32, step: &Step, backgrounds: &mut Backgrounds) {
        let mut started = self.begin_control(number, step);
        if started.skipped {
            return;
        }
        let all = backgrounds.ids();
        let (ids, cancels) = match &step.kind {
            StepKind::Wait(ids) => (ids.as_slice(), false),
            StepKind::Cancel(id) => (std::slice::from_ref(id), true),
            _ => (all.as_slice(), false),
        };
        let names = backgrounds.names(ids);
        let shown = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let doing = if cancels { "Cancelling" } else { "Waiting for" };
        started.output.say(Kind::Output, &format!("{doing} background step(s): {shown}"));
        self.flush(&mut started.output);
        if cancels {
            backgrounds.cancel(ids);
        }
        let conclusions = self.wait(ids, backgrounds).await;
        let is_good = |one: &Conclusion| one.is_good() || *one == Conclusion::Skipped;
        let failed = !cancels && !conclusions.iter().all(is_good);
        let allowed = failed
            && setting(step.continue_on_error.as_ref(), &self.scope())
                .ok()
                .flatten()
                .is_some_and(|value| value.is_truthy());
        let message = failed.then(|| "A background step did not succeed.".to_owned());
        if failed && !allowed {
            self.judge(&[Conclusion::Failure]);
        }
        self.end_control(number, step, started, message, allowed);
    }
}

impl Backgrounds {
    fn ids(&self) -> Vec<Spanned<String>> {
        let span = source::Span::new(source::Position::new(1, 1), source::Position::new(1, 1));
        self.open.iter().map(|one| Spanned { value: one.id.clone(), span }).collect()
    }

    fn names(&self, ids: &[Spanned<String>]) -> Vec<String> {
        let named = |one: &&Background| ids.iter().any(|id| id.value.eq_ignore_ascii_case(&one.id));
        self.open.iter().filter(named).map(|one| one.name.clone()).collect()
    }

    fn cancel(&mut self, ids: &[Spanned<String>]) {
        for background in &mut self.open {
            if ids.iter().any(|id| id.value.eq_ignore_ascii_case(&background.id)) {
                background.is_cancelled = true;
                background.cancel.send_replace(true);
            }
        }
    }
}
