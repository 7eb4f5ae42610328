"""A flow that is told to stop leaves no process behind: the supervisor alone, then the real flow on phantoms."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.supervisor import STOPPED
from tests.support.small import SMALL

ROOT = Path(__file__).parents[2]
SECONDS = 120  # the libraries of a flow are loaded in three to thirty

# A program under supervision: a child that outlives SIGTERM, as a server in trouble would, then what a test appends.
PROGRAM = f"""
import os, signal, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from flows import supervisor
supervisor.END_SECONDS = supervisor.INSIST_SECONDS = 0.3
supervisor.supervise()
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
child.stdout.readline()
def say():
    print(os.getpid(), child.pid, flush=True)
    sys.stdin.readline()  # goes on once the test has seen both
"""


class Started:
    """A program, and every process that was seen below it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: set[psutil.Process] = set()

    def look(self) -> set[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self.seen

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)

    def ended(self) -> tuple[int, str]:
        """The exit code and standard error; fails where a process is left of those seen or of their sessions."""
        _, told = self.process.communicate(timeout=SECONDS)
        sessions = {process.pid for process in self.seen}
        psutil.wait_procs(list(self.seen), timeout=10)
        left = [process for process in psutil.process_iter() if process in self.seen or _session(process) in sessions]
        assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
        return self.process.returncode, told


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


@contextlib.contextmanager
def started(*command: str, **options: object) -> Iterator[Started]:
    process = subprocess.Popen(  # type: ignore[call-overload]
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    program = Started(process)
    try:
        yield program
    finally:
        program.look()
        process.kill()
        for each in program.seen:  # before standard error is read to its end, which each of them may hold open
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate(timeout=SECONDS)


@contextlib.contextmanager
def supervised(code: str) -> Iterator[Started]:
    with started(sys.executable, "-c", f"{PROGRAM}\n{code}") as program:
        assert program.process.stdout is not None
        assert program.process.stdin is not None
        program.process.stdout.readline()  # what `say` prints
        assert len(program.look()) >= 2
        program.process.stdin.write("\n")
        program.process.stdin.flush()
        yield program


@pytest.mark.integration
@pytest.mark.parametrize(
    ("code", "wanted"), [("sys.exit(3)", 3), ("", 0), ("os.kill(os.getpid(), signal.SIGSEGV)", 139)], ids=str
)
def test_exit_codes_are_the_flow_s(code: str, wanted: int) -> None:
    with supervised(f"say(); {code}") as program:
        found, told = program.ended()
    assert found == wanted
    assert ("error: the flow was ended by SIGSEGV" in told) is (wanted == 139)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_libraries_are_there_ends_in_one_line(number: signal.Signals) -> None:
    with supervised("say(); time.sleep(600)") as program:
        program.process.send_signal(number)
        assert program.ended() == (128 + number, f"{STOPPED}\n")


@pytest.mark.integration
def test_ctrl_c_reaches_the_flow_alone_and_once() -> None:
    code = "supervisor.ready()\ntry: say(); time.sleep(600)\nexcept KeyboardInterrupt: time.sleep(1); sys.exit(7)"
    with supervised(code) as program:
        os.killpg(program.process.pid, signal.SIGINT)  # as a terminal does
        assert program.ended() == (7, "")


@pytest.mark.integration
def test_ctrl_c_does_not_wait_for_what_a_pool_is_doing() -> None:
    code = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
supervisor.ready()
try:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0, 0]))
        done = pool.map(time.sleep, [600] * 8)
        say()
        list(done)
except KeyboardInterrupt:
    sys.exit(7)
