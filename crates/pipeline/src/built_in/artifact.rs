//! `actions/upload-artifact` and `actions/download-artifact`: files kept under a name.
//!
//! An artifact is a folder of its name in the folder of the run's artifacts.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::checkout::inside;
use super::{input, is_true};

/// What an upload kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub name: String,
    pub digest: String,
    pub files: u32,
    pub bytes: u64,
}

/// What came of an upload or a download.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub stored: Option<Stored>,
    pub outputs: Vec<(String, String)>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Keeps files of the workspace under a name.
pub(crate) fn upload(
    artifacts: &Path,
    workspace: &Path,
    inputs: &[(String, String)],
) -> Result<Outcome, String> {
    let name = input(inputs, "name").unwrap_or("artifact");
    check_name(name)?;
    let patterns = input(inputs, "path").ok_or("the input `path` is required")?;
    let mut outcome = Outcome::default();
    for ignored in ["retention-days", "compression-level"] {
        if input(inputs, ignored).is_some() {
            outcome.notes.push(format!("`{ignored}` changes nothing here"));
        }
    }
    let found = find(workspace, patterns, is_true(inputs, "include-hidden-files"), &mut outcome)?;
    if found.files.is_empty() {
        let message =
            format!("no files were found with the path: {patterns}. No artifact is kept.");
        match input(inputs, "if-no-files-found").unwrap_or("warn") {
            "warn" => outcome.warnings.push(message),
            "ignore" => outcome.notes.push(message),
            "error" => return Err(message),
            other => {
                return Err(format!("`if-no-files-found` is warn, error or ignore, not `{other}`"));
            }
        }
        return Ok(outcome);
    }
    let target = artifacts.join(name);
    if target.exists() {
        if !is_true(inputs, "overwrite") {
            return Err(format!("this run has an artifact `{name}` already"));
        }
        std::fs::remove_dir_all(&target).map_err(|error| said("replace", &target, &error))?;
    }
    let mut digest = Sha256::new();
    let mut bytes = 0;
    for file in &found.files {
        let relative = file.strip_prefix(&found.root).unwrap_or(file);
        let to = target.join(relative);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(|error| said("make", parent, &error))?;
        }
        std::fs::copy(file, &to).map_err(|error| said("keep", file, &error))?;
        let (sum, length) = hash(&to).map_err(|error| said("read", &to, &error))?;
        digest.update(relative.as_os_str().as_encoded_bytes());
        digest.update([0]);
        digest.update(sum);
        bytes += length;
    }
    let digest = hex(&digest.finalize());
    outcome.notes.push(format!("kept {} files, {bytes} bytes, as `{name}`", found.files.len()));
    outcome.outputs.push(("artifact-id".to_owned(), digest[..16].to_owned()));
    outcome.outputs.push(("artifact-digest".to_owned(), digest.clone()));
    outcome.stored =
        Some(Stored { name: name.to_owned(), digest, files: found.files.len() as u32, bytes });
    Ok(outcome)
}

/// Puts kept files into the workspace.
pub(crate) fn download(
    artifacts: &Path,
    workspace: &Path,
    inputs: &[(String, String)],
) -> Result<Outcome, String> {
    let target = inside(workspace, input(inputs, "path").unwrap_or("."))?;
    let mut outcome = Outcome::default();
    let mut kept: Vec<String> = match std::fs::read_dir(artifacts) {
        Ok(entries) => {
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
        }
        Err(_) => Vec::new(),
    };
    kept.sort();
    let names = match input(inputs, "name") {
        Some(name) if kept.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => return Err(format!("this run has no artifact `{name}`")),
        None => match input(inputs, "pattern") {
            Some(pattern) => {
                let pattern = globset::Glob::new(pattern)
                    .map_err(|error| format!("`pattern`: {error}"))?
                    .compile_matcher();
                kept.retain(|name| pattern.is_match(name));
                kept
            }
            None => kept,
        },
    };
    let is_flat = input(inputs, "name").is_some() || is_true(inputs, "merge-multiple");
    for name in &names {
        let to = if is_flat { target.clone() } else { target.join(name) };
        copy_tree(&artifacts.join(name), &to, workspace)?;
    }
    outcome.notes.push(format!("{} artifacts were put into the workspace", names.len()));
    outcome.outputs.push(("download-path".to_owned(), target.to_string_lossy().into_owned()));
    Ok(outcome)
}

