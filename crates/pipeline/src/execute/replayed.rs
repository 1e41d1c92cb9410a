//! Scripts of a job that are replayed, or observed so that they can be.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use journal::JobKey;
use nix::fcntl::{Flock, FlockArg, OFlag};
use sandbox::{Exit, Layer, Process, Sandbox, Seen};
use sha2::{Digest, Sha256};

use super::Engine;
use super::job::{Dirs, JobRun, text_of};
use super::output::{Output, now};
use super::process::{Files, MAX_FILE, Program, read_written};
use super::step::Ended;
use crate::file_command::FileCommand;
use crate::log::Kind;
use crate::replay::key::{CANARY, Call, SETTING, hex};
use crate::replay::observe::{Dependence, Known, Traces, depend, leaves_more};
use crate::replay::quick::Quick;
use crate::replay::store::{LastCalls, Recording, Store, each_file};
use crate::replay::{Places, Verdict};

/// How much the recordings may take.
const MOST_BYTES: u64 = 2 << 30;
const MOST_RECORDINGS: usize = 2000;

/// How often it is looked whether they take more.
const TIDY_EVERY: Duration = Duration::from_mins(5);

/// The most output that is kept of a step.
pub(super) const MOST_OUTPUT: usize = 16 << 20;

/// Directories that a box has for itself, empty at its start.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// What a job needs to replay its steps.
#[derive(Debug, Clone)]
pub(super) struct JobReplay {
    store: Store,
    places: Places,
    known: Arc<Known>,
    latest: Arc<LastCalls>,
    quick: Arc<Quick>,
    around: String,
    step: String,
    /// Whether nothing of earlier steps is in the private temporary directories.
    temporary_is_empty: bool,
    /// Whether no process of an earlier step still runs.
    is_quiet: bool,
    /// How many programs each step has run, by its name.
    programs: Arc<BTreeMap<String, u32>>,
    /// Which of them is the present one.
    present: String,
    /// The number of the step that the run goes on from, if it does.
    from: Option<u32>,
}

/// A script that is about to run.
pub(super) struct Attempt {
    call: Arc<Call>,
    key: String,
    canary: String,
    began: u64,
}

/// A place for the directories of a job that is the same in each run, while nobody else has it.
pub(super) fn place(
    engine: &Engine,
    name: &std::ffi::OsStr,
) -> Option<(PathBuf, Arc<Flock<File>>)> {
    let dir = std::path::absolute(engine.surroundings.replay.as_ref()?).ok()?.join("jobs");
    let workflow = hex(&Sha256::digest(engine.plan.workflow.path.as_bytes()));
    let mut full = std::ffi::OsString::from(&workflow[..8]);
    full.push("-");
    full.push(name);
    std::fs::create_dir_all(&dir).ok()?;
    let lock = File::create(dir.join(&full).with_added_extension("lock")).ok()?;
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).ok()?;
    Some((dir.join(full), Arc::new(lock)))
}

impl JobReplay {
    /// Returns none where steps cannot be observed, or the job is not where it always is; an error
    /// if the run goes on from one of its steps and then cannot.
    pub fn open(
        engine: &Engine,
        at: usize,
        key: &JobKey,
        dirs: &Dirs,
        sandbox: &Sandbox,
    ) -> Result<Option<Self>, String> {
        let from = engine.surroundings.from.as_ref().filter(|from| {
            from.workflow == engine.plan.workflow.path && from.job == engine.plan.jobs[at].id
        });
        let from = from.map(|from| from.step);
        match Self::try_open(engine, key, dirs, sandbox, from) {
            None if from.is_some() => {
                Err("it cannot go on from a step: another run is at work in \
                 its place, or the box of this machine keeps no layers"
                    .to_owned())
            }
            opened => Ok(opened),
        }
    }

