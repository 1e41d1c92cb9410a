//! The box's side of a box.

/// Becomes a box when this process was started as one; otherwise returns at once.
///
/// It must be the first call in `main`, before any thread or runtime starts.
pub fn entry() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == crate::sandbox::ENTRY)
    {
        std::process::exit(0);
    }
}
