//! What a step depended on, from what was seen of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;
use sandbox::{Change, Seen, Uses};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::{Call, VOLATILE, hex};
use super::{Place, Places};

/// Larger files of the machine are not searched for the names of variables.
const SEARCHED: u64 = 1 << 20;

/// Of how many files of the machine it is remembered what they mention.
const MOST_KNOWN: usize = 20_000;

/// How many names a link may lead through before a step is not replayed for it.
const MOST_NAMES: usize = 64;

/// The answer about what is not there.
const ABSENT: &str = "-";

/// How long an answer about the machine holds.
const FRESH: Duration = Duration::from_secs(1);

/// Programs that tell the time.
const CLOCKS: &[&str] = &["date", "hwclock", "timedatectl", "cal", "ncal", "uptime"];

/// What in a script of a shell tells the time.
const TIME_WORDS: &[&str] = &["EPOCHSECONDS", "EPOCHREALTIME", "$SECONDS", "${SECONDS", ")T"];

/// What in a script of a shell is random.
const RANDOM_WORDS: &[&str] = &["$RANDOM", "${RANDOM", "SRANDOM"];

/// What is asked about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Question {
    /// What it is, itself, also if it is a link.
    Link,
    /// What it leads to is, as far as can be seen without opening it.
    Look,
    /// What it contains: bytes of a file, names in a directory.
    Content,
    /// The state of a path of the machine, itself.
    MachineLink,
    /// The state of what a path of the machine leads to.
    Machine,
    /// The state of an opened directory of the machine.
    MachineNames,
    /// The value of a variable.
    Variable,
}

/// One thing that a step depended on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Input {
    /// What it is about.
    pub path: String,
    /// What is asked.
    pub question: Question,
    /// The answer before the step ran.
    pub answer: String,
}

impl Input {
    /// Tells whether the answer is still the same.
    pub fn holds(&self, call: &Call, known: &Known) -> bool {
        known.answer(&self.path, self.question, call) == self.answer
    }

    /// Says in words that the answer is another one now.
    pub fn changed(&self, call: &Call, known: &Known, workspace: &Path) -> String {
        let shown = Path::new(&self.path);
        let shown = shown.strip_prefix(workspace).unwrap_or(shown).display();
        let now = known.answer(&self.path, self.question, call);
        match (self.question, self.answer.as_str(), now.as_str()) {
            (Question::Variable, ..) => format!("the variable `{}` changed", self.path),
            (_, ABSENT, _) => format!("{shown} was not there"),
            (_, _, ABSENT) => format!("{shown} is gone"),
            _ => format!("{shown} changed"),
        }
    }
}

fn link(path: &Path) -> String {
    fs::read_link(path)
        .map_or_else(|_| ABSENT.to_owned(), |to| format!("> {}", to.to_string_lossy()))
}

fn look(found: &fs::Metadata) -> String {
    // The size of a directory says how it is stored.
    if found.is_dir() {
        format!("d {:o}", found.mode() & 0o7777)
    } else {
        format!("{:o} {}", found.mode(), found.len())
    }
}

fn stamp(found: &fs::Metadata, names: bool) -> String {
    if found.is_dir() && !names {
        return "d".to_owned();
    }
    format!(
        "{}:{}:{:o}:{}:{}.{}:{}.{}",
        found.dev(),
        found.ino(),
        found.mode(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec()
    )
}

fn content(path: &Path) -> String {
    let Ok(found) = fs::metadata(path) else { return ABSENT.to_owned() };
    if found.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| (entry.file_name(), entry.file_type().ok().map(kind)))
            .collect();
        names.sort();
        let mut hash = Sha256::new();
        for (name, kind) in names {
            hash.update(name.as_bytes());
            hash.update([0, kind.unwrap_or(b'?')]);
        }
        return format!("names {}", hex(&hash.finalize()));
    }
    if !found.is_file() {
        return look(&found);
    }
    match hash_file(path) {
        Ok(hash) => format!("{:o} {hash}", found.mode() & 0o7777),
        Err(error) => format!("unreadable: {}", error.kind()),
    }
}

fn kind(kind: fs::FileType) -> u8 {
    if kind.is_dir() {
        b'd'
    } else if kind.is_symlink() {
        b'l'
    } else if kind.is_file() {
        b'f'
    } else {
        b'o'
    }
}

