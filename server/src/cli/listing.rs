//! Lists on the command line: what narrows them, and how they are shown.

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    client::Target,
    output::{self, OutputArg},
};

/// The words of a list's query.
pub type Words = Vec<(&'static str, Option<String>)>;

/// What a list is narrowed by, and how it is shown.
pub trait Narrowed {
    /// Both apart.
    fn parts(self) -> (Words, ListArgs);
}

/// A list of everything.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

impl Narrowed for ListArgs {
    fn parts(self) -> (Words, ListArgs) {
        (Vec::new(), self)
    }
}

/// A list that can be narrowed to one tenant.
#[derive(Debug, Args)]
pub struct OwnedArgs {
    /// Only this tenant's own.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

impl Narrowed for OwnedArgs {
    fn parts(self) -> (Words, ListArgs) {
        (vec![("tenant", self.tenant)], self.list)
    }
}

/// A list of things that have names.
#[derive(Debug, Args)]
pub struct NamedArgs {
    /// Only those with this in the name (of people in the address), whatever the case of its letters (on SQLite of the ASCII
    /// ones).
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only what is switched on, or off.
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// In this order; with `-` from the end.
    #[arg(long, allow_hyphen_values = true, value_parser = ["name", "-name", "created_at", "-created_at"])]
    sort: Option<String>,
    #[command(flatten)]
    list: OwnedArgs,
}

impl NamedArgs {
    /// Whether the order is left to whoever shows the list.
    pub(super) fn is_unsorted(&self) -> bool {
        self.sort.is_none()
    }
}

impl Narrowed for NamedArgs {
    fn parts(self) -> (Words, ListArgs) {
        let (mut words, list) = self.list.parts();
        words.push(("q", self.search));
        words.push(("enabled", self.enabled.map(|on| on.to_string())));
        words.push(("sort", self.sort));
        (words, list)
    }
}

/// A list, shown in the order in which it comes.
pub(super) async fn show<T: Serialize + DeserializeOwned>(
    path: &str,
    args: impl Narrowed,
    columns: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    // All are alike: they stay as they are.
    show_sorted(path, args, columns, |_| (), row).await
}

/// The same in another order.
pub(super) async fn show_sorted<T: Serialize + DeserializeOwned, K: Ord>(
    path: &str,
    args: impl Narrowed,
    columns: &[&str],
    key: impl Fn(&T) -> K,
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    let (words, args) = args.parts();
    let words: Vec<(&str, Option<&str>)> = words
        .iter()
        .map(|(word, value)| (*word, value.as_deref()))
        .collect();
    let mut items: Vec<T> = args.target.client()?.list(path, &words).await?;
    items.sort_by_cached_key(key);
    output::list(args.output.output, &items, columns, row)
}
