//! What only the whole project can show to be wrong.

use std::collections::HashMap;

use super::model::{MountKind, Project, Service, Spanned};
use crate::yaml::did_you_mean;
use crate::{Finding, Place};

pub(super) fn check(project: &Project, findings: &mut Vec<Finding>) {
    for service in project.services.values() {
        check_service(project, service, findings);
    }
    check_circles(project, findings);
    check_published(project, findings);
    check_tls(project, findings);
    check_names(project, findings);
}

fn check_service(project: &Project, service: &Service, findings: &mut Vec<Finding>) {
    let name = &service.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(fits) {
        findings.push(
            Finding::error(
                "compose-name",
                format!("`{name}` cannot be the name of a service"),
                service.place.clone(),
            )
            .help("use letters, digits, `.`, `_` and `-`"),
        );
    }
    let says_nothing = service.image.is_none() && service.build.is_none() && !service.has_provider;
    // `extends` is left only where it could not be followed, which is told already.
    if says_nothing && service.place_of("extends").is_none() {
        findings.push(
            Finding::error(
                "compose-nothing-to-run",
                format!("the service `{name}` has neither `image` nor `build`"),
                service.place.clone(),
            )
            .label("nothing says what it runs")
            .help("add `build: .` to run it from this repository, or `image:` for a container"),
        );
    }
    for (other, dependency) in &service.depends_on {
        let names = project.services.keys().map(String::as_str);
        if !project.services.contains_key(other) && dependency.required {
            let near = did_you_mean(other, names);
            findings.push(unknown(
                "compose-unknown-service",
                "service",
                other,
                near,
                &dependency.place,
            ));
        }
    }
    if let Some(http) = &service.marline.http
        && service.ports.is_empty()
        && service.expose.is_empty()
    {
        findings.push(
            Finding::warning(
                "compose-no-port",
                format!("`{name}` is asked for its health over HTTP but offers no port"),
                http.place.clone(),
            )
            .help("add `ports:` with the port it listens on"),
        );
    }
    if let (Some(replicas), Some(scale)) = (&service.deploy.replicas, &service.scale)
        && replicas.value != scale.value
    {
        findings.push(
            Finding::error(
                "compose-conflict",
                format!(
                    "`scale` says {} and `deploy.replicas` says {}",
                    scale.value, replicas.value
                ),
                scale.place.clone(),
            )
            .help("keep `deploy.replicas` only"),
        );
    }
    let mode = service.place_of("network_mode");
    if let (Some(mode), Some(_)) = (mode, service.place_of("networks")) {
        findings.push(
            Finding::error(
                "compose-conflict",
                format!("the service `{name}` has both `network_mode` and `networks`"),
                mode.clone(),
            )
            .help("remove one of them"),
        );
    }
    for (network, used) in &service.networks {
        if network != "default" && !project.networks.contains_key(network) {
            let near = did_you_mean(network, project.networks.keys().map(String::as_str));
            findings.push(unknown(
                "compose-unknown-network",
                "network",
                network,
                near,
                &used.place,
            ));
        }
    }
    for mount in &service.volumes {
        if let (MountKind::Volume, Some(source)) = (mount.kind, &mount.source)
            && !project.volumes.contains_key(source)
        {
            let near = did_you_mean(source, project.volumes.keys().map(String::as_str));
            findings.push(unknown("compose-unknown-volume", "volume", source, near, &mount.place));
        }
    }
    for (kind, grants, known) in [
        ("secret", &service.secrets, &project.secrets),
        ("config", &service.configs, &project.configs),
    ] {
        for grant in grants.iter().filter(|grant| !known.contains_key(&grant.source)) {
            let near = did_you_mean(&grant.source, known.keys().map(String::as_str));
            let rule = format!("compose-unknown-{kind}");
            findings.push(unknown(&rule, kind, &grant.source, near, &grant.place));
        }
    }
}

fn unknown(rule: &str, kind: &str, name: &str, near: Option<&str>, place: &Place) -> Finding {
    let finding = Finding::error(rule, format!("there is no {kind} `{name}`"), place.clone());
    match near {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help(format!("add `{name}:` under `{kind}s:`")),
    }
}

/// Finds services that wait for each other in a circle; each circle is told once.
fn check_circles(project: &Project, findings: &mut Vec<Finding>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Open,
        Done,
    }
    let mut states: HashMap<&str, State> = HashMap::new();
    for start in project.services.values() {
        if states.contains_key(start.name.as_str()) {
            continue;
        }
        let mut path = vec![(start, start.depends_on.iter())];
        states.insert(&start.name, State::Open);
        while let Some((service, dependencies)) = path.last_mut() {
            let Some((name, dependency)) = dependencies.next() else {
                states.insert(&service.name, State::Done);
                path.pop();
                continue;
            };
            let Some(next) = project.services.get(name) else { continue };
            match states.get(name.as_str()) {
                None => {
                    states.insert(&next.name, State::Open);
                    path.push((next, next.depends_on.iter()));
                }
                Some(State::Open) => {
                    let from = path.iter().position(|(s, _)| s.name == *name).unwrap_or(0);
                    let mut round: Vec<&str> =
                        path[from..].iter().map(|(s, _)| s.name.as_str()).collect();
                    round.push(name);
                    findings.push(
                        Finding::error(
                            "compose-cycle",
                            format!(
                                "services wait for each other in a circle: {}",
                                round.join(" → ")
                            ),
                            dependency.place.clone(),
                        )
                        .label(format!("`{name}` waits for this service in turn"))
                        .help("remove one of these dependencies"),
                    );
                }
                Some(State::Done) => {}
            }
        }
    }
}

