//! `marline up`, `marline down`, `marline ui`: the conductor of this repository.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use explain::story::Moment;
use journal::{EventId, Fact};

use crate::cli::{Global, UpArgs};
use crate::client;
use crate::command::wish::line;
use crate::conductor::{Conductor, spec};
use crate::exit::{Exit, Failure, Outcome};
use crate::lock::{self, Lock};
use crate::pages;
use crate::project::{Here, git_failure};
use crate::tree::Tree;

/// How long a conductor in the background may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// How long stopping everything may take.
const STOPS_WITHIN: Duration = Duration::from_mins(2);

/// Carries this repository, in the foreground or in the background.
pub async fn run(args: &UpArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let head = here.repository.head().map_err(git_failure)?;
    let branch = args.branch.clone().or(head.branch);
    if let Some(branch) = &args.branch
        && here.repository.branch_tip(branch).map_err(git_failure)?.is_none()
    {
        return Err(Failure::new(Exit::NotFound, format!("there is no branch `{branch}`")));
    }
    check_files(&here, args, &head.commit)?;
    if args.plan {
        return Ok(Exit::Done);
    }
    here.state.make().with_context(|| format!("make {}", here.state.root().display()))?;
    let Some(lock) = lock::take(&here.state.lock()).context("lock the state directory")? else {
        return Err(Failure::new(Exit::Failed, "a conductor runs here already")
            .help("`marline status` shows what it does, `marline down` stops it"));
    };
    if args.detach {
        drop(lock);
        return start_in_background(&here, args, global).await;
    }
    conduct(&here, args, branch, lock).await
}

/// Reads what is needed before anything starts, and refuses what cannot work.
fn check_files(here: &Here, args: &UpArgs, commit: &source::git::CommitId) -> Result<(), Failure> {
    let tree = Tree::of_commit(&here.repository, commit.clone());
    let read = |path: &str| tree.text(path).ok().flatten();
    let mut all = spec::specify(
        &spec::name_of(here.repository.root()),
        tree.compose().map_err(git_failure)?,
        || tree.detection().unwrap_or_default(),
        &read,
        &args.profiles,
    );
    all.findings.extend(spec::unusable_certificates(&all, here.repository.root()));
    if !all.findings.is_empty() && !args.detached {
        let text =
            |path: &str| all.files.iter().find(|file| file.path == path).map(|f| f.text.clone());
        eprint!("{}", source::render::text(&all.findings, here.look(), &text));
    }
    let is_quiet = args.detached || here.json;
    if all.is_detected && !all.services.is_empty() && !is_quiet {
        eprintln!("There is no Compose file; this is what was found instead:");
    }
    if all.findings.iter().any(source::Finding::is_error) {
        let summary = source::render::summary(&all.findings);
        return Err(Failure::new(Exit::Failed, format!("nothing was started: {summary}")));
    }
    if all.services.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there is nothing to run here").help(
            "write a compose.yaml with a service that has `build:` and `command:`, or a Procfile",
        ));
    }
    for (name, spec) in &all.services {
        if (args.plan || all.is_detected) && !is_quiet {
            println!("{}\n", spec.plan);
        }
        let redirect = spec.tls.as_ref().and_then(|tls| tls.redirect.as_ref());
        for address in spec.listeners.iter().chain(redirect) {
            refuse_taken_port(here, name.as_str(), *address, &all)?;
        }
    }
    if here.repository.is_dirty().map_err(git_failure)? && !is_quiet {
        eprintln!("note: what is not committed is left out; `marline up` carries commits");
    }
    Ok(())
}

/// Refuses a published port that somebody else listens on.
fn refuse_taken_port(
    here: &Here,
    service: &str,
    address: SocketAddr,
    all: &spec::Specifications,
) -> Result<(), Failure> {
    // Our own proxy of an earlier conductor listens there, and is taken over.
    if here.state.proxy().join(deploy::proxy::SOCKET).exists() {
        return Ok(());
    }
    let Err(error) = std::net::TcpListener::bind(address) else { return Ok(()) };
    let place = all.project.as_ref().and_then(|project| {
        project.services.get(service)?.ports.first().map(|port| port.place.clone())
    });
    let wher = place.map(|place| format!("{place}: ")).unwrap_or_default();
    let (why, help) = match error.kind() {
        std::io::ErrorKind::AddrInUse => (
            "another program listens on it",
            format!("stop that program, or publish `{service}` on another port"),
        ),
        std::io::ErrorKind::PermissionDenied => (
            "ports below 1024 need more rights",
            format!("publish `{service}` on a port above 1023"),
        ),
        _ => {
            ("it cannot be listened on", format!("publish `{service}` on another address: {error}"))
        }
    };
    Err(Failure::new(Exit::Failed, format!("{wher}`{service}` cannot have {address}: {why}"))
        .help(help))
}

