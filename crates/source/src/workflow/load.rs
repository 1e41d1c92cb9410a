//! A workflow together with the workflows it calls.

use std::collections::HashSet;
use std::fmt;

use super::fault::{Fault, Faults};
use super::message;
use super::model::{Level, Permissions, Work, Workflow};
use super::permission::Grants;
use super::shape::{Weight, path_weight};
use super::summary::{self, Telling};
use super::token::{Token, TokenKind};
use super::{Options, Reading, reading};
use crate::{Finding, Span};

/// Where the files of called workflows come from.
pub trait Files {
    /// Returns the text of a workflow, or why there is none.
    fn text(&self, reference: &Reference) -> Result<String, String>;
}

/// Which workflow is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Owner and repository; `None` is the repository of the first workflow.
    pub repository: Option<String>,
    /// The path in the repository.
    pub path: String,
    /// The branch, tag or commit; `None` is the commit of the first workflow.
    pub git_ref: Option<String>,
}

impl Reference {
    /// Reads what stands behind `uses:` of a job in the workflow at `caller`.
    ///
    /// A path without a repository (`./path`, `$/path`) is in the repository of the caller.
    pub fn of(uses: &str, caller: Option<&Reference>) -> Self {
        let here = ["./", "$/"].iter().find_map(|prefix| uses.strip_prefix(prefix));
        if let Some(path) = here {
            let (repository, git_ref) = match caller {
                Some(caller) => (caller.repository.clone(), caller.git_ref.clone()),
                None => (None, None),
            };
            return Self { repository, path: path.to_owned(), git_ref };
        }
        let (whole, git_ref) = match uses.rsplit_once('@') {
            Some((whole, git_ref)) => (whole, Some(git_ref.to_owned())),
            None => (uses, None),
        };
        let mut parts = whole.splitn(3, '/');
        let (owner, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let path = parts.next().unwrap_or_default().to_owned();
        Self { repository: Some(format!("{owner}/{name}")), path, git_ref }
    }

    /// The owner of the repository.
    pub fn owner(&self) -> Option<&str> {
        self.repository.as_deref()?.split('/').next()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(repository) = &self.repository {
            write!(f, "{repository}/")?;
        }
        f.write_str(&self.path)?;
        match &self.git_ref {
            Some(git_ref) => write!(f, "@{git_ref}"),
            None => Ok(()),
        }
    }
}

/// A workflow together with the workflows it calls.
#[derive(Debug)]
pub struct Loaded {
    /// The workflow; `None` if its file is not well-formed YAML or holds no mapping.
    pub part: Option<Part>,
    /// Everything that is wrong, in this file and in those called.
    pub findings: Vec<Finding>,
    /// What GitHub's own reader says is wrong: at most ten lines. Empty means that it accepts the
    /// workflow.
    pub refusals: Vec<String>,
    /// The files that were read, in order.
    pub files: Vec<String>,
}

/// A workflow that was read, and those it calls.
#[derive(Debug)]
pub struct Part {
    /// The workflow.
    pub workflow: Workflow,
    /// The workflow as GitHub's reader sees it.
    pub root: Token,
    /// What the token of each job may do, in the order of the file, as far as files say.
    pub grants: Vec<Option<Grants>>,
    /// The workflows that its jobs call.
    pub called: Vec<Called>,
    /// The number of its file, from 1.
    pub(super) file: usize,
}

/// A workflow that a job calls.
#[derive(Debug)]
pub struct Called {
    /// The position of the calling job in its workflow.
    pub job: usize,
    /// Which workflow is called.
    pub reference: Reference,
    /// What the called workflow may do, as far as files say.
    pub grants: Option<Grants>,
    /// The called workflow.
    pub part: Part,
}

impl Loaded {
    /// Returns the workflow in the shape in which GitHub's services hand it to each other; `None`
    /// if GitHub would refuse it.
    pub fn summary(&self, telling: Telling) -> Option<serde_json::Value> {
        let part = self.part.as_ref().filter(|_| self.refusals.is_empty())?;
        Some(summary::workflow(part, &self.files, telling))
    }
}

/// Reads a workflow and all workflows it calls.
pub fn load(path: &str, text: &str, files: &dyn Files, options: &Options) -> Loaded {
    let mut loader = Loader {
        files,
        options,
        weight: Weight::new(&options.limits),
        names: Vec::new(),
        distinct: HashSet::new(),
        jobs: 0,
        findings: Vec::new(),
        refusals: Vec::new(),
    };
    let part = loader.root(path, text);
    let Loader { names, findings, mut refusals, .. } = loader;
    refusals.truncate(MOST_REFUSALS);
    Loaded { part, findings, refusals, files: names }
}

const MOST_REFUSALS: usize = 10;

struct Loader<'a> {
    files: &'a dyn Files,
    options: &'a Options,
    weight: Weight,
    /// The files in the order in which they were first read.
    names: Vec<String>,
    distinct: HashSet<String>,
    /// How many jobs all files have together.
    jobs: usize,
    findings: Vec<Finding>,
    refusals: Vec<String>,
}

