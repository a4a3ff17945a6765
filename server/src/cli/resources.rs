//! `apply`, `diff`, `export`, `validate`: configuration as code.
//!
//! Variables are looked up here, in the environment of whoever runs the command; the server never sees them.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, bail};
use awc::http::Method;
use serde::de::DeserializeOwned;
use weir_api_types::{
    apply::{Action, Applied, Change},
    problem::FieldError,
    resources::Resources,
};

use super::{
    Exit, FileArg,
    client::{Target, with_query},
    exit::Failure,
    output::{self, Format, OutputArg},
};
use crate::resources::read;

/// `weir apply`
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    file: FileArg,
    /// Delete named things that a given collection does not have.
    #[arg(long)]
    prune: bool,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir diff`
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    file: FileArg,
    /// Count what --prune would delete too.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir export`
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// YAML, or JSON.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
    #[command(flatten)]
    target: Target,
}

/// `weir validate`
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    file: FileArg,
}

/// Makes the platform match a file.
pub async fn apply(args: ApplyArgs) -> anyhow::Result<()> {
    let wanted = load(&args.file.file)?;
    let applied = send(&args.target, &wanted, args.prune, args.dry_run).await?;
    show(&applied, args.output.output)
}

/// Shows what applying a file would change.
pub async fn diff(args: DiffArgs) -> anyhow::Result<Exit> {
    let wanted = load(&args.file.file)?;
    let applied = send(&args.target, &wanted, args.prune, true).await?;
    show(&applied, args.output.output)?;
    Ok(if applied.changes.is_empty() {
        Exit::Done
    } else {
        Exit::Differs
    })
}

/// Writes the whole configuration.
pub async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let answer = args.target.client()?.get("/v1/admin/resources").await?;
    let resources: Resources = answer.json()?;
    let yaml = read::write(&resources)?;
    match args.output {
        Format::Yaml => output::print(&yaml),
        Format::Json => {
            // By way of the YAML, so that a variable's form is escaped here too.
            let document: serde_json::Value = serde_yaml_ng::from_str(&yaml)?;
            output::print(&(serde_json::to_string_pretty(&document)? + "\n"))
        }
        Format::Table | Format::Csv => bail!("an export is yaml or json"),
    }
}

/// Checks a file without a server. What only the stored configuration can tell, such as whether a channel exists that
/// the file does not make, is left to `diff`.
pub fn validate(args: &ValidateArgs) -> anyhow::Result<()> {
    load(&args.file.file)?;
    output::print("The file is well-formed, and all its variables are set.\n")
}

fn load(path: &Path) -> anyhow::Result<Resources> {
    read_expanding(path)
}

/// A file, or standard input for `-`, with the environment's variables put in.
pub(super) fn read_expanding<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input")?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| path.display().to_string())?
    };
    read::parse_expanding(&text, &read::environment).map_err(|errors| refused(path, &errors))
}

fn refused(path: &Path, errors: &[FieldError]) -> anyhow::Error {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    let said = format!("{} is refused:{}", path.display(), lines.concat());
    Failure::new(Exit::Refused, said).into()
}

async fn send(
    target: &Target,
    wanted: &Resources,
    prune: bool,
    dry_run: bool,
) -> anyhow::Result<Applied> {
    let path = with_query(
        "/v1/admin/resources/apply",
        &[
            ("prune", prune.then_some("true")),
            ("dry_run", dry_run.then_some("true")),
        ],
    );
    let client = target.client()?;
    let answer = match dry_run {
        true => client.ask(&path, wanted).await?,
        false => client.send_json(Method::POST, &path, wanted).await?,
    };
    answer.json()
}

fn show(applied: &Applied, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::print(&(serde_json::to_string_pretty(applied)? + "\n")),
        Format::Yaml => output::print(&serde_yaml_ng::to_string(applied)?),
        Format::Table => output::print(&words(applied)),
        Format::Csv => output::print(&csv(applied)),
    }
}

