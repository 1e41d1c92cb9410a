//! Compose files as their authors mean them, and what is said when they are wrong.

use std::time::Duration;

use source::compose::{
    ComposeFile, Condition, Environment, FailureAction, HealthTest, MountKind, Order, Project,
    Protocol, Restart, SelectError, Strategy, default_files, is_usable, parse_bytes,
    parse_duration, read, read_env_file, read_with, shell_words,
};
use source::{Finding, Severity};

fn environment() -> Environment {
    Environment::new([("TAG", "v1"), ("EMPTY", "")]).in_directory("My Shop")
}

fn read_all(texts: &[&str]) -> (Option<Project>, Vec<Finding>) {
    let files: Vec<ComposeFile> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| ComposeFile::new(format!("{n}.yaml"), *text))
        .collect();
    read(&files, &environment())
}

/// Reads files that have nothing wrong with them.
fn good(texts: &[&str]) -> Project {
    let (project, findings) = read_all(texts);
    let told = told(&findings);
    assert!(is_usable(&findings), "{told:#?}");
    project.expect("a project")
}

fn told(findings: &[Finding]) -> Vec<String> {
    let loud = findings.iter().filter(|finding| finding.severity > Severity::Note);
    loud.map(|finding| format!("{}: {}", finding.place, finding.message)).collect()
}

/// What is told about one file.
fn findings_of(text: &str) -> Vec<String> {
    told(&read_all(&[text]).1)
}

/// What is told about the lines of one service that runs.
fn findings_of_service(lines: &str) -> Vec<String> {
    let lines = lines.replace('\n', "\n    ");
    findings_of(&format!("services:\n  web:\n    build: .\n    {lines}\n"))
}

const SHOP: &str = r#"
name: shop
services:
  web:
    build: .
    command: ./bin/server --greeting "hello world" $$HOME
    ports: [{target: 3000, published: "443", app_protocol: http, name: site}]
    env_file: [.env]
    environment: {LOG: debug, PORT: 3000, FROM_OUTSIDE: , TAG: "${TAG:-none}"}
    healthcheck: {test: ["CMD-SHELL","curl -fsS localhost:$$PORT/up"], interval: 2s, start_period: 20s, retries: 5}
    stop_signal: SIGTERM
    stop_grace_period: 1m30s
    depends_on: {db: {condition: service_healthy}}
    pre_start: [{command: ./bin/migrate}]
    restart: on-failure:3
    deploy:
      replicas: 2
      resources: {limits: {cpus: "0.5", memory: 512M, pids: 100}}
      update_config: {order: start-first, monitor: 60s, max_failure_ratio: 0.01, failure_action: rollback}
    x-marline: {hosts: [shop.example.com], canary: [5%, 25], http: /up, drain: 10s, strategy: canary}
  db: {image: "postgres:16", volumes: ["data:/var/lib/postgresql/data", "./init:/init:ro"]}
volumes: {data: {}}
x-note: {by: ana}
"#;

#[test]
fn a_whole_service_is_read_with_its_types() {
    let project = good(&[SHOP]);
    let web = &project.services["web"];
    assert_eq!(project.name, "shop");
    assert_eq!(web.build.as_ref().expect("a build").context, ".");
    let argv = web.argv().expect("a command");
    assert_eq!(argv, ["./bin/server", "--greeting", "hello world", "$HOME"]);
    let port = &web.ports[0];
    assert_eq!((port.target, port.published.expect("published").first), (3000, 443));
    assert_eq!(port.app_protocol.as_deref(), Some("http"));
    assert_eq!(web.env_files[0].path, ".env");
    assert_eq!(web.environment["PORT"].value.as_deref(), Some("3000"));
    assert_eq!(web.environment["FROM_OUTSIDE"].value, None);
    assert_eq!(web.environment["TAG"].value.as_deref(), Some("v1"));
    let check = web.healthcheck.as_ref().expect("a health check");
    assert_eq!(check.test, Some(HealthTest::Shell("curl -fsS localhost:$PORT/up".into())));
    assert_eq!(check.interval, Some(Duration::from_secs(2)));
    assert_eq!(check.retries, Some(5));
    assert_eq!(**web.stop_grace_period.as_ref().expect("a time"), Duration::from_secs(90));
    assert_eq!(web.depends_on["db"].condition, Condition::Healthy);
    assert_eq!(web.pre_start[0].command, ["./bin/migrate"]);
    assert!(!web.pre_start[0].per_replica);
    assert_eq!(web.restart.as_ref().expect("a restart").value, Restart::OnFailure(Some(3)));
    assert_eq!(web.replicas(), 2);
    let limits = &web.deploy.resources.limits;
    assert_eq!(limits.memory.as_ref().expect("a limit").value, 512 << 20);
    let update = web.deploy.update_config.as_ref().expect("an update");
    assert_eq!(update.order.as_ref().expect("an order").value, Order::StartFirst);
    let action = update.failure_action.as_ref().expect("an action").value;
    assert_eq!(action, FailureAction::Rollback);
    let own = &web.marline;
    assert_eq!(own.canary.iter().map(|step| step.value).collect::<Vec<_>>(), [5.0, 25.0]);
    assert_eq!(own.strategy.as_ref().expect("a strategy").value, Strategy::Canary);
    assert_eq!(own.http.as_ref().expect("a path").value, "/up");
    let mounts = &project.services["db"].volumes;
    assert_eq!((mounts[0].kind, mounts[1].kind), (MountKind::Volume, MountKind::Bind));
    assert!(mounts[1].read_only);
    assert_eq!(project.extensions["x-note"]["by"], "ana");
}

