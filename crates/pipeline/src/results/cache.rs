//! Caches: files under a key, found again by later runs.
//!
//! An entry belongs to a scope, which is the branch it was saved on. A run sees the entries of its
//! own branch and, if those have nothing, of the branch it goes into and of the default branch. An
//! entry never changes; it goes when nobody used it for a week or when the store is full.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::{self, Held, Staged, Store, StoreError};

/// The longest key.
pub const MAX_KEY: usize = 512;

/// The most keys that are looked for at once.
pub const MAX_KEYS: usize = 10;

/// How much all entries together may hold.
pub const MAX_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// How long an entry that nobody uses stays.
pub const UNUSED: Duration = Duration::from_hours(7 * 24);

/// Files under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; it grows.
    pub id: u64,
    /// The branch it was saved on, as `refs/heads/main`.
    pub scope: String,
    /// Its key.
    pub key: String,
    /// What was cached and how it was packed, as one digest; see [`version`].
    pub version: String,
    /// The SHA-256 of its content, in hexadecimal.
    pub digest: String,
    /// The length of its content.
    pub bytes: u64,
    /// When it was saved.
    pub created: Timestamp,
}

/// Where a run saves its caches, and where it looks for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes {
    /// The scope it saves to.
    pub own: String,
    /// The scopes it looks into after its own, in this order.
    pub others: Vec<String>,
}

impl Scopes {
    /// Returns the scopes of what happened: its own branch, the branch that a pull request goes
    /// into, the default branch.
    pub fn of(event: &crate::event::Event) -> Self {
        let base = event
            .payload
            .as_ref()
            .and_then(|payload| payload.pointer("/pull_request/base/ref")?.as_str())
            .map(|base| format!("refs/heads/{base}"));
        let default = format!("refs/heads/{}", event.default_branch);
        let mut others: Vec<String> = base.into_iter().collect();
        others.push(default);
        others.retain(|scope| *scope != event.git_ref);
        others.dedup();
        Self { own: event.git_ref.clone(), others }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.own.as_str()).chain(self.others.iter().map(String::as_str))
    }
}

/// How an archive of cached files is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// With `zstd`, as the public client does where that program is installed.
    Zstd,
    /// With `gzip`, as it does elsewhere.
    Gzip,
}

/// Returns the version of a cache: what the public client makes of its paths and its packing.
pub fn version(paths: &[&str], packing: Packing) -> String {
    let packing = match packing {
        Packing::Zstd => "zstd-without-long",
        Packing::Gzip => "gzip",
    };
    let mut parts = paths.to_vec();
    parts.extend([packing, "1.0"]);
    crate::built_in::artifact::hex(&Sha256::digest(parts.join("|").as_bytes()))
}

/// Says what is wrong with a key.
pub fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("the key of a cache is empty".to_owned());
    }
    if key.chars().count() > MAX_KEY {
        return Err(format!("the key of a cache may have at most {MAX_KEY} characters"));
    }
    if key.contains(',') {
        return Err("the key of a cache may not hold a comma".to_owned());
    }
    Ok(())
}