/// A job that calls a workflow, and the file it stands in.
struct Call<'a> {
    path: &'a str,
    reference: Option<&'a Reference>,
    part: &'a Part,
    job: usize,
}

impl Call<'_> {
    fn uses(&self) -> Option<(&str, Span)> {
        match &self.part.workflow.jobs.get(self.job)?.work {
            Work::Call(call) => Some((call.uses.value.as_str(), call.uses.span)),
            Work::Steps(_) => None,
        }
    }

    fn body(&self) -> Option<&Token> {
        let (_, body) = self.part.root.get("jobs")?.as_mapping()?.get(self.job)?;
        Some(body)
    }
}

impl Loader<'_> {
    fn root(&mut self, path: &str, text: &str) -> Option<Part> {
        let file = self.file_number(path);
        let Reading { workflow, root, faults, .. } =
            reading(path, text, self.options, &mut self.weight);
        let is_sound = faults.said.is_empty();
        self.refusals.extend(faults.said.iter().map(Fault::line));
        self.findings.extend(faults.into_findings());
        let mut part = self.part(workflow?, root?, file, None);
        if is_sound && self.options.calls {
            self.follow(&mut part, path, None, 1);
        }
        self.count_jobs(path);
        Some(part)
    }

    fn part(
        &mut self,
        workflow: Workflow,
        root: Token,
        file: usize,
        given: Option<&Grants>,
    ) -> Part {
        let of_file = workflow.permissions.as_ref().map(Grants::of);
        let inherited = of_file.as_ref().or(given);
        let of_job = |permissions: &Option<Permissions>| {
            permissions.as_ref().map(Grants::of).or_else(|| inherited.cloned())
        };
        let grants = workflow.jobs.iter().map(|job| of_job(&job.permissions)).collect();
        self.jobs += workflow.jobs.len();
        Part { workflow, root, grants, called: Vec::new(), file }
    }

    /// Reads what the jobs of a workflow call, one after the other, up to the first fault.
    fn follow(&mut self, part: &mut Part, path: &str, reference: Option<&Reference>, depth: usize) {
        for job in 0..part.workflow.jobs.len() {
            let call = Call { path, reference, part, job };
            if call.uses().is_none() {
                continue;
            }
            let Some(called) = self.call(&call, depth) else { return };
            part.called.push(called);
        }
    }

    fn call(&mut self, call: &Call<'_>, depth: usize) -> Option<Called> {
        let (uses, uses_span) = call.uses()?;
        let most = self.options.limits.call_depth;
        let mut faults = Faults::new(call.path);
        if depth > most {
            message::call_too_deep(&mut faults, most);
            self.refuse(None, faults);
            return None;
        }
        let reference = Reference::of(uses, call.reference);
        let name = reference.to_string();
        self.distinct.insert(name.to_lowercase());
        if self.distinct.len() > self.options.limits.files {
            message::too_many_files(&mut faults, self.options.limits.files);
            self.refuse(Some((call.path, uses_span)), faults);
            return None;
        }
        let file = self.file_number(&name);
        let text = match self.files.text(&reference) {
            Ok(text) => text,
            Err(why) => {
                message::call_not_found(&mut faults, uses_span, &why);
                self.refuse(Some((call.path, uses_span)), faults);
                return None;
            }
        };
        let Reading { workflow, root, faults: mut inner, is_shaped } =
            reading(&name, &text, self.options, &mut self.weight);
        let (Some(workflow), Some(root), true) = (workflow, root, is_shaped) else {
            self.refuse(Some((call.path, uses_span)), inner);
            return None;
        };
        let given = call.part.grants.get(call.job).cloned().flatten();
        let own = workflow.permissions.as_ref().map(Grants::of);
        check_parameters(call, &root, &mut faults, &mut inner);
        self.check_permissions(call, &workflow, &reference, given.as_ref(), &mut faults);
        if !faults.said.is_empty() || !inner.said.is_empty() {
            self.refuse(Some((call.path, uses_span)), faults);
            self.refuse(Some((call.path, uses_span)), inner);
            return None;
        }
        self.findings.extend(inner.into_findings());
        let given = own.or(given);
        let mut part = self.part(workflow, root, file, given.as_ref());
        let before = self.refusals.len();
        self.follow(&mut part, &name, Some(&reference), depth + 1);
        let is_sound = self.refusals.len() == before;
        is_sound.then_some(Called { job: call.job, reference, grants: given, part })
    }

    fn check_permissions(
        &self,
        call: &Call<'_>,
        workflow: &Workflow,
        reference: &Reference,
        given: Option<&Grants>,
        faults: &mut Faults,
    ) {
        let is_own = reference.repository.is_none();
        let allowed = given.cloned().unwrap_or_else(|| Grants::by(self.options.policy, is_own));
        let Some(id) = call.part.workflow.jobs.get(call.job).map(|job| job.id.span) else { return };
        let Some((uses, _)) = call.uses() else { return };
        let mut compare = |permissions: &Permissions, nested: Option<&str>| {
            let beyond = Grants::of(permissions).beyond(&allowed);
            if beyond.is_empty() {
                return;
            }
            let listed = |pick: fn(&(&'static str, Level, Level)) -> Level| {
                let scopes = beyond.iter().map(|one| format!("{}: {}", one.0, level(pick(one))));
                scopes.collect::<Vec<_>>().join(", ")
            };
            let (asked, allowed) = (listed(|one| one.1), listed(|one| one.2));
            message::permissions_exceeded(faults, id, uses, nested, &asked, &allowed);
        };
        if let Some(permissions) = &workflow.permissions {
            compare(permissions, None);
        }
        for job in &workflow.jobs {
            if let Some(permissions) = &job.permissions {
                let name = job.name.as_ref().map(|name| name.coerced().into_owned());
                let name = name.filter(|name| !name.is_empty());
                compare(permissions, Some(name.as_deref().unwrap_or(&job.id.value)));
            }
        }
    }

    /// Notes what is wrong with a call; GitHub says who called unless the fault is the caller's.
    fn refuse(&mut self, caller: Option<(&str, Span)>, faults: Faults) {
        for fault in &faults.said {
            let line = fault.line();
            self.refusals.push(match caller {
                Some((path, span)) if !line.starts_with(path) => {
                    let (row, column) = (span.start.line, span.start.column);
                    let from = format!("In {path} (Line: {row}, Col: {column}):");
                    format!("{from} Error from called workflow {line}")
                }
                _ => line,
            });
        }
        let is_elsewhere = caller.is_some_and(|(path, _)| path != faults.path());
        for mut finding in faults.into_findings() {
            if let Some((path, span)) = caller.filter(|_| is_elsewhere && finding.why.is_none()) {
                finding.why = Some(format!("{path}:{} calls this workflow", span.start));
            }
            self.findings.push(finding);
        }
    }

    fn count_jobs(&mut self, path: &str) {
        let Some(most) = self.options.limits.jobs else { return };
        if self.refusals.is_empty() && self.jobs > most {
            let mut faults = Faults::new(path);
            message::too_many_jobs(&mut faults, most);
            self.refuse(None, faults);
        }
    }

    /// The number of a file, from 1; a new one counts with its name.
    fn file_number(&mut self, name: &str) -> usize {
        self.distinct.insert(name.to_lowercase());
        if let Some(at) = self.names.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            return at + 1;
        }
        let _within = self.weight.add(path_weight(name));
        self.names.push(name.to_owned());
        self.names.len()
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Read => "read",
        Level::Write => "write",
    }
}

