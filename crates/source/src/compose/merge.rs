//! Files laid over each other, and short forms made long so that they can be.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::tree::{At, Content, Entry, Item, Mark};
use super::typed;

/// Rewrites short forms as long ones, so that merging and typing meet only one form of each.
pub(super) fn to_long_forms(file: &mut Item) {
    if let Some(services) = file.get_mut("services") {
        for service in values_mut(services) {
            long_service(service);
        }
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        for resource in file.get_mut(section).into_iter().flat_map(values_mut) {
            long_in(resource, "labels", pairs);
        }
    }
}

fn long_service(service: &mut Item) {
    for key in ["environment", "labels", "annotations", "sysctls"] {
        long_in(service, key, pairs);
    }
    long_in(service, "extra_hosts", hosts);
    for key in ["networks", "models"] {
        long_in(service, key, |list| names(list, |at| Item::new(at, Content::Null)));
    }
    long_in(service, "depends_on", |list| names(list, started));
    for key in ["dns", "dns_search", "tmpfs", "env_file", "label_file"] {
        long_in(service, key, |item| {
            if let Content::Text(_) = &item.content {
                let only = Item::new(&item.at, item.content.clone());
                item.content = Content::List(vec![only]);
            }
        });
    }
    if let Some(files) = service.get_mut("env_file") {
        for file in items_mut(files) {
            if let Content::Text(path) = &file.content {
                let path = Item::text(&file.at, path.clone());
                file.content = record(&file.at, [("path", path)]).content;
            }
        }
    }
    if let Some(build) = service.get_mut("build") {
        if let Content::Text(context) = &build.content {
            let context = Item::text(&build.at, context.clone());
            build.content = record(&build.at, [("context", context)]).content;
        }
        for key in ["args", "labels", "additional_contexts", "ssh"] {
            long_in(build, key, pairs);
        }
        long_in(build, "extra_hosts", hosts);
    }
    if let Some(deploy) = service.get_mut("deploy") {
        long_in(deploy, "labels", pairs);
    }
    for key in ["pre_start", "post_start", "pre_stop"] {
        for hook in service.get_mut(key).into_iter().flat_map(items_mut) {
            long_in(hook, "environment", pairs);
        }
    }
    if let Some(extends) = service.get_mut("extends")
        && let Content::Text(name) = &extends.content
    {
        let name = Item::text(&extends.at, name.clone());
        extends.content = record(&extends.at, [("service", name)]).content;
    }
    if let Some(marline) = service.get_mut("x-marline") {
        for key in ["hosts", "paths", "methods"] {
            long_in(marline, key, |item| {
                if let Content::Text(_) = &item.content {
                    let only = Item::new(&item.at, item.content.clone());
                    item.content = Content::List(vec![only]);
                }
            });
        }
    }
}

/// What a dependency without more words means.
fn started(at: &At) -> Item {
    let condition = Item::text(at, "service_started");
    let required = Item::new(at, Content::Boolean(true));
    record(at, [("condition", condition), ("required", required)])
}

fn long_in(item: &mut Item, key: &str, rewrite: impl Fn(&mut Item)) {
    if let Some(value) = item.get_mut(key) {
        rewrite(value);
    }
}

/// `[A=1, B]` as `{A: "1", B: }`, and every value as a text.
fn pairs(list: &mut Item) {
    for entry in entries_mut(list) {
        if let Some(text) = entry.value.scalar() {
            entry.value.content = Content::Text(text);
        }
    }
    split_list(list, |text| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    });
}

/// `[name:ip, name=ip]` as `{name: [ip]}`; one name may have several addresses.
fn hosts(list: &mut Item) {
    if let Content::List(items) = &list.content {
        let mut entries: IndexMap<String, Entry> = IndexMap::new();
        for item in items {
            let Some(text) = item.scalar() else { continue };
            let parts = text.split_once('=').or_else(|| text.split_once(':'));
            let (name, address) = parts.unwrap_or((&text, ""));
            let known = entries.entry(name.to_owned()).or_insert_with(|| {
                entry(&item.at, name, Item::new(&item.at, Content::List(Vec::new())))
            });
            if let Content::List(addresses) = &mut known.value.content {
                addresses.push(Item::text(&item.at, address));
            }
        }
        list.content = Content::Map(entries.into_values().collect());
    }
    for entry in entries_mut(list) {
        if let Content::Text(_) = &entry.value.content {
            let only = Item::new(&entry.value.at, entry.value.content.clone());
            entry.value.content = Content::List(vec![only]);
        }
    }
}

fn split_list(list: &mut Item, split: impl Fn(&str) -> (String, Option<String>)) {
    let Content::List(items) = &list.content else { return };
    let mut entries: IndexMap<String, Entry> = IndexMap::new();
    for item in items {
        let Some(text) = item.scalar() else { continue };
        let (key, value) = split(&text);
        let content = value.map_or(Content::Null, Content::Text);
        entries.insert(key.clone(), entry(&item.at, key, Item::new(&item.at, content)));
    }
    list.content = Content::Map(entries.into_values().collect());
}

fn names(list: &mut Item, value: impl Fn(&At) -> Item) {
    let Content::List(items) = &list.content else { return };
    let named = items.iter().filter_map(|item| Some((item.scalar()?, item)));
    list.content =
        Content::Map(named.map(|(name, item)| entry(&item.at, name, value(&item.at))).collect());
}

fn entry(at: &At, key: impl Into<String>, value: Item) -> Entry {
    Entry { key: key.into(), key_at: at.clone(), key_is_text: true, value }
}

