"""Sections about management: how fast it reads among many, and what its work costs the calls of programs."""

import http.client
import json
import os
import sqlite3
import statistics
import subprocess
import threading
import time
import uuid

from gauges import wrk
from sections import script
from stage import ALL_CORES, OTHER_CORE, Stage, fail, wrk_script

TENANTS, USERS, KEYS, OPERATORS = 1_000, 10_000, 50_000, 50
PASSWORD = "the password of the bench"
EMAIL = "bench@weir.example"
SIGN_INS_A_SECOND = 20
# Between two calls of a connection, so that the machine is busy and not drowned.
PAUSE_MS = 10


def fill(data):
    """Gives an installation that is not running tenants, with people and keys in them."""
    database = sqlite3.connect(data / "weir.db")
    with database:
        tenants = [(uuid.uuid4().bytes, f"many-{at}") for at in range(TENANTS)]
        database.executemany("INSERT INTO tenants (id, name, created_ms, updated_ms) VALUES (?, ?, 0, 0)", tenants)
        users = [(uuid.uuid4().bytes, f"user-{at}@many.example", f"User {at}") for at in range(USERS)]
        database.executemany("INSERT INTO users (id, email, name, created_ms, updated_ms) VALUES (?, ?, ?, 0, 0)", users)
        places = [(uuid.uuid4().bytes, tenants[at % TENANTS][0], user[0]) for at, user in enumerate(users)]
        database.executemany("INSERT INTO memberships (id, tenant_id, user_id, role) VALUES (?, ?, ?, 'developer')", places)
        keys = [(uuid.uuid4().bytes, tenants[at % TENANTS][0], f"key {at}", users[at % USERS][0]) for at in range(KEYS)]
        database.executemany(
            "INSERT INTO proxy_keys (id, tenant_id, name, user_id, created_ms, updated_ms) VALUES (?, ?, ?, ?, 0, 0)", keys
        )
        database.executemany(
            "INSERT INTO key_secrets (id, key_id, slot, digest, hint, created_ms) VALUES (?, ?, 0, ?, '', 0)",
            [(uuid.uuid4().bytes, key[0], os.urandom(32)) for key in keys],
        )
        fill_beside(database, [tenant[0] for tenant in tenants], [user[0] for user in users])
    database.close()


