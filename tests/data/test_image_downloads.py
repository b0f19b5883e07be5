"""Addresses: cached, limited in size and time, and never a way into a private network."""

import gzip
import io
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.data import addresses
from mg_tui.data.dataset import load_dataset
from mg_tui.data.image_downloads import MAX_HOST_FAILURES, ImageDownloads
from mg_tui.data.images import ImageError, probe_image


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 50).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    request_paths: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.request_paths.append(self.path)  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        if path.startswith("http://") or path in ("/a.png", "/%C3%A4%20b.png"):  # somebody uses us as a proxy
            self.reply(png())
        elif path == "/page":
            self.reply(b"<!doctype html><html>log in first</html>")
        elif path == "/cut.png":
            self.reply(png()[:20])
        elif path == "/large":
            self.reply(png() + b"\0" * 5000)
        elif path == "/large-announced":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.server.hold.wait(5)  # type: ignore[attr-defined]
        elif path == "/large-unannounced":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png() + b"\0" * 5000)
        elif path == "/cut-late":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png()[:-300])
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "3900")
            self.end_headers()
            self.wfile.write(png())
        elif path.startswith("/to/"):
            self.redirect(path.removeprefix("/to/").replace("|", "/"))
        elif path == "/round":
            self.redirect("/round")
        elif path in ("/drip", "/drip-headers"):
            self.drip(headers=path == "/drip-headers")
        elif path == "/endless":
            self.endless()
        elif path == "/zipped":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(b"\0" * 10**7))
        elif path == "/endless-headers":
            self.endless(b"X-A: b\r\n")
        elif path == "/silent":
            self.server.hold.wait(5)  # type: ignore[attr-defined]
        else:
            self.send_error(404)

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def endless(self, part: bytes = b"x" * 100) -> None:
        self.send_response(200)
        if part.startswith(b"x"):
            self.end_headers()
        self.wfile.flush()
        try:
            while not self.server.hold.is_set():  # type: ignore[attr-defined]
                self.wfile.write(part * 100)
        except OSError:
            return

    def drip(self, *, headers: bool) -> None:
        self.send_response(200)
        if not headers:
            self.end_headers()
        self.wfile.flush()
        for _tick in range(100):
            try:
                self.wfile.write(b"X-A: b\r\n" if headers else b"x")
                self.wfile.flush()
            except OSError:
                return
            if self.server.hold.wait(0.05):  # type: ignore[attr-defined]
                return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.daemon_threads = True
    http_server.request_paths = []  # type: ignore[attr-defined]
    http_server.hold = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield http_server
    http_server.hold.set()  # type: ignore[attr-defined]
    http_server.shutdown()
    http_server.server_close()


@pytest.fixture
def base(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def downloads(tmp_path: Path) -> ImageDownloads:
    return ImageDownloads(tmp_path / "cache", allow_private=True, max_bytes=4000, max_seconds=1.0)


def refusal_reason(downloads: ImageDownloads, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        downloads.fetch(url)
    assert not downloads.cache_path(url).exists()
    assert not list(downloads.cache_path(url).parent.glob(".*")), "a part of a download was left"
    return caught.value.reason


def test_an_image_is_fetched_once(server, base: str, downloads: ImageDownloads) -> None:
    path = downloads.fetch(f"{base}/a.png?size=1")
    assert probe_image(path).format == "PNG"
    server.shutdown()
    assert downloads.fetch(f"{base}/a.png?size=1") == path
    assert server.request_paths == ["/a.png?size=1"]
    assert downloads.cache_path(f"{base}/a.png?size=2") != path


def test_letters_outside_ascii(server, base: str, downloads: ImageDownloads) -> None:
    downloads.fetch(f"{base}/ä b.png#part")
    assert server.request_paths == ["/%C3%A4%20b.png"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/none", "returned status 404"),
        ("/page", "was downloaded but is a web page"),
        ("/cut.png", "was downloaded but is truncated"),
        ("/large", "is larger than"),
        ("/large-unannounced", "is larger than"),
        ("/short", "could not be downloaded"),
        ("/round", "exceeds 5 redirects"),
        ("/drip", "took longer than 1 s"),
        ("/drip-headers", "took longer than 1 s"),
        ("/silent", "took longer than 1 s"),
        ("/endless", "is larger than"),
        ("/endless-headers", "could not be downloaded|took longer"),
        ("/zipped", "is larger than|is not a supported image|is a gzip"),
        ("/to/file:||etc|passwd", "redirects to the URL scheme file"),
        ("/to/ftp:||example.com|a", "redirects to the URL scheme ftp"),
    ],
)
def test_what_can_go_wrong(base: str, downloads: ImageDownloads, path: str, expected: str) -> None:
    start = time.monotonic()
    assert re.search(expected, refusal_reason(downloads, base + path))
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    "url", ["http:///a.png", "http://", "http://a:b/c", "http://a:99999/c", "http://[x/", "https:/a"]
)
def test_what_is_no_address(downloads: ImageDownloads, url: str) -> None:
    assert "URL" in refusal_reason(downloads, url)


