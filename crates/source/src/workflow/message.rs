//! The words for what is wrong in a workflow: one function for each kind of fault.

use super::Spanned;
use crate::yaml::{Findings, Node, did_you_mean, listed};
use crate::{Position, Span};

fn set_help(findings: &mut Findings, finding: (&str, String, Span), label: &str, help: String) {
    let (rule, message, span) = finding;
    let finding = findings.error(rule, message, span);
    finding.label = (!label.is_empty()).then(|| label.to_owned());
    finding.help = (!help.is_empty()).then_some(help);
}

fn near_or_list(name: &str, known: &[&str], kind: &str) -> String {
    match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => format!("{kind} {}", listed(known)),
    }
}

// Shape.

pub(super) fn empty_file(findings: &mut Findings, at: Span) {
    set_help(
        findings,
        ("workflow-empty", "the file holds no workflow".to_owned(), at),
        "",
        "a workflow needs `on` and `jobs`".to_owned(),
    );
}

pub(super) fn unexpected_list(findings: &mut Findings, node: &Node, wanted: &str) {
    let message = format!("expected {wanted}, found a list");
    set_help(
        findings,
        ("unexpected-list", message, node.span),
        "this is a list",
        "remove the `-`, or the `[` and `]`".to_owned(),
    );
}

pub(super) fn unexpected_mapping(findings: &mut Findings, node: &Node, wanted: &str) {
    let message = format!("expected {wanted}, found a mapping");
    let help = if wanted == "a list" {
        "begin each item with `- `".to_owned()
    } else {
        format!("write {wanted} here instead of `key: value`")
    };
    set_help(findings, ("unexpected-mapping", message, node.span), "this is a mapping", help);
}

pub(super) fn unexpected_value(findings: &mut Findings, node: &Node, wanted: &str, words: &[&str]) {
    let text = node.as_str().unwrap_or_default();
    if text.is_empty() {
        let message = format!("expected {wanted}, found nothing");
        let help = "write a value, or remove the key".to_owned();
        set_help(findings, ("unexpected-value", message, node.span), "", help);
        return;
    }
    let message = format!("expected {wanted}, found `{}`", shortened(text));
    let help = near_or_list(text, words, "it may be");
    set_help(findings, ("unexpected-value", message, node.span), "", help);
}

pub(super) fn mistyped(findings: &mut Findings, node: &Node, why: String) {
    let help = "remove the tag, or put the value in quotes".to_owned();
    set_help(findings, ("yaml-tag", why, node.span), "", help);
}

pub(super) fn unknown_key(findings: &mut Findings, key: &Node, known: &[&str]) {
    let name = key.as_str().unwrap_or_default();
    let message = if name.is_empty() {
        "a key is empty".to_owned()
    } else {
        format!("`{}` is not a key here", shortened(name))
    };
    let help = near_or_list(name, known, "the keys are");
    set_help(findings, ("unknown-key", message, key.span), "", help);
}

pub(super) fn misplaced_key(findings: &mut Findings, key: &Node, other: &str) {
    let name = key.as_str().unwrap_or_default();
    let message = format!("`{name}` cannot stand beside `{other}`");
    set_help(
        findings,
        ("misplaced-key", message, key.span),
        "",
        format!("keep `{name}` or `{other}`"),
    );
}

pub(super) fn missing_key(findings: &mut Findings, mapping: &Node, name: &str) {
    let message = format!("the key `{name}` is missing");
    let help = format!("add `{name}: …`");
    set_help(findings, ("missing-key", message, mapping.span.first()), "in this mapping", help);
}

pub(super) fn unclear_mapping(findings: &mut Findings, mapping: &Node, choices: &[&str]) {
    let message = "it is not clear what this is meant to be".to_owned();
    let help = format!("add one of {}", listed(choices));
    set_help(findings, ("unclear-mapping", message, mapping.span.first()), "", help);
}

// Expressions.

pub(super) fn expression_not_allowed(findings: &mut Findings, node: &Node) {
    set_help(
        findings,
        ("expression-not-allowed", "no `${{ … }}` is allowed here".to_owned(), node.span),
        "",
        "write the value out".to_owned(),
    );
}

pub(super) fn expression_unclosed(findings: &mut Findings, node: &Node) {
    set_help(
        findings,
        ("expression-unclosed", "`${{` is not closed by `}}`".to_owned(), node.span),
        "",
        "add `}}` behind the expression".to_owned(),
    );
}

