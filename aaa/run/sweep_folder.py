"""The folder of a sweep: a second one in it is refused before anything of the first is overwritten."""

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from aaa.config.commands import train_command
from aaa.errors import UserError
from aaa.run.claim import elsewhere, holds_run, lock_folder
from aaa.run.earlier_sweep import SAME_SWEEP
from aaa.run.search import BASIC, jobs_of
from aaa.tracking.files import replace_text
from aaa.tracking.printed import shown
from aaa.tracking.recorded_overrides import MULTIRUN, overrides_of_sweep, own_overrides
from aaa.tracking.redaction import without_secrets

if TYPE_CHECKING:
    from omegaconf import DictConfig


def claim_for_sweep(config: "DictConfig") -> None:
    """Take the folder of a sweep for as long as this process lives.

    Raises:
        UserError: if it holds another one, or the sweep's runs would meet in it.
    """
    folder = Path(config.hydra.sweep.dir).absolute()
    _refuse_other_sweep(folder, config)
    _refuse_shared_subfolders(config)
    folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder, "another sweep is running in this folder right now.")


def write_down_sweep(config: "DictConfig") -> None:
    """Leave what a sweep was told in its folder, as Hydra's own sweeper does; Optuna's does not."""
    plain = without_secrets(OmegaConf.to_container(config, resolve=False))
    replace_text(Path(config.hydra.sweep.dir) / MULTIRUN, OmegaConf.to_yaml(OmegaConf.create(plain)))


def _refuse_other_sweep(folder: Path, config: "DictConfig") -> None:
    multirun = folder / MULTIRUN
    if holds_run(folder):
        raise UserError(
            f"{shown(folder)}: this folder holds a run.\n  To go on with it: {train_command(resume=shown(folder))}"
            f"{elsewhere('hydra.sweep.dir')}"
        )
    if multirun.is_file():
        recorded = own_overrides(overrides_of_sweep(folder))
        same = recorded == own_overrides(config.hydra.overrides.task)
        if same and (config.sweep.resume or config.resume == "auto"):
            return
        way = f"\n  To go on with it: {SAME_SWEEP}." if same else ""
        what = "this sweep" if same else f"another sweep ({' '.join(recorded) or 'no overrides'})"
        raise UserError(f"{shown(folder)}: this folder holds {what}.{way}{elsewhere('hydra.sweep.dir')}")
    numbered = folder.is_dir() and any(holds_run(path) for path in folder.iterdir() if path.name.isdigit())
    if numbered and subdir_of_jobs(config) == "${hydra.job.num}":
        raise UserError(f"{shown(folder)}: this folder holds the runs of a sweep.{elsewhere('hydra.sweep.dir')}")


def _refuse_shared_subfolders(config: "DictConfig") -> None:
    """Runs of one sweep that would be given the same folder, where it is known beforehand which they are."""
    if config.hydra.sweeper._target_ != BASIC or "hydra.job.num" in (subdir := subdir_of_jobs(config)):
        return
    loader = GlobalHydra.instance().config_loader()
    given: dict[str, list[str]] = {}
    for overrides in jobs_of(config):
        folder = str(loader.load_sweep_config(config, overrides).hydra.sweep.subdir)
        if folder in given:
            one, other = set(given[folder]), set(overrides)
            raise UserError(
                f"hydra.sweep.subdir={subdir}: gives {' '.join(one - other)} and {' '.join(other - one)} the "
                f"same folder, {folder!r}. Leave it out: runs are numbered."
            )
        given[folder] = overrides


def subdir_of_jobs(config: "DictConfig") -> str:
    """What `hydra.sweep.subdir` says as it is written, for all runs of a sweep."""
    return str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"])  # type: ignore[index, call-overload]
