//! Every command that the docs tell to type is typed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::World;

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    let guides = std::fs::read_dir(root.join("docs/guide")).unwrap();
    pages.extend(guides.map(|entry| entry.unwrap().path()));
    pages.sort();
    pages
}

#[test]
fn the_commands_of_the_docs_work_in_order() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("the_commands_of_the_docs_work_in_order: skipped, python3 is missing");
        return;
    }
    let mut ran = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let mut world: Option<World> = None;
        let mut blocks = text.split("<!-- run: guestbook-python -->");
        blocks.next();
        for block in blocks {
            let block = block.trim_start();
            let Some(block) = block.strip_prefix("```console\n") else {
                panic!("{}: a marked block is no console block", page.display());
            };
            let block = block.split("```").next().unwrap();
            let world = world.get_or_insert_with(|| World::of_example("guestbook-python"));
            for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
                let path = std::env::var("PATH").unwrap_or_default();
                let bin = Path::new(env!("CARGO_BIN_EXE_marline")).parent().unwrap();
                let output = Command::new("bash")
                    .args(["-euo", "pipefail", "-c", line])
                    .current_dir(world.path())
                    .env("PATH", format!("{}:{path}", bin.display()))
                    .env("NO_COLOR", "1")
                    .output()
                    .unwrap();
                ran += 1;
                assert!(
                    output.status.success(),
                    "{}: `{line}` ended with {}\n{}{}",
                    page.display(),
                    output.status,
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
    }
    assert!(ran > 0, "no page has a block that is run");
}
