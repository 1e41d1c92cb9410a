//! What the workflow language allows: keys, shapes, and which contexts each value may use.
//!
//! A table, read from the top: [`WORKFLOW`] is the file, everything else hangs below it. The
//! interpreter is `shape`; what the table cannot say (ids, needs, patterns) is in `check`.

/// What may stand at one place of a workflow.
pub(super) struct Definition {
    /// Its shape.
    pub shape: Shape,
    /// Contexts and functions that expressions here and below may use, besides those of the
    /// places above. Without any, no expression is allowed.
    pub contexts: &'static [&'static str],
}

/// The shape of a value.
pub(super) enum Shape {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A text; numbers, truth values and nothing become one.
    Text,
    /// A text that is not empty.
    NonEmptyText,
    /// The condition of `if`: an expression with or without `${{ }}`.
    Condition,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Anything.
    Any,
    /// A list of values of one kind.
    List(&'static Definition),
    /// Known keys, and perhaps any others of one kind.
    Mapping {
        /// The known keys.
        keys: &'static [Key],
        /// What the value of any other key is; without it, other keys are unknown.
        others: Option<&'static Definition>,
    },
    /// What starts a workflow; `trigger` knows.
    Triggers,
    /// Any one of these.
    OneOf(&'static [&'static Definition]),
}

/// A known key of a mapping.
pub(super) struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub value: &'static Definition,
    /// Whether the mapping is wrong without it.
    pub required: bool,
}

pub(super) const fn plain(shape: Shape) -> Definition {
    Definition { shape, contexts: &[] }
}

const fn within(contexts: &'static [&'static str], shape: Shape) -> Definition {
    Definition { shape, contexts }
}

const fn mapping(keys: &'static [Key]) -> Shape {
    Shape::Mapping { keys, others: None }
}

const fn entries(others: &'static Definition) -> Shape {
    Shape::Mapping { keys: &[], others: Some(others) }
}

pub(super) const fn key(name: &'static str, value: &'static Definition) -> Key {
    Key { name, value, required: false }
}

pub(super) const fn required(name: &'static str, value: &'static Definition) -> Key {
    Key { name, value, required: true }
}

// The contexts, by how much of a run is known where they are used.

const RUN: &[&str] = &["github", "inputs", "vars"];
const RUN_SECRETS: &[&str] = &["github", "inputs", "vars", "secrets"];
const NEEDS: &[&str] = &["github", "inputs", "vars", "needs"];
pub(super) const MATRIX: &[&str] = &["github", "inputs", "vars", "needs", "strategy", "matrix"];
const MATRIX_SECRETS: &[&str] =
    &["github", "inputs", "vars", "needs", "strategy", "matrix", "secrets"];
const MATRIX_ENV: &[&str] = &["github", "inputs", "vars", "needs", "strategy", "matrix", "env"];
const CREDENTIALS_CONTEXTS: &[&str] = &["github", "inputs", "vars", "secrets", "env"];
const CALL_OUTPUT: &[&str] = &["github", "inputs", "vars", "jobs"];
pub(super) const JOB_CONDITION: &[&str] = &[
    "github",
    "inputs",
    "vars",
    "needs",
    "always(0,0)",
    "failure(0,MAX)",
    "cancelled(0,0)",
    "success(0,MAX)",
];
pub(super) const STEP_CONDITION: &[&str] = &[
    "github",
    "inputs",
    "vars",
    "needs",
    "strategy",
    "matrix",
    "steps",
    "job",
    "runner",
    "env",
    "always(0,0)",
    "failure(0,0)",
    "cancelled(0,0)",
    "success(0,0)",
    "hashFiles(1,255)",
];
const STEP: &[&str] = &[
    "github",
    "inputs",
    "vars",
    "needs",
    "strategy",
    "matrix",
    "secrets",
    "steps",
    "job",
    "runner",
    "env",
    "hashFiles(1,255)",
];
const RUNNER: &[&str] = &[
    "github", "inputs", "vars", "needs", "strategy", "matrix", "secrets", "steps", "job", "runner",
    "env",
];
const RUNNER_NO_SECRETS: &[&str] =
    &["github", "inputs", "vars", "needs", "strategy", "matrix", "steps", "job", "runner", "env"];

