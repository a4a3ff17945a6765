#!/usr/bin/env bash
# Installs what the named parts of the project need: scripts/setup.sh run|test|lint|coverage|bench|peers|fuzz|profile ...
# Called by the Makefile before every target: silent and quick when nothing is missing. On Debian and Ubuntu
# packages come from apt (as root, or with sudo where that asks for no password); elsewhere it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly RUST_MINIMUM=1.95
readonly CARGO_DENY=0.20.2
readonly CARGO_MACHETE=0.9.2
readonly CARGO_LLVM_COV=0.9.1
readonly CARGO_FUZZ=0.13.2
readonly INFERNO=0.12.8

cache="${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}"
packages=()

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# want PACKAGE CHECK...: the package is missing when the check fails.
want() {
  local package=$1; shift
  "$@" || packages+=("$package")
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo --non-interactive "$@"; fi
}

install_packages() {
  [ "${#packages[@]}" -gt 0 ] || return 0
  has apt-get || fail "install these first, under your system's names for them: ${packages[*]}"
  if [ "$(id -u)" -ne 0 ] && ! { has sudo && sudo --non-interactive true 2>/dev/null; }; then
    fail "run this first: sudo apt-get install ${packages[*]}"
  fi
  say "installing ${packages[*]}"
  as_root apt-get update -qq || say "the package lists could not be refreshed; going on with those there are"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
  packages=()
}

check_rust() {
  has cargo || fail "Rust is missing. Install it from https://rustup.rs, then run this again in a new shell."
  local version
  version=$(cargo --version | cut -d ' ' -f 2)
  [ "$(printf '%s\n' "$RUST_MINIMUM" "$version" | sort -V | head -n 1)" = "$RUST_MINIMUM" ] ||
    fail "Rust $version is older than $RUST_MINIMUM. Run: rustup update stable"
}

# cargo_tool NAME VERSION: the tool in just that version, so that lint says the same everywhere.
cargo_tool() {
  local found
  found=$(cargo "${1#cargo-}" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1) || true
  [ "$found" != "$2" ] || return 0
  say "building $1 $2 (once)"
  CARGO_TARGET_DIR="$cache/tools" cargo install --quiet --locked --force --version "$2" "$1"
}

# python_env FOLDER REQUIREMENTS: a virtual environment with just these packages, remade when the file changes.
python_env() {
  ! cmp -s "$2" "$1/requirements.txt" || return 0
  say "installing the Python packages of $2"
  rm -rf "$1"
  mkdir -p "$(dirname "$1")"
  python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2"
  cp "$2" "$1/requirements.txt"
}

# node_env FOLDER SOURCE: node_modules as SOURCE's lock file has them, remade when that changes.
node_env() {
  ! cmp -s "$2/package-lock.json" "$1/installed.json" || return 0
  say "installing the Node packages of $2"
  rm -rf "$1"
  mkdir -p "$1"
  cp "$2/package.json" "$2/package-lock.json" "$1"
  npm ci --prefix "$1" --silent --no-audit --no-fund --ignore-scripts
  cp "$2/package-lock.json" "$1/installed.json"
}

# Prometheus's own word on metrics and rules: the one program of a package whose server nothing here needs.
prometheus_tool() {
  local folder="$cache/clients/bin" package
  [ ! -x "$folder/promtool" ] || return 0
  if has promtool; then
    mkdir -p "$folder"
    ln -sf "$(command -v promtool)" "$folder/promtool"
    return 0
  fi
  has apt-get || { say "promtool, which is part of Prometheus, is not there: what it would say of rules and metrics is not asked"; return 0; }
  say "fetching promtool"
  package=$(mktemp -d)
  # apt's own user, which fetches, has to get in.
  chmod 755 "$package"
  (cd "$package" && apt-get download -qq prometheus >/dev/null 2>&1) || {
    as_root apt-get update -qq >&2 || { rm -rf "$package"; fail "run this first: sudo apt-get update"; }
    (cd "$package" && apt-get download -qq prometheus >&2) || { rm -rf "$package"; fail "apt has no package prometheus, which promtool is of"; }
  }
  mkdir -p "$folder"
  dpkg-deb --fsys-tarfile "$package"/prometheus_*.deb | tar -x -C "$folder" --strip-components=3 ./usr/bin/promtool
  rm -rf "$package"
}

has_postgres_server() { has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
has_venv() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

setup_run() {
  # SQLite, mimalloc and the TLS library are C, compiled into the binary.
  want build-essential has cc
  install_packages
  check_rust
}

setup_test() {
  # The servers' packages start a system-wide server each on Debian; the tests use neither.
  want postgresql has_postgres_server
  want redis-server has redis-server
  want faketime has faketime
  want chromium has chromium
  want python3-venv has_venv
  want nodejs has node
  want npm has npm
  want curl has curl
  install_packages
  python_env "$cache/clients/py" server/tests/clients/requirements.txt
  node_env "$cache/clients/node" server/tests/clients
  prometheus_tool
}

setup_lint() {
  if ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    has rustup || fail "rustfmt and clippy are missing: install them as you installed Rust"
    rustup component add rustfmt clippy >&2
  fi
  want python3-venv has_venv
  install_packages
  python_env "$cache/lint" scripts/requirements.txt
  prometheus_tool
  cargo_tool cargo-machete "$CARGO_MACHETE"
  cargo_tool cargo-deny "$CARGO_DENY"
}

setup_coverage() {
  cargo_tool cargo-llvm-cov "$CARGO_LLVM_COV"
  if scripts/llvm-tools.sh >/dev/null 2>&1; then return; fi
  # The tools have to match the LLVM inside rustc. Without rustup's download Debian's of the same number do.
  if has rustup && timeout 120 rustup component add llvm-tools >/dev/null 2>&1; then return; fi
  packages=("llvm-$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')")
  install_packages
  scripts/llvm-tools.sh >/dev/null
}

setup_bench() {
  want wrk has wrk
  want nginx-light has nginx
  want haproxy has haproxy
  want postgresql has_postgres_server
  want redis-server has redis-server
  want python3 has python3
  install_packages
}

setup_peers() {
  want python3-venv has_venv
  want nodejs has node
  want npm has npm
  install_packages
  python_env "$cache/peers/py" loadtest/peers/requirements.txt
  node_env "$cache/peers/node" loadtest/peers
}

setup_profile() {
  want linux-perf has perf
  install_packages
  if [ "$(inferno-flamegraph --version 2>/dev/null)" != "inferno $INFERNO" ]; then
    say "building inferno $INFERNO (once)"
    CARGO_TARGET_DIR="$cache/tools" cargo install --quiet --locked --force --version "$INFERNO" inferno
  fi
}

setup_fuzz() {
  # libFuzzer is C++; sanitizers, which need a nightly compiler, are left out.
  want g++ has c++
  install_packages
  cargo_tool cargo-fuzz "$CARGO_FUZZ"
}

for part in "$@"; do
  case $part in
    run | test | lint | coverage | bench | peers | fuzz | profile) "setup_$part" ;;
    *) fail "unknown part: $part" ;;
  esac
done
