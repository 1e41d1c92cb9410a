//! `actions/cache`, `actions/cache/restore` and `actions/cache/save`.
//!
//! An archive is what the public client makes, a tar archive with paths from the workspace, so that
//! either finds what the other saved.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::artifact::{Outcome, Shelf, has_wildcard, normal};
use super::checkout::inside;
use super::{input, is_true};
use crate::results::Scopes;
use crate::results::cache::{MAX_KEYS, Packing, SaveError, check_key, version};

/// How much is taken out of one archive.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024 * 1024;

/// How many files are taken out of one archive.
const MAX_FILES: u64 = 10_000_000;

/// What a job's caches work with.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    pub shelf: Shelf,
    pub scopes: Scopes,
    pub workspace: PathBuf,
    /// Where files may be put; nothing leads out of these.
    pub roots: Vec<PathBuf>,
    pub home: PathBuf,
    pub packing: Packing,
}

/// A cache to save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Save {
    key: String,
    paths: Vec<String>,
}

impl Save {
    fn read(inputs: &[(String, String)]) -> Result<Self, String> {
        let key = input(inputs, "key").ok_or("the input `key` is required")?;
        check_key(key)?;
        let paths = lines(input(inputs, "path").ok_or("the input `path` is required")?);
        Ok(Self { key: key.to_owned(), paths })
    }
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Puts cached files in their places.
///
/// With `then_save`, what was not found under its very key is saved when the job has ended well.
pub(crate) fn restore(
    cached: &Cached,
    inputs: &[(String, String)],
    then_save: bool,
) -> Result<Outcome, String> {
    let wanted = Save::read(inputs)?;
    let restore_keys = lines(input(inputs, "restore-keys").unwrap_or_default());
    let keys: Vec<&str> =
        std::iter::once(&wanted.key).chain(&restore_keys).map(String::as_str).collect();
    if keys.len() > MAX_KEYS {
        return Err(format!("at most {MAX_KEYS} keys are looked for"));
    }
    keys.iter().try_for_each(|key| check_key(key))?;
    let paths: Vec<&str> = wanted.paths.iter().map(String::as_str).collect();
    let version = version(&paths, cached.packing);
    let mut outcome = Outcome::default();
    let mut set = |name: &str, value: &str| {
        outcome.outputs.push((name.to_owned(), value.to_owned()));
    };
    if !then_save {
        set("cache-primary-key", &wanted.key);
    }
    let Some(entry) = cached.shelf.store.find_cache(&cached.scopes, &keys, &version) else {
        if is_true(inputs, "fail-on-cache-miss") {
            return Err(format!(
                "Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: {}",
                wanted.key
            ));
        }
        outcome.notes.push(format!("Cache not found for input keys: {}", keys.join(", ")));
        outcome.save = then_save.then_some(wanted);
        return Ok(outcome);
    };
    let is_exact = entry.key.to_lowercase() == wanted.key.to_lowercase();
    set("cache-hit", if is_exact { "true" } else { "false" });
    if !then_save {
        set("cache-matched-key", &entry.key);
    }
    if is_true(inputs, "lookup-only") {
        outcome.notes.push(format!("Cache found and can be restored from key: {}", entry.key));
    } else {
        let blob = cached.shelf.store.blob(&entry.digest).map_err(|error| error.line())?;
        match unpack(cached, blob) {
            Ok(files) => outcome.notes.push(format!(
                "Cache restored from key: {} ({files} files, {} bytes)",
                entry.key, entry.bytes
            )),
            Err(why) => return Err(format!("the cache `{}` cannot be restored: {why}", entry.key)),
        }
    }
    if then_save && !is_exact {
        outcome.save = Some(wanted);
    }
    Ok(outcome)
}

/// Saves a cache as a step of its own.
pub(crate) fn save_now(cached: &Cached, inputs: &[(String, String)]) -> Result<Outcome, String> {
    let wanted = Save::read(inputs)?;
    let mut outcome = Outcome::default();
    match save(cached, &wanted) {
        Ok(note) => outcome.notes.push(note),
        Err(error) => outcome.warnings.push(format!("Failed to save: {error}")),
    }
    Ok(outcome)
}

/// Saves a cache; returns what to say.
pub(crate) fn save(cached: &Cached, wanted: &Save) -> Result<String, String> {
    let paths: Vec<&str> = wanted.paths.iter().map(String::as_str).collect();
    let version = version(&paths, cached.packing);
    let own = &cached.scopes.own;
    if cached.shelf.store.has_cache(own, &wanted.key, &version) {
        return Ok(format!(
            "Cache hit occurred on the primary key {}, not saving cache.",
            wanted.key
        ));
    }
    let found = find(cached, &paths)?;
    if found.is_empty() {
        return Err(format!("no file is there with the path: {}", paths.join(", ")));
    }
    let incoming = cached.shelf.store.incoming().map_err(|error| error.line())?;
    pack(cached, &found, &incoming.whole())
        .map_err(|error| format!("could not pack the cache: {error}"))?;
    let staged = incoming.finish().map_err(|error| error.line())?;
    match cached.shelf.store.save_cache(own, &wanted.key, &version, &staged) {
        Ok(entry) => Ok(format!("Cache saved with key: {} ({} bytes)", entry.key, entry.bytes)),
        Err(SaveError::Store(error)) => Err(error.line()),
        Err(error) => Err(error.to_string()),
    }
}

/// Finds what lines of paths and patterns name: files, and directories with all that is in them.
fn find(cached: &Cached, lines: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in lines {
        let (line, excluding) = match line.strip_prefix('!') {
            Some(rest) => (rest.trim(), true),
            None => (*line, false),
        };
        let path = match line.strip_prefix('~') {
            Some("") => cached.home.clone(),
            Some(rest) if rest.starts_with('/') => cached.home.join(rest.trim_start_matches('/')),
            _ => cached.workspace.join(line),
        };
        let whole = normal(&path).ok_or_else(|| format!("`{line}` is no path"))?;
        let glob = globset::GlobBuilder::new(&whole.to_string_lossy())
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| format!("`{line}`: {error}"))?
            .compile_matcher();
        if excluding {
            found.retain(|path| !glob.is_match(path));
            continue;
        }
        let plain: PathBuf = whole
            .components()
            .take_while(|part| !has_wildcard(part.as_os_str().to_string_lossy().as_ref()))
            .collect();
        if !cached.roots.iter().any(|root| plain.starts_with(root)) {
            return Err(format!("`{line}` is neither below the workspace nor below the home"));
        }
        if plain == whole {
            if fs::symlink_metadata(&whole).is_ok() {
                found.push(whole);
            }
            continue;
        }
        let mut open = vec![plain];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if glob.is_match(&path) {
                    found.push(path);
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(path);
                }
            }
        }
    }
    found.sort();
    // What is in a directory that is kept comes with it.
    found.dedup_by(|later, earlier| later.starts_with(earlier));
    Ok(found)
}

