//! Which path is which page, and what every request must pass first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Form, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use explain::Audience;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use journal::{
    CommitId, Conclusion, DeploymentId, EventId, Fact, IncidentId, InstanceId, JobKey, RunId,
    ServiceName,
};
use serde::Deserialize;

use crate::entrance::{Entrance, TcpEntrance, is_same};
use crate::log::{self, LogWriter};
use crate::page::run::{LogView, Opened};
use crate::page::{self, Frame, LOG_GOES_HERE, Missing, Page, Theme, Visitor};
use crate::state::{Refusal, WebState};
use crate::{api, asset, live, wish};

/// The name of the cookie that holds the session.
const SESSION_COOKIE: &str = "marline_session";

/// The name of the cookie that holds the colours.
const THEME_COOKIE: &str = "marline_theme";

/// What a page may load and do: nothing but what we serve ourselves.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How much of a log is read at a time.
const LOG_PIECE: usize = 256 << 10;

/// How much of a finished log is searched.
const LOG_SEARCHED: usize = 64 << 20;

/// How much of the output of an instance is shown, from its end.
const TAIL: usize = 256 << 10;

/// How often a running log is looked at.
const LOG_POLL: Duration = Duration::from_millis(150);

/// How long an answer waits for the view to have seen an event.
const VIEW_WAIT: Duration = Duration::from_secs(2);

/// Returns the service that shows pages and answers programs.
///
/// The binary serves one on the unix socket and one on TCP, both over the same state.
pub fn router(state: WebState, entrance: Entrance) -> Router {
    router_with(state, entrance, Router::new())
}

/// Returns the same with further routes, open to the same people.
pub fn router_with(state: WebState, entrance: Entrance, more: Router<WebState>) -> Router {
    let guard = middleware::from_fn_with_state((state.clone(), entrance.clone()), guard);
    Router::new()
        .route("/", get(overview))
        .route("/runs", get(runs))
        .route("/runs/{run}", get(run))
        .route("/runs/{run}/{job}", get(job))
        .route("/runs/{run}/{job}/{step}", get(step))
        .route("/runs/{run}/{job}/{step}/raw", get(step_raw))
        .route("/deployments", get(deployments))
        .route("/deployments/{deployment}", get(deployment))
        .route("/services/{service}", get(service))
        .route("/instances/{instance}", get(instance))
        .route("/instances/{instance}/raw", get(instance_raw))
        .route("/incidents", get(incidents))
        .route("/incidents/{incident}", get(incident))
        .route("/commits/{commit}", get(commit))
        .route("/timeline", get(timeline))
        .route("/timeline/{event}", get(event))
        .route("/events", get(live::events))
        .route("/do/{action}", post(act))
        .route("/theme", post(theme))
        .route("/logout", post(sign_out))
        .route("/api/status", get(api::status))
        .route("/api/events", get(api::events))
        .route("/api/why", get(api::why))
        .route("/api/requests", post(api::request))
        .merge(more)
        .fallback(not_found)
        .layer(guard)
        // What stands below is open to those who are not signed in.
        .route("/asset/{name}", get(asset::serve))
        .route("/login", get(sign_in))
        .layer(Extension(entrance))
        .layer(middleware::map_response(harden))
        .with_state(state)
}

// ── what every request must pass ─────────────────────────────────────────────────────────────

