"""From a composed config to the data set that latents are made of."""

import logging
from collections.abc import Mapping

from omegaconf import DictConfig

from aaa.assembly.build import build
from aaa.assembly.few_records import FewRecords
from aaa.config.trust import names_ours
from aaa.data.records import Record, Source
from aaa.errors import UserError, require_methods

logger = logging.getLogger(__name__)


def build_source(config: DictConfig, missing: Mapping[str, list[str]]) -> Source:
    """The pictures and prompts of `data.source`, or as many of them as `data.max_records` says.

    Args:
        config: of a run.
        missing: files of weights that encoding them needs, by what needs none.

    Raises:
        UserError: naming at once what is missing of either.
    """
    problems = []
    source = None
    try:
        source = build(config, "data.source")
    except UserError as error:
        problems.append(str(error))
    if missing:
        listed = "\n  ".join(file for files in missing.values() for file in files)
        problems.append(
            f"The weights of encoder={config.encoder.name} are missing (and no latents are cached):\n  {listed}\n"
            f"  Or train without them: {' '.join(missing)}"
        )
    if source is None or problems:
        raise UserError("\n".join(problems))
    if not is_ours(config.data.source):
        _require_records(source)
    most = config.data.get("max_records")  # earlier versions' runs do not say
    if most is None or most >= len(source):
        return source
    logger.info("Of %d records %d are taken, spread evenly: data.max_records=%d", len(source), most, most)
    return FewRecords(source, most)


def is_ours(part: DictConfig) -> bool:
    """Whether it names a class of ours, of which it is known what its arguments mean and what it gives."""
    return names_ours(part._target_)


def _require_records(source: Source) -> None:
    """Refuse a class of one's own that is no data set."""
    require_methods(source, ("__len__", "__getitem__"), "data.source", "encoding asks of a data set")
    if len(source) and not isinstance(first := source[0], Record):
        raise UserError(
            f"data.source: {type(source).__name__}.__getitem__ gives a {type(first).__name__}, and has to give a "
            "Record (docs/extending.md)."
        )
