//! Whole runs, in the box of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use journal::{Conclusion, Fact, JobKey, RunId};
use pipeline::action::{Actions, Library, prepare};
use pipeline::calls::{Files, Reference, gather};
use pipeline::event::Event;
use pipeline::execute::{Checkout, Recorder, RepositoryCheckout, Surroundings, execute};
use pipeline::log::Line;
use pipeline::plan::{Planned, Wish, plan};
use source::git::Repository;
use tokio::sync::watch;

#[path = "run/steps.rs"]
mod steps;

#[allow(clippy::wildcard_imports, reason = "its tests stand in the list below")]
use steps::*;

type Test = (&'static str, fn());

macro_rules! tests {
    ($($name:ident)*) => { &[$((stringify!($name), $name as fn()),)*] };
}

const TESTS: &[Test] = tests![
    a_failed_step_fails_its_job_and_skips_the_rest
    a_formatting_error_fails_the_step
    a_job_starts_when_its_own_needs_have_ended
    a_skipped_job_says_why
    a_failure_cancels_the_rest_of_its_matrix
    max_parallel_keeps_jobs_apart
    the_longest_way_to_the_end_begins_first
    an_allowed_failure_lets_others_go_on
    a_job_over_its_time_is_cancelled
    a_step_over_its_time_fails
    a_cancelled_run_asks_its_steps_to_end_and_cleans_up
    variables_have_their_precedence
    file_commands_reach_the_steps_that_follow
    a_broken_file_command_fails_the_step
    a_file_command_that_is_a_link_shows_nothing_of_the_machine
    commands_in_the_output_are_obeyed
    outputs_go_to_the_jobs_that_need_them
    the_last_job_of_a_matrix_to_give_an_output_wins
    a_matrix_may_come_from_another_job
    secrets_are_hidden_everywhere
    an_output_that_holds_a_secret_is_left_out
    shells_are_started_as_github_starts_them
    the_workspace_is_empty_until_checkout
    a_checkout_takes_a_path_and_a_reference
    artifacts_go_from_job_to_job
    hash_files_sees_the_workspace
    jobs_of_a_concurrency_group_take_turns
    a_step_that_leaves_its_output_open_ends_all_the_same
    only_the_jobs_asked_for_run
    the_log_holds_what_was_shown
    a_hundred_steps_cost_little
];

const STEPS: &[Test] = tests![
    a_composite_action_gets_inputs_and_gives_outputs
    an_action_fails_as_its_steps_do_and_still_gives_outputs
    an_action_starts_as_if_nothing_had_failed
    variables_reach_into_actions_and_out_of_them
    a_javascript_action_runs_before_in_and_after_its_step
    what_comes_after_an_action_asks_its_own_condition
    actions_inside_actions_clean_up_in_reverse
    actions_of_other_repositories_are_fetched_once_and_kept
    an_action_of_this_repository_is_taken_from_its_commit
    what_an_action_needs_is_known_before_the_run
    an_action_may_be_made_by_a_step
    a_background_step_gives_what_it_has_when_somebody_waits
    steps_of_parallel_run_side_by_side
    at_most_ten_background_steps_run_at_once
    a_failed_background_step_fails_the_job
    a_background_step_that_is_cancelled_on_purpose_fails_nothing
    a_cancelled_run_ends_its_background_steps
    a_tool_is_set_up_in_a_version_that_is_there
];

fn main() -> ExitCode {
    sandbox::entry();
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut failed = Vec::new();
    let chosen: Vec<&Test> = TESTS
        .iter()
        .chain(STEPS)
        .filter(|(name, _)| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())))
        .collect();
    println!("\nrunning {} tests", chosen.len());
    for (name, test) in &chosen {
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(test);
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.0?})", started.elapsed());
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join(", "));
        return ExitCode::FAILURE;
    }
    println!("\ntest result: ok. {} passed", chosen.len());
    ExitCode::SUCCESS
}

/// What happened, kept.
#[derive(Default)]
struct Kept {
    facts: Mutex<Vec<(Instant, Fact)>>,
    lines: Mutex<Vec<(JobKey, Line)>>,
    told: tokio::sync::Notify,
}

impl Recorder for Kept {
    fn record(&self, fact: Fact) {
        self.facts.lock().expect("no panic holds it").push((Instant::now(), fact));
    }

    fn lines(&self, job: &JobKey, lines: &[Line]) {
        let mut kept = self.lines.lock().expect("no panic holds it");
        kept.extend(lines.iter().map(|line| (job.clone(), line.clone())));
        self.told.notify_one();
    }
}

/// A checkout for runs that need none.
struct NoFiles;

