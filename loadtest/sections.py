"""The sections of RESULTS.md: each sets its stage, measures its targets in turn, and gives its lines and its errors."""

import json
import os
import resource
import sqlite3
import statistics
import time
import uuid

from gauges import Watch, metric, settle, streams, wrk
from stage import ALL_CORES, BODY, OTHER_CORE, PINNED, RESOURCES, SLOW, Stage, stores, wrk_script

LOG = {"WEIR_ACCESS_LOG": "true", "WEIR_LOG": "info"}
# Above this many open streams a process would come too near its limit on files: each has one to the caller and one upstream.
MOST_STREAMS = 50_000


def script(stage, name, body=BODY, headers=None):
    file = stage.folder / f"{name}.lua"
    file.write_text(wrk_script(body, headers))
    return file


def in_turn(targets, rounds, work):
    """Does the work to each target in turn, as often as there are rounds: what each found, by target."""
    found = {name: [] for name in targets}
    for turn in range(rounds):
        for name, target in targets.items():
            one = work(name, target)
            found[name].append(one)
            settle(target.process)
            figures = ", ".join(f"{key} {value:,.2f}" for key, value in one.items() if isinstance(value, int | float))
            print(f"  round {turn + 1}: {name}: {figures}", flush=True)
    return found


def table(found, columns):
    """Lines of a table: for each target its columns, each a name and what it says of all rounds."""
    yield f"| target | {' | '.join(name for name, _ in columns)} |"
    yield f"|---|{'--:|' * len(columns)}"
    for target, rounds in found.items():
        cells = [say(rounds, found) for _, say in columns]
        yield f"| {target} | {' | '.join(cells)} |"


def median(rounds, figure):
    return statistics.median(one[figure] for one in rounds)


def of(figure, digits=0, scale=1.0):
    """A column with the median of a figure."""
    return lambda rounds, _: f"{median(rounds, figure) * scale:,.{digits}f}"


def beside(figure, target, digits=2):
    """A column with a figure's ratio to the same of another target."""

    def say(rounds, found):
        if target not in found or median(found[target], figure) == 0:
            return "—"
        return f"{median(rounds, figure) / median(found[target], figure):.{digits}f}"

    return say


def over(figure, target, digits=0, scale=1.0):
    """A column with what a figure is above the same of another target."""
    return lambda rounds, found: f"{(median(rounds, figure) - median(found[target], figure)) * scale:,.{digits}f}"


def spread(figure):
    return lambda rounds, _: f"{min(one[figure] for one in rounds):,.0f}–{max(one[figure] for one in rounds):,.0f}"


def errors(rounds, _=None):
    return str(sum(one["errors"] for one in rounds))


def flaws(found):
    return sum(one["errors"] for rounds in found.values() for one in rounds)


def throughput(binaries, arguments):
    with Stage.set(binaries) as stage:
        targets = {"direct": stage.direct} | stage.proxies()
        targets["weir"] = stage.weir(RESOURCES)
        targets["log"] = stage.weir(settings=LOG)
        targets |= stage.weirs(arguments.pgo) | stage.peers()
        scripts = {name: script(stage, f"chat-{at}", headers=target.headers) for at, (name, target) in enumerate(targets.items())}

        def load(name, target):
            return wrk(target, scripts[name], OTHER_CORE, arguments.seconds, arguments.connections)

        found = in_turn(targets, arguments.rounds, load)
    peers = [name for name in ("LiteLLM", "Portkey") if name in found]
    columns = [
        ("requests/s", of("rps")),
        ("least–most", spread("rps")),
        ("/ nginx", beside("rps", "nginx")),
        *((f"/ {name}", beside("rps", name, 0)) for name in peers),
        ("p50 ms", of("p50", 2)),
        ("p99 ms", of("p99", 2)),
        ("CPU µs a request", of("cpu", 1)),
        ("/ nginx", beside("cpu", "nginx")),
        ("RSS MiB", of("rss")),
        ("errors", errors),
    ]
    said = f"{arguments.connections} connections, not streaming, a chat request of {len(BODY)} bytes, {arguments.rounds} rounds of {arguments.seconds} s."
    return [said, "", *table(found, columns)], flaws(found)


