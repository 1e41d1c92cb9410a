//! Actions, and steps side by side, in the box of this machine.

#[allow(clippy::wildcard_imports, reason = "a part of the file above, by size")]
use super::*;

/// A job of steps as they are written, and a checkout before them.
fn after_checkout(steps: &str) -> String {
    format!("  a:\n    runs-on: linux\n    steps:\n      - uses: actions/checkout@v4\n{steps}")
}

impl World {
    /// What the steps said, without the checkout.
    fn spoke(&self) -> Vec<String> {
        self.output().into_iter().filter(|line| !line.starts_with("checked out")).collect()
    }

    fn names(&self) -> Vec<(String, Conclusion)> {
        let facts = self.facts();
        let ended = facts.iter().filter_map(|fact| match fact {
            Fact::StepFinished { name, conclusion, .. } => Some((name.clone(), *conclusion)),
            _ => None,
        });
        ended.collect()
    }

    fn said_with(&self, kind: pipeline::log::Kind) -> Vec<String> {
        let lines = self.kept.lines.lock().expect("no panic holds it");
        let of_kind = lines.iter().filter(|(_, line)| line.kind == kind);
        of_kind.map(|(_, line)| line.text.clone()).collect()
    }
}

pub fn a_composite_action_gets_inputs_and_gives_outputs() {
    let action = "inputs:\n  who: {default: 'by-default-${{ github.actor }}'}\n  other: {}\noutputs:\n  said: {value: '${{ steps.s.outputs.x }}'}\nruns:\n  using: composite\n  steps:\n    - id: s\n      shell: bash\n      run: |\n        echo \"x=hello ${{ inputs.who }}\" >> $GITHUB_OUTPUT\n        echo \"hidden=1\" >> $GITHUB_OUTPUT\n        echo \"[$INPUT_WHO] [${{ inputs.other }}] $(basename $GITHUB_ACTION_PATH)\"\n";
    let world = World::new()
        .repository(&[("greet/action.yml", action)])
        .run(&after_checkout("      - {id: g, uses: ./greet, with: {who: ada}}\n      - {id: h, uses: ./greet}\n      - run: echo '${{ steps.g.outputs.said }}|${{ steps.h.outputs.said }}|${{ steps.g.outputs.hidden }}|${{ steps.s.outputs.x }}'\n"))
        .ends(Success);
    assert_eq!(world.spoke(), ["[] [] greet", "[] [] greet", "hello ada|hello by-default-ada||"]);
}

pub fn an_action_fails_as_its_steps_do_and_still_gives_outputs() {
    let action = "outputs:\n  o: {value: '${{ steps.s.outputs.o }}'}\nruns:\n  using: composite\n  steps:\n    - {id: s, shell: bash, run: 'echo o=kept >> $GITHUB_OUTPUT; exit 4'}\n    - {shell: bash, run: echo NO}\n    - {if: failure(), shell: bash, run: echo inner failure}\n    - {if: always(), shell: sh, run: 'echo ${{ steps.s.outcome }}'}\n    - {shell: bash, run: exit 1, continue-on-error: true, if: always()}\n";
    let world = World::new()
        .repository(&[("act/action.yaml", action)])
        .run(&after_checkout("      - {id: g, uses: ./act, continue-on-error: true}\n      - run: echo '${{ steps.g.outputs.o }} ${{ steps.g.outcome }} ${{ steps.g.conclusion }}'\n      - uses: ./act\n      - run: echo NO\n"))
        .ends(Failure);
    assert_eq!(
        world.spoke(),
        ["inner failure", "failure", "kept failure success", "inner failure", "failure"]
    );
    let failure = world.facts().into_iter().rev().find_map(|fact| match fact {
        Fact::StepFinished { failure: Some(failure), .. } => Some(failure),
        _ => None,
    });
    assert_eq!(failure.map(|failure| failure.exit_code), Some(Some(4)));
}

pub fn an_action_starts_as_if_nothing_had_failed() {
    let action = "runs:\n  using: composite\n  steps:\n    - {shell: bash, run: 'echo ran ${{ job.status }}'}\n    - {shell: bash, if: failure(), run: echo NO}\n";
    let world = World::new()
        .repository(&[("act/action.yml", action)])
        .run(&after_checkout("      - run: exit 1\n      - {if: always(), uses: ./act}\n"))
        .ends(Failure);
    assert_eq!(world.spoke(), ["ran failure"]);
}

