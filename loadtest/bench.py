#!/usr/bin/env python3
"""`make bench`: what Weir costs beside nothing (direct), plain proxies and other gateways, measured in turn on this machine.

Builds weir, weir-upstream and weir-streams for release, starts the stand-in vendor, nginx, HAProxy and Weir on loopback,
loads each in turn, several rounds over, and writes the medians with the machine's description into RESULTS.md. Compare the
ratios of one run, not the figures of two days: they are of this machine and hour.

Weir is measured embedded, without anything to count and with three limits and a hard budget, and the same with
PostgreSQL and Redis where WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL name some, as scripts/test-stores.sh does. A
section that is not run keeps the lines that it has in RESULTS.md.

    loadtest/bench.py [--only throughput,latency] [--rounds 3] [--seconds 5] [--pgo WEIR] [--out loadtest/RESULTS.md]
"""

import argparse
import datetime
import functools
import os
import platform
import re
import resource
import subprocess
from pathlib import Path

import people
import sections
from stage import GATEWAY_CORE, PINNED, ROOT, build, fail

SECTIONS = {
    "throughput": ("Requests a second", sections.throughput),
    "latency": ("Added latency", sections.latency),
    "capacity": ("400 connections, the whole machine", sections.capacity),
    "streams": ("200 streams of 50 chunks, 10 ms apart", sections.streaming),
    "open": ("Open streams", sections.open_streams),
    "bodies": ("1,500 connections with bodies of 150 KB", sections.bodies),
    "keys": ("100,000 keys of 10,000 tenants", sections.keys),
    "booking": ("Booking", sections.booking),
    "management": ("Management reads", people.management),
    "sign_ins": ("Sign-ins beside calls", people.sign_ins),
}


@functools.cache
def version(*command):
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
    pinning = f"the measured one on core {GATEWAY_CORE}, all else on another" if PINNED else "not pinned"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return [
        f"- {os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {gib:.0f} GiB, Linux {kernel}, {files:,} files a process",
        f"- {version('rustc', '--version')}; {version('nginx', '-v')}; {version('haproxy', '-v').partition(' - ')[0]}; {version('wrk', '-v')}",
        f"- loopback, plain HTTP/1.1; {pinning}, unless a section says otherwise",
    ]


def former(out):
    """The sections that RESULTS.md has, by their titles."""
    if not out.exists():
        return {}
    parts = re.split(r"^## (.*)\n", out.read_text(), flags=re.MULTILINE)
    return {title: body.strip().splitlines() for title, body in zip(parts[1::2], parts[2::2])}


def write(out, found):
    lines = [
        "# Results",
        "",
        "Written by `make bench`: medians of rounds taken in turn. Ratios of one table count, not figures of two days. Every answer is",
        "checked; errors are those that were not whole and 200. CPU and memory are of the target itself, for `direct` of the vendor.",
        "",
        "`weir` is embedded and counts nothing but usage; `limits` adds three limits and a hard budget; `stores` is that with",
        "PostgreSQL and Redis, which share the other core and sync nothing to disk; `log` is `limits` with its access log on;",
        "`trained` is a binary of `make build-pgo`. None writes an access log but `log`; the vendor answers with 600 bytes at once.",
        "",
        *machine(),
    ]
    for title, _ in SECTIONS.values():
        if title in found:
            lines += ["", f"## {title}", "", *found[title]]
    # What others measure, such as `make bench-log`.
    for title in found.keys() - {title for title, _ in SECTIONS.values()}:
        lines += ["", f"## {title}", "", *found[title]]
    out.write_text("\n".join([*lines, ""]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pgo", type=Path, help="a weir of `make build-pgo`, measured besides")
    parser.add_argument("--out", type=Path, default=ROOT / "loadtest" / "RESULTS.md")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        fail(f"no such section: {', '.join(unknown)}")
    if version("wrk", "-v") == "not found":
        fail("wrk is missing: make setup-bench")
    # Thousands of streams are as many files, for all that is started from here.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    binaries = build()
    found = former(arguments.out)
    flawed = []
    for name in chosen:
        title, section = SECTIONS[name]
        print(f"bench: {title}", flush=True)
        lines, errors = section(binaries, arguments)
        found[title] = [*lines, "", f"Measured on {datetime.date.today()}."]
        if errors:
            flawed.append(title)
        write(arguments.out, found)
        print("\n".join(lines), flush=True)
    if flawed:
        fail(f"some answers were not whole and 200, so these figures say nothing: {'; '.join(flawed)}")


if __name__ == "__main__":
    main()