def latency(binaries, arguments):
    with Stage.set(binaries, gateway_core=OTHER_CORE) as stage:
        targets = {"direct": stage.direct} | stage.proxies()
        targets["weir"] = stage.weir(RESOURCES)
        targets |= stage.weirs(arguments.pgo)
        chat = script(stage, "chat")

        def load(_, target):
            return wrk(target, chat, OTHER_CORE, arguments.seconds, connections=1)

        found = in_turn(targets, arguments.rounds, load)
    columns = [
        ("p50 µs", of("p50", 0, 1000)),
        ("added p50 µs", over("p50", "direct", 0, 1000)),
        ("p99 µs", of("p99", 0, 1000)),
        ("added p99 µs", over("p99", "direct", 0, 1000)),
        ("CPU µs a request", of("cpu", 1)),
        ("errors", errors),
    ]
    where = "all on one core" if PINNED else "not pinned"
    said = f"One connection, one request at a time, {where}: {arguments.rounds} rounds of {arguments.seconds} s. `stores` spends its limits from slices once they are hot."
    return [said, "", *table(found, columns)], flaws(found)


def capacity(binaries, arguments):
    seconds = max(arguments.seconds, 30)
    with Stage.set(binaries, gateway_core=ALL_CORES, other_core=ALL_CORES) as stage:
        targets = {"direct": stage.direct} | stage.weirs(arguments.pgo)
        chat = script(stage, "chat")
        found = in_turn(targets, 1, lambda _, target: wrk(target, chat, ALL_CORES, seconds, connections=400, threads=12))
    columns = [
        ("requests/s", of("rps")),
        ("p50 ms", of("p50", 2)),
        ("p99 ms", of("p99", 2)),
        ("added p99 ms", over("p99", "direct", 1)),
        ("CPU µs a request", of("cpu", 1)),
        ("RSS MiB", of("rss")),
        ("errors", errors),
    ]
    said = f"`wrk -t12 -c400 -d{seconds}s`, one round; nothing is pinned: client, vendor, gateway and stores share all cores."
    return [said, "", *table(found, columns)], flaws(found)


def streaming(binaries, arguments):
    with Stage.set(binaries, fixed=False) as stage:
        targets = {"direct": stage.direct} | stage.proxies() | stage.weirs(arguments.pgo)
        found = in_turn(
            targets, arguments.rounds, lambda _, target: streams(target, binaries, OTHER_CORE, "--seconds", arguments.seconds)
        )
    columns = [
        ("streams/s", lambda rounds, _: f"{statistics.median(one['streams'] / one['seconds'] for one in rounds):,.0f}"),
        ("first byte p50 ms", of("first_byte_p50", 2)),
        ("p99 ms", of("first_byte_p99", 2)),
        ("chunk p50 ms", of("chunk_p50", 2)),
        ("p99 ms", of("chunk_p99", 2)),
        ("CPU ms a stream", of("cpu", 2, 0.001)),
        ("/ nginx", beside("cpu", "nginx")),
        ("RSS MiB", of("rss")),
        ("errors", errors),
    ]
    said = f"Each connection reads stream after stream; a chunk's time is from the vendor's write to the client's read. {arguments.rounds} rounds of {arguments.seconds} s."
    return [said, "", *table(found, columns)], flaws(found)


