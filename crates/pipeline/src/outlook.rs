//! What of a plan would run, as far as that is known before anything does.
//!
//! Conditions are asked with what is known: the event, the inputs, the combination. What they ask
//! besides is settled only by the run, and then the answer is [`Would::Depends`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use journal::{Explained, ExplainedPart};
use serde::Serialize;
use source::Place;
use source::expression::Function;
use source::workflow::{Entries, Job, Step, StepKind};

use crate::execute::written_name;
use crate::expression::{Object, Scope, Value};
use crate::plan::{self, Instance, Plan};
use crate::template::{self, Condition};

/// Whether something would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Would {
    /// It would, if what it needs does well.
    Run,
    /// It would not.
    Skip,
    /// Only the run can say.
    Depends,
}

/// What would become of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobOutlook {
    /// The job as shown.
    pub job: String,
    /// Its key under `jobs:`.
    pub id: String,
    /// The keys of the jobs it needs.
    pub needs: Vec<String>,
    /// Whether it would run.
    pub would: Would,
    /// Why it would not, or what that depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its `if` with the value of each part.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Explained>,
    /// Its steps.
    pub steps: Vec<StepOutlook>,
}

/// What would become of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepOutlook {
    /// Its number in the job, from 1.
    pub number: usize,
    /// Its name as written.
    pub name: String,
    /// Whether it would run.
    pub would: Would,
    /// Why it would not, or what that depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its `if` with the value of each part.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Explained>,
}

/// Says what of a plan would run; of only some of its jobs and what these need, if so asked.
pub fn outlook(plan: &Plan, only: Option<&BTreeSet<String>>) -> Vec<JobOutlook> {
    let wanted = plan.wanted(only);
    let mut known: Vec<Option<Would>> = vec![None; plan.jobs.len()];
    let mut jobs: Vec<(usize, Vec<JobOutlook>)> = Vec::new();
    // A job can be judged once those that it needs are; there is no circle among them.
    while let Some(at) = (0..plan.jobs.len()).find(|at| {
        known[*at].is_none() && plan.jobs[*at].needs.iter().all(|need| known[*need].is_some())
    }) {
        let foreseen = of_job(plan, at, &known);
        known[at] = Some(match foreseen.as_slice() {
            [] => Would::Depends,
            all if all.iter().any(|job| job.would == Would::Run) => Would::Run,
            all => all[0].would,
        });
        if wanted[at] {
            jobs.push((at, foreseen));
        }
    }
    jobs.sort_by_key(|(at, _)| *at);
    jobs.into_iter().flat_map(|(_, jobs)| jobs).collect()
}

