//! Workflows that jobs call.
//!
//! A called workflow is planned and run like any other, with inputs, secrets and a name that its
//! caller gives: [`gather`] finds the files, and the planner makes a plan within the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use source::workflow::{Call, Input, InputKind, Secrets, Work, Workflow};
pub use source::workflow::{Files, Reference};
use source::{Finding, Place, Span};

use crate::expression::{Object, Scope, Value};
use crate::template::{self, TemplateError};

/// How many workflows may stand one inside the other.
pub const MOST_LEVELS: usize = 10;

/// How many different workflows one may call, directly or not.
pub const MOST_FILES: usize = 50;

/// How many calls all workflows of one may make together: each may call the next many times.
pub const MOST_CALLS: usize = 1_000;

/// Reads what stands behind `uses` of a job in the workflow that `caller` names.
fn reference(uses: &str, caller: Option<&Reference>) -> Result<Reference, String> {
    if uses.starts_with("./") || uses.starts_with("$/") {
        return Ok(Reference::of(uses, caller));
    }
    let parts = uses.split_once('@').and_then(|(whole, git_ref)| {
        let mut parts = whole.splitn(3, '/');
        Some((parts.next()?, parts.next()?, parts.next()?, git_ref))
    });
    match parts {
        Some((owner, name, path, git_ref))
            if is_name(owner) && is_name(name) && !git_ref.is_empty() =>
        {
            Ok(Reference {
                repository: Some(format!("{owner}/{name}")),
                path: path.to_owned(),
                git_ref: Some(git_ref.to_owned()),
            })
        }
        _ => Err(format!(
            "`{uses}` is no workflow: it is `./.github/workflows/FILE` or \
             `OWNER/NAME/.github/workflows/FILE@REF`"
        )),
    }
}

/// Whether a text can be the name of an owner or of a repository; such a name is a folder, too.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.chars().all(is_plain) && !text.chars().all(|c| c == '.')
}

/// The workflows that the jobs of one workflow call, by the position of the job.
pub type Calls = BTreeMap<usize, Arc<Called>>;

/// A workflow that a job calls, and those it calls itself.
#[derive(Debug, Clone)]
pub struct Called {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// Those that its jobs call.
    pub calls: Calls,
}

/// Finds the workflows that a workflow calls, directly or not, and what is wrong with them.
pub fn gather(workflow: &Workflow, files: &dyn Files) -> (Calls, Vec<Finding>) {
    let mut gatherer =
        Gatherer { files, seen: BTreeSet::new(), made: 0, findings: Vec::new(), is_full: false };
    let calls = gatherer.calls(workflow, None, 1);
    (calls, gatherer.findings)
}

struct Gatherer<'a> {
    files: &'a dyn Files,
    seen: BTreeSet<String>,
    made: usize,
    findings: Vec<Finding>,
    is_full: bool,
}

impl Gatherer<'_> {
    fn calls(&mut self, workflow: &Workflow, caller: Option<&Reference>, level: usize) -> Calls {
        let mut calls = Calls::new();
        for (at, job) in workflow.jobs.iter().enumerate() {
            let Work::Call(call) = &job.work else { continue };
            match self.called(call, caller, level) {
                Ok(Some(called)) => {
                    calls.insert(at, Arc::new(called));
                }
                Ok(None) => {}
                Err(why) => {
                    let place = Place::at(&workflow.path, call.uses.span);
                    self.findings.push(Finding::error("workflow-call", why, place));
                }
            }
        }
        calls
    }

    fn called(
        &mut self,
        call: &Call,
        caller: Option<&Reference>,
        level: usize,
    ) -> Result<Option<Called>, String> {
        if self.is_full {
            return Ok(None);
        }
        if level >= MOST_LEVELS {
            self.is_full = true;
            return Err(format!("workflows call each other more than {MOST_LEVELS} levels deep"));
        }
        self.made += 1;
        if self.made > MOST_CALLS {
            self.is_full = true;
            return Err(format!("workflows may call each other at most {MOST_CALLS} times in all"));
        }
        let reference = reference(&call.uses.value, caller)?;
        let name = reference.to_string();
        self.seen.insert(name.to_lowercase());
        if self.seen.len() > MOST_FILES {
            self.is_full = true;
            return Err(format!("a workflow may call at most {MOST_FILES} others"));
        }
        let text = self.files.text(&reference)?;
        let (workflow, findings) = source::workflow::read(&name, &text);
        let is_broken = findings.iter().any(Finding::is_error);
        self.findings.extend(findings);
        let Some(workflow) = workflow.filter(|_| !is_broken) else { return Ok(None) };
        if workflow.trigger("workflow_call").is_none() {
            return Err(format!("`{name}` cannot be called: it has no `on.workflow_call`"));
        }
        let calls = self.calls(&workflow, Some(&reference), level + 1);
        Ok(Some(Called { workflow: Arc::new(workflow), calls }))
    }
}