impl Checkout for NoFiles {
    fn checkout(&self, _: Option<&str>, _: &Path) -> Result<pipeline::execute::CheckedOut, String> {
        Err("there is no repository".to_owned())
    }
}

/// The workflows of a folder.
struct Folder(PathBuf);

impl Files for Folder {
    fn text(&self, reference: &Reference) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(&reference.path)).map_err(|error| error.to_string())
    }
}

/// A small world in which one workflow runs.
struct World {
    dir: tempfile::TempDir,
    event: Event,
    inputs: BTreeMap<String, String>,
    matrix: BTreeMap<String, BTreeSet<String>>,
    surroundings: Surroundings,
    checkout: Arc<dyn Checkout>,
    kept: Arc<Kept>,
    conclusion: Option<Conclusion>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(base()).expect("a directory");
        let mut surroundings = Surroundings::new(RunId(7), dir.path().join("run"));
        // Actions come from beside the run and never from a network.
        let mirror = format!("file://{}", dir.path().join("mirror").display());
        surroundings.actions =
            Actions::new(Library::with_mirror(dir.path().join("library"), mirror));
        Self {
            event: Event {
                name: "push".to_owned(),
                git_ref: "refs/heads/main".to_owned(),
                commit: "1".repeat(40),
                repository: "owner/shop".to_owned(),
                actor: "ada".to_owned(),
                ..Event::default()
            },
            inputs: BTreeMap::new(),
            matrix: BTreeMap::new(),
            surroundings,
            checkout: Arc::new(NoFiles),
            kept: Arc::default(),
            conclusion: None,
            dir,
        }
    }

    /// Gives the world a repository with one commit.
    fn repository(mut self, files: &[(&str, &str)]) -> Self {
        let root = self.dir.path().join("repository");
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        self.commit(&root);
        self
    }

    fn commit(&mut self, root: &Path) {
        git_commit(root);
        let repository = Repository::discover(root).expect("is a repository");
        let commit = repository.head().expect("has a head").commit;
        commit.as_str().clone_into(&mut self.event.commit);
        self.checkout = Arc::new(RepositoryCheckout {
            repository,
            commit,
            branch: Some("main".to_owned()),
            include_uncommitted: false,
        });
    }

    fn secret(mut self, name: &str, value: &str) -> Self {
        self.surroundings.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    fn plan(&self, text: &str) -> Planned {
        let (workflow, findings) = source::workflow::read(".github/workflows/w.yml", text);
        if findings.iter().any(source::Finding::is_error) {
            return Planned::Refused(findings);
        }
        let workflow = Arc::new(workflow.expect("is a workflow"));
        let secrets: BTreeSet<String> = self.surroundings.secrets.keys().cloned().collect();
        let (calls, findings) = gather(&workflow, &Folder(self.dir.path().join("repository")));
        if findings.iter().any(source::Finding::is_error) {
            return Planned::Refused(findings);
        }
        let planned = plan(&Wish {
            workflow: &workflow,
            event: &self.event,
            inputs: &self.inputs,
            vars: &BTreeMap::new(),
            secrets: &secrets,
            matrix: &self.matrix,
            calls: &calls,
        });
        let Planned::Run(planned) = planned else { return planned };
        let root = self.dir.path().join("repository");
        let files = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        let path = std::env::var("PATH").expect("there is one");
        let findings = prepare(&workflow, &files, &self.surroundings.actions, &path);
        if findings.iter().any(source::Finding::is_error) {
            return Planned::Refused(findings);
        }
        Planned::Run(planned)
    }

    /// Makes a repository of an action beside the world, tagged `v1`.
    fn action(self, repository: &str, files: &[(&str, &str)]) -> Self {
        let root = self.dir.path().join("mirror").join(repository);
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        git_commit(&root);
        self
    }

    /// Runs a workflow of these jobs.
    fn run(self, jobs: &str) -> Self {
        self.run_until(jobs, |_| false)
    }

    /// Runs a workflow and cancels the run as soon as a line of output asks for it.
    fn run_until(mut self, jobs: &str, is_time: impl Fn(&str) -> bool) -> Self {
        let plan = match self.plan(&format!("on: push\njobs:\n{jobs}")) {
            Planned::Run(plan) => plan,
            other => panic!("{other:?}"),
        };
        self.conclusion = Some(self.execute(*plan, is_time));
        self
    }

    fn execute(&self, plan: pipeline::plan::Plan, is_time: impl Fn(&str) -> bool) -> Conclusion {
        let (cancel, cancelled) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let kept = Arc::clone(&self.kept);
        let running = execute(
            Arc::new(plan),
            Arc::new(self.surroundings.clone()),
            Arc::clone(&self.checkout),
            Arc::clone(&self.kept) as Arc<dyn Recorder>,
            cancelled,
        );
        runtime.block_on(async {
            tokio::pin!(running);
            let limit = tokio::time::sleep(Duration::from_mins(2));
            tokio::pin!(limit);
            loop {
                tokio::select! {
                    conclusion = &mut running => return conclusion,
                    () = kept.told.notified() => {
                        let lines = kept.lines.lock().expect("no panic holds it");
                        if lines.iter().any(|(_, line)| line.kind == pipeline::log::Kind::Output && is_time(&line.text)) {
                            cancel.send_replace(true);
                        }
                    }
                    () = &mut limit => panic!("the run did not end in two minutes:\n{}", self.said()),
                }
            }
        })
    }

    /// Output lines of all jobs, in order.
    fn output(&self) -> Vec<String> {
        let lines = self.kept.lines.lock().expect("no panic holds it");
        lines
            .iter()
            .filter(|(_, line)| line.kind == pipeline::log::Kind::Output)
            .map(|(_, line)| line.text.clone())
            .collect()
    }

    /// Everything that was said, for messages of failed tests.
    fn said(&self) -> String {
        let lines = self.kept.lines.lock().expect("no panic holds it");
        let lines: Vec<String> = lines.iter().map(|(job, line)| format!("{job}: {line}")).collect();
        let facts: Vec<String> = self.facts().iter().map(|fact| format!("{fact:?}")).collect();
        format!("{}\n{}", lines.join("\n"), facts.join("\n"))
    }

    fn facts(&self) -> Vec<Fact> {
        let facts = self.kept.facts.lock().expect("no panic holds it");
        facts.iter().map(|(_, fact)| fact.clone()).collect()
    }

    fn job(&self, key: &str) -> Option<Conclusion> {
        self.facts().iter().find_map(|fact| match fact {
            Fact::JobFinished { job, conclusion, .. } if job.as_str() == key => Some(*conclusion),
            Fact::JobSkipped { job, .. } if job.as_str() == key => Some(Conclusion::Skipped),
            _ => None,
        })
    }

    fn steps(&self) -> Vec<Conclusion> {
        let facts = self.facts();
        let ended = facts.iter().filter_map(|fact| match fact {
            Fact::StepFinished { conclusion, .. } => Some(*conclusion),
            _ => None,
        });
        ended.collect()
    }

    #[track_caller]
    fn ends(self, conclusion: Conclusion) -> Self {
        assert_eq!(self.conclusion, Some(conclusion), "{}", self.said());
        self
    }
}