fn copy_tree(from: &Path, to: &Path, workspace: &Path) -> Result<(), String> {
    let relative = to.strip_prefix(workspace).unwrap_or(to);
    let to = inside(workspace, &relative.to_string_lossy())?;
    for entry in std::fs::read_dir(from).map_err(|error| said("read", from, &error))? {
        let entry = entry.map_err(|error| said("read", from, &error))?;
        let target = to.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy_tree(&entry.path(), &target, workspace)?;
            continue;
        }
        // A link left by an earlier step must not carry the copy out of the workspace.
        if std::fs::symlink_metadata(&target).is_ok_and(|found| found.is_symlink()) {
            std::fs::remove_file(&target).map_err(|error| said("replace", &target, &error))?;
        }
        std::fs::copy(entry.path(), &target).map_err(|error| said("write", &target, &error))?;
    }
    Ok(())
}

/// Files and the directory that their kept names start from.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    root: PathBuf,
    files: Vec<PathBuf>,
}

/// Finds what lines of paths and patterns name; a later `!` line takes away.
fn find(
    workspace: &Path,
    patterns: &str,
    with_hidden: bool,
    outcome: &mut Outcome,
) -> Result<Found, String> {
    let mut roots: Vec<PathBuf> = Vec::new();
    let mut includes = Vec::new();
    let mut excludes = Vec::new();
    for line in patterns.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let (line, excluding) = match line.strip_prefix('!') {
            Some(rest) => (rest.trim(), true),
            None => (line, false),
        };
        let list = if excluding { &mut excludes } else { &mut includes };
        let line = line.strip_prefix("./").unwrap_or(line);
        let whole = normal(&workspace.join(line))
            .ok_or_else(|| format!("`{line}` is not below the workspace"))?;
        if !whole.starts_with(workspace) {
            return Err(format!("`{line}` is not below the workspace"));
        }
        let plain: PathBuf = whole
            .components()
            .take_while(|part| !has_wildcard(part.as_os_str().to_string_lossy().as_ref()))
            .collect();
        let pattern = whole.to_string_lossy().into_owned();
        let glob = |text: &str| {
            globset::GlobBuilder::new(text)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map(|glob| glob.compile_matcher())
                .map_err(|error| format!("`{line}`: {error}"))
        };
        // A directory stands for everything below it.
        list.push(glob(&pattern)?);
        list.push(glob(&format!("{}/**", pattern.trim_end_matches('/')))?);
        if !excluding {
            let is_dir = plain != whole || plain.is_dir();
            roots.push(if is_dir { plain } else { plain.parent().unwrap_or(&plain).to_owned() });
        }
    }
    let Some(root) = roots.iter().cloned().reduce(|one, two| common(&one, &two)) else {
        return Err("the input `path` names nothing".to_owned());
    };
    let mut files = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if is_hidden && !with_hidden {
                continue;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(path);
                continue;
            }
            let matches =
                |list: &[globset::GlobMatcher]| list.iter().any(|one| one.is_match(&path));
            if !matches(&includes) || matches(&excludes) {
                continue;
            }
            if kind.is_symlink() {
                // What a link leads to may be outside and none of this job's business.
                let leads_inside = path
                    .canonicalize()
                    .is_ok_and(|real| real.starts_with(workspace) && real.is_file());
                if !leads_inside {
                    outcome.warnings.push(format!(
                        "{} is a link out of the workspace and is left out",
                        path.display()
                    ));
                    continue;
                }
            } else if !kind.is_file() {
                continue;
            }
            files.push(path);
        }
    }
    files.sort();
    Ok(Found { root, files })
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            part => normal.push(part),
        }
    }
    Some(normal)
}

fn common(one: &Path, two: &Path) -> PathBuf {
    one.components()
        .zip(two.components())
        .take_while(|(one, two)| one == two)
        .map(|(part, _)| part)
        .collect()
}

fn check_name(name: &str) -> Result<(), String> {
    let is_wrong = |c: char| "\":<>|*?\r\n\\/".contains(c);
    match name.chars().find(|c| is_wrong(*c)) {
        Some(c) => Err(format!("the name of an artifact may not hold {c:?}")),
        None if name == "." || name == ".." => Err(format!("`{name}` is no name for an artifact")),
        None => Ok(()),
    }
}