    fn try_open(
        engine: &Engine,
        key: &JobKey,
        dirs: &Dirs,
        sandbox: &Sandbox,
        from: Option<u32>,
    ) -> Option<Self> {
        let dir = engine.surroundings.replay.as_ref()?;
        if dirs.lock.is_none() || !sandbox.has_layers() {
            return None;
        }
        let surroundings = &engine.surroundings;
        let home = std::path::absolute(&surroundings.home).ok()?;
        let machine = nix::sys::utsname::uname().ok()?;
        let around = format!(
            "{}\n{} {} {}\n{} processors, user {}\n{:?} {:?}\n{:?}",
            sandbox.protection(),
            machine.nodename().to_string_lossy(),
            machine.release().to_string_lossy(),
            machine.machine().to_string_lossy(),
            std::thread::available_parallelism().map_or(0, usize::from),
            nix::unistd::geteuid(),
            surroundings.network,
            surroundings.limits,
            surroundings.hidden,
        );
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let store = Store::new(dir.join("store"));
        let step = format!("{}\n{key}", engine.plan.workflow.path);
        Some(Self {
            latest: Arc::new(store.last_calls(&step)),
            quick: Arc::new(store.quick(&step)),
            store,
            places: Places {
                workspace: real(&dirs.workspace),
                home: real(&home),
                writable: vec![real(&dirs.temp), real(&dirs.commands), real(&dirs.tools)],
                own: Vec::new(),
                hidden: surroundings.hidden.iter().map(|path| real(path)).collect(),
            },
            known: Arc::default(),
            around,
            step,
            temporary_is_empty: true,
            is_quiet: true,
            programs: Arc::default(),
            present: String::new(),
            from,
        })
    }

    /// Finds a recording that holds, or says what changed.
    fn look_up(
        &self,
        call: &Call,
        key: &str,
        copy: &Path,
    ) -> Result<(Recording, Option<Layer>), String> {
        let mut why = None;
        for (id, recording) in self.quick.find(key) {
            if self.holds(&recording, call, &mut why) {
                match self.layer_of(&recording, copy, || self.quick.forget(id)) {
                    Ok(layer) => {
                        self.quick.touch(id);
                        return Ok((recording, layer));
                    }
                    Err(unusable) => why = Some(unusable),
                }
            }
        }
        for (path, recording) in self.store.find(key) {
            if self.holds(&recording, call, &mut why) {
                match self.layer_of(&recording, copy, || self.store.forget(&path)) {
                    Ok(layer) => {
                        self.store.touch(&path);
                        return Ok((recording, layer));
                    }
                    Err(unusable) => why = Some(unusable),
                }
            }
        }
        Err(why.unwrap_or_else(|| self.why_none(call)))
    }

    /// Says why there is no recording of a call.
    fn why_none(&self, call: &Call) -> String {
        self.latest
            .of(&call.step)
            .and_then(|before| call.difference(before))
            .unwrap_or_else(|| "there is no recording of it".to_owned())
    }

    /// Finds the last recording of a step, whatever has changed since, or says why there is none.
    fn look_back(&self, call: &Call, copy: &Path) -> Result<(Recording, Option<Layer>), String> {
        let before = self.latest.of(&call.step).ok_or("there is no recording of it")?;
        if let Some(why) = call.another_program(before) {
            return Err(format!("{why} since it was recorded"));
        }
        let key = before.key();
        if let Some((id, recording)) = self.quick.newest(&key) {
            let layer = self.layer_of(&recording, copy, || self.quick.forget(id))?;
            self.quick.touch(id);
            return Ok((recording, layer));
        }
        let newest = self.store.find_any(&key).into_iter().next();
        let (path, recording) = newest.ok_or("its recording was removed")?;
        let layer = self.layer_of(&recording, copy, || self.store.forget(&path))?;
        self.store.touch(&path);
        Ok((recording, layer))
    }

    /// Copies the layer of a recording for one use, or forgets the recording.
    fn layer_of(
        &self,
        recording: &Recording,
        copy: &Path,
        forget: impl FnOnce(),
    ) -> Result<Option<Layer>, String> {
        let Some(digest) = &recording.layer else { return Ok(None) };
        self.store.layer(digest, copy).map(Some).map_err(|error| {
            let _ = std::fs::remove_dir_all(copy);
            forget();
            format!("its recording cannot be used: {error}")
        })
    }

