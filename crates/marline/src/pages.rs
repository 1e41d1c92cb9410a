//! The pages and the socket, served by the conductor's process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::routing::post;
use axum::{Json, Router};
use deploy::engine::LogCursor;
use jiff::Timestamp;
use journal::{Actor, Fact, InstanceId, JobKey, RunId};
use web::{Entrance, Sessions, WebState};

use crate::client;
use crate::conductor::Conductor;
use crate::output::Veil;
use crate::state::State;

/// How long a link works.
const LINK_WORKS: jiff::SignedDuration = web::entrance::LINK_WORKS_FOR;

/// The pages as they are served.
pub struct Pages {
    links: Links,
}

impl Pages {
    /// Returns a link that signs in once.
    pub fn login(&self) -> String {
        self.links.make()
    }
}

/// Makes links that sign in once.
#[derive(Clone)]
struct Links {
    sessions: Sessions,
    address: SocketAddr,
    actor: Actor,
}

impl Links {
    fn make(&self) -> String {
        let token = self.sessions.make_link(self.actor.clone(), Timestamp::now());
        format!("http://{}/login?t={token}", self.address)
    }
}

/// Serves the socket and the pages; another port is taken when the wanted one is in use.
pub async fn serve(conductor: &Arc<Conductor>, wanted: SocketAddr) -> anyhow::Result<Pages> {
    let listener = match tokio::net::TcpListener::bind(wanted).await {
        Ok(listener) => listener,
        Err(_) => {
            let any = SocketAddr::new(wanted.ip(), 0);
            tokio::net::TcpListener::bind(any).await.context("listen on loopback for the pages")?
        }
    };
    let address = listener.local_addr()?;
    let _ = conductor.address.set(address);
    let account = crate::command::run::account();
    let links =
        Links { sessions: Sessions::default(), address, actor: Actor::Person(account.clone()) };
    let state = WebState {
        journal: conductor.journal.clone(),
        view: Arc::clone(&conductor.view),
        numbers: Arc::clone(&conductor.store) as Arc<dyn web::Numbers>,
        logs: Arc::new(Logs { state: conductor.state.clone() }),
        wishes: Arc::new(conductor.journal.clone()),
        repository: crate::conductor::spec::name_of(conductor.repository.root()),
        clock: Arc::new(Timestamp::now),
    };
    let series = web::prometheus::Prometheus::new(
        Arc::clone(&conductor.store),
        Arc::new(web::prometheus::OnlySeries),
        Arc::new(Timestamp::now),
    );
    let entrance = Entrance::loopback(links.sessions.clone(), address.port());
    let tcp = web::router_with(state.clone(), entrance, series.clone().reading());
    tokio::spawn(async move { axum::serve(listener, tcp).await });

    let socket =
        client::listen(conductor.state.root()).context("listen on the conductor's socket")?;
    let journal = conductor.journal.clone();
    let for_link = links.clone();
    let login = post(move || {
        let (links, journal) = (for_link.clone(), journal.clone());
        async move {
            let until_ms = (Timestamp::now() + LINK_WORKS).as_millisecond();
            let made = Fact::LoginLinkMade { until_ms };
            // Who may ask for a link is a fact; the link itself is in no event.
            let _ = journal.append(links.actor.clone(), None, made).await;
            Json(serde_json::json!({ "url": links.make() }))
        }
    });
    let local = Router::new().route("/api/login-link", login).merge(web::router_with(
        state,
        Entrance::socket(account),
        series.reading(),
    ));
    tokio::spawn(async move { axum::serve(socket, local).await });
    Ok(Pages { links })
}

/// What steps and instances wrote, read from the state directory.
struct Logs {
    state: State,
}

impl web::Logs for Logs {
    fn step(
        &self,
        run: RunId,
        job: &JobKey,
        step: u32,
        from: u64,
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        let path = pipeline::log::path(&self.state.run(run).join("logs"), job);
        let text = std::fs::read_to_string(path)?;
        let mut out = Vec::new();
        for line in text.split_inclusive('\n') {
            let Some(line) = line.strip_suffix('\n').and_then(pipeline::log::Line::parse) else {
                continue;
            };
            if line.step == step {
                out.extend(shown(&line).into_bytes());
                out.push(b'\n');
            }
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(out.len());
        out.drain(..from);
        out.truncate(limit);
        Ok(out)
    }

    fn instance(&self, instance: &InstanceId, from: u64, limit: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut cursor = LogCursor::Start;
        let veil = Veil::of(&self.state.vault());
        loop {
            let read = crate::output::read(&self.state, &veil, instance, cursor)?;
            if read.lines.is_empty() {
                break;
            }
            cursor = LogCursor::At(read.next);
            for line in read.lines {
                out.extend(line.text.into_bytes());
                if !line.partial {
                    out.push(b'\n');
                }
            }
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(out.len());
        out.drain(..from);
        out.truncate(limit);
        Ok(out)
    }
}

/// Returns a line as the pages read logs: with GitHub's marks for groups and commands.
fn shown(line: &pipeline::log::Line) -> String {
    use pipeline::log::Kind;
    let text = &line.text;
    match line.kind {
        Kind::Output => text.clone(),
        Kind::Command => format!("##[command]{text}"),
        Kind::Group => format!("##[group]{text}"),
        Kind::EndGroup => "##[endgroup]".to_owned(),
        Kind::Error => format!("##[error]{text}"),
        Kind::Warning => format!("##[warning]{text}"),
        Kind::Notice => format!("##[notice]{text}"),
        Kind::Debug => format!("##[debug]{text}"),
    }
}