fn of_job(plan: &Plan, at: usize, known: &[Option<Would>]) -> Vec<JobOutlook> {
    let job = &plan.jobs[at];
    let written = &plan.workflow.jobs[at];
    let mut contexts = plan.contexts();
    let needs: Vec<String> = job.needs.iter().map(|need| plan.jobs[*need].id.clone()).collect();
    let skipped = job.needs.iter().find(|need| known[**need] == Some(Would::Skip));
    let open = job.needs.iter().find(|need| known[**need] == Some(Would::Depends));
    if job.needs.is_empty() {
        contexts.insert("needs", Object::default());
    }
    let scope = Foresight::new(&contexts, skipped.is_none(), !job.needs.is_empty());
    let mut judged = judge(plan, written.condition.as_ref(), &scope);
    if judged.would == Would::Skip
        && let Some(need) = skipped
        && !judged.asks_for_status
    {
        judged.why = Some(format!("`{}`, which it needs, would be skipped", plan.jobs[*need].id));
    } else if judged.would == Would::Run
        && let Some(need) = open
        && !judged.asks_for_status
    {
        judged.would = Would::Depends;
        judged.why = Some(format!("it is not known whether `{}` runs", plan.jobs[*need].id));
    }
    let later = [None];
    let instances: Vec<Option<&Instance>> = match &job.instances {
        Some(instances) => instances.iter().map(Some).collect(),
        None => later.to_vec(),
    };
    let inner = |instance: &Instance| {
        let called = instance.called.as_ref().filter(|_| judged.would != Would::Skip)?;
        let mut jobs = outlook(called, None);
        for one in &mut jobs {
            one.id = format!("{} / {}", job.id, one.id);
            one.needs = one.needs.iter().map(|need| format!("{} / {need}", job.id)).collect();
            if one.needs.is_empty() {
                one.needs.clone_from(&needs);
            }
            if one.would == Would::Run && judged.would == Would::Depends {
                one.would = Would::Depends;
                one.why.clone_from(&judged.why);
            }
        }
        Some(jobs)
    };
    let one = |instance: Option<&Instance>| match instance.and_then(inner) {
        Some(jobs) => jobs,
        None => vec![JobOutlook {
            job: instance.map_or_else(
                || format!("{}{}", plan.prefix, job.id),
                |instance| instance.key.0.clone(),
            ),
            id: job.id.clone(),
            needs: needs.clone(),
            would: judged.would,
            why: judged.why.clone(),
            condition: judged.condition.clone(),
            steps: if judged.would == Would::Skip {
                Vec::new()
            } else {
                steps(plan, written, &contexts, instance)
            },
        }],
    };
    instances.into_iter().flat_map(one).collect()
}

fn steps(
    plan: &Plan,
    job: &Job,
    contexts: &Object,
    instance: Option<&Instance>,
) -> Vec<StepOutlook> {
    let Some(steps) = job.steps() else { return Vec::new() };
    let mut contexts = contexts.clone();
    if let Some(instance) = instance {
        contexts.insert("matrix", instance.matrix.clone());
        contexts.insert("strategy", instance.strategy.clone());
    }
    let mut env = Some(Object::case_sensitive());
    for entries in [&plan.workflow.env, &steps.env] {
        extend(&mut env, entries, &contexts);
    }
    let mut seen = Vec::new();
    outlook_of(plan, &steps.list, &contexts, env.as_ref(), &mut seen);
    seen
}

fn outlook_of(
    plan: &Plan,
    steps: &[Step],
    contexts: &Object,
    env: Option<&Object>,
    seen: &mut Vec<StepOutlook>,
) {
    for step in steps {
        let mut contexts = contexts.clone();
        // What a step before wrote to `GITHUB_ENV` is there as well.
        if seen.is_empty()
            && let Some(env) = env
        {
            contexts.insert("env", env.clone());
        }
        let scope = Foresight::new(&contexts, true, !seen.is_empty());
        let judged = judge(plan, step.condition.as_ref(), &scope);
        seen.push(StepOutlook {
            number: seen.len() + 1,
            name: written_name(step),
            would: judged.would,
            why: judged.why,
            condition: judged.condition,
        });
        if let StepKind::Parallel(inner) = &step.kind {
            outlook_of(plan, inner, &contexts, env, seen);
        }
    }
}

/// Adds variables to those that are known; nothing is known any more when one of them is not.
fn extend(env: &mut Option<Object>, entries: &Entries, contexts: &Object) {
    let Some(known) = env else { return };
    let scope = Foresight::new(contexts, true, false);
    match template::entries(entries, &scope) {
        Ok(entries) if scope.unknown.borrow().is_empty() => {
            for (name, value) in entries {
                known.insert(name, value.to_text());
            }
        }
        _ => *env = None,
    }
}

struct Judged {
    would: Would,
    why: Option<String>,
    condition: Option<Explained>,
    asks_for_status: bool,
}

