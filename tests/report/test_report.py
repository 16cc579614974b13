"""The report says what the files say, escapes what is not its own, and opens in a browser without the network."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from aam.report.page import HtmlTable, Part, picture_part, render_section, report_html
from aam.report.parts import nucleotide_part, unifrac_part
from aam.report.record import RunRecord

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def png(width: int, height: int) -> bytes:
    """A grey picture, by the definition of the format."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x80" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


METRICS = {
    "unifrac_r2": 0.91234, "unifrac_mae": 0.01, "unifrac_pearson": 0.95, "steps": 1200,
    "baseline_upgma_skipped": "too many ASVs", "nucleotide_accuracy": 0.8, "nucleotide_cross_entropy": 0.6,
}  # fmt: skip
RUN = RunRecord(
    Path("gut <b>&amp;"),
    {
        "command": ["aam", "pretrain", "--table", "<script>alert(1)</script>"],
        "asvs": 4333,
        "rarefy_depth": 5000,
        "samples": {"train": 640, "validation": 160},
        "dropped": {"samples with few reads": 2},
        "data": {"table": {"path": "a.biom", "sha256": "f" * 64}},
        "config": {"model": {"dim": 128, "heads": None}},
        "versions": {"aam": "0.1.0", "torch": "2.13"},
    },
    METRICS,
    [("train", "sample", 640, 3)],
    {"train: loss is NaN": [f"s{number}" for number in range(9)]},
)  # fmt: skip
PARTS = [unifrac_part(METRICS), nucleotide_part(METRICS), picture_part("Curves", png(40, 20), "what was learned")]
PAGE = report_html(RUN, PARTS, ["Ordinations: no data"])


def test_figures_stand_in_the_page():
    shown = ("0.912", "0.0100", "too many ASVs", "4,333", "1,200", "640", "637", "s5 and 3 more", "what was learned")
    assert [text for text in shown if text not in PAGE] == []
    assert "samples with few reads" in PAGE and "ffffffffffffffff…" in PAGE and ">Ordination</abbr>s: no data" in PAGE


def test_what_is_not_its_own_is_escaped():
    assert PAGE.count("<script") == 1 and "&lt;script&gt;alert" in PAGE and "gut &lt;b&gt;&amp;amp;" in PAGE


def test_nothing_is_fetched():
    assert not re.search(r"(?:src|href)=\"(?!data:)", PAGE) and "url(" not in PAGE and "@import" not in PAGE
    assert "http:" not in PAGE and "https:" not in PAGE and "default-src 'none'; img-src data:" in PAGE


def test_the_page_has_a_dark_mode_for_pictures_too_and_one_for_paper():
    dark, paper = PAGE.count("(prefers-color-scheme: dark)"), PAGE.count("@media print")
    assert dark == 2 and paper == 1 and '<meta name="color-scheme" content="light dark">' in PAGE
    assert re.search(r"@media screen and \(prefers-color-scheme: dark\) {\s*figure img[^}]*background: #fff", PAGE)


def test_tables_say_how_they_sort_and_numbers_stay_whole():
    rows = [["a", "0.0090/9", "1,674", "–", "1.5 (1.2 to 1.8)"], ["b<", "0.1", "3 %", "-1.2e-05", "x"]]
    html = render_section(Part("t", [HtmlTable(["name", "mixed", "count", "low", "text"], rows)]))
    assert re.findall(r'data-value="([^"]*)"', html) == ["1674", "1.5", "0.1", "3", "-1.2e-05"]
    assert html.count('aria-sort="none"') == 5 and html.count("<button") == 5
    assert HtmlTable(["", "", "", "", ""], rows).numeric == [False, False, True, True, False]
    assert '<div class="table" role="region" aria-label="t" tabindex="0">' in html and "b&lt;" in html
    assert re.search(r"\.table { margin: 0 0 1rem; overflow-x: auto;", PAGE)
    assert "<button" not in render_section(Part("t", [HtmlTable(["", ""], [["a", "1"], ["b", "2"]])]))  # no head


def test_an_interval_stands_whole_below_its_value_where_there_is_no_room():
    rows = [["an ASV", "1.5 (1.2 to 1.8)"], ["b", "3 %"]]
    html = render_section(Part("t", [HtmlTable(["name", "text"], rows)]))
    assert ">1.5 (1.2\u00a0to\u00a01.8)</td>" in html and ">3\u00a0%</td>" in html and "an <abbr" in html


def test_the_finding_opens_the_page_and_terms_are_explained():
    page = report_html(RUN, PARTS, finding="R² 0.9 of <b>")
    opening = page.index('<p class="finding">')
    assert page.index("<h1>") < opening < page.index("<section>") and "0.9 of &lt;b&gt;</p>" in page
    assert page.count('<abbr title="the part of the variation that is predicted') == 2  # there, and in the first table
    assert "<dt>UPGMA</dt><dd>a tree made from distances" in page


def test_an_empty_run_makes_a_page_without_sections():
    page = report_html(RunRecord(Path("empty")))
    assert "<h1>empty</h1>" in page and "<h2>" not in page


def browse(path: Path, *options: str) -> str:
    """What Chromium says of a page."""
    assert CHROMIUM is not None
    switches = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.with_name('profile')}"]
    done = subprocess.run(
        [CHROMIUM, *switches, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the report in a browser, because chromium is absent")
def test_a_browser_shows_the_picture_and_runs_the_script_that_the_policy_names(tmp_path: Path):
    page = tmp_path / "report.html"
    page.write_text(PAGE, encoding="utf-8")
    browse(page, "--window-size=900,1200", f"--screenshot={tmp_path / 'page.png'}")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert '<html lang="en" class="scripted">' in browse(page, "--dump-dom")
    page.write_text(PAGE.replace('"use strict";', '"use strict"; '), encoding="utf-8")  # no longer what the hash is of
    assert '<html lang="en">' in browse(page, "--dump-dom")


@pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: sorting in a browser, because chromium is absent")
@pytest.mark.parametrize(("presses", "order"), [(1, "bdac"), (2, "adbc")])
def test_a_press_sorts_by_number_missing_last_and_a_picture_opens(presses: int, order: str, tmp_path: Path):
    rows = [["a", "1,674"], ["b", "-0.5"], ["c", "–"], ["d", "118 (9 to 200)"]]
    html = report_html(RunRecord(Path("r")), [Part("t", [HtmlTable(["name", "value"], rows)]), *PARTS[-1:]])
    html = re.sub(r"<meta http-equiv[^>]*>", "", html)  # so that this test may press
    press = "document.querySelectorAll('th button')[1].click();" * presses
    press += "document.querySelector('figure button').click()"
    (tmp_path / "t.html").write_text(html.replace("</body>", f"<script>{press}</script></body>"), encoding="utf-8")
    found = browse(tmp_path / "t.html", "--dump-dom")
    assert "".join(re.findall(r"<tr><td[^>]*>(\w)</td>", found)) == order
    assert f'aria-sort="{"ascending" if presses == 1 else "descending"}"' in found
    assert re.search(r'<dialog [^>]*open=""', found) and found.count('src="data:image/png') == 2
