"""Which files of a data folder become records, in every layout that people's tools write."""

import json
import logging
import re
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aaa.data.endings import picture_suffixes
from aaa.data.imagefolder import ImageFolderSource
from aaa.errors import UserError
from tests.helpers.documented import ROOT


def lay(root: Path, *names: str) -> Path:
    """Files by name: `a.png` a picture, `a.txt=words` a text, `a.png->../b.png` a link."""
    for entry in names:
        link, arrow, target = entry.partition("->")
        name, _, text = entry.partition("=")
        path = root / (link if arrow else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            path.symlink_to(target)
        elif text:
            path.write_text(text.replace("|", "\n"), encoding="utf-8", errors="surrogateescape")
        else:
            Image.new("RGB", (4, 4), "red").save(path, "PNG")
    return root


def records(root: Path, **arguments: str) -> dict[str, str]:
    source = ImageFolderSource(str(root), **arguments)
    found = [source[index] for index in range(len(source))]
    assert len({record.key for record in found}) == len(found)
    assert all(record.load().size == (4, 4) for record in found)
    return {record.key: record.prompt for record in found}


Form = Literal["NFC", "NFD"]
JUNK = (".git", "__MACOSX", ".ipynb_checkpoints", "@eaDir", ".cache/huggingface")
TABLE = "metadata.csv=image,prompt|"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["a.PNG", "a.TXT=x"], {"a.PNG": "x"}, id="capitals"),
        pytest.param(["a.jfif", "a.txt=x", "b.apng", "b.caption=y"], {"a.jfif": "x", "b.apng": "y"}, id="endings"),
        pytest.param(["a.png", "a.png.txt=x"], {"a.png": "x"}, id="text after the whole name"),
        pytest.param(["a.png", "a.txt=x", "a.png.txt=y", "a.caption=z"], {"a.png": "x"}, id="the first caption"),
        pytest.param(["a.png", "a.jpg", "a.txt=x"], {"a.jpg": "x", "a.png": "x"}, id="two pictures of a name"),
        pytest.param(["a.b.c.png", "a.b.c.txt=x", "a.b.png"], {"a.b.c.png": "x"}, id="names with dots"),
        pytest.param(
            ["top.png", "top.txt=t", "images/a.png", "images/a.txt=i", "photos/b.png", "photos/b.txt=p"],
            {"a.png": "i", "photos/b.png": "p", "top.png": "t"},
            id="beside images",
        ),
        pytest.param(
            ["a.png", "a.txt=t", "images/a.png", "images/a.txt=i"],
            {"a.png": "i", "./a.png": "t"},
            id="beside, same name",
        ),
        pytest.param(
            [
                *(f"{folder}/d{end}" for folder in JUNK for end in (".png", ".txt=x")),
                *("._b.png", "._b.txt=x", "Thumbs.db=x", ".DS_Store=x", "d.png", "d.txt=d"),
            ],
            {"d.png": "d"},
            id="hidden",
        ),
        pytest.param(["images/0.png", TABLE + "0.png,a"], {"0.png": "a"}, id="in images, named without it"),
        pytest.param(["images/0.png", TABLE + "images/0.png,a"], {"images/0.png": "a"}, id="relative to the table"),
        pytest.param(["images/0.png", "0.png", TABLE + "0.png,a"], {"0.png": "a"}, id="in both"),
        pytest.param(["0.png", TABLE + "./0.png,a"], {"./0.png": "a"}, id="./"),
        pytest.param(["x/0.png", TABLE + "x\\0.png,a"], {"x\\0.png": "a"}, id="backslash"),
        pytest.param(["x\\0.png", TABLE + "x/0.png,a"], {"x/0.png": "a"}, id="backslash in the file's name"),
        pytest.param(["x\\0.png", TABLE + "x\\0.png,a"], {"x\\0.png": "a"}, id="backslash in both"),
        pytest.param(["x/0.png", TABLE + "x/../x//0.png,a"], {"x/../x//0.png": "a"}, id="roundabout"),
        pytest.param(["a b.png", TABLE + "a%20b.png,a"], {"a%20b.png": "a"}, id="a URL's escapes"),
        pytest.param(["0.png", TABLE + " 0.png ,a"], {" 0.png ": "a"}, id="blanks"),
        pytest.param(["0.png", TABLE + "0,a"], {"0": "a"}, id="without ending"),
        pytest.param(
            ["images/0.png", "images/metadata.csv=image,prompt|images/0.png,a"],
            {"images/images/0.png": "a"},
            id="of the root",
        ),
        pytest.param([".hidden/0.png", TABLE + ".hidden/0.png,a"], {".hidden/0.png": "a"}, id="hidden, but named"),
        pytest.param(["0.png", "METADATA.CSV=image,prompt|0.png,a"], {"0.png": "a"}, id="table in capitals"),
        pytest.param(
            [
                "train/0.png",
                'train/metadata.jsonl={"file_name": "0.png", "text": "a"}',
                "test/1.png",
                'test/metadata.jsonl={"file_name": "1.png", "text": "b"}',
            ],
            {"test/1.png": "b", "train/0.png": "a"},
            id="Hugging Face, a table in each folder",
        ),
        pytest.param(
            ["0.png", 'metadata.jsonl={"file_name": "0.png", "text": "a"}'],
            {"0.png": "a"},
            id="Hugging Face, JSON lines",
        ),
        pytest.param(["0.png", "metadata.csv=file_name,text|0.png,a"], {"0.png": "a"}, id="Hugging Face, CSV"),
        pytest.param(
            ["x/images/0.png", "x/metadata.csv=image,prompt|0.png,a", "y/1.png", "y/1.txt=b"],
            {"x/0.png": "a", "y/1.png": "b"},
            id="a table for one folder, texts in another",
        ),
        pytest.param(
            ["x/metadata.csv=image,prompt|../images/0.png,a", "images/0.png"],
            {"x/../images/0.png": "a"},
            id="up, within",
        ),
    ],
)
def test_layouts_that_are_read(tmp_path: Path, names: list[str], expected: dict[str, str]) -> None:
    assert records(lay(tmp_path, *names)) == expected


