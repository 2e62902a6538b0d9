"""A region: several nodes, each of which dials all, over wires that can be cut.

Node i is dialled by node j at 127.0.0.(2 + j), where the wire from j to i listens; every node also
names itself, as operators do. What clients are where is written down here, so that the nodes can be
asked whether they know.
"""

import os
from collections import Counter

import derp
from mesh import mesh_flags, trusting
from server import LOOPBACK, ORACLE, eventually, free_port
from wire import Wires


class Region:
    """`kinds` of nodes: "sluice" or "derper". `dials` says whom each dials, by default everybody;
    `direct`: without wires."""

    def __init__(self, launch, directory, cert, kinds, dials=None, direct=False, **flags):
        self.wires = Wires()
        self.n = len(kinds)
        self.dials = dials or {i: set(range(self.n)) for i in range(self.n)}
        self.here = [{} for _ in kinds]  # per node: {key: [clients]}
        self.nodes, self.wire = [], {}
        ports = [free_port() for _ in kinds]
        assert len(set(ports)) == self.n
        flags = mesh_flags(directory, cert) | flags
        for i, kind in enumerate(kinds):
            hosts = [self._host(i, j, ports[j], direct) for j in sorted(self.dials[i])]
            derper = kind == "derper"
            env = trusting(cert, derper or ORACLE)
            node = launch(
                port=ports[i], derper=derper, env=env, mesh_with=",".join(hosts) or None, **flags
            )
            self.nodes.append(node)

    def _host(self, i, j, port, direct):
        host = f"{LOOPBACK}:{port}"
        if direct:
            return host
        address = f"127.0.0.{2 + i}"
        self.wire[i, j] = self.wires.stretch((address, port), (LOOPBACK, port))
        return f"{host}/{address}"

    def __getitem__(self, i):
        return self.nodes[i]

    def __iter__(self):
        return iter(self.nodes)

    def between(self, i, j):
        """The wires of two nodes."""
        return [self.wire[pair] for pair in ((i, j), (j, i)) if pair in self.wire]

    def isolate(self, i, how):
        """`how`: cut, snap or mend, for all wires of a node, those to itself apart."""
        for pair, wire in self.wire.items():
            if i in pair and pair[0] != pair[1]:
                getattr(wire, how)()

    def watchers_of(self, i):
        """The nodes that dial this one."""
        return [j for j in range(self.n) if i != j and i in self.dials[j]]

    def settle(self, timeout=15):
        """Every node is watched by all that dial it: from then on news travels by itself."""

        def check():
            for i, node in enumerate(self.nodes):
                watchers = node.metrics().sum("derp_watchers")
                assert watchers == len(self.watchers_of(i)), f"node {i} has {watchers} watchers"

        for node in self.nodes:
            node.wait_ready()
        eventually(check, timeout=timeout)
        return self

    # Clients

    def login(self, i, private=None, how="fast"):
        client = self.nodes[i].login(how, private=private)
        self.here[i].setdefault(client.key, []).append(client)
        return client

    def leave(self, i, client, how="close"):
        """`how`: close or reset."""
        getattr(client.conn, how)()
        self.nodes[i].connections.remove(client.conn)
        clients = self.here[i][client.key]
        clients.remove(client)
        if not clients:
            del self.here[i][client.key]

    def move(self, i, j, client):
        """Gone from one node, and then on another."""
        self.leave(i, client)
        return self.login(j, client.private)

    def kill(self, i):
        """Without warning; its clients are gone with it."""
        self.nodes[i].kill()
        self.nodes[i].stopped = True
        self.lose(i)

    def lose(self, i):
        """This node's clients have lost their connection."""
        for clients in self.here[i].values():
            for client in clients:
                client.close()
                self.nodes[i].connections.remove(client.conn)
        self.here[i] = {}

    # Who is where

    def reach(self, i, down=()):
        """{key: number of links that reach it} as node i should know it."""
        nodes = self.dials[i] - {i, *down}
        return Counter(key for j in nodes for key in self.here[j])

    def check_presence(self, i, down=()):
        """Node i knows who is here and elsewhere, and of nobody else."""
        node, remote = self.nodes[i], self.reach(i, down)
        clients = len(self.here[i].keys() | remote.keys())
        # The nodes stand among the clients of those that they dial.
        servers = node.metrics().sum("derp_clients_total") - clients
        if node.derper:
            expected = {j for j in range(self.n) if i in self.dials[j]} - set(down)
            for j in self.dials[i] - {i, *down}:
                expected |= {k for k in range(self.n) if j in self.dials[k]} - set(down)
            # By itself it is there until Go's garbage collector finds that connection.
            assert servers in ({1, 0} if expected == {i} else {len(expected)})
            return
        # Only when the metrics are about right a page, which is made up anew once a second.
        assert 0 <= servers <= self.n
        nodes = {derp.node_key(n.key) for n in self.nodes}
        rows = [row for row in node.clients() if row["key"] not in nodes]
        here = Counter(row["key"] for row in rows if row["connected"])
        assert here == {derp.node_key(k): len(c) for k, c in self.here[i].items()}
        reached = {row["key"]: row["forwarders"] for row in rows if row["forwarders"]}
        assert reached == {derp.node_key(k): n for k, n in remote.items()}
        for row in rows:
            if not row["connected"] and row["forwarders"]:
                assert row["via"] in nodes, f"{row['key']} via {row['via']}"

    def expect_presence(self, timeout=5, nodes=None, down=()):
        """All nodes but those that are `down` come to know who is where. They are asked in turn, as
        a node makes up its pages anew only once a second."""
        left = [i for i in (range(self.n) if nodes is None else nodes) if i not in down]

        def check():
            errors = []
            for i in left[:]:
                try:
                    self.check_presence(i, down)
                    left.remove(i)
                except AssertionError as error:
                    errors.append(f"node {i}: {error}")
            assert not errors, "\n".join(errors)

        eventually(check, timeout=timeout)

    def expect_reconciled(self):
        for node in self.nodes:
            node.expect_reconciled()

    def close(self):
        self.wires.close()


