//! The events GitHub knows: their activities and filters.

use std::sync::LazyLock;

use super::schema::{
    ANY, BOOLEAN, Definition, Key, NON_EMPTY, NON_EMPTY_TEXTS, NULL, NUMBER, ONE_OR_MORE, Shape,
    TEXT, TEXTS, WORKFLOW_CALL, key, plain, required,
};

/// An event that may start a workflow.
pub(super) struct Event {
    /// Its name under `on`.
    pub name: &'static str,
    /// What `types` may name; empty if the event has no activities, or any.
    pub activities: &'static [&'static str],
    /// The keys beside `types`.
    pub keys: &'static [&'static str],
}

/// Returns the event of a name.
pub(super) fn find(name: &str) -> Option<&'static Event> {
    EVENTS.iter().find(|event| event.name == name)
}

/// The names of all events.
pub(super) fn names() -> Vec<&'static str> {
    EVENTS.iter().map(|event| event.name).collect()
}

const BRANCHES: &[&str] = &["branches", "branches-ignore"];
const BRANCHES_AND_PATHS: &[&str] = &["branches", "branches-ignore", "paths", "paths-ignore"];
const PUSH: &[&str] =
    &["branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"];
const EDITS: &[&str] = &["created", "edited", "deleted"];
const PULL_REQUEST: &[&str] = &[
    "assigned",
    "unassigned",
    "labeled",
    "unlabeled",
    "opened",
    "edited",
    "closed",
    "reopened",
    "synchronize",
    "converted_to_draft",
    "locked",
    "unlocked",
    "enqueued",
    "dequeued",
    "milestoned",
    "demilestoned",
    "ready_for_review",
    "review_requested",
    "review_request_removed",
    "auto_merge_enabled",
    "auto_merge_disabled",
    "stacked",
];

const fn event(
    name: &'static str,
    activities: &'static [&'static str],
    keys: &'static [&'static str],
) -> Event {
    Event { name, activities, keys }
}

const EVENTS: &[Event] = &[
    event("push", &[], PUSH),
    event("pull_request", PULL_REQUEST, BRANCHES_AND_PATHS),
    event("pull_request_target", PULL_REQUEST, BRANCHES_AND_PATHS),
    event("schedule", &[], &[]),
    event("workflow_dispatch", &[], &["inputs"]),
    event("workflow_call", &[], &["inputs", "secrets", "outputs"]),
    event(
        "workflow_run",
        &["requested", "completed", "in_progress"],
        &["workflows", "branches", "branches-ignore"],
    ),
    event("repository_dispatch", &[], &[]),
    event("branch_protection_rule", EDITS, &[]),
    event("check_run", &["completed", "created", "rerequested", "requested_action"], &[]),
    event("check_suite", &["completed"], &[]),
    event("create", &[], &[]),
    event("delete", &[], &[]),
    event("deployment", &[], &[]),
    event("deployment_status", &[], &[]),
    event(
        "discussion",
        &[
            "created",
            "edited",
            "deleted",
            "transferred",
            "pinned",
            "unpinned",
            "labeled",
            "unlabeled",
            "locked",
            "unlocked",
            "category_changed",
            "answered",
            "unanswered",
        ],
        &[],
    ),
    event("discussion_comment", EDITS, &[]),
    event("fork", &[], &[]),
    event("gollum", &[], &[]),
    event("image_version", &["created", "ready", "deleted"], &["names", "versions"]),
    event("issue_comment", EDITS, &[]),
    event(
        "issues",
        &[
            "opened",
            "edited",
            "deleted",
            "transferred",
            "pinned",
            "unpinned",
            "closed",
            "reopened",
            "assigned",
            "unassigned",
            "labeled",
            "unlabeled",
            "locked",
            "unlocked",
            "milestoned",
            "demilestoned",
            "field_added",
            "field_removed",
            "typed",
            "untyped",
        ],
        &[],
    ),
    event("label", EDITS, &[]),
    event("merge_group", &["checks_requested"], BRANCHES),
    event("milestone", &["created", "closed", "opened", "edited", "deleted"], &[]),
    event("page_build", &[], &[]),
    event("project", &["created", "closed", "reopened", "edited", "deleted"], &[]),
    event("project_card", &["created", "moved", "converted", "edited", "deleted"], &[]),
    event("project_column", &["created", "updated", "moved", "deleted"], &[]),
    event("public", &[], &[]),
    event("pull_request_comment", EDITS, &[]),
    event("pull_request_review", &["submitted", "edited", "dismissed"], &[]),
    event("pull_request_review_comment", EDITS, &[]),
    event("registry_package", &["published", "updated"], &[]),
    event(
        "release",
        &["published", "unpublished", "created", "edited", "deleted", "prereleased", "released"],
        &[],
    ),
    event("status", &[], &[]),
    event("watch", &["started"], &[]),
];

