//! What users see: the proxy's tallies become numbers over time, and verdicts.
//!
//! The proxy says what changed within milliseconds of a bad answer; the judge of a deployment
//! hears of it at once, and a verdict of worse is on record before anything else is read.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deploy::proxy::{Histogram, ProxyClient, Tally, TallyReport};
use jiff::Timestamp;
use journal::{
    Actor, Affected, DeploymentId, EventId, Fact, InstanceId, Journal, JournalError, ReleaseId,
    ServiceName, Verdict,
};
use series::{Labels, Row};
use watch::incident::Impact;
use watch::verdict::{Arm, History, Judge, Settings};

/// How many seconds of a service's past are kept for the judge.
const PAST_SECONDS: usize = 3600;

/// How many failing paths are kept as evidence.
const PATHS: usize = 5;

/// Reads the proxy's tallies, keeps the numbers, and judges deployments.
pub struct Traffic {
    journal: Journal,
    store: Arc<series::Store>,
    inner: Mutex<Inner>,
}

/// Service, release and instance; requests that no instance could answer have only the first.
type Key = (ServiceName, Option<ReleaseId>, Option<InstanceId>);

#[derive(Debug, Default)]
struct Inner {
    /// The last tallies of this life of the proxy.
    last: HashMap<Key, Tally>,
    epoch: String,
    /// Sums over all lives of the proxy.
    totals: BTreeMap<Key, Totals>,
    /// Each service's past, a tally a second, oldest first.
    past: HashMap<ServiceName, VecDeque<watch::verdict::Tally>>,
    second: i64,
    /// Whose counters are in the series already.
    sampled: HashSet<Key>,
    judged: HashMap<DeploymentId, Judged>,
}

/// Counters that only grow.
#[derive(Debug, Default, Clone)]
struct Totals {
    requests: u64,
    failed: u64,
    classes: [u64; 5],
    latency: BTreeMap<u8, u64>,
}

/// A deployment under judgement.
#[derive(Debug)]
struct Judged {
    cause: EventId,
    service: ServiceName,
    from: ReleaseId,
    to: ReleaseId,
    step: u32,
    step_time: Duration,
    judge: Judge,
    /// The step for which an answer is on record already.
    recorded: Option<(u32, Verdict)>,
    paths: VecDeque<String>,
    first_bad: Option<Timestamp>,
    last_bad: Option<Timestamp>,
}

/// What to judge.
#[derive(Debug, Clone)]
pub struct Question {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The event that led to it.
    pub cause: EventId,
    /// The service.
    pub service: ServiceName,
    /// The old release.
    pub from: ReleaseId,
    /// The new release.
    pub to: ReleaseId,
    /// Which step, from 0.
    pub step: u32,
    /// Share of the new release, in basis points.
    pub share: u32,
    /// How long the step lasts at least.
    pub step_time: Duration,
}

impl Traffic {
    /// Returns a reader that has heard nothing yet.
    pub fn new(journal: Journal, store: Arc<series::Store>) -> Self {
        Self { journal, store, inner: Mutex::default() }
    }

