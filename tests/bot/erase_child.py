"""Drives one deletion, and kills itself when a piece of a given number is gone, before anything is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import examples.erase
from bot.policies import load_policies
from graph_runtime import Requests, Runtime, open_store

POLICIES = Path(examples.erase.__file__).parent / "policies" / "erase.toml"


class Mortal(examples.erase.Records):
    """Its process dies after one of the pieces."""

    def delete(self, key: str, customer: str, number: int) -> None:
        super().delete(key, customer, number)
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)


async def drive(folder: Path, run_id: str) -> None:
    examples.erase.records = lambda: Mortal(folder / "records.db")
    policies = load_policies(POLICIES)
    policies["default"] = policies["gdpr-delete"]
    async with open_store(f"sqlite:///{folder}/signoff.db") as store:
        runtime = Runtime(store, [examples.erase.graph], companions=[Requests(policies)], lease=300_000)
        claimed = await runtime.claim_this(run_id)
        assert claimed is not None
        await runtime.drive(claimed)


def main() -> None:
    asyncio.run(drive(Path(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
