//! `weir service-tokens`: what automation calls management with.

use clap::{Args, Subcommand};
use weir_api_types::manage::{AnyRole, CreatedServiceToken, NewServiceToken, ServiceTokenItem};

use super::{
    client::Target,
    listing::{NamedArgs, show, show_sorted},
    output::OutputArg,
    secret::Shown,
    things::{self, Kind, OneArgs},
};

const KIND: Kind = Kind {
    path: "/v1/admin/service-tokens",
    name: "service token",
    named_by: "name",
    names_its_tenant: false,
};
const COLUMNS: &[&str] = &[
    "id",
    "tenant",
    "name",
    "role",
    "hint",
    "enabled",
    "expires",
    "last used",
];

/// What can be done with service tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List service tokens.
    List(NamedArgs),
    /// Make a service token; its value is shown this once.
    Create(CreateArgs),
    /// Refuse a service token.
    Disable(OneArgs),
    /// Take a disabled service token again.
    Enable(OneArgs),
    /// Show a service token, without its value.
    Show(OneArgs),
    /// Delete a service token.
    Delete(OneArgs),
}

/// `weir service-tokens create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The tenant that its role holds in; the platform's if not given.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// What to call it; unique in the tenant, or on the platform.
    #[arg(long)]
    name: String,
    /// owner, admin, finance, developer or viewer in a tenant; else platform_admin or platform_viewer.
    #[arg(long)]
    role: AnyRole,
    /// When it ends, such as 2027-12-31T00:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    expires_at: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) if args.is_unsorted() => {
            let key = |item: &ServiceTokenItem| (item.tenant.clone(), item.name.clone());
            show_sorted(KIND.path, args, COLUMNS, key, row).await
        }
        Command::List(args) => show(KIND.path, args, COLUMNS, row).await,
        Command::Create(args) => create(args).await,
        Command::Disable(args) => KIND.switch(args, false).await,
        Command::Enable(args) => KIND.switch(args, true).await,
        Command::Show(args) => KIND.run(things::Command::Show(args)).await,
        Command::Delete(args) => KIND.run(things::Command::Delete(args)).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let order = NewServiceToken {
        tenant: args.tenant,
        name: args.name,
        role: args.role,
        expires_at: args.expires_at,
    };
    let (format, columns) = (args.output.output, ["id", "name", "value"]);
    let shown = |made: &CreatedServiceToken| {
        let CreatedServiceToken { token, value } = made;
        let cell = value.clone().unwrap_or_default();
        Shown {
            what: token.name.clone(),
            value: value.clone(),
            cells: vec![token.id.to_string(), token.name.clone(), cell],
        }
    };
    KIND.create(args.target, &order, format, &columns, shown)
        .await
}

fn row(token: &ServiceTokenItem) -> Vec<String> {
    vec![
        token.id.to_string(),
        token.tenant.clone().unwrap_or_default(),
        token.name.clone(),
        token.role.as_str().to_owned(),
        token.hint.clone(),
        token.enabled.to_string(),
        token.expires_at.clone().unwrap_or_default(),
        token.last_used_at.clone().unwrap_or_default(),
    ]
}
