//! What commands about any kind of thing share: one is shown, made, changed and deleted, by its id or by its name.
//!
//! What a thing is made and changed with has the words of a configuration file, so there is no flag for each field: a whole
//! order comes in a file, single fields by `--set`, and what no server knows it refuses by name.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use awc::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    client::{Client, Target, with_query},
    exit::{Exit, Failure},
    output::{self, OutputArg},
    resources,
};

/// A kind of thing.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Where it stands in the management API.
    pub path: &'static str,
    /// What it is called within a sentence.
    pub name: &'static str,
    /// The field that names it.
    pub named_by: &'static str,
    /// Whether one may be in several tenants, so that a call about it says in which.
    pub names_its_tenant: bool,
}

/// What can be done with one thing of any kind.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show one, by its id or name.
    Show(OneArgs),
    /// Make one.
    Create(CreateArgs),
    /// Change fields of one.
    Change(ChangeArgs),
    /// Delete one, with all that belongs to it; its usage stays.
    Delete(OneArgs),
}

/// A command about one thing.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Its id, or its name.
    one: String,
    /// The tenant that it is in, where a name alone is not enough. People, who may be in several, are shown, changed or deleted in
    /// this one alone.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// An order, in the words of a configuration file.
#[derive(Debug, Args)]
pub struct OrderArgs {
    /// A field and its value in YAML, such as enabled=false or timeouts.idle=90s, which leaves the other timeouts; may be given
    /// again. Secrets belong in a file: what stands on a command line can be read by others on the machine.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// A file with fields, YAML or JSON, or - for standard input; ${VARIABLES} of the environment are put in.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// `weir … create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What to call it.
    #[arg(value_name = "NAME")]
    named: Option<String>,
    /// The tenant that it is for.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir … change`
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Its id, or its name.
    one: String,
    /// The tenant that it is in, where a name alone is not enough. People, who may be in several, are shown, changed or deleted in
    /// this one alone.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

impl Kind {
    /// Does what the command says.
    pub async fn run(&self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Show(args) => {
                let (client, id) = self.found(&args).await?;
                let path = self.place(&id, args.tenant.as_deref());
                output::one(args.output.output, &client.get(&path).await?.json()?)
            }
            Command::Create(args) => {
                let mut order = args.order.read()?;
                let own = [(self.named_by, args.named), ("tenant", args.tenant)];
                for (field, value) in own {
                    if let Some(value) = value {
                        order.insert(field.to_owned(), value.into());
                    }
                }
                let client = args.target.client()?;
                let answer = client.send_json(Method::POST, self.path, &order).await?;
                output::one(args.output.output, &answer.json()?)
            }
            Command::Change(args) => {
                let order = args.order.read_change()?;
                let (client, tenant) = (args.target.client()?, args.tenant.as_deref());
                let id = self.id_of(&client, tenant, &args.one).await?;
                let path = self.place(&id, tenant);
                let changed = order.send(&client, &path).await?;
                output::one(args.output.output, &changed)
            }
            Command::Delete(args) => {
                let (client, id) = self.found(&args).await?;
                let tenant = args.tenant.as_deref();
                client.delete(&self.place(&id, tenant)).await?;
                let words = match tenant.filter(|_| self.names_its_tenant) {
                    Some(tenant) => format!("is taken out of {tenant}"),
                    None => "is deleted".to_owned(),
                };
                self.tell(&args, &id, ("deleted", true), &words)
            }
        }
    }

    /// Does something with one thing below its path, and shows the answer.
    pub async fn act(&self, args: OneArgs, below: &str, order: &Value) -> anyhow::Result<()> {
        let (client, id) = self.found(&args).await?;
        let path = format!("{}/{id}/{below}", self.path);
        let answer = client.send_json(Method::POST, &path, order).await?;
        output::one(args.output.output, &answer.json()?)
    }

    /// Shows what stands below one thing's path.
    pub async fn below(&self, args: OneArgs, below: &str) -> anyhow::Result<()> {
        let (client, id) = self.found(&args).await?;
        let path = format!("{}/{id}/{below}", self.path);
        output::one(args.output.output, &client.get(&path).await?.json()?)
    }

    /// Deletes what stands below one thing's path, and tells what the thing is then.
    pub async fn delete_below(
        &self,
        args: OneArgs,
        below: &str,
        now: (&str, bool),
        words: &str,
    ) -> anyhow::Result<()> {
        let (client, id) = self.found(&args).await?;
        let path = format!("{}/{id}/{below}", self.path);
        client.delete(&path).await?;
        self.tell(&args, &id, now, words)
    }

