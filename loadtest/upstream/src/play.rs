//! Plays a plan on a link and books it as it goes.

use crate::bill::{Book, End, Tokens};
use crate::link::{Left, Link, Socket};
use crate::plan::{Ending, Piece, Plan};

/// The width of a stamp: nanoseconds since 1970 have 19 digits until the year 2286.
pub(crate) const STAMP_DIGITS: usize = 19;

/// Writes the plan's pieces and ends as it says. Gives the link back if it can serve on.
pub(crate) async fn play<S: Socket>(
    mut link: Link<S>,
    plan: &mut Plan,
    book: &Book,
    serial: u64,
) -> Option<Link<S>> {
    let mut sent = 0;
    for piece in &plan.pieces {
        if !piece.after.is_zero() && link.wait(piece.after).await.is_err() {
            return left(link, book, serial);
        }
        let now = book.clock.now_ns();
        if let Some(at) = piece.stamp_at {
            stamp(&mut plan.wire[at..at + STAMP_DIGITS], now);
        }
        sent += 1;
        enter(book, serial, piece, sent, now);
        if let Err(Left) = link.send(&plan.wire[piece.range.clone()]).await {
            take_back(book, serial, piece);
            return left(link, book, serial);
        }
    }
    match plan.ending {
        Ending::Keep => Some(link),
        Ending::Close => {
            book.end(serial, End::Closed);
            link.close().await;
            None
        }
        Ending::Refuse => {
            book.end(serial, End::Refused);
            None
        }
        Ending::Reset => {
            book.end(serial, End::Reset);
            link.reset();
            None
        }
        Ending::Hang => {
            book.end(serial, End::Hung);
            link.until_left().await;
            left(link, book, serial)
        }
    }
}

fn left<S: Socket>(link: Link<S>, book: &Book, serial: u64) -> Option<Link<S>> {
    drop(link);
    book.client_left(serial);
    None
}

/// Books a piece before it is written, so that whoever has read it finds it booked.
fn enter(book: &Book, serial: u64, piece: &Piece, sent: u64, now: u64) {
    let tokens = earned(piece);
    book.count(tokens);
    book.edit(serial, |line| {
        line.first_byte_ns.get_or_insert(now);
        line.tokens += tokens;
        line.pieces = sent;
        line.usage_reported |= piece.reports_usage;
        if piece.stamp_at.is_some() {
            line.sent_ns.push(now);
        }
        if piece.completes && line.end.is_none() {
            line.end = Some(End::Complete);
            line.end_ns = Some(now);
        }
    });
}

fn take_back(book: &Book, serial: u64, piece: &Piece) {
    let tokens = earned(piece);
    book.uncount(tokens);
    book.edit(serial, |line| {
        line.tokens -= tokens;
        line.pieces -= 1;
        if piece.stamp_at.is_some() {
            line.sent_ns.pop();
        }
        if line.pieces == 0 {
            line.first_byte_ns = None;
        }
        if piece.reports_usage {
            line.usage_reported = false;
        }
        if piece.completes {
            (line.end, line.end_ns) = (None, None);
        }
    });
}

fn earned(piece: &Piece) -> Tokens {
    Tokens {
        output: piece.output,
        reasoning: piece.reasoning,
        ..Tokens::default()
    }
}

fn stamp(digits: &mut [u8], mut ns: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (ns % 10) as u8;
        ns /= 10;
    }
}
