//! What a workflow does for an event: jobs, their order, their combinations, their steps.
//!
//! A pure function. What this version cannot do is refused here, each with its place, before
//! anything starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use journal::{JobKey, NotTriggered};
use source::expression::{ErrorKind, Expression, Function, Vocabulary};
use source::workflow::{
    Call, Entries, Job, Part, RunsOn, Secrets, Setting, Site, Step, StepKind, Steps, Template,
    Work, Workflow,
};
use source::{Finding, Place, Span, Spanned};

use crate::action::Actions;
use crate::built_in::BuiltIn;
use crate::calls::{self, Called, Calls};
use crate::event::{self, Event};
use crate::expression::{Contexts, Object, Value};
use crate::{matrix, shell, template, trigger};

/// What a workflow does for an event.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// Its name as shown.
    pub name: String,
    /// What happened.
    pub event: Arc<Event>,
    /// The `inputs` context.
    pub inputs: Object,
    /// The `vars` context.
    pub vars: Object,
    /// The jobs in the order of the file.
    pub jobs: Vec<JobPlan>,
    /// Values of the matrix to keep, by key.
    pub matrix: BTreeMap<String, BTreeSet<String>>,
    /// The workflows that its jobs call.
    pub calls: Calls,
    /// What stands before the names of its jobs: `caller / ` in a called workflow.
    pub prefix: String,
    /// What is worth knowing and keeps nothing from starting.
    pub findings: Vec<Finding>,
    /// The actions of other repositories that were fetched for it.
    pub actions: Option<Actions>,
}

/// An entry of `jobs:`.
#[derive(Debug, Clone)]
pub struct JobPlan {
    /// Its key.
    pub id: String,
    /// Positions in the plan of the jobs it needs.
    pub needs: Vec<usize>,
    /// Its combinations; none when they are known only after the jobs it needs.
    pub instances: Option<Vec<Instance>>,
    /// Names of the secrets it names.
    pub secrets: Vec<String>,
}

/// A job as it runs: with one combination of its matrix.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The job as shown; unique in the plan.
    pub key: JobKey,
    /// The `matrix` context; `null` without one.
    pub matrix: Value,
    /// The `strategy` context.
    pub strategy: Object,
    /// Whether a failure cancels the other combinations.
    pub fail_fast: bool,
    /// How many combinations may run at once.
    pub max_parallel: Option<usize>,
    /// What the workflow that it calls does, as far as that is known before its needs have run.
    pub called: Option<Arc<Plan>>,
}

impl Instance {
    /// Returns the jobs as shown: its own, or those of the workflow that it calls.
    pub fn keys(&self) -> Vec<JobKey> {
        match &self.called {
            None => vec![self.key.clone()],
            Some(plan) => plan.jobs.iter().flat_map(|job| job.keys(&plan.prefix)).collect(),
        }
    }
}

impl JobPlan {
    /// Returns its jobs as shown.
    pub fn keys(&self, prefix: &str) -> Vec<JobKey> {
        match &self.instances {
            Some(instances) => instances.iter().flat_map(Instance::keys).collect(),
            None => vec![JobKey(format!("{prefix}{}", self.id))],
        }
    }
}

impl Plan {
    /// Returns the names that its own jobs take.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let instances = self.jobs.iter().flat_map(|job| job.instances.iter().flatten());
        instances.map(|instance| instance.key.0.clone()).collect()
    }

    /// Returns the call that a job is, and the workflow that it calls.
    pub(crate) fn call(&self, at: usize) -> Option<(&Call, &Arc<Workflow>)> {
        match &self.workflow.jobs.get(at)?.work {
            Work::Call(call) => Some((call, &self.calls.get(&at)?.workflow)),
            Work::Steps(_) => None,
        }
    }
}

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The workflow, read without errors.
    pub workflow: &'a Arc<Workflow>,
    /// What happened.
    pub event: &'a Event,
    /// Inputs somebody gave.
    pub inputs: &'a BTreeMap<String, String>,
    /// The `vars` context.
    pub vars: &'a BTreeMap<String, String>,
    /// The names of the secrets there are; values are needed only to run.
    pub secrets: &'a BTreeSet<String>,
    /// Values of the matrix to keep, by key; combinations with another value of that key are
    /// left out.
    pub matrix: &'a BTreeMap<String, BTreeSet<String>>,
    /// The workflows that its jobs call.
    pub calls: &'a Calls,
}

