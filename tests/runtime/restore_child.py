"""Puts a copy back in the place of a database. Usage: restore_child.py PLACE COPY."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from graph_runtime import Upkeep


def main() -> None:
    asyncio.run(Upkeep(f"sqlite:///{sys.argv[1]}").restore(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