pub fn variables_reach_into_actions_and_out_of_them() {
    let inner = "runs:\n  using: composite\n  steps:\n    - shell: bash\n      env: {C: own}\n      run: echo \"$A $B $C $D\"; echo A=written >> $GITHUB_ENV; echo $PWD >> $GITHUB_PATH\n    - {shell: bash, run: 'echo \"$A ${{ env.A }} $C\"'}\n";
    let outer =
        "runs:\n  using: composite\n  steps:\n    - {uses: ./inner, env: {B: outer, C: outer}}\n";
    let world = World::new()
        .repository(&[("inner/action.yml", inner), ("outer/action.yml", outer)])
        .run(&after_checkout("      - {uses: ./outer, env: {A: step, B: step, D: step}}\n      - run: 'echo \"$A $B ${PATH%%:*}\" | sed s@$PWD@HERE@'\n"))
        .ends(Success);
    assert_eq!(world.spoke(), ["step outer own step", "step step outer", "written  HERE"]);
}

pub fn a_javascript_action_runs_before_in_and_after_its_step() {
    let said = |when: &str| {
        format!(
            "const fs = require('fs'); console.log('{when}', process.env['INPUT_WHO-TO-GREET'], process.env.INPUT_TWO_WORDS, process.env.STATE_seen || '-', process.env.X || '-'); fs.appendFileSync(process.env.GITHUB_STATE, 'seen={when}\\n'); fs.appendFileSync(process.env.GITHUB_OUTPUT, 'o={when}\\n'); if (process.stdout.isTTY) process.exit(9);"
        )
    };
    let action = "inputs: {who-to-greet: {default: nobody}, two words: {default: x}}\nruns: {using: node20, pre: dist/pre.js, main: dist/main.js, post: dist/post.js}\n";
    let (pre, main, post) = (said("pre"), said("main"), said("post"));
    let files = [
        ("action.yml", action),
        ("dist/pre.js", pre.as_str()),
        ("dist/main.js", main.as_str()),
        ("dist/post.js", post.as_str()),
    ];
    let text = "  a:\n    runs-on: linux\n    steps:\n      - run: echo first\n      - {id: n, name: One, uses: own/er@v1, with: {who-to-greet: ada}, env: {X: y}}\n      - {name: Two, uses: own/er@v1}\n      - run: echo '${{ steps.n.outputs.o }}'; exit 1\n";
    let world = World::new().action("own/er", &files).run(text).ends(Failure);
    assert_eq!(
        world.spoke(),
        [
            "pre ada x - y",
            "pre nobody x - -",
            "first",
            "main ada x pre y",
            "main nobody x pre -",
            "main",
            "post nobody x main -",
            "post ada x main y",
        ]
    );
    let names: Vec<String> = world.names().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "Pre One",
            "Pre Two",
            "Run echo first",
            "One",
            "Two",
            "Run echo '${{ steps.n.outputs.o }}'; exit 1",
            "Post Two",
            "Post One"
        ]
    );
}

pub fn what_comes_after_an_action_asks_its_own_condition() {
    let action = "runs: {using: node20, main: main.js, post: post.js, post-if: success()}\n";
    let main = "console.log('main')";
    let post = "console.log('post')";
    let files = [("act/action.yml", action), ("act/main.js", main), ("act/post.js", post)];
    let world = World::new()
        .repository(&files)
        .run(&after_checkout("      - uses: ./act\n      - run: exit 1\n"))
        .ends(Failure);
    assert_eq!(world.spoke(), ["main"]);
    let world = World::new()
        .repository(&files)
        .run(&after_checkout("      - uses: ./act\n      - {if: false, uses: ./act}\n"))
        .ends(Success);
    assert_eq!(world.spoke(), ["main", "post"]);
}

pub fn actions_inside_actions_clean_up_in_reverse() {
    let outer = "inputs: {n: {}}\nruns:\n  using: composite\n  steps:\n    - {uses: ./js, with: {n: '${{ inputs.n }}1'}}\n    - {uses: ./js, with: {n: '${{ inputs.n }}2'}}\n";
    let action = "inputs: {n: {}}\nruns: {using: node20, main: main.js, post: post.js}\n";
    let main = "console.log('main', process.env.INPUT_N); console.log('::save-state name=k::v' + process.env.INPUT_N)";
    let post = "console.log('post', process.env.INPUT_N, process.env.STATE_k)";
    let world = World::new()
        .repository(&[
            ("outer/action.yml", outer),
            ("js/action.yml", action),
            ("js/main.js", main),
            ("js/post.js", post),
        ])
        .run(&after_checkout("      - {uses: ./outer, with: {n: a}}\n      - {uses: ./js, with: {n: b}}\n      - {uses: ./outer, with: {n: c}}\n"))
        .ends(Success);
    assert_eq!(
        world.spoke(),
        [
            "main a1",
            "main a2",
            "main b",
            "main c1",
            "main c2",
            "post c2 vc2",
            "post c1 vc1",
            "post b vb",
            "post a2 va2",
            "post a1 va1"
        ]
    );
}