@pytest.mark.parametrize(("form", "other_form"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("kind", ["table", "text"])
def test_names_are_found_in_either_unicode_form(tmp_path: Path, form: Form, other_form: Form, kind: str) -> None:
    name = unicodedata.normalize(form, "Ållén ガ")
    other = unicodedata.normalize(other_form, name)
    lay(tmp_path, f"{name}.png", TABLE + f"{other}.png,a" if kind == "table" else f"{other}.txt=a")
    assert list(records(tmp_path).values()) == ["a"]


def test_every_ending_that_pillow_opens_is_a_picture(tmp_path: Path) -> None:
    assert {".jfif", ".avif", ".jp2", ".apng", ".ppm", ".tga", ".ico", ".webp", ".mpo", ".qoi"} <= picture_suffixes()
    assert not {".pdf", ".eps", ".mpg", ".h5", ".wmf", ".txt"} & picture_suffixes()
    for kind, suffix in {
        "JPEG": "jfif",
        "AVIF": "avif",
        "JPEG2000": "jp2",
        "TGA": "tga",
        "PPM": "ppm",
        "ICO": "ICO",
    }.items():
        Image.new("RGB", (32, 32), "red").save(tmp_path / f"{kind}.{suffix}", kind)
        (tmp_path / f"{kind}.txt").write_text(kind)
    source = ImageFolderSource(str(tmp_path))
    assert sorted(source[i].prompt for i in range(len(source))) == ["AVIF", "ICO", "JPEG", "JPEG2000", "PPM", "TGA"]
    for index in range(len(source)):
        red, green, blue = source[index].load().getpixel((5, 5))  # type: ignore[misc]
        assert red > 240 > 20 > max(green, blue)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["store/h0", "d/0.png->../store/h0", f"d/{TABLE}0.png,a"], {"0.png": "a"}, id="files"),
        pytest.param(["store/0.png", "store/0.txt=a", "d/more->../store"], {"more/0.png": "a"}, id="folders"),
        pytest.param(["store/0.png", "d/images->../store", f"d/{TABLE}0.png,a"], {"0.png": "a"}, id="images"),
        pytest.param(["store/0.png", "store/0.txt=a", "d->store"], {"0.png": "a"}, id="the root"),
        pytest.param(["d/0.png", "d/0.txt=a", "d/x/up->..", "d/self->."], {"0.png": "a"}, id="circles"),
        pytest.param(["s/t", "d/0.png", "d/0.txt->../s/t", "s/t=a"], {"0.png": "a"}, id="captions"),
    ],
)
def test_links_are_followed(tmp_path: Path, names: list[str], expected: dict[str, str]) -> None:
    lay(tmp_path, *names)
    assert records(tmp_path / "d") == expected


