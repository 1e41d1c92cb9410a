//! A minute's tour: a good release, a bad one, the roll-back, the incident, the words.
//!
//! Everything is real: a Git repository in a temporary directory, the conductor, the proxy and the
//! instances as processes of this machine, requests over loopback. The tour only commits, asks for
//! pages, and reads the journal.

mod load;
pub mod shop;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use journal::{DeploymentId, Event, EventId, Fact, IncidentId, Journal};
use serde::Serialize;

use crate::cli::{DemoArgs, Global};
use crate::exit::{Exit, Outcome};
use load::{Count, Load};

/// No part of the tour may take longer than this.
const PATIENCE: Duration = Duration::from_secs(80);

/// What the tour came to, printed last.
#[derive(Debug, Serialize)]
struct Summary {
    /// Requests that were sent.
    requests: u64,
    /// Requests that failed, all of them at the bad release.
    failed: u64,
    /// Requests that failed from the first commit to the second being live; must be none.
    failed_while_good: u64,
    /// Seconds from the first bad answer to the old release having all traffic again.
    rolled_back_after_seconds: f64,
    /// The incident.
    incident: u64,
    /// What happened, in words.
    why: String,
    /// The page that tells it.
    page: String,
}

/// Runs the tour.
pub async fn run(args: &DemoArgs, global: &Global) -> Outcome {
    let tour = Tour::begin(args, global)?;
    let mut tour = tour;
    let result = tour.go().await;
    let keep = args.keep && result.is_ok();
    tour.end(keep).await;
    let summary = result?;
    tour.sum_up(&summary, keep);
    let is_good = summary.failed_while_good == 0 && summary.incident > 0;
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

struct Tour {
    marline: PathBuf,
    directory: PathBuf,
    /// Removes the directory at the end; nothing when it is kept.
    _temporary: Option<Temporary>,
    port: u16,
    rate: u32,
    json: bool,
    versions: [shop::Version; 3],
    conductor: Option<Child>,
}

/// A directory that goes away with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Tour {
    fn begin(args: &DemoArgs, global: &Global) -> anyhow::Result<Self> {
        let marline = std::env::current_exe().context("find the program itself")?;
        let name = format!("marline-demo-{}", std::process::id());
        let around = std::env::temp_dir().join(name);
        // The pages call a repository by its directory.
        let directory = around.join("shop");
        fs::create_dir_all(&directory)
            .with_context(|| format!("make the directory {}", directory.display()))?;
        let temporary = (!args.keep).then(|| Temporary(around));
        let has_python = !args.without_python
            && Command::new("python3")
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        let port = free_port()?;
        let player = (!has_python).then_some(marline.as_path());
        let versions = shop::versions(port, player);
        Ok(Self {
            marline,
            directory,
            _temporary: temporary,
            port,
            rate: args.rate,
            json: global.json,
            versions,
            conductor: None,
        })
    }

    async fn go(&mut self) -> anyhow::Result<Summary> {
        self.say("A shop, three commits, and the requests of its users. Nothing outside a temporary directory is touched.");
        self.git(&["init", "--quiet", "--initial-branch=main"])?;
        self.commit(0)?;
        self.start_conductor()?;
        let journal = self.journal().await?;
        let mut events = journal.follow(EventId(0));
        let mut page = String::new();

        if !matches!(self.follow(&mut events, &mut page, finished).await?, End::Finished) {
            bail!("the first release did not start");
        }
        let load = Load::start(self.port, self.rate);
        load.wait_for(u64::from(self.rate)).await?;

        self.commit(1)?;
        if !matches!(self.follow(&mut events, &mut page, finished).await?, End::Finished) {
            bail!("the second release was rolled back, and it is a good one");
        }
        let good = load.count();

        self.commit(2)?;
        let End::RolledBack { deployment, .. } =
            self.follow(&mut events, &mut page, finished).await?
        else {
            bail!("the third release was kept, and it is a bad one");
        };
        let End::Resolved { incident, .. } = self.follow(&mut events, &mut page, resolved).await?
        else {
            bail!("the incident did not end");
        };
        let all = load.stop().await;
        let rolled_back = rolled_back_at(&journal, deployment)?;
        summary(&journal, &page, good, &all, rolled_back, incident)
    }

    /// Reads events until one of them ends what is waited for, telling each on the way.
    async fn follow(
        &self,
        events: &mut journal::store::Follower,
        page: &mut String,
        end: fn(&Fact) -> Option<End>,
    ) -> anyhow::Result<End> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let event = tokio::time::timeout_at(deadline, events.next())
                .await
                .with_context(|| format!("nothing more happened for {} s", PATIENCE.as_secs()))??;
            self.tell(&event);
            if page.is_empty()
                && let Fact::ConductorStarted { .. } = event.fact
            {
                *page = crate::client::page(&self.directory.join(".git/marline"))
                    .await
                    .unwrap_or_default();
                if !page.is_empty() {
                    self.say(&format!("Watch it in a browser: {page}"));
                }
            }
            if let Fact::GateHeld { reasons, .. } = &event.fact {
                bail!("the gate held a commit of the demo: {reasons:?}");
            }
            if let Some(end) = end(&event.fact) {
                return Ok(end);
            }
        }
    }

    fn sum_up(&self, summary: &Summary, keep: bool) {
        if self.json {
            println!("{}", serde_json::json!({ "summary": summary }));
            return;
        }
        println!();
        println!(
            "  {} requests, {} failed: none while the releases were good,",
            summary.requests, summary.failed
        );
        println!(
            "  {} at the bad one, taken back {:.2} s after its first bad answer.",
            summary.failed, summary.rolled_back_after_seconds
        );
        println!();
        println!("  Why: {}", summary.why);
        println!();
        if keep {
            let directory = self.directory.display();
            println!("  It goes on running in {directory}");
            println!("  marline -C {directory} ui     the pages     marline -C {directory} why");
            println!("  marline -C {directory} down   stops it");
        } else {
            println!("  `marline demo --keep` leaves it running, with its pages to look around.");
        }
    }

    fn commit(&self, version: usize) -> anyhow::Result<()> {
        let version = &self.versions[version];
        for (path, text) in &version.files {
            let path = self.directory.join(path);
            let folder = path.parent().expect("every file is below the directory");
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, text))
                .with_context(|| format!("write {}", path.display()))?;
        }
        self.say(&format!("git commit -m \"{}\"", version.message));
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", version.message])
    }

    fn git(&self, words: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("git")
            .current_dir(&self.directory)
            .args([
                "-c",
                "user.name=Ana",
                "-c",
                "user.email=ana@example.com",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(words)
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .env_remove("GIT_WORK_TREE")
            .stdin(Stdio::null())
            .output()
            .context("start git")?;
        if !output.status.success() {
            bail!("git {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn start_conductor(&mut self) -> anyhow::Result<()> {
        let log =
            fs::File::create(self.directory.join(".git/marline.log")).context("make a log")?;
        let child = Command::new(&self.marline)
            .arg("-C")
            .arg(&self.directory)
            .args(["up", "--detached", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start the conductor")?;
        self.conductor = Some(child);
        Ok(())
    }

    /// Waits until the conductor has made its journal.
    async fn journal(&mut self) -> anyhow::Result<Journal> {
        let path = self.directory.join(".git/marline/journal.db");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            if path.exists()
                && let Ok(journal) = Journal::open(&path)
            {
                return Ok(journal);
            }
            let ended = self.conductor.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || tokio::time::Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join(".git/marline.log"));
                bail!("the conductor did not start: {}", log.unwrap_or_default().trim());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(&mut self, keep: bool) {
        if keep {
            return;
        }
        let state = self.directory.join(".git/marline");
        let _ = crate::client::request(&state, &Fact::DownRequested {}).await;
        let Some(mut child) = self.conductor.take() else { return };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        while tokio::time::Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    fn tell(&self, event: &Event) {
        if self.json {
            println!("{}", serde_json::to_string(event).expect("an event is plain JSON"));
        } else {
            let moment = explain::story::Moment::of(event);
            if !moment.is_minor {
                println!("  {}", crate::command::wish::line(&moment));
            }
        }
        let _ = std::io::stdout().flush();
    }

    fn say(&self, text: &str) {
        if !self.json {
            println!("\n{text}");
        }
    }
}

fn summary(
    journal: &Journal,
    page: &str,
    good: Count,
    all: &Count,
    rolled_back: Timestamp,
    incident: IncidentId,
) -> anyhow::Result<Summary> {
    let view = journal.view()?;
    let why = crate::command::why::sentence(journal, &view, incident);
    let after = all
        .first_failed
        .map_or(0.0, |first| rolled_back.duration_since(first).as_secs_f64().max(0.0));
    Ok(Summary {
        requests: all.requests,
        failed: all.failed,
        failed_while_good: good.failed,
        rolled_back_after_seconds: (after * 1000.0).round() / 1000.0,
        incident: incident.0,
        why,
        page: page.to_owned(),
    })
}

/// What the tour waits for.
enum End {
    Finished,
    RolledBack { deployment: DeploymentId },
    Resolved { incident: IncidentId },
}

fn finished(fact: &Fact) -> Option<End> {
    match fact {
        Fact::DeploymentFinished { .. } => Some(End::Finished),
        Fact::DeploymentRolledBack { deployment, .. } => {
            Some(End::RolledBack { deployment: *deployment })
        }
        _ => None,
    }
}

fn resolved(fact: &Fact) -> Option<End> {
    match fact {
        Fact::IncidentResolved { incident, .. } => Some(End::Resolved { incident: *incident }),
        _ => None,
    }
}

/// Returns when the old release had all traffic again.
fn rolled_back_at(journal: &Journal, deployment: DeploymentId) -> anyhow::Result<Timestamp> {
    let events = journal.of_deployment(deployment)?;
    let shift = events.iter().rev().find(|event| matches!(event.fact, Fact::TrafficShifted { .. }));
    shift.map(|event| event.at).context("find the roll-back in the journal")
}

/// Returns a port on loopback that nothing listens on.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

/// Serves the shop from a `shop.conf`, for machines without python3.
pub fn serve_shop(conf: &Path) -> anyhow::Result<()> {
    load::serve_shop(conf)
}
