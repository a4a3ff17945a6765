//! How fast and how much: limits bound a rate, budgets a sum.

pub mod period;
pub mod rate;
