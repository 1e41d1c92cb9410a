//! A day of a small shop: good runs, a failed one, a held gate, a roll-back with its incident, and
//! a canary under way.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use journal::fact::PlannedJob;
use journal::{
    Actor, Affected, Certainty, CommitId, Conclusion, DeploymentId, Diagnosis, Event, EventId,
    Evidence, Exit, Explained, ExplainedPart, Fact, Healing, Health, HoldReason, IncidentId,
    InstanceId, JobKey, Journal, JournalError, NotTriggered, ReleaseId, RunId, ServiceName,
    StepFailure, Suspect, Verdict, Weight,
};
use series::{Labels, Limits, Row, Store};
use source::{Finding, Place, Position, Span};
use web::{Logs, WebState};

/// The story and what is needed to show it.
pub struct Story {
    pub state: WebState,
    /// Pages worth looking at, by name.
    pub pages: BTreeMap<&'static str, String>,
    numbers: Arc<Store>,
    logs: Arc<MemoryLogs>,
    /// Where the counters stood when the story was told.
    last: ([f64; 3], f64),
}

/// Logs that are kept in memory.
#[derive(Default)]
pub struct MemoryLogs {
    steps: Mutex<BTreeMap<(RunId, JobKey, u32), Vec<u8>>>,
    instances: Mutex<BTreeMap<InstanceId, Vec<u8>>>,
}

impl MemoryLogs {
    fn write(&self, run: u64, job: &str, step: u32, text: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.entry((RunId(run), job.into(), step)).or_default().extend_from_slice(text.as_bytes());
    }
}

fn part(log: Option<&Vec<u8>>, from: u64, limit: usize) -> io::Result<Vec<u8>> {
    let log = log.ok_or(io::ErrorKind::NotFound)?;
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(log.len());
    Ok(log[from..log.len().min(from + limit)].to_vec())
}

impl Logs for MemoryLogs {
    fn step(
        &self,
        run: RunId,
        job: &JobKey,
        step: u32,
        from: u64,
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        part(steps.get(&(run, job.clone(), step)), from, limit)
    }

    fn instance(&self, instance: &InstanceId, from: u64, limit: usize) -> io::Result<Vec<u8>> {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        part(instances.get(instance), from, limit)
    }
}

const OLD: &str = "3f9a2c1b7e04d2a1c9b8";
const GOOD: &str = "77ab01cd52e9f3a0b6d4";
const BAD: &str = "c04de71f88a2b3195d60";
const NEXT: &str = "e9150b3ac77d2f4461aa";
const STUCK: &str = "1ab8c3d90f2e4a6675bc";

/// Appends facts one after another.
struct Teller {
    journal: Journal,
    last: Option<EventId>,
}

impl Teller {
    async fn say(&mut self, fact: Fact) -> Result<Event, JournalError> {
        let event = self.journal.append(Actor::Conductor, self.last, fact).await?;
        self.last = Some(event.id);
        Ok(event)
    }

    async fn ask(&mut self, who: &str, fact: Fact) -> Result<Event, JournalError> {
        let event = self.journal.append(Actor::Person(who.into()), None, fact).await?;
        self.last = Some(event.id);
        Ok(event)
    }
}

fn release(name: &str) -> ReleaseId {
    name.into()
}

fn commit(name: &str) -> CommitId {
    format!("{name}{name}")[..40].into()
}

fn at(path: &str, line: u32, column: u32) -> Place {
    Place::at(path, Span::new(Position::new(line, column), Position::new(line, column + 8)))
}

fn planned(job: &str, id: &str, needs: &[&str], steps: &[&str]) -> PlannedJob {
    PlannedJob {
        job: job.into(),
        id: id.into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        place: Some(at(".github/workflows/ci.yml", 12, 3)),
    }
}