def meet(client, other):
    """Return once packets get from one to the other, for news of it has come. Nothing is left on
    the way, and the other has read all that was there before."""

    def check():
        packet = os.urandom(8)
        client.send_packet(other.key, packet)
        try:
            while other.recv_packet(0.05 * derp.SCALE) != (client.key, packet):
                pass
        except TimeoutError:
            raise AssertionError("nothing comes") from None

    eventually(check)


def talk(pairs, packets, window):
    """Each (sender, receiver, number of the first packet) of `pairs` carries so many packets, never
    more than `window` of them on their way to one receiver; every packet must come, in order."""
    sent, got = Counter(), Counter()
    receivers = {}
    for sender, receiver in pairs:
        receivers.setdefault(receiver, []).append(sender)
    while sum(got.values()) < packets * len(pairs):
        for pair in pairs:
            sender, receiver = pair
            share = window // len(receivers[receiver])
            room = min(share - (sent[pair] - got[pair]), packets - sent[pair])
            frames = [
                derp.send_packet_frame(receiver.key, numbered(sender, sent[pair] + i))
                for i in range(room)
            ]
            if frames:
                sender.send(b"".join(frames))
            sent[pair] += room
        for receiver, senders in receivers.items():
            if not any(sent[s, receiver] > got[s, receiver] for s in senders):
                continue
            # One at least, then whatever has come.
            frames = [derp.Frame(derp.RECV_PACKET, receiver.expect(derp.RECV_PACKET))]
            for frame in frames + receiver.buffered_frames():
                take(frame, receiver, senders, got)


def take(frame, receiver, senders, got):
    assert frame.type == derp.RECV_PACKET, frame
    (sender,) = (s for s in senders if s.key == frame.payload[: derp.KEY_LEN])
    number = got[sender, receiver]
    assert frame.payload[derp.KEY_LEN :] == numbered(sender, number), f"packet {number} was due"
    got[sender, receiver] += 1


def numbered(sender, number):
    """Packet `number` of a talk, its length mixed."""
    size = (0, 1400, 100, 32, 1200, 1, 61, 1400, 300)[number % 9]
    return (number.to_bytes(4, "big") + sender.key * (size // 32 + 1))[: max(size, 4)]