/// Hashes the content of a file.
pub(crate) fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// What a step depended on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependence {
    /// Everything it asked, with the answers.
    pub inputs: Vec<Input>,
    /// Whether it looked at private temporary files, which must then be as empty as they were.
    pub temporary: bool,
    /// Why it cannot be replayed.
    pub why_not: Option<String>,
}

/// Finds out what a step depended on, while the workspace still is as it was before the step.
///
/// `changes` is its layer; `known` is what earlier steps of the job found out about the machine.
pub fn depend(
    seen: &Seen,
    changes: &[Change],
    call: &Call,
    places: &Places,
    known: &Known,
) -> Dependence {
    let mut found = Dependence::default();
    if let Some(why) = &seen.lost {
        found.why_not = Some(format!("not all of it was seen: {why}"));
        return found;
    }
    if let Some(address) = seen.reached.iter().next()
        && !call.allows("network")
    {
        found.why_not = Some(format!("it used the network: {address}"));
        return found;
    }
    // By their bytes: to compare paths part by part takes longer than all the rest.
    let mut uses: BTreeMap<OsString, Uses> = BTreeMap::new();
    let Some(names) = Names::of(seen) else {
        found.why_not = Some("it made more links and renamed more than is followed".to_owned());
        return found;
    };
    for (path, used) in &seen.paths {
        let Some(all) = names.all(Path::new(OsStr::from_bytes(path))) else {
            found.why_not = Some("its links lead through too many names".to_owned());
            return found;
        };
        for path in all {
            *uses.entry(path.into_os_string()).or_default() |= *used;
        }
    }
    // An overlay copies a file before it changes anything about it, so all of it is in the layer.
    for change in changes {
        let path = places.workspace.join(&change.path);
        *uses.entry(path.into_os_string()).or_default() |= Uses::LINK | Uses::READ;
    }
    // Whether a name can be made, and how asking for one fails, is up to the directory it is in.
    let is_content = |path: &Path| places.of(path) == Place::Content;
    let content = uses.keys().map(Path::new).filter(|path| is_content(path));
    let content = content.filter_map(Path::parent);
    let above: BTreeSet<PathBuf> =
        content.filter(|directory| is_content(directory)).map(Path::to_owned).collect();
    for directory in above {
        *uses.entry(directory.into_os_string()).or_default() |= Uses::LOOKED;
    }
    let mut mentioned = Mentions::default();
    mentioned.search(call.script.as_bytes(), true);
    let mut inputs = BTreeSet::new();
    for (path, used) in &uses {
        let path = Path::new(path);
        let place = places.of(path);
        let there = match place {
            Place::Machine => known.there(path),
            _ => fs::metadata(path).ok(),
        };
        if let Some(why) = judge(path, *used, place, there.as_ref(), seen, call, places) {
            found.why_not = Some(why);
            return found;
        }
        match place {
            Place::Nothing | Place::Cache => continue,
            Place::Temporary => {
                found.temporary = true;
                continue;
            }
            Place::Content | Place::Machine => {}
        }
        let Some(text) = path.to_str() else {
            found.why_not = Some(format!("it looked at {}, which is no text", path.display()));
            return found;
        };
        ask(text, *used, place, call, known, &mut inputs);
        let Some(there) = there else { continue };
        if used.has(Uses::READ) {
            mentioned.add(&known.mentions(path, &there, place));
        }
        if used.has(Uses::EXECUTED) {
            for interpreter in known.interpreters(path, place) {
                ask(&interpreter, Uses::READ, Place::Machine, call, known, &mut inputs);
            }
        }
    }
    if mentioned.clock && !call.allows("clock") {
        found.why_not = Some("its script reads the clock".to_owned());
    } else if mentioned.random && !call.allows("random") {
        found.why_not = Some("its script asks for random numbers".to_owned());
    }
    for name in mentioned.variables {
        inputs.insert(Input {
            path: name.to_owned(),
            question: Question::Variable,
            answer: known.answer(name, Question::Variable, call),
        });
    }
    found.inputs = inputs.into_iter().collect();
    found
}

fn ask(
    path: &str,
    used: Uses,
    place: Place,
    call: &Call,
    known: &Known,
    inputs: &mut BTreeSet<Input>,
) {
    let mut add = |question| {
        let answer = known.answer(path, question, call);
        inputs.insert(Input { path: path.to_owned(), question, answer });
    };
    if place == Place::Machine {
        if used.has(Uses::LINK) {
            add(Question::MachineLink);
        }
        if used.has(Uses::READ) {
            add(Question::MachineNames);
        } else if used.has(Uses::LOOKED) {
            add(Question::Machine);
        }
        return;
    }
    if used.has(Uses::LINK) {
        add(Question::Link);
    }
    if used.has(Uses::READ) {
        add(Question::Content);
    }
    if used.has(Uses::LOOKED) {
        add(Question::Look);
    }
}

