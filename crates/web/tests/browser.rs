//! The gallery in a real browser, when there is one.

use std::path::Path;
use std::process::Command;

const CHROMIUM: &str = "/usr/bin/chromium";

#[test]
fn every_page_is_well_in_a_browser() {
    let name = "every_page_is_well_in_a_browser";
    let Some(modules) = std::env::var_os("MARLINE_PLAYWRIGHT") else {
        eprintln!(
            "{name}: skipped, MARLINE_PLAYWRIGHT names no node_modules with playwright-core and axe-core"
        );
        return;
    };
    let is_there = ["playwright-core", "axe-core"]
        .iter()
        .all(|module| Path::new(&modules).join(module).is_dir());
    if !is_there || !Path::new(CHROMIUM).exists() {
        eprintln!("{name}: skipped, playwright-core, axe-core or {CHROMIUM} is missing");
        return;
    }
    // Cargo builds examples beside the tests before it runs them.
    let tests = std::env::current_exe().expect("a test knows its own path");
    let built = tests.parent().and_then(Path::parent).expect("tests stand in `deps` of the build");
    let gallery = built.join("examples").join("gallery");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let checked = Command::new("node")
        .arg(scripts.join("run-gallery.mjs"))
        .arg(&gallery)
        .output()
        .expect("node starts where its modules are");
    assert!(
        checked.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
}
