//! Whole nano-dollars.

use std::{fmt, iter::Sum};

use serde::{Deserialize, Serialize};

/// An amount of money in whole nano-dollars (10^-9 USD). Its sums saturate rather than wrap, so that a nonsensical
/// amount ends as the largest there is and is refused by whatever budget looks at it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Money(i64);

impl Money {
    pub const ZERO: Self = Self(0);

    /// So many nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Whole nano-dollars.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The sum, at most the largest amount.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// US dollars as a plain decimal with nine places, as the API and exports write money: exact, and of one length.
impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        write!(
            formatter,
            "{sign}{}.{:09}",
            nanos / 1_000_000_000,
            nanos % 1_000_000_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_exactly() {
        assert_eq!(Money::from_nanos(1).to_string(), "0.000000001");
        assert_eq!(
            Money::from_nanos(-1_500_000_000).to_string(),
            "-1.500000000"
        );
        assert_eq!(
            Money::from_nanos(i64::MIN).to_string(),
            "-9223372036.854775808"
        );
    }

    #[test]
    fn sums_saturate() {
        let most = Money::from_nanos(i64::MAX);
        assert_eq!(
            [most, Money::from_nanos(1)].into_iter().sum::<Money>(),
            most
        );
    }
}
