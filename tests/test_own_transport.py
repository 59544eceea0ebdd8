"""A transport of somebody's own: the documentation's examples work, and what is wrong with one is told in words."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.transport import Connection, Mail, TransportDownError
from smp_pipelines.sending.transports import open_transport
from tests.conftest import REPOSITORY

SECRET = "geh31m"
CONTENT = "Subject: Hallo\r\n\r\nBeste Zoë,\r\n.\r\nTot dan\r\n".encode()


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


class Api(BaseHTTPRequestHandler):
    taken: dict[str, bytes]

    def do_PUT(self) -> None:
        path, _, recipient = self.path.partition("?to=")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if unquote(recipient).startswith("hang"):
            self.connection.close()
            return
        code = {"busy": 429, "no": 404}.get(unquote(recipient).partition("@")[0], 201)
        if code == 201:
            self.taken[unquote(path)] = content
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_example_of_the_documentation_works(importable: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "transports.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "class Api" in block]
    assert len(example.splitlines()) < 40, "an example is read whole"
    (importable / "own_api.py").write_text(example)
    Api.taken = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        transport = open_transport(f"python://own_api:Api?127.0.0.1:{server.server_port}", timeout=5)
        connection = transport.connect()
        assert isinstance(connection, Connection)
        kinds = [connection.send(Mail("<1@x>", "a@b.c", f"{who}@x.nl", CONTENT)).kind for who in ("a", "no", "busy")]
        assert kinds == ["accepted", "refused", "later"]
        assert connection.send(Mail("<2@x>", "a@b.c", "hang@x.nl", CONTENT)).kind == "unknown"
        server.shutdown()
    assert Api.taken == {"/mails/<1@x>": CONTENT}
    with pytest.raises(TransportDownError, match="is away"):
        connection.send(Mail("<1@x>", "a@b.c", "a@x.nl", CONTENT))
    assert transport.look_up(["<1@x>"]) == {}


def test_the_documentations_example_of_an_outbox_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "transports.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "outbox(" in block]
    subprocess.run([sys.executable, "-c", example], check=True, cwd=REPOSITORY)


@pytest.mark.parametrize(
    ("where", "source", "words"),
    [
        ("own_none:Thing", None, "cannot be loaded"),
        ("own_a:Thing", "", "has no function or class Thing"),
        ("own_b:Thing", "Thing = 7", "has no function or class Thing"),
        ("own_c:Thing", "1 / 0", "own_c fails with ZeroDivisionError"),
        ("own_d:Thing", "def Thing(url, timeout): raise ValueError(url)", "fails with ValueError"),
        ("own_e:Thing", "def Thing(): pass", "fails with TypeError"),
        ("own_f:Thing", "def Thing(url, timeout): return 7", "without name, connect, look_up"),
        (
            "own_g:Thing",
            "from smp_pipelines.problems import SmpError\ndef Thing(url, timeout): raise SmpError('no key')",
            "^no key$",
        ),
        ("own_h", "", "must look like python://"),
        ("own_i:two words", "", "must look like python://"),
        (":Thing", "", "must look like python://"),
    ],
)
def test_what_is_wrong_with_ones_own_transport_is_told_in_words(
    importable: Path, where: str, source: str | None, words: str
) -> None:
    if source is not None and where.partition(":")[0]:
        (importable / f"{where.partition(':')[0]}.py").write_text(source)
    with pytest.raises(SmpError, match=words) as error:
        open_transport(f"python://{where}?key={SECRET}")
    assert SECRET not in str(error.value)


def test_ones_own_transport_gets_the_url_and_the_timeout(importable: Path) -> None:
    (importable / "own_seen.py").write_text(
        "class Thing:\n"
        "    def __init__(self, url, timeout): self.name, self.timeout = url, timeout\n"
        "    def connect(self): ...\n"
        "    def look_up(self, message_ids): return {}\n"
    )
    made = open_transport("python://own_seen:Thing?key=a&b=c", timeout=7)
    assert made.name == "python://own_seen:Thing?key=a&b=c"
    assert vars(made)["timeout"] == 7
