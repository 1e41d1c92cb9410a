//! What people read, as they read it. A text that reads badly here reads badly in the product.

use explain::{Audience, Explanation, Subject, render};
use jiff::Timestamp;
use journal::fact::PlannedJob;
use journal::{
    Actor, Affected, Certainty, CommitId, Conclusion, DeploymentId, Diagnosis, Event, EventId,
    Evidence, Explained, ExplainedPart, Fact, Health, HoldReason, IncidentId, JobKey, ReleaseId,
    RunId, StepFailure, Suspect, Verdict, View, Weight,
};
use source::{Place, Position, Span};

/// A journal in memory: each fact one second after the other.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
    view: View,
}

impl Story {
    fn then(mut self, fact: Fact) -> Self {
        let id = self.events.len() as u64 + 1;
        let at = Timestamp::from_second(1_788_000_000 + id as i64).expect("a time");
        let event = Event { id: EventId(id), at, actor: Actor::Conductor, cause: None, fact };
        self.view.apply(&event);
        self.events.push(event);
        self
    }

    fn why(&self, subject: &str) -> Explanation {
        let subject = Subject::find(subject, &self.view).unwrap_or_else(|| panic!("no {subject}"));
        explain::why(&subject, &self.view, &self.events).expect("it can be explained")
    }

    fn developer(&self, subject: &str) -> String {
        render::text(&self.why(subject), Audience::Developer)
    }
}

const OLD: &str = "77ab01cd52e9f3a0";
const NEW: &str = "c04de71f88a2b319";

fn commit(id: &str, subject: &str, before: Option<&str>) -> Fact {
    Fact::CommitSeen {
        commit: id.into(),
        branch: Some("main".into()),
        before: before.map(CommitId::from),
        author: "Ana".into(),
        subject: subject.into(),
        files_changed: 2,
    }
}

fn planned(id: &str, needs: &[&str]) -> PlannedJob {
    PlannedJob {
        job: id.into(),
        id: id.into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        steps: vec!["Unit tests".into()],
        place: None,
    }
}

fn run(id: u64, commit: &str) -> Fact {
    Fact::RunStarted {
        run: RunId(id),
        workflow: ".github/workflows/ci.yml".into(),
        name: "ci".into(),
        event: "push".into(),
        commit: commit.into(),
        git_ref: "refs/heads/main".into(),
        dirty: false,
        jobs: vec![planned("test", &[]), planned("publish", &["test"])],
        again: None,
    }
}

fn step(run: u64, failure: Option<StepFailure>) -> Fact {
    let end = if failure.is_some() { Conclusion::Failure } else { Conclusion::Success };
    Fact::StepFinished {
        run: RunId(run),
        job: "test".into(),
        step: 1,
        name: "Unit tests".into(),
        outcome: end,
        conclusion: end,
        milliseconds: 6_100,
        failure,
        condition: None,
        files_changed: vec![],
        cached: None,
    }
}

fn job(run: u64, conclusion: Conclusion) -> Fact {
    Fact::JobFinished {
        run: RunId(run),
        job: "test".into(),
        conclusion,
        milliseconds: 6_200,
        outputs: std::collections::BTreeMap::new(),
        summary: String::new(),
    }
}

fn failed_run() -> Story {
    let place = Place::at(
        ".github/workflows/ci.yml",
        Span::new(Position::new(14, 9), Position::new(14, 20)),
    );
    Story::default()
        .then(commit("aaaaaaa111", "Show prices with tax", None))
        .then(run(1, "aaaaaaa111"))
        .then(step(1, None))
        .then(job(1, Conclusion::Success))
        .then(Fact::RunFinished {
            run: RunId(1),
            conclusion: Conclusion::Success,
            milliseconds: 6_300,
        })
        .then(commit("9f2c1e4bbb", "Round after tax", Some("aaaaaaa111")))
        .then(run(2, "9f2c1e4bbb"))
        .then(step(
            2,
            Some(StepFailure {
                message: "Process completed with exit code 1.".into(),
                exit_code: Some(1),
                signal: None,
                last_lines: vec![
                    "collected 20 items".into(),
                    "FAILED tests/test_cart.py::test_discount - assert 240.0 == 225.0".into(),
                    "1 failed, 19 passed in 0.41s".into(),
                ],
                place: Some(place),
            }),
        ))
        .then(job(2, Conclusion::Failure))
        .then(Fact::JobSkipped {
            run: RunId(2),
            job: "publish".into(),
            reason: "its condition did not hold".into(),
            condition: Some(Explained {
                expression: "needs.test.result == 'success'".into(),
                value: "false".into(),
                parts: vec![ExplainedPart {
                    expression: "needs.test.result".into(),
                    value: "\"failure\"".into(),
                }],
                place: None,
            }),
        })
        .then(Fact::RunFinished {
            run: RunId(2),
            conclusion: Conclusion::Failure,
            milliseconds: 6_400,
        })
}

