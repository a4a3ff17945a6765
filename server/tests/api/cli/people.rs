//! People: where they are, and how they come and go.

use std::process::Output;

use serde_json::json;

use super::*;

const LI: &str = "li@acme.example";
const PASSWORD: &str = "the password of li";

/// The link with which Li comes into a tenant.
async fn invited(bench: &Bench, tenant: &str) -> String {
    let invite = [
        "invitations",
        "create",
        "--tenant",
        tenant,
        "--email",
        LI,
        "--role",
        "developer",
    ];
    succeeded(&cli(bench, &invite).await).trim().to_owned()
}

/// Takes an invitation: who is new says a name, who is not shows a password.
async fn accepts(bench: &Bench, how: &[&str], lines: &str) -> Output {
    let arguments = [&["invitations", "accept", "--url", &bench.url], how].concat();
    weir_with_input(&[], &arguments, lines).await
}

/// Li is in acme.
async fn comes(bench: &Bench) {
    let lines = format!("{}\n{PASSWORD}\n", invited(bench, "acme").await);
    succeeded(&accepts(bench, &["--name", "Li"], &lines).await);
}

/// Signs in, with more lines after the password.
async fn signs_in(bench: &Bench, more: &str) -> Output {
    let arguments = ["sign-in", "--email", LI, "--url", &bench.url];
    let lines = format!("{PASSWORD}\n{more}");
    weir_with_input(&[], &arguments, &lines).await
}

/// A token of Li's.
async fn token_of(bench: &Bench, more: &str) -> String {
    let printed = succeeded(&signs_in(bench, more).await);
    printed.trim().to_owned()
}

/// A command of Li's that gets this line.
async fn says(bench: &Bench, token: &str, arguments: &[&str], line: &str) -> Output {
    let environment = [
        ("WEIR_URL".to_owned(), bench.url.clone()),
        ("WEIR_TOKEN".to_owned(), token.to_owned()),
    ];
    weir_with_input(&environment, arguments, &format!("{line}\n")).await
}

/// A command of Li's that may ask for the password.
async fn by(bench: &Bench, token: &str, arguments: &[&str]) -> Output {
    says(bench, token, arguments, PASSWORD).await
}

both_stores!(
    somebody_in_two_tenants_is_shown_changed_and_taken_out_of_the_one_that_is_named,
    |bench| {
        for tenant in ["acme", "globex"] {
            told(&bench, &["users", "create", LI, "--tenant", tenant]).await;
        }
        let unnamed = failed(&cli(&bench, &["users", "show", LI]).await, 5);
        assert!(unnamed.contains("they are in several"), "{unnamed}");
        let user = |verb, tenant| ["users", verb, LI, "--tenant", tenant];
        let change = [&user("change", "globex")[..], &["--set", "role=finance"]].concat();
        let changed = told(&bench, &change).await;
        assert_eq!(changed["role"], "finance", "{changed}");
        for (tenant, role) in [("acme", "viewer"), ("globex", "finance")] {
            let shown = told(&bench, &user("show", tenant)).await;
            assert_eq!(
                (&shown["tenant"], &shown["role"]),
                (&json!(tenant), &json!(role))
            );
        }

        // What says two things at once does neither.
        let both = ["--set", "tenant=globex", "--set", "role=admin"];
        let both = [&user("change", "acme")[..], &both].concat();
        let refused = failed(&cli(&bench, &both).await, 5);
        assert!(refused.contains("another tenant"), "{refused}");
        let shown = told(&bench, &user("show", "globex")).await;
        assert_eq!(shown["role"], "finance", "{shown}");

        // By the id, as by the name: out of the one.
        let id = changed["id"].as_str().unwrap();
        let words = succeeded(&cli(&bench, &["users", "delete", id, "--tenant", "globex"]).await);
        assert_eq!(words, format!("user {id} is taken out of globex.\n"));
        failed(&cli(&bench, &user("show", "globex")).await, 3);
        let shown = told(&bench, &user("show", "acme")).await;
        assert_eq!(shown["role"], "viewer", "{shown}");
        told(&bench, &["users", "create", LI, "--tenant", "globex"]).await;
        let deleted = told(&bench, &user("delete", "acme")).await;
        assert_eq!(deleted, json!({"id": id, "deleted": true}));
        failed(&cli(&bench, &user("show", "acme")).await, 3);
        let shown = told(&bench, &user("show", "globex")).await;
        assert_eq!(shown["id"], id, "{shown}");
    }
);

