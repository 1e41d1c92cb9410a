//! What each kind of receiver takes.
//!
//! The keys are those of Alertmanager 0.34's documentation under "Configuration", and those of
//! four kinds that Alertmanager does not have.

use std::collections::BTreeMap;

use super::{Receiver, known, optional};
use crate::yaml::{Findings, Node};
use crate::{Span, Spanned};

/// One way to tell somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Integration {
    /// Which.
    pub kind: &'static Kind,
    /// Where it stands.
    pub span: Span,
    /// Its own settings; what is left out is in `global`, or has its default.
    pub settings: BTreeMap<String, Node>,
}

/// A kind of integration.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name: `slack`.
    pub name: &'static str,
    /// The key of a receiver: `slack_configs`.
    key: &'static str,
    keys: &'static [&'static str],
    /// Of each list one must be there; `global.` says that the file's may stand for it.
    needs: &'static [&'static [&'static str]],
    /// At most one of each pair.
    either: &'static [(&'static str, &'static str)],
    /// Whether it tells of the end when nothing is said about that.
    pub tells_end: bool,
}

impl Integration {
    /// Returns a setting as a text, its own or the file's under the second name.
    pub fn text<'a>(
        &'a self,
        key: &str,
        global: &'a BTreeMap<String, Node>,
        global_key: &str,
    ) -> Option<&'a str> {
        let own = self.settings.get(key).and_then(Node::as_str);
        own.or_else(|| global.get(global_key).and_then(Node::as_str))
            .filter(|text| !text.is_empty())
    }

    /// Whether it tells when alerts end.
    pub fn tells_end(&self) -> bool {
        match self.settings.get("send_resolved").and_then(Node::as_str) {
            Some(text) => text == "true",
            None => self.kind.tells_end,
        }
    }
}

