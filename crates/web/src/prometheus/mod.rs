//! The HTTP API of Prometheus over a store of series.
//!
//! What speaks to a Prometheus (Grafana, `promtool query`, dashboards, a Prometheus that writes to
//! another one) speaks to this without a change.
//!
//! | module | is |
//! |---|---|
//! | `ask` | what was asked, from a form or an address |
//! | `answer` | what is said, in the shapes and error types of Prometheus |
//! | [`write`](mod@write) | samples on their way in by remote write |
//! | [`protobuf`] | the messages of remote write |

mod answer;
mod ask;
pub mod protobuf;
pub mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use promql::expr::Node;
use promql::{Expr, Kind, Limits, Question};
use serde_json::{Value, json};
use series::{Labels, METRIC_NAME, Matcher, Millis, Store, is_stale};

pub use self::ask::duration_text;

use self::answer::{ApiError, ErrorType, success};
use self::ask::Asked;

/// The most bytes of one write, packed.
pub const MOST_BYTES: usize = 32 << 20;

/// The most times of one range, both ends included.
const STEPS: i64 = 11_001;

/// What is known about a metric besides its samples.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Metadata {
    /// `counter`, `gauge`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub help: String,
    /// What it counts.
    pub unit: String,
}

/// Gives what is watched besides the series: rules, alerts and targets, as Prometheus shows them.
pub trait Watched: Send + Sync {
    /// Returns the groups of rules, each as one of `data.groups` of `/api/v1/rules`.
    fn rule_groups(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Returns the alerts that are pending or firing.
    fn alerts(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Returns what is scraped.
    fn targets(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// Nothing is watched: there are only series.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnlySeries;

impl Watched for OnlySeries {}

/// What the API answers from; cheap to clone.
#[derive(Clone)]
pub struct Prometheus {
    store: Arc<Store>,
    watched: Arc<dyn Watched>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    started: Timestamp,
    metadata: Arc<Mutex<BTreeMap<String, BTreeSet<Metadata>>>>,
    /// Labels of the series that were written lately, by their bytes.
    known: Arc<Mutex<HashMap<Box<[u8]>, Labels>>>,
}

impl Prometheus {
    /// Returns the API over a store.
    pub fn new(
        store: Arc<Store>,
        watched: Arc<dyn Watched>,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let started = clock();
        let (metadata, known) = (Arc::default(), Arc::default());
        Self { store, watched, clock, started, metadata, known }
    }

    fn now(&self) -> Millis {
        (self.clock)().as_millisecond()
    }

    fn metadata(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<Metadata>>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the routes that only read.
    pub fn reading<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let asked = |method: fn(&Prometheus, &Asked) -> Result<String, ApiError>| {
            let with_query = move |State(own): State<Prometheus>, RawQuery(query): RawQuery| {
                respond(own, method, query.unwrap_or_default(), Bytes::new())
            };
            let with_form =
                move |State(own): State<Prometheus>, RawQuery(query): RawQuery, body: Bytes| {
                    respond(own, method, query.unwrap_or_default(), body)
                };
            get(with_query).post(with_form)
        };
        Router::new()
            .route("/api/v1/query", asked(query))
            .route("/api/v1/query_range", asked(query_range))
            .route("/api/v1/query_exemplars", asked(|_, _| Ok(success(&json!([])))))
            .route("/api/v1/format_query", asked(format_query))
            .route("/api/v1/series", asked(series_found))
            .route("/api/v1/labels", asked(label_names))
            .route("/api/v1/label/{name}/values", get(label_values))
            .route("/api/v1/metadata", asked(metadata))
            .route("/api/v1/rules", asked(rules))
            .route("/api/v1/alerts", asked(alerts))
            .route("/api/v1/targets", asked(targets))
            .route("/api/v1/targets/metadata", asked(|_, _| Ok(success(&json!([])))))
            .route("/api/v1/alertmanagers", asked(alertmanagers))
            .route("/api/v1/status/buildinfo", asked(build))
            .route("/api/v1/status/config", asked(|_, _| Ok(success(&json!({"yaml": ""})))))
            .route("/api/v1/status/flags", asked(|_, _| Ok(success(&json!({})))))
            .route("/api/v1/status/runtimeinfo", asked(runtime))
            .route("/api/v1/status/tsdb", asked(tsdb))
            .route("/api/v1/status/walreplay", asked(replay))
            .route("/federate", get(federate))
            .with_state(self)
    }

    /// Returns all routes: those that read, those that write, and what a probe asks.
    pub fn router(self) -> Router {
        let ready = || async { "Marline is ready.\n" };
        let writing = Router::new()
            .route("/api/v1/write", post(write::receive))
            .layer(axum::extract::DefaultBodyLimit::max(MOST_BYTES))
            .route("/metrics", get(own_metrics))
            .route("/-/healthy", get(ready))
            .route("/-/ready", get(ready))
            .with_state(self.clone());
        self.reading().merge(writing)
    }
}

/// Answers where it may take its time.
async fn respond(
    own: Prometheus,
    method: fn(&Prometheus, &Asked) -> Result<String, ApiError>,
    query: String,
    body: Bytes,
) -> Response {
    let answer = tokio::task::spawn_blocking(move || {
        let form = std::str::from_utf8(&body).map_err(|_| {
            ApiError::bad("error parsing form values: the body is not text".to_owned())
        })?;
        method(&own, &Asked::new(&[&query, form]))
    });
    answer::respond(answer.await)
}

// ── questions ────────────────────────────────────────────────────────────────────────────────

fn query(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let at = asked.time("time")?.unwrap_or_else(|| own.now());
    let expr = asked.expr("query")?;
    let answer = question(own, asked, &expr)?.at(at)?;
    Ok(answer::answer(&answer, at, asked.limit()?, asked.text("query").unwrap_or_default()))
}

fn query_range(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let (start, end) = (asked.needed_time("start")?, asked.needed_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = asked.needed_duration("step")?;
    if step <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end - start) / step > STEPS - 1 {
        return Err(ApiError::bad(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)"
                .to_owned(),
        ));
    }
    let expr = asked.expr("query")?;
    if !matches!(expr.kind(), Kind::Scalar | Kind::Vector) {
        let reason = format!(
            "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
            answer::kind(expr.kind())
        );
        return Err(ApiError::parameter("query", &reason));
    }
    let answer = question(own, asked, &expr)?.over(start, end, step)?;
    Ok(answer::answer(&answer, end, asked.limit()?, asked.text("query").unwrap_or_default()))
}

/// Returns a question with the limits that were asked for, where they are lower than ours.
fn question<'a>(
    own: &'a Prometheus,
    asked: &Asked,
    expr: &'a Expr,
) -> Result<Question<'a>, ApiError> {
    let mut limits = Limits { steps: STEPS, ..Limits::default() };
    if let Some(timeout) = asked.duration("timeout")? {
        limits.time = limits.time.min(Duration::from_millis(timeout.max(1).unsigned_abs()));
    }
    let question = Question::new(&*own.store, expr).limits(limits);
    Ok(match asked.duration("lookback_delta")? {
        Some(look_back) if look_back > 0 => question.look_back(look_back),
        _ => question,
    })
}

/// Checks a question and writes it as it is usually written.
fn format_query(_: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    Ok(success(&json!(asked.expr("query")?.to_string())))
}

/// Reads the `match[]` parameters, each a selector.
fn selectors(asked: &Asked) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let mut all = Vec::new();
    for text in asked.all("match[]") {
        let expr = promql::parse(text).map_err(|error| ApiError::parse("match[]", text, &error))?;
        let Node::Selector(selector) = &expr.bare().node else {
            return Err(ApiError::parameter("match[]", "this is no selector of series"));
        };
        if selector.matchers.iter().all(|matcher| matcher.matches("")) {
            let reason = "match[] must contain at least one non-empty matcher";
            return Err(ApiError::parameter("match[]", reason));
        }
        all.push(selector.matchers.clone());
    }
    Ok(all)
}