/// Compares what a job gives with what the called workflow takes. `inner` is for what is wrong with
/// the called workflow itself.
fn check_parameters(call: &Call<'_>, root: &Token, faults: &mut Faults, inner: &mut Faults) {
    let Some(on) = root.get("on") else { return };
    let is_call = |token: &Token| token.as_text() == Some("workflow_call");
    let definitions = on.get("workflow_call");
    if !is_call(on)
        && !on.as_list().is_some_and(|on| on.iter().any(is_call))
        && definitions.is_none()
    {
        return message::call_without_trigger(inner, on.span);
    }
    let (Some(body), Some((_, uses))) = (call.body(), call.uses()) else { return };
    let defined = |kind: &str| named(definitions.and_then(|call| call.get(kind)));
    let (inputs, given) = (defined("inputs"), named(body.get("with")));
    for (name, spec) in &inputs {
        let kind = spec.get("type").and_then(Token::as_text).unwrap_or("string");
        if let Some(default) = spec.get("default") {
            typed(default, kind, inner);
        }
        match find(&given, name) {
            Some(value) => typed(value, kind, faults),
            None if is_required(spec) => message::input_required(faults, uses, name),
            None => {}
        }
    }
    undefined("input", &given, &inputs, faults);
    let secrets = body.get("secrets");
    if secrets.and_then(Token::as_text) == Some("inherit") {
        return;
    }
    let (secrets, given) = (defined("secrets"), named(secrets));
    for (name, spec) in &secrets {
        if is_required(spec) && find(&given, name).is_none() {
            message::secret_required(faults, uses, name);
        }
    }
    undefined("secret", &given, &secrets, faults);
}