/// Every kind.
pub static KINDS: &[Kind] = &[
    Kind {
        name: "webhook",
        key: "webhook_configs",
        keys: &["url", "url_file", "max_alerts", "timeout", "payload"],
        needs: &[&["url", "url_file"]],
        either: &[("url", "url_file")],
        tells_end: true,
    },
    Kind {
        name: "email",
        key: "email_configs",
        keys: &[
            "to",
            "from",
            "smarthost",
            "hello",
            "auth_username",
            "auth_password",
            "auth_password_file",
            "auth_secret",
            "auth_secret_file",
            "auth_identity",
            "require_tls",
            "force_implicit_tls",
            "tls_config",
            "html",
            "text",
            "headers",
            "threading",
        ],
        needs: &[&["to"], &["smarthost", "global.smtp_smarthost"], &["from", "global.smtp_from"]],
        either: &[("auth_password", "auth_password_file"), ("auth_secret", "auth_secret_file")],
        tells_end: false,
    },
    Kind {
        name: "slack",
        key: "slack_configs",
        keys: &[
            "api_url",
            "api_url_file",
            "app_token",
            "app_token_file",
            "app_url",
            "channel",
            "username",
            "color",
            "title",
            "title_link",
            "pretext",
            "text",
            "fields",
            "short_fields",
            "footer",
            "fallback",
            "callback_id",
            "icon_emoji",
            "icon_url",
            "image_url",
            "thumb_url",
            "link_names",
            "mrkdwn_in",
            "actions",
            "update_message",
            "message_text",
            "timeout",
        ],
        needs: &[&[
            "api_url",
            "api_url_file",
            "app_token",
            "app_token_file",
            "global.slack_api_url",
            "global.slack_api_url_file",
            "global.slack_app_token",
            "global.slack_app_token_file",
        ]],
        either: &[
            ("api_url", "api_url_file"),
            ("app_token", "app_token_file"),
            ("api_url", "app_token"),
            ("api_url", "update_message"),
            ("api_url_file", "update_message"),
        ],
        tells_end: false,
    },
    Kind {
        name: "pagerduty",
        key: "pagerduty_configs",
        keys: &[
            "service_key",
            "service_key_file",
            "routing_key",
            "routing_key_file",
            "url",
            "client",
            "client_url",
            "description",
            "severity",
            "details",
            "images",
            "links",
            "source",
            "component",
            "class",
            "group",
            "timeout",
        ],
        needs: &[&["service_key", "service_key_file", "routing_key", "routing_key_file"]],
        either: &[
            ("service_key", "service_key_file"),
            ("routing_key", "routing_key_file"),
            ("service_key", "routing_key"),
        ],
        tells_end: true,
    },
    Kind {
        name: "opsgenie",
        key: "opsgenie_configs",
        keys: &[
            "api_key",
            "api_key_file",
            "api_url",
            "message",
            "description",
            "source",
            "details",
            "responders",
            "tags",
            "note",
            "priority",
            "update_alerts",
            "entity",
            "actions",
        ],
        needs: &[&[
            "api_key",
            "api_key_file",
            "global.opsgenie_api_key",
            "global.opsgenie_api_key_file",
        ]],
        either: &[("api_key", "api_key_file")],
        tells_end: true,
    },
    Kind {
        name: "telegram",
        key: "telegram_configs",
        keys: &[
            "api_url",
            "bot_token",
            "bot_token_file",
            "chat_id",
            "chat_id_file",
            "message_thread_id",
            "message",
            "parse_mode",
            "disable_notifications",
        ],
        needs: &[
            &[
                "bot_token",
                "bot_token_file",
                "global.telegram_bot_token",
                "global.telegram_bot_token_file",
            ],
            &["chat_id", "chat_id_file"],
        ],
        either: &[("bot_token", "bot_token_file"), ("chat_id", "chat_id_file")],
        tells_end: true,
    },
    Kind {
        name: "discord",
        key: "discord_configs",
        keys: &[
            "webhook_url",
            "webhook_url_file",
            "title",
            "message",
            "content",
            "username",
            "avatar_url",
        ],
        needs: &[&["webhook_url", "webhook_url_file"]],
        either: &[("webhook_url", "webhook_url_file")],
        tells_end: true,
    },
    Kind {
        name: "msteams",
        key: "msteams_configs",
        keys: &["webhook_url", "webhook_url_file", "title", "summary", "text"],
        needs: &[&["webhook_url", "webhook_url_file"]],
        either: &[("webhook_url", "webhook_url_file")],
        tells_end: true,
    },
    Kind {
        name: "msteamsv2",
        key: "msteamsv2_configs",
        keys: &["webhook_url", "webhook_url_file", "title", "text"],
        needs: &[&["webhook_url", "webhook_url_file"]],
        either: &[("webhook_url", "webhook_url_file")],
        tells_end: true,
    },
    Kind {
        name: "mattermost",
        key: "mattermost_configs",
        keys: &[
            "webhook_url",
            "webhook_url_file",
            "channel",
            "username",
            "text",
            "icon_url",
            "icon_emoji",
            "attachments",
            "props",
            "priority",
            "color",
            "title",
            "title_link",
            "pretext",
            "fallback",
            "fields",
            "footer",
            "footer_icon",
            "image_url",
            "thumb_url",
            "author_name",
            "author_link",
            "author_icon",
        ],
        needs: &[&[
            "webhook_url",
            "webhook_url_file",
            "global.mattermost_webhook_url",
            "global.mattermost_webhook_url_file",
        ]],
        either: &[("webhook_url", "webhook_url_file")],
        tells_end: true,
    },
    Kind {
        name: "pushover",
        key: "pushover_configs",
        keys: &[
            "user_key",
            "user_key_file",
            "token",
            "token_file",
            "title",
            "message",
            "url",
            "url_title",
            "device",
            "sound",
            "priority",
            "retry",
            "expire",
            "ttl",
            "html",
            "monospace",
        ],
        needs: &[&["user_key", "user_key_file"], &["token", "token_file"]],
        either: &[("user_key", "user_key_file"), ("token", "token_file"), ("html", "monospace")],
        tells_end: true,
    },
    Kind {
        name: "victorops",
        key: "victorops_configs",
        keys: &[
            "api_key",
            "api_key_file",
            "api_url",
            "routing_key",
            "message_type",
            "entity_display_name",
            "state_message",
            "monitoring_tool",
            "custom_fields",
        ],
        needs: &[
            &[
                "api_key",
                "api_key_file",
                "global.victorops_api_key",
                "global.victorops_api_key_file",
            ],
            &["routing_key"],
        ],
        either: &[("api_key", "api_key_file")],
        tells_end: true,
    },
    Kind {
        name: "webex",
        key: "webex_configs",
        keys: &["api_url", "room_id", "message"],
        needs: &[&["room_id"], &["http_config", "global.http_config"]],
        either: &[],
        tells_end: true,
    },
    Kind {
        name: "wechat",
        key: "wechat_configs",
        keys: &[
            "api_secret",
            "api_secret_file",
            "api_url",
            "corp_id",
            "agent_id",
            "to_user",
            "to_party",
            "to_tag",
            "message",
            "message_type",
        ],
        needs: &[
            &[
                "api_secret",
                "api_secret_file",
                "global.wechat_api_secret",
                "global.wechat_api_secret_file",
            ],
            &["corp_id", "global.wechat_api_corp_id"],
        ],
        either: &[("api_secret", "api_secret_file")],
        tells_end: false,
    },
    Kind {
        name: "sns",
        key: "sns_configs",
        keys: &[
            "api_url",
            "sigv4",
            "topic_arn",
            "phone_number",
            "target_arn",
            "subject",
            "message",
            "attributes",
        ],
        needs: &[&["topic_arn", "phone_number", "target_arn"]],
        either: &[
            ("topic_arn", "phone_number"),
            ("topic_arn", "target_arn"),
            ("phone_number", "target_arn"),
        ],
        tells_end: true,
    },
    Kind {
        name: "jira",
        key: "jira_configs",
        keys: &[
            "api_url",
            "api_type",
            "project",
            "summary",
            "description",
            "labels",
            "priority",
            "issue_type",
            "reopen_transition",
            "resolve_transition",
            "wont_fix_resolution",
            "reopen_duration",
            "fields",
            "custom_fields",
        ],
        needs: &[&["api_url", "global.jira_api_url"], &["project"], &["issue_type"]],
        either: &[],
        tells_end: true,
    },
    Kind {
        name: "rocketchat",
        key: "rocketchat_configs",
        keys: &[
            "api_url",
            "channel",
            "token",
            "token_file",
            "token_id",
            "token_id_file",
            "color",
            "emoji",
            "icon_url",
            "text",
            "title",
            "title_link",
            "fields",
            "short_fields",
            "image_url",
            "thumb_url",
            "link_names",
            "actions",
        ],
        needs: &[
            &["token", "token_file", "global.rocketchat_token", "global.rocketchat_token_file"],
            &[
                "token_id",
                "token_id_file",
                "global.rocketchat_token_id",
                "global.rocketchat_token_id_file",
            ],
        ],
        either: &[("token", "token_file"), ("token_id", "token_id_file")],
        tells_end: false,
    },
    Kind {
        name: "incidentio",
        key: "incidentio_configs",
        keys: &[
            "url",
            "url_file",
            "alert_source_token",
            "alert_source_token_file",
            "max_alerts",
            "timeout",
            "metadata",
        ],
        needs: &[
            &["url", "url_file"],
            &["alert_source_token", "alert_source_token_file", "http_config"],
        ],
        either: &[("url", "url_file"), ("alert_source_token", "alert_source_token_file")],
        tells_end: true,
    },
    // What follows is Marline's own; Alertmanager refuses a file that has it.
    Kind {
        name: "ntfy",
        key: "ntfy_configs",
        keys: &[
            "url",
            "topic",
            "topic_file",
            "token",
            "token_file",
            "title",
            "message",
            "priority",
        ],
        needs: &[&["topic", "topic_file"]],
        either: &[("topic", "topic_file"), ("token", "token_file")],
        tells_end: true,
    },
    Kind {
        name: "gotify",
        key: "gotify_configs",
        keys: &["url", "url_file", "token", "token_file", "title", "message", "priority"],
        needs: &[&["url", "url_file"], &["token", "token_file"]],
        either: &[("url", "url_file"), ("token", "token_file")],
        tells_end: true,
    },
    Kind {
        name: "matrix",
        key: "matrix_configs",
        keys: &[
            "homeserver_url",
            "homeserver_url_file",
            "access_token",
            "access_token_file",
            "room_id",
            "room_id_file",
            "message",
        ],
        needs: &[
            &["homeserver_url", "homeserver_url_file"],
            &["access_token", "access_token_file"],
            &["room_id", "room_id_file"],
        ],
        either: &[("access_token", "access_token_file")],
        tells_end: true,
    },
    Kind {
        name: "command",
        key: "command_configs",
        keys: &["command"],
        needs: &[&["command"]],
        either: &[],
        tells_end: true,
    },
];