// Values without parts.

pub(super) static NULL: Definition = plain(Shape::Null);
pub(super) static BOOLEAN: Definition = plain(Shape::Boolean);
pub(super) static NUMBER: Definition = plain(Shape::Number);
pub(super) static TEXT: Definition = plain(Shape::Text);
pub(super) static NON_EMPTY: Definition = plain(Shape::NonEmptyText);
pub(super) static ANY: Definition = plain(Shape::Any);
pub(super) static TEXTS: Definition = plain(Shape::List(&TEXT));
pub(super) static NON_EMPTY_TEXTS: Definition = plain(Shape::List(&NON_EMPTY));
pub(super) static ONE_OR_MORE: Definition = plain(Shape::OneOf(&[&NON_EMPTY, &NON_EMPTY_TEXTS]));

/// The file.
pub(super) static WORKFLOW: Definition = plain(mapping(&[
    key("on", &ON),
    key("name", &TEXT),
    key("description", &TEXT),
    key("run-name", &RUN_NAME),
    key("defaults", &WORKFLOW_DEFAULTS),
    key("env", &WORKFLOW_ENV),
    key("permissions", &PERMISSIONS),
    key("concurrency", &WORKFLOW_CONCURRENCY),
    required("jobs", &JOBS),
]));

static RUN_NAME: Definition = within(RUN, Shape::Text);
static WORKFLOW_ENV: Definition = within(RUN_SECRETS, entries(&TEXT));
static WORKFLOW_DEFAULTS: Definition = plain(mapping(&[key("run", &DEFAULTS_RUN)]));
static DEFAULTS_RUN: Definition =
    plain(mapping(&[key("shell", &NON_EMPTY), key("working-directory", &NON_EMPTY)]));

// What starts a workflow: `workflow_call` is here, the other events are in `event`.

static ON: Definition = plain(Shape::Triggers);
pub(super) static WORKFLOW_CALL: Definition = plain(Shape::OneOf(&[&NULL, &WORKFLOW_CALL_MAPPING]));
static WORKFLOW_CALL_MAPPING: Definition = plain(mapping(&[
    key("inputs", &CALL_INPUTS),
    key("secrets", &CALL_SECRETS),
    key("outputs", &CALL_OUTPUTS),
]));
static CALL_INPUTS: Definition = plain(entries(&CALL_INPUT));
static CALL_INPUT: Definition = plain(mapping(&[
    key("description", &TEXT),
    required("type", &CALL_INPUT_TYPE),
    key("required", &BOOLEAN),
    key("default", &CALL_INPUT_DEFAULT),
]));
static CALL_INPUT_TYPE: Definition = plain(Shape::Words(&["string", "boolean", "number"]));
static CALL_INPUT_DEFAULT: Definition = within(RUN, Shape::OneOf(&[&TEXT, &BOOLEAN, &NUMBER]));
static CALL_SECRETS: Definition = plain(entries(&CALL_SECRET));
static CALL_SECRET: Definition = plain(Shape::OneOf(&[&NULL, &CALL_SECRET_MAPPING]));
static CALL_SECRET_MAPPING: Definition =
    plain(mapping(&[key("description", &TEXT), key("required", &BOOLEAN)]));
static CALL_OUTPUTS: Definition = plain(entries(&CALL_OUTPUT_MAPPING));
static CALL_OUTPUT_MAPPING: Definition =
    plain(mapping(&[key("description", &TEXT), required("value", &CALL_OUTPUT_VALUE)]));
static CALL_OUTPUT_VALUE: Definition = within(CALL_OUTPUT, Shape::Text);

