//! The `weir` command: one file per command or family of commands.
//!
//! Most commands are clients of the management API and nothing else ([`client`]). Only `serve`, `migrate`, `doctor` and
//! `usage replay` open the stores themselves; `validate` and `health` need neither stores nor rights. Lists come as
//! table, JSON, YAML or CSV ([`output`]); errors go to standard error.
//!
//! How a command ended is told by its exit code ([`exit`]).

mod admin;
mod audit;
mod body_log;
mod bounds;
mod client;
mod completions;
mod credentials;
mod doctor;
mod exit;
mod health;
mod invitations;
mod keys;
mod listing;
mod lists;
mod local;
mod logs;
mod lost;
mod me;
mod operators;
mod output;
mod resources;
mod secret;
mod secrets;
mod security;
mod serve;
mod service_tokens;
mod sign_in;
mod system;
mod things;
mod usage;
mod wire;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

pub use client::{Client, Target};
pub use exit::Exit;
pub use serve::ServeArgs;

/// A multi-tenant gateway between a company's programs and the LLM vendors.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway and the management API.
    Serve(ServeArgs),
    /// Make the platform match a file.
    Apply(resources::ApplyArgs),
    /// Show what applying a file would change; exits with 2 if anything would.
    Diff(resources::DiffArgs),
    /// Write the whole configuration as a file; secrets are written as {keep: id}.
    Export(resources::ExportArgs),
    /// Check a file without a server: its form, its fields and its variables.
    Validate(resources::ValidateArgs),
    /// Bring the databases' schema up to date.
    Migrate(local::StoreArgs),
    /// What is sealed, and under which master key.
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// What is said in calls, of tenants who want it kept.
    #[command(subcommand)]
    BodyLog(body_log::Command),
    /// The first operator, made on the machine itself.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Proxy keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Service tokens: what automation calls management with.
    #[command(subcommand)]
    ServiceTokens(service_tokens::Command),
    /// What was changed, by whom.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Channels, with the state of their credentials.
    #[command(subcommand)]
    Channels(lists::Channels),
    /// Models, with their routes and prices.
    #[command(subcommand)]
    Models(lists::Models),
    /// Limits, with what they have left.
    #[command(subcommand)]
    Limits(bounds::Limits),
    /// Budgets, with what is spent of them.
    #[command(subcommand)]
    Budgets(bounds::Budgets),
    /// What budgets told: thresholds reached, calls refused.
    #[command(subcommand)]
    Alerts(bounds::Alerts),
    /// Tenants.
    #[command(subcommand)]
    Tenants(lists::Tenants),
    /// Groups of users.
    #[command(subcommand)]
    Groups(lists::Groups),
    /// Roles that tenants have made.
    #[command(subcommand)]
    Roles(lists::Roles),
    /// Providers by whose word people sign in (OpenID Connect).
    #[command(subcommand)]
    IdentityProviders(lists::IdentityProviders),
    /// Users.
    #[command(subcommand)]
    Users(lists::Users),
    /// The platform's own people.
    #[command(subcommand)]
    Operators(operators::Command),
    /// Invitations into tenants.
    #[command(subcommand)]
    Invitations(invitations::Command),
    /// Sign in, and print a token for WEIR_TOKEN: standard input has the password, and where it is asked for a code of the second
    /// factor or a recovery code, a line each.
    SignIn(sign_in::SignInArgs),
    /// End the session that WEIR_TOKEN is of; no token of it works any longer.
    SignOut(sign_in::SignOutArgs),
    /// Who a command's token is, and what it may do.
    Me(Box<me::MeArgs>),
    /// The installation's own token, and what a value is.
    #[command(subcommand)]
    Security(security::Command),
    /// Other passwords for those who lost theirs.
    #[command(subcommand)]
    PasswordReset(sign_in::ResetCommand),
    /// Settings that hold on every instance at once.
    #[command(subcommand)]
    Settings(system::Settings),
    /// How an instance is, with all that it leans on.
    Status(system::OneArgs),
    /// What there is, and what went through today.
    Stats(system::StatsArgs),
    /// Channels, and what their last hour was like.
    Providers(listing::NamedArgs),
    /// The living instances, with their versions and how far each is behind.
    Instances(listing::ListArgs),
    /// What was used, by whom, for how much.
    Usage(usage::UsageArgs),
    /// Single requests: the newest, or those that are looked for.
    Logs(logs::LogsArgs),
    /// Whatever has this in its name, or this id.
    Search(system::SearchArgs),
    /// Check this machine: settings, stores, files.
    Doctor(local::StoreArgs),
    /// Ask a server whether it lives, for container health checks.
    Health(health::HealthArgs),
    /// Write what completes these commands in a shell.
    Completions(completions::CompletionsArgs),
    /// Print the version.
    Version,
}

