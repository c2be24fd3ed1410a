import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aaa.data.imagefolder import ImageFolderSource
from aaa.errors import UserError

MakeFolder = Callable[..., Path]


def prompts(source: ImageFolderSource) -> list[str]:
    return [source[index].prompt for index in range(len(source))]


@pytest.mark.parametrize("table", ["metadata.csv", "metadata_merged.csv"])
def test_csv_tables_are_read(picture_folder: MakeFolder, table: str) -> None:
    source = ImageFolderSource(str(picture_folder(3, table)))
    assert prompts(source) == ["green, number 0", "green, number 1", "green, number 2"]
    assert source[0].key == "000.png"
    assert source[0].load().size == (24, 20)


def test_jsonl_with_columns_of_other_names_is_read(picture_folder: MakeFolder) -> None:
    root = picture_folder(2, table="none")
    rows = [{"file_name": "000.png", "text": "één"}, {"file_name": "001.png", "text": ""}]
    (root / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    source = ImageFolderSource(str(root), image_column="file_name", prompt_column="text")
    assert prompts(source) == ["één", ""]


def test_text_files_beside_pictures_are_read(picture_folder: MakeFolder) -> None:
    root = picture_folder(3, table="none")
    (root / "images" / "001.txt").write_text(" a blue bird \n")
    source = ImageFolderSource(str(root))
    assert [(source[0].key, source[0].prompt)] == [("001.png", "a blue bird")]
    assert len(source) == 1


FINE = {"metadata.csv": b"image,prompt\n000.png,fine\n", "metadata.jsonl": b'{"image": "000.png", "prompt": "fine"}\n'}


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        (
            "metadata.csv",
            b"image,words\na.png,hello\n",
            "metadata.csv: no column 'prompt' (nor text, caption, captions, prompts, texts, description, sentences); "
            "there is: image, words. Set data.prompt_column",
        ),
        ("metadata.csv", b"", "no records"),
        ("metadata.csv", b"image,prompt\n", "no records"),
        ("metadata.csv", b"image,prompt\na.png,\xff\xfe\n", "not a CSV file in UTF-8"),
        ("metadata.jsonl", FINE["metadata.jsonl"] + b"{", "metadata.jsonl:2: not JSON"),
        ("metadata.jsonl", FINE["metadata.jsonl"] + b"[1]", "metadata.jsonl:2: not a JSON object"),
        ("metadata.jsonl", FINE["metadata.jsonl"] + b"[" * 100_000, "metadata.jsonl:2: not JSON"),
        ("metadata.json", b'{"image": "x"}', "not a JSON list of objects"),
        ("metadata.json", b"[1]", "metadata.json[0]: not a JSON object"),
        ("metadata.json", b"\xff", "not JSON"),
        ("metadata.parquet", b"PAR1 and then nothing", "not a whole Parquet file"),
        ("metadata.parquet", b"", "not a whole Parquet file"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    picture_folder: MakeFolder, table: str, content: bytes, message: str
) -> None:
    root = picture_folder(1, table="none")
    (root / table).write_bytes(content)
    with pytest.raises(UserError) as error:
        ImageFolderSource(str(root))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("metadata.jsonl", b'{"image": "000.png"}', ":2: no column 'prompt' in this row"),
        ("metadata.jsonl", b'{"image": 3, "prompt": "x"}', ":2: column 'image' is empty or not text"),
        ("metadata.jsonl", b'{"image": [], "prompt": "x"}', ":2: column 'image' is empty or not text"),
        ("metadata.jsonl", b'{"image": "000.png", "prompt": [3]}', ":2: column 'prompt' is not text but int in a list"),
        ("metadata.csv", b",hello", ":3: column 'image' is empty"),
        ("metadata.csv", b"000.png", ":3: 1 of 2 fields; the row is cut short"),
        ("metadata.csv", b"000.png,gray, light blue", ":3: more fields than columns; a caption with a comma in it"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_when_it_is_read(
    picture_folder: MakeFolder, table: str, row: bytes, message: str
) -> None:
    root = picture_folder(1, table="none")
    (root / table).write_bytes(FINE[table] + row + b"\n")
    source = ImageFolderSource(str(root))
    assert len(source) == 2
    assert source[0].load().size == (24, 20)
    with pytest.raises(UserError) as error:
        source[1].load()
    assert table + message in str(error.value)


ROWS = [{"image": "000.png", "prompt": "één"}, {"image": "nested/deep/001.png", "prompt": "two, with a comma"}]


def write_rows(table: Path) -> None:
    if table.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), table)
    elif table.suffix == ".json":
        table.write_text(json.dumps(ROWS))
    elif table.suffix == ".jsonl":
        table.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        with table.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, ["image", "prompt"])
            writer.writeheader()
            writer.writerows(ROWS)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_every_kind_of_table_gives_the_same_records(picture_folder: MakeFolder, suffix: str) -> None:
    root = picture_folder(2, table="none")
    (root / "images" / "nested" / "deep").mkdir(parents=True)
    (root / "images" / "001.png").rename(root / "images" / "nested" / "deep" / "001.png")
    write_rows(root / f"metadata{suffix}")
    source = ImageFolderSource(str(root))
    assert [(source[i].key, source[i].prompt) for i in range(2)] == [(row["image"], row["prompt"]) for row in ROWS]
    assert all(source[i].load().size == (24, 20) for i in range(2))