/// Says why what a step did with a path keeps it from being replayed.
fn judge(
    path: &Path,
    used: Uses,
    place: Place,
    there: Option<&fs::Metadata>,
    seen: &Seen,
    call: &Call,
    places: &Places,
) -> Option<String> {
    let shown = path.display();
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if used.has(Uses::EXECUTED)
        && CLOCKS.contains(&name)
        && !call.allows("clock")
        && there.is_some()
    {
        return Some(format!("it ran `{name}`, which tells the time"));
    }
    if used.has(Uses::EXECUTED) && name == "uuidgen" && !call.allows("random") && there.is_some() {
        return Some(format!("it ran `{name}`, which makes random names"));
    }
    let is_random = ["/dev/random", "/dev/urandom"].iter().any(|random| path == Path::new(random))
        || path.starts_with("/proc/sys/kernel/random");
    if is_random && used.has(Uses::READ) && !call.allows("random") {
        return Some(format!("it read random bytes from {shown}"));
    }
    let is_clock = ["/proc/uptime", "/proc/loadavg", "/dev/rtc", "/dev/rtc0"];
    if is_clock.iter().any(|clock| path == Path::new(clock)) && !call.allows("clock") {
        return Some(format!("it read {shown}, which changes with time"));
    }
    let changed = used.has_any(Uses::WRITTEN | Uses::MADE | Uses::REMOVED);
    match place {
        Place::Temporary => match seen.is_there(path) {
            // Its own directories are always there.
            Some(true) if path.components().count() <= 3 && path.is_dir() => None,
            Some(true) => Some(format!("{shown} is shared with other steps of the job")),
            Some(false) if used.has(Uses::REMOVED) && !used.has(Uses::NEW) => {
                Some(format!("it removed {shown}, which may not have been its own"))
            }
            Some(false) => None,
            None => Some(format!("whether it left {shown} is not known")),
        },
        Place::Content if changed && places.is_outside_layer(path) => {
            if fs::symlink_metadata(path).is_ok() {
                Some(format!("it changed {shown}, which is outside the workspace"))
            } else if used.has(Uses::REMOVED) && !used.has(Uses::NEW) {
                Some(format!("it removed {shown}, which is outside the workspace"))
            } else {
                None
            }
        }
        Place::Content | Place::Machine => {
            use std::os::unix::fs::FileTypeExt;
            let is_socket = there.is_some_and(|found| found.file_type().is_socket());
            is_socket.then(|| format!("it may have asked a service at {shown}"))
        }
        Place::Cache | Place::Nothing => None,
    }
}

/// Whether a step left something that neither its layer nor the home directory holds: the steps
/// behind it would miss it if it were not run.
pub(crate) fn leaves_more(seen: &Seen, places: &Places) -> bool {
    let mut paths = seen.paths.iter();
    paths.any(|(path, used)| {
        let path = Path::new(OsStr::from_bytes(path));
        used.has_any(Uses::WRITTEN | Uses::MADE)
            && match places.of(path) {
                Place::Temporary => seen.is_there(path) != Some(false),
                Place::Content => {
                    places.is_outside_layer(path)
                        && !path.starts_with(&places.home)
                        && fs::symlink_metadata(path).is_ok()
                }
                Place::Cache | Place::Machine | Place::Nothing => false,
            }
    })
}

/// Other names that a step gave to paths.
struct Names {
    other: HashMap<PathBuf, Vec<PathBuf>>,
}

impl Names {
    fn of(seen: &Seen) -> Option<Self> {
        let mut other: HashMap<PathBuf, Vec<PathBuf>> = HashMap::new();
        for (new, old) in &seen.aliases {
            let olds = other.entry(real(&plain(new))).or_default();
            let old = plain(old);
            if !olds.contains(&old) {
                olds.push(old);
            }
            if olds.len() > MOST_NAMES {
                return None;
            }
        }
        Some(Self { other })
    }

