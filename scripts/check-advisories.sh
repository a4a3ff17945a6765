#!/usr/bin/env bash
# Checks Cargo.lock against the RustSec database, wherever that can be reached; says so where it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! timeout 60 cargo deny --log-level error fetch db >/dev/null 2>&1; then
  echo "advisories: not checked, for the RustSec database cannot be reached from here" >&2
  exit 0
fi
cargo deny --log-level warn --workspace --locked check --disable-fetch --hide-inclusion-graph advisories
