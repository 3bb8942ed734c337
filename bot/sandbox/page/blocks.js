// Block Kit as DOM nodes. `ctx` is the surface a block stands on:
//   people                     who an id is (see mrkdwn.js)
//   value(block, element)      what this person has typed or chosen here, or undefined
//   keep(block, element, v)    remembers it
//   act(block, element, v)     tells the app (a click or a choice), after the element's confirm dialog
//   status(block, element)     "busy" while the app has not acknowledged, "failed" if it never did, else null
//   errors                     {block_id: sentence} shown under inputs

import { add, h, icon, link, safeUrl } from "./dom.js";
import { element, readsAsInput } from "./elements.js";
import { emojiNamed } from "./emoji.js";
import { markdown } from "./markdown.js";
import { channelMention, dateNode, groupMention, textNode, textOf, userMention } from "./mrkdwn.js";

const LEVELS = { info: "ℹ️", warning: "⚠️", error: "⛔", success: "✅", default: "💬" };
const ALIGN = ["left", "center", "right"];
const ROMAN = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"];

/** The blocks of one message, dialog or home, in order. */
export function blocks(list, ctx) {
  return (list ?? []).map((block, index) => {
    const given = block && typeof block === "object" ? block : { type: "unknown", value: block };
    const named = given.block_id ? given : { ...given, block_id: `block-${index}` };
    const known = Object.hasOwn(KINDS, named.type);
    const frame = h("div", {
      class: `block block-${known ? named.type : "unknown"}`,
      data: { "block-id": named.block_id, "block-type": named.type },
    });
    return add(frame, known ? drawn(named, ctx) : jsonBox(named));
  });
}

/** One malformed block must not take the conversation off the screen. */
function drawn(block, ctx) {
  try {
    return KINDS[block.type](block, ctx);
  } catch {
    return jsonBox(block);
  }
}

const KINDS = {
  header: (block, ctx) =>
    h(block.level > 2 ? "h4" : "h3", { class: "block-title" }, textNode(block.text, ctx)),
  section: (block, ctx) => [
    h(
      "div",
      { class: "section-body" },
      block.text && h("div", { class: "text" }, textNode(block.text, ctx)),
      block.fields?.length &&
        h(
          "div",
          { class: "fields" },
          block.fields.map((field) => h("div", { class: "field text" }, textNode(field, ctx))),
        ),
    ),
    block.accessory &&
      h(
        "div",
        { class: block.accessory.type === "image" ? "accessory accessory-image" : "accessory" },
        any(block, block.accessory, ctx),
      ),
  ],
  context: (block, ctx) =>
    (block.elements ?? []).map((part) =>
      part.type === "image"
        ? image(part, "context-image")
        : h("span", { class: "context-text" }, textNode(part, ctx)),
    ),
  divider: () => h("hr", { class: "divider" }),
  actions: (block, ctx) => (block.elements ?? []).map((part) => any(block, part, ctx)),
  context_actions: (block, ctx) => (block.elements ?? []).map((part) => any(block, part, ctx)),
  rich_text: (block, ctx) => richText(block.elements ?? [], ctx),
  image: (block, ctx) => [
    block.title && h("div", { class: "image-title" }, textNode(block.title, ctx)),
    image(block, "block-picture"),
  ],
  markdown: (block) => h("div", { class: "text markdown" }, markdown(block.text)),
  alert: (block, ctx) => {
    const level = Object.hasOwn(LEVELS, block.level ?? "default") ? (block.level ?? "default") : "default";
    return h(
      "div",
      { class: `alert alert-${level}` },
      h("span", { class: "alert-icon", "aria-hidden": "true" }, LEVELS[level]),
      h("div", { class: "text" }, textNode(block.text, ctx)),
    );
  },
  table: (block, ctx) => table(block, ctx),
  container: (block, ctx) => container(block, ctx),
  card: (block, ctx) => card(block, ctx),
  carousel: (block, ctx) => h("div", { class: "carousel", tabindex: "0" }, blocks(block.elements, ctx)),
  input: (block, ctx) => input(block, ctx),
};

