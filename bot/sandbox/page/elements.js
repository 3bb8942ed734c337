// Interactive elements: buttons, menus, choices and text fields. Values here are plain: a string, or a list of strings
// for elements that take several options (see `initial`).

import { h, icon, safeUrl } from "./dom.js";
import { textNode, textOf } from "./mrkdwn.js";

const TYPED = {
  plain_text_input: "text",
  email_text_input: "email",
  url_text_input: "url",
  number_input: "text",
};
const PICKED = { datepicker: "date", timepicker: "time", datetimepicker: "datetime-local" };
const SELECTS = /^(static|external|users|conversations|channels)_select$/;
const MULTI_SELECTS = /^multi_(static|external|users|conversations|channels)_select$/;

const pad = (n) => String(n).padStart(2, "0");

/** Whether a <label for> can name this element (else it needs a group). */
export const readsAsInput = (type) =>
  type in TYPED || type in PICKED || SELECTS.test(type ?? "") || type === "rich_text_input";

/** The value an element starts with, null if none. */
export function initial(el) {
  if (el.initial_options) return el.initial_options.map((option) => option.value);
  if (el.initial_option) return el.initial_option.value;
  const names = [
    "initial_value",
    "initial_date",
    "initial_time",
    "initial_date_time",
    "initial_user",
    "initial_channel",
    "initial_conversation",
    "initial_users",
    "initial_channels",
    "initial_conversations",
  ];
  const found = names.map((name) => el[name]).find((value) => value !== undefined && value !== null);
  return found === undefined
    ? null
    : Array.isArray(found)
      ? found
      : typeof found === "object"
        ? null
        : String(found);
}

/** What Slack's client says about a value before it sends anything, or null if it is content. */
export function complaint(el, optional, value) {
  const empty =
    value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);
  if (empty) return optional ? null : "Please complete this required field.";
  if (el.min_length && value.length < el.min_length)
    return `Please enter at least ${el.min_length} characters.`;
  if (el.max_length && value.length > el.max_length)
    return `Please enter at most ${el.max_length} characters.`;
  if (el.type === "email_text_input" && !/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(value))
    return "Please enter a valid email address.";
  if (el.type === "url_text_input" && !safeUrl(value)) return "Please enter a valid URL.";
  return el.type === "number_input" ? numberComplaint(el, value) : null;
}

function numberComplaint(el, value) {
  const shape = el.is_decimal_allowed ? /^-?\d*\.?\d+$/ : /^-?\d+$/;
  if (!shape.test(value.trim()))
    return el.is_decimal_allowed ? "Please enter a number." : "Please enter a whole number.";
  if (el.min_value !== undefined && Number(value) < Number(el.min_value))
    return `Please enter a number that is at least ${el.min_value}.`;
  if (el.max_value !== undefined && Number(value) > Number(el.max_value))
    return `Please enter a number that is at most ${el.max_value}.`;
  return null;
}

/** The node of one element, or null for a type this page does not know. */
export function element(block, el, ctx, id = null) {
  const type = el?.type ?? "";
  if (Array.isArray(el?.visible_to_user_ids) && !el.visible_to_user_ids.includes(ctx.people.me))
    return h("span", { hidden: true });
  if (type === "button" || type === "workflow_button")
    return button(block, el, ctx, textOf(el.text), el.style);
  if (type === "icon_button") return button(block, el, ctx, textOf(el.text), "icon");
  if (type === "feedback_buttons")
    return h(
      "span",
      { class: "feedback" },
      [el.positive_button, el.negative_button]
        .filter(Boolean)
        .map((one) => button(block, el, ctx, textOf(one.text), undefined, one.value)),
    );
  if (type === "overflow") return overflow(block, el, ctx);
  if (type in TYPED) return typed(block, el, ctx, id);
  if (type in PICKED) return picked(block, el, ctx, id);
  if (SELECTS.test(type)) return select(block, el, ctx, id);
  if (type === "radio_buttons") return choices(block, el, ctx, "radio", el.options ?? []);
  if (type === "checkboxes") return choices(block, el, ctx, "checkbox", el.options ?? []);
  if (MULTI_SELECTS.test(type)) return choices(block, el, ctx, "checkbox", optionsOf(el, ctx));
  return null;
}