def test_what_is_announced_as_too_large_is_not_waited_for(base: str, downloads: ImageDownloads) -> None:
    """Not a byte of it comes: only the header can tell."""
    assert refusal_reason(downloads, f"{base}/large-announced").startswith("is larger than")


def test_redirects_are_followed(server, base: str, downloads: ImageDownloads) -> None:
    assert probe_image(downloads.fetch(f"{base}/to/|a.png")).width == 40
    assert probe_image(downloads.fetch(f"{base}/to/http:||127.0.0.1:{server.server_port}|a.png")).width == 40


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0",
     "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "100.100.100.200", "224.0.0.1",
     "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "168.63.129.16"],
)  # fmt: skip
def test_private_networks_are_refused(server, tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_GARDEN_ALLOW_PRIVATE_URLS", raising=False)
    downloads = ImageDownloads(tmp_path, max_seconds=1.0)
    with pytest.raises(ImageError) as caught:
        downloads.fetch(f"http://{host}:{server.server_port}/a.png")
    assert "a private or reserved address" in caught.value.reason
    assert "MODEL_GARDEN_ALLOW_PRIVATE_URLS=1" in str(caught.value.hint)
    assert server.request_paths == []


def test_the_environment_may_allow_them(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_GARDEN_ALLOW_PRIVATE_URLS", "1")
    ImageDownloads(tmp_path).fetch(f"{base}/a.png")
    with pytest.raises(ImageError, match="private"):
        ImageDownloads(tmp_path, allow_private=False).fetch(f"{base}/a.png?2")


def test_public_addresses() -> None:
    for text in ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"):
        assert addresses.is_public(ipaddress.ip_address(text)), text


def make_first_loopback_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")


def test_a_redirect_into_a_private_network_is_refused(server, base: str, tmp_path: Path, monkeypatch) -> None:
    make_first_loopback_public(monkeypatch)
    downloads = ImageDownloads(tmp_path, allow_private=False)
    downloads.fetch(f"{base}/a.png")
    with pytest.raises(ImageError, match=r"resolves to 127\.0\.0\.2"):
        downloads.fetch(f"{base}/to/http:||127.0.0.2:{server.server_port}|a.png")
    assert len(server.request_paths) == 2


@pytest.mark.parametrize("target", ["169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.2]", "0x7f000002", "2130706434"])
def test_redirects_to_metadata_and_odd_spellings_are_refused(server, base, tmp_path: Path, monkeypatch, target) -> None:
    make_first_loopback_public(monkeypatch)
    with pytest.raises(ImageError, match="a private or reserved address"):
        ImageDownloads(tmp_path, allow_private=False).fetch(f"{base}/to/http:||{target}:{server.server_port}|a.png")
    assert len(server.request_paths) == 1


def test_the_address_that_was_judged_is_the_one_connected_to(server, tmp_path: Path, monkeypatch) -> None:
    make_first_loopback_public(monkeypatch)
    hosts: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host, *args, **options):
        if host == "rebind.example":
            hosts.append(host)
            host = "127.0.0.1" if len(hosts) == 1 else "127.0.0.2"
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    downloads = ImageDownloads(tmp_path, allow_private=False)
    downloads.fetch(f"http://rebind.example:{server.server_port}/a.png")
    assert len(hosts) == 1


def test_one_private_address_among_several_is_enough(tmp_path: Path, monkeypatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: both)
    with pytest.raises(ImageError, match=r"resolves to 10\.0\.0\.1"):
        ImageDownloads(tmp_path, allow_private=False).fetch("http://two.example/a.png")


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = []

    def fail(host: str, *_args: object, **_options: object) -> None:
        hosts.append(host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    downloads = ImageDownloads(tmp_path)
    reasons = []
    for number in range(MAX_HOST_FAILURES + 2):
        with pytest.raises(ImageError) as caught:
            downloads.fetch(f"https://images.example/{number}.png")
        reasons.append(caught.value.reason)
        assert "use local image files" in str(caught.value.hint)
    assert reasons[0] == "could not be reached: temporary failure in name resolution"
    assert reasons[-1] == f"was skipped: images.example was unreachable {MAX_HOST_FAILURES} times"
    assert len(hosts) == MAX_HOST_FAILURES


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.png"
        assert "could not be reached" in refusal_reason(ImageDownloads(tmp_path, allow_private=True), url)


def test_a_proxy_of_the_environment_is_used(server, base: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", base)
    real = socket.getaddrinfo

    def unknown_here(host, *args, **options):
        if host == "images.example":
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", unknown_here)
    downloads = ImageDownloads(tmp_path, allow_private=False)
    downloads.fetch("http://images.example/a.png")
    assert server.request_paths == ["http://images.example/a.png"]
    with pytest.raises(ImageError, match="private"):
        downloads.fetch("http://10.0.0.1/a.png")
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ImageError, match="socks5 proxies are not supported"):
        downloads.fetch("http://images.example/b.png")


def test_a_cache_that_cannot_be_written_is_the_machine_s_problem(base: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EnvironmentProblem, match="cannot write a downloaded image to the cache"):
        ImageDownloads(tmp_path / "cache", allow_private=True).fetch(f"{base}/a.png")


def test_addresses_in_a_dataset(server, base: str, tmp_path: Path, rows) -> None:
    path = rows(
        {"text": "q", "image": f"{base}/a.png", "response": "r"},
        {"text": "q", "image": f"{base}/a.png", "response": "r"},
        {"text": "q", "image": f"{base}/none", "response": "r"},
    )
    dataset = load_dataset(path, cache=tmp_path / "cache", allow_private_urls=True)
    assert [example.row for example in dataset.examples] == [1, 2]
    assert dataset.image_locations == {"address": 2}
    assert dataset.examples[0].images[0].original == f"{base}/a.png"
    assert dataset.problems[0].what == f'"{base}/none" returned status 404'
    assert sorted(server.request_paths) == ["/a.png", "/none"]
    refused = load_dataset(path, cache=tmp_path / "other", allow_private_urls=False)
    assert refused.bad_rows == (1, 2, 3)


@pytest.mark.parametrize("target", ["169.254.169.254", "[::ffff:169.254.169.254]", "100.100.100.200"])
def test_a_redirect_to_metadata_is_refused_where_private_addresses_are_allowed(base, tmp_path: Path, target) -> None:
    with pytest.raises(ImageError, match="never allowed"):
        ImageDownloads(tmp_path, allow_private=True).fetch(f"{base}/to/http:||{target}|latest")


def test_a_download_that_is_cut_off_is_not_kept(server, base: str, downloads: ImageDownloads) -> None:
    for _try in range(2):  # each asks again
        with pytest.raises(ImageError, match="was downloaded but is truncated"):
            downloads.fetch(f"{base}/cut-late")
    assert server.request_paths == ["/cut-late"] * 2
