//! Steps that are replayed leave what they would have left, in the box of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use journal::{Conclusion, Fact, JobKey, RunId};
use pipeline::event::Event;
use pipeline::execute::{CheckedOut, Checkout, Recorder, Surroundings, execute};
use pipeline::log::{Kind, Line};
use pipeline::plan::{Planned, Wish, plan};
use pipeline::replay::Verdict;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::watch;

type Test = (&'static str, fn());

macro_rules! tests {
    ($($name:ident)*) => { &[$((stringify!($name), $name as fn()),)*] };
}

const TESTS: &[Test] = tests![
    a_step_whose_inputs_are_unchanged_is_replayed
    a_step_runs_again_when_what_it_depended_on_changes
    a_step_runs_again_when_the_directory_it_writes_to_comes_or_goes
    a_step_that_cannot_be_known_runs_again
    what_is_allowed_is_overlooked
    a_replayed_step_hands_on_what_it_wrote
    a_server_of_its_own_is_no_network
    a_recording_may_be_damaged_or_removed_at_any_time
    without_a_store_every_step_runs
    random_scripts_leave_the_same_replayed_and_fresh
];

fn main() -> ExitCode {
    sandbox::entry();
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut failed = Vec::new();
    let is_wanted =
        |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let chosen: Vec<&Test> = TESTS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if !World::new(&[]).can_observe() {
        println!("replay: skipped, this machine allows no layers");
        return ExitCode::SUCCESS;
    }
    for (name, test) in &chosen {
        let outcome = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    println!("\n{} passed, failed: {}", chosen.len() - failed.len(), failed.join(", "));
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// What a run told.
#[derive(Default)]
struct Kept {
    facts: Mutex<Vec<Fact>>,
    lines: Mutex<Vec<Line>>,
    verdicts: Mutex<Vec<Verdict>>,
}

impl Recorder for Kept {
    fn record(&self, fact: Fact) {
        self.facts.lock().expect("no panic holds it").push(fact);
    }

    fn lines(&self, _: &JobKey, lines: &[Line]) {
        self.lines.lock().expect("no panic holds it").extend_from_slice(lines);
    }

    fn replay(&self, _: &JobKey, _: u32, verdict: &Verdict) {
        self.verdicts.lock().expect("no panic holds it").push(verdict.clone());
    }
}

/// Puts the same files into each workspace.
struct Files(BTreeMap<String, String>);

impl Checkout for Files {
    fn checkout(&self, _: Option<&str>, dir: &Path) -> Result<CheckedOut, String> {
        for (name, text) in &self.0 {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Ok(CheckedOut { commit: "1".repeat(40), git_ref: String::new() })
    }
}

/// A repository whose workflow is run again and again.
struct World {
    dir: tempfile::TempDir,
    files: BTreeMap<String, String>,
    vars: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    runs: u64,
}

/// How one run went.
#[derive(Debug)]
struct Run {
    conclusion: Conclusion,
    /// For each script: whether it was replayed.
    cached: Vec<bool>,
    verdicts: Vec<Verdict>,
    output: Vec<String>,
    outputs: BTreeMap<String, String>,
    summary: String,
    tree: BTreeMap<String, String>,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(&base).expect("a directory");
        let dir = tempfile::tempdir_in(base).expect("a directory");
        let files =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Self { dir, files, vars: BTreeMap::new(), secrets: BTreeMap::new(), runs: 0 }
    }

    fn can_observe(&mut self) -> bool {
        let run = self.run(&["true"]);
        !run.verdicts.is_empty()
    }

    fn write(&mut self, name: &str, text: &str) -> &mut Self {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }

    fn run(&mut self, scripts: &[&str]) -> Run {
        self.go(&workflow(scripts, ""), true)
    }

    fn fresh(&mut self, scripts: &[&str]) -> Run {
        self.go(&workflow(scripts, ""), false)
    }

    /// Runs a workflow; each run has a number and a directory of its own.
    fn go(&mut self, text: &str, may_replay: bool) -> Run {
        self.runs += 1;
        let mut surroundings = Surroundings::new(
            RunId(self.runs),
            self.dir.path().join(format!("runs/{}", self.runs)),
        );
        surroundings.home = self.dir.path().join("home");
        surroundings.secrets.clone_from(&self.secrets);
        surroundings.keep = true;
        if may_replay {
            surroundings.replay = Some(self.dir.path().join("replay"));
        }
        let (workflow, findings) = source::workflow::read(".github/workflows/w.yml", text);
        assert!(!findings.iter().any(source::Finding::is_error), "{findings:?}\n{text}");
        let workflow = Arc::new(workflow.expect("is a workflow"));
        let event = Event {
            name: "push".to_owned(),
            git_ref: "refs/heads/main".to_owned(),
            commit: format!("{:040x}", self.runs),
            repository: "owner/shop".to_owned(),
            ..Event::default()
        };
        let calls = pipeline::calls::Calls::new();
        let wish = Wish {
            calls: &calls,
            workflow: &workflow,
            event: &event,
            inputs: &BTreeMap::new(),
            vars: &self.vars,
            secrets: &self.secrets.keys().cloned().collect(),
            matrix: &BTreeMap::<String, BTreeSet<String>>::new(),
        };
        let Planned::Run(plan) = plan(&wish) else { panic!("is not run:\n{text}") };
        let kept = Arc::new(Kept::default());
        let (_cancel, cancelled) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let conclusion = runtime.block_on(execute(
            Arc::new(*plan),
            Arc::new(surroundings),
            Arc::new(Files(self.files.clone())),
            Arc::clone(&kept) as Arc<dyn Recorder>,
            cancelled,
        ));
        self.told(conclusion, &kept, may_replay)
    }

    fn told(&self, conclusion: Conclusion, kept: &Kept, may_replay: bool) -> Run {
        let facts = kept.facts.lock().expect("no panic holds it");
        // The first step is the checkout.
        let cached = facts.iter().filter_map(|fact| match fact {
            Fact::StepFinished { step, cached, .. } if *step > 1 => Some(cached.is_some()),
            _ => None,
        });
        let ended = facts.iter().find_map(|fact| match fact {
            Fact::JobFinished { outputs, summary, .. } => Some((outputs.clone(), summary.clone())),
            _ => None,
        });
        let (outputs, summary) = ended.expect("the job ended");
        let lines = kept.lines.lock().expect("no panic holds it");
        let output = lines.iter().filter(|line| line.kind == Kind::Output);
        let jobs = if may_replay {
            self.dir.path().join("replay/jobs")
        } else {
            self.dir.path().join(format!("runs/{}/jobs", self.runs))
        };
        let job = std::fs::read_dir(jobs)
            .expect("there")
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.is_dir())
            .expect("a job");
        let mut tree = BTreeMap::new();
        read_tree(&job.join("work/shop"), "", &mut tree);
        Run {
            conclusion,
            cached: cached.collect(),
            verdicts: kept.verdicts.lock().expect("no panic holds it").clone(),
            output: output.map(|line| line.text.clone()).collect(),
            outputs,
            summary,
            tree,
        }
    }

    /// Runs scripts twice and returns why the first is not replayed.
    fn why_not(&mut self, script: &str) -> String {
        let first = self.run(&[script]);
        assert_eq!(first.conclusion, Conclusion::Success, "{first:?}");
        let second = self.run(&[script]);
        assert_eq!(second.cached, [false], "{script}: {second:?}");
        let why = second.verdicts.iter().rev().find_map(|verdict| match verdict {
            Verdict::NotKept { why } | Verdict::Ran { why } => Some(why.clone()),
            Verdict::Replayed { .. } => None,
        });
        why.unwrap_or_default()
    }
}

fn workflow(scripts: &[&str], env: &str) -> String {
    let mut text = format!(
        "on: push\njobs:\n  job:\n    runs-on: ubuntu-latest\n    outputs:\n      last: ${{{{ steps.s{}.outputs.k }}}}\n    env: {{{env}}}\n    steps:\n      - uses: actions/checkout@v4\n",
        scripts.len() - 1
    );
    for (at, script) in scripts.iter().enumerate() {
        text += &format!("      - id: s{at}\n        run: |\n");
        for line in script.lines() {
            text += &format!("          {line}\n");
        }
    }
    text
}

/// Reads all below a directory: kinds, permissions, contents, targets of links.
fn read_tree(dir: &Path, at: &str, tree: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let name = format!("{at}/{}", entry.file_name().to_string_lossy());
        let found = entry.metadata().expect("there");
        let mode = found.permissions().mode();
        let text = if found.is_symlink() {
            format!("> {}", std::fs::read_link(entry.path()).expect("a link").display())
        } else if found.is_dir() {
            read_tree(&entry.path(), &name, tree);
            format!("{mode:o}")
        } else {
            format!(
                "{mode:o} {}",
                String::from_utf8_lossy(&std::fs::read(entry.path()).expect("readable"))
            )
        };
        tree.insert(name, text);
    }
}

fn a_step_whose_inputs_are_unchanged_is_replayed() {
    let mut world = World::new(&[("src", "1"), ("other", "1")]);
    let scripts = [
        "cat src > made; echo said; ls; mkdir d",
        "cat made; rm src; echo s >> $GITHUB_STEP_SUMMARY; echo k=v >> $GITHUB_OUTPUT",
    ];
    let first = world.run(&scripts);
    assert_eq!(
        (first.conclusion, first.cached.clone()),
        (Conclusion::Success, vec![false; 2]),
        "{first:?}"
    );
    let second = world.run(&scripts);
    assert_eq!(second.cached, [true; 2], "{second:?}");
    let fresh = world.fresh(&scripts);
    for run in [&second, &fresh] {
        assert_eq!(
            (&run.output, &run.tree, &run.outputs, &run.summary),
            (&first.output, &first.tree, &first.outputs, &first.summary)
        );
    }
    assert_eq!(first.outputs["last"], "v");
}

fn a_step_runs_again_when_what_it_depended_on_changes() {
    let mut world = World::new(&[("read", "1"), ("unread", "1"), ("d/x", "1")]);
    let scripts = ["cat read; [ -e absent ] && echo there; ls d; echo $CI > out", "cat unread"];
    world.run(&scripts);
    assert_eq!(world.run(&scripts).cached, [true, true]);
    assert_eq!(world.write("unread", "2").run(&scripts).cached, [true, false]);
    assert_eq!(world.write("read", "2").run(&scripts).cached, [false, true]);
    assert_eq!(world.run(&scripts).cached, [true, true]);
    let run = world.write("absent", "").run(&scripts);
    assert_eq!(run.cached, [false, true]);
    assert!(
        run.verdicts.contains(&Verdict::Ran { why: "absent was not there".to_owned() }),
        "{run:?}"
    );
    assert_eq!(world.write("d/y", "").run(&scripts).cached, [false, true]);
    assert_eq!(
        world.write("d/y", "content").run(&scripts).cached,
        [true, true],
        "only names were read"
    );
    assert_eq!(world.write("read", "1").run(&scripts).cached, [false, true]);
    let run = world.run(&["cat read", "cat unread"]);
    assert!(
        run.verdicts.contains(&Verdict::Ran { why: "its script changed".to_owned() }),
        "{run:?}"
    );
    let env = workflow(&scripts, "COLOUR: red");
    assert_eq!(world.go(&env, true).cached, [false, false]);
    assert_eq!(world.go(&env, true).cached, [true, true]);
}

fn a_step_runs_again_when_the_directory_it_writes_to_comes_or_goes() {
    let script = "exec 2>/dev/null\nset +e\necho 0 > d/new\ntrue";
    let mut world = World::new(&[("d/old", "\n")]);
    let first = world.run(&[script]);
    world.files.remove("d/old");
    let gone = world.run(&[script]);
    assert_eq!(gone.cached, [false], "{:?}", gone.verdicts);
    assert_ne!(gone.tree, first.tree);
    world.files.insert("d/old".to_owned(), "\n".to_owned());
    let back = world.run(&[script]);
    assert_eq!(back.tree, first.tree, "{:?}", back.verdicts);
}

fn a_step_that_cannot_be_known_runs_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let mut world = World::new(&[("time.sh", "#!/bin/sh\necho $EPOCHSECONDS > t")]);
    let cases = [
        (format!("exec 3<>/dev/tcp/127.0.0.1/{port}"), "network"),
        ("date > when".to_owned(), "`date`"),
        ("echo $EPOCHSECONDS".to_owned(), "clock"),
        ("sh ./time.sh".to_owned(), "clock"),
        ("python3 -c 'import time; open(\"t\", \"w\").write(str(time.time()))' || printf '%(%s)T' > t".to_owned(), ""),
        ("echo $RANDOM".to_owned(), "random"),
        ("head -c 4 /dev/urandom > r".to_owned(), "random"),
        ("cat /proc/sys/kernel/random/uuid > u".to_owned(), "random"),
        ("env > all".to_owned(), "environment"),
        ("export -p".to_owned(), "environment"),
        ("echo $GITHUB_RUN_ID".to_owned(), "GITHUB_RUN_ID"),
        ("git --version; echo $GITHUB_SHA".to_owned(), "GITHUB_SHA"),
        ("echo x > ~/outside".to_owned(), "outside the workspace"),
        ("echo x > $RUNNER_TEMP/left".to_owned(), "outside the workspace"),
        ("echo x > /tmp/left".to_owned(), "shared with other steps"),
        ("sleep 100 > /dev/null 2>&1 &".to_owned(), "left something running"),
        ("echo ::add-mask::hidden-text".to_owned(), "hides a text"),
        ("exit 0; # ${{ secrets.KEY }}".to_owned(), "secret"),
    ];
    world.secrets.insert("KEY".to_owned(), "the-secret-key".to_owned());
    for (script, expected) in cases {
        let why = world.why_not(&script);
        assert!(why.contains(expected), "{script}: {why}");
    }
}

