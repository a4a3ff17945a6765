"""What `make bench`, `make profile` and the training load share: the stand-in vendor, the proxies, Weir's configuration, and how
they are started and ended."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY = "bench-0123456789-0123456789-0123456789"
MODEL = "bench"
UPSTREAM, NGINX, HAPROXY = "127.0.0.1:9100", "127.0.0.1:9101", "127.0.0.1:9109"

BODY = json.dumps(
    {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a concise assistant. " * 8},
            {"role": "user", "content": "Summarise the following paragraph in one sentence. " * 10},
        ],
        "max_tokens": 64,
    }
)

# One core for what is measured, the other for client and vendor, so that they do not steal from each other.
PINNED = (os.cpu_count() or 1) >= 2 and shutil.which("taskset") is not None
GATEWAY_CORE, OTHER_CORE = "0", "1"

NGINX_CONF = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream vendor {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://vendor;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer sk-bench";
      proxy_buffering off;
    }}
  }}
}}
"""

HAPROXY_CONF = """
global
  maxconn 9500
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 75s
  option http-no-delay
  http-reuse always
frontend f
  bind {listen} backlog 4096
  default_backend b
backend b
  http-request set-header Authorization "Bearer sk-bench"
  server vendor {upstream} pool-max-conn -1
"""

RESOURCES = f"""
channels:
  - name: bench
    kind: openai
    base_url: http://{UPSTREAM}/v1
    credentials: ["${{BENCH_CREDENTIAL}}"]
models:
  - name: {MODEL}
    prices: {{input: "0.15", output: "0.60"}}
    routes: [{{channel: bench, model: {MODEL}}}]
tenants:
  - name: bench
    grants: {{models: ["*"]}}
    keys: [{{name: bench, value: "${{BENCH_KEY}}", models: ["*"]}}]
"""

# Three limits and a hard budget, none of which ever refuses.
COUNTED = """
    limits:
      - {metric: requests, per: second, max: 10000000}
      - {metric: tokens, per: minute, max: 1000000000000}
      - {metric: concurrent, max: 100000}
    budgets: [{amount: "9000000", period: month, mode: hard}]
"""

# Every answer is checked: a fast refusal must not pass for a fast gateway.
WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function init(args) refused = 0 end
function response(status) if status ~= 200 then refused = refused + 1 end end
function done(summary, latency, requests)
  local refused = 0
  for _, thread in ipairs(threads) do refused = refused + thread:get("refused") end
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {{"requests":%d,"seconds":%.6f,"p50":%d,"p99":%d,"errors":%d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    refused + e.connect + e.read + e.write + e.timeout))
end
"""


def fail(message):
    sys.exit(f"bench: {message}")


def environment(listen, data):
    """What every Weir that is measured is told."""
    return {
        "WEIR_LISTEN": listen,
        "WEIR_DATA_DIR": str(data),
        "WEIR_LOG": "warn",
        # As nginx: no access log.
        "WEIR_ACCESS_LOG": "false",
        "BENCH_KEY": KEY,
        "BENCH_CREDENTIAL": "sk-bench",
    }


def stores():
    """What names PostgreSQL and Redis to a Weir, once, where there are some."""
    names = {"WEIR_DATABASE_URL": "WEIR_TEST_DATABASE_URL", "WEIR_REDIS_URL": "WEIR_TEST_REDIS_URL"}
    if not all(os.environ.get(name) for name in names.values()):
        print("bench: no PostgreSQL and no Redis are named, and so are left out", file=sys.stderr)
        return []
    # A key for this run alone, which seals one made-up credential.
    key = base64.b64encode(os.urandom(32)).decode()
    return [("stores", {"WEIR_MASTER_KEY": key, **{name: os.environ[given] for name, given in names.items()}})]


def pin(core, command):
    return ["taskset", "--cpu-list", core, *command] if PINNED else command


def build():
    command = ["cargo", "build", "--release", "--locked", "--package", "weir", "--package", "weir-upstream"]
    subprocess.run(command, cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"


class Servers:
    """What was started, ended again in the reverse order whatever happens in between."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, name, command, address, environment=None):
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(environment or {})}
            )
        self.running.append(process)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if answers(address):
                return process
            time.sleep(0.05)
        fail(f"{name} did not start:\n{log.read_text(errors='replace')[-4000:]}")


def answers(address):
    """Whether one such request is answered as it should be."""
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        BODY.encode(),
        {"content-type": "application/json", "authorization": f"Bearer {KEY}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status == 200 and bool(json.load(response)["choices"])
    except (OSError, ValueError, LookupError):
        return False
