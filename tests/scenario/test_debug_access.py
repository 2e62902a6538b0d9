"""Who may see the debug pages, and where."""

import pytest

import derp
from server import LOOPBACK, free_port

PAGES = ["/debug/", "/debug/varz"]
OUR_PAGES = ["/debug/flows", "/debug/flows?format=json", "/debug/clients"]


def public_get(server, path, *headers):
    """A page from the public port: its status and its whole text."""
    conn = server.connect()
    conn.send(derp.http_request("GET", path, [("Connection", "close"), *headers]))
    answer = conn.read_to_end()
    return int(answer.split()[1]), answer.decode()


@pytest.mark.parametrize("path", PAGES)
def test_loopback_may(either, path):
    assert public_get(either, path)[0] == 200


@pytest.mark.subset
@pytest.mark.parametrize("path", PAGES)
def test_not_through_a_proxy(either, path):
    """Behind a proxy everybody seems to come from loopback."""
    status, text = public_get(either, path, ("X-Forwarded-For", "192.0.2.1"))
    assert status == 403
    assert "derp_" not in text
    assert public_get(either, path, ("x-forwarded-for", LOOPBACK))[0] == 403


@pytest.mark.ours
@pytest.mark.parametrize("path", OUR_PAGES)
def test_our_pages_are_guarded_too(plain, path):
    assert public_get(plain, path)[0] == 200
    assert public_get(plain, path, ("X-Forwarded-For", "192.0.2.1"))[0] == 403


def test_nothing_else_is_guarded(plain):
    for path, status in (("/", 200), ("/generate_204", 204), ("/derp/probe", 200)):
        assert public_get(plain, path, ("X-Forwarded-For", "192.0.2.1"))[0] == status


@pytest.mark.ours
@pytest.mark.parametrize("kind", ["path", "unix", "address"])
def test_listener_of_their_own(serve, tmp_path, kind):
    path = tmp_path / "debug.sock"
    where = {"path": path, "unix": f"unix:{path}", "address": f"{LOOPBACK}:{free_port()}"}
    server = serve(debug_listen=where[kind])
    server.login()
    # `get` uses this listener, over plain HTTP; the public port has none of it.
    server.expect({"derp_accepts": 1})
    assert server.get("/debug/").status == 200
    for path in PAGES + OUR_PAGES:
        assert public_get(server, path)[0] in (403, 404)
    assert public_get(server, "/")[0] == 200


@pytest.mark.ours
def test_stale_socket_is_replaced_and_removed(serve, launch, tmp_path):
    """What a killed server has left there doesn't keep the next one from starting."""
    path = tmp_path / "debug.sock"
    killed = launch(tls=False, debug_listen=path).wait_ready()
    killed.kill()
    assert path.exists()
    server = serve(tls=False, debug_listen=path)
    assert server.get("/debug/varz").status == 200
    server.stop()
    assert not path.exists()
