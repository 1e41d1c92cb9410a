//! The style sheet and the script, under names that change with their content.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};

/// A file that every page uses.
pub(crate) struct Asset {
    /// Its path with the hash of its content.
    pub(crate) path: String,
    content: &'static str,
    content_type: &'static str,
}

impl Asset {
    fn new(name: &str, ending: &str, content: &'static str, content_type: &'static str) -> Self {
        let mut hash = String::new();
        for byte in &Sha256::digest(content)[..6] {
            let _ = write!(hash, "{byte:02x}");
        }
        Self { path: format!("/asset/{name}.{hash}.{ending}"), content, content_type }
    }
}

/// The style sheet.
pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("marline", "css", include_str!("../assets/marline.css"), "text/css; charset=utf-8")
});

/// The script.
pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "marline",
        "js",
        include_str!("../assets/marline.js"),
        "text/javascript; charset=utf-8",
    )
});

/// The picture in the tab.
pub(crate) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("marline", "svg", include_str!("../assets/marline.svg"), "image/svg+xml")
});

/// Serves a file for ever: another content has another name.
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    let wanted = format!("/asset/{name}");
    for asset in [&*STYLE, &*SCRIPT, &*ICON] {
        if asset.path == wanted {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            return (headers, asset.content).into_response();
        }
    }
    (StatusCode::NOT_FOUND, "There is no such file; reload the page.\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_and_the_style_stay_small() {
        assert!(SCRIPT.content.len() <= 20_000, "{}", SCRIPT.content.len());
        assert!(STYLE.content.len() <= 25_000, "{}", STYLE.content.len());
    }
}