fn judge(
    plan: &Plan,
    written: Option<&source::workflow::Template>,
    scope: &Foresight<'_>,
) -> Judged {
    let unclear = |message: String| Judged {
        would: Would::Depends,
        why: Some(message),
        condition: None,
        asks_for_status: true,
    };
    let condition = match Condition::parse(written) {
        Ok(condition) => condition,
        Err(error) => return unclear(format!("its condition cannot be read: {error}")),
    };
    let answer = match condition.answer(scope) {
        Ok(answer) => answer,
        Err(_) if !scope.unknown.borrow().is_empty() => return unclear(scope.depends_on()),
        Err(error) => return unclear(format!("its condition has no value: {error}")),
    };
    let unknown = scope.unknown.borrow();
    let is_known = unknown.is_empty();
    let parts = answer
        .parts
        .iter()
        .filter(|(text, _)| is_known || !unknown.iter().any(|name| names(text, name)))
        .map(|(expression, value)| ExplainedPart {
            expression: expression.clone(),
            value: value.clone(),
        })
        .collect();
    let would = match (is_known, answer.holds) {
        (false, _) => Would::Depends,
        (true, true) => Would::Run,
        (true, false) => Would::Skip,
    };
    let explained = condition.span.map(|span| Explained {
        expression: condition.text.clone(),
        value: if is_known { answer.holds.to_string() } else { "unknown".to_owned() },
        parts,
        place: Some(Place::at(&plan.workflow.path, span)),
    });
    drop(unknown);
    Judged {
        would,
        why: match would {
            Would::Run => None,
            Would::Skip => Some(format!("its condition `{}` does not hold", condition.text)),
            Would::Depends => Some(scope.depends_on()),
        },
        condition: explained,
        asks_for_status: condition.asks_for_status(),
    }
}

/// Whether a part of a condition names something.
fn names(text: &str, name: &str) -> bool {
    let name = name.trim_end_matches("()");
    template::contexts_of(text).iter().any(|context| context == name) || text.contains(name)
}

/// What is known before a run, and what of the rest somebody asked for.
struct Foresight<'a> {
    contexts: &'a Object,
    is_well: bool,
    /// Whether something before it may still fail.
    may_fail: bool,
    unknown: RefCell<BTreeSet<String>>,
}

impl<'a> Foresight<'a> {
    fn new(contexts: &'a Object, is_well: bool, may_fail: bool) -> Self {
        Self { contexts, is_well, may_fail, unknown: RefCell::default() }
    }

    fn depends_on(&self) -> String {
        let words: BTreeMap<&str, &str> = BTreeMap::from([
            ("needs", "how the jobs it needs end"),
            ("steps", "what the steps before it give"),
            ("failure()", "whether something before it fails"),
            ("hashFiles", "the files that are there then"),
            ("env", "the variables that are set then"),
        ]);
        let parts: Vec<String> = self
            .unknown
            .borrow()
            .iter()
            .map(|name| {
                words
                    .get(name.as_str())
                    .map_or_else(|| format!("`{name}`"), |one| (*one).to_owned())
            })
            .collect();
        format!("it depends on {}", parts.join(" and on "))
    }
}

impl Scope for Foresight<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        let value = self.contexts.get(name);
        if value.is_none() {
            self.unknown.borrow_mut().insert(name.to_ascii_lowercase());
        }
        value.cloned()
    }

    fn status(&self, function: Function, arguments: &[Value]) -> bool {
        let is_open = !arguments.is_empty() || (function == Function::Failure && self.may_fail);
        if is_open && function != Function::Always {
            self.unknown.borrow_mut().insert("failure()".to_owned());
        }
        match function {
            Function::Success => self.is_well,
            Function::Always => true,
            _ => false,
        }
    }

    fn hash_files(&self, _: &[String]) -> Result<String, String> {
        self.unknown.borrow_mut().insert("hashFiles".to_owned());
        Ok(String::new())
    }
}

impl Plan {
    /// The jobs that run: those asked for and all they need.
    pub fn wanted(&self, only: Option<&BTreeSet<String>>) -> Vec<bool> {
        let jobs = &self.jobs;
        let mut wanted: Vec<bool> =
            jobs.iter().map(|job| only.is_none_or(|only| only.contains(&job.id))).collect();
        loop {
            let needed: Vec<usize> = (0..jobs.len())
                .filter(|at| wanted[*at])
                .flat_map(|at| jobs[at].needs.clone())
                .filter(|need| !wanted[*need])
                .collect();
            if needed.is_empty() {
                return wanted;
            }
            for need in needed {
                wanted[need] = true;
            }
        }
    }

