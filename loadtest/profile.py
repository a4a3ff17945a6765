#!/usr/bin/env python3
"""`make profile`: where Weir's time goes under the load of `make bench`, as a flame graph.

Starts the stand-in vendor and an embedded Weir, loads it with wrk, samples it with perf, and draws with inferno.

    loadtest/profile.py [--seconds 5] [--connections 64] [--out TARGET/profiling/flame.svg]
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import stage

LISTEN = "127.0.0.1:9120"
# Deep enough for nested futures; the more is copied at each sample, the fewer samples are affordable.
SAMPLING = ["--freq", "299", "--call-graph", "dwarf,16384"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for tool in ("wrk", "perf", "inferno-collapse-perf", "inferno-flamegraph"):
        if not shutil.which(tool):
            stage.fail(f"{tool} is missing: make setup-profile")
    target = Path(os.environ.get("CARGO_TARGET_DIR", stage.ROOT / "target")).resolve() / "profiling"
    out = arguments.out or target / "flame.svg"

    with tempfile.TemporaryDirectory(prefix="weir-profile.") as name, stage.Servers(Path(name)) as servers:
        folder = Path(name)
        (folder / "resources.yaml").write_text(stage.RESOURCES)
        script = folder / "chat.lua"
        script.write_text(stage.wrk_script())
        vendor = [str(target / "weir-upstream"), "--listen", stage.UPSTREAM, "--no-record", "--fixed", "600"]
        servers.start("weir-upstream", stage.pin(stage.OTHER_CORE, vendor), stage.UPSTREAM)
        command = [str(target / "weir"), "serve", "--resources", str(folder / "resources.yaml")]
        weir = servers.start("weir", stage.pin(stage.GATEWAY_CORE, command), LISTEN, stage.environment(LISTEN, folder / "data"))
        load = ["wrk", "--threads", "1", "--connections", str(arguments.connections)]
        load += ["--duration", f"{arguments.seconds + 2}s", "--script", str(script), f"http://{LISTEN}/v1/chat/completions"]
        with subprocess.Popen(stage.pin(stage.OTHER_CORE, load), stdout=subprocess.DEVNULL) as loading:
            samples = folder / "perf.data"
            record = ["perf", "record", "--quiet", *SAMPLING, "--pid", str(weir.pid), "--output", str(samples)]
            subprocess.run([*record, "--", "sleep", str(arguments.seconds)], check=True)
            loading.wait()
        stacks = folder / "stacks"
        with stacks.open("wb") as text:
            script_run = ["perf", "script", "--no-inline", "--input", str(samples)]
            subprocess.run(script_run, check=True, stdout=text, stderr=subprocess.DEVNULL)
        folded = subprocess.run(["inferno-collapse-perf", str(stacks)], check=True, capture_output=True)
        with out.open("wb") as svg:
            draw = ["inferno-flamegraph", "--title", "weir, by threads"]
            subprocess.run(draw, input=folded.stdout, check=True, stdout=svg)
    print(f"{out}")


if __name__ == "__main__":
    main()
