"""Seconds and memory to open a large table: `python benchmarks/table_open.py --samples 5000 --asvs 50000`.

Writes a random BIOM table with `biom` into a temporary folder and opens it in a process of its own, so that the peak is
that of reading alone, imports included (VmHWM of Linux; ru_maxrss would keep the peak of the parent).
The bar is 10 s and 1 GiB for 5,000 samples x 50,000 ASVs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

OPEN = """
import json, sys, time
from pathlib import Path
start = time.perf_counter()
from aam.data.table import read_table
from aam.data.tokenizer import tokenize
imported = time.perf_counter()
table = read_table(sys.argv[1])
opened = time.perf_counter()
tokens = tokenize(table.sequences, 150, table.asv_ids)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({
    "import_s": round(imported - start, 2), "open_s": round(opened - imported, 2),
    "tokenize_s": round(time.perf_counter() - opened, 2), "entries": int(table.counts.nnz),
    "peak_rss_mib": int(peak.split()[1]) // 1024,
}))
"""


def write_table(path: Path, samples: int, asvs: int, density: float, seed: int = 0) -> None:
    """A BIOM 2.1 file of random counts for random sequences of 150 bases."""
    import biom
    import h5py
    import numpy as np
    from scipy import sparse

    rng = np.random.default_rng(seed)
    counts = sparse.random(asvs, samples, density, format="csr", random_state=rng)
    counts.data = np.ceil(rng.lognormal(2, 2, counts.nnz))
    bases = rng.choice(np.frombuffer(b"ACGT", dtype=np.uint8), size=(asvs, 150))
    sequences = [row.tobytes().decode() for row in bases]
    with h5py.File(path, "w") as file:
        biom.Table(counts, sequences, [f"sample.{k}" for k in range(samples)]).to_hdf5(file, "benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--asvs", type=int, default=50000)
    parser.add_argument("--density", type=float, default=0.01, help="part of the cells that are not zero")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.biom"
        write_table(path, options.samples, options.asvs, options.density)
        run = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True)
        print(json.dumps({"file_mib": round(path.stat().st_size / 2**20), **json.loads(run.stdout)}))


if __name__ == "__main__":
    main()
