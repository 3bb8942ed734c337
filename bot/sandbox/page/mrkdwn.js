// Slack's mrkdwn as DOM nodes. `people` says who an id is: {user(id), channel(id), group(id), me, now}.

import { h, link, safeUrl } from "./dom.js";
import { formatDate } from "./dates.js";
import { emojify } from "./emoji.js";

const FENCE = /```\n?([\s\S]+?)```/g;
const QUOTE = /^(?:>|&gt;) ?/;
const REST_IS_QUOTE = /^(?:>>>|&gt;&gt;&gt;) ?/;
const BARE_URL = /^https?:\/\/[^\s<>|"`]+/;
const STYLES = { "*": "strong", _: "em", "~": "s" };
// A style longer than this is not looked for: the search stays linear in hostile text.
const REACH = 3000;
const WORD = /[\p{L}\p{N}]/u;

/** `&amp; &lt; &gt;` undone once, as Slack does: nothing else is an entity. */
export function unescape(text) {
  return text.replace(/&(amp|lt|gt);/g, (_, name) => ({ amp: "&", lt: "<", gt: ">" })[name]);
}

/** What a person typed, as it goes over the wire. */
export function escape(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** A fragment showing `text`; `verbatim` leaves bare addresses alone. */
export function mrkdwn(text, { people, verbatim = false }) {
  const out = document.createDocumentFragment();
  const source = String(text ?? "");
  let end = 0;
  for (const fence of source.matchAll(FENCE)) {
    lines(out, source.slice(end, fence.index).replace(/\n$/, ""), { people, verbatim });
    out.append(h("pre", { class: "pre" }, tokensOnly(fence[1].replace(/\n$/, ""), people)));
    end = fence.index + fence[0].length;
  }
  lines(out, end ? source.slice(end).replace(/^\n/, "") : source, { people, verbatim });
  return out;
}

/** A text object (or a bare string) as a node; plain_text has no formatting, only emoji. */
export function textNode(text, ctx) {
  if (text === undefined || text === null) return null;
  if (text.type === "mrkdwn")
    return mrkdwn(text.text, { people: ctx.people, verbatim: Boolean(text.verbatim) });
  return document.createTextNode(text.emoji === false ? String(text.text ?? "") : textOf(text));
}

/** A text object as one plain string, for labels. */
export function textOf(text) {
  return emojify(String((typeof text === "string" ? text : text?.text) ?? ""));
}

function lines(out, text, options) {
  if (!text) return;
  let paragraph = [];
  let quote = [];
  const flush = () => {
    if (quote.length) out.append(h("blockquote", { class: "quote" }, inline(quote.join("\n"), options)));
    if (paragraph.length) out.append(inline(paragraph.join("\n"), options));
    quote = [];
    paragraph = [];
  };
  const all = text.split("\n");
  for (const [index, line] of all.entries()) {
    if (REST_IS_QUOTE.test(line)) {
      flush();
      quote = [line.replace(REST_IS_QUOTE, ""), ...all.slice(index + 1)];
      break;
    }
    const isQuote = QUOTE.test(line);
    if (isQuote ? paragraph.length : quote.length) flush();
    if (isQuote) quote.push(line.replace(QUOTE, ""));
    else paragraph.push(line);
  }
  flush();
}

function inline(text, options) {
  const out = document.createDocumentFragment();
  let words = "";
  const flush = () => {
    if (words) out.append(emojify(unescape(words)));
    words = "";
  };
  for (let at = 0; at < text.length;) {
    const found = tokenAt(text, at, options);
    if (found) {
      flush();
      out.append(found.node);
      at += found.length;
    } else {
      words += text[at];
      at += 1;
    }
  }
  flush();
  return out;
}

function tokenAt(text, at, options) {
  const mark = text[at];
  if (mark === "<") return angle(text, at, options.people);
  if (mark === "`") {
    const code = /^`([^`\n]+)`/.exec(text.slice(at));
    return (
      code && {
        node: h("code", { class: "code" }, tokensOnly(code[1], options.people)),
        length: code[0].length,
      }
    );
  }
  if (mark in STYLES) {
    const end = closing(text, at);
    return end > 0
      ? { node: h(STYLES[mark], {}, inline(text.slice(at + 1, end), options)), length: end + 1 - at }
      : null;
  }
  if (mark === "h" && !options.verbatim && !WORD.test(text[at - 1] ?? "")) {
    const url = BARE_URL.exec(text.slice(at))?.[0].replace(/[.,;:!?)\]'*_~]+$/, "");
    return url && safeUrl(unescape(url))
      ? { node: link(unescape(url), unescape(url)), length: url.length }
      : null;
  }
  return null;
}

/** Where the style opened at `at` closes, or -1. Marks inside code or <…> do not count; a style never crosses a line. */
function closing(text, at) {
  const mark = text[at];
  if (WORD.test(text[at - 1] ?? "") || /[\s]/.test(text[at + 1] ?? " ") || text[at + 1] === mark) return -1;
  for (let i = at + 1; i < Math.min(text.length, at + REACH); i += 1) {
    if (text[i] === "\n") return -1;
    if (text[i] === "<" || text[i] === "`") {
      const end = text.indexOf(text[i] === "<" ? ">" : "`", i + 1);
      if (end > 0) i = end;
    } else if (text[i] === mark && !/\s/.test(text[i - 1]) && !WORD.test(text[i + 1] ?? "")) {
      return i;
    }
  }
  return -1;
}

