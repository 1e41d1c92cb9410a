//! Which walls stand around a box, in words for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which machinery builds the walls of a box, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Resource limits and tidy process handling only; for commands that are trusted.
    Plain,
    /// Landlock and seccomp: what an ordinary container or a locked-down host allows.
    Landlock,
    /// Namespaces, with everything below on top.
    Namespaces,
}

impl Level {
    /// Reads a level as it is written in `MARLINE_BOX`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "plain" => Some(Self::Plain),
            "landlock" => Some(Self::Landlock),
            "namespaces" => Some(Self::Namespaces),
            _ => None,
        }
    }

    /// Returns the name used in `MARLINE_BOX` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that the processes inside a box cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Files outside the workspace cannot be changed.
    ReadOnlySystem,
    /// Paths named as hidden cannot be read.
    HiddenPaths,
    /// Temporary directories are private and limited in size.
    PrivateTmp,
    /// Devices of the machine are out of reach.
    Devices,
    /// Processes outside cannot be seen.
    ProcessView,
    /// Processes outside cannot be signalled or debugged.
    ProcessControl,
    /// No process of the box survives it.
    ExactEnd,
    /// The network asked for is all there is.
    Network,
    /// No privileges, and no way to gain any.
    NoPrivileges,
    /// Dangerous system calls are refused.
    SystemCalls,
    /// The number of processes is limited.
    ProcessLimit,
    /// Memory is limited.
    MemoryLimit,
    /// Open files, file size and processor time are limited.
    ResourceLimits,
    /// Each step's file changes are recorded as a layer.
    Layers,
}

impl Wall {
    /// Says what the wall keeps those inside from doing, or what it gives.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ReadOnlySystem => "files outside the workspace cannot be changed",
            Self::HiddenPaths => "hidden files cannot be read",
            Self::PrivateTmp => "temporary files are private and limited in size",
            Self::Devices => "devices of the machine are out of reach",
            Self::ProcessView => "processes outside cannot be seen",
            Self::ProcessControl => "processes outside cannot be signalled or debugged",
            Self::ExactEnd => "nothing outlives the box",
            Self::Network => "only the agreed network is there",
            Self::NoPrivileges => "no privileges, and no way to gain any",
            Self::SystemCalls => "dangerous system calls are refused",
            Self::ProcessLimit => "the number of processes is limited",
            Self::MemoryLimit => "memory is limited",
            Self::ResourceLimits => "open files, file size and processor time are limited",
            Self::Layers => "each step's file changes are recorded",
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// The walls that stand around a box, and why others do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The machinery in use.
    pub level: Level,
    /// Walls that stand.
    pub active: Vec<Wall>,
    /// Walls that were wanted and do not stand, each with the reason.
    pub missing: Vec<(Wall, String)>,
    /// How something is done, where more than one way exists ("memory limit by cgroup v1").
    pub notes: Vec<String>,
}

impl Protection {
    /// Starts a report with no walls.
    pub(crate) fn new(level: Level) -> Self {
        Self { level, active: Vec::new(), missing: Vec::new(), notes: Vec::new() }
    }

    /// Tells whether a wall stands.
    pub fn has(&self, wall: Wall) -> bool {
        self.active.contains(&wall)
    }

    /// Tells whether every wall that was wanted stands.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    pub(crate) fn stands(&mut self, wall: Wall) {
        if !self.has(wall) {
            self.active.push(wall);
        }
    }

    pub(crate) fn lacks(&mut self, wall: Wall, reason: impl Into<String>) {
        self.missing.push((wall, reason.into()));
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.active.len() + self.missing.len();
        write!(f, "box: {}, {} of {total} walls stand", self.level, self.active.len())?;
        for (wall, reason) in &self.missing {
            write!(f, "\n  not so: {wall} ({reason})")?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}
