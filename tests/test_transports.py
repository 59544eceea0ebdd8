"""Transports that are no mail server: folders and memory; and what a URL may look like."""

from __future__ import annotations

import contextlib
import mailbox
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.transport import Answer, Connection, Kind, Mail, TransportDownError
from smp_pipelines.sending.transports import open_transport, outbox
from smp_pipelines.sending.transports.folder import name_of
from tests.conftest import REPOSITORY
from tests.support.waiting import PATIENCE

SCHEMES = ("smtp", "smtps", "smtp+starttls", "maildir", "eml", "memory", "python")
SECRET = "geh31m"
CONTENT = "Subject: Hallo\r\n\r\nBeste Zoë,\r\n.\r\nTot dan\r\n".encode()


def mail(number: int = 1, content: bytes = CONTENT) -> Mail:
    return Mail(f"<{number}@example.org>", "toneel@example.org", f"p{number}@example.org", content)


def connect(url: str) -> Connection:
    connection = open_transport(url).connect()
    assert isinstance(connection, Connection)
    return connection


def url(scheme: str, folder: Path) -> str:
    return f"{scheme}://{quote(str(folder))}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mails of today, 100%"


# URLs


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "localhost:25",
        f"ftp://anna:{SECRET}@host/x",
        f"{SECRET}",
        f"anna:{SECRET}@host",
        "http://[::1",
        f"mailto:{SECRET}@example.org",
    ],
)
def test_a_url_that_names_no_transport_is_answered_with_the_schemes_that_there_are(wrong: str) -> None:
    with pytest.raises(SmpError) as error:
        open_transport(wrong)
    assert all(f"{scheme}://" in str(error.value) for scheme in SCHEMES)
    assert SECRET not in str(error.value)


@given(
    st.text(max_size=30), st.sampled_from(["", "smtp://", "smtps://", "maildir:", "eml://", "memory://", "python://"])
)
@example(f"anna:{SECRET}@host:nan", "smtp://")
@example(f"//anna:{SECRET}@host/srv", "maildir:")
@example("///%00", "eml:")
def test_a_url_is_a_transport_or_an_error_in_words_that_does_not_repeat_it(text: str, scheme: str) -> None:
    words = ""
    try:
        assert open_transport(scheme + text).name
    except SmpError as error:
        words = f"in words: {error}"
    assert SECRET not in words
    assert words != "in words: "


@pytest.mark.parametrize(
    "wrong", ["maildir://srv/mail", "maildir:mail", "eml://", "eml:///", "eml:///a?b", "eml:///a#b"]
)
def test_a_folder_must_be_a_whole_path(wrong: str) -> None:
    with pytest.raises(SmpError, match="three slashes"):
        open_transport(wrong)


def test_a_mail_servers_name_for_its_limits_holds_no_password() -> None:
    assert open_transport(f"smtps://anna:{SECRET}@mail.example.org").name == "smtp mail.example.org:465"


# Folders


@pytest.mark.parametrize("scheme", ["maildir", "eml"])
def test_a_folder_that_cannot_be_written_to_is_told_in_words(scheme: str, tmp_path: Path) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("")
    for place in (in_the_way, in_the_way / "below", Path("/proc/mails")):
        with pytest.raises(TransportDownError, match=rf"mails cannot be written to {re.escape(str(place))}: \w"):
            connect(url(scheme, place))


