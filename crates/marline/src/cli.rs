//! The command line: every command, option and help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 the thing asked for failed · 2 usage · 3 cancelled · 4 not allowed · \
5 not found · 6 held by a gate · 7 deployed and rolled back automatically · 8 timed out · \
69 conductor or engine unreachable · 70 our bug · 130 interrupted";

/// A DevOps engineer in one binary: carries each commit through tests and gates into a running,
/// watched, self-healing service, and says why.
///
/// Without a command: this project at a glance and what to do next. Writes nothing.
#[derive(Debug, Parser)]
#[command(name = "marline", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Work in this directory
    #[arg(short = 'C', long = "directory", global = true, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Keep state here instead of in `.git/marline`
    #[arg(long, global = true, value_name = "DIR", env = "MARLINE_STATE", hide_env = true)]
    pub state: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Never ask
    #[arg(long, global = true)]
    pub no_input: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,
}

impl Global {
    /// Whether to use colour on standard output.
    pub fn colour(&self) -> bool {
        use std::io::IsTerminal as _;
        match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                std::io::stdout().is_terminal() && !no_colour && !is_dumb
            }
        }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A minute's tour: good release, bad release, roll-back, incident, explanation
    Demo(DemoArgs),
    /// Run workflows here, without Docker
    Run(RunArgs),
    /// Say what an expression gives, part by part
    Eval(EvalArgs),
    /// Look for secrets, workflow mistakes, and what policies forbid
    Check(CheckArgs),
    /// Carry this repository: test, gate, release, deploy, watch, and follow the branch
    Up(UpArgs),
    /// Stop everything that `up` started
    Down,
    /// Deploy a commit or a release
    Deploy(DeployArgs),
    /// Go back to the release before, or to another one
    Rollback(RollbackArgs),
    /// Move a deployment on without waiting
    Promote(DeploymentArgs),
    /// Stop a deployment and go back
    Abort(DeploymentArgs),
    /// Set the number of instances: SERVICE=COUNT
    Scale(ScaleArgs),
    /// Start a service's instances again, one by one
    Restart(ServiceArgs),
    /// Start the workflows that wait for a repository_dispatch of this type
    Dispatch(DispatchArgs),
    /// Let the proxy answer for a service while people work on it
    Maintenance(MaintenanceArgs),
    /// What runs, how healthy, since when
    #[command(alias = "ps")]
    Status,
    /// What a service or a run printed
    Logs(LogsArgs),
    /// Numbers over time: a question in PromQL, drawn in the terminal
    Metrics(MetricsArgs),
    /// What fires, who was told, what is silenced or inhibited; and whom `alertmanager.yml` would tell
    Alerts(AlertsArgs),
    /// Mute alerts for a while, as amtool does it
    Silence {
        /// What to do.
        #[command(subcommand)]
        command: SilenceCommand,
    },
    /// Tell people: try the receivers of `alertmanager.yml`
    Notify {
        /// What to do.
        #[command(subcommand)]
        command: NotifyCommand,
    },
    /// Prometheus rule files: check them, and run their unit tests
    Rules {
        /// What to do with them.
        #[command(subcommand)]
        command: RulesCommand,
    },
    /// Cause, evidence, what changed, who was affected, what was done, what to do next
    #[command(alias = "explain")]
    Why(WhyArgs),
    /// What went wrong so far
    Incidents,
    /// Everything that happened, in order
    Timeline(TimelineArgs),
    /// Releases that are kept
    Release {
        /// What to do with them.
        #[command(subcommand)]
        command: ReleaseCommand,
    },
    /// Files that runs kept
    Artifact {
        /// What to do with them.
        #[command(subcommand)]
        command: ArtifactCommand,
    },
    /// Files that jobs cached
    Cache {
        /// What to do with them.
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Let a run go on that waits for somebody's yes, or not
    Approve(ApproveArgs),
    /// What tests said over many runs: what fails, what is flaky by proof, what is slow
    Report(ReportArgs),
    /// The Compose model as understood
    #[command(
        long_about = "The Compose model as understood: variables filled in, files laid over each \
                      other, with what they include and extend, in long forms and in the types \
                      that they are read in.\n\nWhat is not honoured is told beside it. Exits \
                      with 1 when something is wrong with the files."
    )]
    Config {
        /// Read this file instead of the usual ones; further ones are laid over it
        #[arg(short, long = "file", value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Secrets for jobs and services; values are never shown
    Secret {
        /// What to do with them.
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Who did what
    Audit(AuditArgs),
    /// Print a link to the pages that signs in once
    Ui,
    /// Print completions for a shell
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,

    #[command(name = "__proxy", hide = true)]
    Proxy {
        #[arg(long)]
        dir: PathBuf,
    },
    #[command(name = "__shim", hide = true)]
    Shim { spec: PathBuf },
    #[command(name = "__shop", hide = true)]
    Shop { conf: PathBuf },
}

/// Options of `metrics`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct MetricsArgs {
    /// The question, in PromQL
    pub query: Option<String>,
    /// How far back
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub range: String,
    /// How far apart; a 240th of the range if left out
    #[arg(long, value_name = "TIME")]
    pub step: Option<String>,
    /// Only the values of now
    #[arg(long, conflicts_with_all = ["range", "step"])]
    pub now: bool,
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<MetricsCommand>,
}

