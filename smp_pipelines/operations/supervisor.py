"""The supervisor: `smp up`. Starts everything on this machine, keeps it running, and ends it in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from smp_pipelines.deployment import Deployment, check
from smp_pipelines.operations.children import Child, Service, refuse_taken_ports
from smp_pipelines.operations.environment import code_port, dagster_environment, dagster_file, dagster_home
from smp_pipelines.operations.guard import Guard
from smp_pipelines.operations.running import AlreadyRunningError, Running, down, only_one, read_running
from smp_pipelines.operations.watcher import Watcher
from smp_pipelines.operations.webserver import LOCATION, load_error
from smp_pipelines.problems import SmpError
from smp_pipelines.site.colleagues import machine
from smp_pipelines.stores.clock import SystemClock
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings

__all__ = ["AlreadyRunningError", "Running", "down", "read_running", "up"]

Report = Callable[[str], None]

_DEFINITIONS = "smp_pipelines.definitions"
_SECONDS_TO_START = 120.0
_LOOK = 0.2
# Who starts work ends first; the mail catcher last, so that a mail on its way still arrives.
_ENDING = ((("daemon",), 4.0), (("webserver", "site", "code", "runs"), 6.0), (("inbox",), 2.0))


class _Stopped(Exception):  # noqa: N818  (no error: somebody asked)
    """The user asked to stop."""


def up(settings: Settings, report: Report, definitions: str = _DEFINITIONS) -> None:
    """Run everything in the foreground until SIGINT, SIGTERM or SIGHUP; a second signal kills at once.

    `report` gets one message at a time, some with several lines. `definitions` is the module with
    Dagster's definitions. Raises AlreadyRunningError, ProjectError for a project that cannot be
    loaded, and SmpError for a taken port, and for a process that does not come up or keeps ending.
    """
    with only_one(settings) as leave_note, _stop_signals() as stop:
        services = _services(settings, definitions)
        refuse_taken_ports(services)
        deployment = Deployment.load(settings)
        with deployment.running(), _way_in(settings):
            leave_note(
                Running(os.getpid(), SystemClock().now().astimezone().isoformat(" ", "seconds"), _urls(settings))
            )
            environment = {**os.environ, **dagster_environment(settings, deployment.url)}
            supervisor = Supervisor(settings, services, environment, stop, report)
            try:
                supervisor.start()
                supervisor.watch()
            except _Stopped:
                report("stopping")
            finally:
                supervisor.end()
    report("everything has ended")


class Supervisor:
    """The children of one `smp up`. All methods are for the main thread."""

    def __init__(
        self,
        settings: Settings,
        services: Sequence[Service],
        environment: dict[str, str],
        stop: threading.Event,
        report: Report,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._stop = stop
        self._report = report
        logs = settings.home / "logs"
        logs.mkdir(exist_ok=True)
        self._logs = logs
        self._folder = dagster_home(settings)  # not the project: its folders are no Python packages
        self._guard = Guard(settings.home, logs / "guard.log")
        self._children = {
            service.name: Child(service, logs / f"{service.name}.log", self._folder, environment, self._guard)
            for service in services
        }
        self._watcher = Watcher(settings, report)
        self._postgres = _embedded_postgres(settings)

    def start(self) -> None:
        """Start all children in an order in which each finds what it needs, and say where everything is."""
        started = time.monotonic()
        self._start("inbox", "site", "code")
        self._prepare_instance()
        self._wait("code", "inbox", "site")
        self._start("runs", "webserver", "daemon")
        self._wait("webserver")
        self._tell_problems()
        self._watcher.start()
        pages = "\n".join(f"  {name:<16} {url}" for name, url in _urls(self._settings).items())
        way_in = machine.sign_in_path(self._settings.home, SystemClock().now())
        pages += f"\n  {'sign in':<16} {self._settings.pages_url}{way_in}"
        self._report(f"running, after {time.monotonic() - started:.0f} s; Ctrl-C or `smp down` ends it\n{pages}")

    def watch(self) -> None:
        """Start again what ends by itself. Returns by raising: _Stopped, or SmpError when something keeps ending."""
        while True:
            self._pause()
            for child in self._children.values():
                how = child.has_ended()
                if how is not None:
                    self._report(f"{child.service.what} ended ({how}); starting it again")
                    if child.service.name == "code":
                        self._prepare_instance()  # its runs ended with it
                child.start_again()

    def end(self) -> None:
        """End all children in order, within 15 s; then the guard has nothing left to do."""
        self._watcher.stop()
        for names, seconds in _ENDING:
            children = [self._children[name] for name in names]
            for child in children:
                child.ask_to_end()
            deadline = time.monotonic() + seconds
            for child in children:
                child.wait_until_ended(deadline - time.monotonic())
        self._guard.dismiss()

    def _start(self, *names: str) -> None:
        for name in names:
            self._children[name].start()

    def _wait(self, *names: str) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        for name in names:
            child = self._children[name]
            while not child.is_ready():
                if time.monotonic() > deadline:
                    raise SmpError(f"{child.service.what} does not come up. {child.told()}")
                self._pause()

    def _pause(self) -> None:
        if self._stop.wait(_LOOK):
            raise _Stopped
        if self._postgres is not None and not _lives(self._postgres):
            # it would come back on another port, which nobody here knows: ending all of it is the clear way
            log = EmbeddedServer(self._settings.home).data / "server.log"
            raise SmpError(
                f"the embedded Postgres server ended; its log is {log}. "
                "`smp up` starts it again; sends that are not finished go on by themselves"
            )

    def _prepare_instance(self) -> None:
        """Make Dagster's storage before several processes want it, and end runs that have lost their process."""
        with (self._logs / "instance.log").open("a+b") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "smp_pipelines.operations.instance"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                process_group=0,
            )
            self._guard.add(process.pid)
            try:
                while process.poll() is None:
                    self._pause()
            finally:
                process.kill()
                process.wait()
                self._guard.remove(process.pid)
        if process.returncode != 0:
            last = Path(log.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise SmpError(f"Dagster's storage cannot be prepared: {''.join(last)} (the log is {log.name})")

    def _tell_problems(self) -> None:
        problems = [problem for problem in check(self._settings) if not problem.warning]
        complaint = load_error(self._settings.ui_port)
        for told in [*map(str, problems), *([f"Dagster could not load the project: {complaint}"] if complaint else [])]:
            self._report(told)


def _embedded_postgres(settings: Settings) -> psutil.Process | None:
    if settings.postgres_url is not None:
        return None
    pid = (EmbeddedServer(settings.home).data / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    return psutil.Process(int(pid))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _services(settings: Settings, definitions: str) -> list[Service]:
    workspace = str(dagster_file(settings, "workspace.yaml"))
    daemon = str(Path(sysconfig.get_path("scripts")) / "dagster-daemon")
    code, ui = code_port(), settings.ui_port
    return [
        Service(
            "inbox",
            "the mail catcher with its inbox page",
            [
                *_python("smp_pipelines.catcher", "--folder", str(settings.inbox_folder)),
                *("--smtp-port", str(settings.smtp_port), "--http-port", str(settings.inbox_port)),
            ],
            {settings.smtp_port: "SMP_SMTP_PORT", settings.inbox_port: "SMP_INBOX_PORT"},
            f"http://127.0.0.1:{settings.inbox_port}/health",
        ),
        Service(
            "site",
            "the site",
            _python("smp_pipelines.site", "--port", str(settings.preview_port)),
            {settings.preview_port: "SMP_PREVIEW_PORT"},
            f"http://127.0.0.1:{settings.preview_port}/health",
        ),
        Service(
            "code",
            "Dagster's code server",
            [
                *_python("dagster", "code-server", "start", "-m", definitions, "-h", "127.0.0.1", "-p", str(code)),
                *("--location-name", LOCATION, "--use-python-environment-entry-point"),
            ],
            {code: "SMP_CODE_PORT"},
        ),
        Service(
            "webserver",
            "the Dagster UI",
            _python("dagster_webserver", "-h", "127.0.0.1", "-p", str(ui), "-w", workspace),
            {ui: "SMP_UI_PORT"},
            f"http://127.0.0.1:{ui}/server_info",
        ),
        Service("runs", "the process that runs start from", _python("smp_pipelines.operations.warm", definitions), {}),
        Service("daemon", "the Dagster daemon", [sys.executable, daemon, "run", "-w", workspace], {}),
    ]


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _urls(settings: Settings) -> dict[str, str]:
    where = "" if settings.mail_url is None else " (empty: SMP_MAIL_URL names the mail server that real mail goes to)"
    return {
        "Dagster": f"http://127.0.0.1:{settings.ui_port}",
        "sent mail": f"http://127.0.0.1:{settings.inbox_port}{where}",
        "site": settings.pages_url,
    }


@contextmanager
def _way_in(settings: Settings) -> Iterator[None]:
    """Links to sign in with that `smp sign-in` prints, for as long as the block lasts."""
    machine.renew(settings.home)
    try:
        yield
    finally:
        machine.forget(settings.home)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Set the event at the first SIGINT, SIGTERM or SIGHUP; a second one kills at once."""
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            os.kill(os.getpid(), signal.SIGKILL)  # the guard ends the rest
        stop.set()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, handle) for each in signals}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
