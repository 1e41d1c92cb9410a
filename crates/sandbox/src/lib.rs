//! A child process in a box.
//!
//! A box is a set of walls around a group of processes: they see the file system read-only except
//! for their workspace, have a private `/tmp`, cannot see or touch any process outside, hold no
//! privileges, and die together. A job of a pipeline is one box with many steps; an instance of a
//! service is one box with one long-lived process.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox::{BoxSpec, Command, Sandbox};
//!
//! let spec = BoxSpec::new("/srv/jobs/7/work").layers_dir("/srv/jobs/7/layers");
//! let sandbox = Sandbox::open(&spec).await?;
//! println!("{}", sandbox.protection());
//!
//! let command = Command::new("cargo").arg("test").env("PATH", "/usr/bin:/bin").layer(true);
//! let mut process = sandbox.spawn(command).await?;
//! let output = process.stdout();
//! let exit = process.wait().await?;
//! sandbox.close().await;
//! # Ok(()) }
//! ```
//!
//! # Glossary
//!
//! | word | is |
//! |---|---|
//! | box | the walls, and everything that runs behind them |
//! | [`BoxSpec`] | what the caller wants of a box |
//! | [`Wall`] | one thing that those inside cannot do |
//! | [`Level`] | which machinery builds the walls |
//! | [`Protection`] | the walls that stand in truth, and why others do not |
//! | zygote | our own program, executed again with `__box`: builds the walls once, then starts each process |
//! | keeper | the part of the zygote that stays outside, removes the limits and carries news of the end |
//! | [`Process`] | a process the caller asked for, with whatever it starts |
//! | [`Layer`] | the files that one step changed, kept apart from the workspace they were folded into |
//!
//! # How it works
//!
//! A process with threads must not fork and then do much, so nothing forks in the caller: the
//! caller starts `/proc/self/exe __box`, and [`entry`] turns that fresh, single-threaded process
//! into the zygote. It enters its namespaces and builds its view of the file system once; a step
//! then costs one message, one `vfork` and one `exec`. When the caller goes away, however it goes,
//! the socket between the two closes and the whole box dies.

mod cgroup;
mod fence;
mod filter;
mod fold;
mod launch;
mod layer;
mod observe;
mod process;
mod protection;
mod room;
#[path = "box.rs"]
mod sandbox;
mod seccomp;
mod spec;
mod stack;
mod sys;
mod terminal;
mod wire;
mod zygote;

pub use layer::{Change, ChangeKind, FileKind, Layer, LayerError};
pub use nix::sys::signal::Signal;
pub use observe::{Seen, Uses};
pub use process::{Command, End, Exit, Input, Output, Patience, Process, STREAM_GRACE, SpawnError};
pub use protection::{Level, Protection, Wall};
pub use sandbox::{BoxLost, ReplayError, Sandbox, SandboxError};
pub use spec::{BoxSpec, Limits, Network};
pub use terminal::Lent;
pub use zygote::entry;
