//! Containers that are no box.

use source::Place;
use source::compose::Project;

use super::{Look, Raised, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    id: "privileged-service",
    severity: Severity::Error,
    what: "`privileged: true`",
    why: "the service can do to the machine whatever root can",
    mend: "name what it needs: `cap_add`, `devices`",
    bad: "services:\n  web:\n    image: web:1\n    privileged: true\n",
    good: "services:\n  web:\n    image: web:1\n    cap_add: [NET_ADMIN]\n",
    look: Look::Compose(look),
};

fn look(project: &Project, raised: &mut Raised<'_>) {
    let tree = project.normalised();
    for (name, service) in &project.services {
        if tree["services"][name]["privileged"] == true {
            let place = service.place_of("privileged").cloned();
            let place = place.unwrap_or_else(|| Place::file("compose.yaml"));
            raised.at(place, format!("`{name}` runs with every right there is"));
        }
    }
}
