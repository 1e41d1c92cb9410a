//! People and programs look in.