/// What came of a wish.
#[derive(Debug, Clone)]
pub enum Planned {
    /// It can run.
    Run(Box<Plan>),
    /// The event does not start it.
    NotTriggered(NotTriggered),
    /// Something is wrong or not supported; nothing starts.
    Refused(Vec<Finding>),
}

/// Plans what a workflow does for an event.
pub fn plan(wish: &Wish<'_>) -> Planned {
    let workflow = wish.workflow;
    let mut planner = Planner { path: &workflow.path, findings: Vec::new() };
    match trigger::why_not(workflow, wish.event) {
        Ok(None) => {}
        Ok(Some(reason)) => {
            return Planned::NotTriggered(NotTriggered { workflow: workflow.path.clone(), reason });
        }
        Err(error) => {
            let span = workflow.trigger(&wish.event.name).map(|trigger| trigger.event.span);
            planner.error("workflow-filter", error.to_string(), span);
        }
    }
    let trigger = workflow.trigger(&wish.event.name);
    let mut event = wish.event.clone();
    if event.name == "schedule" && event.schedule.is_none() {
        let first = trigger.and_then(|trigger| trigger.schedules.first());
        event.schedule = first.map(|entry| entry.cron.value.clone());
    }
    let inputs = event::read_inputs(trigger, wish.inputs).unwrap_or_else(|wrong| {
        for message in wrong {
            let span = trigger.map(|trigger| trigger.event.span);
            planner.error("workflow-input", message, span);
        }
        Object::default()
    });
    planner.check_expressions(workflow, wish.secrets);
    planner.refuse_unsupported(workflow);
    planner.check_called(wish.calls, wish.secrets);

    let vars: Object =
        wish.vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let event = Arc::new(event);
    let mut contexts = Object::default();
    contexts.insert("github", github(workflow, &event, &inputs));
    contexts.insert("inputs", inputs.clone());
    contexts.insert("vars", vars.clone());
    let name = workflow
        .name
        .as_ref()
        .and_then(|name| template::text(name, &Contexts(contexts.clone())).ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| workflow.path.clone());

    let mut plan = Plan {
        workflow: Arc::clone(workflow),
        name,
        event,
        inputs,
        vars,
        jobs: Vec::new(),
        matrix: wish.matrix.clone(),
        calls: wish.calls.clone(),
        prefix: String::new(),
        findings: Vec::new(),
        actions: None,
    };
    planner.jobs(&mut plan, &contexts);
    if planner.findings.iter().any(Finding::is_error) {
        planner.findings.sort_by(|one, other| {
            (&one.place.path, one.place.span).cmp(&(&other.place.path, other.place.span))
        });
        return Planned::Refused(planner.findings);
    }
    plan.findings = planner.findings;
    Planned::Run(Box::new(plan))
}

/// Plans the workflow that a job calls, with what the caller gives it.
///
/// `contexts` is what the caller's job sees: what it needs, its combination.
pub(crate) fn plan_call(
    plan: &Plan,
    at: usize,
    key: &JobKey,
    contexts: &Object,
) -> Result<Plan, template::TemplateError> {
    let called = plan.calls.get(&at).zip(plan.call(at));
    let Some((called, (call, workflow))) = called else {
        let span = plan.workflow.jobs[at].id.span;
        let message = "the workflow that it calls could not be read".to_owned();
        return Err(template::TemplateError { span, message });
    };
    let mut inside = Object::default();
    for name in ["github", "vars"] {
        inside.insert(name, contexts.get(name).cloned().unwrap_or(Value::Null));
    }
    let (within, about) = (Contexts(contexts.clone()), Contexts(inside.clone()));
    let inputs = calls::inputs(call, workflow, &within, &about)?;
    inside.insert("inputs", inputs.clone());
    // What happened is what happened to the caller, inputs of `workflow_dispatch` included.
    let event = Event {
        payload: Some(plan.event.payload(&plan.inputs)),
        overlay: None,
        ..(*plan.event).clone()
    };
    let mut planner = Planner { path: &workflow.path, findings: Vec::new() };
    let mut inner = Plan {
        workflow: Arc::clone(workflow),
        name: plan.name.clone(),
        event: Arc::new(event),
        inputs,
        vars: plan.vars.clone(),
        jobs: Vec::new(),
        matrix: BTreeMap::new(),
        calls: called.calls.clone(),
        prefix: format!("{key} / "),
        findings: Vec::new(),
        actions: plan.actions.clone(),
    };
    planner.jobs(&mut inner, &inside);
    if let Some(finding) = planner.findings.iter().find(|finding| finding.is_error()) {
        let message = format!("{}: {}", finding.place, finding.message);
        return Err(template::TemplateError { span: call.uses.span, message });
    }
    Ok(inner)
}

