//! One line for each request of a service that asks for it; written in batches, off the request's way.
//!
//! A request adds its line to a buffer when it is over. A task of its own writes what has gathered
//! ten times a second, so a slow disk makes no request slower; what does not fit is counted and told.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    mem,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use journal::ServiceName;
use tokio::sync::Notify;

use super::{AccessLog, LogFormat, instance::Instance, mask::masked_query};

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(100);

/// Most bytes that wait for a slow disk; what comes then is lost, and counted.
const MOST_WAITING: usize = 4 << 20;

/// What a cancelled request is noted with, as nginx does: no answer has this status.
const CANCELLED: u16 = 499;

/// The logs that have something to write.
#[derive(Debug, Default)]
pub(super) struct Logs {
    waiting: Mutex<Vec<Arc<Log>>>,
    bell: Notify,
}

/// The access log of one service.
#[derive(Debug)]
pub(super) struct Log {
    pub asked: AccessLog,
    service: ServiceName,
    logs: Arc<Logs>,
    buffer: Mutex<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    lost: u64,
}

impl Logs {
    /// Writes what gathers, for as long as it is polled.
    pub async fn keep_writing(self: Arc<Self>) {
        loop {
            self.bell.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write().await;
        }
    }

    /// Writes what has gathered.
    pub async fn write(&self) {
        let waiting = mem::take(&mut *lock(&self.waiting));
        for log in waiting {
            // Losing a log never fails a request.
            let _ = tokio::task::spawn_blocking(move || log.write()).await;
        }
    }
}

impl Log {
    pub fn new(asked: AccessLog, service: ServiceName, logs: Arc<Logs>) -> Self {
        Self { asked, service, logs, buffer: Mutex::default() }
    }

    fn add(self: &Arc<Self>, line: &[u8]) {
        let mut buffer = lock(&self.buffer);
        let is_first = buffer.lines.is_empty();
        if buffer.lines.len() + line.len() > MOST_WAITING {
            buffer.lost += 1;
            return;
        }
        buffer.lines.extend_from_slice(line);
        drop(buffer);
        if is_first {
            lock(&self.logs.waiting).push(Arc::clone(self));
            self.logs.bell.notify_one();
        }
    }

    fn write(&self) {
        let Buffer { lines, lost } = mem::take(&mut *lock(&self.buffer));
        let path = &self.asked.file;
        if let Err(error) = append(&self.asked, &lines) {
            tracing::warn!(path = %path.display(), %error, "the access log is not written");
        }
        if lost > 0 {
            tracing::warn!(path = %path.display(), lost, "lines of the access log were lost");
        }
    }
}

/// Appends lines, after setting a file aside that has become too large.
///
/// It is opened anew each time, so that whoever else moves it away, as logrotate does, is heard.
fn append(asked: &AccessLog, lines: &[u8]) -> io::Result<()> {
    let path = &asked.file;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let size = fs::metadata(path).map_or(0, |about| about.len());
    if size > 0 && size + lines.len() as u64 > asked.max_bytes {
        rotate(path, asked.max_files)?;
    }
    // What people ask for is nobody else's business.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)?.write_all(lines)
}

/// Makes `x.log` `x.log.1` and so on, up to `most` files in all.
fn rotate(path: &Path, most: u32) -> io::Result<()> {
    let aside = |number: u32| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    };
    if most <= 1 {
        return fs::remove_file(path);
    }
    for number in (1..most - 1).rev() {
        if aside(number).exists() {
            fs::rename(aside(number), aside(number + 1))?;
        }
    }
    fs::rename(path, aside(1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a request when it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came<'a> {
    pub client: &'a str,
    pub protocol: &'a str,
    pub method: &'a str,
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub request_id: &'a str,
    pub traceparent: Option<&'a str>,
    pub user_agent: Option<&'a str>,
}

/// The line of one request; written when it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    log: Arc<Log>,
    /// The line as far as the request alone says it.
    line: Vec<u8>,
    began: Instant,
    status: u16,
    bytes: u64,
    instance: Option<Arc<Instance>>,
}

