"""What is read off a process that is measured, and off the client that loads it."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from stage import OTHER_CORE, fail, pin


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
