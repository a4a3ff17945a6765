//! `weir me`: what somebody who is signed in, or a token, sees and does of their own.

use anyhow::bail;
use awc::http::Method;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;
use weir_api_types::{
    orders::Rotation,
    people::{FactorCode, PasswordChange, Proof, SessionItem},
    secret::Sensitive,
    sign_in::{IdentityItem, NewIdentity},
};

use super::{
    client::Target,
    keys::RotateArgs,
    listing::{ListArgs, NamedArgs, show},
    output::{self, OutputArg},
    sign_in::{Hidden, passwords},
    system::{OneArgs, one},
    things::{self, CreateArgs, Kind, OrderArgs},
};

const PATH: &str = "/v1/admin/me";
const KEYS: Kind = Kind {
    path: "/v1/admin/me/keys",
    name: "key of yours",
    named_by: "name",
    names_its_tenant: false,
};

/// `weir me`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct MeArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    one: OneArgs,
}

/// What else one can do with oneself.
#[derive(Debug, Subcommand)]
enum Command {
    /// Change your name, department or contact, such as --set contact="+86 …".
    Change(ChangeArgs),
    /// Set another password: standard input has the present one and the new one, a line each. All other sessions end.
    Password(DoArgs),
    /// Show once more who you are, where a session is too old for what you want; standard input has your password.
    Prove(DoArgs),
    /// A second factor.
    #[command(subcommand)]
    SecondFactor(Factor),
    /// Where you are signed in.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Your own proxy keys, in the tenant that you are acting in.
    #[command(subcommand)]
    Keys(Keys),
    /// How identity providers know you.
    #[command(subcommand)]
    Identities(Identities),
}

/// `weir me change`
#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    one: OneArgs,
}

