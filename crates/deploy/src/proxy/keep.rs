//! Keeps the last table on disk, so that a proxy that starts again serves at once.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::Routes;

const ROUTES: &str = "routes.json";

/// Writes a table so that after a crash either it or the one before is there, whole.
pub(super) fn write(dir: &Path, routes: &Routes) -> io::Result<()> {
    let next = dir.join("routes.json.next");
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec_pretty(routes)?)?;
    file.sync_all()?;
    fs::rename(&next, dir.join(ROUTES))?;
    File::open(dir)?.sync_all()
}

/// Reads the last table; an empty one if there never was any.
///
/// A file that cannot be understood is set aside: the conductor sets the whole table anyway, and a
/// proxy that refuses to start would only be in its way.
pub(super) fn read(dir: &Path) -> io::Result<Routes> {
    let path = dir.join(ROUTES);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Routes::default()),
        Err(error) => return Err(error),
    };
    let routes = serde_json::from_slice::<Routes>(&bytes);
    match routes.map_err(|error| error.to_string()).and_then(|routes| {
        routes.check().map_err(|error| error.to_string())?;
        Ok(routes)
    }) {
        Ok(routes) => Ok(routes),
        Err(reason) => {
            tracing::warn!(path = %path.display(), reason, "the kept table is set aside");
            fs::rename(&path, dir.join("routes.json.broken"))?;
            Ok(Routes::default())
        }
    }
}
