"""The page of a comparison, in a real browser where there is one."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from aaa.reports.heat_map import MOST_VALUES
from aaa.reports.page import write_page
from aaa.reports.runs import read_runs
from aaa.reports.scaling import draw_scaling
from tests.helpers.browser import chromium
from tests.helpers.made_up_runs import grid, make_runs, make_trial


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make_runs(folder / "runs", [1e-3, 5e-3, 2e-2], [2, 4, 8], [1, 2], rows=200)
    write_page(read_runs([folder / "runs"]), folder / "compare.html")
    return folder / "compare.html"


def test_names_and_settings_stay_inside_their_script(page_file: Path, tmp_path: Path) -> None:
    for number, odd in enumerate(["<script>alert(1)", "]]>--><b>'\"&amp;", "\u2028{{x}}"]):
        run = tmp_path / "runs" / odd
        run.mkdir(parents=True)
        setting = f"</script><script>alert({number})</script>{odd}"
        (run / "config.yaml").write_text(json.dumps({"data": {"root": setting}}))
        (run / "metrics.jsonl").write_text('{"step": 1, "val/loss": 1}')
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text()
    assert text.count("</script>") == page_file.read_text().count("</script>")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert found is not None
    told = [run["settings"]["data.root"] for run in json.loads(found[1])["runs"]]
    assert all(setting.startswith("</script><script>") for setting in told)
    assert "innerHTML" not in text


def test_the_page_holds_everything_itself(page_file: Path) -> None:
    text = page_file.read_text()
    addresses = set(re.findall(r"https?://[^\s\"')]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a namespace, which nobody fetches
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert found is not None
    data = json.loads(found[1])
    assert len(data["runs"]) == 18
    assert set(data["keys"]) == {"optimizer.learning_rate", "model.depth", "seed"}
    curve = data["runs"][0]["curves"]["train/loss"]
    assert len(curve["y"]) == len(curve["flops"]) == 200
    assert data["runs"][0]["pictures"][0]["src"].startswith("data:image/webp;base64,")


@pytest.mark.parametrize("pictures", [0, 40])
def test_however_many_pictures_a_run_has(tmp_path: Path, pictures: int) -> None:
    make_runs(tmp_path / "runs", [1e-3], [2, 4], [1], rows=40, pictures=pictures)
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    assert (tmp_path / "compare.html").read_text().count("data:image/webp") == 2 * min(pictures, 6)


def test_grids_of_ones_own_prompts_are_shown_too(tmp_path: Path, browser: Any) -> None:
    make_runs(tmp_path / "runs", [1e-3], [2, 4], [1], rows=20)
    samples = tmp_path / "runs" / "0.001-2-1" / "samples"
    Image.new("RGB", (480, 240), "red").save(samples / "step-00000020-prompts.png")
    shutil.copy(samples / "step-00000020-prompts.png", samples / "step-00000020-prompts-raw.png")
    with (samples.parent / "config.yaml").open("a") as config:
        config.write("sampling: {prompts: [a red circle]}")
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    assert "sampling.prompts" not in (tmp_path / "compare.html").read_text(), "no setting of what is learned"
    page = browser.new_page()
    page.goto((tmp_path / "compare.html").as_uri())
    for part, grids in (("#side", 2), ("#strips", 4)):
        assert page.locator(f"{part} img").count() == grids + 1
        assert page.locator(f"{part} img[alt='0.001-2-1 (depth=2), own prompts, step 20']").count() == 1
    page.locator("#side img[alt*='own prompts']").click()
    assert "own prompts, step 20" in page.locator("#large-caption").inner_text()
    assert page.evaluate("document.querySelector('#large-picture').naturalWidth") == 480
    page.close()


def test_names_that_look_like_html_stay_text(tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", [1e-3], [2, 4], [1], rows=20)
    evil = tmp_path / "runs" / "<script>alert(1)<"
    shutil.copytree(tmp_path / "runs" / "0.001-2-1", evil)
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    assert "<script>alert" not in (tmp_path / "compare.html").read_text()


def test_curves_that_are_not_above_0_are_drawn_in_a_browser(browser: Any, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "dispersive"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    rows = [{"step": step, "train/loss": -1.5 - step, "train/loss_velocity": 1.5 / step} for step in (1, 2, 3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    page = browser.new_page()
    page.goto((tmp_path / "compare.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    for metric, checked, is_told in (
        ("train/loss", True, True),
        ("train/loss_velocity", True, False),
        ("train/loss", False, False),
    ):
        page.select_option("#metric", metric)
        page.set_checked("#logy", checked)
        assert page.evaluate("drawn.map(curve => curve.points.length)") == [3], metric
        assert page.locator("#signed").is_visible() == is_told


def test_the_page_in_a_browser(browser: Any, page_file: Path, tmp_path: Path) -> None:
    problems: list[str] = []
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        page.goto(page_file.as_uri())
        page.wait_for_selector("body[data-ready]")
        page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    rows = page.locator("#rows tr")
    assert rows.count() == 18
    titles = [title.removesuffix(" ↑") for title in page.locator("#head th").all_inner_texts()]
    losses = column_of(page, titles.index("val loss"))
    assert losses == sorted(losses)
    page.get_by_role("button", name="model.depth").click()
    depths = column_of(page, titles.index("model.depth"))
    assert depths == sorted(depths)
    assert depths != losses
    assert page.locator('th[aria-sort="ascending"]').count() == 1
    page.fill("#filter", "depth=4")
    assert rows.count() == 6
    page.fill("#filter", "")
    page.keyboard.press("Tab")
    first = page.locator("#rows .swatch").first
    first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#rows tr.hidden").count() == 1
    assert "17 shown" in page.locator("#summary").inner_text()
    page.get_by_role("button", name="Hide all").click()
    assert page.locator("#rows tr.hidden").count() == 18
    page.get_by_role("button", name="Show all").click()
    for title in ("by two settings", "a line a run", "Seeds folded", "by noise level", "Loss against parameters"):
        assert page.get_by_role("heading", name=title).count() == 1, title
    page.select_option("#axis", "flops")
    page.locator("#chart").hover(position={"x": 400, "y": 200})
    assert page.locator(".strip figure").count() == 36
    assert page.locator(".side figure").count() == 18
    page.emulate_media(media="print")
    assert not page.locator(".controls").first.is_visible()
    assert problems == []


def test_names_of_any_length_are_whole_and_sizes_nearly_the_same_make_no_law(browser: Any, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", [4e-7, 5e-3], [2, 4, 8], [1, 2], rows=1)
    longest = f"{'WIDE' * 30} and words that are as long as names of one's own may be "
    for run in (tmp_path / "runs").iterdir():
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["lr_scheduler"] = {"of_one_s_own": f"{longest}{config['model']['depth']}"}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        parameters = 1_000_000 + config["model"]["depth"]
        (run / "environment.json").write_text(json.dumps({"model": {"parameters": parameters}}))
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "compare.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    folded = page.locator("section", has=page.get_by_role("heading", name="Seeds folded"))
    around = folded.bounding_box()
    texts = folded.locator(".fold span")
    assert texts.count() == 2 * 6, "six settings, of each a name and a loss"
    for text in texts.all():
        box = text.bounding_box()
        assert around["x"] <= box["x"]
        assert box["x"] + box["width"] <= around["x"] + around["width"]
    names = texts.all_inner_texts()[::2]
    assert len(set(names)) == 6
    assert all(longest in name for name in names)
    assert sum("learning_rate=4e-7" in name for name in names) == 3
    assert page.get_by_role("heading", name="Loss against").count() == 0


def test_a_law_of_parameters_is_of_runs_of_one_length(browser: Any, tmp_path: Path) -> None:
    make_runs(tmp_path / "runs", [1e-3], [2, 4, 8], [1], rows=40, pictures=0)
    make_runs(tmp_path / "runs", [1e-3], [16], [1], rows=20, pictures=0)
    page = browser.new_page()
    for title, of_equal_work in (
        (", of the 3 runs of equally many samples", ", lowest mean loss of each size"),
        (": no law, which takes 3 sizes among runs of equally", ""),
    ):
        write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
        page.goto((tmp_path / "compare.html").as_uri())
        page.wait_for_selector("body[data-ready]")
        of_size, of_work = page.get_by_role("heading", name="Loss against").all_inner_texts()
        assert title in of_size
        assert re.fullmatch(r"Loss against training FLOPs: power law, exponent -?[\d.]+" + of_equal_work, of_work)
        shutil.rmtree(tmp_path / "runs" / "0.001-8-1")
        make_runs(tmp_path / "runs", [1e-3], [8], [1], rows=30, pictures=0)


def opened(browser: Any, folder: Path) -> Any:
    """The page of the runs in a folder, in a browser."""
    write_page(read_runs([folder]), folder / "compare.html")
    page = browser.new_page()
    page.goto((folder / "compare.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    return page


def changed(run: Path, **settings: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | settings))


def test_a_filter_is_of_whole_values_as_they_are_typed_or_shown(browser: Any, tmp_path: Path) -> None:
    make_runs(tmp_path, [0.000645458426476286, 1e-3], [4, 48], [1], rows=20, pictures=0)
    page = opened(browser, tmp_path)
    for wanted, count in {
        "depth=4": 2,
        "model.depth=48": 2,
        "depth=": 4,
        "learning_rate=0.0006455": 2,
        "learning_rate=0.000645458426476286": 2,
        "Learning_Rate=1e-3 depth=48": 1,
        "learning_rate=1": 0,
        "epth=4": 4,
        "001-4": 2,
    }.items():
        page.fill("#filter", wanted)
        assert page.locator("#rows tr").count() == count, wanted


def test_whole_numbers_that_were_chosen_are_shown_whole(browser: Any, tmp_path: Path) -> None:
    seeds = [20240101, 20240102, 2**62 + 1]
    make_runs(tmp_path, [1e-3], [2], seeds, rows=20, pictures=1)
    page = opened(browser, tmp_path)
    titles = page.locator("#head th").all_inner_texts()
    shown = page.locator(f"#rows td:nth-child({titles.index('seed') + 1})").all_inner_texts()
    assert sorted(shown) == sorted(map(str, seeds))
    assert {text.rpartition("seed=")[2] for text in page.locator(".side figcaption").all_inner_texts()} == set(shown)


def test_settings_of_too_many_values_are_on_no_map(browser: Any, tmp_path: Path) -> None:
    make_runs(tmp_path, [1e-3 * (1 + number) for number in range(MOST_VALUES + 1)], [2, 4], [1, 2], rows=1, pictures=0)
    for run in tmp_path.iterdir():
        changed(run, budget={"parameters": 10 * int(run.name[-1])})
    page = opened(browser, tmp_path)
    maps = page.get_by_role("heading", name="by two settings")
    assert maps.count() == 1, "depth and parameters"
    assert "Not on a map, which has at most 30 values a setting: learning_rate." in page.locator("#maps").inner_text()
    page.fill("#filter", "learning_rate=0.001")
    assert page.locator("#maps p").count() == 0


def test_settings_are_folded_as_they_are_in_the_terminal(browser: Any, tmp_path: Path) -> None:
    """Two classes of one name are two, and steps that were found to fit into a time are no setting."""
    for seed in range(5):
        make_runs(tmp_path, [1e-3], [2], [seed], rows=20 + 10 * seed, pictures=0)
        of_whom, seconds = "my_parts" if seed < 2 else "aaa.optimizers", 60 if seed < 4 else None
        settings: dict[str, Any] = {"optimizer": {"_target_": f"{of_whom}.adamw"}, "budget": {"seconds": seconds}}
        changed(tmp_path / f"0.001-2-{seed}", **settings, trainer={"max_steps": 20 + 10 * seed})
    page = opened(browser, tmp_path)
    texts = page.locator(".fold span").all_inner_texts()
    assert sorted(zip(texts[::2], (text[-3:] for text in texts[1::2]), strict=True)) == [
        ("seconds=60 optimizer=my_parts.adamw", "(2)"),
        ("seconds=60 optimizer=optimizers.adamw", "(2)"),
        ("seconds=null optimizer=optimizers.adamw", "(1)"),
    ]


def test_a_law_is_of_the_best_setting_of_each_size(browser: Any, tmp_path: Path) -> None:
    make_runs(tmp_path, [1e-3, 5e-3], [2, 4, 8], [1, 2], rows=40, pictures=0)
    for run in tmp_path.glob("0.005-*"):  # trained with what has a few parameters itself, which makes no size
        environment = json.loads((run / "environment.json").read_text())
        environment["model"]["parameters"] += 128
        (run / "environment.json").write_text(json.dumps(environment))
    page = opened(browser, tmp_path)
    laws = page.get_by_role("heading", name="Loss against").all_inner_texts()
    of_page = [re.sub(r".*exponent (\S+), ", r"\1 ", law) for law in laws]
    said = draw_scaling(read_runs([tmp_path]), tmp_path / "scaling.png")
    assert of_page == [re.sub(r".*x\^(\S+) .*?, R² \S+, ", r"\1 ", law) for law in said]
    assert all(law.endswith(" lowest mean loss of each size") for law in of_page)


def test_values_that_hardly_repeat_are_points(browser: Any, tmp_path: Path) -> None:
    for number in range(MOST_VALUES + 5):
        told = {"optimizer.learning_rate": 1e-4 * 1.2**number, "model.depth": 2 + number % 3}
        make_trial(tmp_path / f"{number:02d}", told | {"model.qk_norm": number % 2 == 0}, 1 + abs(number - 20))
    page = opened(browser, tmp_path)
    headings = page.get_by_role("heading", name="by two settings: blue")
    title = "Validation loss by two settings: blue 1, red 21"
    assert headings.all_inner_texts() == [title] * 2, "of the rate with depth and with the switch"
    sections = page.locator("#maps section", has=headings)
    assert [section.locator("circle").count() for section in sections.all()] == [MOST_VALUES + 5] * 2
    assert "Not on a map" not in page.locator("#maps").inner_text()
    texts = " ".join(sections.locator("text").all_text_contents())
    assert "false" in texts
    assert "true" in texts
    page.fill("#filter", "depth=4")
    assert sections.first.locator("circle").count() == 11


def test_effects_of_single_keys_are_on_the_page(browser: Any, tmp_path: Path) -> None:
    trials = grid(model__qk_norm=[False, True], model__depth=[2, 4], seed=[0, 1])
    for number, trial in enumerate(trials):
        gain = 0.1 if trial["model.depth"] == 2 else -0.1
        loss = 1 - gain * trial["model.qk_norm"] + 1e-4 * trial["seed"] * trial["model.qk_norm"]
        make_trial(tmp_path / "<b>" / f"{number}", trial, loss)
    page = opened(browser, tmp_path)
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#effects tr").all()]
    effect = next(row for row in rows if row[0] == "qk_norm=True")
    assert effect[1::2] == ["qk_norm=False", "2 seeds (4 pairs)", effect[5]]
    assert effect[4:] == ["no one answer", "qk_norm=True: at depth=2 it helps, at depth=4 it hurts: no one answer"]
    for number in (1, 3, 5, 7):  # one seed is left
        shutil.rmtree(tmp_path / "<b>" / f"{number}")
    page = opened(browser, tmp_path)
    assert "worse (these models)" in page.locator("#effects").inner_text()
    assert "Over pictures: of these very models, not of other seeds." in page.locator("#of-effects").inner_text()
    for number in (0, 2):
        shutil.rmtree(tmp_path / "<b>" / f"{number}")
    assert not opened(browser, tmp_path).locator("#effects-section").is_visible()


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.tagName"))


def test_the_keyboard_stays_where_it_was(browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(page_file.as_uri())
    page.wait_for_selector("body[data-ready]")
    for place in ("#head button >> nth=2", "#rows .swatch >> nth=3"):
        page.locator(place).focus()
        where = focused(page)
        assert where.startswith(("sort-", "swatch-"))
        for _ in range(2):
            page.keyboard.press("Enter")
            assert focused(page) == where
    assert page.locator("#rows tr.hidden").count() == 0, "hidden, and shown again"
    page.locator(".picture").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#large").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()
    assert page.evaluate("document.activeElement.className") == "picture"


@pytest.mark.parametrize("pictures", [0, 2])
def test_a_phone_is_as_wide_as_the_page(browser: Any, tmp_path: Path, pictures: int) -> None:
    make_runs(tmp_path / "runs", [1e-3, 5e-3], [2, 4, 8], [1, 2], rows=20, pictures=pictures)
    for run in (tmp_path / "runs").iterdir():
        metrics = (run / "metrics.jsonl").read_text()
        longest = "train/" + "a_name_of_ones_own_" * 5
        (run / "metrics.jsonl").write_text(metrics + json.dumps({"step": 20, longest: 1.0}) + "\n")
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    page = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True).new_page()
    page.goto((tmp_path / "compare.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    around = page.evaluate("[...document.querySelectorAll('section')].map(e => e.getBoundingClientRect().right)")
    assert max(around) <= 390


def test_a_page_of_one_run_says_whose_it_is_and_shows_its_pictures(browser: Any, tmp_path: Path) -> None:
    make_runs(tmp_path, [1e-3], [2], [1], rows=20, pictures=1)
    large = tmp_path / "0.001-2-1" / "samples" / "step-00000020.png"
    Image.new("RGB", (1352, 400)).save(large)
    page = opened(browser, tmp_path)
    assert page.title() == f"{tmp_path / '0.001-2-1'}: 1 run"
    assert page.locator("h1").inner_text() == f"1 run of {tmp_path / '0.001-2-1'}"
    assert re.fullmatch(
        r"Written \d{4}-\d\d-\d\d \d\d:\d\d\. 1 shown, sorted by val loss, rising\.", page.inner_text("#summary")
    )
    assert page.locator("#maps section").first.bounding_box()["width"] < 700
    assert page.get_by_role("heading", name="Last samples").is_visible()
    assert not page.locator("#strips-section").is_visible()
    page.locator(".side .picture").click()
    page.wait_for_function("document.getElementById('large-picture').naturalWidth == 1352")


def test_what_is_not_shown_is_drawn_nowhere(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("body[data-ready]")
    page.fill("#filter", "depth=4")
    assert "6 shown" in page.inner_text("#summary")
    page.get_by_role("button", name="val loss", exact=False).first.click()
    assert page.inner_text("#summary").endswith("sorted by val loss, falling.")
    drawings = page.locator("svg[role=img]")
    assert drawings.count() > 1
    for drawing in drawings.all():
        heading = page.locator(f"#{drawing.get_attribute('aria-labelledby')}")
        assert heading.evaluate("e => e.tagName") == "H2"
    page.fill("#filter", "nothing")
    assert page.locator("#unmatched").is_visible()
    assert page.locator("#maps section").count() == 0


def test_pictures_are_of_the_best_runs(browser: Any, tmp_path: Path) -> None:
    for number in range(26):
        make_trial(tmp_path / f"{number:02d}", {"optimizer.learning_rate": 1e-3 * (1 + number)}, 3 - number / 10)
        (tmp_path / f"{number:02d}" / "samples").mkdir()
        Image.new("RGB", (400, 50)).save(tmp_path / f"{number:02d}" / "samples" / "step-00000010.png")
    page = opened(browser, tmp_path)
    assert "Pictures are kept of 24 of the 26 runs" in page.inner_text("#of-pictures")
    shown = page.locator(".side figcaption strong").all_inner_texts()
    assert shown == [f"{number:02d}" for number in range(25, 1, -1)]
    assert page.locator(".side img").first.get_attribute("alt") == "25 (learning_rate=0.026), step 10"


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "expected"),
    [
        (40, 800, False, [200, 400, 600, 800]),
        (0.572, 4.2, True, [0.7, 1, 1.5, 2, 3]),
        (0.0211, 4.2, True, [0.05, 0.1, 0.2, 0.5, 1, 2]),
        (0.9, 1.1, True, [0.9, 0.95, 1, 1.05, 1.1]),
        (3, 3, True, [3]),
    ],
)
def test_ticks_are_numbers_that_one_says(
    browser: Any, page_file: Path, low: float, high: float, logarithmic: bool, expected: list[float]
) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("([low, high, is]) => ticks(low, high, is)", [low, high, logarithmic]) == expected
    assert page.evaluate("[97.15, 382.1, 5].map(evenly([97.15, 382.1, 5]))") == ["97.15", "382.10", "5.00"]
    assert page.evaluate("[0.5, 40000].map(evenly([0.5004, 40000, 1e-9]))") == ["0.5", "40000"]


def column_of(page: Any, number: int) -> list[float]:
    return [float(text) for text in page.locator(f"#rows td:nth-child({number + 1})").all_inner_texts()]


@pytest.mark.slow
def test_two_hundred_runs_of_ten_thousand_points_are_all_in_the_table(browser: Any, tmp_path: Path) -> None:
    rates = [1e-3 * 1.3**n for n in range(10)]
    make_runs(tmp_path / "runs", rates, [2, 4, 6, 8], [1, 2, 3, 4, 5], rows=10_000, pictures=1)
    write_page(read_runs([tmp_path / "runs"]), tmp_path / "compare.html")
    page = browser.new_page()
    page.goto((tmp_path / "compare.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#rows tr").count() == 200
