"""Regions in motion: whatever happens, in the end every node knows the truth."""

import contextlib
import os
import random
import threading
import time

import pytest

import derp
from region import meet, talk
from server import eventually

# Sanitizer builds take their time for every login.
MANY = 2000 if derp.SCALE == 1 else 500


def test_flapping(region):
    """One client that can't decide, two hundred times; sometimes it is on two nodes meanwhile."""
    trio = region(3)
    friend, client, here = trio.login(0), trio.login(1), 1
    for turn in range(200):
        there = (here + 1 + turn % 2) % 3
        if turn % 3:
            client = trio.move(here, there, client)
        else:
            new = trio.login(there, client.private)
            trio.leave(here, client, "reset" if turn % 2 else "close")
            client = new
        here = there
    trio.expect_presence()
    eventually(lambda: no_more(friend))
    talk([(friend, client), (client, friend)], 20, 16)
    trio.leave(here, client)
    trio.expect_presence()


def no_more(client):
    """What was for this client has come."""
    client.waiting.clear()
    client.expect_silence()


@pytest.mark.subset
def test_anything_goes(region):
    """Logins, moves, twins and ends by chance, some while nobody waits for the one before."""
    trio = region(3)
    dice = random.Random(4711)
    keys = [derp.PrivateKey.generate() for _ in range(12)]
    for turn in range(300):
        i = dice.randrange(3)
        clients = [c for cs in trio.here[i].values() for c in cs]
        if clients and dice.random() < 0.5:
            trio.leave(i, dice.choice(clients), dice.choice(("close", "reset")))
        else:
            trio.login(i, dice.choice(keys))
        if turn % 100 == 99:
            trio.expect_presence()
    trio.expect_reconciled()


class Load:
    """Clients on these nodes that send each other packets until told to stop, come what may."""

    def __init__(self, region, nodes):
        self.clients = [region.login(i) for i in nodes for _ in range(3)]
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.error = None
        self.sent = 0

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.enough.set()
        self.thread.join()
        assert self.error is None and self.sent > 0

    def _run(self):
        packet = os.urandom(1000)
        frames = b"".join(derp.send_packet_frame(c.key, packet) for c in self.clients)
        try:
            while not self.enough.wait(0.002):
                for client in self.clients:
                    client.send(frames)
                    self.sent += len(self.clients)
                for client in self.clients:
                    self._read_all(client)
        except Exception as error:
            self.error = error

    @staticmethod
    def _read_all(client):
        with contextlib.suppress(TimeoutError):
            while True:
                client.conn.fill(0)
                client.buffered_frames()


def test_a_node_is_killed_under_load(region):
    """All it knew is forgotten at once; when it comes back, so does what is true, in ten seconds."""
    trio = region(3)
    for i in range(3):
        for _ in range(MANY // 3):
            trio.login(i)
    trio.expect_presence(timeout=10)
    with Load(trio, (1, 2, 2)) as load:
        lost = list(trio.here[0].values())
        time.sleep(0.3)
        trio.kill(0)
        trio.expect_presence(down={0})
        trio[0].restart()
        for number, (client, *_) in enumerate(lost):
            if number % 4 < 3:  # some come back, some go elsewhere, some stay away
                trio.login(number % 4 % 3, client.private)
        trio.settle(timeout=10)
        trio.expect_presence(timeout=10)
    eventually(lambda: [no_more(client) for client in load.clients])
    trio.expect_reconciled()


@pytest.mark.parametrize("how", ["cut", "snap"])
def test_partition(region, how):
    """A node is cut off from the others, in silence or with noise; both sides go on; then all is
    well again."""
    trio = region(3)
    inside, outside = [trio.login(0) for _ in range(20)], [trio.login(1) for _ in range(20)]
    mover = inside[0]
    trio.expect_presence()
    mover.send_packet(outside[-1].key, b"hello")
    outside[-1].recv_packet()
    trio.isolate(0, how)
    if how == "snap":
        trio.expect_presence(nodes=[0], down={1, 2})
        trio.expect_presence(nodes=[1, 2], down={0})
        assert outside[-1].recv_peer_gone() == (mover.key, derp.GONE_DISCONNECTED)

    for client in outside[:10]:
        trio.leave(1, client)
    for client in inside[10:]:
        trio.leave(0, client)
    for client in outside[:5] + inside[10:15]:
        trio.login(2, client.private)
    twin, neighbour = trio.login(2, mover.private), trio.login(2)
    trio.leave(0, mover)
    for _ in range(5):
        trio.login(0)
    outside[-1].sync()
    meet(outside[-1], neighbour)
    talk([(neighbour, outside[-1]), (outside[-1], neighbour)], 20, 16)

    trio.isolate(0, "mend")
    trio.settle()
    trio.expect_presence(timeout=10)
    far = next(iter(trio.here[0].values()))[0]
    eventually(lambda: no_more(far))
    talk([(twin, far), (far, twin)], 20, 16)
    trio.expect_reconciled()


def test_links_that_break_under_load(region):
    """Again and again, while packets want to pass and wait for the link: none is lost without being
    counted."""
    pair = region(2)
    with Load(pair, (0, 1)) as load:
        for _ in range(3):
            time.sleep(0.4)
            for wire in pair.between(0, 1):
                wire.cut()
            time.sleep(0.8)
            for wire in pair.between(0, 1):
                wire.snap()
            time.sleep(0.1)
            for wire in pair.between(0, 1):
                wire.mend()
        pair.settle()
        pair.expect_presence()
    eventually(lambda: [no_more(client) for client in load.clients])
    for node in pair:
        if not node.derper:
            assert node.metrics().sum('derp_packets_dropped{reason="gone_disconnected"}') > 0
    pair.expect_reconciled()
    a, b = pair.login(0), pair.login(1)
    pair.expect_presence()
    talk([(a, b), (b, a)], 20, 16)


@pytest.mark.slow
@pytest.mark.ours
def test_silence_is_noticed(region):
    """A wire that was cut without a word: the link is given up, its keys forgotten; later it is
    there again."""
    pair = region(2)
    a, b = pair.login(0), pair.login(1)
    pair.expect_presence()
    talk([(a, b), (b, a)], 5, 4)
    pair.isolate(0, "cut")
    for client, other in ((a, b), (b, a)):
        gone = client.recv_peer_gone(timeout=25 * derp.SCALE)
        assert gone == (other.key, derp.GONE_DISCONNECTED)
    pair.isolate(0, "mend")
    pair.settle(timeout=30)
    pair.expect_presence(timeout=30)
    talk([(a, b), (b, a)], 5, 4)
