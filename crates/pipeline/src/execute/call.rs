//! A job that is another workflow.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use journal::{Conclusion, JobKey};
use tokio::sync::watch;

use super::job::{self, Done, Stops};
use super::slot::Coming;
use super::{Denied, Engine, JobResult, Surroundings};
use crate::calls;
use crate::concurrency::Turn;
use crate::expression::{Contexts, Object, Value};
use crate::plan::{Instance, Plan, plan_call};
use crate::template::TemplateError;
use crate::way;

/// Runs a called workflow from its queue to its end.
pub(super) fn run(
    engine: Arc<Engine>,
    at: usize,
    instance: Instance,
    contexts: Object,
    fail_fast: watch::Receiver<bool>,
    began_cancelled: bool,
    coming: Coming,
) -> Pin<Box<dyn Future<Output = Done> + Send>> {
    // Workflows call workflows: a future of its own kind inside itself must be boxed.
    Box::pin(async move {
        let key = instance.key.clone();
        let mut group = contexts.clone();
        group.insert("matrix", instance.matrix.clone());
        group.insert("strategy", instance.strategy.clone());
        let mut waits = Stops::new(&engine, fail_fast.clone(), began_cancelled);
        let coming = (engine.plan.workflow.jobs[at].concurrency.is_none()).then_some(coming);
        let turn = match job::enter_group(&engine, at, &key, &group, &mut waits).await {
            Ok(turn) => turn,
            Err(denied) => return engine.denied(at, &key, &denied),
        };
        let mut superseded = turn.as_ref().map(Turn::superseded);
        let (stop, cancel) = watch::channel(false);
        let stops = async {
            let mut fail_fast = fail_fast;
            let replaced = async {
                if let Some(told) = &mut superseded
                    && told.wait_for(|value| *value).await.is_ok()
                {
                    return;
                }
                std::future::pending::<()>().await;
            };
            let mut run = engine.cancel.clone();
            let cancelled = async {
                if began_cancelled || run.wait_for(|value| *value).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let failed = async {
                if fail_fast.wait_for(|value| *value).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! { () = cancelled => {}, () = failed => {}, () = replaced => {} }
            stop.send_replace(true);
            std::future::pending::<Done>().await
        };
        let called = called(&engine, at, &instance, contexts, cancel, coming);
        tokio::select! {
            done = called => done.unwrap_or_else(|error| engine.refuse_one(&key, &error)),
            done = stops => done,
        }
    })
}

async fn called(
    engine: &Arc<Engine>,
    at: usize,
    instance: &Instance,
    mut contexts: Object,
    cancel: watch::Receiver<bool>,
    coming: Option<Coming>,
) -> Result<Done, TemplateError> {
    contexts.insert("matrix", instance.matrix.clone());
    contexts.insert("strategy", instance.strategy.clone());
    let plan = plan_call(&engine.plan, at, &instance.key, &contexts)?;
    contexts.insert("secrets", job::secrets(engine, at));
    let Some((call, workflow)) = engine.plan.call(at) else {
        return Ok(Done { conclusion: Conclusion::Failure, outputs: Vec::new(), after: None });
    };
    let within = Contexts(contexts);
    let secrets = calls::secrets(call, workflow, &engine.surroundings.secrets, &within)?;
    let child = engine.child(at, plan, secrets, cancel);
    // Its own jobs announce themselves, unless all of it waits for its turn.
    let (conclusion, results) = child.run(coming).await;
    let outputs = outputs(&child, &results, calls::span(call))?;
    Ok(Done { conclusion, outputs, after: None })
}

fn outputs(
    child: &Arc<Engine>,
    results: &[Option<JobResult>],
    span: source::Span,
) -> Result<Vec<(String, String)>, TemplateError> {
    let jobs: Object = child
        .plan
        .jobs
        .iter()
        .zip(results)
        .filter_map(|(job, result)| {
            let result = result.as_ref()?;
            let entry: Object = [
                ("result", Value::from(result.result)),
                ("outputs", Value::from(result.outputs.clone())),
            ]
            .into_iter()
            .collect();
            Some((job.id.as_str(), entry))
        })
        .collect();
    let mut contexts = child.plan.contexts();
    contexts.insert("github", child.github.clone());
    contexts.insert("jobs", jobs);
    let outputs = calls::outputs(&child.plan.workflow, &Contexts(contexts))
        .map_err(|error| TemplateError { span, ..error })?;
    Ok(outputs.into_iter().filter(|(_, value)| !child.masker.finds_in(value)).collect())
}

impl Engine {
    /// Returns the engine of a called workflow: what its caller has, with a plan of its own.
    fn child(
        &self,
        at: usize,
        plan: Plan,
        secrets: BTreeMap<String, String>,
        outside: watch::Receiver<bool>,
    ) -> Arc<Self> {
        self.masker.add_all(secrets.values());
        let keys = plan.keys();
        let held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let (stop, cancel) = watch::channel(*outside.borrow());
        let behind = way::behind(&plan, &self.surroundings.durations);
        let behind = behind.into_iter().map(|way| way + self.behind[at]).collect();
        Arc::new(Self {
            visited: Arc::clone(&self.visited),
            surroundings: Arc::new(Surroundings {
                secrets,
                only: None,
                ..(*self.surroundings).clone()
            }),
            plan: Arc::new(plan),
            checkout: Arc::clone(&self.checkout),
            recorder: Arc::clone(&self.recorder),
            outside,
            stop,
            cancel,
            held: std::sync::Mutex::new(held),
            masker: self.masker.clone(),
            slots: Arc::clone(&self.slots),
            behind,
            github: self.github.clone(),
            keys: std::sync::Mutex::new(keys),
            service: tokio::sync::OnceCell::new(),
            actions: self.actions.clone(),
        })
    }

    /// Ends a job that got no turn in its concurrency group.
    pub(super) fn denied(&self, at: usize, key: &JobKey, denied: &Denied) -> Done {
        let span = self.plan.workflow.jobs[at].id.span;
        self.end(std::slice::from_ref(key), denied.conclusion(), &denied.error(span));
        Done { conclusion: denied.conclusion(), outputs: Vec::new(), after: None }
    }

    /// Fails a job that cannot start.
    fn refuse_one(&self, key: &JobKey, error: &TemplateError) -> Done {
        self.fail(std::slice::from_ref(key), error);
        Done { conclusion: Conclusion::Failure, outputs: Vec::new(), after: None }
    }
}
