//! Code of strangers in a workflow with rights.

use source::workflow::{StepKind, Workflow};

use super::{Look, Raised, Rule, Severity, steps, uses, value};

pub(super) const RULE: Rule = Rule {
    id: "untrusted-checkout",
    severity: Severity::Error,
    what: "a privileged event checks out the code of a pull request",
    why: "the event runs with the repository's secrets and a writing token, and a stranger's pull \
          request brings the code that runs with them",
    mend: "use `pull_request`, or leave `ref` out so that the repository's own code is used",
    bad: "on: pull_request_target\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
          - uses: actions/checkout@v4\n        with:\n          \
          ref: ${{ github.event.pull_request.head.sha }}\n      - run: make test\n",
    good: "on: pull_request\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
           - uses: actions/checkout@v4\n        with:\n          \
           ref: ${{ github.event.pull_request.head.sha }}\n      - run: make test\n",
    look: Look::Workflow(look),
};

const EVENTS: &[&str] = &["pull_request_target", "workflow_run", "issue_comment"];
const COMMANDS: &[&str] =
    &["gh pr checkout", "git fetch origin pull/", "git fetch origin refs/pull/"];

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    let Some(event) = EVENTS.iter().find(|event| workflow.trigger(event).is_some()) else { return };
    for (_, step) in steps(workflow) {
        if let Some(with) = uses(step, "actions/checkout") {
            for key in ["ref", "repository"] {
                let Some(given) = with.get(key) else { continue };
                let names_it = given.text.contains("refs/pull/")
                    || value::origins(given).iter().any(|(path, _)| is_of_a_stranger(path));
                if names_it {
                    raised
                        .here(
                            given.span,
                            format!("`{event}` checks out the code of a pull request"),
                        )
                        .label = Some("a stranger decides what stands there".to_owned());
                    break;
                }
            }
        }
        if let StepKind::Run { script, .. } = &step.kind
            && let Some((at, command)) =
                COMMANDS.iter().find_map(|command| Some((script.text.find(command)?, command)))
        {
            let span = script.span_of(at..at + command.len());
            raised.here(span, format!("`{event}` checks out the code of a pull request"));
        }
    }
}

fn is_of_a_stranger(path: &str) -> bool {
    path == "github.head_ref"
        || path.starts_with("github.event.pull_request.head")
        || path == "github.event.pull_request.merge_commit_sha"
        || path.starts_with("github.event.workflow_run.head_")
        || path.starts_with("github.event.workflow_run.pull_requests")
        || path == "github.event.?"
}