/// Returns the part of the `github` context that is the same for all jobs.
pub(crate) fn github(workflow: &Workflow, event: &Event, inputs: &Object) -> Object {
    let owner = event.repository.split('/').next().unwrap_or_default();
    let file = format!("{}/{}@{}", event.repository, workflow.path, event.git_ref);
    // Only a pull request has them; a merge queue and a run have branches, and not these.
    let is_pull = event.name.starts_with("pull_request");
    let (base_ref, head_ref) =
        if is_pull { (event.base_ref.as_str(), event.head_ref.as_str()) } else { ("", "") };
    let mut github: Object = [
        ("actor", event.actor.as_str()),
        ("triggering_actor", &event.actor),
        ("event_name", &event.name),
        ("ref", &event.git_ref),
        ("ref_name", event.ref_name()),
        ("ref_type", event.ref_type()),
        ("sha", &event.commit),
        ("base_ref", base_ref),
        ("head_ref", head_ref),
        ("repository", &event.repository),
        ("repository_owner", owner),
        ("workflow_ref", &file),
        ("workflow_sha", &event.commit),
        ("run_attempt", "1"),
        ("server_url", "https://github.com"),
        ("api_url", "https://api.github.com"),
        ("graphql_url", "https://api.github.com/graphql"),
        ("token", ""),
    ]
    .into_iter()
    .collect();
    github.insert("ref_protected", false);
    github.insert("event", Value::from(event.payload(inputs)));
    github
}

/// Expands a job into its combinations.
///
/// `contexts` holds what is known; used again when a matrix depends on other jobs.
pub(crate) fn expand(
    job: &Job,
    contexts: &Object,
    chosen: &BTreeMap<String, BTreeSet<String>>,
    prefix: &str,
    keys: &mut BTreeSet<String>,
) -> Result<Vec<Instance>, template::TemplateError> {
    let scope = Contexts(contexts.clone());
    let shown = |span: Span, message: String| template::TemplateError { span, message };
    let (node, fail_fast, max_parallel) = match &job.strategy {
        None => (None, None, None),
        Some(Setting::Written(strategy)) => {
            let fail_fast = setting(strategy.value.fail_fast.as_ref(), &scope)?;
            let max_parallel = setting(strategy.value.max_parallel.as_ref(), &scope)?;
            let matrix = strategy
                .value
                .matrix
                .as_ref()
                .map(|node| template::node(node, &scope).map(|value| (value, node.span)))
                .transpose()?;
            (matrix, fail_fast, max_parallel)
        }
        Some(Setting::Computed(written)) => {
            let strategy = template::value(written, &scope)?;
            let matrix = strategy.get("matrix").map(|value| (value.clone(), written.span));
            (matrix, strategy.get("fail-fast").cloned(), strategy.get("max-parallel").cloned())
        }
    };
    let fail_fast = fail_fast.is_none_or(|value| value.is_truthy());
    let max_parallel = max_parallel
        .map(|value| value.to_number())
        .filter(|number| *number >= 1.0)
        .map(|number| number as usize);
    let combinations = match node {
        None => vec![matrix::Combination { values: Value::Null, segments: Vec::new() }],
        Some((value, span)) => matrix::expand(&value).map_err(|message| shown(span, message))?,
    };
    let combinations: Vec<matrix::Combination> = combinations
        .into_iter()
        .filter(|combination| {
            chosen.iter().all(|(key, values)| {
                let value = combination.values.get(key);
                value.is_none_or(|value| values.contains(&value.to_text()))
            })
        })
        .collect();
    let total = combinations.len();
    let mut instances = Vec::new();
    for (index, combination) in combinations.into_iter().enumerate() {
        let strategy: Object = [
            ("fail-fast", Value::Boolean(fail_fast)),
            ("job-index", Value::Number(index as f64)),
            ("job-total", Value::Number(total as f64)),
            ("max-parallel", Value::Number(max_parallel.unwrap_or(total) as f64)),
        ]
        .into_iter()
        .collect();
        let mut contexts = contexts.clone();
        contexts.insert("matrix", combination.values.clone());
        contexts.insert("strategy", strategy.clone());
        let name = match &job.name {
            Some(name) if name.has_expression() => template::text(name, &Contexts(contexts))?,
            Some(name) if !name.coerced().is_empty() => {
                matrix::name(&name.coerced(), &combination.segments)
            }
            _ => matrix::name(&job.id.value, &combination.segments),
        };
        let name = if name.trim().is_empty() {
            matrix::name(&job.id.value, &combination.segments)
        } else {
            name
        };
        let name = format!("{prefix}{name}");
        let mut key = name.clone();
        let mut count = 1;
        while !keys.insert(key.clone()) {
            count += 1;
            key = format!("{name} #{count}");
        }
        instances.push(Instance {
            key: JobKey(key),
            matrix: combination.values,
            strategy,
            fail_fast,
            max_parallel,
            called: None,
        });
    }
    Ok(instances)
}

