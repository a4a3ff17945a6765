"""What `make bench`, `make profile` and the training load share: the stand-in vendor, the proxies, Weir's configuration, and how
they are started and ended."""

import base64
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY = "bench-0123456789-0123456789-0123456789"
MODEL = "bench"
# What weir-upstream takes from these names: 50 chunks 10 ms apart, 20 chunks a second apart, each with the time it was sent.
STREAMED, SLOW = "stub-slow-10ms-tokens-50-stamp", "stub-slow-1000ms-tokens-20-stamp"
UPSTREAM, NGINX, HAPROXY, LITELLM, PORTKEY = (f"127.0.0.1:{port}" for port in (9100, 9101, 9109, 9401, 9402))

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
ALL_CORES = f"0-{(os.cpu_count() or 1) - 1}"

NGINX_CONF = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 20000; }}
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
  - name: {STREAMED}
    prices: {{input: "0.15", output: "0.60"}}
    routes: [{{channel: bench, model: {STREAMED}}}]
  - name: {SLOW}
    prices: {{input: "0.15", output: "0.60"}}
    routes: [{{channel: bench, model: {SLOW}}}]
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

LITELLM_CONF = f"""
model_list:
  - model_name: {MODEL}
    litellm_params: {{model: openai/{MODEL}, api_base: "http://{UPSTREAM}/v1", api_key: sk-bench}}
litellm_settings: {{num_retries: 0, request_timeout: 120}}
general_settings: {{master_key: sk-{KEY}}}
"""

# Every answer is checked: a fast refusal must not pass for a fast gateway.
WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
for name, value in pairs({headers}) do wrk.headers[name] = value end
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
        # One tenant stands for all.
        "WEIR_LIMITS_TENANT_REQUESTS": "1000000",
        "BENCH_KEY": KEY,
        "BENCH_CREDENTIAL": "sk-bench",
    }


@functools.cache
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
    packages = [word for name in ("weir", "weir-upstream", "weir-streams") for word in ("--package", name)]
    subprocess.run(["cargo", "build", "--release", "--locked", *packages], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"


def wrk_script(body=BODY, headers=None):
    """A script for wrk that sends this body and counts every answer but 200."""
    told = {"Authorization": f"Bearer {KEY}"} if headers is None else headers
    lua = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in told.items())
    return WRK_SCRIPT.format(body=body, headers="{" + lua + "}")


class Target:
    """Something that is measured: where it listens, its process, and what else it wants in a request."""

    def __init__(self, address, process, headers=None):
        self.address, self.process, self.headers = address, process, headers


