//! Strangers' code on one's own machines.

use source::workflow::{RunsOn, Template, Workflow};

use super::{Look, Raised, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    id: "self-hosted-runner",
    severity: Severity::Warning,
    what: "pull requests run on a machine of one's own",
    why: "in a public repository anybody may open a pull request, and what it leaves on the machine \
          stays there for the next job",
    mend: "run pull requests on a hosted machine, or on one that is thrown away after each job",
    bad: "on: pull_request\njobs:\n  test:\n    runs-on: [self-hosted, linux]\n    steps:\n      \
          - run: make test\n",
    good: "on: push\njobs:\n  test:\n    runs-on: [self-hosted, linux]\n    steps:\n      \
           - run: make test\n",
    look: Look::Workflow(look),
};

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    let events = ["pull_request", "pull_request_target"];
    let Some(event) = events.iter().find(|event| workflow.trigger(event).is_some()) else { return };
    for steps in workflow.jobs.iter().filter_map(|job| job.steps()) {
        let labels: Vec<&Template> = match &steps.runs_on {
            Some(RunsOn::One(label)) => vec![label],
            Some(RunsOn::Labels(labels) | RunsOn::Group { labels, .. }) => labels.iter().collect(),
            None => Vec::new(),
        };
        if let Some(label) =
            labels.iter().find(|label| label.text.eq_ignore_ascii_case("self-hosted"))
        {
            raised.here(label.span, format!("`{event}` runs on a machine of your own"));
        }
    }
}
