//! The master key and the admin token: given from outside, or made once and kept beside the embedded database.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, bail};

use crate::{
    config::Config,
    secrets::{Sealer, Secret},
};

/// Name of the file with the generated master key.
pub const MASTER_KEY_FILE: &str = "master-key";
/// Name of the file with the generated admin token, where the CLI finds it.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

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
            let text = kept(&config.data_dir.join(MASTER_KEY_FILE), || {
                Sealer::generate_base64().to_string()
            })?;
            Sealer::from_base64(text.expose())?
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

/// The content of a file, which is made with mode 0600 where there is none. Two processes that start together agree on
/// one: whoever creates the file writes it.
pub fn kept(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<Secret> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(mut file) => {
            let text = make();
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| path.display().to_string())?;
            Ok(Secret::new(text))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut text = String::new();
            File::open(path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .with_context(|| path.display().to_string())?;
            if text.trim().is_empty() {
                bail!(
                    "{} is empty: delete it if nothing was sealed or signed with it yet",
                    path.display()
                );
            }
            Ok(Secret::new(text.trim()))
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_generated_secret_is_kept_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let first = kept(&path, || "first".to_owned()).unwrap();
        let second = kept(&path, || "second".to_owned()).unwrap();
        assert_eq!((first.expose(), second.expose()), ("first", "first"));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "").unwrap();
        assert!(kept(&path, || "third".to_owned()).is_err());
    }
}