def test_the_cache_of_the_hub_is_read(tmp_path: Path) -> None:
    root = lay(tmp_path / "datasets--a--b", "blobs/h0", "snapshots/abc/0.png->../../blobs/h0", "refs/main=abc")
    lay(root, "snapshots/old/0.png->../../blobs/gone", "snapshots/abc/metadata.csv=file_name,text|0.png,a")
    assert records(root) == {"0.png": "a"}
    (root / "refs/main").unlink()
    with pytest.raises(UserError, match=r"give one of its snapshots \(abc, old\)"):
        ImageFolderSource(str(root))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png->.git/annex/objects/x", "0.txt=a"], "0.txt: image '0.png' is a link to .* not there; git annex get"),
        (["0.png->gone", TABLE + "0.png,a"], r"metadata.csv:2: image '0.png' is a link to 'gone', which is not there"),
        (["0.png=version https://git-lfs.github.com/spec/v1|oid", "0.txt=a"], "'0.png' is a Git LFS pointer"),
        (["0.png", "0.txt=version https://git-lfs.github.com/spec/v1|oid"], "0.txt: is a Git LFS pointer"),
        (["0.png", "0.txt=a\0b\0"], "0.txt: not UTF-8 .*holds NULs"),
        (["0.png", "0.txt=a|caf\udce9"], r"0.txt: not UTF-8 \(byte 0xe9 in line 2\); save it as UTF-8"),
        (["A.JPG", TABLE + "a.jpg,a"], "image 'a.jpg' does not exist .*; there is 'A.JPG'"),
        (["0.png", TABLE + "0.jpg,a"], "image '0.jpg' does not exist .*; there is '0.png'"),
        (["x/0.png", TABLE + "0.png,a"], "image '0.png' does not exist .*; there is 'x/0.png'"),
        (["0.png", "0.jpg", TABLE + "0,a"], "image '0' may be any of 0.jpg, 0.png"),
        (["0.png", TABLE + "../../etc/passwd,a"], "image '../../etc/passwd' points outside"),
        (["0.png", TABLE + "x/../../secret.png,a"], "points outside"),
        (["0.png", TABLE + "..\\secret.png,a"], r"image '..\\\\secret.png' does not exist|points outside"),
        (["0.png", TABLE + "C:\\data\\secret.png,a"], "does not exist|points outside"),
        (["0.png", TABLE + "/etc/passwd,a"], "image '/etc/passwd' points outside"),
        (["0.png", TABLE + "%2e%2e/%2e%2e/etc/passwd,a"], "does not exist"),
    ],
)
def test_pictures_that_cannot_be_read_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    lay(tmp_path, "secret.png")
    source = ImageFolderSource(str(lay(tmp_path / "d", *names)))
    with pytest.raises(UserError, match=message):
        source[0].load()


def test_absolute_names_within_the_folder_are_read(tmp_path: Path) -> None:
    lay(tmp_path, "0.png", TABLE + f"{tmp_path}/0.png,a")
    assert list(records(tmp_path).values()) == ["a"]


