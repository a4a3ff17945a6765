#!/usr/bin/env bash
# Writes the secrets that docker-compose.yml mounts into deploy/secrets/. What is there already stays: the master
# key opens every sealed vendor key, so back it up, apart from the database.
set -euo pipefail
cd "$(dirname "$0")/secrets"

# The folder lets nobody else in. The files are readable because a container's user is another than the owner's
# and compose mounts a file with the mode that it has.
chmod 700 .
umask 022

random() { head -c 32 /dev/urandom | base64 -w 0; }
# For what stands inside a URL or a configuration line.
random_hex() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
keep() { [ -s "$1" ] || printf '%s' "$2" >"$1"; }

keep master_key "$(random)"
keep admin_token "$(random_hex)"
keep metrics_token "$(random_hex)"
keep grafana_password "$(random_hex)"
keep postgres_password "$(random_hex)"
keep database_url "postgres://weir:$(cat postgres_password)@postgres:5432/weir"
if [ ! -s redis_conf ] || [ ! -s redis_url ]; then
  password=$(random_hex)
  printf '%s\n' "requirepass $password" 'save ""' 'appendonly no' 'maxmemory-policy noeviction' 'dir /data' >redis_conf
  printf 'redis://:%s@redis:6379' "$password" >redis_url
fi
