//! `actions/upload-artifact` and `actions/download-artifact`: files kept under a name.
//!
//! They lie in the same store that JavaScript actions reach through the service of the run.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::checkout::inside;
use super::{input, is_true};
use crate::results::Store;
use crate::results::artifact::{KeepError, New, RETENTION_DAYS, ZIP, check_name, in_days, pack};

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
    /// Directories to look for programs in first, from now on.
    pub paths: Vec<String>,
    /// Variables for the steps that follow.
    pub variables: Vec<(String, String)>,
    /// A cache to save when the job has ended well.
    pub save: Option<super::cache::Save>,
}

/// Where the artifacts and caches of a job go.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub store: Store,
    pub run: u64,
    /// The job, as its records name it.
    pub job: String,
}

/// Keeps files of the workspace under a name.
pub(crate) fn upload(
    shelf: &Shelf,
    workspace: &Path,
    inputs: &[(String, String)],
) -> Result<Outcome, String> {
    let patterns = input(inputs, "path").ok_or("the input `path` is required")?;
    let mut outcome = Outcome::default();
    let level = number(inputs, "compression-level", 0, 9)?;
    let days = number(inputs, "retention-days", 0, i64::from(RETENTION_DAYS))?;
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
    let is_archive =
        input(inputs, "archive").is_none_or(|text| !text.eq_ignore_ascii_case("false"));
    let incoming = shelf.store.incoming().map_err(|error| error.line())?;
    let (name, mime) = if is_archive {
        pack(&found.root, &found.files, &incoming.whole(), level)?;
        (input(inputs, "name").unwrap_or("artifact").to_owned(), ZIP)
    } else {
        let [file] = found.files.as_slice() else {
            return Err("without an archive exactly one file can be kept".to_owned());
        };
        std::fs::copy(file, incoming.whole()).map_err(|error| said("keep", file, &error))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, "application/octet-stream")
    };
    check_name(&name)?;
    let staged = incoming.finish().map_err(|error| error.line())?;
    let new = New {
        run: shelf.run,
        job: shelf.job.clone(),
        name,
        mime: mime.to_owned(),
        expires: days.filter(|days| *days > 0).map(|days| in_days(days as u32)),
    };
    let files = found.files.len() as u32;
    let overwrite = is_true(inputs, "overwrite");
    let kept = match shelf.store.keep_artifact(new, &staged, files, overwrite) {
        Ok(kept) => kept,
        Err(KeepError::Store(error)) => return Err(error.line()),
        Err(error) => return Err(error.to_string()),
    };
    outcome.notes.push(format!("kept {files} files, {} bytes, as `{}`", kept.bytes, kept.name));
    outcome.outputs.push(("artifact-id".to_owned(), kept.id.to_string()));
    outcome.outputs.push(("artifact-digest".to_owned(), kept.digest.clone()));
    outcome.outputs.push(("artifact-url".to_owned(), String::new()));
    outcome.stored =
        Some(Stored { name: kept.name, digest: kept.digest, files, bytes: kept.bytes });
    Ok(outcome)
}

