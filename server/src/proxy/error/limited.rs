//! What is said to a caller of a limit or a budget that stands against its call.

use std::time::Duration;

use weir_api_types::limit::Metric;
use weir_dialect::openai::quote;

use crate::limits::{Quota, Rejected, Tightest};

/// What stands against a call, and what its owners call the thing that it stands on.
#[derive(Debug, Clone)]
pub struct Limited {
    pub rejected: Rejected,
    /// Empty for the platform.
    pub name: String,
    /// The status of `budget_exceeded`.
    pub exceeded_status: u16,
}

impl Limited {
    pub(super) fn status(&self) -> u16 {
        match self.rejected {
            Rejected::Rate { .. } | Rejected::Reserved { .. } => 429,
            Rejected::Spent { .. } => self.exceeded_status,
            Rejected::Unbounded { .. } => 400,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self.rejected {
            Rejected::Rate { .. } => "rate_limit_exceeded",
            Rejected::Spent { .. } => "budget_exceeded",
            Rejected::Reserved { .. } => "budget_reserved",
            Rejected::Unbounded { .. } => "cost_not_bounded",
        }
    }

    pub(super) fn message(&self) -> String {
        let scope = self.rejected.scope().word();
        let of = match self.name.as_str() {
            "" => format!("the {scope}"),
            name => format!("the {scope} {}", quote(name)),
        };
        match &self.rejected {
            Rejected::Rate { limit, retry_after } => {
                let rule = &limit.rule;
                let seconds = retry_after.as_secs_f64();
                format!("The limit of {rule} of {of} is used up. Try again in {seconds:.3} s.")
            }
            Rejected::Spent {
                spending,
                spent,
                amount,
                most,
                resets_ms,
                ..
            } => {
                let (used, all) = (spending.words(*spent), spending.words(*amount));
                let resets = resets_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
                let resets = resets.map_or("It does not begin anew".to_owned(), |at| {
                    format!("It begins anew at {at}")
                });
                let most = spending.words(*most);
                format!(
                    "The budget of {all} of {of} has {used} spent, and this call may come to {most}. {resets}. \
                     Ask your tenant's admin for more."
                )
            }
            Rejected::Reserved { .. } => format!(
                "What is left of a budget of {of} is reserved by calls that are under way. Try again in a second."
            ),
            Rejected::Unbounded { .. } => format!(
                "A hard budget of {of} applies, and nothing says what this call may come to at most. Bound its output, send \
                 media where the model states its maximum, or ask the operator for the model's price, max_output_tokens and max_image_tokens."
            ),
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self.rejected {
            Rejected::Rate { retry_after, .. } => Some(retry_after),
            Rejected::Reserved { .. } => Some(Duration::from_secs(1)),
            Rejected::Spent { .. } | Rejected::Unbounded { .. } => None,
        }
    }

    /// What the limit has left, for headers: nothing.
    pub fn quota(&self) -> Option<Tightest> {
        let Rejected::Rate { limit, retry_after } = &self.rejected else {
            return None;
        };
        let rule = &limit.rule;
        let quota = Some(Quota {
            limit: rule.burst.unwrap_or(rule.max),
            remaining: 0,
            reset: *retry_after,
        });
        match rule.metric {
            Metric::Requests => Some(Tightest {
                requests: quota,
                tokens: None,
            }),
            Metric::Tokens => Some(Tightest {
                requests: None,
                tokens: quota,
            }),
            Metric::Concurrent => None,
        }
    }

    /// Whether coming back soon is of no use; a program that obeys `x-should-retry` does not.
    pub fn is_final(&self) -> bool {
        matches!(
            self.rejected,
            Rejected::Spent { .. } | Rejected::Unbounded { .. }
        )
    }
}