// Permissions and concurrency, of a workflow and of a job.

static PERMISSIONS: Definition =
    plain(Shape::OneOf(&[&PERMISSIONS_MAPPING, &PERMISSIONS_SHORTHAND]));
static PERMISSIONS_SHORTHAND: Definition = plain(Shape::Words(&["read-all", "write-all"]));
static PERMISSIONS_MAPPING: Definition = plain(mapping(&[
    key("actions", &LEVEL),
    key("artifact-metadata", &LEVEL),
    key("attestations", &LEVEL),
    key("checks", &LEVEL),
    key("code-quality", &LEVEL),
    key("contents", &LEVEL),
    key("copilot-requests", &WRITE_OR_NONE),
    key("deployments", &LEVEL),
    key("discussions", &LEVEL),
    key("drives", &LEVEL),
    key("id-token", &WRITE_OR_NONE),
    key("issues", &LEVEL),
    key("models", &READ_OR_NONE),
    key("packages", &LEVEL),
    key("pages", &LEVEL),
    key("pull-requests", &LEVEL),
    key("repository-projects", &LEVEL),
    key("security-events", &LEVEL),
    key("statuses", &LEVEL),
    key("vulnerability-alerts", &READ_OR_NONE),
]));
static LEVEL: Definition = plain(Shape::Words(&["read", "write", "none"]));
static READ_OR_NONE: Definition = plain(Shape::Words(&["read", "none"]));
static WRITE_OR_NONE: Definition = plain(Shape::Words(&["write", "none"]));

static WORKFLOW_CONCURRENCY: Definition = within(RUN, Shape::OneOf(&[&TEXT, &CONCURRENCY_MAPPING]));
static JOB_CONCURRENCY: Definition =
    within(MATRIX, Shape::OneOf(&[&NON_EMPTY, &CONCURRENCY_MAPPING]));
static CONCURRENCY_MAPPING: Definition = plain(mapping(&[
    required("group", &NON_EMPTY),
    key("cancel-in-progress", &BOOLEAN),
    key("queue", &QUEUE),
]));
static QUEUE: Definition = plain(Shape::Words(&["single", "max"]));

// Jobs.

static JOBS: Definition = plain(entries(&JOB));
static JOB: Definition = plain(Shape::OneOf(&[&STEPS_JOB, &CALL_JOB]));
static STEPS_JOB: Definition = plain(mapping(&[
    key("needs", &NEEDED),
    key("if", &JOB_IF),
    key("strategy", &STRATEGY),
    key("name", &JOB_NAME),
    required("runs-on", &RUNS_ON),
    key("timeout-minutes", &JOB_NUMBER),
    key("cancel-timeout-minutes", &JOB_NUMBER),
    key("continue-on-error", &JOB_BOOLEAN),
    key("container", &CONTAINER),
    key("services", &SERVICES),
    key("env", &JOB_ENV),
    key("environment", &ENVIRONMENT),
    key("permissions", &PERMISSIONS),
    key("concurrency", &JOB_CONCURRENCY),
    key("outputs", &JOB_OUTPUTS),
    key("defaults", &JOB_DEFAULTS),
    key("steps", &STEPS),
    key("snapshot", &SNAPSHOT),
]));
static CALL_JOB: Definition = plain(mapping(&[
    key("name", &JOB_NAME),
    required("uses", &NON_EMPTY),
    key("with", &CALL_WITH),
    key("secrets", &CALL_SECRETS_GIVEN),
    key("needs", &NEEDED),
    key("if", &JOB_IF),
    key("permissions", &PERMISSIONS),
    key("concurrency", &JOB_CONCURRENCY),
    key("strategy", &STRATEGY),
]));
static CALL_WITH: Definition = plain(entries(&CALL_WITH_VALUE));
static CALL_WITH_VALUE: Definition = within(MATRIX, Shape::OneOf(&[&TEXT, &BOOLEAN, &NUMBER]));
static CALL_SECRETS_GIVEN: Definition =
    plain(Shape::OneOf(&[&CALL_SECRETS_NAMED, &CALL_SECRETS_INHERITED]));
