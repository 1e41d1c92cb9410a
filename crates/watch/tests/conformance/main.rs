//! Rule files, their unit tests, and Alertmanager's files against the test data of those who made
//! the formats.

mod alertmanager;
mod rules;