fn git_commit(root: &Path) {
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &["add", "-A"],
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "first",
        ],
        &["tag", "v1"],
    ] {
        let status = std::process::Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .status()
            .expect("git is there");
        assert!(status.success());
    }
}

/// Where worlds are made: outside `/tmp`, which is private inside a box.
fn base() -> PathBuf {
    let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&base).expect("a directory");
    base
}

/// A job of steps that run scripts.
fn job(name: &str, more: &str, scripts: &[&str]) -> String {
    let mut text = format!("  {name}:\n    runs-on: ubuntu-latest\n");
    for line in more.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str("    steps:\n");
    for script in scripts {
        text.push_str("      - run: |\n");
        for line in script.lines() {
            text.push_str(&format!("          {line}\n"));
        }
    }
    text
}

use Conclusion::{AllowedFailure, Cancelled, Failure, Skipped, Success};

fn a_failed_step_fails_its_job_and_skips_the_rest() {
    let text = "  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: |\n          echo before\n          exit 3\n      - run: echo no\n      - if: failure() && 'x' == 'X'\n        run: echo F_OK\n      - if: always()\n        run: echo A_OK ${{ job.status }}\n      - if: '!cancelled()'\n        run: echo NC_OK\n";
    let world = World::new().run(text).ends(Failure);
    assert_eq!(world.output(), ["before", "F_OK", "A_OK failure", "NC_OK"]);
    assert_eq!(world.steps(), [Failure, Skipped, Success, Success, Success]);
    let failure = world.facts().iter().find_map(|fact| match fact {
        Fact::StepFinished { failure: Some(failure), .. } => Some(failure.clone()),
        _ => None,
    });
    let failure = failure.expect("a step failed");
    assert_eq!(failure.message, "Process completed with exit code 3.");
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.last_lines, ["before"]);
}

