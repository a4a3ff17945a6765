"""Checks what deploys Weir as far as that goes without a container engine.

Every YAML and JSON file parses; what docker-compose.yml mounts, names or waits for exists, and every container is
hardened; the image's build sees every crate; board and alert rules spell their metrics alike; nginx, HAProxy and
promtool read their files where they are installed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
problems = []


def check(holds, problem):
    if not holds:
        problems.append(problem)


def parse_everything():
    for path in [ROOT / "docker-compose.yml", *sorted(DEPLOY.rglob("*"))]:
        if path.suffix not in {".yml", ".yaml", ".json"}:
            continue
        try:
            text = path.read_text()
            json.loads(text) if path.suffix == ".json" else list(yaml.safe_load_all(text))
        except (ValueError, yaml.YAMLError) as error:
            problems.append(f"{path.relative_to(ROOT)}: {error}")


def check_compose():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    written = (DEPLOY / "make-secrets.sh").read_text()
    for secret, source in compose["secrets"].items():
        name = Path(source["file"]).name
        check(re.search(rf"\b{name}\b", written), f"secret {secret}: make-secrets.sh does not write {name}")
    spools = []
    for name, service in services.items():

        def want(holds, what):
            check(holds, f"docker-compose.yml, {name}: {what}")

        want(service.get("read_only") is True, "the root file system is not read-only")
        want(service.get("cap_drop") == ["ALL"], "capabilities are not dropped")
        want("no-new-privileges:true" in service.get("security_opt", []), "new privileges are allowed")
        want(re.search(r":[^/:]*\d[^/:]*$", service["image"]), f"{service['image']} is not pinned by a tag")
        for port in service.get("ports", []):
            want(port.startswith("127.0.0.1:"), f"port {port} is open to other machines")
        for other in service.get("depends_on", {}):
            want("healthcheck" in services[other] or "build" in services[other], f"{other} has no health check")
        for secret in service.get("secrets", []):
            want(secret in compose["secrets"], f"unknown secret {secret}")
        for network in service["networks"]:
            want(network in compose["networks"], f"unknown network {network}")
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                want((ROOT / source).exists(), f"{source} does not exist")
                want(volume.endswith(":ro"), f"{source} is mounted for writing")
            else:
                want(source in compose["volumes"], f"unknown volume {source}")
            if "build" in service and target == "/data":
                spools.append(source)
        environment = service.get("environment", {})
        for variable, value in environment.items():
            if str(value).startswith("/run/secrets/"):
                want(value.removeprefix("/run/secrets/") in service["secrets"], f"{variable} names no secret of its own")
    check(len(spools) == len(set(spools)) == 2, "docker-compose.yml: each weir needs a spool volume of its own")


def check_image():
    """The build sees only what .dockerignore lets in; cargo refuses a workspace that lacks a member."""
    members = re.search(r"^members = \[(.*?)\]", (ROOT / "Cargo.toml").read_text(), re.MULTILINE | re.DOTALL)
    let_in = (ROOT / ".dockerignore").read_text().split()
    for member in re.findall(r'"([^"]+)"', members[1]):
        check(f"!{member.split('/')[0]}" in let_in, f".dockerignore keeps {member} out of the build")


def check_board():
    """The board and the alert rules must not each have a spelling of their own for one metric."""
    metric = re.compile(r"\b(?:gateway|process)_[a-z_]+")
    board = set(metric.findall((DEPLOY / "grafana/dashboards/weir.json").read_text()))
    rules = set(metric.findall((DEPLOY / "prometheus-rules.yml").read_text()))
    check(rules <= board, f"prometheus-rules.yml: not on the board: {', '.join(sorted(rules - board))}")


def check_with_their_own_tools():
    # The names of the compose network do not resolve here.
    here = {r"\bweir-[12]:8080": "127.0.0.1:8080"}
    tools = {
        "nginx": ("nginx.conf", ["-t", "-q", "-c"]),
        "haproxy": ("haproxy.cfg", ["-c", "-q", "-f"]),
        "promtool": ("prometheus-rules.yml", ["check", "rules"]),
    }
    for tool, (name, arguments) in tools.items():
        command = shutil.which(tool) or shutil.which(tool, path=f"/usr/sbin:{os.environ.get('WEIR_CACHE', '')}/clients/bin")
        if not command:
            continue
        with tempfile.TemporaryDirectory() as folder:
            text = (DEPLOY / name).read_text()
            for pattern, replacement in here.items():
                text = re.sub(pattern, replacement, text)
            copy = Path(folder) / name
            # nginx opens these even for a test.
            copy.write_text(re.sub(r"/tmp/|/dev/(?=std)", f"{folder}/", text))
            run = subprocess.run([command, *arguments, str(copy)], capture_output=True, text=True, timeout=60)
            check(run.returncode == 0, f"{tool}: {name}: {(run.stderr or run.stdout).strip()}")


for step in (parse_everything, check_compose, check_image, check_board, check_with_their_own_tools):
    step()
    if problems:
        sys.exit("\n".join(problems))
