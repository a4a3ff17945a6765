//! `weir operators`: the platform's own people.

use clap::Subcommand;
use weir_api_types::operators::OperatorItem;

use super::{
    listing::{NamedArgs, show},
    things::{self, Kind},
};

/// Operators, as the command line deals with them.
const OPERATORS: Kind = Kind {
    path: "/v1/admin/operators",
    name: "operator",
    named_by: "email",
    names_its_tenant: false,
};
const COLUMNS: &[&str] = &["id", "email", "name", "role", "enabled", "second factor"];

/// What can be done with operators.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List those who have a role on the platform.
    List(NamedArgs),
    #[command(flatten)]
    One(things::Command),
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => show(OPERATORS.path, args, COLUMNS, row).await,
        Command::One(command) => OPERATORS.run(command).await,
    }
}

fn row(item: &OperatorItem) -> Vec<String> {
    vec![
        item.id.to_string(),
        item.email.clone(),
        item.name.clone(),
        item.role.as_str().to_owned(),
        item.enabled.to_string(),
        item.second_factor.to_string(),
    ]
}