fn jobs() -> Vec<PlannedJob> {
    vec![
        planned("lint", "lint", &[], &["Check out", "Lint"]),
        planned("build", "build", &[], &["Check out", "Build"]),
        planned("test (3.11)", "test", &["build"], &["Check out", "Install", "Unit tests"]),
        planned("test (3.12)", "test", &["build"], &["Check out", "Install", "Unit tests"]),
        planned("package", "package", &["lint", "test"], &["Check out", "Package"]),
        planned("publish", "publish", &["package"], &["Check out", "Publish"]),
    ]
}

const GREEN_LOG: &str = "\u{1b}[36m$ pytest -q tests\u{1b}[0m\n\
::group::Environment\nPython 3.12.3\nplatform linux, 2 processors\nrootdir: /srv/shop\n::endgroup::\n\
tests/test_cart.py ............                                   [ 60%]\n\
tests/test_price.py ........                                      [100%]\n\n\
\u{1b}[32m20 passed\u{1b}[0m in 0.38s\n";

const RED_LOG: &str = "\u{1b}[36m$ pytest -q tests\u{1b}[0m\n\
::group::Environment\nPython 3.12.3\nplatform linux, 2 processors\nrootdir: /srv/shop\n::endgroup::\n\
tests/test_cart.py ....\u{1b}[31mF\u{1b}[0m.......                                   [ 60%]\n\
tests/test_price.py ........                                      [100%]\n\n\
=================================== FAILURES ===================================\n\
_____________________________ test_apply_discount ______________________________\n\n\
    def test_apply_discount():\n        cart = Cart([Item(\"book\", 250)])\n\
>       assert cart.total(discount=10) == 225.0\n\
\u{1b}[1;31mE       assert 240.0 == 225.0\u{1b}[0m\n\
\u{1b}[1;31mE        +  where 240.0 = total(discount=10)\u{1b}[0m\n\n\
tests/test_cart.py:41: AssertionError\n\
::warning file=tests/test_cart.py,line=41::this test covers src/cart.py:18\n\
=========================== short test summary info ============================\n\
\u{1b}[31mFAILED\u{1b}[0m tests/test_cart.py::test_apply_discount - assert 240.0 == 225.0\n\
\u{1b}[31m1 failed\u{1b}[0m, 19 passed in 0.41s\n";

impl Story {
    /// Fills a journal, its logs and its numbers.
    pub async fn tell(directory: &Path) -> Result<Self, JournalError> {
        let journal = Journal::open(directory.join("journal.db"))?;
        let mut teller = Teller { journal: journal.clone(), last: None };
        let logs = Arc::new(MemoryLogs::default());
        let numbers = Arc::new(Store::new(Limits::default()));
        tell_all(&mut teller, &logs).await?;
        let last = traffic(&numbers);
        let view = journal.view()?;
        let state = WebState {
            journal: journal.clone(),
            view: Arc::new(RwLock::new(view)),
            numbers: numbers.clone(),
            logs: logs.clone(),
            wishes: Arc::new(journal),
            repository: "corner-shop".to_owned(),
            clock: Arc::new(jiff::Timestamp::now),
        };
        let pages = BTreeMap::from([
            ("overview", "/".to_owned()),
            ("runs", "/runs".to_owned()),
            ("run-failed", "/runs/3".to_owned()),
            ("run-green", "/runs/1".to_owned()),
            ("run-live", "/runs/5".to_owned()),
            ("job-skipped", "/runs/3/publish".to_owned()),
            ("deployments", "/deployments".to_owned()),
            ("deployment-moving", "/deployments/5".to_owned()),
            ("deployment-back", "/deployments/4".to_owned()),
            ("service", "/services/web".to_owned()),
            ("instance", "/instances/web-e9150b3a-m4x1".to_owned()),
            ("incidents", "/incidents".to_owned()),
            ("incident", "/incidents/1".to_owned()),
            ("incident-manager", "/incidents/1?for=manager".to_owned()),
            ("commit-held", format!("/commits/{}", commit(STUCK))),
            ("timeline", "/timeline".to_owned()),
            ("event", "/timeline/40".to_owned()),
            ("log-search", "/runs/3/test%20%283.12%29/3?q=assert".to_owned()),
            ("missing", "/runs/4711".to_owned()),
        ]);
        Ok(Self { state, pages, numbers, logs, last })
    }

