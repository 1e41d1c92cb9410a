//! The words for what is wrong in a workflow: one function for each kind of fault.
//!
//! What GitHub's reader refuses is said in GitHub's words, so that they can be searched for; what
//! it means here and how to mend it follow as label and help.

use super::fault::Faults;
use super::schema::Definition;
use super::shape::{self, SegmentError};
use super::{Part, Spanned, Template, Token};
use crate::expression::ErrorKind;
use crate::yaml::core_schema::Mistyped;
use crate::yaml::{Findings, Node, Style, did_you_mean, listed};
use crate::{Finding, Span};

fn set_help(findings: &mut Findings, finding: (&str, String, Span), label: &str, help: String) {
    let (rule, message, span) = finding;
    explain(findings.error(rule, message, span), label, help);
}

fn explain(finding: &mut Finding, label: &str, help: impl Into<String>) {
    let help = help.into();
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

// The file.

pub(super) fn empty_file(faults: &mut Faults, at: Span) {
    let finding = faults.in_file("workflow-empty", "Expected document start parse event", at);
    explain(finding, "the file holds no workflow", "a workflow needs `on` and `jobs`");
}

pub(super) fn file_too_large(faults: &mut Faults, most: usize) {
    let message = format!("The maximum file size of {most} characters has been exceeded");
    let start = Span::at(crate::Position::new(1, 1));
    let finding = faults.in_file("file-too-large", message, start);
    explain(finding, "", "move jobs into a reusable workflow, or scripts into files of their own");
}

/// What the YAML reader found, in GitHub's words where it has some.
pub(super) fn yaml(faults: &mut Faults, finding: Finding) {
    let span = finding.place.span.unwrap_or(Span::at(crate::Position::new(1, 1)));
    match finding.rule.as_str() {
        "yaml-too-deep" => too_deep_for(faults, span, &finding.message),
        "yaml-too-many-values" => {
            let given = finding.message;
            let finding = faults.in_file("yaml-too-many-values", MAX_NODES, span);
            explain(finding, "", format!("{given}: write less by aliases"));
        }
        "several-documents" => {
            let finding =
                faults.in_file("several-documents", "Expected stream end parse event", span);
            explain(finding, "a second document begins here", "remove the `---` line");
        }
        "yaml-anchor" => {
            faults.in_file("yaml-anchor", finding.message, span);
        }
        _ => *faults.at("yaml-syntax", "", span) = finding,
    }
}

const MAX_NODES: &str = "Maximum YAML nodes exceeded";

fn too_deep_for(faults: &mut Faults, span: Span, why: &str) {
    let finding = faults.in_file("yaml-too-deep", "Maximum object depth exceeded", span);
    explain(finding, "", why);
}

pub(super) fn too_deep(faults: &mut Faults, span: Span, most: usize) {
    let why = format!("lists and mappings are nested deeper than {most} levels here");
    too_deep_for(faults, span.first(), &why);
}

pub(super) fn too_many_nodes(faults: &mut Faults, span: Span, most: usize) {
    let finding = faults.in_file("yaml-too-many-values", MAX_NODES, span.first());
    explain(finding, "", format!("{most} are the most once aliases are written out"));
}

pub(super) fn too_large(faults: &mut Faults, span: Span, most: usize) {
    let finding = faults.in_file("workflow-too-large", "Maximum object size exceeded", span);
    explain(finding, "", format!("all files of a run together may weigh {most} bytes in memory"));
}

// Shape.

pub(super) fn mistyped(faults: &mut Faults, node: &Node, why: &Mistyped) {
    let (line, column) = (node.span.start.line, node.span.start.column);
    let tag = node.tag.as_deref().unwrap_or("tag:yaml.org,2002:int");
    let scalar = node.as_scalar();
    let text = scalar.map(|scalar| scalar.text.as_str()).unwrap_or_default();
    let style = scalar.map_or(Style::Plain, |scalar| scalar.style);
    let message = match (why, style) {
        (Mistyped::UnknownTag(tag), Style::Plain) => format!("Unexpected tag '{tag}'"),
        (_, Style::Plain) => format!(
            "The value '{text}' on line {line} and column {column} is invalid for the type '{tag}'"
        ),
        (_, style) => format!(
            "The scalar style '{style:?}' on line {line} and column {column} is not valid with \
             the tag '{tag}'"
        ),
    };
    let finding = faults.in_file("yaml-tag", message, node.span);
    explain(finding, &why.to_string(), "remove the tag, or put the value in quotes");
}

pub(super) fn unexpected_list(faults: &mut Faults, node: &Node, choices: &[&'static Definition]) {
    let wanted = shape::wanted(choices);
    let finding = faults.at("unexpected-list", "A sequence was not expected", node.span);
    let help = "remove the `-`, or the `[` and `]`";
    explain(finding, &format!("this is a list; it should be {wanted}"), help);
}

pub(super) fn unexpected_mapping(
    faults: &mut Faults,
    node: &Node,
    choices: &[&'static Definition],
) {
    let wanted = shape::wanted(choices);
    let finding = faults.at("unexpected-mapping", "A mapping was not expected", node.span);
    let help = if wanted == "a list" {
        "begin each item with `- `".to_owned()
    } else {
        format!("write {wanted} here instead of `key: value`")
    };
    explain(finding, &format!("this is a mapping; it should be {wanted}"), help);
}

pub(super) fn unexpected_value(
    faults: &mut Faults,
    node: &Node,
    token: &Token,
    choices: &[&'static Definition],
) {
    let text = token.text();
    let finding = faults.at("unexpected-value", format!("Unexpected value '{text}'"), node.span);
    let wanted = shape::wanted(choices);
    if text.is_empty() {
        explain(finding, &format!("{wanted} is missing"), "write a value, or remove the key");
        return;
    }
    let words = shape::words(choices);
    explain(finding, &format!("it should be {wanted}"), near_or_list(&text, &words, "it may be"));
}

pub(super) fn key_not_scalar(faults: &mut Faults, key: &Node) {
    let finding = faults.in_file("unexpected-key", "Expected mapping end", key.span);
    explain(finding, "this is no text, so it cannot be a key", "write `key: value`");
}

pub(super) fn empty_key(faults: &mut Faults, span: Span) {
    let finding = faults.at("unknown-key", "Unexpected value ''", span);
    explain(finding, "a key is empty", "write a name before the `:`");
}

pub(super) fn unknown_key(faults: &mut Faults, key: &Token, known: &[&str], telling: Option<&str>) {
    let name = key.text();
    let message = format!("Unexpected value '{name}'");
    match telling {
        Some(other) => {
            let finding = faults.at("misplaced-key", message, key.span);
            let label = format!("`{name}` cannot stand beside `{other}`");
            explain(finding, &label, format!("keep `{name}` or `{other}`"));
        }
        None => {
            let finding = faults.at("unknown-key", message, key.span);
            let help = if name == "<<" {
                "GitHub reads no merge keys: write the entries out".to_owned()
            } else {
                near_or_list(&name, known, "the keys are")
            };
            explain(finding, "no key has this name here", help);
        }
    }
}

pub(super) fn already_defined(faults: &mut Faults, key: &Token, first: Option<Span>) {
    let message = format!("'{}' is already defined", key.text());
    let finding = faults.at("duplicate-key", message, key.span);
    let label = match first {
        Some(first) => format!("the first is at {}", first.start),
        None => "this is the second".to_owned(),
    };
    explain(finding, &label, "keep one of the two; upper and lower case are the same");
}

pub(super) fn missing_key(faults: &mut Faults, mapping: &Node, name: &str) {
    let message = format!("Required property is missing: {name}");
    let finding = faults.at("missing-key", message, mapping.span.first());
    explain(finding, "in this mapping", format!("add `{name}: …`"));
}

pub(super) fn unclear_mapping(faults: &mut Faults, mapping: &Node, choices: &[&str]) {
    let message = format!(
        "There's not enough info to determine what you meant. Add one of these properties: {}",
        choices.join(", ")
    );
    let finding = faults.at("unclear-mapping", message, mapping.span.first());
    explain(finding, "", "for a step that is `run` or `uses`; for a job `runs-on` or `uses`");
}

// Expressions.

pub(super) fn expression_not_allowed(faults: &mut Faults, span: Span) {
    let message = "A template expression is not allowed in this context";
    explain(faults.at("expression-not-allowed", message, span), "", "write the value out");
}

pub(super) fn segment(
    faults: &mut Faults,
    span: Span,
    why: &SegmentError,
    template: Option<&Template>,
    contexts: &[&str],
) {
    match why {
        SegmentError::Unclosed => {
            let message = "The expression is not closed. An unescaped ${{ sequence was found, but \
                           the closing }} sequence was not found.";
            let finding = faults.at("expression-unclosed", message, span);
            explain(finding, "", "add `}}` behind the expression");
        }
        SegmentError::Empty => {
            let finding = faults.at("expression-empty", "An expression was expected", span);
            let help = "write an expression between the braces, or remove them";
            explain(finding, "`${{ }}` holds nothing", help);
        }
        SegmentError::InsertInside => {
            let message = "The directive 'insert' is not allowed in this context. Directives are \
                           not supported for expressions that are embedded within a string. \
                           Directives are only supported when the entire value is an expression.";
            explain(faults.at("insert-misplaced", message, span), "", INSERT_HELP);
        }
        SegmentError::InsertArguments(count) => {
            let message = format!(
                "Exactly 0 parameter(s) were expected following the directive 'insert'. Actual \
                 parameter count: {count}"
            );
            explain(faults.at("insert-misplaced", message, span), "", INSERT_HELP);
        }
        SegmentError::Expression(error) => {
            let exact = template.and_then(|template| exact(template, error));
            let finding = faults.at("workflow-expression", error.to_string(), span);
            let names: Vec<&str> =
                contexts.iter().map(|name| name.split('(').next().unwrap_or(name)).collect();
            let symbol = error.symbol.as_ref().map(|symbol| symbol.text.as_str());
            finding.help = match (error.kind, symbol) {
                (ErrorKind::UnknownContext | ErrorKind::UnknownFunction, Some(symbol)) => {
                    let help = near_or_list(symbol, &names, "here you may use");
                    (!help.is_empty()).then_some(help)
                }
                (_, Some(symbol)) if symbol.contains('"') => {
                    Some("texts stand in single quotes: 'main'".to_owned())
                }
                _ => None,
            };
            finding.label = exact.map(|exact| format!("the fault is at {}", exact.start));
        }
    }
}

const INSERT_HELP: &str = "write `${{ insert }}: ${{ an object }}` as an entry of a mapping";

/// Where the symbol at fault stands in the file.
fn exact(template: &Template, error: &crate::expression::ExpressionError) -> Option<Span> {
    let symbol = error.symbol.as_ref()?;
    template.parts().ok()?.iter().find_map(|part| match part {
        Part::Expression { text, range, .. } if *text == error.expression => {
            Some(template.span_of(range.start + symbol.range.start..range.start + symbol.range.end))
        }
        _ => None,
    })
}

pub(super) fn insert_misplaced(faults: &mut Faults, token: &Token) {
    let message = format!("Unexpected value '{}'", token.text());
    explain(faults.at("insert-misplaced", message, token.span), "", INSERT_HELP);
}

pub(super) fn condition(
    faults: &mut Faults,
    span: Span,
    error: &crate::expression::ExpressionError,
    contexts: &[&str],
) {
    let why = SegmentError::Expression(error.clone());
    segment(faults, span, &why, None, contexts);
}

// Jobs and steps.

pub(super) fn id_invalid(faults: &mut Faults, id: &str, span: Span) {
    let message = format!(
        "The identifier '{id}' is invalid. IDs may only contain alphanumeric characters, '_', and \
         '-'. IDs must start with a letter or '_' and and must be less than 100 characters."
    );
    explain(faults.at("id-invalid", message, span), "", "choose another id, such as `build-2`");
}

pub(super) fn id_reserved(faults: &mut Faults, id: &str, span: Span) {
    let message = format!("The identifier '{id}' is invalid. IDs starting with '__' are reserved.");
    let label = "generated ids begin with `__`";
    explain(faults.at("id-reserved", message, span), label, "choose another id");
}

pub(super) fn id_taken(faults: &mut Faults, id: &str, span: Span, first: Span) {
    let message =
        format!("The identifier '{id}' may not be used more than once within the same scope.");
    let finding = faults.at("id-taken", message, span);
    let help = "choose another id; upper and lower case are the same";
    explain(finding, &format!("it is already used at {}", first.start), help);
}

pub(super) fn needs_unknown(faults: &mut Faults, job: &str, need: &Token, jobs: &[&str]) {
    let name = need.text();
    let message = format!("Job '{job}' depends on unknown job '{name}'.");
    let help = near_or_list(&name, jobs, "the jobs are");
    let finding = faults.at("job-needs-unknown", message, need.span);
    explain(finding, &format!("no job is called `{name}`"), help);
}

pub(super) fn needs_cycle(faults: &mut Faults, job: &str, need: &Token) {
    let message = format!(
        "Job '{job}' depends on job '{}' which creates a cycle in the dependency graph.",
        need.text()
    );
    let finding = faults.at("job-needs-cycle", message, need.span);
    let help = "remove one of the `needs` on the way around";
    explain(finding, "neither can ever start", help);
}

pub(super) fn no_root_job(faults: &mut Faults, jobs: Span) {
    let message = "The workflow must contain at least one job with no dependencies.";
    let finding = faults.at("no-root-job", message, jobs.first());
    explain(finding, "no job can start first", "add a job without `needs`");
}

pub(super) fn too_many_jobs(faults: &mut Faults, most: usize) {
    faults.nowhere("too-many-jobs", format!("The workflow may not contain more than {most} jobs"));
}

pub(super) fn uses_invalid(faults: &mut Faults, uses: &Token) {
    let message = format!("Expected format {{org}}/{{repo}}[/path]@ref. Actual '{}'", uses.text());
    let help = "write `owner/repository@ref`, `./path` or `docker://image`";
    explain(faults.at("uses-invalid", message, uses.span), "this names no action", help);
}

pub(super) fn call_invalid(findings: &mut Findings, uses: &Spanned<String>) {
    let message = format!("`{}` names no workflow", shortened(&uses.value));
    let help = "write `./.github/workflows/file.yml` or \
                `owner/repository/.github/workflows/file.yml@ref`"
        .to_owned();
    set_help(findings, ("uses-invalid", message, uses.span), "", help);
}

pub(super) fn group_invalid(faults: &mut Faults, group: &Token, has_name: bool) {
    let text = group.text();
    let mut message = format!("Invalid runs-on group name '{text}'.");
    if has_name {
        message += " Please use 'organization/' or 'enterprise/' prefix to target a single runner \
                    group.";
    }
    let help = "write the group's name alone, or behind `organization/` or `enterprise/`";
    explain(faults.at("runner-group-invalid", message, group.span), "", help);
}

pub(super) fn snapshot_version(faults: &mut Faults, span: Span, version: &str) {
    let message = format!("Expected format '{{major-version}}.*' Actual '{version}'");
    explain(faults.at("snapshot-version", message, span), "", "write `version: 1.*`");
}

pub(super) fn image_missing(faults: &mut Faults, container: Span) {
    let finding =
        faults.at("container-image-missing", "Container image cannot be empty", container.first());
    explain(finding, "", "add `image: …`");
}

pub(super) fn group_too_long(faults: &mut Faults, span: Span) {
    let message = "Concurrency group name must be less than 400 characters";
    explain(faults.at("concurrency-group", message, span), "", "shorten the name");
}

pub(super) fn matrix_vector_empty(faults: &mut Faults, name: &str, vector: Span) {
    let message = format!("Matrix vector '{name}' does not contain any values");
    let finding = faults.at("matrix-empty", message, vector);
    explain(finding, "no job would run", "give it a value, or remove the key");
}

pub(super) fn matrix_without_vector(faults: &mut Faults, matrix: Span) {
    let message = "Matrix must define at least one vector";
    let finding = faults.at("matrix-empty", message, matrix.first());
    explain(finding, "no job would run", "add a key with a list of values, or `include`");
}

pub(super) fn matrix_include_empty(faults: &mut Faults, item: Span) {
    let message = "Matrix include mapping does not contain any values";
    explain(faults.at("matrix-include", message, item), "", "write `key: value`, or remove it");
}

pub(super) fn matrix_exclude_empty(faults: &mut Faults, item: Span) {
    let message = "Matrix exclude filter must not be empty";
    explain(faults.at("matrix-exclude", message, item), "", "write `key: value`, or remove it");
}

pub(super) fn matrix_exclude_unknown(faults: &mut Faults, key: &Token, known: &[&str]) {
    let name = key.text();
    let message = format!("Matrix exclude key '{name}' does not match any key within the matrix");
    let help = near_or_list(&name, known, "the keys are");
    explain(faults.at("matrix-exclude", message, key.span), "", help);
}

pub(super) fn matrix_too_large(faults: &mut Faults) {
    let finding = faults.nowhere("matrix-too-large", "Maximum object size exceeded");
    explain(finding, "", "a matrix makes at most 256 jobs: use fewer values");
}

pub(super) fn background_unknown(faults: &mut Faults, step: &Token, known: &[&str]) {
    let name = step.text();
    let message = format!("Step references unknown step ID '{name}'");
    let help = match did_you_mean(&name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "give the step an `id` and `background: true`".to_owned(),
    };
    let label = format!("no step above has the id `{name}`");
    explain(faults.at("background-step-unknown", message, step.span), &label, help);
}

pub(super) fn background_itself(faults: &mut Faults, own: &str, step: &Token) {
    let message = format!("Step '{own}' cannot reference itself");
    explain(faults.at("background-step-unknown", message, step.span), "", "name another step");
}

pub(super) fn wait_all_false(faults: &mut Faults, span: Span) {
    let message = "The value of 'wait-all' must be true or omitted";
    explain(faults.at("wait-all", message, span), "", "write `wait-all:` without a value");
}

pub(super) fn inside_parallel(faults: &mut Faults, key: &Token) {
    let message = format!("Unexpected value '{}'", key.text());
    let finding = faults.at("misplaced-key", message, key.span);
    let label = "the steps of `parallel` already run side by side";
    explain(finding, label, "move the step out of `parallel`, or remove the key");
}

// Called workflows.

pub(super) fn call_not_found(faults: &mut Faults, uses: Span, why: &str) {
    let finding = faults.at("workflow-call-missing", "Unable to find reusable workflow", uses);
    explain(finding, why, "check the path and the reference behind the `@`");
}

pub(super) fn call_too_deep(faults: &mut Faults, most: usize) {
    let message = format!("Nested reusable workflow depth exceeded {most}.");
    let finding = faults.nowhere("workflow-call-depth", message);
    explain(finding, "", "call some of them one after the other instead of from each other");
}

pub(super) fn too_many_files(faults: &mut Faults, most: usize) {
    let message = format!("The maximum file count of {most} has been exceeded");
    faults.nowhere("workflow-call-files", message);
}

pub(super) fn call_without_trigger(faults: &mut Faults, on: Span) {
    let message = "workflow_call key is not defined in the referenced workflow.";
    explain(faults.at("workflow-call-trigger", message, on), "", "add `workflow_call:` to `on`");
}

pub(super) fn input_required(faults: &mut Faults, uses: Span, name: &str) {
    let message = format!("Input {name} is required, but not provided while calling.");
    explain(
        faults.at("workflow-call-input", message, uses),
        "",
        format!("add `{name}: …` to `with`"),
    );
}

pub(super) fn secret_required(faults: &mut Faults, uses: Span, name: &str) {
    let message = format!("Secret {name} is required, but not provided while calling.");
    let help =
        format!("add `{name}: ${{{{ secrets.{name} }}}}` to `secrets`, or `secrets: inherit`");
    explain(faults.at("workflow-call-secret", message, uses), "", help);
}

pub(super) fn parameter_undefined(
    faults: &mut Faults,
    kind: &str,
    name: &str,
    value: Span,
    known: &[&str],
) {
    let message = format!("Invalid {kind}, {name} is not defined in the referenced workflow.");
    let help = near_or_list(name, known, "it takes");
    explain(faults.at("workflow-call-parameter", message, value), "", help);
}

pub(super) fn parameter_mistyped(faults: &mut Faults, value: &Token, wanted: &str) {
    let message = format!("Unexpected value '{}'", value.text());
    let finding = faults.at("workflow-call-input", message, value.span);
    explain(finding, &format!("the input takes {wanted}"), "");
}

pub(super) fn permissions_exceeded(
    faults: &mut Faults,
    job: Span,
    reference: &str,
    nested: Option<&str>,
    asked: &str,
    allowed: &str,
) {
    let who = match nested {
        Some(job) => format!("nested job '{job}'"),
        None => format!("workflow '{reference}'"),
    };
    let message = format!(
        "Error calling workflow '{reference}'. The {who} is requesting '{asked}', but is only \
         allowed '{allowed}'."
    );
    let finding = faults.at("permissions-exceeded", message, job);
    let help = "grant it in the caller's `permissions`, or ask for less in the called workflow";
    explain(finding, "", help);
}

// Triggers.

pub(super) fn event_not_mapping(findings: &mut Findings, node: &Node) {
    let message = format!("expected a mapping, found {}", node.kind());
    let help = "write the keys of the event below it, or nothing".to_owned();
    set_help(findings, ("event-value", message, node.span), "", help);
}

pub(super) fn schedule_not_list(findings: &mut Findings, node: &Node) {
    let message = format!("expected a list, found {}", node.kind());
    let help = "begin each entry with `- cron: …`".to_owned();
    set_help(findings, ("event-value", message, node.span), "", help);
}

pub(super) fn schedule_key_unknown(findings: &mut Findings, key: &Node) {
    let name = key.as_str().unwrap_or_default();
    let message = format!("`schedule` has no key `{}`", shortened(name));
    let help = near_or_list(name, &["cron", "timezone"], "the keys are");
    set_help(findings, ("event-key-unknown", message, key.span), "", help);
}

pub(super) fn cron_missing(findings: &mut Findings, entry: &Node) {
    let message = "the key `cron` is missing".to_owned();
    let help = "add `cron: …`".to_owned();
    set_help(findings, ("missing-key", message, entry.span.first()), "in this entry", help);
}

pub(super) fn timezone_unknown(findings: &mut Findings, zone: &Spanned<String>) {
    let message = format!("`{}` is not the name of a time zone", shortened(&zone.value));
    let help = "write an IANA name such as `Europe/Berlin`, or remove the key for UTC".to_owned();
    set_help(findings, ("timezone-invalid", message, zone.span), "", help);
}

pub(super) fn input_value(findings: &mut Findings, node: &Node, wanted: &str, words: &[&str]) {
    let text = node.as_str().unwrap_or_default();
    let message = format!("expected {wanted}, found `{}`", shortened(text));
    set_help(
        findings,
        ("input-value", message, node.span),
        "",
        near_or_list(text, words, "it may be"),
    );
}

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

pub(super) fn cron_refused(faults: &mut Faults, cron: Span) {
    let message =
        "Invalid cron expression. Expected format: '* * * * *' (minute hour day month weekday)";
    faults.at("cron-invalid", message, cron);
}

pub(super) fn default_refused(faults: &mut Faults, default: Span, found: &str, wanted: &str) {
    let message = format!(
        "Unexpected type '{found}' encountered while reading 'input default'. The type '{wanted}' \
         was expected."
    );
    faults.at("input-default", message, default);
}

pub(super) fn options_refused(faults: &mut Faults, input: Span, is_choice: bool) {
    let message = if is_choice {
        "Missing 'options' for choice input"
    } else {
        "Input type is not 'choice', but 'options' is defined"
    };
    faults.at("input-without-options", message, input);
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
