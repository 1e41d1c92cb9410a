//! `marline run`: workflows that call others.

use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";
const CALLED: &str = ".github/workflows/called.yml";

const GREET: &str = "on:
  workflow_call:
    inputs:
      who: {type: string, required: true}
      loud: {type: boolean, default: false}
      times: {type: number, default: 2}
    secrets:
      TOKEN: {required: false}
    outputs:
      greeting: {value: '${{ jobs.greet.outputs.text }}'}
env: {OWN: inner}
jobs:
  greet:
    runs-on: ubuntu-latest
    outputs: {text: '${{ steps.say.outputs.text }}'}
    steps:
      - id: say
        env: {LOUD: '${{ inputs.loud && 1 || 0 }}', TOKEN: '${{ secrets.TOKEN }}'}
        run: |
          test \"$OWN/${OUTER-unset}\" = inner/unset
          test '${{ github.event_name }}' = push
          test '${{ inputs.loud == true || inputs.loud == false }}' = true
          test '${{ inputs.times > 1 }}' = true
          echo \"token has ${#TOKEN} characters\"
          echo \"text=hello ${{ inputs.who }} $LOUD ${{ inputs.times }}\" >> \"$GITHUB_OUTPUT\"
";

fn world(jobs: &str) -> World {
    let ci = format!("name: ci\non: push\nenv: {{OUTER: outer}}\njobs:\n{jobs}");
    World::with(&[(CI, &ci), (CALLED, GREET)])
}

pub fn set_secret(world: &World, name: &str, value: &str) {
    let mut set = world.command(["secret", "set", name]);
    set.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = set.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), value.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_called_workflow_gets_typed_inputs_and_gives_outputs() {
    let world = world(
        "  names:
    runs-on: ubuntu-latest
    outputs: {who: '${{ steps.n.outputs.who }}'}
    steps: [{id: n, run: 'echo who=ana >> \"$GITHUB_OUTPUT\"'}]
  call:
    needs: names
    uses: ./.github/workflows/called.yml
    with: {who: '${{ needs.names.outputs.who }}', loud: true}
  after:
    needs: call
    runs-on: ubuntu-latest
    steps:
      - run: test '${{ needs.call.result }}/${{ needs.call.outputs.greeting }}' = 'success/hello ana 1 2'
",
    );
    world.marline(["run"]).ends(0).says("✓ call / greet").says("✓ after").says("3 passed");
}

