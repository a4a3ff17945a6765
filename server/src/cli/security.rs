//! `weir security`: the installation's own token, and what a value is.

use anyhow::bail;
use awc::http::Method;
use clap::Subcommand;
use serde_json::json;

use super::{
    exit::{Exit, Failure},
    sign_in::{Hidden, passwords},
    system::{OneArgs, one},
};

const PATH: &str = "/v1/admin/security";

/// What can be done with the installation's own token.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Where the admin token comes from, how it begins, and since when it is this one.
    KeyInfo(OneArgs),
    /// Replace the admin token that Weir keeps; the new one is shown this once.
    RotateAdminKey(OneArgs),
    /// Whether a value lets anybody in, and as what; standard input has it.
    ValidateKey(OneArgs),
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::KeyInfo(args) => one(&format!("{PATH}/key-info"), args).await,
        Command::RotateAdminKey(args) => {
            let path = format!("{PATH}/rotate-admin-key");
            args.send(Method::POST, &path, &json!({})).await
        }
        Command::ValidateKey(args) => {
            let [key] = passwords([Hidden("Value")])?;
            let path = format!("{PATH}/validate-key");
            let check = args.ask(&path, &json!({"key": key})).await?;
            match check["valid"].as_bool() {
                Some(true) => Ok(()),
                _ => bail!(Failure::new(Exit::Refused, "it lets nobody in".to_owned())),
            }
        }
    }
}
