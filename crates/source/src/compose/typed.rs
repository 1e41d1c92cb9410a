//! From the tree of a whole project to its types.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::model::{
    AccessLog, Build, CircuitBreakers, Condition, Config, Dependency, Deploy, EngineName, EnvFile,
    FailureAction, FileGrant, HealthTest, Healthcheck, Hook, LogFormat, Marline, Mount, MountKind,
    Network, NetworkUse, Order, OutlierDetection, Port, PortRange, Project, Protocol, RateLimit,
    ResourceLimits, Resources, Restart, RestartCondition, RestartPolicy, RetryBudget, Service,
    Spanned, Strategy, Tls, Ulimit, UpdateConfig, Volume,
};
use super::shape::is_extension;
use super::tree::{Content, Item};
use super::units::{parse_bytes, parse_duration, shell_words, show_duration};
use crate::yaml::did_you_mean;
use crate::{Finding, Place};

/// The most ports one service may spread ranges into.
const MAX_PORTS: usize = 4096;

pub(super) fn project(name: String, file: &Item, findings: &mut Vec<Finding>) -> Project {
    let reader = &mut Reader { findings };
    let mut tree = file.to_json();
    let services = reader.named(file, "services", Reader::service);
    if let Json::Object(fields) = &mut tree {
        fields.shift_remove("version");
        fields.shift_remove("name");
        fields.shift_insert(0, "name".into(), Json::String(name.clone()));
        if let Some(Json::Object(written)) = fields.get_mut("services") {
            for (name, service) in written.iter_mut() {
                if let (Json::Object(service), Some(typed)) = (service, services.get(name)) {
                    normalise(service, typed);
                }
            }
        }
    }
    Project {
        services,
        networks: reader.named(file, "networks", |reader, _, place, item| {
            Spanned::new(reader.network(item), place)
        }),
        volumes: reader.named(file, "volumes", |reader, name, place, item| {
            Spanned::new(reader.volume(name, item), place)
        }),
        secrets: reader.named(file, "secrets", |reader, name, place, item| {
            Spanned::new(reader.config("secret", name, item), place)
        }),
        configs: reader.named(file, "configs", |reader, name, place, item| {
            Spanned::new(reader.config("config", name, item), place)
        }),
        extensions: file
            .entries()
            .iter()
            .filter(|entry| is_extension(&entry.key))
            .map(|entry| (entry.key.clone(), entry.value.to_json()))
            .collect(),
        name,
        tree,
    }
}

/// Puts what was typed in place of what was written, where several ways of writing mean the same.
fn normalise(written: &mut serde_json::Map<String, Json>, typed: &Service) {
    let mut set = |key: &str, value: Json| {
        if let Some(place) = written.get_mut(key) {
            *place = value;
        }
    };
    let command = |command: &Option<Spanned<Vec<String>>>| {
        command.as_ref().map_or(Json::Null, |command| json!(command.value))
    };
    set("command", command(&typed.command));
    set("entrypoint", command(&typed.entrypoint));
    set("ports", typed.ports.iter().map(|port| port_json(port)).collect());
    set("volumes", typed.volumes.iter().map(|mount| mount_json(mount)).collect());
    if let Some(grace) = &typed.stop_grace_period {
        set("stop_grace_period", json!(show_duration(grace.value)));
    }
    if let Some(Json::Object(environment)) = written.get_mut("environment") {
        for (key, value) in &typed.environment {
            environment.insert(key.clone(), json!(value.value));
        }
    }
}

fn port_json(port: &Port) -> Json {
    let mut fields = serde_json::Map::new();
    let mut set = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            fields.insert(key.into(), value);
        }
    };
    set("name", port.name.as_ref().map(|name| json!(name)));
    set("mode", Some(json!(port.mode.as_deref().unwrap_or("ingress"))));
    set("host_ip", port.host_ip.as_ref().map(|ip| json!(ip)));
    set("target", Some(json!(port.target)));
    set("published", port.published.map(|range| json!(shown_range(range))));
    set("protocol", Some(json!(port.protocol)));
    set("app_protocol", port.app_protocol.as_ref().map(|protocol| json!(protocol)));
    Json::Object(fields)
}

