//! `weir invitations`: people asked into a tenant.

use awc::http::Method;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;
use weir_api_types::{
    manage::AnyRole,
    people::{Acceptance, CreatedInvitation, InvitationItem, NewInvitation},
    secret::Sensitive,
};

use super::{
    client::{Client, Target},
    listing::{NamedArgs, show},
    output::{self, Format, OutputArg},
    sign_in::{Hidden, passwords, send_with_code, token_of},
};

const PATH: &str = "/v1/admin/invitations";
const COLUMNS: &[&str] = &["id", "tenant", "email", "role", "invited by", "expires"];

/// What can be done with invitations.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List those that wait.
    List(NamedArgs),
    /// Invite somebody; the link works once and for them alone.
    Create(CreateArgs),
    /// Take one: standard input has the link, or what stands behind its #, with --name or --with-password the password, and where it is
    /// asked for a code of your second factor or a recovery code, a line each.
    Accept(AcceptArgs),
    /// Take one back.
    Delete(DeleteArgs),
}

/// `weir invitations create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Whom.
    #[arg(long)]
    email: String,
    /// The tenant that they are asked into.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// owner, admin, finance, developer or viewer.
    #[arg(long)]
    role: AnyRole,
    /// Groups that they will be in; the first one counts for limits and reports.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    groups: Vec<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir invitations accept`
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// What you are called; without it you have an account already, and WEIR_TOKEN is of that.
    #[arg(long)]
    name: Option<String>,
    /// You have an account, and show its password instead: whoever is in no tenant cannot sign in before.
    #[arg(long, conflicts_with = "name")]
    with_password: bool,
    #[command(flatten)]
    target: Target,
}

/// `weir invitations delete`
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Its id, as the list shows it.
    id: Uuid,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => show(PATH, args, COLUMNS, row).await,
        Command::Create(args) => create(args).await,
        Command::Accept(args) => accept(args).await,
        Command::Delete(args) => {
            let path = format!("{PATH}/{}", args.id);
            args.target.client()?.delete(&path).await?;
            let now = json!({"id": args.id, "deleted": true});
            let words = format!("invitation {} is taken back.\n", args.id);
            output::done(args.output.output, &now, &words)
        }
    }
}

async fn accept(args: AcceptArgs) -> anyhow::Result<()> {
    let is_signed_in = args.name.is_none() && !args.with_password;
    let (link, password) = match is_signed_in {
        false => {
            let [link, password] = passwords([Hidden("Link"), Hidden("Password")])?;
            (link, Some(Sensitive::new(password)))
        }
        true => {
            let [link] = passwords([Hidden("Link")])?;
            (link, None)
        }
    };
    let order = Acceptance {
        token: Sensitive::new(token_of(&link)),
        name: args.name,
        password,
        code: None,
    };
    let client = match is_signed_in {
        false => Client::new(&args.target.url, None)?,
        true => args.target.client()?,
    };
    let path = format!("{PATH}/accept");
    let with_code = |order: &mut Acceptance, code| order.code = Some(code);
    send_with_code(&client, &path, order, with_code).await?;
    output::print("The invitation is taken: sign in.\n")
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let AnyRole::Tenant(role) = args.role else {
        anyhow::bail!("--role is one of a tenant: operators are made by `weir admin create`");
    };
    let order = NewInvitation {
        tenant: args.tenant,
        email: args.email,
        role,
        groups: args.groups,
    };
    let client = args.target.client()?;
    let answer = client.send_json(Method::POST, PATH, &order).await?;
    if args.output.output != Format::Table {
        return output::one(args.output.output, &answer.json()?);
    }
    let made: CreatedInvitation = answer.json()?;
    let (email, until) = (&made.invitation.email, &made.invitation.expires_at);
    if made.url.is_none() && !made.mailed {
        let told =
            format!("{email} is invited until {until}; the link was shown when that was done.\n");
        eprint!("{}", output::printable(&told));
        return Ok(());
    }
    let Some(url) = &made.url else {
        let told = format!("{email} has a mail with a link, which works once, until {until}.\n");
        return output::print(&output::printable(&told));
    };
    let told = format!("Give {email} this link, which works once, until {until}:");
    eprintln!("{}", output::printable(&told));
    output::print(&format!("{}\n", output::printable(url)))
}

fn row(item: &InvitationItem) -> Vec<String> {
    vec![
        item.id.to_string(),
        item.tenant.clone(),
        item.email.clone(),
        item.role.as_str().to_owned(),
        item.invited_by.clone(),
        item.expires_at.clone(),
    ]
}