/// Returns the labels of the series that were asked for; of all when no selector was given.
fn labels_asked(own: &Prometheus, asked: &Asked) -> Result<BTreeSet<Labels>, ApiError> {
    let from = asked.time("start")?.unwrap_or(Millis::MIN);
    let to = asked.time("end")?.unwrap_or(Millis::MAX);
    if to < from {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let mut selectors = selectors(asked)?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let mut found = BTreeSet::new();
    for matchers in &selectors {
        found.extend(own.store.labels(matchers, from, to)?);
    }
    Ok(found)
}

fn series_found(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    if asked.all("match[]").next().is_none() {
        return Err(ApiError::bad("no match[] parameter provided".to_owned()));
    }
    answer::limited(labels_asked(own, asked)?, asked.limit()?)
}

fn label_names(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let found = labels_asked(own, asked)?;
    let names: BTreeSet<&str> =
        found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    answer::limited(names, asked.limit()?)
}

async fn label_values(
    State(own): State<Prometheus>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = tokio::task::spawn_blocking(move || {
        let asked = Asked::new(&[query.as_deref().unwrap_or_default()]);
        let name = ask::unescaped(&name);
        if name.is_empty() {
            return Err(ApiError::bad("invalid label name: \"\"".to_owned()));
        }
        let found = labels_asked(&own, &asked)?;
        let values: BTreeSet<&str> = found
            .iter()
            .map(|labels| labels.get(&name))
            .filter(|value| !value.is_empty())
            .collect();
        answer::limited(values, asked.limit()?)
    });
    answer::respond(answer.await)
}

fn metadata(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let wanted = asked.text("metric").filter(|metric| !metric.is_empty());
    let limit = asked.limit()?.unwrap_or(usize::MAX);
    let per_metric = asked.number("limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
    let known = own.metadata();
    let found: BTreeMap<&String, Vec<&Metadata>> = known
        .iter()
        .filter(|(metric, _)| wanted.is_none_or(|wanted| wanted == metric.as_str()))
        .take(limit)
        .map(|(metric, all)| (metric, all.iter().take(per_metric).collect()))
        .collect();
    Ok(success(&json!(found)))
}

// ── what is watched ──────────────────────────────────────────────────────────────────────────

fn rules(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let kind = match asked.text("type").map(str::to_lowercase).as_deref() {
        None | Some("") => None,
        Some("alert") => Some("alerting"),
        Some("record") => Some("recording"),
        Some(other) => {
            return Err(ApiError::parameter("type", &format!("not supported value \"{other}\"")));
        }
    };
    let mut groups = own.watched.rule_groups();
    for group in &mut groups {
        if let Some(rules) = group.get_mut("rules").and_then(Value::as_array_mut) {
            rules.retain(|rule| kind.is_none_or(|kind| rule["type"] == kind));
        }
    }
    groups.retain(|group| group["rules"].as_array().is_none_or(|rules| !rules.is_empty()));
    Ok(success(&json!({"groups": groups})))
}

fn alerts(own: &Prometheus, _: &Asked) -> Result<String, ApiError> {
    Ok(success(&json!({"alerts": own.watched.alerts()})))
}

fn targets(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let active = match asked.text("state") {
        Some("dropped") => Vec::new(),
        _ => own.watched.targets(),
    };
    Ok(success(&json!({
        "activeTargets": active,
        "droppedTargets": [],
        "droppedTargetCounts": {},
    })))
}

fn alertmanagers(_: &Prometheus, _: &Asked) -> Result<String, ApiError> {
    Ok(success(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []})))
}

