//! Why an instance did not start or did not become ready, in words.
//!
//! [`Symptoms`] are what can be seen; [`diagnose`] is pure and names the first cause that explains
//! them, surest first.

use std::fs;
use std::path::{Path, PathBuf};

use journal::{Certainty, Diagnosis};

use crate::deployment::{Deployment, inside};
use crate::engine::{EndReason, Ended, Engine, EngineError, Instance, InstanceState, LogCursor};
use crate::shim::processes::{self, ListeningPort};

/// How many last lines are kept and searched.
const LINES: u32 = 20;

/// What can be seen of an instance that is not well.
#[derive(Debug, Clone)]
pub struct Symptoms {
    /// The service.
    pub service: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// The directory that it was started in.
    pub cwd: PathBuf,
    /// The port that it was given.
    pub port: u16,
    /// How it ended; `None` while it runs.
    pub ended: Option<Ended>,
    /// The last lines of its output.
    pub last_lines: Vec<String>,
    /// The ports that it listens on.
    pub listening: Vec<ListeningPort>,
    /// Who holds the given port, if it is not the instance.
    pub holder: Option<(u32, String)>,
}

impl Symptoms {
    /// Looks at an instance.
    pub async fn of(
        engine: &dyn Engine,
        deployment: &Deployment,
        instance: &Instance,
    ) -> Result<Self, EngineError> {
        let log = engine.logs(&instance.id, LogCursor::Last(LINES)).await?;
        let (pids, ended) = match &instance.state {
            InstanceState::Running { pid, .. } | InstanceState::Stopping { pid } => {
                let family = processes::descendants(*pid);
                (family.iter().map(|p| p.pid).chain([*pid]).collect(), None)
            }
            InstanceState::Ended(ended) => (Vec::new(), Some(ended.clone())),
        };
        let listening = processes::listening(&pids);
        let holder = processes::holder_of(instance.port).filter(|(pid, _)| !pids.contains(pid));
        let cwd = inside(&deployment.files, &deployment.directory);
        Ok(Self {
            service: deployment.service.to_string(),
            words: deployment.command.words(instance.port),
            cwd: cwd.unwrap_or_else(|| deployment.files.clone()),
            port: instance.port,
            ended,
            last_lines: log.lines.into_iter().map(|line| line.text).collect(),
            listening,
            holder,
        })
    }
}

/// A cause, how sure it is, and what to do.
struct Cause {
    sentence: String,
    certainty: Certainty,
    help: Option<String>,
}

impl Cause {
    fn certain(cause: String) -> Self {
        Self { sentence: cause, certainty: Certainty::Certain, help: None }
    }