#[test]
fn a_matrix_of_calls_has_a_name_for_each_and_inputs_of_its_own() {
    let world = world(
        "  call:
    strategy: {matrix: {who: [ana, bob]}}
    uses: $/.github/workflows/called.yml
    with: {who: '${{ matrix.who }}', times: 7}
  after:
    needs: call
    runs-on: ubuntu-latest
    steps: [{run: \"echo '${{ needs.call.outputs.greeting }}' | grep -E '^hello (ana|bob) 0 7$'\"}]
",
    );
    world.marline(["run"]).ends(0).says("✓ call (ana) / greet").says("✓ call (bob) / greet");
    world.marline(["run", "--plan"]).ends(0).says("· call (ana) / greet").says("after call");
}

#[test]
fn secrets_reach_a_called_workflow_only_when_they_are_given() {
    let calls = "  none: {uses: ./.github/workflows/called.yml, with: {who: a}}
  all:
    needs: none
    uses: ./.github/workflows/called.yml
    with: {who: a}
    secrets: inherit
  one:
    needs: all
    uses: ./.github/workflows/called.yml
    with: {who: a}
    secrets: {TOKEN: '${{ secrets.OTHER }}'}
";
    let world = world(calls);
    set_secret(&world, "TOKEN", "correct-horse");
    set_secret(&world, "OTHER", "battery");
    let said = world.marline(["run", "--verbose"]).ends(0);
    let tokens: Vec<&str> =
        said.out.lines().filter_map(|line| Some(line.split_once("│ token has ")?.1)).collect();
    assert_eq!(tokens, ["0 characters", "13 characters", "7 characters"], "{}", said.out);
}

#[test]
fn calls_may_be_nested_and_a_failure_deep_inside_is_the_callers() {
    let world = world(
        "  top: {uses: ./.github/workflows/middle.yml}\n  last:\n    needs: top\n    if: failure()\n    runs-on: ubuntu-latest\n    steps: [{run: \"test '${{ needs.top.result }}' = failure\"}]\n",
    );
    world.commit(
        "more",
        &[
            (
                ".github/workflows/middle.yml",
                "on: workflow_call\njobs: {in: {uses: ./.github/workflows/bottom.yml}}\n",
            ),
            (
                ".github/workflows/bottom.yml",
                "on: workflow_call\njobs: {work: {runs-on: ubuntu-latest, steps: [{run: 'exit 3'}]}, skipped: {if: false, runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n",
            ),
        ],
    );
    world
        .marline(["run"])
        .ends(1)
        .says("✗ top / in / work")
        .says("↷ top / in / skipped")
        .says("✓ last");
}

#[test]
fn what_is_wrong_with_a_call_is_said_before_anything_starts() {
    let cases = [
        ("uses: ./.github/workflows/none.yml", "none.yml"),
        ("uses: ./.github/workflows/called.yml", "Input who is required, but not provided"),
        (
            "uses: ./.github/workflows/called.yml\n    with: {who: a, extra: b}",
            "Invalid input, extra is not defined",
        ),
        (
            "uses: ./.github/workflows/called.yml\n    with: {who: a, loud: '${{ github.ref }}'}",
            "The input `loud` is a boolean, not `refs/heads/main`",
        ),
        ("uses: ./.github/workflows/ci.yml", "workflow_call"),
    ];
    for (call, why) in cases {
        let world = world(&format!("  call:\n    {call}\n"));
        world.marline(["run"]).ends(1).says(why).says("nothing was started");
    }
}

#[test]
fn a_skipped_call_skips_all_its_jobs() {
    let world = world(
        "  call:
    if: github.ref == 'refs/heads/dev'
    uses: ./.github/workflows/called.yml
    with: {who: a}
",
    );
    world.marline(["run"]).ends(0).says("↷ call / greet");
    world.marline(["run", "--plan"]).ends(0).says("↷ call");
}

#[test]
fn a_workflow_of_another_repository_is_fetched_and_calls_its_own() {
    let mirror = tempfile::tempdir().unwrap();
    let other = World::with(&[
        (
            ".github/workflows/far.yml",
            "on: {workflow_call: {inputs: {n: {type: number, required: true}}}}\njobs: {in: {uses: ./.github/workflows/inner.yml, with: {n: '${{ inputs.n }}'}}}\n",
        ),
        (
            ".github/workflows/inner.yml",
            "on: {workflow_call: {inputs: {n: {type: number, required: true}}}}\njobs: {work: {runs-on: ubuntu-latest, steps: [{run: \"test '${{ inputs.n }}' = 4\"}]}}\n",
        ),
    ]);
    other.git(["tag", "v1"]);
    std::fs::create_dir(mirror.path().join("acme")).unwrap();
    std::os::unix::fs::symlink(other.path(), mirror.path().join("acme/shared")).unwrap();
    let run = |call: &str| {
        let world = world(&format!("  call: {{uses: 'acme/shared/{call}', with: {{n: 4}}}}\n"));
        let mut command = world.command(["run"]);
        command.env("MARLINE_ACTIONS_MIRROR", format!("file://{}", mirror.path().display()));
        let output = command.output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), said(&output.stdout) + &said(&output.stderr))
    };
    let (code, said) = run(".github/workflows/far.yml@v1");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("✓ call / in / work"), "{said}");
    let (code, said) = run(".github/workflows/none.yml@v1");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("there is no file `acme/shared/.github/workflows/none.yml@v1`"),
        "{said}"
    );
}
