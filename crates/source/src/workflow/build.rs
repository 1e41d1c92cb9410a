//! From a tree to the types of `model`.
//!
//! `shape` has already said what is wrong; what does not fit is left out here without a word.

use super::model::{
    Call, Concurrency, Container, Credentials, Defaults, Entries, Entry, Environment, Job, Level,
    Permissions, RunsOn, Secrets, Service, Setting, Snapshot, Step, StepKind, Steps, Strategy,
    Work, Workflow,
};
use super::{Literal, Spanned, Template};
use crate::yaml::{Node, Value};

/// Returns the workflow in `root`, without its triggers.
pub(super) fn workflow(path: &str, root: &Node) -> Workflow {
    Workflow {
        path: path.to_owned(),
        name: template(root, "name"),
        run_name: template(root, "run-name"),
        on: Vec::new(),
        env: entries(root, "env"),
        defaults: defaults(root),
        permissions: permissions(root),
        concurrency: concurrency(root),
        jobs: children(root, "jobs").map(|(key, value)| job(key, value)).collect(),
        expressions: Vec::new(),
    }
}

fn job(key: &Node, node: &Node) -> Job {
    Job {
        id: spanned(key).unwrap_or(Spanned { value: String::new(), span: key.span }),
        span: node.span,
        name: template(node, "name"),
        needs: texts(node.get("needs")),
        condition: template(node, "if"),
        strategy: node.get("strategy").and_then(|node| setting(node, strategy)),
        permissions: permissions(node),
        concurrency: concurrency(node),
        work: match node.get("uses").and_then(spanned) {
            Some(uses) if node.get("runs-on").is_none() => Work::Call(Box::new(call(uses, node))),
            _ => Work::Steps(Box::new(steps(node))),
        },
    }
}

fn call(uses: Spanned<String>, node: &Node) -> Call {
    let secrets = match node.get("secrets") {
        Some(inherit) if inherit.as_str() == Some("inherit") => Secrets::Inherit(inherit.span),
        _ => Secrets::Named(entries(node, "secrets")),
    };
    Call { uses, with: entries(node, "with"), secrets }
}

fn steps(node: &Node) -> Steps {
    let mut list: Vec<Step> = items(node.get("steps")).filter_map(step).collect();
    super::id::generate(&mut list);
    Steps {
        runs_on: node.get("runs-on").and_then(runs_on),
        timeout_minutes: number(node, "timeout-minutes"),
        cancel_timeout_minutes: number(node, "cancel-timeout-minutes"),
        continue_on_error: boolean(node, "continue-on-error"),
        container: node.get("container").map(container),
        services: services(node),
        env: entries(node, "env"),
        environment: node.get("environment").map(environment),
        outputs: entries(node, "outputs"),
        defaults: defaults(node),
        snapshot: node.get("snapshot").map(snapshot),
        list,
    }
}

/// The steps of a composite action.
pub(super) fn composite_steps(items: &[Node]) -> Vec<Step> {
    let mut list: Vec<Step> = items.iter().filter_map(step).collect();
    super::id::generate(&mut list);
    list
}

fn step(node: &Node) -> Option<Step> {
    let id = node.get("id").and_then(spanned);
    Some(Step {
        span: node.span,
        id_span: id.as_ref().map(|id| id.span),
        id: id.map(|id| id.value).unwrap_or_default(),
        name: template(node, "name"),
        condition: template(node, "if"),
        env: entries(node, "env"),
        continue_on_error: boolean(node, "continue-on-error"),
        timeout_minutes: number(node, "timeout-minutes"),
        background: boolean(node, "background").and_then(|set| set.written().copied())
            == Some(true),
        kind: step_kind(node)?,
    })
}

fn step_kind(node: &Node) -> Option<StepKind> {
    if let Some(script) = template(node, "run") {
        let shell = template(node, "shell");
        let working_directory = template(node, "working-directory");
        return Some(StepKind::Run { script, shell, working_directory });
    }
    if let Some(action) = node.get("uses").and_then(spanned) {
        return Some(StepKind::Uses { action, with: entries(node, "with") });
    }
    if let Some(steps) = node.get("wait") {
        return Some(StepKind::Wait(texts(Some(steps))));
    }
    if let Some((key, _)) = node.entry("wait-all") {
        return Some(StepKind::WaitAll(key.span));
    }
    if let Some(step) = node.get("cancel").and_then(spanned) {
        return Some(StepKind::Cancel(step));
    }
    let parallel = node.get("parallel")?;
    Some(StepKind::Parallel(items(Some(parallel)).filter_map(step).collect()))
}

fn strategy(node: &Node) -> Option<Strategy> {
    node.as_mapping()?;
    Some(Strategy {
        matrix: node.get("matrix").cloned(),
        fail_fast: boolean(node, "fail-fast"),
        max_parallel: number(node, "max-parallel"),
    })
}

fn runs_on(node: &Node) -> Option<RunsOn> {
    Some(match &node.value {
        Value::Scalar(_) => RunsOn::One(Template::of(node)?),
        Value::Sequence(_) => RunsOn::Labels(templates(Some(node))),
        Value::Mapping(_) => RunsOn::Group {
            span: node.span,
            group: template(node, "group"),
            labels: templates(node.get("labels")),
        },
    })
}