/// A mapping of events in which only what stands below `workflow_call` matters.
pub(super) static LENIENT: Definition =
    plain(Shape::Mapping { keys: &[key("workflow_call", &WORKFLOW_CALL)], others: Some(&ANY) });

/// The three ways to write events, with every event, key and activity spelled right.
pub(super) static STRICT: LazyLock<[&'static Definition; 3]> = LazyLock::new(|| {
    let name = leak(Shape::Words(names().leak()));
    let keys: Vec<Key> = EVENTS.iter().map(|event| key(event.name, strict(event))).collect();
    [name, leak(Shape::List(name)), leak(Shape::Mapping { keys: keys.leak(), others: None })]
});

/// What may stand below an event.
fn strict(event: &'static Event) -> &'static Definition {
    match event.name {
        "schedule" => return &SCHEDULE,
        "workflow_call" => return &WORKFLOW_CALL,
        "workflow_dispatch" => return &DISPATCH,
        _ => {}
    }
    let mut keys: Vec<Key> = event.keys.iter().map(|name| key(name, &ONE_OR_MORE)).collect();
    if !event.activities.is_empty() {
        let activity = leak(Shape::Words(event.activities));
        let activities = leak(Shape::List(activity));
        keys.push(key("types", leak(Shape::OneOf(vec![activity, activities].leak()))));
    } else if event.name == "repository_dispatch" {
        keys.push(key("types", &NON_EMPTY_TEXTS));
    }
    if keys.is_empty() {
        return &NULL;
    }
    let mapping = leak(Shape::Mapping { keys: keys.leak(), others: None });
    leak(Shape::OneOf(vec![&NULL, mapping].leak()))
}

/// Makes a definition that lives as long as the table; this happens once for each.
fn leak(shape: Shape) -> &'static Definition {
    Box::leak(Box::new(plain(shape)))
}

static SCHEDULE: Definition = plain(Shape::List(&CRON));
static CRON: Definition = plain(Shape::Mapping {
    keys: &[required("cron", &NON_EMPTY), key("timezone", &NON_EMPTY)],
    others: None,
});
static DISPATCH: Definition = plain(Shape::OneOf(&[&NULL, &DISPATCH_MAPPING]));
static DISPATCH_MAPPING: Definition =
    plain(Shape::Mapping { keys: &[key("inputs", &DISPATCH_INPUTS)], others: None });
static DISPATCH_INPUTS: Definition =
    plain(Shape::Mapping { keys: &[], others: Some(&DISPATCH_INPUT) });
static DISPATCH_INPUT: Definition = plain(Shape::Mapping {
    keys: &[
        key("description", &TEXT),
        key("type", &DISPATCH_TYPE),
        key("required", &BOOLEAN),
        key("default", &DISPATCH_DEFAULT),
        key("options", &TEXTS),
    ],
    others: None,
});
static DISPATCH_TYPE: Definition =
    plain(Shape::Words(&["string", "boolean", "number", "environment", "choice"]));
static DISPATCH_DEFAULT: Definition = plain(Shape::OneOf(&[&TEXT, &BOOLEAN, &NUMBER]));
