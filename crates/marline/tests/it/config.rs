//! `marline config`: what Marline takes a project's files for.

use crate::world::World;

const BASE: &str = "services:\n  app: {build: ., command: 'serve $MODE', env_file: app.env}\n";

#[test]
fn several_files_are_told_as_one_model() {
    let world = World::with(&[
        (
            "compose.yaml",
            "name: shop\ninclude: [db/compose.yaml]\nservices:\n  web:\n    extends: {file: ops/base.yaml, service: app}\n    depends_on: [db]\n",
        ),
        ("db/compose.yaml", "services:\n  db: {build: ., command: ./db}\n"),
        ("ops/base.yaml", BASE),
        ("staging.yaml", "services:\n  web: {deploy: {replicas: 2}, env_file: !reset }\n"),
        (".env", "MODE=fast\n"),
    ]);
    let said = world.marline(["config", "--json", "-f", "compose.yaml", "-f", "staging.yaml"]);
    let model: serde_json::Value = serde_json::from_str(&said.ends(0).out).unwrap();
    let web = &model["services"]["web"];
    assert_eq!(web["command"], serde_json::json!(["serve", "fast"]));
    assert_eq!(web["build"]["context"], "ops");
    assert_eq!(web["deploy"]["replicas"], 2);
    assert!(web.get("extends").is_none() && web.get("env_file").is_none());
    assert_eq!(model["services"]["db"]["build"]["context"], "db");
    assert!(model.get("include").is_none());

    // Without `-f` only the usual files count, and the file that is missing is told by name.
    let said = world.marline(["config"]).ends(1);
    said.says("there is no file `ops/app.env`").says("ops/base.yaml:2:");
}

#[test]
fn files_are_named_from_where_one_stands() {
    let world = World::with(&[("sub/compose.yaml", "services:\n  web: {build: x, command: a}\n")]);
    let said = world.marline(["-C", "sub", "config", "--json", "-f", "compose.yaml"]).ends(0);
    let model: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(model["services"]["web"]["build"]["context"], "sub/x");
    world.marline(["config", "-f", "none.yaml"]).ends(5).says("could not read none.yaml");
    world.marline(["config", "-f", "/etc/passwd"]).ends(2).says("outside of the repository");
}
