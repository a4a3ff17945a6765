//! The master key and the admin token: given from outside, or made once and kept beside the embedded database.

use std::{os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::{Context as _, bail};

use crate::{
    config::Config,
    private_file::kept,
    secrets::{Sealer, Secret},
};

/// Name of the file with the generated master key.
pub const MASTER_KEY_FILE: &str = "master-key";
/// Name of the file with the generated admin token, where the CLI finds it.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// Name of the file that says under which master key the spool is, from a start to the next good end.
pub const SPOOL_KEY_FILE: &str = "spool-key";

/// What an instance starts with.
pub struct Keys {
    pub sealer: Sealer,
    pub admin_token: Secret,
}

/// Reads or makes them. A cluster's master key must be given: instances that made one each could not read each other.
pub fn load(config: &Config) -> anyhow::Result<Keys> {
    let is_embedded = config.database_url.is_none();
    make_directory(&config.data_dir)?;
    let sealer = match config.sealer()? {
        Some(sealer) => sealer,
        None if is_embedded => {
            let path = config.data_dir.join(MASTER_KEY_FILE);
            kept(&path, || Sealer::generate_base64().to_string())?;
            Sealer::from_file(&path).with_context(|| path.display().to_string())?
        }
        None => bail!(
            "with a database_url the master key must be given: set WEIR_MASTER_KEY or WEIR_MASTER_KEY_FILE"
        ),
    };
    let admin_token = match &config.admin_token {
        Some(token) => token.clone(),
        None => kept(&config.data_dir.join(ADMIN_TOKEN_FILE), || {
            crate::tenancy::key::Value::of_admin_token()
                .reveal()
                .to_owned()
        })?,
    };
    Ok(Keys {
        sealer,
        admin_token,
    })
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("the data directory {}", path.display()))
}
