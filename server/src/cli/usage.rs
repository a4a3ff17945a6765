//! `weir usage`: what was used, by whom, for how much; and the booking of a file from elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use weir_api_types::{
    span::Span,
    usage::{Dimension, Percentiles, UsageDetails, UsageRow},
};

use super::{
    client::{Target, with_query},
    local::{self, StoreArgs},
    output::{self, OutputArg},
};

/// `weir usage`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UsageArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to tell apart: tenant, key, user, group, model, channel, credential, endpoint, source, outcome, error.
    #[arg(long, value_delimiter = ',', value_name = "DIMENSION")]
    by: Vec<Dimension>,
    /// From when on: a date or a moment; 30 days before --to if not given.
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Until when, not included; now if not given.
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// One row per hour, day or month.
    #[arg(long, value_enum)]
    grain: Option<Grain>,
    /// The time zone of dates and grains, such as Asia/Shanghai.
    #[arg(long = "tz", value_name = "ZONE")]
    time_zone: Option<String>,
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only this key's.
    #[arg(long)]
    key: Option<String>,
    /// Only this user's, by e-mail address.
    #[arg(long)]
    user: Option<String>,
    /// Only this group's.
    #[arg(long)]
    group: Option<String>,
    /// Only this model's.
    #[arg(long)]
    model: Option<String>,
    /// Only this channel's.
    #[arg(long)]
    channel: Option<String>,
    /// Only what went out with this credential, by name or id; for operators.
    #[arg(long)]
    credential: Option<String>,
    /// Only this endpoint's, such as /v1/chat/completions.
    #[arg(long)]
    endpoint: Option<String>,
    /// Only what came this way: api, playground or probe.
    #[arg(long)]
    source: Option<String>,
    /// Only what ended so, such as upstream_error.
    #[arg(long)]
    outcome: Option<String>,
    /// Only what failed with this code.
    #[arg(long)]
    error: Option<String>,
    /// Also the success rate, the kinds of tokens, and percentiles of the times.
    #[arg(long)]
    details: bool,
    /// Wait first until what was answered so far is booked, at most so long.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s", default_value = "5s")]
    wait: Span,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    target: Target,
}

/// What else can be done with usage.
#[derive(Debug, Subcommand)]
enum Command {
    /// Book the events of a spool file whose machine is gone; opens the stores itself.
    Replay(ReplayArgs),
}

/// `weir usage replay`
#[derive(Debug, Args)]
struct ReplayArgs {
    /// A segment of this installation's spool.
    file: PathBuf,
    #[command(flatten)]
    stores: StoreArgs,
}

/// How time is cut.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Grain {
    Hour,
    Day,
    Month,
}

/// Asks the server, or books a file.
pub async fn run(args: UsageArgs) -> anyhow::Result<()> {
    if let Some(Command::Replay(replay)) = args.command {
        return local::replay(replay.stores, &replay.file).await;
    }
    let by: Vec<&str> = args.by.iter().map(|dimension| dimension.as_str()).collect();
    let by = by.join(",");
    let wait = args.wait.to_string();
    let grain = args.grain.map(|grain| match grain {
        Grain::Hour => "hour",
        Grain::Day => "day",
        Grain::Month => "month",
    });
    let path = with_query(
        "/v1/admin/usage",
        &[
            ("by", (!by.is_empty()).then_some(&by)),
            ("from", args.from.as_deref()),
            ("to", args.to.as_deref()),
            ("grain", grain),
            ("time_zone", args.time_zone.as_deref()),
            ("tenant", args.tenant.as_deref()),
            ("key", args.key.as_deref()),
            ("user", args.user.as_deref()),
            ("group", args.group.as_deref()),
            ("model", args.model.as_deref()),
            ("channel", args.channel.as_deref()),
            ("credential", args.credential.as_deref()),
            ("endpoint", args.endpoint.as_deref()),
            ("source", args.source.as_deref()),
            ("outcome", args.outcome.as_deref()),
            ("error", args.error.as_deref()),
            ("details", args.details.then_some("true")),
            ("wait", Some(&wait)),
        ],
    );
    let answer = args.target.client()?.get(&path).await?;
    if answer.complete() == Some(false) {
        eprintln!(
            "weir: the latest requests may be missing: not all of them were booked within {wait}"
        );
    }
    let rows: Vec<UsageRow> = answer.json()?;
    let mut columns: Vec<&str> = grain.map(|_| "time").into_iter().collect();
    columns.extend(args.by.iter().map(|dimension| dimension.as_str()));
    columns.extend(FIGURES);
    let tells_attempts = rows.iter().any(|row| row.attempts.is_some());
    if tells_attempts {
        columns.extend(["attempts", "attempts_cost_usd"]);
    }
    if args.details {
        columns.extend(DETAILS);
    }
    output::list(args.output.output, &rows, &columns, |row| {
        let mut cells = cells(row, &args.by, grain.is_some());
        if tells_attempts {
            cells.push(row.attempts.unwrap_or(0).to_string());
            cells.push(row.attempts_cost_usd.clone().unwrap_or_default());
        }
        if args.details {
            cells.extend(details(&row.details.clone().unwrap_or_default()));
        }
        cells
    })
}

const FIGURES: [&str; 6] = [
    "requests",
    "errors",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_usd",
];

const DETAILS: [&str; 10] = [
    "success_rate",
    "estimated_requests",
    "cache_write_tokens",
    "reasoning_tokens",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "first_byte_p50_ms",
    "first_byte_p95_ms",
    "first_byte_p99_ms",
];

fn details(details: &UsageDetails) -> Vec<String> {
    let rate = details.success_rate.map(|rate| rate.to_string());
    let mut cells = vec![rate.unwrap_or_default()];
    let counts = [
        details.estimated_requests,
        details.cache_write_tokens,
        details.reasoning_tokens,
    ];
    cells.extend(counts.iter().map(ToString::to_string));
    for times in [details.total_ms, details.first_byte_ms] {
        let of =
            |part: fn(&Percentiles) -> f64| times.as_ref().map(|times| part(times).to_string());
        let parts = [
            of(|times| times.p50),
            of(|times| times.p95),
            of(|times| times.p99),
        ];
        cells.extend(parts.map(Option::unwrap_or_default));
    }
    cells
}

fn cells(row: &UsageRow, by: &[Dimension], has_time: bool) -> Vec<String> {
    let mut row = row.clone();
    let mut cells = Vec::new();
    if has_time {
        cells.push(row.time.take().unwrap_or_default());
    }
    for dimension in by {
        cells.push(row.field(*dimension).take().unwrap_or_default());
    }
    let figures = [
        row.requests,
        row.errors,
        row.input_tokens,
        row.cached_tokens,
        row.output_tokens,
    ];
    cells.extend(figures.iter().map(ToString::to_string));
    cells.push(row.cost_usd);
    cells
}
