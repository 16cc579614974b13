"""Hook of MkDocs (`hooks` in mkdocs.yml): runs the notebooks of docs/ and makes a page of each, with its output.

A notebook that raises an error stops the build. The notebooks are committed without output; the page offers the file
with it. Needs the extra `docs`.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

try:
    import nbformat
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter
    from traitlets.config import Config
except ImportError as error:
    raise SystemExit(f"{error}; the pages need the extra: pip install 'aam[docs]'") from error

MAX_SECONDS = 600
"""Of one cell, and of the start."""
CELL_FILE = re.compile(r"^/\S*ipykernel_\d+/\d+\.py:\d+: ", re.MULTILINE)
"""Where a warning came from: the file of a cell, which nobody can open."""


class NotebookPage(File):
    """A notebook whose content is its Markdown, so that pages link to the file and mean the page."""

    def is_documentation_page(self) -> bool:
        """Yes: MkDocs renders it, as it does Markdown files."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put a page, its pictures and the notebook as it was run in place of each notebook."""
    for source in [file for file in files if file.src_uri.endswith(".ipynb")]:
        assert source.abs_src_path is not None
        files.remove(source)
        for name, content in pages_of(Path(source.abs_src_path)).items():
            kind = NotebookPage if name == source.src_uri else File
            files.append(kind.generated(config, name, content=content))
    return files


def pages_of(path: Path) -> dict[str, str | bytes]:
    """Run a notebook; -> name: content of the page (under the name of the notebook), its pictures, the notebook run."""
    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # Sockets of this folder, in place of ports that every user of the machine can read.
        local = Config(KernelManager=Config(transport="ipc", ip=f"{folder}/kernel"))
        where = {"metadata": {"path": folder}}
        NotebookClient(
            notebook, timeout=MAX_SECONDS, startup_timeout=MAX_SECONDS, resources=where, config=local
        ).execute()
    for output in [output for cell in notebook.cells for output in cell.get("outputs", [])]:
        if output.get("name") == "stderr":
            output.text = CELL_FILE.sub("", output.text)
    name = f"{path.stem}/{path.name}"
    outputs = {"unique_key": path.stem, "output_files_dir": path.stem}
    text, resources = MarkdownExporter().from_notebook_node(notebook, outputs)
    download = f"[This page as a notebook]({name}).\n"
    return {
        path.name: re.sub(r"^(# .*\n)", rf"\1\n{download}", text, count=1, flags=re.MULTILINE),
        **resources["outputs"],
        name: nbformat.writes(notebook),
    }
