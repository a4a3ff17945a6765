//! `weir keys`: proxy keys, one by one.

use clap::{Args, Subcommand};
use weir_api_types::{
    manage::KeyItem,
    orders::{Detail, Key, KeyDetail, Rotation},
    span::Span,
};

use super::{
    client::Target,
    listing::{ListArgs, NamedArgs, Narrowed, Words, show, show_sorted},
    output::OutputArg,
    secret::Shown,
    things::{self, ChangeArgs, Kind, OneArgs, OrderArgs},
};

const KIND: Kind = Kind {
    path: "/v1/admin/keys",
    name: "key",
    named_by: "name",
    names_its_tenant: false,
};

pub const COLUMNS: &[&str] = &[
    "id", "tenant", "name", "hint", "user", "group", "enabled", "expires",
];

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List keys.
    List(KeysArgs),
    /// Make a key; its value is shown this once.
    Create(CreateArgs),
    /// Refuse a key's calls, and cut its streams.
    Disable(OneArgs),
    /// Take a disabled key's calls again.
    Enable(OneArgs),
    /// Show a key, without its value.
    Show(OneArgs),
    /// Change fields of a key.
    Change(ChangeArgs),
    /// Give a key another value, shown this once; the one before stays valid for a while.
    Rotate(RotateArgs),
    /// Show all limits and budgets that a key's calls have to pass, and which binds.
    Bounds(OneArgs),
    /// Delete a key; its usage stays.
    Delete(OneArgs),
    /// What would go, or be missed, with a key.
    Impact(OneArgs),
}

/// `weir keys create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The tenant that pays.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// What to call it; unique in the tenant.
    #[arg(long)]
    name: String,
    /// The user it belongs to.
    #[arg(long, value_name = "EMAIL", conflicts_with = "group")]
    user: Option<String>,
    /// The group it belongs to: such a key outlives a leaver.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Models it may use, such as gpt-*; all that the tenant may use if not given.
    #[arg(long, value_delimiter = ',', value_name = "PATTERN")]
    models: Option<Vec<String>>,
    /// Networks it may be used from, such as 10.0.0.0/8.
    #[arg(long, value_delimiter = ',', value_name = "NETWORK")]
    ip_allow: Vec<String>,
    /// When it ends, such as 2027-12-31T00:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    expires_at: Option<String>,
    // Whatever else a key of a configuration file may have, such as the sha256 of one from elsewhere.
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir keys rotate`
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    pub one: OneArgs,
    /// How long the value before stays valid, at most 30d; an hour if not given.
    #[arg(long, value_name = "TIME")]
    grace: Option<Span>,
}

impl From<&RotateArgs> for Rotation {
    fn from(args: &RotateArgs) -> Self {
        Self {
            grace_seconds: args.grace.map(|grace| grace.0.as_secs() as u32),
        }
    }
}

/// A list of keys.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// Only those of the user with this address.
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// Only those of the group with this name.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    #[command(flatten)]
    list: NamedArgs,
}

impl Narrowed for KeysArgs {
    fn parts(self) -> (Words, ListArgs) {
        let (mut words, list) = self.list.parts();
        words.extend([("user", self.user), ("group", self.group)]);
        (words, list)
    }
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) if args.list.is_unsorted() => {
            let key = |item: &KeyItem| (item.tenant.clone(), item.name.clone());
            show_sorted(KIND.path, args, COLUMNS, key, row).await
        }
        Command::List(args) => show(KIND.path, args, COLUMNS, row).await,
        Command::Create(args) => create(args).await,
        Command::Disable(args) => KIND.switch(args, false).await,
        Command::Enable(args) => KIND.switch(args, true).await,
        Command::Show(args) => KIND.run(things::Command::Show(args)).await,
        Command::Change(args) => KIND.run(things::Command::Change(args)).await,
        Command::Rotate(args) => {
            let order = serde_json::to_value(Rotation::from(&args))?;
            KIND.act(args.one, "rotate", &order).await
        }
        Command::Bounds(args) => KIND.below(args, "bounds").await,
        Command::Delete(args) => KIND.run(things::Command::Delete(args)).await,
        Command::Impact(args) => KIND.below(args, "impact").await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let order = Key {
        tenant: Some(args.tenant),
        name: Some(args.name),
        user: args.user.map(Some),
        group: args.group.map(Some),
        models: args.models.map(Some),
        ip_allow: Some(args.ip_allow),
        expires_at: args.expires_at.map(Some),
        ..Key::default()
    };
    let mut whole = args.order.read()?;
    if let serde_json::Value::Object(fields) = serde_json::to_value(order)? {
        whole.extend(fields.into_iter().filter(|(_, value)| !is_empty(value)));
    }
    let (format, columns) = (args.output.output, ["id", "tenant", "name", "value"]);
    let shown = |made: &Detail<KeyDetail>| {
        let key = &made.thing.key;
        let tenant = key.tenant.clone().unwrap_or_default();
        let name = key.name.clone().unwrap_or_default();
        let value = key.value.as_ref().map(|value| value.expose().to_owned());
        let cell = value.clone().unwrap_or_default();
        Shown {
            what: format!("{name} of {tenant}"),
            value,
            cells: vec![made.id.to_string(), tenant, name, cell],
        }
    };
    KIND.create(args.target, &whole, format, &columns, shown)
        .await
}

fn is_empty(value: &serde_json::Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

pub fn row(key: &KeyItem) -> Vec<String> {
    vec![
        key.id.to_string(),
        key.tenant.clone(),
        key.name.clone(),
        key.hints.join(" "),
        key.user.clone().unwrap_or_default(),
        key.group.clone().unwrap_or_default(),
        key.enabled.to_string(),
        key.expires_at.clone().unwrap_or_default(),
    ]
}
