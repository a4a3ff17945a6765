use proptest::prelude::*;

use crate::neutral::{Observation, Reported, Usage};

use super::*;

fn observe(text: &str, limits: Limits) -> Observation {
    let mut observer = Observer::stream(limits);
    observer.feed(text.as_bytes());
    observer.finish()
}

#[test]
fn an_event_over_the_bound_is_counted_and_a_large_one_within_it_is_read() {
    let content = "x".repeat(1 << 20);
    let text = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\ndata: [DONE]\n\n"
    );
    let seen = observe(&text, Limits::default());
    assert_eq!(
        (seen.generated_bytes, seen.unread_bytes, seen.done),
        (1 << 20, 0, true)
    );
    let seen = observe(
        &text,
        Limits {
            event_bytes: 1 << 10,
            ..Limits::default()
        },
    );
    assert_eq!((seen.generated_bytes, seen.done), (0, true));
    assert!(seen.unread_bytes > 1 << 20);
}

#[test]
fn text_is_kept_up_to_the_bound_and_counted_beyond() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"aé\"}}]}\n\n";
    let seen = observe(
        &event.repeat(3),
        Limits {
            text_bytes: 5,
            ..Limits::default()
        },
    );
    assert_eq!((seen.text.as_str(), seen.generated_bytes), ("aéa", 9));
}

#[test]
fn the_last_usage_wins_and_null_does_not_count() {
    let text = "data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n\
            data: {\"choices\":[{\"index\":0,\"usage\":{\"prompt_tokens\":2,\"cached_tokens\":1,\"completion_tokens\":2}}]}\n\n\
            data: {\"usage\":null}\n\n";
    let wanted = Usage {
        input: 2,
        cached_read: 1,
        output: 2,
        ..Usage::default()
    };
    assert_eq!(
        observe(text, Limits::default()).usage,
        Some(Reported::Plausible(wanted))
    );
}

#[test]
fn what_is_not_this_dialect_is_counted_only() {
    let seen = observe(
        "data: <html>\n\ndata: 7\n\ndata: {\"choices\":[{\"delta\":5,\"index\":99999999999}],\"model\":3}\n\n",
        Limits::default(),
    );
    assert_eq!(
        (seen.unread_bytes, seen.events, seen.started, seen.choices),
        (7, 1, false, 1_024)
    );
}

#[test]
fn a_json_answer_over_the_bound_still_tells_its_usage() {
    let body = format!(
        "{{\"data\":[{}0],\"usage\":{{\"prompt_tokens\":8,\"total_tokens\":8}}}}",
        "0.5,".repeat(9_999)
    );
    let mut observer = Observer::json(Limits {
        event_bytes: 1 << 10,
        ..Limits::default()
    });
    for chunk in body.as_bytes().chunks(1_000) {
        observer.feed(chunk);
    }
    let seen = observer.finish();
    assert_eq!(
        seen.usage,
        Some(Reported::Plausible(Usage {
            input: 8,
            ..Usage::default()
        }))
    );
    assert_eq!(seen.unread_bytes, body.len() as u64);
}

proptest! {
    /// Threats: H12.
    #[test]
    fn observing_never_panics(text in "(data: |\n|\r|\\{|\\}|\"|choices|usage|delta|content|:|,|1|-|\\[|\\]|\\\\u00e9|é){0,40}", cut in any::<prop::sample::Index>()) {
        let (head, tail) = text.as_bytes().split_at(cut.index(text.len() + 1));
        let mut cut_up = Observer::stream(Limits::default());
        cut_up.feed(head);
        cut_up.feed(tail);
        prop_assert_eq!(cut_up.finish(), observe(&text, Limits::default()));
        let mut json = Observer::json(Limits { event_bytes: 8, ..Limits::default() });
        json.feed(text.as_bytes());
        let _ = json.finish();
    }
}
