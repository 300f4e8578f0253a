"""The `qtfeat` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; say what to install where typer or rich is missing."""
    try:
        _main()
    except KeyboardInterrupt:
        # Ctrl-C before typer is there to take it.
        raise SystemExit(130) from None


def _main() -> None:
    try:
        import rich
        import typer
    except ImportError as error:
        print(f'qtfeat: {error}. The command line needs typer and rich: pip install "qtfeat[cli]"', file=sys.stderr)
        raise SystemExit(1) from error
    del rich, typer
    from qtfeat.cli.app import app

    app()