/// Why a cache could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is an entry, and entries never change.
    #[error("cache entry with the same key, version, and scope already exists")]
    Exists,
    /// It is larger than all entries together may be.
    #[error("the cache has {0} bytes, and at most {MAX_BYTES} are kept")]
    TooLarge(u64),
    /// The store could not be written to.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    fn cache_path(&self, id: u64) -> PathBuf {
        self.caches().join(format!("{id}.json"))
    }

    /// Returns all entries, newest first.
    pub fn cache_entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Self::read_records(&self.caches())
            .into_iter()
            .map(|(_, entry): (_, Entry)| entry)
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        entries
    }

    /// Returns when an entry was used last.
    pub fn used(&self, entry: &Entry) -> Option<SystemTime> {
        fs::metadata(self.cache_path(entry.id)).and_then(|found| found.modified()).ok()
    }

    /// Finds the entry that a run gets for its keys, and notes that it was used.
    ///
    /// In each scope in turn, each key in turn: the entry with that very key, else the newest whose
    /// key begins with it.
    pub fn find_cache(&self, scopes: &Scopes, keys: &[&str], version: &str) -> Option<Entry> {
        let entries: Vec<Entry> =
            self.cache_entries().into_iter().filter(|entry| entry.version == version).collect();
        let found = choose(&entries, scopes, keys)?.clone();
        // Losing the note may only make an entry go sooner.
        if let Ok(file) = File::options().append(true).open(self.cache_path(found.id)) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(found)
    }

    /// Whether a run's own scope has the very entry.
    pub fn has_cache(&self, scope: &str, key: &str, version: &str) -> bool {
        self.cache_entries()
            .iter()
            .any(|entry| entry.scope == scope && entry.key == key && entry.version == version)
    }

    /// Saves what was staged under a key, and makes room for it.
    pub fn save_cache(
        &self,
        scope: &str,
        key: &str,
        version: &str,
        staged: &Staged,
    ) -> Result<Entry, SaveError> {
        if staged.bytes > MAX_BYTES {
            return Err(SaveError::TooLarge(staged.bytes));
        }
        let held = self.hold()?;
        if self.has_cache(scope, key, version) {
            return Err(SaveError::Exists);
        }
        self.evict(&held, MAX_BYTES - staged.bytes, UNUSED);
        let entry = Entry {
            id: store::next_id(&held, |id| self.cache_path(id).exists()),
            scope: scope.to_owned(),
            key: key.to_owned(),
            version: version.to_owned(),
            digest: staged.digest.clone(),
            bytes: staged.bytes,
            created: Timestamp::now(),
        };
        self.keep_blob(&held, staged)?;
        self.write_record(&held, &self.cache_path(entry.id), &entry)?;
        Ok(entry)
    }

    /// Removes an entry; returns whether it was there.
    pub fn remove_cache(&self, entry: &Entry) -> Result<bool, StoreError> {
        let held = self.hold()?;
        let path = self.cache_path(entry.id);
        let was_there = match fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(StoreError::new("remove", Path::new(&path), error)),
        };
        self.collect_held(&held);
        Ok(was_there)
    }

    /// Removes entries that nobody used for so long, and then those used longest ago until the rest
    /// fits.
    fn evict(&self, held: &Held, room: u64, unused: Duration) {
        let now = SystemTime::now();
        let mut entries: Vec<(SystemTime, Entry)> = self
            .cache_entries()
            .into_iter()
            .map(|entry| (self.used(&entry).unwrap_or(SystemTime::UNIX_EPOCH), entry))
            .collect();
        entries.sort_by_key(|(used, entry)| (std::cmp::Reverse(*used), entry.id));
        let mut total = 0;
        let mut any = false;
        for (used, entry) in entries {
            total += entry.bytes;
            let is_old = now.duration_since(used).is_ok_and(|time| time > unused);
            if is_old || total > room {
                any = true;
                total -= entry.bytes;
                let _ = fs::remove_file(self.cache_path(entry.id));
            }
        }
        if any {
            self.collect_held(held);
        }
    }
}