fn pack(cached: &Cached, found: &[PathBuf], to: &Path) -> io::Result<()> {
    let file = BufWriter::with_capacity(256 * 1024, File::create(to)?);
    match cached.packing {
        Packing::Zstd => {
            let encoder = zstd::Encoder::new(file, 3)?;
            write_tar(cached, found, encoder)?.finish()?.flush()
        }
        Packing::Gzip => {
            let encoder = flate2::write::GzEncoder::new(file, flate2::Compression::new(6));
            write_tar(cached, found, encoder)?.finish()?.flush()
        }
    }
}

fn write_tar<W: Write>(cached: &Cached, found: &[PathBuf], to: W) -> io::Result<W> {
    let mut tar = tar::Builder::new(to);
    let mut open: Vec<PathBuf> = found.iter().rev().cloned().collect();
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let mut header = tar::Header::new_ustar();
        header.set_mode(metadata.permissions().mode() & 0o777);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        header.set_path("x")?;
        let name = relative(&cached.workspace, &path);
        let mut extensions: Vec<(&str, &[u8])> = vec![("path", name.as_os_str().as_bytes())];
        let kind = metadata.file_type();
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            header.set_cksum();
            tar.append_pax_extensions(extensions)?;
            tar.append(&header, io::empty())?;
            let mut inner: Vec<PathBuf> =
                fs::read_dir(&path)?.flatten().map(|entry| entry.path()).collect();
            inner.sort();
            open.extend(inner.into_iter().rev());
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            extensions.push(("linkpath", target.as_os_str().as_bytes()));
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_cksum();
            tar.append_pax_extensions(extensions)?;
            tar.append(&header, io::empty())?;
        } else if kind.is_file() {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            header.set_size(length);
            header.set_cksum();
            tar.append_pax_extensions(extensions)?;
            // A file that shrinks meanwhile is filled up, so that the archive stays whole.
            tar.append(&header, file.take(length).chain(io::repeat(0)).take(length))?;
        }
    }
    tar.into_inner()
}

/// The way from a directory to a path, by `..` where it must be.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(one, two)| one == two).count();
    let up = from.components().skip(shared).map(|_| Path::new(".."));
    let down = to.components().skip(shared).map(|part| Path::new(part.as_os_str()));
    let way: PathBuf = up.chain(down).collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