    /// Keeps the view current and lets the traffic and the running log go on.
    pub async fn keep_going(self: Arc<Self>) {
        let newest = self.state.view().newest.unwrap_or(EventId(0));
        let mut follower = self.state.journal.follow(newest);
        let mut beat = tokio::time::interval(Duration::from_millis(500));
        let mut count = 0_u64;
        loop {
            tokio::select! {
                event = follower.next() => {
                    let Ok(event) = event else { return };
                    self.state.view.write().unwrap_or_else(PoisonError::into_inner).apply(&event);
                }
                _ = beat.tick() => {
                    count += 1;
                    self.logs.write(5, "test (3.12)", 3, &format!("tests/test_stock.py::test_{count} \u{1b}[32mPASSED\u{1b}[0m\n"));
                    let now = jiff::Timestamp::now().as_millisecond();
                    let mut all = Vec::new();
                    for (index, (service, release, share)) in SHARES.into_iter().enumerate() {
                        let errors = if index == 0 { self.last.1 } else { 0.0 };
                        all.extend(rows(now, self.last.0[index] + count as f64 * 6.0 * share, service, release, errors));
                    }
                    let _ = self.numbers.append(all);
                }
            }
        }
    }
}

/// Says one commit with its run.
#[expect(clippy::too_many_arguments, reason = "a table of what differs from commit to commit")]
async fn commit_and_run(
    teller: &mut Teller,
    logs: &MemoryLogs,
    run: u64,
    release: &str,
    before: Option<&str>,
    author: &str,
    subject: &str,
    failing: Option<&str>,
) -> Result<(), JournalError> {
    let id = commit(release);
    teller
        .say(Fact::CommitSeen {
            commit: id.clone(),
            branch: Some("main".into()),
            before: before.map(commit),
            author: author.into(),
            subject: subject.into(),
            files_changed: 3,
        })
        .await?;
    teller
        .say(Fact::CommitPlanned {
            commit: id.clone(),
            workflows: vec![".github/workflows/ci.yml".into()],
            not_triggered: vec![NotTriggered {
                workflow: ".github/workflows/nightly.yml".into(),
                reason: "it starts on `schedule`, and this is a push".into(),
            }],
            findings: vec![],
        })
        .await?;
    teller
        .say(Fact::RunStarted {
            run: RunId(run),
            workflow: ".github/workflows/ci.yml".into(),
            name: "ci".into(),
            event: "push".into(),
            commit: id,
            git_ref: "refs/heads/main".into(),
            dirty: false,
            jobs: jobs(),
            again: None,
        })
        .await?;
    for planned in jobs() {
        let key = planned.job.clone();
        if failing.is_some() && ["package", "publish"].contains(&planned.id.as_str()) {
            let reason = if planned.id == "package" {
                "it needs `test`, which did not succeed"
            } else {
                "its condition did not hold"
            };
            teller
                .say(Fact::JobSkipped {
                    run: RunId(run),
                    job: key,
                    reason: reason.into(),
                    condition: (planned.id == "publish").then(|| Explained {
                        expression:
                            "needs.package.result == 'success' && github.ref == 'refs/heads/main'"
                                .into(),
                        value: "false".into(),
                        parts: vec![
                            ExplainedPart {
                                expression: "needs.package.result".into(),
                                value: "\"skipped\"".into(),
                            },
                            ExplainedPart {
                                expression: "needs.package.result == 'success'".into(),
                                value: "false".into(),
                            },
                            ExplainedPart {
                                expression: "github.ref".into(),
                                value: "\"refs/heads/main\"".into(),
                            },
                        ],
                        place: Some(at(".github/workflows/ci.yml", 41, 9)),
                    }),
                })
                .await?;
            continue;
        }
        teller
            .say(Fact::JobStarted {
                run: RunId(run),
                job: key.clone(),
                protection: "own namespaces and overlay".into(),
            })
            .await?;
        let fails_here = failing == Some(key.as_str());
        for (index, name) in planned.steps.iter().enumerate() {
            let number = index as u32 + 1;
            let is_culprit = fails_here && number as usize == planned.steps.len();
            teller
                .say(Fact::StepStarted {
                    run: RunId(run),
                    job: key.clone(),
                    step: number,
                    name: name.clone(),
                })
                .await?;
            let log = match (is_culprit, planned.id.as_str(), number) {
                (true, ..) => RED_LOG.to_owned(),
                (_, "test", 3) => GREEN_LOG.to_owned(),
                (_, _, 1) => format!("HEAD is now at {} {subject}\n", &release[..7]),
                _ => {
                    format!("\u{1b}[36m$ make {}\u{1b}[0m\nnothing to complain about\n", planned.id)
                }
            };
            logs.write(run, key.as_str(), number, &log);
            let conclusion = if is_culprit { Conclusion::Failure } else { Conclusion::Success };
            teller
                .say(Fact::StepFinished {
                    run: RunId(run),
                    job: key.clone(),
                    step: number,
                    name: name.clone(),
                    outcome: conclusion,
                    conclusion,
                    milliseconds: 180 + u64::from(number) * 940,
                    failure: is_culprit.then(|| StepFailure {
                        message: "Process completed with exit code 1.".into(),
                        exit_code: Some(1),
                        signal: None,
                        last_lines: RED_LOG
                            .lines()
                            .rev()
                            .take(5)
                            .map(str::to_owned)
                            .collect::<Vec<_>>()
                            .into_iter()
                            .rev()
                            .collect(),
                        place: Some(at(".github/workflows/ci.yml", 33, 9)),
                    }),
                    condition: None,
                    files_changed: vec![],
                    cached: None,
                })
                .await?;
        }
        teller
            .say(Fact::JobFinished {
                run: RunId(run),
                job: key,
                conclusion: if fails_here { Conclusion::Failure } else { Conclusion::Success },
                milliseconds: 1_200 + planned.steps.len() as u64 * 1_400,
                outputs: BTreeMap::new(),
                summary: String::new(),
            })
            .await?;
    }
    let conclusion = if failing.is_some() { Conclusion::Failure } else { Conclusion::Success };
    teller.say(Fact::RunFinished { run: RunId(run), conclusion, milliseconds: 15_300 }).await?;
    Ok(())
}