static CALL_SECRETS_NAMED: Definition = plain(entries(&CALL_SECRET_VALUE));
static CALL_SECRET_VALUE: Definition =
    within(MATRIX_SECRETS, Shape::OneOf(&[&TEXT, &BOOLEAN, &NUMBER]));
static CALL_SECRETS_INHERITED: Definition = plain(Shape::Words(&["inherit"]));

static NEEDED: Definition = plain(Shape::OneOf(&[&NON_EMPTY_TEXTS, &NON_EMPTY]));
static JOB_IF: Definition = within(JOB_CONDITION, Shape::Condition);
static JOB_NAME: Definition = within(MATRIX, Shape::Text);
static JOB_NUMBER: Definition = within(MATRIX, Shape::Number);
static JOB_BOOLEAN: Definition = within(MATRIX, Shape::Boolean);
static JOB_ENV: Definition = within(MATRIX_SECRETS, entries(&TEXT));
static JOB_OUTPUTS: Definition = plain(entries(&RUNNER_TEXT));
static RUNNER_TEXT: Definition = within(RUNNER, Shape::Text);
static JOB_DEFAULTS: Definition = plain(mapping(&[key("run", &JOB_DEFAULTS_RUN)]));
static JOB_DEFAULTS_RUN: Definition =
    within(MATRIX_ENV, mapping(&[key("shell", &NON_EMPTY), key("working-directory", &NON_EMPTY)]));

static STRATEGY: Definition = within(
    NEEDS,
    mapping(&[
        key("fail-fast", &BOOLEAN),
        key("max-parallel", &NUMBER),
        key("matrix", &MATRIX_KEYS),
    ]),
);
static MATRIX_KEYS: Definition = plain(Shape::Mapping {
    keys: &[key("include", &MATRIX_FILTER), key("exclude", &MATRIX_FILTER)],
    others: Some(&MATRIX_VECTOR),
});
static MATRIX_VECTOR: Definition = plain(Shape::List(&ANY));
static MATRIX_FILTER: Definition = plain(Shape::List(&MATRIX_FILTER_ITEM));
static MATRIX_FILTER_ITEM: Definition = plain(entries(&ANY));

static RUNS_ON: Definition =
    within(MATRIX, Shape::OneOf(&[&NON_EMPTY, &NON_EMPTY_TEXTS, &RUNS_ON_MAPPING]));
static RUNS_ON_MAPPING: Definition =
    plain(mapping(&[key("group", &NON_EMPTY), key("labels", &ONE_OR_MORE)]));

static ENVIRONMENT: Definition = within(MATRIX, Shape::OneOf(&[&TEXT, &ENVIRONMENT_MAPPING]));
static ENVIRONMENT_MAPPING: Definition = plain(mapping(&[
    required("name", &TEXT),
    key("url", &ENVIRONMENT_URL),
    key("deployment", &BOOLEAN),
]));
static ENVIRONMENT_URL: Definition = within(RUNNER_NO_SECRETS, Shape::Text);

static SNAPSHOT: Definition = plain(Shape::OneOf(&[&NON_EMPTY, &SNAPSHOT_MAPPING]));
static SNAPSHOT_MAPPING: Definition = plain(mapping(&[
    required("image-name", &NON_EMPTY),
    key("if", &SNAPSHOT_IF),
    key("version", &NON_EMPTY),
]));
static SNAPSHOT_IF: Definition = within(MATRIX, Shape::Condition);

// Containers.

