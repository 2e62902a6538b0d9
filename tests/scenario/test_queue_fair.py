"""What waits for a slow client: shared among its senders, and seen by the operator."""

import pytest

import derp
from server import eventually
from test_queue import STALLED, flood, read_stamp, receive_up_to, run, send_stamped

pytestmark = pytest.mark.ours


def fill(serve, **options):
    """A client that doesn't read, with so many packets waiting for it from one sender."""
    server = serve(tls=False, **options)
    bulk, stalled = server.login(), server.login(**STALLED)
    sent = run(flood(bulk, stalled, seconds=0.5, per_tick=40))
    return server, bulk, stalled, sent


def both_orders(stalled, bulk, last_bulk, sparse, last_sparse):
    """The numbers of both senders' packets, and how many of bulk came before the last of sparse."""
    got, before = {bulk.key: [], sparse.key: []}, 0
    while not (got[bulk.key][-1:] == [last_bulk] and got[sparse.key][-1:] == [last_sparse]):
        key, packet = stalled.recv_packet()
        got[key].append(read_stamp(packet)[0])
        if key == sparse.key:
            before = len(got[bulk.key])
    return got[bulk.key], got[sparse.key], before


@pytest.mark.subset
def test_a_sparse_sender_does_not_wait_behind_a_bulk_sender(serve):
    server, bulk, stalled, sent = fill(serve)
    sparse = server.login()
    send_stamped(sparse, stalled, 0, 5)
    server.expect({"derp_packets_received": sent + 5})
    numbers, few, before = both_orders(stalled, bulk, sent - 1, sparse, 4)
    assert few == list(range(5)), "the sparse sender's were lost"
    assert numbers == sorted(set(numbers))
    after = len(numbers) - before
    assert after > 50, "they waited behind the bulk sender's"
    server.expect_reconciled()


def test_fifo_is_one_line(serve):
    server, bulk, stalled, sent = fill(serve, queue="fifo")
    other = server.login()
    send_stamped(other, stalled, 0, 5)
    server.expect({"derp_packets_received": sent + 5})
    numbers, few, before = both_orders(stalled, bulk, sent - 1, other, 4)
    assert few == list(range(5))
    assert before == len(numbers), "it went ahead"


def test_who_has_most_pays(serve):
    """At the limit of memory the bulk sender's packets go, however many others there are."""
    server, bulk, stalled, sent = fill(serve)
    others = [server.login("fast") for _ in range(20)]
    for other in others:
        send_stamped(other, stalled, 0, 10)
    sent += run(flood(bulk, stalled, seconds=0.1, per_tick=80))
    server.expect({"derp_packets_received": sent + 200})
    got = {other.key: [] for other in others}
    while sum(map(len, got.values())) < 200:
        key, packet = stalled.recv_packet()
        if key in got:
            got[key].append(read_stamp(packet)[0])
    assert all(numbers == list(range(10)) for numbers in got.values())
    server.expect_reconciled()


def test_delays_and_path_are_shown(serve):
    server, bulk, stalled, sent = fill(serve)
    got = receive_up_to(stalled, sent - 1)
    waited = sent - (got[-1][0] + 1 - len(got))

    def check():
        (flow,) = server.flows()["flows"]
        delay = flow["queue_delay"]
        assert 0 < delay["waited"] <= waited
        assert 0 < delay["average_ms"] <= delay["p99_ms"] <= 1000 * derp.SCALE
        rows = {row["key"]: row for row in server.clients()}
        queue = rows[derp.node_key(stalled.key)]["queue"]
        assert queue["delay"] == delay
        assert queue["dropped"] == {"queue_head": flow["dropped_packets"]}
        path = rows[derp.node_key(stalled.key)]["path"]
        assert path["congestion"] and path["rtt_ms"] > 0 and path["unsent_limit"] > 0
        idle = rows[derp.node_key(bulk.key)]
        assert idle["queue"]["delay"]["waited"] == 0 and idle["queue"]["dropped"] == {}
        metrics = server.metrics()
        assert metrics.sum("sluice_queue_delay_ms_count") == flow["packets"] - flow["dropped_packets"]

    eventually(check)


def test_congestion_control_by_name(serve):
    """reno is what any process may choose on any kernel."""
    server = serve(tls=False, tcp_congestion="reno")
    client = server.login()
    (row,) = server.clients()
    assert (row["key"], row["path"]["congestion"]) == (derp.node_key(client.key), "reno")


def test_congestion_control_that_the_kernel_has_not(serve):
    server = serve(tls=False, tcp_congestion="nosuch")
    client = server.login()
    client.sync()
    (line,) = [line for line in server.log.splitlines() if "nosuch" in line]
    assert "warn" in line and "modprobe" in line
