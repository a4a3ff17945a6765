#!/usr/bin/env bash
# Builds weir for release with a profile of its own load: instrumented, trained by loadtest/train.py, built again. Prints
# where the binary is. It takes two builds of everything; what it gains, `make bench PGO=path` says.
set -euo pipefail

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}/target}
host=$(rustc --version --verbose | sed -n 's/^host: //p')
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT

eval "$(scripts/llvm-tools.sh)"
profdata=${LLVM_PROFDATA:-$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata}

# With --target, so that build scripts and macros are not built with these flags.
build() {
  CARGO_TARGET_DIR="$target/pgo" RUSTFLAGS="${RUSTFLAGS:-} $1" \
    cargo build --locked --release --target "$host" --package weir
}

cargo build --locked --release --package weir-upstream
build "-Cprofile-generate=$profile/raw"
LLVM_PROFILE_FILE="$profile/raw/%m.profraw" scripts/test-stores.sh \
  python3 loadtest/train.py "$target/pgo/$host/release/weir" "$target/release/weir-upstream"
"$profdata" merge -o "$profile/merged" "$profile"/raw/*.profraw
# The profile's place is part of what cargo compares: one that stays lets it keep what has not changed.
mkdir -p "$target/pgo"
mv "$profile/merged" "$target/pgo/merged.profdata"
build "-Cprofile-use=$target/pgo/merged.profdata"
echo "$target/pgo/$host/release/weir"