fn services(node: &Node) -> Setting<Vec<Service>> {
    let Some(services) = node.get("services") else {
        return Setting::Written(Spanned { value: Vec::new(), span: node.span });
    };
    let written = |node: &Node| {
        let entries = node.as_mapping().unwrap_or_default().iter();
        let service = |(key, value): &(Node, Node)| {
            Some(Service { name: Template::of(key)?, container: container(value) })
        };
        Some(entries.filter_map(service).collect())
    };
    setting(services, written).expect("the reader of services refuses nothing")
}

fn container(node: &Node) -> Container {
    Container {
        span: node.span,
        image: Template::of(node).or_else(|| template(node, "image")),
        options: template(node, "options"),
        env: entries(node, "env"),
        ports: templates(node.get("ports")),
        volumes: templates(node.get("volumes")),
        credentials: node.get("credentials").map(|node| Credentials {
            span: node.span,
            username: template(node, "username"),
            password: template(node, "password"),
        }),
        entrypoint: template(node, "entrypoint"),
        command: template(node, "command"),
    }
}

fn environment(node: &Node) -> Environment {
    Environment {
        span: node.span,
        name: Template::of(node).or_else(|| template(node, "name")),
        url: template(node, "url"),
        deployment: boolean(node, "deployment"),
    }
}

fn snapshot(node: &Node) -> Snapshot {
    Snapshot {
        span: node.span,
        image_name: Template::of(node).or_else(|| template(node, "image-name")),
        condition: template(node, "if"),
        version: template(node, "version"),
    }
}

fn defaults(node: &Node) -> Defaults {
    let Some(run) = node.get("defaults").and_then(|defaults| defaults.get("run")) else {
        return Defaults::default();
    };
    Defaults {
        shell: template(run, "shell"),
        working_directory: template(run, "working-directory"),
        computed: Template::of(run).filter(Template::has_expression),
    }
}

fn concurrency(node: &Node) -> Option<Concurrency> {
    let node = node.get("concurrency")?;
    Some(Concurrency {
        span: node.span,
        group: Template::of(node).or_else(|| template(node, "group"))?,
        cancel_in_progress: boolean(node, "cancel-in-progress"),
        queue: template(node, "queue"),
    })
}

fn permissions(node: &Node) -> Option<Permissions> {
    let node = node.get("permissions")?;
    match node.as_str() {
        Some("read-all") => return Some(Permissions::ReadAll(node.span)),
        Some("write-all") => return Some(Permissions::WriteAll(node.span)),
        _ => {}
    }
    let scope = |(key, value): &(Node, Node)| {
        let level = match value.as_str()? {
            "none" => Level::None,
            "read" => Level::Read,
            "write" => Level::Write,
            _ => return None,
        };
        Some((spanned(key)?, Spanned { value: level, span: value.span }))
    };
    let scopes = node.as_mapping()?.iter().filter_map(scope).collect();
    Some(Permissions::Scopes { span: node.span, scopes })
}

// Values without parts.

/// The text of a scalar as GitHub coerces it, with its place.
pub(super) fn spanned(node: &Node) -> Option<Spanned<String>> {
    let template = Template::of(node)?;
    Some(Spanned { value: template.coerced().into_owned(), span: node.span })
}

/// The texts of a list, or of a scalar that stands for a list of one.
pub(super) fn texts(node: Option<&Node>) -> Vec<Spanned<String>> {
    items(node).filter_map(spanned).filter(|text| !text.value.is_empty()).collect()
}

/// The value of a key as a template.
pub(super) fn template(node: &Node, key: &str) -> Option<Template> {
    node.get(key).and_then(Template::of)
}

fn templates(node: Option<&Node>) -> Vec<Template> {
    items(node).filter_map(Template::of).collect()
}

/// The items of a list; anything else is a list of one.
fn items(node: Option<&Node>) -> impl Iterator<Item = &Node> {
    node.into_iter().flat_map(|node| node.as_sequence().unwrap_or(std::slice::from_ref(node)))
}

/// The entries of the mapping under a key, without those whose key is empty.
pub(super) fn children<'a>(
    node: &'a Node,
    key: &str,
) -> impl Iterator<Item = (&'a Node, &'a Node)> + use<'a> {
    let entries = node.get(key).and_then(Node::as_mapping).unwrap_or_default();
    entries
        .iter()
        .filter(|(key, _)| !key.is_null())
        .map(|(key, value)| (key, value))
        .filter(|(key, _)| key.as_str().is_some_and(|name| !name.is_empty()))
}

fn entries(node: &Node, key: &str) -> Entries {
    let Some(node) = node.get(key) else { return Entries::default() };
    if let Some(template) = Template::of(node).filter(Template::has_expression) {
        return Entries::Computed(template);
    }
    let entry = |(key, value): &(Node, Node)| {
        Some(Entry { key: Template::of(key)?, value: Template::of(value)? })
    };
    Entries::Written(node.as_mapping().unwrap_or_default().iter().filter_map(entry).collect())
}

fn setting<T>(node: &Node, read: impl Fn(&Node) -> Option<T>) -> Option<Setting<T>> {
    if let Some(template) = Template::of(node).filter(Template::has_expression) {
        return Some(Setting::Computed(template));
    }
    read(node).map(|value| Setting::Written(Spanned { value, span: node.span }))
}

fn boolean(node: &Node, key: &str) -> Option<Setting<bool>> {
    setting(node.get(key)?, |node| match Template::of(node)?.literal {
        Literal::Boolean(value) => Some(value),
        _ => None,
    })
}

fn number(node: &Node, key: &str) -> Option<Setting<f64>> {
    setting(node.get(key)?, |node| match Template::of(node)?.literal {
        Literal::Number(value) => Some(value),
        _ => None,
    })
}
