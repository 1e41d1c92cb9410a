//! The events GitHub knows: their activities and filters.

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