/// Returns what a setting gives; none if it is not written.
pub(crate) fn setting<T: Copy + Into<Value>>(
    setting: Option<&Setting<T>>,
    scope: &dyn crate::expression::Scope,
) -> Result<Option<Value>, template::TemplateError> {
    match setting {
        None => Ok(None),
        Some(Setting::Written(written)) => Ok(Some(written.value.into())),
        Some(Setting::Computed(computed)) => template::value(computed, scope).map(Some),
    }
}

/// The names of all secrets that a job's text names, those of the workflow's `env` included.
///
/// It walks what the job says and not where that stands, since an alias puts text of another job
/// here.
fn secrets_of(workflow: &Workflow, job: &Job, called: Option<&Called>) -> Vec<String> {
    let mut templates = Vec::new();
    let mut names: Vec<String> = Vec::new();
    match &job.work {
        Work::Steps(_) => entries_of(&workflow.env, &mut templates),
        Work::Call(call) => match &call.secrets {
            Secrets::Named(entries) => entries_of(entries, &mut templates),
            // All of them go on, so those that its jobs name are named here.
            Secrets::Inherit(_) => {
                if let Some(called) = called {
                    names.extend(called.workflow.jobs.iter().enumerate().flat_map(|(at, job)| {
                        let inner = called.calls.get(&at).map(AsRef::as_ref);
                        secrets_of(&called.workflow, job, inner)
                    }));
                }
            }
        },
    }
    if let Some(steps) = job.steps() {
        entries_of(&steps.env, &mut templates);
        entries_of(&steps.outputs, &mut templates);
        steps.list.iter().for_each(|step| step_of(step, &mut templates));
    }
    for template in templates {
        for part in template.parts().unwrap_or_default() {
            if let Part::Expression { text, .. } = part {
                let named = template::names_in(text, "secrets");
                if named.all {
                    names.push("*".to_owned());
                }
                names.extend(named.listed);
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

fn entries_of<'a>(entries: &'a Entries, templates: &mut Vec<&'a Template>) {
    match entries {
        Entries::Written(written) => {
            templates.extend(written.iter().flat_map(|entry| [&entry.key, &entry.value]));
        }
        Entries::Computed(template) => templates.push(template),
    }
}

fn step_of<'a>(step: &'a Step, templates: &mut Vec<&'a Template>) {
    templates.extend(&step.name);
    entries_of(&step.env, templates);
    if let Some(Setting::Computed(template)) = &step.continue_on_error {
        templates.push(template);
    }
    if let Some(Setting::Computed(template)) = &step.timeout_minutes {
        templates.push(template);
    }
    match &step.kind {
        StepKind::Run { script, shell, working_directory } => {
            templates.push(script);
            templates.extend(shell);
            templates.extend(working_directory);
        }
        StepKind::Uses { with, .. } => entries_of(with, templates),
        StepKind::Parallel(steps) => steps.iter().for_each(|step| step_of(step, templates)),
        StepKind::Wait(_) | StepKind::WaitAll(_) | StepKind::Cancel(_) => {}
    }
}

type Parsed =
    (Result<Expression, source::expression::ExpressionError>, Span, std::ops::Range<usize>);

/// Reads the expressions of a site with what may be named there.
pub(crate) fn expressions_of(site: &Site) -> impl Iterator<Item = Parsed> + '_ {
    let contexts: Vec<&str> =
        site.contexts.iter().copied().filter(|name| !name.contains('(')).collect();
    let functions: Vec<Function> = site
        .contexts
        .iter()
        .filter_map(|name| Function::from_name(name.split_once('(')?.0))
        .collect();
    let template = &site.template;
    let mut texts: Vec<(String, Span, std::ops::Range<usize>)> = Vec::new();
    if template.has_expression() {
        for part in template.parts().unwrap_or_default() {
            if let Part::Expression { text, span, range, .. } = part {
                texts.push((text.to_owned(), span, range));
            }
        }
    } else if site.condition {
        let text = template.coerced().into_owned();
        let end = template.text.len();
        texts.push((text, template.span, 0..end));
    }
    texts.into_iter().map(move |(text, span, range)| {
        let vocabulary = Vocabulary { contexts: &contexts, functions: &functions };
        (Expression::parse(&text, &vocabulary), span, range)
    })
}

struct Planner<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Planner<'_> {
    fn place(&self, span: Option<Span>) -> Place {
        match span {
            Some(span) => Place::at(self.path, span),
            None => Place::file(self.path),
        }
    }

    fn error(
        &mut self,
        rule: &str,
        message: impl Into<String>,
        span: Option<Span>,
    ) -> &mut Finding {
        let finding = Finding::error(rule, message, self.place(span));
        self.findings.push(finding);
        self.findings.last_mut().expect("a finding was just added")
    }

    fn unsupported(&mut self, what: &str, span: Span, help: &str) {
        let finding = Finding::error(
            "workflow-unsupported",
            format!("{what} is not supported yet"),
            self.place(Some(span)),
        )
        .why("a step that is left out in silence would make a run green that is not")
        .help(help);
        self.findings.push(finding);
    }

    fn check_expressions(&mut self, workflow: &Workflow, secrets: &BTreeSet<String>) {
        for site in &workflow.expressions {
            for (parsed, span, range) in expressions_of(site) {
                match parsed {
                    Err(error) => self.bad_expression(site, &error, span, &range),
                    Ok(expression) => self.check_secrets(site, &expression, &range, secrets),
                }
            }
        }
    }

    fn bad_expression(
        &mut self,
        site: &Site,
        error: &source::expression::ExpressionError,
        span: Span,
        range: &std::ops::Range<usize>,
    ) {
        let is_exact =
            site.template.has_expression() || site.template.coerced() == site.template.text;
        let span = match &error.symbol {
            Some(symbol) if is_exact && !symbol.range.is_empty() => site
                .template
                .span_of(range.start + symbol.range.start..range.start + symbol.range.end),
            _ => span,
        };
        let names: Vec<&str> =
            site.contexts.iter().map(|name| name.split('(').next().unwrap_or(name)).collect();
        let finding = self.error("workflow-expression", error.to_string(), Some(span));
        if matches!(error.kind, ErrorKind::UnknownContext | ErrorKind::UnknownFunction) {
            finding.help = Some(format!("here you may use {}", names.join(", ")));
        }
    }

    /// A secret that is not there is an empty text, as on GitHub; say so before it surprises.
    fn check_secrets(
        &mut self,
        site: &Site,
        expression: &Expression,
        range: &std::ops::Range<usize>,
        secrets: &BTreeSet<String>,
    ) {
        for name in expression.names_in("secrets").listed {
            let is_known = name.eq_ignore_ascii_case("GITHUB_TOKEN")
                || secrets.iter().any(|known| known.eq_ignore_ascii_case(&name));
            if !is_known {
                let span = site.template.span_of(range.clone());
                let finding = Finding::warning(
                    "secret-unknown",
                    format!("there is no secret `{name}`; it gives an empty text"),
                    self.place(Some(span)),
                )
                .help(format!("set it with `marline secret set {name}`"));
                self.findings.push(finding);
            }
        }
    }

    fn refuse_unsupported(&mut self, workflow: &Workflow) {
        for job in &workflow.jobs {
            match &job.work {
                // What is called is looked at by itself.
                Work::Call(_) => {}
                Work::Steps(steps) => self.refuse_in_job(steps),
            }
        }
    }

    fn refuse_in_job(&mut self, steps: &Steps) {
        if let Some(container) = &steps.container
            && container.image.as_ref().is_some_and(|image| !image.text.is_empty())
        {
            self.unsupported(
                "a job container",
                container.span,
                "run the job on this machine without `container`",
            );
        }
        match &steps.services {
            Setting::Written(services) => {
                for service in &services.value {
                    self.unsupported(
                        "a service container",
                        service.container.span,
                        "start the service in a step",
                    );
                }
            }
            Setting::Computed(template) => {
                self.unsupported(
                    "a service container",
                    template.span,
                    "start the service in a step",
                );
            }
        }
        if let Some(snapshot) = &steps.snapshot {
            self.unsupported("`snapshot`", snapshot.span, "leave it out");
        }
        self.check_labels(steps.runs_on.as_ref());
        self.check_shell(steps.defaults.shell.as_ref());
        for step in &steps.list {
            self.refuse_step(step);
        }
    }

    fn refuse_step(&mut self, step: &Step) {
        match &step.kind {
            StepKind::Run { shell, .. } => self.check_shell(shell.as_ref()),
            // Every other action is looked at by `action::prepare`.
            StepKind::Uses { action, with } if BuiltIn::is_named(&action.value) => {
                if let Err(refusal) = BuiltIn::find(&action.value, with) {
                    let span = refusal.span.unwrap_or(action.span);
                    self.unsupported(&refusal.what, span, &refusal.help);
                }
            }
            StepKind::Parallel(steps) => steps.iter().for_each(|step| self.refuse_step(step)),
            StepKind::Uses { .. }
            | StepKind::Wait(_)
            | StepKind::WaitAll(_)
            | StepKind::Cancel(_) => {}
        }
    }

    fn check_shell(&mut self, shell: Option<&Template>) {
        let Some(shell) = shell.filter(|shell| !shell.has_expression()) else {
            return;
        };
        if let Err(error) = shell::Shell::parse(&shell.coerced()) {
            self.error("workflow-shell", error.to_string(), Some(shell.span)).help = Some(
                "use bash, sh, python, pwsh, or a command line with `{0}` for the script"
                    .to_owned(),
            );
        }
    }

    fn check_labels(&mut self, runs_on: Option<&RunsOn>) {
        let labels: Vec<&Template> = match runs_on {
            None => return,
            Some(RunsOn::One(label)) => vec![label],
            Some(RunsOn::Labels(labels)) => labels.iter().collect(),
            Some(RunsOn::Group { group, labels, .. }) => group.iter().chain(labels).collect(),
        };
        for label in labels {
            if label.has_expression() {
                continue;
            }
            if let Err(why) = check_label(&label.coerced()) {
                self.error("workflow-runs-on", why, Some(label.span)).help =
                    Some("use `ubuntu-latest` or `self-hosted`; both are this machine".to_owned());
            }
        }
    }

    /// Plans the jobs of a workflow, in the order of the file.
    fn jobs(&mut self, plan: &mut Plan, contexts: &Object) {
        let workflow = Arc::clone(&plan.workflow);
        let position = |need: &Spanned<String>| {
            workflow.jobs.iter().position(|job| job.id.value.eq_ignore_ascii_case(&need.value))
        };
        let mut keys = BTreeSet::new();
        for (at, job) in workflow.jobs.iter().enumerate() {
            let mut instances = self.instances(job, contexts, plan, &mut keys);
            for instance in instances.iter_mut().flatten() {
                self.called(plan, at, job, instance, contexts);
            }
            plan.jobs.push(JobPlan {
                id: job.id.value.clone(),
                needs: job.needs.iter().filter_map(position).collect(),
                instances,
                secrets: secrets_of(&workflow, job, plan.calls.get(&at).map(AsRef::as_ref)),
            });
        }
    }

    /// Plans what a job calls, as far as that is known before its needs have run.
    fn called(
        &mut self,
        plan: &Plan,
        at: usize,
        job: &Job,
        instance: &mut Instance,
        contexts: &Object,
    ) {
        let Work::Call(call) = &job.work else { return };
        let mut contexts = contexts.clone();
        contexts.insert("matrix", instance.matrix.clone());
        contexts.insert("strategy", instance.strategy.clone());
        match plan_call(plan, at, &instance.key, &contexts) {
            Ok(called) => instance.called = Some(Arc::new(called)),
            // With what its needs give it may be right.
            Err(_) if !job.needs.is_empty() && entries_name_needs(&call.with) => {}
            Err(error) => {
                self.error("workflow-call", error.message, Some(error.span));
            }
        }
    }

    /// Looks at the workflows that are called, as at the one that calls them.
    fn check_called(&mut self, calls: &Calls, secrets: &BTreeSet<String>) {
        for called in calls.values() {
            let workflow = &called.workflow;
            let declared = workflow.trigger("workflow_call").map(|trigger| &trigger.secrets);
            let mut secrets = secrets.clone();
            secrets.extend(declared.into_iter().flatten().map(|one| one.name.value.clone()));
            let mut planner = Planner { path: &workflow.path, findings: Vec::new() };
            planner.check_expressions(workflow, &secrets);
            planner.refuse_unsupported(workflow);
            planner.check_called(&called.calls, &secrets);
            for finding in planner.findings {
                if !self.findings.contains(&finding) {
                    self.findings.push(finding);
                }
            }
        }
    }

    fn instances(
        &mut self,
        job: &Job,
        contexts: &Object,
        plan: &Plan,
        keys: &mut BTreeSet<String>,
    ) -> Option<Vec<Instance>> {
        if waits_for_needs(job) {
            return None;
        }
        match expand(job, contexts, &plan.matrix, &plan.prefix, keys) {
            Ok(instances) => {
                let mut seen = BTreeSet::new();
                for instance in &instances {
                    if let Err(error) = labels(job, contexts, instance)
                        && seen.insert(error.message.clone())
                    {
                        self.error("workflow-runs-on", error.message, Some(error.span)).help = Some(
                            "use `ubuntu-latest` or `self-hosted`; both are this machine"
                                .to_owned(),
                        );
                    }
                }
                Some(instances)
            }
            Err(error) => {
                self.error("workflow-matrix", error.message, Some(error.span));
                None
            }
        }
    }
}

