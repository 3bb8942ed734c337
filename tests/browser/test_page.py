"""The page in a real Chromium: what a newcomer does in the demo, clicked by machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright, expect

from bot.demo import CHANNEL, REQUESTER, Demo, open_demo
from bot.showcases import SHOWCASES

DEPLOY = SHOWCASES["deploy"]
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = os.environ.get("SIGNOFF_SHOTS")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            browser = await playwright.chromium.launch(executable_path=found, args=ARGS)
        except Error as error:
            reason = (
                f"no browser: neither chromium on PATH nor playwright's own ({str(error).splitlines()[0]})"
            )
            if os.environ.get("SIGNOFF_TESTS_NEED_BROWSER"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield browser
        await browser.close()


@pytest.fixture
async def demo() -> AsyncIterator[Demo]:
    async with open_demo(0, DEPLOY) as demo:
        yield demo


async def open_page(context: BrowserContext, demo: Demo, user: str) -> Page:
    page = await context.new_page()
    await page.goto(f"{demo.slack.url}/?as={user}&channel={CHANNEL}")
    return page


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


async def rests(demo: Demo, run_id: str, status: str) -> None:
    async with asyncio.timeout(20):
        while (await demo.runtime.get(run_id)).status != status:
            await asyncio.sleep(0.02)


async def test_the_card_appears_approve_updates_it_and_a_late_click_gets_a_private_sentence(
    browser: Browser, demo: Demo
) -> None:
    wide = await browser.new_context(viewport={"width": 1280, "height": 800})
    phone = await browser.new_context(viewport={"width": 390, "height": 760})
    run = await demo.runtime.start("deploy", dict(DEPLOY.given), requester=REQUESTER)
    alice, bob = await open_page(wide, demo, "U0ALICE"), await open_page(phone, demo, "U0BOB")
    for page in (alice, bob):
        card = page.get_by_test_id("messages").get_by_test_id("message").last
        await expect(card).to_contain_text("Deploy payments 4f2c9e1 to production")
        await expect(card).to_contain_text("needs one of @sre, not @Carol Chen")
    await shot(alice, "card")
    await shot(bob, "card-phone")

    await alice.get_by_test_id("messages").locator("[data-action-id=signoff_approve]").click()
    card = alice.get_by_test_id("messages").get_by_test_id("message").last
    await expect(card).to_contain_text("Approved by @Alice Adams")
    await expect(card).to_contain_text("the run completed")
    await expect(card.locator("[data-action-id=signoff_approve]")).to_have_count(0)
    await rests(demo, run.id, "completed")
    await shot(alice, "approved")

    thread = card.get_by_test_id("thread-link")
    await thread.click()
    await expect(alice.get_by_test_id("thread")).to_contain_text("Approved by @Alice Adams")
    await expect(alice.get_by_test_id("thread")).to_contain_text("The run completed")
    await shot(alice, "thread")


async def test_a_second_users_late_click_gets_the_private_sentence(browser: Browser, demo: Demo) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    run = await demo.runtime.start("deploy", dict(DEPLOY.given), requester=REQUESTER)
    alice, bob = await open_page(context, demo, "U0ALICE"), await open_page(context, demo, "U0BOB")
    button = "[data-testid=messages] [data-action-id=signoff_approve]"
    await expect(bob.locator(button)).to_be_visible()
    # Bob's page hears of nothing any more, as a phone in a lift: he clicks what he still sees.
    await bob.route("**/sandbox/state*", lambda route: route.abort())
    await alice.locator(button).click()
    await expect(alice.get_by_test_id("messages").get_by_test_id("message").last).to_contain_text(
        "Approved by"
    )
    async with bob.expect_response("**/sandbox/click"):
        await bob.locator(button).click()
    await bob.unroute("**/sandbox/state*")
    await bob.reload()
    said = bob.get_by_test_id("ephemeral").last
    await expect(said).to_contain_text("This was already decided by @Alice Adams")
    await expect(said).to_contain_text("Your click was not recorded")
    await expect(bob.locator(button)).to_have_count(0)
    approvals = [e for e in await demo.runtime.events(run_id=run.id) if e.kind == "request.approved"]
    assert [e.actor for e in approvals] == ["U0ALICE"]
    await shot(bob, "late-click")


async def test_reject_asks_for_a_reason_and_shows_it(browser: Browser, demo: Demo) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    run = await demo.runtime.start("deploy", dict(DEPLOY.given), requester=REQUESTER)
    page = await open_page(context, demo, "U0BOB")
    await page.get_by_test_id("messages").locator("[data-action-id=signoff_reject]").click()
    modal = page.get_by_test_id("modal")
    await expect(modal).to_contain_text("Deploy payments 4f2c9e1 to production")
    await shot(page, "reject")
    await modal.get_by_test_id("modal-submit").click()
    await expect(modal.get_by_test_id("field-error")).to_be_visible()
    await modal.locator("textarea").fill("The migration locks the orders table")
    await modal.get_by_test_id("modal-submit").click()
    card = page.get_by_test_id("messages").get_by_test_id("message").last
    await expect(card).to_contain_text("Rejected by @Bob Brown")
    await expect(card).to_contain_text("The migration locks the orders table")
    await rests(demo, run.id, "completed")
    assert "deployed" not in (await demo.runtime.look(run.id)).state.values
    await shot(page, "rejected")


async def test_slash_commands_answer_privately(browser: Browser, demo: Demo) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    run = await demo.runtime.start("deploy", dict(DEPLOY.given), requester=REQUESTER)
    await rests(demo, run.id, "interrupted")
    page = await open_page(context, demo, REQUESTER)
    for typed, answer in {
        "/signoff runs": run.id,
        f"/signoff show {run.id}": "Waits for",
        "/signoff shwo": "There is no shwo",
        f"/signoff cancel {run.id} wrong commit": "what it asked was withdrawn",
    }.items():
        await page.get_by_test_id("composer").fill(typed)
        await page.get_by_test_id("composer-send").click()
        await expect(page.get_by_test_id("ephemeral").last).to_contain_text(answer)
    card = page.get_by_test_id("messages").get_by_test_id("message").last
    await expect(card).to_contain_text("Withdrawn")
    await shot(page, "commands")
