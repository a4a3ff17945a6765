//! `weir logs`: single requests.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;
use weir_api_types::{
    log::{FacetCount, RequestFacets, RequestItem, RequestPage},
    span::Span,
};

use super::{
    client::{Client, Target, with_query},
    output::{self, Format, OutputArg},
};

const PATH: &str = "/v1/admin/requests";
const COLUMNS: &[&str] = &[
    "id", "at", "tenant", "key", "model", "channel", "status", "outcome", "error", "input",
    "output", "cost_usd", "ms",
];
/// Most rows of one page.
const PAGE: usize = 1_000;

/// `weir logs`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LogsArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    query: QueryArgs,
    /// How many at most.
    #[arg(short = 'n', long, default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
    /// In this order; the newest first if not given.
    #[arg(long, value_parser = ["newest_first", "oldest_first"])]
    order: Option<String>,
    /// Wait first until what was answered so far is booked, at most so long.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s", default_value = "5s")]
    wait: Span,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// What else can be done with requests.
#[derive(Debug, Subcommand)]
enum Command {
    /// All there is about one request.
    Show(ShowArgs),
    /// What was said in one, where its tenant has that kept; the audit log notes it.
    Bodies(ShowArgs),
    /// How many of the requests that are looked for have which value.
    Facets(Box<FacetsArgs>),
    /// What stands next to one among those that are looked for.
    Neighbours(Box<NeighboursArgs>),
}