both_stores!(
    signing_out_ends_the_session_of_the_token_and_an_operator_ends_them_all,
    |bench| {
        comes(&bench).await;
        let tokens = [
            token_of(&bench, "").await,
            token_of(&bench, "").await,
            token_of(&bench, "").await,
        ];
        let [first, second, third] = &tokens;
        let keys = ["me", "keys", "list", "--search", "lap", "--sort", "name"];
        assert!(succeeded(&by(&bench, first, &keys).await).starts_with("ID"));
        let said = succeeded(&by(&bench, first, &["sign-out"]).await);
        assert_eq!(said, "You are signed out.\n");
        failed(&by(&bench, first, &["me"]).await, 4);
        failed(&by(&bench, first, &["sign-out"]).await, 4);
        for token in [second, third] {
            succeeded(&by(&bench, token, &["me"]).await);
        }
        // The admin token is nobody's, and has no session.
        failed(&cli(&bench, &["sign-out"]).await, 4);

        let ended = told(&bench, &["users", "sign-out", LI, "--tenant", "acme"]).await;
        assert_eq!(ended["signed_out"], true, "{ended}");
        for token in [second, third] {
            failed(&by(&bench, token, &["me"]).await, 4);
        }
        token_of(&bench, "").await;
    }
);

both_stores!(
    /// Threats: D1.
    a_code_is_a_line_of_standard_input_and_an_operator_takes_a_lost_factor_away,
    |bench| {
        comes(&bench).await;
        let token = token_of(&bench, "").await;
        let begin = ["me", "second-factor", "begin", "--output", "json"];
        let seed = succeeded(&by(&bench, &token, &begin).await);
        let seed: Value = serde_json::from_str(&seed).unwrap();
        let secret = totp_rs::Secret::Encoded(seed["secret"].as_str().unwrap().to_owned());
        let (secret, name) = (secret.to_bytes().unwrap(), String::new());
        let totp = totp_rs::TOTP::new(totp_rs::Algorithm::SHA1, 6, 0, 30, secret, None, name);
        let code = totp.unwrap().generate(weir::clock::now_ms().unsigned_abs() / 1_000);
        let confirm = ["me", "second-factor", "confirm", "--output", "json"];
        let confirmed = says(&bench, &token, &confirm, &code).await;
        let confirmed = succeeded(&confirmed);
        let confirmed: Value = serde_json::from_str(&confirmed).unwrap();
        let recovery = |at: usize| format!("{}\n", confirmed["codes"][at].as_str().unwrap());

        let asked = failed(&signs_in(&bench, "").await, 4);
        assert!(
            asked.contains("no line for: Code") && asked.contains("second_factor_needed"),
            "{asked}"
        );
        token_of(&bench, &recovery(0)).await;
        let lines = format!("{}\n{PASSWORD}\n", invited(&bench, "globex").await);
        let how = ["--with-password"];
        failed(&accepts(&bench, &how, &lines).await, 4);
        let lines = format!("{lines}{}", recovery(1));
        succeeded(&accepts(&bench, &how, &lines).await);
        let shown = told(&bench, &["users", "show", LI, "--tenant", "globex"]).await;
        assert_eq!(shown["role"], "developer", "{shown}");

        let removed = told(&bench, &["users", "second-factor", "remove", LI]).await;
        assert_eq!(removed["second_factor"], false, "{removed}");
        token_of(&bench, "").await;
    }
);
