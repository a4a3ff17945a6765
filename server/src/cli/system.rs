//! `weir settings|status|stats`: the installation itself.

use awc::http::Method;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use weir_api_types::{insight::Hit, manage::Page};

use super::{
    client::{Target, with_query},
    output::{self, OutputArg},
    things::OrderArgs,
};

const SETTINGS: &str = "/v1/admin/settings";

/// Something of which there is one.
#[derive(Debug, Args)]
pub struct OneArgs {
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

impl OneArgs {
    /// Sends an order, and shows the answer.
    pub async fn send(
        self,
        method: Method,
        path: &str,
        order: &impl Serialize,
    ) -> anyhow::Result<()> {
        let answer = self.target.client()?.send_json(method, path, order).await?;
        output::one(self.output.output, &answer.json()?)
    }

    /// Asks a question, and shows the answer; returns it, too.
    pub async fn ask(self, path: &str, question: &impl Serialize) -> anyhow::Result<Value> {
        let answer = self.target.client()?.ask(path, question).await?;
        let answer: Value = answer.json()?;
        output::one(self.output.output, &answer)?;
        Ok(answer)
    }
}

/// What can be done with run-time settings.
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Show what is in force.
    Show(OneArgs),
    /// Change some, on every instance at once.
    Change(ChangeArgs),
}

/// `weir settings change`
#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    one: OneArgs,
}

/// `weir stats`
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Only this tenant's.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    one: OneArgs,
}

/// Shows the one thing at a path.
pub async fn one(path: &str, args: OneArgs) -> anyhow::Result<()> {
    let answer = args.target.client()?.get(path).await?;
    output::one(args.output.output, &answer.json()?)
}

/// `weir stats`
pub async fn stats(args: StatsArgs) -> anyhow::Result<()> {
    let words = [("tenant", args.tenant.as_deref())];
    one(&with_query("/v1/admin/stats", &words), args.one).await
}

/// `weir settings`
pub async fn settings(command: Settings) -> anyhow::Result<()> {
    match command {
        Settings::Show(args) => one(SETTINGS, args).await,
        Settings::Change(args) => {
            let order = args.order.read_change()?;
            let client = args.one.target.client()?;
            let changed = order.send(&client, SETTINGS).await?;
            output::one(args.one.output.output, &changed)
        }
    }
}

/// `weir search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// A piece of a name, or an id.
    text: String,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// Shows what was found.
pub async fn search(args: SearchArgs) -> anyhow::Result<()> {
    let path = with_query("/v1/admin/search", &[("q", Some(&args.text))]);
    let found: Page<Hit> = args.target.client()?.get(&path).await?.json()?;
    let columns = ["kind", "id", "name", "tenant"];
    output::list(args.output.output, &found.data, &columns, |hit| {
        vec![
            hit.kind.clone(),
            hit.id.to_string(),
            hit.name.clone(),
            hit.tenant.clone().unwrap_or_default(),
        ]
    })
}
