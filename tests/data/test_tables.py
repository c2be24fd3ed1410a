"""Tables of pictures: read whole, or refused with the place."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aaa.data.imagefolder import ImageFolderSource
from aaa.data.tables import read_table
from aaa.errors import UserError
from tests.data.test_layouts import lay


def folder(root: Path, table: str, content: str | bytes) -> Path:
    lay(root, "0.png", "1.png", "2.png")
    (root / table).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def prompts(root: Path, **arguments: Any) -> dict[str, str]:
    source = ImageFolderSource(str(root), **arguments)
    for index in range(len(source)):
        source[index].load()
    return {source[index].key: source[index].prompt for index in range(len(source))}


@pytest.mark.parametrize(
    ("table", "content", "expected"),
    [
        pytest.param(
            "csv", "image,prompt\n\n0.png,a\n\n  \n,\n1.png,b\n\n", {"0.png": "a", "1.png": "b"}, id="blank lines"
        ),
        pytest.param("csv", "\n\nimage,prompt\n0.png,a\n", {"0.png": "a"}, id="blank lines first"),
        pytest.param("csv", 'image, prompt\n0.png, a\n1.png, "b, c"\n', {"0.png": "a", "1.png": "b, c"}, id="blanks"),
        pytest.param("csv", "image;prompt\n0.png;a, b\n", {"0.png": "a, b"}, id="semicolons"),
        pytest.param("csv", "image\tprompt\n0.png\ta, b\n", {"0.png": "a, b"}, id="tabs"),
        pytest.param("tsv", "image\tprompt\n0.png\ta, b\n", {"0.png": "a, b"}, id="tsv"),
        pytest.param("csv", "image | prompt\n0.png | a, b\n", {"0.png ": "a, b"}, id="bars"),
        pytest.param("csv", "\ufeffsep=;\r\nimage;prompt\r\n0.png;a, b\r\n", {"0.png": "a, b"}, id="Excel's sep="),
        pytest.param("csv", '"sep=\t"\nimage\tprompt\n0.png\ta\n', {"0.png": "a"}, id="Excel's sep=, quoted"),
        pytest.param("csv", "image;prompt;size, px\n0.png;a, b;3\n", {"0.png": "a, b"}, id="a comma in a name"),
        pytest.param("csv", '"image";"prompt"; "x, y"\n0.png;a;3\n', {"0.png": "a"}, id="a comma in a quoted name"),
        pytest.param("tsv", "image\tprompt\ttags, all\n0.png\ta\tb\n", {"0.png": "a"}, id="tsv: a comma in a name"),
        pytest.param("tsv", "image,prompt\n0.png,a\n", {"0.png": "a"}, id="tsv with commas"),
        pytest.param("csv", "image,prompt\r0.png,a\r1.png,b\r", {"0.png": "a", "1.png": "b"}, id="CR alone"),
        pytest.param("csv", "image,prompt\r\n0.png,a\r\n", {"0.png": "a"}, id="CR LF"),
        pytest.param("csv", "\ufeffimage,prompt\n0.png,a\n", {"0.png": "a"}, id="byte order mark"),
        pytest.param("csv", "image,prompt\n0.png,é\n".encode("utf-16"), {"0.png": "é"}, id="UTF-16"),
        pytest.param("csv", "image,prompt\n0.png,é", {"0.png": "é"}, id="no last line end"),
        pytest.param(
            "csv", 'image,prompt\n0.png,"a\nb"\n1.png,c\n', {"0.png": "a\nb", "1.png": "c"}, id="two lines quoted"
        ),
        pytest.param("csv", 'image,prompt\n0.png,5" nail\n1.png,c\n', {"0.png": '5" nail', "1.png": "c"}, id="inches"),
        pytest.param("csv", 'image,prompt\n0.png,"a ""b"" c"\n', {"0.png": 'a "b" c'}, id="quotes within quotes"),
        pytest.param("csv", ",image,prompt\n0,0.png,a\n", {"0.png": "a"}, id="pandas' index"),
        pytest.param("csv", "image,prompt,,\n0.png,a,,\n", {"0.png": "a"}, id="columns without a name"),
        pytest.param(
            "csv", "image,prompt,\n0.png,a\n1.png,b,,\n", {"0.png": "a", "1.png": "b"}, id="commas at the end"
        ),
        pytest.param("csv", "Image,Caption\n0.png,a\n", {"0.png": "a"}, id="capitals"),
        pytest.param("csv", "File Name,Text\n0.png,a\n", {"0.png": "a"}, id="blanks in names"),
        pytest.param("csv", "\ufeff\ufeffimage,prompt\n0.png,a\n", {"0.png": "a"}, id="two byte order marks"),
        pytest.param("csv", "filename,description\n0.png,a\n", {"0.png": "a"}, id="other usual names"),
        pytest.param("jsonl", '\n{"image": "0.png", "prompt": "a"}\n\n', {"0.png": "a"}, id="jsonl: blank lines"),
        pytest.param("jsonl", '[{"image": "0.png",\n "prompt": "a"}]', {"0.png": "a"}, id="jsonl: a list"),
        pytest.param(
            "jsonl", '{"image": "0.png", "prompt": "a", "score": NaN}', {"0.png": "a"}, id="jsonl: NaN elsewhere"
        ),
        pytest.param("jsonl", '{"image": "0.png", "prompt": NaN}', {"0.png": ""}, id="jsonl: NaN"),
        pytest.param("jsonl", '{"image": "0.png", "prompt": [NaN, "a", null]}', {"0.png": "a"}, id="jsonl: NaN in it"),
        pytest.param("jsonl", '{"image": "0.png", "prompt": "é"}'.encode("utf-16"), {"0.png": "é"}, id="jsonl: UTF-16"),
        pytest.param(
            "json",
            '{"image": "0.png", "prompt": "a"}\n{"image": "1.png", "prompt": "b"}',
            {"0.png": "a", "1.png": "b"},
            id="json: lines",
        ),
        pytest.param(
            "json",
            '{"data": [{"image": "0.png", "prompt": "a"}], "version": 1}',
            {"0.png": "a"},
            id="json: under a key",
        ),
        pytest.param("json", '{"0.png": {"caption": "a", "tags": "x"}}', {"0.png": "a"}, id="json: kohya"),
        pytest.param("json", '{"0.png": "a", "1.png": "b"}', {"0.png": "a", "1.png": "b"}, id="json: captions by name"),
        pytest.param(
            "json", '[{"image": "0.png", "captions": ["a", "b"]}]', {"0.png": "a"}, id="json: several captions"
        ),
    ],
)
def test_tables_that_are_read(tmp_path: Path, table: str, content: str | bytes, expected: dict[str, str]) -> None:
    assert prompts(folder(tmp_path, f"metadata.{table}", content)) == expected


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        pytest.param(
            "csv", 'image,prompt\n0.png,"a\n1.png,b\n', "metadata.csv:2: a quote .* never closed", id="open quote"
        ),
        pytest.param(
            "csv", 'image,prompt\n0.png,a\n1.png,"b\n2.png,c', "metadata.csv:3: a quote .* never", id="at the end"
        ),
        pytest.param(
            "csv",
            'image,prompt\n0.png,"a\n1.png,b\n2.png,"c\n',
            "metadata.csv:2: a quote .* before the next",
            id="until the next",
        ),
        pytest.param(
            "csv",
            'image,prompt\n0.png,"a\n1.png,b"\n',
            r"metadata.csv:2: the quoted text .*'1.png,b'",
            id="a row swallowed",
        ),
        pytest.param(
            "csv",
            'image,prompt\n0.png,"a \\"b\\" c"\n',
            r'metadata.csv:2: a quote .* written twice \(""\)',
            id="backslashes",
        ),
        pytest.param(
            "csv",
            "image,prompt,prompt\n0.png,a,b\n",
            "metadata.csv:1: the column 'prompt' is there twice",
            id="column twice",
        ),
        pytest.param(
            "csv",
            "\nimage,prompt, prompt\n0.png,a,b\n",
            "metadata.csv:2: the column 'prompt' is there",
            id="twice but for blanks",
        ),
        pytest.param(
            "csv", "image,prompt\n0.png\n", "metadata.csv:2: 1 of 2 fields; the row is cut short", id="short row"
        ),
        pytest.param("csv", "image,prompt,x\n0.png,a\n", "metadata.csv:2: 2 of 3 fields", id="short of another column"),
        pytest.param("csv", "image,prompt\n0.png,a,b\n", "metadata.csv:2: more fields than columns", id="long row"),
        pytest.param(
            "csv",
            "image,prompt\n0.png,a\n".encode("utf-16-le"),
            "metadata.csv:1: not a CSV file in UTF-8",
            id="UTF-16, no mark",
        ),
        pytest.param(
            "csv",
            "image,prompt\n0.png,a\n1.png,é\n".encode("cp1252"),
            r"/metadata.csv:3: not a CSV file in UTF-8 .byte 0xe9.\. Save it as UTF-8, which Excel calls",
            id="Excel",
        ),
        pytest.param(
            "csv", "0.png,a\n1.png,b\n", "metadata.csv: no column 'image' .*; there is: 0.png, a", id="no header"
        ),
        pytest.param(
            "csv", "file_nam,text\n0.png,a\n", r"/metadata.csv: no column .*, text \(did you mean 'file_nam'", id="typo"
        ),
        pytest.param("csv", "image,cption\n0.png,a\n", r"/metadata.csv: .*did you mean 'cption'\?", id="misspelt"),
        pytest.param("csv", "url,prompt\nhttp://x/0.png,a\n", "no column 'image' .*img2dataset", id="URLs"),
        pytest.param(
            "csv", "version https://git-lfs.github.com/spec/v1\noid x\n", "metadata.csv: is a Git LFS pointer", id="LFS"
        ),
        pytest.param("csv", 'image;prompt\n0.png;"a\n1.png;b"\n', "looks like another row .'1.png;b'", id="semicolons"),
        pytest.param("csv", "image,prompt\n", "no records", id="header alone"),
        pytest.param("jsonl", '{"image": "0.png", "prompt": "a",}', "metadata.jsonl:1: not JSON", id="jsonl: comma"),
        pytest.param(
            "jsonl", '{"image": "0.png", "prompt": "a"},', "metadata.jsonl:1: not JSON", id="jsonl: comma after"
        ),
        pytest.param(
            "jsonl",
            '{"image": "0.png", "prompt": "a", "prompt": "b"}',
            "metadata.jsonl:1: .*'prompt' is there twice",
            id="jsonl: twice",
        ),
        pytest.param(
            "jsonl",
            '{"image": "0.png", "prompt": 0.5}',
            "metadata.jsonl:1: column 'prompt' is not text but float",
            id="jsonl: a number",
        ),
        pytest.param(
            "json",
            '{"images": [{"a": 1}], "annotations": [{"a": 1}]}',
            "an object with the keys images, annotations",
            id="json: COCO",
        ),
        pytest.param("json", '{"image": {"0": "0.png"}, "prompt": {"0": "a"}}', "orient='records'", id="json: columns"),
        pytest.param("json", '{"image": "0.png"}', "not a JSON list of objects", id="json: object"),
        pytest.param("json", "{}", "with the keys none", id="json: nothing"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, table: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prompts(folder(tmp_path, f"metadata.{table}", content))


def test_parquet_with_the_pictures_in_it_is_another_kind_of_data(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = pa.table({"image": [{"bytes": b"x", "path": "0.png"}], "text": ["a"]})
    parquet.write_table(rows, tmp_path / "metadata.parquet")
    with pytest.raises(UserError, match=r"'image' holds files, not their names\. .* data=huggingface data\.path="):
        ImageFolderSource(str(tmp_path))
    twice = pa.Table.from_arrays(
        [pa.array(["0.png"]), pa.array(["a"]), pa.array(["b"])], names=["image", "text", "text"]
    )
    parquet.write_table(twice, tmp_path / "metadata.parquet")
    with pytest.raises(UserError, match="the column 'text' is there twice"):
        ImageFolderSource(str(tmp_path))


def test_of_several_usual_columns_the_first_is_taken_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path, "metadata.csv", "caption,text,file_name,image\na,b,0.png,1.png\n")
    assert prompts(tmp_path) == {"1.png": "b"}
    assert "the columns text, caption may all be meant by data.prompt_column; 'text' is taken" in caplog.text
    assert "data.image_column=file_name takes another" in caplog.text
    caplog.clear()
    assert prompts(tmp_path, image_column="file_name", prompt_column="caption") == {"0.png": "a"}
    assert "may all be meant" not in caplog.text


def test_a_column_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    folder(tmp_path, "metadata.csv", "image,prompt\n0.png,a\n")
    with pytest.raises(UserError, match=r"no column 'text'; there is: image, prompt\. Set data\.prompt_column"):
        ImageFolderSource(str(tmp_path), prompt_column="text")
    with pytest.raises(UserError, match=r"no column 'file_name'; there is: image, prompt\. Set data\.image_column"):
        ImageFolderSource(str(tmp_path), image_column="file_name")


def test_lists_of_captions_share_the_weight_of_their_column(tmp_path: Path) -> None:
    row = {"image": "0.png", "short": ["a", "b", ""], "long": "c"}
    folder(tmp_path, "metadata.json", json.dumps([row]))
    source = ImageFolderSource(str(tmp_path), prompt_column={"short": 3, "long": 1})
    assert source[0].prompts == {"a": 1.5, "b": 1.5, "c": 1.0}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("""['a "big" cat', "it's"]""", {'a "big" cat': 0.5, "it's": 0.5}),
        ('["a", "b"]', {"a": 0.5, "b": 0.5}),
        ("['a' 'b']", {"a": 0.5, "b": 0.5}),
        ("['a']", None),
        ("[a, b]", None),
        ("[1, 2]", None),
        ("[" * 5000 + "]" * 5000, None),
    ],
)
def test_lists_that_pandas_writes_as_text_are_captions(
    tmp_path: Path, written: str, expected: dict[str, float] | None
) -> None:
    quoted = written.replace('"', '""')
    folder(tmp_path, "metadata.csv", f'image,captions\n0.png,"{quoted}"\n1.png,\n')
    source = ImageFolderSource(str(tmp_path))
    assert source[0].prompts == expected
    assert source[0].prompt == ("a" if written == "['a']" else next(iter(expected or [written])))
    assert source[1].prompt == ""
    (tmp_path / "metadata.csv").write_text(f'image,captions\n0.png,"{quoted}"\n1.png,a cat\n')
    assert ImageFolderSource(str(tmp_path))[0].prompts is None  # brackets in one caption are brackets


ROWS = st.lists(st.text(st.sampled_from('ab,"\n;0.png é'), max_size=12), min_size=1, max_size=4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(texts=ROWS)
@example(texts=["\n0,", "\n0,"])
def test_raw_lines_give_a_row_each_or_an_error(tmp_path: Path, texts: list[str]) -> None:
    """Whatever people type into a CSV file by hand: no row vanishes into another one without a word."""
    logging.disable()
    lay(tmp_path, *(f"{n}.png" for n in range(4) if not (tmp_path / f"{n}.png").exists()))
    table = tmp_path / "metadata.csv"
    table.write_text("image,prompt\n" + "".join(f"{n}.png,{text}\n" for n, text in enumerate(texts)), encoding="utf-8")
    try:
        rows = list(read_table(table))
        source = ImageFolderSource(str(tmp_path))
        found = [source[i].key for i in range(len(source))]  # a row may name the picture of another
        for index in range(len(source)):
            source[index].load()
    except UserError:
        return
    finally:
        logging.disable(logging.NOTSET)
    assert {f"{n}.png" for n in range(len(texts))} <= set(found)
    assert len(rows) == len(found)