/// Lets in who may come in, and turns away what another site sends.
async fn guard(
    State((state, entrance)): State<(WebState, Entrance)>,
    mut request: Request,
    next: Next,
) -> Response {
    let theme = cookie(request.headers(), THEME_COOKIE).map_or(Theme::System, Theme::of_name);
    let visitor = match &entrance {
        Entrance::Socket(actor) => {
            Visitor { actor: actor.clone(), form_token: String::new(), has_session: false, theme }
        }
        Entrance::Tcp(tcp) => {
            if let Err(refused) = check_origin(tcp, &request, &state, theme) {
                return *refused;
            }
            let session = cookie(request.headers(), SESSION_COOKIE)
                .and_then(|cookie| tcp.sessions.find(cookie, state.now()));
            match session {
                Some(session) => Visitor {
                    actor: session.actor,
                    form_token: session.form_token,
                    has_session: true,
                    theme,
                },
                None => return signed_out(&state, theme, request.uri()),
            }
        }
    };
    if let Some(after) = header_number(request.headers(), "marline-after") {
        view_has_seen(&state, EventId(after)).await;
    }
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

/// Checks that the request means this machine, and that what changes something comes from our pages.
fn check_origin(
    tcp: &TcpEntrance,
    request: &Request,
    state: &WebState,
    theme: Theme,
) -> Result<(), Box<Response>> {
    let refuse = |title: &str, text: &str| {
        Box::new(error_page(state, theme, StatusCode::FORBIDDEN, title, text, None))
    };
    let host =
        request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !tcp.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Err(refuse(
            "This is not the address of this page",
            "Open it by the address that `marline ui` prints. Another name that points here is not served.",
        ));
    }
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let site = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if !is_reading && !matches!(site, None | Some("same-origin")) {
        return Err(refuse(
            "Another site sent this",
            "Nothing was done. Use the buttons on these pages.",
        ));
    }
    Ok(())
}

