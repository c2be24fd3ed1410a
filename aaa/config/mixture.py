"""Several data sets in one run: each part of `data=mixture` brought into the form that `data` has where it is alone."""

import re
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from aaa.config.as_schema import as_schema
from aaa.config.overrides import without_interpolations
from aaa.config.ranges import ranges_of, require_ranges
from aaa.config.schema import CacheConfig, DataConfig, ImageFolderConfig, LocatedConfig, MixtureConfig
from aaa.errors import UserError

# Said of the mixture, for all its parts: their latents are alike, and lie in one folder.
COMMON = ("resolution", "buckets", "max_aspect_ratio", "cache_dir")
# Said of each part alone.
OF_PART = ("source", "validation_fraction", "horizontal_flip", "skip_unreadable", "weight", "keep")
NAME = re.compile(r"[A-Za-z0-9][\w-]*")  # it becomes part of the names of metrics and files
OF_DATA = re.compile(r"(?<!\\)((?:\\\\)*)\$\{data\.(\w+)")
EXAMPLE = "+data@data.parts.shapes=shapes +data@data.parts.mine=imagefolder data.parts.mine.root=PATH"


def data_schema(data: Any) -> type[DataConfig]:
    """The schema of what `data` is, or a part of it."""
    kinds = {"parts": MixtureConfig, "root": ImageFolderConfig, "path": LocatedConfig, "address": CacheConfig}
    keys = set(map(str, data))  # those without a value yet among them
    return next((schema for key, schema in kinds.items() if key in keys), DataConfig)


def parts_of(data: Any) -> dict[str, Any]:
    """The parts of a mixture by name; none of any other data."""
    return {str(name): part for name, part in data["parts"].items()} if "parts" in data else {}


def weights_of(data: Any) -> dict[str, float]:
    """How often each part of a mixture is drawn, relative to the others."""
    told = {name: part.get("weight") for name, part in parts_of(data).items()}
    return {name: 1.0 if weight is None else float(weight) for name, weight in told.items()}


def shares_of(data: Any) -> dict[str, float]:
    """How much of all samples are of each part, in percent; nothing of data that is no mixture."""
    weights = weights_of(data)
    return {name: 100 * weight / sum(weights.values()) for name, weight in weights.items()}


def config_of_part(config: DictConfig, name: str) -> DictConfig:
    """The config of a run on one part of its mixture alone."""
    told: Any = OmegaConf.to_container(config, resolve=False)
    part: Any = OmegaConf.to_container(config.data.parts[name], resolve=True)
    part["max_records"] = part.get("max_records") or config.data.get("max_records")
    return OmegaConf.create(told | {"data": without_interpolations(part)})


def of_all_parts(key: str, *, _root_: Any) -> Any:
    """What all parts of a mixture say of this key.

    Raises:
        UserError: if two of them differ, or there is no part.
    """
    said = {name: part.get(key) for name, part in parts_of(_root_.data).items() if part.get(key) is not None}
    if not said:
        raise UserError(f"data.parts: a mixture needs parts, such as {EXAMPLE}.")
    first, value = next(iter(said.items()))
    for name, other in said.items():
        if other != value:
            raise UserError(
                f"data.parts.{first}.{key}={value} and data.parts.{name}.{key}={other}: the parts of a mixture have "
                f"latents alike. data.{key}={value} is for all of them, whatever theirs say."
            )
    return value


def check_mixture(config: DictConfig) -> None:
    """Refuse what no mixture can have, and let each part say everything that it would say alone.

    Raises:
        UserError: naming the keys.
    """
    data = config.data
    if "parts" not in data:
        _refuse_remote_folder(data)
        _refuse_encoding(data, "data")
        if data.get("weight") is not None:
            raise UserError(
                f"data.weight={data.weight}: data={data.name} is alone; only the parts of data=mixture have weights."
            )
        return
    _refuse_misplaced(data)
    _refuse_remote_folder(data)
    with open_dict(config):
        for key in COMMON:
            data[key] = data[key]  # what an interpolation makes of the parts
        for name, part in parts_of(data).items():
            data.parts[name] = _whole(name, part) | {key: data[key] for key in COMMON}
            _require_ranges_of_part(name, data.parts[name])
            _refuse_encoding(data.parts[name], f"data.parts.{name}")
        _take_over_rights(data)
    if not sum(weights_of(data).values()):
        raise UserError(f"data.parts.{next(iter(data.parts))}.weight=0: no part has a weight above 0 to be drawn by.")


