"""Redis Cluster: one budget from many clients, and the node that has the counters fails over while calls run.

    python benchmarks/trials/cluster.py

Three primaries and a replica of each. All counters of a prefix live on one node, which is found by asking any.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import redis
from _trial import PRICES, folder, outcome, parser_of, started, until
from local_redis import LocalClusterNode
from sentinel import Callers

from costguard_core import CostGuard

SLOTS = 16_384
NODE_TIMEOUT = 1500  # milliseconds


def main() -> None:
    parser = parser_of(__doc__)
    trial = started("cluster", parser)
    with folder() as place, ExitStack() as stack:
        timeout = ("--cluster-node-timeout", str(NODE_TIMEOUT), "--cluster-replica-validity-factor", "0")
        nodes = [stack.enter_context(LocalClusterNode(place, *timeout)) for _ in range(6)]
        primaries, replicas = nodes[:3], nodes[3:]
        third = SLOTS // 3 + 1
        for number, node in enumerate(primaries):
            node.add_slots(number * third, min((number + 1) * third, SLOTS))
        for node in nodes[1:]:
            node.command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
        until(lambda: all(node.serves_among(6) for node in nodes))
        for primary, replica in zip(primaries, replicas, strict=True):
            with redis.Redis(port=primary.port) as client, redis.Redis(port=replica.port) as other:
                other.execute_command("CLUSTER", "REPLICATE", client.execute_command("CLUSTER", "MYID").decode())
        until(lambda: all(map(_replicates, replicas)))
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

        with CostGuard(["$0.25/day"], store=f"{url}?timeout=1&prefix=first", prices=PRICES) as guard:
            guard.warm_up()
            with ThreadPoolExecutor(16) as pool:
                found = Counter(pool.map(lambda _: outcome(guard), range(200)))
        trial.row(
            "25 cents pay exactly 25 of 200 calls, whichever node is asked first",
            dict(found),
            kept=found == {"paid": 25, "refused": 175},
        )

        with CostGuard(["$9000/day"], store=url, prices=PRICES, ledger=f"sqlite:///{place}/ledger.db") as guard:
            guard.warm_up()
            outcome(guard)
            owner = next(node for node in primaries if node.command("GET", "{costguard}:epoch").startswith(b"$"))
            callers = Callers(guard)
            until(lambda: len(callers.paid) > 300)
            broken = time.monotonic()
            owner.stop()
            until(lambda: callers.paid[-1] > broken + 1.0 + NODE_TIMEOUT / 1e3, seconds=90)
            served = min(moment for moment in callers.paid if moment > broken + 0.3)
            time.sleep(3.0)
            callers.end()
            gap = served - broken
            trial.row(
                "the node with the counters is killed: calls are served within 3 s of its time-out "
                f"({NODE_TIMEOUT / 1e3:g} s)",
                f"{gap:.1f} s after it was lost; {callers.outcomes['StoreUnavailable']} calls refused meanwhile",
                kept=gap < NODE_TIMEOUT / 1e3 + 3,
            )
            until(lambda: outcome(guard) == "paid", seconds=60)
            (row,) = guard.status()
            missing = len(callers.paid) + 2 - int((row.spent + row.held) * 100)
            trial.row(
                "lost to its replica: what it had answered in its last moments, not more",
                f"{missing} of {len(callers.paid)} calls are not counted",
                kept=missing <= 20,
            )
    trial.finish()


def _replicates(server: LocalClusterNode) -> bool:
    with redis.Redis(port=server.port) as client:
        return client.info("replication").get("master_link_status") == "up"


if __name__ == "__main__":
    main()
