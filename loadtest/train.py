#!/usr/bin/env python3
"""What scripts/build-pgo.sh has an instrumented weir do: the load of `make bench`, streamed and not, so that the compiler
learns which ways are hot. Embedded, and with PostgreSQL and Redis where WEIR_TEST_DATABASE_URL and WEIR_TEST_REDIS_URL
name some.

    loadtest/train.py WEIR UPSTREAM [--seconds 10]
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import stage

LISTEN = "127.0.0.1:9121"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weir", type=Path)
    parser.add_argument("upstream", type=Path)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    streamed = json.dumps({**json.loads(stage.BODY), "stream": True})
    with tempfile.TemporaryDirectory(prefix="weir-train.") as name:
        folder = Path(name)
        (folder / "resources.yaml").write_text(stage.RESOURCES.rstrip() + stage.COUNTED)
        scripts = []
        for kind, body in (("whole", stage.BODY), ("streamed", streamed)):
            script = folder / f"{kind}.lua"
            script.write_text(stage.wrk_script(body))
            scripts.append(script)
        for kind, settings in [("embedded", {}), *stage.stores()]:
            with stage.Servers(folder) as servers:
                vendor = [str(arguments.upstream), "--listen", stage.UPSTREAM, "--no-record", "--fixed", "600"]
                servers.start("weir-upstream", vendor, stage.UPSTREAM)
                environment = stage.environment(LISTEN, folder / f"data-{kind}") | settings
                command = [str(arguments.weir), "serve", "--resources", str(folder / "resources.yaml")]
                servers.start("weir", command, LISTEN, environment)
                for script in scripts:
                    load = ["wrk", "--threads", "1", "--connections", "64", "--duration", f"{arguments.seconds}s"]
                    load += ["--script", str(script), f"http://{LISTEN}/v1/chat/completions"]
                    subprocess.run(load, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
