//! Files that hold one secret, for their owner alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::secrets::Secret;

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

/// Writes a file anew. Whoever reads it meanwhile reads it as it was, or as it is; its owner and mode stay.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    Beside::write(path, text)?.put()
}

/// What a file is to hold, written beside it and not yet there. Dropped, it is gone.
pub struct Beside {
    beside: PathBuf,
    path: PathBuf,
}

impl Beside {
    pub fn write(path: &Path, text: &str) -> io::Result<Self> {
        let there = match std::fs::metadata(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        let path = path.to_owned();
        let written = Self { beside, path };
        file.write_all(text.as_bytes())?;
        // Whoever could read it can read it.
        if let Some(there) = there {
            chown(&written.beside, Some(there.uid()), Some(there.gid()))?;
            std::fs::set_permissions(&written.beside, there.permissions())?;
        }
        file.sync_all()?;
        Ok(written)
    }

    /// Puts it in the file's place.
    pub fn put(self) -> io::Result<()> {
        std::fs::rename(&self.beside, &self.path)?;
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::error!(%error, path = %self.beside.display(), "a secret stays in a file");
            }
            _ => {}
        }
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
        drop(Beside::write(&path, "lost").unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        replace(&path, "fourth").unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(kept(&path, String::new).unwrap().expose(), "fourth");
    }
}