const GLOBAL_KEYS: &[&str] = &[
    "resolve_timeout",
    "http_config",
    "smtp_from",
    "smtp_hello",
    "smtp_smarthost",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_auth_secret",
    "smtp_auth_secret_file",
    "smtp_auth_identity",
    "smtp_require_tls",
    "smtp_tls_config",
    "smtp_force_implicit_tls",
    "slack_api_url",
    "slack_api_url_file",
    "slack_app_token",
    "slack_app_token_file",
    "slack_app_url",
    "pagerduty_url",
    "opsgenie_api_url",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "wechat_api_url",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_corp_id",
    "victorops_api_url",
    "victorops_api_key",
    "victorops_api_key_file",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "webex_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "jira_api_url",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
];

/// At most one of each pair may be in `global`.
const GLOBAL_EITHER: &[(&str, &str)] = &[
    ("smtp_auth_password", "smtp_auth_password_file"),
    ("smtp_auth_secret", "smtp_auth_secret_file"),
    ("slack_api_url", "slack_api_url_file"),
    ("slack_app_token", "slack_app_token_file"),
    ("slack_api_url", "slack_app_token"),
    ("opsgenie_api_key", "opsgenie_api_key_file"),
    ("wechat_api_secret", "wechat_api_secret_file"),
    ("victorops_api_key", "victorops_api_key_file"),
    ("telegram_bot_token", "telegram_bot_token_file"),
    ("rocketchat_token", "rocketchat_token_file"),
    ("rocketchat_token_id", "rocketchat_token_id_file"),
    ("mattermost_webhook_url", "mattermost_webhook_url_file"),
];