fn words(applied: &Applied) -> String {
    let mut text = String::new();
    for change in &applied.changes {
        text.push_str(&output::printable(&line(change)));
        for field in &change.fields {
            let said = match change.action {
                Action::Create => format!("    {}: {}\n", field.field, field.after),
                _ => format!("    {}: {} -> {}\n", field.field, field.before, field.after),
            };
            text.push_str(&output::printable(&said));
        }
    }
    let count = applied.changes.len();
    let verb = if applied.dry_run { "to make" } else { "made" };
    match count {
        0 => text.push_str("Nothing to change.\n"),
        1 => text.push_str(&format!("1 change {verb}.\n")),
        _ => text.push_str(&format!("{count} changes {verb}.\n")),
    }
    for key in &applied.generated {
        let said = match &key.value {
            Some(value) => format!(
                "Key {} of {}, shown this once: {value}\n",
                key.name, key.tenant
            ),
            None => format!(
                "Key {} of {}, whose value was shown then.\n",
                key.name, key.tenant
            ),
        };
        text.push_str(&output::printable(&said));
    }
    text
}

/// A row for each field that differs, or for a thing as a whole, and one for each key that was made.
fn csv(applied: &Applied) -> String {
    let mut rows = Vec::new();
    for change in &applied.changes {
        let action = match change.action {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        };
        let tenant = change.tenant.as_deref().unwrap_or_default();
        let thing = [action, &change.kind, tenant, &change.name].map(str::to_owned);
        let mut fields: Vec<_> = change
            .fields
            .iter()
            .map(|field| {
                let values = [&field.before, &field.after].map(output::cell);
                [&[field.field.clone()][..], &values].concat()
            })
            .collect();
        if fields.is_empty() {
            fields.push(vec![String::new(); 3]);
        }
        rows.extend(fields.iter().map(|field| [&thing[..], field].concat()));
    }
    for key in &applied.generated {
        let value = key.value.clone().unwrap_or_default();
        let made = ["value", "key", &key.tenant, &key.name, "value", "", &value];
        rows.push(made.map(str::to_owned).into());
    }
    let columns = [
        "action", "kind", "tenant", "name", "field", "before", "after",
    ];
    output::csv(&columns, &rows)
}

fn line(change: &Change) -> String {
    let sign = match change.action {
        Action::Create => '+',
        Action::Update => '~',
        Action::Delete => '-',
    };
    match &change.tenant {
        Some(tenant) => format!("{sign} {} {tenant}/{}\n", change.kind, change.name),
        None => format!("{sign} {} {}\n", change.kind, change.name),
    }
}

#[cfg(test)]
mod tests {
    use weir_api_types::apply::{FieldChange, GeneratedKey};

    use super::*;

    #[test]
    fn changes_are_told_line_by_line() {
        let applied = Applied {
            changes: vec![Change {
                action: Action::Update,
                kind: "key".to_owned(),
                tenant: Some("acme".to_owned()),
                name: "lap\u{1b}top".to_owned(),
                fields: vec![FieldChange {
                    field: "enabled".to_owned(),
                    before: true.into(),
                    after: false.into(),
                }],
            }],
            ..Applied::default()
        };
        assert_eq!(
            words(&applied),
            "~ key acme/lap\u{FFFD}top\n    enabled: true -> false\n1 change made.\n"
        );
        assert_eq!(words(&Applied::default()), "Nothing to change.\n");
        let made = Applied {
            generated: vec![GeneratedKey {
                id: uuid::Uuid::nil(),
                tenant: "acme".to_owned(),
                name: "ci".to_owned(),
                value: Some("wk-value".to_owned()),
            }],
            ..applied
        };
        let rows = csv(&made);
        assert_eq!(
            rows.lines().skip(1).collect::<Vec<_>>(),
            [
                "update,key,acme,lap\u{1b}top,enabled,true,false",
                "value,key,acme,ci,value,,wk-value"
            ]
        );
    }
}
