//! `weir channels credentials`: the pool of secrets that a channel is called with.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use awc::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;
use weir_api_types::{
    orders::{CredentialPatch, NewCredential},
    secret::Sensitive,
};

use super::{
    client::{Client, Target},
    exit::{Exit, Failure},
    lists::CHANNELS,
    output::{self, OutputArg},
};

/// What can be done with a channel's credentials.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add one; its secret is read from standard input.
    Add(AddArgs),
    /// Use one no longer.
    Disable(OneArgs),
    /// Use one again.
    Enable(OneArgs),
    /// Call one something else.
    Rename(RenameArgs),
    /// Delete one.
    Delete(OneArgs),
    /// Call the vendor with one, and tell what came back.
    Validate(OneArgs),
}

/// The channel that it is about.
#[derive(Debug, Args)]
struct ChannelArgs {
    /// The channel's id, or its name.
    channel: String,
    /// The tenant that owns the channel.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir channels credentials add`
#[derive(Debug, Args)]
pub struct AddArgs {
    #[command(flatten)]
    of: ChannelArgs,
    /// What to call it.
    #[arg(long)]
    name: Option<String>,
}

/// One credential.
#[derive(Debug, Args)]
pub struct OneArgs {
    #[command(flatten)]
    of: ChannelArgs,
    /// Its id, as the channel shows it.
    credential: Uuid,
}

/// `weir channels credentials rename`
#[derive(Debug, Args)]
pub struct RenameArgs {
    #[command(flatten)]
    one: OneArgs,
    /// The name; nothing for none.
    name: Option<String>,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => {
            let order = NewCredential {
                value: Sensitive::new(secret()?),
                name: args.name,
            };
            let (client, path) = args.of.pool().await?;
            let answer = client.send_json(Method::POST, &path, &order).await?;
            output::one(args.of.output.output, &answer.json()?)
        }
        Command::Disable(args) => args.patch(json!({"enabled": false})).await,
        Command::Enable(args) => args.patch(json!({"enabled": true})).await,
        Command::Rename(args) => {
            let order = CredentialPatch {
                name: Some(args.name),
                ..CredentialPatch::default()
            };
            args.one.patch(serde_json::to_value(order)?).await
        }
        Command::Delete(args) => {
            let (client, path) = args.of.pool().await?;
            let path = format!("{path}/{}", args.credential);
            client.delete(&path).await?;
            let now = json!({"id": args.credential, "deleted": true});
            let words = format!("credential {} is deleted.\n", args.credential);
            output::done(args.of.output.output, &now, &words)
        }
        Command::Validate(args) => {
            let (client, path) = args.of.pool().await?;
            let path = format!("{path}/{}/validate", args.credential);
            let check: Value = client.ask(&path, &json!({})).await?.json()?;
            output::one(args.of.output.output, &check)?;
            match check["works"].as_bool() {
                Some(true) => Ok(()),
                _ => bail!(Failure::new(Exit::Refused, "it does not work".to_owned())),
            }
        }
    }
}

impl ChannelArgs {
    async fn pool(&self) -> anyhow::Result<(Client, String)> {
        let client = self.target.client()?;
        let channel = CHANNELS.path_of(&client, self.tenant.as_deref(), &self.channel);
        let path = format!("{}/credentials", channel.await?);
        Ok((client, path))
    }
}

impl OneArgs {
    async fn patch(self, order: Value) -> anyhow::Result<()> {
        let (client, path) = self.of.pool().await?;
        let path = format!("{path}/{}", self.credential);
        let answer = client.send_json(Method::PATCH, &path, &order).await?;
        output::one(self.of.output.output, &answer.json()?)
    }
}

/// Standard input, less its line break.
fn secret() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
    read.context("the secret on standard input")?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        bail!("standard input has no secret");
    }
    Ok(secret.to_owned())
}
