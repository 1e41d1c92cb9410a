//! A deployment stays healthy.
