//! `weir channels|models|tenants|groups|roles|users` and `weir instances`.

use clap::{Args, Subcommand};
use weir_api_types::{
    manage::{
        ChannelItem, CredentialItem, CredentialState, GroupItem, InstanceItem, ModelItem, RoleItem,
        TenantItem, UserItem,
    },
    sign_in::IdentityProviderItem,
    system::ProviderItem,
};

use super::{
    client::with_query,
    credentials,
    listing::{ListArgs, NamedArgs, Narrowed, Words, show, show_sorted},
    system,
    things::{self, Kind, OneArgs},
};

/// Channels, as the command line deals with them.
pub const CHANNELS: Kind = Kind {
    path: "/v1/admin/channels",
    name: "channel",
    named_by: "name",
    names_its_tenant: false,
};

/// Models, as the command line deals with them.
pub const MODELS: Kind = Kind {
    path: "/v1/admin/models",
    name: "model",
    named_by: "name",
    names_its_tenant: false,
};

/// Tenants, as the command line deals with them.
pub const TENANTS: Kind = Kind {
    path: "/v1/admin/tenants",
    name: "tenant",
    named_by: "name",
    names_its_tenant: false,
};

/// Groups, as the command line deals with them.
pub const GROUPS: Kind = Kind {
    path: "/v1/admin/groups",
    name: "group",
    named_by: "name",
    names_its_tenant: false,
};

/// Roles of tenants' own, as the command line deals with them.
pub const ROLES: Kind = Kind {
    path: "/v1/admin/roles",
    name: "role",
    named_by: "name",
    names_its_tenant: false,
};

/// Identity providers, as the command line deals with them.
pub const IDENTITY_PROVIDERS: Kind = Kind {
    path: "/v1/admin/identity-providers",
    name: "identity provider",
    named_by: "name",
    names_its_tenant: false,
};

/// Users, as the command line deals with them.
pub const USERS: Kind = Kind {
    path: "/v1/admin/users",
    name: "user",
    named_by: "email",
    names_its_tenant: true,
};

/// What can be done with channels.
#[derive(Debug, Subcommand)]
pub enum Channels {
    /// List channels, with the state of their credentials.
    List(NamedArgs),
    #[command(flatten)]
    One(things::Command),
    /// What would go, or be missed, with a channel.
    Impact(things::OneArgs),
    /// The pool of secrets that a channel is called with.
    #[command(subcommand)]
    Credentials(credentials::Command),
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// List models, with their routes.
    List(NamedArgs),
    /// What the platform grants a tenant: its models with what they cost, and its channels.
    Granted(GrantedArgs),
    #[command(flatten)]
    One(things::Command),
    /// What would go, or be missed, with a model.
    Impact(things::OneArgs),
}

/// `weir models granted`
#[derive(Debug, Args)]
pub struct GrantedArgs {
    /// Which tenant; that of the token if not given.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    one: system::OneArgs,
}

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List tenants.
    List(NamedArgs),
    #[command(flatten)]
    One(things::Command),
    /// What would go, or be missed, with a tenant.
    Impact(things::OneArgs),
}

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub enum Groups {
    /// List groups.
    List(NamedArgs),
    #[command(flatten)]
    One(things::Command),
    /// What would go, or be missed, with a group.
    Impact(things::OneArgs),
}

/// What can be done with roles.
#[derive(Debug, Subcommand)]
pub enum Roles {
    /// List the roles that tenants have made.
    List(NamedArgs),
    /// Show every permission there is, and the roles that are built in.
    Permissions(system::OneArgs),
    #[command(flatten)]
    One(things::Command),
    /// Who has a role, and keeps it from going.
    Impact(things::OneArgs),
}

