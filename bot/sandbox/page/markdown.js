// The markdown block: the common part of Markdown as DOM nodes. Raw HTML is shown as the text it is.

import { add, h, link, safeUrl } from "./dom.js";
import { emojify } from "./emoji.js";

const FENCE = /^```/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const RULE = /^ *([-*_])( *\1){2,} *$/;
const ITEM = /^(\s*)([-*+]|\d+[.)])\s+(\[[ xX]\]\s+)?(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
// How far a span is looked for, and how deep quotes nest: hostile text stays cheap.
const REACH = 3000;
const DEPTH = 8;
const SPANS = [
  [/^`([^`]+)`/, (m) => h("code", { class: "code" }, m[1])],
  [/^\*\*(\S|\S[\s\S]*?\S)\*\*/, (m) => h("strong", {}, spans(m[1]))],
  [/^__(\S|\S[\s\S]*?\S)__/, (m) => h("strong", {}, spans(m[1]))],
  [/^~~(\S|\S[\s\S]*?\S)~~/, (m) => h("s", {}, spans(m[1]))],
  [/^\*(\S|\S[\s\S]*?\S)\*/, (m) => h("em", {}, spans(m[1]))],
  [/^_(\S|\S[\s\S]*?\S)_(?![A-Za-z0-9])/, (m) => h("em", {}, spans(m[1]))],
  [/^!?\[([^\]]*)\]\(([^)\s]+)\)/, (m) => (safeUrl(m[2]) ? link(m[2], spans(m[1])) : null)],
  [/^<?(https?:\/\/[^\s<>]+[^\s<>.,;:!?)])>?/, (m) => (safeUrl(m[1]) ? link(m[1], m[1]) : null)],
  [/^\\([\\`*_{}[\]()#+.!|~-])/, (m) => document.createTextNode(m[1])],
];

/** A fragment showing `text`. */
export function markdown(text) {
  return blocks(String(text ?? "").split("\n"));
}

function blocks(lines, depth = 0) {
  const out = document.createDocumentFragment();
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) out.append(h("p", {}, spans(paragraph.join("\n"))));
    paragraph = [];
  };
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const taken = !line.trim() ? [null, 1] : blockAt(lines, at, depth);
    if (!taken) {
      paragraph.push(line);
      at += 1;
      continue;
    }
    flush();
    if (taken[0]) out.append(taken[0]);
    at += taken[1];
  }
  flush();
  return out;
}

/** The block that starts at this line and how many lines it takes, or null for a plain line. */
function blockAt(lines, at, depth) {
  const line = lines[at];
  const run = (test) => {
    let end = at;
    while (end < lines.length && test(lines[end])) end += 1;
    return end - at;
  };
  if (FENCE.test(line)) {
    const end = lines.findIndex((other, index) => index > at && FENCE.test(other));
    const stop = end < 0 ? lines.length : end;
    return [h("pre", { class: "pre" }, lines.slice(at + 1, stop).join("\n")), stop + 1 - at];
  }
  const heading = HEADING.exec(line);
  if (heading)
    return [
      h(`h${Math.min(heading[1].length + 2, 6)}`, { class: `md-h${heading[1].length}` }, spans(heading[2])),
      1,
    ];
  if (RULE.test(line)) return [h("hr", { class: "divider" }), 1];
  if (line.startsWith(">") && depth < DEPTH) {
    const count = run((other) => other.startsWith(">"));
    return [
      h(
        "blockquote",
        { class: "quote" },
        blocks(
          lines.slice(at, at + count).map((l) => l.replace(/^> ?/, "")),
          depth + 1,
        ),
      ),
      count,
    ];
  }
  if (ITEM.test(line)) {
    const count = run((other) => ITEM.test(other));
    return [list(lines.slice(at, at + count)), count];
  }
  if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "")) {
    const count = run((other) => other.includes("|"));
    return [table(lines.slice(at, at + count)), count];
  }
  return null;
}

function list(lines) {
  const items = lines.map((line) => ITEM.exec(line));
  const base = items[0][1].length;
  const root = h(/\d/.test(items[0][2]) ? "ol" : "ul", { class: "list" });
  for (let at = 0; at < items.length;) {
    const [, , , box, text] = items[at];
    const mark = box ? (/x/i.test(box) ? "☑ " : "☐ ") : "";
    let end = at + 1;
    while (end < items.length && items[end][1].length > base) end += 1;
    root.append(h("li", {}, mark, spans(text), end > at + 1 ? list(lines.slice(at + 1, end)) : null));
    at = end;
  }
  return root;
}

function table(lines) {
  const cells = (line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => spans(cell.trim()));
  const row = (line, tag) =>
    h(
      "tr",
      {},
      cells(line).map((cell) => h(tag, {}, cell)),
    );
  return h(
    "div",
    { class: "table-frame", tabindex: "0" },
    h(
      "table",
      { class: "table" },
      h("thead", {}, row(lines[0], "th")),
      h(
        "tbody",
        {},
        lines.slice(2).map((line) => row(line, "td")),
      ),
    ),
  );
}

function spans(text) {
  const out = document.createDocumentFragment();
  let words = "";
  const flush = () => {
    if (words) out.append(emojify(words));
    words = "";
  };
  for (let at = 0; at < text.length;) {
    const found = spanAt(text, at);
    if (found) {
      flush();
      add(out, found[0]);
      at += found[1];
    } else {
      words += text[at];
      at += 1;
    }
  }
  flush();
  return out;
}

function spanAt(text, at) {
  if (!"`*_~![<h\\".includes(text[at])) return null;
  if ((text[at] === "_" || text[at] === "h") && /[A-Za-z0-9]/.test(text[at - 1] ?? "")) return null;
  const rest = text.slice(at, at + REACH);
  for (const [pattern, make] of SPANS) {
    const match = pattern.exec(rest);
    const node = match && make(match);
    if (node) return [node, match[0].length];
  }
  return null;
}
