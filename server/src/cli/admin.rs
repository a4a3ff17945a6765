//! `weir admin create`: the first person who signs in, and who loses nobody's way in.
//!
//! It opens the stores itself: whoever can read the master key is the platform's operator.

use std::io::Read as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use uuid::Uuid;
use weir_api_types::{
    manage::{AnyRole, PlatformRole},
    secret::Sensitive,
};

use super::{
    local::{StoreArgs, load, open, sealer},
    output,
};
use crate::{
    access::Author,
    admin::{login::Passwords, password_resets},
    catalog::Kind,
    clock::now_ms,
    resources,
    store::{
        self, Change, Migrate, connect,
        one_time_links::{self, Link, Purpose},
        sign_ins,
    },
    tenancy::{Person, key::Value},
};

/// What can be done with the platform's people.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make somebody an operator of the platform, and give them a way in: a link that works once, or a password.
    Create(CreateArgs),
}

/// `weir admin create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What they sign in with.
    #[arg(long)]
    email: String,
    /// Their name; the address if not given.
    #[arg(long)]
    name: Option<String>,
    /// platform_admin, or platform_viewer, who may look and change nothing.
    #[arg(long, default_value = "platform_admin")]
    role: AnyRole,
    /// Read their password from standard input instead of printing a link.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(args).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let AnyRole::Platform(role) = args.role else {
        anyhow::bail!(
            "--role is platform_admin or platform_viewer: roles in tenants are given by `weir users` and invitations"
        );
    };
    let email =
        resources::email(&args.email).map_err(|error| anyhow::anyhow!("--email {error}"))?;
    let password = match args.password_stdin {
        true => Some(password().await?),
        false => None,
    };
    let config = load(args.store)?;
    let sealer = sealer(&config)?;
    let stores = open(&config).await?;
    connect::migrate(&stores, Migrate::Never).await?;
    let made = async {
        let mut change = Change::begin(&stores).await?;
        let person = person(&change, email, args.name, role).await?;
        let (db, now_ms) = (change.transaction(), now_ms());
        store::users::put(db, &person, now_ms).await?;
        let link = match password {
            Some(hashed) => {
                sign_ins::put_password(db, person.id, hashed, now_ms).await?;
                None
            }
            None => {
                let value = Value::of_link();
                let link = Link {
                    id: Uuid::new_v4(),
                    email: person.email.clone(),
                    purpose: Purpose::Reset { user: person.id },
                    expires_ms: now_ms + password_resets::VALID_MS,
                };
                one_time_links::insert(db, &link, &value.digest(), now_ms).await?;
                Some(value)
            }
        };
        let author = Author::process("weir admin create");
        let told = serde_json::json!({"platform_role": role});
        let done = store::audit::one("user", None, &person.email, &told);
        store::audit::append(db, &sealer, &author, &[done]).await?;
        change.changed(Kind::User, person.id.0);
        change.commit().await?;
        anyhow::Ok((person, link))
    };
    let made = made.await;
    stores.close().await;
    let (person, link) = made?;
    eprintln!(
        "{}",
        output::printable(&format!("{} is {}.", person.email, args.role.as_str()))
    );
    match link {
        None => Ok(()),
        Some(value) => {
            eprintln!("With this link they set a password; it works once, for 30 minutes:");
            let base = config
                .public_url
                .unwrap_or_else(|| format!("http://{}", config.listen));
            let base = base.trim_end_matches('/');
            output::print(&format!("{base}/reset-password#{}\n", value.reveal()))
        }
    }
}

/// The person of an address, who may be there already, with a role on the platform.
async fn person(
    change: &Change,
    email: String,
    name: Option<String>,
    role: PlatformRole,
) -> anyhow::Result<Person> {
    let db = change.transaction();
    let known = match store::users::of_email(db, &email).await? {
        Some(known) => store::users::one(db, known).await?,
        None => None,
    };
    if known.as_ref().is_some_and(|person| !person.email_proven) {
        anyhow::bail!(
            "--email: there is an account of this address, which a tenant let in, and nobody has shown that the address is theirs: delete it first"
        );
    }
    let mut person = known.unwrap_or_else(|| Person::new(email));
    if let Some(name) = name {
        person.name = resources::line(&name).map_err(|error| anyhow::anyhow!("--name {error}"))?;
    }
    person.platform_role = Some(role);
    Ok(person)
}

/// The hash of what stands on standard input, less its line break.
async fn password() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().take(4_096).read_to_string(&mut text);
    read.context("the password on standard input")?;
    let text = Sensitive::new(text.trim_end_matches(['\r', '\n']));
    let hashed = Passwords::new()?.hash("password", &text).await;
    hashed.map_err(|error| anyhow::anyhow!("{error}"))
}
