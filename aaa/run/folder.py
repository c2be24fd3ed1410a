"""The folder of a run: the record in it of what shaped the run, and what an earlier one left there."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from aaa.config.overrides import without_interpolations
from aaa.config.trust import read_yaml_config
from aaa.errors import UserError
from aaa.evaluation.sharing import Processes
from aaa.run.claim import claim
from aaa.saved.named_model import COMPOSED, RUN_CONFIG
from aaa.tracking.environment import ENVIRONMENT, write_environment
from aaa.tracking.files import replace_text
from aaa.tracking.printed import shown
from aaa.tracking.redaction import without_secrets
from aaa.training.precision import PRECISIONS


class RunFolder:
    """The folder that one run has for itself while its process lives.

    Args:
        path: of the folder; made if it is not there.
        processes: of the run; the folder is the first one's, as each has composed a config of its own.
        going_on: whether it is known that the run goes on with what is in it.

    Raises:
        UserError: if another run is training in it, or it holds one that this one does not go on with.
    """

    def __init__(self, path: Path, processes: Processes, *, going_on: bool) -> None:
        self.path = Path(processes.of_first(str(path)))
        if processes.index == 0:
            claim(self.path, str(self.path) if going_on else None, [])

    @property
    def shown(self) -> Path:
        """The path as messages show it: relative where that is shorter."""
        return shown(self.path)

    def write_records(
        self, resolved: dict[str, Any], composed: DictConfig | None, device: str, records: dict[str, Any]
    ) -> dict[str, Any]:
        """Write what shaped the run: only now that nothing stands against it any more.

        A resumed run's changes must not outlive an attempt that fails, so Hydra is told not to write its copy.

        Args:
            resolved: the config with all values, without secrets.
            composed: the config with its interpolations, if Hydra has not written it.
            device: what the run computes on.
            records: more for environment.json.

        Returns:
            What environment.json says.
        """
        replace_text(self.path / RUN_CONFIG, OmegaConf.to_yaml(OmegaConf.create(without_interpolations(resolved))))
        if composed is not None:
            plain = without_secrets(OmegaConf.to_container(composed, resolve=False))
            replace_text(self.path / COMPOSED, OmegaConf.to_yaml(OmegaConf.create(plain)))
        return write_environment(self.path / ENVIRONMENT, device, records)


def run_around(place: Path, levels: int) -> Path | None:
    """The run folder that a place is, or lies in so many levels deep: a checkpoint two, its weights three."""
    return next(
        (folder for folder in (place, *place.absolute().parents[:levels]) if (folder / RUN_CONFIG).is_file()), None
    )


def batch_size_of(run: Path) -> int | None:
    """What `trainer.batch_size=auto` was in the run of this folder, None if it has not come that far."""
    return _whole_number(run, "trainer.batch_size")


def max_steps_of(run: Path) -> int | None:
    """How many steps the run of this folder was to take, None if it has not come so far as to know."""
    return _whole_number(run, "trainer.max_steps")


def recorded_precision(config: DictConfig) -> str | None:
    """What `trainer.precision=auto` was in the run that is resumed or repeated, None if there is none.

    The machine that goes on may be quick at what the first was not; the arithmetic of a run stays what it was.
    """
    if config.trainer.precision != "auto":
        return None
    places = []
    if config.resume is not None:
        places.append(run_around(Path(config.output_dir if config.resume == "auto" else config.resume), levels=0))
    if config.repeat is not None:
        places.append(run_around(Path(config.repeat), levels=2))  # a checkpoint may be named
    run = next((place for place in places if place is not None), None)
    if run is None:
        return None
    name = recorded(run, "trainer.precision")
    return name if name in PRECISIONS else None


def recorded(run: Path, key: str) -> Any:
    """What the config of the run of this folder says of a key; None if it does not, or has not come so far."""
    file = run / RUN_CONFIG
    return OmegaConf.select(read_yaml_config(file), key) if file.is_file() else None


def _whole_number(run: Path, key: str) -> int | None:
    file = run / RUN_CONFIG
    if not file.is_file():
        return None
    value = recorded(run, key)
    if not isinstance(value, int):
        raise UserError(f"{file}: {key}={value} is not a whole number. Say it: {key}=N")
    return value
