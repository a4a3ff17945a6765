//! For tests alone: pages of `docs/` that are made from the code, and that must be as the code says.

use std::path::Path;

/// Fails when the page differs from what the code makes; with `WEIR_UPDATE_DOCS=1` it writes the page instead.
pub fn assert_current(page: &str, made: &str) {
    // cargo runs tests in their package. The path of the build would be another clone's: they share a target folder.
    let path = Path::new("..").join(page);
    if std::env::var_os("WEIR_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of the page");
        std::fs::write(&path, made).expect("the page");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "{page} is stale: run the tests once with WEIR_UPDATE_DOCS=1"
    );
}

/// The same for a part of a page that people write: what stands between `<!-- name -->` and `<!-- /name -->`.
pub fn assert_part_current(page: &str, name: &str, made: &str) {
    let found = std::fs::read_to_string(Path::new("..").join(page)).expect("the page");
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let (before, rest) = found.split_once(&start).expect("where the part begins");
    let (_, after) = rest.split_once(&end).expect("where the part ends");
    assert_current(page, &format!("{before}{start}{made}{end}{after}"));
}