    /// Lists a path under each of the names it may have had. None when there are too many.
    fn all(&self, path: &Path) -> Option<Vec<PathBuf>> {
        // The way back from a link is not the way that the text says.
        let has_back = path.components().any(|part| part == Component::ParentDir);
        let path = if has_back { back(path) } else { plain(path) };
        let mut all = vec![path];
        if self.other.is_empty() {
            return Some(all);
        }
        let mut at = 0;
        while let Some(path) = all.get(at).cloned() {
            let full = real(&path);
            let mut found = Vec::new();
            for above in full.ancestors() {
                for old in self.other.get(above).into_iter().flatten() {
                    let rest = full.strip_prefix(above).unwrap_or(Path::new(""));
                    let name =
                        if rest.as_os_str().is_empty() { old.clone() } else { old.join(rest) };
                    found.push(plain(&name));
                }
            }
            for name in found {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
            at += 1;
            if all.len() > MOST_NAMES {
                return None;
            }
        }
        Some(all)
    }
}

/// Takes `.` and doubled slashes out of a path, and `..` by its text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Resolves `..` as the system does, where the way to it is there.
fn back(path: &Path) -> PathBuf {
    let mut done = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                done = done.canonicalize().unwrap_or(done);
                done.pop();
            }
            other => done.push(other),
        }
    }
    done
}

/// Resolves links on the way to a path, but not the path itself.
fn real(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    match parent.canonicalize() {
        Ok(parent) => parent.join(name),
        Err(_) => real(parent).join(name),
    }
}

/// Names the programs that the system starts to run a file: the interpreter of a script, the loader
/// of a program.
fn interpreters(path: &Path) -> Vec<String> {
    let mut head = Vec::new();
    let opened = fs::File::open(path).map(|file| file.take(4096).read_to_end(&mut head));
    if !matches!(opened, Ok(Ok(_))) {
        return Vec::new();
    }
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let Some(program) = line.split_whitespace().next() else { return Vec::new() };
        let mut all = vec![program.to_owned()];
        if program != path.to_string_lossy() {
            all.extend(interpreters(Path::new(program)));
        }
        return all;
    }
    if !head.starts_with(b"\x7fELF") {
        return Vec::new();
    }
    // The loader is named in the first page of every program that has one.
    let loader = memmem::find_iter(&head, b"/lib").find_map(|at| {
        let text = head[at..].split(|byte| *byte == 0).next()?;
        let text = std::str::from_utf8(text).ok()?;
        text.contains("/ld").then(|| text.to_owned())
    });
    loader.into_iter().collect()
}

/// What was found out about the machine, which the steps of a job share: each reads the same
/// programs and libraries.
///
/// Nothing in the box can change them, so an answer is as good as the one from before the step for
/// as long as nobody outside does: it holds for [`FRESH`], and after that is asked for anew.
#[derive(Debug, Default)]
pub struct Known {
    files: Mutex<HashMap<PathBuf, Found>>,
}

/// What was found out about a path of the machine.
#[derive(Debug, Clone)]
struct Found {
    at: Instant,
    /// What it is, or leads to.
    there: Option<fs::Metadata>,
    link: String,
    state: String,
    names: String,
    mentions: Option<Mentions>,
    interpreters: Option<Vec<String>>,
}

impl Found {
    fn look(path: &Path) -> Self {
        let itself = fs::symlink_metadata(path).ok();
        let is_link = itself.as_ref().is_some_and(fs::Metadata::is_symlink);
        let there = if is_link { fs::metadata(path).ok() } else { itself.clone() };
        let told = |found: &Option<fs::Metadata>, names| {
            found.as_ref().map_or_else(|| ABSENT.to_owned(), |found| stamp(found, names))
        };
        Self {
            at: Instant::now(),
            link: if is_link { link(path) } else { told(&itself, false) },
            state: told(&there, false),
            names: told(&there, true),
            there,
            mentions: None,
            interpreters: None,
        }
    }

    fn answer(&self, question: Question) -> &str {
        match question {
            Question::MachineLink => &self.link,
            Question::MachineNames => &self.names,
            _ => &self.state,
        }
    }
}

impl Known {
    /// Answers a question about the present.
    fn answer(&self, path: &str, question: Question, call: &Call) -> String {
        let file = Path::new(path);
        match question {
            Question::Variable => call.volatile.get(path).cloned().unwrap_or_default(),
            Question::Link => match fs::symlink_metadata(file) {
                Err(_) => ABSENT.to_owned(),
                Ok(found) if found.is_symlink() => link(file),
                Ok(found) => look(&found),
            },
            Question::Look => {
                fs::metadata(file).map_or_else(|_| ABSENT.to_owned(), |found| look(&found))
            }
            Question::Content => content(file),
            Question::MachineLink | Question::Machine | Question::MachineNames => {
                self.find(file, |found| found.answer(question).to_owned())
            }
        }
    }