/// Chooses among entries of one version, newest first.
fn choose<'a>(entries: &'a [Entry], scopes: &Scopes, keys: &[&str]) -> Option<&'a Entry> {
    scopes.all().find_map(|scope| {
        let here = || entries.iter().filter(move |entry| entry.scope == scope);
        keys.iter().find_map(|key| {
            here()
                .find(|entry| entry.key == *key)
                .or_else(|| here().find(|entry| entry.key.starts_with(key)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        _dir: tempfile::TempDir,
        store: Store,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let store = Store::open(dir.path().join("store")).expect("opens");
            Self { _dir: dir, store }
        }

        fn save(&self, branch: &str, key: &str) -> Result<Entry, SaveError> {
            let incoming = self.store.incoming().expect("begins");
            fs::write(incoming.whole(), format!("{branch} {key}")).expect("is written");
            let staged = incoming.finish().expect("is whole");
            self.store.save_cache(&format!("refs/heads/{branch}"), key, "v", &staged)
        }

        fn find(&self, branch: &str, keys: &[&str]) -> Option<String> {
            let scopes = Scopes {
                own: format!("refs/heads/{branch}"),
                others: vec!["refs/heads/main".to_owned()],
            };
            let entry = self.store.find_cache(&scopes, keys, "v")?;
            let scope = entry.scope.trim_start_matches("refs/heads/").to_owned();
            Some(format!("{scope} {}", entry.key))
        }
    }

    #[test]
    fn the_exact_key_goes_before_a_newer_one_that_begins_with_it() {
        let world = World::new();
        for key in ["deps", "deps-1", "deps-2"] {
            world.save("main", key).expect("is saved");
        }
        assert_eq!(world.find("main", &["deps"]).as_deref(), Some("main deps"));
        assert_eq!(world.find("main", &["deps-"]).as_deref(), Some("main deps-2"));
        assert_eq!(world.find("main", &["none", "deps-1"]).as_deref(), Some("main deps-1"));
        assert_eq!(world.find("main", &["none"]), None);
    }

    #[test]
    fn a_branch_sees_its_own_then_those_of_the_default_branch_and_no_others() {
        let world = World::new();
        world.save("main", "deps-1").expect("is saved");
        world.save("other", "deps-1").expect("is saved");
        assert_eq!(world.find("mine", &["deps-1"]).as_deref(), Some("main deps-1"));
        world.save("mine", "deps-0").expect("is saved");
        assert_eq!(world.find("mine", &["deps-1", "deps-"]).as_deref(), Some("mine deps-0"));
        assert_eq!(world.find("main", &["deps-0"]), None);
    }

    #[test]
    fn an_entry_never_changes() {
        let world = World::new();
        world.save("main", "k").expect("is saved");
        assert!(matches!(world.save("main", "k"), Err(SaveError::Exists)));
        world.save("other", "k").expect("another scope is another entry");
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let world = World::new();
        let old = |entry: &Entry, hours: u64| {
            let file = File::options()
                .append(true)
                .open(world.store.cache_path(entry.id))
                .expect("is there");
            let then = SystemTime::now() - Duration::from_hours(hours);
            file.set_modified(then).expect("is set");
        };
        let one = world.save("main", "one").expect("is saved");
        let two = world.save("main", "two").expect("is saved");
        let three = world.save("main", "three").expect("is saved");
        old(&one, 3);
        old(&two, 200);
        old(&three, 5);
        world.store.evict(&world.store.hold().expect("is held"), one.bytes, UNUSED);
        let left: Vec<String> =
            world.store.cache_entries().into_iter().map(|entry| entry.key).collect();
        assert_eq!(left, ["one"]);
        assert!(world.store.blob(&two.digest).is_err());
        old(&one, 100);
        assert_eq!(world.find("main", &["one"]).as_deref(), Some("main one"));
        let used = world.store.used(&one).expect("is known");
        assert!(used.elapsed().expect("is past") < Duration::from_hours(1), "using it counts");
    }

    #[test]
    fn the_version_is_the_one_the_public_client_makes() {
        // The SHA-256 of `node_modules|~/.npm|gzip|1.0`.
        assert_eq!(
            version(&["node_modules", "~/.npm"], Packing::Gzip),
            "a072ae0a60f18e624fcb0d2dc43832b7a31e011c968ff64b1c67dc23125cdc7f"
        );
    }

    #[test]
    fn keys_are_what_the_client_allows() {
        assert!(check_key("a").is_ok());
        for key in ["", "a,b", &"x".repeat(513)] {
            assert!(check_key(key).is_err());
        }
    }
}
