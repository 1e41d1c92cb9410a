//! Files that lead to other files: `include`, and `extends` of a service that stands elsewhere.
//!
//! Every path comes out relative to the project, whichever file it was written in: an included
//! file's are relative to its `project_directory`, or to where it lies, and an extended service's
//! to the file that it stands in. That is what the Compose specification says of both.

use std::collections::HashMap;

use super::merge::{self, record};
use super::tree::{Content, Item};
use super::{ComposeFile, Environment, shape};
use crate::yaml::{self, Node, Options, did_you_mean};
use crate::{Finding, Place};

/// How many files a project may be read from; several that include each other twice grow fast.
const MAX_FILES: usize = 256;
/// How many services may extend each other in a row.
const MAX_EXTENDS: usize = 64;
/// What one file may bring into another.
const SECTIONS: [&str; 6] = ["services", "networks", "volumes", "secrets", "configs", "models"];

/// Reads files and all that they lead to.
pub(super) struct Loader<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    findings: &'a mut Vec<Finding>,
    /// What services of other files are extended, by the path of the file.
    extended: HashMap<String, Option<Item>>,
    files: usize,
}

/// A service on the way from one to the one it extends.
#[derive(PartialEq)]
struct Link {
    /// The file it stands in, if that is not one of the project's own.
    file: Option<String>,
    service: String,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        read: &'a dyn Fn(&str) -> Option<String>,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        Self { read, findings, extended: HashMap::new(), files: 0 }
    }

    /// Lays documents over each other, with all that they include and extend.
    ///
    /// `directory` is what their paths are relative to, and `including` are the files on the way
    /// here.
    pub(super) fn whole(
        &mut self,
        documents: &[(&ComposeFile, Node)],
        environment: &Environment,
        directory: &str,
        including: &mut Vec<String>,
    ) -> Option<Item> {
        let mut whole: Option<Item> = None;
        for (file, node) in documents {
            let mut layer = self.layer(&file.path, node, environment, directory);
            if let Some(include) = taken(&mut layer, "include") {
                including.push(tidy(&file.path));
                for entry in include.items() {
                    self.include(entry, &mut layer, environment, directory, including);
                }
                including.pop();
            }
            whole = Some(match whole {
                Some(base) => merge::merge(base, layer),
                None => layer,
            });
        }
        let mut whole = whole?;
        self.extend_services(&mut whole, environment);
        merge::drop_reset(&mut whole);
        Some(whole)
    }

    /// Reads one document, with everything in its long form and every path relative to the project.
    fn layer(
        &mut self,
        path: &str,
        node: &Node,
        environment: &Environment,
        directory: &str,
    ) -> Item {
        let mut layer = Item::read(path, node, environment, self.findings);
        shape::check_file(&layer, self.findings);
        merge::to_long_forms(&mut layer);
        if !directory.is_empty() {
            rebase(&mut layer, directory);
        }
        layer
    }

    /// Brings what an entry of `include` names into a layer.
    fn include(
        &mut self,
        entry: &Item,
        layer: &mut Item,
        environment: &Environment,
        directory: &str,
        including: &mut Vec<String>,
    ) {
        let paths: Vec<&Item> = match entry.get("path") {
            None => vec![entry],
            Some(path) => match &path.content {
                Content::List(paths) => paths.iter().collect(),
                _ => vec![path],
            },
        };
        let mut files = Vec::new();
        for item in paths {
            let Some(path) = item.scalar() else { continue };
            let path = join(directory, &path);
            if including.contains(&path) {
                let round = format!("{} → {path}", including.join(" → "));
                let message = format!("files include each other in a circle: {round}");
                self.findings.push(
                    Finding::error("compose-cycle", message, item.place())
                        .help("move what both need into a file of its own, and include that"),
                );
                return;
            }
            let Some(text) = self.text(&path, &item.place()) else { return };
            files.push(ComposeFile::new(path, text));
        }
        let Some(first) = files.first() else { return };
        let own = match entry.get("project_directory").and_then(Item::scalar) {
            Some(given) => join(directory, &given),
            None => folder_of(&first.path).to_owned(),
        };
        let own = if own == "." { String::new() } else { own };
        let environment = self.environment_of(entry, environment, directory, &own);
        let mut documents = Vec::new();
        for file in &files {
            documents.extend(documents_of(file, self.findings).into_iter().map(|n| (file, n)));
        }
        // What was read with other variables is another text.
        let outer = std::mem::take(&mut self.extended);
        let whole = self.whole(&documents, &environment, &own, including);
        self.extended = outer;
        if let Some(whole) = whole {
            self.import(layer, whole, entry);
        }
    }

    /// Returns the variables that included files are read with.
    fn environment_of(
        &mut self,
        entry: &Item,
        environment: &Environment,
        directory: &str,
        own: &str,
    ) -> Environment {
        let mut environment = environment.clone();
        let Some(given) = entry.get("env_file") else {
            let usual = join(own, ".env");
            return match (self.read)(&usual) {
                Some(text) => environment.with_env_file(&usual, &text, self.findings),
                None => environment,
            };
        };
        let given: Vec<&Item> = match &given.content {
            Content::List(files) => files.iter().collect(),
            _ => vec![given],
        };
        // The first to say something is obeyed, so the last file goes first.
        for item in given.into_iter().rev() {
            let Some(path) = item.scalar() else { continue };
            let path = join(directory, &path);
            if let Some(text) = self.text(&path, &item.place()) {
                environment = environment.with_env_file(&path, &text, self.findings);
            }
        }
        environment
    }

    /// Puts what an included file describes beside what stands in the file that includes it.
    fn import(&mut self, layer: &mut Item, whole: Item, include: &Item) {
        for section in SECTIONS {
            let Some(brought) = whole.get(section) else { continue };
            if brought.entries().is_empty() {
                continue;
            }
            let Content::Map(sections) = &mut layer.content else { return };
            if !sections.iter().any(|entry| entry.key == section) {
                let Content::Map(one) = record(&include.at, [(section, brought.clone())]).content
                else {
                    continue;
                };
                sections.extend(one);
                continue;
            }
            let Some(there) = layer.get_mut(section) else { continue };
            if there.is_null() {
                there.content = brought.content.clone();
                continue;
            }
            for entry in brought.entries() {
                match there.get(&entry.key) {
                    None => {
                        if let Content::Map(entries) = &mut there.content {
                            entries.push(entry.clone());
                        }
                    }
                    Some(known) if known.to_json() == entry.value.to_json() => {}
                    Some(known) => {
                        let kind = section.trim_end_matches('s');
                        self.findings.push(
                            Finding::error(
                                "compose-conflict",
                                format!(
                                    "the {kind} `{}` stands here and in an included file",
                                    entry.key
                                ),
                                known.place(),
                            )
                            .why(format!("`{}` describes it otherwise", entry.key_at.place()))
                            .help(
                                "give one of them another name, or change it in an override file",
                            ),
                        );
                    }
                }
            }
        }
    }

    /// Lays services over those that they extend.
    fn extend_services(&mut self, file: &mut Item, environment: &Environment) {
        let Some(services) = file.get("services").cloned() else { return };
        for entry in services.entries() {
            let mut chain = vec![Link { file: None, service: entry.key.clone() }];
            let whole = self.extended(&services, &mut chain, environment);
            if let (Some(whole), Some(place)) =
                (whole, file.get_mut("services").and_then(|services| services.get_mut(&entry.key)))
            {
                *place = whole;
            }
        }
    }

    /// Returns the service at the end of a chain with all that it extends.
    fn extended(
        &mut self,
        services: &Item,
        chain: &mut Vec<Link>,
        environment: &Environment,
    ) -> Option<Item> {
        let Link { file: here, service: name } = chain.last()?;
        let (here, name) = (here.clone(), name.clone());
        let service = services.get(&name)?.clone();
        let Some(extends) = service.get("extends") else { return Some(service) };
        // What is wrong with a service is told when it is its turn, not for all that extend it;
        // those of other files never have a turn.
        let is_told = chain.len() == 1 || here.is_some();
        let base = extends.get("service").and_then(Item::scalar)?;
        let file = match extends.get("file").and_then(Item::scalar) {
            Some(file) => Some(tidy(&file)),
            None => here,
        };
        let next = Link { file: file.clone(), service: base.clone() };
        if chain.contains(&next) {
            let is_first = chain[0] == next && chain.iter().all(|link| link.service >= base);
            if is_first || next.file.is_some() {
                let round: Vec<_> = chain.iter().chain([&next]).map(Link::to_string).collect();
                let round = round.join(" → ");
                let message = format!("services extend each other in a circle: {round}");
                self.findings.push(Finding::error("compose-cycle", message, extends.place()));
            }
            return None;
        }
        if chain.len() >= MAX_EXTENDS {
            let message = format!("more than {MAX_EXTENDS} services extend each other in a row");
            self.findings.push(Finding::error("compose-cycle", message, extends.place()));
            return None;
        }
        let elsewhere;
        let services = match &file {
            None => services,
            Some(path) => {
                let place = extends.get("file").map_or_else(|| extends.place(), Item::place);
                elsewhere = self.services_of(path, &place, environment)?;
                &elsewhere
            }
        };
        if services.get(&base).is_none() {
            if is_told {
                let place = extends.get("service").map_or_else(|| extends.place(), Item::place);
                let within = file.as_ref().map(|file| format!(" in `{file}`")).unwrap_or_default();
                let message = format!("there is no service `{base}`{within} to extend");
                let finding = Finding::error("compose-unknown-service", message, place);
                let names = services.entries().iter().map(|entry| entry.key.as_str());
                self.findings.push(match did_you_mean(&base, names) {
                    Some(near) => finding.help(format!("did you mean `{near}`?")),
                    None => finding,
                });
            }
            return None;
        }
        let at = extends.at.clone();
        chain.push(next);
        let base = self.extended(services, chain, environment);
        chain.pop();
        let mut base = base?;
        taken(&mut base, "extends");
        let wrap = |service: Item| record(&at, [("services", record(&at, [(&name, service)]))]);
        let mut merged = merge::merge(wrap(base), wrap(service));
        let whole = merged.get_mut("services")?.get_mut(&name)?;
        taken(whole, "extends");
        Some(whole.clone())
    }

    /// Returns the services of a file that is only there to be extended: what it includes is not.
    fn services_of(
        &mut self,
        path: &str,
        place: &Place,
        environment: &Environment,
    ) -> Option<Item> {
        if let Some(known) = self.extended.get(path) {
            return known.clone();
        }
        let services = self.text(path, place).and_then(|text| {
            let file = ComposeFile::new(path, text);
            let mut whole: Option<Item> = None;
            for node in documents_of(&file, self.findings) {
                let layer = self.layer(path, &node, environment, folder_of(path));
                whole = Some(match whole {
                    Some(base) => merge::merge(base, layer),
                    None => layer,
                });
            }
            whole?.get("services").cloned()
        });
        self.extended.insert(path.to_owned(), services.clone());
        services
    }

    /// Returns the text of another file of the project, or says why it cannot.
    fn text(&mut self, path: &str, place: &Place) -> Option<String> {
        let refused = |message: String, help: &str| {
            Finding::error("compose-file", message, place.clone()).help(help)
        };
        let finding = if path.contains(':') {
            refused(
                format!("`{path}` is not a file of this repository, and nothing is fetched"),
                "copy the file into the repository and name its path",
            )
        } else if path.starts_with(['/', '~']) || path == ".." || path.starts_with("../") {
            refused(
                format!("`{path}` lies outside of the repository"),
                "a release holds what stands in its commit; move the file into the repository",
            )
        } else if self.files >= MAX_FILES {
            refused(
                format!("the project is made of more than {MAX_FILES} files"),
                "include each file once",
            )
        } else {
            self.files += 1;
            match (self.read)(path) {
                Some(text) => return Some(text),
                None => refused(
                    format!("there is no file `{path}`"),
                    "paths are relative to the file that names them",
                ),
            }
        };
        self.findings.push(finding);
        None
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.service),
            None => f.write_str(&self.service),
        }
    }
}

