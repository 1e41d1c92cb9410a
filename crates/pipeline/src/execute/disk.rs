//! The files of a job as its step sees them, read from outside the box.
//!
//! While a step runs, what it writes is on a layer of its own and in its private `/tmp`; when it
//! has ended, the layer is in the workspace. No link that a step made leads out of the places that
//! it may write to.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use sandbox::Process;

/// The files of a job.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub workspace: PathBuf,
    pub layers: PathBuf,
    /// Directories outside the workspace that jobs write to or take actions from.
    pub others: Vec<PathBuf>,
    /// The program of the step, while it runs.
    pub process: Option<Arc<Process>>,
}

impl Disk {
    /// Returns the path as the step means it: from the workspace on, without `.` and `..`.
    pub fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        let mut absolute = PathBuf::new();
        for part in self.workspace.join(path).components() {
            match part {
                Component::ParentDir => {
                    absolute.pop();
                }
                Component::CurDir => {}
                part => absolute.push(part),
            }
        }
        absolute
    }

    /// Opens an ordinary file.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let path = self.absolute(path);
        let mut result = Err(io::ErrorKind::NotFound.into());
        if let Some(process) = &self.process
            && process.exit().is_none()
        {
            let root = PathBuf::from(format!("/proc/{}/root", process.pid()));
            let inside = path.strip_prefix("/").unwrap_or(&path);
            let opened = open_below(&root, inside, ResolveFlag::RESOLVE_IN_ROOT);
            // Its number may be another's as soon as it has ended.
            if process.exit().is_none() {
                result = opened;
            }
        }
        let places: Vec<(PathBuf, &Path)> = match path.strip_prefix(&self.workspace) {
            Ok(inside) => {
                let upper = newest(&self.layers).map(|layer| (layer.join("upper"), inside));
                upper.into_iter().chain([(self.workspace.clone(), inside)]).collect()
            }
            Err(_) => {
                let others = self.others.iter();
                let below =
                    others.filter_map(|dir| Some((dir.clone(), path.strip_prefix(dir).ok()?)));
                below.collect()
            }
        };
        for (dir, inside) in places {
            result = result.or_else(|_| open_below(&dir, inside, ResolveFlag::RESOLVE_BENEATH));
        }
        let file = result?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no ordinary file"));
        }
        Ok(file)
    }

    /// Reads an ordinary file that holds at most so many bytes of text.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<String> {
        let file = self.open(path)?;
        let mut text = String::new();
        if file.take(limit + 1).read_to_string(&mut text)? as u64 > limit {
            return Err(io::Error::other(format!("it has more than {} KiB", limit / 1024)));
        }
        Ok(text)
    }

    /// Returns where a file lies in the work tree that it is part of; none if there is no such file
    /// or no work tree.
    pub fn in_repository(&self, path: &Path) -> Option<String> {
        let path = self.absolute(path);
        self.open(&path).ok()?;
        let is_root = |dir: &&Path| {
            dir.starts_with(&self.workspace) && self.open(&dir.join(".git/config")).is_ok()
        };
        let root = path.ancestors().skip(1).find(is_root)?;
        path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
    }
}

fn open_below(dir: &Path, path: &Path, resolve: ResolveFlag) -> io::Result<File> {
    let root = File::open(dir)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root.as_fd(), path, how)?.into())
}

/// The layer that is on top.
fn newest(layers: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(layers).ok()?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    numbers.max().map(|number| layers.join(number.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_layer_on_top_goes_before_the_workspace_and_no_link_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        for made in ["work/repo/.git", "layers/9/upper", "layers/10/upper", "temp", "secret"] {
            fs::create_dir_all(root.join(made)).expect("a directory");
        }
        for (name, text) in [
            ("work/a", "old"),
            ("work/repo/.git/config", ""),
            ("work/repo/b", "b"),
            ("layers/10/upper/a", "new"),
            ("temp/t", "t"),
            ("secret/s", "s"),
        ] {
            fs::write(root.join(name), text).expect("a file");
        }
        symlink(root.join("secret/s"), root.join("work/link")).expect("a link");
        symlink("../../secret/s", root.join("work/repo/up")).expect("a link");
        symlink("b", root.join("work/repo/c")).expect("a link");
        let disk = Disk {
            workspace: root.join("work"),
            layers: root.join("layers"),
            others: vec![root.join("temp")],
            process: None,
        };
        let read = |path: &str| disk.read(Path::new(path), 3).ok();
        assert_eq!(read("a").as_deref(), Some("new"));
        assert_eq!(read("repo/../repo/./c").as_deref(), Some("b"));
        assert_eq!(read(root.join("temp/t").to_str().expect("text")).as_deref(), Some("t"));
        for path in ["link", "repo/up", "../secret/s", "repo", "none"] {
            assert_eq!(read(path), None, "{path}");
        }
        assert_eq!(read(root.join("secret/s").to_str().expect("text")), None);
        fs::write(root.join("work/long"), "long").expect("a file");
        assert_eq!(read("long"), None, "more than the limit");
        assert_eq!(disk.in_repository(Path::new("repo/b")).as_deref(), Some("b"));
        assert_eq!(disk.in_repository(Path::new("a")), None, "in no work tree");
        assert_eq!(disk.in_repository(Path::new("repo/d")), None, "not there");
    }
}
