"""Fixtures: servers that are started for a test and checked when they end."""

import os
import resource

import pytest

pytest.register_assert_rewrite("derp", "server", "line", "mesh", "region")

from line import lay  # noqa: E402
from mesh import FakeNode, certificate, mesh_flags, trusting  # noqa: E402
from region import Region  # noqa: E402
from server import BINARY, DERPER, ORACLE, Server  # noqa: E402


def pytest_configure():
    # Some tests hold thousands of connections.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not BINARY.exists():
        pytest.exit(f"{BINARY} doesn't exist: build it or set SLUICE_BIN", returncode=2)


def pytest_collection_modifyitems(items):
    skips = []
    if ORACLE:
        skips.append(("ours", "upstream's derper doesn't do this"))
    if not os.environ.get("SLUICE_SLOW"):
        skips.append(("slow", "set SLUICE_SLOW to wait this long"))
    for item in items:
        for marker, reason in skips:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Show the servers' logs with a failure."""
    report = (yield).get_result()
    if report.failed:
        for server in getattr(item, "servers", ()):
            report.sections.append((f"log of {server.log_path.parent.name}", server.log))


@pytest.fixture
def launch(request, tmp_path):
    """Starts servers without waiting for them: launch(tls=True, flag_name=value, …)."""
    request.node.servers = []

    def start(**options):
        directory = tmp_path / f"server{len(request.node.servers)}"
        directory.mkdir()
        server = Server(directory, **options)
        request.node.servers.append(server)
        return server

    yield start
    for server in request.node.servers:
        server.close()


@pytest.fixture
def serve(launch):
    """Starts servers, waits until they answer, and in the end stops them and checks their exit."""
    servers = []

    def start(**options):
        server = launch(**options).wait_ready()
        servers.append(server)
        return server

    yield start
    for server in servers:
        if not server.stopped:
            server.stop()


@pytest.fixture
def tls(serve):
    return serve(tls=True)


@pytest.fixture
def plain(serve):
    return serve(tls=False)


@pytest.fixture(params=["tls", "plain"])
def either(serve, request):
    """The test runs twice, with TLS and without."""
    return serve(tls=request.param == "tls")


@pytest.fixture
def bed(serve, tmp_path):
    """Starts a server with a client behind a long line: bed(tls=True, flag_name=value, …)."""
    yield from lay(serve, tmp_path)


# --- mesh -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cert(tmp_path_factory):
    """The certificate that all nodes share."""
    return certificate(tmp_path_factory.mktemp("mesh") / "nodes")


@pytest.fixture
def node(serve, tmp_path, cert):
    """One node with the shared key, alone."""
    return serve(**mesh_flags(tmp_path, cert))


@pytest.fixture
def fakes(cert):
    """Makes nodes that the test speaks for."""
    made = []

    def make(cert=cert, **where):
        made.append(FakeNode(cert, **where))
        return made[-1]

    yield make
    for fake in made:
        fake.close()


@pytest.fixture
def dialling(serve, tmp_path, cert):
    """Starts a node that dials these FakeNodes: dialling(fake, …, flag=value). `dialled` stands
    behind each of their names."""

    def start(*fakes, dialled="", **flags):
        flags = mesh_flags(tmp_path, cert) | flags
        hosts = ",".join(fake.host + dialled for fake in fakes)
        return serve(env=trusting(cert, ORACLE), mesh_with=hosts, **flags)

    yield start


@pytest.fixture
def one_link(dialling, fakes):
    """A node, and its link to one other."""
    fake = fakes()
    return dialling(fake), fake.up()


@pytest.fixture
def two_links(dialling, fakes):
    """A node, and its links to two others."""
    first, second = fakes(), fakes()
    return dialling(first, second), first.up(), second.up()


@pytest.fixture
def region(launch, tmp_path, cert):
    """Starts regions: region(3), region("sluice", "derper"). All nodes must end well."""
    made = []

    def start(*kinds, **options):
        if isinstance(kinds[0], int):
            kinds = ("sluice",) * kinds[0]
        if "derper" in kinds and not DERPER:
            pytest.skip("SLUICE_DERPER names no derper to stand beside sluice")
        made.append(Region(launch, tmp_path, cert, kinds, **options))
        return made[-1].settle()

    yield start
    try:
        for node in (node for each in made for node in each if not node.stopped):
            node.stop()
    finally:
        for each in made:
            each.close()
