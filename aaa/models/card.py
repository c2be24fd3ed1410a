"""The model card: what a stranger must know of a trained model."""

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

SAMPLES = "samples.png"
# Metrics that a card reports, by what it calls them.
REPORTED = {
    "val/loss": "validation loss",
    "val/loss_relative": "as share of the loss of seeing no structure",
    "quality/seen": "right pictures for pairs trained on",
    "quality/held_out": "right pictures for pairs never seen",
}


def model_card(
    config: Mapping[str, Any],
    *,
    parameters: int,
    metrics: Sequence[Mapping[str, Any]],
    device: str,
    prompt: str,
    has_samples: bool,
) -> str:
    """A README.md for the model/ folder of a run, with the metadata that model hubs read.

    Args:
        config: the run's resolved config.
        parameters: of the model.
        metrics: rows of the run's metrics.jsonl.
        device: what it was trained on.
        prompt: an example of what it was trained on.
        has_samples: whether samples.png lies beside the card.
    """
    model, data, encoder, trainer = (config[key] for key in ("model", "data", "encoder", "trainer"))
    figures = _training_figures(metrics)
    rows = {
        "parameters": f"{parameters:,}",
        "width, depth, heads": f"{model['dim']}, {model['depth']}, {model['heads']}",
        "data": f"{data['name']}, {data['resolution']} x {data['resolution']} pixels",
        "encoder": encoder["name"],
        "weights": "exponential moving average" if trainer["ema_decay"] else "of the last step",
        **figures,
        "precision": trainer["precision"],
        "device": device,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    samples = f"![Pictures drawn at the end of training]({SAMPLES})\n\n" if has_samples else ""
    attribution = data.get("attribution") or (
        f"Trained on {data['name']}, whose licence the run was not told (data.license, data.attribution)."
    )
    return f"""---
library_name: aaa
pipeline_tag: text-to-image
license: {data.get("license") or "other"}
tags:
- diffusion-transformer
- flow-matching
---
# {config["name"]}

A text-to-image diffusion transformer trained from scratch.

{samples}| | |
| --- | --- |
{table}

## Use

```python
from aaa.text_to_image import TextToImage

model = TextToImage.from_pretrained(".")  # this folder
pictures = model.draw({json.dumps(prompt, ensure_ascii=False)}, num_images=4, seed=0)
pictures[0].save("picture.png")
```

## Data and licence

{attribution}

The model has only seen its training data: what that shows, and what rights there are in it, holds for the
pictures it draws too.{_encoder_notes(encoder)}
"""


def _training_figures(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    last: dict[str, Any] = {}
    for row in metrics:
        last |= row
    figures = {"training": f"{last['step']:,} steps, {last['samples']:,} samples, {_duration(last['seconds'])}"}
    speeds = [row["perf/images_per_second"] for row in metrics if "perf/images_per_second" in row]
    if speeds:
        figures["images a second"] = f"{median(speeds):.4g}"
    return figures | {name: f"{last[key]:.4g}" for key, name in REPORTED.items() if key in last}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _encoder_notes(encoder: Mapping[str, Any]) -> str:
    names = [encoder[part]["model_id"] for part in ("vae", "text_encoder") if "model_id" in encoder[part]]
    if not names:
        return ""
    return f"\n\nIt needs {' and '.join(names)}, which are not part of this folder and have licences of their own."