/// Something that shows nothing but that it is done.
#[derive(Debug, Args)]
struct DoArgs {
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// Something that is done to one of several.
#[derive(Debug, Args)]
struct OfArgs {
    /// Its id, as the list shows it.
    id: Uuid,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Factor {
    /// Make a seed for an application that shows codes; standard input has your password.
    Begin(OneArgs),
    /// Put it in force: standard input has the six digits that the application shows now. Shows the recovery codes, this once.
    Confirm(OneArgs),
    /// Be asked for none any longer; standard input has your password.
    Remove(DoArgs),
}

#[derive(Debug, Subcommand)]
enum Sessions {
    /// List your sessions.
    List(ListArgs),
    /// End one of them.
    End(OfArgs),
    /// Sign out everywhere, here too.
    EndAll(DoArgs),
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// List your keys.
    List(NamedArgs),
    /// Make a key for yourself; its value is shown this once.
    Create(CreateArgs),
    /// Change a key's name, or switch it off (--set enabled=false).
    Change(things::ChangeArgs),
    /// Give a key another value; the one before stays valid for a while.
    Rotate(RotateArgs),
    /// Delete a key.
    Delete(things::OneArgs),
}

#[derive(Debug, Subcommand)]
enum Identities {
    /// List them.
    List(ListArgs),
    /// Sign in with a provider from now on: shows where to go on in a browser.
    Add(AddArgs),
    /// Sign in with one no longer.
    Remove(OfArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// The provider's id.
    provider: Uuid,
    #[command(flatten)]
    one: OneArgs,
}

/// Does what the command says.
pub async fn run(args: MeArgs) -> anyhow::Result<()> {
    let Some(command) = args.command else {
        return one(PATH, args.one).await;
    };
    match command {
        Command::Change(args) => {
            let order = args.order.read()?;
            if order.is_empty() {
                bail!("say what to change, by --set or --file");
            }
            args.one.send(Method::PATCH, PATH, &order).await
        }
        Command::Password(args) => {
            let [current, new] = passwords([Hidden("Present password"), Hidden("New password")])?;
            let order = PasswordChange {
                current: Sensitive::new(current),
                new: Sensitive::new(new),
            };
            let client = args.target.client()?;
            let path = format!("{PATH}/password");
            client.send_json(Method::POST, &path, &order).await?;
            let now = json!({"password_changed": true});
            output::done(
                args.output.output,
                &now,
                "The password is another one; all other sessions are over.\n",
            )
        }
        Command::Prove(args) => {
            let client = args.target.client()?;
            let path = format!("{PATH}/proof");
            client.send_json(Method::POST, &path, &proof()?).await?;
            let now = json!({"proven": true});
            output::done(args.output.output, &now, "It is you.\n")
        }
        Command::SecondFactor(command) => factor(command).await,
        Command::Sessions(command) => sessions(command).await,
        Command::Keys(command) => keys(command).await,
        Command::Identities(command) => identities(command).await,
    }
}

fn proof() -> anyhow::Result<Proof> {
    let [password] = passwords([Hidden("Password")])?;
    Ok(Proof {
        password: Sensitive::new(password),
    })
}

async fn factor(command: Factor) -> anyhow::Result<()> {
    let path = format!("{PATH}/second-factor");
    match command {
        Factor::Begin(args) => args.send(Method::POST, &path, &proof()?).await,
        Factor::Confirm(args) => {
            let [code] = passwords([Hidden("Code")])?;
            let order = FactorCode {
                code: Sensitive::new(code),
            };
            let path = format!("{path}/confirm");
            args.send(Method::POST, &path, &order).await
        }
        Factor::Remove(args) => {
            let client = args.target.client()?;
            let path = format!("{path}/remove");
            client.send_json(Method::POST, &path, &proof()?).await?;
            let now = json!({"second_factor": false});
            output::done(
                args.output.output,
                &now,
                "You are asked for no second factor any longer.\n",
            )
        }
    }
}

async fn sessions(command: Sessions) -> anyhow::Result<()> {
    let path = format!("{PATH}/sessions");
    match command {
        Sessions::List(args) => {
            let columns = ["id", "current", "address", "agent", "since"];
            show(&path, args, &columns, |item: &SessionItem| {
                vec![
                    item.id.to_string(),
                    item.current.to_string(),
                    item.address.clone(),
                    item.agent.clone(),
                    item.created_at.clone(),
                ]
            })
            .await
        }
        Sessions::End(args) => {
            let path = format!("{path}/{}", args.id);
            args.target.client()?.delete(&path).await?;
            let now = json!({"id": args.id, "deleted": true});
            output::done(args.output.output, &now, "The session is over.\n")
        }
        Sessions::EndAll(args) => {
            args.target.client()?.delete(&path).await?;
            let now = json!({"signed_out": true});
            output::done(args.output.output, &now, "You are signed out everywhere.\n")
        }
    }
}

async fn keys(command: Keys) -> anyhow::Result<()> {
    match command {
        Keys::List(args) => show(KEYS.path, args, super::keys::COLUMNS, super::keys::row).await,
        Keys::Create(args) => KEYS.run(things::Command::Create(args)).await,
        Keys::Change(args) => KEYS.run(things::Command::Change(args)).await,
        Keys::Rotate(args) => {
            let order = serde_json::to_value(Rotation::from(&args))?;
            KEYS.act(args.one, "rotate", &order).await
        }
        Keys::Delete(args) => KEYS.run(things::Command::Delete(args)).await,
    }
}

async fn identities(command: Identities) -> anyhow::Result<()> {
    let path = format!("{PATH}/identities");
    match command {
        Identities::List(args) => {
            let columns = ["id", "provider", "since"];
            show(&path, args, &columns, |item: &IdentityItem| {
                vec![
                    item.id.to_string(),
                    item.provider.clone(),
                    item.created_at.clone(),
                ]
            })
            .await
        }
        Identities::Add(args) => {
            let order = NewIdentity {
                provider: args.provider,
                return_to: None,
            };
            args.one.send(Method::POST, &path, &order).await
        }
        Identities::Remove(args) => {
            let path = format!("{path}/{}", args.id);
            args.target.client()?.delete(&path).await?;
            let now = json!({"id": args.id, "deleted": true});
            output::done(
                args.output.output,
                &now,
                "That identity is yours no longer.\n",
            )
        }
    }
}
