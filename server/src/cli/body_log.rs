//! `weir body-log`: whether what is said in a tenant's calls is kept.

use awc::http::Method;
use clap::{Args, Subcommand};
use serde_json::json;
use weir_api_types::log::BodyLogPatch;

use super::{
    client::{Target, with_query},
    output::{self, OutputArg},
};

const PATH: &str = "/v1/admin/body-log";

/// What can be done about it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show whether bodies are kept, and for how long.
    Show(TenantArgs),
    /// Keep the bodies of calls from now on, masked and sealed.
    Keep(KeepArgs),
    /// Keep no more of them; what is kept stays for its time.
    Stop(TenantArgs),
    /// Forget at once what is kept so far.
    Forget(TenantArgs),
}

/// Whose.
#[derive(Debug, Args)]
pub struct TenantArgs {
    /// The tenant; with a tenant's token its own.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir body-log keep`
#[derive(Debug, Args)]
pub struct KeepArgs {
    /// For how many days each is kept, 1 to 365.
    #[arg(long)]
    days: u32,
    #[command(flatten)]
    whose: TenantArgs,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show(args) => {
            let path = with_query(PATH, &[("tenant", args.tenant.as_deref())]);
            let shown = args.target.client()?.get(&path).await?;
            output::one(args.output.output, &shown.json()?)
        }
        Command::Keep(args) => set(args.whose, Some(args.days)).await,
        Command::Stop(args) => set(args, None).await,
        Command::Forget(args) => {
            let path = with_query(PATH, &[("tenant", args.tenant.as_deref())]);
            args.target.client()?.delete(&path).await?;
            let now = json!({"tenant": args.tenant, "forgotten": true});
            let words = "What was said in calls is forgotten.\n";
            output::done(args.output.output, &now, words)
        }
    }
}

async fn set(args: TenantArgs, days: Option<u32>) -> anyhow::Result<()> {
    let tenant = args.tenant;
    let order = BodyLogPatch { tenant, days };
    let client = args.target.client()?;
    let answer = client.send_json(Method::PATCH, PATH, &order).await?;
    output::one(args.output.output, &answer.json()?)
}
