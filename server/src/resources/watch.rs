//! The file that `serve --resources` names: applied at start, and with `--watch` again whenever it changes.
//!
//! Its directory is watched, since editors and Kubernetes put a new file in the old one's place, and the file is looked
//! at every 300 s besides, as no watch is sure. A file that is refused changes nothing; the log says why and where, and
//! the old configuration stays. What was changed by other ways meanwhile is not undone until the file itself changes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::Watcher as _;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;
use weir_api_types::{apply::Applied, problem::FieldError};

use super::{Error, Options, apply, apply::words, place, read};
use crate::{
    access::Author,
    secrets::Sealer,
    store::{self, Stores},
};

/// A look at the file without having been told.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Another try where the stores, not the file, were the reason.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A writer has finished when nothing has happened for so long.
const SETTLE: Duration = Duration::from_millis(100);
/// One that does not finish is not waited for longer than this.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);
/// As through the management API.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Why a file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: {cause}", path = path.display())]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("{path} is refused: {reasons}", path = path.display(), reasons = words(errors))]
    Refused {
        path: PathBuf,
        errors: Vec<FieldError>,
    },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{0}")]
    Broken(Error),
}

/// Applies a file, its variables from this process's environment. Without `--prune`: a server never deletes unasked.
pub async fn apply_file(
    stores: &Stores,
    sealer: &Sealer,
    path: &Path,
) -> Result<Applied, FileError> {
    apply_text(stores, sealer, path, &text(path).await?).await
}

/// Applies a file whenever it changes, until told to stop. It is taken as applied as it is now.
pub async fn watch(
    stores: Stores,
    sealer: Arc<Sealer>,
    path: PathBuf,
    shutdown: CancellationToken,
) {
    let told = Arc::new(Notify::new());
    let _watcher = watcher(&path, &told);
    let mut seen = text(&path).await.ok().map(|text| digest(&text));
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = told.notified() => settled(&told).await,
            () = time::sleep(pause) => {}
        }
        pause = look(&stores, &sealer, &path, &mut seen).await;
    }
}

/// Waits until the file is left alone: one that is written in place is empty or half there for a moment.
async fn settled(told: &Notify) {
    let until = time::Instant::now() + SETTLE_AT_MOST;
    while time::timeout(SETTLE, told.notified()).await.is_ok() && time::Instant::now() < until {}
}

/// Applies the file if it is another one than was seen last, and says when to look again.
async fn look(
    stores: &Stores,
    sealer: &Sealer,
    path: &Path,
    seen: &mut Option<[u8; 32]>,
) -> Duration {
    let text = match text(path).await {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!(%error, "the configuration file cannot be read; the configuration stays");
            return LOOK_EVERY;
        }
    };
    let now = digest(&text);
    if *seen == Some(now) {
        return LOOK_EVERY;
    }
    match apply_text(stores, sealer, path, &text).await {
        Ok(applied) => {
            let (changes, version) = (applied.changes.len(), applied.version);
            tracing::info!(changes, version, file = %path.display(), "configuration file applied");
            warn_of_unseen(&applied);
        }
        Err(error @ (FileError::Refused { .. } | FileError::Unreadable { .. })) => {
            tracing::error!(%error, "configuration file refused; the old configuration stays");
        }
        Err(error @ (FileError::Store(_) | FileError::Broken(_))) => {
            tracing::error!(%error, "configuration file not applied; it is tried again");
            return RETRY_AFTER;
        }
    }
    *seen = Some(now);
    LOOK_EVERY
}

/// A generated value belongs in no log; so nobody has seen it.
fn warn_of_unseen(applied: &Applied) {
    for key in &applied.generated {
        let (tenant, name) = (&key.tenant, &key.name);
        tracing::warn!(
            tenant,
            name,
            "a key was made with a value that nobody has seen; give it one in the file"
        );
    }
}

