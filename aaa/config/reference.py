"""Write docs/config.md from the schema and conf/: `python -m aaa.config.reference > docs/config.md`."""

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from aaa.config.command_schema import AverageConfig, EvaluateConfig, SampleConfig, WebConfig
from aaa.config.compose import compose
from aaa.config.descriptions import descriptions, has_default, shown_value
from aaa.config.groups import CONF, group_options, options_of
from aaa.config.objective_schema import (
    AlignConfig,
    ContrastiveConfig,
    DispersiveConfig,
    InternalConfig,
    ObjectiveConfig,
    PerceptualConfig,
    VisionConfig,
)
from aaa.config.option_rows import option_rows
from aaa.config.ranges import ranges_of
from aaa.config.schema import (
    GROUPS,
    CacheConfig,
    ImageFolderConfig,
    LocatedConfig,
    MixtureConfig,
    PartConfig,
    TrainConfig,
)

# The run's own keys, then those of its parts, some of which have more where data is of a kind.
SECTIONS: dict[str, type] = {
    "": TrainConfig,
    **GROUPS,
    "objective": ObjectiveConfig,
    "objective.terms.contrastive": ContrastiveConfig,
    "objective.terms.dispersive": DispersiveConfig,
    "objective.terms.align": AlignConfig,
    "objective.terms.align.vision": VisionConfig,
    "objective.terms.internal": InternalConfig,
    "objective.terms.perceptual": PerceptualConfig,
    "data (imagefolder, pokemon)": ImageFolderConfig,
    "data (huggingface, webdataset)": LocatedConfig,
    "data (cache)": CacheConfig,
    "data (mixture)": MixtureConfig,
    "encode (aaa.encode)": PartConfig,
}
# Commands that take a saved model, whose keys stand in no group.
COMMANDS: dict[str, type] = {
    "aaa.sample": SampleConfig,
    "aaa.evaluate": EvaluateConfig,
    "aaa.web": WebConfig,
    "aaa.average": AverageConfig,
}
HEAD = """# Every key of a run

Made by `python -m aaa.config.reference` from `aaa/config/schema.py` and `conf/`; a test keeps it true. A group is
chosen as `group=option` (an experiment as `+experiment=option`), a key set as `group.key=value`.
`python -m aaa.train --cfg job` shows what comes of it. Below each group are the keys that its options have of their
own; then come those that every run has. A default is what the schema says; what `python -m aaa.train` has in its place,
by the options that it chooses, stands beside it. `(preset)` is in the files of the group.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    keys = [line for name, schema in SECTIONS.items() for line in _section(name, schema, f"{name.partition(' ')[0]}.")]
    commands = [line for name, schema in COMMANDS.items() for line in _section(name, schema, "")]
    return "\n".join([HEAD, *_groups(), *keys, *commands])


def _groups() -> Iterator[str]:
    yield "## Groups\n"
    known = _keys_of_sections()
    options = {**group_options(), "bench": options_of("bench")}
    for group, names in options.items():
        paths = [CONF / group / f"{name}.yaml" for name in names]
        yield f"### {group}\n"
        yield "| option | |"
        yield "| --- | --- |"
        yield from (f"| `{path.stem}` | {_comment(path)} |" for path in paths)
        yield ""
        rows = [] if group == "experiment" else list(option_rows(group, paths, known))
        if rows:
            yield "| key | as shipped | |"
            yield "| --- | --- | --- |"
            yield from rows
            yield ""


def _keys_of_sections() -> set[str]:
    """All keys that have a row in a section, in full, and those of a run itself."""
    prefixes = {name: f"{name.partition(' ')[0]}.".lstrip(".") for name in SECTIONS}
    return {f"{prefixes[name]}{f.name}" for name, schema in SECTIONS.items() for f in fields(schema)}


def _section(name: str, schema: type, prefix: str) -> Iterator[str]:
    """The keys of one part; of a schema that extends another, only those that it adds."""
    inherited = {f.name for base in schema.__mro__[1:] if is_dataclass(base) for f in fields(base)}
    said = descriptions(schema)
    own = [f for f in fields(schema) if f.name not in inherited and not is_dataclass(f.type)]
    yield f"## {f'`{name}`' if name else 'The run itself'}\n"
    yield (schema.__doc__ or "").splitlines()[0] + "\n"
    yield "| key | type | default | must be | |"
    yield "| --- | --- | --- | --- | --- |"
    prefix = prefix.lstrip(".")
    ranges = ranges_of(schema)
    required = "(must be said)" if name in COMMANDS else "(preset)"
    for f in own:
        allowed = ranges.get(f.name, "")
        default = (_default(f) or required) + ("" if name in COMMANDS else _by_default_run(f"{prefix}{f.name}", f))
        yield f"| `{prefix}{f.name}` | {_type(f)} | {default} | {allowed} | {said.get(f.name, '')} |"
    yield ""


@cache
def _default_run() -> DictConfig:
    return compose()


def _by_default_run(key: str, f: "Field[object]") -> str:
    """What `python -m aaa.train` has where that is a plain value other than the schema's, for behind it."""
    value = OmegaConf.select(_default_run(), key)
    if not isinstance(value, bool | int | float | str) or not has_default(f) or f.default == value:
        return ""
    return f"; `{shown_value(value)}` in the default run"


def _type(f: "Field[object]") -> str:
    name = f.type.__name__ if isinstance(f.type, type) else str(f.type)
    listed = {"prompts": "file or list of texts", "memory": "number or list of numbers"}.get(f.name)
    return {"Any": listed or "`_target_` or any"}.get(name.removeprefix("typing."), name).replace("|", "or")


def _default(f: "Field[object]") -> str:
    if not has_default(f):
        return ""
    shown = shown_value(f.default)
    return shown if f.default is None else f"`{shown}`"


def _comment(path: Path) -> str:
    """The comment at the head of a YAML file, on one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return " ".join(lines).replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