async fn gate_and_release(teller: &mut Teller, run: u64, name: &str) -> Result<(), JournalError> {
    teller
        .say(Fact::FindingsReported {
            commit: commit(name),
            findings: vec![
                Finding::warning(
                    "action-not-pinned",
                    "`vendor/deploy@v2` may change under you",
                    at(".github/workflows/ci.yml", 44, 15),
                )
                .why("whoever owns that tag decides what runs here")
                .help("name the commit instead: `vendor/deploy@<sha>`"),
            ],
            not_checked: vec![],
            files: 84,
            milliseconds: 210,
        })
        .await?;
    teller
        .say(Fact::GatePassed { commit: commit(name), allowed: vec![], not_checked: vec![] })
        .await?;
    teller
        .say(Fact::ReleaseCut {
            release: release(name),
            commit: commit(name),
            runs: vec![RunId(run)],
            services: vec!["web".into(), "worker".into()],
            files: 84,
            bytes: 412_000,
        })
        .await?;
    Ok(())
}

fn split(parts: &[(&str, u32)]) -> Vec<Weight> {
    parts
        .iter()
        .map(|(name, points)| Weight { release: release(name), basis_points: *points })
        .collect()
}

async fn begin(
    teller: &mut Teller,
    id: u64,
    service: &str,
    from: Option<&str>,
    to: &str,
) -> Result<(), JournalError> {
    let canary = from.is_some() && service == "web";
    teller
        // Read from its stored form: fields that this story leaves out take their defaults.
        .say(Fact::decode(
            "DeploymentStarted",
            1,
            serde_json::json!({
                "deployment": id,
                "service": service,
                "from": from,
                "to": to,
                "strategy": if canary { "canary" } else { "blue_green" },
                "steps": if canary { vec![100, 1_000, 5_000, 10_000] } else { vec![10_000] },
                "replicas": 2,
                "monitor_ms": 30_000,
                "automatic": true,
            }),
        ))
        .await?;
    for (number, tail) in ["m4x1", "q9t2"].into_iter().enumerate() {
        let instance = InstanceId(format!("{service}-{}-{tail}", &to[..8]));
        let port = 40_000 + id as u16 * 10 + number as u16;
        teller
            .say(Fact::InstanceStarted {
                instance: instance.clone(),
                service: service.into(),
                release: release(to),
                deployment: Some(DeploymentId(id)),
                port,
                pid: 4_000 + u32::from(port),
            })
            .await?;
        teller
            .say(Fact::InstanceReady {
                instance: instance.clone(),
                service: service.into(),
                after_ms: 240,
            })
            .await?;
        teller
            .say(Fact::HealthChanged {
                instance,
                service: service.into(),
                from: Health::Starting,
                to: Health::Healthy,
                evidence: "GET /healthz: 200 in 2 ms".into(),
            })
            .await?;
    }
    Ok(())
}

