//! `weir sign-in` and `weir me`.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use awc::http::Method;
use clap::Args;
use weir_api_types::{
    people::{Access, Credentials},
    secret::Sensitive,
};

use super::{
    client::{Client, Target},
    output::{self, OutputArg},
};

/// `weir sign-in`
#[derive(Debug, Args)]
pub struct SignInArgs {
    /// With which address.
    #[arg(long)]
    email: String,
    /// Six digits of the second factor, or a recovery code.
    #[arg(long)]
    code: Option<String>,
    /// The server's address.
    #[arg(
        long,
        env = "WEIR_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: String,
}

/// `weir me`
#[derive(Debug, Args)]
pub struct MeArgs {
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// Prints an access token, alone on standard output. The password is the first line of standard input.
pub async fn sign_in(args: SignInArgs) -> anyhow::Result<()> {
    let order = Credentials {
        email: args.email,
        password: Sensitive::new(password()?),
        code: args.code.map(Sensitive::new),
    };
    let client = Client::new(&args.url, None)?;
    let answer = client
        .send_json(Method::POST, "/v1/admin/sign-in", &order)
        .await?;
    let access: Access = answer.json()?;
    eprintln!("Good for {} s:", access.expires_in);
    output::print(&format!("{}\n", access.access_token))
}

/// Shows who the token is.
pub async fn me(args: MeArgs) -> anyhow::Result<()> {
    let answer = args.target.client()?.get("/v1/admin/me").await?;
    output::one(args.output.output, &answer.json()?)
}

/// The first line of standard input, which a terminal does not show.
fn password() -> anyhow::Result<String> {
    let input = std::io::stdin();
    let text = if input.is_terminal() {
        rpassword::prompt_password("Password: ").context("the password")?
    } else {
        let mut line = String::new();
        let read = input.lock().read_line(&mut line);
        read.context("the password on standard input")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if text.is_empty() {
        bail!("standard input has no password");
    }
    Ok(text)
}
