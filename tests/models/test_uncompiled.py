"""What a compiled model draws outside its graphs, and what is not imported for the sake of it."""

import subprocess
import sys

import pytest
import torch
import torch._dynamo

from aaa.models.routing import Routing
from aaa.models.sprint import Sprint
from tests.helpers.designs import inputs, small


@pytest.mark.parametrize("routing", [Routing(0.5, 2, 2), Sprint(0.5, 2, 2, path_drop=0.5)], ids=["tread", "sprint"])
def test_a_routed_model_draws_alike_where_it_is_compiled(routing: Routing) -> None:
    model = small(routing=routing)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(model, backend="eager", dynamic=False)
    for seed in range(3):
        wanted, found = (run(*inputs(), generator=torch.Generator().manual_seed(seed)) for run in (model, compiled))
        assert torch.equal(found, wanted)
    counted = torch._dynamo.utils.counters
    assert counted["stats"]["calls_captured"] > 50, "most of it is in graphs"
    breaks = [*counted["graph_break"], *counted["unimplemented"]]
    assert all("uniform" in reason for reason in breaks), breaks


def test_what_draws_pictures_imports_neither_the_compiler_nor_scipy() -> None:
    slow = "{name for name in ('torch._dynamo', 'scipy.optimize', 'diffsynth') if name in sys.modules}"
    code = f"import sys, aaa.assembly.parts, aaa.pipelines.text_to_image; print({slow} or 'none')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "none"