fn shown_range(range: PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

fn mount_json(mount: &Mount) -> Json {
    let mut fields = serde_json::Map::new();
    fields.insert("type".into(), json!(mount.kind));
    if let Some(source) = &mount.source {
        fields.insert("source".into(), json!(source));
    }
    fields.insert("target".into(), json!(mount.target));
    if mount.read_only {
        fields.insert("read_only".into(), json!(true));
    }
    Json::Object(fields)
}

/// Reads typed values and collects what is wrong with them.
///
/// What is of the wrong kind altogether was found by the check of shapes; here such a value is
/// passed over in silence.
struct Reader<'a> {
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn wrong(&mut self, item: &Item, message: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::error("compose-value", message, item.place()).help(help));
    }

    fn named<T>(
        &mut self,
        item: &Item,
        key: &str,
        mut read: impl FnMut(&mut Self, &str, Place, &Item) -> T,
    ) -> IndexMap<String, T> {
        let entries = item.get(key).map_or(&[][..], Item::entries);
        entries
            .iter()
            .filter(|entry| matches!(entry.value.content, Content::Map(_) | Content::Null))
            .map(|entry| {
                (entry.key.clone(), read(self, &entry.key, entry.key_at.place(), &entry.value))
            })
            .collect()
    }

    fn service(&mut self, name: &str, place: Place, item: &Item) -> Service {
        let mut fields = Vec::new();
        fields_of(item, "", &mut fields);
        Service {
            name: name.to_owned(),
            place,
            image: text(item, "image"),
            build: item.get("build").and_then(|build| self.build(build)),
            command: self.words(item, "command"),
            entrypoint: self.words(item, "entrypoint"),
            working_dir: text(item, "working_dir"),
            user: text(item, "user"),
            environment: variables(item),
            env_files: self.env_files(item),
            ports: self.ports(item),
            expose: self.exposed(item),
            healthcheck: item.get("healthcheck").and_then(|check| self.healthcheck(check)),
            depends_on: self.depends_on(item),
            deploy: item.get("deploy").map(|deploy| self.deploy(deploy)).unwrap_or_default(),
            scale: self.whole(item, "scale"),
            restart: self.restart(item),
            stop_signal: text(item, "stop_signal"),
            stop_grace_period: self.duration(item, "stop_grace_period"),
            pre_start: self.hooks(item, "pre_start"),
            post_start: self.hooks(item, "post_start"),
            pre_stop: self.hooks(item, "pre_stop"),
            profiles: texts(item, "profiles"),
            secrets: self.grants(item, "secrets"),
            configs: self.grants(item, "configs"),
            volumes: self.mounts(item),
            tmpfs: texts(item, "tmpfs"),
            ulimits: self.ulimits(item),
            labels: labels(item),
            read_only: self.truth(item, "read_only"),
            init: self.truth(item, "init"),
            networks: networks(item),
            marline: item.get("x-marline").map(|own| self.marline(own)).unwrap_or_default(),
            has_provider: item.get("provider").is_some_and(|provider| !provider.is_null()),
            fields,
        }
    }

    // Scalars

    fn parsed<T>(
        &mut self,
        item: &Item,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        wanted: &str,
        help: &str,
    ) -> Option<Spanned<T>> {
        let value = item.get(key)?;
        let text = value.scalar()?;
        match parse(&text) {
            Some(parsed) => Some(Spanned::new(parsed, value.place())),
            None => {
                self.wrong(value, format!("`{key}` must be {wanted}, not `{text}`"), help);
                None
            }
        }
    }

    fn truth(&mut self, item: &Item, key: &str) -> Option<Spanned<bool>> {
        self.parsed(item, key, parse_truth, "true or false", "write `true` or `false`")
    }

    fn whole(&mut self, item: &Item, key: &str) -> Option<Spanned<u32>> {
        let parse = |text: &str| text.parse().ok();
        self.parsed(item, key, parse, "a whole number from 0 up", "write it with digits only")
    }

    fn duration(&mut self, item: &Item, key: &str) -> Option<Spanned<Duration>> {
        let help = "give a number and a unit: `500ms`, `10s`, `1m30s`, `2h`";
        self.parsed(item, key, parse_duration, "a time", help)
    }

    fn words(&mut self, item: &Item, key: &str) -> Option<Spanned<Vec<String>>> {
        let value = item.get(key)?;
        Some(Spanned::new(self.argv(value, key)?, value.place()))
    }

    fn argv(&mut self, value: &Item, key: &str) -> Option<Vec<String>> {
        match &value.content {
            Content::Null | Content::Map(_) => None,
            Content::List(items) => Some(items.iter().filter_map(Item::scalar).collect()),
            _ => match shell_words(&value.scalar()?) {
                Ok(words) => Some(words),
                Err(problem) => {
                    let message = format!("`{key}` cannot be split into words: {problem}");
                    self.wrong(value, message, "close the quote, or write a list of words");
                    None
                }
            },
        }
    }

    // Parts of a service

    fn build(&mut self, item: &Item) -> Option<Spanned<Build>> {
        matches!(item.content, Content::Map(_)).then(|| {
            let text = |key| item.get(key).and_then(Item::scalar);
            let build = Build {
                context: text("context").unwrap_or_else(|| ".".into()),
                dockerfile: text("dockerfile"),
                target: text("target"),
                args: item
                    .get("args")
                    .map_or(&[][..], Item::entries)
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.scalar()))
                    .collect(),
            };
            if let (Some(_), Some(inline)) = (item.get("dockerfile"), item.get("dockerfile_inline"))
            {
                self.wrong(
                    inline,
                    "`dockerfile` and `dockerfile_inline` are both there",
                    "keep one of them",
                );
            }
            Spanned::new(build, item.place())
        })
    }

    fn env_files(&mut self, item: &Item) -> Vec<Spanned<EnvFile>> {
        let files = item.get("env_file").map_or(&[][..], Item::items);
        files
            .iter()
            .filter_map(|file| {
                let path = file.get("path")?.scalar()?;
                let required = self.truth(file, "required").is_none_or(|required| *required);
                let is_raw = match text(file, "format") {
                    Some(format) if format.value != "raw" => {
                        self.wrong(
                            file.get("format").unwrap_or(file),
                            format!("`format` cannot be `{}`", format.value),
                            "write `raw`, or leave it out for the usual format",
                        );
                        false
                    }
                    format => format.is_some(),
                };
                Some(Spanned::new(EnvFile { path, required, is_raw }, file.place()))
            })
            .collect()
    }

    fn ports(&mut self, item: &Item) -> Vec<Spanned<Port>> {
        let mut ports: Vec<Spanned<Port>> = Vec::new();
        for written in item.get("ports").map_or(&[][..], Item::items) {
            let read = match &written.content {
                Content::Map(_) => long_port(written),
                _ => written.scalar().map_or(Ok(Vec::new()), |text| short_ports(&text)),
            };
            match read {
                Ok(read) if ports.len() + read.len() > MAX_PORTS => {
                    let message = format!("a service cannot offer more than {MAX_PORTS} ports");
                    self.wrong(written, message, "offer a smaller range");
                    return ports;
                }
                Ok(read) => {
                    ports.extend(read.into_iter().map(|port| Spanned::new(port, written.place())));
                }
                Err(message) => self.wrong(
                    written,
                    message,
                    "write `\"8080:80\"`, `\"127.0.0.1:8080:80/tcp\"` or `{target: 80, published: 8080}`",
                ),
            }
        }
        ports
    }

    fn exposed(&mut self, item: &Item) -> Vec<Spanned<PortRange>> {
        let mut ranges = Vec::new();
        for written in item.get("expose").map_or(&[][..], Item::items) {
            let Some(text) = written.scalar() else { continue };
            let range =
                split_protocol(&text).and_then(|(ports, protocol)| parse_range(ports, protocol));
            match range {
                Ok(range) => ranges.push(Spanned::new(range, written.place())),
                Err(message) => self.wrong(written, message, "write `\"80\"` or `\"80-82/udp\"`"),
            }
        }
        ranges
    }

    fn healthcheck(&mut self, item: &Item) -> Option<Spanned<Healthcheck>> {
        if !matches!(item.content, Content::Map(_)) {
            return None;
        }
        let mut check = Healthcheck {
            disable: self.truth(item, "disable").is_some_and(|disable| *disable),
            test: None,
            interval: self.duration(item, "interval").map(|time| time.value),
            timeout: self.duration(item, "timeout").map(|time| time.value),
            retries: self.whole(item, "retries").map(|retries| retries.value),
            start_period: self.duration(item, "start_period").map(|time| time.value),
            start_interval: self.duration(item, "start_interval").map(|time| time.value),
        };
        if let Some(test) = item.get("test") {
            check.test = match &test.content {
                Content::List(items) => self.health_test(test, items),
                _ => test.scalar().map(HealthTest::Shell),
            };
        }
        check.disable |= check.test == Some(HealthTest::None);
        Some(Spanned::new(check, item.place()))
    }

    fn health_test(&mut self, test: &Item, items: &[Item]) -> Option<HealthTest> {
        let mut words = items.iter().filter_map(Item::scalar);
        let first = words.next();
        let rest: Vec<String> = words.collect();
        match (first.as_deref(), rest.as_slice()) {
            (None, _) => None,
            (Some("NONE"), []) => Some(HealthTest::None),
            (Some("CMD"), [_, ..]) => Some(HealthTest::Exec(rest)),
            (Some("CMD-SHELL"), [_, ..]) => Some(HealthTest::Shell(rest.join(" "))),
            (Some("CMD" | "CMD-SHELL"), _) => {
                self.wrong(
                    test,
                    "the health check says how but not what to run",
                    "add the command",
                );
                None
            }
            (Some(other), _) => {
                self.wrong(
                    test,
                    format!("a health check that is a list cannot begin with `{other}`"),
                    "begin it with `CMD`, `CMD-SHELL` or `NONE`, or write it as one text",
                );
                None
            }
        }
    }

    fn depends_on(&mut self, item: &Item) -> IndexMap<String, Spanned<Dependency>> {
        let entries = item.get("depends_on").map_or(&[][..], Item::entries);
        let mut found = IndexMap::new();
        for entry in entries.iter().filter(|entry| !is_extension(&entry.key)) {
            let value = &entry.value;
            let condition = match value.get("condition").and_then(Item::scalar).as_deref() {
                Some("service_healthy") => Condition::Healthy,
                Some("service_completed_successfully") => Condition::Completed,
                _ => Condition::Started, // another word was found when the shape was checked
            };
            let required = self.truth(value, "required").is_none_or(|required| *required);
            let restart = self.truth(value, "restart").is_some_and(|restart| *restart);
            let dependency = Dependency { condition, required, restart };
            found.insert(entry.key.clone(), Spanned::new(dependency, entry.key_at.place()));
        }
        found
    }

    fn deploy(&mut self, item: &Item) -> Deploy {
        if let Some(devices) = item
            .get("resources")
            .and_then(|resources| resources.get("reservations"))
            .and_then(|reservations| reservations.get("devices"))
        {
            devices.items().iter().for_each(|device| self.device(device));
        }
        Deploy {
            replicas: self.whole(item, "replicas"),
            resources: item
                .get("resources")
                .map(|resources| Resources {
                    limits: self.limits(resources.get("limits")),
                    reservations: self.limits(resources.get("reservations")),
                })
                .unwrap_or_default(),
            restart_policy: item.get("restart_policy").map(|policy| {
                let value = RestartPolicy {
                    condition: self.word(
                        policy,
                        "condition",
                        &[
                            ("none", RestartCondition::None),
                            ("on-failure", RestartCondition::OnFailure),
                            ("any", RestartCondition::Any),
                        ],
                    ),
                    delay: self.duration(policy, "delay"),
                    max_attempts: self.whole(policy, "max_attempts"),
                    window: self.duration(policy, "window"),
                };
                Spanned::new(value, policy.place())
            }),
            update_config: item.get("update_config").map(|update| self.update(update)),
            rollback_config: item.get("rollback_config").map(|update| self.update(update)),
            labels: labels(item),
        }
    }

    fn device(&mut self, device: &Item) {
        if let (Some(count), Some(_)) = (device.get("count"), device.get("device_ids")) {
            self.wrong(count, "`count` and `device_ids` are both there", "keep one of them");
        }
        let all_or_number =
            |text: &str| (text == "all" || text.parse::<i64>().is_ok()).then_some(());
        self.parsed(device, "count", all_or_number, "a number or `all`", "write `count: all`");
    }

    fn update(&mut self, item: &Item) -> Spanned<UpdateConfig> {
        let ratio = |text: &str| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        let value = UpdateConfig {
            parallelism: self.whole(item, "parallelism"),
            delay: self.duration(item, "delay"),
            order: self.word(
                item,
                "order",
                &[("stop-first", Order::StopFirst), ("start-first", Order::StartFirst)],
            ),
            monitor: self.duration(item, "monitor"),
            max_failure_ratio: self.parsed(
                item,
                "max_failure_ratio",
                ratio,
                "between 0 and 1",
                "one in a hundred is `0.01`",
            ),
            failure_action: self.word(
                item,
                "failure_action",
                &[
                    ("pause", FailureAction::Pause),
                    ("continue", FailureAction::Continue),
                    ("rollback", FailureAction::Rollback),
                ],
            ),
        };
        Spanned::new(value, item.place())
    }

    fn word<T: Copy>(&mut self, item: &Item, key: &str, words: &[(&str, T)]) -> Option<Spanned<T>> {
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, t)| *t);
        let listed: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let text = item.get(key).and_then(Item::scalar).unwrap_or_default();
        let help = match did_you_mean(&text, words.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write one of these words".to_owned(),
        };
        self.parsed(item, key, find, &listed.join(" or "), &help)
    }

    fn limits(&mut self, item: Option<&Item>) -> ResourceLimits {
        let Some(item) = item else { return ResourceLimits::default() };
        let cpus = |text: &str| text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0);
        ResourceLimits {
            cpus: self.parsed(item, "cpus", cpus, "a number of processors", "half of one is `0.5`"),
            memory: self.bytes(item, "memory"),
            pids: self.parsed(item, "pids", |t| t.parse().ok(), "a whole number", "use digits"),
        }
    }

    fn bytes(&mut self, item: &Item, key: &str) -> Option<Spanned<u64>> {
        self.parsed(item, key, parse_bytes, "a size", "give a number and a unit: `512M`, `1.5G`")
    }

    fn restart(&mut self, item: &Item) -> Option<Spanned<Restart>> {
        let parse = |text: &str| match text.split_once(':') {
            None => match text {
                "no" | "" => Some(Restart::No),
                "always" => Some(Restart::Always),
                "unless-stopped" => Some(Restart::UnlessStopped),
                "on-failure" => Some(Restart::OnFailure(None)),
                _ => None,
            },
            Some(("on-failure", times)) => times.parse().ok().map(|n| Restart::OnFailure(Some(n))),
            Some(_) => None,
        };
        let wanted = "`no`, `always`, `on-failure`, `on-failure:3` or `unless-stopped`";
        self.parsed(item, "restart", parse, wanted, "quote `\"no\"`, as YAML may take it for false")
    }

    fn hooks(&mut self, item: &Item, key: &str) -> Vec<Spanned<Hook>> {
        let mut hooks = Vec::new();
        for hook in item.get(key).map_or(&[][..], Item::items) {
            let text = |key| hook.get(key).and_then(Item::scalar);
            let command = hook.get("command").and_then(|command| self.argv(command, "command"));
            let value = Hook {
                command: command.unwrap_or_default(),
                image: text("image"),
                user: text("user"),
                working_dir: text("working_dir"),
                environment: variables(hook).into_iter().map(|(k, v)| (k, v.value)).collect(),
                privileged: self.truth(hook, "privileged").is_some_and(|yes| *yes),
                per_replica: self.truth(hook, "per_replica").is_some_and(|yes| *yes),
            };
            hooks.push(Spanned::new(value, hook.place()));
        }
        hooks
    }

    fn grants(&mut self, item: &Item, key: &str) -> Vec<Spanned<FileGrant>> {
        let mut grants = Vec::new();
        for grant in item.get(key).map_or(&[][..], Item::items) {
            let text = |key| grant.get(key).and_then(Item::scalar);
            let value = match grant.scalar() {
                Some(source) => {
                    FileGrant { source, target: None, uid: None, gid: None, mode: None }
                }
                None => FileGrant {
                    source: text("source").unwrap_or_default(),
                    target: text("target"),
                    uid: text("uid"),
                    gid: text("gid"),
                    mode: self
                        .parsed(grant, "mode", parse_mode, "permissions", "write `0440`")
                        .map(|mode| mode.value),
                },
            };
            grants.push(Spanned::new(value, grant.place()));
        }
        grants
    }

    fn mounts(&mut self, item: &Item) -> Vec<Spanned<Mount>> {
        let mut mounts = Vec::new();
        for written in item.get("volumes").map_or(&[][..], Item::items) {
            let mount = match written.scalar() {
                Some(text) => short_mount(&text),
                None => {
                    self.long_mount_parts(written);
                    long_mount(written)
                }
            };
            match mount {
                Ok(mount) => mounts.push(Spanned::new(mount, written.place())),
                Err(message) => {
                    self.wrong(
                        written,
                        message,
                        "write `name:/path`, `./dir:/path` or the long form",
                    );
                }
            }
        }
        mounts
    }

    fn long_mount_parts(&mut self, mount: &Item) {
        if let Some(tmpfs) = mount.get("tmpfs") {
            self.bytes(tmpfs, "size");
            let whole = |text: &str| {
                let fraction = text.parse::<f64>().is_ok_and(|n| n.fract() != 0.0);
                (!fraction).then_some(())
            };
            self.parsed(tmpfs, "size", whole, "a whole number of bytes", "write `64M`");
        }
    }

    fn ulimits(&mut self, item: &Item) -> IndexMap<String, Spanned<Ulimit>> {
        let mut limits = IndexMap::new();
        for entry in item.get("ulimits").map_or(&[][..], Item::entries) {
            let value = &entry.value;
            let read = |item: Option<&Item>| item?.scalar()?.parse::<i64>().ok();
            let limit = match value.scalar() {
                Some(_) => read(Some(value)).map(|both| Ulimit { soft: both, hard: both }),
                None => read(value.get("soft"))
                    .zip(read(value.get("hard")))
                    .map(|(soft, hard)| Ulimit { soft, hard }),
            };
            match limit {
                Some(limit) => {
                    limits.insert(entry.key.clone(), Spanned::new(limit, value.place()));
                }
                None if is_extension(&entry.key) => {}
                None => self.wrong(
                    value,
                    format!("the limit `{}` must be a whole number", entry.key),
                    "write a number, or `{soft: 1024, hard: 2048}`; -1 is no limit",
                ),
            }
        }
        limits
    }

    fn marline(&mut self, item: &Item) -> Marline {
        let hosts = texts(item, "hosts");
        for (host, written) in hosts.iter().zip(item.get("hosts").map_or(&[][..], Item::items)) {
            if !is_host(host) {
                self.wrong(
                    written,
                    format!("`{}` is no host name", host.value),
                    "write it without scheme, port and path: `shop.example.com`",
                );
            }
        }
        let paths = texts(item, "paths");
        for (path, written) in paths.iter().zip(item.get("paths").map_or(&[][..], Item::items)) {
            if !path.starts_with('/') {
                self.wrong(
                    written,
                    format!("the path `{}` does not begin with `/`", path.value),
                    format!("write `/{}`", path.value),
                );
            }
        }
        let path = |text: &str| text.starts_with('/').then(|| text.to_owned());
        Marline {
            hosts,
            paths,
            http: self.parsed(item, "http", path, "a path", "write it from the root: `/healthz`"),
            canary: self.weights(item),
            drain: self.duration(item, "drain"),
            strategy: self.word(
                item,
                "strategy",
                &[
                    ("blue-green", Strategy::BlueGreen),
                    ("canary", Strategy::Canary),
                    ("rolling", Strategy::Rolling),
                    ("recreate", Strategy::Recreate),
                ],
            ),
            engine: self.word(
                item,
                "engine",
                &[
                    ("process", EngineName::Process),
                    ("docker", EngineName::Docker),
                    ("kubernetes", EngineName::Kubernetes),
                ],
            ),
            tls: item.get("tls").and_then(|tls| self.tls(tls)),
            access_log: item.get("access_log").and_then(|log| self.access_log(log)),
            trace: self.truth(item, "trace"),
            rate_limit: item.get("rate_limit").and_then(|limit| self.rate_limit(limit)),
            circuit_breakers: item.get("circuit_breakers").and_then(|item| {
                let breakers = CircuitBreakers {
                    max_requests: self.positive(item, "max_requests")?,
                    max_pending_requests: self.whole(item, "max_pending_requests"),
                };
                Some(Spanned::new(breakers, item.place()))
            }),
            outlier_detection: item.get("outlier_detection").map(|item| {
                let detection = OutlierDetection {
                    consecutive_5xx: self.positive(item, "consecutive_5xx"),
                    base_ejection_time: self.duration(item, "base_ejection_time"),
                    max_ejection_percent: self.percent(item, "max_ejection_percent"),
                };
                Spanned::new(detection, item.place())
            }),
            retry_budget: item.get("retry_budget").map(|item| {
                let budget = RetryBudget {
                    budget_percent: self.percent(item, "budget_percent"),
                    min_retries_per_second: self.whole(item, "min_retries_per_second"),
                };
                Spanned::new(budget, item.place())
            }),
            hold: self.duration(item, "hold"),
            sticky: self.word(item, "sticky", &[("cookie", true)]),
            compress: self.truth(item, "compress"),
            error_pages: self.error_pages(item),
            maintenance: self.truth(item, "maintenance"),
            methods: self.methods(item),
            headers: self.headers(item),
            proxy_protocol: self.truth(item, "proxy_protocol"),
        }
    }

    fn error_pages(&mut self, item: &Item) -> IndexMap<String, Spanned<String>> {
        let mut pages = IndexMap::new();
        for entry in item.get("error_pages").map_or(&[][..], Item::entries) {
            let is_status = entry.key.len() == 3 && entry.key.starts_with(['4', '5']) && {
                let rest = &entry.key[1..];
                rest == "xx" || rest.bytes().all(|byte| byte.is_ascii_digit())
            };
            if !is_status {
                self.findings.push(
                    Finding::error(
                        "compose-value",
                        format!("`{}` is no status of an error", entry.key),
                        entry.key_at.place(),
                    )
                    .help("write `503` for one, `5xx` or `4xx` for all of a kind"),
                );
            } else if let Some(path) = entry.value.scalar() {
                pages.insert(entry.key.clone(), Spanned::new(path, entry.value.place()));
            }
        }
        pages
    }

    fn methods(&mut self, item: &Item) -> Vec<Spanned<String>> {
        let methods = texts(item, "methods");
        for (method, written) in
            methods.iter().zip(item.get("methods").map_or(&[][..], Item::items))
        {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
                self.wrong(
                    written,
                    format!("`{}` is no method", method.value),
                    "write it as it is sent: `GET`",
                );
            }
        }
        methods
    }

    fn headers(&mut self, item: &Item) -> IndexMap<String, Spanned<String>> {
        let mut headers = IndexMap::new();
        for entry in item.get("headers").map_or(&[][..], Item::entries) {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if entry.key.is_empty() || !entry.key.bytes().all(fits) {
                self.findings.push(
                    Finding::error(
                        "compose-value",
                        format!("`{}` is no name of a header", entry.key),
                        entry.key_at.place(),
                    )
                    .help("write a name and the value it must have: `X-Beta: \"1\"`"),
                );
            } else if let Some(value) = entry.value.scalar() {
                let value = Spanned::new(value, entry.value.place());
                headers.insert(entry.key.to_ascii_lowercase(), value);
            }
        }
        headers
    }

    fn positive(&mut self, item: &Item, key: &str) -> Option<Spanned<u32>> {
        let parse = |text: &str| text.parse().ok().filter(|number| *number > 0);
        self.parsed(item, key, parse, "a whole number from 1 up", "write it with digits only")
    }

    fn percent(&mut self, item: &Item, key: &str) -> Option<Spanned<u32>> {
        let parse = |text: &str| text.parse().ok().filter(|number| *number <= 100);
        self.parsed(item, key, parse, "a whole number from 0 to 100", "write it without `%`")
    }

    fn access_log(&mut self, item: &Item) -> Option<Spanned<AccessLog>> {
        let formats = [("json", LogFormat::Json), ("common", LogFormat::Common)];
        let log = if let Some(word) = item.scalar() {
            let known = formats.iter().find(|(name, _)| *name == word);
            let Some((_, format)) = known else {
                let message = format!("`access_log` must be `json` or `common`, not `{word}`");
                self.wrong(item, message, "to name a file, write `access_log: {file: …}`");
                return None;
            };
            AccessLog { format: *format, file: None, max_size: None, max_files: None }
        } else {
            let format = self.word(item, "format", &formats);
            AccessLog {
                format: format.map_or(LogFormat::Json, |format| format.value),
                file: text(item, "file").map(|file| file.value),
                max_size: self.bytes(item, "max_size"),
                max_files: self.positive(item, "max_files"),
            }
        };
        Some(Spanned::new(log, item.place()))
    }

    fn rate_limit(&mut self, item: &Item) -> Option<Spanned<RateLimit>> {
        let limit = RateLimit {
            average: self.positive(item, "average")?,
            period: self.duration(item, "period"),
            burst: self.positive(item, "burst"),
        };
        if let Some(period) = limit.period.as_ref().filter(|period| period.value.is_zero()) {
            let place = item.get("period").unwrap_or(item);
            let message = format!("`period` must be longer than {}", show_duration(period.value));
            self.wrong(place, message, "write `1s` or `1m`");
        }
        Some(Spanned::new(limit, item.place()))
    }

    fn tls(&mut self, item: &Item) -> Option<Spanned<Tls>> {
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
        let help = "write the port that speaks plainly: `80`";
        let tls = Tls {
            certificate: text(item, "certificate")?,
            key: text(item, "key")?,
            hsts: self.duration(item, "hsts"),
            redirect: self.parsed(item, "redirect", port, "a port from 1 to 65535", help),
        };
        Some(Spanned::new(tls, item.place()))
    }

    fn weights(&mut self, item: &Item) -> Vec<Spanned<f64>> {
        let mut weights: Vec<Spanned<f64>> = Vec::new();
        for written in item.get("canary").map_or(&[][..], Item::items) {
            let Some(text) = written.scalar() else { continue };
            let number = text.strip_suffix('%').unwrap_or(&text).trim().parse::<f64>();
            match number {
                Ok(weight) if weight > 0.0 && weight <= 100.0 => {
                    if weights.last().is_some_and(|last| last.value >= weight) {
                        self.wrong(
                            written,
                            format!("the step to {weight} % is no step up"),
                            "write the steps in rising order: `[5%, 25%, 50%]`",
                        );
                    }
                    weights.push(Spanned::new(weight, written.place()));
                }
                _ => self.wrong(
                    written,
                    format!("`{text}` is no part of the traffic"),
                    "write a percentage above 0 and up to 100: `5%`",
                ),
            }
        }
        weights
    }

    // What services share

    fn external(&mut self, kind: &str, name: &str, item: &Item) -> (bool, Option<String>) {
        let own_name = item.get("name").and_then(Item::scalar);
        let Some(external) = item.get("external") else { return (false, own_name) };
        let old_name = external.get("name").and_then(Item::scalar);
        if old_name.is_some() && own_name.is_some() && old_name != own_name {
            self.wrong(
                external,
                format!("the {kind} `{name}` has two names"),
                "keep `name:` and write `external: true`",
            );
        }
        let is_external = match &external.content {
            Content::Map(_) => true,
            _ => self.truth(item, "external").is_some_and(|external| *external),
        };
        (is_external, own_name.or(old_name))
    }

    fn network(&mut self, item: &Item) -> Network {
        let (external, name) = self.external("network", "", item);
        Network {
            name,
            external,
            internal: self.truth(item, "internal").is_some_and(|internal| *internal),
            driver: item.get("driver").and_then(Item::scalar),
        }
    }

    fn volume(&mut self, name: &str, item: &Item) -> Volume {
        let (external, real_name) = self.external("volume", name, item);
        for key in ["driver", "driver_opts", "labels"] {
            if let Some(value) = item.get(key).filter(|_| external) {
                self.wrong(
                    value,
                    format!("the volume `{name}` is external and has `{key}`"),
                    format!("remove `external` or `{key}`"),
                );
            }
        }
        let options = item.get("driver_opts").map_or(&[][..], Item::entries);
        Volume {
            name: real_name,
            external,
            driver: item.get("driver").and_then(Item::scalar),
            driver_opts: options
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), entry.value.scalar()?)))
                .collect(),
        }
    }

    fn config(&mut self, kind: &str, name: &str, item: &Item) -> Config {
        let (external, real_name) = self.external(kind, name, item);
        let text = |key| item.get(key).and_then(Item::scalar);
        Config {
            name: real_name,
            file: text("file"),
            environment: text("environment"),
            content: text("content"),
            external,
        }
    }
}