/// Returns the `inputs` of a called workflow: what the caller gives, with types and defaults.
///
/// `within` is what the caller's expressions see; defaults see what the called workflow does.
pub(crate) fn inputs(
    call: &Call,
    called: &Workflow,
    within: &dyn Scope,
    inside: &dyn Scope,
) -> Result<Object, TemplateError> {
    let shown = |message: String| TemplateError { span: call.uses.span, message };
    let given = template::entries(&call.with, within)?;
    let declared = called.trigger("workflow_call").map_or(&[][..], |trigger| &trigger.inputs);
    for (name, _) in &given {
        if !declared.iter().any(|input| input.name.value.eq_ignore_ascii_case(name)) {
            return Err(shown(format!(
                "Invalid input, {name} is not defined in the referenced workflow."
            )));
        }
    }
    let mut inputs = Object::default();
    for input in declared {
        let name = &input.name.value;
        let found = given.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = match (found, &input.default) {
            (Some((_, value)), _) => typed(input, value).map_err(shown)?,
            (None, _) if input.required => {
                return Err(shown(format!(
                    "Input {name} is required, but not provided while calling."
                )));
            }
            (None, Some(default)) => {
                let value = template::value(default, inside)
                    .map_err(|error| TemplateError { span: call.uses.span, ..error })?;
                typed(input, &value).map_err(shown)?
            }
            (None, None) => nothing(input.kind),
        };
        inputs.insert(name.clone(), value);
    }
    Ok(inputs)
}

fn nothing(kind: InputKind) -> Value {
    match kind {
        InputKind::Boolean => Value::Boolean(false),
        InputKind::Number => Value::Number(0.0),
        InputKind::Text | InputKind::Choice | InputKind::Environment => Value::from(""),
    }
}

fn typed(input: &Input, value: &Value) -> Result<Value, String> {
    match (input.kind, value) {
        (kind, Value::Null) => Ok(nothing(kind)),
        (InputKind::Boolean, Value::Boolean(_)) | (InputKind::Number, Value::Number(_)) => {
            Ok(value.clone())
        }
        (InputKind::Boolean | InputKind::Number, _) => {
            let kind = if input.kind == InputKind::Boolean { "boolean" } else { "number" };
            Err(format!(
                "The input `{}` is a {kind}, not `{}`; convert a text with fromJSON().",
                input.name.value,
                value.to_text()
            ))
        }
        (_, Value::Array(_) | Value::Object(_)) => {
            Err(format!("The input `{}` is a text, not a list or a mapping.", input.name.value))
        }
        _ => Ok(Value::from(value.to_text())),
    }
}

/// Returns what the caller gives of its secrets.
pub(crate) fn secrets(
    call: &Call,
    called: &Workflow,
    own: &BTreeMap<String, String>,
    within: &dyn Scope,
) -> Result<BTreeMap<String, String>, TemplateError> {
    let Secrets::Named(entries) = &call.secrets else { return Ok(own.clone()) };
    let declared = called.trigger("workflow_call").map_or(&[][..], |trigger| &trigger.secrets);
    let mut secrets = BTreeMap::new();
    for (name, value) in template::entries(entries, within)? {
        secrets.insert(name, value.to_text());
    }
    for secret in declared.iter().filter(|secret| secret.required) {
        let name = &secret.name.value;
        if !secrets.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(TemplateError {
                span: call.uses.span,
                message: format!("Secret {name} is required, but not provided while calling."),
            });
        }
    }
    Ok(secrets)
}