fn unpack(cached: &Cached, mut blob: File) -> Result<u64, String> {
    let mut magic = [0; 4];
    let read = blob.read(&mut magic).map_err(|error| error.to_string())?;
    blob.rewind().map_err(|error| error.to_string())?;
    let blob = BufReader::with_capacity(256 * 1024, blob);
    if magic[..read] == [0x28, 0xb5, 0x2f, 0xfd] {
        let mut decoder = zstd::Decoder::with_buffer(blob).map_err(|error| error.to_string())?;
        // The public client may have used windows of up to 2^30 bytes; more is refused.
        decoder.window_log_max(30).map_err(|error| error.to_string())?;
        read_tar(cached, decoder)
    } else {
        read_tar(cached, flate2::bufread::MultiGzDecoder::new(blob))
    }
}

/// Puts the files of an archive in their places; nothing leads out of the roots, by name or
/// through a link.
fn read_tar(cached: &Cached, archive: impl Read) -> Result<u64, String> {
    let broken = |error: io::Error| format!("the archive is broken: {error}");
    let mut tar = tar::Archive::new(archive.take(MAX_UNPACKED));
    let mut files = 0;
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        files += 1;
        if files > MAX_FILES {
            return Err(format!("it holds more than {MAX_FILES} files"));
        }
        let name = entry.path().map_err(broken)?.into_owned();
        let (root, rest) = place(cached, &name)?;
        let header = entry.header();
        let mode = header.mode().unwrap_or(0o644) & 0o777;
        let modified = SystemTime::UNIX_EPOCH
            + Duration::from_secs(header.mtime().unwrap_or(0).min(u64::from(u32::MAX)));
        let kind = header.entry_type();
        if kind.is_dir() {
            let dir = inside(&root, &rest.to_string_lossy())?;
            if !rest.as_os_str().is_empty() {
                let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(mode | 0o700));
            }
            continue;
        }
        let path = free(&root, &rest)?;
        let said = |error: io::Error| format!("could not write {}: {error}", path.display());
        if kind.is_symlink() {
            let target = entry.link_name().map_err(broken)?.ok_or("a link leads nowhere")?;
            std::os::unix::fs::symlink(&target, &path).map_err(said)?;
        } else if kind.is_hard_link() {
            let source = entry.link_name().map_err(broken)?.ok_or("a link leads nowhere")?;
            let (root, rest) = place(cached, &source)?;
            let parent = rest.parent().unwrap_or(Path::new(""));
            let name = rest.file_name().ok_or("a link leads to no file")?;
            let source = inside(&root, &parent.to_string_lossy())?.join(name);
            let is_file = fs::symlink_metadata(&source).is_ok_and(|found| found.is_file());
            if !is_file {
                return Err(format!("`{}` is a link to no file", path.display()));
            }
            fs::hard_link(&source, &path).map_err(said)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let mut file =
                File::options().write(true).create_new(true).open(&path).map_err(said)?;
            io::copy(&mut entry, &mut file).map_err(said)?;
            file.set_permissions(fs::Permissions::from_mode(mode | 0o200)).map_err(said)?;
            file.set_modified(modified).map_err(said)?;
        }
    }
    Ok(files)
}

/// Returns the root that a name of an archive is below, and the way from there.
fn place(cached: &Cached, name: &Path) -> Result<(PathBuf, PathBuf), String> {
    let whole = normal(&cached.workspace.join(name));
    let found = whole.as_ref().and_then(|whole| {
        cached.roots.iter().find_map(|root| Some((root, whole.strip_prefix(root).ok()?)))
    });
    let (root, rest) =
        found.ok_or_else(|| format!("`{}` is not below a directory of the job", name.display()))?;
    Ok((root.clone(), rest.to_owned()))
}