fn settings(node: &Node) -> BTreeMap<String, Node> {
    let entries = node.as_mapping().unwrap_or_default().iter();
    entries
        .filter(|(_, value)| !value.is_null())
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.clone())))
        .collect()
}

fn only_one(node: &Node, pairs: &[(&str, &str)], findings: &mut Findings) {
    let given = |key: &str| {
        let (key, value) = node.entry(key)?;
        let is_off = value.is_null() || matches!(value.as_str(), Some("" | "false"));
        (!is_off).then_some(key.span)
    };
    for (one, other) in pairs {
        if let (Some(_), Some(span)) = (given(one), given(other)) {
            let message = format!("`{one}` and `{other}` are both there; at most one may be");
            findings.error("alertmanager-either", message, span).help =
                Some("remove one of them".to_owned());
        }
    }
}

/// Reads `global`.
pub(super) fn global(node: &Node, findings: &mut Findings) -> BTreeMap<String, Node> {
    known(node, GLOBAL_KEYS, findings);
    only_one(node, GLOBAL_EITHER, findings);
    super::duration(node, "resolve_timeout", findings);
    settings(node)
}

pub(super) fn receiver(
    node: &Node,
    global: &BTreeMap<String, Node>,
    findings: &mut Findings,
) -> Option<Receiver> {
    let mut keys: Vec<&str> = KINDS.iter().map(|kind| kind.key).collect();
    keys.insert(0, "name");
    known(node, &keys, findings)?;
    let name = optional(node, "name").and_then(|name| {
        let text = name.expect_scalar(findings)?;
        (!text.is_empty()).then(|| Spanned::new(text.to_owned(), name.span))
    });
    if name.is_none() {
        findings.error("missing-key", "a receiver has no `name`", node.span.first()).help =
            Some("add `name: …`; routes refer to it".to_owned());
    }
    let mut integrations = Vec::new();
    for (key, _) in node.expect_mapping(findings)? {
        let Some(kind) = KINDS.iter().find(|kind| key.as_str() == Some(kind.key)) else { continue };
        for item in super::items(node, kind.key, findings) {
            integrations.extend(integration(kind, item, global, findings));
        }
    }
    Some(Receiver { name: name?, integrations })
}

fn integration(
    kind: &'static Kind,
    node: &Node,
    global: &BTreeMap<String, Node>,
    findings: &mut Findings,
) -> Option<Integration> {
    let mut keys = kind.keys.to_vec();
    keys.extend(["send_resolved", "http_config"]);
    known(node, &keys, findings)?;
    only_one(node, kind.either, findings);
    if let Some(flag) = optional(node, "send_resolved") {
        flag.expect_boolean(findings);
    }
    for names in kind.needs {
        let is_given = names.iter().any(|name| match name.strip_prefix("global.") {
            Some(name) => global.contains_key(name),
            None => node.get(name).is_some_and(|value| !value.is_null()),
        });
        if !is_given {
            let own: Vec<&str> =
                names.iter().copied().filter(|name| !name.starts_with("global.")).collect();
            let message = format!("{} needs `{}`", kind.key, own.join("` or `"));
            let shared: Vec<&str> =
                names.iter().filter_map(|name| name.strip_prefix("global.")).collect();
            findings.error("alertmanager-missing", message, node.span.first()).help =
                Some(match shared.as_slice() {
                    [] => format!("add `{}: …`", own[0]),
                    shared => {
                        format!("add `{}: …` here, or `{}: …` under `global`", own[0], shared[0])
                    }
                });
        }
    }
    Some(Integration { kind, span: node.span, settings: settings(node) })
}
