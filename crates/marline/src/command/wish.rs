//! What somebody asks of the running conductor: deploy, rollback, promote, abort, scale, restart,
//! maintenance.

use std::time::Duration;

use explain::story::Moment;
use journal::{
    DeploymentId, Event, EventId, Fact, Journal, ReleaseId, ServiceName, StrategyKind, View,
};

use crate::cli::{
    DeployArgs, DeploymentArgs, Global, MaintenanceArgs, RollbackArgs, ScaleArgs, ServiceArgs,
    StrategyArg, Switch,
};
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::{Here, git_failure};

/// How long the conductor may take to notice a commit on the branch that it follows.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// How long the proxy may take to do as was asked.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// How long to wait for the end of what was asked for.
const PATIENCE: Duration = Duration::from_mins(15);

/// Deploys a commit or a release.
pub async fn deploy(args: &DeployArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let release = args.to.as_deref().map(|to| release(&view, to)).transpose()?;
    let commit = match &release {
        Some(_) => None,
        None => Some(journal::CommitId::from(
            here.repository.head().map_err(git_failure)?.commit.as_str(),
        )),
    };
    if args.plan {
        return plan(&here, &view, release.as_ref(), &args.services);
    }
    let services: Vec<ServiceName> =
        args.services.iter().map(|name| ServiceName::from(name.as_str())).collect();
    let wish = Fact::DeployRequested {
        release: release.clone(),
        commit: commit.clone(),
        services: services.clone(),
        strategy: args.strategy.map(|strategy| match strategy {
            StrategyArg::BlueGreen => StrategyKind::BlueGreen,
            StrategyArg::Canary => StrategyKind::Canary,
            StrategyArg::Rolling => StrategyKind::Rolling,
        }),
    };
    let until = Until::Deployed { release, commit: commit.clone(), services };
    if let Some(commit) = &commit {
        wait_seen(&here, commit).await?;
    }
    ask(&here, wish, args.no_wait, "marline rollback", until).await
}

