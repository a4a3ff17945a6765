//! Limits and budgets of a file.

use super::*;

#[actix_rt::test]
async fn a_changed_figure_keeps_the_limits_id_and_a_list_is_the_whole_truth() {
    for test in all().await {
        let file = |limits: &str, budgets: &str| {
            format!(
                "tenants: [{{name: t, keys: [{{name: k, limits: {limits}, budgets: {budgets}}}]}}]"
            )
        };
        let ids = async || {
            let picture = crate::resources::apply::read(&test.stores.config.read, &sealer()).await;
            let picture = picture.expect("a picture");
            let limits: Vec<_> = picture.limits.values().map(|limit| limit.id).collect();
            let budgets: Vec<_> = picture.budgets.values().map(|budget| budget.id).collect();
            (limits, budgets)
        };
        let minute = "[{metric: requests, per: minute, max: 5}]";
        applied(&test, &file(minute, "[{amount: '1.00', period: day}]")).await;
        let first = ids().await;
        let changed = applied(
            &test,
            &file(
                "[{metric: requests, per: minute, max: 7, burst: 9}]",
                "[{amount: '2', period: day, mode: soft}]",
            ),
        )
        .await;
        assert_eq!(
            words(&changed),
            [
                "Update limit key k: requests per minute burst,max",
                "Update budget key k: money per day amount,mode",
            ]
        );
        assert_eq!(ids().await, first);
        // Another window is another limit, another period another budget.
        let other = "[{metric: requests, per: hour, max: 7}]";
        applied(&test, &file(other, "[{amount: '2', period: week}]")).await;
        let second = ids().await;
        assert!(second.0 != first.0 && second.1 != first.1);
        assert_eq!((second.0.len(), second.1.len()), (1, 1));
        // A field that is not given stays; with the key goes what stood on it.
        applied(
            &test,
            "tenants: [{name: t, keys: [{name: k, enabled: false}]}]",
        )
        .await;
        assert_eq!(ids().await, second);
        pruned(&test, "tenants: [{name: t, keys: []}]")
            .await
            .expect("pruned");
        assert_eq!(ids().await, (Vec::new(), Vec::new()));
    }
}

#[actix_rt::test]
async fn limits_and_budgets_stand_on_everything_and_come_back_from_an_export() {
    let limits = "limits: [{metric: requests, per: minute, max: 10, burst: 5}, {metric: tokens, per: day, max: 100, algorithm: fixed_window},
        {metric: requests, per: second, max: 3, algorithm: leaky_bucket, max_wait: 2s}, {metric: concurrent, max: 4, model: 'gpt-*', endpoint: /v1/embeddings}]";
    let budgets = "budgets: [{amount: '0.5', period: day, mode: soft, alert_at: [100, 50, 50]}, {tokens: 10, period: week}, {requests: 3, period: forever}]";
    let text = format!(
        "platform: {{{limits}}}
channels: [{{name: c, kind: openai, base_url: 'https://a', {limits}, {budgets}}}]
models: [{{name: m, limits: [{{metric: requests, per: hour, max: 1, each: user}}], routes: [{{channel: c, max_rps: 7}}]}}]
tenants: [{{name: t, {limits}, {budgets}, groups: [{{name: g, {limits}, {budgets}}}],
  users: [{{email: a@b.example, {limits}, {budgets}}}], keys: [{{name: k, {limits}, {budgets}}}]}}]"
    );
    for test in all().await {
        applied(&test, &text).await;
        let export = exported(&test).await;
        let tenant = &export.tenants.as_ref().expect("tenants")[0];
        let budgets = tenant.keys.as_ref().expect("keys")[0].budgets.as_ref();
        assert_eq!(budgets.expect("budgets")[0].alert_at, [50, 100]);
        assert_eq!(
            tenant.users.as_ref().expect("users")[0]
                .limits
                .as_ref()
                .map(Vec::len),
            Some(4)
        );
        assert!(
            apply(
                &test.stores,
                &sealer(),
                &Author::process("test"),
                &export,
                Options::default()
            )
            .await
            .expect("applied")
            .changes
            .is_empty()
        );
        // A membership takes along what stands on it, though the person stays in another tenant.
        applied(
            &test,
            "tenants: [{name: other, users: [{email: a@b.example}]}]",
        )
        .await;
        pruned(&test, "tenants: [{name: t, users: []}, {name: other}]")
            .await
            .expect("pruned");
        let picture = crate::resources::apply::read(&test.stores.config.read, &sealer()).await;
        let picture = picture.expect("a picture");
        assert!(
            picture
                .limits
                .keys()
                .all(|(scope, _)| scope.word() != "user")
        );
        assert_eq!(picture.people.len(), 1);
    }
}

#[actix_rt::test]
async fn a_limit_that_cannot_be_counted_is_refused_where_it_stands() {
    let test = crate::store::testing::sqlite().await;
    for (rule, why) in [
        ("{metric: requests, max: 1}", "is needed: second"),
        (
            "{metric: requests, per: minute, max: 0}",
            "must be from 1 to",
        ),
        (
            "{metric: requests, per: minute, max: 1000000000001}",
            "must be from 1 to",
        ),
        ("{metric: concurrent, per: minute, max: 1}", "no window"),
        (
            "{metric: concurrent, max: 1, algorithm: fixed_window}",
            "no algorithm",
        ),
        (
            "{metric: requests, per: minute, max: 1, algorithm: fixed_window, burst: 2}",
            "is a token bucket's",
        ),
        (
            "{metric: requests, per: minute, max: 1, burst: 0}",
            "must be from 1 to",
        ),
        (
            "{metric: requests, per: minute, max: 1, max_wait: 1s}",
            "is a leaky bucket's",
        ),
        (
            "{metric: requests, per: minute, max: 1, algorithm: leaky_bucket, max_wait: 61s}",
            "at most 60s",
        ),
        (
            "{metric: requests, per: minute, max: 1, each: key}",
            "one value only",
        ),
        (
            "{metric: requests, per: minute, max: 1, endpoint: /v1/chat}",
            "is none of /v1/chat",
        ),
        (
            "{metric: requests, per: minute, max: 1}, {metric: requests, per: minute, max: 2}",
            "counts the same as number 0",
        ),
    ] {
        let text = format!("tenants: [{{name: t, keys: [{{name: k, limits: [{rule}]}}]}}]");
        let refused = refused(&test, &text).await;
        assert!(refused.contains("tenants[0].keys[0].limits["), "{refused}");
        assert!(refused.contains(why), "{rule}: {refused}");
    }
    for (rule, why) in [
        ("{period: day}", "exactly one"),
        ("{amount: '1', tokens: 5, period: day}", "exactly one"),
        ("{amount: '1e3', period: day}", "not an amount"),
        ("{tokens: 0, period: day}", "from 1 to"),
        (
            "{tokens: 5, period: day, alert_at: [0]}",
            "whole numbers from 1",
        ),
        (
            "{tokens: 5, period: day}, {tokens: 6, period: day, mode: soft}",
            "same sum as number 0",
        ),
    ] {
        let text = format!("tenants: [{{name: t, budgets: [{rule}]}}]");
        let refused = refused(&test, &text).await;
        assert!(
            refused.contains(why) && refused.contains("budgets["),
            "{rule}: {refused}"
        );
    }
}