fn released(story: Story, release: &str, commit: &str) -> Story {
    story.then(Fact::ReleaseCut {
        release: release.into(),
        commit: commit.into(),
        runs: vec![],
        services: vec!["web".into()],
        files: 3,
        bytes: 900,
    })
}

fn deployment(id: u64, from: Option<&str>, to: &str) -> Fact {
    Fact::decode(
        "DeploymentStarted",
        1,
        serde_json::json!({
            "deployment": id, "service": "web", "from": from, "to": to, "strategy": "canary",
            "steps": [1000, 10000], "replicas": 1, "monitor_ms": 1000, "automatic": true,
        }),
    )
}

fn traffic(id: u64, parts: &[(&str, u32)]) -> Fact {
    let weights = parts
        .iter()
        .map(|(release, points)| Weight { release: (*release).into(), basis_points: *points });
    Fact::TrafficShifted {
        service: "web".into(),
        deployment: Some(DeploymentId(id)),
        weights: weights.collect(),
    }
}

fn healthy() -> Story {
    let story = Story::default().then(commit("aaaaaaa111", "Show prices with tax", None));
    released(story, OLD, "aaaaaaa111")
        .then(deployment(1, None, OLD))
        .then(Fact::InstanceStarted {
            instance: "web-77ab01cd-m4x1".into(),
            service: "web".into(),
            release: OLD.into(),
            deployment: Some(DeploymentId(1)),
            port: 40_001,
            pid: 501,
        })
        .then(Fact::InstanceReady {
            instance: "web-77ab01cd-m4x1".into(),
            service: "web".into(),
            after_ms: 240,
        })
        .then(traffic(1, &[(OLD, 10_000)]))
        .then(Fact::DeploymentFinished {
            deployment: DeploymentId(1),
            service: "web".into(),
            milliseconds: 1_900,
        })
}

fn rolled_back() -> Story {
    let affected = Affected { requests: 960, failed: 12, milliseconds: 1_840 };
    let story =
        healthy().then(commit("bbbbbbb222", "Keep carts in one connection", Some("aaaaaaa111")));
    released(story, NEW, "bbbbbbb222")
        .then(deployment(2, Some(OLD), NEW))
        .then(traffic(2, &[(OLD, 9_000), (NEW, 1_000)]))
        .then(Fact::VerdictReached {
            deployment: DeploymentId(2),
            service: "web".into(),
            step: 0,
            verdict: Verdict::Worse,
            evidence: Evidence {
                summary: "11 of 96 requests failed, against 1 of 864 meanwhile".into(),
                canary_requests: 96,
                canary_failed: 11,
                baseline_requests: 864,
                baseline_failed: 1,
                paths: vec!["POST /checkout".into()],
                after_ms: Some(1_840),
            },
        })
        .then(Fact::IncidentOpened {
            incident: IncidentId(1),
            service: "web".into(),
            title: "web fails 11 % of the requests to its new release".into(),
            deployment: Some(DeploymentId(2)),
            release: Some(ReleaseId::from(NEW)),
            onset_ms: 1_788_000_011_000,
            suspects: vec![Suspect {
                what: "release c04de71f".into(),
                event: EventId(10),
                score: 940,
                because: "only its instances fail".into(),
            }],
            affected,
        })
        .then(traffic(2, &[(OLD, 10_000), (NEW, 0)]))
        .then(Fact::DeploymentRolledBack {
            deployment: DeploymentId(2),
            service: "web".into(),
            from: NEW.into(),
            to: Some(OLD.into()),
            reason: "11 of 96 requests failed, against 1 of 864 meanwhile".into(),
            affected,
        })
        .then(Fact::IncidentResolved {
            incident: IncidentId(1),
            resolution: "the release before has all traffic".into(),
            affected,
        })
}

