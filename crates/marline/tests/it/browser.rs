//! Journeys in a real browser, when one is installed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::carry::{Users, compose, service};
use crate::world::{World, free_port, peer_is_missing};

/// Returns where playwright-core is, or says that a test skips.
fn playwright(test: &str) -> Option<PathBuf> {
    let modules = std::env::var_os("MARLINE_PLAYWRIGHT").map(PathBuf::from);
    let modules = modules.filter(|modules| modules.join("playwright-core").is_dir());
    let browser = Path::new("/usr/bin/chromium").exists();
    match modules {
        Some(modules) if browser => Some(modules),
        _ => {
            peer_is_missing(test, "chromium or playwright-core");
            None
        }
    }
}

/// Starts the test's service in a world that is carried.
fn carried() -> (World, u16) {
    let port = free_port();
    let mut world = World::new();
    world.commit(
        "first",
        &[
            ("web.py", &service("one", "False")),
            ("compose.yaml", &compose(port)),
            (
                ".github/workflows/ci.yml",
                "name: ci\non: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - name: Count\n        run: for i in $(seq 40); do echo line $i; done\n",
            ),
        ],
    );
    world.up();
    world.wait_deployed();
    (world, port)
}

fn link(world: &World) -> String {
    world.marline(["ui"]).ends(0).out.trim().to_owned()
}

#[test]
fn a_roll_back_is_watched_and_read_in_the_browser() {
    let Some(modules) = playwright("a_roll_back_is_watched_and_read_in_the_browser") else {
        return;
    };
    let (mut world, port) = carried();
    let users = Users::ask(port, 4);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/journey.mjs");
    let mut journey = Command::new("node")
        .arg(script)
        .arg(link(&world))
        .env("MARLINE_PLAYWRIGHT", &modules)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut watching = String::new();
    let mut said = BufReader::new(journey.stdout.take().unwrap());
    said.read_line(&mut watching).unwrap();
    if watching.trim() == "watching" {
        world.commit("bad", &[("web.py", &service("two", "True"))]);
        world.wait_for("the end of the incident", |fact| {
            matches!(fact, journal::Fact::IncidentResolved { .. }).then_some(())
        });
    }
    let output = journey.wait_with_output().unwrap();
    users.stop();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_page_of_a_real_story_is_well_in_the_browser() {
    let Some(modules) = playwright("every_page_of_a_real_story_is_well_in_the_browser") else {
        return;
    };
    let (mut world, port) = carried();
    let users = Users::ask(port, 4);
    world.commit("bad", &[("web.py", &service("two", "True"))]);
    world.wait_for("the end of the incident", |fact| {
        matches!(fact, journal::Fact::IncidentResolved { .. }).then_some(())
    });
    users.stop();
    let links: Vec<String> = (0..8).map(|_| link(&world)).collect();
    let base = links[0].split("/login").next().unwrap().to_owned();
    let commit = world.git(["rev-parse", "HEAD"]).trim().to_owned();
    let asked = serde_json::json!({
        "base": base,
        "links": links,
        "pages": {
            "overview": "/",
            "runs": "/runs",
            "run": "/runs/1",
            "log": "/runs/1/test/1",
            "deployments": "/deployments",
            "deployment": "/deployments/2",
            "service": "/services/web",
            "incidents": "/incidents",
            "incident": "/incidents/1",
            "commit": format!("/commits/{commit}"),
            "timeline": "/timeline",
        },
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/tests/browser/check.mjs");
    let output = Command::new("node")
        .arg(script)
        .arg(asked.to_string())
        .env("MARLINE_PLAYWRIGHT", &modules)
        .env("MARLINE_WIDTHS", "360,1440")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