/** Inside code only <…> tokens mean something. */
function tokensOnly(text, people) {
  const out = document.createDocumentFragment();
  let end = 0;
  for (const token of text.matchAll(/<[^<>\n]+>/g)) {
    const found = angle(text, token.index, people);
    if (!found) continue;
    out.append(unescape(text.slice(end, token.index)), found.node);
    end = token.index + found.length;
  }
  out.append(unescape(text.slice(end)));
  return out;
}

function angle(text, at, people) {
  const token = /^<([^<>\n]+)>/.exec(text.slice(at));
  if (!token) return null;
  const [target, ...rest] = token[1].split("|");
  const label = rest.length ? unescape(rest.join("|")) : "";
  const node = tokenNode(target, label, people);
  return node && { node, length: token[0].length };
}

function tokenNode(target, label, people) {
  if (/^@[UW]/.test(target)) return userMention(target.slice(1), people, label);
  if (/^#[CG]/.test(target)) return channelMention(target.slice(1), people, label);
  if (target.startsWith("!subteam^")) return groupMention(target.slice(9), people, label);
  if (/^!(here|channel|everyone)$/.test(target))
    return h("span", { class: "mention mention-me" }, `@${target.slice(1)}`);
  if (target.startsWith("!date^")) {
    const [, seconds, format, address] = target.split("^");
    return dateNode(Number(seconds), format, address && unescape(address), label, people.now);
  }
  return safeUrl(unescape(target)) ? link(unescape(target), label ? emojify(label) : unescape(target)) : null;
}

export function userMention(id, people, label = "") {
  const name = people.user(id)?.real_name || label.replace(/^@/, "") || id;
  return h(
    "span",
    { class: id === people.me ? "mention mention-me" : "mention", data: { "mention-user": id } },
    `@${name}`,
  );
}

export function channelMention(id, people, label = "") {
  const name = people.channel(id)?.name || label.replace(/^#/, "");
  return h("span", { class: "mention" }, name ? `#${name}` : "a private channel");
}

export function groupMention(id, people, label = "") {
  const group = people.group(id);
  const mine = group?.users?.includes(people.me);
  const name = group?.handle || label.replace(/^@/, "") || id;
  return h("span", { class: mine ? "mention mention-me" : "mention" }, `@${name.replace(/^@/, "")}`);
}

export function dateNode(seconds, format, address, fallback, now) {
  if (!Number.isFinite(seconds) || !format) return h("span", {}, fallback || "");
  const node = h(
    "time",
    { datetime: new Date(seconds * 1000).toISOString(), title: fallback || null },
    formatDate(seconds, format, now),
  );
  return address ? link(address, node) : node;
}