#[test]
fn every_field_says_where_it_stands() {
    let project = good(&[SHOP]);
    let web = &project.services["web"];
    assert_eq!(web.place.to_string(), "0.yaml:4:3");
    assert_eq!(web.stop_grace_period.as_ref().expect("a time").place.to_string(), "0.yaml:12:24");
    let field = |name: &str| web.place_of(name).map(ToString::to_string);
    assert_eq!(field("deploy.update_config.order").as_deref(), Some("0.yaml:19:23"));
    assert_eq!(field("command").as_deref(), Some("0.yaml:6:5"));
    assert_eq!(field("cap_add"), None);
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let base = "services:\n  web:\n    imagee: x\n    ports: [\"70000\"]\n    depends_on: [wbe]\n";
    let over = "services:\n  web:\n    restart: sometimes\n    stop_grace_period: 10\n";
    assert_eq!(
        told(&read_all(&[base, over]).1),
        [
            "0.yaml:3:5: `web` has no key `imagee`",
            "0.yaml:4:13: `70000` is no port between 1 and 65535",
            "0.yaml:5:18: there is no service `wbe`",
            "1.yaml:2:3: the service `web` has neither `image` nor `build`",
            "1.yaml:3:14: `restart` must be `no`, `always`, `on-failure`, `on-failure:3` or \
             `unless-stopped`, not `sometimes`",
            "1.yaml:4:24: `stop_grace_period` must be a text, not a number",
        ]
    );
}

#[test]
fn an_unknown_key_suggests_the_one_that_was_meant() {
    let (_, findings) = read_all(&["services:\n  web:\n    build: .\n    comand: x\n"]);
    assert_eq!(findings[0].help.as_deref(), Some("did you mean `command`?"));
    let (_, findings) =
        read_all(&["services:\n  web:\n    build: .\n    x-marline: {canry: [5%]}\n"]);
    assert_eq!(findings[0].help.as_deref(), Some("did you mean `canary`?"));
    let (_, findings) = read_all(&["services:\n  web:\n    build: .\n    x-marlin: {}\n"]);
    assert_eq!(findings[0].help.as_deref(), Some("did you mean `x-marline`?"));
    assert!(is_usable(&findings), "extensions of others are theirs");
}

#[test]
fn an_agreed_key_that_does_nothing_yet_is_refused() {
    let found = findings_of_service("x-marline: {schedule: \"0 3 * * *\"}");
    assert_eq!(found, ["0.yaml:4:17: `schedule` in `x-marline` is not supported yet"]);
}

#[test]
fn mistakes_in_x_marline_are_told_with_their_place() {
    let lines = "ports: [\"80\"]\nx-marline:\n  hosts: [\"https://a.b\"]\n  paths: [api]\n  http: up\n  \
                 canary: [50%, 5%, 0, 200%]\n  strategy: yolo\n  drain: 5 parsecs";
    assert_eq!(
        findings_of_service(lines),
        [
            "0.yaml:6:15: `https://a.b` is no host name",
            "0.yaml:7:15: the path `api` does not begin with `/`",
            "0.yaml:8:13: `http` must be a path, not `up`",
            "0.yaml:9:21: the step to 5 % is no step up",
            "0.yaml:9:25: `0` is no part of the traffic",
            "0.yaml:9:28: `200%` is no part of the traffic",
            "0.yaml:10:17: `strategy` must be `blue-green` or `canary` or `rolling` or `recreate`, not `yolo`",
            "0.yaml:11:14: `drain` must be a time, not `5 parsecs`",
        ]
    );
}