fn text(item: &Item, key: &str) -> Option<Spanned<String>> {
    let value = item.get(key)?;
    Some(Spanned::new(value.scalar()?, value.place()))
}

fn texts(item: &Item, key: &str) -> Vec<Spanned<String>> {
    let items = item.get(key).map_or(&[][..], Item::items);
    items.iter().filter_map(|item| Some(Spanned::new(item.scalar()?, item.place()))).collect()
}

fn networks(item: &Item) -> IndexMap<String, Spanned<NetworkUse>> {
    let entries = item.get("networks").map_or(&[][..], Item::entries);
    let mut networks = IndexMap::new();
    for entry in entries {
        let aliases = entry.value.get("aliases").map_or(&[][..], Item::items);
        let aliases = aliases.iter().filter_map(Item::scalar).collect();
        let used = Spanned::new(NetworkUse { aliases }, entry.key_at.place());
        networks.insert(entry.key.clone(), used);
    }
    networks
}

fn variables(item: &Item) -> IndexMap<String, Spanned<Option<String>>> {
    let entries = item.get("environment").map_or(&[][..], Item::entries).iter();
    entries
        .map(|entry| (entry.key.clone(), Spanned::new(entry.value.scalar(), entry.key_at.place())))
        .collect()
}

fn labels(item: &Item) -> IndexMap<String, Spanned<String>> {
    let entries = item.get("labels").map_or(&[][..], Item::entries).iter();
    entries
        .map(|entry| {
            let value = entry.value.scalar().unwrap_or_default();
            (entry.key.clone(), Spanned::new(value, entry.key_at.place()))
        })
        .collect()
}

