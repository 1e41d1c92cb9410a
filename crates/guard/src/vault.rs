//! Secrets at rest: one encrypted file each.
//!
//! The directory holds `identity` (an age X25519 identity, readable by its owner only, made on
//! first use) and one `NAME.age` per secret, which any `age` program can open with that identity.
//! What is inside is JSON: the value and its scope. Files are written whole, beside, synced, and
//! moved into place; changes take a lock, so several processes may share a vault.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::x25519::Identity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A secret value. It is not shown, printed or serialised, and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a value into care.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The value. Whoever asks for it must not let it out.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A directory of secrets.
pub struct Vault {
    dir: PathBuf,
}

/// What a vault tells about a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The services and jobs it is for; empty is all that name it.
    pub scope: Vec<String>,
    /// When it was last set.
    pub changed: Timestamp,
}

/// Why a vault could not do what was asked.
#[derive(Debug, Error)]
pub enum VaultError {
    /// No secret may have this name.
    #[error(
        "`{name}` cannot be the name of a secret: letters, digits and `_`, not beginning with a digit or `GITHUB_`, at most 100"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A file could not be read or written.
    #[error("could not {doing} `{path}`")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read the identity.
    #[error("`{path}` may be read by others; `chmod 600` it")]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The identity is not one.
    #[error("`{path}` holds no age identity")]
    Identity {
        /// The file.
        path: PathBuf,
    },
    /// A secret could not be decrypted.
    #[error("could not decrypt `{path}`: {why}")]
    Decrypt {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A secret could not be encrypted.
    #[error("could not encrypt `{name}`: {why}")]
    Encrypt {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
}

/// What stands in a secret's file.
#[derive(Serialize, Deserialize)]
struct Sealed {
    value: String,
    #[serde(default)]
    scope: Vec<String>,
    changed: Timestamp,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        // Through `SecretString`, which wipes what it held.
        drop(SecretString::from(std::mem::take(&mut self.value)));
    }
}

const IDENTITY: &str = "identity";

impl Vault {
    /// Opens the vault in `dir`, and makes it on first use.
    pub fn open(dir: &Path) -> Result<Self, VaultError> {
        fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(|source| io_error("protect", dir, source))?;
        let vault = Self { dir: dir.to_owned() };
        let _lock = vault.lock()?;
        if !vault.identity_path().exists() {
            vault.write_identities(&[Identity::generate()])?;
        }
        vault.identities()?;
        Ok(vault)
    }

    /// The secrets, by name; never their values.
    pub fn list(&self) -> Result<Vec<Entry>, VaultError> {
        let identities = self.identities()?;
        let mut entries = Vec::new();
        for name in self.names()? {
            if let Some(sealed) = self.unseal(&name, &identities)? {
                entries.push(Entry { name, scope: sealed.scope.clone(), changed: sealed.changed });
            }
        }
        Ok(entries)
    }

    /// The value of a secret; `None` when there is none of this name.
    pub fn get(&self, name: &str) -> Result<Option<Secret>, VaultError> {
        check_name(name)?;
        let sealed = self.unseal(name, &self.identities()?)?;
        Ok(sealed.map(|mut sealed| Secret::new(std::mem::take(&mut sealed.value))))
    }

    /// The value of a secret for a service or job; `None` when there is none, or not for it.
    pub fn get_for(&self, name: &str, who: &str) -> Result<Option<Secret>, VaultError> {
        check_name(name)?;
        let sealed = self.unseal(name, &self.identities()?)?;
        Ok(sealed
            .filter(|sealed| sealed.scope.is_empty() || sealed.scope.iter().any(|one| one == who))
            .map(|mut sealed| Secret::new(std::mem::take(&mut sealed.value))))
    }

    /// Gives a secret a value and a scope: the services and jobs it is for, empty for all.
    pub fn set(&self, name: &str, value: &Secret, scope: &[String]) -> Result<(), VaultError> {
        check_name(name)?;
        let _lock = self.lock()?;
        let sealed = Sealed {
            value: value.expose().to_owned(),
            scope: scope.to_vec(),
            changed: Timestamp::now(),
        };
        self.seal(name, &sealed, &self.identities()?)
    }