#[test]
fn mistakes_about_tls_are_told_with_their_place() {
    let tls = |more: &str| {
        let line = format!("x-marline: {{tls: {{certificate: a.pem, key: a.key{more}}}}}");
        findings_of_service(&format!("ports: [\"443:80\"]\n{line}"))
    };
    assert_eq!(tls(", hsts: 4320h, redirect: 80"), [""; 0]);
    assert_eq!(
        tls(", hsts: long, redirect: 0"),
        [
            "0.yaml:5:61: `hsts` must be a time, not `long`",
            "0.yaml:5:77: `redirect` must be a port from 1 to 65535, not `0`",
        ]
    );
    assert_eq!(tls(", redirect: 443"), ["0.yaml:5:65: port 443 is published by `web`"]);
    assert_eq!(
        findings_of_service("x-marline: {tls: {key: a.key}}"),
        ["0.yaml:4:22: `tls` has no `certificate`, which it needs"]
    );
    assert_eq!(
        findings_of_service("x-marline: {tls: {certificate: a, key: b}}"),
        ["0.yaml:4:22: `web` publishes no port that could be encrypted"]
    );
    let service = |name: &str, port: u16, marline: &str| {
        format!(
            "  {name}:\n    build: .\n    ports: [\"{port}:80\"]\n    \
             x-marline: {{hosts: [{name}.test]{marline}}}\n"
        )
    };
    let two = |one: String, other: String| findings_of(&format!("services:\n{one}{other}"));
    let encrypted = ", tls: {certificate: a, key: b, redirect: 80}";
    assert_eq!(
        two(service("a", 443, encrypted), service("b", 443, "")),
        ["0.yaml:8:13: `a` encrypts port 443 and `b` does not"]
    );
    assert_eq!(two(service("a", 443, encrypted), service("b", 443, encrypted)), [""; 0]);
    assert_eq!(
        two(service("a", 443, encrypted), service("b", 444, encrypted)),
        ["0.yaml:9:74: `a` sends the clients of port 80 to another port"]
    );
}

#[test]
fn mistakes_in_what_the_proxy_shall_do_are_told_with_their_place() {
    let lines = "x-marline:\n  access_log: xml\n  trace: perhaps\n  rate_limit: {average: 0, period: 0s}\n  \
                 circuit_breakers: {max_pending_requests: 1}\n  outlier_detection: {consecutive_5xx: 0, max_ejection_percent: 101}\n  \
                 retry_budget: {budget_percent: 20%}\n  hold: long";
    assert_eq!(
        findings_of_service(lines),
        [
            "0.yaml:5:19: `access_log` must be `json` or `common`, not `xml`",
            "0.yaml:6:14: `trace` must be true or false, not `perhaps`",
            "0.yaml:7:29: `average` must be a whole number from 1 up, not `0`",
            "0.yaml:8:25: `circuit_breakers` has no `max_requests`, which it needs",
            "0.yaml:9:44: `consecutive_5xx` must be a whole number from 1 up, not `0`",
            "0.yaml:9:69: `max_ejection_percent` must be a whole number from 0 to 100, not `101`",
            "0.yaml:10:38: `budget_percent` must be a whole number from 0 to 100, not `20%`",
            "0.yaml:11:13: `hold` must be a time, not `long`",
        ]
    );
    let lines = "x-marline:\n  access_log: {format: common, file: a.log, max_size: 1m, max_files: 3}\n  \
                 rate_limit: {average: 10, period: 1m, burst: 20}\n  outlier_detection: {}\n  hold: 5s";
    assert_eq!(findings_of_service(lines), [""; 0]);
}

#[test]
fn mistakes_in_routes_and_pages_are_told_with_their_place() {
    let lines = "x-marline:\n  sticky: session\n  error_pages: {\"200\": a.html, 5xx: b.html}\n  methods: get\n  \
                 headers: {\"X Beta\": 1, X-Beta: 1}\n  compress: perhaps";
    assert_eq!(
        findings_of_service(lines),
        [
            "0.yaml:5:15: `sticky` must be `cookie`, not `session`",
            "0.yaml:6:21: `200` is no status of an error",
            "0.yaml:7:16: `get` is no method",
            "0.yaml:8:17: `X Beta` is no name of a header",
            "0.yaml:9:17: `compress` must be true or false, not `perhaps`",
        ]
    );
    let web = |name: &str, more: &str| {
        format!(
            "  {name}:\n    build: .\n    ports: [\"80:80\"]\n    x-marline: {{hosts: [{name}.test]{more}}}\n"
        )
    };
    let text = format!("services:\n{}{}", web("a", ", proxy_protocol: true"), web("b", ""));
    assert_eq!(
        findings_of(&text),
        ["0.yaml:8:13: only one of `a` and `b` expects the PROXY protocol at port 80"]
    );
}

