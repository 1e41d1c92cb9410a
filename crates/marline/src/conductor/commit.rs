//! A commit is planned, inspected, run, gated, and cut into a release.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use deploy::Cut;
use deploy::release::ComposeSnapshot;
use guard::check::{Area, Options};
use guard::gate::{Decision, Question, RunOutcome};
use guard::policy::{self, Evaluation, Fence, Input};
use journal::{CommitId, Conclusion, EventId, Fact, RunId, ServiceName};
use sha2::{Digest, Sha256};
use source::Finding;
use source::git;
use tokio::sync::watch;

use super::action::Occasion;
use super::{Conductor, lock, spec};
use crate::approval::{Asking, Manner};
use crate::runs::{Given, Order, Runner, Subject, durations};
use crate::tree::Tree;

/// How often the branch is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The most findings that one event holds.
const MOST_FINDINGS: usize = 1_000;

impl Conductor {
    /// Notices each new tip of the branch until the process ends.
    pub(super) async fn follow_branch(self: Arc<Self>) -> anyhow::Result<()> {
        loop {
            let this = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || this.tip()).await? {
                Ok(Some(tip)) => self.see(tip).await?,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "could not look at the branch"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn tip(&self) -> Result<Option<git::CommitId>, git::GitError> {
        match &self.branch {
            Some(branch) => self.repository.branch_tip(branch),
            None => self.repository.head().map(|head| Some(head.commit)),
        }
    }

    /// Writes a commit down that was not seen before.
    async fn see(&self, tip: git::CommitId) -> anyhow::Result<()> {
        let id = CommitId::from(tip.as_str());
        let before = {
            let view = self.view();
            if view.commits.contains_key(&id) {
                return Ok(());
            }
            view.newest_commit().map(|(id, _)| id.clone())
        };
        let commit = self.repository.commit(&tip)?;
        let before_in_git: Option<git::CommitId> =
            before.as_ref().and_then(|before| before.as_str().parse().ok());
        let changed = self.repository.changed_files(before_in_git.as_ref(), &tip);
        let fact = Fact::CommitSeen {
            commit: id,
            branch: self.branch.clone(),
            before,
            author: commit.author_name,
            subject: commit.subject,
            files_changed: changed.map_or(0, |changed| changed.len() as u32),
        };
        self.append(None, fact).await.map(drop)
    }

    pub(super) fn subject(&self, commit: &CommitId) -> anyhow::Result<Subject> {
        let before = self.view().commits.get(commit).and_then(|commit| commit.before.clone());
        let read = |id: &CommitId| id.as_str().parse::<git::CommitId>();
        Ok(Subject {
            repository: self.repository.clone(),
            commit: read(commit)?,
            branch: self.branch.clone(),
            before: before.as_ref().map(read).transpose()?,
            dirty: false,
        })
    }

    fn given(&self, event: &str, inputs: &[(String, String)]) -> Given {
        let vault = self.state.vault();
        let names = if vault.exists() {
            guard::vault::Vault::open(&vault).and_then(|vault| vault.list())
        } else {
            Ok(vec![])
        };
        Given {
            event: event.to_owned(),
            payload: None,
            workflows: None,
            inputs: inputs.iter().cloned().collect(),
            vars: BTreeMap::new(),
            matrix: BTreeMap::new(),
            actions: self.state.actions(),
            secrets: names.unwrap_or_default().into_iter().map(|entry| entry.name).collect(),
        }
    }

    /// Returns what an occasion brings with it.
    pub(super) fn given_by(&self, occasion: &Occasion) -> anyhow::Result<Given> {
        let payload = occasion.payload().context("read what is known of the event")?;
        Ok(Given { payload, ..self.given(&occasion.event, &occasion.inputs) })
    }

    /// Settles which workflows a commit starts, and reads its Compose file.
    pub(super) async fn plan_commit(
        self: &Arc<Self>,
        commit: &CommitId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        if self.view().commits.get(commit).is_none_or(|commit| commit.plan.is_some()) {
            return Ok(());
        }
        let subject = self.subject(commit)?;
        let given = self.given("push", &[]);
        let root = self.repository.root().to_owned();
        let name = spec::name_of(&root);
        let plan = move || -> anyhow::Result<_> {
            let mut started = subject.plan(&given)?;
            let tree = subject.tree();
            let read = |path: &str| tree.text(path).ok().flatten();
            let compose = spec::specify(
                &name,
                tree.compose()?,
                || tree.detection().unwrap_or_default(),
                &read,
                &[],
            );
            // What only Docker could run does not keep the rest from running; what cannot be read
            // keeps everything.
            started.findings.extend(spec::unusable_certificates(&compose, &root));
            started.findings.extend(compose.findings);
            Ok(started)
        };
        let started = tokio::task::spawn_blocking(plan).await??;
        let fact = Fact::CommitPlanned {
            commit: commit.clone(),
            workflows: started.plans.iter().map(|plan| plan.workflow.path.clone()).collect(),
            not_triggered: started.not_triggered,
            findings: started.findings,
        };
        self.append(cause, fact).await.map(drop)
    }

    /// Looks through a commit for findings.
    pub(super) async fn inspect(
        self: &Arc<Self>,
        commit: &CommitId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        if self.view().commits.get(commit).is_some_and(|commit| commit.findings.is_some()) {
            return Ok(());
        }
        let subject = self.subject(commit)?;
        let check = move || {
            let tree = subject.tree();
            let options = Options {
                areas: vec![
                    Area::Secrets,
                    Area::Workflows,
                    Area::Compose,
                    Area::Rules,
                    Area::Dependencies,
                ],
                ..Options::default()
            };
            let subject = guard::check::Subject::Commit {
                repository: &subject.repository,
                commit: &subject.commit,
            };
            let mut report = guard::check::check(subject, &options)?;
            report.findings.extend(crate::rules::findings(&tree)?);
            report.findings.extend(crate::rules::receivers(&tree)?);
            report.not_checked.retain(|other| other.area != Area::Rules);
            anyhow::Ok(report)
        };
        let report = tokio::task::spawn_blocking(check).await??;
        let fact = Fact::FindingsReported {
            commit: commit.clone(),
            findings: report.worst(MOST_FINDINGS),
            not_checked: report.not_checked_lines(),
            files: report.files,
            milliseconds: report.milliseconds,
        };
        self.append(cause, fact).await.map(drop)
    }

    /// Runs a workflow for a commit to its end.
    pub(super) async fn run_workflow(
        self: &Arc<Self>,
        commit: &CommitId,
        workflow: &str,
        occasion: &Occasion,
        again: Option<RunId>,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let subject = self.subject(commit)?;
        let given = self.given_by(occasion)?;
        let for_plan = subject.clone();
        let started = tokio::task::spawn_blocking(move || for_plan.plan(&given)).await??;
        let plan = started
            .plans
            .into_iter()
            .find(|plan| plan.workflow.path == workflow)
            .with_context(|| format!("`{workflow}` does not start for `{}`", occasion.event))?;
        let (stop, cancel) = watch::channel(false);
        let number = self.journal.take_run()?;
        lock(&self.cancels).insert(number, stop);
        let runner = Runner {
            journal: self.journal.clone(),
            state: self.state.clone(),
            actor: journal::Actor::Conductor,
            secrets: secret_values(&self.state.vault(), &plan),
            groups: self.groups.clone(),
            approvals: Arc::new(Asking::new(
                self.journal.clone(),
                Manner::Patient,
                Some(commit.clone()),
            )),
            audience: None,
        };
        // What may become a release is run, whatever is known of it already.
        let durations = durations(&self.view(), workflow);
        let order = Order {
            subject,
            plan,
            cause,
            again,
            only: None,
            from: None,
            durations,
            fresh: true,
            debug: None,
            cancel,
        };
        let ended = runner.run(order, number).await;
        lock(&self.cancels).remove(&number);
        ended.map(drop)
    }

    /// Says that a run was interrupted by the end of the conductor that ran it.
    pub(super) async fn end_interrupted(self: &Arc<Self>, run: RunId) -> anyhow::Result<()> {
        let (started, is_running) = {
            let view = self.view();
            let Some(run) = view.runs.get(&run) else { return Ok(()) };
            (run.started, run.conclusion.is_none())
        };
        // A run that somebody started by hand goes on without us; its lock says whether it lives.
        if !is_running || crate::lock::is_held(&self.state.run(run).join("lock")) {
            return Ok(());
        }
        let fact = Fact::RunFinished { run, conclusion: Conclusion::Interrupted, milliseconds: 0 };
        self.append(Some(started), fact).await.map(drop)
    }

    /// Asks the gate about a commit.
    pub(super) async fn decide_gate(
        self: &Arc<Self>,
        id: &CommitId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let (input, findings, not_checked, runs, allowed, known) = {
            let view = self.view();
            let Some(commit) = view.commits.get(id) else { return Ok(()) };
            let mut findings: Vec<Finding> =
                commit.findings.iter().flat_map(|found| found.findings.clone()).collect();
            findings.extend(commit.plan.iter().flat_map(|plan| plan.findings.clone()));
            let not_checked = commit.findings.as_ref().map(|f| f.not_checked.clone());
            let runs: Vec<_> = commit.runs.values().filter_map(|run| view.runs.get(run)).collect();
            let input = Input {
                commit: policy::Commit {
                    id: id.as_str().to_owned(),
                    branch: commit.branch.clone(),
                    author: commit.author.clone(),
                    subject: commit.subject.clone(),
                    files_changed: commit.files_changed,
                },
                runs: runs
                    .iter()
                    .map(|run| policy::Run {
                        id: run.id.0,
                        workflow: run.workflow.clone(),
                        name: run.name.clone(),
                        event: run.event.clone(),
                        conclusion: run.conclusion.map(|end| end.to_string().replace(' ', "_")),
                        milliseconds: run.milliseconds,
                    })
                    .collect(),
                findings: findings.clone(),
                ..Input::default()
            };
            let outcomes: Vec<RunOutcome> = runs
                .iter()
                .map(|run| RunOutcome {
                    id: run.id,
                    workflow: run.workflow.clone(),
                    name: run.name.clone(),
                    conclusion: run.conclusion,
                })
                .collect();
            let known = commit.gate.clone();
            (
                input,
                findings,
                not_checked.unwrap_or_default(),
                outcomes,
                view.allowed.clone(),
                known,
            )
        };
        let subject = self.subject(id)?;
        let evaluation =
            tokio::task::spawn_blocking(move || ask_policies(&subject, input)).await??;
        let decision = guard::gate::decide(&Question {
            findings: &findings,
            not_checked: &not_checked,
            runs: &runs,
            policy: &evaluation,
            allowed: &allowed,
            today: jiff::Zoned::now().date(),
        });
        let fact = match decision {
            Decision::Passed { allowed, not_checked } => {
                Fact::GatePassed { commit: id.clone(), allowed, not_checked }
            }
            Decision::Held { reasons } => Fact::GateHeld { commit: id.clone(), reasons },
        };
        let is_said = match (&fact, &known) {
            (Fact::GateHeld { reasons, .. }, journal::view::Gate::Held { reasons: known, .. }) => {
                reasons == known
            }
            (_, journal::view::Gate::Passed { .. }) => true,
            _ => false,
        };
        if is_said {
            return Ok(());
        }
        self.append(cause, fact).await.map(drop)
    }

    /// Makes a release of a commit.
    pub(super) async fn cut_release(
        self: &Arc<Self>,
        id: &CommitId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let (runs, findings) = {
            let view = self.view();
            let Some(commit) = view.commits.get(id) else { return Ok(()) };
            if commit.release.is_some() {
                return Ok(());
            }
            let findings = commit.findings.as_ref().map(|found| found.findings.clone());
            (commit.runs.values().copied().collect::<Vec<_>>(), findings.unwrap_or_default())
        };
        let this = Arc::clone(self);
        let subject = self.subject(id)?;
        let cut_runs = runs.clone();
        let cut = move || this.cut_from(&subject, cut_runs, &findings);
        let manifest = tokio::task::spawn_blocking(cut).await??;
        let specifications = self.specs.of(&manifest.release);
        let fact = Fact::ReleaseCut {
            release: manifest.release.clone(),
            commit: id.clone(),
            runs,
            services: specifications.services.keys().cloned().collect(),
            files: manifest.files.len() as u32,
            bytes: manifest.bytes(),
        };
        self.append(cause, fact).await.map(drop)
    }

    fn cut_from(
        &self,
        subject: &Subject,
        runs: Vec<RunId>,
        findings: &[Finding],
    ) -> anyhow::Result<deploy::Manifest> {
        let scratch = tempfile::Builder::new()
            .prefix("cut-")
            .tempdir_in(self.state.root())
            .context("make a directory to cut a release in")?;
        let tree = scratch.path().join("tree");
        subject.repository.checkout_to(&subject.commit, &tree)?;
        let files = Tree::of_commit(&subject.repository, subject.commit.clone());
        let read = |path: &str| files.text(path).ok().flatten();
        let specifications = spec::specify(
            &spec::name_of(self.repository.root()),
            files.compose()?,
            || files.detection().unwrap_or_default(),
            &read,
            &[],
        );
        if specifications.is_detected {
            build(&tree, &specifications, self.state.root())?;
        }
        let services: BTreeSet<&ServiceName> = specifications.services.keys().collect();
        let kept = scratch.path().join("artifacts");
        let artifacts = unpack_artifacts(&self.state.artifacts(), &runs, &services, &kept)?;
        let compose = specifications.project.as_ref().map(|project| ComposeSnapshot {
            text: project.normalised().to_string(),
            environment: specifications
                .services
                .iter()
                .map(|(name, spec)| (name.clone(), spec.plan.environment.clone()))
                .collect(),
        });
        let said = serde_json::to_vec(findings).context("write the findings as JSON")?;
        let mut digest = String::with_capacity(64);
        for byte in Sha256::digest(&said) {
            let _ = write!(digest, "{byte:02x}");
        }
        let cut = Cut {
            commit: CommitId::from(subject.commit.as_str()),
            tree: &tree,
            artifacts: &artifacts,
            compose,
            runs,
            findings: digest,
        };
        Ok(self.releases.cut(&cut, self.journal.now())?)
    }
}

/// Puts the artifacts that are called as services are into directories, one for each.
fn unpack_artifacts(
    store: &std::path::Path,
    runs: &[RunId],
    services: &BTreeSet<&ServiceName>,
    to: &std::path::Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let store = pipeline::results::Store::open(store).context("open the store of artifacts")?;
    let mut unpacked = Vec::new();
    for run in runs {
        for service in services {
            let Some(artifact) = store.artifact(run.0, service.as_str()) else { continue };
            let directory = to.join(run.to_string()).join(service.as_str());
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("make the directory {}", directory.display()))?;
            store.unpack(&artifact, &directory).map_err(|error| {
                anyhow::anyhow!("take the artifact `{service}` of run {run} apart: {error}")
            })?;
            unpacked.push(directory);
        }
    }
    Ok(unpacked)
}

/// Builds what detection found in the tree of a release, in a box: there is no workflow that did.
fn build(
    tree: &std::path::Path,
    specifications: &spec::Specifications,
    state: &std::path::Path,
) -> anyhow::Result<()> {
    let home = state.join("home");
    std::fs::create_dir_all(&home).context("make a home for the build")?;
    let steps = specifications.services.values().flat_map(|spec| &spec.plan.pre_start);
    let mut done: Vec<(&std::path::Path, Vec<String>)> = Vec::new();
    for step in steps {
        let words = step.command.words(0);
        let known = (step.directory.as_path(), words.clone());
        // Several services of one directory are built once.
        if done.contains(&known) {
            continue;
        }
        done.push(known);
        let spec = sandbox::BoxSpec::new(tree).hidden(state).writable(&home);
        let (program, arguments) = words.split_first().context("a build step has a program")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let command = sandbox::Command::new(program)
            .args(arguments)
            .env("PATH", path)
            .env("HOME", &home)
            .env("CI", "true")
            .cwd(tree.join(&step.directory));
        let built = tokio::runtime::Handle::current().block_on(run_boxed(&spec, command));
        let (is_good, output) =
            built.with_context(|| format!("build: {}", step.command.shown()))?;
        if !is_good {
            anyhow::bail!("build: `{}` failed: {}", step.command.shown(), last_lines(&output));
        }
    }
    Ok(())
}

/// Runs a command in a box to its end; gives whether it went well, and what it wrote.
async fn run_boxed(
    spec: &sandbox::BoxSpec,
    command: sandbox::Command,
) -> anyhow::Result<(bool, String)> {
    use tokio::io::AsyncReadExt as _;

    let sandbox = sandbox::Sandbox::open(spec).await?;
    let mut process = sandbox.spawn(command).await?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let read = async {
        let reads = (
            async {
                if let Some(mut pipe) = stdout {
                    let _ = pipe.read_to_end(&mut out).await;
                }
            },
            async {
                if let Some(mut pipe) = stderr {
                    let _ = pipe.read_to_end(&mut err).await;
                }
            },
        );
        tokio::join!(reads.0, reads.1)
    };
    read.await;
    let exit = process.wait().await?;
    sandbox.close().await;
    out.extend(err);
    Ok((exit.is_success(), String::from_utf8_lossy(&out).into_owned()))
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" · ")
}

/// Asks the policies of a commit.
fn ask_policies(subject: &Subject, input: Input) -> anyhow::Result<Evaluation> {
    let of =
        guard::check::Subject::Commit { repository: &subject.repository, commit: &subject.commit };
    let files = guard::check::policies(of)?;
    if files.is_empty() {
        return Ok(Evaluation::default());
    }
    let environment = source::compose::Environment::of_process();
    let input = guard::check::complete(of, &environment, input)?;
    Ok(policy::evaluate(&files, &input, &Fence::default()))
}

/// Returns the values of the secrets that a plan names, for the jobs they are for.
pub fn secret_values(
    vault: &std::path::Path,
    plan: &pipeline::plan::Plan,
) -> BTreeMap<String, String> {
    if !vault.exists() {
        return BTreeMap::new();
    }
    let Ok(vault) = guard::vault::Vault::open(vault) else { return BTreeMap::new() };
    let mut values = BTreeMap::new();
    for job in &plan.jobs {
        for name in &job.secrets {
            if let Ok(Some(secret)) = vault.get_for(name, &job.id) {
                values.insert(name.clone(), secret.expose().to_owned());
            }
        }
    }
    values
}