/// Returns the outputs of a called workflow.
///
/// `scope` has the results and outputs of its jobs in `jobs`.
pub(crate) fn outputs(
    called: &Workflow,
    scope: &dyn Scope,
) -> Result<Vec<(String, String)>, TemplateError> {
    let declared = called.trigger("workflow_call").map_or(&[][..], |trigger| &trigger.outputs);
    let mut outputs = Vec::new();
    for output in declared {
        let Some(value) = &output.value else { continue };
        outputs.push((output.name.value.clone(), template::text(value, scope)?));
    }
    Ok(outputs)
}

/// Where a call stands.
pub(crate) fn span(call: &Call) -> Span {
    call.uses.span
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(BTreeMap<String, String>);

    impl Files for Folder {
        fn text(&self, reference: &Reference) -> Result<String, String> {
            let found = self.0.get(&reference.to_string()).cloned();
            found.ok_or_else(|| format!("there is no `{reference}`"))
        }
    }

    fn calling(on: &str, uses: &[&str]) -> String {
        let jobs: Vec<String> = uses
            .iter()
            .enumerate()
            .map(|(at, uses)| format!("  j{at}: {{uses: {uses}}}\n"))
            .collect();
        format!("on: {on}\njobs:\n{}", jobs.concat())
    }

    fn gathered(files: &[(&str, String)]) -> (usize, Vec<String>) {
        fn count(calls: &Calls) -> usize {
            calls.values().map(|called| 1 + count(&called.calls)).sum()
        }
        let (workflow, _) = source::workflow::read("w.yml", &files[0].1);
        let others = files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
        let (calls, findings) = gather(&workflow.expect("is a workflow"), &Folder(others));
        (count(&calls), findings.into_iter().map(|finding| finding.message).collect())
    }

    const PLAIN: &str = "on: workflow_call\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n";

    #[test]
    fn called_workflows_are_found_in_the_repository_of_their_caller() {
        let found = gathered(&[
            ("", calling("push", &["./.github/workflows/a.yml", "o/r/.github/workflows/b.yml@v1"])),
            (".github/workflows/a.yml", PLAIN.to_owned()),
            (
                "o/r/.github/workflows/b.yml@v1",
                calling(
                    "workflow_call",
                    &["./.github/workflows/c.yml", "$/.github/workflows/c.yml"],
                ),
            ),
            ("o/r/.github/workflows/c.yml@v1", PLAIN.to_owned()),
        ]);
        assert_eq!(found, (4, vec![]));
    }

    #[test]
    fn a_circle_ends_at_ten_levels_and_is_told_once() {
        let circle =
            calling("workflow_call", &["./.github/workflows/a.yml", "./.github/workflows/a.yml"]);
        let (_, said) = gathered(&[
            ("", calling("push", &["./.github/workflows/a.yml"])),
            (".github/workflows/a.yml", circle),
        ]);
        assert_eq!(said, ["workflows call each other more than 10 levels deep"]);
    }

    #[test]
    fn a_few_files_that_call_each_other_very_often_are_refused_soon() {
        let names = ["a", "b", "c", "d", "e"].map(|name| format!(".github/workflows/{name}.yml"));
        let uses = names.each_ref().map(|name| format!("./{name}"));
        let mut files = vec![("", calling("push", &[&uses[0]]))];
        for (at, name) in names.iter().enumerate() {
            let next = uses.get(at + 1).map(String::as_str);
            let text = next.map(|next| calling("workflow_call", &[next; 100]));
            files.push((name, text.unwrap_or_else(|| PLAIN.to_owned())));
        }
        let (found, said) = gathered(&files);
        assert!(found <= MOST_CALLS, "{found}");
        assert_eq!(said, ["workflows may call each other at most 1000 times in all"]);
    }

    #[test]
    fn what_cannot_be_called_is_said() {
        let (_, said) = gathered(&[
            ("", calling("push", &["./.github/workflows/a.yml", "./.github/workflows/b.yml"])),
            (".github/workflows/a.yml", PLAIN.replace("workflow_call", "push")),
        ]);
        assert_eq!(
            said,
            [
                "`.github/workflows/a.yml` cannot be called: it has no `on.workflow_call`",
                "there is no `.github/workflows/b.yml`",
            ]
        );
    }
}