    /// Switches one on or off.
    pub async fn switch(&self, args: OneArgs, enabled: bool) -> anyhow::Result<()> {
        let (client, id) = self.found(&args).await?;
        let path = format!("{}/{id}", self.path);
        let order = json!({ "enabled": enabled });
        client.send_json(Method::PATCH, &path, &order).await?;
        let words = if enabled { "is enabled" } else { "is disabled" };
        self.tell(&args, &id, ("enabled", enabled), words)
    }

    /// Tells what one is now: a field, and words.
    fn tell(
        &self,
        args: &OneArgs,
        id: &str,
        (field, value): (&str, bool),
        words: &str,
    ) -> anyhow::Result<()> {
        let now = json!({ "id": id, field: value });
        let words = format!("{} {} {words}.\n", self.name, args.one);
        output::done(args.output.output, &now, &words)
    }

    /// Where one stands that is shown, changed or deleted. Without the tenant somebody would be deleted in all of theirs.
    fn place(&self, id: &str, tenant: Option<&str>) -> String {
        let tenant = tenant.filter(|_| self.names_its_tenant);
        with_query(&format!("{}/{id}", self.path), &[("tenant", tenant)])
    }

    /// The client of a command about one thing, and the thing's id.
    async fn found(&self, args: &OneArgs) -> anyhow::Result<(Client, String)> {
        let (client, tenant) = (args.target.client()?, args.tenant.as_deref());
        let id = self.id_of(&client, tenant, &args.one).await?;
        Ok((client, id))
    }

    /// The path of the one that an id or a name means.
    pub async fn path_of(
        &self,
        client: &Client,
        tenant: Option<&str>,
        one: &str,
    ) -> anyhow::Result<String> {
        let id = self.id_of(client, tenant, one).await?;
        Ok(format!("{}/{id}", self.path))
    }

    async fn id_of(
        &self,
        client: &Client,
        tenant: Option<&str>,
        one: &str,
    ) -> anyhow::Result<String> {
        if let Ok(id) = one.parse::<Uuid>() {
            return Ok(id.to_string());
        }
        let things: Vec<Value> = client.list(self.path, &[("tenant", tenant)]).await?;
        let is_it = |thing: &&Value| {
            let name = thing.get(self.named_by).and_then(Value::as_str);
            // Addresses are kept in small letters, names as they are.
            let lowered = || self.named_by == "email";
            name.is_some_and(|name| name == one || (lowered() && name == one.to_lowercase()))
        };
        let ids: Vec<&str> = things
            .iter()
            .filter(is_it)
            .filter_map(|thing| thing.get("id")?.as_str())
            .collect();
        match ids.as_slice() {
            [id] => Ok((*id).to_owned()),
            [] => {
                let said = format!("there is no {} {one:?}", self.name);
                bail!(Failure::new(Exit::Absent, said))
            }
            ids => bail!(
                "{one:?} is the name of more than one {}: say --tenant, or give an id of {}",
                self.name,
                ids.join(", ")
            ),
        }
    }
}

impl OrderArgs {
    /// All fields: the file's, and over them the single ones.
    pub fn read(&self) -> anyhow::Result<Map<String, Value>> {
        Ok(self.read_change()?.fields)
    }

    /// The same, for something that is there.
    pub fn read_change(&self) -> anyhow::Result<ChangeOrder> {
        let mut fields = match &self.file {
            Some(file) => from_file(file)?,
            None => Map::new(),
        };
        let mut whole: BTreeSet<String> = fields.keys().cloned().collect();
        let mut in_part = BTreeSet::new();
        for set in &self.set {
            let (path, value) = set
                .split_once('=')
                .with_context(|| format!("--set {set:?} is no FIELD=VALUE"))?;
            let value: Value = serde_yaml_ng::from_str(value)
                .with_context(|| format!("--set {path}: the value is no YAML"))?;
            put(&mut fields, path, value)?;
            match path.split_once('.') {
                Some((field, _)) if !whole.contains(field) => in_part.insert(field.to_owned()),
                Some(_) => false,
                None => {
                    in_part.remove(path);
                    whole.insert(path.to_owned())
                }
            };
        }
        Ok(ChangeOrder { fields, in_part })
    }
}

