//! `weir sign-in`, `weir sign-out`, and secrets from standard input.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use awc::http::Method;
use clap::{Args, Subcommand};
use serde::Serialize;
use weir_api_types::{
    people::{Access, Credentials, PasswordReset, ResetRequest, SessionItem},
    secret::Sensitive,
    sign_in::SignInProvider,
};

use super::{
    client::{Answer, Client, Target, with_query},
    exit::Failure,
    output::{self, OutputArg},
};

/// What the server says to somebody whose second factor is asked for.
const CODE_NEEDED: &str = "second_factor_needed";
const SESSIONS: &str = "/v1/admin/me/sessions";

/// `weir sign-in`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SignInArgs {
    #[command(subcommand)]
    other: Option<OtherWay>,
    /// With which address.
    #[arg(long, required = true)]
    email: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is known of signing in without an address.
#[derive(Debug, Subcommand)]
enum OtherWay {
    /// List the identity providers that one may sign in with, each with where a browser begins.
    Providers(ProvidersArgs),
}

/// `weir sign-in providers`
#[derive(Debug, Args)]
struct ProvidersArgs {
    /// Those of a tenant too, by its name.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

/// `weir sign-out`
#[derive(Debug, Args)]
pub struct SignOutArgs {
    #[command(flatten)]
    target: Target,
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

/// Prints an access token, alone on standard output. The password is the first line of standard input, a code the second.
pub async fn sign_in(args: SignInArgs) -> anyhow::Result<()> {
    if let Some(OtherWay::Providers(args)) = args.other {
        return providers(args).await;
    }
    let email = args.email.context("--email says whom")?;
    let [password] = passwords([Hidden("Password")])?;
    let order = Credentials {
        email,
        password: Sensitive::new(password),
        code: None,
    };
    let (client, path) = (args.server.client()?, "/v1/admin/sign-in");
    let with_code = |order: &mut Credentials, code| order.code = Some(code);
    let answer = send_with_code(&client, path, order, with_code).await?;
    let access: Access = answer.json()?;
    eprintln!("Good for {} s:", access.expires_in);
    output::print(&format!("{}\n", access.access_token))
}

async fn providers(args: ProvidersArgs) -> anyhow::Result<()> {
    let words = [("tenant", args.tenant.as_deref())];
    let path = with_query("/v1/admin/sign-in/providers", &words);
    let answer = args.server.client()?.get(&path).await?;
    let mut found: Vec<SignInProvider> = answer.json()?;
    let server = args.server.url.trim_end_matches('/');
    let paths = found.iter_mut().filter(|one| one.url.starts_with('/'));
    for provider in paths {
        provider.url = format!("{server}{}", provider.url);
    }
    let columns = ["id", "name", "url"];
    output::list(args.output.output, &found, &columns, |one| {
        vec![one.id.to_string(), one.name.clone(), one.url.clone()]
    })
}

/// Ends the session that the token is of.
pub async fn sign_out(args: SignOutArgs) -> anyhow::Result<()> {
    let client = args.target.client()?;
    let sessions: Vec<SessionItem> = client.list(SESSIONS, &[]).await?;
    let own = sessions.iter().find(|session| session.current);
    let own = own.context("the server knows of no session that the token is of")?;
    client.delete(&format!("{SESSIONS}/{}", own.id)).await?;
    output::print("You are signed out.\n")
}

/// Sends who somebody is. Where a code of their second factor is asked for, that is one more line of standard input, and goes with the
/// same order once more: the arguments of a process can be read by others (threats.md, D1).
pub async fn send_with_code<T: Serialize>(
    client: &Client,
    path: &str,
    mut order: T,
    put: impl FnOnce(&mut T, Sensitive),
) -> anyhow::Result<Answer> {
    let error = match client.send_json(Method::POST, path, &order).await {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let said = Failure::within(&error).and_then(|failure| failure.code.as_deref());
    if said != Some(CODE_NEEDED) {
        return Err(error);
    }
    match passwords([Hidden("Code")]) {
        Ok([code]) => put(&mut order, Sensitive::new(code)),
        Err(missing) => return Err(error.context(format!("{missing:#}"))),
    }
    client.send_json(Method::POST, path, &order).await
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
