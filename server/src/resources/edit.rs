//! One thing made or changed on its own: by the rules of a file that has nothing else in it.
//!
//! Only a [`Slice`] of what is stored is read for it, in the transaction that writes. Whoever wants to change a thing's name
//! does so in the picture that the file is laid over, since a file knows things by their names.

use std::collections::HashMap;

use sea_orm::DatabaseTransaction;
use weir_api_types::{apply::GeneratedKey, problem::FieldError, resources::Resources};

use super::{Error, Picture, apply, merge, plan};
use crate::{
    access::Author,
    clock::now_ms,
    secrets::Sealer,
    store::{self, Change, Stores, audit::Done, catalog::Slice},
    tenancy::key::Digest,
};

/// A change of one thing under way. Dropped before [`Edit::lay`] is through, nothing has happened.
pub struct Edit<'a> {
    change: Change,
    sealer: &'a Sealer,
    author: &'a Author,
    hints: HashMap<Digest, String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Laid {
    /// The slice as it is now.
    pub picture: Picture,
    /// The value of a key that was made without one.
    pub generated: Option<GeneratedKey>,
    /// The version of the catalog that has it.
    pub version: i64,
    /// Whether anything is another now.
    pub is_changed: bool,
}

impl<'a> Edit<'a> {
    /// Begins; waits while another change is under way.
    pub async fn begin(
        stores: &Stores,
        sealer: &'a Sealer,
        author: &'a Author,
    ) -> Result<Self, store::Error> {
        Ok(Self {
            change: Change::begin(stores).await?,
            sealer,
            author,
            hints: HashMap::new(),
        })
    }

    /// For questions whose answers nobody may change meanwhile.
    pub fn db(&self) -> &DatabaseTransaction {
        self.change.transaction()
    }

    /// The masked beginning of a key's new value, which the picture knows by its digest alone.
    pub fn brings(&mut self, digest: Digest, hint: String) {
        self.hints.insert(digest, hint);
    }

    /// What is stored of a slice.
    pub async fn read(&self, slice: &Slice) -> Result<Picture, Error> {
        apply::read_slice(self.db(), slice, self.sealer).await
    }

    /// Lays a file of one thing over a picture that [`Edit::read`] gave, in which a name may have been changed since, and writes
    /// what differs. `place` is where the thing stands in the file: errors are told without it.
    pub async fn lay(
        self,
        before: &Picture,
        renamed: &Picture,
        file: &Resources,
        place: &str,
    ) -> Result<Laid, Error> {
        self.lay_if::<Error>(before, renamed, file, place, async |_| Ok(()))
            .await
    }

    /// The same, and `check` may still refuse what has been written.
    pub async fn lay_if<E: From<Error> + From<store::Error>>(
        mut self,
        before: &Picture,
        renamed: &Picture,
        file: &Resources,
        place: &str,
        check: impl AsyncFnOnce(&DatabaseTransaction) -> Result<(), E>,
    ) -> Result<Laid, E> {
        let now_ms = now_ms();
        let merged = merge::merge(renamed, file, false, now_ms);
        let mut merged = merged.map_err(|errors| Error::Refused(without(place, errors)))?;
        merged.hints.extend(std::mem::take(&mut self.hints));
        let changes = plan::changes(before, &merged.picture);
        apply::write(&mut self.change, self.sealer, before, &merged, now_ms).await?;
        check(self.change.transaction()).await?;
        let record = apply::record(
            &self.change,
            self.sealer,
            self.author,
            before,
            &merged,
            &changes,
        );
        record.await?;
        Ok(Laid {
            version: self.change.commit().await?,
            generated: merged.generated.pop(),
            picture: merged.picture,
            is_changed: !changes.is_empty(),
        })
    }
}

impl Edit<'_> {
    /// Deletes one thing, by a function that also names what goes along. Returns the version of the catalog that misses it.
    pub async fn delete<E: From<store::Error>>(
        mut self,
        done: &[Done],
        delete: impl AsyncFnOnce(&mut Change) -> Result<(), E>,
    ) -> Result<i64, E> {
        delete(&mut self.change).await?;
        let db = self.change.transaction();
        store::audit::append(db, self.sealer, self.author, done).await?;
        Ok(self.change.commit().await?)
    }
}

/// The order's own paths instead of the file's.
fn without(place: &str, mut errors: Vec<FieldError>) -> Vec<FieldError> {
    for error in &mut errors {
        if let Some(path) = error.path.strip_prefix(place) {
            error.path = path.trim_start_matches('.').to_owned();
        }
    }
    errors
}