    /// Looks whether a recording holds; why the first one did not is what is told.
    fn holds(&self, recording: &Recording, call: &Call, why: &mut Option<String>) -> bool {
        if recording.temporary && !self.temporary_is_empty {
            why.get_or_insert_with(|| "an earlier step left temporary files".to_owned());
            return false;
        }
        let changed = recording.inputs.iter().find(|input| !input.holds(call, &self.known));
        if let Some(changed) = changed {
            why.get_or_insert_with(|| changed.changed(call, &self.known, &self.places.workspace));
        }
        changed.is_none()
    }

    /// Writes down what the job ran, when it has ended.
    pub async fn close(self) {
        // What cannot be written down is run again, and it is told less well why.
        let _ =
            tokio::task::spawn_blocking(move || self.latest.save().and(self.quick.save())).await;
    }

    /// Notes that somebody did in the box what nobody observed.
    pub fn disturb(&mut self, is_quiet: bool) {
        self.temporary_is_empty = false;
        self.is_quiet &= is_quiet;
    }

    /// Names the files of the next program of a step, the same in each run.
    pub fn next_name(&mut self, step: &str) -> String {
        let count = Arc::make_mut(&mut self.programs).entry(step.to_owned()).or_default();
        *count += 1;
        self.present = format!("{step}\n{count}");
        hex(&Sha256::digest(&self.present))[..32].to_owned()
    }
}

impl JobRun {
    /// Says what became of the next step.
    fn tell(&self, step: u32, verdict: &Verdict) {
        self.engine.recorder.replay(&self.key, step, verdict);
    }

    fn not_kept(&self, step: u32, why: impl Into<String>) {
        self.tell(step, &Verdict::NotKept { why: why.into() });
    }

    /// Prepares to replay a script or to observe it. None when neither may be.
    pub(super) fn attempt(
        &mut self,
        step: u32,
        program: &Program,
        variables: &mut IndexMap<String, String>,
        files: &Files,
    ) -> Option<Attempt> {
        let replay = self.replay.as_mut()?;
        let mut own: Vec<PathBuf> = files.list.iter().map(|(_, path)| path.clone()).collect();
        let (path, script) = program.script.clone().unzip();
        own.extend(path);
        let script = script.unwrap_or_default();
        replay.places.own = own;
        let argv = [std::slice::from_ref(&program.name), &program.arguments].concat();
        let mut canary = [0; 16];
        getrandom::fill(&mut canary).ok()?;
        // Not by its name, which is made of the script where nobody gave one.
        let count = replay.present.rsplit('\n').next().unwrap_or_default();
        let name = format!("{}\n{step} {count}", replay.step);
        let env: Vec<(String, String)> =
            variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let masker = &self.engine.masker;
        let texts = env.iter().map(|(_, value)| value).chain(&argv);
        let has_secret =
            masker.finds_in(&script) || texts.into_iter().any(|text| masker.finds_in(text));
        let is_quiet = replay.is_quiet;
        let cwd = text_of(&program.cwd);
        let call = Call::new(name, argv, script, cwd, env, replay.around.clone());
        let why = if has_secret {
            "it uses a secret".to_owned()
        } else if call.env.get(SETTING).is_some_and(|value| value.trim() == "never") {
            format!("`{SETTING}` says never")
        } else if !is_quiet {
            "something that an earlier step started still runs".to_owned()
        } else {
            let canary = hex(&canary);
            variables.insert(CANARY.to_owned(), canary.clone());
            let key = call.key();
            return Some(Attempt { call: Arc::new(call), key, canary, began: now() });
        };
        self.not_kept(step, why);
        // Nobody looks what it leaves there.
        if let Some(replay) = &mut self.replay {
            replay.temporary_is_empty = false;
        }
        None
    }