/// The keys whose own keys are fixed, and so are told one by one.
const NESTED: [&str; 11] = [
    "build",
    "deploy",
    "deploy.placement",
    "deploy.resources",
    "deploy.resources.limits",
    "deploy.resources.reservations",
    "deploy.restart_policy",
    "deploy.rollback_config",
    "deploy.update_config",
    "healthcheck",
    "x-marline",
];

fn fields_of(item: &Item, prefix: &str, fields: &mut Vec<(String, Place)>) {
    for entry in item.entries() {
        let name =
            if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
        if entry.value.is_null() && !prefix.is_empty() {
            continue;
        }
        fields.push((name.clone(), entry.key_at.place()));
        if NESTED.contains(&name.as_str()) {
            fields_of(&entry.value, &name, fields);
        }
    }
}

// Small grammars of ports, mounts and the like

fn parse_truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn parse_mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777)
}

fn is_host(host: &str) -> bool {
    let host = host.strip_prefix("*.").unwrap_or(host);
    !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), String> {
    let Some((ports, protocol)) = text.rsplit_once('/') else {
        return Ok((text, Protocol::Tcp));
    };
    Ok((ports, parse_protocol(protocol)?))
}

fn parse_protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" | "" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        other => Err(format!("`{other}` is no protocol of ports")),
    }
}