def test_a_row_may_name_several_pictures(picture_folder: MakeFolder) -> None:
    root = picture_folder(3, table="none")
    rows = [{"image": ["000.png", "002.png"], "prompt": "both"}, {"image": "001.png", "prompt": "one"}]
    (root / "metadata.json").write_text(json.dumps(rows))
    source = ImageFolderSource(str(root))
    assert [(source[i].key, source[i].prompt) for i in range(len(source))] == [
        ("000.png", "both"),
        ("002.png", "both"),
        ("001.png", "one"),
    ]


def test_prompts_are_drawn_from_several_columns(picture_folder: MakeFolder) -> None:
    root = picture_folder(3, table="none")
    rows = [
        {"image": "000.png", "short": "a", "long": "a long one"},
        {"image": "001.png", "short": "", "long": "only a long one"},
        {"image": "002.png", "short": "same", "long": "same"},
    ]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = ImageFolderSource(str(root), prompt_column={"short": 3, "long": 1})
    assert source[0].prompt == "a"
    assert source[0].prompts == {"a": 3.0, "a long one": 1.0}
    assert (source[1].prompt, source[1].prompts) == ("only a long one", None)
    assert (source[2].prompt, source[2].prompts) == ("same", None)
    assert ImageFolderSource(str(root), prompt_column=["long", "short"])[0].prompts == {"a long one": 1.0, "a": 1.0}
    with pytest.raises(UserError, match="no column 'medium' or 'tiny'; there is: image, short, long"):
        ImageFolderSource(str(root), prompt_column=["medium", "tiny"])
    with pytest.raises(UserError, match="no column 'lnog'; there is: image, short, long"):
        ImageFolderSource(str(root), prompt_column={"short": 3, "lnog": 1})
    wrong: list[Any] = [{"short": 0}, {"short": "much"}, []]
    for columns in wrong:
        with pytest.raises(UserError, match=r"data\.prompt_column=.*weights above 0"):
            ImageFolderSource(str(root), prompt_column=columns)


def test_a_missing_folder_and_a_strange_color_are_named(tmp_path: Path, picture_folder: MakeFolder) -> None:
    with pytest.raises(UserError, match=r"^data\.root= is empty .*data\.root=PATH"):
        ImageFolderSource("")
    with pytest.raises(UserError, match="there is no such folder"):
        ImageFolderSource(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"data\.background_color=whitish"):
        ImageFolderSource(str(picture_folder(1)), background_color="whitish")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", "metadata.csv:2: image 'gone.png' does not exist (looked in"),
        ("../secret.png", "metadata.csv:2: image '../secret.png' points outside"),
        ("/etc/passwd", "points outside"),
        ("x" * 5000, "metadata.csv:2: image"),
        ("/home/me/0/000.png", "image has a name that begins with '/home/me/0/', outside"),
        (r"C:\me\000.png", "image has a name that begins with 'C:/me/', outside"),
        (r"C:\me\001.png", r"image 'C:\\me\\001.png' points outside"),
        ("../000.png", "image '../000.png' points outside {root}; there is 'images/000.png'"),
    ],
)
def test_pictures_that_may_not_be_read_are_named(picture_folder: MakeFolder, name: str, message: str) -> None:
    root = picture_folder(1, table="none")
    (root.parent / "secret.png").write_bytes((root / "images" / "000.png").read_bytes())
    (root / "metadata.csv").write_text(f"image,prompt\n{name},hello\n")
    with pytest.raises(UserError) as error:
        ImageFolderSource(str(root))[0].load()
    assert message.format(root=root) in str(error.value)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")), min_size=1, max_size=5)
)
def test_any_prompt_survives_a_csv_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    root = tmp_path_factory.mktemp("csv")
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["image", "prompt"])
        writer.writerows(("a.png", text) for text in texts)
    assert prompts(ImageFolderSource(str(root))) == [text.strip() for text in texts]  # as those of .txt files are
