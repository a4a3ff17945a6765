"""What is read off a process that is measured, and off the client that loads it."""

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from stage import KEY, fail, pin


def family(process, file):
    """What this file under /proc says of a process and of each of its children."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if process.pid in (int(folder.name), parent):
                yield (folder / file).read_text()
        except OSError:
            # It has ended meanwhile.
            continue


def cpu_seconds(process):
    """User and system time of a process and its children, as the kernel counts them."""
    fields = (stat.rpartition(")")[2].split() for stat in family(process, "stat"))
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def loaded(target, work, unit):
    """Does that work to a target; what it found, with the target's CPU for each of `unit` in microseconds, and its memory."""
    before = cpu_seconds(target.process)
    with Watch(target.process) as watch:
        found = work()
    found["cpu"] = (cpu_seconds(target.process) - before) * 1e6 / max(found[unit], 1)
    found["rss"] = watch.most
    return found


def wrk(target, script, core, seconds, connections=64, threads=1):
    """Loads a target with wrk. Times are in milliseconds."""
    command = ["wrk", "--threads", str(threads), "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", "20s", "--script", str(script), f"http://{target.address}/v1/chat/completions"]

    def work():
        run = subprocess.run(pin(core, command), capture_output=True, text=True, timeout=seconds + 120)
        line = re.search(r"^BENCH (.*)$", run.stdout, re.MULTILINE)
        if not line:
            fail(f"wrk: {run.stderr or run.stdout}")
        found = json.loads(line[1])
        return found | {
            "rps": found["requests"] / found["seconds"],
            "p50": found["p50"] / 1000,
            "p99": found["p99"] / 1000,
        }

    return loaded(target, work, "requests")


def streams(target, binaries, core, *arguments):
    """Reads streams of a target with weir-streams. Times are in milliseconds."""
    command = [str(binaries / "weir-streams"), target.address, "--key", KEY, *map(str, arguments)]

    def work():
        run = subprocess.run(pin(core, command), capture_output=True, text=True, timeout=600)
        if run.returncode != 0:
            fail(f"weir-streams: {run.stderr}")
        found = json.loads(run.stdout)
        if found["errors"]:
            print(f"bench: weir-streams: {found['first_error']}", flush=True)
        times = ("first_byte_p50", "first_byte_p99", "chunk_p50", "chunk_p99", "chunk_max")
        return found | {name: (found[name] or 0) / 1000 for name in times}

    return loaded(target, work, "streams")


class Watch:
    """Follows a process's memory from beginning to end: `first`, `most` and `last`, in MiB."""

    def __init__(self, process):
        self.process, self.ended = process, threading.Event()

    def __enter__(self):
        self.first = self.most = resident_mib(self.process)
        self.thread = threading.Thread(target=self.follow)
        self.thread.start()
        return self

    def follow(self):
        while not self.ended.wait(0.5):
            self.most = max(self.most, resident_mib(self.process))

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.last = resident_mib(self.process)
        self.most = max(self.most, self.last)


def metric(target, name):
    """The value of a metric without labels, as Weir says it under /metrics."""
    with urllib.request.urlopen(f"http://{target.address}/metrics", timeout=10) as response:
        text = response.read().decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


def resident_mib(process):
    """What a process and its children hold in memory."""
    held = (re.search(r"^VmRSS:\s*(\d+) kB", status, re.MULTILINE) for status in family(process, "status"))
    return sum(int(one[1]) for one in held if one) / 1024


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