fn entries_name_needs(entries: &Entries) -> bool {
    let mut templates = Vec::new();
    entries_of(entries, &mut templates);
    templates.into_iter().any(names_needs)
}

/// Whether a job's combinations or its name depend on what other jobs gave.
fn waits_for_needs(job: &Job) -> bool {
    fn in_node(node: &source::yaml::Node) -> bool {
        match &node.value {
            source::yaml::Value::Scalar(_) => {
                Template::of(node).is_some_and(|one| names_needs(&one))
            }
            source::yaml::Value::Sequence(items) => items.iter().any(in_node),
            source::yaml::Value::Mapping(pairs) => {
                pairs.iter().any(|(key, value)| in_node(key) || in_node(value))
            }
        }
    }
    let computed = |setting: Option<&Template>| setting.is_some_and(names_needs);
    computed(job.name.as_ref())
        || match &job.strategy {
            None => false,
            Some(Setting::Computed(template)) => names_needs(template),
            Some(Setting::Written(strategy)) => {
                strategy.value.matrix.as_ref().is_some_and(in_node)
                    || matches!(&strategy.value.fail_fast, Some(Setting::Computed(one)) if names_needs(one))
                    || matches!(&strategy.value.max_parallel, Some(Setting::Computed(one)) if names_needs(one))
            }
        }
}

