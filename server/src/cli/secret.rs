//! What commands about proxy keys and service tokens share: one of them is named by its id, and the value of a new one is shown
//! once.

use awc::http::Method;
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use super::{
    client::Target,
    output::{self, Format},
};

/// A kind of secret that management makes.
pub struct Kind {
    /// Where it stands in the management API.
    pub path: &'static str,
    /// At the beginning of a sentence.
    pub name: &'static str,
}

/// A command about one of them.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Its id, as the list shows it.
    id: Uuid,
    #[command(flatten)]
    target: Target,
}

impl Kind {
    /// Makes one, and shows its value: in a table that alone stands on standard output, so that a script can take it. Of what was
    /// made, `shown` gives the value and what to say of it.
    pub async fn create<T: Serialize + DeserializeOwned>(
        &self,
        target: Target,
        order: &impl Serialize,
        format: Format,
        columns: &[&str],
        shown: impl Fn(&T) -> Shown,
    ) -> anyhow::Result<()> {
        let client = target.client()?;
        let answer = client.send_json(Method::POST, self.path, order).await?;
        let made: T = answer.json()?;
        if format != Format::Table {
            return output::list(format, &[made], columns, |made| shown(made).cells);
        }
        let shown = shown(&made);
        let said = format!(
            "{} {} is made; its value is shown this once:",
            self.name, shown.what
        );
        eprintln!("{}", output::printable(&said));
        output::print(&format!("{}\n", output::printable(&shown.value)))
    }

    /// Switches one on or off.
    pub async fn switch(&self, args: OneArgs, enabled: bool) -> anyhow::Result<()> {
        let path = format!("{}/{}", self.path, args.id);
        let patch = json!({"enabled": enabled});
        let client = args.target.client()?;
        client.send_json(Method::PATCH, &path, &patch).await?;
        let state = if enabled { "enabled" } else { "disabled" };
        output::print(&format!("{} {} is {state}.\n", self.name, args.id))
    }

    /// Deletes one.
    pub async fn delete(&self, args: OneArgs) -> anyhow::Result<()> {
        let path = format!("{}/{}", self.path, args.id);
        args.target.client()?.delete(&path).await?;
        output::print(&format!("{} {} is deleted.\n", self.name, args.id))
    }
}

/// What is shown of a new one.
pub struct Shown {
    /// Its name and whose it is.
    pub what: String,
    pub value: String,
    /// Under the columns.
    pub cells: Vec<String>,
}
