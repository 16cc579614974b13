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
except ImportError as error:
    raise SystemExit(f"{error}; the pages need the extra: pip install 'aam[docs]'") from error

MAX_SECONDS = 300
"""Of one cell."""


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
        NotebookClient(notebook, timeout=MAX_SECONDS, resources={"metadata": {"path": folder}}).execute()
    name = f"{path.stem}/{path.name}"
    where = {"unique_key": path.stem, "output_files_dir": path.stem}
    text, resources = MarkdownExporter().from_notebook_node(notebook, where)
    download = f"[This page as a notebook]({name}).\n"
    return {
        path.name: re.sub(r"^(# .*\n)", rf"\1\n{download}", text, count=1, flags=re.MULTILINE),
        **resources["outputs"],
        name: nbformat.writes(notebook),
    }
