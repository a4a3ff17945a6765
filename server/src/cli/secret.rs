//! What commands about proxy keys and service tokens share: the value of a new one is shown once.

use awc::http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    client::Target,
    output::{self, Format},
    things::Kind,
};

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
        let what = format!("{} {}", self.name, shown.what);
        let Some(value) = shown.value else {
            let said = format!(
                "The {what} is made; its value is known to whoever gave it, or was shown before."
            );
            eprintln!("{}", output::printable(&said));
            return Ok(());
        };
        let said = format!("The {what} is made; its value is shown this once:");
        eprintln!("{}", output::printable(&said));
        output::print(&format!("{}\n", output::printable(&value)))
    }
}

/// What is shown of a new one.
pub struct Shown {
    /// Its name and whose it is.
    pub what: String,
    /// None: it was given as its digest, or the same order came before.
    pub value: Option<String>,
    /// Under the columns.
    pub cells: Vec<String>,
}