SPLITS = [
    (["train", "test"], {"test"}),
    (["Training", "Validation"], {"Validation"}),
    (["train", "val", "dev", "eval"], {"val", "dev", "eval"}),
    (["data/train", "data/test"], {"data/test"}),
    (["images/train2017", "images/val2017"], {"images/val2017"}),
    (["cats/train", "cats/test", "dogs/train", "dogs/test"], {"cats/test", "dogs/test"}),
    (["train", "holdout"], {"holdout"}),
    (["train_images", "val_images"], {"val_images"}),
    (["my-train", "my-test"], {"my-test"}),
    (["train", "extra", "test"], {"test"}),
]


@pytest.mark.parametrize(("folders", "held_out"), SPLITS)
def test_folders_called_as_splits_are_held_out(tmp_path: Path, folders: list[str], held_out: set[str]) -> None:
    lay(tmp_path, *(f"{folder}/0{end}" for folder in folders for end in (".png", ".txt=a")))
    source = ImageFolderSource(str(tmp_path))
    for record in (source[i] for i in range(len(source))):
        assert record.path is not None
        inside = str(record.path.parent.relative_to(tmp_path)) in held_out
        assert record.split == ("validation" if inside else "train"), record.key


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        pytest.param(["train/a.png", "test_images/b.png"], {"b.png"}, id="images"),
        pytest.param(["train_data/a.png", "val/b.png"], {"b.png"}, id="data"),
        pytest.param(["1-train/a.png", "2-val/b.png"], {"b.png"}, id="numbered"),
        pytest.param(["trainA/a.png", "testA/b.png", "trainB/c.png", "testB/d.png"], {"b.png", "d.png"}, id="A and B"),
        pytest.param(["train\\a.png", "val\\b.png"], {"val\\b.png"}, id="backslashes in names"),
        pytest.param(["train_1.png", "train_2.png", "test_1.png"], {"test_1.png"}, id="names of pictures"),
        pytest.param(["train_1.png", "test_1.png", "car.png"], set(), id="names of some pictures"),
        pytest.param(["train/a.png", "test tubes/b.png"], set(), id="other words"),
    ],
)
def test_splits_of_other_forms_are_held_out(tmp_path: Path, names: list[str], held_out: set[str]) -> None:
    lay(tmp_path, *names, *(f"{name.removesuffix('.png')}.txt=a" for name in names))
    source = ImageFolderSource(str(tmp_path))
    found = [source[i] for i in range(len(source))]
    assert {record.key.rpartition("/")[2] for record in found if record.split == "validation"} == held_out
    assert not held_out or None not in {record.split for record in found}


def test_the_folder_of_a_table_divides_pictures_that_lie_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = [f"{part}/metadata.csv=image,prompt|../images/{name},a" for part, name in (("train", "a"), ("test", "b"))]
    source = ImageFolderSource(str(lay(tmp_path, "images/a.png", "images/b.png", *tables)))
    assert {source[i].key: source[i].split for i in range(2)} == {
        "test/../images/b": "validation",
        "train/../images/a": "train",
    }
    assert "Left out" not in caplog.text


@pytest.mark.parametrize(
    ("column", "values", "expected", "told"),
    [
        ("subset", ["train", "test"], ["train", "validation"], ""),
        ("Split", ["train", ""], [None, None], ""),
        ("kind", ["train", "car"], [None, None], ""),
        ("split", ["0", "1"], [None, None], "the values of the column split (0, 1) do not say what is held out"),
    ],
)
def test_a_column_of_split_names_divides_whatever_it_is_called(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    column: str,
    values: list[str],
    expected: list[str | None],
    told: str,
) -> None:
    rows = "|".join(f"{number}.png,a,{value}" for number, value in enumerate(values))
    source = ImageFolderSource(str(lay(tmp_path, "0.png", "1.png", f"metadata.csv=image,prompt,{column}|{rows}")))
    assert [source[i].split for i in range(2)] == expected
    assert told in caplog.text if told else not caplog.text


@pytest.mark.parametrize(
    "folders", [["train"], ["train", "car"], ["test"], ["dev boards", "train sets"], ["testing", "x"]]
)
def test_other_folders_are_no_splits(tmp_path: Path, folders: list[str]) -> None:
    lay(tmp_path, *(f"{folder}/0{end}" for folder in folders for end in (".png", ".txt=a")))
    source = ImageFolderSource(str(tmp_path))
    assert {source[i].split for i in range(len(source))} == {None}