fn what_is_allowed_is_overlooked() {
    let mut world = World::new(&[]);
    let text = workflow(&["date > when"], "MARLINE_REPLAY: clock");
    world.go(&text, true);
    assert_eq!(world.go(&text, true).cached, [true]);
    let text = workflow(&["true"], "MARLINE_REPLAY: never");
    world.go(&text, true);
    assert_eq!(world.go(&text, true).cached, [false]);
}

fn a_replayed_step_hands_on_what_it_wrote() {
    let mut world = World::new(&[("read", "1")]);
    let first = "echo PLACE=here >> $GITHUB_ENV; mkdir bin; echo 'echo tool' > bin/tool; chmod +x bin/tool; echo $PWD/bin >> $GITHUB_PATH; echo k=one >> $GITHUB_OUTPUT; echo ::warning::careful";
    let scripts = [first, "cat read; echo $PLACE; tool; echo ${{ steps.s0.outputs.k }}"];
    world.run(&scripts);
    let run = world.write("read", "2\n").run(&scripts);
    assert_eq!(run.cached, [true, false]);
    assert!(run.output.ends_with(&["2", "here", "tool", "one"].map(str::to_owned)), "{run:?}");
}

fn a_server_of_its_own_is_no_network() {
    let mut world = World::new(&[]);
    let script = "/usr/bin/python3 -S -c \"import socket; s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); print('met')\"";
    world.run(&[script]);
    let run = world.run(&[script]);
    assert_eq!(run.cached, [true], "{run:?}");
}

