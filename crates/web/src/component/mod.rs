//! What pages are built from: typed functions that return markup.

pub(crate) mod chart;
pub(crate) mod form;
pub(crate) mod graph;
pub(crate) mod icon;
pub(crate) mod moments;
pub(crate) mod way;
pub(crate) mod weights;
pub(crate) mod why;

use explain::{Standing, words};
use jiff::Timestamp;
use journal::view::{Commit, Deployment, DeploymentEnd, Gate, Service};
use journal::{CommitId, Conclusion, Health, ReleaseId, View};
use maud::{Markup, html};

/// Returns a state as icon, word and colour.
pub(crate) fn badge(standing: Standing, word: &str) -> Markup {
    html! { span class={"badge " (class_of(standing))} { (icon::of(standing)) (word) } }
}

/// Returns the class that colours a state.
pub(crate) fn class_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Ok => "is-ok",
        Standing::Running => "is-running",
        Standing::Attention => "is-attention",
        Standing::Failed => "is-failed",
        Standing::Off => "is-off",
    }
}

/// Returns a moment as people say it, the exact one on hover.
pub(crate) fn time(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) title=(words::exact(at)) { (words::relative(at, now)) } }
}

/// Returns the heading of a card.
pub(crate) fn heading(title: &str, more: Option<(&str, &str)>) -> Markup {
    html! {
        div.head {
            h2 { (title) }
            @if let Some((path, text)) = more { a.more href=(path) { (text) } }
        }
    }
}

/// Returns what stands where there is nothing.
pub(crate) fn empty(title: &str, text: &str) -> Markup {
    html! {
        div.empty {
            (icon::blank())
            p.what { (title) }
            p { (text) }
        }
    }
}

/// Returns a number with its name.
pub(crate) fn stat(name: &str, value: &str, note: Option<&str>) -> Markup {
    html! {
        div.stat {
            dt { (name) }
            dd { (value) @if let Some(note) = note { " " small { (note) } } }
        }
    }
}

/// Returns a commit by its short name, with a link.
pub(crate) fn commit_link(commit: &CommitId) -> Markup {
    let path = explain::Subject::Commit(commit.clone()).path();
    html! { a.hash href=(path) { (commit.short()) } }
}

/// Returns a release by its short name; its commit's first line on hover.
pub(crate) fn release_name(release: &ReleaseId, view: &View) -> Markup {
    let commit = view.releases.get(release).map(|release| &release.commit);
    let subject =
        commit.and_then(|commit| view.commits.get(commit)).map(|commit| commit.subject.as_str());
    match commit {
        Some(commit) => {
            let path = explain::Subject::Commit(commit.clone()).path();
            html! { a.hash href=(path) title=[subject] { (release.short()) } }
        }
        None => html! { span.hash { (release.short()) } },
    }
}

/// Returns the first line of the message of a release's commit.
pub(crate) fn subject_of<'v>(release: &ReleaseId, view: &'v View) -> Option<&'v str> {
    let commit = &view.releases.get(release)?.commit;
    Some(view.commits.get(commit)?.subject.as_str())
}

/// Returns how a conclusion is called.
pub(crate) fn word_of(conclusion: Option<Conclusion>) -> &'static str {
    match conclusion {
        None => "Running",
        Some(Conclusion::Success) => "Passed",
        Some(Conclusion::Failure) => "Failed",
        Some(Conclusion::AllowedFailure) => "Failed, allowed",
        Some(Conclusion::Cancelled) => "Cancelled",
        Some(Conclusion::Skipped) => "Skipped",
        Some(Conclusion::Interrupted) => "Interrupted",
    }
}

/// Returns how a deployment stands and how that is called.
pub(crate) fn deployment_state(deployment: &Deployment) -> (Standing, &'static str) {
    match &deployment.end {
        None => (Standing::Running, "Under way"),
        Some(DeploymentEnd::Finished { .. }) => (Standing::Ok, "Finished"),
        Some(DeploymentEnd::RolledBack { .. }) => (Standing::Failed, "Rolled back"),
    }
}

/// Returns how the gate of a commit stands and how that is called.
pub(crate) fn gate_state(commit: &Commit) -> (Standing, &'static str) {
    match &commit.gate {
        Gate::Open => (Standing::Running, "Not decided"),
        Gate::Passed { .. } => (Standing::Ok, "Passed"),
        Gate::Held { .. } => (Standing::Failed, "Held"),
    }
}

/// Returns how an instance's health stands and how that is called.
pub(crate) fn health_state(health: Health) -> (Standing, &'static str) {
    match health {
        Health::Starting => (Standing::Running, "Starting"),
        Health::Healthy => (Standing::Ok, "Healthy"),
        Health::Unhealthy => (Standing::Failed, "Unhealthy"),
        Health::Unknown => (Standing::Attention, "Unknown"),
    }
}

/// Returns how a service stands and how that is called.
pub(crate) fn service_state(service: &Service) -> (Standing, &'static str) {
    let total = service.instances.len();
    let of =
        |health| service.instances.values().filter(|instance| instance.health == health).count();
    match (total, of(Health::Healthy)) {
        (0, _) if service.release.is_some() && service.replicas > 0 => (Standing::Failed, "Down"),
        (0, _) => (Standing::Off, "Off"),
        (total, healthy) if total == healthy => (Standing::Ok, "Healthy"),
        (total, 0) if of(Health::Starting) == total => (Standing::Running, "Starting"),
        (_, 0) => (Standing::Failed, "Down"),
        (total, healthy) if healthy + of(Health::Starting) == total => {
            (Standing::Running, "Starting")
        }
        _ => (Standing::Attention, "Degraded"),
    }
}

/// Says a number of requests, rounded where it is big.
pub(crate) fn requests(number: f64) -> String {
    match number {
        n if n < 1_000.0 => format!("{n:.0}"),
        n if n < 1_000_000.0 => words::thousands(n.round() as u64),
        n => format!("{:.1} M", n / 1_000_000.0),
    }
}

/// Says a rate.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0/s".to_owned(),
        r if r < 0.1 => format!("{:.1}/min", r * 60.0),
        r if r < 10.0 => format!("{r:.1}/s"),
        r => format!("{r:.0}/s"),
    }
}

/// Says a latency.
pub(crate) fn latency(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => "–".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    }
}

/// Says which share failed.
pub(crate) fn failed_share(traffic: &crate::Traffic) -> String {
    if traffic.requests < 0.5 {
        return "–".to_owned();
    }
    words::share(traffic.errors.round() as u64, traffic.requests.round() as u64)
}