/// What else can be done with numbers.
#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// Keep series in the directory of --state and answer as a Prometheus does
    Serve(MetricsServeArgs),
}

/// Options of `metrics serve`.
#[derive(Debug, Args)]
pub struct MetricsServeArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub listen: String,
    /// How long samples are kept
    #[arg(long, default_value = "15d", value_name = "TIME")]
    pub retention: String,
    /// How many bytes of samples are kept
    #[arg(long, value_name = "BYTES")]
    pub retention_bytes: Option<u64>,
    /// Answer a write only when it is on the disk
    #[arg(long)]
    pub sync: bool,
}

/// Options of `alerts`.
#[derive(Debug, Args)]
pub struct AlertsArgs {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<AlertsCommand>,
}

/// What else can be done about alerts.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Say what is wrong with a configuration of Alertmanager
    Check(AlertsCheckArgs),
    /// Say which receivers an alert would go to; without labels, draw the routes
    Route(AlertsRouteArgs),
}

/// Options of `alerts check`.
#[derive(Debug, Args)]
pub struct AlertsCheckArgs {
    /// The files; alertmanager.yml of the repository if left out
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Options of `alerts route`.
#[derive(Debug, Args)]
pub struct AlertsRouteArgs {
    /// The labels of the alert: name=value
    #[arg(value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
    /// The configuration; alertmanager.yml of the repository if left out
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Fail unless it goes to exactly these receivers, in this order, between commas
    #[arg(long, value_name = "RECEIVERS")]
    pub expect: Option<String>,
}

/// What to do about silences.
#[derive(Debug, Subcommand)]
pub enum SilenceCommand {
    /// Mute the alerts that fulfil all matchers
    Add(SilenceAddArgs),
    /// Say which alerts are muted, by whom, why, and until when
    #[command(alias = "query")]
    List {
        /// Those that are over, too
        #[arg(long)]
        expired: bool,
    },
    /// End silences before their time
    Expire {
        /// The silences, by their numbers
        #[arg(required = true, value_name = "SILENCE")]
        silences: Vec<u64>,
    },
}

/// Options of `silence add`.
#[derive(Debug, Args)]
pub struct SilenceAddArgs {
    /// name=value, name!=value, name=~pattern, name!~pattern; the first may be the name of an alert
    #[arg(required = true, value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// Why: those who wonder later read it
    #[arg(short, long, value_name = "TEXT")]
    pub comment: String,
    /// For how long, as in 30m, 2h, 1d
    #[arg(short, long, value_name = "DURATION", default_value = "1h")]
    pub duration: String,
    /// From when, as in 2027-01-31T09:00:00Z; at once if left out
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// Until when, in place of a duration
    #[arg(long, value_name = "TIME", conflicts_with = "duration")]
    pub end: Option<String>,
}

/// What to do about notifications.
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Tell the channels of a receiver that this is a test, and say what came back
    Test {
        /// The receiver; that of the root route if left out
        #[arg(value_name = "RECEIVER")]
        receiver: Option<String>,
    },
}

/// What to do with rule files.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Say what is wrong with rule files, their queries and templates included
    Check(RulesCheckArgs),
    /// Run unit tests of rules, written as for promtool
    Test(RulesTestArgs),
    /// Say how often alerts would have fired over what is stored, against what really happened
    Backtest(RulesBacktestArgs),
    /// Print the rules that every service gets, as a rule file
    Automatic,
}