async fn shift(
    teller: &mut Teller,
    id: u64,
    service: &str,
    parts: &[(&str, u32)],
) -> Result<(), JournalError> {
    teller
        .say(Fact::TrafficShifted {
            service: service.into(),
            deployment: Some(DeploymentId(id)),
            weights: split(parts),
        })
        .await?;
    Ok(())
}

async fn judge(
    teller: &mut Teller,
    id: u64,
    step: u32,
    verdict: Verdict,
    canary: (u64, u64),
    baseline: (u64, u64),
    summary: &str,
) -> Result<Event, JournalError> {
    teller
        .say(Fact::VerdictReached {
            deployment: DeploymentId(id),
            service: "web".into(),
            step,
            verdict,
            evidence: Evidence {
                summary: summary.into(),
                canary_requests: canary.1,
                canary_failed: canary.0,
                baseline_requests: baseline.1,
                baseline_failed: baseline.0,
                paths: if verdict == Verdict::Worse {
                    vec!["POST /checkout".into(), "GET /cart".into()]
                } else {
                    vec![]
                },
                after_ms: (verdict == Verdict::Worse).then_some(1_840),
            },
        })
        .await
}

async fn stop_old(
    teller: &mut Teller,
    service: &str,
    name: &str,
    reason: &str,
) -> Result<(), JournalError> {
    for tail in ["m4x1", "q9t2"] {
        let instance = InstanceId(format!("{service}-{}-{tail}", &name[..8]));
        teller
            .say(Fact::InstanceStopped { instance, service: service.into(), reason: reason.into() })
            .await?;
    }
    Ok(())
}