// ── how it stands ────────────────────────────────────────────────────────────────────────────

fn build(_: &Prometheus, _: &Asked) -> Result<String, ApiError> {
    Ok(success(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "marline",
    })))
}

fn runtime(own: &Prometheus, _: &Asked) -> Result<String, ApiError> {
    let layout = own.store.disk().map(series::disk::Disk::layout);
    Ok(success(&json!({
        "startTime": own.started.to_string(),
        "CWD": "",
        "reloadConfigSuccess": true,
        "lastConfigTime": own.started.to_string(),
        "corruptionCount": layout.map_or(0, |layout| layout.damaged_chunks),
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": "",
    })))
}

fn tsdb(own: &Prometheus, asked: &Asked) -> Result<String, ApiError> {
    let most = asked.limit()?.unwrap_or(10);
    let stats = own.store.stats();
    let since = stats.newest.map_or(Millis::MIN, |newest| newest - 3 * 3_600_000);
    let labels = own.store.labels(&[], since, Millis::MAX)?;
    let mut by_metric: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_pair: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (name, value) in labels.iter().flat_map(Labels::iter) {
        *by_pair.entry((name, value)).or_default() += 1;
    }
    for labels in &labels {
        *by_metric.entry(labels.get(METRIC_NAME)).or_default() += 1;
    }
    let mut by_name: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, value) in by_pair.keys() {
        let (values, bytes) = by_name.entry(name).or_default();
        *values += 1;
        *bytes += value.len() as u64;
    }
    let top = |counts: Vec<(String, u64)>| -> Value {
        let mut counts = counts;
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(most);
        counts.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    let of_pairs = by_pair.iter().map(|((n, v), count)| (format!("{n}={v}"), *count)).collect();
    Ok(success(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": by_pair.len(),
            "chunkCount": own.store.disk().map_or(0, |disk| disk.layout().head_series),
            "minTime": stats.oldest.unwrap_or(0),
            "maxTime": stats.newest.unwrap_or(0),
        },
        "seriesCountByMetricName": top(by_metric.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect()),
        "labelValueCountByLabelName": top(by_name.iter().map(|(n, (c, _))| ((*n).to_owned(), *c)).collect()),
        "memoryInBytesByLabelName": top(by_name.iter().map(|(n, (_, b))| ((*n).to_owned(), *b)).collect()),
        "seriesCountByLabelValuePair": top(of_pairs),
    })))
}