fn a_recording_may_be_damaged_or_removed_at_any_time() {
    let mut world = World::new(&[("a", "1")]);
    let scripts = ["cat a > b"];
    let first = world.run(&scripts);
    let layers = world.dir.path().join("replay/store/layers");
    for layer in std::fs::read_dir(&layers).expect("there").flatten() {
        let file = layer.path().join("upper/b");
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, "damaged").expect("written");
    }
    let second = world.run(&scripts);
    assert_eq!((second.cached, &second.tree), (vec![false], &first.tree));
    assert_eq!(world.run(&scripts).cached, [true], "it was recorded again");
    std::fs::remove_dir_all(&layers).expect("removed");
    assert_eq!(world.run(&scripts).tree, first.tree);
    std::fs::remove_dir_all(world.dir.path().join("replay/store")).expect("removed");
    assert_eq!(world.run(&scripts).tree, first.tree);
}

fn without_a_store_every_step_runs() {
    let mut world = World::new(&[]);
    world.run(&["true"]);
    let run = world.fresh(&["true"]);
    assert_eq!((run.cached, run.verdicts.len()), (vec![false], 0));
}

/// Lines of scripts that read, write, link, rename, remove and look.
fn line() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "d/a", "d/b", "d", "e", "l", "l/a"]);
    prop_oneof![
        (name(), name()).prop_map(|(one, two)| format!("cat {one} >> {two}")),
        (name(), 0..9).prop_map(|(one, number)| format!("echo {number} > {one}")),
        name().prop_map(|one| format!("rm -rf {one}")),
        (name(), name()).prop_map(|(one, two)| format!("mv -T {one} {two}")),
        (name(), name()).prop_map(|(one, two)| format!("mv {one} {two}")),
        // A directory copied into itself holds what the order of its names makes of it.
        (name(), name()).prop_map(|(one, two)| format!(
            "case \"$(realpath -m {two})/\" in \"$(realpath -m {one})\"/*) ;; *) cp -r {one} {two};; esac"
        )),
        (name(), name()).prop_map(|(one, two)| format!("ln {one} {two}")),
        (prop::sample::select(vec!["a", "d", "d/a", "../shop/d", "e"]), name())
            .prop_map(|(one, two)| format!("ln -sfn {one} {two}")),
        name().prop_map(|one| format!("mkdir -p {one}")),
        (name(), name()).prop_map(|(one, two)| format!("[ -e {one} ] && echo yes >> {two}")),
        (name(), name()).prop_map(|(one, two)| format!("ls {one} >> {two}")),
        (name(), name()).prop_map(|(one, two)| format!("wc -c < {one} >> {two}")),
        name().prop_map(|one| format!("chmod 700 {one}")),
        name().prop_map(|one| format!("echo \"$COLOUR\" >> {one}")),
        name().prop_map(|one| format!("echo \"k=$(cat {one} | head -1)\" >> $GITHUB_OUTPUT")),
        name().prop_map(|one| format!("cat {one} >> $GITHUB_STEP_SUMMARY")),
        name().prop_map(|one| format!("(cd {one} && ls -A . && cat ../a)")),
        name().prop_map(|one| format!("readlink {one}")),
        name().prop_map(|one| format!("[ -x {one} ] && echo runs")),
    ]
}

