"""The flow table: who talked to whom by which connection, and sums that add up."""

import datetime
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import derp
from server import eventually

pytestmark = pytest.mark.ours

PARTS = ("packets", "bytes", "disco_packets", "disco_bytes", "dropped_packets", "dropped_bytes")


def row_of(page, src, dst):
    rows = [
        r for r in page["flows"] if (r["src"], r["dst"]) == (derp.node_key(src), derp.node_key(dst))
    ]
    assert len(rows) == 1, f"{len(rows)} rows instead of one"
    return rows[0]


def parts(row):
    return {part: row[part] for part in PARTS}


def volumes(packets, size, disco=0, dropped=0):
    """Parts of a flow: `packets` of `size`, of which some `dropped`, and small `disco` ones."""
    return {
        "packets": packets + disco,
        "bytes": packets * size + disco * derp.DISCO_MIN,
        "disco_packets": disco,
        "disco_bytes": disco * derp.DISCO_MIN,
        "dropped_packets": dropped,
        "dropped_bytes": dropped * size,
    }


@pytest.mark.subset
def test_every_flow_is_counted(either):
    a, b = either.login(), either.login()
    stranger = os.urandom(32)
    for _ in range(5):
        a.send_packet(b.key, bytes(1000))
    for _ in range(3):
        a.send_packet(b.key, derp.disco())
    b.send_packet(a.key, bytes(70))
    b.send_packet(b.key, b"")
    b.send_packet(stranger, bytes(99))

    def check():
        page = either.flows()
        assert len(page["flows"]) == 4
        assert parts(row_of(page, a.key, b.key)) == volumes(5, 1000, disco=3)
        assert parts(row_of(page, b.key, a.key)) == volumes(1, 70)
        assert parts(row_of(page, b.key, b.key)) == volumes(1, 0)
        assert parts(row_of(page, b.key, stranger)) == volumes(1, 99, dropped=1)
        assert parts(page["totals"]) == volumes(5, 1000, disco=3) | {
            "packets": 11,
            "bytes": 5000 + 3 * derp.DISCO_MIN + 70 + 99,
            "dropped_packets": 1,
            "dropped_bytes": 99,
        }
        assert not any(page["other"][part] for part in PARTS)
        return page

    page = eventually(check)
    drops = row_of(page, b.key, stranger)["drops"]
    assert {reason: n for reason, n in drops.items() if n["packets"]} == {
        "unknown_dest": {"packets": 1, "bytes": 99}
    }
    check_common_fields(page, a, b)


def check_common_fields(page, a, b):
    now = datetime.datetime.now(datetime.UTC)
    times = [page["time"]]
    for row in page["flows"]:
        times += [row["first_active"], row["last_active"]]
        assert not (row["recv_from"] or row["fwded_to"]), "there is no mesh here"
        assert row["first_active"] <= row["last_active"]
    for text in times:
        age = now - datetime.datetime.fromisoformat(text)
        assert abs(age.total_seconds()) < 30 * derp.SCALE
    assert 0.5 < page["interval_s"] < 5 * derp.SCALE
    by_source = {row["src"]: row["conn"] for row in page["flows"]}
    assert by_source[derp.node_key(a.key)] != by_source[derp.node_key(b.key)]


def test_twins_have_flows_of_their_own(plain):
    """A flow belongs to the connection it came in by, not to the key."""
    first, friend = plain.login(), plain.login()
    second = plain.login(private=first.private)
    for client, count in ((first, 2), (second, 3)):
        for _ in range(count):
            client.send_packet(friend.key, b"hello")

    def check():
        rows = plain.flows()["flows"]
        assert sorted(row["packets"] for row in rows) == [2, 3]
        assert len({row["conn"] for row in rows}) == 2

    eventually(check)


def test_ended_connections_fold_into_other(plain):
    talker, friend = plain.login(), plain.login()
    for _ in range(7):
        talker.send_packet(friend.key, bytes(10))
    friend.send_packet(friend.key, bytes(5))
    friend.recv_packet()
    talker.close()

    def check():
        page = plain.flows()
        assert [row["src"] for row in page["flows"]] == [derp.node_key(friend.key)]
        assert parts(page["other"]) == volumes(7, 10)
        assert (page["totals"]["packets"], page["totals"]["bytes"]) == (8, 75)

    eventually(check)


@pytest.mark.subset
def test_far_more_flows_than_the_cap(serve):
    """What is evicted goes to "other", so that the sums stay exact to the last packet."""
    server = serve(tls=False, flow_limit=64)
    clients = [server.login("fast") for _ in range(12)]
    strangers = [os.urandom(32) for _ in range(150)]
    for turn in range(3):
        for i, client in enumerate(clients):
            # Live peers, strangers who are sent data, and strangers to whom a path is sought.
            destinations = [c.key for c in clients] + strangers[:100]
            frames = [derp.send_packet_frame(dst, bytes(i * 10 + turn)) for dst in destinations]
            frames += [
                derp.send_packet_frame(dst, derp.disco(size=70 + i)) for dst in strangers[50:]
            ]
            client.send(b"".join(frames))
    sent = 3 * len(clients) * (len(clients) + 100 + 100)
    server.expect({"derp_packets_received": sent})

    def check():
        assert_sums(server.flows("&limit=0"), server.metrics())

    eventually(check)
    assert 0 < len(server.flows("&limit=0")["flows"]) <= 2 * 64, (
        "no more than the cap of each worker"
    )
    for client in clients[:6]:
        client.close()
    server.expect({"derp_current_connections": 6})
    eventually(check)


