from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aaa.data.file_digests import FileDigests
from aaa.data.fingerprint import records_fingerprint
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
@pytest.mark.parametrize(("name", "match"), [("qu?stion", "quAstion"), ("st*r", "stair"), ("set [v2]", "set v")])
def test_a_folder_is_no_pattern(tmp_path: Path, layout: str, name: str, match: str) -> None:
    for folder, count in ((name, 1), (match, 2)):
        if layout == "parquet":
            (tmp_path / folder).mkdir()
            dataset(count).to_parquet(tmp_path / folder / "a[1].parquet")
        else:
            dataset(count).save_to_disk(tmp_path / folder)
    assert len(HuggingFaceSource(str(tmp_path / name))) == 1


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


def test_one_parquet_file_is_a_data_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset(2).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    dataset(1).to_parquet(tmp_path / "test-00000-of-00001.parquet")
    with caplog.at_level("INFO"):
        source = HuggingFaceSource(str(tmp_path / "train-00000-of-00001.parquet"))
    assert [source[i].key for i in range(len(source))] == ["train[0]", "train[1]"]
    assert source.files == [tmp_path / "train-00000-of-00001.parquet"]
    assert "datasets copies Parquet files into" in caplog.text


def test_classes_are_read_by_their_names(tmp_path: Path) -> None:
    from datasets import ClassLabel

    rows = dataset(3).remove_columns("label").add_column("label", [0, 1, -1])
    rows.cast_column("label", ClassLabel(names=["cat", "dog"])).save_to_disk(tmp_path)
    source = HuggingFaceSource(str(tmp_path), prompt_column="label")
    assert [source[i].prompt for i in range(3)] == ["cat", "dog", ""]
    assert HuggingFaceSource(str(tmp_path), prompt_column=["label", "text"])[1].prompts == {
        "dog": 1.0,
        "a blue thing": 1.0,
    }


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("a.png", r"no data set there .* Such files are read by data=imagefolder data\.root=\S+$"),
        ("0.tar", r"no data set there .* Such files are read by data=webdataset data\.path=\S+$"),
        ("x/metadata.csv", r"no data set there .* writes one\.$"),
    ],
)
def test_another_kind_of_data_is_named(tmp_path: Path, file: str, message: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        HuggingFaceSource(str(tmp_path))
    with pytest.raises(UserError, match=r"is a file; give the folder of a data set, or a Parquet file"):
        HuggingFaceSource(str(tmp_path / file))


def test_a_table_beside_pictures_is_another_kind_of_data(tmp_path: Path) -> None:
    rows = dataset(1).remove_columns("image").add_column("file_name", ["0.png"])
    rows.to_parquet(tmp_path / "metadata.parquet")
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(UserError, match=r"no column of pictures; .* read by data=imagefolder data\.root="):
        HuggingFaceSource(str(tmp_path))


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set there"):
        HuggingFaceSource(str(tmp_path))
    with pytest.raises(UserError, match=r"there is no such folder \(looked in "):
        HuggingFaceSource(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"^data\.path= is empty"):
        HuggingFaceSource("")
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


def split_of(source: HuggingFaceSource) -> dict[str, str | None]:
    return {source[i].key: source[i].split for i in range(len(source))}


@pytest.mark.parametrize(
    ("files", "held_out"),
    [
        (["train-00000-of-00001", "val-00000-of-00001"], "val"),
        (["data/train-00000-of-00001", "data/dev-00000-of-00001"], "dev"),
        (["train/0000", "eval/0000"], "eval"),
        (["training", "testing"], "testing"),
        (["my_train_set", "my evaluation set"], "evaluation"),
        (["TRAIN", "Valid"], "valid"),
    ],
)
def test_parquet_files_called_as_splits_are_held_out(tmp_path: Path, files: list[str], held_out: str) -> None:
    for name in files:
        (tmp_path / f"{name}.parquet").parent.mkdir(exist_ok=True)
        dataset(1).to_parquet(tmp_path / f"{name}.parquet")
    splits = split_of(HuggingFaceSource(str(tmp_path)))
    assert len(splits) == 2
    assert splits[f"{held_out}[0]"] == "validation"
    assert sorted(map(str, splits.values())) == ["train", "validation"]


@pytest.mark.parametrize("name", ["val", "dev", "eval", "valid", "validation", "testing", "test_sft", "holdout"])
def test_saved_splits_of_every_usual_name_are_held_out(tmp_path: Path, name: str) -> None:
    from datasets import DatasetDict

    DatasetDict({"train": dataset(2), name: dataset(1)}).save_to_disk(tmp_path)
    splits = split_of(HuggingFaceSource(str(tmp_path)))
    assert splits == {"train[0]": "train", "train[1]": "train", f"{name}[0]": "validation"}


def test_splits_of_other_names_are_trained_on_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from datasets import DatasetDict

    DatasetDict({"train": dataset(1), "extra": dataset(1), "test": dataset(1)}).save_to_disk(tmp_path / "a")
    splits = split_of(HuggingFaceSource(str(tmp_path / "a")))
    assert splits == {"train[0]": "train", "extra[0]": "train", "test[0]": "validation"}
    assert "splits extra have no name that says whether to train on them; they are trained on" in caplog.text
    DatasetDict({"test": dataset(2)}).save_to_disk(tmp_path / "b")
    assert set(split_of(HuggingFaceSource(str(tmp_path / "b"))).values()) == {None}
    assert "splits test, and nothing to train on beside them" in caplog.text


def test_data_sets_saved_side_by_side_are_splits(tmp_path: Path) -> None:
    dataset(1).save_to_disk(tmp_path / "train")
    dataset(1).save_to_disk(tmp_path / "val")
    assert split_of(HuggingFaceSource(str(tmp_path))) == {"train[0]": "train", "val[0]": "validation"}


def test_columns_are_found_by_type_and_by_the_usual_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = dataset(2).rename_columns({"image": "photograph", "text": "caption"})
    data.save_to_disk(tmp_path / "a")
    assert HuggingFaceSource(str(tmp_path / "a"))[1].prompt == "a blue thing"
    assert HuggingFaceSource(str(tmp_path / "a"))[1].load().size == (6, 4)
    data.add_column("text", ["b", "c"]).save_to_disk(tmp_path / "b")
    assert HuggingFaceSource(str(tmp_path / "b"))[1].prompt == "c"
    assert "the columns text, caption may all be meant by data.prompt_column; 'text' is taken" in caplog.text
    data.remove_columns("photograph").save_to_disk(tmp_path / "c")
    with pytest.raises(UserError, match=r"no column of pictures; there is: caption, label\. Set data\.image_column"):
        HuggingFaceSource(str(tmp_path / "c"))


def test_lists_of_captions_are_captions_and_lists_of_pictures_are_refused(tmp_path: Path) -> None:
    data = dataset(2)
    data.remove_columns("text").add_column("captions", [["a", "b"], []]).save_to_disk(tmp_path / "a")
    source = HuggingFaceSource(str(tmp_path / "a"))
    assert (source[0].prompts, source[1].prompt) == ({"a": 0.5, "b": 0.5}, "")
    data.map(lambda row: {"images": [row["image"]]}, remove_columns="image").save_to_disk(tmp_path / "b")
    with pytest.raises(UserError, match="column 'images' holds lists; a row must have one picture"):
        HuggingFaceSource(str(tmp_path / "b"))


def test_what_is_left_out_or_no_data_set_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset(1).save_to_disk(tmp_path)
    dataset(1).to_parquet(tmp_path / "more.parquet")
    (tmp_path / "more.csv").write_text("x")
    assert len(HuggingFaceSource(str(tmp_path))) == 1
    assert "Parquet files beside Arrow files, which are read instead: 1 (more.parquet)" in caplog.text
    assert "files of other kinds: 1 (more.csv)" in caplog.text
    for file in tmp_path.glob("*.arrow"):
        file.unlink()
    (tmp_path / "more.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"more\.parquet: is a Git LFS pointer"):
        HuggingFaceSource(str(tmp_path))


@pytest.mark.parametrize("name", ["data", "test"])
def test_a_column_divides_what_is_one_split(tmp_path: Path, name: str) -> None:
    from datasets import DatasetDict

    rows = dataset(3).add_column("split", ["train", "val", "restval"])
    DatasetDict({name: rows}).save_to_disk(tmp_path)
    splits = split_of(HuggingFaceSource(str(tmp_path)))
    assert splits == {f"{name}[0]": "train", f"{name}[1]": "validation", f"{name}[2]": "train"}


def test_splits_count_more_than_a_column(tmp_path: Path) -> None:
    from datasets import DatasetDict

    rows = dataset(2).add_column("split", ["train", "val"])
    DatasetDict(train=rows, test=dataset(1)).save_to_disk(tmp_path)
    splits = split_of(HuggingFaceSource(str(tmp_path)))
    assert splits == {"train[0]": "train", "train[1]": "train", "test[0]": "validation"}


def test_names_in_place_of_pictures_are_said(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = {"image": ["http://x/a.jpg", "b.png"], "text": ["a", "b"], "url": ["", ""]}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "a")
    source = HuggingFaceSource(str(tmp_path / "a"))
    with pytest.raises(UserError, match=r"image 'http://x/a\.jpg' does not exist .*img2dataset"):
        source[0].load()
    with pytest.raises(UserError, match=r"image 'b\.png' does not exist"):
        source[1].load()
    Dataset.from_dict({"URL": ["x"], "TEXT": ["a"]}).save_to_disk(tmp_path / "b")
    with pytest.raises(UserError, match=r"no column of pictures; .*img2dataset"):
        HuggingFaceSource(str(tmp_path / "b"))


def named(root: Path, names: list[str]) -> HuggingFaceSource:
    from datasets import Dataset

    Dataset.from_dict({"image": names, "text": ["a"] * len(names)}).save_to_disk(root)
    return HuggingFaceSource(str(root))


def test_a_named_picture_is_its_file(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "more").mkdir(parents=True)
    Image.new("RGB", (6, 4), "red").save(root / "more" / "a.png")
    source = named(root, ["more/a.png", str(root / "more" / "a.png"), "more/a", "./more/../more/a.png"])
    assert [source[index].path for index in range(4)] == [root / "more" / "a.png"] * 4
    assert source[3].load().getpixel((0, 0)) == (255, 0, 0)
    digests = FileDigests(tmp_path / "digests.jsonl")
    before = records_fingerprint(source, digests)
    Image.new("RGB", (6, 4), "blue").save(root / "more" / "a.png")
    assert records_fingerprint(source, digests) != before
    (root / "more" / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^data\[0\]: image 'more/a\.png' is not a picture that Pillow can read"):
        source[0].load()


def test_names_are_looked_up_in_the_data_set_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "data", tmp_path / "a.png"
    Image.new("RGB", (6, 4), "red").save(outside)
    monkeypatch.chdir(tmp_path)
    source = named(root, ["a.png", "../a.png", "more/../../a.png", str(outside), str(root / ".." / "a.png")])
    with pytest.raises(UserError, match=r"^data\[0\]: image 'a\.png' does not exist \(looked in .*data\)"):
        source[0].load()
    for index in range(1, 5):
        assert source[index].path is None
        with pytest.raises(UserError, match=rf"^data\[{index}\]: image '.*a\.png' points outside .*data"):
            source[index].load()


def test_rows_without_a_picture_or_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature
    from pyarrow import ArrowInvalid

    pictures = [Image.new("RGB", (6, 4)), None]
    features = Features({"image": ImageFeature(), "text": Value("string")})
    Dataset.from_dict({"image": pictures, "text": ["a", "b"]}, features=features).save_to_disk(tmp_path)
    source = HuggingFaceSource(str(tmp_path))
    for read in (source[1].load, source[1].digest):
        assert read is not None
        with pytest.raises(UserError, match=r"^data\[1\]: has no picture"):
            read()

    class Broken:
        def __getitem__(self, number: int) -> Any:
            raise ArrowInvalid("corrupted")

    source._rows = [row._replace(pictures=Broken()) for row in source._rows]
    with pytest.raises(UserError, match=r"^data\[0\]: cannot be read \(corrupted\)"):
        source[0].load()


def test_what_datasets_cannot_read_is_said_with_its_cause(tmp_path: Path) -> None:
    dataset(1).to_parquet(tmp_path / "0.parquet")
    dataset(1).rename_column("text", "caption").to_parquet(tmp_path / "1.parquet")
    with pytest.raises(UserError, match=r"datasets cannot read it \(Couldn't cast .*column names don't match\)"):
        HuggingFaceSource(str(tmp_path))
