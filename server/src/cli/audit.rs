//! `weir audit`: what was changed, by whom.

use anyhow::bail;
use clap::{Args, Subcommand};
use weir_api_types::manage::{AuditItem, AuditVerdict};

use super::{
    client::{Target, with_query},
    listing::{ListArgs, Narrowed, OwnedArgs, Words, show},
    output::{self, Format, OutputArg},
};

const PATH: &str = "/v1/admin/audit-log";
const COLUMNS: &[&str] = &[
    "at", "actor", "name", "address", "tenant", "action", "object", "seq",
];

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what was changed, the latest first.
    List(AuditArgs),
    /// Check that no row was changed or taken out; exits with 1 and names the first bad row if one was.
    Verify(VerifyArgs),
}

/// `weir audit list`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// From when on, such as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    from: Option<String>,
    /// Until when, not included.
    #[arg(long, value_name = "MOMENT")]
    to: Option<String>,
    /// Who did it: a token's name then, or a person's address.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// What was done, such as key:update, or to which kind of thing, such as key.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// To what, by its name then.
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
    #[command(flatten)]
    list: OwnedArgs,
}

impl Narrowed for AuditArgs {
    fn parts(self) -> (Words, ListArgs) {
        let (mut words, list) = self.list.parts();
        words.extend([
            ("from", self.from),
            ("to", self.to),
            ("actor", self.actor),
            ("action", self.action),
            ("object", self.object),
        ]);
        (words, list)
    }
}

/// `weir audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A row that was the last one once, by its number: whether it still stands as it did.
    #[arg(long, requires = "head")]
    seq: Option<u64>,
    /// That row's hash, as it was told then.
    #[arg(long, requires = "seq")]
    head: Option<String>,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// Does what the command says.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => show(PATH, args, COLUMNS, row).await,
        Command::Verify(args) => {
            let seq = args.seq.map(|seq| seq.to_string());
            let words = [("seq", seq.as_deref()), ("head", args.head.as_deref())];
            let path = with_query(&format!("{PATH}/verify"), &words);
            let answer = args.target.client()?.get(&path).await?;
            let verdict: AuditVerdict = answer.json()?;
            let format = args.output.output;
            if format != Format::Table {
                output::one(format, &serde_json::to_value(&verdict)?)?;
            }
            if let (Some(row), Some(reason)) = (verdict.bad_row, verdict.reason) {
                bail!("row {row} of the audit log: {reason}");
            }
            if format != Format::Table {
                return Ok(());
            }
            // The head alone on standard output, so that a script can keep it.
            eprintln!(
                "{} rows are as they were written; the last one's hash:",
                verdict.rows
            );
            output::print(&format!("{}\n", verdict.head.unwrap_or_default()))
        }
    }
}

fn row(item: &AuditItem) -> Vec<String> {
    vec![
        item.at.clone(),
        item.actor.clone(),
        item.actor_name.clone(),
        item.address.clone(),
        item.tenant.clone().unwrap_or_default(),
        item.action.clone(),
        item.object.clone(),
        item.seq.map(|seq| seq.to_string()).unwrap_or_default(),
    ]
}