pub(super) fn expression_empty(findings: &mut Findings, node: &Node) {
    set_help(
        findings,
        ("expression-empty", "`${{ }}` holds no expression".to_owned(), node.span),
        "",
        "write an expression between the braces, or remove them".to_owned(),
    );
}

pub(super) fn insert_misplaced(findings: &mut Findings, node: &Node) {
    set_help(
        findings,
        ("insert-misplaced", "`${{ insert }}` is not a whole key here".to_owned(), node.span),
        "",
        "write `${{ insert }}: ${{ an object }}` as an entry of a mapping".to_owned(),
    );
}

// Jobs and steps.

pub(super) fn id_invalid(findings: &mut Findings, id: &str, span: Span) {
    let message = format!("`{}` cannot be an id", shortened(id));
    let help = "an id begins with a letter or `_`, goes on with letters, digits, `_` and `-`, \
                and is shorter than 100 characters"
        .to_owned();
    set_help(findings, ("id-invalid", message, span), "", help);
}

pub(super) fn id_reserved(findings: &mut Findings, id: &str, span: Span) {
    let message = format!("`{id}` begins with `__`, which is kept for generated ids");
    set_help(findings, ("id-reserved", message, span), "", "choose another id".to_owned());
}

pub(super) fn id_taken(findings: &mut Findings, id: &str, span: Span, first: Position) {
    let message = format!("the id `{id}` is already used, at {first}");
    let help = "choose another id; upper and lower case are the same".to_owned();
    set_help(findings, ("id-taken", message, span), "", help);
}

pub(super) fn needs_unknown(
    findings: &mut Findings,
    job: &str,
    need: &Spanned<String>,
    jobs: &[&str],
) {
    let message = format!("job `{job}` waits for a job that does not exist");
    let help = near_or_list(&need.value, jobs, "the jobs are");
    let label = format!("no job is called `{}`", need.value);
    set_help(findings, ("job-needs-unknown", message, need.span), &label, help);
}

pub(super) fn needs_cycle(findings: &mut Findings, job: &str, need: &Spanned<String>) {
    let message = if need.value.eq_ignore_ascii_case(job) {
        format!("job `{job}` waits for itself")
    } else {
        format!("jobs `{job}` and `{}` wait for each other", need.value)
    };
    let label = "neither can ever start";
    set_help(
        findings,
        ("job-needs-cycle", message, need.span),
        label,
        "remove one of the `needs` on the way around".to_owned(),
    );
}

pub(super) fn no_root_job(findings: &mut Findings, jobs: Span) {
    set_help(
        findings,
        ("no-root-job", "no job can start first".to_owned(), jobs.first()),
        "",
        "a workflow needs at least one job without `needs`".to_owned(),
    );
}

pub(super) fn uses_invalid(findings: &mut Findings, uses: &Spanned<String>) {
    let message = format!("`{}` names no action", shortened(&uses.value));
    let help = "write `owner/repository@ref`, `./path` or `docker://image`".to_owned();
    set_help(findings, ("uses-invalid", message, uses.span), "", help);
}

pub(super) fn call_invalid(findings: &mut Findings, uses: &Spanned<String>) {
    let message = format!("`{}` names no workflow", shortened(&uses.value));
    let help = "write `./.github/workflows/file.yml` or \
                `owner/repository/.github/workflows/file.yml@ref`"
        .to_owned();
    set_help(findings, ("uses-invalid", message, uses.span), "", help);
}

pub(super) fn group_invalid(findings: &mut Findings, group: &str, span: Span) {
    let message = format!("`{group}` names no runner group");
    let help = "write the group's name alone, or behind `organization/` or `enterprise/`";
    set_help(findings, ("runner-group-invalid", message, span), "", help.to_owned());
}

pub(super) fn image_missing(findings: &mut Findings, container: Span) {
    set_help(
        findings,
        ("container-image-missing", "the container has no image".to_owned(), container.first()),
        "",
        "add `image: …`".to_owned(),
    );
}

pub(super) fn matrix_vector_empty(findings: &mut Findings, name: &str, vector: &Node) {
    let message = format!("`{name}` in the matrix has no values, so no job would run");
    set_help(
        findings,
        ("matrix-empty", message, vector.span),
        "",
        "give it a value, or remove the key".to_owned(),
    );
}

