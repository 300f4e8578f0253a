"""What the main job prints: lines, tables and progress; with rich where it is installed, plain text otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

Tick = Callable[[int], None]


class Report:
    """Prints to a rich console, or plainly.

    Args:
        console: a `rich.console.Console`; None makes one if rich is installed.
        quiet: print nothing.
    """

    def __init__(self, console: Any = None, *, quiet: bool = False) -> None:
        self._quiet = quiet
        if console is None and not quiet and find_spec("rich") is not None:
            from rich.console import Console

            console = Console()
        self._console = console

    def line(self, text: str) -> None:
        """Print one line."""
        if self._quiet:
            return
        if self._console is not None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
        """Print a table of text cells; the first `left` columns are aligned left, the others right.

        The last column is wrapped where the terminal is too narrow for it and it is aligned left.
        """
        if self._quiet:
            return
        if self._console is None:
            self._plain_table(title, columns, rows, left)
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for i, name in enumerate(columns):
            wraps = 0 < i == len(columns) - 1 < left
            table.add_column(name, justify="left" if i < left else "right", no_wrap=not wraps)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)

    @staticmethod
    def _plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
        widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
        print(title)
        for row in (columns, ["-" * width for width in widths], *rows):
            cells = [
                cell.ljust(w) if i < left else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            print("  ".join(cells).rstrip())

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Tick]:
        """Show progress towards `total` while the block runs; gives a function that takes the steps just done."""
        if self._quiet or self._console is None:
            self.line(f"{text} ...")
            yield lambda _steps: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        parts = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*parts, console=self._console, transient=True) as bar:
            task = bar.add_task(text, total=total)
            yield lambda steps: bar.advance(task, steps)
