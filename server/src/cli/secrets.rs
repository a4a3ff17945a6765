//! `weir secrets`: another master key, while servers serve.
//!
//! The master keys stand in a file, or in `WEIR_MASTER_KEY`: the first one seals, all of them open. A file is read by running servers
//! again as soon as it matters, so there a new key is made, put first, and everything sealed is sealed under it. Each step can be
//! cut short and done again.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::{
    local::{MASTER_KEY_FILE, StoreArgs, load, open, sealer},
    output::{self, Format, OutputArg},
};
use crate::{
    access::Author,
    config::Config,
    private_file,
    secrets::Sealer,
    store::{self, Migrate, Stores, connect, sealed},
};

/// A server that sealed something a moment ago has committed it by then.
const SETTLED: Duration = Duration::from_secs(2);

/// What can be done with what is sealed.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Seal everything under another master key, which is made where there is one only.
    Rotate(RotateArgs),
    /// Say how many secrets are sealed under which master key.
    Status(StatusArgs),
}

/// `weir secrets rotate`
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Make another key even where there are several; else everything is sealed under the first.
    #[arg(long)]
    new: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// `weir secrets status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    store: StoreArgs,
}

/// How many secrets are sealed under one master key.
#[derive(Debug, Serialize)]
struct KeyRow {
    key: String,
    does: &'static str,
    secrets: u64,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Rotate(args) => rotate(args).await,
        Command::Status(args) => {
            let config = load(args.store)?;
            let sealer = sealer(&config)?;
            let stores = open(&config).await?;
            let told = tell(&stores, &sealer, args.output.output).await;
            stores.close().await;
            told
        }
    }
}

async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let config = load(args.store)?;
    let file = file_of(&config);
    let _alone = file.as_deref().map(alone).transpose()?;
    if args.new || sealer(&config)?.key_ids().len() == 1 {
        let Some(file) = &file else {
            bail!(
                "the master key is set in WEIR_MASTER_KEY: give every instance \"OLD,NEW\" there and start it again, then \"NEW,OLD\", and then run this again"
            );
        };
        add_key(file).with_context(|| format!("another key for {}", file.display()))?;
    }
    let sealer = sealer(&config)?;
    let stores = open(&config).await?;
    connect::migrate(&stores, Migrate::Never).await?;
    let done = reseal(&stores, &sealer).await;
    let told = match done {
        Ok(()) => tell(&stores, &sealer, Format::Table).await,
        Err(error) => Err(error),
    };
    stores.close().await;
    told
}

/// Until nothing is left under another key, twice: a server may have sealed something in between.
async fn reseal(stores: &Stores, sealer: &Sealer) -> anyhow::Result<()> {
    let before: Vec<String> = sealed::counts(stores).await?.into_keys().collect();
    let (mut resealed, mut quiet) = (0, 0);
    while quiet < 2 {
        let done = sealed::reseal(stores, sealer).await?;
        if !done.unreadable.is_empty() {
            bail!(
                "no master key that is given opens: {}",
                done.unreadable.join(", ")
            );
        }
        resealed += done.resealed;
        quiet = if done.resealed == 0 { quiet + 1 } else { 0 };
        tokio::time::sleep(SETTLED).await;
    }
    if resealed > 0 {
        let author = Author::process("weir secrets rotate");
        let told =
            serde_json::json!({"before": before, "seals": sealer.key_id(), "secrets": resealed});
        let done = store::audit::one("master_key", None, "", &told);
        let transaction = stores.config.begin_write().await?;
        store::audit::append(&transaction, sealer, &author, &[done]).await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn tell(stores: &Stores, sealer: &Sealer, format: Format) -> anyhow::Result<()> {
    let counts = sealed::counts(stores).await?;
    let given = sealer.key_ids();
    let row = |key: &String, does| KeyRow {
        key: key.clone(),
        does,
        secrets: counts.get(key).copied().unwrap_or_default(),
    };
    let known = given.iter().enumerate().map(|(at, key)| {
        let does = if at == 0 { "seals" } else { "opens" };
        row(key, does)
    });
    let missing = counts.keys().filter(|key| !given.contains(key));
    let missing: Vec<KeyRow> = missing.map(|key| row(key, "is not given")).collect();
    let is_missing = !missing.is_empty();
    let rows: Vec<KeyRow> = known.chain(missing).collect();
    if format == Format::Table {
        let lines = rows.iter().map(|row| {
            let KeyRow { key, does, secrets } = row;
            format!("{key}  {does}  {secrets} secrets\n")
        });
        let mut text: String = lines.collect();
        if given.len() > 1 && counts.keys().all(|key| *key == given[0]) {
            text.push_str(
                "Nothing is sealed under the others. They still let sessions of before go on, open spools of before, and show that the audit log of before is whole: take them away when none of that is needed.\n",
            );
        }
        output::print(&text)?;
    } else {
        output::list(format, &rows, &["key", "does", "secrets"], |row| {
            let does = row.does.to_owned();
            vec![row.key.clone(), does, row.secrets.to_string()]
        })?;
    }
    match is_missing {
        false => Ok(()),
        true => bail!("secrets are sealed under a master key that is not given"),
    }
}

/// The file that the master keys stand in.
fn file_of(config: &Config) -> Option<PathBuf> {
    match (&config.master_key_file, &config.master_key) {
        (Some(file), _) => Some(file.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(config.data_dir.join(MASTER_KEY_FILE)),
    }
}

/// Sees that nobody else changes the keys.
fn alone(file: &Path) -> anyhow::Result<File> {
    let lock = file.with_extension("lock");
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock);
    let opened = opened.with_context(|| lock.display().to_string())?;
    flock(&opened, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| anyhow::anyhow!("another `weir secrets rotate` is under way"))?;
    Ok(opened)
}

/// Puts a new key before all others.
fn add_key(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let text = format!("{}\n{}\n", *Sealer::generate_base64(), text.trim());
    Ok(private_file::replace(file, &text)?)
}
