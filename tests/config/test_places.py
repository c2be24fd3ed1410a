"""Data is read from folders: what an address or a name on the Hub is told."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from aaa.config.places import check_places
from aaa.errors import UserError

OURS = {"source": {"_target_": "aaa.data.huggingface.HuggingFaceSource"}}
FETCHED = "fetch it first: hf download a/b.c --repo-type dataset --local-dir b.c, then "


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("path", "a/b.c", f"If it is a data set's name on the Hub, {FETCHED}data.path=b.c"),
        ("root", "hf://datasets/a/b.c/train", f"data is read from a folder; {FETCHED}data.root=b.c"),
        ("path", "s3://bucket/shards", "data.path=s3://bucket/shards: pictures are read from a folder. Copy them"),
        ("path", "https://a.example/0.tar", "data=cache data.address=ADDRESS"),
        ("root", "file:///srv/pictures", "give the folder as it is: data.root=/srv/pictures"),
    ],
)
def test_no_address_is_taken_for_a_folder(key: str, value: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_places(OmegaConf.create({key: value} | OURS))
    assert said in str(caught.value)


def test_a_part_of_a_mixture_is_named() -> None:
    with pytest.raises(UserError, match=r"^data\.parts\.web\.path=gs://x/y: "):
        check_places(OmegaConf.create({"parts": {"own": {"root": "/srv"} | OURS, "web": {"path": "gs://x/y"} | OURS}}))


def test_folders_are_left_to_who_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for value in ("a/b", "/no/where", "pictures", "a/b/c", "../a/b", "C:/pictures", None):
        check_places(OmegaConf.create({"root": value, "path": value} | OURS))
    check_places(OmegaConf.create({"root": "data/pokemon"} | OURS))  # which its source may fetch, and says more of


def test_a_data_set_of_ones_own_may_lie_anywhere() -> None:
    own = {"source": {"_target_": "mine.Streamed"}}
    check_places(OmegaConf.create({"path": "owner/name", "root": "s3://bucket/pictures"} | own))
