"""A process that reads damaged inputs one after the other, watched: its time, memory and deeds."""

import dataclasses
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import jax

from tests.fuzz.kind import MIB, Kind
from tokmerge_jax.types import UserError

_SHORT = 600  # characters of a sentence
_LINES = 12  # of a message that lists ten faults and counts the others

_SPARE_MIB = 4096  # a reader that asks for more than this fails by itself, before the machine does
_RUNS = frozenset(
    {
        "ctypes.dlopen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.startfile",
        "os.system",
        "pickle.find_class",
        "socket.bind",
        "socket.connect",
        "subprocess.Popen",
    }
)
_CHANGES = frozenset(
    {"os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
     "os.truncate", "os.utime", "shutil.rmtree"}
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a case.

    Attributes:
      verdict: "ok", "refused" or "failed".
      fault: of failures, what was wrong; of refusals, the message.
      seconds: of the processor.
      mib: by which the process grew at most.
    """

    verdict: str
    fault: str
    seconds: float = 0.0
    mib: float = 0.0


class _Watch:
    """Notes what is run, and what is written elsewhere than below `folder`; None: nothing."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.deeds: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in _RUNS:
            self.deeds.append(f"{event} {arguments!r:.200}")
        elif event in _CHANGES:
            self._written(event, arguments, _directory(arguments))
        elif event == "open":
            path, mode, flags = arguments
            if (mode and set(mode) & set("wax+")) or (not mode and (flags or 0) & _WRITING):
                self._written(event, (path,), "")

    def _written(self, event: str, paths: tuple[Any, ...], base: str) -> None:
        assert self.folder is not None
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                whole = os.path.abspath(os.path.join(base, os.fsdecode(path)))
                if not whole.startswith(self.folder) and whole != os.devnull:
                    self.deeds.append(f"{event} {whole}")


def _directory(arguments: tuple[Any, ...]) -> str:
    """Returns the folder of a relative path, if the call's last argument is an open folder."""
    folder = arguments[-1]
    return os.readlink(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder > 0 else ""


def serve(pipe: Connection, home: pathlib.Path, seed: int) -> None:
    """Does the cases that come through `pipe`, (kind, folder of its good inputs, number, whether
    to keep the case's folder), and sends "begun" and an `Outcome` for each; None ends it.

    The good inputs are read first: programs are compiled, and what is imported late is there.
    """
    place = home / "in"
    place.mkdir(parents=True)
    _be_quiet(home / "log.txt")
    os.chdir(place)
    watch, known = _Watch(), set[str]()
    while task := pipe.recv():
        kind, good, number = task
        case = place / "case"
        if kind.name not in known:
            try:
                _warm(kind, good, case)
            except Exception:  # whatever it is, no case of the kind says anything
                pipe.send(Outcome("failed", f"a good input:\n{traceback.format_exc()}"))
                continue
            known.add(kind.name)
        shutil.rmtree(case, ignore_errors=True)
        kind.write(good, case, number, seed)
        pipe.send("begun")
        outcome = _judged(kind, case, good, watch)
        if escaped := sorted({p.name for p in (*place.iterdir(), *home.iterdir())} - _EXPECTED):
            outcome = dataclasses.replace(outcome, verdict="failed", fault=f"wrote {escaped}")
            for name in escaped:
                shutil.rmtree(place / name, ignore_errors=True)
        pipe.send(outcome)


_EXPECTED = {"case", "in", "log.txt"}


def _be_quiet(log: pathlib.Path) -> None:
    """Sends printed text to a file, and keeps neither bytecode nor compiled programs."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    sys.dont_write_bytecode = True
    jax.config.update("jax_traceback_filtering", "off")  # a failure's last line says what it is


def _warm(kind: Kind, good: pathlib.Path, case: pathlib.Path) -> None:
    for variant in kind.variants(good)[: 0 if kind.inputs else None]:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(variant, case)
        kind.read(case, good)


def _judged(kind: Kind, case: pathlib.Path, good: pathlib.Path, watch: _Watch) -> Outcome:
    size = sum(file.stat().st_size for file in case.rglob("*") if file.is_file()) / MIB
    before, begun = _memory("VmRSS"), time.process_time()
    _limit(kind.limit_s, begun)
    watch.folder, watch.deeds, tempfile.tempdir = f"{case}{os.sep}", [], str(case)
    verdict, fault = _read(kind, case, good)
    watch.folder = None
    seconds, mib = time.process_time() - begun, max(_memory("VmHWM") - before, 0.0)
    if watch.deeds:
        verdict, fault = "failed", f"did: {'; '.join(watch.deeds[:3])}"
    elif seconds > kind.limit_s:
        verdict, fault = "failed", f"took {seconds:.1f} s"
    elif mib > kind.limit_mib + kind.limit_sizes * size:
        verdict, fault = "failed", f"took {mib:.0f} MiB for a file of {size:.1f} MiB"
    return Outcome(verdict, fault, seconds, mib)


def _read(kind: Kind, case: pathlib.Path, good: pathlib.Path) -> tuple[str, str]:
    try:
        kind.read(case, good)
    except UserError as error:
        message = str(error)
        lines = message.splitlines()
        short = len(lines) <= _LINES and all(len(line) < _SHORT for line in lines)
        if short and "Traceback" not in message:
            return "refused", message
        return "failed", f"says at length: {message!r:.300}"
    except BaseException:  # whatever else comes out is what is looked for
        return "failed", traceback.format_exc(limit=-6)
    return "ok", ""


def _memory(name: str) -> float:
    """A line of the process's status, in MiB; the highest memory so far begins anew at VmRSS."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    if name == "VmRSS":
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def _limit(seconds: float, begun: float) -> None:
    """Ends this process by a signal, a second after the time is over, and bounds its memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(begun + seconds) + 2, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(_memory("VmSize") + _SPARE_MIB) * MIB
    resource.setrlimit(resource.RLIMIT_AS, (size, hard))