fn names_needs(template: &Template) -> bool {
    template.parts().unwrap_or_default().iter().any(|part| match part {
        Part::Expression { text, .. } => {
            template::contexts_of(text).iter().any(|name| name == "needs")
        }
        Part::Text { .. } => false,
    })
}

/// Checks the labels of a job that are known once its combination is.
pub(crate) fn labels(
    job: &Job,
    contexts: &Object,
    instance: &Instance,
) -> Result<(), template::TemplateError> {
    let mut contexts = contexts.clone();
    contexts.insert("matrix", instance.matrix.clone());
    contexts.insert("strategy", instance.strategy.clone());
    let scope = Contexts(contexts.clone());
    let templates: Vec<&Template> = match job.steps().and_then(|steps| steps.runs_on.as_ref()) {
        None => return Ok(()),
        Some(RunsOn::One(label)) => vec![label],
        Some(RunsOn::Labels(labels) | RunsOn::Group { labels, .. }) => labels.iter().collect(),
    };
    for template in templates.into_iter().filter(|template| template.has_expression()) {
        if names_needs(template) && contexts.get("needs").is_none() {
            continue;
        }
        let shown = |message| template::TemplateError { span: template.span, message };
        let value = template::value(template, &scope)?;
        let labels = match &value {
            Value::Array(array) => array.items.iter().map(Value::to_text).collect(),
            Value::Object(object) => match object.get("labels") {
                Some(Value::Array(array)) => array.items.iter().map(Value::to_text).collect(),
                Some(label) => vec![label.to_text()],
                None => Vec::new(),
            },
            label => vec![label.to_text()],
        };
        for label in labels {
            check_label(&label).map_err(shown)?;
        }
    }
    Ok(())
}