#[test]
fn a_missing_variable_is_told_where_it_stands_in_the_text() {
    let text =
        "services:\n  web:\n    image: \"repo/${NAME}:${TAG}\"\n    command: ${X:?say what}\n";
    assert_eq!(
        findings_of(text),
        [
            "0.yaml:3:18: the variable `NAME` is not set; an empty text is used",
            "0.yaml:4:14: the variable `X` is needed: say what",
        ]
    );
}

#[test]
fn every_form_of_a_variable_gives_its_value() {
    for (template, expected) in [
        ("$TAG-x", "v1-x"),
        ("${TAG}", "v1"),
        ("$$TAG", "$TAG"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE-d}", "d"),
        ("${NONE:-${EMPTY:-${TAG}}}", "v1"),
        ("${TAG:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${NONE+set}", ""),
        ("${EMPTY?no}", ""),
        ("${NONE:-{\"a\":1}}", "{\"a\":1}"),
        ("${NONE:-a $$ b}", "a $ b"),
    ] {
        let text = format!("services: {{}}\nx-t: '{template}'\n");
        assert_eq!(good(&[&text]).extensions["x-t"], expected, "{template}");
    }
}

#[test]
fn a_variable_that_is_no_variable_is_told() {
    for (template, message) in [
        ("100$", "`$` is followed by no variable"),
        ("${", "`${` is never closed"),
        ("${}", "`${}` names no variable"),
        ("${1A}", "`${1A}` names no variable"),
        ("${TAG!x}", "`!x` after the name `TAG` has no meaning"),
        ("${TAG:=x}", "`:=x` after the name `TAG` has no meaning"),
    ] {
        let found = findings_of(&format!("services: {{}}\nx-t: '{template}'\n"));
        assert_eq!(found.len(), 1, "{template}: {found:?}");
        assert!(found[0].ends_with(message), "{template}: {found:?}");
    }
}

#[test]
fn a_later_file_adds_to_lists_and_maps_and_replaces_commands() {
    let base = "services:\n  web:\n    build: .\n    command: [a, b]\n    environment: [A=1, B=2]\n    \
                ports: [\"80:80\"]\n    depends_on: [db]\n    volumes: [\"old:/data\"]\n  db: {image: x}\nvolumes: {old: {}, new: {}}\n";
    let over = "services:\n  web:\n    command: c\n    environment: {B: 3}\n    ports: [\"80:80\", \"81:81\"]\n    \
                volumes: [\"new:/data\"]\n    depends_on: {db: {condition: service_healthy}}\n";
    let web = &good(&[base, over]).services["web"];
    assert_eq!(web.argv().expect("a command"), ["c"]);
    assert_eq!(web.environment["A"].value.as_deref(), Some("1"));
    assert_eq!(web.environment["B"].value.as_deref(), Some("3"));
    assert_eq!(web.environment["B"].place.to_string(), "1.yaml:4:19");
    assert_eq!(web.ports.iter().map(|port| port.target).collect::<Vec<_>>(), [80, 81]);
    assert_eq!(web.volumes.len(), 1);
    assert_eq!(web.volumes[0].source.as_deref(), Some("new"));
    assert_eq!(web.depends_on["db"].condition, Condition::Healthy);
}

#[test]
fn reset_takes_out_and_override_puts_in_place() {
    let base = "services:\n  web:\n    build: .\n    command: x\n    ports: [\"80:80\"]\n    expose: [\"1\"]\n";
    let over = "services:\n  web:\n    command: !reset null\n    ports: !override [\"90:90\"]\n    expose: !reset []\n";
    let web = &good(&[base, over]).services["web"];
    assert_eq!(web.argv(), None);
    assert_eq!(web.ports.iter().map(|port| port.target).collect::<Vec<_>>(), [90]);
    assert!(web.expose.is_empty() && web.place_of("expose").is_none());
}

#[test]
fn anchors_merge_keys_and_extends_share_what_services_have_in_common() {
    let text = "x-base: &base\n  build: .\n  restart: always\nservices:\n  a: {<<: *base, command: a}\n  \
                b: {extends: a, command: b, environment: {X: 1}}\n  c: {extends: {service: b}}\n";
    let project = good(&[text]);
    let c = &project.services["c"];
    assert_eq!(c.argv().expect("a command"), ["b"]);
    assert_eq!(c.restart.as_ref().expect("a restart").value, Restart::Always);
    assert_eq!(c.environment["X"].value.as_deref(), Some("1"));
}

#[test]
fn services_that_extend_each_other_in_a_circle_are_told() {
    let found = findings_of("services:\n  a: {extends: b}\n  b: {extends: a}\n");
    assert!(found.iter().any(|f| f.contains("a circle: a → b → a")), "{found:?}");
}

