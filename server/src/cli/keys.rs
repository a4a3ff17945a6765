//! `weir keys`: proxy keys, one by one.

use awc::http::Method;
use clap::{Args, Subcommand};
use uuid::Uuid;
use weir_api_types::manage::{CreatedKey, KeyItem, KeyPatch, NewKey};

use super::{
    client::Target,
    output::{self, Format, OutputArg},
};

const COLUMNS: &[&str] = &[
    "id", "tenant", "name", "hint", "user", "group", "enabled", "expires",
];

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List keys.
    List(ListArgs),
    /// Make a key; its value is shown this once.
    Create(CreateArgs),
    /// Refuse a key's calls, and cut its streams.
    Disable(OneArgs),
    /// Take a disabled key's calls again.
    Enable(OneArgs),
    /// Delete a key; its usage stays.
    Delete(OneArgs),
}

/// `weir keys list`
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

/// `weir keys create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The tenant that pays.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// What to call it; unique in the tenant.
    #[arg(long)]
    name: String,
    /// The user it belongs to.
    #[arg(long, value_name = "EMAIL", conflicts_with = "group")]
    user: Option<String>,
    /// The group it belongs to: such a key outlives a leaver.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Models it may use, such as gpt-*; all that the tenant may use if not given.
    #[arg(long, value_delimiter = ',', value_name = "PATTERN")]
    models: Option<Vec<String>>,
    /// Networks it may be used from, such as 10.0.0.0/8.
    #[arg(long, value_delimiter = ',', value_name = "NETWORK")]
    ip_allow: Vec<String>,
    /// When it ends, such as 2027-12-31T00:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    expires_at: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// A command about one key.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The key's id, as `weir keys list` shows it.
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
            let path = format!("/v1/admin/keys/{}", args.id);
            args.target.client()?.delete(&path).await?;
            output::print(&format!("Key {} is deleted.\n", args.id))
        }
    }
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let words = [("tenant", args.tenant.as_deref())];
    let mut items: Vec<KeyItem> = args.target.client()?.list("/v1/admin/keys", &words).await?;
    items.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
    output::list(args.output.output, &items, COLUMNS, row)
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let order = NewKey {
        tenant: args.tenant,
        name: args.name,
        user: args.user,
        group: args.group,
        models: args.models,
        ip_allow: args.ip_allow,
        expires_at: args.expires_at,
    };
    let client = args.target.client()?;
    let answer = client
        .send_json(Method::POST, "/v1/admin/keys", &order)
        .await?;
    let made: CreatedKey = answer.json()?;
    match args.output.output {
        // The value alone on standard output, so that a script can take it.
        Format::Table => {
            let said = format!(
                "Key {} of {} is made; its value is shown this once:",
                made.key.name, made.key.tenant
            );
            eprintln!("{}", output::printable(&said));
            output::print(&format!("{}\n", output::printable(&made.value)))
        }
        format => output::list(
            format,
            &[made],
            &["id", "tenant", "name", "value"],
            |made| {
                let key = &made.key;
                vec![
                    key.id.to_string(),
                    key.tenant.clone(),
                    key.name.clone(),
                    made.value.clone(),
                ]
            },
        ),
    }
}

async fn switch(args: OneArgs, enabled: bool) -> anyhow::Result<()> {
    let patch = KeyPatch {
        enabled: Some(enabled),
        expires_at: None,
    };
    let path = format!("/v1/admin/keys/{}", args.id);
    args.target
        .client()?
        .send_json(Method::PATCH, &path, &patch)
        .await?;
    let state = if enabled { "enabled" } else { "disabled" };
    output::print(&format!("Key {} is {state}.\n", args.id))
}

fn row(key: &KeyItem) -> Vec<String> {
    vec![
        key.id.to_string(),
        key.tenant.clone(),
        key.name.clone(),
        key.hints.join(" "),
        key.user.clone().unwrap_or_default(),
        key.group.clone().unwrap_or_default(),
        key.enabled.to_string(),
        key.expires_at.clone().unwrap_or_default(),
    ]
}