static CONTAINER: Definition = within(MATRIX, Shape::OneOf(&[&TEXT, &CONTAINER_MAPPING]));
static CONTAINER_MAPPING: Definition = plain(mapping(&[
    key("image", &NON_EMPTY),
    key("options", &TEXT),
    key("env", &CONTAINER_ENV),
    key("ports", &NON_EMPTY_TEXTS),
    key("volumes", &NON_EMPTY_TEXTS),
    key("credentials", &CREDENTIALS),
]));
static SERVICES: Definition = within(MATRIX, entries(&SERVICE));
static SERVICE: Definition = within(MATRIX, Shape::OneOf(&[&NON_EMPTY, &SERVICE_MAPPING]));
static SERVICE_MAPPING: Definition = plain(mapping(&[
    key("image", &NON_EMPTY),
    key("options", &TEXT),
    key("env", &CONTAINER_ENV),
    key("ports", &NON_EMPTY_TEXTS),
    key("volumes", &NON_EMPTY_TEXTS),
    key("credentials", &CREDENTIALS),
    key("entrypoint", &TEXT),
    key("command", &TEXT),
]));
static CONTAINER_ENV: Definition = plain(entries(&RUNNER_TEXT));
static CREDENTIALS: Definition = within(
    CREDENTIALS_CONTEXTS,
    mapping(&[key("username", &NON_EMPTY), key("password", &NON_EMPTY)]),
);

// Steps.

static STEPS: Definition = plain(Shape::List(&STEP_ITEM));
static STEP_ITEM: Definition = plain(Shape::OneOf(&[
    &RUN_STEP,
    &USES_STEP,
    &WAIT_STEP,
    &WAIT_ALL_STEP,
    &CANCEL_STEP,
    &PARALLEL_STEP,
]));
static RUN_STEP: Definition = plain(mapping(&[
    key("name", &STEP_TEXT),
    key("id", &NON_EMPTY),
    key("if", &STEP_IF),
    key("timeout-minutes", &STEP_NUMBER),
    required("run", &STEP_TEXT),
    key("continue-on-error", &STEP_BOOLEAN),
    key("env", &STEP_ENTRIES),
    key("working-directory", &STEP_TEXT),
    key("shell", &NON_EMPTY),
    key("background", &BOOLEAN),
]));
static USES_STEP: Definition = plain(mapping(&[
    key("name", &STEP_TEXT),
    key("id", &NON_EMPTY),
    key("if", &STEP_IF),
    key("continue-on-error", &STEP_BOOLEAN),
    key("timeout-minutes", &STEP_NUMBER),
    required("uses", &NON_EMPTY),
    key("with", &STEP_ENTRIES),
    key("env", &STEP_ENTRIES),
    key("background", &BOOLEAN),
]));
static WAIT_STEP: Definition = plain(mapping(&[
    key("name", &STEP_TEXT),
    key("id", &NON_EMPTY),
    key("continue-on-error", &STEP_BOOLEAN),
    required("wait", &ONE_OR_MORE),
]));
static WAIT_ALL_STEP: Definition = plain(mapping(&[
    key("name", &STEP_TEXT),
    key("id", &NON_EMPTY),
    key("continue-on-error", &STEP_BOOLEAN),
    required("wait-all", &NULL_OR_BOOLEAN),
]));
static CANCEL_STEP: Definition = plain(mapping(&[
    key("name", &STEP_TEXT),
    key("id", &NON_EMPTY),
    key("continue-on-error", &STEP_BOOLEAN),
    required("cancel", &NON_EMPTY),
]));
static PARALLEL_STEP: Definition = plain(mapping(&[required("parallel", &STEPS)]));
static NULL_OR_BOOLEAN: Definition = plain(Shape::OneOf(&[&NULL, &BOOLEAN]));
static STEP_TEXT: Definition = within(STEP, Shape::Text);
static STEP_NUMBER: Definition = within(STEP, Shape::Number);
static STEP_BOOLEAN: Definition = within(STEP, Shape::Boolean);
static STEP_ENTRIES: Definition = within(STEP, entries(&TEXT));
static STEP_IF: Definition = within(STEP_CONDITION, Shape::Condition);
