"""Coverage-guided fuzzing of all that reads files of strangers, by atheris; `make fuzz MINUTES=60` runs it.

Each parser of `tests/parsers.py` gets its share of the time in a process of its own. A crash, an exception that is no
refusal, more than 10 s or more than 4 times 64 MiB of memory for one file stops it; the file is kept in
`tests/faults/found/PARSER/`, where the tests try it from then on, and the parser goes on without it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / "tests" / "faults" / "found"
INSTRUMENTED = ["aam", "skbio.metadata", "yaml", "zipfile", "csv", "json.decoder", "safetensors"]
"""Modules whose branches guide the fuzzer."""
SECONDS, MEMORY, LONGEST = 10, 4 * 64, 1 << 14
"""Most that one file may take, in seconds and MiB (4 times what files unpack to unchecked), and bytes of a file."""


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one parser in this process until libFuzzer ends it; `arguments` are those of libFuzzer."""
    import atheris

    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from parsers import PARSERS, assert_answer_or_refusal
    parser, folder = PARSERS[name], Path(tempfile.mkdtemp(prefix="aam-fuzz-"))
    for content in parser.seeds(folder):
        assert_answer_or_refusal(parser, content, folder)
    start = most = peak()

    def one(content: bytes) -> None:
        nonlocal most
        assert_answer_or_refusal(parser, content, folder)
        if peak() > most:
            most = peak()
            (Path(arguments[0]).parent / "peak.json").write_text(json.dumps(most - start))
            if most - start > MEMORY:
                raise MemoryError(f"{most - start:.0f} MiB more than before, at most {MEMORY} expected")

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def seed(name: str, corpus: Path) -> None:
    """Write the sound files of a parser, and what was found before, into its corpus."""
    code = f"import sys; from parsers import PARSERS; from pathlib import Path; p = Path(sys.argv[1])\n"
    code += f"for n, c in enumerate(PARSERS[{name!r}].seeds(p.parent)): (p / str(n)).write_bytes(c)"
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    subprocess.run([sys.executable, "-c", code, str(corpus)], env=paths, check=True)
    for path in (FOUND / name).glob("*"):
        (corpus / path.name).write_bytes(path.read_bytes())


def run(name: str, minutes: float) -> dict[str, object]:
    """Fuzz one parser for some minutes, going on after each find; returns what came out."""
    with tempfile.TemporaryDirectory(prefix="aam-fuzz-") as folder:
        corpus, cases, found = Path(folder) / "corpus", 0, []
        corpus.mkdir()
        seed(name, corpus)
        deadline = time.monotonic() + 60 * minutes
        while (left := int(deadline - time.monotonic())) > 0:
            options = [f"-max_total_time={left}", f"-timeout={SECONDS}", "-rss_limit_mb=0", f"-max_len={LONGEST}"]
            options += [f"-artifact_prefix={folder}/", "-print_final_stats=1", "-verbosity=1"]
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, str(corpus), *options], capture_output=True, text=True,
                check=False, cwd=folder,
            )  # fmt: skip
            said = done.stdout + done.stderr
            cases += sum(int(line.split()[1]) for line in said.splitlines() if "number_of_executed_units" in line)
            kept = [path for pattern in ("crash-*", "timeout-*", "oom-*") for path in Path(folder).glob(pattern)]
            if done.returncode and not kept:
                raise SystemExit(f"{name}: the fuzzer itself failed:\n{said[-3000:]}")
            for path in kept:
                found.append({"file": keep(name, path), "said": last_words(said)})
        memory = Path(folder) / "peak.json"
        peak_found = json.loads(memory.read_text()) if memory.exists() else 0.0
    return {"parser": name, "minutes": minutes, "cases": cases, "MiB": round(peak_found), "found": found}


def keep(name: str, path: Path) -> str:
    """Move a file that a parser failed on to the fixtures of the tests."""
    content = path.read_bytes()
    kept = FOUND / name / hashlib.sha256(content).hexdigest()[:12]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    path.unlink()
    return str(kept.relative_to(ROOT))


def last_words(said: str) -> str:
    """The line of a log that names the failure."""
    lines = [line for line in said.splitlines() if "Error" in line or "ERROR" in line or "Exception" in line]
    return (lines or said.splitlines()[-1:] or [""])[0][:300]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=60.0, help="time for all parsers together")
    arguments.add_argument("--parser", action="append", help="only this one; may be repeated")
    asked = arguments.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from parsers import PARSERS

    names = asked.parser or list(PARSERS)
    results = []
    for name in names:
        results.append(run(name, asked.minutes / len(names)))
        print(json.dumps(results[-1]), flush=True)
    if any(result["found"] for result in results):
        raise SystemExit(f"the files are in {FOUND.relative_to(ROOT)}; mend the parsers, then `make test` tries them")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        main()
