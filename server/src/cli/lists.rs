//! `weir channels|models|tenants|users list`.

use clap::{Args, Subcommand};
use serde::{Serialize, de::DeserializeOwned};
use weir_api_types::manage::{
    ChannelItem, CredentialItem, CredentialState, InstanceItem, ModelItem, TenantItem, UserItem,
};

use super::{
    client::Target,
    output::{self, OutputArg},
};

/// What can be done with channels.
#[derive(Debug, Subcommand)]
pub enum Channels {
    /// List channels, with the state of their credentials.
    List(OwnedArgs),
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// List models, with their routes.
    List(OwnedArgs),
}

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List tenants.
    List(ListArgs),
}

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List users, with their roles.
    List(OwnedArgs),
}

/// A list of everything.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
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

/// `weir channels list`
pub async fn channels(args: OwnedArgs) -> anyhow::Result<()> {
    let columns = [
        "tenant",
        "name",
        "kind",
        "base_url",
        "enabled",
        "credentials",
    ];
    show(
        "/v1/admin/channels",
        args.tenant,
        args.list,
        &columns,
        |item: &ChannelItem| {
            let credentials: Vec<String> = item.credentials.iter().map(credential).collect();
            vec![
                item.tenant.clone().unwrap_or_default(),
                item.name.clone(),
                item.kind.as_str().to_owned(),
                item.base_url.clone(),
                item.enabled.to_string(),
                credentials.join("; "),
            ]
        },
    )
    .await
}

/// `weir models list`
pub async fn models(args: OwnedArgs) -> anyhow::Result<()> {
    let columns = ["tenant", "name", "enabled", "routes", "capabilities"];
    show(
        "/v1/admin/models",
        args.tenant,
        args.list,
        &columns,
        |item: &ModelItem| {
            let route = |route: &weir_api_types::resources::Route| {
                format!(
                    "{}:{}",
                    route.channel,
                    route.model.as_deref().unwrap_or_default()
                )
            };
            let routes: Vec<String> = item.routes.iter().map(route).collect();
            vec![
                item.tenant.clone().unwrap_or_default(),
                item.name.clone(),
                item.enabled.to_string(),
                routes.join(" "),
                item.capabilities.join(" "),
            ]
        },
    )
    .await
}

/// `weir tenants list`
pub async fn tenants(args: ListArgs) -> anyhow::Result<()> {
    let columns = ["id", "name", "enabled", "time_zone", "created"];
    show(
        "/v1/admin/tenants",
        None,
        args,
        &columns,
        |item: &TenantItem| {
            vec![
                item.id.to_string(),
                item.name.clone(),
                item.enabled.to_string(),
                item.time_zone.clone(),
                item.created_at.clone(),
            ]
        },
    )
    .await
}

/// `weir users list`
pub async fn users(args: OwnedArgs) -> anyhow::Result<()> {
    let columns = ["email", "name", "department", "enabled", "tenants"];
    show(
        "/v1/admin/users",
        args.tenant,
        args.list,
        &columns,
        |item: &UserItem| {
            let places = item.memberships.iter().map(|place| {
                let groups = place.groups.join("+");
                let groups = if groups.is_empty() {
                    groups
                } else {
                    format!(" ({groups})")
                };
                format!("{}: {}{groups}", place.tenant, place.role.as_str())
            });
            vec![
                item.email.clone(),
                item.name.clone(),
                item.department.clone(),
                item.enabled.to_string(),
                places.collect::<Vec<_>>().join("; "),
            ]
        },
    )
    .await
}

/// `weir instances`
pub async fn instances(args: ListArgs) -> anyhow::Result<()> {
    let columns = [
        "name", "version", "started", "silent", "catalog", "behind", "leads",
    ];
    show(
        "/v1/admin/instances",
        None,
        args,
        &columns,
        |item: &InstanceItem| {
            vec![
                item.name.clone(),
                item.version.clone(),
                item.started_at.clone(),
                format!("{} ms", item.silent_ms),
                item.catalog_version.to_string(),
                item.behind.to_string(),
                item.leads.to_string(),
            ]
        },
    )
    .await
}

/// A list that can be narrowed to one tenant, shown.
pub(super) async fn show_owned<T: Serialize + DeserializeOwned>(
    path: &str,
    args: OwnedArgs,
    columns: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    show(path, args.tenant, args.list, columns, row).await
}

/// The same in another order than that of the ids.
pub(super) async fn show_sorted<T: Serialize + DeserializeOwned, K: Ord>(
    path: &str,
    args: OwnedArgs,
    columns: &[&str],
    key: impl Fn(&T) -> K,
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    show_by(path, args.tenant, args.list, columns, key, row).await
}

async fn show<T: Serialize + DeserializeOwned>(
    path: &str,
    tenant: Option<String>,
    args: ListArgs,
    columns: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    // All are alike: they stay in the order in which they came.
    show_by(path, tenant, args, columns, |_| (), row).await
}

async fn show_by<T: Serialize + DeserializeOwned, K: Ord>(
    path: &str,
    tenant: Option<String>,
    args: ListArgs,
    columns: &[&str],
    key: impl Fn(&T) -> K,
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    let words = [("tenant", tenant.as_deref())];
    let mut items: Vec<T> = args.target.client()?.list(path, &words).await?;
    items.sort_by_cached_key(key);
    output::list(args.output.output, &items, columns, row)
}

fn credential(item: &CredentialItem) -> String {
    let state = match (&item.state, item.enabled) {
        (_, false) => "off".to_owned(),
        (CredentialState::Ready, _) => "ready".to_owned(),
        (CredentialState::SetAside { status }, _) => format!("set aside after {status}"),
        (CredentialState::Resting { until }, _) => format!("resting until {until}"),
        (CredentialState::Unusable, _) => "cannot be opened".to_owned(),
    };
    let name = item.name.as_deref().or(item.hint.as_deref());
    format!("{} {state}", name.unwrap_or("?"))
}
