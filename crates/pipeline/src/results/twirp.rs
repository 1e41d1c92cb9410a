//! What the clients ask, and what they hear: JSON over POST, one call per address.
//!
//! Fields are read in both spellings that JSON of protocol buffers has, and given back in
//! `snake_case`. Numbers of 64 bits are texts.

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

const ARTIFACTS: &str = "github.actions.results.api.v1.ArtifactService";
const CACHES: &str = "github.actions.results.api.v1.CacheService";

/// One call of a service.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each is the message of its name")]
pub enum Call {
    CreateArtifact(CreateArtifact),
    FinalizeArtifact(FinalizeArtifact),
    ListArtifacts(ListArtifacts),
    GetSignedArtifactUrl(NamedArtifact),
    DeleteArtifact(NamedArtifact),
    CreateCacheEntry(CreateCacheEntry),
    FinalizeCacheEntryUpload(FinalizeCacheEntry),
    GetCacheEntryDownloadUrl(FindCacheEntry),
}

/// Asks for a place to put a new artifact.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct CreateArtifact {
    #[serde(default, alias = "workflowRunBackendId")]
    pub workflow_run_backend_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default, alias = "expiresAt")]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub version: i32,
    #[serde(default, alias = "mimeType")]
    pub mime_type: Option<String>,
}

/// Says that everything of an artifact is there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct FinalizeArtifact {
    #[serde(default, alias = "workflowRunBackendId")]
    pub workflow_run_backend_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "int64")]
    pub size: i64,
    #[serde(default)]
    pub hash: Option<String>,
}

/// Asks for the artifacts of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct ListArtifacts {
    #[serde(default, alias = "workflowRunBackendId")]
    pub workflow_run_backend_id: String,
    #[serde(default, alias = "nameFilter")]
    pub name_filter: Option<String>,
    #[serde(default, alias = "idFilter", deserialize_with = "optional_int64")]
    pub id_filter: Option<i64>,
}

/// Names an artifact.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct NamedArtifact {
    #[serde(default, alias = "workflowRunBackendId")]
    pub workflow_run_backend_id: String,
    #[serde(default)]
    pub name: String,
}

/// Asks for a place to put a new cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct CreateCacheEntry {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub version: String,
}

/// Says that everything of a cache is there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct FinalizeCacheEntry {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub version: String,
    #[serde(default, alias = "sizeBytes", deserialize_with = "int64")]
    pub size_bytes: i64,
}

/// Asks where a cache is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct FindCacheEntry {
    #[serde(default)]
    pub key: String,
    #[serde(default, alias = "restoreKeys")]
    pub restore_keys: Vec<String>,
    #[serde(default)]
    pub version: String,
}

/// Why a call fails, as the clients read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The word of the protocol.
    pub code: &'static str,
    /// What to say.
    pub message: String,
}

impl Refused {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Returns the HTTP status that goes with the word.
    pub fn status(&self) -> u16 {
        match self.code {
            "bad_route" | "not_found" => 404,
            "already_exists" => 409,
            "unauthenticated" => 401,
            "permission_denied" => 403,
            "resource_exhausted" => 429,
            "failed_precondition" => 412,
            "internal" => 500,
            _ => 400,
        }
    }
}

/// Reads a call.
pub fn parse_call(service: &str, method: &str, body: &[u8]) -> Result<Call, Refused> {
    Ok(match (service, method) {
        (ARTIFACTS, "CreateArtifact") => Call::CreateArtifact(read(body)?),
        (ARTIFACTS, "FinalizeArtifact") => Call::FinalizeArtifact(read(body)?),
        (ARTIFACTS, "ListArtifacts") => Call::ListArtifacts(read(body)?),
        (ARTIFACTS, "GetSignedArtifactURL") => Call::GetSignedArtifactUrl(read(body)?),
        (ARTIFACTS, "DeleteArtifact") => Call::DeleteArtifact(read(body)?),
        (CACHES, "CreateCacheEntry") => Call::CreateCacheEntry(read(body)?),
        (CACHES, "FinalizeCacheEntryUpload") => Call::FinalizeCacheEntryUpload(read(body)?),
        (CACHES, "GetCacheEntryDownloadURL") => Call::GetCacheEntryDownloadUrl(read(body)?),
        _ => {
            return Err(Refused::new("bad_route", format!("there is no {service}/{method} here")));
        }
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::new("malformed", format!("the message cannot be read: {error}")))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Int64 {
    Number(i64),
    Text(String),
}

impl Int64 {
    fn value<E: serde::de::Error>(self) -> Result<i64, E> {
        match self {
            Int64::Number(number) => Ok(number),
            Int64::Text(text) => text.parse().map_err(|_| E::custom("no number of 64 bits")),
        }
    }
}

fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Int64::deserialize(deserializer).map_err(|_| D::Error::custom("no number of 64 bits"))?.value()
}

fn optional_int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::<Int64>::deserialize(deserializer)?.map(Int64::value).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        for body in [
            r#"{"workflow_run_backend_id":"7","name":"a","size":"12","hash":"sha256:00"}"#,
            r#"{"workflowRunBackendId":"7","name":"a","size":12,"hash":"sha256:00","new":1}"#,
        ] {
            let call = parse_call(ARTIFACTS, "FinalizeArtifact", body.as_bytes());
            let expected = FinalizeArtifact {
                workflow_run_backend_id: "7".to_owned(),
                name: "a".to_owned(),
                size: 12,
                hash: Some("sha256:00".to_owned()),
            };
            assert_eq!(call, Ok(Call::FinalizeArtifact(expected)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_words() {
        let code = |service, method, body: &str| {
            parse_call(service, method, body.as_bytes()).expect_err("is refused").code
        };
        assert_eq!(code(CACHES, "Nope", "{}"), "bad_route");
        assert_eq!(code(CACHES, "CreateCacheEntry", "["), "malformed");
        assert_eq!(code(ARTIFACTS, "FinalizeArtifact", r#"{"size":"x"}"#), "malformed");
    }
}