class Servers:
    """What was started, ended again in the reverse order whatever happens in between."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            self.end(process)

    @staticmethod
    def end(process):
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start(self, name, command, address, environment=None, headers=None, patience=30):
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(environment or {})}
            )
        self.running.append(process)
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            if answers(address, headers):
                return process
            time.sleep(0.02)
        fail(f"{name} did not start:\n{log.read_text(errors='replace')[-4000:]}")


class Stage:
    """A folder, the servers started in it, and how each kind of target is started."""

    def __init__(self, folder, servers, binaries, gateway_core=GATEWAY_CORE, other_core=OTHER_CORE):
        self.folder, self.servers, self.binaries = folder, servers, binaries
        self.gateway_core, self.other_core = gateway_core, other_core
        self.ports_used = 0

    @staticmethod
    @contextlib.contextmanager
    def set(binaries, fixed=True, **cores):
        """Sets a stage with the vendor on it, and clears it again. A vendor with a fixed answer does not read models' names."""
        with tempfile.TemporaryDirectory(prefix="weir-bench.") as name, Servers(Path(name)) as servers:
            stage = Stage(Path(name), servers, binaries, **cores)
            command = [str(binaries / "weir-upstream"), "--listen", UPSTREAM, "--no-record"]
            command += ["--fixed", "600"] if fixed else []
            vendor = servers.start("weir-upstream", pin(stage.other_core, command), UPSTREAM)
            stage.direct = Target(UPSTREAM, vendor)
            yield stage

    def proxies(self):
        """nginx and HAProxy, those of them that are installed."""
        found = {}
        for name, start in (("nginx", self.nginx), ("haproxy", self.haproxy)):
            if program := shutil.which(name) or shutil.which(name, path="/usr/sbin"):
                found[name] = start(program)
            else:
                print(f"bench: {name} is not installed and is left out", file=sys.stderr)
        return found

    def nginx(self, program):
        conf = self.folder / "nginx.conf"
        conf.write_text(NGINX_CONF.format(folder=self.folder, upstream=UPSTREAM, listen=NGINX))
        command = pin(self.gateway_core, [program, "-p", str(self.folder), "-c", str(conf)])
        return Target(NGINX, self.servers.start("nginx", command, NGINX))

    def haproxy(self, program):
        conf = self.folder / "haproxy.cfg"
        conf.write_text(HAPROXY_CONF.format(upstream=UPSTREAM, listen=HAPROXY))
        command = pin(self.gateway_core, [program, "-db", "-f", str(conf)])
        return Target(HAPROXY, self.servers.start("haproxy", command, HAPROXY))

    def weir(self, resources=RESOURCES.rstrip() + COUNTED, settings=None, binary=None, data=None):
        """A Weir on the next free port. Without resources it serves what its data folder has."""
        self.ports_used += 1
        listen = f"127.0.0.1:{9109 + self.ports_used}"
        command = [str(binary or self.binaries / "weir"), "serve"]
        if resources:
            file = self.folder / f"resources-{self.ports_used}.yaml"
            file.write_text(resources)
            command += ["--resources", str(file)]
        told = environment(listen, data or self.folder / f"data-{self.ports_used}") | (settings or {})
        return Target(listen, self.servers.start(f"weir-{self.ports_used}", pin(self.gateway_core, command), listen, told))

    def weirs(self, trained=None):
        """The Weirs that count: embedded, a trained binary where one is given, and one on the stores where there are some."""
        found = {"limits": self.weir()}
        if trained:
            found["limits, trained"] = self.weir(binary=trained)
        return found | {name: self.weir(settings=settings) for name, settings in stores()}

    def peers(self):
        """LiteLLM and Portkey, those of them that `make setup-peers` has installed."""
        cache = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        folder = Path(os.environ.get("WEIR_CACHE", Path(cache) / "weir")) / "peers"
        found = {}
        litellm = folder / "py" / "bin" / "litellm"
        if litellm.exists():
            conf = self.folder / "litellm.yaml"
            conf.write_text(LITELLM_CONF)
            host, port = LITELLM.split(":")
            command = [str(litellm), "--config", str(conf), "--host", host, "--port", port, "--num_workers", "1"]
            told = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
            headers = {"Authorization": f"Bearer sk-{KEY}"}
            command = pin(self.gateway_core, [*command, "--telemetry", "False"])
            process = self.servers.start("litellm", command, LITELLM, told, headers, patience=120)
            found["LiteLLM"] = Target(LITELLM, process, headers)
        portkey = folder / "node" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        if portkey.exists():
            preload = ROOT / "loadtest" / "peers" / "loopback.cjs"
            command = ["node", "--require", str(preload), str(portkey), "--headless", f"--port={PORTKEY.split(':')[1]}"]
            headers = {
                "Authorization": "Bearer sk-bench",
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://{UPSTREAM}/v1",
            }
            told = {"NODE_ENV": "production"}
            command = pin(self.gateway_core, command)
            process = self.servers.start("portkey", command, PORTKEY, told, headers, patience=60)
            found["Portkey"] = Target(PORTKEY, process, headers)
        if len(found) < 2:
            print("bench: LiteLLM and Portkey are measured once `make setup-peers` has installed them", file=sys.stderr)
        return found


def answers(address, headers=None):
    """Whether one such request is answered as it should be."""
    told = {"authorization": f"Bearer {KEY}"} if headers is None else headers
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        BODY.encode(),
        {"content-type": "application/json", **told},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status == 200 and bool(json.load(response)["choices"])
    except (OSError, ValueError, LookupError):
        return False
