// The box at the bottom: a message, or a slash command with the list of those the app has.

import { h, icon } from "./dom.js";

/**
 * A composer. `send(text)` resolves to true when the text was taken. It keeps one draft per `place` (see `aim`).
 */
export function composer({ testid, send, commands, label }) {
  const drafts = new Map();
  let place = "";
  let picked = 0;
  const listId = `${testid}-commands`;
  const list = h("div", {
    class: "commands",
    id: listId,
    role: "listbox",
    "aria-label": "Commands",
    hidden: true,
    data: { testid: "commands" },
  });
  const box = h("textarea", {
    class: "composer-text",
    id: testid,
    rows: 1,
    "aria-label": label,
    "aria-autocomplete": commands ? "list" : null,
    "aria-controls": commands ? listId : null,
    data: { testid },
    autocomplete: "off",
  });
  const button = h(
    "button",
    {
      type: "button",
      class: "send",
      "aria-label": "Send",
      data: { testid: `${testid}-send` },
      onclick: () => submit(),
    },
    icon("send"),
  );
  const node = h("div", { class: "composer" }, list, h("div", { class: "composer-frame" }, box, button));

  const matches = () => {
    const typed = box.value;
    if (!commands || !typed.startsWith("/") || /\s/.test(typed)) return [];
    return commands().filter((one) => one.command.startsWith(typed));
  };

  function draw() {
    const found = matches();
    picked = Math.min(picked, Math.max(found.length - 1, 0));
    list.hidden = !found.length;
    list.replaceChildren(
      ...found.map((one, index) =>
        h(
          "button",
          {
            type: "button",
            role: "option",
            id: `${listId}-${index}`,
            class: "command",
            tabindex: "-1",
            "aria-selected": String(index === picked),
            data: { command: one.command },
            onmousedown: (event) => event.preventDefault(),
            onclick: () => complete(one),
          },
          h("strong", {}, one.command),
          h("span", { class: "usage" }, ` ${one.usage_hint ?? ""}`),
          h("span", { class: "command-note" }, one.description ?? ""),
        ),
      ),
    );
    if (found.length) box.setAttribute("aria-activedescendant", `${listId}-${picked}`);
    else box.removeAttribute("aria-activedescendant");
    button.classList.toggle("is-ready", Boolean(box.value.trim()));
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 160)}px`;
  }

  function complete(one) {
    box.value = `${one.command} `;
    box.focus();
    changed();
  }

  function changed() {
    drafts.set(place, box.value);
    draw();
  }

  async function submit() {
    const text = box.value.trim();
    const target = place;
    if (!text) return;
    box.value = "";
    changed();
    if (await send(text)) return;
    drafts.set(target, text);
    if (target === place && !box.value) {
      box.value = text;
      draw();
    }
  }

  box.addEventListener("input", changed);
  box.addEventListener("keydown", (event) => {
    const found = matches();
    if (found.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      picked = (picked + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
      draw();
    } else if (
      found.length &&
      (event.key === "Tab" || event.key === "Enter") &&
      box.value !== found[picked].command
    ) {
      event.preventDefault();
      complete(found[picked]);
    } else if (event.key === "Escape" && found.length) {
      list.hidden = true;
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  box.addEventListener("blur", () => {
    list.hidden = true;
  });

  /** Points the box at a conversation: its own draft and placeholder. */
  function aim(where, placeholder) {
    box.placeholder = placeholder;
    if (where === place) return;
    place = where;
    box.value = drafts.get(place) ?? "";
    draw();
  }

  return { node, aim, focus: () => box.focus() };
}
