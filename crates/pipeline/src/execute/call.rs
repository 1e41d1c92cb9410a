//! A job that is another workflow.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use journal::{Conclusion, JobKey};
use tokio::sync::watch;

use super::job::{self, Done};
use super::{Engine, JobResult, Surroundings};
use crate::calls;
use crate::expression::{Contexts, Object, Value};
use crate::plan::{Instance, Plan, plan_call};
use crate::template::TemplateError;

/// Runs a called workflow from its queue to its end.
pub(super) fn run(
    engine: Arc<Engine>,
    at: usize,
    instance: Instance,
    contexts: Object,
    fail_fast: watch::Receiver<bool>,
    began_cancelled: bool,
) -> Pin<Box<dyn Future<Output = Done> + Send>> {
    // Workflows call workflows: a future of its own kind inside itself must be boxed.
    Box::pin(async move {
        let key = instance.key.clone();
        let (stop, cancel) = watch::channel(false);
        let stops = async {
            let mut fail_fast = fail_fast;
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
            tokio::select! { () = cancelled => {}, () = failed => {} }
            stop.send_replace(true);
            std::future::pending::<Done>().await
        };
        let called = called(&engine, at, &instance, contexts, cancel);
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
) -> Result<Done, TemplateError> {
    contexts.insert("matrix", instance.matrix.clone());
    contexts.insert("strategy", instance.strategy.clone());
    let plan = plan_call(&engine.plan, at, &instance.key, &contexts)?;
    contexts.insert("secrets", job::secrets(engine, at));
    let Some((call, workflow)) = engine.plan.call(at) else {
        return Ok(Done { conclusion: Conclusion::Failure, outputs: Vec::new() });
    };
    let within = Contexts(contexts);
    let secrets = calls::secrets(call, workflow, &engine.surroundings.secrets, &within)?;
    let child = engine.child(plan, secrets, cancel);
    let (conclusion, results) = child.run().await;
    let outputs = outputs(&child, &results, calls::span(call))?;
    Ok(Done { conclusion, outputs })
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
        plan: Plan,
        secrets: BTreeMap<String, String>,
        cancel: watch::Receiver<bool>,
    ) -> Arc<Self> {
        self.masker.add_all(secrets.values());
        let keys = plan.keys();
        Arc::new(Self {
            surroundings: Arc::new(Surroundings {
                secrets,
                only: None,
                ..(*self.surroundings).clone()
            }),
            plan: Arc::new(plan),
            checkout: Arc::clone(&self.checkout),
            recorder: Arc::clone(&self.recorder),
            cancel,
            masker: self.masker.clone(),
            permits: Arc::clone(&self.permits),
            github: self.github.clone(),
            keys: std::sync::Mutex::new(keys),
            actions: self.actions.clone(),
        })
    }

    /// Fails a job that cannot start.
    fn refuse_one(&self, key: &JobKey, error: &TemplateError) -> Done {
        self.fail(std::slice::from_ref(key), error);
        Done { conclusion: Conclusion::Failure, outputs: Vec::new() }
    }
}