fn parse_range(text: &str, protocol: Protocol) -> Result<PortRange, String> {
    let port = |text: &str| {
        text.parse::<u16>().map_err(|_| format!("`{text}` is no port between 1 and 65535"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = PortRange { first: port(first)?, last: port(last)?, protocol };
    if range.first > range.last {
        return Err(format!("the range `{text}` runs backwards"));
    }
    Ok(range)
}

fn range_length(range: PortRange) -> u16 {
    range.last - range.first
}

/// Reads `[[ip:]published:]target[/protocol]`, each of the two perhaps a range.
fn short_ports(text: &str) -> Result<Vec<Port>, String> {
    let (ports, protocol) = split_protocol(text)?;
    let (rest, target) = match ports.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, ports),
    };
    let (host_ip, published) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, published)) => (Some(ip), Some(published)),
            None if rest.contains('.') => (Some(rest), None),
            None => (None, Some(rest)),
        },
    };
    let target = parse_range(target, protocol)?;
    if target.first == 0 {
        return Err("the port inside cannot be 0".into());
    }
    let published = published.filter(|text| !text.is_empty());
    let published = published.map(|text| parse_range(text, protocol)).transpose()?;
    if let Some(published) = published
        && range_length(published) != range_length(target)
        && range_length(target) != 0
    {
        return Err(format!("the ranges in `{text}` are not of the same length"));
    }
    let host_ip = match host_ip {
        Some(ip) => Some(parse_ip(ip)?),
        None => None,
    };
    let port = |offset: u16| Port {
        name: None,
        host_ip: host_ip.clone(),
        published: published.map(|range| {
            if range_length(target) == 0 {
                range
            } else {
                PortRange { first: range.first + offset, last: range.first + offset, protocol }
            }
        }),
        target: target.first + offset,
        protocol,
        app_protocol: None,
        mode: None,
    };
    Ok((0..=range_length(target)).map(port).collect())
}