def fill_beside(database, tenants, users):
    """A group of ten, a role, a service token and an invitation that waits for each tenant, and some operators."""
    many = database.executemany
    groups = [(uuid.uuid4().bytes, tenant, "group") for tenant in tenants]
    many("INSERT INTO groups (id, tenant_id, name, created_ms, updated_ms) VALUES (?, ?, ?, 0, 0)", groups)
    members = [(groups[at % len(groups)][0], user, at // len(groups)) for at, user in enumerate(users)]
    many("INSERT INTO group_members (group_id, user_id, position) VALUES (?, ?, ?)", members)
    roles = [(uuid.uuid4().bytes, tenant, "auditor", '["usage:read","audit:read"]') for tenant in tenants]
    many("INSERT INTO roles (id, tenant_id, name, permissions, created_ms, updated_ms) VALUES (?, ?, ?, ?, 0, 0)", roles)
    tokens = [(uuid.uuid4().bytes, tenant, "ci", "developer", os.urandom(32)) for tenant in tenants]
    many("INSERT INTO service_tokens (id, tenant_id, name, role, digest, hint, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?, '', 0, 0)", tokens)
    expires_ms = int(time.time() + 86_400) * 1_000
    links = [(uuid.uuid4().bytes, os.urandom(32), f"new-{at}@many.example", tenant, expires_ms) for at, tenant in enumerate(tenants)]
    many(
        "INSERT INTO one_time_links (id, kind, digest, email, tenant_id, role, invited_by, proves_email, expires_ms, created_ms)"
        " VALUES (?, 'invitation', ?, ?, ?, 'developer', 'bench', 0, ?, 0)",
        links,
    )
    many("UPDATE users SET platform_role = 'platform_viewer' WHERE id = ?", [(user,) for user in users[:OPERATORS]])


class Management:
    """A connection to a target's management."""

    def __init__(self, target, token):
        self.connection = http.client.HTTPConnection(target.address, timeout=30)
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path):
        """The answer, and how many milliseconds it took."""
        began = time.perf_counter()
        self.connection.request("GET", f"/v1/admin{path}", headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1_000
        if answer.status != 200:
            fail(f"{path}: {answer.status} {body[:200]}")
        return json.loads(body), took


def management(binaries, arguments):
    with Stage.set(binaries) as stage:
        data = stage.folder / "many"
        first = stage.weir(data=data)
        wrk(first, script(stage, "chat"), OTHER_CORE, arguments.seconds)
        stage.servers.end(first.process)
        fill(data)
        # Reads are asked one after the other, faster than a caller may.
        target = stage.weir(resources=None, data=data, settings={"WEIR_MANAGEMENT_CALLS_PER_MINUTE": "1000000"})
        asked = Management(target, (data / "admin-token").read_text().strip())
        rows = [measured(asked, name, paths) for name, paths in questions(asked).items()]
    lines = ["| read | p50 ms | p95 ms | slowest ms |", "|---|--:|--:|--:|"]
    said = f"Embedded, SQLite, with {TENANTS:,} tenants, {USERS:,} users and {KEYS:,} keys; 200 reads of each kind, one after the other, each of another page or thing."
    return [said, "", *lines, *rows], 0


def questions(asked):
    """What is read, by its name: a path for each number."""

    def ids(path):
        found, cursor = [], None
        while len(found) < 400:
            page, _ = asked.get(f"{path}?limit=200" + (f"&cursor={cursor}" if cursor else ""))
            found += [one["id"] for one in page["data"]]
            cursor = page.get("next_cursor")
            if not cursor:
                break
        return found

    tenants, users, keys = ids("/tenants"), ids("/users"), ids("/keys")
    groups, roles, tokens, invitations = ids("/groups"), ids("/roles"), ids("/service-tokens"), ids("/invitations")
    requests = [one["id"] for one in asked.get("/requests?limit=200")[0]["data"]]

    def of(list_, path):
        return lambda at: path.format(id=list_[at % len(list_)])

    return {
        "tenants, a page of 100": of(tenants, "/tenants?limit=100&cursor={id}"),
        "users, a page of 100": of(users, "/users?limit=100&cursor={id}"),
        "users of a tenant": lambda at: f"/users?tenant=many-{at}",
        "keys, a page of 100": of(keys, "/keys?limit=100&cursor={id}"),
        "keys of a tenant": lambda at: f"/keys?tenant=many-{at}",
        "groups, a page of 100": of(groups, "/groups?limit=100&cursor={id}"),
        "roles, a page of 100": of(roles, "/roles?limit=100&cursor={id}"),
        "service tokens, a page of 100": of(tokens, "/service-tokens?limit=100&cursor={id}"),
        "invitations, a page of 100": of(invitations, "/invitations?limit=100&cursor={id}"),
        "operators": lambda _: "/operators",
        "one tenant": of(tenants, "/tenants/{id}"),
        "one user": of(users, "/users/{id}"),
        "one key": of(keys, "/keys/{id}"),
        "what binds a key": of(keys, "/keys/{id}/bounds"),
        "what goes with a tenant": of(tenants, "/tenants/{id}/impact"),
        "what goes with a key": of(keys, "/keys/{id}/impact"),
        "who has a role": of(roles, "/roles/{id}/impact"),
        "channels": lambda _: "/channels",
        "channels, with their last hour": lambda _: "/providers",
        "what the platform grants a tenant": lambda at: f"/granted?tenant=many-{at}",
        "identity providers": lambda _: "/identity-providers",
        "alerts": lambda _: "/alerts",
        "models": lambda _: "/models",
        "limits, with what is left": lambda _: "/limits",
        "budgets, with what is spent": lambda _: "/budgets",
        "search by a piece of a name": lambda at: f"/search?q=user-{at * 37}",
        "users by a piece of their name": lambda at: f"/users?q=User {at * 37}".replace(" ", "%20"),
        "usage of a day by model and key": lambda _: "/usage?by=model,key",
        "requests, a page of 50": lambda _: "/requests?limit=50",
        "requests, how many of which": lambda _: "/requests/facets",
        "one request": of(requests, "/requests/{id}"),
        "audit log, a page": lambda _: "/audit-log?limit=100",
        "who one is": lambda _: "/me",
        "figures": lambda _: "/stats",
    }


def measured(asked, name, path):
    for at in range(10):
        asked.get(path(at))
    took = sorted(asked.get(path(at))[1] for at in range(200))
    row = f"| {name} | {statistics.median(took):.1f} | {took[189]:.1f} | {took[-1]:.1f} |"
    print(f"  {row}", flush=True)
    return row


def sign_ins(binaries, arguments):
    with Stage.set(binaries, gateway_core=ALL_CORES, other_core=ALL_CORES) as stage:
        data = stage.folder / "people"
        # All come from one address.
        target = stage.weir(data=data, settings={"WEIR_MANAGEMENT_CALLS_PER_MINUTE": "1000000"})
        environment = os.environ | {"WEIR_DATA_DIR": str(data)}
        command = [str(binaries / "weir"), "admin", "create", "--email", EMAIL, "--password-stdin"]
        subprocess.run(command, input=PASSWORD, text=True, env=environment, check=True, capture_output=True)
        paced = stage.folder / "paced.lua"
        paced.write_text(f"function delay() return {PAUSE_MS} end\n{wrk_script()}")
        found = {"without": [], "with": [], "beside": []}
        seconds = max(arguments.seconds, 10)
        for turn in range(max(arguments.rounds, 5)):
            for name in found:
                comers = Comers(target, SIGN_INS_A_SECOND if name == "with" else 0)
                with Others(SIGN_INS_A_SECOND if name == "beside" else 0), comers:
                    one = wrk(target, paced, ALL_CORES, seconds, connections=8)
                one["came"] = comers.came / seconds
                found[name].append(one)
                print(f"  round {turn + 1}: {name}: p99 {one['p99']:.2f} ms, {one['rps']:.0f}/s, {one['came']:.1f} sign-ins/s", flush=True)
    lines = ["| | sign-ins a second | calls/s | p50 ms | p99 ms | p99 beside none | errors |", "|---|--:|--:|--:|--:|--:|--:|"]
    words = {"without": "nobody signs in", "with": "people sign in", "beside": "nobody does, and another process hashes as much"}
    of = {name: {key: statistics.median(one[key] for one in rounds) for key in ("came", "rps", "p50", "p99")} for name, rounds in found.items()}
    flawed = sum(one["errors"] for rounds in found.values() for one in rounds)
    for name, one in of.items():
        ratio = one["p99"] / of["without"]["p99"]
        errors = sum(one["errors"] for one in found[name])
        lines.append(f"| {words[name]} | {one['came']:.1f} | {one['rps']:,.0f} | {one['p50']:.2f} | {one['p99']:.2f} | {ratio:.2f} | {errors} |")
    said = f"Embedded, all cores shared with vendor and client; 8 connections that call every {PAUSE_MS} ms and more, in turns with and without somebody signing in. Each sign-in hashes a password with argon2id (19 MiB, two passes), off the workers. The third line is the control: what the machine's cores and caches cost whoever else uses them, with nothing of it in Weir."
    return [said, "", *lines], flawed


class Others:
    """Another program that hashes in memory so often a second, as far back as Weir's own threads stand: what it costs is the machine's price."""

    # About the time of one of Weir's hashes, and more memory than the cores' own caches have.
    WORK = "import hashlib, os, time\nos.nice(5)\nwhile True:\n  began = time.monotonic()\n  hashlib.scrypt(b'x' * 16, salt=b's' * 16, n=2**13, r=8, p=1)\n  time.sleep(max(0, {pause} - (time.monotonic() - began)))\n"

    def __init__(self, a_second):
        self.a_second, self.processes = a_second, []

    def __enter__(self):
        # Two at once, as in Weir.
        for _ in range(2 if self.a_second else 0):
            work = self.WORK.format(pause=2 / self.a_second)
            command = ["taskset", "--cpu-list", ALL_CORES, "python3", "-c", work]
            self.processes.append(subprocess.Popen(command))

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
            process.wait()


class Comers:
    """People who sign in, so many a second, as long as it lasts."""

    def __init__(self, target, a_second):
        self.target, self.a_second = target, a_second
        self.came, self.over = 0, threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.come, args=(at,)) for at in range(a_second)]

    def come(self, at):
        # Each comes once a second, at a time of their own.
        self.over.wait(at / max(self.a_second, 1))
        body = json.dumps({"email": EMAIL, "password": PASSWORD})
        while not self.over.is_set():
            began = time.monotonic()
            connection = http.client.HTTPConnection(self.target.address, timeout=30)
            connection.request("POST", "/v1/admin/sign-in", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status != 200:
                fail(f"a sign-in was answered {answer.status}")
            with self.lock:
                self.came += 1
            self.over.wait(max(0.0, 1 - (time.monotonic() - began)))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