/// A file to read, `-` for standard input.
#[derive(Debug, Clone, clap::Args)]
pub struct FileArg {
    /// The file, or - for standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: PathBuf,
}

/// Reads the command line, does what it says, and tells how it ended.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match command {
        // The server makes its own runtime and workers.
        Command::Serve(args) => crate::app::serve(args).map(|()| Exit::Done),
        command => actix_rt::System::new().block_on(run(command)),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("weir: {}", output::printable(&format!("{error:#}")));
            Exit::of(&error).into()
        }
    }
}

async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Serve(_) => unreachable!("serve has its own runtime"),
        Command::Apply(args) => resources::apply(args).await?,
        Command::Diff(args) => return resources::diff(args).await,
        Command::Export(args) => resources::export(args).await?,
        Command::Validate(args) => resources::validate(&args)?,
        Command::Migrate(args) => local::migrate(args).await?,
        Command::Secrets(command) => secrets::run(command).await?,
        Command::BodyLog(command) => body_log::run(command).await?,
        Command::Admin(command) => admin::run(command).await?,
        Command::Keys(command) => keys::run(command).await?,
        Command::ServiceTokens(command) => service_tokens::run(command).await?,
        Command::Audit(command) => audit::run(command).await?,
        Command::Channels(command) => lists::channels(command).await?,
        Command::Models(command) => lists::models(command).await?,
        Command::Limits(bounds::Limits::List(args)) => bounds::limits(args).await?,
        Command::Limits(bounds::Limits::One(command)) => bounds::LIMITS.run(command).await?,
        Command::Budgets(bounds::Budgets::List(args)) => bounds::budgets(args).await?,
        Command::Budgets(bounds::Budgets::One(command)) => bounds::BUDGETS.run(command).await?,
        Command::Alerts(bounds::Alerts::List(args)) => bounds::alerts(args).await?,
        Command::Tenants(command) => lists::tenants(command).await?,
        Command::Groups(command) => lists::groups(command).await?,
        Command::Roles(command) => lists::roles(command).await?,
        Command::IdentityProviders(command) => lists::identity_providers(command).await?,
        Command::Users(command) => lists::users(command).await?,
        Command::Operators(command) => operators::run(command).await?,
        Command::Invitations(command) => invitations::run(command).await?,
        Command::SignIn(args) => sign_in::sign_in(args).await?,
        Command::SignOut(args) => sign_in::sign_out(args).await?,
        Command::Me(args) => me::run(*args).await?,
        Command::Security(command) => security::run(command).await?,
        Command::PasswordReset(command) => sign_in::reset(command).await?,
        Command::Logs(args) => logs::run(args).await?,
        Command::Search(args) => system::search(args).await?,
        Command::Settings(command) => system::settings(command).await?,
        Command::Status(args) => system::one("/v1/admin/status", args).await?,
        Command::Stats(args) => system::stats(args).await?,
        Command::Providers(args) => lists::providers(args).await?,
        Command::Instances(args) => lists::instances(args).await?,
        Command::Usage(args) => usage::run(args).await?,
        Command::Doctor(args) => doctor::doctor(args).await?,
        Command::Health(args) => health::run(&args).await?,
        Command::Completions(args) => completions::write(&args)?,
        Command::Version => println!("weir {}", env!("CARGO_PKG_VERSION")),
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::telemetry::generated::assert_current;

    /// What a command says of itself, and all below it.
    fn described(command: &clap::Command, above: &str, page: &mut String) {
        let name = format!("{above}{}", command.get_name());
        let mut shown = command.clone().bin_name(&name).term_width(100);
        shown = shown.mut_args(|argument| argument.hide_env_values(true));
        let help = shown.render_long_help().to_string();
        page.push_str(&format!(
            "## {name}\n\n```text\n{}\n```\n\n",
            help.trim_end()
        ));
        for below in command
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
        {
            described(below, &format!("{name} "), page);
        }
    }

    #[test]
    fn the_page_of_the_commands_is_current() {
        let mut page = format!(
            "# Command line\n\nMade from `server/src/cli` by `WEIR_UPDATE_DOCS=1 cargo test -p weir --lib the_page_of`; do not edit.\n\n{}\n",
            Exit::page()
        );
        described(&Cli::command(), "", &mut page);
        assert_current("docs/cli.md", &format!("{}\n", page.trim_end()));
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        for line in [
            "weir serve --resources platform.yaml --watch --set listen=127.0.0.1:0",
            "weir apply -f - --prune --dry-run",
            "weir diff -f platform.yaml",
            "weir keys create --tenant acme --name laptop --user a@b.c --output json",
            "weir keys disable 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e",
            "weir usage --by model,key --from 2026-01-01 --grain day --tz Asia/Shanghai --wait 5s --output csv",
            "weir service-tokens create --tenant acme --name ci --role finance",
            "weir service-tokens create --name scraper --role platform_viewer --output json",
            "weir audit list --tenant acme --output json",
            "weir audit verify --output json",
            "weir tenants create acme --set time_zone=Asia/Shanghai --output json",
            "weir users change a@b.c --tenant acme --set role=admin",
            "weir users delete a@b.c --tenant acme --output json",
            "weir users sign-out a@b.c --tenant acme",
            "weir users second-factor remove a@b.c",
            "weir operators create op@b.c --set role=platform_viewer",
            "weir groups delete team --tenant acme",
            "weir roles create auditor --tenant acme --set permissions=[audit:read,usage:read]",
            "weir roles permissions",
            "weir body-log keep --days 7 --tenant acme",
            "weir logs bodies 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e",
            "weir secrets rotate --new",
            "weir secrets status --output csv",
            "weir identity-providers create okta -f okta.yaml --tenant acme",
            "weir identity-providers list",
            "weir channels create openai --file channel.yaml",
            "weir channels credentials add openai --name second",
            "weir models show gpt-4o-mini",
            "weir limits create --file limit.yaml",
            "weir budgets change 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e --set rule.amount=5",
            "weir keys rotate laptop --tenant acme --grace 2h",
            "weir invitations create --email a@b.c --tenant acme --role developer --groups team",
            "weir sign-in --email a@b.c",
            "weir sign-out",
            "weir me --acting-in acme",
            "weir me change --set contact=x",
            "weir me password",
            "weir me second-factor confirm --output json",
            "weir me sessions end 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e",
            "weir me keys create laptop --set models=[gpt-*] --acting-in acme",
            "weir me keys rotate laptop --grace 2h",
            "weir me keys list --search lap --enabled true --sort name",
            "weir me identities list",
            "weir security validate-key",
            "weir keys create --tenant acme --name old --set sha256=00",
            "weir keys list --tenant acme --user a@b.c --sort -created_at --enabled false",
            "weir users list --role admin --search zhang",
            "weir logs facets --by model,status --from 2026-01-01",
            "weir logs neighbours 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e --key laptop",
            "weir invitations accept --name x",
            "weir invitations accept --with-password",
            "weir password-reset request --email a@b.c",
            "weir password-reset take",
            "weir logs --key laptop --status 5xx --min-ms 100 --output csv",
            "weir logs --source playground --order oldest_first",
            "weir logs --id 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e",
            "weir logs show 0b6ee0d1-7a6c-4a9b-9c36-0a4f8c9b7d3e",
            "weir settings change --set mode=read-only",
            "weir status --output json",
            "weir stats --tenant acme",
            "weir providers --tenant acme --search open --enabled false --sort -created_at",
            "weir completions bash",
            "weir usage --by credential,error --details",
            "weir usage --wait",
            "weir usage replay spool/0001.seg",
            "weir health --url http://127.0.0.1:8080",
        ] {
            Cli::try_parse_from(line.split(' ')).expect(line);
        }
        for line in [
            "weir usage --by colour",
            "weir apply",
            "weir serve --watch",
            // Secrets are no arguments.
            "weir sign-in --email a@b.c --code 123456",
            "weir invitations accept --with-password --code 123456",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
