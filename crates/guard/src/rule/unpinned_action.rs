//! Actions whose code may change under the same name.

use source::Spanned;
use source::workflow::{StepKind, Work, Workflow};

use super::{Look, Raised, Rule, Severity, steps};

pub(super) const RULE: Rule = Rule {
    id: "unpinned-action",
    severity: Severity::Warning,
    what: "an action of somebody else is named by a tag or branch",
    why: "whoever can move the tag decides what runs here, with this job's token and secrets",
    mend: "name the commit, and the version in a comment: `uses: owner/action@<40 digits> # v1.2.3`",
    bad: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
          - uses: somebody/action@v1\n",
    good: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
           - uses: somebody/action@2541b1294d2704b0964813337f33b291d3f8596b # v1\n",
    look: Look::Workflow(look),
};

/// Those who could do the same by other means.
const TRUSTED: &[&str] = &["actions", "github"];

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    for (_, step) in steps(workflow) {
        if let StepKind::Uses { action, .. } = &step.kind {
            one(action, raised);
        }
    }
    for job in &workflow.jobs {
        if let Work::Call(call) = &job.work {
            one(&call.uses, raised);
        }
    }
}

fn one(action: &Spanned<String>, raised: &mut Raised<'_>) {
    let name = action.value.as_str();
    if name.starts_with("./") || name.contains("${{") {
        return;
    }
    if let Some(image) = name.strip_prefix("docker://") {
        if !image.contains("@sha256:") {
            raised.here(action.span, format!("image `{image}` is not named by its digest")).help =
                Some("name the digest: `docker://image@sha256:…`".to_owned());
        }
        return;
    }
    let Some((path, version)) = name.split_once('@') else { return };
    let is_commit =
        matches!(version.len(), 40 | 64) && version.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit {
        return;
    }
    let owner = path.split('/').next().unwrap_or(path);
    let is_trusted = TRUSTED.iter().any(|trusted| owner.eq_ignore_ascii_case(trusted));
    let finding =
        raised.here(action.span, format!("`{path}` is named by `{version}`, which can be moved"));
    if is_trusted {
        finding.severity = Severity::Note;
    }
}