fn a_formatting_error_fails_the_step() {
    let world = World::new()
        .run(&job("a", "", &["echo ${{ format('{0} {1}', 'a') }}", "echo next"]))
        .ends(Failure);
    assert_eq!(world.output(), Vec::<String>::new());
}

fn a_job_starts_when_its_own_needs_have_ended() {
    let jobs = job("fast", "", &["true"])
        + &job("slow", "", &["until [ -e $HOME/go ]; do sleep 0.05; done"])
        + &job("after", "needs: fast", &["touch $HOME/go"]);
    let mut world = World::new();
    world.surroundings.parallel = 4;
    world.run(&jobs).ends(Success);
}

fn a_skipped_job_says_why() {
    let jobs = job("a", "", &["exit 1"])
        + &job("b", "needs: a", &["true"])
        + &job("c", "if: github.ref == 'refs/heads/dev' && github.actor != 'x'", &["true"])
        + &job("d", "needs: [b]\nif: always()", &["echo ran ${{ needs.b.result }}"]);
    let world = World::new().run(&jobs).ends(Failure);
    assert_eq!(world.output(), ["ran skipped"]);
    let skipped: Vec<(String, String, Vec<String>)> = world
        .facts()
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::JobSkipped { job, reason, condition: Some(condition), .. } => {
                let parts = condition
                    .parts
                    .iter()
                    .map(|part| format!("{} = {}", part.expression, part.value));
                Some((job.to_string(), reason, parts.collect()))
            }
            _ => None,
        })
        .collect();
    let of = |name: &str| skipped.iter().find(|(job, ..)| job == name).expect("was skipped");
    assert_eq!(of("b").1, "needs.a.result is 'failure' (wanted success)");
    assert!(of("c").1.contains("does not hold"));
    assert!(of("c").2.contains(&"github.ref = \"refs/heads/main\"".to_owned()), "{skipped:?}");
    assert!(!of("c").2.iter().any(|part| part.starts_with("github.actor")));
}

fn a_failure_cancels_the_rest_of_its_matrix() {
    let script = "if [ ${{ matrix.i }} = 1 ]; then exit 1; else sleep 60; echo RAN; fi";
    let mut world = World::new();
    world.surroundings.parallel = 3;
    let world =
        world.run(&job("a", "strategy:\n  matrix: {i: [1, 2, 3]}", &[script])).ends(Failure);
    assert_eq!(world.output(), Vec::<String>::new());
    assert_eq!(world.job("a (2)"), Some(Cancelled));
}

fn max_parallel_keeps_jobs_apart() {
    let script = "mkdir $HOME/lock && sleep 0.1 && rmdir $HOME/lock";
    let mut world = World::new();
    world.surroundings.parallel = 4;
    world
        .run(&job("a", "strategy:\n  max-parallel: 1\n  matrix: {i: [1, 2, 3]}", &[script]))
        .ends(Success);
}

fn the_longest_way_to_the_end_begins_first() {
    let begun = |world: &World| -> Vec<String> {
        let facts = world.facts().into_iter().filter_map(|fact| match fact {
            Fact::JobStarted { job, .. } => Some(job.0),
            _ => None,
        });
        facts.collect()
    };
    let jobs = job("short", "", &["true"])
        + &job("lone", "", &["true"])
        + &job("build", "", &["true"])
        + &job("m", "strategy:\n  matrix: {i: [1, 2]}", &["true"])
        + &job("ship", "needs: build", &["true"]);
    // Nothing is known: the most jobs in a row go first, the rest as they stand in the file.
    let mut world = World::new();
    world.surroundings.parallel = 1;
    let world = world.run(&jobs).ends(Success);
    assert_eq!(begun(&world)[0], "build", "{:?}", begun(&world));

    let mut world = World::new();
    world.surroundings.parallel = 1;
    let took = [
        ("short", 10),
        ("lone", 900),
        ("build", 300),
        ("m (1)", 50),
        ("m (2)", 5000),
        ("ship", 500),
    ];
    let took = took.map(|(job, took)| (JobKey(job.to_owned()), took));
    world.surroundings.durations = took.into_iter().collect();
    let world = world.run(&jobs).ends(Success);
    assert_eq!(begun(&world), ["m (2)", "lone", "build", "ship", "m (1)", "short"]);
}

fn an_allowed_failure_lets_others_go_on() {
    let jobs = job("a", "continue-on-error: true", &["exit 1"])
        + &job("b", "needs: a", &["echo result=${{ needs.a.result }}"])
        + "  c:\n    runs-on: linux\n    steps:\n      - {id: s, run: exit 1, continue-on-error: true}\n      - run: echo ${{ steps.s.outcome }} ${{ steps.s.conclusion }}\n";
    let world = World::new().run(&jobs).ends(AllowedFailure);
    let mut output = world.output();
    output.sort();
    assert_eq!(output, ["failure success", "result=success"]);
    assert_eq!(world.job("a"), Some(AllowedFailure));
}