/// Reads the first of some files, the others lying beside it.
fn read_among(files: &[(&str, &str)]) -> (Option<Project>, Vec<String>) {
    let other = |path: &str| {
        files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    };
    let first = ComposeFile::new(files[0].0, files[0].1);
    let (project, findings) = read_with(&[first], &environment(), &other);
    (project, told(&findings))
}

#[test]
fn a_service_of_another_file_is_extended_with_paths_from_where_it_stands() {
    let (project, told) = read_among(&[
        ("compose.yaml", "services:\n  web:\n    extends: {file: ops/base.yaml, service: app}\n"),
        (
            "ops/base.yaml",
            "services:\n  app:\n    extends: {file: ../deep.yaml, service: root}\n    build: .\n    \
             env_file: [a.env]\n    volumes: ['./data:/data', '/x:/x', 'named:/n']\nvolumes: {named: }\n",
        ),
        ("deep.yaml", "services:\n  root: {build: deep, command: run $TAG, restart: always}\n"),
    ]);
    // What an extended service uses of its file must be said again, as in Compose.
    assert_eq!(told, ["ops/base.yaml:6:40: there is no volume `named`"]);
    let project = project.expect("a project");
    let web = &project.services["web"];
    assert_eq!(web.build.as_ref().expect("a build").context, "ops");
    assert_eq!(web.env_files[0].path, "ops/a.env");
    assert_eq!(web.volumes[0].source.as_deref(), Some("./ops/data"));
    assert_eq!(web.volumes[1].source.as_deref(), Some("/x"));
    assert_eq!(web.argv().expect("a command"), ["run", "v1"]);
    assert_eq!(web.restart.as_ref().expect("a restart").value, Restart::Always);
}

#[test]
fn an_included_file_brings_its_services_and_reads_its_own_variables() {
    let (project, told) = read_among(&[
        (
            "compose.yaml",
            "include:\n  - db/compose.yaml\n  - path: [mail.yaml, mail.more.yaml]\n    \
             env_file: mail.env\n    project_directory: post\nservices:\n  \
             web: {build: ., depends_on: [db, mail]}\n",
        ),
        ("db/compose.yaml", "services:\n  db: {image: 'db:$VERSION', env_file: x.env}\n"),
        ("db/.env", "VERSION=16\nTAG=ignored\n"),
        ("mail.yaml", "services:\n  mail: {build: ., command: a}\n"),
        ("mail.more.yaml", "services:\n  mail: {command: 'serve $FROM $TAG'}\n"),
        ("mail.env", "FROM=shop\n"),
    ]);
    assert_eq!(told, [] as [&str; 0]);
    let project = project.expect("a project");
    assert_eq!(project.services["db"].image.as_ref().expect("an image").value, "db:16");
    assert_eq!(project.services["db"].env_files[0].path, "db/x.env");
    let mail = &project.services["mail"];
    assert_eq!(mail.argv().expect("a command"), ["serve", "shop", "v1"]);
    assert_eq!(mail.build.as_ref().expect("a build").context, "post");
    assert!(project.normalised().get("include").is_none());
}

#[test]
fn a_file_that_two_projects_extend_is_read_with_the_variables_of_each() {
    let (project, told) = read_among(&[
        (
            "compose.yaml",
            "include: [db/compose.yaml]\nservices:\n  \
             web: {extends: {file: base.yaml, service: app}}\n",
        ),
        ("db/compose.yaml", "services:\n  db: {extends: {file: ../base.yaml, service: app}}\n"),
        ("db/.env", "OWN=1\n"),
        ("base.yaml", "services:\n  app: {build: ., command: 'run ${OWN:-none}'}\n"),
    ]);
    assert_eq!(told, [] as [&str; 0]);
    let project = project.expect("a project");
    assert_eq!(project.services["db"].argv().expect("a command"), ["run", "1"]);
    assert_eq!(project.services["web"].argv().expect("a command"), ["run", "none"]);
}

#[test]
fn what_stands_twice_in_included_files_must_say_the_same() {
    let web = "services:\n  web: {build: .}\n";
    let both = "include: [other.yaml]\nservices:\n  web: {build: .}\n";
    assert_eq!(read_among(&[("compose.yaml", both), ("other.yaml", web)]).1, [] as [&str; 0]);
    let other = "services:\n  web: {build: elsewhere}\n";
    assert_eq!(
        read_among(&[("compose.yaml", both), ("other.yaml", other)]).1,
        ["compose.yaml:3:8: the service `web` stands here and in an included file"]
    );
}

