"""The comparison as one HTML page that needs no server and no network."""

import base64
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from PIL import Image

from aaa.errors import UserError
from aaa.reports.effects import Effect, effects, explained
from aaa.reports.folding import by_setting, counted
from aaa.reports.following import chosen_keys
from aaa.reports.heat_map import MOST_VALUES, maps_of, numbers_among
from aaa.reports.isoflop import best_sizes
from aaa.reports.key_names import short_names, shown_key
from aaa.reports.labels import named_setting
from aaa.reports.outcomes import compared
from aaa.reports.paired import against_best, of_one_table
from aaa.reports.plain import plain_number, plain_setting
from aaa.reports.power_law import APART, LEAST, OF_ONE_SIZE
from aaa.reports.runs import Run, by_loss
from aaa.reports.scaling import OF_ONE_LENGTH, OF_THE_BEST
from aaa.reports.telling import setting_keys, telling_keys
from aaa.tracking.files import OF_A_STEP, step_in_name
from aaa.tracking.printed import harmless
from aaa.tracking.stages import described

TEMPLATE = Path(__file__).with_name("page.html")
POINTS = 400  # of a curve; more than a screen can show
STRIP_RUNS, STRIP_PICTURES, STRIP_WIDTH = 24, 6, 360
LARGE_RUNS, LARGE_WIDTH = 8, 1600  # whose last pictures can be looked at
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow says of damaged files
AXES = ("step", "samples", "seconds", "flops")
MOST_EXACT = 2**53  # in JavaScript, of whole numbers


