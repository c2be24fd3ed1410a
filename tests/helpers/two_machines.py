"""Two machines made of this one: each has a network of its own, a cable between them, and may have its own disk.

Linux's network and mount namespaces, for which one has to be root.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_names = count()


@dataclass(frozen=True)
class Machine:
    """One of two.

    Attributes:
        name: of its network namespace.
        cable: its end of the cable.
        address: of that.
    """

    name: str
    cable: str
    address: str

    def start(
        self, folder: Path, *command: str, disk: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> "Command":
        """Start a command in a folder, which on a disk of this machine's own is another one."""
        number = len(list(folder.glob(f".{self.name}-*.err")))
        out, err = (folder / f".{self.name}-{number}.{what}" for what in ("out", "err"))
        if disk is not None:
            mounted = 'mount --bind "$0" "$1" && cd "$1" && shift && exec "$@"'
            command = ("sh", "-c", mounted, str(disk), str(folder), *command)
        variables = {"GLOO_SOCKET_IFNAME": self.cable, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        with out.open("w") as to_out, err.open("w") as to_err:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                cwd=folder,
                env=os.environ | variables | dict(environment or {}),
                stdout=to_out,
                stderr=to_err,
            )
        return Command(process, out, err)

    def kill(self) -> None:
        """SIGKILL to all that runs on it, until nothing does."""
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)

    def pids(self) -> list[int]:
        """Of what runs on it."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def signal(self, number: int, program: str) -> None:
        """A signal to each of its processes that runs this program."""
        for pid in self.pids():
            if program in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                os.kill(pid, number)

    def unplug(self) -> None:
        """Take its end of the cable out: nothing that is sent arrives, and nobody is told."""
        _ip("-n", self.name, "link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Put it back."""
        _ip("-n", self.name, "link", "set", self.cable, "up")


@dataclass(frozen=True)
class Command:
    """What runs on a machine, its output going to files."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    def wait(self, seconds: float = 300) -> int:
        """The exit code.

        Raises:
            AssertionError: if it takes longer; it goes on then.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.err.read_text()}") from None


def why_not() -> str | None:
    """What keeps this machine from being two; None if it can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    try:
        with two_machines():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made here: {getattr(error, 'stderr', None) or error}"


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines with a cable between them; whatever still runs on them at the end is killed.

    Raises:
        CalledProcessError: if this machine cannot be two.
    """
    name, net = f"aaa{os.getpid()}-{next(_names)}", f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    first, second = (Machine(f"{name}{x}", f"cable{x}", f"{net}.{n}") for n, x in ((1, "a"), (2, "b")))
    try:
        for machine in (first, second):
            _ip("netns", "add", machine.name)
        ends = ("name", first.cable, "netns", first.name, "type", "veth")
        _ip("link", "add", *ends, "peer", "name", second.cable, "netns", second.name)
        for machine in (first, second):
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.cable)
            for device in ("lo", machine.cable):
                _ip("-n", machine.name, "link", "set", device, "up")
        yield first, second
    finally:
        for machine in (first, second):
            if Path("/run/netns", machine.name).exists():
                machine.kill()
                _ip("netns", "delete", machine.name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