/// Adds what every answer carries.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let add = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in add {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Waits until the view has seen an event, so that an answer shows what was just done.
async fn view_has_seen(state: &WebState, event: EventId) {
    let wait = async {
        while state.view().newest < Some(event) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // A view that is stuck is shown as it is rather than not at all.
    let _ = tokio::time::timeout(VIEW_WAIT, wait).await;
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn header_number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

// ── coming and going ─────────────────────────────────────────────────────────────────────────

#[derive(Debug, Deserialize)]
struct Login {
    #[serde(default)]
    t: String,
}

async fn sign_in(
    State(state): State<WebState>,
    Extension(entrance): Extension<Entrance>,
    Query(login): Query<Login>,
    request: Request,
) -> Response {
    let Entrance::Tcp(tcp) = &entrance else {
        return redirect("/");
    };
    let theme = cookie(request.headers(), THEME_COOKIE).map_or(Theme::System, Theme::of_name);
    if let Err(refused) = check_origin(tcp, &request, &state, theme) {
        return *refused;
    }
    let Some((cookie_value, session)) = tcp.sessions.sign_in(&login.t, state.now()) else {
        return error_page(
            &state,
            theme,
            StatusCode::UNAUTHORIZED,
            "This link does not work any more",
            "A login link works once and for ten minutes. Run `marline ui` for a new one.",
            None,
        );
    };
    let signed_in = Fact::SignedIn { address: "this machine".to_owned() };
    if let Err(error) = state.journal.append(session.actor, None, signed_in).await {
        tracing::error!(error = &error as &dyn std::error::Error, "could not note a sign-in");
        tcp.sessions.sign_out(&cookie_value);
        return journal_broken(&state, theme);
    }
    let cookie =
        format!("{SESSION_COOKIE}={cookie_value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800");
    with_cookie(redirect("/"), &cookie)
}

async fn sign_out(
    State(state): State<WebState>,
    Extension(entrance): Extension<Entrance>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    if !token_fits(&visitor, &fields) {
        return stale_form(&state, visitor.theme);
    }
    if let (Entrance::Tcp(tcp), Some(cookie)) = (&entrance, cookie(&headers, SESSION_COOKIE)) {
        tcp.sessions.sign_out(cookie);
    }
    with_cookie(
        redirect("/"),
        &format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"),
    )
}

async fn theme(
    State(state): State<WebState>,
    Extension(visitor): Extension<Visitor>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    if !token_fits(&visitor, &fields) {
        return stale_form(&state, visitor.theme);
    }
    let chosen = fields.get("theme").map_or("system", String::as_str);
    let name = Theme::ALL
        .iter()
        .find(|(_, known, _)| *known == chosen)
        .map_or("system", |(_, name, _)| name);
    // Only a path of ours: `//host` would lead elsewhere.
    let back = fields
        .get("back")
        .filter(|back| back.starts_with('/') && !back.starts_with("//") && !back.contains('\\'));
    let cookie = format!("{THEME_COOKIE}={name}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000");
    with_cookie(redirect(back.map_or("/", String::as_str)), &cookie)
}

/// Grants what a form asked for, then leads to the page that shows the answer.
async fn act(
    State(state): State<WebState>,
    Extension(visitor): Extension<Visitor>,
    Path(action): Path<String>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    if !token_fits(&visitor, &fields) {
        return stale_form(&state, visitor.theme);
    }
    let granted = match wish::of_form(&action, &fields) {
        Ok(fact) => grant(&state, &visitor, fact).await,
        Err(refusal) => Err(refusal),
    };
    match granted {
        Ok((_, page)) => redirect(&page),
        Err(Refusal { why, mend }) => {
            let text = format!("{why} {mend}");
            error_page(
                &state,
                visitor.theme,
                StatusCode::CONFLICT,
                "This was not done",
                &text,
                Some(("/", "Overview")),
            )
        }
    }
}

/// Checks a wish, hands it on, and waits until the view has seen it.
pub(crate) async fn grant(
    state: &WebState,
    visitor: &Visitor,
    fact: Fact,
) -> Result<(journal::Event, String), Refusal> {
    wish::check(&state.view(), &fact)?;
    let page = wish::page_of(&fact);
    let event = state.wishes.wish(visitor.actor.clone(), fact).await?;
    view_has_seen(state, event.id).await;
    Ok((event, page))
}

pub(crate) fn token_fits(visitor: &Visitor, fields: &BTreeMap<String, String>) -> bool {
    !visitor.has_session
        || fields.get("_token").is_some_and(|token| is_same(token, &visitor.form_token))
}

fn redirect(path: &str) -> Response {
    match HeaderValue::from_str(path) {
        Ok(path) => (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response(),
        Err(_) => (StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static("/"))])
            .into_response(),
    }
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

// ── errors in plain words ────────────────────────────────────────────────────────────────────

fn error_page(
    state: &WebState,
    theme: Theme,
    status: StatusCode,
    title: &str,
    text: &str,
    next: Option<(&str, &str)>,
) -> Response {
    let body = page::error::body(title, text, next);
    (status, Html(page::bare(title, &state.repository, theme, &body).0)).into_response()
}

fn signed_out(state: &WebState, theme: Theme, uri: &Uri) -> Response {
    if uri.path().starts_with("/api/") || uri.path() == "/events" {
        return (StatusCode::UNAUTHORIZED, "Sign in first: `marline ui` prints a link.\n")
            .into_response();
    }
    let text = "Run `marline ui` in the repository: it prints a link that signs you in once.";
    error_page(state, theme, StatusCode::UNAUTHORIZED, "You are not signed in", text, None)
}

fn stale_form(state: &WebState, theme: Theme) -> Response {
    let text =
        "Nothing was done: the form is from another session. Load the page again and repeat it.";
    error_page(
        state,
        theme,
        StatusCode::FORBIDDEN,
        "This form is too old",
        text,
        Some(("/", "Overview")),
    )
}

fn journal_broken(state: &WebState, theme: Theme) -> Response {
    let text = "The journal could not be used. Services go on running. Look at the disk of this machine; `marline doctor` says more.";
    error_page(
        state,
        theme,
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something is wrong on our side",
        text,
        None,
    )
}

fn missing(state: &WebState, theme: Theme, missing: &Missing) -> Response {
    match missing {
        Missing::Nothing(what) => {
            let text = format!(
                "There is no {what}. It may have been in another repository, or its number is mistyped."
            );
            error_page(
                state,
                theme,
                StatusCode::NOT_FOUND,
                "Not here",
                &text,
                Some(("/", "Overview")),
            )
        }
        Missing::Journal(error) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "could not read the journal for a page"
            );
            journal_broken(state, theme)
        }
    }
}

async fn not_found(
    State(state): State<WebState>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    missing(&state, visitor.theme, &Missing::Nothing("such page".to_owned()))
}

