"""A saved view of the compared runs on W&B's site, through wandb-workspaces (pip install -e ".[views]")."""

import os
from pathlib import Path
from typing import Any

from aaa.errors import UserError, reason
from aaa.reports.runs import Run
from aaa.reports.telling import differing_keys
from aaa.tracking.recorded_overrides import lies_in_sweep
from aaa.tracking.wandb_logger import has_credentials

LINES = ("train/loss", "val/loss", "train/grad_norm", "perf/images_per_second")
AXES = {"samples": "samples", "flops": "training FLOPs"}


def make_view(runs: list[Run], entity: str, project: str) -> Any:
    """Parallel coordinates of what differs and the best validation loss, curves, pictures.

    Args:
        runs: to compare; the view shows those of their sweeps.
        entity, project: of W&B.

    Raises:
        UserError: if the package is missing.
    """
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise UserError('--wandb: wandb-workspaces is not installed: pip install -e ".[views]"') from None
    logarithmic = [key for key in differing_keys(runs) if key.endswith("learning_rate")]
    columns = [
        panels.ParallelCoordinatesPlotColumn(metric=panels.Config(key), log=key in logarithmic)
        for key in differing_keys(runs)
    ]
    columns.append(panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric("best/val/loss"), log=True))
    curves = [panels.LinePlot(title=metric, x="Step", y=[metric], log_y="loss" in metric) for metric in LINES]
    over_axes = [
        panels.LinePlot(title=f"val/loss over {label}", x=axis, y=["val/loss"], log_x=True, log_y=True)
        for axis, label in AXES.items()
    ]
    pictures = ["pictures", *(["prompts"] if _setting(runs, "sampling.prompts") else [])]
    folders = [run.folder.resolve() for run in runs]
    groups = sorted({"/".join(folder.parent.parts[-2:]) for folder in folders if lies_in_sweep(folder)})
    filters = workspaces.And(*([workspaces.Metric("Group").isin(groups)] if groups else []))
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"aaa: {', '.join(groups) or project}",
        sections=[
            workspaces.Section(
                "Settings and loss", panels=[panels.ParallelCoordinatesPlot(columns=columns)], is_open=True
            ),
            workspaces.Section("Curves", panels=[*curves, *over_axes], is_open=True),
            workspaces.Section("Pictures", panels=[panels.MediaBrowser(media_keys=pictures)], is_open=True),
        ],
        runset_settings=workspaces.RunsetSettings(filters=filters),
    )


def save_view(runs: list[Run], path: Path) -> str:
    """Save the view on W&B, or what would be sent there into a file where nobody is logged in.

    Args:
        runs: to compare.
        path: of that file.

    Returns:
        What was done.

    Raises:
        UserError: if W&B will not have it, or the file cannot be written.
    """
    project = os.environ.get("WANDB_PROJECT") or _setting(runs, "logger.project") or "aaa"
    entity = os.environ.get("WANDB_ENTITY") or _setting(runs, "logger.entity") or _default_entity()
    view = make_view(runs, entity or "me", project)
    if entity is None or os.environ.get("WANDB_MODE", "online") != "online":
        try:
            path.write_text(view._to_model().model_dump_json(indent=2, by_alias=True), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({reason(error)}).") from None
        return f"W&B: not online (wandb login, WANDB_ENTITY). The view that would have been saved: {path}"
    try:
        view.save()
    except Exception as error:  # of many kinds: the network, the account, the project
        raise UserError(f"--wandb: W&B has not saved the view of {entity}/{project} ({reason(error)}).") from error
    return f"W&B: {view.url}"


def _setting(runs: list[Run], key: str) -> str | None:
    return next((str(run.config[key]) for run in runs if run.config.get(key)), None)


def _default_entity() -> str | None:
    if not has_credentials():
        return None
    import wandb

    try:
        return wandb.Api(timeout=10).default_entity
    except Exception:  # whatever keeps W&B from answering, the view goes into a file
        return None
