"""The report says what the files say, escapes what is not its own, and opens in a browser without the network."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from aam.report.page import picture_part, report_html
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
    assert "samples with few reads" in PAGE and "ffffffffffffffff…" in PAGE and "Ordinations: no data" in PAGE


def test_what_is_not_its_own_is_escaped():
    assert "<script" not in PAGE and "gut &lt;b&gt;&amp;amp;" in PAGE


def test_nothing_is_fetched():
    assert not re.search(r"(?:src|href)=\"(?!data:)", PAGE) and "url(" not in PAGE and "@import" not in PAGE


def test_an_empty_run_makes_a_page_without_sections():
    page = report_html(RunRecord(Path("empty")))
    assert "<h1>empty</h1>" in page and "<h2>" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the report in a browser, because chromium is absent")
def test_a_browser_shows_the_picture_and_no_error(tmp_path: Path):
    (tmp_path / "report.html").write_text(PAGE, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=900,1200", f"--screenshot={tmp_path / 'page.png'}", (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.png").stat().st_size > 10_000
