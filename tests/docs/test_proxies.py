"""The configurations of docs/how-to/proxy.md, each run by its own program in front of the service."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.support.programs import proxy_program
from tests.support.serving import until

NAME = "films.example"


def configuration(language: str) -> str:
    page = (ROOT / "docs" / "how-to" / "proxy.md").read_text(encoding="utf-8")
    (block,) = [block for block in blocks(page) if block.language == language]
    return block.code


@pytest.fixture(scope="module")
def proxied(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service as the page starts it; its host and port."""
    model = shutil.copytree(model_dir, tmp_path_factory.mktemp("proxied") / "model")
    words = ["serve", str(model), "--proxies", "127.0.0.1", "--port", "0"]
    command = [sys.executable, "-m", "reelgraph", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, "the service ended"
            found = re.search(r"http://([\d.:]+)", line)
        yield found[1]
        process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def nginx(folder: Path, upstream: str, port: int) -> list[str]:
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={NAME}")
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = configuration("nginx").replace(ADDRESS.removeprefix("http://"), upstream)
    site = site.replace("listen 443 ", f"listen 127.0.0.1:{port} ")
    site = site.replace(f"/etc/letsencrypt/live/{NAME}", str(folder))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    return ["-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, upstream: str, port: int) -> list[str]:
    options = (
        "admin off", "skip_install_trust", "local_certs", "auto_https disable_redirects", "default_bind 127.0.0.1",
        f"https_port {port}", f"storage file_system {folder}",
    )  # fmt: skip
    site = configuration("caddy").replace(ADDRESS.removeprefix("http://"), upstream)
    (folder / "Caddyfile").write_text("{\n" + "\n".join(options) + "\n}\n" + site)
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[[Path, str, int], list[str]]] = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(params=PROXIES)
def visit(request: pytest.FixtureRequest, proxied: str, tmp_path: Path) -> Iterator[Callable[..., httpx.Response]]:
    """Sends a request to the site of the page, by HTTPS from an address of this machine."""
    port = free_port()
    command = [proxy_program(request.param), *PROXIES[request.param](tmp_path, proxied, port)]

    def send(method: str, path: str, source: str = "127.0.0.1", **options: object) -> httpx.Response:
        transport = httpx.HTTPTransport(verify=False, local_address=source)
        with httpx.Client(transport=transport, base_url=f"https://127.0.0.1:{port}", timeout=30) as client:
            headers = {"Host": NAME, **options.pop("headers", {})}  # type: ignore[dict-item]
            asked = client.build_request(method, path, headers=headers, **options)  # type: ignore[arg-type]
            asked.extensions["sni_hostname"] = NAME
            return client.send(asked)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return send("GET", "/health/live").status_code != httpx.codes.BAD_GATEWAY
        except httpx.TransportError:
            return False

    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        until(answers)
        yield send
        process.terminate()


def test_a_proxy_hands_on_who_asks_and_hides_the_routes_of_operators(visit: Callable[..., httpx.Response]) -> None:
    page = visit("GET", "/")
    assert page.status_code == 200
    assert "reelgraph" in page.text
    made = visit("POST", "/api/visitors", json={}, headers={"Origin": f"https://{NAME}"})
    assert made.status_code == 200, made.text
    assert "Secure" in made.headers["Set-Cookie"], "the service knows that the visitor came by HTTPS"
    cookie = made.headers["Set-Cookie"].partition(";")[0]
    own = visit("GET", "/api/visitors", headers={"Cookie": cookie, "Origin": f"https://{NAME}"})
    assert own.json()["user"] == made.json()["user"], "the Host of the visitor is passed on"
    for path in ("/metrics", "/health/ready", "/api/admin/learning"):
        assert visit("GET", path, source="127.0.0.2").status_code in {403, 404}, path