fn held() -> Story {
    failed_run().then(Fact::GateHeld {
        commit: "9f2c1e4bbb".into(),
        reasons: vec![HoldReason {
            rule: "secret-in-code".into(),
            message: "this looks like a key of a mail service".into(),
            place: Some(Place::at(
                "src/mail.py",
                Span::new(Position::new(3, 12), Position::new(3, 30)),
            )),
            help: Some("revoke it, then run: marline secret set MAIL_KEY".into()),
        }],
    })
}

fn unready() -> Story {
    healthy()
        .then(Fact::InstanceStarted {
            instance: "web-77ab01cd-p0k3".into(),
            service: "web".into(),
            release: OLD.into(),
            deployment: None,
            port: 40_002,
            pid: 502,
        })
        .then(Fact::InstanceFailed {
            instance: "web-77ab01cd-p0k3".into(),
            service: "web".into(),
            release: OLD.into(),
            diagnosis: Diagnosis {
                cause: "it listens on port 3000 instead of the port in PORT".into(),
                certainty: Certainty::Certain,
                help: Some("listen on the port that PORT holds".into()),
                last_lines: vec!["listening on 0.0.0.0:3000".into()],
            },
        })
}

fn unhealthy() -> Story {
    healthy().then(Fact::HealthChanged {
        instance: "web-77ab01cd-m4x1".into(),
        service: "web".into(),
        from: Health::Healthy,
        to: Health::Unhealthy,
        evidence: "GET /healthz: 503 in 4 ms, three times".into(),
    })
}