@pytest.mark.parametrize("scheme", ["maildir", "eml"])
def test_a_folder_that_goes_away_takes_nothing_and_leaves_nothing(scheme: str, folder: Path) -> None:
    connection = connect(url(scheme, folder))
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(TransportDownError, match="mails cannot be written to"):
        connection.send(mail())
    assert not folder.exists()
    assert [path for path in folder.with_name("elsewhere").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("scheme", ["maildir", "eml"])
def test_a_mail_that_cannot_be_put_in_its_place_leaves_no_half_file(scheme: str, folder: Path) -> None:
    connection = connect(url(scheme, folder))
    suffix, place = (".eml", folder) if scheme == "eml" else (".smp", folder / "new")
    (place / (name_of(mail().message_id) + suffix)).mkdir()
    with pytest.raises(TransportDownError):
        connection.send(mail())
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_told_in_words() -> None:
    # a subprocess that may write no files of more than a kilobyte, as on a disk without room
    code = (
        "import resource, signal, sys, tempfile\n"
        "from smp_pipelines.sending.transport import Mail, TransportDownError\n"
        "from smp_pipelines.sending.transports import open_transport\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "folder = tempfile.mkdtemp()\n"
        "connection = open_transport('eml://' + folder).connect()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try:\n"
        "    connection.send(Mail('<1@x>', 'a@b.c', 'd@e.f', b'x' * 4096))\n"
        "except TransportDownError as error:\n"
        "    import os\n"
        "    print(error, os.listdir(folder))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert "mails cannot be written to" in done.stdout
    assert "too large" in done.stdout
    assert done.stdout.strip().endswith("[]"), "no half file stays"


def test_an_eml_file_is_the_mail_byte_for_byte_for_its_user_only(folder: Path) -> None:
    assert connect(url("eml", folder)).send(mail()).kind == "accepted"
    (file,) = folder.iterdir()
    assert file.suffix == ".eml"
    assert file.read_bytes() == CONTENT
    assert file.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0
    assert "p1" not in file.name


def test_a_maildir_is_one_that_others_read(folder: Path) -> None:
    connection = connect(url("maildir", folder))
    assert {connection.send(mail(number)).kind for number in (1, 2)} == {"accepted"}
    box = mailbox.Maildir(folder, create=False)
    assert sorted(str(message["Delivered-To"]) for message in box) == ["p1@example.org", "p2@example.org"]
    first = next(iter(box))
    assert first["Return-Path"] == "<toneel@example.org>"
    assert first["Subject"] == "Hallo"
    assert first.get_payload(decode=True) == b"Beste Zo\xc3\xab,\n.\nTot dan\n"
    assert list((folder / "tmp").iterdir()) == []


def test_an_address_cannot_add_lines_to_a_maildirs_file(folder: Path) -> None:
    odd = Mail("<1@x>", "a@b.c", "d@e.f\r\nBcc: everybody@example.org", CONTENT)
    connect(url("maildir", folder)).send(odd)
    (message,) = mailbox.Maildir(folder, create=False)
    assert message["Bcc"] is None


@pytest.mark.parametrize("scheme", ["maildir", "eml"])
def test_the_same_message_id_written_twice_is_one_file(scheme: str, folder: Path) -> None:
    transport = open_transport(url(scheme, folder))
    for _time in range(2):
        connection = transport.connect()
        assert isinstance(connection, Connection)
        assert connection.send(mail()).kind == "accepted"
        connection.close()
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("scheme", ["maildir", "eml"])
def test_a_folder_can_be_asked_what_became_of_a_mail(scheme: str, folder: Path) -> None:
    transport = open_transport(url(scheme, folder))
    assert transport.look_up(["<1@example.org>"]) == {}, "nothing was written yet, not even the folder"
    connect(url(scheme, folder)).send(mail(1))
    known = transport.look_up(["<1@example.org>", "<2@example.org>"])
    assert {message_id: answer.kind for message_id, answer in known.items()} == {"<1@example.org>": "accepted"}


def test_a_mail_that_was_seen_in_a_maildir_is_still_known(folder: Path) -> None:
    connect(url("maildir", folder)).send(mail(1))
    box = mailbox.Maildir(folder, create=False)
    (key,) = box.keys()
    message = box[key]
    message.set_subdir("cur")
    message.set_flags("RS")
    box[key] = message
    assert [path.name.endswith(":2,RS") for path in (folder / "cur").iterdir()] == [True]
    assert list(open_transport(url("maildir", folder)).look_up(["<1@example.org>"])) == ["<1@example.org>"]


@pytest.mark.parametrize("scheme", ["maildir", "eml"])
def test_several_processes_write_the_same_mails_and_each_is_there_once_and_whole(scheme: str, folder: Path) -> None:
    code = (
        "import sys\n"
        "from smp_pipelines.sending.transport import Mail\n"
        "from smp_pipelines.sending.transports import open_transport\n"
        "connection = open_transport(sys.argv[1]).connect()\n"
        "for n in range(60):\n"
        "    mail = Mail(f'<{n}@x>', 'a@b.c', f'{n}@e.f', b'Subject: %d\\r\\n\\r\\n' % n + b'x' * 9000 + b'\\r\\n')\n"
        "    assert connection.send(mail).kind == 'accepted'\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, url(scheme, folder)], cwd=REPOSITORY) for _process in range(3)
    ]
    assert [writer.wait(PATIENCE) for writer in writers] == [0, 0, 0]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 60
    assert all(file.stat().st_size > 9000 for file in files)


def test_a_folder_without_permission_is_told_in_words(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with as_a_plain_user(), pytest.raises(TransportDownError, match="permission denied"):
        connect(url("eml", folder))


@contextlib.contextmanager
def as_a_plain_user() -> Iterator[None]:
    """Without the powers of root, who may write everywhere."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


# Memory


def test_an_outbox_answers_as_it_is_told_and_keeps_what_it_took() -> None:
    box = outbox("answers")
    box.clear()
    kinds: dict[str, Kind] = {"p1@example.org": "accepted", "p2@example.org": "refused", "p3@example.org": "later"}
    box.answer = lambda recipient: Answer(kinds.get(recipient, "unknown"), "so")
    connection = connect("memory://answers")
    assert [connection.send(mail(number)).kind for number in (1, 2, 3, 4)] == [
        "accepted",
        "refused",
        "later",
        "unknown",
    ]
    assert box.recipients == ["p1@example.org", "p4@example.org"]
    assert [each.recipient for each in box.tried] == [f"p{number}@example.org" for number in (1, 2, 3, 4)]
    known = open_transport("memory://answers").look_up([f"<{number}@example.org>" for number in range(9)])
    assert {message_id[1]: answer.kind for message_id, answer in known.items()} == {
        "1": "accepted",
        "2": "refused",
        "3": "later",
        "4": "accepted",
    }


def test_an_outbox_that_is_down_takes_nothing_and_what_its_answer_raises_is_raised() -> None:
    box = outbox("down")
    box.clear()
    connection = connect("memory://down")
    box.down = "the line is cut"
    with pytest.raises(TransportDownError, match="the line is cut"):
        connect("memory://down")
    with pytest.raises(TransportDownError, match="the line is cut"):
        connection.send(mail())
    box.down = None

    def fail(_recipient: str) -> Answer:
        raise OSError("odd")

    box.answer = fail
    with pytest.raises(OSError, match="odd"):
        connection.send(mail())
    assert box.tried == []
    box.clear()
    assert connection.send(mail()).kind == "accepted"


def test_an_outbox_loses_nothing_between_threads() -> None:
    box = outbox("threads")
    box.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: connect("memory://threads").send(mail(number)), range(800)))
    assert sorted(box.recipients) == sorted(f"p{number}@example.org" for number in range(800))
    assert outbox("threads") is box
    assert outbox("another") is not box