/// Options of `rules check`.
#[derive(Debug, Args)]
pub struct RulesCheckArgs {
    /// The files; those of rules/ if left out
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Options of `rules backtest`.
#[derive(Debug, Args)]
pub struct RulesBacktestArgs {
    /// The files; those of rules/ if left out
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How far back
    #[arg(long, default_value = "15d", value_name = "TIME")]
    pub since: String,
    /// Only the alert of this name
    #[arg(long, value_name = "NAME")]
    pub alert: Option<String>,
}

/// Options of `rules test`.
#[derive(Debug, Args)]
pub struct RulesTestArgs {
    /// The files with tests
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only tests whose name fits this pattern; may be given again
    #[arg(long, value_name = "PATTERN")]
    pub run: Vec<String>,
}

/// Options of `dispatch`.
#[derive(Debug, Args)]
pub struct DispatchArgs {
    /// The type that `on: repository_dispatch: types:` lists
    pub event_type: String,
    /// A field of `github.event.client_payload`: name=value
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// A JSON file with `client_payload`
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    pub payload: Option<PathBuf>,
}

/// Options of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The number of the run
    pub run: u64,
    /// Only for this environment; all that it waits for if left out
    pub environment: Option<String>,
    /// Say no
    #[arg(long)]
    pub deny: bool,
    /// Why; kept in the journal
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub note: String,
    /// Only say what waits
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results of tests, found in the files and the output of steps
    #[arg(long)]
    pub tests: bool,
    /// Each run of the tests with this text in their names
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave everything running at the end
    #[arg(long)]
    pub keep: bool,
    /// Requests a second
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(10..=2000), value_name = "N")]
    pub rate: u32,
    /// Play the shop with Marline itself, as if python3 were missing
    #[arg(long, hide = true)]
    pub without_python: bool,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A workflow (file or name) or a job of one; all that the event starts if left out
    pub what: Option<String>,
    /// The event, or event.activity as in pull_request.labeled
    #[arg(short, long, default_value = "push", value_name = "EVENT")]
    pub event: String,
    /// A JSON file with what `github.event` says; the rest comes from Git
    #[arg(long, value_name = "FILE")]
    pub event_file: Option<PathBuf>,
    /// A workflow file, or a folder of them, in place of .github/workflows
    #[arg(short = 'W', long, value_name = "FILE_OR_FOLDER")]
    pub workflows: Option<PathBuf>,
    /// An input of workflow_dispatch: name=value
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// A configuration variable (`vars`): name=value
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// Only matrix combinations with this value: key:value
    #[arg(long, value_name = "KEY:VALUE")]
    pub matrix: Vec<String>,
    /// Only show what would run, and why the rest would not
    #[arg(long, alias = "dry-run")]
    pub plan: bool,
    /// Run the last commit without uncommitted changes
    #[arg(long)]
    pub committed: bool,
    /// Run every step, also those of which the result is known
    #[arg(long)]
    pub fresh: bool,
    /// Go on from this step (its id or name, or job/step); what is before it is as it was recorded
    #[arg(long, value_name = "STEP", conflicts_with_all = ["fresh", "watch", "plan"])]
    pub from: Option<String>,
    /// Say yes to this environment before it asks; may be given more than once
    #[arg(long = "approve", value_name = "ENVIRONMENT")]
    pub approve: Vec<String>,
    /// How long to wait for `marline approve` where nobody can be asked, as in 90s, 10m or 2h
    #[arg(long, value_name = "TIME")]
    pub wait: Option<String>,
    /// Say for each step whether it was replayed, and else which input changed
    #[arg(long)]
    pub explain_cache: bool,
    /// Open a shell in the box of a step that failed, with its variables and files as they were
    #[arg(long)]
    pub debug: bool,
    /// Run a command there in place of a shell, and print what it says
    #[arg(long, value_name = "COMMAND", conflicts_with = "debug")]
    pub debug_command: Option<String>,
    /// Run again whenever a file changes; only what the change invalidates
    #[arg(long, conflicts_with_all = ["plan", "committed", "fresh"])]
    pub watch: bool,
    /// Print the log of every step, not only of those that failed
    #[arg(short, long)]
    pub verbose: bool,
}

/// Options of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The expression, without `${{ }}`
    pub expression: String,
    /// A JSON file with the contexts
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What to look at; everything if left out
    #[arg(value_enum)]
    pub areas: Vec<Area>,
    /// How to print findings
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// Look at a commit instead of the work tree
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
    /// Allow findings of this rule, with --path and --reason
    #[arg(long, value_name = "RULE", requires = "path", requires = "reason")]
    pub allow: Option<String>,
    /// The path in which the rule is allowed
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Only on this line
    #[arg(long, value_name = "LINE")]
    pub line: Option<u32>,
    /// Why it is allowed
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The last day on which it is allowed, as in 2027-01-31
    #[arg(long, value_name = "DATE")]
    pub until: Option<String>,
}

/// What `check` can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Area {
    /// Secrets in files.
    Secrets,
    /// Workflow mistakes that hurt.
    Workflows,
    /// Compose files.
    Compose,
    /// Rules for alerts.
    Rules,
    /// Policies in Rego.
    Policy,
    /// Known vulnerabilities of dependencies.
    Dependencies,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON value.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Workflow commands that GitHub turns into annotations.
    Github,
}

