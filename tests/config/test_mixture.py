"""Parts of a mixture are said as `data` is; what no mixture can have is refused with both keys."""

from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from aaa.assembly.build import build
from aaa.config.checks import check_config
from aaa.config.groups import CONF
from aaa.config.mixture import config_of_part, shares_of
from aaa.errors import UserError
from aaa.run.shaping import shaping_settings
from tests.helpers.composed import checked

TWO = ["data=mixture", "+data@data.parts.shapes=shapes", "+data@data.parts.mine=imagefolder", "data.parts.mine.root=/x"]
ALIKE = [*TWO, "data.resolution=32"]


def test_a_part_alone_is_what_that_data_is_alone() -> None:
    config = checked(*ALIKE, "data.parts.mine.prompt_column=alt", "data.buckets=true", "data.cache_dir=/caches")
    alone = checked(
        *("data=imagefolder", "data.root=/x", "data.prompt_column=alt", "data.resolution=32", "data.buckets=true"),
        "data.cache_dir=/caches",
    )
    part: Any = OmegaConf.to_container(config_of_part(config, "mine").data, resolve=True)
    assert part == OmegaConf.to_container(alone.data, resolve=True)
    shapes: Any = OmegaConf.to_container(config_of_part(config, "shapes").data, resolve=True)
    assert shapes["source"]["resolution"] == 32
    check_config(config)  # as a run that goes on does
    assert OmegaConf.to_container(config_of_part(config, "mine").data, resolve=True) == part


def test_a_path_with_a_dollar_stays_what_it_is() -> None:
    config = checked(*ALIKE[:-2], "data.parts.mine.root='/x/\\${data.root}'", "data.resolution=32")
    assert config_of_part(config, "mine").data.source.root == "/x/${data.root}"


def test_a_mixture_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "both.yaml").write_text(
        "defaults:\n- mixture\n- /data@parts.still: shapes\n- /data@parts.moving: shapes\n- _self_\n"
        "name: both\nresolution: 16\n"
        "parts:\n  still: {weight: 3}\n  moving: {source: {jitter: 0.1}}\n  own:\n    name: own\n    weight: 0.5\n"
        "    source: {_target_: builtins.dict, folder: '${data.name}', side: '${data.resolution}'}\n"
    )
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra.compose("train", ["data=both", f"hydra.searchpath=[file://{tmp_path}]"])
    check_config(config)
    assert {name: round(share, 2) for name, share in shares_of(config.data).items()} == {
        "still": 66.67,
        "moving": 22.22,
        "own": 11.11,
    }
    assert config_of_part(config, "moving").data.source.jitter == 0.1
    # Even one that needs nothing but a source has all keys.
    own = config_of_part(config, "own")
    assert own.data.validation_fraction == 0.05
    assert build(own, "data.source") == {"folder": "own", "side": 16}
    assert config.name == "both-dit_tiny"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=mixture"], r"data\.parts: a mixture needs parts, such as \+data@data\.parts\.shapes=shapes"),
        ([*TWO], r"data\.parts\.shapes\.resolution=32 and data\.parts\.mine\.resolution=64: .* data\.resolution=32 is"),
        ([*ALIKE[:3], "data.resolution=32"], r"data\.parts\.mine\.root: has no value yet"),
        (
            [*ALIKE, "+data.parts.mine.rot=/x"],
            r"data\.parts\.mine\.rot: nothing .* 'root'\?\)\. There is: name",
        ),
        (["data.weight=2"], r"data\.weight=2\.0: data=shapes is alone"),
        ([*ALIKE, "data.weight=2"], r"data\.weight: belongs to a part of the mixture: data\.parts\.shapes\.weight"),
        ([*ALIKE, "data.horizontal_flip=true"], r"data\.horizontal_flip: belongs to a part"),
        ([*ALIKE, "data.parts.mine.weight=-1"], r"data\.parts\.mine\.weight=-1\.0: must be at least 0"),
        ([*ALIKE, "data.parts.mine.weight=0", "data.parts.shapes.weight=0"], r"no part has a weight above 0"),
        (
            [*ALIKE, "data.parts.mine.validation_fraction=1"],
            r"data\.parts\.mine\.validation_fraction=1: all of a part .*data\.parts\.mine\.weight=0\. .*below 1",
        ),
        (
            [*ALIKE, "data.parts.mine.validation_fraction=1.5", "data.parts.mine.weight=0"],
            r"data\.parts\.mine\.validation_fraction=1\.5: must be at least 0 and below 1",
        ),
        ([*ALIKE, "+data.parts.mine.wight=1"], r"data\.parts\.mine\.wight: .*did you mean 'weight'"),
        ([*ALIKE, "+data@data.parts.all=mixture", "data.resolution=32"], r"data\.parts\.all: is a mixture itself"),
        ([*ALIKE, "+data.parts.x=shapes"], r"data\.parts\.x=shapes: must be a data set, such as \+data@data\.parts\.x"),
        ([*ALIKE, "+data.parts={a b: {}}"], r"data\.parts\.a b: a part's name is of letters"),
    ],
)
def test_what_no_mixture_can_have_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message) as refused:
        checked(*overrides)
    assert isinstance(refused.value, UserError) or "UserError raised" in str(refused.value)


def test_rights_of_the_parts_are_those_of_the_mixture() -> None:
    config = checked(*ALIKE, "+data@data.parts.emoji=openmoji", "data.parts.mine.attribution='By me.'")
    assert config.data.attribution.startswith("By me. All emojis designed by OpenMoji")
    assert config.data.license is None  # two licences are none


def test_a_part_that_is_never_trained_on_may_hold_out_all_of_itself() -> None:
    config = checked(*ALIKE, "data.parts.mine.weight=0", "data.parts.mine.validation_fraction=1")
    assert config.data.parts.mine.validation_fraction == 1


def test_where_a_part_lies_does_not_shape_the_weights_but_its_weight_does() -> None:
    config = checked(*ALIKE, "data.parts.mine.weight=2")
    settings = shaping_settings({"data": OmegaConf.to_container(config.data, resolve=True)})
    assert settings["data.parts.mine.weight"] == 2
    assert not any("cache_dir" in key or "attribution" in key for key in settings)
