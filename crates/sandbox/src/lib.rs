//! A child process in a box.
