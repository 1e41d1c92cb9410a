//! The processes of this machine, as `/proc` tells.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::engine::Usage;

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Whether it has ended and waits to be noticed.
    pub is_zombie: bool,
    /// Processor time in clock ticks, with that of the children it waited for.
    pub ticks: u64,
    /// Memory in pages.
    pub pages: u64,
    /// When it began, in clock ticks since the machine started.
    pub began: u64,
}

/// Reads one process.
pub fn read(pid: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, brackets too.
    let rest: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let number = |at: usize| rest.get(at).and_then(|field| field.trim().parse::<u64>().ok());
    Some(Process {
        pid,
        parent: number(1)? as u32,
        is_zombie: matches!(rest.first(), Some(&("Z" | "X"))),
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        began: number(19)?,
        pages: number(21)?,
    })
}

/// Every process of this machine.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(read).collect()
}

/// Every process that descends from one, without it, zombies left out.
pub fn descendants(of: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.pid);
            found.push(child);
        }
    }
    found.retain(|process| !process.is_zombie);
    found
}

/// What some processes use together.
pub(crate) fn usage(processes: &[Process], more_ticks: u64) -> Usage {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as u64;
    Usage {
        cpu_seconds: (processes.iter().map(|p| p.ticks).sum::<u64>() + more_ticks) as f64
            / per_second,
        rss_bytes: processes.iter().map(|p| p.pages).sum::<u64>() * page,
        processes: processes.len() as u32,
    }
}

/// Kills whatever carries the mark of an instance in its environment; tells how many there were.
pub(crate) fn kill_marked(instance: &str) -> usize {
    let mark = format!("INSTANCE={instance}");
    let marked: Vec<_> = all()
        .into_iter()
        .filter(|process| !process.is_zombie && has_variable(process.pid, mark.as_bytes()))
        .collect();
    for process in &marked {
        // It may have ended meanwhile, which is what is wanted.
        let _ = kill(Pid::from_raw(process.pid as i32), Signal::SIGKILL);
    }
    marked.len()
}

fn has_variable(pid: u32, variable: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|text| text.split(|b| *b == 0).any(|entry| entry == variable))
}

/// A TCP port that a process listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListeningPort {
    /// The address; unspecified is all of them.
    pub address: std::net::IpAddr,
    /// The port.
    pub port: u16,
    /// The process.
    pub pid: u32,
}

/// Every TCP port that one of the processes listens on.
pub fn listening(pids: &[u32]) -> Vec<ListeningPort> {
    let mut found = HashSet::new();
    for pid in pids {
        let Ok(sockets) = sockets_of(*pid) else { continue };
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            for (address, port, inode) in text.lines().skip(1).filter_map(parse_socket) {
                if sockets.contains(&inode) {
                    found.insert(ListeningPort { address, port, pid: *pid });
                }
            }
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort();
    found
}

/// The process that listens on a TCP port, and its name, if we may see it.
pub fn holder_of(port: u16) -> Option<(u32, String)> {
    let tables = ["tcp", "tcp6"]
        .map(|table| fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default());
    let inodes: Vec<u64> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1).filter_map(parse_socket))
        .filter(|(_, held, _)| *held == port)
        .map(|(_, _, inode)| inode)
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let holds = |process: &Process| {
        sockets_of(process.pid)
            .is_ok_and(|sockets| inodes.iter().any(|inode| sockets.contains(inode)))
    };
    let pid = all().iter().find(|process| holds(process))?.pid;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

fn sockets_of(pid: u32) -> io::Result<HashSet<u64>> {
    let directory = format!("/proc/{pid}/fd");
    let inode = |path: &Path| {
        let target = fs::read_link(path).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(fs::read_dir(directory)?.filter_map(|entry| inode(&entry.ok()?.path())).collect())
}

/// Reads a line of `/proc/net/tcp` if the socket listens: its address, port and inode.
fn parse_socket(line: &str) -> Option<(std::net::IpAddr, u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != "0A" {
        return None;
    }
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|n| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let address = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_parent_and_its_port() {
        let own = std::process::id();
        let process = read(own).expect("we are alive");
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert!(descendants(process.parent).iter().any(|p| p.pid == own));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("it is bound");
        let found = listening(&[own]);
        assert!(found.iter().any(|l| l.address == address.ip() && l.port == address.port()));
        assert_eq!(holder_of(address.port()).map(|(pid, _)| pid), Some(own));
    }
}
