#!/usr/bin/env bash
# Fuzzes targets of a crate, one after the other: scripts/fuzz.sh CRATE TARGET...
# Each runs FUZZ_SECONDS. What is found along the way is kept in the cache and tried first the next time.
set -euo pipefail

cd "$1"
shift
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
for target; do
  mkdir -p "$cache/fuzz-corpus/$target"
  CARGO_TARGET_DIR="$cache/fuzz" cargo fuzz run --sanitizer none "$target" \
    "$cache/fuzz-corpus/$target" "fuzz/corpus/$target" -- \
    -max_total_time="${FUZZ_SECONDS:-600}" -max_len=4096
done