def _require_ranges_of_part(name: str, part: Any) -> None:
    """Refuse what is outside its range, where a part that is never trained on may hold out all of itself."""
    schema = data_schema(part)
    holds_out_all = part.validation_fraction == 1
    if holds_out_all and part.weight != 0:
        raise UserError(
            f"data.parts.{name}.validation_fraction=1: all of a part is held out only where none of it is trained on, "
            f"data.parts.{name}.weight=0. Otherwise it must be {ranges_of(schema)['validation_fraction']}."
        )
    asked = {key for key in ranges_of(schema) if not (holds_out_all and key == "validation_fraction")}
    require_ranges(schema, {key: part[key] for key in asked if key in part}, f"data.parts.{name}.")


def _take_over_rights(data: Any) -> None:
    """Let the mixture say what its parts say of licence and attribution, where it says nothing itself."""
    said = {key: [part.get(key) for part in parts_of(data).values()] for key in ("license", "attribution")}
    if data.license is None and len(set(said["license"])) == 1:
        data.license = without_interpolations(said["license"][0])
    if data.attribution is None:
        data.attribution = without_interpolations(" ".join(dict.fromkeys(filter(None, said["attribution"])))) or None


def _refuse_remote_folder(data: Any) -> None:
    if "://" in str(data.cache_dir):
        raise UserError(
            f"data.cache_dir={data.cache_dir}: pictures are encoded into a local folder. A cache that is encoded "
            "already is read from anywhere: data=cache data.address=ADDRESS, its own folder's."
        )


def _refuse_encoding(data: Any, key: str) -> None:
    """Refuse to say how pictures are encoded of a cache that is encoded already."""
    if data_schema(data) is not CacheConfig:
        return
    for name in ("horizontal_flip", "skip_unreadable", "source"):
        if data.get(name):
            raise UserError(f"{key}.{name}={data[name]}: the cache at {key}.address is encoded already.")


def _refuse_misplaced(data: Any) -> None:
    """Refuse parts that cannot be, and what is said of the mixture but belongs to a part."""
    parts = parts_of(data)
    if not parts:
        raise UserError(f"data.parts: a mixture needs parts, such as {EXAMPLE}.")
    usual = {f.name: f.default for f in fields(DataConfig)} | {"source": None}
    for key in OF_PART:
        if data.get(key) not in (None, usual[key]):
            raise UserError(f"data.{key}: belongs to a part of the mixture: data.parts.{next(iter(parts))}.{key}.")
    for name, part in parts.items():
        if not NAME.fullmatch(name):
            raise UserError(f"data.parts.{name}: a part's name is of letters, digits, _ and -, such as shapes.")
        if not isinstance(part, DictConfig):
            raise UserError(f"data.parts.{name}={part}: must be a data set, such as +data@data.parts.{name}=shapes.")
        if "parts" in part:
            raise UserError(f"data.parts.{name}: is a mixture itself. Let its parts be parts of this one.")


def _whole(name: str, part: DictConfig) -> dict[str, Any]:
    """A part with everything that its schema has, in which `${data.x}` means the part's own x."""
    said: Any = OmegaConf.to_container(part, resolve=False)
    merged = as_schema(data_schema(part), said, f"data.parts.{name}.")
    for key in map(str, merged):
        if key not in COMMON and OmegaConf.is_missing(merged, key):
            raise UserError(f"data.parts.{name}.{key}: has no value yet, and must have one.")
    told: Any = OmegaConf.to_container(merged, resolve=False)
    own: dict[str, Any] = _about_itself(told, name)
    return own


def _about_itself(value: Any, name: str) -> Any:
    """The same, where what is computed from `data` is computed from the part of this name."""
    if isinstance(value, dict):
        return {key: _about_itself(inner, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [_about_itself(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    return OF_DATA.sub(lambda match: f"{match[1]}${{data.{_place(match[2], name)}", value)


def _place(key: str, name: str) -> str:
    return key if key in (*COMMON, "parts") else f"parts.{name}.{key}"
