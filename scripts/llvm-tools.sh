#!/usr/bin/env bash
# Prints the LLVM_COV and LLVM_PROFDATA that `make coverage` uses, as shell assignments; nothing when rustup's
# llvm-tools are there, which cargo-llvm-cov finds by itself. Fails when there are no tools that fit.
set -euo pipefail

sysroot=$(rustc --print sysroot)
if compgen -G "$sysroot/lib/rustlib/*/bin/llvm-profdata" >/dev/null; then exit 0; fi

# A profile is read by tools of rustc's own LLVM or a later one: an older one calls it "raw profile version mismatch".
major=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
for version in $(compgen -c llvm-profdata- | sed 's/^llvm-profdata-//' | grep -E '^[0-9]+$' | sort -rnu); do
  if [ "$version" -ge "$major" ] && command -v "llvm-cov-$version" >/dev/null; then
    printf 'export LLVM_COV=%q LLVM_PROFDATA=%q\n' \
      "$(command -v "llvm-cov-$version")" "$(command -v "llvm-profdata-$version")"
    exit 0
  fi
done
echo "coverage needs llvm-cov and llvm-profdata $major or later: rustup component add llvm-tools" >&2
exit 1