function any(block, part, ctx) {
  if (part?.type === "image") return image(part, "accessory-picture");
  return element(block, part, ctx) ?? jsonBox(part);
}

let inputs = 0;

function input(block, ctx) {
  const id = `input-${(inputs += 1)}`;
  const control = element(block, block.element ?? {}, ctx, id) ?? jsonBox(block.element);
  const error = ctx.errors?.[block.block_id];
  const label = textOf(block.label);
  const optional = block.optional ? h("span", { class: "optional" }, " (optional)") : null;
  const grouped = !readsAsInput(block.element?.type);
  const head = grouped
    ? h("div", { class: "label", id: `${id}-label` }, label, optional)
    : h("label", { class: "label", for: id, id: `${id}-label` }, label, optional);
  const field = h(
    "div",
    {
      class: error ? "input has-error" : "input",
      role: grouped ? "group" : null,
      "aria-labelledby": grouped ? `${id}-label` : null,
    },
    head,
    control,
    h(
      "div",
      {
        class: "error",
        role: "alert",
        id: `${id}-error`,
        data: { testid: "field-error", "error-for": block.block_id },
        hidden: !error,
      },
      error ?? "",
    ),
    block.hint && h("div", { class: "hint" }, textNode(block.hint, ctx)),
  );
  return field;
}

function image(part, className) {
  const source = safeUrl(part.image_url ?? part.slack_file?.url ?? "");
  const alt = part.alt_text ?? "";
  const missing = () =>
    h(
      "span",
      { class: `${className} image-missing`, role: "img", "aria-label": alt, title: alt },
      className === "block-picture" ? alt || "image" : "🖼",
    );
  if (!source) return missing();
  const picture = h("img", {
    class: className,
    alt,
    src: source,
    loading: "lazy",
    referrerpolicy: "no-referrer",
  });
  picture.addEventListener("error", () => picture.replaceWith(missing()), { once: true });
  return picture;
}

function container(block, ctx) {
  const title = block.rich_text_title
    ? richText(block.rich_text_title.elements ?? [], ctx)
    : textNode(block.title, ctx);
  const subtitle = block.subtitle && h("div", { class: "container-subtitle" }, textNode(block.subtitle, ctx));
  const body = h("div", { class: "container-body" }, blocks(block.child_blocks, ctx));
  if (!block.is_collapsible)
    return h("div", { class: "container" }, h("div", { class: "container-title" }, title), subtitle, body);
  return h(
    "details",
    { class: "container", open: !block.default_collapsed },
    h("summary", { class: "container-title" }, title, subtitle),
    body,
  );
}

function card(block, ctx) {
  return h(
    "div",
    { class: "card" },
    block.hero_image && image(block.hero_image, "block-picture"),
    h(
      "div",
      { class: "card-head" },
      block.icon && image(block.icon, "context-image"),
      h("div", { class: "container-title" }, textNode(block.title, ctx)),
    ),
    block.subtitle && h("div", { class: "container-subtitle" }, textNode(block.subtitle, ctx)),
    block.body && h("div", { class: "text" }, textNode(block.body, ctx)),
    block.actions?.length &&
      h(
        "div",
        { class: "block-actions" },
        block.actions.map((part) => any(block, part, ctx)),
      ),
  );
}

function table(block, ctx) {
  const settings = block.column_settings ?? [];
  const cell = (value, column, tag) => {
    const props = {
      class: `align-${ALIGN.includes(settings[column]?.align) ? settings[column].align : "left"}${settings[column]?.is_wrapped ? " wraps" : ""}`,
    };
    const content =
      value?.type === "rich_text"
        ? richText(value.elements ?? [], ctx)
        : value?.type === "raw_number"
          ? String(value.text ?? value.value ?? "")
          : String(value?.text ?? value ?? "");
    return h(tag, props, content);
  };
  const [head, ...rest] = block.rows ?? [];
  return h(
    "div",
    { class: "table-frame", tabindex: "0" },
    h(
      "table",
      { class: "table" },
      head &&
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((value, column) => cell(value, column, "th")),
          ),
        ),
      h(
        "tbody",
        {},
        rest.map((row) =>
          h(
            "tr",
            {},
            row.map((value, column) => cell(value, column, "td")),
          ),
        ),
      ),
    ),
  );
}