/// Whether a label is this machine.
fn check_label(label: &str) -> Result<(), String> {
    let lower = label.to_ascii_lowercase();
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let is_ours = matches!(lower.as_str(), "linux" | "self-hosted" | "ubuntu" | "marline")
        || lower == machine
        || lower.strip_prefix("ubuntu-").is_some_and(|version| {
            version == "latest"
                || version == "slim"
                || version.starts_with(|c: char| c.is_ascii_digit())
        });
    if is_ours {
        return Ok(());
    }
    if lower.starts_with("windows") || lower.starts_with("macos") {
        return Err(format!("`{label}` is not Linux, and this machine is"));
    }
    if label.is_empty() {
        return Err("`runs-on` gives an empty label".to_owned());
    }
    Err(format!("no machine here has the label `{label}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Planned {
        let (workflow, findings) = source::workflow::read("w.yml", text);
        assert!(!findings.iter().any(Finding::is_error), "{findings:?}");
        let workflow = Arc::new(workflow.expect("is a workflow"));
        let event = Event {
            name: "push".to_owned(),
            git_ref: "refs/heads/main".to_owned(),
            repository: "owner/name".to_owned(),
            ..Event::default()
        };
        plan(&Wish {
            workflow: &workflow,
            event: &event,
            inputs: &BTreeMap::new(),
            vars: &BTreeMap::new(),
            secrets: &BTreeSet::from(["TOKEN".to_owned()]),
            matrix: &BTreeMap::new(),
            calls: &Calls::new(),
        })
    }

    fn runs(text: &str) -> Plan {
        match planned(text) {
            Planned::Run(plan) => *plan,
            other => panic!("{other:?}"),
        }
    }

    fn refused(text: &str) -> Vec<String> {
        match planned(text) {
            Planned::Refused(findings) => findings
                .iter()
                .map(|finding| format!("{} {}", finding.place, finding.message))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn jobs_have_their_combinations_and_needs() {
        let plan = runs(
            "on: push\njobs:\n  build: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  test:\n    needs: build\n    runs-on: ${{ matrix.os }}\n    strategy: {matrix: {os: [ubuntu-22.04, ubuntu-24.04]}}\n    steps: [{run: x}]\n",
        );
        let keys: Vec<Vec<String>> = plan
            .jobs
            .iter()
            .map(|job| {
                let instances = job.instances.as_ref().expect("are known");
                instances.iter().map(|one| one.key.to_string()).collect()
            })
            .collect();
        assert_eq!(keys, [vec!["build"], vec!["test (ubuntu-22.04)", "test (ubuntu-24.04)"]]);
        assert_eq!(plan.jobs[1].needs, [0]);
    }

    #[test]
    fn a_matrix_from_another_job_is_expanded_later() {
        let plan = runs(
            "on: push\njobs:\n  a: {runs-on: linux, steps: [{run: x}]}\n  b:\n    needs: a\n    runs-on: linux\n    strategy: {matrix: '${{ fromJSON(needs.a.outputs.m) }}'}\n    steps: [{run: x}]\n",
        );
        assert!(plan.jobs[1].instances.is_none());
    }

    #[test]
    fn what_is_not_supported_is_refused_with_its_place() {
        let text = "on: push\njobs:\n  a:\n    runs-on: windows-latest\n    steps:\n      - uses: some/action@v1\n      - run: x\n        shell: nope\n  b:\n    runs-on: my-special\n    container: alpine\n    steps: [{run: x}]\n";
        assert_eq!(
            refused(text),
            [
                "w.yml:4:14 `windows-latest` is not Linux, and this machine is",
                "w.yml:8:16 `nope` is not a shell: a command line of your own needs `{0}` where the script goes",
                "w.yml:10:14 no machine here has the label `my-special`",
                "w.yml:11:16 a job container is not supported yet",
            ]
        );
    }

    #[test]
    fn a_matrix_label_that_is_not_this_machine_is_refused() {
        let text = "on: push\njobs:\n  a:\n    runs-on: ${{ matrix.os }}\n    strategy: {matrix: {os: [ubuntu-latest, macos-14]}}\n    steps: [{run: x}]\n";
        assert_eq!(refused(text), ["w.yml:4:14 `macos-14` is not Linux, and this machine is"]);
    }

    #[test]
    fn a_job_knows_the_secrets_it_names_and_no_others() {
        let plan = runs(
            "on: push\njobs:\n  a: {runs-on: linux, steps: [{run: 'echo ${{ secrets.TOKEN }}'}]}\n  b: {runs-on: linux, steps: [{run: x, env: {T: '${{ secrets.OTHER }}'}}]}\n",
        );
        assert_eq!(plan.jobs[0].secrets, ["TOKEN"]);
        assert_eq!(plan.jobs[1].secrets, ["OTHER"]);
        let plan = runs(
            "on: push\njobs:\n  a: {runs-on: linux, env: &e {T: '${{ secrets.TOKEN }}'}, steps: [{run: x}]}\n  b: {runs-on: linux, env: *e, steps: [{run: x}]}\n",
        );
        assert_eq!(plan.jobs[1].secrets, ["TOKEN"]);
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_before_the_run() {
        let plan = runs(
            "on: push\njobs:\n  b: {runs-on: linux, steps: [{run: x, env: {T: '${{ secrets.OTHER }}'}}]}\n",
        );
        assert!(plan.findings[0].message.contains("no secret `OTHER`"));
    }
}
