//! What a browser gets from Weir: for now one page, which says what Weir is, how it is, and where to read on.
//!
//! The server mounts [`ASSETS`] as they are and sends [`CONTENT_SECURITY_POLICY`] with each. The page talks to
//! `/health` alone. There is no code here that runs: the Leptos application comes with an issue of its own and
//! takes this crate's place.

#![forbid(unsafe_code)]

/// What the page may do, which is little: nothing inline, nothing from another origin, framed by nobody.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// One file as the server answers it.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// The path of its URL.
    pub path: &'static str,
    /// The `content-type` it is sent with.
    pub content_type: &'static str,
    /// The body.
    pub bytes: &'static [u8],
}

/// Every file there is, the page itself first.
pub const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../static/index.html"),
    },
    Asset {
        path: "/assets/style.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../static/style.css"),
    },
    Asset {
        path: "/assets/page.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../static/page.js"),
    },
    Asset {
        path: "/assets/favicon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../static/favicon.svg"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        let asset = ASSETS.iter().find(|asset| asset.path == path).expect(path);
        std::str::from_utf8(asset.bytes).expect("assets are text")
    }

    /// The values of an attribute, in the order of the page.
    fn attribute<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!(" {name}=\"");
        html.split(start.as_str())
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect()
    }

    #[test]
    fn every_text_of_the_page_has_its_chinese() {
        let (html, script) = (text("/"), text("/assets/page.js"));
        let chinese = script
            .split("const chinese = {")
            .nth(1)
            .and_then(|rest| rest.split("};").next());
        let chinese = chinese.expect("the table stands in page.js");
        let keys = [attribute(html, "data-text"), attribute(html, "data-label")].concat();
        assert!(!keys.is_empty());
        for key in &keys {
            assert!(
                chinese.contains(&format!("\n  {key}: \"")),
                "no Chinese for {key}"
            );
        }
        assert_eq!(
            chinese.lines().filter(|line| line.contains(": \"")).count(),
            keys.len(),
            "Chinese for nothing"
        );
    }

    #[test]
    fn the_page_keeps_to_its_policy() {
        let html = text("/");
        for forbidden in [
            "<style",
            " style=",
            " onclick=",
            "javascript:",
            "http://",
            "https://",
        ] {
            assert!(!html.contains(forbidden), "{forbidden} would be blocked");
        }
        assert!(
            !html.contains("<script>"),
            "inline scripts would be blocked"
        );
    }

    #[test]
    fn what_the_page_loads_is_there() {
        let html = text("/");
        let loaded = [attribute(html, "src"), attribute(html, "href")].concat();
        for path in loaded
            .into_iter()
            .filter(|path| path.starts_with("/assets/"))
        {
            assert!(
                ASSETS.iter().any(|asset| asset.path == path),
                "{path} is not served"
            );
        }
    }
}