async fn tell_all(teller: &mut Teller, logs: &MemoryLogs) -> Result<(), JournalError> {
    let web = || ServiceName::from("web");
    teller
        .say(Fact::ConductorStarted { version: "0.1.0".into(), pid: 4711, missing_walls: vec![] })
        .await?;
    teller
        .say(Fact::ProxyStarted { pid: 4712, addresses: vec!["http://127.0.0.1:8080".into()] })
        .await?;

    // A first release, then a second one, both good.
    commit_and_run(teller, logs, 1, OLD, None, "Ana", "Sell books and pens", None).await?;
    gate_and_release(teller, 1, OLD).await?;
    for (id, service) in [(1, "web"), (2, "worker")] {
        begin(teller, id, service, None, OLD).await?;
        shift(teller, id, service, &[(OLD, 10_000)]).await?;
        teller
            .say(Fact::DeploymentFinished {
                deployment: DeploymentId(id),
                service: service.into(),
                milliseconds: 1_900,
            })
            .await?;
    }
    commit_and_run(teller, logs, 2, GOOD, Some(OLD), "Ben", "Show prices with tax", None).await?;
    gate_and_release(teller, 2, GOOD).await?;
    begin(teller, 3, "web", Some(OLD), GOOD).await?;
    for (step, points) in [(0, 100), (1, 1_000), (2, 5_000)] {
        shift(teller, 3, "web", &[(OLD, 10_000 - points), (GOOD, points)]).await?;
        judge(
            teller,
            3,
            step,
            Verdict::NotWorse,
            (0, 120 * u64::from(points) / 100),
            (1, 1_180),
            "0 of the new release's requests failed; the present one failed 1 of 1,180",
        )
        .await?;
    }
    shift(teller, 3, "web", &[(GOOD, 10_000)]).await?;
    teller
        .say(Fact::DeploymentFinished {
            deployment: DeploymentId(3),
            service: web(),
            milliseconds: 42_000,
        })
        .await?;
    stop_old(teller, "web", OLD, "release 77ab01cd took over").await?;

    // A commit whose tests fail.
    commit_and_run(
        teller,
        logs,
        3,
        "9f2c1e44ab0d7c3351fe",
        Some(GOOD),
        "Ana",
        "Round after tax",
        Some("test (3.12)"),
    )
    .await?;
    teller
        .say(Fact::GateHeld {
            commit: commit("9f2c1e44ab0d7c3351fe"),
            reasons: vec![HoldReason {
                rule: "run".into(),
                message: "run 3 of ci failed".into(),
                place: None,
                help: Some("mend the test and push".into()),
            }],
        })
        .await?;

    // A release that is bad only under traffic: condemned, taken back, told as an incident.
    commit_and_run(teller, logs, 4, BAD, Some(GOOD), "Ben", "Keep carts in one connection", None)
        .await?;
    gate_and_release(teller, 4, BAD).await?;
    begin(teller, 4, "web", Some(GOOD), BAD).await?;
    shift(teller, 4, "web", &[(GOOD, 9_900), (BAD, 100)]).await?;
    let onset = jiff::Timestamp::now().as_millisecond();
    judge(teller, 4, 0, Verdict::NotEnough, (1, 9), (0, 890), "9 requests are too few to tell")
        .await?;
    shift(teller, 4, "web", &[(GOOD, 9_000), (BAD, 1_000)]).await?;
    let worse = judge(
        teller,
        4,
        1,
        Verdict::Worse,
        (11, 96),
        (1, 864),
        "11 of 96 requests to the new release failed (11 %), against 1 of 864 meanwhile (0.1 %)",
    )
    .await?;
    let opened = teller
        .say(Fact::IncidentOpened {
            incident: IncidentId(1),
            service: web(),
            title: "web fails 11 % of the requests to its new release".into(),
            deployment: Some(DeploymentId(4)),
            release: Some(release(BAD)),
            onset_ms: onset - 1_900,
            suspects: vec![Suspect {
                what: "release c04de71f, deployed 3 s before".into(),
                event: worse.id,
                score: 940,
                because: "instances of the new release fail, those of the old one do not".into(),
            }],
            affected: Affected { requests: 960, failed: 12, milliseconds: 1_800 },
        })
        .await?;
    teller
        .say(Fact::HealingStarted {
            service: web(),
            healing: Healing::RollBack { to: release(GOOD) },
            trigger: "the verdict on step 10 %".into(),
            undo: "marline deploy web --to c04de71f".into(),
            dry_run: false,
        })
        .await?;
    shift(teller, 4, "web", &[(GOOD, 10_000), (BAD, 0)]).await?;
    teller
        .say(Fact::DeploymentRolledBack {
            deployment: DeploymentId(4),
            service: web(),
            from: release(BAD),
            to: Some(release(GOOD)),
            reason: "11 of 96 requests failed (11 %), against 0.1 % on the release before".into(),
            affected: Affected { requests: 960, failed: 12, milliseconds: 1_840 },
        })
        .await?;
    stop_old(teller, "web", BAD, "the deployment was rolled back").await?;
    teller
        .say(Fact::HealingFinished {
            service: web(),
            started: opened.id,
            worked: true,
            outcome: "0 of 1,204 requests failed since".into(),
        })
        .await?;
    teller
        .say(Fact::IncidentResolved {
            incident: IncidentId(1),
            resolution: "the release before has all traffic again and no request fails".into(),
            affected: Affected { requests: 960, failed: 12, milliseconds: 1_840 },
        })
        .await?;

    // An instance of the worker that ran out of memory, and was started again.
    let gone = InstanceId::from("worker-3f9a2c1b-m4x1");
    teller
        .say(Fact::InstanceExited {
            instance: gone.clone(),
            service: "worker".into(),
            release: release(OLD),
            exit: Exit { code: Some(1), signal: None, out_of_memory: false },
            ran_ms: 7_340_000,
            last_lines: vec![
                "mail: sending 118 letters".into(),
                "ConnectionError: Connection refused: 127.0.0.1:2525".into(),
            ],
        })
        .await?;
    teller
        .say(Fact::HealingStarted {
            service: "worker".into(),
            healing: Healing::Restart { instance: gone, after_ms: 500 },
            trigger: "it ended by itself".into(),
            undo: "marline scale worker=1".into(),
            dry_run: false,
        })
        .await?;
    let back = InstanceId::from("worker-3f9a2c1b-z7c5");
    teller
        .say(Fact::InstanceStarted {
            instance: back.clone(),
            service: "worker".into(),
            release: release(OLD),
            deployment: None,
            port: 40_901,
            pid: 5_150,
        })
        .await?;
    teller
        .say(Fact::InstanceReady {
            instance: back.clone(),
            service: "worker".into(),
            after_ms: 310,
        })
        .await?;
    teller
        .say(Fact::HealthChanged {
            instance: back,
            service: "worker".into(),
            from: Health::Starting,
            to: Health::Healthy,
            evidence: "the process runs".into(),
        })
        .await?;

    // An instance that never got ready.
    let failed = InstanceId::from("web-77ab01cd-p0k3");
    teller
        .say(Fact::InstanceStarted {
            instance: failed.clone(),
            service: web(),
            release: release(GOOD),
            deployment: None,
            port: 40_777,
            pid: 5_151,
        })
        .await?;
    teller
        .say(Fact::InstanceFailed {
            instance: failed,
            service: web(),
            release: release(GOOD),
            diagnosis: Diagnosis {
                cause: "it listens on port 3000 instead of the port in PORT".into(),
                certainty: Certainty::Certain,
                help: Some("listen on the port that the environment variable PORT holds".into()),
                last_lines: vec!["listening on 0.0.0.0:3000".into()],
            },
        })
        .await?;

    // A canary under way, asked for with a run that still goes on.
    commit_and_run(
        teller,
        logs,
        6,
        NEXT,
        Some(BAD),
        "Ben",
        "Give each cart its own connection",
        None,
    )
    .await?;
    gate_and_release(teller, 6, NEXT).await?;
    begin(teller, 5, "web", Some(GOOD), NEXT).await?;
    shift(teller, 5, "web", &[(GOOD, 9_900), (NEXT, 100)]).await?;
    judge(
        teller,
        5,
        0,
        Verdict::NotWorse,
        (0, 142),
        (2, 14_010),
        "0 of 142 requests failed, against 2 of 14,010 meanwhile",
    )
    .await?;
    shift(teller, 5, "web", &[(GOOD, 9_000), (NEXT, 1_000)]).await?;

    // The newest commit is held at the gate.
    teller.ask("ana", Fact::ScaleRequested { service: "worker".into(), count: 2 }).await?;
    commit_and_run(
        teller,
        logs,
        7,
        STUCK,
        Some(NEXT),
        "Ana",
        "Send letters through the new mail service",
        None,
    )
    .await?;
    let secret = Finding::error(
        "secret-in-code",
        "this looks like a key of a mail service",
        at("src/mail.py", 3, 12),
    )
    .why("whoever can read the repository can send mail in your name")
    .help("revoke it, then store the new one with `marline secret set MAIL_KEY`");
    teller
        .say(Fact::FindingsReported {
            commit: commit(STUCK),
            findings: vec![
                secret.clone(),
                Finding::warning(
                    "action-not-pinned",
                    "`vendor/deploy@v2` may change under you",
                    at(".github/workflows/ci.yml", 44, 15),
                ),
            ],
            not_checked: vec!["dependencies: no advisory data is kept here yet".into()],
            files: 85,
            milliseconds: 190,
        })
        .await?;
    teller
        .say(Fact::GateHeld {
            commit: commit(STUCK),
            reasons: vec![HoldReason {
                rule: secret.rule,
                message: secret.message,
                place: Some(secret.place),
                help: secret.help,
            }],
        })
        .await?;
    teller
        .say(Fact::RunStarted {
            run: RunId(5),
            workflow: ".github/workflows/ci.yml".into(),
            name: "ci".into(),
            event: "workflow_dispatch".into(),
            commit: commit(NEXT),
            git_ref: "refs/heads/main".into(),
            dirty: true,
            jobs: jobs(),
            again: None,
        })
        .await?;
    let running = JobKey::from("test (3.12)");
    teller
        .say(Fact::JobStarted {
            run: RunId(5),
            job: running.clone(),
            protection: "own namespaces and overlay".into(),
        })
        .await?;
    teller
        .say(Fact::StepStarted {
            run: RunId(5),
            job: running.clone(),
            step: 3,
            name: "Unit tests".into(),
        })
        .await?;
    logs.write(5, running.as_str(), 3, "\u{1b}[36m$ pytest -v tests\u{1b}[0m\n");
    let instance = InstanceId::from("web-e9150b3a-m4x1");
    let mut instances = logs.instances.lock().unwrap_or_else(PoisonError::into_inner);
    instances.insert(instance, b"shop e9150b3a listens on 127.0.0.1:40050\nGET / 200 3 ms\nGET /cart 200 4 ms\nPOST /checkout 201 9 ms\n".to_vec());
    Ok(())
}