function richText(elements, ctx) {
  const out = [];
  for (const part of elements) {
    if (part.type === "rich_text_list") {
      addList(out, part, ctx);
      continue;
    }
    const inside = (part.elements ?? []).map((leaf) => richLeaf(leaf, ctx));
    if (part.type === "rich_text_section") out.push(h("div", { class: "text rich-section" }, inside));
    else if (part.type === "rich_text_preformatted") out.push(h("pre", { class: "pre" }, inside));
    else if (part.type === "rich_text_quote") out.push(h("blockquote", { class: "quote" }, inside));
    else out.push(jsonBox(part));
  }
  return out;
}

function addList(out, part, ctx) {
  const ordered = part.style === "ordered";
  const indent = Math.min(Number(part.indent ?? 0), 8);
  const list = h(ordered ? "ol" : "ul", {
    class: `list rich-list indent-${indent}`,
    start: ordered ? Number(part.offset ?? 0) + 1 : null,
  });
  (part.elements ?? []).forEach((item, index) => {
    const number = Number(part.offset ?? 0) + index;
    const mark = ordered
      ? [`${number + 1}.`, `${String.fromCharCode(97 + (number % 26))}.`, `${ROMAN[number] ?? number + 1}.`][
          indent % 3
        ]
      : ["•", "◦", "▪"][indent % 3];
    list.append(
      h(
        "li",
        { "data-mark": mark },
        h(
          "span",
          { class: "text" },
          (item.elements ?? []).map((leaf) => richLeaf(leaf, ctx)),
        ),
      ),
    );
  });
  out.push(list);
}

const LEAVES = {
  text: (leaf) => leaf.text ?? "",
  link: (leaf) => link(leaf.url, leaf.text || leaf.url),
  user: (leaf, ctx) => userMention(leaf.user_id, ctx.people),
  usergroup: (leaf, ctx) => groupMention(leaf.usergroup_id, ctx.people),
  channel: (leaf, ctx) => channelMention(leaf.channel_id, ctx.people),
  emoji: (leaf) =>
    h(
      "span",
      { class: "emoji", title: `:${leaf.name}:` },
      emojiNamed(leaf.name) ?? fromUnicode(leaf.unicode) ?? `:${leaf.name}:`,
    ),
  date: (leaf, ctx) => dateNode(Number(leaf.timestamp), leaf.format, leaf.url, leaf.fallback, ctx.people.now),
  broadcast: (leaf) => h("span", { class: "mention mention-me" }, `@${leaf.range}`),
  team: (leaf) => `@${leaf.team_id}`,
  color: (leaf) => swatch(leaf.value),
};

function richLeaf(leaf, ctx) {
  if (!Object.hasOwn(LEAVES, leaf?.type)) return jsonBox(leaf);
  let node = LEAVES[leaf.type](leaf, ctx);
  const style = leaf.style ?? {};
  if (style.code) node = h("code", { class: "code" }, node);
  if (style.bold) node = h("strong", {}, node);
  if (style.italic) node = h("em", {}, node);
  if (style.strike) node = h("s", {}, node);
  if (style.underline) node = h("u", {}, node);
  if (style.highlight) node = h("mark", {}, node);
  return node;
}

function fromUnicode(codes) {
  if (!/^[0-9a-f]{1,6}(-[0-9a-f]{1,6})*$/i.test(codes ?? "")) return null;
  try {
    return String.fromCodePoint(...codes.split("-").map((code) => parseInt(code, 16)));
  } catch {
    return null;
  }
}

function swatch(value) {
  const dot = h("span", { class: "swatch" });
  dot.style.backgroundColor = String(value);
  return h("span", {}, dot, String(value));
}

/** What this page cannot draw is shown as what it is. */
function jsonBox(block) {
  return h(
    "details",
    { class: "json-box", open: true },
    h("summary", {}, icon("warning"), ` ${block?.type ?? "unknown"} (not drawn by this page)`),
    h("pre", { class: "pre" }, JSON.stringify(block, null, 2)),
  );
}
