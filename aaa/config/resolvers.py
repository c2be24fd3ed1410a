"""What conf/ can compute: `${hidden_size:PATH}` and the like."""

import json
import math
from contextlib import suppress
from itertools import chain
from itertools import count as numbers_from
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from aaa.config.mixture import of_all_parts
from aaa.config.routing import routed_blocks
from aaa.errors import UserError


def register_resolvers() -> None:
    """Make the resolvers of conf/ known to OmegaConf."""
    OmegaConf.register_new_resolver("pixel_unshuffle_channels", lambda factor: 3 * factor**2, replace=True)
    OmegaConf.register_new_resolver("by_parametrization", _by_parametrization, replace=True)
    OmegaConf.register_new_resolver("heads", _heads, replace=True)
    OmegaConf.register_new_resolver("weights_dtype", _weights_dtype, replace=True)
    OmegaConf.register_new_resolver("hidden_size", _hidden_size, replace=True)
    OmegaConf.register_new_resolver("diffusers_vae", _diffusers_vae, replace=True)
    OmegaConf.register_new_resolver("unused_folder", _unused_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("named_or_unused_folder", _named_or_unused_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("study_in", _study_in, replace=True)
    OmegaConf.register_new_resolver("internal_head", _internal_head, replace=True)
    OmegaConf.register_new_resolver("third_of", _third_of, replace=True)
    OmegaConf.register_new_resolver("before_routing", _before_routing, replace=True)
    OmegaConf.register_new_resolver("where_blocks_are_ours", _where_blocks_are_ours, replace=True)
    OmegaConf.register_new_resolver("of_all_parts", of_all_parts, replace=True)
    OmegaConf.register_new_resolver("geomspace", geomspace, replace=True)
    OmegaConf.register_new_resolver("from_yaml", yaml.safe_load, replace=True)


def geomspace(start: float | str, stop: float | str, number: int | str) -> str:
    """Numbers that each are the same multiple of the one before, as Hydra sweeps over them: `0.001,0.01,0.1`.

    Raises:
        UserError: if there are no such numbers.
    """
    try:
        first, last, count = float(start), float(stop), int(number)
    except ValueError:
        first, last, count = math.nan, math.nan, 0
    if not (0 < first < math.inf and 0 < last < math.inf and 2 <= count <= 10_000):
        raise UserError(
            f"geomspace({start},{stop},{number}): takes two numbers above 0 and how many there are to be, at least 2."
        )
    return ",".join(f"{first * (last / first) ** (place / (count - 1)):.6g}" for place in range(count))


def _run_folder() -> str:
    """The folder that Hydra has made for a run; what it would be like for `--cfg job --resolve`, which has none."""
    folder = OmegaConf.select(HydraConfig.get(), "runtime.output_dir") if HydraConfig.initialized() else None
    return str(folder or "outputs/NAME/TIMESTAMP")


def _by_parametrization(parametrization: str, standard: float, mup: float) -> float:
    """A number that is another one where it is the base's."""
    return float(mup if parametrization == "mup" else standard)


def _heads(dim: int, base_dim: int, base_heads: int) -> int:
    """How many attention heads are as wide as those of a base in a model of another width, at least one."""
    return max(1, dim * base_heads // base_dim)


def _study_in(folder: str) -> str:
    """The address of Optuna's study in this folder, which is made."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder}/study.db"


def _internal_head(*, _root_: Any) -> int | None:
    """The block after which a model has a head for guidance=internal: where a term trains one to the end."""
    term = OmegaConf.select(_root_, "objective.terms.internal")
    if term is None or OmegaConf.select(_root_, "model.architecture") is not None:
        return None
    ours = term.get("_target_") == "aaa.objectives.internal.Internal"
    trained = ours and term.get("weight") and term.get("until_step") is None
    return term.get("after_block") if trained else None


def _third_of(depth: int) -> int:
    """The block after a third of the depth, at least the first."""
    return max(1, math.ceil(depth / 3))


def _before_routing(block: int, *, _root_: Any) -> int:
    """The block, or if tokens are routed around it the last before, which computes all of them.

    What is learned of hidden states is then learned of all: aligned after block 1 in place of 2 models of
    routing=sprint draw 293 of 384 pictures right and not 242 (experiments/ledger).
    """
    first, last = routed_blocks(_root_) or (0, 0)
    return first - 1 if 1 < first <= block <= last else block


def _where_blocks_are_ours(ours: float, others: float, *, _root_: Any) -> float:
    """A number that is another one with a model that `model.architecture` names."""
    return float(ours if OmegaConf.select(_root_, "model.architecture") is None else others)


def _weights_dtype(precision: str) -> str:
    return "bfloat16" if precision == "bf16_weights" else "float32"


def _named_or_unused_folder(named: str | None, path: str) -> str:
    return _unused_folder(path) if named is None else str(named)


def _unused_folder(path: str) -> str:
    """Make the folder, or one with a number added to its name if another run has been given it in the same second."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for name in chain([path], (f"{path}-{number}" for number in numbers_from(2))):
        with suppress(FileExistsError):
            Path(name).mkdir()
            return name
    raise AssertionError("numbers do not end")


def _hidden_size(path: str) -> int:
    """Width of the hidden states of the text model in a Hugging Face folder."""
    config = Path(path) / "config.json"
    try:
        numbers = json.loads(config.read_text(encoding="utf-8"))
        numbers |= numbers.get("text_config", {})
        return next(int(numbers[key]) for key in ("hidden_size", "d_model", "n_embd") if key in numbers)
    except OSError:
        raise UserError(
            f"encoder.text_encoder.path={path}: no config.json there (looked in {config.parent.absolute()}). "
            "Give the folder of a Hugging Face text model."
        ) from None
    except (ValueError, TypeError, AttributeError, StopIteration):
        raise UserError(
            f"{config}: does not say the width of a text model. Say it with encoder.prompt_dim=N."
        ) from None


def _diffusers_vae(number: str, vae: DictConfig) -> int:
    """`latent_channels` or `downscale_factor` of the VAE that `encoder.vae` of encoder=diffusers names."""
    from aaa.encoders.diffusers_config import describe  # it needs what needs this module

    asked = {name: vae.get(name) for name in ("path", "model_id", "subfolder", "patch_size")}
    return int(getattr(describe(**asked), number))