    /// Reads tallies until the process ends; a proxy that is replaced is found again.
    pub async fn run(&self, proxy: ProxyClient) -> Result<(), JournalError> {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let Ok(mut tallies) = proxy.subscribe().await else {
                second.tick().await;
                continue;
            };
            loop {
                tokio::select! {
                    report = tallies.next() => match report {
                        Ok(Some(report)) => self.hear(report).await?,
                        Ok(None) | Err(_) => break,
                    },
                    _ = second.tick() => self.sample(self.journal.now()),
                }
            }
        }
    }

    /// Begins to judge a deployment, or its next step.
    pub fn judge(&self, question: Question) {
        let now = self.journal.now();
        let weight = f64::from(question.share) / 10_000.0;
        let mut inner = self.lock();
        if let Some(judged) = inner.judged.get_mut(&question.deployment) {
            if judged.step != question.step {
                judged.step = question.step;
                judged.cause = question.cause;
                judged.judge.shift(weight, now);
            }
            return;
        }
        let history =
            History::of_seconds(inner.past.get(&question.service).into_iter().flatten().copied());
        // Latency does not condemn: measured under load, its test took good releases back.
        let settings = Settings { slow_over: None, ..Settings::default() };
        inner.judged.insert(
            question.deployment,
            Judged {
                cause: question.cause,
                service: question.service,
                from: question.from,
                to: question.to,
                step: question.step,
                step_time: question.step_time,
                judge: Judge::new(settings, history, weight, now),
                recorded: None,
                paths: VecDeque::new(),
                first_bad: None,
                last_bad: None,
            },
        );
    }

    /// Puts on record what can be said of the present step now that its time is over.
    pub async fn record(
        &self,
        deployment: DeploymentId,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let fact = self.lock().judged.get_mut(&deployment).and_then(|judged| {
            let (verdict, evidence) = judged.answer(now);
            judged.note(deployment, verdict, evidence)
        });
        self.append(fact).await
    }

    /// Ends the judgement of a deployment.
    pub fn forget(&self, deployment: DeploymentId) {
        self.lock().judged.remove(&deployment);
    }

    /// Returns who was affected by the new release of a deployment so far.
    pub fn affected(&self, deployment: DeploymentId) -> Affected {
        let inner = self.lock();
        let Some(judged) = inner.judged.get(&deployment) else { return Affected::default() };
        let tally = judged.judge.tally(Arm::Canary);
        let milliseconds = match (judged.first_bad, judged.last_bad) {
            (Some(first), Some(last)) => last.duration_since(first).as_millis().max(0) as u64,
            _ => 0,
        };
        Affected { requests: tally.requests, failed: tally.failed, milliseconds }
    }

    /// Returns when the new release of a deployment failed a request for the first time.
    pub fn first_bad(&self, deployment: DeploymentId) -> Option<Timestamp> {
        self.lock().judged.get(&deployment)?.first_bad
    }

    /// Returns who was affected by what happens to a service since a time, at most an hour ago.
    pub fn affected_since(&self, service: &ServiceName, since: Timestamp) -> Affected {
        let inner = self.lock();
        let mut impact = Impact::default();
        let Some(past) = inner.past.get(service) else { return impact.affected() };
        let asked = usize::try_from(inner.second - since.as_second() + 1).unwrap_or(0);
        let seconds = asked.min(past.len());
        let first = inner.second + 1 - seconds as i64;
        for (tally, second) in past.iter().skip(past.len() - seconds).zip(first..) {
            let at = Timestamp::from_second(second).unwrap_or(since);
            impact.observe_many(tally.requests, tally.failed, at);
        }
        impact.affected()
    }

    /// Returns requests and failures of a service in the last `seconds`.
    pub fn recent(&self, service: &ServiceName, seconds: usize) -> (u64, u64) {
        let inner = self.lock();
        let past = inner.past.get(service).into_iter().flatten().rev().take(seconds);
        past.fold((0, 0), |(requests, failed), tally| {
            (requests + tally.requests, failed + tally.failed)
        })
    }

    async fn hear(&self, report: TallyReport) -> Result<(), JournalError> {
        // The proxy's clock may have jumped; what is judged by time goes by one clock.
        let now = self.journal.now();
        let facts = self.lock().hear(report, now);
        for fact in facts {
            self.append(Some(fact)).await?;
        }
        Ok(())
    }

    async fn append(&self, fact: Option<(EventId, Fact)>) -> Result<(), JournalError> {
        if let Some((cause, fact)) = fact {
            self.journal.append(Actor::Conductor, Some(cause), fact).await?;
        }
        Ok(())
    }

    /// Writes the counters as they stand into the series.
    fn sample(&self, now: Timestamp) {
        let rows: Vec<Row> = {
            let mut inner = self.lock();
            inner.end_seconds(now.as_second());
            let Inner { totals, sampled, .. } = &mut *inner;
            let mut rows = Vec::new();
            for (key, totals) in &*totals {
                // A counter that begins above zero would hide its first requests from `rate`.
                if sampled.insert(key.clone()) {
                    let before = now - jiff::SignedDuration::from_secs(1);
                    rows.extend(rows_of(key, &Totals::default(), before));
                }
                rows.extend(rows_of(key, totals, now));
            }
            rows
        };
        if let Err(error) = self.store.append(rows) {
            tracing::warn!(%error, "could not keep the numbers of this second");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Adds a report and returns the verdicts that it leads to.
    fn hear(&mut self, report: TallyReport, now: Timestamp) -> Vec<(EventId, Fact)> {
        if report.epoch != self.epoch {
            self.last.clear();
            self.epoch.clone_from(&report.epoch);
        }
        self.end_seconds(now.as_second());
        let mut touched: Vec<DeploymentId> = Vec::new();
        for tally in report.tallies {
            let key = (tally.service.clone(), tally.release.clone(), tally.instance.clone());
            let before = self.last.insert(key.clone(), tally.clone());
            let change = Change::between(before.as_ref(), &tally);
            self.totals.entry(key).or_default().add(&change);
            // What the accused does is not the service's past: it would excuse itself by it.
            let is_judged = self.judged.values().any(|judged| {
                judged.service == tally.service && Some(&judged.to) == tally.release.as_ref()
            });
            let past = self.past.entry(tally.service.clone()).or_default();
            if past.is_empty() {
                past.push_back(watch::verdict::Tally::default());
            }
            if let Some(second) = past.back_mut().filter(|_| !is_judged) {
                second.requests += change.requests;
                second.failed += change.failed;
            }
            for (id, judged) in &mut self.judged {
                if judged.hear(&tally, &change, now) {
                    touched.push(*id);
                }
            }
        }
        let mut facts = Vec::new();
        for id in touched {
            let Some(judged) = self.judged.get_mut(&id) else { continue };
            let (verdict, evidence) = judged.answer(now);
            let step_is_over = judged.judge.step_for(now) >= judged.step_time;
            let counts =
                verdict == Verdict::Worse || (verdict == Verdict::NotWorse && step_is_over);
            if counts {
                facts.extend(judged.note(id, verdict, evidence));
            }
        }
        facts
    }

    /// Begins a new second for every service when the clock has moved on.
    fn end_seconds(&mut self, second: i64) {
        let passed = usize::try_from(second - self.second).unwrap_or(0).min(PAST_SECONDS);
        if self.second == 0 || second > self.second {
            self.second = second;
        }
        for past in self.past.values_mut() {
            past.extend(std::iter::repeat_n(watch::verdict::Tally::default(), passed));
            while past.len() > PAST_SECONDS {
                past.pop_front();
            }
        }
    }
}

impl Judged {
    /// Hears of requests; says whether they belong to this deployment.
    fn hear(&mut self, tally: &Tally, change: &Change, at: Timestamp) -> bool {
        if tally.service != self.service || change.requests == 0 {
            return false;
        }
        let arm = match &tally.release {
            Some(release) if *release == self.to => Arm::Canary,
            Some(release) if *release == self.from => Arm::Baseline,
            _ => return false,
        };
        if arm == Arm::Canary && change.failed > 0 {
            self.first_bad = self.first_bad.or(tally.first_bad);
            self.last_bad = tally.last_bad.or(self.last_bad);
            for failing in &tally.failing {
                let path = format!("{} {}", failing.method, failing.path);
                if !self.paths.contains(&path) {
                    self.paths.push_front(path);
                    self.paths.truncate(PATHS);
                }
            }
        }
        let counted = watch::verdict::Tally::new(change.requests, change.failed);
        self.judge.observe_tally(arm, counted, at);
        true
    }

    fn answer(&self, now: Timestamp) -> (Verdict, journal::Evidence) {
        let (verdict, mut evidence) = self.judge.recorded(now);
        evidence.paths = self.paths.iter().cloned().collect();
        evidence.after_ms = self
            .first_bad
            .map(|first| now.duration_since(first).as_millis().max(0) as u64)
            .or(evidence.after_ms);
        (verdict, evidence)
    }

    /// Returns the fact of an answer, unless the same one is on record for this step.
    fn note(
        &mut self,
        deployment: DeploymentId,
        verdict: Verdict,
        evidence: journal::Evidence,
    ) -> Option<(EventId, Fact)> {
        let is_known = match self.recorded {
            Some((_, Verdict::Worse)) => true,
            Some((step, known)) => step == self.step && known == verdict,
            None => false,
        };
        if is_known {
            return None;
        }
        self.recorded = Some((self.step, verdict));
        let fact = Fact::VerdictReached {
            deployment,
            service: self.service.clone(),
            step: self.step,
            verdict,
            evidence,
        };
        Some((self.cause, fact))
    }
}

/// What happened between two tallies of one instance.
#[derive(Debug, Default)]
struct Change {
    requests: u64,
    failed: u64,
    classes: [u64; 5],
    latency: Vec<(u8, u64)>,
}

impl Change {
    fn between(before: Option<&Tally>, after: &Tally) -> Self {
        let Some(before) = before else {
            return Self {
                requests: after.requests,
                failed: after.errors.total(),
                classes: after.classes,
                latency: after.latency.buckets.clone(),
            };
        };
        let known: HashMap<u8, u64> = before.latency.buckets.iter().copied().collect();
        let latency = after.latency.buckets.iter().filter_map(|(bucket, count)| {
            let more = count.saturating_sub(known.get(bucket).copied().unwrap_or(0));
            (more > 0).then_some((*bucket, more))
        });
        Self {
            requests: after.requests.saturating_sub(before.requests),
            failed: after.errors.total().saturating_sub(before.errors.total()),
            classes: std::array::from_fn(|i| after.classes[i].saturating_sub(before.classes[i])),
            latency: latency.collect(),
        }
    }
}

impl Totals {
    fn add(&mut self, change: &Change) {
        self.requests += change.requests;
        self.failed += change.failed;
        for (class, more) in self.classes.iter_mut().zip(change.classes) {
            *class += more;
        }
        for (bucket, more) in &change.latency {
            *self.latency.entry(*bucket).or_default() += more;
        }
    }
}

/// Upper bounds of the latency buckets that are kept over time, in seconds.
const LATENCY_BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, f64::INFINITY];

