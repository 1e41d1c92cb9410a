//! The keys to the machine, mounted.

use source::compose::Project;

use super::{Look, Raised, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    id: "docker-socket",
    severity: Severity::Error,
    what: "the socket of a container engine is mounted",
    why: "whoever can talk to it can start a container with the machine's own files: it is root",
    mend: "take it out, or put a proxy before it that lets through only what is needed",
    bad: "services:\n  web:\n    image: web:1\n    volumes:\n      \
          - /var/run/docker.sock:/var/run/docker.sock:ro\n",
    good: "services:\n  web:\n    image: web:1\n    volumes:\n      - data:/data\nvolumes:\n  data: {}\n",
    look: Look::Compose(look),
};

const SOCKETS: &[&str] = &["docker.sock", "podman.sock", "containerd.sock", "crio.sock"];

fn look(project: &Project, raised: &mut Raised<'_>) {
    for (name, service) in &project.services {
        for mount in &service.volumes {
            let source = mount.source.as_deref().unwrap_or_default();
            if SOCKETS.iter().any(|socket| source.ends_with(socket)) {
                raised.at(mount.place.clone(), format!("`{name}` gets `{source}`"));
            }
        }
    }
}
