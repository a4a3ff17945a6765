#!/usr/bin/env bash
# Runs every test of the workspace with stores of its own and closes with the failed tests'
# words and the sum over all test binaries.
# Arguments go to `cargo test`: scripts/test.sh --test api streams
set -euo pipefail
cd "$(dirname "$0")/.."

# Repeats at the end what the failed tests said, up to 30 lines each: whoever reads only a log's end
# still learns which they were.
sum_up() {
  awk '{ print; fflush() }
    /^test result:/ { passed += $4; failed += $6; skipped += $8; inside = 0 }
    /^---- .* stdout ----$/ { inside = 30 }
    /^failures:$/ { inside = 0 }
    inside > 0 { inside--; said = said $0 "\n" }
    END { printf "\n%s\n%d passed, %d failed, %d skipped\n", said, passed, failed, skipped }'
}

scripts/test-stores.sh cargo test --workspace --locked --no-fail-fast "$@" | sum_up
