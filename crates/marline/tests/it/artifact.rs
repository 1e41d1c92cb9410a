//! What runs keep and cache, from the command line.

use crate::world::World;

const WORKFLOW: &str = "name: ci
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/cache@v4
        id: deps
        with: {path: deps, key: deps-1}
      - run: |
          echo \"hit: ${{ steps.deps.outputs.cache-hit }}\"
          mkdir -p deps out && echo cached > deps/a && echo built > out/a.txt
      - uses: actions/upload-artifact@v4
        with: {name: built, path: out, retention-days: 5}
";

#[test]
fn artifacts_and_caches_are_listed_fetched_and_removed() {
    let world = World::new();
    world.commit("first", &[(".github/workflows/ci.yml", WORKFLOW)]);
    let first = world.marline(["run", "-v"]).ends(0);
    assert!(first.out.contains("Cache saved with key: deps-1"), "{}", first.out);
    let second = world.marline(["run", "-v"]).ends(0);
    assert!(second.out.contains("hit: true"), "{}", second.out);

    let listed = world.marline(["artifact", "list"]).ends(0).out;
    assert_eq!(listed.matches("built").count(), 2, "{listed}");
    world.marline(["artifact", "download", "built", "--to", "got"]).ends(0);
    let got = std::fs::read_to_string(world.path().join("got/a.txt")).expect("is there");
    assert_eq!(got, "built\n");
    world.marline(["artifact", "download", "none"]).ends(5);
    world.marline(["artifact", "rm", "built", "--run", "1"]).ends(0);
    let listed = world.marline(["artifact", "list"]).ends(0).out;
    assert_eq!(listed.matches("built").count(), 1, "{listed}");

    let cached = world.marline(["cache", "list"]).ends(0).out;
    assert!(cached.contains("deps-1"), "{cached}");
    world.marline(["cache", "rm", "deps-1", "--dry-run"]).ends(0);
    world.marline(["cache", "rm", "deps-1"]).ends(0);
    world.marline(["cache", "rm", "deps-1"]).ends(5);
    let audited = world.marline(["audit"]).ends(0).out;
    assert!(audited.contains("The cache deps-1 was removed"), "{audited}");
}
