"""Whether prompts that are embedded while a run trains become what they became before: no cache holds them."""

from pathlib import Path

from aaa.assembly.training_data import TrainingData
from aaa.config.commands import train_command
from aaa.config.live_prompts import KEY
from aaa.encoders.prompt_probe import same_embeddings
from aaa.errors import UserError
from aaa.tracking.environment import read_environment
from aaa.tracking.printed import shown

PROBE = "prompt_probe"  # in a run's environment.json


def embeds_as_before(run: Path, data: TrainingData) -> bool:
    """Whether a prompt becomes what a run's records say that it became; runs of earlier versions do not say.

    Args:
        run: its folder.
        data: as it is opened now.
    """
    before = read_environment(run).get(PROBE)
    if data.prompt_probe is None or not isinstance(before, list):
        return True
    if not all(isinstance(number, float) for number in before):  # somebody has written into it
        return True
    return same_embeddings(before, data.prompt_probe)


def require_same_prompts(run: Path, data: TrainingData) -> None:
    """Refuse to go on with other embeddings of the same prompts than a run was trained on.

    Args:
        run: folder of the run that is gone on with.
        data: that it would be trained on.

    Raises:
        UserError: if they are others.
    """
    if not embeds_as_before(run, data):
        raise UserError(
            f"{KEY}=false: {shown(run)} was trained on other embeddings than the text encoder makes now. Was its code, "
            "or a library that it uses, changed since? Set that back; or train a new run, which may start from these "
            f"weights: {train_command('...', init_from=shown(run))}"
        )