/// The SHA-256 of a file and its length.
pub(crate) fn hash(path: &Path) -> std::io::Result<([u8; 32], u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((digest.finalize().into(), length));
        }
        length += read as u64;
        digest.update(&buffer[..read]);
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a text cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn said(doing: &str, path: &Path, error: &std::io::Error) -> String {
    format!("could not {doing} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn listed(dir: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![dir.to_owned()];
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(&next).expect("is readable").flatten() {
                if entry.path().is_dir() {
                    open.push(entry.path());
                } else {
                    let path = entry.path();
                    names.push(path.strip_prefix(dir).expect("is below").display().to_string());
                }
            }
        }
        names.sort();
        names
    }

    struct World {
        _dir: tempfile::TempDir,
        workspace: PathBuf,
        artifacts: PathBuf,
    }

    fn world(files: &[&str]) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = dir.path().join("work");
        let artifacts = dir.path().join("artifacts");
        std::fs::create_dir_all(&workspace).expect("a directory");
        for file in files {
            let path = workspace.join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
            std::fs::write(path, file).expect("a file");
        }
        World { _dir: dir, workspace, artifacts }
    }

    #[test]
    fn a_directory_is_kept_from_its_own_root() {
        let world = world(&["out/a", "out/b/c", "other"]);
        let done = upload(&world.artifacts, &world.workspace, &inputs(&[("path", "out/")]))
            .expect("is kept");
        assert_eq!(done.stored.map(|stored| stored.files), Some(2));
        assert_eq!(listed(&world.artifacts.join("artifact")), ["a", "b/c"]);
    }

    #[test]
    fn several_paths_are_kept_from_what_they_share_and_excludes_take_away() {
        let world = world(&["out/a.txt", "out/b.log", "docs/c.txt", "out/.hidden"]);
        let path = "out/**\ndocs/*.txt\n!**/*.log";
        upload(&world.artifacts, &world.workspace, &inputs(&[("path", path), ("name", "x")]))
            .expect("is kept");
        assert_eq!(listed(&world.artifacts.join("x")), ["docs/c.txt", "out/a.txt"]);
    }

    #[test]
    fn nothing_found_is_what_the_input_says() {
        let world = world(&[]);
        let run = |what| {
            upload(
                &world.artifacts,
                &world.workspace,
                &inputs(&[("path", "x"), ("if-no-files-found", what)]),
            )
        };
        assert!(run("error").is_err());
        assert_eq!(run("warn").expect("goes on").warnings.len(), 1);
        assert_eq!(run("ignore").expect("goes on").warnings.len(), 0);
        assert!(run("perhaps").is_err());
    }

    #[test]
    fn a_link_out_of_the_workspace_is_not_followed() {
        let world = world(&["out/a"]);
        std::os::unix::fs::symlink("/etc/passwd", world.workspace.join("out/p")).expect("a link");
        let done = upload(&world.artifacts, &world.workspace, &inputs(&[("path", "out")]))
            .expect("is kept");
        assert_eq!(done.warnings.len(), 1);
        assert_eq!(listed(&world.artifacts.join("artifact")), ["a"]);
        assert!(upload(&world.artifacts, &world.workspace, &inputs(&[("path", "../x")])).is_err());
    }

    #[test]
    fn downloads_are_flat_by_name_and_in_folders_otherwise() {
        let world = world(&["out/a"]);
        for name in ["one", "two"] {
            upload(&world.artifacts, &world.workspace, &inputs(&[("path", "out"), ("name", name)]))
                .expect("is kept");
        }
        let get =
            |pairs: &[(&str, &str)]| download(&world.artifacts, &world.workspace, &inputs(pairs));
        get(&[("name", "one"), ("path", "flat")]).expect("is there");
        get(&[("path", "all")]).expect("are there");
        get(&[("path", "some"), ("pattern", "t*"), ("merge-multiple", "true")]).expect("is there");
        assert_eq!(listed(&world.workspace.join("flat")), ["a"]);
        assert_eq!(listed(&world.workspace.join("all")), ["one/a", "two/a"]);
        assert_eq!(listed(&world.workspace.join("some")), ["a"]);
        assert!(get(&[("name", "three")]).is_err());
    }
}