    /// What a path of the machine is, or leads to.
    fn there(&self, path: &Path) -> Option<fs::Metadata> {
        self.find(path, |found| found.there.clone())
    }

    fn mentions(&self, path: &Path, there: &fs::Metadata, place: Place) -> Mentions {
        let search = || Mentions::of_file(path, there, place);
        if place != Place::Machine {
            return search();
        }
        self.find(path, |found| found.mentions.get_or_insert_with(search).clone())
    }

    fn interpreters(&self, path: &Path, place: Place) -> Vec<String> {
        if place != Place::Machine {
            return interpreters(path);
        }
        self.find(path, |found| {
            found.interpreters.get_or_insert_with(|| interpreters(path)).clone()
        })
    }

    fn find<T>(&self, path: &Path, ask: impl FnOnce(&mut Found) -> T) -> T {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = files.get_mut(path) {
            if found.at.elapsed() > FRESH {
                let now = Found::look(path);
                if now.names == found.names {
                    (found.at, found.link) = (now.at, now.link);
                } else {
                    *found = now;
                }
            }
            return ask(found);
        }
        if files.len() >= MOST_KNOWN {
            files.clear();
        }
        ask(files.entry(path.to_owned()).or_insert_with(|| Found::look(path)))
    }
}

/// What texts mention.
#[derive(Debug, Default, Clone)]
struct Mentions {
    variables: BTreeSet<&'static str>,
    clock: bool,
    random: bool,
}

impl Mentions {
    fn search(&mut self, text: &[u8], is_shell: bool) {
        for (name, part) in VOLATILE {
            if !self.variables.contains(name) && memmem::find(text, part.as_bytes()).is_some() {
                self.variables.insert(name);
            }
        }
        if is_shell {
            let has = |words: &[&str]| {
                words.iter().any(|word| memmem::find(text, word.as_bytes()).is_some())
            };
            self.clock |= has(TIME_WORDS);
            self.random |= has(RANDOM_WORDS);
        }
    }

    fn of_file(path: &Path, there: &fs::Metadata, place: Place) -> Self {
        let mut mentions = Self::default();
        let limit = if place == Place::Machine { SEARCHED } else { 64 << 20 };
        if !there.is_file() || there.len() > limit {
            return mentions;
        }
        let Ok(text) = fs::read(path) else { return mentions };
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_script = first.starts_with(b"#!") && memmem::find(first, b"sh").is_some();
        let is_named = path.extension().is_some_and(|end| end == "sh" || end == "bash");
        mentions.search(&text, place == Place::Content && (is_script || is_named));
        mentions
    }

    fn add(&mut self, other: &Self) {
        self.variables.extend(&other.variables);
        self.clock |= other.clock;
        self.random |= other.random;
    }
}

/// Looks through what a step left for what it can only have from the clock, or for all of its
/// environment.
#[derive(Debug)]
pub struct Traces {
    words: Vec<(String, &'static str)>,
    from: i64,
    to: i64,
}

impl Traces {
    /// Prepares for a step that ran between two times, in seconds since 1970.
    pub fn new(from: i64, to: i64, canary: &str, call: &Call) -> Self {
        let mut words = Vec::new();
        if !canary.is_empty() {
            words.push((canary.to_owned(), "it shows its whole environment"));
        }
        let dates = [from, to].into_iter().flat_map(|at| {
            let at = jiff::Timestamp::from_second(at).unwrap_or_default();
            [jiff::tz::TimeZone::UTC, jiff::tz::TimeZone::system()]
                .map(|zone| at.to_zoned(zone).date().to_string())
        });
        if !call.allows("clock") {
            let dates: BTreeSet<String> = dates.collect();
            words.extend(dates.into_iter().map(|date| (date, "it wrote today's date")));
        }
        let (from, to) = if call.allows("clock") { (1, 0) } else { (from - 1, to + 1) };
        Self { words, from, to }
    }

    /// Says what a text gives away.
    pub fn find(&self, text: &[u8]) -> Option<&'static str> {
        let word =
            self.words.iter().find(|(word, _)| memmem::find(text, word.as_bytes()).is_some());
        if let Some((_, why)) = word {
            return Some(why);
        }
        self.has_time(text).then_some("it wrote the time")
    }