/// Which release gets which share of the traffic.
const SHARES: [(&str, &str, f64); 3] =
    [("web", GOOD, 0.9), ("web", NEXT, 0.1), ("worker", OLD, 0.4)];

/// An hour of traffic with a spike of errors while the bad release had its share.
fn traffic(store: &Store) -> ([f64; 3], f64) {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut requests = [0.0, 0.0, 0.0];
    let mut errors = 0.0;
    for step in 0..720_i64 {
        let at = now - (720 - step) * 5_000;
        let wave = 60.0 + 22.0 * (step as f64 / 55.0).sin() + 9.0 * (step as f64 / 7.0).sin();
        for (index, (.., share)) in SHARES.into_iter().enumerate() {
            requests[index] += wave * share;
        }
        if (400..412).contains(&step) {
            errors += wave * 0.11;
        }
        let mut all = rows(at, requests[0], "web", GOOD, errors);
        all.extend(rows(at, requests[1], "web", NEXT, 0.0));
        all.extend(rows(at, requests[2], "worker", OLD, 0.0));
        store.append(all).expect("a fresh store takes rows");
    }
    (requests, errors)
}

fn rows(at: i64, requests: f64, service: &str, release: &str, errors: f64) -> Vec<Row> {
    let instance = format!("{service}-{}-m4x1", &release[..8]);
    let labels = |metric: &str, more: &[(&str, &str)]| {
        let own = [("service", service), ("release", release), ("instance", instance.as_str())];
        Labels::metric(metric, own.iter().chain(more).copied())
    };
    let mut rows = vec![
        Row::new(labels("marline_requests_total", &[("class", "2xx")]), at, requests),
        Row::new(labels("marline_request_errors_total", &[]), at, errors),
    ];
    for (bound, share) in [
        ("0.005", 0.31),
        ("0.01", 0.62),
        ("0.025", 0.91),
        ("0.05", 0.97),
        ("0.1", 0.995),
        ("+Inf", 1.0),
    ] {
        rows.push(Row::new(
            labels("marline_request_duration_seconds_bucket", &[("le", bound)]),
            at,
            requests * share,
        ));
    }
    rows
}