/// Options of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// In the background
    #[arg(short, long)]
    pub detach: bool,
    /// Only show what would be done
    #[arg(long, alias = "dry-run")]
    pub plan: bool,
    /// Port of the pages on loopback; another one is taken if it is in use
    #[arg(long, default_value_t = 7777, value_name = "PORT")]
    pub port: u16,
    /// Compose profiles to include
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Follow this branch instead of the one that is checked out
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
    /// Set by `up --detach` for the process it starts
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// Options of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The services; all if left out
    pub services: Vec<String>,
    /// Deploy this release instead of the commit that is checked out
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// How traffic moves
    #[arg(long, value_enum, value_name = "STRATEGY")]
    pub strategy: Option<StrategyArg>,
    /// Only show what would be done
    #[arg(long, alias = "dry-run")]
    pub plan: bool,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// How traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// All at once, the old release kept warm.
    BlueGreen,
    /// In growing shares, each judged against the old release.
    Canary,
    /// Instance by instance.
    Rolling,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The service; all if left out
    pub service: Option<String>,
    /// The release to go back to
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// A deployment.
#[derive(Debug, Args)]
pub struct DeploymentArgs {
    /// Its number; the one under way if left out
    pub deployment: Option<u64>,
}

/// A service and a number.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// SERVICE=COUNT
    pub what: String,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// Options of `maintenance`.
#[derive(Debug, Args)]
pub struct MaintenanceArgs {
    /// Whether it begins or ends
    pub switch: Switch,
    /// The service
    pub service: String,
}

/// Whether something begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It begins.
    On,
    /// It ends.
    Off,
}

/// A service.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// The service
    pub service: String,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// A service, an instance, or the number of a run; every service if left out
    pub what: Option<String>,
    /// Go on as new lines come
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES")]
    pub lines: u32,
    /// Only lines with this text
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
}

/// Options of `why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// `run 7`, `job 7 test`, `deployment 3`, `incident 1`, `commit abc123`, a service, or `-` to
    /// read a log; what went wrong last if left out
    pub subject: Vec<String>,
    /// For whom
    #[arg(long = "for", value_enum, default_value_t = Audience::Dev, value_name = "WHO")]
    pub audience: Audience,
    /// Show the events behind each sentence
    #[arg(long)]
    pub evidence: bool,
}

/// For whom something is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Audience {
    /// Exact numbers and commands.
    Dev,
    /// Plain words.
    Manager,
}

/// Options of `timeline`.
#[derive(Debug, Args)]
pub struct TimelineArgs {
    /// How many of the newest
    #[arg(short = 'n', long, default_value_t = 50, value_name = "EVENTS")]
    pub lines: usize,
    /// Go on as things happen
    #[arg(short, long)]
    pub follow: bool,
}

/// What to do with releases.
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// List them, newest first
    List,
    /// Show one
    Show {
        /// The release, by its first characters.
        release: String,
    },
    /// Compare two
    Diff {
        /// The older one.
        from: String,
        /// The newer one.
        to: String,
    },
}

/// What to do with artifacts.
#[derive(Debug, Subcommand)]
pub enum ArtifactCommand {
    /// List them, those of the newest run first
    List {
        /// Only those of this run
        #[arg(long, value_name = "N")]
        run: Option<u64>,
    },
    /// Put the files of one into a directory
    Download {
        /// Its name.
        name: String,
        /// The run; the newest that has it if left out
        #[arg(long, value_name = "N")]
        run: Option<u64>,
        /// The directory; one of its name if left out
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Remove one
    Rm {
        /// Its name.
        name: String,
        /// The run; the newest that has it if left out
        #[arg(long, value_name = "N")]
        run: Option<u64>,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// What to do with caches.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List them, newest first
    List,
    /// Remove every one with a key
    Rm {
        /// The key.
        key: String,
        /// Only the one of this branch
        #[arg(long, value_name = "BRANCH")]
        branch: Option<String>,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Set one; the value is read from standard input
    Set {
        /// Its name.
        name: String,
        /// Only for this service or job; may be given again.
        #[arg(long = "for", value_name = "NAME")]
        scope: Vec<String>,
    },
    /// List names
    List,
    /// Remove one
    Rm {
        /// Its name.
        name: String,
    },
    /// Encrypt everything with a new key
    Rotate,
}

/// Options of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Prove that nothing was edited
    #[arg(long)]
    pub verify: bool,
    /// How many of the newest
    #[arg(short = 'n', long, default_value_t = 50, value_name = "EVENTS")]
    pub lines: usize,
}
