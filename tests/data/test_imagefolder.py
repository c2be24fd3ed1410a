import json
from collections.abc import Callable
from pathlib import Path

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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "image,caption\na.png,hello\n",
            "metadata.csv: no column 'prompt'; there is: image, caption. Set data.prompt_column",
        ),
        ("", "no column 'image'; there is: none"),
        ("image,prompt\n", "no records"),
        ("image,prompt\n,hello\n", "metadata.csv:2: column 'image' is empty"),
        (b"image,prompt\na.png,\xff\xfe\n", "not a CSV file in UTF-8"),
    ],
)
def test_tables_that_cannot_be_used_are_named(picture_folder: MakeFolder, content: str | bytes, message: str) -> None:
    root = picture_folder(1, table="none")
    (root / "metadata.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        ImageFolderSource(str(root))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "metadata.jsonl:2: not JSON"),
        ("[1]", "metadata.jsonl:2: not a JSON object"),
        ('{"image": "000.png"}', "metadata.jsonl:2: no column 'prompt'"),
        ('{"image": 3, "prompt": "x"}', "metadata.jsonl:2: column 'image' is empty or not text"),
        ('{"image": "000.png", "prompt": ["x"]}', "metadata.jsonl:2: the prompt is not text but list"),
        ("[" * 100_000, "metadata.jsonl:2: not JSON"),
    ],
)
def test_lines_that_cannot_be_used_are_named(picture_folder: MakeFolder, line: str, message: str) -> None:
    root = picture_folder(1, table="none")
    (root / "metadata.jsonl").write_text('{"image": "000.png", "prompt": "fine"}\n' + line + "\n")
    with pytest.raises(UserError) as error:
        ImageFolderSource(str(root))
    assert message in str(error.value)


def test_a_missing_folder_and_a_strange_color_are_named(tmp_path: Path, picture_folder: MakeFolder) -> None:
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
        ("link.png", "points outside"),
        ("x" * 5000, "metadata.csv:2: image"),
    ],
)
def test_pictures_that_may_not_be_read_are_named(picture_folder: MakeFolder, name: str, message: str) -> None:
    root = picture_folder(1, table="none")
    (root / "secret.png").write_bytes((root / "images" / "000.png").read_bytes())
    (root / "images" / "link.png").symlink_to(root / "secret.png")
    (root / "metadata.csv").write_text(f"image,prompt\n{name},hello\n")
    with pytest.raises(UserError) as error:
        ImageFolderSource(str(root))[0].load()
    assert message in str(error.value)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")), min_size=1, max_size=5)
)
def test_any_prompt_survives_a_csv_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import csv

    root = tmp_path_factory.mktemp("csv")
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["image", "prompt"])
        writer.writerows(("a.png", text) for text in texts)
    assert prompts(ImageFolderSource(str(root))) == texts