fn parse_ip(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => Err(format!("`{text}` is no IP address")),
    }
}

fn long_port(item: &Item) -> Result<Vec<Port>, String> {
    let text = |key: &str| item.get(key).and_then(Item::scalar).filter(|text| !text.is_empty());
    let protocol = parse_protocol(&text("protocol").unwrap_or_default())?;
    let target = text("target").ok_or("the port has no `target`")?;
    let target = parse_range(&target, protocol)?;
    if target.first == 0 || target.first != target.last {
        return Err("`target` must be one port between 1 and 65535".into());
    }
    let published = text("published").map(|text| parse_range(&text, protocol)).transpose()?;
    Ok(vec![Port {
        name: text("name"),
        host_ip: text("host_ip").map(|ip| parse_ip(&ip)).transpose()?,
        published,
        target: target.first,
        protocol,
        app_protocol: text("app_protocol"),
        mode: text("mode"),
    }])
}

/// What makes two ports of two files the same: all but how they are called.
pub(super) fn port_identity(item: &Item) -> String {
    let read = match &item.content {
        Content::Map(_) => long_port(item),
        _ => item.scalar().map_or(Ok(Vec::new()), |text| short_ports(&text)),
    };
    match read.as_deref() {
        Ok(ports @ [first, ..]) => {
            let last = ports.len();
            let published = first.published.map(shown_range).unwrap_or_default();
            let ip = first.host_ip.as_deref().unwrap_or("0.0.0.0");
            format!("{ip}:{published}:{}+{last}/{:?}", first.target, first.protocol)
        }
        _ => format!("unreadable {:?}", item.content),
    }
}

