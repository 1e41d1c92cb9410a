//! Words of strangers pasted into scripts.

use source::workflow::{Entries, InputKind, StepKind, Template, Workflow};

use super::{Look, Raised, Rule, Severity, steps, uses, value};

pub(super) const RULE: Rule = Rule {
    id: "script-injection",
    severity: Severity::Error,
    what: "text that a stranger can choose is pasted into a script",
    why: "the text is put into the script before the shell reads it, so a title such as `\"; curl … \
          | sh #` runs",
    mend: "pass it as a variable: `env: {TITLE: \"${{ … }}\"}`, and write `\"$TITLE\"` in the script",
    bad: "on: issues\njobs:\n  greet:\n    runs-on: ubuntu-latest\n    steps:\n      \
          - run: echo \"${{ github.event.issue.title }}\"\n",
    good: "on: issues\njobs:\n  greet:\n    runs-on: ubuntu-latest\n    steps:\n      \
           - run: echo \"$TITLE\"\n        env:\n          \
           TITLE: ${{ github.event.issue.title }}\n",
    look: Look::Workflow(look),
};

/// Parts of an event whose form GitHub decides.
const SAFE_ENDS: &[&str] = &[
    "action",
    "after",
    "before",
    "changed_files",
    "closed_at",
    "created_at",
    "default_branch",
    "draft",
    "full_name",
    "id",
    "login",
    "mergeable",
    "merged",
    "node_id",
    "number",
    "run_number",
    "sha",
    "state",
    "type",
    "updated_at",
    "author_association",
    "conclusion",
    "installation",
    "fork",
    "private",
    "visibility",
    "head_sha",
    "merge_commit_sha",
    "html_url",
    "url",
    "event",
    "run_attempt",
];
/// Parts of an event that whoever caused it wrote freely.
const FREE_ENDS: &[&str] = &[
    "title",
    "body",
    "message",
    "name",
    "email",
    "ref",
    "label",
    "head_branch",
    "page_name",
    "description",
    "homepage",
    "head_ref",
    "default_branch_name",
];

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    for (job, step) in steps(workflow) {
        let script = match &step.kind {
            StepKind::Run { script, .. } => Some(script),
            _ => uses(step, "actions/github-script").and_then(|with| with.get("script")),
        };
        let Some(script) = script else { continue };
        let levels = [&step.env, &job.env, &workflow.env];
        for (path, span) in value::origins(script) {
            let Some(severity) = danger(&path, workflow, &levels) else { continue };
            let finding = raised.here(span, format!("`{path}` is pasted into a script"));
            finding.severity = severity;
            finding.label = Some(match severity {
                Severity::Error => "a stranger can write this".to_owned(),
                _ => "whoever starts the workflow can write this".to_owned(),
            });
        }
    }
}

/// How bad it is to paste what stands at a path; `None` if it is not.
fn danger(path: &str, workflow: &Workflow, levels: &[&Entries]) -> Option<Severity> {
    if let Some(name) = path.strip_prefix("env.") {
        let given = levels.iter().find_map(|entries| entries.get(name))?;
        let inner = |template: &Template| {
            value::origins(template)
                .into_iter()
                // One step is enough, and a variable may name itself.
                .filter(|(path, _)| !path.starts_with("env."))
                .filter_map(|(path, _)| danger(&path, workflow, levels))
                .max()
        };
        return inner(given);
    }
    if path == "github.head_ref" || path == "github.event" || path == "github" {
        return Some(Severity::Error);
    }
    if let Some(name) =
        path.strip_prefix("inputs.").or_else(|| path.strip_prefix("github.event.inputs."))
    {
        let is_free = |input: &source::workflow::Input| {
            input.name.value.eq_ignore_ascii_case(name) && input.kind == InputKind::Text
        };
        return workflow
            .on
            .iter()
            .flat_map(|on| &on.inputs)
            .any(is_free)
            .then_some(Severity::Warning);
    }
    let rest = path.strip_prefix("github.event.")?;
    let end = rest.rsplit('.').next().unwrap_or(rest);
    if FREE_ENDS.contains(&end) && !rest.starts_with("repository.") {
        Some(Severity::Error)
    } else if SAFE_ENDS.contains(&end) || rest.starts_with("repository.") {
        None
    } else {
        Some(Severity::Warning)
    }
}