/// Waits until the conductor has noticed a commit that was made a moment ago.
async fn wait_seen(here: &Here, commit: &journal::CommitId) -> Result<(), Failure> {
    if !client::is_up(here.state.root()).await {
        // Asking says that nobody is there, and how to mend it.
        return Ok(());
    }
    let journal = here.journal()?;
    let deadline = tokio::time::Instant::now() + SEEN_WITHIN;
    while !journal.view()?.commits.contains_key(commit) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Prints how services would be moved to a release, and changes nothing.
fn plan(here: &Here, view: &View, release: Option<&ReleaseId>, services: &[String]) -> Outcome {
    let releases = deploy::ReleaseStore::open(here.state.releases())?;
    let newest = view.newest_release().map(|(release, _)| release);
    let Some(release) = release.or(newest) else {
        return Err(Failure::new(Exit::NotFound, "there is no release yet"));
    };
    let specs = crate::conductor::spec::Specs::new(
        here.repository.clone(),
        std::sync::Arc::new(releases),
        &here.state,
        vec![],
    );
    let all = specs.of(release);
    println!("release {}", release.short());
    for (name, spec) in &all.services {
        if services.is_empty() || services.iter().any(|service| service == name.as_str()) {
            println!("\n{}", spec.plan);
        }
    }
    Ok(Exit::Done)
}

/// Goes back to the release before, or to another one.
pub async fn rollback(args: &RollbackArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let to = args.to.as_deref().map(|to| release(&view, to)).transpose()?;
    if args.dry_run {
        for (name, service) in &view.services {
            if args.service.as_deref().is_some_and(|wanted| wanted != name.as_str()) {
                continue;
            }
            match to.as_ref().or_else(|| service.previous()) {
                Some(release) => println!("{name} would go back to release {}", release.short()),
                None => println!("{name} has no earlier release"),
            }
        }
        return Ok(Exit::Done);
    }
    let services = match &args.service {
        Some(_) => 1,
        None => view.services.len().max(1),
    };
    let wish =
        Fact::RollbackRequested { service: args.service.as_deref().map(ServiceName::from), to };
    ask(&here, wish, args.no_wait, "marline deploy", Until::WentBack { services }).await
}

/// Moves a deployment on without waiting.
pub async fn promote(args: &DeploymentArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let deployment = moving(&view, args.deployment)?;
    ask(&here, Fact::PromoteRequested { deployment }, true, "marline abort", Until::Answered).await
}

/// Stops a deployment and goes back.
pub async fn abort(args: &DeploymentArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let deployment = moving(&view, args.deployment)?;
    let until = Until::WentBack { services: 1 };
    ask(&here, Fact::AbortRequested { deployment }, false, "marline deploy", until).await
}

/// Sets the number of instances.
pub async fn scale(args: &ScaleArgs, global: &Global) -> Outcome {
    let usage = || {
        Failure::new(Exit::Usage, format!("`{}` is not SERVICE=COUNT", args.what))
            .help("write it as `marline scale web=3`")
    };
    let (service, count) = args.what.split_once('=').ok_or_else(usage)?;
    let count: u32 = count.parse().map_err(|_| usage())?;
    let service = ServiceName::from(service);
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let before = view.services.get(&service).map_or(1, |service| service.replicas);
    let undo = format!("marline scale {service}={before}");
    let until = Until::Ready { service: service.clone(), count };
    ask(&here, Fact::ScaleRequested { service, count }, args.no_wait, &undo, until).await
}

/// Starts a service's instances again, one by one.
pub async fn restart(args: &ServiceArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let service = ServiceName::from(args.service.as_str());
    let old = view.services.get(&service).map(|state| state.instances.keys().cloned().collect());
    let until = Until::Replaced { service: service.clone(), old: old.unwrap_or_default() };
    ask(&here, Fact::RestartRequested { service }, args.no_wait, "", until).await
}

/// Lets the proxy answer for a service while people work on it, or its instances again.
pub async fn maintenance(args: &MaintenanceArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let service = ServiceName::from(args.service.as_str());
    let is_on = args.switch == Switch::On;
    let undo = format!("marline maintenance {} {service}", if is_on { "off" } else { "on" });
    let wish = Fact::MaintenanceRequested { service: service.clone(), is_on };
    let exit = ask(&here, wish, false, &undo, Until::Answered).await?;
    let in_force = tokio::time::timeout(IN_FORCE_WITHIN, in_force(&here, &service, is_on)).await;
    match in_force {
        Ok(()) => Ok(exit),
        Err(_) if is_on => Err(Failure::new(Exit::TimedOut, "the proxy has not heard of it yet")),
        Err(_) => Err(Failure::new(Exit::Failed, format!("{service} is still being maintained"))
            .help("its release says `maintenance: true` under `x-marline`: commit it without")),
    }
}

/// Waits until the proxy does as was asked.
async fn in_force(here: &Here, service: &ServiceName, is_on: bool) {
    let proxy = deploy::proxy::ProxyClient::new(here.state.proxy());
    loop {
        let routes = proxy.routes().await.unwrap_or_default();
        if routes.services.get(service).is_some_and(|known| known.maintenance == is_on) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What ends the wait.
enum Until {
    /// The conductor took the wish.
    Answered,
    /// The services have the release, or that of the commit, or one of them was taken back.
    Deployed {
        release: Option<ReleaseId>,
        commit: Option<journal::CommitId>,
        /// Empty is all that the release has.
        services: Vec<ServiceName>,
    },
    /// So many services went back.
    WentBack { services: usize },
    /// So many instances are ready.
    Ready { service: ServiceName, count: u32 },
    /// None of the old instances is left, and as many new ones are ready.
    Replaced { service: ServiceName, old: Vec<journal::InstanceId> },
}

/// Appends a wish through the conductor, and follows the journal for the answer.
async fn ask(here: &Here, wish: Fact, no_wait: bool, undo: &str, until: Until) -> Outcome {
    let event = client::request(here.state.root(), &wish).await?;
    if here.json {
        println!("{}", serde_json::to_string(&event)?);
    }
    let exit = if no_wait || matches!(until, Until::Answered) {
        Exit::Done
    } else {
        let journal = here.journal()?;
        let waited = tokio::time::timeout(PATIENCE, wait(here, &journal, event.id, until)).await;
        waited.unwrap_or(Ok(Exit::TimedOut))?
    };
    if exit == Exit::Done && !undo.is_empty() && !here.json {
        eprintln!("undo: {undo}");
    }
    Ok(exit)
}

async fn wait(here: &Here, journal: &Journal, asked: EventId, until: Until) -> Outcome {
    let mut view = journal.view()?;
    if is_there(&view, &until) && matches!(until, Until::Deployed { .. }) && !here.json {
        println!("the release has all traffic already");
    }
    let mut events = journal.follow(asked);
    let mut ended = 0;
    loop {
        if is_there(&view, &until) {
            return Ok(Exit::Done);
        }
        let event = events.next().await?;
        view.apply(&event);
        tell(here, &event);
        match (&event.fact, &until) {
            (Fact::RequestRefused { request, why }, _) if *request == asked => {
                return Err(Failure::new(Exit::Failed, why.clone()));
            }
            (Fact::GateHeld { .. }, Until::Deployed { .. }) => return Ok(Exit::Held),
            (Fact::DeploymentRolledBack { .. }, Until::Deployed { .. }) => {
                return Ok(Exit::RolledBack);
            }
            (
                Fact::DeploymentFinished { .. } | Fact::DeploymentRolledBack { .. },
                Until::WentBack { services },
            ) => {
                ended += 1;
                if ended >= *services {
                    return Ok(Exit::Done);
                }
            }
            (Fact::ConductorStopped { .. }, _) => {
                return Err(Failure::new(Exit::Unreachable, "the conductor went away meanwhile"));
            }
            _ => {}
        }
    }
}

fn is_there(view: &View, until: &Until) -> bool {
    match until {
        Until::Ready { service, count } => view.services.get(service).is_some_and(|state| {
            let ready = state.instances.values().filter(|instance| instance.is_ready).count();
            ready == *count as usize && state.instances.len() == *count as usize
        }),
        Until::Replaced { service, old } => view.services.get(service).is_some_and(|state| {
            let ready = state.instances.values().filter(|instance| instance.is_ready).count();
            ready >= state.replicas as usize
                && old.iter().all(|id| !state.instances.contains_key(id))
        }),
        Until::Deployed { release, commit, services } => {
            let of_commit =
                commit.as_ref().and_then(|commit| view.commits.get(commit)?.release.as_ref());
            let Some(release) = release.as_ref().or(of_commit) else { return false };
            let Some(known) = view.releases.get(release) else { return false };
            known.services.iter().filter(|name| services.is_empty() || services.contains(name)).all(
                |name| {
                    view.services.get(name).is_some_and(|service| {
                        service.release.as_ref() == Some(release) && service.deployment.is_none()
                    })
                },
            )
        }
        Until::Answered | Until::WentBack { .. } => false,
    }
}

fn tell(here: &Here, event: &Event) {
    if here.json {
        if let Ok(text) = serde_json::to_string(event) {
            println!("{text}");
        }
        return;
    }
    let moment = Moment::of(event);
    if !moment.is_minor {
        println!("  {}", line(&moment));
    }
}

/// Returns a moment as one line for a terminal.
pub fn line(moment: &Moment) -> String {
    let clock = explain::words::clock(moment.at);
    match &moment.detail {
        Some(detail) => format!("{clock}  {}: {detail}", moment.text),
        None => format!("{clock}  {}", moment.text),
    }
}

/// Returns the release whose id, or whose commit's id, begins so.
fn release(view: &View, name: &str) -> Result<ReleaseId, Failure> {
    let mut found = view.releases.iter().filter(|(release, known)| {
        release.as_str().starts_with(name) || known.commit.as_str().starts_with(name)
    });
    match (found.next(), found.next()) {
        (Some((release, _)), None) => Ok(release.clone()),
        (Some(_), Some(_)) => {
            Err(Failure::new(Exit::Usage, format!("more than one release begins with `{name}`"))
                .help("write more of its id; `marline release list` shows them"))
        }
        (None, _) => Err(Failure::new(Exit::NotFound, format!("no release begins with `{name}`"))
            .help("`marline release list` shows those that are kept")),
    }
}

/// Returns the deployment that is meant.
fn moving(view: &View, number: Option<u64>) -> Result<DeploymentId, Failure> {
    let under_way = view.deployments.values().find(|deployment| !deployment.is_over());
    match (number, under_way) {
        (Some(number), _) => Ok(DeploymentId(number)),
        (None, Some(deployment)) => Ok(deployment.id),
        (None, None) => Err(Failure::new(Exit::NotFound, "no deployment is under way")),
    }
}
