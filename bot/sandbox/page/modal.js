// Dialogs: the top view of a person's modal stack, and the "Are you sure?" of a button. Everything under a dialog is
// inert, Tab stays inside it, Esc closes it, and the focus goes back to where it came from.

import { blocks } from "./blocks.js";
import { h, icon, keepFocus, pathOf, refill } from "./dom.js";
import { complaint, initial } from "./elements.js";
import { textNode, textOf } from "./mrkdwn.js";

const CONTROLS = "input, textarea, select, button, [href], summary, [tabindex='0']";

/** Every element of a view that holds a value, with its block. */
function stateful(view) {
  const all = (view.blocks ?? []).flatMap((block) =>
    block.type === "container" ? (block.child_blocks ?? []) : [block],
  );
  return all.flatMap((block) => {
    const elements =
      block.type === "input"
        ? [block.element]
        : block.type === "actions"
          ? block.elements
          : [block.accessory];
    return (elements ?? [])
      .filter((el) => el?.action_id && !["button", "overflow", "workflow_button", "image"].includes(el.type))
      .map((el) => [block, el]);
  });
}

/** {block_id: {action_id: value}} of what the person sees in the view right now. */
export function valuesOf(view, ctx) {
  const values = {};
  for (const [block, el] of stateful(view)) {
    const kept = ctx.value(block, el);
    const value = kept === undefined ? initial(el) : kept;
    values[block.block_id] = { ...values[block.block_id], [el.action_id]: value === "" ? null : value };
  }
  return values;
}

/** {block_id: sentence} for what Slack's client would not send. */
export function complaints(view, ctx) {
  const values = valuesOf(view, ctx);
  const found = {};
  for (const [block, el] of stateful(view)) {
    const sentence =
      block.type === "input" && complaint(el, block.optional, values[block.block_id][el.action_id]);
    if (sentence) found[block.block_id] = sentence;
  }
  return found;
}

function trap(dialog, leave) {
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      leave();
    }
    if (event.key !== "Tab") return;
    const stops = [...dialog.querySelectorAll(CONTROLS)].filter(
      (node) => !node.disabled && node.tabIndex >= 0 && node.offsetParent !== null,
    );
    const edge = event.shiftKey ? stops[0] : stops.at(-1);
    if (document.activeElement === edge || !dialog.contains(document.activeElement)) {
      event.preventDefault();
      (event.shiftKey ? stops.at(-1) : stops[0])?.focus();
    }
  });
}