    /// Replays a script if everything it depended on is as it was. Tells whether it did.
    pub(super) async fn replay(
        &mut self,
        attempt: &Attempt,
        files: &[(FileCommand, PathBuf)],
        output: &mut Output,
        ended: &mut Ended,
    ) -> bool {
        let step = output.step();
        let Some(replay) = &self.replay else { return false };
        let is_before = replay.from.is_some_and(|from| step < from);
        let may_have = || replay.quick.has(&attempt.key) || replay.store.may_have(&attempt.key);
        let found = if replay.from.is_some() && !is_before {
            Err("the run goes on from here".to_owned())
        } else if !is_before && !may_have() {
            Err(replay.why_none(&attempt.call))
        } else {
            let (call, key) = (Arc::clone(&attempt.call), attempt.key.clone());
            let name = hex(&Sha256::digest(&replay.present));
            let copy = self.dirs.root.join("layers").join(format!("replayed-{}", &name[..16]));
            let replay = replay.clone();
            tokio::task::spawn_blocking(move || {
                if is_before {
                    replay.look_back(&call, &copy)
                } else {
                    replay.look_up(&call, &key, &copy)
                }
            })
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
        };
        let (recording, layer) = match found {
            Ok(found) => found,
            Err(why) if is_before => {
                ended.fail(format!("nothing can go on behind it: {why}"));
                return true;
            }
            Err(why) => {
                self.tell(step, &Verdict::Ran { why });
                return false;
            }
        };
        if let Some(layer) = &layer {
            if let Err(error) = self.sandbox.replay(layer).await {
                // Part of it may be in the workspace, so that nothing can run there any more.
                ended.fail(format!("could not {error}; run it with --fresh"));
                return true;
            }
            Self::note_layer(layer, output, ended);
        }
        for (file, path) in files {
            let text = recording.files.get(file.name()).map_or("", String::as_str);
            let written = OpenOptions::new()
                .write(true)
                .truncate(true)
                .custom_flags(OFlag::O_NOFOLLOW.bits())
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()));
            if let Err(error) = written {
                ended.fail(format!("could not write {}: {error}", path.display()));
            }
        }
        let spent = now().saturating_sub(attempt.began);
        let saved = recording.took.saturating_sub(spent);
        output.say(
            Kind::Command,
            &format!("cached: nothing it depends on changed; {saved} ms saved"),
        );
        output.push(&recording.output);
        self.flush(output);
        self.apply_now(output);
        ended.cached = Some(saved);
        self.tell(step, &Verdict::Replayed { saved });
        true
    }

    /// Keeps what a script depended on and what it left, if it may be replayed.
    pub(super) async fn record(
        &mut self,
        attempt: Attempt,
        process: &Process,
        files: &[(FileCommand, PathBuf)],
        output: &mut Output,
        ended: &Ended,
    ) {
        let step = output.step();
        let (exit, seen) = (process.exit(), process.seen());
        let is_held =
            exit.as_ref().is_none_or(|exit| exit.layer.is_some() || exit.layer_failure.is_some());
        let kept = self.try_record(attempt, exit, seen, files, output, ended).await;
        if is_held && let Err(error) = self.sandbox.fold().await {
            output.say(Kind::Warning, &format!("what the step changed could not be kept: {error}"));
        }
        if let Err(why) = kept {
            self.not_kept(step, why);
        }
    }

    async fn try_record(
        &mut self,
        attempt: Attempt,
        exit: Option<Exit>,
        seen: Option<Seen>,
        files: &[(FileCommand, PathBuf)],
        output: &mut Output,
        ended: &Ended,
    ) -> Result<(), String> {
        let tape = output.tape.take();
        let Some(replay) = &mut self.replay else { return Ok(()) };
        let (Some(exit), Some(seen)) = (exit, seen) else {
            replay.temporary_is_empty = false;
            return Err("it could not be observed".to_owned());
        };
        replay.is_quiet &= exit.alone;
        replay.temporary_is_empty &=
            TEMPORARY.iter().all(|dir| seen.is_empty(Path::new(dir)) == Some(true));
        let store = replay.store.clone();
        let Attempt { call, key, canary, began } = attempt;
        let took = now().saturating_sub(began);
        let is_alone = exit.alone;
        if ended.outcome != journal::Conclusion::Success {
            return Err("only what succeeds is replayed".to_owned());
        }
        if !is_alone {
            return Err("it left something running".to_owned());
        }
        let Some(output) = tape else { return Err("it printed more than is kept".to_owned()) };
        let mut written = BTreeMap::new();
        for (file, path) in files {
            let text = read_written(path, MAX_FILE)?;
            if !text.is_empty() {
                written.insert(file.name().to_owned(), text);
            }
        }
        let masker = &self.engine.masker;
        let shown = String::from_utf8_lossy(&output);
        if shown.contains("add-mask") {
            return Err("it hides a text of its own".to_owned());
        }
        if masker.finds_in(&shown) || written.values().any(|text| masker.finds_in(text)) {
            return Err("it shows a secret".to_owned());
        }
        let (places, known) = (replay.places.clone(), replay.known.clone());
        let (latest, quick) = (replay.latest.clone(), replay.quick.clone());
        let layer = exit.layer;
        if let Some(why) = &exit.layer_failure {
            return Err(format!("its changes could not be recorded: {why}"));
        }
        // What it looked at is read before the layer is folded, while it is as the step found it.
        let kept = tokio::task::spawn_blocking(move || {
            latest.remember(Arc::clone(&call));
            let changes = match &layer {
                Some(layer) => layer.changes().map_err(|error| error.to_string())?,
                None => Vec::new(),
            };
            let Dependence { inputs, temporary, mut why_not } =
                depend(&seen, &changes, &call, &places, &known);
            if let Some(why) = &why_not
                && leaves_more(&seen, &places)
            {
                return Err(why.clone());
            }
            let seconds = |time: u64| i64::try_from(time / 1000).unwrap_or(0);
            let traces = Traces::new(seconds(began), seconds(began + took), &canary, &call);
            if why_not.is_none() && traces.find_canary(&output, &canary) {
                why_not = Some("it shows its whole environment".to_owned());
            }
            if why_not.is_none() {
                let found = written.values().find_map(|text| traces.find(text.as_bytes()));
                why_not = found.map(str::to_owned);
            }
            let said = |error: std::io::Error| format!("its layer could not be kept: {error}");
            if why_not.is_none()
                && let Some(layer) = &layer
            {
                why_not = trace_in(layer, &traces).map_err(said)?;
            }
            let (layer, bytes) = match &layer {
                Some(layer) => {
                    let (digest, bytes) = store.keep_layer(layer).map_err(said)?;
                    (Some(digest), bytes)
                }
                None => (None, 0),
            };
            let only_below = why_not.is_some();
            let recording = Recording {
                took,
                inputs,
                temporary,
                layer,
                files: written,
                bytes,
                only_below,
                output,
            };
            if let Err(recording) = quick.keep(&key, recording) {
                let kept = store.keep(&key, &recording);
                kept.map_err(|error| format!("it could not be kept: {error}"))?;
            }
            why_not.map_or(Ok(()), Err)
        });
        kept.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// Looks in the files of a layer for what differs from run to run; says what and where.
fn trace_in(layer: &Layer, traces: &Traces) -> std::io::Result<Option<String>> {
    let mut why = None;
    each_file(layer, &mut |path, content| {
        if why.is_none()
            && let Some(found) = traces.find(content)
        {
            why = Some(format!("{found} into {}", path.display()));
        }
        Ok(())
    })?;
    Ok(why)
}

/// Keeps the recordings within their bounds. As all of them are read for it, not after every run.
pub(super) fn tidy(engine: &Engine) {
    let Some(dir) = &engine.surroundings.replay else { return };
    let mark = dir.join("tidied");
    let last = std::fs::metadata(&mark).and_then(|found| found.modified());
    if last.is_ok_and(|last| last.elapsed().is_ok_and(|age| age < TIDY_EVERY)) {
        return;
    }
    Store::new(dir.join("store")).evict(MOST_BYTES, MOST_RECORDINGS);
    // Without the mark they are looked at again after the next run.
    let _ = std::fs::write(mark, "");
}
