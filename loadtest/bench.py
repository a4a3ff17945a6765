#!/usr/bin/env python3
"""`make bench`: what Weir costs beside nothing (direct) and beside plain proxies, measured in turn on this machine.

Builds weir and weir-upstream for release, starts the stand-in vendor, nginx, HAProxy and Weir on loopback, lets wrk send
the same request to each in turn, several rounds over, and writes the medians with the machine's description into
RESULTS.md. Compare the ratios of one run, not the figures of two days: they are of this machine and hour.

Weir is measured embedded, without anything to count and with three limits and a hard budget, and the same with
PostgreSQL and Redis where WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL name some, as scripts/test-stores.sh does.

    loadtest/bench.py [--rounds 3] [--seconds 5] [--connections 64] [--pgo WEIR] [--out loadtest/RESULTS.md]
"""

import argparse
import base64
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
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


def cpu_seconds(process):
    """User and system time of a process and its children, as the kernel counts them."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if process.pid in (int(stat.parent.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(address, process, arguments, script):
    before = cpu_seconds(process)
    command = ["wrk", "--threads", "1", "--connections", str(arguments.connections)]
    command += ["--duration", f"{arguments.seconds}s", "--script", str(script), f"http://{address}/v1/chat/completions"]
    run = subprocess.run(pin(OTHER_CORE, command), capture_output=True, text=True, timeout=arguments.seconds + 60)
    line = re.search(r"^BENCH (.*)$", run.stdout, re.MULTILINE)
    if not line:
        fail(f"wrk: {run.stderr or run.stdout}")
    found = json.loads(line[1])
    return {
        "rps": found["requests"] / found["seconds"],
        "p50": found["p50"] / 1000,
        "p99": found["p99"] / 1000,
        "errors": found["errors"],
        "cpu": (cpu_seconds(process) - before) * 1e6 / max(found["requests"], 1),
        "rss": resident_mib(process),
    }


def resident_mib(process):
    """What a process and its children hold in memory."""
    kib = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if process.pid in (int(fields["Pid"]), int(fields["PPid"])) and "VmRSS" in fields:
            kib += int(fields["VmRSS"].split()[0])
    return kib / 1024


def settle(process):
    """Waits until a target has done what it does after its answers, such as booking, so that the next has the core alone."""
    deadline = time.monotonic() + 60
    before = cpu_seconds(process)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = cpu_seconds(process)
        if now - before < 0.05:
            return
        before = now


def version(command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not found"
    lines = (run.stdout or run.stderr).splitlines()
    return lines[0].partition(" Copyright")[0].strip() if lines else "unknown"


def machine():
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    kernel = ".".join(platform.release().split(".")[:2])
    gib = int(memory[1]) / 2**20 if memory else 0
    pinning = "the measured one on core 0, client and vendor on core 1" if PINNED else "not pinned"
    return [
        f"- {os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {gib:.0f} GiB, Linux {kernel}",
        f"- {version(['rustc', '--version'])}; {version(['nginx', '-v'])}; {version(['wrk', '-v'])}",
        f"- loopback, plain HTTP/1.1, {pinning}",
    ]


def report(rounds, arguments):
    def median(name, figure):
        return statistics.median(one[figure] for one in rounds[name])

    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {datetime.date.today()}: {arguments.connections} connections, not streaming, a chat request of"
        f" {len(BODY)} bytes, medians of {arguments.rounds} rounds of {arguments.seconds} s taken in turn.",
        "",
        *machine(),
        "",
        "| target | requests/s | least–most | / nginx | p50 ms | p99 ms | CPU µs a request | / nginx | RSS MiB | errors |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, each in rounds.items():
        rates = [one["rps"] for one in each]
        ratio = f"{median(name, 'rps') / median('nginx', 'rps'):.2f}" if "nginx" in rounds else "—"
        cost = f"{median(name, 'cpu') / median('nginx', 'cpu'):.2f}" if "nginx" in rounds else "—"
        lines.append(
            f"| {name} | {median(name, 'rps'):,.0f} | {min(rates):,.0f}–{max(rates):,.0f} | {ratio}"
            f" | {median(name, 'p50'):.2f} | {median(name, 'p99'):.2f} | {median(name, 'cpu'):.1f} | {cost} | {median(name, 'rss'):.0f}"
            f" | {sum(one['errors'] for one in each)} |"
        )
    notes = (
        "CPU is of the target itself: for `direct` of the vendor, which shares its core with the client. Errors count every answer"
        " but 200. `weir` is embedded and counts nothing but usage; `limits` adds three limits and a hard budget; `stores` is that"
        " with PostgreSQL and Redis, which share the other core and sync nothing to disk; `log` is `limits` with its access log on;"
        " `trained` is a binary of `make build-pgo`."
    )
    return "\n".join([*lines, "", notes, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pgo", type=Path, help="a weir of `make build-pgo`, measured besides")
    parser.add_argument("--out", type=Path, default=ROOT / "loadtest" / "RESULTS.md")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        fail("wrk is missing: make setup-bench")

    binaries = build()
    with tempfile.TemporaryDirectory(prefix="weir-bench.") as name, Servers(Path(name)) as servers:
        folder = Path(name)
        (folder / "resources.yaml").write_text(RESOURCES)
        (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder, upstream=UPSTREAM, listen=NGINX))
        script = folder / "chat.lua"
        script.write_text(WRK_SCRIPT.format(body=BODY, key=KEY))

        vendor = [str(binaries / "weir-upstream"), "--listen", UPSTREAM, "--no-record", "--fixed", "600"]
        targets = {"direct": (UPSTREAM, servers.start("weir-upstream", pin(OTHER_CORE, vendor), UPSTREAM))}
        if nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"):
            command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
            targets["nginx"] = (NGINX, servers.start("nginx", pin(GATEWAY_CORE, command), NGINX))
        else:
            print("bench: nginx is not installed and is left out", file=sys.stderr)
        if haproxy := shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin"):
            (folder / "haproxy.cfg").write_text(HAPROXY_CONF.format(upstream=UPSTREAM, listen=HAPROXY))
            command = [haproxy, "-db", "-f", str(folder / "haproxy.cfg")]
            targets["haproxy"] = (HAPROXY, servers.start("haproxy", pin(GATEWAY_CORE, command), HAPROXY))
        else:
            print("bench: haproxy is not installed and is left out", file=sys.stderr)
        (folder / "counted.yaml").write_text(RESOURCES.rstrip() + COUNTED)
        weir, log = binaries / "weir", {"WEIR_ACCESS_LOG": "true", "WEIR_LOG": "info"}
        kinds = [("weir", weir, "resources", {}), ("limits", weir, "counted", {}), ("log", weir, "counted", log)]
        if arguments.pgo:
            kinds.append(("limits, trained", arguments.pgo, "counted", {}))
        for name, settings in stores():
            kinds.append((name, weir, "counted", settings))
        for at, (name, binary, resources, settings) in enumerate(kinds):
            listen = f"127.0.0.1:{9102 + at}"
            command = [str(binary), "serve", "--resources", str(folder / f"{resources}.yaml")]
            told = environment(listen, folder / f"data-{at}") | settings
            targets[name] = (listen, servers.start(f"weir-{at}", pin(GATEWAY_CORE, command), listen, told))

        rounds = {name: [] for name in targets}
        for turn in range(arguments.rounds):
            for name, (address, process) in targets.items():
                found = measure(address, process, arguments, script)
                rounds[name].append(found)
                settle(process)
                print(f"round {turn + 1}: {name}: {found['rps']:,.0f} requests/s, {found['errors']} errors", flush=True)

    text = report(rounds, arguments)
    arguments.out.write_text(text)
    print(f"\n{text}")
    if any(one["errors"] for each in rounds.values() for one in each):
        fail("some answers were not 200: these figures say nothing")


if __name__ == "__main__":
    main()
