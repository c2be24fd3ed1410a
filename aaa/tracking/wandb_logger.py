"""Weights & Biases as a logger."""

import logging
import math
import netrc
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import psutil
from PIL import Image

from aaa.errors import UserError
from aaa.tracking.environment import ENVIRONMENT
from aaa.tracking.files import replace_text
from aaa.tracking.printed import command, harmless
from aaa.tracking.tracker import AXES, METRICS, RunInfo, read_metrics, require_project
from aaa.tracking.variables import agents_run
from aaa.tracking.wandb_identity import WANDB_ID, Identity, identify, kept_id

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0  # after which what was logged is in the run folder, whatever happens to W&B's process
BEST = "val/loss"  # the metric whose lowest value goes into the summary, with its step
MAX_TAG_LENGTH, MAX_ARTIFACT_LENGTH = 64, 128  # W&B refuses longer ones
NOT_IN_PROJECTS = "/\\#?%:"  # and these in their names
TAGS = "WANDB_TAGS"


class WandbLogger:
    """Logs to W&B: online where credentials are found, else offline. `WANDB_MODE` and the like are respected.

    The id that the W&B run has is kept in the run folder, so that a resumed run continues it. `WANDB_NAME` and
    `WANDB_RUN_GROUP` win over our names, tags of `WANDB_TAGS` come first; see `identify` for `WANDB_RUN_ID`. A server
    that cannot be reached stops nothing: W&B writes everything into the run folder first, from where `wandb sync`
    completes the picture. Nor does the end of W&B's own process stop a run, e.g. where the machine lacks memory.

    Args:
        project: W&B project; `WANDB_PROJECT` wins.
        entity: W&B user or team, or None for the account's own; `WANDB_ENTITY` wins.
        init_timeout_seconds: for the server to answer at the start; the run is logged offline if it does not.
        finish_timeout_seconds: for the server to take what it still lacks at the end.
        notes: on the run, in Markdown; `WANDB_NOTES` wins.
        tags: further ones; each override is one by itself.
        log_model: whether the finished model goes to W&B too, as an artifact with its data and code named.

    Raises:
        UserError: if the project is one that W&B will not have.
    """

    def __init__(
        self,
        project: str,
        entity: str | None = None,
        init_timeout_seconds: float = 30,
        finish_timeout_seconds: float = 60,
        notes: str | None = None,
        tags: Sequence[str] = (),
        log_model: bool = False,
    ) -> None:
        # Set to nothing, as compose files do, is not set.
        self.project = require_project(os.environ.get("WANDB_PROJECT") or project)
        if odd := sorted(set(NOT_IN_PROJECTS).intersection(self.project)):
            raise UserError(f"logger.project={self.project}: W&B takes no project with {' '.join(odd)} in its name.")
        self.entity = os.environ.get("WANDB_ENTITY") or entity
        self.init_timeout_seconds, self.finish_timeout_seconds = init_timeout_seconds, finish_timeout_seconds
        self.notes, self.log_models = os.environ.get("WANDB_NOTES") or notes, log_model
        self.tags = (tags,) if isinstance(tags, str) else tuple(tags or ())  # a text is a sequence too
        self._run: Any = None
        self._about: RunInfo | None = None
        self._best = math.inf
        self._is_lost = False  # W&B's process

    def start(self, run: RunInfo) -> None:
        """Start or continue the W&B run of this run folder, and keep the id that it really has.

        Raises:
            UserError: if W&B will not have what its environment variables or the config say.
        """
        import wandb

        self._about = run
        for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value.strip()]:
            del os.environ[name]  # W&B would refuse it
        # W&B's reports of its own errors: where the server hangs they hold up the end of the process.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        mode = os.environ.get("WANDB_MODE") or ("online" if has_credentials() else "offline")
        identity = identify(run)
        _tag_by(identity.tags)
        try:
            self._run = self._started(run, identity, mode)
        except (wandb.errors.UsageError, ValueError) as error:  # its settings are checked by pydantic
            told = " ".join(str(error).split("\n  For further")[0].split())
            raise UserError(
                f"logger=wandb: W&B refuses what it is told ({told}). Look at the variables WANDB_* of the environment "
                "and at logger.*; logger=none logs nowhere."
            ) from None
        if self._run.settings.mode != "disabled" and self._run.id != kept_id(run.folder):
            replace_text(run.folder / WANDB_ID, self._run.id)
        if run.remark:
            self._run.notes = "\n\n".join(filter(None, (self._run.notes, f"From step {run.step + 1}: {run.remark}")))
        for axis in AXES:
            self._run.define_metric(axis, hidden=True)
        self._run.define_metric(BEST, summary="min,last")
        if (before := _lowest(run)) is not None:
            self._note_best(*before)
        if mode == "offline":
            logger.info("W&B: no account, logging offline." if not os.environ.get("WANDB_MODE") else "W&B: offline.")
        if self._run.settings.mode == "offline":
            logger.info("To upload the run later: %s", command("wandb", "sync", *_all_sessions(self._folder())))
        elif self._run.url is not None:
            logger.info("W&B: %s", self._run.url)
        self._run.save(str(run.folder / ENVIRONMENT), base_path=str(run.folder), policy="now")

    def _started(self, run: RunInfo, identity: Identity, mode: str) -> Any:
        import wandb

        try:
            return self._init(run, identity, mode)
        except wandb.errors.UsageError:
            raise
        except wandb.Error as error:
            if mode != "online":
                raise UserError(f"logger=wandb: {str(error).splitlines()[0]}") from None
            logger.warning("W&B cannot be reached, logging offline (%s).", str(error).splitlines()[0])
            _abandon_service()
            return self._init(run, identity, "offline")

    def _init(self, run: RunInfo, identity: Identity, mode: str) -> Any:
        import wandb

        wandb.setup(settings=wandb.Settings(silent=True))
        git = run.environment.get("git") or {}
        flush = "x_transaction_log_flush_interval"  # not in every version
        newer = {flush: FLUSH_SECONDS} if flush in wandb.Settings.model_fields else {}
        about = {key: value for key, value in run.environment.items() if key not in ("git", "earlier", "variables")}
        # Under `wandb agent` these are the sweep's, and W&B would warn of any other.
        agents = bool(os.environ.get("WANDB_SWEEP_ID"))
        return wandb.init(
            project=None if agents else self.project,
            entity=None if agents else self.entity,
            id=None if agents else identity.id,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            dir=os.environ.get("WANDB_DIR", str(run.folder)),
            name=identity.name,
            group=os.environ.get("WANDB_RUN_GROUP") or run.group,
            job_type=os.environ.get("WANDB_JOB_TYPE") or "train",
            tags=[tag[:MAX_TAG_LENGTH] for tag in dict.fromkeys([*identity.tags, *self.tags, *run.overrides])],
            notes=self.notes,
            config=run.config | {"environment": about | {"git_commit": git.get("commit")}},
            settings=wandb.Settings(
                silent=True,
                console="off",
                # Of git we record more, and with secrets taken out: environment.json goes along.
                disable_git=True,
                save_code=False,
                init_timeout=self.init_timeout_seconds,
                **newer,
            ),
        )

    def _folder(self) -> str:
        return str(Path(self._run.dir).parent)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """A block that gives W&B's process something to write down, or does nothing once that is no more."""
        try:
            yield
        except ConnectionError as error:
            if not self._is_lost:
                logger.warning(
                    "W&B's process has ended (%s). The run goes on; W&B will lack what comes now, its folder has all.",
                    error,
                )
            self._is_lost = True

    def _log(self, step: int, values: dict[str, Any]) -> None:
        """Log values at a step.

        A run that was stopped while it was looked at logs what it finds when it goes on. W&B, which takes nothing of
        steps that it has had, gets that along with the first step that it takes; its axes say where it belongs.
        """
        if step < self._run.starting_step:
            self._run.log(values, commit=False)
        else:
            self._run.log(values, step=step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers at a step."""
        with self._sending():
            self._log(step, dict(metrics))
            if (loss := metrics.get(BEST)) is not None:
                self._note_best(loss, step)

    def _note_best(self, loss: float, step: int) -> None:
        """Put a loss that is lower than all before into the summary, with its step."""
        if loss < self._best:
            self._best = loss
            self._run.summary.update({f"best/{BEST}": loss, "best/step": step})

    def log_histogram(self, step: int, name: str, heights: Sequence[float], edges: Sequence[float]) -> None:
        """Log bars at a step."""
        import wandb

        with self._sending():
            self._log(step, {name: wandb.Histogram(np_histogram=(list(heights), list(edges)))})

    def log_model(self, folder: Path) -> None:
        """Log the model as an artifact that was made from the data set and by the code that it names."""
        import wandb

        if not self.log_models or self._about is None or self._is_lost:
            return
        environment = self._about.environment
        data = environment.get("data") or {}
        dataset = wandb.Artifact(
            _artifact_name(self._about.config["data"]["name"], "latents"), type="dataset", metadata=data
        )
        # Offline nothing can be used, only logged: there the two share the run and the fingerprint.
        with self._sending():
            (self._run.log_artifact if self._run.settings.mode == "offline" else self._run.use_artifact)(dataset)
        metadata = {
            "data": data,
            "git_commit": (environment.get("git") or {}).get("commit"),
            "packages": environment.get("packages"),
            "model": environment.get("model"),
        }
        model = wandb.Artifact(_artifact_name(self._about.config["name"], "model"), type="model", metadata=metadata)
        model.add_dir(str(folder))
        with self._sending():
            self._run.log_artifact(model)

    def log_images(self, step: int, name: str, images: Sequence[Image.Image], captions: Sequence[str]) -> None:
        """Log pictures at a step, prompts as captions."""
        import wandb

        pictures = [wandb.Image(image, caption=harmless(text)) for image, text in zip(images, captions, strict=True)]
        with self._sending():
            self._log(step, {name: pictures})

    def finish(self, exit_code: int) -> None:
        """Close the W&B run as finished (0) or failed; a server that does not answer is given up after a while."""
        folder = self._folder()
        failures: list[Exception] = []
        taken_away = exit_code == 128 + signal.SIGTERM and agents_run() is not None

        def close() -> None:
            try:
                if taken_away:  # W&B gives the run to an agent once more
                    self._run.mark_preempting()
                self._run.finish(exit_code=exit_code)
            except Exception as error:  # of many kinds, once its service is gone
                failures.append(error)

        closing = threading.Thread(target=close, daemon=True, name="wandb-finish")
        closing.start()
        # After a signal the machine may be taken away any moment.
        closing.join(self.finish_timeout_seconds if exit_code < 128 else min(self.finish_timeout_seconds, 10))
        if closing.is_alive():
            logger.warning("W&B has not taken everything. It is all here; to upload it: %s", _sync_whole(folder))
            _abandon_service()
            closing.join(10)
        elif failures:
            logger.warning("W&B could not close the run (%s). To upload it: %s", failures[0], _sync_whole(folder))
            _abandon_service()


def _tag_by(tags: Sequence[str]) -> None:
    """Let W&B, which reads the variable too, find in it what it takes: no empty tag, and none that is too long."""
    os.environ.pop(TAGS, None)
    if tags:
        os.environ[TAGS] = ",".join(tag[:MAX_TAG_LENGTH] for tag in tags)


def _artifact_name(of: object, what: str) -> str:
    """`shapes-latents` of `shapes`: with nothing in it that W&B refuses in names of artifacts, on any server."""
    return f"{re.sub(r'[^a-zA-Z0-9_.-]+', '_', str(of))[: MAX_ARTIFACT_LENGTH - len(what) - 1]}-{what}"


def _lowest(run: RunInfo) -> tuple[float, int] | None:
    """The lowest loss that a run had before it goes on, and its step; None if it had none."""
    rows = [row for row in read_metrics(run.folder / METRICS) if row["step"] <= run.step]
    losses = [(row[BEST], row["step"]) for row in rows if isinstance(row.get(BEST), int | float)]
    return min((found for found in losses if math.isfinite(found[0])), default=None)


def _all_sessions(folder: str) -> list[str]:
    """The folders of all sessions that a run had, of which each holds its own rows alone, oldest first.

    Args:
        folder: of one of them, whose name is the time and the run's id.
    """
    session = Path(folder)
    found = [path for path in session.parent.glob("*run-*") if _id_of(path) == _id_of(session)]
    return sorted({folder, *map(str, found)}, key=lambda path: Path(path).name.partition("run-")[2])


def _id_of(session: Path) -> str:
    """Of the run that a session is of: what follows the time in `offline-run-20261101_000000-ID`."""
    return session.name.partition("run-")[2].partition("-")[2]


def _sync_whole(folder: str) -> str:
    return command("wandb", "sync", "--include-online", *_all_sessions(folder))


def _abandon_service() -> None:
    """End W&B's process without waiting for what it wants to send. The next run of this process gets a new one."""
    import wandb

    services = [child for child in psutil.Process().children(recursive=True) if child.name().startswith("wandb-core")]
    for service in services:
        service.terminate()  # it writes down what it holds
    for service in psutil.wait_procs(services, timeout=5)[1]:
        service.kill()
    with suppress(OSError, SystemExit):  # nobody is there any more to be told, or its end was no good one
        wandb.teardown()


def has_credentials() -> bool:
    """Whether `wandb login` has been done, or a key is in the environment."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(_netrc_file()).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _netrc_file() -> str | None:
    """Where `wandb login` writes down the key; None for Python's default, `~/.netrc`."""
    of_windows = Path("~/_netrc").expanduser()
    return os.environ.get("NETRC") or (
        os.fspath(of_windows) if of_windows.is_file() and not of_windows.with_name(".netrc").exists() else None
    )