    /// Says whether a text shows the environment; what is only shown may have a time in it.
    pub fn find_canary(&self, text: &[u8], canary: &str) -> bool {
        !canary.is_empty() && memmem::find(text, canary.as_bytes()).is_some()
    }

    /// Looks for seconds since 1970 in digits, with or without parts of a second behind them.
    fn has_time(&self, text: &[u8]) -> bool {
        if self.from > self.to {
            return false;
        }
        // All times of the step have these digits in common.
        let (from, to) = (self.from.to_string(), self.to.to_string());
        let common = from.bytes().zip(to.bytes()).take_while(|(one, other)| one == other).count();
        memmem::find_iter(text, &from.as_bytes()[..common.max(4)]).any(|at| {
            let starts = at == 0 || !text[at - 1].is_ascii_digit();
            let digits =
                text.get(at..at + from.len()).and_then(|text| std::str::from_utf8(text).ok());
            starts
                && digits
                    .and_then(|digits| digits.parse::<i64>().ok())
                    .is_some_and(|time| (self.from..=self.to).contains(&time))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let env = [("GITHUB_SHA".to_owned(), "1".repeat(40))];
        Call::new("s".into(), Vec::new(), String::new(), "/".into(), env, String::new())
    }

    #[test]
    fn a_name_that_was_a_link_or_was_renamed_leads_to_what_it_was() {
        let mut seen = Seen::default();
        seen.aliases =
            vec![("/w/link".into(), "/w/../x/to".into()), ("/w/new".into(), "/w/link/old".into())];
        let names = Names::of(&seen).expect("few");
        let all = names.all(Path::new("/w/new/file")).expect("few");
        assert_eq!(
            all,
            [Path::new("/w/new/file"), Path::new("/w/link/old/file"), Path::new("/x/to/old/file")]
        );
    }

    #[test]
    fn a_link_in_a_circle_ends() {
        let mut seen = Seen::default();
        seen.aliases.push(("/w/a".into(), "/w/a/b".into()));
        assert_eq!(Names::of(&seen).expect("few").all(Path::new("/w/a")), None);
    }

    #[test]
    fn traces_of_the_clock_and_of_the_environment_are_found() {
        let traces = Traces::new(1_795_400_000, 1_795_400_010, "c0ffee", &call());
        assert_eq!(traces.find(b"x c0ffee"), Some("it shows its whole environment"));
        assert_eq!(traces.find(b"{\"at\":1795400005123}"), Some("it wrote the time"));
        assert_eq!(traces.find(b"built 2026-11-23 "), Some("it wrote today's date"));
        assert_eq!(traces.find(b"1795400100 21795400005 179540000"), None);
    }

    #[test]
    fn an_answer_about_the_machine_holds_for_a_moment_and_what_a_file_mentions_while_it_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        let path = file.to_str().expect("text");
        let known = Known::default();
        let ask = || known.answer(path, Question::Machine, &call());
        let age = || {
            let mut files = known.files.lock().expect("whole");
            let found = files.get_mut(&file).expect("known");
            found.at = found.at.checked_sub(2 * FRESH).expect("the machine runs longer");
        };
        assert_eq!(ask(), ABSENT);
        fs::write(&file, "a").expect("written");
        assert_eq!(ask(), ABSENT, "for a moment");
        age();
        let there = known.there(&file).expect("there");
        assert_eq!(ask(), stamp(&there, false));
        let mentions = |known: &Known| known.mentions(&file, &there, Place::Machine).variables;
        assert_eq!(mentions(&known), BTreeSet::new());
        fs::write(&file, "GITHUB_SHA").expect("written");
        assert_eq!(mentions(&known), BTreeSet::new());
        age();
        assert_eq!(mentions(&known), BTreeSet::from(["GITHUB_SHA"]));
    }

    #[test]
    fn variables_of_the_run_count_for_who_names_them() {
        let mut mentioned = Mentions::default();
        mentioned.search(b"git show \"$GITHUB_SHA\"", true);
        assert_eq!(mentioned.variables, BTreeSet::from(["GITHUB_SHA"]));
        assert!(!mentioned.clock);
        mentioned.search(b"echo $EPOCHSECONDS $RANDOM", true);
        assert!(mentioned.clock && mentioned.random);
    }
}
