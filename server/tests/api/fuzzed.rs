//! The server's fuzz targets over their corpora, as plain tests (threats.md, H12).

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;

/// Runs a target over each file of its corpus; how many there were.
fn over(name: &str, target: fn(&[u8])) -> usize {
    let folder = Path::new("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).expect("a corpus");
    let mut count = 0;
    for file in files {
        let path = file.expect("a file").path();
        println!("{}", path.display());
        target(&std::fs::read(&path).expect("its bytes"));
        count += 1;
    }
    count
}

/// Threats: H12, R4, H3, U2.
#[test]
fn what_fuzzing_the_server_found_holds() {
    assert!(over("spool", targets::spool) > 0);
    assert!(over("resources", targets::resources) > 0);
    assert!(over("head", targets::head) > 0);
    assert!(over("answer", targets::answer) > 0);
}
