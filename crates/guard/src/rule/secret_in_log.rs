//! Secrets written to the log.

use std::sync::LazyLock;

use regex::Regex;
use source::workflow::{Entries, StepKind, Workflow};

use super::{Look, Raised, Rule, Severity, steps, value};

pub(super) const RULE: Rule = Rule {
    id: "secret-in-log",
    severity: Severity::Warning,
    what: "a script writes a secret to the log",
    why: "masking hides a secret only as it was given; encoded, cut or joined it is readable by \
          whoever may read the log",
    mend: "give it to the program that needs it, by a variable or its standard input",
    bad: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
          - run: echo \"key is $KEY\"\n        env:\n          KEY: ${{ secrets.KEY }}\n",
    good: "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
           - run: echo \"$KEY\" | docker login --password-stdin\n        env:\n          \
           KEY: ${{ secrets.KEY }}\n",
    look: Look::Workflow(look),
};

fn look(workflow: &Workflow, raised: &mut Raised<'_>) {
    for (job, step) in steps(workflow) {
        let StepKind::Run { script, .. } = &step.kind else { continue };
        let names = secret_variables(&[&step.env, &job.env, &workflow.env]);
        let mut at = 0;
        for line in script.text.split_inclusive('\n') {
            if let Some(said) = told(line, &names) {
                let start = at + (line.len() - line.trim_start().len());
                let end = at + line.trim_end().len();
                raised.here(script.span_of(start..end), format!("{said} is written to the log"));
            }
            at += line.len();
        }
    }
}

/// The variables whose value comes from a secret.
fn secret_variables(levels: &[&Entries]) -> Vec<String> {
    let entries = levels.iter().flat_map(|entries| entries.written());
    let of_secrets = entries.filter(|entry| {
        value::origins(&entry.value).iter().any(|(path, _)| path.starts_with("secrets."))
    });
    of_secrets.map(|entry| entry.key.text.clone()).collect()
}

/// What of the secrets a line tells the log.
fn told(line: &str, names: &[String]) -> Option<String> {
    static TELLS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)^\s*(?:echo|printf|print|write-host|write-output|console\.log)\b(.*)$")
            .expect("is a pattern")
    });
    static SECRET: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)\$\{\{\s*secrets\.(\w+)\s*\}\}").expect("is a pattern"));
    let words = TELLS.captures(line.trim_end())?.get(1)?.as_str();
    if words.contains("::add-mask::") || goes_elsewhere(words) {
        return None;
    }
    if let Some(found) = SECRET.captures(words) {
        return Some(format!("secret `{}`", &found[1]));
    }
    let is_named = |name: &&String| {
        [format!("${name}"), format!("${{{name}"), format!("$env:{name}")].iter().any(|form| {
            words.match_indices(form.as_str()).any(|(at, form)| {
                let next = words[at + form.len()..].chars().next();
                // `${NAME:+set}` says only whether there is one, `${#NAME}` how long it is.
                !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !words[at + form.len()..].starts_with(":+")
            })
        })
    };
    names.iter().find(is_named).map(|name| format!("the secret in `{name}`"))
}

/// Whether what is written goes to a file or to a program that does not just write it again.
fn goes_elsewhere(words: &str) -> bool {
    const ECHOES: &[&str] = &["base64", "rev", "tee", "xxd", "cat", "sed", "tr", "cut", "fold"];
    let code = words.replace("||", "");
    match code.rsplit_once('|') {
        Some((_, last)) => {
            let program = last.split_whitespace().next().unwrap_or("");
            !ECHOES.contains(&program) || last.contains('>')
        }
        None => code.contains('>'),
    }
}