impl Entry {
    pub fn begin(log: &Arc<Log>, came: Came<'_>) -> Self {
        let mut line = Vec::with_capacity(512);
        match log.asked.format {
            LogFormat::Json => begin_json(&mut line, came),
            LogFormat::Common => begin_common(&mut line, came),
        }
        let (log, began) = (Arc::clone(log), Instant::now());
        Self { log, line, began, status: CANCELLED, bytes: 0, instance: None }
    }

    pub fn answered(&mut self, status: u16, instance: Option<&Arc<Instance>>) {
        self.status = status;
        self.instance = instance.cloned();
    }

    /// Takes note of bytes of the body of the answer.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn end_json(&mut self) {
        let took = self.began.elapsed().as_micros() as f64 / 1_000.0;
        let (status, bytes) = (self.status, self.bytes);
        // Writing to memory does not fail.
        let _ =
            write!(self.line, ",\"status\":{status},\"bytes\":{bytes},\"duration_ms\":{took:.3}");
        field(&mut self.line, "service", self.log.service.as_str());
        if let Some(instance) = &self.instance {
            field(&mut self.line, "release", instance.target.release.as_str());
            field(&mut self.line, "instance", instance.target.instance.as_str());
        }
        self.line.extend_from_slice(b"}\n");
    }

    fn end_common(&mut self) {
        let status = self.status;
        let _ = match self.bytes {
            0 => writeln!(self.line, "{status} -"),
            bytes => writeln!(self.line, "{status} {bytes}"),
        };
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self.log.asked.format {
            LogFormat::Json => self.end_json(),
            LogFormat::Common => self.end_common(),
        }
        self.log.add(&self.line);
    }
}

fn begin_json(line: &mut Vec<u8>, came: Came<'_>) {
    let (path, query) = came.target.split_once('?').unwrap_or((came.target, ""));
    let _ = write!(line, "{{\"time\":\"{:.3}\"", Timestamp::now());
    field(line, "client", came.client);
    field(line, "method", came.method);
    field(line, "host", came.host);
    field(line, "path", path);
    if !query.is_empty() {
        field(line, "query", &masked_query(query));
    }
    field(line, "protocol", came.protocol);
    field(line, "request_id", came.request_id);
    if let Some(trace) = came.traceparent.and_then(|parent| parent.get(3..35)) {
        field(line, "trace_id", trace);
    }
    if let Some(agent) = came.user_agent {
        field(line, "user_agent", agent);
    }
}

fn field(line: &mut Vec<u8>, name: &str, value: &str) {
    let _ = write!(line, ",\"{name}\":");
    let _ = serde_json::to_writer(line, value);
}

/// The common log format, of the first web servers: no referrer, no agent.
fn begin_common(line: &mut Vec<u8>, came: Came<'_>) {
    let (path, query) = came.target.split_once('?').unwrap_or((came.target, ""));
    let at = Timestamp::now().to_zoned(TimeZone::UTC);
    let at = at.strftime("%d/%b/%Y:%H:%M:%S %z");
    let _ = write!(line, "{} - - [{at}] \"{} ", came.client, came.method);
    escape(line, path);
    if !query.is_empty() {
        line.push(b'?');
        escape(line, &masked_query(query));
    }
    let _ = write!(line, " {}\" ", came.protocol);
}

/// Writes a text so that it can end neither the line nor the quotes around it.
fn escape(line: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' {
            line.push(byte);
        } else {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_can_end_neither_the_line_nor_the_quotes() {
        let mut line = Vec::new();
        escape(&mut line, "/a\"b\\c\nd é");
        assert_eq!(String::from_utf8(line).expect("text"), r"/a\x22b\x5cc\x0ad\x20\xc3\xa9");
    }

    #[test]
    fn the_oldest_file_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.log");
        let format = LogFormat::Json;
        let asked = AccessLog { file, format, max_bytes: 4, max_files: 3 };
        for line in ["1\n", "22\n", "33\n", "44\n", "5\n"] {
            append(&asked, line.as_bytes()).expect("it is written");
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("a.log").as_deref(), Some("5\n"));
        assert_eq!(read("a.log.1").as_deref(), Some("44\n"));
        assert_eq!(read("a.log.2").as_deref(), Some("33\n"));
        assert_eq!(read("a.log.3"), None);
    }
}