def test_a_folder_that_is_not_held_out_though_its_name_says_so_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ImageFolderSource(str(lay(tmp_path, "val/0.png", "val/0.txt=a", "photos/0.png", "photos/0.txt=a")))
    assert "val: folders of this name are held out only beside one called train" in caplog.text


def test_one_table_divides_its_pictures_by_folder_or_by_a_column(tmp_path: Path) -> None:
    lay(tmp_path / "a", "train/0.png", "test/1.png", TABLE + "train/0.png,a|test/1.png,b")
    lay(
        tmp_path / "b",
        "0.png",
        "1.png",
        "2.png",
        "metadata.csv=image,prompt,split|0.png,a,train|1.png,b,val|2.png,c,restval",
    )
    for folder, expected in (("a", ["train", "validation"]), ("b", ["train", "validation", "train"])):
        source = ImageFolderSource(str(tmp_path / folder))
        assert [source[i].split for i in range(len(source))] == expected


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["0.mp4=x"], "endings that are not read: 1 (0.mp4)"),
        (["0.HEIC=x"], "pictures to be converted to JPEG or PNG first: 1 (0.HEIC)"),
        (["0.zip=x", "0.tar.gz=x"], "packed files, to be unpacked first: 2 (0.tar.gz, 0.zip)"),
        (["metadata.xlsx=x"], "spreadsheets, to be saved as metadata.csv: 1 (metadata.xlsx)"),
        (["more->../gone"], "links to what is not there: 1 (more)"),
        (["0.svg=x", "1.svg=x", "2.svg=x", "3.svg=x"], "endings that are not read: 4 (0.svg, 1.svg, 2.svg, ...)"),
        (["noend=x"], "endings that are not read: 1 (noend)"),
        (["0.png"], "pictures without a caption: 1 (0.png)"),
        (["0.txt=x"], "captions without a picture: 1 (0.txt)"),
        (["good.caption=x"], "captions of a picture that has another one, which is read: 1 (good.caption)"),
        ([".x.png"], "hidden, or left by a system: 1 (.x.png)"),
        (["captions.csv=image,prompt|0.png,a"], "tables of another name than metadata: 1 (captions.csv)"),
        (["x->."], "links to folders that are read already: 1 (x)"),
        (["README.md=x"], "documents: 1 (README.md)"),
    ],
)
def test_what_is_left_out_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], told: str
) -> None:
    caplog.set_level(logging.INFO)
    assert records(lay(tmp_path, "good.png", "good.txt=g", *names)) == {"good.png": "g"}
    (message,) = [record for record in caplog.records if record.name == "aaa.data.left_out"]
    assert told in message.getMessage()
    nothing = told.startswith(("hidden", "documents"))
    assert message.levelno == (logging.INFO if nothing else logging.WARNING)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["0.png"], "pictures that no row of metadata.csv names: 1 (0.png)"),
        (["0.png", "0.txt=a"], "captions beside pictures, where metadata.csv is read instead: 1 (0.txt)"),
        (["images/x.png", "good.png"], "pictures that no row of metadata.csv names: 1 (images/x.png)"),
        (["images/good.png"], "pictures of the same name as one in images/, which is read: 1 (good.png)"),
        (["metadata.jsonl={}"], "tables beside or below metadata.csv, which is read: 1 (metadata.jsonl)"),
        (["x/metadata.csv=image"], "tables beside or below metadata.csv, which is read: 1 (x/metadata.csv)"),
    ],
)
def test_what_a_table_leaves_out_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], told: str
) -> None:
    assert records(lay(tmp_path, "good.png", TABLE + "good.png,g", *names)) == {"good.png": "g"}
    assert told in caplog.text


