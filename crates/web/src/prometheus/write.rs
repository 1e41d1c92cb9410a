//! Samples on their way in by remote write.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use series::{AppendError, Appended, Labels, Row};

use super::protobuf::{NoMessage, Version, read};
use super::{Prometheus, header_text};

/// The most bytes of one message, unpacked.
pub const MOST_UNPACKED: usize = 128 << 20;

/// How many series' labels are remembered by their bytes.
const KNOWN: usize = 100_000;

/// How far ahead of our clock a sample may be; what is further has a broken clock.
const AHEAD: i64 = 10 * 60_000;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is not packed with snappy.
    #[error("unpack the message: {0}")]
    Packed(#[from] snap::Error),
    /// It would be too large.
    #[error("the message unpacks to {bytes} bytes, more than {MOST_UNPACKED}")]
    TooLarge {
        /// How many bytes it would be.
        bytes: usize,
    },
    /// It is no message.
    #[error(transparent)]
    NoMessage(#[from] NoMessage),
    /// A series has no name, or labels that are no labels.
    #[error("the series {labels} has no name, or a label twice")]
    Labels {
        /// Its labels.
        labels: String,
    },
    /// The samples could not be kept.
    #[error("could not {0}")]
    Append(#[from] AppendError),
}

/// What was taken of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Taken {
    appended: Appended,
    too_new: usize,
    histograms: usize,
}

/// Unpacks the body of a write, which is snappy's block format.
pub fn unpack(body: &[u8]) -> Result<Vec<u8>, WriteError> {
    let bytes = snap::raw::decompress_len(body)?;
    // Nothing that snappy packs gets smaller than a twentieth or so; more is a lie.
    if bytes > MOST_UNPACKED || bytes / 64 > body.len() {
        return Err(WriteError::TooLarge { bytes });
    }
    Ok(snap::raw::Decoder::new().decompress_vec(body)?)
}

/// Takes a write: 204 when all of it is kept, 400 when some of it never can be, 500 when it should
/// be sent again.
pub(super) async fn receive(
    State(own): State<Prometheus>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(version) = version(&headers) else {
        let text = "remote write takes application/x-protobuf, version 1.0 or 2.0\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    };
    let encoding = header_text(&headers, "content-encoding");
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        let text = "remote write takes the content encoding snappy\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    let taken = tokio::task::spawn_blocking(move || own.take(version, &body)).await;
    match taken {
        Ok(Ok(taken)) => answer(version, &taken),
        Ok(Err(error @ WriteError::Append(_))) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a remote write failed");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn version(headers: &HeaderMap) -> Option<Version> {
    let kind = header_text(headers, "content-type");
    let mut parts = kind.split(';').map(str::trim);
    if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf")) {
        return kind.is_empty().then_some(Version::One);
    }
    let proto = parts.find_map(|part| part.strip_prefix("proto="));
    match proto.map(|proto| proto.trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Some(Version::One),
        Some("io.prometheus.write.v2.Request") => Some(Version::Two),
        Some(_) => None,
    }
}

fn answer(version: Version, taken: &Taken) -> Response {
    let appended = &taken.appended;
    let refused = appended.too_old + appended.too_new + appended.too_many + taken.too_new;
    let mut reasons = Vec::new();
    for (count, reason) in [
        (appended.too_old, "out of bounds: older than what may still be written"),
        (appended.too_new + taken.too_new, "out of bounds: too far in the future"),
        (appended.too_many, "of new series although there are too many"),
        (taken.histograms, "are native histograms, which are not kept yet"),
    ] {
        if count > 0 {
            reasons.push(format!("{count} samples {reason}"));
        }
    }
    let status = if refused + taken.histograms > 0 {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::NO_CONTENT
    };
    let mut response = (status, reasons.join("; ")).into_response();
    if version == Version::Two {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", appended.kept),
            ("x-prometheus-remote-write-histograms-written", 0),
            ("x-prometheus-remote-write-exemplars-written", 0),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), count.into());
        }
    }
    response
}

impl Prometheus {
    fn take(&self, version: Version, body: &[u8]) -> Result<Taken, WriteError> {
        let message = unpack(body)?;
        let newest = self.now().saturating_add(AHEAD);
        let mut taken = Taken::default();
        let mut rows: Vec<Row> = Vec::new();
        let mut failed = None;
        let metadata = {
            let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            read(version, &message, &mut |series| {
                taken.histograms += series.histograms;
                let labels = match known.get(series.key) {
                    Some(labels) if !series.key.is_empty() => labels.clone(),
                    _ => match labels_of(&series.labels) {
                        Ok(labels) => {
                            if !series.key.is_empty() {
                                if known.len() >= KNOWN {
                                    known.clear();
                                }
                                known.insert(series.key.into(), labels.clone());
                            }
                            labels
                        }
                        Err(error) => {
                            failed.get_or_insert(error);
                            return;
                        }
                    },
                };
                for sample in series.samples {
                    if sample.at > newest {
                        taken.too_new += 1;
                    } else {
                        rows.push(Row::new(labels.clone(), sample.at, sample.value));
                    }
                }
            })?
        };
        if let Some(error) = failed {
            return Err(error);
        }
        taken.appended = self.store.append(rows)?;
        if !metadata.is_empty() {
            let mut known = self.metadata();
            for (metric, about) in metadata {
                if known.len() < KNOWN || known.contains_key(&metric) {
                    known.insert(metric, [about].into());
                }
            }
        }
        Ok(taken)
    }
}

/// Checks labels as Prometheus does: a name, nothing twice.
fn labels_of(pairs: &[(&str, &str)]) -> Result<Labels, WriteError> {
    let labels = Labels::new(pairs.iter().copied());
    let named = pairs.iter().filter(|(_, value)| !value.is_empty()).count();
    let is_whole = labels.iter().len() == named
        && labels.metric_name().is_some()
        && labels.iter().all(|(name, _)| !name.is_empty());
    if is_whole { Ok(labels) } else { Err(WriteError::Labels { labels: labels.to_string() }) }
}
