//! `weir sign-in`, and secrets from standard input.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use awc::http::Method;
use clap::{Args, Subcommand};
use weir_api_types::{
    people::{Access, Credentials, PasswordReset, ResetRequest},
    secret::Sensitive,
};

use super::{client::Client, output};

/// `weir sign-in`
#[derive(Debug, Args)]
pub struct SignInArgs {
    /// With which address.
    #[arg(long)]
    email: String,
    /// Six digits of the second factor, or a recovery code.
    #[arg(long)]
    code: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A server that nobody is signed in to.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server's address.
    #[arg(
        long,
        env = "WEIR_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: String,
}

impl ServerArgs {
    /// A client without any token.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.url, None)
    }
}

/// Prints an access token, alone on standard output. The password is the first line of standard input.
pub async fn sign_in(args: SignInArgs) -> anyhow::Result<()> {
    let [password] = passwords([Hidden("Password")])?;
    let order = Credentials {
        email: args.email,
        password: Sensitive::new(password),
        code: args.code.map(Sensitive::new),
    };
    let client = args.server.client()?;
    let answer = client
        .send_json(Method::POST, "/v1/admin/sign-in", &order)
        .await?;
    let access: Access = answer.json()?;
    eprintln!("Good for {} s:", access.expires_in);
    output::print(&format!("{}\n", access.access_token))
}

/// What a terminal is asked for, without showing what is typed.
pub struct Hidden(pub &'static str);

/// Secrets, each a line of standard input.
pub fn passwords<const N: usize>(wanted: [Hidden; N]) -> anyhow::Result<[String; N]> {
    let input = std::io::stdin();
    let mut found = [const { String::new() }; N];
    for (found, Hidden(what)) in found.iter_mut().zip(wanted) {
        *found = if input.is_terminal() {
            rpassword::prompt_password(format!("{what}: ")).context(what)?
        } else {
            let mut line = String::new();
            let read = input.lock().read_line(&mut line);
            read.context("standard input")?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        };
        if found.is_empty() {
            bail!("standard input has no line for: {what}");
        }
    }
    Ok(found)
}

/// What people do who lost their password.
#[derive(Debug, Subcommand)]
pub enum ResetCommand {
    /// Have a link mailed to an address.
    Request(RequestArgs),
    /// Set another password: standard input has the link, or what stands behind its #, and the password, a line each.
    Take(ServerArgs),
}

/// `weir password-reset request`
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// To which address.
    #[arg(long)]
    email: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// `weir password-reset`
pub async fn reset(command: ResetCommand) -> anyhow::Result<()> {
    let path = "/v1/admin/password-resets";
    match command {
        ResetCommand::Request(args) => {
            let order = ResetRequest { email: args.email };
            let path = format!("{path}/request");
            let client = args.server.client()?;
            client.send_json(Method::POST, &path, &order).await?;
            output::print("If somebody here has this address, a link is on its way.\n")
        }
        ResetCommand::Take(args) => {
            let [link, password] = passwords([Hidden("Link"), Hidden("New password")])?;
            let order = PasswordReset {
                token: Sensitive::new(token_of(&link)),
                password: Sensitive::new(password),
            };
            args.client()?.send_json(Method::POST, path, &order).await?;
            output::print("The password is set: sign in with it.\n")
        }
    }
}

/// What stands behind the `#` of a link.
pub fn token_of(link: &str) -> &str {
    link.rsplit('#').next().unwrap_or(link)
}
