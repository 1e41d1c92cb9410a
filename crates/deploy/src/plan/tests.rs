use source::compose::{ComposeFile, read};

use super::*;

fn check(text: &str) -> (Vec<ServicePlan>, String) {
    let environment = Environment::default().in_directory("shop");
    let (project, findings) = read(&[ComposeFile::new("compose.yaml", text)], &environment);
    let errors: Vec<_> = findings.iter().filter(|finding| finding.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let project = project.expect("it could be read");
    let none: [&str; 0] = [];
    let services = project.select(&none, &none).expect("services can be chosen");
    let commands = BTreeMap::from([("fromproc".to_owned(), "exec serve --fast".to_owned())]);
    let given = Given { environment: &environment, read: &|_| None, commands: &commands };
    let (plans, findings) = plan(&project, &services, &given);
    let told = findings
        .iter()
        .map(|f| format!("{}[{}] {}: {}", f.severity, f.rule, f.place, f.message))
        .collect::<Vec<_>>()
        .join("\n");
    (plans, told)
}

#[test]
fn a_plain_service_gets_all_defaults_and_starts_after_what_it_needs() {
    let (plans, told) = check(
        "services:
  web:
    build: ./web
    command: ./bin/server --port $$PORT
    ports: ['8080:3000']
    environment: {B: '2', A: '1'}
    depends_on: [worker]
    stop_grace_period: 30s
  worker:
    build: .
    command: ['./work', 'two words']
",
    );
    let shown: Vec<_> = plans.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    worker × 1
      runs       ./work 'two words'
      in         .
      traffic    blue/green 100 %, new starts first
      watched    30s, rolls back by itself
      stops      SIGTERM, killed after 10s
    web × 1
      runs       ./bin/server --port $PORT
      in         web
      variables  A, B
      published  127.0.0.1:8080 (http)
      after      worker runs
      traffic    canary 1 % → 10 % → 50 % → 100 %, new starts first
      watched    30s, rolls back by itself
      stops      SIGTERM, killed after 30s
    ");
    assert_eq!(told, "");
}

#[test]
fn what_the_engine_cannot_do_is_said_with_its_place() {
    let (plans, told) = check(
        "services:
  db:
    image: postgres:16
  silent:
    build: .
  fromproc:
    build: .
  root:
    build: .
    command: x
    user: root
    cap_add: [NET_ADMIN]
  away:
    build: ../other
    command: x
",
    );
    insta::assert_snapshot!(told, @r"
    error[service-needs-docker] compose.yaml:3:12: service `db` has only an image, and images need the Docker engine
    error[service-needs-command] compose.yaml:4:3: service `silent` does not say what to run
    error[field-refused] compose.yaml:11:5: the process engine does not honour `user`
    warning[field-not-honoured] compose.yaml:12:5: the process engine does not honour `cap_add`
    error[build-context-outside] compose.yaml:14:12: `../other` is not inside the repository
    ");
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].command, Command::Shell("exec serve --fast".to_owned()));
}

#[test]
fn update_config_is_obeyed_and_a_written_volume_stops_first() {
    let (plans, _) = check(
        "services:
  web:
    build: .
    command: x
    ports: ['80']
    deploy:
      replicas: 4
      update_config: {parallelism: 2, delay: 3s, order: start-first, monitor: 5s, failure_action: pause, max_failure_ratio: 0.01}
    x-marline: {canary: [5%, 25%]}
  data:
    build: .
    command: x
    volumes: ['data:/data']
volumes: {data: {}}
",
    );
    let web = &plans[0].rollout;
    assert_eq!((web.parallelism, web.delay), (2, Duration::from_secs(3)));
    assert_eq!(web.steps, [500, 2_500, WHOLE]);
    assert_eq!((web.monitor, web.step_time), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!((web.on_worse, web.max_failure_ratio), (OnWorse::Hold, Some(0.01)));
    let data = &plans[1].rollout;
    assert_eq!((data.strategy, data.order), (StrategyKind::Rolling, Order::StopFirst));
}