/// What can be done with identity providers.
#[derive(Debug, Subcommand)]
pub enum IdentityProviders {
    /// List identity providers.
    List(NamedArgs),
    #[command(flatten)]
    One(things::Command),
}

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List users, with their roles.
    List(UsersArgs),
    #[command(flatten)]
    One(things::Command),
    /// Make a link that works once, with which somebody sets a password.
    ResetLink(OneArgs),
    /// End all sessions of somebody.
    SignOut(OneArgs),
    /// Somebody's second factor.
    #[command(subcommand)]
    SecondFactor(Factor),
    /// What would go, or be missed, with somebody.
    Impact(things::OneArgs),
}

/// What can be done with somebody's second factor.
#[derive(Debug, Subcommand)]
pub enum Factor {
    /// Ask somebody for none any longer, who has lost theirs; all their sessions end.
    Remove(OneArgs),
}

/// A list of people.
#[derive(Debug, Args)]
pub struct UsersArgs {
    /// Only those who have this role in the tenant, or in any.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    #[command(flatten)]
    list: NamedArgs,
}

impl Narrowed for UsersArgs {
    fn parts(self) -> (Words, ListArgs) {
        let (mut words, list) = self.list.parts();
        words.push(("role", self.role));
        (words, list)
    }
}

/// `weir channels`
pub async fn channels(command: Channels) -> anyhow::Result<()> {
    match command {
        Channels::List(args) => list_channels(args).await,
        Channels::One(command) => CHANNELS.run(command).await,
        Channels::Impact(args) => CHANNELS.below(args, "impact").await,
        Channels::Credentials(command) => credentials::run(command).await,
    }
}

/// `weir models`
pub async fn models(command: Models) -> anyhow::Result<()> {
    match command {
        Models::List(args) => list_models(args).await,
        Models::Granted(args) => {
            let words = [("tenant", args.tenant.as_deref())];
            system::one(&with_query("/v1/admin/granted", &words), args.one).await
        }
        Models::One(command) => MODELS.run(command).await,
        Models::Impact(args) => MODELS.below(args, "impact").await,
    }
}

/// `weir tenants`
pub async fn tenants(command: Tenants) -> anyhow::Result<()> {
    match command {
        Tenants::List(args) => list_tenants(args).await,
        Tenants::One(command) => TENANTS.run(command).await,
        Tenants::Impact(args) => TENANTS.below(args, "impact").await,
    }
}

/// `weir groups`
pub async fn groups(command: Groups) -> anyhow::Result<()> {
    match command {
        Groups::List(args) => list_groups(args).await,
        Groups::One(command) => GROUPS.run(command).await,
        Groups::Impact(args) => GROUPS.below(args, "impact").await,
    }
}

/// `weir roles`
pub async fn roles(command: Roles) -> anyhow::Result<()> {
    match command {
        Roles::List(args) => list_roles(args).await,
        Roles::Permissions(args) => system::one("/v1/admin/permissions", args).await,
        Roles::One(command) => ROLES.run(command).await,
        Roles::Impact(args) => ROLES.below(args, "impact").await,
    }
}

/// `weir identity-providers`
pub async fn identity_providers(command: IdentityProviders) -> anyhow::Result<()> {
    match command {
        IdentityProviders::List(args) => list_identity_providers(args).await,
        IdentityProviders::One(command) => IDENTITY_PROVIDERS.run(command).await,
    }
}

/// `weir users`
pub async fn users(command: Users) -> anyhow::Result<()> {
    match command {
        Users::List(args) => list_users(args).await,
        Users::One(command) => USERS.run(command).await,
        Users::Impact(args) => USERS.below(args, "impact").await,
        Users::ResetLink(args) => {
            let nothing = serde_json::json!({});
            USERS.act(args, "reset-link", &nothing).await
        }
        Users::SignOut(args) => {
            let (now, words) = (("signed_out", true), "is signed out everywhere");
            USERS.delete_below(args, "sessions", now, words).await
        }
        Users::SecondFactor(Factor::Remove(args)) => {
            let now = ("second_factor", false);
            let words = "is asked for no second factor any longer";
            USERS.delete_below(args, "second-factor", now, words).await
        }
    }
}

