//! Whole nano-dollars.

use std::{fmt, iter::Sum, str::FromStr};

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

    /// In dollars with at least two places, and more only where they say something: how people write a budget.
    pub fn short(self) -> String {
        let text = self.to_string();
        let end = text.trim_end_matches('0').len();
        let cents = text.find('.').map_or(text.len(), |point| point + 3);
        text[..end.max(cents)].to_owned()
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

/// Why a text is no amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("is not an amount of US dollars such as 500.00")]
    NotANumber,
    #[error("has more than nine places behind the point")]
    TooFine,
    #[error("is more than nine billion dollars")]
    TooLarge,
}

/// An amount as people write it: dollars, a plain decimal that is not negative.
impl FromStr for Money {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        const MOST: u64 = 9_000_000_000;
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| {
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole) || !digits(places) {
            return Err(Error::NotANumber);
        }
        if places.trim_end_matches('0').len() > 9 {
            return Err(Error::TooFine);
        }
        let dollars: u64 = whole.parse().map_err(|_| Error::TooLarge)?;
        let nanos: i64 = format!("{:0<9.9}", places)
            .parse()
            .map_err(|_| Error::NotANumber)?;
        if dollars > MOST || (dollars == MOST && nanos > 0) {
            return Err(Error::TooLarge);
        }
        Ok(Self(dollars as i64 * 1_000_000_000 + nanos))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_is_read_exactly() {
        for (text, nanos) in [
            ("0", 0),
            ("500.00", 500_000_000_000),
            ("0.000000001", 1),
            ("1.5", 1_500_000_000),
            ("1.5000000000000", 1_500_000_000),
            ("9000000000", 9_000_000_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Money::from_nanos(nanos)), "{text}");
        }
        for (text, error) in [
            ("", Error::NotANumber),
            ("-1", Error::NotANumber),
            ("+1", Error::NotANumber),
            ("1e3", Error::NotANumber),
            (".5", Error::NotANumber),
            ("5.", Error::NotANumber),
            ("1,5", Error::NotANumber),
            ("0.0000000001", Error::TooFine),
            ("9000000000.01", Error::TooLarge),
            ("99999999999999999999999", Error::TooLarge),
        ] {
            assert_eq!(text.parse::<Money>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_short_amount_has_cents_or_more() {
        for (nanos, text) in [
            (0, "0.00"),
            (1_500_000_000, "1.50"),
            (1_000_000_000, "1.00"),
            (123_456_789, "0.123456789"),
            (10_000_000, "0.01"),
            (1_234_000, "0.001234"),
        ] {
            assert_eq!(Money::from_nanos(nanos).short(), text);
        }
    }

    proptest! {
        #[test]
        fn a_short_amount_is_read_again(nanos in 0i64..=9_000_000_000_000_000_000) {
            let money = Money::from_nanos(nanos);
            prop_assert_eq!(money.short().parse(), Ok(money));
        }
    }

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