async fn apply_text(
    stores: &Stores,
    sealer: &Sealer,
    path: &Path,
    text: &str,
) -> Result<Applied, FileError> {
    let refused = |errors| FileError::Refused {
        path: path.to_owned(),
        errors,
    };
    let wanted = read::parse_expanding(text, &read::environment).map_err(refused)?;
    let author = Author::process("serve --resources");
    let applied = apply(stores, sealer, &author, &wanted, Options::default()).await;
    applied.map_err(|error| match error {
        Error::Refused(mut errors) => {
            place::add(text, &mut errors);
            refused(errors)
        }
        Error::Store(error) => FileError::Store(error),
        Error::Broken(_) => FileError::Broken(error),
    })
}

async fn text(path: &Path) -> Result<String, FileError> {
    let unreadable = |cause| FileError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if size > MAX_BYTES {
        let reason = format!("is larger than {MAX_BYTES} bytes");
        return Err(unreadable(std::io::Error::other(reason)));
    }
    tokio::fs::read_to_string(path).await.map_err(unreadable)
}

/// Told of anything in the file's directory: a name there may be what leads to the file. Where no watch can be had, the
/// look by the clock remains.
fn watcher(path: &Path, told: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let told = Arc::clone(told);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let watching = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too, and would be followed by another reading.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            told.notify_one();
        }
    })
    .and_then(|mut watcher| {
        watcher.watch(directory, notify::RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching
        .inspect_err(|error| {
            tracing::warn!(%error, "the configuration file's directory cannot be watched; it is looked at every 300 s");
        })
        .ok()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::stored;

    async fn models(stores: &Stores, sealer: &Sealer) -> Vec<String> {
        let stored = stored(stores, sealer).await.expect("an export");
        let models = stored.models.unwrap_or_default();
        models.into_iter().map(|model| model.name).collect()
    }

    async fn until(stores: &Stores, sealer: &Sealer, names: &[&str]) {
        let reached = async {
            while models(stores, sealer).await != names {
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = time::timeout(Duration::from_secs(10), reached).await;
        assert!(reached.is_ok(), "{names:?}");
    }

    #[actix_rt::test]
    async fn a_changed_file_is_applied_and_a_broken_one_changes_nothing() {
        let test = crate::store::testing::sqlite().await;
        let sealer = Arc::new(Sealer::new(&[7; 32]));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("platform.yaml");
        std::fs::write(&path, "models: [{name: a}]").expect("written");
        let applied = apply_file(&test.stores, &sealer, &path)
            .await
            .expect("applied");
        assert_eq!(applied.changes.len(), 1);
        let shutdown = CancellationToken::new();
        let watching = actix_rt::spawn(watch(
            test.stores.clone(),
            Arc::clone(&sealer),
            path.clone(),
            shutdown.clone(),
        ));
        time::sleep(Duration::from_millis(300)).await;
        // In the old one's place, as editors do it.
        let next = directory.path().join("next");
        std::fs::write(&next, "models: [{name: a}, {name: b}]").expect("written");
        std::fs::rename(&next, &path).expect("moved");
        until(&test.stores, &sealer, &["a", "b"]).await;
        std::fs::write(&path, "models: [{name: c}, {name: d, rules: []}]").expect("written");
        time::sleep(Duration::from_millis(500)).await;
        assert_eq!(models(&test.stores, &sealer).await, ["a", "b"]);
        std::fs::write(&path, "models: [{name: c}]").expect("written");
        until(&test.stores, &sealer, &["a", "b", "c"]).await;
        shutdown.cancel();
        watching.await.expect("the watch ends");
    }

    #[actix_rt::test]
    async fn a_refused_file_says_where() {
        let test = crate::store::testing::sqlite().await;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("platform.yaml");
        std::fs::write(&path, "models:\n  - name: a\n    colour: red\n").expect("written");
        let refused = apply_file(&test.stores, &Sealer::new(&[7; 32]), &path).await;
        let words = refused.expect_err("an unknown field").to_string();
        assert!(
            words.contains("platform.yaml is refused: line 3 column 5: unknown field `colour`"),
            "{words}"
        );
    }
}