pub(super) fn background_unknown(
    findings: &mut Findings,
    word: &str,
    step: &Spanned<String>,
    known: &[&str],
) {
    let message = format!("`{word}` names no background step above it");
    let help = match did_you_mean(&step.value, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "give the step an `id` and `background: true`".to_owned(),
    };
    let label = format!("no background step above has the id `{}`", step.value);
    set_help(findings, ("background-step-unknown", message, step.span), &label, help);
}

// Triggers.

pub(super) fn no_trigger(findings: &mut Findings, workflow: &Node) {
    set_help(
        findings,
        ("no-trigger", "nothing starts this workflow".to_owned(), workflow.span.first()),
        "",
        "add `on: push`, or another event".to_owned(),
    );
}

pub(super) fn event_unknown(findings: &mut Findings, event: &Node, known: &[&str]) {
    let name = event.as_str().unwrap_or_default();
    let message = format!("`{}` is not an event", shortened(name));
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "common events are `push`, `pull_request`, `schedule` and `workflow_dispatch`"
            .to_owned(),
    };
    set_help(findings, ("event-unknown", message, event.span), "", help);
}

pub(super) fn event_key_ignored(findings: &mut Findings, event: &str, key: &Node, known: &[&str]) {
    let name = key.as_str().unwrap_or_default();
    let help = near_or_list(name, known, "the keys are");
    let message = format!("`{event}` has no key `{}`; it is ignored", shortened(name));
    let finding = findings.warning("event-key-ignored", message, key.span);
    finding.help = (!help.is_empty()).then_some(help);
}

pub(super) fn activity_unknown(
    findings: &mut Findings,
    event: &str,
    activity: &Spanned<String>,
    known: &[&str],
) {
    let message = format!("`{event}` has no activity `{}`; it never happens", activity.value);
    let help = near_or_list(&activity.value, known, "the activities are");
    findings.warning("activity-unknown", message, activity.span).help = Some(help);
}

pub(super) fn filters_exclude(findings: &mut Findings, event: &str, filter: &str, ignore: &Node) {
    let message = format!("`{event}` has both `{filter}` and `{filter}-ignore`");
    let help = format!("keep one; `{filter}` can exclude with `!pattern`");
    set_help(findings, ("filters-exclude", message, ignore.span), "", help);
}

pub(super) fn pattern_invalid(findings: &mut Findings, pattern: &Spanned<String>, why: &str) {
    let message = format!("`{}` is not a pattern: {why}", shortened(&pattern.value));
    let help = "a character with a meaning stands for itself behind `\\`".to_owned();
    set_help(findings, ("pattern-invalid", message, pattern.span), "", help);
}

pub(super) fn patterns_only_exclude(
    findings: &mut Findings,
    filter: &str,
    first: &Spanned<String>,
) {
    let message = format!("`{filter}` only excludes, so nothing ever passes");
    let help = format!("put a pattern without `!` first, or use `{filter}-ignore`");
    findings.warning("patterns-only-exclude", message, first.span).help = Some(help);
}

pub(super) fn cron_invalid(findings: &mut Findings, cron: &Spanned<String>, why: &str) {
    let message = format!("`{}` is not a schedule: {why}", shortened(&cron.value));
    let help = "write minute, hour, day of month, month and day of week: `30 5 * * 1-5`";
    set_help(findings, ("cron-invalid", message, cron.span), "", help.to_owned());
}

pub(super) fn choice_without_options(findings: &mut Findings, input: &Spanned<String>) {
    let message = format!("the choice `{}` has no options", input.value);
    set_help(
        findings,
        ("input-without-options", message, input.span),
        "",
        "add `options: [ … ]`".to_owned(),
    );
}

pub(super) fn default_not_an_option(
    findings: &mut Findings,
    input: &str,
    default: Span,
    options: &[&str],
) {
    let message = format!("the default of `{input}` is none of its options");
    let help = near_or_list("", options, "the options are");
    findings.warning("input-default", message, default).help = Some(help);
}

pub(super) fn default_mistyped(findings: &mut Findings, input: &str, wanted: &str, default: Span) {
    let message = format!("the default of `{input}` is not {wanted}");
    let help = format!("write {wanted}, or change the `type`");
    set_help(findings, ("input-default", message, default), "", help);
}

fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len() && text.chars().count() <= MOST {
        return text.to_owned();
    }
    format!("{}…", line.chars().take(MOST).collect::<String>())
}