const names = (block, el) => ({ "block-id": block.block_id, "action-id": el.action_id });

function current(block, el, ctx) {
  const kept = ctx.value(block, el);
  return kept === undefined ? initial(el) : kept;
}

/** Remembers a value; where Slack would also send it at once (not a silent input block), tells the app. */
function chosen(block, el, ctx, value) {
  ctx.keep(block, el, value);
  if (block.type !== "input" || block.dispatch_action) ctx.act(block, el, value);
}

function button(block, el, ctx, text, style, value = undefined) {
  const status = ctx.status(block, el);
  const look = ["primary", "danger", "icon"].includes(style) ? style : "default";
  const node = h(
    "button",
    {
      type: "button",
      class: `button button-${look}${status === "busy" ? " is-busy" : ""}`,
      data: { ...names(block, el), "option-value": value },
      "aria-label": el.accessibility_label,
      "aria-busy": status === "busy" ? "true" : null,
      onclick: () => {
        const url = el.url && safeUrl(el.url);
        if (url) window.open(url, "_blank", "noopener,noreferrer");
        ctx.act(block, el, value);
      },
    },
    h("span", { class: "button-text" }, text),
    h("span", { class: "spinner", "aria-hidden": "true" }),
  );
  if (status !== "failed") return node;
  return h(
    "span",
    { class: "failed" },
    node,
    h(
      "span",
      {
        class: "failed-mark",
        title: "The app did not respond in time. Click again.",
        data: { testid: "failed-mark" },
      },
      icon("warning"),
      h("span", { class: "visually-hidden" }, "The app did not respond in time. Click again."),
    ),
  );
}

function overflow(block, el, ctx) {
  const menu = h("div", { class: "menu", role: "menu", hidden: true });
  const opener = h(
    "button",
    {
      type: "button",
      class: "button button-default button-overflow",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      "aria-label": "More actions",
      data: names(block, el),
    },
    icon("dots"),
  );
  const show = (open) => {
    menu.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
  };
  for (const option of el.options ?? []) {
    menu.append(
      h(
        "button",
        {
          type: "button",
          role: "menuitem",
          class: "menu-item",
          data: { "option-value": option.value, "block-id": block.block_id },
          onclick: () => {
            show(false);
            const url = option.url && safeUrl(option.url);
            if (url) window.open(url, "_blank", "noopener,noreferrer");
            ctx.act(block, el, option.value);
          },
        },
        textOf(option.text),
      ),
    );
  }
  opener.addEventListener("click", () => {
    show(menu.hidden);
    if (!menu.hidden) menu.firstElementChild?.focus();
  });
  const frame = h("span", { class: "overflow" }, opener, menu);
  frame.addEventListener("keydown", (event) => {
    if (menu.hidden) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      show(false);
      opener.focus();
    }
    const items = [...menu.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      items.at((items.indexOf(document.activeElement) + step) % items.length)?.focus();
    }
  });
  frame.addEventListener("focusout", (event) => {
    if (!frame.contains(event.relatedTarget)) show(false);
  });
  return frame;
}

function typed(block, el, ctx, id) {
  const multiline = el.type === "plain_text_input" && el.multiline;
  const start = current(block, el, ctx) ?? "";
  const left = el.max_length ? h("span", { class: "counter", "aria-hidden": "true" }) : null;
  const node = h(multiline ? "textarea" : "input", {
    id,
    class: "control",
    rows: multiline ? 4 : null,
    autocomplete: "off",
    type: multiline ? null : TYPED[el.type],
    inputmode: el.type === "number_input" ? "decimal" : null,
    placeholder: textOf(el.placeholder),
    "aria-describedby": id && `${id}-error`,
    data: names(block, el),
    autofocus: Boolean(el.focus_on_load),
  });
  node.value = start;
  const count = () => {
    if (!left) return;
    left.textContent = String(el.max_length - node.value.length);
    left.classList.toggle("is-over", node.value.length > el.max_length);
  };
  const on = el.dispatch_action_config?.trigger_actions_on ?? ["on_enter_pressed"];
  node.addEventListener("input", () => {
    ctx.keep(block, el, node.value);
    count();
    if (block.dispatch_action && on.includes("on_character_entered")) ctx.act(block, el, node.value);
  });
  node.addEventListener("keydown", (event) => {
    if (
      event.key === "Enter" &&
      !multiline &&
      !event.isComposing &&
      block.dispatch_action &&
      on.includes("on_enter_pressed")
    ) {
      event.preventDefault();
      ctx.act(block, el, node.value);
    }
  });
  count();
  return left ? h("div", { class: "counted" }, node, left) : node;
}