"""
    with supervised(code) as program:
        os.killpg(program.process.pid, signal.SIGINT)
        assert program.ended() == (7, "")


@pytest.mark.integration
def test_who_insists_does_not_wait_for_the_flow() -> None:
    with supervised("signal.signal(signal.SIGTERM, signal.SIG_IGN); say(); time.sleep(600)") as program:
        program.process.terminate()
        time.sleep(1)
        assert program.process.poll() is None
        program.process.terminate()
        assert program.ended() == (143, f"{STOPPED}\n")


@pytest.mark.integration
def test_a_killed_supervisor_takes_all_with_it() -> None:
    with supervised("say(); time.sleep(600)") as program:
        program.process.kill()
        assert program.ended() == (-signal.SIGKILL, "")


@pytest.mark.integration
def test_ctrl_z_stops_the_flow_until_it_goes_on() -> None:
    def states() -> set[str]:
        return {each.status() for each in (psutil.Process(program.process.pid), *program.seen)}

    with supervised("say(); time.sleep(600)") as program:
        program.process.send_signal(signal.SIGTSTP)
        program.wait_for(lambda: states() == {psutil.STATUS_STOPPED})
        program.process.send_signal(signal.SIGCONT)
        program.wait_for(lambda: states() == {psutil.STATUS_SLEEPING})
        program.process.terminate()
        assert program.ended()[0] == 143


@pytest.mark.integration
def test_what_was_ignored_before_stays_ignored() -> None:
    """As under nohup."""
    code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    code += f"os.execv(sys.executable, ['python', '-c', {PROGRAM + 'say(); time.sleep(1); sys.exit(5)'!r}])"
    with started(sys.executable, "-c", code) as program:
        assert program.process.stdout is not None
        program.process.stdout.readline()
        program.look()
        program.process.send_signal(signal.SIGHUP)
        assert program.ended() == (5, "")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's folder, with its database after the first flow."""
    return tmp_path_factory.mktemp("prefect")


@contextlib.contextmanager
def training(work: Path, home: Path) -> Iterator[Started]:
    """The flow on few and small phantoms, with more epochs than anybody waits for."""
    arguments = [word for setting in (*SMALL, "train.epochs=1000", f"work={work}") for word in ("--set", setting)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["PREFECT_HOME"] = str(home)
    command = [sys.executable, str(ROOT / "flows/pipeline.py"), *arguments]
    with started(*command, env=environment, cwd=work) as flow:
        flow.wait_for(lambda: server_of(flow) is not None)
        yield flow


def server_of(flow: Started) -> psutil.Process | None:
    """Prefect's server, which the flow has started."""
    for process in flow.look():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "prefect.server.api.server:create_app" in process.cmdline():
                return process
    return None


def lines(told: str) -> list[str]:
    """What a flow says besides its signs of life and where the time of its finished steps went."""
    return [line for line in told.splitlines() if not re.search(r"\(\d+:\d\d\)$|^\w+: took \d", line)]


@pytest.mark.integration
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_flow_stopped_while_its_server_starts(number: signal.Signals, code: int, work: Path, home: Path) -> None:
    with training(work, home) as flow:
        os.killpg(flow.process.pid, number)
        found, told = flow.ended()
    assert (found, lines(told)) == (code, [STOPPED])


@pytest.mark.integration
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, STOPPED),
        (signal.SIGTERM, 143, r"error: stopped (after|in) epoch \d+; run it again to resume.*"),
    ],
)
def test_the_flow_stopped_in_its_training(
    number: signal.Signals, code: int, words: str, work: Path, home: Path
) -> None:
    with training(work, home) as flow:
        flow.wait_for(lambda: any((work / "training").glob("*/checkpoint.safetensors")))
        os.killpg(flow.process.pid, number)
        found, told = flow.ended()
    assert found == code
    assert len(lines(told)) == 1, told
    assert re.fullmatch(words, lines(told)[0])


@pytest.mark.integration
def test_a_killed_flow_takes_its_server_with_it(work: Path, home: Path) -> None:
    with training(work, home) as flow:
        flow.process.kill()
        found, told = flow.ended()
    assert (found, lines(told)) == (-signal.SIGKILL, [])