#[test]
fn a_failed_run_says_which_line_and_what_to_do() {
    insta::assert_snapshot!(failed_run().developer("2"), @r#"
    Job test failed at step “Unit tests” in run 2 of ci.

      Why       The test `tests/test_cart.py::test_discount` failed: assert 240.0 == 225.0 (certain)
      Evidence  │ FAILED tests/test_cart.py::test_discount - assert 240.0 == 225.0  .github/workflows/ci.yml:14:9
                Process completed with exit code 1  .github/workflows/ci.yml:14:9
      Changed   commit 9f2c1e4 “Round after tax” by Ana (2 files)
      Affected  nothing runs yet, so no user is affected
      Next      pytest tests/test_cart.py::test_discount   Run this test alone and read what it expected.
                marline run test   Run only this job here.
                git show 9f2c1e4   See what the commit changed.
    "#);
}

#[test]
fn a_skipped_job_shows_each_part_of_its_condition() {
    insta::assert_snapshot!(failed_run().developer("2/publish"), @r#"
    Job publish of run 2 was skipped.

      Why       Its condition did not hold. (certain)
      Evidence  `needs.test.result == 'success'` gave false
                  `needs.test.result` is "failure"
                it needs test, which ended with failure
      Next      marline why 2/test   See why test ended like that.
    "#);
}

#[test]
fn a_held_gate_names_the_finding_and_its_place() {
    insta::assert_snapshot!(held().developer("commit 9f2c1e4"), @r#"
    Commit 9f2c1e4 “Round after tax” is held at the gate: 1 reason.

      Why       This looks like a key of a mail service. (certain)
      Evidence  secret-in-code: this looks like a key of a mail service  src/mail.py:3:12
      Changed   commit 9f2c1e4 “Round after tax” by Ana (2 files)
      Affected  nothing runs yet, so no user is affected
      Next      Revoke it, then run: marline secret set MAIL_KEY.
                marline why 2   See why the run failed.
                marline check   Look again after mending it.
    "#);
}

#[test]
fn a_roll_back_gives_the_numbers_of_both_releases() {
    insta::assert_snapshot!(rolled_back().developer("deployment 2"), @r#"
    Deployment 2 was rolled back; web is on release 77ab01cd again.

      Why       Release c04de71f is worse than the one before: 11 of 96 requests failed, against 1 of 864 meanwhile. (certain)
      Evidence  11 of 96 requests failed, against 1 of 864 meanwhile
                new release: 11 of 96 requests failed (11 %)
                old release, meanwhile: 1 of 864 requests failed (0.1 %)
                failing paths: POST /checkout
                found 1.8 s after the first bad answer
      Changed   commit bbbbbbb “Keep carts in one connection” by Ana (2 files)
      Affected  12 of 960 requests failed (1.2 %) within 1.8 s
      Done      10:40:11  traffic: 90 % on 77ab01cd, 10 % on c04de71f
                10:40:14  traffic: 100 % on 77ab01cd
                Marline gave all traffic back to release 77ab01cd
                opened incident 1: web fails 11 % of the requests to its new release
      Next      git diff aaaaaaa bbbbbbb   See what is different.
                Mend it and push: the next commit goes the same way.
    "#);
}

#[test]
fn an_incident_says_who_was_affected_and_what_was_done() {
    insta::assert_snapshot!(rolled_back().developer("incident 1"), @r#"
    web fails 11 % of the requests to its new release. Incident 1 is over; it lasted 5 s.

      Why       Release c04de71f fails more often than the one before it, at the same time and for the same kind of requests. (certain)
      Evidence  11 of 96 requests failed, against 1 of 864 meanwhile
                new release: 11 of 96 requests failed (11 %)
                old release, meanwhile: 1 of 864 requests failed (0.1 %)
                failing paths: POST /checkout
                found 1.8 s after the first bad answer
      Changed   commit bbbbbbb “Keep carts in one connection” by Ana (2 files)
      Affected  12 of 960 requests failed (1.2 %) within 1.8 s
      Done      10:40:15  rolled back to release 77ab01cd, 4 s after it began
      Next      git diff aaaaaaa bbbbbbb   See what is different.
                Mend it and push: the next commit goes the same way.
    "#);
}

#[test]
fn an_instance_that_did_not_start_says_why() {
    insta::assert_snapshot!(unready().developer("web-77ab01cd-p0k3"), @r#"
    Instance web-77ab01cd-p0k3 of web did not become ready.

      Why       It listens on port 3000 instead of the port in PORT. (certain)
      Evidence  │ listening on 0.0.0.0:3000
      Changed   commit aaaaaaa “Show prices with tax” by Ana (2 files)
      Affected  1 other copy is ready and takes the requests.
      Next      Listen on the port that PORT holds.
                marline logs web   Read its output.
    "#);
}

#[test]
fn a_failed_health_check_is_quoted() {
    insta::assert_snapshot!(unhealthy().developer("web-77ab01cd-m4x1"), @r#"
    Instance web-77ab01cd-m4x1 of web does not answer as it should.

      Why       The health check said: GET /healthz: 503 in 4 ms, three times. (certain)
      Evidence  the health check said: GET /healthz: 503 in 4 ms, three times
      Changed   commit aaaaaaa “Show prices with tax” by Ana (2 files)
      Affected  No other copy is ready.
      Next      marline logs web   Read its output.
    "#);
}

#[test]
fn a_healthy_state_is_one_sentence() {
    insta::assert_snapshot!(healthy().developer(""), @r#"
    The service is healthy.

      Evidence  web is healthy: 1 instance of release 77ab01cd
                commit aaaaaaa is being checked
                the last deployment, 1, put web on release 77ab01cd
    "#);
}

#[test]
fn managers_read_the_same_incident_in_plain_words() {
    insta::assert_snapshot!(render::for_manager(&rolled_back().why("incident 1")), @"web failed for some users at 10:40 for 5 seconds. 12 requests failed over 2 seconds. It began with a new version. I brought the version before back by myself. The service works again. A developer needs to mend the change before it is tried again.");
}

#[test]
fn managers_read_that_a_failed_run_hurts_no_user() {
    insta::assert_snapshot!(render::for_manager(&failed_run().why("2")), @"The latest change did not pass its checks, so it was not released. An automatic check of the program's behaviour did not pass. Users are not affected. Whoever made the change needs to mend it.");
}

/// Words that only those who build services know.
const JARGON: &[&str] = &[
    "pod",
    "sigkill",
    "sigterm",
    "5xx",
    "p95",
    "p99",
    "canary",
    "baseline",
    "rollback",
    "exit code",
    "stderr",
    "stdout",
    "container",
    "kubernetes",
    "deployment",
    "basis point",
    "instance",
    "latency",
    "commit",
    "repository",
    "pipeline",
    "workflow",
    "http",
    "json",
    "regex",
    "null",
    "stack trace",
    "`",
    "--",
];

#[test]
fn what_managers_read_is_short_plain_and_rests_on_events() {
    let stories = [
        (failed_run(), vec!["2", "1", "2/publish", "2/test"]),
        (held(), vec!["commit 9f2c1e4"]),
        (rolled_back(), vec!["deployment 2", "deployment 1", "incident 1", ""]),
        (unready(), vec!["web-77ab01cd-p0k3"]),
        (unhealthy(), vec!["web-77ab01cd-m4x1", "web"]),
        (healthy(), vec!["", "web"]),
    ];
    for (story, subjects) in stories {
        for subject in subjects {
            check_plain(&format!("why {subject}"), &render::for_manager(&story.why(subject)));
        }
    }
    for signature in explain::signature::all() {
        check_plain(&signature.id, &signature.plain);
    }
}

fn check_plain(what: &str, text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(!words.is_empty(), "{what} says nothing");
    assert!(words.len() <= 80, "{what}: {} words", words.len());
    let lower = text.to_lowercase();
    for jargon in JARGON {
        let is_word = lower.match_indices(jargon).any(|(start, found)| {
            let before = lower[..start].chars().next_back();
            let after = lower[start + found.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        });
        assert!(!is_word, "{what} says `{jargon}`: {text}");
    }
    let sentences = text.matches(['.', '!', '?']).count().max(1);
    let syllables: usize = words.iter().map(|word| syllables(word)).sum();
    // Flesch and Kincaid's grade: years of school that reading it takes.
    let grade = 0.39 * words.len() as f64 / sentences as f64
        + 11.8 * syllables as f64 / words.len() as f64
        - 15.59;
    assert!(grade <= 9.0, "{what}: grade {grade:.1}: {text}");
}

fn syllables(word: &str) -> usize {
    let word: String = word.to_lowercase().chars().filter(char::is_ascii_alphabetic).collect();
    let word = word.strip_suffix('e').unwrap_or(&word);
    let mut count = 0;
    let mut in_vowels = false;
    for letter in word.chars() {
        let is_vowel = "aeiouy".contains(letter);
        count += usize::from(is_vowel && !in_vowels);
        in_vowels = is_vowel;
    }
    count.max(1)
}

#[test]
fn every_sentence_about_a_failure_rests_on_an_event() {
    for (story, subject) in [
        (failed_run(), "2"),
        (rolled_back(), "incident 1"),
        (rolled_back(), "deployment 2"),
        (held(), "commit 9f2c1e4"),
    ] {
        let told = story.why(subject);
        for line in told.evidence.iter().chain(&told.done).chain(&told.for_manager) {
            assert!(!line.events.is_empty(), "{subject}: {}", line.text);
        }
    }
}

#[test]
fn what_is_most_urgent_comes_first() {
    assert_eq!(Subject::most_urgent(&failed_run().view), Subject::Run(RunId(2)));
    assert_eq!(Subject::most_urgent(&rolled_back().view), Subject::Deployment(DeploymentId(2)));
    assert_eq!(Subject::most_urgent(&healthy().view), Subject::Everything);
}

#[test]
fn people_name_things_in_many_ways() {
    let story = failed_run();
    let find = |text: &str| Subject::find(text, &story.view);
    assert_eq!(find("2"), Some(Subject::Run(RunId(2))));
    assert_eq!(find("#2"), Some(Subject::Run(RunId(2))));
    assert_eq!(find("run-2"), Some(Subject::Run(RunId(2))));
    assert_eq!(find("/runs/2"), Some(Subject::Run(RunId(2))));
    assert_eq!(find("2/test/1"), Some(Subject::Step(RunId(2), JobKey::from("test"), 1)));
    assert_eq!(find("publish"), Some(Subject::Job(RunId(2), JobKey::from("publish"))));
    assert_eq!(find("9f2c1e"), Some(Subject::Commit("9f2c1e4bbb".into())));
    assert_eq!(find("99"), None);
    assert_eq!(find("2/test/9"), None);
}