fn a_job_over_its_time_is_cancelled() {
    let text = "  a:\n    runs-on: linux\n    timeout-minutes: 0.01\n    steps:\n      - run: sleep 60\n      - {if: cancelled(), run: echo CLEAN}\n      - run: echo NO\n";
    let world = World::new().run(text).ends(Cancelled);
    assert_eq!(world.output(), ["CLEAN"]);
}

fn a_step_over_its_time_fails() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - timeout-minutes: 0.01\n        run: |\n          trap 'echo GOT_INT; exit 3' INT\n          sleep 60 & wait\n";
    let world = World::new().run(text).ends(Failure);
    assert_eq!(world.output(), ["GOT_INT"]);
    assert!(world.said().contains("has timed out after 0.01 minutes."));
}

fn a_cancelled_run_asks_its_steps_to_end_and_cleans_up() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - run: |\n          trap 'echo GOT_INT; exit 1' INT\n          echo READY\n          sleep 60 & wait\n      - {if: always(), run: echo ALWAYS}\n      - {if: cancelled(), run: echo CANCELLED}\n      - run: echo NO\n  b: {needs: a, runs-on: linux, steps: [{run: echo NO}]}\n";
    let world = World::new().run_until(text, |line| line == "READY").ends(Cancelled);
    assert_eq!(world.output(), ["READY", "GOT_INT", "ALWAYS", "CANCELLED"]);
    assert_eq!(world.steps()[0], Cancelled);
    assert_eq!(world.job("b"), Some(Skipped));
}

fn variables_have_their_precedence() {
    let text = "on: push\nenv: {A: workflow, B: workflow, C: workflow, D: workflow}\njobs:\n  a:\n    runs-on: linux\n    env: {B: job, C: job, D: job, E: '${{ github.actor }}'}\n    steps:\n      - run: |\n          echo C=written >> $GITHUB_ENV\n          echo D=written >> $GITHUB_ENV\n          echo GITHUB_SHA=x >> $GITHUB_ENV\n      - env: {D: step, F: '${{ env.C }}'}\n        run: echo \"$A $B $C $D $E $F $CI $GITHUB_JOB $RUNNER_OS $GITHUB_ACTIONS\"; test \"$GITHUB_SHA\" != x; test \"${{ env.D }}\" = step\n      - run: echo \"$D\"\n";
    let mut world = World::new();
    let Planned::Run(plan) = world.plan(text) else { panic!("is planned") };
    world.conclusion = Some(world.execute(*plan, |_| false));
    let world = world.ends(Success);
    assert_eq!(
        world.output(),
        ["workflow job written step ada written true a Linux true", "written"]
    );
}

fn file_commands_reach_the_steps_that_follow() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - id: s\n        run: |\n          { echo 'V<<EOF'; echo; echo; echo x; echo; echo EOF; } >> $GITHUB_ENV\n          echo \"\" >> $GITHUB_ENV\n          echo \"o=1=2\" >> $GITHUB_OUTPUT\n          mkdir bin; printf '#!/bin/sh\\necho mine' > bin/ls; chmod +x bin/ls\n          echo $PWD/bin >> $GITHUB_PATH\n          echo '# Summary' >> $GITHUB_STEP_SUMMARY\n      - run: |\n          test \"$V\" = $'\\n\\nx\\n'\n          ls\n          echo '${{ steps.s.outputs.o }}'\n          test ! -s $GITHUB_OUTPUT\n";
    let world = World::new().run(text).ends(Success);
    assert_eq!(world.output(), ["mine", "1=2"]);
    let summary = world.facts().into_iter().find_map(|fact| match fact {
        Fact::JobFinished { summary, .. } => Some(summary),
        _ => None,
    });
    assert_eq!(summary.as_deref(), Some("# Summary\n"));
}

fn a_broken_file_command_fails_the_step() {
    let world = World::new().run(&job("a", "", &["echo word >> $GITHUB_ENV"])).ends(Failure);
    assert!(world.said().contains("Unable to process file command 'env' successfully."));
}