def write_page(runs: list[Run], path: Path, baseline: str | None = None) -> None:
    """Write the page.

    Args:
        runs: to compare.
        path: of the HTML file.
        baseline: whose values effects of single keys are measured from; None for those of the first run.

    Raises:
        UserError: if it cannot be written.
    """
    # Within a script element nothing may look like the end of one.
    data = json.dumps(_content(runs, baseline), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    try:
        path.write_text(TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", data), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}).") from None


def _content(runs: list[Run], baseline: str | None = None) -> dict[str, Any]:
    keys = list(dict.fromkeys([*telling_keys(runs), *setting_keys(runs), *chosen_keys(runs)]))
    groups = {key for key in keys if key in runs[0].choices}  # of which an option says which class it is
    keys = [key for key in keys if key in groups or shown_key(key) not in groups]
    metrics = dict.fromkeys(name for run in runs for name in run.measured if _is_shown(name))
    differences = against_best(runs)
    of_table = of_one_table(runs)
    comparable = {run.name for run in of_table}
    counting = {run.name for run in counted(runs)} & comparable
    of_settings, mapped, settings = setting_keys(runs), setting_keys(runs, by_choice=False), by_setting(runs)
    number = {run.name: number for number, members in enumerate(settings) for run in members}
    alone, unanswered = effects(runs, baseline)
    rank = {run.name: place for place, run in enumerate(sorted(runs, key=by_loss))}
    settings_shown = list(dict.fromkeys([*keys, *mapped]))
    shown = [
        _run(run, settings_shown, metrics)
        | _samples(run, rank[run.name])
        | {"difference": differences.get(run.name), "counts": run.name in counting, "setting": number[run.name]}
        for run in runs
    ]
    return {
        "folder": _common_folder(runs),
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "pictured": STRIP_RUNS if len(runs) > STRIP_RUNS and any(run["pictures"] for run in shown) else None,
        "left_out": len(runs) - len(comparable),
        "keys": [shown_key(key) for key in keys],
        "telling": [shown_key(key) for key in telling_keys(runs)],
        "setting": [shown_key(key) for key in of_settings],
        "folded": [
            {shown_key(key): _shown_setting(named_setting(members[0], key)) for key in of_settings}
            for members in settings
        ],
        "mapped": [shown_key(key) for key in mapped],
        "numbers": [shown_key(key) for key in numbers_among(runs, mapped)],
        "most_values": MOST_VALUES,
        "scattered": [
            {"keys": [shown_key(one.x), shown_key(one.y)], "logarithmic": one.logarithmic}
            for one in maps_of(runs)
            if one.is_scattered
        ],
        "short": short_names(keys),
        "metrics": list(metrics),
        "compared": compared(runs),
        "effects": [_effect(effect) for effect in alone],
        "of_effects": [*(explained(alone) if alone else []), *unanswered],
        "best_sizes": best_sizes(of_table),
        "law": {
            "least": LEAST,
            "apart": APART,
            "of_one_size": OF_ONE_SIZE,
            "of_one_length": OF_ONE_LENGTH,
            "of_the_best": OF_THE_BEST,
        },
        "runs": shown,
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "value": effect.value,
        "reference": effect.reference,
        "difference": str(effect.difference),
        "over": effect.over,
        "verdict": effect.verdict,
        "notes": effect.notes,
    }


def _is_shown(metric: str) -> bool:
    """Whether the page has curves of it: not of what would make it large and hardly be looked at."""
    return "/" in metric and not metric.startswith(("grad_norm/", "weight_norm/")) and not metric.endswith("_error")


def _run(run: Run, keys: list[str], metrics: dict[str, None]) -> dict[str, Any]:
    settings = {shown_key(key): _shown_setting(run.setting(key)) for key in keys}
    last = {name: value for name in metrics if (value := plain_number(run.outcome(name))) is not None}
    before = {"before": {axis: run.before(axis) for axis in AXES}, "began_after": described(run.stages)}
    return {
        "name": run.name,
        "settings": settings,
        "last": last | {axis: plain_number(run.last(axis)) for axis in AXES},
        "best": plain_number(run.best()),
        "parameters": run.parameters,
        "curves": _curves(run, metrics),
        **(before if run.stages else {}),
    }


def _curves(run: Run, metrics: dict[str, None]) -> dict[str, dict[str, list[float | None]]]:
    """A curve of each metric, against each axis; rows without an axis take the last one's.

    Of a run that began from trained weights it begins where these ended, if that is known.
    """
    columns: dict[str, dict[str, list[float]]] = {}
    before = {axis: run.before(axis) or 0 for axis in AXES}
    at: dict[str, float] = {axis: before[axis] or 0.0 for axis in AXES}
    for row in run.metrics:
        at |= {axis: row[axis] + before[axis] if before[axis] else row[axis] for axis in AXES if axis in row}
        for name in row.keys() & metrics.keys():
            column = columns.setdefault(name, {axis: [] for axis in (*AXES, "y")})
            value = plain_number(row[name])
            for axis, place in (at | {"y": math.nan if value is None else value}).items():
                column[axis].append(place)
    return {name: _thinned(columns[name]) for name in metrics if name in columns}


def _thinned(curve: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """What can be seen of a curve: means of stretches of equal numbers of points, at the end of each."""
    ys = curve["y"]
    stretch = max(1, math.ceil(len(ys) / POINTS))
    pieces = [slice(start, start + stretch) for start in range(0, len(ys), stretch)]
    thinned = {axis: [_rounded(curve[axis][piece][-1]) for piece in pieces] for axis in AXES}
    return thinned | {"y": [_rounded(sum(ys[piece]) / len(ys[piece])) for piece in pieces]}


def _common_folder(runs: list[Run]) -> str:
    """The folder of these runs, or that of the only one, as it was typed where that is possible."""
    folders = [str(run.folder) for run in runs]
    try:
        common = os.path.commonpath(folders)
    except ValueError:  # some from the root of the disk, others not
        common = ""
    return harmless(common or os.path.commonpath(map(os.path.abspath, folders)))


def _samples(run: Run, rank: int) -> dict[str, list[dict[str, Any]]]:
    """Sample grids of the data's records, and of prompts of one's own; none of runs that many are better than."""
    endings = {"pictures": "", "prompts": "-prompts"}
    if rank >= STRIP_RUNS:
        return {name: [] for name in endings}
    return {name: _pictures(run, ending, is_large=rank < LARGE_RUNS) for name, ending in endings.items()}


def _pictures(run: Run, ending: str, *, is_large: bool) -> list[dict[str, Any]]:
    """Sample grids over training time, small; the last one also as large as it can be looked at, if it is so large."""
    files = sorted((run.folder / "samples").glob(f"{OF_A_STEP}{ending}.png"))
    if len(files) > STRIP_PICTURES:
        files = [files[round(i * (len(files) - 1) / (STRIP_PICTURES - 1))] for i in range(STRIP_PICTURES)]
    strip: list[dict[str, Any]] = []
    for file in files:
        try:
            with Image.open(file) as picture:
                told: dict[str, Any] = {"step": step_in_name(file)}
                if is_large and file == files[-1] and picture.width > STRIP_WIDTH:
                    told["large"] = _source(picture, LARGE_WIDTH)
                strip.append(told | {"src": _source(picture, STRIP_WIDTH)})
        except UNREADABLE:
            continue  # a picture more or less: the numbers are what is compared
    return strip


def _source(picture: Image.Image, width: int) -> str:
    """What stands in the page for a picture, of at most this width."""
    shown, buffer = picture.copy(), io.BytesIO()
    shown.thumbnail((width, width * 4))
    shown.convert("RGB").save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shown_setting(value: Any) -> Any:
    plain = plain_setting(value)
    if isinstance(plain, int) and abs(plain) > MOST_EXACT:
        return str(plain)
    return plain if isinstance(plain, int | float | str | bool) or plain is None else json.dumps(plain)


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
