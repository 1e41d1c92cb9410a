//! Commands that any output can forge.

use source::workflow::{StepKind, Workflow};

use super::{Look, Raised, Rule, Severity, steps};

pub(super) const RULE: Rule = Rule {
    id: "unsecure-commands",
    severity: Severity::Error,
    what: "`ACTIONS_ALLOW_UNSECURE_COMMANDS`, `::set-env` or `::add-path`",
    why: "with them, any line that a program prints can set a variable of the following steps, \
          `LD_PRELOAD` for example",
    mend: "write to the file instead: `echo \"NAME=value\" >> \"$GITHUB_ENV\"`, or `>> \"$GITHUB_PATH\"`",
    bad: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    env:\n      \
          ACTIONS_ALLOW_UNSECURE_COMMANDS: true\n    steps:\n      \
          - run: echo \"::set-env name=A::b\"\n",
    good: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
           - run: echo \"A=b\" >> \"$GITHUB_ENV\"\n",
    look: Look::Workflow(look),
};

const COMMANDS: &[&str] = &["::set-env ", "::add-path::"];

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    let of_jobs = workflow.jobs.iter().filter_map(|job| job.steps()).map(|steps| &steps.env);
    let of_steps = steps(workflow).into_iter().map(|(_, step)| &step.env);
    for env in std::iter::once(&workflow.env).chain(of_jobs).chain(of_steps) {
        if let Some(given) = env.get("ACTIONS_ALLOW_UNSECURE_COMMANDS")
            && !given.coerced().is_empty()
            && given.coerced() != "false"
        {
            raised.here(given.span, "commands that any output can forge are switched on");
        }
    }
    for (_, step) in steps(workflow) {
        let StepKind::Run { script, .. } = &step.kind else { continue };
        for command in COMMANDS {
            if let Some(at) = script.text.find(command) {
                let span = script.span_of(at..at + command.trim_end().len());
                // On its own it does nothing any more, which is its own surprise.
                raised.here(span, format!("`{}` is obeyed no more", command.trim_end())).severity =
                    Severity::Warning;
            }
        }
    }
}
