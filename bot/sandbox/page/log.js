// What went over the wire: deliveries to the app and its Web API calls, newest last.

import { clock } from "./dates.js";
import { h, icon, reconcile, refill } from "./dom.js";

const GOOD = new Set(["acked", "ok"]);
const BAD = new Set(["timeout", "no_connection", "error"]);

const tone = (outcome) =>
  GOOD.has(outcome)
    ? "good"
    : BAD.has(outcome) || /^http_/.test(outcome ?? "")
      ? "bad"
      : outcome
        ? "odd"
        : "open";

const took = (ms) =>
  typeof ms !== "number"
    ? ""
    : ms < 10
      ? `${ms.toFixed(1)} ms`
      : ms < 10000
        ? `${Math.round(ms)} ms`
        : `${(ms / 1000).toFixed(1)} s`;

function line(entry) {
  const out = entry.direction === "to_app";
  return [
    h(
      "span",
      { class: `arrow arrow-${out ? "out" : "in"}`, title: out ? "Slack to the app" : "the app to Slack" },
      out ? "→" : "←",
      h("span", { class: "visually-hidden" }, out ? " to the app" : " from the app"),
    ),
    h("span", { class: "log-kind" }, entry.kind),
    h("span", { class: "log-summary" }, entry.summary || ""),
    h("span", { class: `outcome outcome-${tone(entry.outcome)}` }, entry.outcome || "…"),
    h("span", { class: "log-ms" }, took(entry.ms)),
  ];
}

export function deliveryLog(toggle, list, remember) {
  const open = new Set();
  let shown = remember.get() === "open";

  function draw(entries) {
    toggle.setAttribute("aria-expanded", String(shown));
    const last = entries.at(-1);
    refill(toggle, JSON.stringify([shown, entries.length, last?.id, last?.outcome, last?.ms]), () => [
      icon(shown ? "down" : "up"),
      h("strong", {}, "Delivery log"),
      h("span", { class: "log-count" }, String(entries.length)),
      !shown && last && h("span", { class: "log-last" }, line(last)),
    ]);
    list.hidden = !shown;
    if (!shown) return;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    reconcile(
      list,
      entries.length
        ? entries.map((entry) => item(entry, () => draw(entries)))
        : [
            {
              key: "none",
              sig: "none",
              make: () =>
                h(
                  "p",
                  { class: "log-none" },
                  "Nothing yet. Every delivery to the app and every Web API call shows up here.",
                ),
            },
          ],
    );
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  function item(entry, redraw) {
    const isOpen = open.has(entry.id);
    return {
      key: String(entry.id),
      sig: JSON.stringify([entry.outcome, entry.ms, entry.summary, isOpen]),
      make: () =>
        h(
          "div",
          {
            class: "log-entry",
            data: {
              "log-id": entry.id,
              direction: entry.direction,
              kind: entry.kind,
              outcome: entry.outcome,
              testid: "log-entry",
            },
          },
          h(
            "button",
            {
              type: "button",
              class: "log-line",
              "aria-expanded": String(isOpen),
              data: { testid: "log-line" },
              onclick: () => {
                if (isOpen) open.delete(entry.id);
                else open.add(entry.id);
                redraw();
              },
            },
            h("time", { class: "log-time" }, clock(entry.at, true)),
            line(entry),
          ),
          isOpen &&
            h(
              "pre",
              { class: "pre log-detail", tabindex: "0", data: { testid: "log-detail" } },
              JSON.stringify(entry.detail ?? null, null, 2),
            ),
        ),
    };
  }

  let entries = [];
  toggle.addEventListener("click", () => {
    shown = !shown;
    remember.set(shown ? "open" : "closed");
    draw(entries);
    if (shown) list.scrollTop = list.scrollHeight;
  });
  return (news) => {
    entries = news;
    draw(entries);
  };
}