/// Makes the directories of a path and removes a file or a link that is in its place.
fn free(root: &Path, rest: &Path) -> Result<PathBuf, String> {
    let name = rest.file_name().ok_or("an entry has no name")?;
    let parent = rest.parent().unwrap_or(Path::new(""));
    let path = inside(root, &parent.to_string_lossy())?.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("could not replace {}: {error}", path.display()))
        }
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Store;

    struct World {
        dir: tempfile::TempDir,
        cached: Cached,
    }

    fn world(packing: Packing) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = dir.path().join("work");
        let home = dir.path().join("home");
        for dir in [&workspace, &home] {
            fs::create_dir_all(dir).expect("a directory");
        }
        let store = Store::open(dir.path().join("store")).expect("opens");
        let cached = Cached {
            shelf: Shelf { store, run: 1, job: "a".to_owned() },
            scopes: Scopes { own: "refs/heads/main".to_owned(), others: Vec::new() },
            roots: vec![workspace.clone(), home.clone()],
            workspace,
            home,
            packing,
        };
        World { dir, cached }
    }

    fn inputs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn output<'a>(outcome: &'a Outcome, name: &str) -> Option<&'a str> {
        let found = outcome.outputs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn what_is_saved_comes_back_with_links_modes_and_times() {
        for packing in [Packing::Zstd, Packing::Gzip] {
            let world = world(packing);
            let (work, home) = (&world.cached.workspace, &world.cached.home);
            let long = "d".repeat(120);
            fs::create_dir_all(work.join("deps").join(&long)).expect("a directory");
            fs::write(work.join("deps").join(&long).join("a"), "one").expect("a file");
            fs::create_dir_all(home.join(".tool")).expect("a directory");
            fs::write(home.join(".tool/b"), "two").expect("a file");
            fs::set_permissions(home.join(".tool/b"), fs::Permissions::from_mode(0o755))
                .expect("is set");
            let then = SystemTime::UNIX_EPOCH + Duration::from_hours(400_000);
            let file = File::options().append(true).open(home.join(".tool/b")).expect("opens");
            file.set_modified(then).expect("is set");
            std::os::unix::fs::symlink("/nowhere", work.join("deps/link")).expect("a link");

            let given = inputs(&[("path", "deps\n~/.tool"), ("key", "k-1")]);
            let miss = restore(&world.cached, &given, true).expect("goes on");
            assert_eq!(output(&miss, "cache-hit"), None);
            save(&world.cached, &miss.save.expect("is to be saved")).expect("is saved");
            fs::remove_dir_all(work.join("deps")).expect("goes");
            fs::remove_dir_all(home.join(".tool")).expect("goes");

            let hit = restore(&world.cached, &given, true).expect("is there");
            assert_eq!(output(&hit, "cache-hit"), Some("true"));
            assert_eq!(hit.save, None);
            let text = fs::read_to_string(work.join("deps").join(&long).join("a"));
            assert_eq!(text.expect("is back"), "one");
            let found = fs::metadata(home.join(".tool/b")).expect("is back");
            assert_eq!(found.permissions().mode() & 0o777, 0o755);
            assert_eq!(found.modified().expect("is known"), then);
            let link = fs::read_link(work.join("deps/link")).expect("is back");
            assert_eq!(link, Path::new("/nowhere"));
        }
    }

    #[test]
    fn a_restore_key_is_a_hit_that_is_none_and_saves_anew() {
        let world = world(Packing::Gzip);
        fs::write(world.cached.workspace.join("x"), "1").expect("a file");
        save_now(&world.cached, &inputs(&[("path", "x"), ("key", "k-1")])).expect("is saved");
        let given = inputs(&[("path", "x"), ("key", "k-2"), ("restore-keys", "k-\n")]);
        let done = restore(&world.cached, &given, false).expect("is there");
        assert_eq!(output(&done, "cache-hit"), Some("false"));
        assert_eq!(output(&done, "cache-matched-key"), Some("k-1"));
        let done = restore(&world.cached, &given, true).expect("is there");
        assert_eq!(done.save.map(|save| save.key).as_deref(), Some("k-2"));
        let other = inputs(&[("path", "y"), ("key", "k-1"), ("fail-on-cache-miss", "true")]);
        assert!(restore(&world.cached, &other, false).is_err(), "other paths are another cache");
    }

    #[test]
    fn lookup_only_leaves_the_files_alone() {
        let world = world(Packing::Gzip);
        let file = world.cached.workspace.join("x");
        fs::write(&file, "1").expect("a file");
        save_now(&world.cached, &inputs(&[("path", "x"), ("key", "k")])).expect("is saved");
        fs::remove_file(&file).expect("goes");
        let given = inputs(&[("path", "x"), ("key", "k"), ("lookup-only", "true")]);
        let done = restore(&world.cached, &given, false).expect("is there");
        assert_eq!(output(&done, "cache-hit"), Some("true"));
        assert!(!file.exists());
    }

    #[test]
    fn no_path_outside_is_saved_and_no_entry_leads_outside() {
        let world = world(Packing::Gzip);
        let done = save_now(&world.cached, &inputs(&[("path", "/etc/hostname"), ("key", "k")]));
        assert_eq!(done.expect("goes on").warnings.len(), 1);
        let outside = world.dir.path().join("outside");
        fs::create_dir(&outside).expect("a directory");
        std::os::unix::fs::symlink(&outside, world.cached.workspace.join("link")).expect("a link");
        for name in ["../outside/x", "link/x", "/tmp/marline-cache-x"] {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_path("x").expect("fits");
            header.set_size(1);
            header.set_cksum();
            tar.append_pax_extensions([("path", name.as_bytes())]).expect("is written");
            tar.append(&header, &b"x"[..]).expect("is written");
            let bytes = tar.into_inner().expect("ends");
            assert!(read_tar(&world.cached, bytes.as_slice()).is_err(), "{name}");
        }
        assert!(fs::read_dir(&outside).expect("is there").next().is_none());
    }
}