/** The layer that holds dialogs. `under` are the regions that rest while one is open. */
export function dialogs(layer, under) {
  let opener = null;
  let asked = 0;
  const settle = () => {
    const open = layer.children.length > 0;
    for (const region of under) region.inert = open;
    [...layer.children].forEach((child, index, all) => {
      child.inert = index < all.length - 1;
    });
    if (!open && opener) {
      const { node, path } = opener;
      opener = null;
      const places = [
        node.isConnected ? node : null,
        path && document.querySelector(path),
        document.querySelector("[data-testid='composer']"),
      ];
      for (const place of places) {
        if (document.activeElement === document.body) place?.focus({ preventScroll: true });
      }
    }
  };
  const put = (node) => {
    if (!layer.children.length)
      opener = { node: document.activeElement, path: pathOf(document.activeElement) };
    layer.append(node);
    settle();
  };
  const drop = (node) => {
    node.remove();
    settle();
  };

  /** Asks; true when the person confirms. */
  function confirm(question, ctx) {
    return new Promise((resolve) => {
      const before = document.activeElement;
      const id = `confirm-${(asked += 1)}`;
      const end = (answer) => {
        drop(overlay);
        if (before?.isConnected) before.focus({ preventScroll: true });
        resolve(answer);
      };
      const accept = h(
        "button",
        {
          type: "button",
          class: `button button-large button-${question.style === "danger" ? "danger" : "primary"}`,
          data: { testid: "confirm-accept" },
          onclick: () => end(true),
        },
        textOf(question.confirm) || "Yes",
      );
      const deny = h(
        "button",
        {
          type: "button",
          class: "button button-large button-default",
          data: { testid: "confirm-deny" },
          onclick: () => end(false),
        },
        textOf(question.deny) || "Cancel",
      );
      const dialog = h(
        "div",
        {
          class: "modal confirm",
          role: "alertdialog",
          "aria-modal": "true",
          "aria-labelledby": `${id}-title`,
          "aria-describedby": `${id}-text`,
          data: { testid: "confirm" },
        },
        h(
          "header",
          { class: "modal-header" },
          h("h2", { id: `${id}-title` }, textOf(question.title) || "Are you sure?"),
        ),
        h("div", { class: "modal-body text", id: `${id}-text` }, textNode(question.text, ctx)),
        h("footer", { class: "modal-footer" }, deny, accept),
      );
      trap(dialog, () => end(false));
      const overlay = h("div", { class: "overlay overlay-confirm" }, dialog);
      put(overlay);
      accept.focus();
    });
  }

  let shown = null;

  /** Shows this view (or none). `doors` are {submit(), close()}; `sig` changes whenever its blocks must be redrawn. */
  function show(view, { ctx, doors, sig, depth, app, busy, trouble }) {
    if (shown && shown.id !== view?.id) {
      const old = shown;
      shown = null;
      drop(old.overlay);
    }
    if (!view) return;
    const fresh = !shown;
    if (fresh) shown = frame(view, doors);
    const { dialog, head, body, foot } = shown;
    dialog.setAttribute("data-callback-id", view.callback_id ?? "");
    refill(head, JSON.stringify([view.title, depth, app]), () => header(view, depth, app, doors));
    refill(body, sig, () => blocks(view.blocks, ctx));
    showErrors(body, ctx.errors);
    refill(foot, JSON.stringify([view.submit, view.close, busy, trouble]), () =>
      footer(view, doors, busy, trouble),
    );
    if (fresh) {
      put(shown.overlay);
      (
        body.querySelector("[autofocus]") ??
        body.querySelector(".input input, .input textarea, .input select") ??
        foot.querySelector("[type=submit]") ??
        head.querySelector("button")
      ).focus();
    }
  }

  function frame(view, doors) {
    const head = h("header", { class: "modal-header" });
    const body = h("div", { class: "modal-body" });
    const foot = h("footer", { class: "modal-footer" });
    const form = h(
      "form",
      {
        class: "modal-form",
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          doors.submit();
        },
      },
      body,
      foot,
    );
    const dialog = h(
      "div",
      {
        class: "modal",
        role: "dialog",
        "aria-modal": "true",
        "aria-labelledby": "modal-title",
        data: { testid: "modal", "view-id": view.id },
      },
      head,
      form,
    );
    trap(dialog, () => doors.close());
    return { id: view.id, overlay: h("div", { class: "overlay" }, dialog), dialog, head, body, foot };
  }

  return { confirm, show };
}

function header(view, depth, app, doors) {
  const back = depth > 1;
  return [
    h(
      "span",
      { class: "avatar avatar-small avatar-app", "aria-hidden": "true" },
      (app || "?")[0].toUpperCase(),
    ),
    h("h2", { id: "modal-title" }, textOf(view.title)),
    h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": back ? "Back" : "Close",
        data: { testid: "modal-x" },
        onclick: () => doors.close(),
      },
      icon(back ? "back" : "close"),
    ),
  ];
}

function footer(view, doors, busy, trouble) {
  return [
    trouble &&
      h(
        "p",
        { class: "modal-trouble", role: "alert", data: { testid: "modal-trouble" } },
        icon("warning"),
        trouble,
      ),
    h(
      "button",
      {
        type: "button",
        class: "button button-large button-default",
        data: { testid: "modal-close" },
        onclick: () => doors.close(),
      },
      textOf(view.close) || (view.submit ? "Cancel" : "Close"),
    ),
    view.submit &&
      h(
        "button",
        {
          type: "submit",
          class: `button button-large button-primary${busy ? " is-busy" : ""}`,
          "aria-busy": busy ? "true" : null,
          data: { testid: "modal-submit" },
        },
        h("span", { class: "button-text" }, textOf(view.submit)),
        h("span", { class: "spinner", "aria-hidden": "true" }),
      ),
  ];
}

/** Puts each sentence under its input in place, so that the fields keep what was typed, and takes the person to the first. */
function showErrors(body, errors) {
  const sig = JSON.stringify(errors ?? {});
  const news = body.sandboxErrors !== sig;
  body.sandboxErrors = sig;
  keepFocus(() => {
    for (const place of body.querySelectorAll("[data-error-for]")) {
      const sentence = errors?.[place.getAttribute("data-error-for")] ?? "";
      if (place.textContent !== sentence) place.textContent = sentence;
      place.hidden = !sentence;
      place.closest(".input").classList.toggle("has-error", Boolean(sentence));
      for (const control of place.closest(".input").querySelectorAll(".control"))
        control.setAttribute("aria-invalid", String(Boolean(sentence)));
    }
  });
  if (news && sig !== "{}") body.querySelector(".has-error .control, .has-error input")?.focus();
}