def assert_sums(page, metrics):
    """Flows and "other" make up the totals, and these are what the counters say."""
    for part in PARTS:
        total = sum(row[part] for row in page["flows"]) + page["other"][part]
        assert total == page["totals"][part], part
    counted = {
        "packets": metrics.sum("derp_packets_received"),
        "bytes": metrics.sum("derp_bytes_received"),
        "disco_packets": metrics.sum('derp_packets_received_kind{kind="disco"}'),
        "dropped_packets": metrics.sum("derp_packets_dropped"),
        "dropped_bytes": metrics.sum("derp_bytes_dropped"),
    }
    assert counted == {part: page["totals"][part] for part in counted}
    for row in page["flows"]:
        for unit in ("packets", "bytes"):
            assert sum(n[unit] for n in row["drops"].values()) == row[f"dropped_{unit}"]


@pytest.fixture(scope="module")
def talk():
    """How many packets of which size each of five destinations gets."""
    return [(10, 100), (50, 10), (30, 1000), (20, 2), (40, 300)]


def test_selecting_and_sorting(plain, talk):
    a, b = plain.login(), plain.login()
    strangers = [os.urandom(32) for _ in talk]
    for stranger, (count, size) in zip(strangers, talk):
        a.send(derp.send_packet_frame(stranger, bytes(size)) * count)
    b.send_packet(strangers[0], b"from another")
    plain.expect({"derp_packets_received": sum(count for count, _ in talk) + 1})

    def column(query, name):
        return [row[name] for row in plain.flows(query)["flows"]]

    def check():
        assert sorted(column("&limit=0", "packets")) == [1, 10, 20, 30, 40, 50]

    eventually(check)
    assert column("&sort=packets", "packets") == [50, 40, 30, 20, 10, 1]
    volume = sorted((count * size for count, size in talk), reverse=True)
    assert column("&sort=bytes", "bytes")[:4] == volume[:4]
    last = column("&sort=last_active", "last_active")
    assert last == sorted(last, reverse=True)
    rates = column("&sort=bytes_per_s", "bytes_per_s")
    assert rates == sorted(rates, reverse=True)
    assert column("&sort=packets&limit=2", "packets") == [50, 40]
    assert len(column("&limit=3", "packets")) == 3
    a_key, b_key, first = map(derp.node_key, (a.key, b.key, strangers[0]))
    assert column(f"&src={b_key}", "src") == [b_key]
    assert set(column(f"&src={a_key}", "src")) == {a_key}
    assert sorted(column(f"&dst={first}", "src")) == sorted([a_key, b_key])
    assert column(f"&src={a_key}&dst={first}", "packets") == [10]
    assert column(f"&dst={a_key}", "src") == []


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=many", "sort=beauty", "src=somebody", "format=xml"]
)
def test_bad_queries_are_refused(plain, query):
    assert plain.get(f"/debug/flows?{query}").status == 400


def test_rates(plain):
    """A steady talk of 50 packets of 1,000 bytes a second, looked at while it goes on."""
    a, b = plain.login(), plain.login()
    packet = derp.send_packet_frame(b.key, bytes(1000))
    start, sent = time.monotonic(), 0
    with ThreadPoolExecutor() as pool:
        page = pool.submit(lambda: time.sleep(1.5) or plain.flows())
        while not page.done():
            due = int((time.monotonic() - start) * 50)
            a.send(packet * (due - sent))
            sent = max(sent, due)
            time.sleep(0.01)
    row = row_of(page.result(), a.key, b.key)
    assert 25 < row["packets_per_s"] < 100
    assert row["bytes_per_s"] == pytest.approx(row["packets_per_s"] * 1000, rel=0.02)


# --- the table ------------------------------------------------------------------------------------

HEAD = "%-10s %-10s %-10s %-10s %-10s %10s %10s %10s %10s %-12s" % (
    "conn#",
    "src",
    "dst",
    "recv from",
    "fwded to",
    "bytes",
    "packets",
    "bps",
    "pps",
    "last active",
)
EDGES = [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]


def test_table(plain):
    a, b = plain.login(), plain.login()
    a.send(derp.send_packet_frame(b.key, bytes(1400)) * 20)
    b.send_packet(a.key, bytes(7))

    def check():
        page = plain.get("/debug/flows")
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/plain")
        now, number, head, *rows = page.text.splitlines()
        assert re.fullmatch(r"current time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", now)
        assert number == "number flows: 2"
        assert head == HEAD
        return dict(table_row(line) for line in rows[:2])

    rows = eventually(check)
    assert rows[derp.short_key(a.key)][1:] == [derp.short_key(b.key), "", "", "28000", "20"]
    assert rows[derp.short_key(b.key)][1:] == [derp.short_key(a.key), "", "", "7", "1"]


def table_row(line):
    """(source, [connection, destination, received from, forwarded to, bytes, packets])"""
    assert re.fullmatch(r"[ 0-9]{5} secs", line[EDGES[-1] :]), line
    conn, src, dst, recv_from, fwded_to, size, packets, *rates = (
        line[start : end - 1].strip() for start, end in zip(EDGES, EDGES[1:])
    )
    assert all(int(number) >= 0 for number in (conn, *rates))
    return src, [conn, dst, recv_from, fwded_to, size, packets]