/// Where a mount is found inside.
pub(super) fn mount_target(item: &Item) -> String {
    match item.scalar() {
        Some(text) => short_mount(&text).map_or(text, |mount| mount.target),
        None => item.get("target").and_then(Item::scalar).unwrap_or_default(),
    }
}

/// Reads `[source:]target[:options]`.
fn short_mount(text: &str) -> Result<Mount, String> {
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // The colon of a Windows drive belongs to the path.
        let drive = rest.len() > 2
            && rest.as_bytes()[0].is_ascii_alphabetic()
            && rest.as_bytes()[1] == b':'
            && matches!(rest.as_bytes()[2], b'\\' | b'/');
        let from = if drive && parts.len() < 2 { 2 } else { 0 };
        let end = rest[from..].find(':').map_or(rest.len(), |at| from + at);
        parts.push(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or("");
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(format!("`{text}` is no mount")),
    };
    if target.is_empty() || source == Some("") {
        return Err(format!("`{text}` is no mount: a part of it is empty"));
    }
    let is_path = |source: &str| {
        source.starts_with(['.', '/', '~', '\\']) || source.as_bytes().get(1) == Some(&b':')
    };
    Ok(Mount {
        kind: if source.is_some_and(is_path) { MountKind::Bind } else { MountKind::Volume },
        source: source.map(str::to_owned),
        target: target.to_owned(),
        read_only: options.split(',').any(|option| option == "ro"),
    })
}

fn long_mount(item: &Item) -> Result<Mount, String> {
    let text = |key: &str| item.get(key).and_then(Item::scalar).filter(|text| !text.is_empty());
    let kind = match text("type").as_deref() {
        Some("bind") => MountKind::Bind,
        Some("tmpfs") => MountKind::Tmpfs,
        Some("image") => MountKind::Image,
        Some("cluster") => MountKind::Cluster,
        Some("npipe") => MountKind::Npipe,
        _ => MountKind::Volume, // another word was found when the shape was checked
    };
    let source = text("source");
    if kind == MountKind::Bind && source.is_none() {
        return Err("a bind needs a `source`".into());
    }
    let Some(target) = text("target") else { return Err("the mount has no `target`".into()) };
    let read_only = text("read_only").as_deref().and_then(parse_truth).unwrap_or(false);
    Ok(Mount { kind, source, target, read_only })
}
