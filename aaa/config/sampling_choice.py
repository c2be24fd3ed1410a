"""How a saved model is to be sampled, where that is not as its run did."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from aaa.config.as_dict import as_dict
from aaa.config.command_schema import SampleConfig
from aaa.config.groups import CONF, options_of
from aaa.config.guidance import check_guidance
from aaa.config.keys import MAX_GUIDANCE
from aaa.config.ranges import Range, require_ranges
from aaa.errors import UserError, nearest

SCALES = Range(least=-MAX_GUIDANCE, most=MAX_GUIDANCE)


@dataclass(frozen=True, kw_only=True)
class SamplingChoice:
    """What is chosen in place of a model's own way to be sampled; None leaves it as it is.

    Attributes:
        steps: of the sampler.
        last_sigma: lowest noise level that the model is asked at.
        sampler: an option of conf/sampler by its name, or what such a file holds.
        guidance: its scale, or an option of conf/guidance by its name; or what such a file holds, or a part of that:
            `{"interval": [0.2, 0.8]}`.

    Raises:
        UserError: if a number is out of its range, or there is no such sampler or guidance.
    """

    steps: int | None = None
    last_sigma: float | None = None
    sampler: str | Mapping[str, Any] | DictConfig | None = None
    guidance: float | str | Mapping[str, Any] | DictConfig | None = None

    def __post_init__(self) -> None:
        require_ranges(SampleConfig, {"steps": self.steps, "last_sigma": self.last_sigma})
        for group, chosen in (("sampler", self.sampler), ("guidance", self.guidance)):
            if isinstance(chosen, str) and chosen not in (options := options_of(group)):
                raise UserError(
                    f"{group}={chosen}: no such option{nearest(chosen, options)}. There is: {', '.join(options)}."
                )
        scale = self.guidance_parts.get("scale")
        if isinstance(scale, bool) or not (isinstance(scale, int | float | None) or "${" in str(scale)):
            raise UserError(f"guidance={scale}: must be a number, such as 4.")
        if not SCALES.holds(scale):
            raise UserError(f"guidance={scale}: must be {SCALES}.")

    @property
    def guidance_parts(self) -> dict[str, Any]:
        """What is said of guidance, by key, as it is written: interpolations are of the model's config."""
        if self.guidance is None:
            return {}
        if isinstance(self.guidance, int | float):
            return {"scale": self.guidance}
        parts: Any = _option("guidance", self.guidance) if isinstance(self.guidance, str) else self.guidance
        if isinstance(parts, DictConfig):
            parts = as_dict(parts, resolve=False)
        return {str(key): value for key, value in parts.items() if value is not None}

    def applied_to(self, config: DictConfig) -> DictConfig:
        """The config of a run or saved model with what is chosen in it.

        Raises:
            UserError: if the model cannot be drawn with that guidance.
        """
        chosen = config.copy()
        with open_dict(chosen):
            if self.steps is not None:
                chosen.sampling.steps = self.steps
            if self.last_sigma is not None:
                chosen.sampling.last_sigma = self.last_sigma
            if self.sampler is not None:
                chosen.sampler = _option("sampler", self.sampler) if isinstance(self.sampler, str) else self.sampler
            parts = self.guidance_parts
            if "_target_" in parts:
                chosen.guidance = parts
            for key, value in parts.items():
                chosen.guidance[key] = list(value) if isinstance(value, tuple | ListConfig) else value
        check_guidance(chosen)
        return chosen


def sampling_choice(config: DictConfig) -> SamplingChoice:
    """What the config of a command chooses.

    Raises:
        UserError: as `SamplingChoice` does.
    """
    return SamplingChoice(**{field.name: config[field.name] for field in fields(SamplingChoice)})


def _option(group: str, name: str) -> Any:
    """What the file of an option holds."""
    return OmegaConf.load(CONF / group / f"{name}.yaml")
