//! `weir health`: for the health checks of containers, which have no other HTTP client.

use anyhow::Context as _;

use super::client::Client;

/// `weir health`
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// The server's address.
    #[arg(
        long,
        env = "WEIR_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: String,
}

/// Succeeds where the server says that it lives; needs no token and sends none.
pub async fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let answer = Client::new(&args.url, None)?.get("/health").await;
    // Those who run containers know 0 and 1 alone, and keep the other codes for themselves.
    let answer = answer.map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let health: serde_json::Value = answer.json()?;
    let status = health["status"]
        .as_str()
        .context("the answer has no status")?;
    super::output::print(&format!("{}\n", super::output::printable(status)))
}
