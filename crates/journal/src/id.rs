//! An id type per noun, so that one cannot be passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

numbers! {
    /// The position of an event in the journal, from 1.
    EventId "";
    /// A run, numbered from 1 in each journal.
    RunId "";
    /// A deployment, numbered from 1 in each journal.
    DeploymentId "";
    /// An incident, numbered from 1 in each journal.
    IncidentId "";
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    )*};
}

names! {
    /// A Git commit by its full hexadecimal object name.
    CommitId;
    /// A release by the SHA-256 of its content, in hexadecimal.
    ReleaseId;
    /// One running copy of a service for one release; unique for ever, as in `web-3f9a2c1b-k7d2`.
    InstanceId;
    /// An entry under `services:` in Compose.
    ServiceName;
    /// A job of a run as it is shown, with its matrix values: `test (3.12)`.
    JobKey;
}

impl CommitId {
    /// Returns the seven characters people recognise.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

impl ReleaseId {
    /// Returns the first eight characters, enough to tell releases apart.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}
