"""Scripts of experiments/ as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def load_script(experiment: str, name: str) -> ModuleType:
    """`experiments/EXPERIMENT/NAME.py`, imported under a name of its own, as dataclasses look for theirs.

    It finds the scripts beside it, as it does where it is run.
    """
    spec = importlib.util.spec_from_file_location(f"{experiment}_{name}", EXPERIMENTS / experiment / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXPERIMENTS / experiment)
        spec.loader.exec_module(module)
    return module
