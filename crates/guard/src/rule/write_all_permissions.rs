//! A token that may do everything.

use source::workflow::{Permissions, Workflow};

use super::{Look, Raised, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    id: "write-all-permissions",
    severity: Severity::Warning,
    what: "`permissions: write-all`",
    why: "whatever runs in the workflow, an action of somebody else too, may change code, releases \
          and settings",
    mend: "name what is needed: `permissions: {contents: read}`",
    bad: "on: push\npermissions: write-all\njobs:\n  test:\n    runs-on: ubuntu-latest\n    \
          steps:\n      - run: make test\n",
    good: "on: push\npermissions:\n  contents: read\njobs:\n  test:\n    runs-on: ubuntu-latest\n    \
           steps:\n      - run: make test\n",
    look: Look::Workflow(look),
};

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    let of_jobs = workflow.jobs.iter().map(|job| &job.permissions);
    for permissions in std::iter::once(&workflow.permissions).chain(of_jobs) {
        if let Some(Permissions::WriteAll(span)) = permissions {
            raised.here(*span, "the token may write everything");
        }
    }
}
