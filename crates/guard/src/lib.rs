//! Code becomes findings.
