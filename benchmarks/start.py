"""Seconds until the package is there: `python benchmarks/start.py`.

Medians over fresh processes, without the start of Python itself: `import aam`, the help of the command line, the help
of one command, and for each the modules of the package that were imported. The bars are 0.1 s for the import and 0.5 s
for `aam --help`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import click

WORK = {
    "python": "pass",
    "import aam": "import aam",
    "aam --help": "from aam.cli import main; main(['--help'])",
    "aam pretrain --help": "from aam.cli import main; main(['pretrain', '--help'])",
    "aam.pretrain": "import aam; aam.pretrain; import aam.workflows.pretrain",
    "aam.embed": "import aam; aam.embed; import aam.workflows.embed",
}
COUNT = "; import sys; print(sum(name.partition('.')[0] == 'aam' for name in sys.modules), file=sys.stderr)"


def start(code: str) -> tuple[float, int]:
    """Wall seconds of a process that runs this code, and the modules of `aam` it imported."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + COUNT], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, int(done.stderr.split()[-1])


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Processes of which the medians count.")
def main(rounds: int) -> None:
    found = {name: [start(code) for _ in range(rounds)] for name, code in WORK.items()}
    seconds = {name: statistics.median(each[0] for each in of) for name, of in found.items()}
    for name, of in found.items():
        own = seconds[name] - seconds["python"]
        click.echo(json.dumps({"work": name, "seconds": round(own, 3), "modules": of[0][1]}))


if __name__ == "__main__":
    main()