fn a_file_command_that_is_a_link_shows_nothing_of_the_machine() {
    let mut world = World::new();
    let secret = world.dir.path().join("secret");
    std::fs::write(&secret, "x=topsecret").expect("a file");
    world.surroundings.hidden.push(secret.clone());
    let script = format!("rm $GITHUB_OUTPUT; ln -s {} $GITHUB_OUTPUT", secret.display());
    let text = format!(
        "  a:\n    runs-on: linux\n    steps:\n      - id: s\n        run: {script}\n      - if: always()\n        run: echo got=${{{{ steps.s.outputs.x }}}}\n"
    );
    let world = world.run(&text).ends(Failure);
    assert_eq!(world.output(), ["got="]);
}

fn commands_in_the_output_are_obeyed() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - id: s\n        run: |\n          echo '::set-output name=x::a::b'\n          echo '::error::foo::bar'\n          echo '::warning file=a.c,title=k=v::msg'\n          echo '::group::grp'\n          echo '::endgroup::'\n      - run: |\n          echo 'x=[${{ steps.s.outputs.x }}]'\n";
    let world = World::new().run(text).ends(Success);
    assert_eq!(world.output(), ["x=[a::b]"]);
    let annotations: Vec<(String, Option<String>)> = world
        .facts()
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::AnnotationMade { message, title, .. } => Some((message, title)),
            _ => None,
        })
        .collect();
    assert_eq!(
        annotations,
        [("foo::bar".to_owned(), None), ("msg".to_owned(), Some("k=v".to_owned()))]
    );
}

fn outputs_go_to_the_jobs_that_need_them() {
    let jobs = "  a:\n    runs-on: linux\n    outputs: {o: '${{ steps.s.outputs.o }}-${{ job.status }}'}\n    steps: [{id: s, run: 'echo o=1 >> $GITHUB_OUTPUT'}]\n".to_owned()
        + &job("b", "needs: a", &["echo ${{ needs.a.outputs.o }}"]);
    let world = World::new().run(&jobs).ends(Success);
    assert_eq!(world.output(), ["1-success"]);
}

fn the_last_job_of_a_matrix_to_give_an_output_wins() {
    let jobs = "  a:\n    runs-on: linux\n    outputs: {o: '${{ steps.s.outputs.o }}'}\n    strategy: {max-parallel: 1, matrix: {i: [1, 2]}}\n    steps: [{id: s, run: 'echo o=v${{ matrix.i }} >> $GITHUB_OUTPUT'}]\n".to_owned()
        + &job("b", "needs: a", &["echo ${{ needs.a.outputs.o }}"]);
    let world = World::new().run(&jobs).ends(Success);
    assert_eq!(world.output(), ["v2"]);
}

fn a_matrix_may_come_from_another_job() {
    let jobs = "  a:\n    runs-on: linux\n    outputs: {m: '${{ steps.s.outputs.m }}'}\n    steps: [{id: s, run: 'echo m=[1,2] >> $GITHUB_OUTPUT'}]\n".to_owned()
        + &job("b", "needs: a\nstrategy: {max-parallel: 1, matrix: {i: '${{ fromJSON(needs.a.outputs.m) }}'}}", &["echo ${{ matrix.i }}"]);
    let world = World::new().run(&jobs).ends(Success);
    assert_eq!(world.output(), ["1", "2"]);
    assert_eq!(world.job("b (2)"), Some(Success));
}

fn secrets_are_hidden_everywhere() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - env: {T: '${{ secrets.TOKEN }}'}\n        run: |\n          echo \"$T\"; echo -n \"$T\" | base64; echo \"::error::$T\"; echo \"$T\" >> $GITHUB_STEP_SUMMARY\n          echo 'in text ${{ secrets.TOKEN }}'; exit 1\n  b: {runs-on: linux, steps: [{run: 'env | grep -c ^T= || true'}]}\n";
    let world = World::new().secret("TOKEN", "open-sesame-42").run(text).ends(Failure);
    let said = world.said();
    assert!(!said.contains("sesame-42") && !said.contains("b3Blbi1zZXNhbWUt"), "{said}");
    let logs = world.surroundings.logs.clone();
    for entry in std::fs::read_dir(logs).expect("logs are there") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a log");
        assert!(!text.contains("sesame-42"), "{text}");
    }
    assert!(world.output().contains(&"0".to_owned()));
}

fn an_output_that_holds_a_secret_is_left_out() {
    let jobs = "  a:\n    runs-on: linux\n    outputs: {o: '${{ secrets.TOKEN }}'}\n    steps: [{run: 'true'}]\n".to_owned()
        + &job("b", "needs: a", &["echo [${{ needs.a.outputs.o }}]"]);
    let world = World::new().secret("TOKEN", "open-sesame-42").run(&jobs).ends(Success);
    assert_eq!(world.output(), ["[]"]);
}