/// `weir logs facets`
#[derive(Debug, Args)]
struct FacetsArgs {
    /// Which: key, user, group, model, channel, endpoint, outcome, status, error; all if not given.
    #[arg(long, value_name = "FACETS")]
    by: Option<String>,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir logs neighbours`
#[derive(Debug, Args)]
struct NeighboursArgs {
    /// Its id.
    id: Uuid,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// `weir logs show`
#[derive(Debug, Args)]
struct ShowArgs {
    /// Its id, as the answer's x-request-id told it.
    id: Uuid,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// What is looked for. All that is given must hold.
#[derive(Debug, Args)]
struct QueryArgs {
    /// From when on: a date or a moment; 30 days before --to if not given.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Until when, not included; now if not given.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// The time zone of dates, such as Asia/Shanghai.
    #[arg(long = "tz", value_name = "ZONE")]
    time_zone: Option<String>,
    /// Its own id; the span of time does not matter then.
    #[arg(long = "id", value_name = "ID")]
    request_id: Option<String>,
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    key: Option<String>,
    /// Their e-mail address.
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    group: Option<String>,
    #[arg(long)]
    model: Option<String>,
    #[arg(long)]
    channel: Option<String>,
    #[arg(long)]
    credential: Option<String>,
    #[arg(long)]
    endpoint: Option<String>,
    /// How it came: api, playground or probe.
    #[arg(long)]
    source: Option<String>,
    #[arg(long)]
    outcome: Option<String>,
    /// Such as 429, or 5xx.
    #[arg(long)]
    status: Option<String>,
    /// Weir's code, such as budget_exceeded.
    #[arg(long)]
    error: Option<String>,
    /// The caller's own id of the request.
    #[arg(long, value_name = "ID")]
    client_request_id: Option<String>,
    /// The vendor's id of the answer.
    #[arg(long, value_name = "ID")]
    upstream_request_id: Option<String>,
    /// The caller's label of its own user.
    #[arg(long, value_name = "LABEL")]
    end_user: Option<String>,
    /// Owed for it: at least so many US dollars.
    #[arg(long, value_name = "USD")]
    min_cost_usd: Option<String>,
    /// Owed for it: at most so many US dollars.
    #[arg(long, value_name = "USD")]
    max_cost_usd: Option<String>,
    /// It took at least so many milliseconds.
    #[arg(long, value_name = "MS")]
    min_ms: Option<String>,
    /// It took at most so many milliseconds.
    #[arg(long, value_name = "MS")]
    max_ms: Option<String>,
}

/// Does what the command says.
pub async fn run(args: LogsArgs) -> anyhow::Result<()> {
    let one = async |path: &str, target: &Target, output: &OutputArg| {
        let shown: Value = target.client()?.get(path).await?.json()?;
        output::one(output.output, &shown)
    };
    match args.command {
        Some(Command::Show(args)) => {
            let path = with_query(&format!("{PATH}/{}", args.id), &[("wait", Some("5s"))]);
            return one(&path, &args.target, &args.output).await;
        }
        Some(Command::Bodies(args)) => {
            let path = format!("{PATH}/{}/bodies", args.id);
            return one(&path, &args.target, &args.output).await;
        }
        Some(Command::Neighbours(args)) => {
            let path = format!("{PATH}/{}/neighbours", args.id);
            let path = with_query(&path, &args.query.words());
            return one(&path, &args.target, &args.output).await;
        }
        Some(Command::Facets(args)) => return facets(&args).await,
        None => {}
    }
    let client = args.target.client()?;
    let (order, wait) = (args.order.as_deref(), args.wait.to_string());
    let items = found(&client, &args.query, order, args.limit, &wait).await?;
    output::list(args.output.output, &items, COLUMNS, |item| {
        row(item, args.output.output)
    })
}

/// One value of one facet.
#[derive(Serialize)]
struct FacetRow<'a> {
    facet: &'a str,
    #[serde(flatten)]
    count: &'a FacetCount,
}

async fn facets(args: &FacetsArgs) -> anyhow::Result<()> {
    let mut words = args.query.words().to_vec();
    words.push(("by", args.by.as_deref()));
    let path = with_query(&format!("{PATH}/facets"), &words);
    let found: RequestFacets = args.target.client()?.get(&path).await?.json()?;
    if let Some(looked_to) = &found.looked_to {
        eprintln!("weir: only what is newer than {looked_to} was looked at");
    }
    let rows = found.facets.iter().flat_map(|one| {
        let facet = one.facet.as_str();
        let counts = one.values.iter();
        counts.map(move |count| FacetRow { facet, count })
    });
    let rows: Vec<FacetRow<'_>> = rows.collect();
    let columns = ["facet", "value", "name", "requests"];
    output::list(
        args.output.output,
        &rows,
        &columns,
        |FacetRow { facet, count }| {
            vec![
                (*facet).to_owned(),
                count.value.clone(),
                count.name.clone(),
                count.requests.to_string(),
            ]
        },
    )
}

async fn found(
    client: &Client,
    query: &QueryArgs,
    order: Option<&str>,
    limit: usize,
    wait: &str,
) -> anyhow::Result<Vec<RequestItem>> {
    let mut items = Vec::new();
    let (mut cursor, mut wait) = (None::<String>, Some(wait));
    while items.len() < limit {
        let rows = (limit - items.len()).min(PAGE).to_string();
        let mut words = query.words().to_vec();
        words.extend([
            ("order", order),
            ("limit", Some(rows.as_str())),
            ("cursor", cursor.as_deref()),
            ("wait", wait.take()),
        ]);
        let answer = client.get(&with_query(PATH, &words)).await?;
        if answer.complete() == Some(false) {
            eprintln!("weir: the latest requests may be missing: not all of them were booked yet");
        }
        let page: RequestPage = answer.json()?;
        items.extend(page.data);
        match page.next_cursor {
            Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ => break,
        }
    }
    Ok(items)
}

impl QueryArgs {
    fn words(&self) -> [(&'static str, Option<&str>); 23] {
        [
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("time_zone", self.time_zone.as_deref()),
            ("id", self.request_id.as_deref()),
            ("tenant", self.tenant.as_deref()),
            ("key", self.key.as_deref()),
            ("user", self.user.as_deref()),
            ("group", self.group.as_deref()),
            ("model", self.model.as_deref()),
            ("channel", self.channel.as_deref()),
            ("credential", self.credential.as_deref()),
            ("endpoint", self.endpoint.as_deref()),
            ("source", self.source.as_deref()),
            ("outcome", self.outcome.as_deref()),
            ("status", self.status.as_deref()),
            ("error", self.error.as_deref()),
            ("client_request_id", self.client_request_id.as_deref()),
            ("upstream_request_id", self.upstream_request_id.as_deref()),
            ("end_user", self.end_user.as_deref()),
            ("min_cost_usd", self.min_cost_usd.as_deref()),
            ("max_cost_usd", self.max_cost_usd.as_deref()),
            ("min_ms", self.min_ms.as_deref()),
            ("max_ms", self.max_ms.as_deref()),
        ]
    }
}

fn row(item: &RequestItem, format: Format) -> Vec<String> {
    let ms = match format {
        Format::Table => format!("{:.0}", item.total_ms),
        _ => item.total_ms.to_string(),
    };
    vec![
        item.id.to_string(),
        item.at.clone(),
        item.tenant.clone(),
        item.key.clone(),
        item.model.clone(),
        item.channel.clone().unwrap_or_default(),
        item.status.to_string(),
        item.outcome.clone(),
        item.error.clone().unwrap_or_default(),
        item.input_tokens.to_string(),
        item.output_tokens.to_string(),
        item.cost_usd.clone(),
        ms,
    ]
}