    /// What is known before anything runs.
    pub(crate) fn contexts(&self) -> Object {
        let mut contexts = Object::default();
        contexts.insert("github", plan::github(&self.workflow, &self.event, &self.inputs));
        contexts.insert("inputs", self.inputs.clone());
        contexts.insert("vars", self.vars.clone());
        contexts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Event;
    use crate::plan::{Planned, Wish};

    fn foresee(jobs: &str) -> Vec<String> {
        let text = format!("on: push\nenv: {{X: y}}\njobs:\n{jobs}");
        let (workflow, findings) = source::workflow::read("w.yml", &text);
        assert!(!findings.iter().any(source::Finding::is_error), "{findings:?}");
        let event = Event {
            name: "push".to_owned(),
            git_ref: "refs/heads/main".to_owned(),
            repository: "owner/name".to_owned(),
            ..Event::default()
        };
        let workflow = Arc::new(workflow.expect("is a workflow"));
        let planned = crate::plan::plan(&Wish {
            workflow: &workflow,
            event: &event,
            inputs: &BTreeMap::new(),
            vars: &BTreeMap::new(),
            secrets: &BTreeSet::new(),
            matrix: &BTreeMap::new(),
            calls: &crate::calls::Calls::new(),
        });
        let Planned::Run(plan) = planned else { panic!("{planned:?}") };
        let mut lines = Vec::new();
        for job in outlook(&plan, None) {
            let why = job.why.map(|why| format!(": {why}")).unwrap_or_default();
            lines.push(format!("{} {:?}{why}", job.job, job.would));
            for step in job.steps {
                let why = step.why.map(|why| format!(": {why}")).unwrap_or_default();
                lines.push(format!("  {} {:?}{why}", step.number, step.would));
            }
        }
        lines
    }

    #[test]
    fn what_is_known_settles_a_condition_and_what_is_not_is_named() {
        let seen = foresee(
            "  a:
    runs-on: linux
    steps:
      - run: x
      - {run: x, if: \"github.ref == 'refs/heads/dev'\"}
      - {run: x, if: failure()}
      - {run: x, if: \"github.ref == 'refs/heads/dev' && steps.q.outputs.z\"}
      - {run: x, if: steps.q.outputs.z}
      - {run: x, if: always()}
  b:
    needs: a
    if: needs.a.outputs.x == 'y'
    runs-on: linux
    steps: [{run: x, if: env.X == 'y'}]
  c:
    if: github.event_name == 'schedule'
    runs-on: linux
    steps: [{run: x}]
  d:
    needs: c
    runs-on: linux
    steps: [{run: x}]
  e:
    needs: c
    if: always()
    runs-on: linux
    strategy: {matrix: {n: [1, 2]}}
    steps: [{run: x, if: matrix.n == 2}]
",
        );
        assert_eq!(
            seen,
            [
                "a Run",
                "  1 Run",
                "  2 Skip: its condition `github.ref == 'refs/heads/dev'` does not hold",
                "  3 Depends: it depends on whether something before it fails",
                "  4 Skip: its condition `github.ref == 'refs/heads/dev' && steps.q.outputs.z` does not hold",
                "  5 Depends: it depends on what the steps before it give",
                "  6 Run",
                "b Depends: it depends on how the jobs it needs end",
                "  1 Run",
                "c Skip: its condition `github.event_name == 'schedule'` does not hold",
                "d Skip: `c`, which it needs, would be skipped",
                "e (1) Run",
                "  1 Skip: its condition `matrix.n == 2` does not hold",
                "e (2) Run",
                "  1 Run",
            ]
        );
    }
}