async fn list_channels(args: NamedArgs) -> anyhow::Result<()> {
    let columns = [
        "tenant",
        "name",
        "kind",
        "base_url",
        "enabled",
        "credentials",
    ];
    show(CHANNELS.path, args, &columns, |item: &ChannelItem| {
        let credentials: Vec<String> = item.credentials.iter().map(credential).collect();
        vec![
            item.tenant.clone().unwrap_or_default(),
            item.name.clone(),
            item.kind.as_str().to_owned(),
            item.base_url.clone(),
            item.enabled.to_string(),
            credentials.join("; "),
        ]
    })
    .await
}

async fn list_models(args: NamedArgs) -> anyhow::Result<()> {
    let columns = ["tenant", "name", "enabled", "routes", "capabilities"];
    show(MODELS.path, args, &columns, |item: &ModelItem| {
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
    })
    .await
}

async fn list_tenants(args: NamedArgs) -> anyhow::Result<()> {
    let columns = ["id", "name", "enabled", "time_zone", "created"];
    show(TENANTS.path, args, &columns, |item: &TenantItem| {
        vec![
            item.id.to_string(),
            item.name.clone(),
            item.enabled.to_string(),
            item.time_zone.clone(),
            item.created_at.clone(),
        ]
    })
    .await
}

async fn list_groups(args: NamedArgs) -> anyhow::Result<()> {
    let columns = ["id", "tenant", "name", "members", "created"];
    show(GROUPS.path, args, &columns, |item: &GroupItem| {
        vec![
            item.id.to_string(),
            item.tenant.clone(),
            item.name.clone(),
            item.members.to_string(),
            item.created_at.clone(),
        ]
    })
    .await
}

async fn list_roles(args: NamedArgs) -> anyhow::Result<()> {
    let columns = ["id", "tenant", "name", "holders", "permissions"];
    show(ROLES.path, args, &columns, |item: &RoleItem| {
        vec![
            item.id.to_string(),
            item.tenant.clone(),
            item.name.clone(),
            item.holders.to_string(),
            item.permissions.join(" "),
        ]
    })
    .await
}

async fn list_identity_providers(args: NamedArgs) -> anyhow::Result<()> {
    let columns = ["id", "tenant", "name", "issuer", "enabled"];
    show(
        IDENTITY_PROVIDERS.path,
        args,
        &columns,
        |item: &IdentityProviderItem| {
            vec![
                item.id.to_string(),
                item.tenant.clone().unwrap_or_default(),
                item.name.clone(),
                item.issuer.clone(),
                item.enabled.to_string(),
            ]
        },
    )
    .await
}

async fn list_users(args: UsersArgs) -> anyhow::Result<()> {
    let columns = ["email", "name", "department", "enabled", "tenants"];
    show(USERS.path, args, &columns, |item: &UserItem| {
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
    })
    .await
}

/// `weir providers`
pub async fn providers(args: NamedArgs) -> anyhow::Result<()> {
    let columns = [
        "tenant",
        "name",
        "kind",
        "enabled",
        "up",
        "requests",
        "errors",
        "success_rate",
        "p95_ms",
    ];
    show(
        "/v1/admin/providers",
        args,
        &columns,
        |item: &ProviderItem| {
            let rate = item.success_rate.map(|rate| rate.to_string());
            let p95 = item.total_ms.map(|times| times.p95.to_string());
            vec![
                item.tenant.clone().unwrap_or_default(),
                item.name.clone(),
                item.kind.as_str().to_owned(),
                item.enabled.to_string(),
                item.up.to_string(),
                item.requests.map(|n| n.to_string()).unwrap_or_default(),
                item.errors.map(|n| n.to_string()).unwrap_or_default(),
                rate.unwrap_or_default(),
                p95.unwrap_or_default(),
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
    show_sorted(
        "/v1/admin/instances",
        args,
        &columns,
        |item: &InstanceItem| (item.name.clone(), item.id),
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
