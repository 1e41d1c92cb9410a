//! A commit becomes a run.
//!
//! Deciding is pure, acting is at the edge: [`plan::plan`] turns a workflow and what happened into
//! jobs and steps, and refuses with findings what this version cannot do; [`execute::execute`]
//! runs them in boxes and tells what happens in one ordered stream.
//!
//! In reading order:
//!
//! - [`event`]: what happened; [`trigger`]: whether it starts a workflow, and why; [`filter`] has
//!   the patterns.
//! - [`plan`](mod@plan): jobs, their order and their combinations; [`matrix`] makes those.
//! - [`calls`]: workflows that jobs call.
//! - [`concurrency`]: who waits for whom, across runs and processes.
//! - [`way`]: how far it is from each job to the end, so that the longest way begins first.
//! - [`outlook`](mod@outlook): what of a plan would run, and why the rest would not.
//! - [`execute`](mod@execute): jobs side by side, steps one after the other.
//! - [`shell`], [`command`], [`file_command`]: how a step is started, what it says on its output
//!   and what it writes to `$GITHUB_ENV` and its like; [`matcher`] finds problems in the output,
//!   [`subject`] is what a step says it made.
//! - [`action`]: actions of this and of other repositories; [`built_in`]: those that need not be
//!   fetched.
//! - [`mod@report`]: what tests said, in files and on the output; [`history`] puts runs together.
//! - [`replay`]: a step that would do the same again is not run again.
//! - [`retry`]: a run goes on from one of its steps.
//! - [`results`]: artifacts and caches, and the services through which actions reach them.
//! - [`expression`], [`template`]: what `${{ … }}` gives, part by part.
//! - [`mask`]: hides secrets, in a text and in a stream; [`log`] keeps what is left to see.
//!
//! # Glossary
//!
//! - **run · job · step**: one execution of one workflow; its parts, as in GitHub Actions.
//! - **combination**: one set of values of a matrix; a job without a matrix has one.
//! - **outcome · conclusion**: how a step ended, before and after `continue-on-error`.
//! - **command**: a line of output that asks for something, as `::error::…`.
//! - **surroundings**: where a run takes place: directories, secrets, limits.

pub mod action;
pub mod built_in;
pub mod calls;
pub mod command;
pub mod concurrency;
pub mod event;
pub mod execute;
pub mod expression;
pub mod file_command;
pub mod filter;
mod hash_files;
pub mod history;
pub mod log;
pub mod mask;
pub mod matcher;
pub mod matrix;
pub mod outlook;
pub mod plan;
pub mod replay;
pub mod report;
pub mod results;
pub mod retry;
pub mod shell;
pub mod subject;
pub mod template;
pub mod trigger;
pub mod way;