type Named<'a> = Vec<(&'a str, &'a Token)>;

fn named(mapping: Option<&Token>) -> Named<'_> {
    let entries = mapping.into_iter().flat_map(Token::entries);
    entries.map(|(name, _, value)| (name, value)).collect()
}

fn find<'a>(named: &Named<'a>, name: &str) -> Option<&'a Token> {
    named.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

fn is_required(spec: &Token) -> bool {
    spec.get("required").is_some_and(|required| required.kind == TokenKind::Boolean(true))
}

fn undefined(kind: &str, given: &Named<'_>, defined: &Named<'_>, faults: &mut Faults) {
    let known: Vec<&str> = defined.iter().map(|(name, _)| *name).collect();
    for (name, value) in given {
        if find(defined, name).is_none() {
            message::parameter_undefined(faults, kind, name, value.span, &known);
        }
    }
}

fn typed(value: &Token, kind: &str, faults: &mut Faults) {
    let (fits, wanted) = match kind {
        "boolean" => (matches!(value.kind, TokenKind::Boolean(_)), "true or false"),
        "number" => (matches!(value.kind, TokenKind::Number(_)), "a number"),
        _ => (true, "a text"),
    };
    if !fits && !value.has_expression() {
        message::parameter_mistyped(faults, value, wanted);
    }
}