pub(super) fn record<const N: usize>(at: &At, fields: [(&str, Item); N]) -> Item {
    let entries = fields.into_iter().map(|(key, value)| entry(at, key, value)).collect();
    Item::new(at, Content::Map(entries))
}

fn entries_mut(item: &mut Item) -> &mut [Entry] {
    match &mut item.content {
        Content::Map(entries) => entries,
        _ => &mut [],
    }
}

fn values_mut(item: &mut Item) -> impl Iterator<Item = &mut Item> {
    entries_mut(item).iter_mut().map(|entry| &mut entry.value)
}

fn items_mut(item: &mut Item) -> impl Iterator<Item = &mut Item> {
    let items: &mut [Item] = match &mut item.content {
        Content::List(items) => items,
        _ => &mut [],
    };
    items.iter_mut()
}

/// Lays one file over another.
pub(super) fn merge(base: Item, over: Item) -> Item {
    merge_at(base, over, &mut Vec::new())
}

fn merge_at(base: Item, over: Item, path: &mut Vec<String>) -> Item {
    if over.mark != Mark::None {
        return over;
    }
    let here = path.clone();
    let place: Vec<&str> = here.iter().map(String::as_str).collect();
    let replaces = matches!(
        place.as_slice(),
        ["services", _, "command" | "entrypoint"]
            | ["services", _, "healthcheck", "test"]
            | ["services", _, "ulimits", _]
            | ["models", _, "runtime_flags"]
    );
    let logs_elsewhere = matches!(place.as_slice(), ["services", _, "logging"])
        && over.get("driver").is_some()
        && base.get("driver").is_some()
        && over.get("driver").and_then(Item::scalar) != base.get("driver").and_then(Item::scalar);
    if replaces || logs_elsewhere {
        return over;
    }
    // What was reset and is said again by a later file is there again.
    let mark = if base.mark == Mark::Reset { Mark::None } else { base.mark };
    match (base.content, over.content) {
        (Content::Map(mut entries), Content::Map(more)) => {
            let known: HashMap<String, usize> =
                entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
            for new in more {
                let Some(at) = known.get(&new.key) else {
                    entries.push(new);
                    continue;
                };
                let old = std::mem::replace(&mut entries[*at].value, nothing(&new.key_at));
                path.push(new.key.clone());
                let value = merge_at(old, new.value, path);
                path.pop();
                entries[*at] = Entry { value, ..new };
            }
            Item { at: over.at, mark, content: Content::Map(entries) }
        }
        (Content::List(mut items), Content::List(more)) => {
            let mut known: HashMap<String, usize> = items
                .iter()
                .enumerate()
                .filter_map(|(at, item)| Some((identity(&place, item)?, at)))
                .collect();
            for new in more {
                let id = identity(&place, &new);
                let Some(at) = id.as_ref().and_then(|id| known.get(id)).copied() else {
                    known.extend(id.map(|id| (id, items.len())));
                    items.push(new);
                    continue;
                };
                let old = std::mem::replace(&mut items[at], nothing(&new.at));
                let both_long =
                    [&old, &new].iter().all(|item| matches!(item.content, Content::Map(_)));
                items[at] = if both_long {
                    path.push("[]".into());
                    let merged = merge_at(old, new, path);
                    path.pop();
                    merged
                } else {
                    new
                };
            }
            Item { at: over.at, mark, content: Content::List(items) }
        }
        // A key with nothing after it says nothing about what was before.
        (base_content, Content::Null) if base_content != Content::Null => {
            Item { at: base.at, mark: base.mark, content: base_content }
        }
        (_, content) => Item { at: over.at, mark: Mark::None, content },
    }
}

fn nothing(at: &At) -> Item {
    Item::new(at, Content::Null)
}

/// What makes two items of a list the same one; `None` for lists whose items all count.
fn identity(place: &[&str], item: &Item) -> Option<String> {
    let field = |key: &str| item.get(key).and_then(Item::scalar).unwrap_or_default();
    let last = *place.last()?;
    let in_service = place.len() == 3 && place[0] == "services";
    match last {
        "ports" if in_service => Some(typed::port_identity(item)),
        "volumes" if in_service => Some(typed::mount_target(item)),
        "devices" if in_service => Some(match item.scalar() {
            Some(text) => {
                let mut parts = text.split(':');
                let source = parts.next().unwrap_or_default().to_owned();
                parts.next().map_or(source, str::to_owned)
            }
            None => field("target"),
        }),
        "secrets" | "configs" => Some(match item.scalar() {
            Some(name) => name,
            None => item.get("target").or(item.get("source")).and_then(Item::scalar)?,
        }),
        "links" => item.scalar().map(|link| link.split(['=', ':']).next().unwrap_or("").to_owned()),
        "config" if place.first() == Some(&"networks") => Some(field("subnet")),
        "env_file" => Some(field("path")),
        "watch" => Some(field("path")),
        "pre_start" | "post_start" | "pre_stop" => None,
        _ => item.scalar(),
    }
}

/// Takes out what was reset, in all of the tree.
pub(super) fn drop_reset(item: &mut Item) {
    match &mut item.content {
        Content::Map(entries) => {
            entries.retain(|entry| entry.value.mark != Mark::Reset);
            for entry in entries {
                drop_reset(&mut entry.value);
            }
        }
        Content::List(items) => {
            items.retain(|item| item.mark != Mark::Reset);
            items.iter_mut().for_each(drop_reset);
        }
        _ => {}
    }
}
