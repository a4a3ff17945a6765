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
import datetime
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from gauges import measure, settle
from stage import (
    BODY,
    COUNTED,
    GATEWAY_CORE,
    HAPROXY,
    HAPROXY_CONF,
    KEY,
    NGINX,
    NGINX_CONF,
    OTHER_CORE,
    PINNED,
    RESOURCES,
    ROOT,
    UPSTREAM,
    WRK_SCRIPT,
    Servers,
    build,
    environment,
    fail,
    pin,
    stores,
)


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