def test_columns_for_text_files_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, "0.png", "0.txt=a")
    with pytest.raises(UserError, match=r"data\.prompt_column=caption: there is no table"):
        ImageFolderSource(str(tmp_path), prompt_column="caption")
    with pytest.raises(UserError, match=r"data\.image_column=file_name: there is no table"):
        ImageFolderSource(str(tmp_path), image_column="file_name")
    assert records(tmp_path, image_column="image", prompt_column="prompt") == {"0.png": "a"}  # as earlier configs say


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["a/0.png", "b/1.png"],
            r"no records.* docs/data\.md shows .* There is: pictures without a caption: 2 \(a/0.png, b/1.png\)",
        ),
        (["0.tar=x"], "no records. Such files are read by data=webdataset data.path="),
        (["0.parquet=x"], "no records. Such files are read by data=huggingface data.path="),
        (["captions.csv=x", "0.png"], r"tables of another name than metadata: 1 \(captions.csv\)"),
    ],
)
def test_a_folder_without_records_says_what_there_is(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageFolderSource(str(lay(tmp_path, *names)))


def test_the_documented_table_of_classes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "data.md").read_text(), re.M | re.S)
    lay(tmp_path / "pictures", "train/cat/0.png", "train/big dog/0.PNG", "val/cat/1.png", "val/cat/notes.md=x")
    monkeypatch.chdir(tmp_path)
    exec(script, {})
    source = ImageFolderSource("pictures")
    assert {source[i].key: (source[i].prompt, source[i].split) for i in range(len(source))} == {
        "train/big dog/0.PNG": ("a photo of a big dog", "train"),
        "train/cat/0.png": ("a photo of a cat", "train"),
        "val/cat/1.png": ("a photo of a cat", "validation"),
    }


NAMES = st.sampled_from(["a", "b", "a.b", ".c", "images", "train", "é", "x y"])
ENDINGS = st.sampled_from([".png", ".PNG", ".jfif", ".txt", ".TXT", ".caption", ".png.txt", ".heic", "", ".csv", ".md"])
FILES = st.lists(st.tuples(st.lists(NAMES, max_size=2), NAMES, ENDINGS), min_size=1, max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(files=FILES, table=st.booleans())
def test_every_file_is_a_record_or_is_counted(
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    files: list[tuple[list[str], str, str]],
    table: bool,
) -> None:
    caplog.set_level(logging.INFO)
    root = lay(tmp_path_factory.mktemp("folder"), "good.png", "good.txt=g")
    if table:
        lay(root, TABLE + "good.png,g")
    for folders, name, ending in files:
        path = root.joinpath(*folders, f"{name}{ending}")
        if any(above.is_file() for above in path.parents) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    caplog.clear()
    source = ImageFolderSource(str(root))
    read = {file.relative_to(root) for i in range(len(source)) if (file := source[i].path)}
    captions = {"good.txt"} if not table else {"metadata.csv"}
    told = next((r.getMessage() for r in caplog.records if r.name == "aaa.data.left_out"), "")
    counted = sum(int(part.rsplit(": ", 1)[1].split(" ")[0]) for part in told.partition(": ")[2].split("; ") if part)
    lie: set[str] = set()
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = next((n for n, part in enumerate(parts) if part.startswith(".")), None)
        if hidden is not None:
            lie.add("/".join(parts[: hidden + 1]))  # a hidden folder counts once
        elif path.is_file():
            lie.add("/".join(parts))
    captions |= {text for text in lie if not table and is_read_caption(text, read, lie)}
    assert counted == len(lie - {path.as_posix() for path in read} - captions), (told, sorted(lie), read)


def is_read_caption(text: str, read: set[Path], lie: set[str]) -> bool:
    """Whether this is the first caption of a picture that is a record."""
    for picture in (path.as_posix() for path in read):
        stem = picture.rpartition(".")[0]
        order = [stem + ".txt", stem + ".TXT", stem + ".caption", picture + ".txt"]
        if next((one for one in order if one in lie), None) == text:
            return True
    return False


def test_records_of_json_tables_by_name(tmp_path: Path) -> None:
    lay(tmp_path, "0.png", "1.png", "metadata.json=" + json.dumps({"0.png": {"caption": "a"}, "1": {"caption": "b"}}))
    assert records(tmp_path) == {"0.png": "a", "1": "b"}
