"""Coverage-guided fuzzing of all that reads files of strangers, by atheris; `make fuzz MINUTES=60` runs it.

Each parser of `tests/parsers.py` gets its share of the time in a process of its own. A crash, an exception that is no
refusal, more than 10 s or more than 4 times 64 MiB of memory for one file stops it; the file is kept in
`found/PARSER/` beside this file, where the tests try it from then on, and the parser goes on without it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = Path(__file__).resolve().parent / "found"
INSTRUMENTED = ["aam", "skbio.metadata", "yaml", "zipfile", "csv", "json.decoder", "safetensors"]
"""Modules whose branches guide the fuzzer."""
SECONDS, MEMORY, LONGEST = 10, 4 * 64, 1 << 14
"""Most that one file may take, in seconds and MiB (4 times what files unpack to unchecked), and bytes of a file."""
MOST = 20
"""Files on which one parser fails before its fuzzing is given up: it is to be mended first."""
STUCK = 300
"""Seconds of the clock after which libFuzzer ends a file that does not; much more than `SECONDS` on a busy machine."""


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(name: str, folder: Path, seconds: float) -> None:
    """Fuzz one parser in this process for some processor time; `folder` gets corpus, record and what fails."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from parsers import PARSERS, assert_answer_or_refusal

        from aam import checkpoint, stored
    checkpoint.RETRY_SECONDS = stored.RETRY_SECONDS = 0.0  # no run replaces these files meanwhile
    parser, place, corpus = PARSERS[name], folder / "read", folder / "corpus"
    for path in (place, corpus):
        path.mkdir(exist_ok=True)
    for number, content in enumerate(parser.seeds(place)):
        assert_answer_or_refusal(parser, content, place)
        (corpus / f"seed-{number}").write_bytes(content)
    began, record = time.process_time(), Record(folder)

    most = 0.0

    def one(content: bytes) -> None:
        nonlocal most
        before, held = time.process_time(), peak()
        if before - began > seconds - record.seconds:
            record.write(before - began, most)
            os._exit(0)
        record.cases += 1
        try:
            assert_answer_or_refusal(parser, content, place)
            if (took := time.process_time() - before) > SECONDS:
                raise TimeoutError(f"{took:.1f} s, at most {SECONDS} expected")
            most = max(most, peak() - held)
            if most > MEMORY:  # by one file: the fuzzer itself holds more and more
                raise MemoryError(f"{most:.0f} MiB more than before, at most {MEMORY} expected")
        except BaseException as fault:
            record.write(time.process_time() - began, most, f"{type(fault).__name__}: {fault}")
            raise

    limits = [f"-timeout={STUCK}", "-rss_limit_mb=0", f"-max_len={LONGEST}", "-max_total_time=0"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, f"-artifact_prefix={folder}/"], one)
    atheris.Fuzz()


class Record:
    """What the processes of one parser have done together, kept in a file of their folder."""

    def __init__(self, folder: Path):
        self.path = folder / "record.json"
        found = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.cases, self.seconds, self.mebibytes = (found.get(key, 0) for key in ("cases", "seconds", "MiB"))
        self.found = found.get("found", [])

    def write(self, seconds: float, mebibytes: float, fault: str = "") -> None:
        """Add so much processor time, and a fault."""
        found = [*self.found, fault[:300]] if fault else self.found
        content = {"cases": self.cases, "seconds": round(self.seconds + seconds, 1)}
        content |= {"MiB": round(max(self.mebibytes, mebibytes)), "found": found}
        self.path.write_text(json.dumps(content))


def run(name: str, minutes: float) -> dict[str, object]:
    """Fuzz one parser for some minutes of processor time, going on after each find; returns what came out."""
    with tempfile.TemporaryDirectory(prefix="aam-fuzz-") as text:
        folder = Path(text)
        command = [sys.executable, __file__, "--one", name, str(folder), str(60 * minutes)]
        while (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
            found = [path for kind in ("crash-*", "timeout-*", "oom-*") for path in folder.glob(kind)]
            if not found or len(Record(folder).found) > MOST:
                raise SystemExit(f"{name}: the fuzzer itself failed:\n{(done.stdout + done.stderr)[-3000:]}")
            for path in found:
                keep(name, path)
        return {"parser": name, **json.loads((folder / "record.json").read_text())}


def keep(name: str, path: Path) -> None:
    """Move a file that a parser failed on to the fixtures of the tests."""
    content = path.read_bytes()
    kept = FOUND / name / f"{hashlib.sha256(content).hexdigest()[:12]}.bin"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    path.unlink()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=60.0, help="processor time of all parsers together")
    arguments.add_argument("--parser", action="append", help="only this one; may be repeated")
    asked = arguments.parse_args()
    from parsers import PARSERS

    names, failed = asked.parser or list(PARSERS), False
    for name in names:
        result = run(name, asked.minutes / len(names))
        failed |= bool(result["found"])
        print(json.dumps(result), flush=True)
    if failed:
        raise SystemExit(f"the files are in {FOUND.relative_to(ROOT)}; mend the parsers, then `make test` tries them")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
    else:
        main()
