//! Forms that readers take differently (threats.md, B2, H11).

use weir_upstream::{Behaviour, Reading};

use crate::{both_stores, support::refused};

use super::{END, TRANSCRIBE, file, media, part, send};

both_stores!(
    /// Threats: B2, H11.
    a_form_that_readers_take_differently_is_refused,
    media(),
    |bench| {
        let model = part("model", b"transcribe");
        let dear = part("model", b"gpt-test");
        let raw = |head: &str, content: &str| {
            format!("--edge\r\n{head}\r\n\r\n{content}\r\n").into_bytes()
        };
        let many: Vec<u8> = (0..1_001).flat_map(|_| part("x", b"")).collect();
        let forms: Vec<(&str, Vec<u8>, &str)> = vec![
            (
                "two models",
                [&model[..], &dear, END].concat(),
                "invalid_multipart",
            ),
            (
                "one model twice",
                [&model[..], &model, END].concat(),
                "invalid_multipart",
            ),
            (
                "another case",
                [&part("Model", b"gpt-test")[..], &model, END].concat(),
                "invalid_multipart",
            ),
            (
                "name*",
                [
                    &raw(
                        "content-disposition: form-data; name*=utf-8''model",
                        "gpt-test",
                    )[..],
                    &model,
                    END,
                ]
                .concat(),
                "invalid_multipart",
            ),
            (
                "name*0",
                [
                    &raw(
                        "content-disposition: form-data; name*0=mo; name*1=del",
                        "gpt-test",
                    )[..],
                    &model,
                    END,
                ]
                .concat(),
                "invalid_multipart",
            ),
            (
                "two names",
                [
                    &raw(
                        "content-disposition: form-data; name=\"x\"; name=\"model\"",
                        "gpt-test",
                    )[..],
                    &model,
                    END,
                ]
                .concat(),
                "invalid_multipart",
            ),
            (
                "a model that is a file",
                [
                    &raw(
                        "content-disposition: form-data; name=\"model\"; filename=\"a\"",
                        "gpt-test",
                    )[..],
                    END,
                ]
                .concat(),
                "invalid_multipart",
            ),
            (
                "bare line feeds",
                b"--edge\ncontent-disposition: form-data; name=\"model\"\n\ntranscribe\n--edge--\n"
                    .to_vec(),
                "invalid_multipart",
            ),
            (
                "no end",
                [&model[..], &file(b"abc")].concat(),
                "invalid_multipart",
            ),
            (
                "an end that is cut",
                [&model[..], b"--edge-"].concat(),
                "invalid_multipart",
            ),
            (
                "bytes after the end",
                [&model[..], END, &dear, END].concat(),
                "invalid_multipart",
            ),
            (
                "a preamble",
                [b"hello\r\n", &model[..], END].concat(),
                "invalid_multipart",
            ),
            (
                "1,001 parts",
                [&many[..], &model, END].concat(),
                "invalid_multipart",
            ),
            (
                "a head of 9 KiB",
                [
                    &raw(
                        &format!(
                            "content-disposition: form-data; name=\"{}\"",
                            "x".repeat(9 << 10)
                        ),
                        "",
                    )[..],
                    END,
                ]
                .concat(),
                "invalid_multipart",
            ),
            ("nothing", Vec::new(), "invalid_multipart"),
            (
                "JSON",
                b"{\"model\":\"transcribe\"}".to_vec(),
                "invalid_multipart",
            ),
            (
                "a long model",
                [&part("model", &[b'x'; 300])[..], END].concat(),
                "invalid_value",
            ),
            (
                "an empty model",
                [&part("model", b"")[..], END].concat(),
                "invalid_value",
            ),
            (
                "a model that is no text",
                [&part("model", b"\xFF\xFE")[..], END].concat(),
                "invalid_value",
            ),
        ];
        for reading in [Reading::FirstWins, Reading::LastWins] {
            bench.vendor.set_default(Behaviour {
                reading,
                ..Behaviour::default()
            });
            for (what, form, code) in &forms {
                let answer = send(&bench, TRANSCRIBE, form.clone()).await;
                eprintln!("{what}");
                refused(answer, 400, code).await;
            }
        }
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a\nb\"",
        ] {
            let Ok(kind) = reqwest::header::HeaderValue::from_str(kind) else {
                continue;
            };
            let asked = bench
                .post(TRANSCRIBE)
                .header("content-type", kind)
                .body([&model[..], END].concat());
            refused(asked.send().await.unwrap(), 400, "invalid_multipart").await;
        }
        assert!(bench.vendor.requests().is_empty());
        assert_eq!(
            bench
                .books()
                .await
                .events
                .iter()
                .map(|event| event.count)
                .sum::<i32>(),
            41
        );
    }
);