def open_streams(binaries, _arguments):
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    counts = [5000, min(MOST_STREAMS, (files - 2000) // 2 // 500 * 500)]
    found = {}
    for count in dict.fromkeys(counts):
        with Stage.set(binaries, fixed=False) as stage:
            targets = {name: target for name, target in stage.proxies().items() if name == "nginx" and count <= 5000}
            targets["limits"] = stage.weir()

            def load(_, target, count=count, stage=stage):
                # One call before, so that what is made once is not counted for the streams.
                streams(target, stage.binaries, OTHER_CORE, "--connections", 20, "--once")
                with Watch(target.process) as watch:
                    asked = ("--model", SLOW, "--chunks", 20, "--connections", count, "--once", "--ramp", 5)
                    one = streams(target, stage.binaries, OTHER_CORE, *asked)
                per_stream = (watch.most - watch.first) * 1024 / max(one["most_open"], 1)
                return one | {"before": watch.first, "per_stream": per_stream}

            for name, rounds in in_turn(targets, 1, load).items():
                found[f"{name}, {count:,}"] = rounds
    columns = [
        ("open at once", of("most_open")),
        ("RSS before MiB", of("before")),
        ("RSS at most MiB", of("rss")),
        ("KiB a stream", of("per_stream", 1)),
        ("chunks", of("chunks")),
        ("chunk p99 ms", of("chunk_p99", 2)),
        ("errors", errors),
    ]
    said = "20 chunks, a second apart, begun over 5 s; one round. RSS counts what the process shares with the page cache too: of Weir's, 4 KiB a stream are its in-flight record, which is a file."
    return [said, "", *table(found, columns)], flaws(found)


def bodies(binaries, arguments):
    content = "All that a long conversation has said so far. " * (150_000 // 46)
    body = json.dumps({**json.loads(BODY), "messages": [{"role": "user", "content": content}]})
    with Stage.set(binaries) as stage:
        target = stage.weir()
        small, large = script(stage, "chat"), script(stage, "large", body)
        rounds = []
        # The first fills what is kept for later; whether it grows is seen from the second on.
        for _ in range(max(arguments.rounds, 3)):
            wrk(target, small, OTHER_CORE, 2)
            settle(target.process)
            with Watch(target.process) as watch:
                one = wrk(target, large, OTHER_CORE, max(arguments.seconds, 10), connections=1500)
                settle(target.process)
                # An idle worker gives memory back in its next seconds.
                time.sleep(5)
            rounds.append(one | {"before": watch.first, "most": watch.most, "after": watch.last})
            print(f"  RSS {watch.first:.0f}, at most {watch.most:.0f}, then {watch.last:.0f} MiB", flush=True)
    lines = ["| round | requests/s | RSS before MiB | at most MiB | after MiB | errors |", "|---|--:|--:|--:|--:|--:|"]
    for at, one in enumerate(rounds):
        lines.append(
            f"| {at + 1} | {one['rps']:,.0f} | {one['before']:,.0f} | {one['most']:,.0f} | {one['after']:,.0f} | {one['errors']} |"
        )
    said = f"`limits`, each request {len(body):,} bytes; before each round, and five seconds after it, nothing is under way."
    return [said, "", *lines], sum(one["errors"] for one in rounds)


def keys(binaries, arguments):
    with Stage.set(binaries) as stage:
        few = stage.weir()
        first = stage.weir(data=stage.folder / "many")
        stage.servers.end(first.process)
        fill(stage.folder / "many", tenants=10_000, keys=100_000)
        began = time.monotonic()
        many = stage.weir(resources=None, data=stage.folder / "many")
        start = time.monotonic() - began
        targets = {"1 key": few, "100,000 keys": many}
        chat = script(stage, "chat")
        rounds = max(arguments.rounds, 5)
        found = in_turn(
            targets, rounds, lambda _, target: wrk(target, chat, OTHER_CORE, arguments.seconds, arguments.connections)
        )
    columns = [
        ("requests/s", of("rps")),
        ("least–most", spread("rps")),
        ("beside 1 key", beside("rps", "1 key")),
        ("CPU µs a request", of("cpu", 1)),
        ("RSS MiB", of("rss")),
        ("above 1 key", over("rss", "1 key")),
        ("errors", errors),
    ]
    said = f"`limits`, {rounds} rounds of {arguments.seconds} s. From the start of the process with 100,000 keys to its first answer: {start:.1f} s."
    return [said, "", *table(found, columns)], flaws(found)


def fill(data, tenants, keys):
    """Gives an installation that is not running so many tenants and keys more."""
    database = sqlite3.connect(next(data.glob("*.db")))
    with database:
        many = [(uuid.uuid4().bytes, f"many-{at}") for at in range(tenants)]
        database.executemany("INSERT INTO tenants (id, name, grants, created_ms, updated_ms) VALUES (?, ?, '{\"models\":[\"*\"]}', 0, 0)", many)
        made = [(uuid.uuid4().bytes, many[at % tenants][0], f"key {at}") for at in range(keys)]
        database.executemany("INSERT INTO proxy_keys (id, tenant_id, name, created_ms, updated_ms) VALUES (?, ?, ?, 0, 0)", made)
        database.executemany(
            "INSERT INTO key_secrets (id, key_id, slot, digest, hint, created_ms) VALUES (?, ?, 0, ?, '', 0)",
            [(uuid.uuid4().bytes, key, os.urandom(32)) for key, _, _ in made],
        )
    database.close()


def booking(binaries, arguments):
    seconds = max(arguments.seconds, 60)
    rows = []
    flawed = 0
    for name, settings in [("SQLite", {}), *(("PostgreSQL", settings) for _, settings in stores())]:
        with Stage.set(binaries) as stage:
            target = stage.weir(settings=settings)
            found = wrk(target, script(stage, "chat"), OTHER_CORE, seconds)
            left, began = metric(target, "gateway_spool_events"), time.monotonic()
            while metric(target, "gateway_spool_events") > 0 and time.monotonic() - began < 600:
                time.sleep(0.1)
            drained = time.monotonic() - began
            flawed += found["errors"]
            rows.append(f"| {name} | {found['requests']:,} | {found['rps']:,.0f} | {left:,.0f} | {drained:.1f} | {left / drained:,.0f} |")
            print(f"  {rows[-1]}", flush=True)
    lines = ["| database | calls | calls/s | events left in the spool | empty after s | booked a second |", "|---|--:|--:|--:|--:|--:|"]
    said = f"`limits` and `stores` under full load for {seconds} s, then left alone until the spool is empty."
    return [said, "", *lines, *rows], flawed
