//! The commands that open the stores themselves: `migrate`, `usage replay`.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use uuid::Uuid;

use super::output;
use crate::{
    access::Author,
    catalog::Current,
    config::{self, Config, Flags},
    jobs::{self, RefreshCatalog},
    limits::Shared,
    redis::Redis,
    secrets::Sealer,
    store::{self, Migrate, Stores, connect},
};

/// In the data directory of an embedded server.
pub(super) use crate::app::keys::MASTER_KEY_FILE;

/// Where the settings are that name the stores.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    #[command(flatten)]
    settings: Flags,
}

/// `weir migrate`
pub async fn migrate(args: StoreArgs) -> anyhow::Result<()> {
    let config = load(args)?;
    let stores = open(&config).await?;
    let steps = connect::migrate(&stores, Migrate::Auto).await?;
    stores.close().await;
    match steps.as_slice() {
        [] => output::print("The schema is up to date.\n"),
        steps => output::print(&format!("Applied {}.\n", steps.join(", "))),
    }
}

/// `weir usage replay`
pub async fn replay(args: StoreArgs, file: &Path) -> anyhow::Result<()> {
    let config = load(args)?;
    let sealer = sealer(&config)?;
    let stores = open(&config).await?;
    connect::migrate(&stores, Migrate::Never).await?;
    let replayed = async {
        // Before: whatever becomes of it, the audit log has that it was begun.
        let note = async |events| note(&stores, &sealer, file, events).await;
        let (replayed, events) = jobs::replay::replay(&stores, &sealer, file, note).await?;
        if let Some(redis) = Redis::open(&config.redis()).context("redis_url")? {
            let current = Arc::new(Current::default());
            let refresh = RefreshCatalog {
                stores: stores.clone(),
                current: Arc::clone(&current),
                sealer: Arc::new(sealer),
                redis: None,
                health: Arc::default(),
                config: Default::default(),
            };
            refresh.look().await?;
            let shared = Shared::new(redis, config.redis.timeout.0, Uuid::new_v4());
            jobs::replay::recount(&shared, &current.load(), &events).await?;
        }
        anyhow::Ok(replayed)
    };
    let replayed = replayed.await;
    stores.close().await;
    let replayed = replayed.with_context(|| file.display().to_string())?;
    let torn = if replayed.torn {
        "; the file ends within a record"
    } else {
        ""
    };
    output::print(&format!(
        "{} events booked, {} had been booked before, {} records are damaged or foreign{torn}.\n",
        replayed.inserted, replayed.duplicates, replayed.skipped
    ))
}

/// Tells the audit log that a file with so many events is to be booked.
async fn note(stores: &Stores, sealer: &Sealer, file: &Path, events: usize) -> anyhow::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let told = serde_json::json!({"events": events});
    let done = store::audit::one("usage_replay", None, &name, &told);
    let author = Author::process("weir usage replay");
    let noted = store::audit::note(stores, sealer, &author, &[done]).await;
    noted.context("nothing is booked, as the audit log cannot be told")
}

pub(super) fn load(args: StoreArgs) -> anyhow::Result<Config> {
    let loaded = config::load(&args.settings.sources())?;
    for warning in &loaded.warnings {
        eprintln!("weir: {}", output::printable(warning));
    }
    Ok(loaded.config)
}

pub(super) async fn open(config: &Config) -> anyhow::Result<Stores> {
    let settings = store::Config {
        database_url: config.database_url.clone(),
        ..store::Config::default()
    };
    Ok(connect::open(&settings, &config.data_dir).await?)
}

/// Under the master key of the settings, or the one that an embedded server made for itself.
pub(super) fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    if let Some(sealer) = config.sealer()? {
        return Ok(sealer);
    }
    let path = config.data_dir.join(MASTER_KEY_FILE);
    let sealer = Sealer::from_file(&path);
    sealer.with_context(|| format!("no master_key is set and {} cannot be read", path.display()))
}
