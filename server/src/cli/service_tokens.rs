//! `weir service-tokens`: what automation calls management with.

use awc::http::Method;
use clap::{Args, Subcommand};
use uuid::Uuid;
use weir_api_types::manage::{
    AnyRole, CreatedServiceToken, NewServiceToken, ServiceTokenItem, ServiceTokenPatch,
};

use super::{
    client::Target,
    output::{self, Format, OutputArg},
};

const PATH: &str = "/v1/admin/service-tokens";
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
    List(ListArgs),
    /// Make a service token; its value is shown this once.
    Create(CreateArgs),
    /// Refuse a service token.
    Disable(OneArgs),
    /// Take a disabled service token again.
    Enable(OneArgs),
    /// Delete a service token.
    Delete(OneArgs),
}

/// `weir service-tokens list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this tenant's.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
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

/// A command about one service token.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The token's id, as `weir service-tokens list` shows it.
    id: Uuid,
    #[command(flatten)]
    target: Target,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Create(args) => create(args).await,
        Command::Disable(args) => switch(args, false).await,
        Command::Enable(args) => switch(args, true).await,
        Command::Delete(args) => {
            let path = format!("{PATH}/{}", args.id);
            args.target.client()?.delete(&path).await?;
            output::print(&format!("Service token {} is deleted.\n", args.id))
        }
    }
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let words = [("tenant", args.tenant.as_deref())];
    let mut items: Vec<ServiceTokenItem> = args.target.client()?.list(PATH, &words).await?;
    items.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    output::list(args.output.output, &items, COLUMNS, row)
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let order = NewServiceToken {
        tenant: args.tenant,
        name: args.name,
        role: args.role,
        expires_at: args.expires_at,
    };
    let client = args.target.client()?;
    let answer = client.send_json(Method::POST, PATH, &order).await?;
    let made: CreatedServiceToken = answer.json()?;
    match args.output.output {
        // The value alone on standard output, so that a script can take it.
        Format::Table => {
            let said = format!(
                "Service token {} is made; its value is shown this once:",
                made.token.name
            );
            eprintln!("{}", output::printable(&said));
            output::print(&format!("{}\n", output::printable(&made.value)))
        }
        format => output::list(format, &[made], &["id", "name", "value"], |made| {
            vec![
                made.token.id.to_string(),
                made.token.name.clone(),
                made.value.clone(),
            ]
        }),
    }
}

async fn switch(args: OneArgs, enabled: bool) -> anyhow::Result<()> {
    let patch = ServiceTokenPatch {
        enabled: Some(enabled),
    };
    let path = format!("{PATH}/{}", args.id);
    args.target
        .client()?
        .send_json(Method::PATCH, &path, &patch)
        .await?;
    let state = if enabled { "enabled" } else { "disabled" };
    output::print(&format!("Service token {} is {state}.\n", args.id))
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