pub fn actions_of_other_repositories_are_fetched_once_and_kept() {
    let outer = "runs:\n  using: composite\n  steps:\n    - {shell: bash, run: echo outer $GITHUB_ACTION_REPOSITORY $GITHUB_ACTION_REF}\n    - uses: $/sub/inner\n";
    let inner = "runs:\n  using: composite\n  steps: [{shell: bash, run: echo inner}]\n";
    let text = "  a:\n    runs-on: linux\n    steps:\n      - uses: some/one@v1\n      - uses: some/one/sub/inner@main\n";
    let world = World::new()
        .action("some/one", &[("action.yml", outer), ("sub/inner/action.yml", inner)])
        .run(text)
        .ends(Success);
    assert_eq!(world.output(), ["outer some/one v1", "inner", "inner"]);
    let resolved = world.surroundings.actions.resolved();
    assert_eq!(resolved.len(), 2);
    assert_eq!(resolved[0].1, resolved[1].1);
}

pub fn an_action_of_this_repository_is_taken_from_its_commit() {
    let action = "runs:\n  using: composite\n  steps: [{shell: bash, run: echo own; ls | wc -l}]\n";
    let text = "  a:\n    runs-on: linux\n    steps:\n      - uses: $/act\n      - uses: ./act\n";
    let world = World::new().repository(&[("act/action.yml", action)]).run(text).ends(Failure);
    assert_eq!(world.output(), ["own", "0"]);
    assert!(world.said().contains("Did you forget to run actions/checkout"));
}

pub fn what_an_action_needs_is_known_before_the_run() {
    let world = World::new().repository(&[
        ("docker/action.yml", "runs: {using: docker, image: Dockerfile}\n"),
        ("bad/action.yml", "runs:\n  using: composite\n  steps:\n    - run: x\n    - {shell: sh, run: '${{ secrets.X }}'}\n"),
        ("deep/action.yml", "runs:\n  using: composite\n  steps:\n    - uses: no/where@v1\n"),
        ("round/action.yml", "runs:\n  using: composite\n  steps:\n    - uses: ./round\n"),
    ]);
    let text = "on: push\njobs:\n  a:\n    runs-on: linux\n    steps:\n      - uses: ./docker\n      - uses: docker://alpine\n      - uses: ./bad\n      - uses: ./deep\n      - uses: ./round\n      - uses: $/none\n      - uses: ./made-by-a-step\n";
    let Planned::Refused(findings) = world.plan(text) else { panic!("is refused") };
    let told: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {}", finding.place, finding.message))
        .map(|text| text.split(": ").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        told,
        [
            ".github/workflows/w.yml:6:15 `./docker` runs in Docker, which is not supported yet",
            ".github/workflows/w.yml:7:15 a Docker action is not supported yet",
            "bad/action.yml:4:7 Required property is missing",
            "bad/action.yml:5:29 Unrecognized named-value",
            "deep/action.yml:4:13 the action `no/where@v1` could not be fetched",
            "round/action.yml:4:13 actions use each other more than 10 deep",
            ".github/workflows/w.yml:11:15 there is no action in `$/none`",
        ]
    );
}

pub fn an_action_may_be_made_by_a_step() {
    let text = "  a:\n    runs-on: linux\n    env: {MY: job}\n    steps:\n      - run: |\n          mkdir made; printf 'runs:\\n  using: composite\\n  steps:\\n    - {shell: bash, run: echo made $MY}\\n    - {shell: bash, run: echo MY=out >> $GITHUB_ENV}\\n' > made/action.yml\n      - {uses: ./made, env: {MY: step}, with: {x: 1}}\n      - run: echo $MY\n";
    let world = World::new().run(text).ends(Success);
    assert_eq!(world.output(), ["made step", "out"]);
    let warnings = world.said_with(pipeline::log::Kind::Warning);
    assert_eq!(warnings, ["Unexpected input(s) 'x', valid inputs are ['']"]);
}

