//! `weir limits|budgets|alerts`.

use clap::{Args, Subcommand};
use uuid::Uuid;
use weir_api_types::{
    limit::Budget,
    manage::{AlertItem, BudgetItem, LimitItem},
};

use super::{
    listing::{ListArgs, Narrowed, OwnedArgs, Words, show},
    things::{self, Kind},
};
use crate::tenancy::limit::{Amount, Spending};

/// Limits are named by nothing but their ids.
pub const LIMITS: Kind = Kind {
    path: "/v1/admin/limits",
    name: "limit",
    named_by: "id",
    names_its_tenant: false,
};

/// So are budgets.
pub const BUDGETS: Kind = Kind {
    path: "/v1/admin/budgets",
    name: "budget",
    named_by: "id",
    names_its_tenant: false,
};

/// What can be done with limits.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// List limits.
    List(BoundArgs),
    #[command(flatten)]
    One(things::Command),
}

/// What can be done with budgets.
#[derive(Debug, Subcommand)]
pub enum Budgets {
    /// List budgets.
    List(BoundArgs),
    #[command(flatten)]
    One(things::Command),
}

/// What can be done with alerts.
#[derive(Debug, Subcommand)]
pub enum Alerts {
    /// List what budgets told.
    List(AlertArgs),
}

/// A list of limits or budgets.
#[derive(Debug, Args)]
pub struct BoundArgs {
    /// Only those on things of this kind.
    #[arg(long, value_parser = ["platform", "tenant", "group", "user", "key", "channel", "model"])]
    scope: Option<String>,
    /// Only those on the thing of this id.
    #[arg(long, value_name = "ID")]
    of: Option<Uuid>,
    #[command(flatten)]
    list: OwnedArgs,
}

impl Narrowed for BoundArgs {
    fn parts(self) -> (Words, ListArgs) {
        let (mut words, list) = self.list.parts();
        words.push(("scope", self.scope));
        words.push(("of", self.of.map(|id| id.to_string())));
        (words, list)
    }
}

/// `weir alerts list`
#[derive(Debug, Args)]
pub struct AlertArgs {
    /// Only those of the budget of this id.
    #[arg(long, value_name = "ID")]
    budget: Option<Uuid>,
    /// Only of this kind.
    #[arg(long, value_parser = ["crossed", "refused"])]
    kind: Option<String>,
    #[command(flatten)]
    list: OwnedArgs,
}

impl Narrowed for AlertArgs {
    fn parts(self) -> (Words, ListArgs) {
        let (mut words, list) = self.list.parts();
        words.push(("budget", self.budget.map(|id| id.to_string())));
        words.push(("kind", self.kind));
        (words, list)
    }
}

/// `weir limits list`
pub async fn limits(args: BoundArgs) -> anyhow::Result<()> {
    let columns = [
        "id",
        "tenant",
        "scope",
        "name",
        "limit",
        "algorithm",
        "for",
        "left",
    ];
    show("/v1/admin/limits", args, &columns, |item: &LimitItem| {
        let rule = &item.rule;
        let only = [rule.model.as_deref(), rule.endpoint.as_deref()];
        let only: Vec<&str> = only.into_iter().flatten().collect();
        vec![
            item.id.to_string(),
            item.tenant.clone().unwrap_or_default(),
            item.scope.clone(),
            item.name.clone(),
            rule.to_string(),
            rule.per.map_or("", |_| rule.algorithm.as_str()).to_owned(),
            only.join(" "),
            item.remaining
                .map(|left| left.to_string())
                .unwrap_or_default(),
        ]
    })
    .await
}

/// `weir budgets list`
pub async fn budgets(args: BoundArgs) -> anyhow::Result<()> {
    let columns = [
        "id", "tenant", "scope", "name", "budget", "mode", "spent", "reserved", "resets",
    ];
    show("/v1/admin/budgets", args, &columns, |item: &BudgetItem| {
        let spending = spending(&item.rule);
        let words = |units: Option<u64>| units.map(|units| spending.words(units));
        vec![
            item.id.to_string(),
            item.tenant.clone().unwrap_or_default(),
            item.scope.clone(),
            item.name.clone(),
            format!(
                "{} per {}",
                spending.words(item.amount),
                item.rule.period.as_str()
            ),
            item.rule.mode.as_str().to_owned(),
            words(item.spent).unwrap_or_default(),
            words(item.reserved).unwrap_or_default(),
            item.resets_at.clone().unwrap_or_else(|| "never".to_owned()),
        ]
    })
    .await
}

/// `weir alerts list`
pub async fn alerts(args: AlertArgs) -> anyhow::Result<()> {
    let columns = [
        "at", "budget", "kind", "percent", "spent", "amount", "since",
    ];
    show("/v1/admin/alerts", args, &columns, |item: &AlertItem| {
        vec![
            item.at.clone(),
            item.budget.to_string(),
            item.kind.clone(),
            item.percent.to_string(),
            item.spent.to_string(),
            item.amount.to_string(),
            item.window_start.clone(),
        ]
    })
    .await
}

fn spending(rule: &Budget) -> Spending {
    Amount::of(rule).map_or(Spending::Money, Amount::spending)
}