// ── pages ────────────────────────────────────────────────────────────────────────────────────

/// What came with a request for a page.
#[derive(Clone)]
struct Asked {
    state: WebState,
    visitor: Visitor,
    path: String,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Asked
where
    WebState: axum::extract::FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &S,
    ) -> Result<Self, Infallible> {
        let visitor = parts.extensions.get::<Visitor>().cloned();
        Ok(Self {
            state: axum::extract::FromRef::from_ref(state),
            visitor: visitor.expect("the guard stands before every page"),
            path: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

impl Asked {
    /// Makes a page away from the threads that serve connections: it reads SQLite and files.
    async fn show(
        self,
        make: impl FnOnce(&Frame<'_>) -> Result<Page, Missing> + Send + 'static,
    ) -> Response {
        let theme = self.visitor.theme;
        let state = self.state.clone();
        let made = tokio::task::spawn_blocking(move || {
            let view = self.state.view();
            let frame = Frame {
                state: &self.state,
                view: &view,
                visitor: &self.visitor,
                now: self.state.now(),
                path: &self.path,
            };
            make(&frame).map(|page| page::document(&frame, &page))
        })
        .await;
        match made {
            Ok(Ok(document)) => Html(document.0).into_response(),
            Ok(Err(why)) => missing(&state, theme, &why),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a page could not be made"
                );
                journal_broken(&state, theme)
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Paging {
    before: Option<u64>,
    show: Option<String>,
}

async fn overview(asked: Asked) -> Response {
    asked.show(page::overview::page).await
}

async fn runs(asked: Asked, Query(paging): Query<Paging>) -> Response {
    asked.show(move |frame| Ok(page::runs::page(frame, paging.before))).await
}

async fn deployments(asked: Asked, Query(paging): Query<Paging>) -> Response {
    asked.show(move |frame| Ok(page::deployments::page(frame, paging.before))).await
}

async fn deployment(asked: Asked, Path(id): Path<String>) -> Response {
    asked
        .show(move |frame| {
            let found =
                id.parse().ok().and_then(|id| frame.view.deployments.get(&DeploymentId(id)));
            page::deployment::page(
                frame,
                found.ok_or_else(|| Missing::Nothing(format!("deployment {id}")))?,
            )
        })
        .await
}

async fn service(asked: Asked, Path(name): Path<String>) -> Response {
    asked
        .show(move |frame| {
            let name = ServiceName::from(name);
            let found = frame.view.services.get(&name);
            page::service::page(
                frame,
                &name,
                found.ok_or_else(|| Missing::Nothing(format!("service {name}")))?,
            )
        })
        .await
}

async fn incidents(asked: Asked) -> Response {
    asked.show(|frame| Ok(page::incidents::page(frame))).await
}

#[derive(Debug, Deserialize)]
struct For {
    r#for: Option<String>,
}

async fn incident(asked: Asked, Path(id): Path<String>, Query(audience): Query<For>) -> Response {
    let audience: Audience = audience.r#for.and_then(|name| name.parse().ok()).unwrap_or_default();
    asked
        .show(move |frame| {
            let found = id.parse().ok().and_then(|id| frame.view.incidents.get(&IncidentId(id)));
            page::incident::page(
                frame,
                found.ok_or_else(|| Missing::Nothing(format!("incident {id}")))?,
                audience,
            )
        })
        .await
}

async fn commit(asked: Asked, Path(id): Path<String>) -> Response {
    asked
        .show(move |frame| {
            let mut fitting = frame
                .view
                .commits
                .iter()
                .filter(|(known, _)| id.len() >= 4 && known.as_str().starts_with(&id));
            let found = match (
                frame.view.commits.get_key_value(&CommitId(id.clone())),
                fitting.next(),
                fitting.next(),
            ) {
                (Some(exact), _, _) | (None, Some(exact), None) => Some(exact),
                _ => None,
            };
            let (id, commit) = found.ok_or_else(|| Missing::Nothing(format!("commit {id}")))?;
            page::commit::page(frame, id, commit)
        })
        .await
}

async fn timeline(asked: Asked, Query(paging): Query<Paging>) -> Response {
    let who = page::timeline::Who::of_name(paging.show.as_deref().unwrap_or_default());
    asked.show(move |frame| page::timeline::page(frame, paging.before, who)).await
}

async fn event(asked: Asked, Path(id): Path<String>) -> Response {
    asked
        .show(move |frame| match id.parse() {
            Ok(id) => page::event::page(frame, EventId(id)),
            Err(_) => Err(Missing::Nothing(format!("event {id}"))),
        })
        .await
}

// ── pages with a log ─────────────────────────────────────────────────────────────────────────

#[derive(Debug, Default, Deserialize)]
struct Search {
    q: Option<String>,
}

async fn run(
    asked: Asked,
    Path(run): Path<String>,
    Query(search): Query<Search>,
    headers: HeaderMap,
) -> Response {
    run_page(asked, &run, None, None, search, &headers).await
}

async fn job(
    asked: Asked,
    Path((run, job)): Path<(String, String)>,
    Query(search): Query<Search>,
    headers: HeaderMap,
) -> Response {
    run_page(asked, &run, Some(job.into()), None, search, &headers).await
}

async fn step(
    asked: Asked,
    Path((run, job, step)): Path<(String, String, String)>,
    Query(search): Query<Search>,
    headers: HeaderMap,
) -> Response {
    let Ok(step) = step.parse() else {
        return missing(
            &asked.state,
            asked.visitor.theme,
            &Missing::Nothing(format!("step {step}")),
        );
    };
    run_page(asked, &run, Some(job.into()), Some(step), search, &headers).await
}

/// Makes the page of a run and streams the log of the open step into it.
async fn run_page(
    asked: Asked,
    run: &str,
    job: Option<JobKey>,
    step: Option<u32>,
    search: Search,
    headers: &HeaderMap,
) -> Response {
    let state = asked.state.clone();
    let theme = asked.visitor.theme;
    let nothing = || missing(&state, theme, &Missing::Nothing(format!("run {run}")));
    let Ok(id) = run.parse().map(RunId) else {
        return nothing();
    };
    let without_log = headers.contains_key("marline-part");
    let query = search.q.map(|query| query.trim().to_owned()).filter(|query| !query.is_empty());
    let made = tokio::task::spawn_blocking(move || {
        let opened = {
            let view = asked.state.view();
            let run = view.runs.get(&id)?;
            if job.as_ref().is_some_and(|job| !run.jobs.contains_key(job)) {
                return None;
            }
            page::run::open(run, job.as_ref(), step)
        };
        let is_over = opened.as_ref().is_none_or(|opened| step_is_over(&asked.state, opened));
        let log = match &opened {
            Some(_) if without_log => page::run::no_log(),
            Some(opened) => log_view(&asked.state, opened, query.clone(), is_over),
            None => page::run::no_log(),
        };
        let view = asked.state.view();
        let frame = Frame {
            state: &asked.state,
            view: &view,
            visitor: &asked.visitor,
            now: asked.state.now(),
            path: &asked.path,
        };
        let run = view.runs.get(&id)?;
        // A step has a page of its own, but what is explained on it is its job.
        let page = page::run::page(&frame, run, job.as_ref(), opened.as_ref(), &log);
        let document = page.map(|page| page::document(&frame, &page).0);
        Some((document, opened, log.is_there && log.found.is_none()))
    })
    .await;
    let (document, opened, has_log) = match made {
        Ok(Some(made)) => made,
        Ok(None) => return nothing(),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a run's page could not be made"
            );
            return journal_broken(&state, theme);
        }
    };
    let document = match document {
        Ok(document) => document,
        Err(why) => return missing(&state, theme, &why),
    };
    match opened {
        Some(opened) if has_log && !without_log => {
            let reader = state.clone();
            let of_step = opened.clone();
            let read = move |from| {
                reader.logs.step(of_step.run, &of_step.job, of_step.step, from, LOG_PIECE)
            };
            let is_over = move || step_is_over(&state, &opened);
            streamed(document, read, is_over)
        }
        _ => Html(document).into_response(),
    }
}

fn step_is_over(state: &WebState, opened: &Opened) -> bool {
    let view = state.view();
    let Some(run) = view.runs.get(&opened.run) else {
        return true;
    };
    let step = run.jobs.get(&opened.job).and_then(|job| job.steps.get(&opened.step));
    // A run that was interrupted leaves steps without an end.
    run.conclusion.is_some()
        || step
            .is_some_and(|step| step.conclusion.is_some_and(|end| end != Conclusion::Interrupted))
}

/// Reads what the log part needs to know before the log itself is streamed.
fn log_view(state: &WebState, opened: &Opened, query: Option<String>, is_over: bool) -> LogView {
    let read = |limit| state.logs.step(opened.run, &opened.job, opened.step, 0, limit);
    let path = explain::Subject::Step(opened.run, opened.job.clone(), opened.step).path();
    if let Some(query) = query {
        let log = read(LOG_SEARCHED).unwrap_or_default();
        let found = log::search(&log, &query, &path);
        return LogView {
            query: Some(query),
            found: Some(found),
            first_error: None,
            is_there: true,
        };
    }
    let head = read(LOG_SEARCHED);
    LogView {
        query: None,
        found: None,
        first_error: head.as_ref().ok().filter(|_| is_over).and_then(|log| log::first_error(log)),
        is_there: head.is_ok_and(|log| !is_over || !log.is_empty()),
    }
}

/// Sends a document whose log is put in as it comes; a finished one at once, a running one until
/// it is over.
fn streamed(
    document: String,
    read: impl Fn(u64) -> io::Result<Vec<u8>> + Send + Sync + Clone + 'static,
    is_over: impl Fn() -> bool + Send + Sync + 'static,
) -> Response {
    let (before, after) = match document.split_once(LOG_GOES_HERE) {
        Some((before, after)) => (before.to_owned(), after.to_owned()),
        None => return Html(document).into_response(),
    };
    struct Stream<R, O> {
        read: R,
        is_over: O,
        writer: LogWriter,
        from: u64,
        before: Option<String>,
        after: Option<String>,
    }
    let stream = Stream {
        read,
        is_over,
        writer: LogWriter::default(),
        from: 0,
        before: Some(before),
        after: Some(after),
    };
    let pieces = stream::unfold(stream, |mut stream| async move {
        if let Some(before) = stream.before.take() {
            return Some((before, stream));
        }
        stream.after.as_ref()?;
        loop {
            // Asked before reading: what is written after the answer is not missed.
            let was_over = (stream.is_over)();
            let (read, from) = (stream.read.clone(), stream.from);
            let piece = tokio::task::spawn_blocking(move || read(from)).await;
            match piece {
                Ok(Ok(bytes)) if !bytes.is_empty() => {
                    stream.from += bytes.len() as u64;
                    let html = stream.writer.push(&bytes);
                    return Some((html, stream));
                }
                Ok(Ok(_)) if !was_over => tokio::time::sleep(LOG_POLL).await,
                Ok(Err(error)) if !was_over && error.kind() == io::ErrorKind::NotFound => {
                    tokio::time::sleep(LOG_POLL).await;
                }
                _ => {
                    let rest = std::mem::take(&mut stream.writer).finish();
                    let after = stream.after.take().unwrap_or_default();
                    return Some((rest + &after, stream));
                }
            }
        }
    });
    let pieces =
        futures_util::StreamExt::map(pieces, |piece| Ok::<_, Infallible>(Bytes::from(piece)));
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (headers, Body::from_stream(pieces)).into_response()
}

#[derive(Debug, Default, Deserialize)]
struct RawFrom {
    #[serde(default)]
    from: u64,
    /// Whether to go on until it is over.
    #[serde(default)]
    follow: u8,
}

async fn step_raw(
    asked: Asked,
    Path((run, job, step)): Path<(String, String, String)>,
    Query(from): Query<RawFrom>,
) -> Response {
    let (Ok(run), Ok(step)) = (run.parse().map(RunId), step.parse()) else {
        return (StatusCode::NOT_FOUND, "There is no such step.\n").into_response();
    };
    let state = asked.state;
    let opened = Opened { run, job: job.into(), step };
    let reader = state.clone();
    let of_step = opened.clone();
    raw(
        move |from| reader.logs.step(of_step.run, &of_step.job, of_step.step, from, LOG_PIECE),
        move || from.follow == 0 || step_is_over(&state, &opened),
        from.from,
    )
    .await
}

async fn instance_raw(
    asked: Asked,
    Path(instance): Path<String>,
    Query(from): Query<RawFrom>,
) -> Response {
    let state = asked.state;
    let id = InstanceId::from(instance);
    let (reader, of) = (state.clone(), id.clone());
    raw(
        move |from| reader.logs.instance(&of, from, LOG_PIECE),
        move || from.follow == 0 || !runs_now(&state, &id),
        from.from,
    )
    .await
}

fn runs_now(state: &WebState, id: &InstanceId) -> bool {
    state.view().services.values().any(|service| service.instances.contains_key(id))
}

/// Sends a log as it is, from a byte on.
async fn raw(
    read: impl Fn(u64) -> io::Result<Vec<u8>> + Send + Sync + Clone + 'static,
    is_over: impl Fn() -> bool + Send + Sync + 'static,
    from: u64,
) -> Response {
    let (probe, at) = (read.clone(), from);
    if !matches!(tokio::task::spawn_blocking(move || probe(at)).await, Ok(Ok(_))) {
        return (StatusCode::NOT_FOUND, "There is no such log, or it is not kept any more.\n")
            .into_response();
    }
    let pieces = stream::unfold((read, is_over, from), |(read, is_over, from)| async move {
        loop {
            let was_over = is_over();
            let again = read.clone();
            match tokio::task::spawn_blocking(move || again(from)).await {
                Ok(Ok(bytes)) if !bytes.is_empty() => {
                    let next = from + bytes.len() as u64;
                    return Some((Ok::<_, Infallible>(Bytes::from(bytes)), (read, is_over, next)));
                }
                Ok(Ok(_)) if !was_over => tokio::time::sleep(LOG_POLL).await,
                _ => return None,
            }
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (headers, Body::from_stream(pieces)).into_response()
}

async fn instance(asked: Asked, Path(instance): Path<String>) -> Response {
    let id = InstanceId::from(instance);
    let state = asked.state.clone();
    let theme = asked.visitor.theme;
    let made = tokio::task::spawn_blocking(move || {
        let tail = tail_of(&asked.state, &id);
        let view = asked.state.view();
        let frame = Frame {
            state: &asked.state,
            view: &view,
            visitor: &asked.visitor,
            now: asked.state.now(),
            path: &asked.path,
        };
        let page = page::instance::page(&frame, &id, !tail.is_empty())?;
        let mut writer = LogWriter::default();
        let mut html = writer.push(&tail);
        html.push_str(&writer.finish());
        Ok(page::document(&frame, &page).0.replace(LOG_GOES_HERE, &html))
    })
    .await;
    match made {
        Ok(Ok(document)) => Html(document).into_response(),
        Ok(Err(why)) => missing(&state, theme, &why),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an instance's page could not be made"
            );
            journal_broken(&state, theme)
        }
    }
}

/// Returns the end of an instance's output, whole lines.
fn tail_of(state: &WebState, id: &InstanceId) -> Vec<u8> {
    let mut tail = Vec::new();
    let mut from = 0;
    while let Ok(bytes) = state.logs.instance(id, from, LOG_PIECE) {
        if bytes.is_empty() {
            break;
        }
        from += bytes.len() as u64;
        tail.extend_from_slice(&bytes);
        if tail.len() > TAIL * 2 {
            let cut = tail.len() - TAIL;
            let line =
                tail[cut..].iter().position(|byte| *byte == b'\n').map_or(cut, |end| cut + end + 1);
            tail.drain(..line);
        }
    }
    tail
}