fn rows_of((service, release, instance): &Key, totals: &Totals, now: Timestamp) -> Vec<Row> {
    let name = |name: &str, more: &[(&str, &str)]| {
        let mut pairs = vec![("service", service.as_str())];
        pairs.extend(release.as_ref().map(|release| ("release", release.as_str())));
        pairs.extend(instance.as_ref().map(|instance| ("instance", instance.as_str())));
        pairs.extend_from_slice(more);
        Labels::metric(name, pairs)
    };
    let at = now.as_millisecond();
    let mut rows =
        vec![Row::new(name("marline_request_errors_total", &[]), at, totals.failed as f64)];
    for (class, count) in totals.classes.iter().enumerate() {
        let class = format!("{}xx", class + 1);
        rows.push(Row::new(
            name("marline_requests_total", &[("class", &class)]),
            at,
            *count as f64,
        ));
    }
    for bound in LATENCY_BOUNDS {
        let below: u64 = totals
            .latency
            .iter()
            .filter(|(bucket, _)| Histogram::upper_micros(**bucket) as f64 <= bound * 1e6)
            .map(|(_, count)| count)
            .sum();
        let le = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
        rows.push(Row::new(
            name("marline_request_duration_seconds_bucket", &[("le", &le)]),
            at,
            below as f64,
        ));
    }
    rows.push(Row::new(
        name("marline_request_duration_seconds_count", &[]),
        at,
        totals.requests as f64,
    ));
    rows
}