    /// Removes a secret; says whether there was one.
    pub fn remove(&self, name: &str) -> Result<bool, VaultError> {
        check_name(name)?;
        let _lock = self.lock()?;
        let path = self.path_of(name);
        match fs::remove_file(&path) {
            Ok(()) => self.sync_dir().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(io_error("remove", &path, source)),
        }
    }

    /// Makes a new identity and encrypts every secret anew for it; returns how many.
    ///
    /// May be interrupted at any point: until all are done, both identities are kept.
    pub fn rotate(&self) -> Result<usize, VaultError> {
        let _lock = self.lock()?;
        let mut identities = self.identities()?;
        identities.insert(0, Identity::generate());
        self.write_identities(&identities)?;
        let names = self.names()?;
        for name in &names {
            if let Some(sealed) = self.unseal(name, &identities)? {
                self.seal(name, &sealed, &identities)?;
            }
        }
        self.write_identities(&identities[..1])?;
        Ok(names.len())
    }

    fn names(&self) -> Result<Vec<String>, VaultError> {
        let failed = |source| io_error("list", &self.dir, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".age"))
                && check_name(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn unseal(&self, name: &str, identities: &[Identity]) -> Result<Option<Sealed>, VaultError> {
        let path = self.path_of(name);
        let sealed = match fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let mut why = String::from("no identity");
        for identity in identities {
            match age::decrypt(identity, &sealed) {
                Ok(text) => {
                    // The text goes back into care before anything can fail.
                    let text = SecretString::from(String::from_utf8_lossy(&text).into_owned());
                    return serde_json::from_str(text.expose_secret()).map(Some).map_err(|_| {
                        VaultError::Decrypt { path, why: "it holds no secret".to_owned() }
                    });
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(VaultError::Decrypt { path, why })
    }

    fn seal(&self, name: &str, sealed: &Sealed, identities: &[Identity]) -> Result<(), VaultError> {
        let text = serde_json::to_string(sealed).expect("a text, texts and a time are JSON");
        let text = SecretString::from(text);
        let recipient = identities[0].to_public();
        let bytes = age::encrypt(&recipient, text.expose_secret().as_bytes()).map_err(|error| {
            VaultError::Encrypt { name: name.to_owned(), why: error.to_string() }
        })?;
        self.write(&self.path_of(name), &bytes)
    }

    fn identities(&self) -> Result<Vec<Identity>, VaultError> {
        let path = self.identity_path();
        let failed = |source| io_error("read", &path, source);
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(VaultError::Open { path });
        }
        let text = SecretString::from(fs::read_to_string(&path).map_err(failed)?);
        let lines = text.expose_secret().lines().map(str::trim);
        let identities: Result<Vec<_>, _> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(Identity::from_str)
            .collect();
        match identities {
            Ok(identities) if !identities.is_empty() => Ok(identities),
            _ => Err(VaultError::Identity { path }),
        }
    }

    /// Keeps identities; the first is the one that new values are encrypted for.
    fn write_identities(&self, identities: &[Identity]) -> Result<(), VaultError> {
        let mut text =
            String::from("# Whoever has this file can read every secret of this vault.\n");
        for identity in identities {
            text += identity.to_string().expose_secret();
            text.push('\n');
        }
        let text = SecretString::from(text);
        self.write(&self.identity_path(), text.expose_secret().as_bytes())
    }

    /// Writes a file whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let failed = |source| io_error("write", &beside, source);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, path).map_err(|source| io_error("replace", path, source))?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<(), VaultError> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| io_error("sync", &self.dir, source))
    }

    /// Waits until no other process changes the vault.
    fn lock(&self) -> Result<File, VaultError> {
        let path = self.dir.join("lock");
        let failed = |source| io_error("lock", &path, source);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.age"))
    }

    fn identity_path(&self) -> PathBuf {
        self.dir.join(IDENTITY)
    }
}

/// Checks a name as GitHub does; what passes is also a safe file name.
fn check_name(name: &str) -> Result<(), VaultError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_reserved = name.len() >= 7 && name[..7].eq_ignore_ascii_case("GITHUB_");
    if starts_well && is_plain && !is_reserved && name.len() <= 100 {
        Ok(())
    } else {
        Err(VaultError::Name { name: name.to_owned() })
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> VaultError {
    VaultError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
