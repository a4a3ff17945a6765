#!/usr/bin/env python3
"""What scripts/build-pgo.sh has an instrumented weir do: the load of `make bench`, streamed and not, so that the compiler
learns which ways are hot. Embedded, and with PostgreSQL and Redis where WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL
name some.

    loadtest/train.py WEIR UPSTREAM [--seconds 10]
"""

import argparse
import json
import subprocess
from pathlib import Path

import stage


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weir", type=Path)
    parser.add_argument("upstream", type=Path)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    streamed = json.dumps({**json.loads(stage.BODY), "stream": True})
    for settings in [{}, *(settings for _, settings in stage.stores())]:
        cores = {"gateway_core": stage.ALL_CORES, "other_core": stage.ALL_CORES}
        with stage.Stage.set(arguments.upstream.parent, **cores) as set_stage:
            target = set_stage.weir(settings=settings, binary=arguments.weir)
            for kind, body in (("whole", stage.BODY), ("streamed", streamed)):
                script = set_stage.folder / f"{kind}.lua"
                script.write_text(stage.wrk_script(body))
                load = ["wrk", "--threads", "1", "--connections", "64", "--duration", f"{arguments.seconds}s"]
                load += ["--script", str(script), f"http://{target.address}/v1/chat/completions"]
                subprocess.run(load, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