/// Reads an input that is a whole number between two others.
fn number(
    inputs: &[(String, String)],
    name: &str,
    least: i64,
    most: i64,
) -> Result<Option<i64>, String> {
    let Some(text) = input(inputs, name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
    number.map(Some).ok_or_else(|| format!("`{name}` is {least} to {most}, not `{text}`"))
}

/// Puts kept files into the workspace.
pub(crate) fn download(
    shelf: &Shelf,
    workspace: &Path,
    inputs: &[(String, String)],
) -> Result<Outcome, String> {
    let target = inside(workspace, input(inputs, "path").unwrap_or("."))?;
    let mut outcome = Outcome::default();
    let mut chosen = shelf.store.artifacts_of(shelf.run);
    chosen.sort_by(|one, two| one.name.cmp(&two.name));
    let ids = input(inputs, "artifact-ids");
    if let Some(name) = input(inputs, "name") {
        if ids.is_some() {
            return Err("`name` and `artifact-ids` cannot both be given".to_owned());
        }
        chosen.retain(|artifact| artifact.name == name);
        if chosen.is_empty() {
            return Err(format!("this run has no artifact `{name}`"));
        }
    } else if let Some(ids) = ids {
        let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
        let known: Vec<String> = chosen.iter().map(|artifact| artifact.id.to_string()).collect();
        if let Some(id) = ids.iter().find(|id| !known.iter().any(|known| known == *id)) {
            return Err(format!("this run has no artifact with the number `{id}`"));
        }
        chosen.retain(|artifact| ids.contains(&artifact.id.to_string().as_str()));
    } else if let Some(pattern) = input(inputs, "pattern") {
        let pattern = globset::Glob::new(pattern)
            .map_err(|error| format!("`pattern`: {error}"))?
            .compile_matcher();
        chosen.retain(|artifact| pattern.is_match(&artifact.name));
    }
    let is_single = input(inputs, "name").is_some() || (ids.is_some() && chosen.len() == 1);
    let is_flat = is_single || is_true(inputs, "merge-multiple");
    let as_it_is = is_true(inputs, "skip-decompress");
    for artifact in &chosen {
        let to = if is_flat { target.clone() } else { inside(&target, &artifact.name)? };
        if as_it_is && artifact.is_archive() {
            shelf.store.put(artifact, &format!("{}.zip", artifact.name), &to)?;
        } else {
            shelf.store.unpack(artifact, &to)?;
        }
    }
    outcome.notes.push(format!("{} artifacts were put into the workspace", chosen.len()));
    outcome.outputs.push(("download-path".to_owned(), target.to_string_lossy().into_owned()));
    Ok(outcome)
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

pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

pub(super) fn normal(path: &Path) -> Option<PathBuf> {
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
        shelf: Shelf,
    }

    impl World {
        fn upload(&self, pairs: &[(&str, &str)]) -> Result<Outcome, String> {
            upload(&self.shelf, &self.workspace, &inputs(pairs))
        }

        fn download(&self, pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
            let out = self.workspace.join("got");
            let _ = std::fs::remove_dir_all(&out);
            let mut pairs = pairs.to_vec();
            pairs.push(("path", "got"));
            download(&self.shelf, &self.workspace, &inputs(&pairs))?;
            Ok(listed(&out))
        }
    }

    fn world(files: &[&str]) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = dir.path().join("work");
        let store = Store::open(dir.path().join("artifacts")).expect("opens");
        std::fs::create_dir_all(&workspace).expect("a directory");
        for file in files {
            let path = workspace.join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
            std::fs::write(path, file).expect("a file");
        }
        World { _dir: dir, workspace, shelf: Shelf { store, run: 1, job: "a".to_owned() } }
    }

    #[test]
    fn a_directory_is_kept_from_its_own_root() {
        let world = world(&["out/a", "out/b/c", "other"]);
        let done = world.upload(&[("path", "out/")]).expect("is kept");
        assert_eq!(done.stored.map(|stored| stored.files), Some(2));
        assert_eq!(world.download(&[("name", "artifact")]).expect("is there"), ["a", "b/c"]);
    }

    #[test]
    fn several_paths_are_kept_from_what_they_share_and_excludes_take_away() {
        let world = world(&["out/a.txt", "out/b.log", "docs/c.txt", "out/.hidden"]);
        let path = "out/**\ndocs/*.txt\n!**/*.log";
        world.upload(&[("path", path), ("name", "x")]).expect("is kept");
        assert_eq!(
            world.download(&[("name", "x")]).expect("is there"),
            ["docs/c.txt", "out/a.txt"]
        );
        let hidden = [("path", "out"), ("name", "y"), ("include-hidden-files", "true")];
        world.upload(&hidden).expect("is kept");
        assert_eq!(
            world.download(&[("name", "y")]).expect("is there"),
            [".hidden", "a.txt", "b.log"]
        );
    }

    #[test]
    fn nothing_found_is_what_the_input_says() {
        let world = world(&[]);
        let run = |what| world.upload(&[("path", "x"), ("if-no-files-found", what)]);
        assert!(run("error").is_err());
        assert_eq!(run("warn").expect("goes on").warnings.len(), 1);
        assert_eq!(run("ignore").expect("goes on").warnings.len(), 0);
        assert!(run("perhaps").is_err());
    }

    #[test]
    fn a_link_out_of_the_workspace_is_not_followed() {
        let world = world(&["out/a"]);
        std::os::unix::fs::symlink("/etc/passwd", world.workspace.join("out/p")).expect("a link");
        let done = world.upload(&[("path", "out")]).expect("is kept");
        assert_eq!(done.warnings.len(), 1);
        assert_eq!(world.download(&[]).expect("is there"), ["artifact/a"]);
        assert!(world.upload(&[("path", "../x"), ("name", "b")]).is_err());
    }

    #[test]
    fn downloads_are_flat_by_name_and_in_folders_otherwise() {
        let world = world(&["out/a"]);
        for name in ["one", "two"] {
            world.upload(&[("path", "out"), ("name", name)]).expect("is kept");
        }
        let id = world.shelf.store.artifact(1, "two").expect("is there").id.to_string();
        let get = |pairs: &[(&str, &str)]| world.download(pairs).expect("is there");
        assert_eq!(get(&[("name", "one")]), ["a"]);
        assert_eq!(get(&[]), ["one/a", "two/a"]);
        assert_eq!(get(&[("pattern", "t*")]), ["two/a"]);
        assert_eq!(get(&[("pattern", "t*"), ("merge-multiple", "true")]), ["a"]);
        assert_eq!(get(&[("artifact-ids", &id)]), ["a"]);
        assert_eq!(get(&[("name", "one"), ("skip-decompress", "true")]), ["one.zip"]);
        assert!(world.download(&[("name", "three")]).is_err());
        assert!(world.download(&[("artifact-ids", "1")]).is_err());
    }

    #[test]
    fn a_name_is_taken_unless_it_may_be_overwritten() {
        let world = world(&["out/a", "b"]);
        world.upload(&[("path", "out")]).expect("is kept");
        assert!(world.upload(&[("path", "b")]).is_err());
        world.upload(&[("path", "b"), ("overwrite", "true")]).expect("is kept");
        assert_eq!(world.download(&[("name", "artifact")]).expect("is there"), ["b"]);
    }

    #[test]
    fn inputs_that_are_no_numbers_are_refused() {
        let world = world(&["a"]);
        for pair in [("compression-level", "10"), ("retention-days", "91"), ("retention-days", "x")]
        {
            assert!(world.upload(&[("path", "a"), pair]).is_err(), "{pair:?}");
        }
        world
            .upload(&[("path", "a"), ("compression-level", "0"), ("retention-days", "1")])
            .expect("is kept");
    }

    #[test]
    fn one_file_may_be_kept_as_it_is() {
        let world = world(&["out/a.txt"]);
        world.upload(&[("path", "out/a.txt"), ("archive", "false")]).expect("is kept");
        assert_eq!(world.download(&[("name", "a.txt")]).expect("is there"), ["a.txt"]);
    }
}