/// Reads the documents of a file; those that say nothing are left out.
pub(super) fn documents_of(file: &ComposeFile, findings: &mut Vec<Finding>) -> Vec<Node> {
    let options = Options { merge_keys: true, ..Options::default() };
    let (mut nodes, found) = yaml::read_all(&file.path, &file.text, &options);
    findings.extend(found);
    nodes.retain(|node| !node.is_null());
    nodes
}

fn taken(item: &mut Item, key: &str) -> Option<Item> {
    let Content::Map(entries) = &mut item.content else { return None };
    let at = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(at).value)
}

/// Makes the paths of a file that are relative to a directory relative to the project.
fn rebase(file: &mut Item, directory: &str) {
    let each = |file: &mut Item, section: &str, change: &dyn Fn(&mut Item)| {
        if let Some(Item { content: Content::Map(entries), .. }) = file.get_mut(section) {
            for entry in entries.iter_mut() {
                change(&mut entry.value);
            }
        }
    };
    each(file, "services", &|service| rebase_service(service, directory));
    for section in ["configs", "secrets"] {
        each(file, section, &|config| moved(config, &["file"], directory));
    }
    each(file, "volumes", &|volume| {
        let Some(options) = volume.get_mut("driver_opts") else { return };
        let is_bind = options.get("o").and_then(Item::scalar).is_some_and(|o| o.contains("bind"));
        if is_bind {
            moved(options, &["device"], directory);
        }
    });
}

