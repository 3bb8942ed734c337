// Builds DOM nodes from data. Data only ever becomes text nodes and attributes: there is no innerHTML in this page.

const NAMES = /^data-(view-id|ts|log-id|toast-id|block-id|action-id|option-value|channel|testid|user)$/;
const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  menu: "M3 5.5h14M3 10h14M3 14.5h14",
  close: "M5 5l10 10M15 5L5 15",
  lock: "M5 9h10v7.5H5zM7 9V6.5a3 3 0 0 1 6 0V9",
  reply: "M4 4.5h12v8.5H9.5L6 16v-3H4z",
  send: "M3.5 3.5l13.5 6.5-13.5 6.5 1.8-6.5zM5.3 10H11",
  down: "M5 8l5 5 5-5",
  up: "M5 12l5-5 5 5",
  eye: "M2.5 10S5.5 5 10 5s7.5 5 7.5 5-3 5-7.5 5-7.5-5-7.5-5zM10 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  dots: "M10 4.6v.01M10 10v.01M10 15.4v.01",
  warning: "M10 3.2l7.5 13.3H2.5zM10 8v4.2M10 14.2v.01",
  back: "M12 5l-5 5 5 5",
};

/** An element with attributes, `data` attributes, `on…` listeners and children (nodes, strings, nested lists, nothing). */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "data") setData(node, value);
    else if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  return add(node, children);
}

function setData(node, data) {
  for (const [name, value] of Object.entries(data)) {
    if (value !== undefined && value !== null) node.setAttribute(`data-${name}`, String(value));
  }
}

export function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    node.append(child);
  }
  return node;
}

export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** The address if it is plain http or https, else null. */
export function safeUrl(address) {
  try {
    const url = new URL(String(address));
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

/** A link that opens elsewhere; any address other than http(s) gives its label as plain text. */
export function link(address, label, className = "link") {
  const href = safeUrl(address);
  if (!href) return h("span", { class: "not-a-link" }, label);
  return h(
    "a",
    { class: className, href, target: "_blank", rel: "noopener noreferrer nofollow", title: href },
    label,
  );
}

/**
 * Makes the children of `parent` those of `items` ({key, sig, make}), in order. A child whose sig is unchanged stays the
 * same node, so its focus, selection, scroll position and open menus survive.
 */
export function reconcile(parent, items) {
  const old = new Map();
  for (const child of parent.children) old.set(child.sandboxKey, child);
  const wanted = items.map((item) => {
    const found = old.get(item.key);
    if (found && found.sandboxSig === item.sig) return found;
    const node = item.make();
    node.sandboxKey = item.key;
    node.sandboxSig = item.sig;
    return node;
  });
  const keep = new Set(wanted);
  const stale = [...parent.childNodes].filter((child) => !keep.has(child));
  keepFocus(() => {
    for (const child of stale) child.remove();
    wanted.forEach((node, index) => {
      if (parent.childNodes[index] !== node) parent.insertBefore(node, parent.childNodes[index] ?? null);
    });
  });
}

/** Fills `parent` anew when `sig` differs from the last time; keeps the focus. Says whether it did. */
export function refill(parent, sig, make) {
  if (parent.sandboxSig === sig) return false;
  parent.sandboxSig = sig;
  keepFocus(() => {
    parent.replaceChildren();
    add(parent, make());
  });
  return true;
}

/** Runs `change`; if that replaced the focused element, focuses the one that took its place, with the same selection. */
export function keepFocus(change) {
  const active = document.activeElement;
  const path = active && active !== document.body ? pathOf(active) : null;
  const range = active && "selectionStart" in active ? safeSelection(active) : null;
  change();
  if (!path || active.isConnected) return;
  const next = document.querySelector(path);
  if (!next) return;
  next.focus({ preventScroll: true });
  if (range) {
    try {
      next.setSelectionRange(...range);
    } catch {
      // inputs of type number, email and date have no selection
    }
  }
}

function safeSelection(input) {
  try {
    return input.selectionStart === null ? null : [input.selectionStart, input.selectionEnd];
  } catch {
    return null;
  }
}

/** A selector that finds this element, or the one that takes its place after a redraw; null if it has no name. */
export function pathOf(node) {
  if (node.id && !node.hasAttribute("data-action-id")) return `#${CSS.escape(node.id)}`;
  if (!node.matches("[data-action-id], [data-channel], [data-testid], [data-user], [data-option-value]"))
    return null;
  const region = node.closest("#messages, #thread, #home, #layer, #sidebar, #topbar, #log, #toasts");
  const outer = node.parentElement?.closest("[data-view-id], [data-ts], [data-log-id], [data-toast-id]");
  const named = [outer, node].filter(Boolean).map((element) =>
    [...element.attributes]
      .filter((a) => NAMES.test(a.name))
      .map((a) => `[${a.name}=${JSON.stringify(a.value)}]`)
      .join(""),
  );
  return [region && `#${region.id}`, ...named].filter(Boolean).join(" ");
}
