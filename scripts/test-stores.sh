#!/usr/bin/env bash
# Runs a command with a PostgreSQL and a Redis of its own: scripts/test-stores.sh cargo test
# Both listen on free ports of 127.0.0.1, run as an unprivileged user, keep their files in a temporary folder, and
# end with the command. WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL name given servers to use instead;
# WEIR_TEST_POSTGRES_OPTIONS are words for PostgreSQL's server.
set -euo pipefail

folder=''
pids=()

stop() {
  trap - EXIT INT TERM
  # SIGINT is PostgreSQL's fast shutdown: it does not wait for connections that a test left open.
  if [ "${#pids[@]}" -gt 0 ]; then
    kill -INT "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  if [ -n "$folder" ]; then rm -rf "$folder"; fi
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() { echo "test-stores: $*" >&2; exit 1; }

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# PostgreSQL refuses to run as root, and Redis has no need to.
owner=''
if [ "$(id -u)" -eq 0 ]; then
  owner=nobody
  if id postgres >/dev/null 2>&1; then owner=postgres; fi
fi
as_owner() {
  if [ -n "$owner" ]; then exec setpriv --reuid "$owner" --regid "$(id -g "$owner")" --clear-groups "$@"; fi
  exec "$@"
}

# start LOG COMMAND...: in the background, as the owner; its pid is the server's own, for as_owner only execs.
start() {
  local log=$1; shift
  (cd "$folder" && as_owner "$@") >"$log" 2>&1 </dev/null &
  pids+=($!)
}

# ready LOG CHECK...: waits until the check passes, or shows why the server just started did not.
ready() {
  local log=$1; shift
  for _ in {1..150}; do
    if "$@" >/dev/null 2>&1; then return; fi
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  fail "a server did not start"
}

newest_postgres() {
  local bin
  bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1) || true
  if [ -z "$bin" ]; then bin=$(dirname "$(command -v initdb)") || fail "PostgreSQL's server is missing: make setup-test"; fi
  echo "$bin"
}

start_postgres() {
  local bin port options
  read -ra options <<<"${WEIR_TEST_POSTGRES_OPTIONS:-}"
  bin=$(newest_postgres)
  port=$(free_port)
  (cd "$folder" && as_owner "$bin/initdb" --pgdata="$folder/postgres" --username=weir --auth=trust \
    --encoding=UTF8 --no-locale --no-sync >"$folder/initdb.log" 2>&1) || { cat "$folder/initdb.log" >&2; fail "initdb failed"; }
  # Durability is left out: these data live as long as the tests.
  start "$folder/postgres.log" "$bin/postgres" -D "$folder/postgres" -p "$port" -k "$folder" \
    -c listen_addresses=127.0.0.1 -c max_connections=300 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off "${options[@]}"
  ready "$folder/postgres.log" "$bin/pg_isready" --quiet --host=127.0.0.1 --port="$port"
  export WEIR_TEST_DATABASE_URL="postgres://weir@127.0.0.1:$port/postgres"
}

start_redis() {
  local port
  port=$(free_port)
  start "$folder/redis.log" redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder"
  ready "$folder/redis.log" redis-cli -h 127.0.0.1 -p "$port" ping
  export WEIR_TEST_REDIS_URL="redis://127.0.0.1:$port"
}

[ $# -gt 0 ] || fail "usage: scripts/test-stores.sh COMMAND [ARGUMENT...]"

if [ -z "${WEIR_TEST_DATABASE_URL:-}" ] || [ -z "${WEIR_TEST_REDIS_URL:-}" ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/weir-stores.XXXXXX")
  if [ -n "$owner" ]; then chown "$owner" "$folder"; fi
fi
if [ -z "${WEIR_TEST_DATABASE_URL:-}" ]; then start_postgres; fi
if [ -z "${WEIR_TEST_REDIS_URL:-}" ]; then start_redis; fi

"$@"
