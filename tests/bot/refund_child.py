"""Drives one refund, with a provider that takes its time before and after it pays."""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path

import examples.refund
from bot.showcases import SHOWCASES
from graph_runtime import Requests, Runtime, open_store, read_policies


class SlowBank(examples.refund.Bank):
    """Takes some milliseconds for everything."""

    def pay(self, amount: Decimal, key: str) -> str:
        time.sleep(0.01)
        paid = super().pay(amount, key)
        time.sleep(0.01)
        return paid


async def drive(folder: Path, run_id: str) -> None:
    before = examples.refund.bank
    examples.refund.bank = lambda: SlowBank(before()._file)
    policies = read_policies(SHOWCASES["refund"].read_policies())
    async with open_store(f"sqlite:///{folder}/signoff.db") as store:
        runtime = Runtime(store, [examples.refund.graph], companions=[Requests(policies)], lease=300_000)
        sys.stdout.write("up\n")
        sys.stdout.flush()
        while (await runtime.get(run_id)).live:
            claimed = await runtime.claim_this(run_id)
            if claimed is None:
                await asyncio.sleep(0.02)  # the lease of one that was killed
                continue
            await runtime.drive(claimed)


def main() -> None:
    asyncio.run(drive(Path(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
