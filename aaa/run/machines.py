"""What processes on several machines have to have in common, and how they read what only one of them sees."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from aaa.config.leaves import leaves
from aaa.errors import UserError
from aaa.evaluation.sharing import Processes
from aaa.saved.checkpoint_folders import MANIFEST, checkpoints, step_of

T = TypeVar("T")

# Where things lie may be another place on each machine, and what only the first process does is its own affair.
OF_EACH = ("output_dir", "resume", "repeat", "init_from", "name", "logger.", "checkpoint.")
PLACES = ("root", "path", "address", "cache_dir", "local_cache_gib")
NAMED = 3  # keys that a message lists


class Reader:
    """How the processes of a run read a checkpoint: each by itself if all see it, else the first tells the others.

    Args:
        processes: of the run; all have to ask, and in the same order.
        by_each: whether all see it.
    """

    def __init__(self, processes: Processes, *, by_each: bool) -> None:
        self.processes, self.by_each = processes, by_each

    @classmethod
    def of(cls, checkpoint: Path | None, processes: Processes) -> "Reader":
        """The one of this checkpoint: its manifest, which has the hashes of all its files, says who sees it."""
        manifest = None if checkpoint is None else checkpoint / MANIFEST
        seen = processes.exchange(manifest.read_bytes() if manifest is not None and manifest.is_file() else b"")
        return cls(processes, by_each=len(set(seen)) == 1)

    def first(self, read: Callable[[], T]) -> T:
        """What the first process reads."""
        return told(self.processes, read)

    def reading(self, read: Callable[[Path], T]) -> Callable[[Path], T]:
        """The function that reads a file, as it is to be called by all."""
        return read if self.by_each else lambda path: told(self.processes, lambda: read(path))


def told(processes: Processes, read: Callable[[], T]) -> T:
    """What `read` gives the first process, in all of them; only that one calls it.

    Raises:
        UserError: in all of them, if `read` does.
    """
    answer: T | UserError | None = None
    if processes.index == 0:
        try:
            answer = read()
        except UserError as error:
            answer = error
    answer = processes.of_first(answer)
    if isinstance(answer, UserError):
        raise answer
    return answer  # type: ignore[return-value]


def require_same_config(resolved: Mapping[str, Any], processes: Processes) -> None:
    """Refuse processes that were told to do different things, which would wait for each other in different places.

    Args:
        resolved: the config of this one, with all values.
        processes: of the run.

    Raises:
        UserError: naming the keys, and the machines.
    """
    own = {key: value for key, value in leaves(resolved) if not _of_each(key)}
    found = processes.exchange((socket.gethostname(), own))
    (first_host, first), *others = found
    for number, (host, other) in enumerate(others, 1):
        keys = sorted(key for key in first.keys() | other.keys() if first.get(key) != other.get(key))
        if keys:
            listed = "\n  ".join(
                f"{key}: {first.get(key)} in process 0 ({first_host}), {other.get(key)} in process {number} ({host})"
                for key in keys[:NAMED]
            )
            more = f"\n  ... and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
            raise UserError(
                f"The processes of this launch were told different things:\n  {listed}{more}\n"
                "Give all machines the same command, the same version of aaa, and of a run that goes on the same "
                "config; where auto has come to different things, say which it is to be."
            )


def require_same_data(fingerprint: str, sizes: tuple[int, ...], processes: Processes) -> None:
    """Refuse machines with different data; waits for those that still encode.

    Args:
        fingerprint: of this process's latent cache.
        sizes: how many records it has to train on, and held out.
        processes: of the run.

    Raises:
        UserError: naming the machines.
    """
    first, *others = processes.exchange((socket.gethostname(), fingerprint, sizes))
    for number, (host, *what) in enumerate(others, 1):
        if what != list(first[1:]):
            raise UserError(
                f"data: process {number} ({host}) has other pictures, prompts or encoders than process 0 ({first[0]}): "
                f"latents {what[0][:16]} of {what[1]} records (to train on, held out), and {first[1][:16]} of "
                f"{first[2]}. Copy them anew, or put them on a disk that all machines see."
            )


def require_same_kept(digest: str | None, processes: Processes) -> None:
    """Refuse machines whose tables say other things, so that `data.keep` has left them other records to train on.

    Args:
        digest: what tells this process's from others; None where all are trained on, in every process.
        processes: of the run.

    Raises:
        UserError: naming the machines.
    """
    if digest is None:
        return
    first, *others = processes.exchange((socket.gethostname(), digest))
    for number, (host, other) in enumerate(others, 1):
        if other != first[1]:
            raise UserError(
                f"data.keep: process {number} ({host}) keeps other records than process 0 ({first[0]}): their tables "
                "have other values. Copy them anew, or put them on a disk that all machines see."
            )


def require_same_rooms(rooms: tuple[int | None, ...], processes: Processes) -> None:
    """Refuse machines that would take the records in another order each: it follows from the room for shards.

    Args:
        rooms: bytes for shards that lie elsewhere, of each data set; None where there are enough for all.
        processes: of the run.

    Raises:
        UserError: naming the machines.
    """
    first, *others = processes.exchange((socket.gethostname(), rooms))
    for number, (host, other) in enumerate(others, 1):
        if other != first[1]:
            raise UserError(
                f"data.local_cache_gib: process {number} ({host}) has other room for shards than process 0 "
                f"({first[0]}), {_gib(other)} and {_gib(first[1])}, from which another order of the records would "
                "follow. Give all machines the same data.address and data.local_cache_gib."
            )


def require_shared(folder: Path, processes: Processes, because: str) -> None:
    """Refuse a folder that is not the same one for all processes.

    Args:
        folder: that is there for the first.
        processes: of the run.
        because: the key that needs it to be, and why.

    Raises:
        UserError: naming the folder and the first machine that does not see it.
    """
    token = folder / processes.of_first(f".seen-{uuid4().hex}")
    if processes.index == 0:
        token.touch()
    processes.wait()
    seen = processes.exchange((socket.gethostname(), token.exists()))
    if processes.index == 0:
        token.unlink()
    for number, (host, sees) in enumerate(seen):
        if not sees:
            raise UserError(
                f"{folder}: process {number} ({host}) does not see this folder of the first process ({seen[0][0]}), "
                f"and {because}. Put the run on a disk that all machines see: hydra.run.dir=/SHARED/FOLDER"
            )


def require_newest(folder: Path, own: Path, processes: Processes) -> None:
    """Refuse to go on from less than there is: the first process reads, and its machine may be another than it was.

    Args:
        folder: of the run that goes on, as the first process found it.
        own: as this one did.
        processes: of the run.

    Raises:
        UserError: naming the machine that has more.
    """
    steps = [step_of(found) for place in {folder, own.absolute()} for found in checkpoints(place)]
    first, *others = processes.exchange((socket.gethostname(), max(steps, default=None), str(own)))
    for number, (host, step, place) in enumerate(others, 1):
        if step is not None and (first[1] is None or step > first[1]):
            has = "none" if first[1] is None else f"that of step {first[1]}"
            raise UserError(
                f"{place}: process {number} ({host}) has a checkpoint of step {step} there, and the first process "
                f"({first[0]}), which reads and writes them, has {has}. Start the launch so that the machine of the "
                "run is the first again (--machine_rank=0, --node-rank=0), or put the run on a disk that all "
                "machines see: hydra.run.dir=/SHARED/FOLDER"
            )


def _gib(rooms: tuple[int | None, ...]) -> str:
    return ", ".join("all" if room is None else f"{room / 2**30:.4g} GiB" for room in rooms)


def _of_each(key: str) -> bool:
    return key.startswith(OF_EACH) or key.rpartition(".")[2] in PLACES