fn shells_are_started_as_github_starts_them() {
    let text = "  a:\n    runs-on: linux\n    defaults: {run: {working-directory: sub}}\n    steps:\n      - {run: mkdir sub, working-directory: .}\n      - run: false | true; echo \"$-\" | grep -q e; basename $PWD; test ! -t 1\n      - {shell: bash, run: set -o | grep pipefail | grep -c on}\n      - {shell: sh, run: echo sh}\n      - {shell: python3 {0}, run: 'print(1 + 1)'}\n      - {shell: 'cat {0}', run: text}\n      - {shell: bash, run: 'false | true'}\n".replace("shell: python3 {0},", "shell: 'python3 {0}',");
    let world = World::new().run(&text).ends(Failure);
    assert_eq!(world.output(), ["sub", "1", "sh", "2", "text"]);
}

fn the_workspace_is_empty_until_checkout() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - run: ls -A | wc -l\n      - uses: actions/checkout@v4\n      - run: cat README.md; git log --oneline | wc -l; git status --short; git rev-parse --abbrev-ref HEAD\n";
    let world = World::new().repository(&[("README.md", "hello\n")]).run(text).ends(Success);
    let output: Vec<String> =
        world.output().into_iter().filter(|line| !line.starts_with("checked out")).collect();
    assert_eq!(output, ["0", "hello", "1", "main"]);
}

fn a_checkout_takes_a_path_and_a_reference() {
    let text = "  a:\n    runs-on: linux\n    steps:\n      - {uses: actions/checkout@v4, with: {path: a/b, ref: v1, fetch-depth: 0}}\n      - run: cat a/b/README.md\n      - {uses: actions/checkout@v4, with: {ref: nosuch}}\n";
    let world = World::new().repository(&[("README.md", "hello\n")]).run(text).ends(Failure);
    assert_eq!(world.steps(), [Success, Success, Failure]);
}

fn artifacts_go_from_job_to_job() {
    let jobs = "  a:\n    runs-on: linux\n    steps:\n      - run: mkdir -p out/x; echo hi > out/x/y\n      - {uses: actions/upload-artifact@v4, with: {name: built, path: out}}\n  b:\n    needs: a\n    runs-on: linux\n    steps:\n      - {uses: actions/download-artifact@v4, with: {name: built, path: in}}\n      - run: cat in/x/y\n";
    let world = World::new().run(jobs).ends(Success);
    assert!(world.output().contains(&"hi".to_owned()));
    assert!(world.facts().iter().any(
        |fact| matches!(fact, Fact::ArtifactStored { name, files: 1, .. } if name == "built")
    ));
}

fn hash_files_sees_the_workspace() {
    let world = World::new()
        .run(&job(
            "a",
            "",
            &[
                "echo 1 > a.lock",
                "echo \"${{ hashFiles('*.lock') }}\" | wc -c; echo [${{ hashFiles('none') }}]",
            ],
        ))
        .ends(Success);
    assert_eq!(world.output(), ["65", "[]"]);
}

fn jobs_of_a_concurrency_group_take_turns() {
    let script = "mkdir $HOME/lock && sleep 0.1 && rmdir $HOME/lock";
    let jobs = job("a", "concurrency: g", &[script]) + &job("b", "concurrency: G", &[script]);
    let mut world = World::new();
    world.surroundings.parallel = 4;
    world.run(&jobs).ends(Success);
}

fn a_step_that_leaves_its_output_open_ends_all_the_same() {
    let started = Instant::now();
    World::new().run(&job("a", "", &["sleep 100 & echo left", "echo next"])).ends(Success);
    assert!(started.elapsed() < Duration::from_secs(20));
}

fn only_the_jobs_asked_for_run() {
    let jobs =
        job("a", "", &["echo a"]) + &job("b", "needs: a", &["echo b"]) + &job("c", "", &["echo c"]);
    let mut world = World::new();
    world.surroundings.only = Some(BTreeSet::from(["b".to_owned()]));
    let world = world.run(&jobs).ends(Success);
    assert_eq!(world.output(), ["a", "b"]);
}

fn the_log_holds_what_was_shown() {
    let world = World::new().run(&job("a", "", &["echo one; echo two >&2"])).ends(Success);
    let path = pipeline::log::path(&world.surroundings.logs, &JobKey("a".to_owned()));
    let text = std::fs::read_to_string(path).expect("there is a log");
    let lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
    let shown: Vec<Line> = world
        .kept
        .lines
        .lock()
        .expect("no panic holds it")
        .iter()
        .map(|(_, line)| line.clone())
        .collect();
    assert_eq!(lines, shown);
    assert_eq!(world.output(), ["one", "two"]);
}