function picked(block, el, ctx, id) {
  const start = current(block, el, ctx);
  const moment = el.type === "datetimepicker";
  const node = h("input", {
    id,
    class: "control control-picked",
    type: PICKED[el.type],
    "aria-label": id ? null : textOf(el.placeholder) || "Date",
    data: names(block, el),
  });
  if (start) node.value = moment ? localMoment(Number(start)) : start;
  node.addEventListener("change", () => {
    const value = !node.value
      ? null
      : moment
        ? String(Math.floor(new Date(node.value).getTime() / 1000))
        : node.value;
    chosen(block, el, ctx, value);
  });
  return node;
}

function localMoment(seconds) {
  const d = new Date(seconds * 1000);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}T${pad(d.getHours())}:${pad(d.getMinutes())}`;
}

/** The options of a select, whichever kind it is: fixed ones, or this workspace's users or channels. */
function optionsOf(el, ctx) {
  const kind = el.type.replace(/^multi_/, "");
  if (kind === "users_select")
    return ctx.people
      .users()
      .filter((user) => !user.deleted)
      .map((user) => ({ value: user.id, text: user.real_name }));
  if (kind === "channels_select" || kind === "conversations_select")
    return ctx.people
      .channels()
      .filter((channel) => !channel.is_im)
      .map((channel) => ({ value: channel.id, text: `#${channel.name}` }));
  return el.options ?? (el.option_groups ?? []).flatMap((group) => group.options ?? []);
}

function select(block, el, ctx, id) {
  const start = current(block, el, ctx) ?? "";
  const option = (one) => h("option", { value: one.value }, textOf(one.text));
  const node = h(
    "select",
    {
      id,
      class: "control control-select",
      "aria-label": id ? null : textOf(el.placeholder) || "Choose an option",
      data: names(block, el),
    },
    h("option", { value: "" }, textOf(el.placeholder) || "Choose an option"),
    el.option_groups
      ? el.option_groups.map((group) =>
          h("optgroup", { label: textOf(group.label) }, (group.options ?? []).map(option)),
        )
      : optionsOf(el, ctx).map(option),
  );
  node.value = start;
  if (node.value !== start) node.value = "";
  node.addEventListener("change", () => chosen(block, el, ctx, node.value || null));
  return node;
}

let groups = 0;

function choices(block, el, ctx, kind, options) {
  const start = [current(block, el, ctx) ?? []].flat();
  const group = `choice-${(groups += 1)}`;
  const frame = h("div", {
    class: "choices",
    role: kind === "radio" ? "radiogroup" : null,
    data: names(block, el),
  });
  for (const option of options) {
    const box = h("input", {
      type: kind,
      name: group,
      value: option.value,
      data: { ...names(block, el), "option-value": option.value },
    });
    box.checked = start.includes(option.value);
    frame.append(
      h(
        "label",
        { class: "choice" },
        box,
        h(
          "span",
          {},
          textNode(option.text, ctx),
          option.description && h("span", { class: "choice-note" }, textNode(option.description, ctx)),
        ),
      ),
    );
  }
  frame.addEventListener("change", () => {
    const ticked = [...frame.querySelectorAll("input:checked")].map((box) => box.value);
    chosen(block, el, ctx, kind === "radio" ? (ticked[0] ?? null) : ticked);
  });
  return frame;
}
