//! What commands tell programs, and what lists are narrowed by.

use serde_json::json;

use super::*;

both_stores!(
    what_was_done_is_told_to_programs_as_what_it_is_now,
    |bench| {
        let made = told(
            &bench,
            &["keys", "create", "--tenant", "acme", "--name", "ci"],
        )
        .await;
        let id = made[0]["id"].as_str().unwrap();
        let disabled = told(&bench, &["keys", "disable", "ci", "--tenant", "acme"]).await;
        assert_eq!(disabled, json!({"id": id, "enabled": false}));
        let enable = ["keys", "enable", "ci", "--tenant", "acme"];
        let enabled = succeeded(&cli(&bench, &[&enable[..], &["-o", "csv"]].concat()).await);
        assert!(
            enabled.contains(id) && enabled.contains("true"),
            "{enabled}"
        );
        let words = succeeded(&cli(&bench, &enable).await);
        assert_eq!(words, "key ci is enabled.\n");
        let deleted = told(&bench, &["keys", "delete", id]).await;
        assert_eq!(deleted, json!({"id": id, "deleted": true}));

        let channel = told(&bench, &["channels", "show", "vendor"]).await;
        let credential = channel["pool"][1]["id"].as_str().unwrap();
        let delete = ["channels", "credentials", "delete", "vendor", credential];
        let deleted = told(&bench, &delete).await;
        assert_eq!(deleted, json!({"id": credential, "deleted": true}));
        let forgotten = told(&bench, &["body-log", "forget", "--tenant", "acme"]).await;
        assert_eq!(forgotten, json!({"tenant": "acme", "forgotten": true}));
    }
);

both_stores!(what_was_checked_is_told_to_programs, |bench| {
    let head = succeeded(&cli(&bench, &["audit", "verify"]).await);
    let verdict = told(&bench, &["audit", "verify"]).await;
    assert_eq!(
        (&verdict["head"], &verdict["bad_row"]),
        (&json!(head.trim()), &Value::Null),
        "{verdict}"
    );
    let csv = succeeded(&cli(&bench, &["audit", "verify", "-o", "csv"]).await);
    assert!(csv.contains(head.trim()), "{csv}");

    let status = async |format: &str| {
        let arguments = ["secrets", "status", "--output", format];
        succeeded(&weir(&bench.environment("one"), &arguments).await)
    };
    let rows: Value = serde_json::from_str(&status("json").await).unwrap();
    assert_eq!(rows[0]["does"], "seals", "{rows}");
    let (key, secrets) = (rows[0]["key"].as_str().unwrap(), &rows[0]["secrets"]);
    assert!(secrets.as_u64() > Some(0), "{rows}");
    let csv = status("csv").await;
    assert_eq!(
        csv,
        format!("key,does,secrets\r\n{key},seals,{secrets}\r\n")
    );
    let table = status("table").await;
    assert_eq!(table, format!("{key}  seals  {secrets} secrets\n"));
});

both_stores!(lists_are_narrowed_by_all_that_their_routes_take, |bench| {
    let names = async |words: &[&str]| {
        let list = told(&bench, &[&["providers"], words].concat()).await;
        let names = list.as_array().unwrap().iter();
        let names = names.map(|one| one["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    assert_eq!(names(&["--sort", "-name"]).await, ["vendor", "dedicated"]);
    assert_eq!(names(&["--tenant", "acme"]).await, ["dedicated"]);
    assert_eq!(names(&["--search", "VEND"]).await, ["vendor"]);
    assert!(names(&["--enabled", "false"]).await.is_empty());

    for (tenant, users) in [("acme", 1), ("globex", 0)] {
        let stats = told(&bench, &["stats", "--tenant", tenant]).await;
        assert_eq!(stats["users"], users, "{stats}");
    }

    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = bench.chat(hello("gpt-test")).await;
        let id = answer.headers()["x-request-id"].to_str().unwrap();
        ids.push(id.to_owned());
    }
    let found = async |words: &[&str]| {
        let list = told(&bench, &[&["logs"], words].concat()).await;
        let items = list.as_array().unwrap().iter();
        let items = items.map(|one| one["id"].as_str().unwrap().to_owned());
        items.collect::<Vec<String>>()
    };
    let oldest = ["--source", "api", "--order", "oldest_first", "-n", "1"];
    assert_eq!(found(&oldest).await, ids[..1]);
    assert_eq!(found(&["--source", "playground"]).await, ids[..0]);
    assert_eq!(found(&["--id", &ids[1]]).await, ids[1..]);
});
