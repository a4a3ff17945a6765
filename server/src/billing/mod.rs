//! Money: whole nano-dollars, and the rules by which usage becomes cost and charge.
//!
//! No float stands between a request and the books: prices are exact decimals, a cost is computed exactly per attempt
//! and rounded once, every later sum is of integers. Nothing here does I/O.

pub mod money;
pub mod price;

pub use money::Money;
pub use price::{DatedPrice, Price, Rates};