/// A change of something that is there.
#[derive(Debug)]
pub struct ChangeOrder {
    fields: Map<String, Value>,
    /// Those of which only a part is set.
    in_part: BTreeSet<String>,
}

impl ChangeOrder {
    /// Orders it of what is at a path, and returns what that is then. To the server a field is the whole truth: where a part of one
    /// is set, the rest is sent as it is now, and nothing is changed if somebody else does meanwhile.
    pub async fn send(mut self, client: &Client, path: &str) -> anyhow::Result<Value> {
        if self.fields.is_empty() {
            bail!("say what to change, by --set or --file");
        }
        let mut tag = None;
        if !self.in_part.is_empty() {
            let answer = client.get(path).await?;
            tag = answer.tag();
            let now: Map<String, Value> = answer.json()?;
            for field in &self.in_part {
                let mut whole = match now.get(field) {
                    None | Some(Value::Null) => continue,
                    // No prices yet, say: what is set is all there is.
                    Some(Value::Array(list)) if list.is_empty() => continue,
                    Some(now @ Value::Object(_)) => now.clone(),
                    Some(_) => bail!("{field} is a list now: set it as a whole"),
                };
                if let Some(set) = self.fields.remove(field) {
                    lay(&mut whole, set);
                }
                self.fields.insert(field.clone(), whole);
            }
        }
        client.patch(path, &self.fields, tag).await?.json()
    }
}

fn from_file(file: &Path) -> anyhow::Result<Map<String, Value>> {
    match resources::read_expanding(file)? {
        Value::Object(fields) => Ok(fields),
        _ => bail!("{} is no list of fields", file.display()),
    }
}

/// Lays what is set over what there is.
fn lay(now: &mut Value, set: Value) {
    match (now, set) {
        (Value::Object(now), Value::Object(set)) => {
            for (field, value) in set {
                lay(now.entry(field).or_insert(Value::Null), value);
            }
        }
        (now, set) => *now = set,
    }
}

/// Puts a value at a path such as `timeouts.idle`.
fn put(order: &mut Map<String, Value>, path: &str, value: Value) -> anyhow::Result<()> {
    let (field, rest) = match path.split_once('.') {
        Some((field, rest)) => (field, Some(rest)),
        None => (path, None),
    };
    if field.is_empty() {
        bail!("--set {path:?} names no field");
    }
    let Some(rest) = rest else {
        order.insert(field.to_owned(), value);
        return Ok(());
    };
    let within = order
        .entry(field)
        .or_insert_with(|| Value::Object(Map::new()));
    match within {
        Value::Object(within) => put(within, rest, value),
        _ => bail!("--set {path:?}: {field} has a value already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        bounds::{BUDGETS, LIMITS},
        lists::{CHANNELS, GROUPS, IDENTITY_PROVIDERS, MODELS, ROLES, TENANTS, USERS},
    };

    fn read(set: &[&str]) -> anyhow::Result<Value> {
        let args = OrderArgs {
            set: set.iter().map(|set| (*set).to_owned()).collect(),
            file: None,
        };
        Ok(Value::Object(args.read()?))
    }

    #[test]
    fn people_alone_are_meant_in_the_tenant_that_is_named() {
        let acme = Some("acme & co");
        assert_eq!(
            USERS.place("0", acme),
            "/v1/admin/users/0?tenant=acme%20%26%20co"
        );
        assert_eq!(USERS.place("0", None), "/v1/admin/users/0");
        for kind in [
            CHANNELS,
            MODELS,
            TENANTS,
            GROUPS,
            ROLES,
            IDENTITY_PROVIDERS,
            LIMITS,
            BUDGETS,
        ] {
            assert_eq!(kind.place("0", acme), format!("{}/0", kind.path));
        }
    }

    #[test]
    fn fields_are_set_one_by_one_and_within_each_other() {
        let order = read(&[
            "enabled=false",
            "timeouts.idle=90s",
            "timeouts.connect=5s",
            "models=[gpt-*, \"o3\"]",
            "user=null",
            "name=a=b",
        ]);
        assert_eq!(
            order.expect("an order"),
            json!({
                "enabled": false,
                "timeouts": {"idle": "90s", "connect": "5s"},
                "models": ["gpt-*", "o3"],
                "user": null,
                "name": "a=b",
            })
        );
        for bad in [&["enabled"][..], &["=1"], &["a=1", "a.b=2"], &["a=[1"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