async fn conduct(here: &Here, args: &UpArgs, branch: Option<String>, _lock: Lock) -> Outcome {
    if args.detached {
        crate::tracing_to_stderr();
    }
    let journal = here.journal()?;
    let newest = journal.newest(1)?.first().map_or(EventId(0), |event| event.id);
    let conductor = Arc::new(Conductor::new(
        here.repository.clone(),
        here.state.clone(),
        journal.clone(),
        branch,
        args.profiles.clone(),
    )?);
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port);
    let pages = pages::serve(&conductor, address).await?;
    if !args.detached && !here.json {
        println!("Pages: {}", pages.login());
        println!("Press Ctrl-C to stop everything; `marline up -d` goes on in the background.\n");
    }
    let teller = (!args.detached).then(|| tokio::spawn(tell(journal.clone(), newest, here.json)));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let run = conductor.run();
    tokio::pin!(run);
    let outcome = tokio::select! {
        ended = &mut run => ended.map(|()| Exit::Done).map_err(Failure::from),
        // A conductor in the background is replaced, or the machine goes down: services stay.
        _ = terminate.recv() => {
            conductor.leave("it was asked to go; services go on").await;
            Ok(Exit::Done)
        }
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nstopping everything; press Ctrl-C again to leave it running");
            let person = journal::Actor::Person(super::run::account());
            journal.append(person, None, Fact::DownRequested {}).await?;
            tokio::select! {
                ended = &mut run => ended.map(|()| Exit::Interrupted).map_err(Failure::from),
                _ = tokio::signal::ctrl_c() => {
                    conductor.leave("interrupted; services go on").await;
                    Ok(Exit::Interrupted)
                }
            }
        }
    };
    if let Some(teller) = teller {
        teller.abort();
    }
    outcome
}

/// Prints what happens as it happens.
async fn tell(journal: journal::Journal, after: EventId, json: bool) {
    let mut events = journal.follow(after);
    while let Ok(event) = events.next().await {
        if json {
            if let Ok(text) = serde_json::to_string(&event) {
                println!("{text}");
            }
            continue;
        }
        let moment = Moment::of(&event);
        if !moment.is_minor {
            println!("{}", line(&moment));
        }
    }
}

async fn start_in_background(here: &Here, args: &UpArgs, global: &Global) -> Outcome {
    use std::os::unix::process::CommandExt as _;

    let program = std::env::current_exe().context("find the program itself")?;
    let log_path = here.state.log();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("open {}", log_path.display()))?;
    let mut command = Command::new(program);
    command.arg("-C").arg(here.repository.root());
    if let Some(state) = &global.state {
        command.arg("--state").arg(std::path::absolute(state)?);
    }
    command.args(["up", "--detached", "--port"]).arg(args.port.to_string());
    for profile in &args.profiles {
        command.arg("--profile").arg(profile);
    }
    if let Some(branch) = &args.branch {
        command.arg("--branch").arg(branch);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the conductor")?;
    let deadline = tokio::time::Instant::now() + ANSWERS_WITHIN;
    loop {
        if let Ok(page) = client::page(here.state.root()).await {
            if here.json {
                println!("{}", serde_json::json!({ "page": page, "pid": child.id() }));
            } else {
                println!("Running in the background. Pages: {page}");
                println!("marline status   ·   marline logs -f   ·   marline down");
            }
            return Ok(Exit::Done);
        }
        let ended = child.try_wait().context("look at the conductor")?;
        if ended.is_some() || tokio::time::Instant::now() > deadline {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(Failure::new(
                Exit::Failed,
                format!("the conductor did not start: {}", last.join(" · ")),
            )
            .help(format!("its log is {}", log_path.display())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stops everything that `up` started.
pub async fn down(global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (journal, _) = here.known()?;
    let newest = journal.newest(1)?.first().map_or(EventId(0), |event| event.id);
    if client::is_up(here.state.root()).await {
        client::request(here.state.root(), &Fact::DownRequested {}).await?;
        let mut events = journal.follow(newest);
        let stopped = async {
            loop {
                let event = events.next().await?;
                if matches!(event.fact, Fact::ConductorStopped { .. }) {
                    return anyhow::Ok(());
                }
            }
        };
        let Ok(stopped) = tokio::time::timeout(STOPS_WITHIN, stopped).await else {
            return Ok(Exit::TimedOut);
        };
        stopped?;
        // It holds the lock until its process has gone.
        while lock::is_held(&here.state.lock()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    } else {
        // The conductor is gone, and what it started may not be: stop that ourselves.
        let Some(_lock) = lock::take(&here.state.lock()).context("lock the state directory")?
        else {
            return Err(Failure::new(
                Exit::Unreachable,
                "a conductor runs here and does not answer",
            ));
        };
        let conductor = Arc::new(Conductor::new(
            here.repository.clone(),
            here.state.clone(),
            journal.clone(),
            None,
            vec![],
        )?);
        conductor.stop_everything().await?;
    }
    if !here.json {
        println!("Everything is stopped. `marline up` starts it again.");
    }
    Ok(Exit::Done)
}

/// Prints a link to the pages that signs in once.
pub async fn ui(global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let page = client::page(here.state.root()).await?;
    if here.json {
        println!("{}", serde_json::json!({ "page": page }));
    } else {
        println!("{page}");
    }
    Ok(Exit::Done)
}
