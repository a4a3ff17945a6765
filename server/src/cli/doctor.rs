//! `weir doctor`: looks at what a server would start with.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, bail};

use super::{
    local::{StoreArgs, load, open, sealer},
    output,
};
use crate::{
    config::Config,
    redis::Redis,
    store::{self, Migrate, connect},
};

/// `weir doctor`: goes on after a finding, so that all of them are seen at once.
pub async fn doctor(args: StoreArgs) -> anyhow::Result<()> {
    let config = load(args).context("settings")?;
    let mut findings = Vec::new();
    report("settings", Ok(()), &mut findings)?;
    report("data directory", private(&config.data_dir), &mut findings)?;
    report("master key", sealer(&config).map(drop), &mut findings)?;
    report("stores", stores(&config).await, &mut findings)?;
    if let Some(redis) = Redis::open(&config.redis()).context("redis_url")? {
        let inspected = redis.inspect().await;
        let amiss = inspected.as_deref().unwrap_or_default().to_vec();
        report(
            "redis",
            // Its own chain says everything twice.
            inspected
                .map(drop)
                .map_err(|error| anyhow::anyhow!("{error}")),
            &mut findings,
        )?;
        for amiss in amiss {
            output::print(&format!("redis: warning: {amiss}\n"))?;
        }
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} of the checks failed"),
    }
}

fn report(
    what: &'static str,
    checked: anyhow::Result<()>,
    findings: &mut Vec<&'static str>,
) -> anyhow::Result<()> {
    let said = match &checked {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    if checked.is_err() {
        findings.push(what);
    }
    output::print(&output::printable(&format!("{what}: {said}\n")))
}

/// Nobody but the owner may look into the data directory, nor at its files.
fn private(data_dir: &Path) -> anyhow::Result<()> {
    let open_to_others = |path: &Path| -> anyhow::Result<bool> {
        let metadata = path
            .metadata()
            .with_context(|| path.display().to_string())?;
        Ok(metadata.permissions().mode() & 0o077 != 0)
    };
    if !data_dir.exists() {
        bail!(
            "{} is not there yet; `weir serve` makes it",
            data_dir.display()
        );
    }
    if open_to_others(data_dir)? {
        bail!("{} is open to others: chmod 700 it", data_dir.display());
    }
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && open_to_others(&entry.path())? {
            bail!("{} is open to others: chmod 600 it", entry.path().display());
        }
    }
    Ok(())
}

async fn stores(config: &Config) -> anyhow::Result<()> {
    let stores = open(config).await?;
    let checked = async {
        connect::migrate(&stores, Migrate::Never).await?;
        store::catalog::version(&stores.config.read).await?;
        anyhow::Ok(())
    };
    let checked = checked.await;
    stores.close().await;
    checked
}