fn random_scripts_leave_the_same_replayed_and_fresh() {
    let file = || prop::sample::select(vec!["a", "b", "d/a", "d/b", "e"]);
    let files = prop::collection::btree_map(file(), "[x-z]{0,2}\n", 1..4);
    let steps = prop::collection::vec(prop::collection::vec(line(), 1..5), 2..4);
    let edit = (file(), prop::option::of("[x-z]{0,2}\n"));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(24),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let replayed = std::cell::Cell::new(0);
    TestRunner::new(config)
        .run(&(files, steps, edit, any::<bool>()), |(files, steps, edit, other_colour)| {
            let files: Vec<(&str, &str)> =
                files.iter().map(|(name, text)| (*name, text.as_str())).collect();
            let mut world = World::new(&files);
            let scripts: Vec<String> = steps
                .iter()
                .map(|lines| format!("exec 2>/dev/null\nset +e\n{}\ntrue", lines.join("\n")))
                .collect();
            let scripts: Vec<&str> = scripts.iter().map(String::as_str).collect();
            let text = workflow(&scripts, "COLOUR: red");
            world.go(&text, true);
            let again = world.go(&text, true);
            // A link in a circle, for one, has more names than are followed: that is said.
            let said = again.verdicts.iter().any(|one| matches!(one, Verdict::NotKept { .. }));
            prop_assert!(
                said || again.cached.iter().all(|cached| *cached),
                "{:?}\n{text}",
                again.verdicts
            );

            let (name, new) = edit;
            match new {
                Some(new) => drop(world.files.insert(name.to_owned(), new)),
                None => drop(world.files.remove(name)),
            }
            let colour = if other_colour { "COLOUR: blue" } else { "COLOUR: red" };
            let text = workflow(&scripts, colour);
            let mixed = world.go(&text, true);
            let fresh = world.go(&text, false);
            replayed.set(replayed.get() + mixed.cached.iter().filter(|cached| **cached).count());
            prop_assert_eq!(&mixed.tree, &fresh.tree, "{}\n{:?}", text, mixed.verdicts);
            prop_assert_eq!(&mixed.output, &fresh.output, "{}\n{:?}", text, mixed.verdicts);
            prop_assert_eq!((mixed.outputs, mixed.summary), (fresh.outputs, fresh.summary));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(replayed.get() > 0, "some step was replayed after the edit");
}
