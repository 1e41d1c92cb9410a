//! Results of tests, found where tools leave them.

use journal::Fact;

use crate::world::World;

/// A workflow with one job of one script; `COIN` in the home of jobs decides for flaky tests.
fn workflow(script: &str) -> String {
    let mut text =
        "on: push\njobs:\n  unit:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: |\n"
            .to_owned();
    for line in script.lines() {
        text.push_str(&format!("          {line}\n"));
    }
    text
}

fn world(script: &str) -> World {
    World::with(&[(".github/workflows/ci.yml", workflow(script).as_str())])
}

/// Counts of the last report of tests, and the names of those that did not pass.
fn reported(world: &World) -> (u32, u32, u32, Vec<String>) {
    let events = world.journal().read(journal::EventId(0), 10_000).unwrap();
    let found = events.iter().rev().find_map(|event| match &event.fact {
        Fact::TestsReported { passed, failed, skipped, tests, .. } => {
            let names = tests.iter().map(|one| one.test.clone()).collect();
            Some((*passed, *failed, *skipped, names))
        }
        _ => None,
    });
    found.expect("tests were reported")
}

#[test]
fn junit_files_of_any_name_are_found_in_what_a_step_wrote() {
    let world = world(
        "mkdir -p build/reports
cat > build/reports/TEST-Cart.xml <<'END'
<?xml version=\"1.0\"?>
<testsuite name=\"Cart\"><testcase classname=\"shop.Cart\" name=\"adds\" time=\"0.5\"/>
<testcase classname=\"shop.Cart\" name=\"empty\"><failure message=\"got 1\">at Cart.java:3</failure></testcase>
<testcase classname=\"shop.Cart\" name=\"net\"><skipped/></testcase></testsuite>
END
echo '<project/>' > pom.xml",
    );
    world.marline(["run"]).ends(0).says("1 test failed, 1 passed, 1 skipped");
    assert_eq!(reported(&world), (1, 1, 1, vec!["shop.Cart › empty".to_owned()]));
    world
        .marline(["report", "--tests"])
        .ends(0)
        .says("run 1, unit: 1 failed, 1 passed, 1 skipped")
        .says("✗ unit · shop.Cart › empty")
        .says("got 1")
        .says("500 ms  shop.Cart › adds");
    world.marline(["report", "--tests", "Cart › net"]).ends(0).says("run 1: skipped");
    // What is replayed reports the same.
    world.marline(["run"]).ends(0).says("1 test failed, 1 passed, 1 skipped");
}

#[test]
fn what_tools_print_is_read_line_by_line() {
    let world = world(
        "cat <<'END'
     Running unittests src/lib.rs (target/debug/deps/shop-0123456789abcdef)
running 2 tests
test cart::adds ... ok
test cart::empty ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored
{\"Action\":\"pass\",\"Package\":\"shop\",\"Test\":\"TestGo\",\"Elapsed\":0.01}
{ \"type\": \"test\", \"name\": \"json::works\", \"event\": \"ok\" }
TAP version 13
ok 1 - tapped
not ok 2 - dropped
==== test session starts ====
tests/test_a.py::test_x PASSED [100%]
==== 1 passed in 0.01s ====
END",
    );
    world.marline(["run"]).ends(0);
    assert_eq!(
        reported(&world),
        (5, 2, 0, vec!["shop › cart::empty".to_owned(), "dropped".to_owned()])
    );
    let said = world.marline(["report", "--tests", "--json"]).ends(0);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["tests"].as_array().unwrap().len(), 7);
    assert_eq!(json["runs"][0]["failed"], 2);
}

#[test]
fn the_real_cargo_test_is_understood() {
    let world = World::with(&[
        (
            "Cargo.toml",
            "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
        ),
        (
            "src/lib.rs",
            "#[test]\nfn adds() { assert_eq!(1 + 1, 2) }\n#[test]\nfn empty() { assert_eq!(1, 0, \"not empty\") }\n#[test]\n#[ignore = \"slow\"]\nfn later() {}\n",
        ),
        (".github/workflows/ci.yml", workflow("cargo test --offline --lib").as_str()),
    ]);
    world.marline(["run"]).ends(1).says("1 test failed, 1 passed, 1 skipped");
    world
        .marline(["report", "--tests"])
        .says("✗ unit · shop › empty")
        .says("panicked at src/lib.rs");
}

#[test]
fn a_test_that_passed_and_failed_on_the_same_inputs_is_flaky_by_proof() {
    let world = world(
        "if [ -e \"$HOME/coin\" ]; then word=FAILED; rm \"$HOME/coin\"; else word=ok; touch \"$HOME/coin\"; fi
printf 'running 2 tests\\ntest solid ... ok\\ntest shaky ... %s\\ntest result: x\\n' $word",
    );
    world.marline(["run", "--fresh"]).ends(0);
    let said = world.marline(["report", "--tests"]).ends(0);
    assert!(!said.out.contains("flaky"), "{}", said.out);
    world
        .marline(["run", "--fresh"])
        .ends(0)
        .says("shaky is flaky: on the same inputs it passed in run 1 and failed in run 2");
    world
        .marline(["report", "--tests"])
        .says("flaky, by proof")
        .says("on the same inputs it passed in run 1 and failed in run 2");
    world.marline(["timeline"]).says("shaky is flaky");
    // Another commit proves nothing about a test that changed.
    let other = world.commit("second", &[("README.md", "new")]);
    assert!(!other.is_empty());
    std::fs::write(world.state().join("home/coin"), "").unwrap();
    let said = world.marline(["run", "--fresh"]).ends(0);
    assert!(!said.out.contains("is flaky"), "{}", said.out);
    let said = world.marline(["report", "--tests", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let shaky = json["tests"].as_array().unwrap().iter().find(|test| test["name"] == "shaky");
    assert_eq!(shaky.unwrap()["flaky"], serde_json::json!({ "passed": 1, "failed": 2 }));
}

#[test]
fn secrets_are_hidden_in_results_and_nothing_is_reported_without_tests() {
    let add = World::with(&[(
        ".github/workflows/ci.yml",
        "on: push
jobs:
  unit:
    runs-on: ubuntu-latest
    env: {KEY: '${{ secrets.KEY }}'}
    steps:
      - run: |
          echo \"<testsuite><testcase name='x'><failure message='$KEY'/></testcase></testsuite>\" > r.xml
",
    )]);
    crate::calls::set_secret(&add, "KEY", "hunter2-is-long");
    add.marline(["run"]).ends(0);
    let said = add.marline(["report", "--tests", "--json"]).ends(0).says("***");
    assert!(!said.out.contains("hunter2"));
    let none = world("echo hello");
    none.marline(["run"]).ends(0);
    none.marline(["report", "--tests"]).ends(0).says("no run has reported tests yet");
    none.marline(["report"]).ends(2).says("say what to report on");
}