fn rebase_service(service: &mut Item, directory: &str) {
    moved(service, &["build", "context"], directory);
    moved(service, &["extends", "file"], directory);
    for key in ["env_file", "label_file"] {
        let files = service.get_mut(key);
        if let Some(Item { content: Content::List(files), .. }) = files {
            for file in files {
                moved(file, &[], directory);
                moved(file, &["path"], directory);
            }
        }
    }
    if let Some(Item { content: Content::Map(contexts), .. }) =
        service.get_mut("build").and_then(|build| build.get_mut("additional_contexts"))
    {
        for context in contexts.iter_mut() {
            moved(&mut context.value, &[], directory);
        }
    }
    let watched = service.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
    if let Some(Item { content: Content::List(watched), .. }) = watched {
        for watch in watched.iter_mut() {
            moved(watch, &["path"], directory);
        }
    }
    if let Some(Item { content: Content::List(mounts), .. }) = service.get_mut("volumes") {
        for mount in mounts {
            if mount.get("type").and_then(Item::scalar).as_deref() == Some("bind") {
                moved(mount, &["source"], directory);
            } else if let Content::Text(text) = &mount.content
                && text.starts_with('.')
                && let Some((source, rest)) = text.split_once(':')
            {
                let source = join(directory, source);
                let dot = if source.starts_with('.') { "" } else { "./" };
                mount.content = Content::Text(format!("{dot}{source}:{rest}"));
            }
        }
    }
}

