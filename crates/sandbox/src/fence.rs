//! Landlock: the wall that needs no namespaces.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};

use crate::BoxSpec;

/// Where programs write though they are in no workspace.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev"];

/// Keeps processes from signalling, tracing and abstractly connecting out of the box.
///
/// The second wall at level `namespaces`, where mounts do the rest.
pub(crate) fn scope() -> Result<Option<OwnedFd>, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?;
    Ok(ruleset.into())
}

/// Makes all but the workspace, the writable paths and the shared ones read-only, and hidden paths
/// unreadable.
pub(crate) fn files(spec: &BoxSpec) -> Result<Option<OwnedFd>, RulesetError> {
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let read = AccessFs::from_read(abi);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?;
    let granted = spec.writable.iter().chain([&spec.workspace]).cloned();
    let shared = SHARED.iter().flat_map(|path| around(Path::new(path), &spec.hidden));
    for path in granted.chain(shared) {
        ruleset = allow(ruleset, &path, all)?;
    }
    for path in around(Path::new("/"), &spec.hidden).iter().chain(&spec.readable) {
        ruleset = allow(ruleset, path, read)?;
    }
    Ok(ruleset.into())
}

/// Lists hidden paths that stay open because what was asked to be writable is above them.
pub(crate) fn left_open(spec: &BoxSpec) -> Vec<&Path> {
    let granted: Vec<&PathBuf> = spec.writable.iter().chain([&spec.workspace]).collect();
    let is_open = |path: &&PathBuf| granted.iter().any(|granted| path.starts_with(granted));
    spec.hidden.iter().filter(is_open).map(PathBuf::as_path).collect()
}

fn allow(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    // What has gone, or is not for our eyes, needs no permission.
    let Ok(fd) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V6) };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

/// Lists the highest paths that cover all below `dir` but the hidden ones: Landlock can only allow.
fn around(dir: &Path, hidden: &[PathBuf]) -> BTreeSet<PathBuf> {
    if !hidden.iter().any(|path| path.starts_with(dir)) {
        return [dir.to_owned()].into();
    }
    if hidden.iter().any(|path| path == dir) {
        return BTreeSet::new();
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // A symbolic link must not open what it leads to; that is covered, or hidden, where it is.
    let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
    entries.flat_map(|entry| around(&entry.path(), hidden)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_all_but_the_hidden_leaves_out_only_the_hidden() {
        let root = tempfile::tempdir().expect("a directory");
        for dir in ["a/secret", "a/open", "b"] {
            std::fs::create_dir_all(root.path().join(dir)).expect("made");
        }
        std::os::unix::fs::symlink("a/secret", root.path().join("way")).expect("a link");
        let covered = around(root.path(), &[root.path().join("a/secret")]);
        assert_eq!(covered, [root.path().join("a/open"), root.path().join("b")].into());
    }
}
