//! Images that are another tomorrow.

use source::compose::Project;

use super::{Look, Raised, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    id: "floating-image",
    severity: Severity::Warning,
    what: "an image without a tag, or with `latest`",
    why: "the same release may run other code tomorrow, and going back may not go back",
    mend: "name a version, or better the digest: `image@sha256:…`",
    bad: "services:\n  web:\n    image: nginx\n",
    good: "services:\n  web:\n    image: nginx:1.29.3\n",
    look: Look::Compose(look),
};

fn look(project: &Project, raised: &mut Raised<'_>) {
    for (name, service) in &project.services {
        let Some(image) = service.image.as_ref().filter(|_| service.build.is_none()) else {
            continue;
        };
        if is_floating(&image.value) {
            let message = format!("`{name}` runs whatever `{}` is that day", image.value);
            raised.at(image.place.clone(), message);
        }
    }
}

fn is_floating(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
