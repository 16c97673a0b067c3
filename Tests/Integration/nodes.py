# Several servers, each with a data directory of its own, on one database of PostgreSQL's.

import concurrent.futures

from harness import Gatehouse, scratch
from wire import eventually


def make_nodes(owner, database, count=3, **settings):
    """Servers that are not started, under one root key."""
    key = scratch(owner) / "root.key"
    nodes = [Gatehouse(owner, front={"password.queue": 256}, database=database,
                       settings={"root_key.file": str(key), **settings}) for _ in range(count)]
    nodes[0].ok("keys", "init")
    return nodes


def start(nodes):
    """Starts them all at once, and waits until each is ready."""
    for node in nodes:
        node.spawn()
    for node in nodes:
        eventually(node.is_ready, within=30)
    return nodes


def at_once(count, function):
    """What a function gives for 0, 1, …, each in a thread of its own."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))
