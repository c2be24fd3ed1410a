"""What a saved model was found to be, written down: numbers as JSON, pictures beside them, under names of their own."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from aaa.config.overrides import key_of
from aaa.run.saved_evaluation import Judged
from aaa.tracking.files import cannot_write, replace_text
from aaa.tracking.finite_json import to_json

# Keys that say what is judged, where, and where that is written, but not how.
NO_SETTINGS = ("saved_model", "weights", "device", "trust_config", "out")
OF_SETTINGS = 120  # bytes of a name that settings may take
OF_RUN, OF_WEIGHTS = 40, 60  # that the run and the file of weights may take
# Of a file's name file systems take 255 bytes, endings and what is written aside included.
OF_RECORD, OF_PICTURE = 200, 250
ADVICE = "Make room there, or see to the permissions of the folder, or give another one: out=FOLDER"


def write_record(out: Path, name: str, judged: Judged, settings: Sequence[str]) -> list[Path]:
    """Write `NAME.json`, and the pictures beside it.

    Args:
        out: made if it is not there.
        name: of the record, without its ending.
        judged: what came out.
        settings: as `settings_of` gives them.

    Returns:
        The files of the pictures.

    Raises:
        UserError: if they cannot be written.
    """
    pictures = {out / f"{_fitting(f'{name}-{kept}', OF_PICTURE)}.png": image for kept, image in judged.pictures.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, image in pictures.items():
            image.save(path)
    except OSError as error:
        raise cannot_write(out, error, ADVICE) from None
    content = {
        "weights": str(judged.weights.absolute()),
        "settings": settings,
        "table": None if judged.table is None else judged.table.digest,
        "content": None if judged.table is None else judged.table.content,
        "metrics": dict(judged.metrics),
        "compared": dict(judged.compared),
    }
    replace_text(out / f"{name}.json", to_json(content, indent=2), ADVICE)
    return list(pictures)


def settings_of(overrides: Sequence[str]) -> list[str]:
    """Those of the overrides that say how a model is judged, in an order of their own."""
    return sorted(text for text in overrides if key_of(text) not in NO_SETTINGS and not text.startswith("hydra."))


def record_name(weights: Path, settings: Sequence[str]) -> str:
    """What a record is called, without its ending: settings have a record each, `model-model,guidance.scale=3`.

    Args:
        weights: the file that was judged. A checkpoint is told by its step, the exported model by its folder.
        settings: as `settings_of` gives them.
    """
    name = _fitting(f"{weights.parent.name}-{weights.stem}", OF_WEIGHTS)
    told = ",".join(settings)
    plain = _beginning(re.sub(r"[^\w.,=+\[\]-]+", "_", told), OF_SETTINGS)
    digest = "" if plain == told else f"-{_digest(told)}"
    return ",".join(filter(None, [name, plain + digest]))


def name_of_its_own(out: Path, name: str, weights: Path, run: Path) -> str:
    """The name, or where another model's record has it already, one that says of which run this is.

    Args:
        out: folder of records, which may be of any models.
        name: as `record_name` gives it, which is the same for every run.
        weights: the file that was judged.
        run: folder of its run.
    """
    of_run = _fitting(f"{_beginning(run.resolve().name, OF_RUN)}-{name}", OF_RECORD)
    if not _is_of_another(out / f"{name}.json", weights):
        return name
    if not _is_of_another(out / f"{of_run}.json", weights):
        return of_run
    return _fitting(f"{hashlib.sha256(bytes(weights.resolve())).hexdigest()[:8]}-{of_run}", OF_RECORD)


def _fitting(text: str, most: int) -> str:
    """A text of so many bytes at most: a longer one ends in a hash of the whole."""
    return text if len(os.fsencode(text)) <= most else f"{_beginning(text, most - 9)}-{_digest(text)}"


def _beginning(text: str, most: int) -> str:
    """The whole letters among so many bytes of a text."""
    return os.fsencode(text)[:most].decode("utf-8", "ignore")


def _digest(text: str) -> str:
    """8 digits that tell a text from others."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _is_of_another(record: Path, weights: Path) -> bool:
    """Whether this is a record of other weights, or nobody knows of which."""
    try:
        return Path(json.loads(record.read_text(encoding="utf-8"))["weights"]).resolve() != weights.resolve()
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True