#[test]
fn files_that_lead_to_each_other_in_a_circle_are_told() {
    let (_, told) = read_among(&[
        ("compose.yaml", "include: [a.yaml]\nservices: {web: {build: .}}\n"),
        ("a.yaml", "include: [compose.yaml]\n"),
    ]);
    let circle = "compose.yaml → a.yaml → compose.yaml";
    assert_eq!(told, [format!("a.yaml:1:11: files include each other in a circle: {circle}")]);
    let (_, told) = read_among(&[
        ("compose.yaml", "services:\n  web: {extends: {file: a.yaml, service: b}}\n"),
        ("a.yaml", "services:\n  b: {extends: {file: a.yaml, service: b}}\n"),
    ]);
    let circle = "web → a.yaml:b → a.yaml:b";
    assert_eq!(told, [format!("a.yaml:2:16: services extend each other in a circle: {circle}")]);
}

#[test]
fn a_file_that_is_not_in_the_repository_is_named() {
    let found = findings_of("include: [other.yaml]\nservices: {}\n");
    assert_eq!(found, ["0.yaml:1:11: there is no file `other.yaml`"]);
    let found = findings_of_service("extends: {service: a, file: ../b.yaml}");
    assert_eq!(found, ["0.yaml:4:33: `../b.yaml` lies outside of the repository"]);
    let found = findings_of("include: ['https://example.org/c.yaml']\nservices: {}\n");
    let said = "0.yaml:1:11: `https://example.org/c.yaml` is not a file of this repository, \
                and nothing is fetched";
    assert_eq!(found, [said]);
}