fn replay(_: &Prometheus, _: &Asked) -> Result<String, ApiError> {
    // The log is read before anybody can ask.
    Ok(success(&json!({"min": 0, "max": 0, "current": 0})))
}

/// Gives the newest sample of each series that fits, in the text format.
async fn federate(State(own): State<Prometheus>, RawQuery(query): RawQuery) -> Response {
    let answer = tokio::task::spawn_blocking(move || {
        let asked = Asked::new(&[query.as_deref().unwrap_or_default()]);
        let now = own.now();
        let mut newest = BTreeMap::new();
        for matchers in selectors(&asked)? {
            for series in own.store.select(&matchers, now - 300_000, now)? {
                if let Some(last) = series.samples.last().filter(|last| !is_stale(last.value)) {
                    newest.insert(series.labels, *last);
                }
            }
        }
        Ok::<_, ApiError>(answer::exposition(&newest))
    });
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    match answer.await {
        Ok(Ok(text)) => (headers, text).into_response(),
        Ok(Err(error)) => (error.status(), error.message).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Gives numbers about the store itself, in the text format.
async fn own_metrics(State(own): State<Prometheus>) -> Response {
    let stats = own.store.stats();
    let mut numbers = vec![
        ("marline_series_held", "gauge", stats.series as f64),
        ("marline_samples_held", "gauge", stats.samples as f64),
        ("marline_samples_appended_total", "counter", stats.appended as f64),
        ("marline_samples_out_of_order_total", "counter", stats.out_of_order as f64),
        ("marline_samples_refused_total", "counter", stats.refused as f64),
    ];
    if let Some(layout) = own.store.disk().map(series::disk::Disk::layout) {
        numbers.extend([
            ("marline_blocks", "gauge", layout.blocks as f64),
            ("marline_block_bytes", "gauge", layout.block_bytes as f64),
            ("marline_log_bytes", "gauge", layout.log_bytes as f64),
            ("marline_chunks_damaged_total", "counter", layout.damaged_chunks as f64),
        ]);
    }
    let lines: Vec<String> = numbers
        .iter()
        .map(|(name, kind, value)| format!("# TYPE {name} {kind}\n{name} {value}\n"))
        .collect();
    let text = lines.concat();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Returns the value of a header as text.
pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl From<series::SelectError> for ApiError {
    fn from(error: series::SelectError) -> Self {
        ApiError { kind: ErrorType::Execution, message: format!("could not {error}") }
    }
}

impl From<promql::EvalError> for ApiError {
    fn from(error: promql::EvalError) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(own) = cause {
            message = format!("{message}: {own}");
            cause = own.source();
        }
        let kind = match error {
            promql::EvalError::TooLong { .. } => ErrorType::Timeout,
            promql::EvalError::Cancelled => ErrorType::Canceled,
            _ => ErrorType::Execution,
        };
        ApiError { kind, message }
    }
}