/// Finds two services, of which both can run at once, on the same port of the machine.
fn check_published(project: &Project, findings: &mut Vec<Finding>) {
    let mut taken: HashMap<(Option<&str>, u16, super::Protocol), &Service> = HashMap::new();
    for service in project.services.values().filter(|service| service.profiles.is_empty()) {
        for port in &service.ports {
            let Some(published) = port.published.filter(|range| range.first == range.last) else {
                continue;
            };
            // Several names can share one listener of the proxy; without names it is a clash.
            if !service.marline.hosts.is_empty() || !service.marline.paths.is_empty() {
                continue;
            }
            let key = (port.host_ip.as_deref(), published.first, port.protocol);
            match taken.insert(key, service) {
                Some(other) if other.name != service.name => findings.push(
                    Finding::warning(
                        "compose-port-twice",
                        format!("`{}` publishes port {} as well", other.name, published.first),
                        port.place.clone(),
                    )
                    .help("publish another port, or tell them apart by `x-marline: {hosts: […]}`"),
                ),
                _ => {}
            }
        }
    }
}

/// An address and a port of the machine.
type At<'a> = (Option<&'a str>, u16);

/// Finds ports that would have to speak plainly and encrypted, or send their clients to two places.
fn check_tls(project: &Project, findings: &mut Vec<Finding>) {
    let mut published: HashMap<At<'_>, &Service> = HashMap::new();
    let mut redirects: HashMap<At<'_>, (&Service, Option<u16>)> = HashMap::new();
    for service in project.services.values() {
        for port in service.ports.iter().filter(|port| port.protocol == super::Protocol::Tcp) {
            let Some(range) = port.published else { continue };
            let key = (port.host_ip.as_deref(), range.first);
            let other = published.entry(key).or_insert(service);
            let mut conflict = |message: String, help: &str| {
                let place = port.place.clone();
                findings.push(Finding::error("compose-conflict", message, place).help(help));
            };
            if other.marline.tls.is_some() != service.marline.tls.is_some() {
                let (tls, plain) =
                    if other.marline.tls.is_some() { (*other, service) } else { (service, *other) };
                conflict(
                    format!(
                        "`{}` encrypts port {} and `{}` does not",
                        tls.name, range.first, plain.name
                    ),
                    "give both a `tls`, or publish one of them at another port",
                );
            }
            let asks = |service: &Service| service.marline.proxy_protocol.as_deref() == Some(&true);
            if asks(other) != asks(service) {
                conflict(
                    format!(
                        "only one of `{}` and `{}` expects the PROXY protocol at port {}",
                        other.name, service.name, range.first
                    ),
                    "a connection begins before its service is known: say it of both",
                );
            }
        }
        let Some(tls) = &service.marline.tls else { continue };
        let Some(first) = service.ports.iter().find(|port| port.published.is_some()) else {
            findings.push(
                Finding::error(
                    "compose-conflict",
                    format!("`{}` publishes no port that could be encrypted", service.name),
                    tls.place.clone(),
                )
                .help("publish one: `ports: [\"443:8000\"]`"),
            );
            continue;
        };
        let Some(redirect) = &tls.redirect else { continue };
        let to = first.published.map(|range| range.first);
        let key = (first.host_ip.as_deref(), redirect.value);
        let (other, before) = redirects.entry(key).or_insert((service, to));
        if *before != to {
            let message = format!(
                "`{}` sends the clients of port {} to another port",
                other.name, redirect.value
            );
            findings.push(
                Finding::error("compose-conflict", message, redirect.place.clone())
                    .help("publish both services at one port and tell them apart by `hosts`"),
            );
        }
    }
    for ((ip, port), (service, _)) in redirects {
        if let (Some(other), Some(tls)) = (published.get(&(ip, port)), &service.marline.tls) {
            let place = tls.redirect.as_ref().map_or(&tls.place, |redirect| &redirect.place);
            let message = format!("port {port} is published by `{}`", other.name);
            findings.push(
                Finding::error("compose-conflict", message, place.clone())
                    .help("`redirect` names a port of its own, which nobody else publishes"),
            );
        }
    }
}

fn check_names(project: &Project, findings: &mut Vec<Finding>) {
    let secrets = project.secrets.iter().map(|(name, secret)| ("secret", name, secret));
    let configs = project.configs.iter().map(|(name, config)| ("config", name, config));
    for (kind, name, Spanned { value, place }) in secrets.chain(configs) {
        let sources = [&value.file, &value.environment, &value.content];
        let said = sources.into_iter().flatten().count();
        if said > 1 {
            findings.push(
                Finding::error(
                    "compose-conflict",
                    format!("the {kind} `{name}` comes from more than one source"),
                    place.clone(),
                )
                .help("keep one of `file`, `environment` and `content`"),
            );
        }
        if said > 0 && value.external {
            findings.push(
                Finding::error(
                    "compose-conflict",
                    format!("the {kind} `{name}` is external and has a source here"),
                    place.clone(),
                )
                .help("remove `external` or the source"),
            );
        }
    }
}
