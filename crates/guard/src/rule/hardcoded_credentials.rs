//! Passwords written into a workflow.

use source::workflow::{Container, Entries, Literal, StepKind, Template, Workflow};

use super::{Look, Raised, Rule, Severity, steps, value};

pub(super) const RULE: Rule = Rule {
    id: "hardcoded-credentials",
    severity: Severity::Error,
    what: "a password or token is written into the workflow",
    why: "whoever can read the repository can use it, and Git keeps it after it is removed",
    mend: "revoke it, keep the new one as a secret, and write `${{ secrets.NAME }}`",
    bad: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    container:\n      \
          image: registry.acme.io/app:1\n      credentials:\n        username: robot\n        \
          password: hunter2hunter2\n    steps:\n      - run: make test\n",
    good: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    container:\n      \
           image: registry.acme.io/app:1\n      credentials:\n        username: robot\n        \
           password: ${{ secrets.REGISTRY }}\n    steps:\n      - run: make test\n",
    look: Look::Workflow(look),
};

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    for job in workflow.jobs.iter().filter_map(|job| job.steps()) {
        let services =
            job.services.written().into_iter().flatten().map(|service| &service.container);
        for container in job.container.iter().chain(services) {
            if let Some(password) = password_of(container) {
                raised.here(password.span, "the password of a registry is written here");
            }
        }
        variables(&job.env, raised);
    }
    variables(&workflow.env, raised);
    for (_, step) in steps(workflow) {
        variables(&step.env, raised);
        let StepKind::Uses { with, .. } = &step.kind else { continue };
        for entry in with.written() {
            let name = entry.key.text.to_ascii_lowercase();
            let is_meant = matches!(name.as_str(), "password" | "token" | "api-key" | "api_key");
            if is_meant && is_written(&entry.value) {
                raised.here(entry.value.span, format!("`{}` is written here", entry.key.text));
            }
        }
    }
}

/// Variables may be for a test that starts its own database: worth a look, no reason to hold.
fn variables(env: &Entries, raised: &mut Raised<'_>) {
    for entry in env.written() {
        if value::is_secret_name(&entry.key.text) && is_written(&entry.value) {
            raised
                .here(
                    entry.value.span,
                    format!("the value of `{}` is written here", entry.key.text),
                )
                .severity = Severity::Warning;
        }
    }
}

fn password_of(container: &Container) -> Option<&Template> {
    let password = container.credentials.as_ref()?.password.as_ref()?;
    is_written(password).then_some(password)
}

fn is_written(value: &Template) -> bool {
    !value.has_expression()
        && matches!(value.literal, Literal::Text | Literal::Number(_))
        && !value::is_placeholder(&value.text)
}
