"""What tables say of records beside pictures and prompts, and how large pictures are."""

import csv
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from PIL.ExifTags import Base

from aaa.data.column_values import column_values
from aaa.data.huggingface import HuggingFaceSource
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.picture_size import picture_size
from aaa.data.pictures import decode_picture
from aaa.data.records import Record, Source
from aaa.data.webdataset import WebDatasetSource
from aaa.errors import UserError
from tests.data.test_huggingface import COLORS, dataset
from tests.data.test_webdataset import png, shard

ROWS = [{"image": f"{i}.png", "prompt": f"number {i}", "aesthetic score": 4 + i} for i in range(3)]


def as_csv(folder: Path) -> None:
    with (folder / "metadata.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, ["image", "prompt", "aesthetic score"])
        writer.writeheader()
        writer.writerows(ROWS)


def as_jsonl(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text("\n\n".join(map(json.dumps, ROWS)))


def as_parquet(folder: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    write_table(pa.Table.from_pylist(ROWS), folder / "metadata.parquet")


def as_found(folder: Path) -> None:
    (folder / "things.json").write_text(json.dumps([*ROWS, ROWS[0] | {"prompt": "again", "aesthetic score": 9}]))


def pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        Image.new("RGB", (10 + number, 20), "red").save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("write", "places"),
    [
        (as_csv, "metadata.csv:{}"),
        (as_jsonl, "metadata.jsonl:{}"),
        (as_parquet, "metadata.parquet[{}]"),
        (as_found, "things.json[{}]"),
    ],
)
def test_those_of_tables_in_folders(tmp_path: Path, write: Callable[[Path], None], places: str) -> None:
    for name in ("one", "two/deep"):
        pictures(tmp_path / name)
        write(tmp_path / name)
        if write is as_found:
            break
    source = ImageFolderSource(str(tmp_path))
    values = column_values(source, ["aesthetic_score"])
    assert values.columns == ["image", "prompt", "aesthetic score"]
    for number in range(len(source)):
        record = source[number]
        assert float(values.row(number)["aesthetic score"]) == 4 + int(Path(record.key).stem)
        assert set(values.row(number)) == {"aesthetic score"}
        assert values.picture(number) == record.path
    first = {"metadata.csv:{}": 2, "metadata.jsonl:{}": 1}.get(places, 0)
    assert values.place(0) == f"one/{places.format(first)}"


@pytest.mark.parametrize(
    ("name", "lines", "columns"),
    [
        (
            "results.csv",
            ["image_name| comment_number| comment", '0.png| 0| A "red" one', '1.png| 0| "Hi'],
            ["file_name", "caption"],
        ),
        ("Flickr8k.token.txt", ['0.png#0\t"Hi" says one', "1.png#0\tanother"], ["file_name", "caption"]),
        ("captions.txt", ["image,caption", "0.png,a", '1.png,"b, c"'], ["image", "caption"]),
    ],
)
def test_those_of_known_data_sets_whose_tables_are_not_what_their_ending_says(
    tmp_path: Path, name: str, lines: list[str], columns: list[str]
) -> None:
    pictures(tmp_path)
    (tmp_path / name).write_text("\n".join(lines))
    values = column_values(ImageFolderSource(str(tmp_path)), ["width", "caption"])
    assert values.columns == columns
    assert set(values.row(0)) == {"caption"}


def test_those_of_a_table_that_is_named_whatever_its_ending(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "mine.txt").write_text("image,prompt,width\n" + "".join(f"{n}.png,p,{100 * n}\n" for n in range(3)))
    values = column_values(ImageFolderSource(str(tmp_path), table="mine.txt"), ["width"])
    assert [values.row(number) for number in range(3)] == [{"width": str(100 * number)} for number in range(3)]


def test_texts_beside_pictures_have_none(tmp_path: Path) -> None:
    pictures(tmp_path)
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("red")
    values = column_values(ImageFolderSource(str(tmp_path)), ["aesthetic"])
    assert (values.columns, values.row(1)) == ([], {})
    assert picture_size(values.picture(1) or b"") == (11, 20)


def test_those_of_a_data_set(tmp_path: Path) -> None:
    from datasets import ClassLabel

    data = dataset().add_column("score", [1.5, None, 3.5]).cast_column("label", ClassLabel(names=COLORS))
    data.save_to_disk(tmp_path / "data")
    values = column_values(HuggingFaceSource(str(tmp_path / "data")), ["score", "label"])
    assert values.columns == ["text", "label", "score"]  # and none of pictures
    rows = [values.row(number) for number in range(3)]
    assert rows == [{"score": s, "label": c} for s, c in zip([1.5, None, 3.5], COLORS, strict=True)]
    assert values.place(2) == "data[2]"
    assert picture_size(values.picture(2) or b"") == (6, 4)


def test_those_of_shards(tmp_path: Path) -> None:
    for number in range(2):
        files = {"a.png": png("red"), "a.json": json.dumps({"caption": "a", "score": number}).encode()}
        files |= {"b.png": png("blue"), "b.txt": b"b", "b.stars": b"5"}
        shard(tmp_path / "shards" / f"{number}.tar", files)
    source = WebDatasetSource(str(tmp_path / "shards"), prompt_column=["caption", "txt"])
    values = column_values(source, ["score", "stars"])
    assert set(values.columns) == {"caption", "score", "txt", "stars"}
    assert [values.row(number) for number in range(4)] == [{"score": 0}, {"stars": "5"}, {"score": 1}, {"stars": "5"}]
    assert values.place(3) == "1.tar: 'b'"
    assert picture_size(values.picture(3) or b"") == (6, 4)


def test_a_sample_whose_json_cannot_be_read_is_broken(tmp_path: Path) -> None:
    files = {"a.png": png("red"), "a.json": b'{"caption": "a", "score": ', "b.png": png("blue"), "b.txt": b"b"}
    shard(tmp_path / "shards" / "0.tar", files)
    values = column_values(WebDatasetSource(str(tmp_path / "shards")), ["score"])
    assert [values.is_broken(number) for number in range(2)] == [True, False]


def test_a_row_whose_picture_is_not_there_is_broken(tmp_path: Path) -> None:
    from datasets import Dataset

    pictures(tmp_path / "data")
    Dataset.from_dict({"image": ["0.png", "gone.png"], "text": ["a", "b"]}).save_to_disk(tmp_path / "data")
    values = column_values(HuggingFaceSource(str(tmp_path / "data")), ["text"])
    assert [values.is_broken(number) for number in range(2)] == [False, True]


class Own:
    """A data set of one's own."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Record:
        return Record(str(index), "a", lambda: Image.new("RGB", (7, 5)))


class OwnWithValues(Own):
    def values(self, index: int) -> dict[str, int]:
        return {"score": index}


def test_those_of_a_class_of_ones_own() -> None:
    own: Source = Own()
    values = column_values(own, ["score"])
    assert (values.columns, values.row(1), values.picture(1)) == ([], {}, None)
    values = column_values(OwnWithValues(), ["score"])
    assert (values.columns, values.row(1), values.place(1)) == (["score"], {"score": 1}, "record '1'")
    with pytest.raises(UserError, match=r"data\.source: OwnWithNumbers\.values gives a int"):
        column_values(OwnWithNumbers(), ["score"])


def test_a_method_of_that_name_that_dicts_have_is_of_something_else() -> None:
    class OfDict(dict[int, Record]):
        def __getitem__(self, index: int) -> Record:
            return Own()[index]

    assert column_values(OfDict({0: Own()[0]}), ["score"]).columns == []


class OwnWithNumbers(Own):
    def values(self, index: int) -> int:
        return index


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("orientation", [None, *range(10)])
def test_a_picture_is_as_large_as_it_is_read(kind: str, orientation: int | None) -> None:
    content = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[Base.Orientation] = orientation
    Image.new("RGB", (9, 4)).save(content, kind, **({} if kind == "GIF" else {"exif": exif}))
    assert picture_size(content.getvalue()) == decode_picture(content.getvalue(), "white").size


def test_a_png_may_say_at_its_end_how_it_is_turned() -> None:
    content = io.BytesIO()
    Image.new("RGB", (9, 4)).save(content, "PNG")
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    said = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(said) - 4) + said + struct.pack(">I", zlib.crc32(said))
    turned = content.getvalue()[:-12] + chunk + content.getvalue()[-12:]
    assert picture_size(turned) == decode_picture(turned, "white").size == (4, 9)


def test_a_large_picture_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(content, "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda _: pytest.fail("decoded"))
    assert picture_size(content.getvalue()) == (40, 30)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_read_has_no_size(tmp_path: Path, content: bytes) -> None:
    assert picture_size(content) is None
    assert picture_size(tmp_path) is None
    assert picture_size(tmp_path / "gone.png") is None
