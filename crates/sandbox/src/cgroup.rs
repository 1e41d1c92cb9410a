//! Limits on a whole box by control groups, version 2 or 1, whichever this machine lets us use.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Limits;

/// The control groups of one box; dropping them leaves them in place for the keeper to remove.
#[derive(Debug, Default)]
pub(crate) struct Group {
    dirs: Vec<PathBuf>,
    counter: Option<File>,
    /// How memory is limited, if it is.
    pub memory: Option<&'static str>,
    /// How the number of processes is limited, if it is.
    pub processes: Option<&'static str>,
}

impl Group {
    /// Makes groups with the limits, as far as this machine and user allow.
    pub(crate) fn make(limits: &Limits) -> Self {
        let mut group = Self::default();
        if limits.memory_bytes.is_none() && limits.processes.is_none() {
            return group;
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        group.make_version_2(limits, &own, &mounts);
        if limits.memory_bytes.is_some() && group.memory.is_none() {
            group.make_version_1("memory", limits, &own, &mounts);
        }
        if limits.processes.is_some() && group.processes.is_none() {
            group.make_version_1("pids", limits, &own, &mounts);
        }
        group
    }

    fn make_version_2(&mut self, limits: &Limits, own: &str, mounts: &str) {
        let Some(root) = mount_of(mounts, "cgroup2", None) else { return };
        let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return };
        let here = root.join(path);
        // Beside us where a service manager delegated that, else below us, else at the top.
        let beside = here.parent().filter(|parent| parent.starts_with(&root)).map(Path::to_owned);
        for parent in beside.into_iter().chain([here.clone(), root.clone()]) {
            let dir = parent.join(name());
            if fs::create_dir(&dir).is_err() {
                continue;
            }
            if !has_controllers(&dir, limits) {
                // Fails where a parent has processes of its own; then the next place is tried.
                let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory +pids");
            }
            if has_controllers(&dir, limits) && self.limit_version_2(&dir, limits).is_ok() {
                self.dirs.push(dir);
                return;
            }
            self.memory = None;
            self.processes = None;
            self.counter = None;
            let _ = fs::remove_dir(&dir);
        }
    }

    fn limit_version_2(&mut self, dir: &Path, limits: &Limits) -> io::Result<()> {
        if let Some(bytes) = limits.memory_bytes {
            fs::write(dir.join("memory.max"), bytes.to_string())?;
            // Where there is no swap there is no such file.
            let _ = fs::write(dir.join("memory.swap.max"), "0");
            self.counter = Some(File::open(dir.join("memory.events"))?);
            self.memory = Some("cgroup v2");
        }
        if let Some(count) = limits.processes {
            fs::write(dir.join("pids.max"), inside_and_zygote(count))?;
            self.processes = Some("cgroup v2");
        }
        Ok(())
    }

    fn make_version_1(&mut self, controller: &str, limits: &Limits, own: &str, mounts: &str) {
        let Some(root) = mount_of(mounts, "cgroup", Some(controller)) else { return };
        let own = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts.next()?.split(',').any(|name| name == controller).then_some(())?;
            parts.next()?.strip_prefix('/')
        });
        let Some(own) = own else { return };
        let dir = root.join(own).join(name());
        if fs::create_dir(&dir).is_err() {
            return;
        }
        let limited = if controller == "memory" {
            self.limit_memory_version_1(&dir, limits.memory_bytes.unwrap_or(u64::MAX))
        } else {
            let count = inside_and_zygote(limits.processes.unwrap_or(u64::MAX));
            fs::write(dir.join("pids.max"), count).map(|()| self.processes = Some("cgroup v1"))
        };
        match limited {
            Ok(()) => self.dirs.push(dir),
            Err(_) => drop(fs::remove_dir(&dir)),
        }
    }

    fn limit_memory_version_1(&mut self, dir: &Path, bytes: u64) -> io::Result<()> {
        fs::write(dir.join("memory.limit_in_bytes"), bytes.to_string())?;
        // Counts swap as well, where the kernel does that.
        let _ = fs::write(dir.join("memory.memsw.limit_in_bytes"), bytes.to_string());
        self.counter = Some(File::open(dir.join("memory.oom_control"))?);
        self.memory = Some("cgroup v1");
        Ok(())
    }

    /// Puts a process, and all it will start, under the limits.
    pub(crate) fn admit(&self, pid: i32) -> io::Result<()> {
        self.dirs.iter().try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }

    /// Counts how many processes the memory limit has killed so far.
    pub(crate) fn killed(&self) -> u64 {
        let Some(counter) = &self.counter else { return 0 };
        let mut buffer = [0; 512];
        let count = counter.read_at(&mut buffer, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&buffer[..count]);
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the groups once nothing is in them.
    // There is no event to wait for, and the wait is bounded.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn remove(&self) {
        for dir in &self.dirs {
            for _ in 0..100 {
                match fs::remove_dir(dir) {
                    // Killed processes leave their group a moment after they are reaped.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// The zygote in the box counts, too, but is not the caller's.
fn inside_and_zygote(count: u64) -> String {
    count.saturating_add(1).to_string()
}

fn name() -> String {
    format!("marline-box-{}", std::process::id())
}

fn has_controllers(dir: &Path, limits: &Limits) -> bool {
    (limits.memory_bytes.is_none() || dir.join("memory.max").exists())
        && (limits.processes.is_none() || dir.join("pids.max").exists())
}

/// Finds where a kind of control group is mounted.
fn mount_of(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind_and_options) = line.split_once(" - ")?;
        let mut parts = kind_and_options.split(' ');
        let matches = parts.next()? == kind
            && controller.is_none_or(|controller| {
                parts
                    .nth(1)
                    .is_some_and(|options| options.split(',').any(|option| option == controller))
            });
        matches.then(|| place.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_where_it_is_mounted() {
        let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(
            mount_of(mounts, "cgroup", Some("memory")),
            Some("/sys/fs/cgroup/memory".into())
        );
        assert_eq!(mount_of(mounts, "cgroup", Some("pids")), None);
        assert_eq!(mount_of(mounts, "cgroup2", None), Some("/sys/fs/cgroup/unified".into()));
    }
}