fn a_hundred_steps_cost_little() {
    let world = World::new().run(&job("a", "", &["true"; 100])).ends(Success);
    let facts = world.kept.facts.lock().expect("no panic holds it");
    let time = |is: fn(&Fact) -> bool| facts.iter().find(|(_, fact)| is(fact)).map(|(at, _)| *at);
    let began = time(|fact| matches!(fact, Fact::StepStarted { .. })).expect("began");
    let ended = time(|fact| matches!(fact, Fact::JobFinished { .. })).expect("ended");
    let each = (ended - began) / 100;
    println!("a step costs {each:.2?}");
    // Far above the goal, as this is a debug build on a machine that others use, too; it finds a
    // step that waits for something.
    assert!(each < Duration::from_millis(60), "a step costs {each:?}");
}

/// Runs every row of the public workflows; what it needs and this machine lacks is left out.
pub fn the_public_workflows_run() {
    let Some(dir) = scoreboard::data("act-workflows", "act-workflows") else { return };
    let text = std::fs::read_to_string(dir.join("expectations.json")).expect("is listed");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).expect("is JSON");
    let mut suite = scoreboard::Suite::new("act-workflows");
    for row in &rows {
        let name = row["dir"].as_str().expect("has a name");
        let dir = dir.join(name);
        let files = workflows_of(&dir);
        match why_left_out(&dir, &files) {
            Some(why) => suite.exclude(name, why),
            None => suite.case(name, public_row(&dir, row, &files)),
        }
    }
    suite.must_pass(PUBLIC_BAR);
}

/// How many of them pass today; a change that lowers it is a bug.
const PUBLIC_BAR: f64 = 88.0;

/// The workflows of a folder, with their text.
fn workflows_of(dir: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml"))
        .filter(|path| path.file_stem().is_none_or(|stem| stem != "action"))
        .collect();
    files.sort();
    files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Why a row says nothing here: it uses files that the data does not hold, or the Internet.
fn why_left_out(dir: &Path, files: &[String]) -> Option<String> {
    let root = dir.parent()?;
    for line in files.iter().flat_map(|text| text.lines()) {
        let line = line.trim().trim_start_matches("- ");
        if ["apt ", "apt-get "].iter().any(|word| line.contains(word)) {
            return Some("it installs packages from the Internet".to_owned());
        }
        let used = line.strip_prefix("uses: ./").map(|path| path.trim_matches(['\'', '"']));
        if let Some(path) = used.filter(|path| !path.is_empty() && !root.join(path).exists()) {
            return Some(format!("the data does not hold `./{path}`"));
        }
    }
    None
}

/// Runs the workflows of one row.
fn public_row(dir: &Path, row: &serde_json::Value, files: &[String]) -> Result<(), String> {
    let mut world = World::new();
    row["event"].as_str().expect("has an event").clone_into(&mut world.event.name);
    // What the tests of the project these come from pass on the command line.
    if dir.ends_with("workflow_dispatch") {
        let given = [("required", "required input"), ("boolean", "true")];
        world.inputs = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    }
    if dir.ends_with("matrix-with-user-inclusions") {
        let chosen = [("node", vec!["8", "8.x"]), ("os", vec!["ubuntu-18.04"])];
        world.matrix = chosen
            .map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()))
            .into();
    }
    let root = world.dir.path().join("repository");
    copy(dir.parent().expect("has a parent"), &root);
    world.commit(&root);
    if let Ok(text) = std::fs::read_to_string(dir.join("event.json")) {
        let payload = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        world.inputs.extend(world.event.overlay(payload));
    }
    let mut conclusion = Success;
    let mut ran = false;
    for text in files {
        match world.plan(text) {
            Planned::Refused(findings) => {
                let told: Vec<String> = findings
                    .iter()
                    .map(|finding| format!("{} {}", finding.place, finding.message))
                    .collect();
                return Err(format!("refused: {}", told.join("; ")));
            }
            Planned::NotTriggered(_) => {}
            Planned::Run(plan) => {
                ran = true;
                let ended = world.execute(*plan, |_| false);
                if !ended.is_good() {
                    conclusion = ended;
                }
            }
        }
    }
    if !ran {
        return Err("nothing ran".to_owned());
    }
    if conclusion.is_good() == (row["expect"] == "success") {
        return Ok(());
    }
    let said = world.said();
    let end = said.chars().rev().take(3000).collect::<String>().chars().rev().collect::<String>();
    Err(format!("{conclusion}, not {}\n{end}", row["expect"]))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("is readable").flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("has a kind");
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).expect("is a link");
            std::os::unix::fs::symlink(link, target).expect("a link");
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
