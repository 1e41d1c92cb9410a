//! Passwords written into a Compose file.

use source::compose::Project;

use super::{Look, Raised, Rule, Severity, value};

pub(super) const RULE: Rule = Rule {
    id: "secret-in-environment",
    severity: Severity::Warning,
    what: "a password or token is written under `environment`",
    why: "whoever can read the repository can use it, and every process of the service inherits it",
    mend: "keep it with `marline secret set` and write `${NAME}`, or use `secrets:`",
    bad: "services:\n  db:\n    image: postgres:17\n    environment:\n      \
          POSTGRES_PASSWORD: hunter2hunter2\n",
    good: "services:\n  db:\n    image: postgres:17\n    environment:\n      \
           POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?}\n",
    look: Look::Compose(look),
};

fn look(project: &Project, raised: &mut Raised<'_>) {
    for service in project.services.values() {
        for (name, given) in &service.environment {
            let Some(text) = given.value.as_deref() else { continue };
            let is_variable = raised.line_of(&given.place).is_some_and(|line| line.contains('$'));
            let has_password = text.split_once("://").is_some_and(|(_, rest)| {
                let authority = rest.split('/').next().unwrap_or(rest);
                authority
                    .rsplit_once('@')
                    .and_then(|(user, _)| user.split_once(':'))
                    .is_some_and(|(_, password)| !value::is_placeholder(password))
            });
            let is_secret = value::is_secret_name(name) && !value::is_placeholder(text);
            if !is_variable && (is_secret || has_password) {
                let message = format!("the value of `{name}` is written here");
                raised.at(given.place.clone(), message);
            }
        }
    }
}
