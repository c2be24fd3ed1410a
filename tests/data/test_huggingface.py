from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aaa.data.huggingface import HuggingFaceSource
from aaa.errors import UserError

COLORS = ["red", "blue", "white"]


def dataset(count: int = 3) -> Any:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    pictures = [Image.new("RGB", (6, 4), color) for color in COLORS[:count]]
    rows = {"image": pictures, "text": [f"a {c} thing" for c in COLORS[:count]], "label": list(range(count))}
    features = Features({"image": ImageFeature(), "text": Value("string"), "label": Value("int64")})
    return Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("layout", ["save_to_disk", "parquet"])
def test_records_are_read_from_disk(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "data"
    if layout == "parquet":
        path.mkdir()
        dataset().to_parquet(path / "data-00000-of-00001.parquet")
    else:
        dataset().save_to_disk(path)
    source = HuggingFaceSource(str(path))
    assert [(source[i].key, source[i].prompt, source[i].split) for i in range(len(source))] == [
        ("data[0]", "a red thing", None),
        ("data[1]", "a blue thing", None),
        ("data[2]", "a white thing", None),
    ]
    assert [source[i].load().getpixel((0, 0)) for i in range(3)] == [(255, 0, 0), (0, 0, 255), (255, 255, 255)]
    assert source.files


@pytest.mark.parametrize("layout", ["save_to_disk", "parquet"])
def test_splits_are_kept(tmp_path: Path, layout: str) -> None:
    from datasets import DatasetDict

    if layout == "parquet":
        dataset(2).to_parquet(tmp_path / "train-00000-of-00001.parquet")
        dataset(1).to_parquet(tmp_path / "test-00000-of-00001.parquet")
    else:
        DatasetDict(train=dataset(2), test=dataset(1)).save_to_disk(tmp_path)
    source = HuggingFaceSource(str(tmp_path))
    assert sorted((source[i].key, source[i].split) for i in range(len(source))) == [
        ("test[0]", "validation"),
        ("train[0]", "train"),
        ("train[1]", "train"),
    ]


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set there"):
        HuggingFaceSource(str(tmp_path))
    dataset().save_to_disk(tmp_path / "data")
    path = str(tmp_path / "data")
    with pytest.raises(UserError, match=r"no column 'picture'; there is: image, text, label\. Set data\.image_column"):
        HuggingFaceSource(path, image_column="picture")
    with pytest.raises(UserError, match=r"no column 'prompt'; there is: image, text, label\. Set data\.prompt_column"):
        HuggingFaceSource(path, prompt_column="prompt")
    with pytest.raises(UserError, match="column 'label' does not hold pictures"):
        HuggingFaceSource(path, image_column="label")[0].load()
    with pytest.raises(UserError, match="'label' is not text but int"):
        HuggingFaceSource(path, prompt_column="label")[0].load()
    (shard,) = Path(path).glob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:40])
    with pytest.raises(UserError, match="datasets cannot read it"):
        HuggingFaceSource(path)