#[test]
fn files_that_include_each_other_many_times_over_end() {
    let files: Vec<(String, String)> = (0..12)
        .map(|n| {
            let next = n + 1;
            (format!("{n}.yaml"), format!("include: [{next}.yaml, {next}.yaml, {next}.yaml]\n"))
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let (_, told) = read_among(&files);
    assert!(told.iter().any(|t| t.contains("made of more than 256 files")), "{told:?}");
}

#[test]
fn a_raw_env_file_stands_for_itself() {
    let project =
        good(&["services:\n  web: {build: ., env_file: [{path: raw.env, format: raw}]}\n"]);
    let read = |path: &str| (path == "raw.env").then(|| "# no\nA=\"$TAG\" # x\nB=\n\nC\n".into());
    let (given, findings) = project.environment_of(&project.services["web"], &environment(), read);
    assert!(findings.is_empty(), "{findings:?}");
    let given: Vec<_> = given.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(given, ["A=\"$TAG\" # x", "B="]);
    let found = findings_of_service("env_file: [{path: a, format: json}]");
    assert_eq!(found, ["0.yaml:4:34: `format` cannot be `json`"]);
}

#[test]
fn services_that_wait_for_each_other_are_told_once() {
    let text = "services:\n  a: {build: ., depends_on: [b]}\n  b: {build: ., depends_on: [c]}\n  \
                c: {build: ., depends_on: [b]}\n";
    let found = findings_of(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("in a circle: b → c → b"), "{found:?}");
}

#[test]
fn ports_in_every_form_mean_what_docker_means() {
    for (text, expected) in [
        ("\"3000\"", vec![(None, None, 3000, Protocol::Tcp)]),
        ("3000", vec![(None, None, 3000, Protocol::Tcp)]),
        ("\"8000:80\"", vec![(None, Some((8000, 8000)), 80, Protocol::Tcp)]),
        (
            "\"127.0.0.1:8001:80/udp\"",
            vec![(Some("127.0.0.1"), Some((8001, 8001)), 80, Protocol::Udp)],
        ),
        ("\"127.0.0.1::80\"", vec![(Some("127.0.0.1"), None, 80, Protocol::Tcp)]),
        ("\"[::1]:81:80\"", vec![(Some("::1"), Some((81, 81)), 80, Protocol::Tcp)]),
        (
            "\"90-91:80-81\"",
            vec![
                (None, Some((90, 90)), 80, Protocol::Tcp),
                (None, Some((91, 91)), 81, Protocol::Tcp),
            ],
        ),
        ("\"90-99:80\"", vec![(None, Some((90, 99)), 80, Protocol::Tcp)]),
        (
            "{target: 80, published: \"8080\", protocol: udp}",
            vec![(None, Some((8080, 8080)), 80, Protocol::Udp)],
        ),
    ] {
        let project = good(&[&format!("services: {{w: {{build: ., ports: [{text}]}}}}\n")]);
        let ports: Vec<_> = project.services["w"]
            .ports
            .iter()
            .map(|port| {
                let published = port.published.map(|range| (range.first, range.last));
                (port.host_ip.as_deref(), published, port.target, port.protocol)
            })
            .collect();
        assert_eq!(ports, expected, "{text}");
    }
}

#[test]
fn ports_that_cannot_be_are_told() {
    for text in
        ["a:80", "80:0", "0", "80-70", "1-3:1-2", "1:2:3:4", "80/icmp", "99999", "x.y:1:1", ""]
    {
        let found = findings_of(&format!("services: {{w: {{build: ., ports: [\"{text}\"]}}}}\n"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
}

#[test]
fn two_services_on_one_port_are_warned_about_unless_names_tell_them_apart() {
    let services = |own: &str| {
        format!(
            "services:\n  a: {{build: ., ports: [\"80:1\"]{own}}}\n  b: {{build: ., ports: [\"80:2\"]{own}}}\n"
        )
    };
    let found = findings_of(&services(""));
    assert_eq!(found, ["0.yaml:3:25: `a` publishes port 80 as well"]);
    assert_eq!(findings_of(&services(", x-marline: {hosts: [a.b]}")), [""; 0]);
}

#[test]
fn references_to_what_is_not_there_are_told() {
    let lines =
        "networks: [back]\nvolumes: [\"dat:/d\"]\nsecrets: [key]\nconfigs: [{source: conf}]";
    assert_eq!(
        findings_of_service(lines),
        [
            "0.yaml:4:16: there is no network `back`",
            "0.yaml:5:15: there is no volume `dat`",
            "0.yaml:6:15: there is no secret `key`",
            "0.yaml:7:15: there is no config `conf`",
        ]
    );
}

#[test]
fn profiles_choose_and_dependencies_order() {
    let text = "services:\n  web: {build: ., depends_on: [api]}\n  api: {build: ., depends_on: [db]}\n  \
                db: {image: x}\n  debug: {build: ., profiles: [dev], depends_on: [web]}\n";
    let project = good(&[text]);
    let names = |profiles: &[&str], services: &[&str]| -> Vec<String> {
        let chosen = project.select(profiles, services).expect("services");
        chosen.iter().map(|service| service.name.clone()).collect()
    };
    assert_eq!(names(&[], &[]), ["db", "api", "web"]);
    assert_eq!(names(&["dev"], &[]), ["db", "api", "web", "debug"]);
    assert_eq!(names(&["*"], &[]), ["db", "api", "web", "debug"]);
    assert_eq!(names(&[], &["api"]), ["db", "api"]);
    assert_eq!(names(&[], &["debug"]), ["db", "api", "web", "debug"]);
    let error = project.select(&[""; 0], &["wbe"]).expect_err("there is none");
    assert!(matches!(error, SelectError::NoService { near: Some(near), .. } if near == "web"));
}

#[test]
fn a_service_whose_dependency_is_off_cannot_be_chosen() {
    let text =
        "services:\n  web: {build: ., depends_on: [db]}\n  db: {image: x, profiles: [full]}\n";
    let error = good(&[text]).select(&[""; 0], &[""; 0]).expect_err("db is off");
    assert!(matches!(error, SelectError::Inactive { .. }), "{error:?}");
}

#[test]
fn the_variables_of_a_service_come_from_its_files_and_then_from_itself() {
    let text = "services:\n  w:\n    build: .\n    env_file: [a.env, {path: none.env, required: false}]\n    \
                environment: {A: own, TAG: , GONE: }\n";
    let project = good(&[text]);
    let files = |path: &str| (path == "a.env").then(|| "A=file\nB=\"x $TAG\"\n".to_owned());
    let (given, findings) = project.environment_of(&project.services["w"], &environment(), files);
    assert_eq!(findings, []);
    let given: Vec<_> = given.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(given, [("A", "own"), ("B", "x v1"), ("TAG", "v1")]);
    let (_, findings) = project.environment_of(&project.services["w"], &environment(), |_| None);
    assert_eq!(told(&findings), ["0.yaml:4:16: there is no file `a.env`"]);
}

#[test]
fn env_files_are_read_as_compose_reads_them() {
    let text = "# comment\nexport A=1\nB = 'single $A'\nC=\"line\\n$A\"\nD=bare # comment\nE=x#y\nF\n\
                G=\"two\nlines\"\nTAG=mine\nH=$TAG\nI=\n";
    let mut findings = Vec::new();
    let read = read_env_file(".env", text, &environment(), &mut findings);
    assert_eq!(findings, []);
    let values: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    assert_eq!(
        values,
        [
            ("A", Some("1")),
            ("B", Some("single $A")),
            ("C", Some("line\n1")),
            ("D", Some("bare")),
            ("E", Some("x#y")),
            ("F", None),
            ("G", Some("two\nlines")),
            ("TAG", Some("mine")),
            ("H", Some("v1")),
            ("I", Some("")),
        ]
    );
    read_env_file(".env", "ok=1\n? what\nX=\"open\n", &environment(), &mut findings);
    assert_eq!(
        told(&findings),
        [".env:2:1: this is no `NAME=value`", ".env:3:1: the quote is never closed"]
    );
}

#[test]
fn a_project_without_a_name_has_that_of_its_directory() {
    assert_eq!(good(&["services: {}\n"]).name, "myshop");
    assert_eq!(good(&["name: other\nservices: {}\n"]).name, "other");
    let text = "services: {}\nx-t: ${COMPOSE_PROJECT_NAME}\n";
    assert_eq!(good(&[text]).extensions["x-t"], "myshop");
    let found = findings_of("name: My Shop\nservices: {}\n");
    assert_eq!(found, ["0.yaml:1:7: `My Shop` cannot be the name of a project"]);
}

#[test]
fn the_normalised_project_reads_back_as_itself() {
    let project = good(&[SHOP]);
    let normalised = project.normalised();
    let web = &normalised["services"]["web"];
    assert_eq!(web["environment"]["PORT"], "3000");
    assert_eq!(web["ports"][0]["target"], 3000);
    assert_eq!(web["command"][0], "./bin/server");
    let text = serde_json::to_string(&normalised).expect("JSON").replace('$', "$$");
    let again = good(&[&text]);
    assert_eq!(again.normalised(), normalised);
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let mut text = String::from("x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("x-{n}: &a{n} [{before}]\n"));
    }
    let start = std::time::Instant::now();
    let (_, findings) = read_all(&[&text]);
    assert!(!is_usable(&findings));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn long_chains_of_dependencies_are_no_trouble() {
    let mut text = String::from("services:\n");
    for n in 0..3000 {
        text.push_str(&format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", n + 1));
    }
    text.push_str("  s3000: {image: x}\n");
    let project = good(&[&text]);
    assert_eq!(project.select(&[""; 0], &["s0"]).expect("services").len(), 3001);
}

#[test]
fn an_empty_file_says_what_to_write() {
    for text in ["", "# nothing\n", "---\n"] {
        assert_eq!(findings_of(text), ["0.yaml: there is nothing in the file"]);
    }
}

#[test]
fn durations_and_sizes_follow_the_grammar_of_compose() {
    for (text, millis) in [
        ("10s", 10_000),
        ("1m30s", 90_000),
        ("1.5s", 1_500),
        ("2h", 7_200_000),
        ("200ms", 200),
        ("0", 0),
    ] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "10", "s", "1x", "-1s", "1s ", "1.2.3s", "99999999w"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
    for (text, bytes) in [
        ("1024", 1024),
        ("1k", 1024),
        ("512M", 512 << 20),
        ("1.5gb", 3 << 29),
        ("64 KiB", 65_536),
        ("2b", 2),
    ] {
        assert_eq!(parse_bytes(text), Some(bytes), "{text}");
    }
    for text in ["", "M", "-1", "1x", "1ib", "9999999p"] {
        assert_eq!(parse_bytes(text), None, "{text}");
    }
}

#[test]
fn command_lines_are_split_as_a_shell_splits_them() {
    for (line, words) in [
        ("a b  c", vec!["a", "b", "c"]),
        ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
        (r"a\ b 'x'y", vec!["a b", "xy"]),
        (r#""a \"b\" \x" ''"#, vec![r#"a "b" \x"#, ""]),
        ("", vec![]),
    ] {
        assert_eq!(shell_words(line).expect("words"), words, "{line}");
    }
    for line in ["'a", "\"a", "a\\"] {
        assert!(shell_words(line).is_err(), "{line}");
    }
}

#[test]
fn the_usual_files_are_found_with_what_is_laid_over_them() {
    let there = ["docker-compose.yml", "compose.yaml", "compose.override.yml"];
    let files = default_files(|name| there.contains(&name));
    assert_eq!(files, ["compose.yaml", "compose.override.yml"]);
    assert_eq!(default_files(|_| false), [""; 0]);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\n]{0,200}") {
        read_all(&[&text]);
        read_all(&[&format!("services:\n  a:\n    {}", text.replace('\n', "\n    "))]);
        read_env_file(".env", &text, &environment(), &mut Vec::new());
        let _ = shell_words(&text);
    }

    #[test]
    fn no_value_makes_a_field_panic(
        key in "(ports|volumes|command|healthcheck|deploy|environment|expose|x-marline|ulimits)",
        value in "[a-z0-9:/.$\\{\\}\\[\\]\"%, -]{0,40}",
    ) {
        read_all(&[&format!("services:\n  a:\n    image: x\n    {key}: {value}\n")]);
        read_all(&[&format!("services:\n  a:\n    image: x\n    {key}: ['{value}']\n")]);
    }

    #[test]
    fn durations_never_panic(text in "[0-9.a-zµ]{0,20}") {
        let _ = parse_duration(&text);
        let _ = parse_bytes(&text);
    }
}