/// Moves the path at the end of these keys, if there is one.
fn moved(item: &mut Item, keys: &[&str], directory: &str) {
    let mut item = item;
    for key in keys {
        let Some(inner) = item.get_mut(key) else { return };
        item = inner;
    }
    if let Content::Text(path) = &item.content {
        // An address of another kind is no path: `https://…`, `git@…:…`, `service:base`.
        let moved = if path.contains(':') { path.clone() } else { join(directory, path) };
        item.content = Content::Text(moved);
    }
}

/// Returns a path that is relative to a directory as one relative to what the directory is.
fn join(directory: &str, path: &str) -> String {
    if path.starts_with(['/', '~']) || path.contains(':') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match () {
        () if directory.starts_with('/') => format!("/{joined}"),
        () if joined.is_empty() => ".".to_owned(),
        () => joined,
    }
}

fn tidy(path: &str) -> String {
    join("", path)
}

/// Returns the folder that a file lies in; empty for the project's own.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_a_shell_would_walk() {
        assert_eq!(join("", "./a/../b"), "b");
        assert_eq!(join("sub", "."), "sub");
        assert_eq!(join("sub", ".."), ".");
        assert_eq!(join("sub/x", "../../../a"), "../a");
        assert_eq!(join("sub", "/etc/x"), "/etc/x");
        assert_eq!(join("/abs", "x"), "/abs/x");
        assert_eq!(join("sub", "https://example.org/x"), "https://example.org/x");
    }
}