pub fn a_background_step_gives_what_it_has_when_somebody_waits() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - id: s\n        background: true\n        run: |\n          until [ -e $HOME/go ]; do sleep 0.05; done\n          echo o=late >> $GITHUB_OUTPUT; echo V=late >> $GITHUB_ENV; echo $PWD/late >> $GITHUB_PATH; echo done\n      - run: echo \"main [${{ steps.s.outputs.o }}] [$V]\"; touch $HOME/go\n      - wait: s\n      - run: echo \"[${{ steps.s.outputs.o }}] [$V] [$(basename ${PATH%%:*})] ${{ steps.s.conclusion }}\"\n";
    let world = World::new().run(text).ends(Success);
    assert_eq!(world.output()[0], "main [] []");
    let mut spoke = world.output();
    spoke.retain(|line| !line.contains("background"));
    assert_eq!(spoke, ["main [] []", "done", "[late] [late] [late] success"]);
}

pub fn steps_of_parallel_run_side_by_side() {
    let meet = |own: &str, other: &str| {
        format!(
            "          - run: touch $HOME/{own}; until [ -e $HOME/{other} ]; do sleep 0.05; done; echo p{own}\n"
        )
    };
    let text = format!(
        "  a:\n    runs-on: linux\n    steps:\n      - parallel:\n{}{}      - run: echo after\n",
        meet("1", "2"),
        meet("2", "1")
    );
    let world = World::new().run(&text).ends(Success);
    let output = world.output();
    assert_eq!(output.last().map(String::as_str), Some("after"));
    assert!(output.contains(&"p1".to_owned()) && output.contains(&"p2".to_owned()));
    assert_eq!(world.steps(), [Success, Success, Success]);
}

pub fn at_most_ten_background_steps_run_at_once() {
    let mut text = "  a:\n    runs-on: linux\n    steps:\n      - parallel:\n".to_owned();
    for _ in 0..12 {
        text.push_str("          - run: mktemp -p $HOME on.XXXXXX > $HOME/name.$$; ls $HOME | grep -c '^on' | xargs -I N test N -le 10; sleep 0.2; rm $(cat $HOME/name.$$)\n");
    }
    World::new().run(&text).ends(Success);
}

pub fn a_failed_background_step_fails_the_job() {
    let steps = |more: &str| {
        format!(
            "  a:\n    runs-on: linux\n    steps:\n      - {{id: s, background: true, run: exit 3{more}}}\n      - run: echo on\n      - wait-all:\n      - run: echo NO\n      - {{if: failure(), run: 'echo failed ${{{{ steps.s.outcome }}}}'}}\n"
        )
    };
    let world = World::new().run(&steps("")).ends(Failure);
    let spoke: Vec<String> =
        world.output().into_iter().filter(|line| !line.contains("background")).collect();
    assert_eq!(spoke, ["on", "failed failure"]);
    World::new().run(&steps(", continue-on-error: true")).ends(Success);
    // Nobody waits for it.
    let text = "  a:\n    runs-on: linux\n    steps:\n      - {background: true, run: exit 3}\n      - run: echo on\n";
    World::new().run(text).ends(Failure);
}

pub fn a_background_step_that_is_cancelled_on_purpose_fails_nothing() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - id: s\n        background: true\n        run: |\n          trap 'echo GOT_INT; exit 1' INT\n          touch $HOME/up; sleep 60 & wait\n      - run: until [ -e $HOME/up ]; do sleep 0.05; done\n      - cancel: s\n      - run: echo '${{ steps.s.outcome }}'\n";
    let world = World::new().run(text).ends(Success);
    let spoke: Vec<String> =
        world.output().into_iter().filter(|line| !line.contains("background")).collect();
    assert_eq!(spoke, ["GOT_INT", "cancelled"]);
}

pub fn a_cancelled_run_ends_its_background_steps() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - id: s\n        background: true\n        if: always()\n        run: echo READY; sleep 60\n      - wait: s\n      - {if: cancelled(), run: echo CLEAN}\n";
    let world = World::new().run_until(text, |line| line == "READY").ends(Cancelled);
    assert!(world.output().contains(&"CLEAN".to_owned()));
}

pub fn a_tool_is_set_up_in_a_version_that_is_there() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - {id: n, uses: actions/setup-node@v4, with: {node-version: '>=1'}}\n      - run: test \"$(node --version)\" = '${{ steps.n.outputs.node-version }}' && echo same\n      - {uses: actions/setup-node@v4, with: {node-version: 999}}\n";
    let world = World::new().run(text).ends(Failure);
    assert!(world.output().contains(&"same".to_owned()), "{}", world.said());
    assert!(world.said().contains("Node.js `999` is not installed here; installed: "));
}
