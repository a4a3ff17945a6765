//! A file laid over the stored picture: out comes the wanted picture, or every reason why not.
//!
//! A field that is given is the whole truth of that field, one that is not stays. References may go to what the same
//! file makes, so owners come before what they own. With `prune`, a given collection also loses what it does not name.
//! Pure: the clock is passed in, ids are drawn at random, the stored picture stays as it is.

mod channels;
mod checks;
mod credentials;
mod keys;
mod limits;
mod models;
mod prune;
mod tenants;
mod users;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
};

pub use checks::{email, instant, line};
use weir_api_types::{apply::GeneratedKey, problem::FieldError, resources::Resources};

use super::Picture;
use crate::tenancy::{Scope, TenantId, key::Digest, name};

/// What the stored picture becomes.
#[derive(Debug, Default)]
pub struct Merged {
    pub picture: Picture,
    /// Masked beginnings of the keys' values that this file brought, by digest.
    pub hints: HashMap<Digest, String>,
    /// Values of the keys that were made without one, for the one answer that shows them.
    pub generated: Vec<GeneratedKey>,
}

/// What is said of a channel that is not there; and, to a tenant's people, of one that they are not granted.
pub const NO_CHANNEL: &str = "there is no channel of this name";

/// Lays a file over a picture.
pub fn merge(
    stored: &Picture,
    wanted: &Resources,
    prune: bool,
    now_ms: i64,
) -> Result<Merged, Vec<FieldError>> {
    let mut merge = Merge {
        stored,
        merged: Merged {
            picture: stored.clone(),
            ..Merged::default()
        },
        now_ms,
        errors: Vec::new(),
        scope: Vec::new(),
        people: BTreeMap::new(),
    };
    if let Some(platform) = &wanted.platform {
        merge.limits("platform", Scope::Platform, platform.limits.as_deref());
    }
    let tenants = merge.tenants(wanted.tenants.as_deref().unwrap_or_default());
    let named = merge.channels(wanted.channels.as_deref().unwrap_or_default());
    merge.models(wanted.models.as_deref().unwrap_or_default());
    merge.keys(&tenants);
    if prune {
        merge.prune(wanted, &tenants, &named);
    }
    merge.drop_unfounded();
    if merge.errors.is_empty() {
        Ok(merge.merged)
    } else {
        Err(merge.errors)
    }
}

/// A merge under way.
struct Merge<'a> {
    stored: &'a Picture,
    merged: Merged,
    now_ms: i64,
    errors: Vec<FieldError>,
    /// The tenants that the file names anywhere: what `prune` may look at besides the platform's own.
    scope: Vec<TenantId>,
    /// What the file said about people so far, by e-mail and field: the same person may stand in several tenants.
    people: BTreeMap<(String, &'static str), (String, String)>,
}

impl Merge<'_> {
    fn refuse(&mut self, path: impl Into<String>, message: impl Display) {
        self.errors.push(FieldError::new(path, message));
    }

    /// A result's value, or its error on record.
    fn accept<T, E: Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(path, error);
                None
            }
        }
    }

    /// A list's texts, each checked; those that are refused or stand there twice are on record.
    fn list<T: PartialEq, E: Display>(
        &mut self,
        path: &str,
        texts: &[String],
        check: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut list = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let path = format!("{path}[{at}]");
            match self.accept(&path, check(text)) {
                Some(value) if list.contains(&value) => self.refuse(path, "stands there twice"),
                Some(value) => list.push(value),
                None => {}
            }
        }
        list
    }

    /// Names of things in one collection, each in its stored form; `None` where one is refused or stands there twice.
    fn names<'n>(
        &mut self,
        names: impl Iterator<Item = (String, &'n str)>,
        check: impl Fn(&str) -> Result<String, name::Error>,
    ) -> Vec<Option<String>> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut checked = Vec::new();
        for (path, text) in names {
            let name = self.accept(&format!("{path}.name"), check(text));
            let earlier = name.as_ref().and_then(|name| seen.get(name)).cloned();
            if let Some(earlier) = earlier {
                self.refuse(
                    format!("{path}.name"),
                    format!("is the name of {earlier} too"),
                );
                checked.push(None);
                continue;
            }
            if let Some(name) = &name {
                seen.insert(name.clone(), path);
            }
            checked.push(name);
        }
        checked
    }

    /// The owner that a channel or model names: `None` is the platform. `Err` is on record.
    fn owner(&mut self, path: &str, tenant: Option<&str>) -> Result<Option<TenantId>, ()> {
        let Some(tenant) = tenant else {
            return Ok(None);
        };
        let path = format!("{path}.tenant");
        let name = self.accept(&path, name::normal(tenant)).ok_or(())?;
        match self.merged.picture.tenant_named(&name) {
            Some(id) => {
                self.scope.push(id);
                Ok(Some(id))
            }
            None => {
                self.refuse(path, "there is no tenant of this name");
                Err(())
            }
        }
    }
}