    fn likely(cause: String) -> Self {
        Self { sentence: cause, certainty: Certainty::Likely, help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Names the cause.
pub fn diagnose(symptoms: &Symptoms) -> Diagnosis {
    let cause = match &symptoms.ended {
        Some(ended) => of_end(symptoms, ended),
        None => of_running(symptoms),
    };
    Diagnosis {
        cause: cause.sentence,
        certainty: cause.certainty,
        help: cause.help,
        last_lines: symptoms.last_lines.clone(),
    }
}

fn of_end(symptoms: &Symptoms, ended: &Ended) -> Cause {
    let service = &symptoms.service;
    match &ended.reason {
        EndReason::NotStarted { error, errno } => return not_started(symptoms, error, *errno),
        EndReason::ShimLost => {
            return Cause::certain(format!("the process that held `{service}` was killed"))
                .help("it is started again; look for who kills processes on this machine");
        }
        EndReason::OutOfMemory => {
            return Cause::certain(format!("`{service}` needed more memory than it may have"))
                .help("raise `deploy.resources.limits.memory`, or use less memory");
        }
        EndReason::Exited | EndReason::Signalled => {}
    }
    from_output(symptoms).unwrap_or_else(|| {
        let cause = match (ended.exit.code, ended.exit.signal) {
            (Some(0), _) => {
                return Cause::certain(format!("`{service}` ended by itself without an error"))
                    .help("a service must go on running: start its server in the foreground");
            }
            (Some(code), _) => format!("`{service}` ended with exit code {code}"),
            (_, Some(signal)) => {
                format!("`{service}` was ended by {}", crate::deployment::Signal(signal))
            }
            _ => format!("`{service}` ended, and nobody saw how"),
        };
        Cause { certainty: Certainty::Unsure, ..Cause::certain(cause) }
            .help("its last lines may say why")
    })
}

/// Why the system refused to execute the program.
fn not_started(symptoms: &Symptoms, error: &str, errno: Option<i32>) -> Cause {
    let program = symptoms.words.first().map_or("", String::as_str);
    let path = symptoms.cwd.join(program);
    let errno = errno.map(nix::errno::Errno::from_raw);
    match errno {
        Some(nix::errno::Errno::ENOENT) if !symptoms.cwd.is_dir() => Cause::certain(format!(
            "the directory `{}` is not in the release",
            symptoms.cwd.display()
        ))
        .help("correct `build.context` or `working_dir` in the Compose file"),
        Some(nix::errno::Errno::ENOENT) => {
            match interpreter(&path).filter(|_| program.contains('/')) {
                Some(interpreter) => Cause::certain(format!(
                    "`{interpreter}` is missing, which the first line of `{program}` asks for"
                ))
                .help(format!("install `{interpreter}`, or change the first line of `{program}`")),
                None => missing(program, "the command of the service"),
            }
        }
        Some(nix::errno::Errno::EACCES) => {
            Cause::certain(format!("`{program}` may not be executed"))
                .help(format!("`git update-index --chmod=+x {program}` and commit"))
        }
        Some(nix::errno::Errno::ENOEXEC) => Cause::certain(format!(
            "`{program}` is not a program for this machine"
        ))
        .help("begin a script with a line such as `#!/bin/sh`, or build it for this machine"),
        _ => Cause::certain(format!("`{program}` could not be started: {error}")),
    }
}

fn missing(program: &str, asked_by: &str) -> Cause {
    Cause::certain(format!("the program `{program}` is missing, which {asked_by} asks for"))
        .help(format!("install `{program}`, or correct the command"))
}

/// The interpreter in the first line of a script, if that is not there.
fn interpreter(script: &Path) -> Option<String> {
    let text = fs::read(script).ok()?;
    let line = text.split(|b| *b == b'\n').next()?.strip_prefix(b"#!")?;
    let words = String::from_utf8_lossy(line).into_owned();
    let interpreter = words.split_whitespace().next()?.to_owned();
    (!Path::new(&interpreter).exists()).then_some(interpreter)
}

/// What the last lines say, newest first.
fn from_output(symptoms: &Symptoms) -> Option<Cause> {
    let code = symptoms.ended.as_ref().and_then(|ended| ended.exit.code);
    symptoms.last_lines.iter().rev().find_map(|line| {
        let lower = line.to_lowercase();
        if lower.contains("address already in use") || lower.contains("eaddrinuse") {
            return Some(port_taken(symptoms, line));
        }
        if code == Some(127)
            && let Some(program) = not_found(line)
        {
            return Some(missing(&program.0, &program.1));
        }
        if lower.contains("permission denied") || lower.contains("eacces") {
            let cause = format!("`{}` was refused something: {}", symptoms.service, line.trim());
            return Some(Cause::likely(cause).help(
                "files of a release are read-only: write below $HOME or into a volume; ports below \
                 1024 need privileges: listen on $PORT",
            ));
        }
        None
    })
}

/// Reads `sh: 1: foo: not found` and `env: ‘node’: No such file or directory`.
fn not_found(line: &str) -> Option<(String, String)> {
    let rest = ["not found", "No such file or directory"]
        .into_iter()
        .find_map(|end| line.trim().strip_suffix(end))?
        .trim_end();
    let rest = rest.strip_suffix(':').or_else(|| rest.strip_suffix(": command"))?;
    let parts: Vec<&str> = rest.split(": ").collect();
    let [by, .., program] = parts.as_slice() else { return None };
    let program = program.trim_matches(|c| "'\"‘’`".contains(c)).to_owned();
    let by = match () {
        () if by.ends_with("env") => "the first line of the script".to_owned(),
        () => format!("`{by}`"),
    };
    Some((program, by))
}

fn port_taken(symptoms: &Symptoms, line: &str) -> Cause {
    let named = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<u16>().ok())
        .find(|port| {
            *port >= 80 && (*port == symptoms.port || processes::holder_of(*port).is_some())
        });
    let given = symptoms.port;
    match named {
        Some(port) if port != given => {
            let who = processes::holder_of(port)
                .map_or_else(String::new, |(pid, name)| format!(" by `{name}` (process {pid})"));
            Cause::certain(format!(
                "`{}` wants port {port}, which is taken{who}; it was given port {given} in PORT",
                symptoms.service
            ))
            .help("listen on the port in the variable PORT, so that two releases can run at once")
        }
        _ => {
            let who = symptoms
                .holder
                .as_ref()
                .map_or_else(String::new, |(pid, name)| format!(" by `{name}` (process {pid})"));
            Cause::likely(format!("a port that `{}` wants is taken{who}", symptoms.service))
                .help(format!("listen on the port in the variable PORT, which was {given}"))
        }
    }
}

fn of_running(symptoms: &Symptoms) -> Cause {
    let (service, port) = (&symptoms.service, symptoms.port);
    let on_port = symptoms.listening.iter().filter(|l| l.port == port).collect::<Vec<_>>();
    if on_port.is_empty()
        && let Some(other) = symptoms.listening.first()
    {
        return Cause::certain(format!(
            "`{service}` listens on port {}, but PORT was {port}",
            other.port
        ))
        .help("listen on the port in the variable PORT, or pass `$PORT` in the command");
    }
    if let Some((pid, name)) = symptoms.holder.as_ref().filter(|_| on_port.is_empty()) {
        return Cause::certain(format!(
            "port {port}, which `{service}` was given, is held by `{name}` (process {pid})"
        ))
        .help("it gets another port when it is started again");
    }
    if on_port.is_empty() {
        let cause = format!("`{service}` runs but does not listen on its port {port} yet");
        return Cause::likely(cause)
            .help("give it more time with `healthcheck.start_period`, or see its last lines");
    }
    Cause {
        certainty: Certainty::Unsure,
        ..Cause::certain(format!(
            "`{service}` listens on its port {port} but does not answer as it should"
        ))
    }
    .help("try what its health check asks by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_read_from_what_shells_say() {
        let said = |line: &str| not_found(line).map(|(program, _)| program);
        assert_eq!(said("sh: 1: foo: not found").as_deref(), Some("foo"));
        assert_eq!(said("/bin/sh: foo: not found").as_deref(), Some("foo"));
        assert_eq!(said("bash: line 1: foo: command not found").as_deref(), Some("foo"));
        assert_eq!(said("env: ‘node’: No such file or directory").as_deref(), Some("node"));
        assert_eq!(
            said("/usr/bin/env: 'node': No such file or directory").as_deref(),
            Some("node")
        );
        assert_eq!(said("all is well"), None);
    }
}
