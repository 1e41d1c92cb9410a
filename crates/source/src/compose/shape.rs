//! Which keys a Compose file may have, and what may stand at each.
//!
//! The whole language as one table, so that a wrong key or type is found in any part of it, also
//! in those that no engine of ours reads.

use super::tree::{Content, Item, Mark};
use crate::Finding;
use crate::yaml::did_you_mean;

/// What may stand at a place.
enum Shape {
    /// Anything at all.
    Any,
    /// Nothing.
    Null,
    /// A text; numbers must be quoted.
    Text,
    /// A text, a number or a truth value.
    Scalar,
    /// A whole number, or a text that has one.
    Whole,
    /// A number, or a text that has one.
    Number,
    /// `true` or `false`, or a text that says so.
    Truth,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of such things.
    List(&'static Shape),
    /// Names of the user's choice with such things.
    Map(&'static Shape),
    /// These keys; the second list names those that must be there.
    Record(&'static [Key], &'static [&'static str]),
    /// The first of these that is of the right kind.
    Either(&'static [&'static Shape]),
}

type Key = (&'static str, &'static Shape);

use Shape::{Any, Either, List, Map, Null, Number, Record, Scalar, Text, Truth, Whole, Word};

static TEXTS: Shape = List(&Text);
static TEXT_OR_TEXTS: Shape = Either(&[&Text, &TEXTS]);
static SCALAR_OR_NULL: Shape = Either(&[&Null, &Scalar]);
static PAIRS: Shape = Either(&[&Map(&SCALAR_OR_NULL), &TEXTS]);
static COMMAND: Shape = Either(&[&Null, &Text, &TEXTS]);
static HOSTS: Shape = Either(&[&Map(&TEXT_OR_TEXTS), &TEXTS]);
static OPTIONS: Shape = Map(&SCALAR_OR_NULL);
static GRANTS: Shape = List(&Either(&[
    &Text,
    &Record(
        &[("source", &Text), ("target", &Text), ("uid", &Text), ("gid", &Text), ("mode", &Number)],
        &[],
    ),
]));
static ULIMITS: Shape =
    Map(&Either(&[&Whole, &Record(&[("hard", &Whole), ("soft", &Whole)], &["hard", "soft"])]));
static ENV_FILES: Shape = Either(&[
    &Text,
    &List(&Either(&[
        &Text,
        &Record(&[("path", &Text), ("format", &Text), ("required", &Truth)], &["path"]),
    ])),
]);
static DEVICES: Shape = List(&Record(
    &[
        ("capabilities", &TEXTS),
        ("count", &Either(&[&Whole, &Text])),
        ("device_ids", &TEXTS),
        ("driver", &Text),
        ("options", &PAIRS),
    ],
    &["capabilities"],
));
static RATES: Shape = List(&Record(&[("path", &Text), ("rate", &Scalar)], &[]));

static BUILD: Shape = Record(
    &[
        ("context", &Text),
        ("dockerfile", &Text),
        ("dockerfile_inline", &Text),
        ("entitlements", &TEXTS),
        ("args", &PAIRS),
        ("ssh", &Either(&[&Text, &PAIRS])),
        ("labels", &PAIRS),
        ("cache_from", &TEXTS),
        ("cache_to", &TEXTS),
        ("no_cache", &Truth),
        ("no_cache_filter", &TEXT_OR_TEXTS),
        ("additional_contexts", &PAIRS),
        ("network", &Text),
        ("provenance", &Truth),
        ("sbom", &Truth),
        ("pull", &Truth),
        ("target", &Text),
        ("shm_size", &Scalar),
        ("extra_hosts", &HOSTS),
        ("isolation", &Text),
        ("privileged", &Truth),
        ("secrets", &GRANTS),
        ("tags", &TEXTS),
        ("ulimits", &ULIMITS),
        ("platforms", &TEXTS),
    ],
    &[],
);

static UPDATE: Shape = Record(
    &[
        ("parallelism", &Whole),
        ("delay", &Text),
        ("failure_action", &Text),
        ("monitor", &Text),
        ("max_failure_ratio", &Number),
        ("order", &Text),
    ],
    &[],
);

static DEPLOY: Shape = Record(
    &[
        ("mode", &Text),
        ("endpoint_mode", &Text),
        ("replicas", &Whole),
        ("labels", &PAIRS),
        ("rollback_config", &UPDATE),
        ("update_config", &UPDATE),
        (
            "resources",
            &Record(
                &[
                    (
                        "limits",
                        &Record(
                            &[
                                ("cpus", &Number),
                                ("memory", &Scalar),
                                ("pids", &Whole),
                                ("devices", &DEVICES),
                            ],
                            &[],
                        ),
                    ),
                    (
                        "reservations",
                        &Record(
                            &[
                                ("cpus", &Number),
                                ("memory", &Scalar),
                                ("generic_resources", &List(&Any)),
                                ("devices", &DEVICES),
                            ],
                            &[],
                        ),
                    ),
                ],
                &[],
            ),
        ),
        (
            "restart_policy",
            &Record(
                &[
                    ("condition", &Text),
                    ("delay", &Text),
                    ("max_attempts", &Whole),
                    ("window", &Text),
                ],
                &[],
            ),
        ),
        (
            "placement",
            &Record(
                &[
                    ("constraints", &TEXTS),
                    ("preferences", &List(&Record(&[("spread", &Text)], &[]))),
                    ("max_replicas_per_node", &Whole),
                ],
                &[],
            ),
        ),
    ],
    &[],
);

static HEALTHCHECK: Shape = Record(
    &[
        ("disable", &Truth),
        ("interval", &Text),
        ("retries", &Whole),
        ("test", &TEXT_OR_TEXTS),
        ("timeout", &Text),
        ("start_period", &Text),
        ("start_interval", &Text),
    ],
    &[],
);

static PORT: Shape = Either(&[
    &Scalar,
    &Record(
        &[
            ("name", &Text),
            ("mode", &Text),
            ("host_ip", &Text),
            ("target", &Whole),
            ("published", &Scalar),
            ("protocol", &Text),
            ("app_protocol", &Text),
        ],
        &["target"],
    ),
]);

static MOUNT: Shape = Either(&[
    &Text,
    &Record(
        &[
            ("type", &Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
            ("source", &Text),
            ("target", &Text),
            ("read_only", &Truth),
            ("consistency", &Text),
            (
                "bind",
                &Record(
                    &[
                        ("propagation", &Text),
                        ("create_host_path", &Truth),
                        ("recursive", &Word(&["enabled", "disabled", "writable", "readonly"])),
                        ("selinux", &Word(&["z", "Z"])),
                    ],
                    &[],
                ),
            ),
            ("volume", &Record(&[("labels", &PAIRS), ("nocopy", &Truth), ("subpath", &Text)], &[])),
            ("tmpfs", &Record(&[("size", &Scalar), ("mode", &Number)], &[])),
            ("image", &Record(&[("subpath", &Text)], &[])),
        ],
        &["type"],
    ),
]);

static DEPENDS_ON: Shape = Either(&[
    &TEXTS,
    &Map(&Record(
        &[
            ("restart", &Truth),
            ("required", &Truth),
            (
                "condition",
                &Word(&["service_started", "service_healthy", "service_completed_successfully"]),
            ),
        ],
        &[],
    )),
]);

static HOOK: Shape = Record(
    &[
        ("command", &COMMAND),
        ("user", &Text),
        ("privileged", &Truth),
        ("working_dir", &Text),
        ("environment", &PAIRS),
    ],
    &["command"],
);
static PRE_START: Shape = Record(
    &[
        ("command", &COMMAND),
        ("image", &Text),
        ("user", &Text),
        ("privileged", &Truth),
        ("working_dir", &Text),
        ("environment", &PAIRS),
        ("per_replica", &Truth),
    ],
    &[],
);

static NETWORK_USE: Shape = Either(&[
    &Null,
    &Record(
        &[
            ("aliases", &TEXTS),
            ("interface_name", &Text),
            ("ipv4_address", &Text),
            ("ipv6_address", &Text),
            ("link_local_ips", &TEXTS),
            ("mac_address", &Text),
            ("driver_opts", &OPTIONS),
            ("priority", &Number),
            ("gw_priority", &Number),
        ],
        &[],
    ),
]);

static DEVELOP: Shape = Record(
    &[(
        "watch",
        &List(&Record(
            &[
                ("path", &Text),
                ("action", &Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
                ("target", &Text),
                ("ignore", &TEXT_OR_TEXTS),
                ("include", &TEXT_OR_TEXTS),
                ("initial_sync", &Truth),
                ("exec", &HOOK),
            ],
            &["path", "action"],
        )),
    )],
    &[],
);

static MARLINE: Shape = Record(
    &[
        ("hosts", &TEXT_OR_TEXTS),
        ("paths", &TEXT_OR_TEXTS),
        ("http", &Text),
        ("canary", &List(&Scalar)),
        ("drain", &Text),
        ("strategy", &Text),
        ("engine", &Text),
        (
            "tls",
            &Record(
                &[("certificate", &Text), ("key", &Text), ("hsts", &Text), ("redirect", &Whole)],
                &["certificate", "key"],
            ),
        ),
        (
            "access_log",
            &Either(&[
                &Text,
                &Record(
                    &[
                        ("format", &Text),
                        ("file", &Text),
                        ("max_size", &Scalar),
                        ("max_files", &Whole),
                    ],
                    &[],
                ),
            ]),
        ),
        ("trace", &Truth),
        (
            "rate_limit",
            &Record(&[("average", &Whole), ("period", &Text), ("burst", &Whole)], &["average"]),
        ),
        (
            "circuit_breakers",
            &Record(
                &[("max_requests", &Whole), ("max_pending_requests", &Whole)],
                &["max_requests"],
            ),
        ),
        (
            "outlier_detection",
            &Record(
                &[
                    ("consecutive_5xx", &Whole),
                    ("base_ejection_time", &Text),
                    ("max_ejection_percent", &Whole),
                ],
                &[],
            ),
        ),
        (
            "retry_budget",
            &Record(&[("budget_percent", &Whole), ("min_retries_per_second", &Whole)], &[]),
        ),
        ("hold", &Text),
        ("sticky", &Text),
        ("compress", &Truth),
        ("error_pages", &Map(&Text)),
        ("maintenance", &Truth),
        ("methods", &TEXT_OR_TEXTS),
        ("headers", &Map(&Scalar)),
        ("proxy_protocol", &Truth),
    ],
    &[],
);

/// Keys of `x-marline` that are agreed and come later.
const MARLINE_LATER: [&str; 6] = ["gate", "schedule", "overlap", "autoscale", "preview", "run"];

static SERVICE: Shape = Record(
    &[
        ("annotations", &PAIRS),
        ("attach", &Truth),
        ("build", &Either(&[&Text, &BUILD])),
        (
            "blkio_config",
            &Record(
                &[
                    ("device_read_bps", &RATES),
                    ("device_read_iops", &RATES),
                    ("device_write_bps", &RATES),
                    ("device_write_iops", &RATES),
                    ("weight", &Whole),
                    ("weight_device", &List(&Record(&[("path", &Text), ("weight", &Whole)], &[]))),
                ],
                &[],
            ),
        ),
        ("cap_add", &TEXTS),
        ("cap_drop", &TEXTS),
        ("cgroup", &Text),
        ("cgroup_parent", &Text),
        ("command", &COMMAND),
        ("configs", &GRANTS),
        ("container_name", &Text),
        ("cpu_count", &Whole),
        ("cpu_percent", &Number),
        ("cpu_shares", &Number),
        ("cpu_quota", &Number),
        ("cpu_period", &Scalar),
        ("cpu_rt_period", &Scalar),
        ("cpu_rt_runtime", &Scalar),
        ("cpus", &Number),
        ("cpuset", &Text),
        (
            "credential_spec",
            &Record(&[("config", &Text), ("file", &Text), ("registry", &Text)], &[]),
        ),
        ("depends_on", &DEPENDS_ON),
        ("deploy", &Either(&[&Null, &DEPLOY])),
        ("develop", &Either(&[&Null, &DEVELOP])),
        ("device_cgroup_rules", &TEXTS),
        (
            "devices",
            &List(&Either(&[
                &Text,
                &Record(
                    &[("source", &Text), ("target", &Text), ("permissions", &Text)],
                    &["source"],
                ),
            ])),
        ),
        ("dns", &TEXT_OR_TEXTS),
        ("dns_opt", &TEXTS),
        ("dns_search", &TEXT_OR_TEXTS),
        ("domainname", &Text),
        ("entrypoint", &COMMAND),
        ("env_file", &ENV_FILES),
        ("environment", &PAIRS),
        ("expose", &List(&Scalar)),
        (
            "extends",
            &Either(&[&Text, &Record(&[("service", &Text), ("file", &Text)], &["service"])]),
        ),
        ("external_links", &TEXTS),
        ("extra_hosts", &HOSTS),
        ("gpus", &Either(&[&Word(&["all"]), &List(&Any)])),
        ("group_add", &List(&Scalar)),
        ("healthcheck", &HEALTHCHECK),
        ("hostname", &Text),
        ("image", &Text),
        ("init", &Truth),
        ("ipc", &Text),
        ("isolation", &Text),
        ("label_file", &TEXT_OR_TEXTS),
        ("labels", &PAIRS),
        ("links", &TEXTS),
        ("logging", &Record(&[("driver", &Text), ("options", &OPTIONS)], &[])),
        ("mac_address", &Text),
        ("mem_limit", &Scalar),
        ("mem_reservation", &Scalar),
        ("mem_swappiness", &Whole),
        ("memswap_limit", &Scalar),
        (
            "models",
            &Either(&[
                &TEXTS,
                &Map(&Either(&[
                    &Null,
                    &Record(&[("endpoint_var", &Text), ("model_var", &Text)], &[]),
                ])),
            ]),
        ),
        ("network_mode", &Text),
        ("networks", &Either(&[&TEXTS, &Map(&NETWORK_USE)])),
        ("oom_kill_disable", &Truth),
        ("oom_score_adj", &Whole),
        ("pid", &Either(&[&Null, &Text])),
        ("pids_limit", &Number),
        ("platform", &Text),
        ("ports", &List(&PORT)),
        ("post_start", &List(&HOOK)),
        ("pre_start", &List(&PRE_START)),
        ("pre_stop", &List(&HOOK)),
        ("privileged", &Truth),
        ("profiles", &TEXTS),
        (
            "provider",
            &Record(
                &[("type", &Text), ("options", &Map(&Either(&[&Scalar, &List(&Scalar)])))],
                &["type"],
            ),
        ),
        ("pull_policy", &Text),
        ("pull_refresh_after", &Text),
        ("read_only", &Truth),
        ("restart", &Text),
        ("runtime", &Text),
        ("scale", &Whole),
        ("secrets", &GRANTS),
        ("security_opt", &TEXTS),
        ("shm_size", &Scalar),
        ("stdin_open", &Truth),
        ("stop_grace_period", &Text),
        ("stop_signal", &Text),
        ("storage_opt", &OPTIONS),
        ("sysctls", &PAIRS),
        ("tmpfs", &TEXT_OR_TEXTS),
        ("tty", &Truth),
        ("ulimits", &ULIMITS),
        ("use_api_socket", &Truth),
        ("user", &Text),
        ("userns_mode", &Text),
        ("uts", &Text),
        ("volumes", &List(&MOUNT)),
        ("volumes_from", &TEXTS),
        ("working_dir", &Text),
        ("x-marline", &MARLINE),
    ],
    &[],
);

static EXTERNAL: Shape = Either(&[&Truth, &Record(&[("name", &Text)], &[])]);
static NETWORK: Shape = Record(
    &[
        ("name", &Text),
        ("driver", &Text),
        ("driver_opts", &OPTIONS),
        (
            "ipam",
            &Record(
                &[
                    ("driver", &Text),
                    (
                        "config",
                        &List(&Record(
                            &[
                                ("subnet", &Text),
                                ("ip_range", &Text),
                                ("gateway", &Text),
                                ("aux_addresses", &Map(&Text)),
                            ],
                            &[],
                        )),
                    ),
                    ("options", &Map(&Text)),
                ],
                &[],
            ),
        ),
        ("external", &EXTERNAL),
        ("internal", &Truth),
        ("enable_ipv4", &Truth),
        ("enable_ipv6", &Truth),
        ("attachable", &Truth),
        ("labels", &PAIRS),
    ],
    &[],
);
static VOLUME: Shape = Record(
    &[
        ("name", &Text),
        ("driver", &Text),
        ("driver_opts", &OPTIONS),
        ("external", &EXTERNAL),
        ("labels", &PAIRS),
    ],
    &[],
);
static CONFIG: Shape = Record(
    &[
        ("name", &Text),
        ("content", &Text),
        ("environment", &Text),
        ("file", &Text),
        ("external", &EXTERNAL),
        ("labels", &PAIRS),
        ("driver", &Text),
        ("driver_opts", &OPTIONS),
        ("template_driver", &Text),
    ],
    &[],
);
static MODEL: Shape = Record(
    &[("name", &Text), ("model", &Text), ("context_size", &Whole), ("runtime_flags", &TEXTS)],
    &["model"],
);

static FILE: Shape = Record(
    &[
        ("version", &Scalar),
        ("name", &Text),
        (
            "include",
            &List(&Either(&[
                &Text,
                &Record(
                    &[
                        ("path", &TEXT_OR_TEXTS),
                        ("env_file", &TEXT_OR_TEXTS),
                        ("project_directory", &Text),
                    ],
                    &["path"],
                ),
            ])),
        ),
        ("services", &Map(&SERVICE)),
        ("models", &Map(&MODEL)),
        ("networks", &Map(&Either(&[&Null, &NETWORK]))),
        ("volumes", &Map(&Either(&[&Null, &VOLUME]))),
        ("secrets", &Map(&Either(&[&Null, &CONFIG]))),
        ("configs", &Map(&Either(&[&Null, &CONFIG]))),
    ],
    &[],
);

/// Checks keys and types of one file, before its short forms are made long.
pub(super) fn check_file(file: &Item, findings: &mut Vec<Finding>) {
    check(file, &FILE, "the file", findings);
    if let Some(version) = file.get("version") {
        findings.push(
            crate::Finding::note("compose-version", "`version` has no effect", version.place())
                .help("remove the line; every Compose file is read by the one specification"),
        );
    }
}

fn check(item: &Item, shape: &Shape, name: &str, findings: &mut Vec<Finding>) {
    if item.mark == Mark::Reset {
        return;
    }
    if !fits(item, shape) {
        let mut wanted = Vec::new();
        describe(shape, &mut wanted);
        let kind = item.kind();
        let finding = Finding::error(
            "compose-type",
            format!("{} must be {}, not {kind}", quoted(name), wanted.join(" or ")),
            item.place(),
        );
        let number_for_text = matches!(item.content, Content::Number(_) | Content::Boolean(_))
            && wanted.contains(&"a text".to_owned());
        findings.push(match item.scalar() {
            Some(text) if number_for_text => finding
                .label(format!("this is {kind}"))
                .help(format!("put it in quotes: \"{text}\"")),
            _ => finding.label(format!("this is {kind}")),
        });
        return;
    }
    match shape {
        Either(shapes) => {
            if let Some(shape) = shapes.iter().find(|shape| fits(item, shape)) {
                check(item, shape, name, findings);
            }
        }
        List(shape) => item.items().iter().for_each(|item| check(item, shape, name, findings)),
        Map(shape) => {
            for entry in item.entries() {
                if !entry.key_is_text {
                    let message = format!("the name {} must be a text, not a number", entry.key);
                    findings.push(
                        Finding::error("compose-type", message, entry.key_at.place())
                            .help(format!("put it in quotes: \"{}\"", entry.key)),
                    );
                }
                check(&entry.value, shape, &entry.key, findings);
            }
        }
        Record(keys, required) => check_record(item, keys, required, name, findings),
        Word(words) => {
            let text = item.scalar().unwrap_or_default();
            if !words.contains(&text.as_str()) {
                findings.push(not_a_word(item, &text, words, name));
            }
        }
        Truth | Whole | Number | Any | Null | Text | Scalar => {}
    }
}

fn check_record(
    item: &Item,
    keys: &'static [Key],
    required: &[&str],
    name: &str,
    findings: &mut Vec<Finding>,
) {
    let is_marline = keys.iter().any(|(key, _)| *key == "canary");
    for entry in item.entries() {
        match keys.iter().find(|(key, _)| *key == entry.key) {
            Some((key, shape)) => check(&entry.value, shape, key, findings),
            None if is_extension(&entry.key) && !is_marline => {
                if let Some(meant) = did_you_mean(&entry.key, ["x-marline"])
                    && keys.iter().any(|(key, _)| *key == meant)
                {
                    findings.push(
                        Finding::warning(
                            "compose-unknown-key",
                            format!("`{}` is nobody's extension that is known here", entry.key),
                            entry.key_at.place(),
                        )
                        .help(format!("did you mean `{meant}`?")),
                    );
                }
            }
            None if is_marline && MARLINE_LATER.contains(&entry.key.as_str()) => findings.push(
                Finding::error(
                    "compose-unsupported",
                    format!("`{}` in `x-marline` is not supported yet", entry.key),
                    entry.key_at.place(),
                )
                .help("remove it, so that nobody relies on what does not happen"),
            ),
            None => {
                let names = || keys.iter().map(|(key, _)| *key);
                let help = match did_you_mean(&entry.key, names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if keys.len() <= 12 => {
                        let listed: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                        format!("the keys here are {}", listed.join(", "))
                    }
                    None => "keys of your own begin with `x-`".into(),
                };
                findings.push(
                    Finding::error(
                        "compose-unknown-key",
                        format!("{} has no key `{}`", quoted(name), entry.key),
                        entry.key_at.place(),
                    )
                    .label("this key is unknown here")
                    .help(help),
                );
            }
        }
    }
    for key in required {
        if item.get(key).is_none() {
            let message = format!("{} has no `{key}`, which it needs", quoted(name));
            findings.push(Finding::error("compose-missing-key", message, item.place()));
        }
    }
}

fn quoted(name: &str) -> String {
    if name == "the file" { name.to_owned() } else { format!("`{name}`") }
}

fn not_a_word(item: &Item, text: &str, words: &[&str], name: &str) -> Finding {
    let listed: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    let finding =
        Finding::error("compose-value", format!("`{name}` cannot be `{text}`"), item.place());
    finding.help(match did_you_mean(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", listed.join(" or ")),
    })
}

/// Whether the item is of the kind the shape asks for, whatever lies inside it.
fn fits(item: &Item, shape: &Shape) -> bool {
    match (shape, &item.content) {
        (Any, _) => true,
        (Either(shapes), _) => shapes.iter().any(|shape| fits(item, shape)),
        (Null, content) => *content == Content::Null,
        (Text | Word(_), Content::Text(_)) => true,
        (Scalar, Content::Text(_) | Content::Number(_) | Content::Boolean(_)) => true,
        (Whole | Number, Content::Text(_) | Content::Number(_)) => true,
        (Truth, Content::Text(_) | Content::Boolean(_)) => true,
        (List(_), Content::List(_)) => true,
        (Map(_) | Record(..), Content::Map(_)) => true,
        _ => false,
    }
}

fn describe(shape: &Shape, wanted: &mut Vec<String>) {
    let word = match shape {
        Either(shapes) => return shapes.iter().for_each(|shape| describe(shape, wanted)),
        Null => return,
        Any => "anything",
        Text | Word(_) => "a text",
        Scalar => "a text or a number",
        Whole => "a whole number",
        Number => "a number",
        Truth => "true or false",
        List(_) => "a list",
        Map(_) | Record(..) => "a mapping",
    };
    if !wanted.iter().any(|known| known == word) {
        wanted.push(word.to_owned());
    }
}

pub(super) fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}
