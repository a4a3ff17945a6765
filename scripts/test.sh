#!/usr/bin/env bash
# Runs every test of the workspace with stores of its own and closes with the sum over all test binaries.
# Arguments go to `cargo test`: scripts/test.sh --test api streams
set -euo pipefail
cd "$(dirname "$0")/.."

sum_up() {
  awk '{ print; fflush() }
    /^test result:/ { passed += $4; failed += $6; skipped += $8 }
    END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
}

scripts/test-stores.sh cargo test --workspace --locked --no-fail-fast "$@" | sum_up
