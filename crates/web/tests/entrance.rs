//! Who may come in, what is refused, and what every answer carries.

use std::io;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use journal::{Actor, EventId, Fact, InstanceId, JobKey, Journal, RunId};
use tower::ServiceExt as _;
use web::{Entrance, Logs, Sessions, WebState};

struct NoLogs;

impl Logs for NoLogs {
    fn step(&self, _: RunId, _: &JobKey, _: u32, _: u64, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn instance(&self, _: &InstanceId, _: u64, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

struct World {
    _directory: tempfile::TempDir,
    journal: Journal,
    sessions: Sessions,
    state: WebState,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let journal = Journal::open(directory.path().join("journal.db")).expect("a new journal");
        for fact in [
            serde_json::json!({"release": "77ab01cd52e9", "commit": "abcdef0123", "runs": [], "services": ["web"], "files": 1, "bytes": 1}),
        ] {
            journal
                .append(Actor::Conductor, None, Fact::decode("ReleaseCut", 1, fact))
                .await
                .expect("an append");
        }
        let started = serde_json::json!({
            "deployment": 1, "service": "web", "to": "77ab01cd52e9", "strategy": "canary",
            "steps": [1000, 10000], "replicas": 2, "monitor_ms": 1000, "automatic": true,
        });
        journal
            .append(Actor::Conductor, None, Fact::decode("DeploymentStarted", 1, started))
            .await
            .expect("an append");
        let view = Arc::new(RwLock::new(journal.view().expect("a view")));
        let (following, folded) = (journal.clone(), view.clone());
        tokio::spawn(async move {
            let mut follower = following.follow(EventId(2));
            while let Ok(event) = follower.next().await {
                folded.write().expect("nobody panicked").apply(&event);
            }
        });
        let state = WebState {
            journal: journal.clone(),
            view,
            numbers: Arc::new(series::Store::new(series::Limits::default())),
            logs: Arc::new(NoLogs),
            wishes: Arc::new(journal.clone()),
            repository: "shop".into(),
            clock: Arc::new(jiff::Timestamp::now),
        };
        Self { _directory: directory, journal, sessions: Sessions::default(), state }
    }

    fn tcp(&self) -> Router {
        web::router(self.state.clone(), Entrance::loopback(self.sessions.clone(), 7777))
    }

    fn socket(&self) -> Router {
        web::router(self.state.clone(), Entrance::socket("ana"))
    }

    /// Signs in and returns the cookie and the token of the forms.
    async fn signed_in(&self) -> (String, String) {
        let link = self.sessions.make_link(Actor::Person("ana".into()), jiff::Timestamp::now());
        let answer = ask(self.tcp(), get(&format!("/login?t={link}"), "")).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("plain text").to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let page = text(ask(self.tcp(), get("/", &cookie)).await).await;
        let token =
            page.split("name=\"_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        (cookie, token.expect("the page has a form").to_owned())
    }
}

fn get(path: &str, cookie: &str) -> Request<Body> {
    request("GET", path, cookie, "")
}

fn post(path: &str, cookie: &str, form: &str) -> Request<Body> {
    request("POST", path, cookie, form)
}

fn request(method: &str, path: &str, cookie: &str, form: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:7777")
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .expect("a request")
}

async fn ask(router: Router, request: Request<Body>) -> Response<Body> {
    router.oneshot(request).await.expect("routers do not fail")
}

async fn text(answer: Response<Body>) -> String {
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("pages are text")
}

#[tokio::test]
async fn nobody_sees_a_page_without_a_session() {
    let world = World::new().await;
    for path in [
        "/",
        "/runs",
        "/deployments/1",
        "/timeline",
        "/api/status",
        "/api/events",
        "/events",
        "/runs/1/x/1/raw",
    ] {
        let answer = ask(world.tcp(), get(path, "marline_session=guessed")).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(!text(answer).await.contains("77ab01cd"), "{path}");
    }
}

#[tokio::test]
async fn a_login_link_works_once_and_is_noted() {
    let world = World::new().await;
    let link = world.sessions.make_link(Actor::Person("ana".into()), jiff::Timestamp::now());
    let path = format!("/login?t={link}");
    assert_eq!(ask(world.tcp(), get(&path, "")).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(ask(world.tcp(), get(&path, "")).await.status(), StatusCode::UNAUTHORIZED);
    let noted = world.journal.of_kind("SignedIn", 9).expect("events");
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].actor, Actor::Person("ana".into()));
}

#[tokio::test]
async fn another_name_that_points_here_is_not_served() {
    let world = World::new().await;
    let (cookie, _) = world.signed_in().await;
    let mut request = get("/", &cookie);
    request.headers_mut().insert(header::HOST, "evil.example:7777".parse().expect("a value"));
    assert_eq!(ask(world.tcp(), request).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_form_needs_the_token_of_its_session_and_must_come_from_our_pages() {
    let world = World::new().await;
    let (cookie, token) = world.signed_in().await;
    let forged = post("/do/abort", &cookie, "deployment=1&_token=forged");
    assert_eq!(ask(world.tcp(), forged).await.status(), StatusCode::FORBIDDEN);
    let form = format!("deployment=1&_token={token}");
    let mut elsewhere = post("/do/abort", &cookie, &form);
    elsewhere.headers_mut().insert("sec-fetch-site", "cross-site".parse().expect("a value"));
    assert_eq!(ask(world.tcp(), elsewhere).await.status(), StatusCode::FORBIDDEN);
    assert!(world.journal.of_kind("AbortRequested", 9).expect("events").is_empty());

    let answer = ask(world.tcp(), post("/do/abort", &cookie, &form)).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[header::LOCATION], "/deployments/1");
    let asked = world.journal.of_kind("AbortRequested", 9).expect("events");
    assert_eq!(asked[0].actor, Actor::Person("ana".into()));
    // The page that the form leads to has seen the wish already.
    assert!(
        text(ask(world.tcp(), get("/deployments/1", &cookie)).await).await.contains("Going back")
    );
}

#[tokio::test]
async fn every_answer_carries_the_strict_policy_and_is_not_kept() {
    let world = World::new().await;
    let (cookie, _) = world.signed_in().await;
    for path in ["/", "/deployments/1", "/nothing-here", "/login?t=old"] {
        let answer = ask(world.tcp(), get(path, &cookie)).await;
        let policy =
            answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("plain text");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store", "{path}");
        let page = text(answer).await;
        assert!(
            !page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_a_name_of_their_content() {
    let world = World::new().await;
    let (cookie, _) = world.signed_in().await;
    let page = text(ask(world.tcp(), get("/", &cookie)).await).await;
    let path = page
        .split("rel=\"stylesheet\" href=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a style sheet");
    let answer = ask(world.tcp(), get(path, "")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(
        answer.headers()[header::CACHE_CONTROL].to_str().expect("plain text").contains("immutable")
    );
    assert_eq!(
        ask(world.tcp(), get("/asset/marline.0000.css", "")).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_socket_needs_no_login_and_acts_in_the_name_of_who_may_open_it() {
    let world = World::new().await;
    let body =
        serde_json::json!({"fact": {"kind": "RestartRequested", "content": {"service": "web"}}})
            .to_string();
    let mut request = post("/api/requests", "", &body);
    request
        .headers_mut()
        .insert(header::CONTENT_TYPE, "application/json".parse().expect("a value"));
    let answer = ask(world.socket(), request).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let asked = world.journal.of_kind("RestartRequested", 9).expect("events");
    assert_eq!(asked[0].actor, Actor::Person("ana".into()));
}

#[tokio::test]
async fn nobody_may_ask_for_what_only_marline_decides() {
    let world = World::new().await;
    let forged = serde_json::json!({"fact": {"kind": "GatePassed", "content": {"commit": "abcdef0123", "allowed": []}}, "actor": {"kind": "conductor"}});
    let answer = ask(world.socket(), post("/api/requests", "", &forged.to_string())).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(world.journal.of_kind("GatePassed", 9).expect("events").is_empty());
    let broken = ask(world.socket(), post("/api/requests", "", "{")).await;
    assert_eq!(broken.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused_in_plain_words() {
    let world = World::new().await;
    let (cookie, token) = world.signed_in().await;
    let answer =
        ask(world.tcp(), post("/do/promote", &cookie, &format!("deployment=99&_token={token}")))
            .await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(text(answer).await.contains("There is no deployment 99."));
}

#[tokio::test]
async fn the_status_and_the_events_are_there_as_json() {
    let world = World::new().await;
    let status: serde_json::Value =
        serde_json::from_str(&text(ask(world.socket(), get("/api/status", "")).await).await)
            .expect("JSON");
    assert_eq!(status["repository"], "shop");
    assert_eq!(status["deployments"][0]["deployment"], 1);
    let events: serde_json::Value = serde_json::from_str(
        &text(ask(world.socket(), get("/api/events?after=1", "")).await).await,
    )
    .expect("JSON");
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1));
    let unknown = ask(world.socket(), get("/api/why?subject=nonsense", "")).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn colours_lead_back_to_a_page_of_ours_only() {
    let world = World::new().await;
    let (cookie, token) = world.signed_in().await;
    for (back, lands) in [
        ("/runs", "/runs"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
    ] {
        let answer = ask(
            world.tcp(),
            post("/theme", &cookie, &format!("theme=dark&back={back}&_token={token}")),
        )
        .await;
        assert_eq!(answer.headers()[header::LOCATION], lands, "{back}");
    }
}
