// Rows of a conversation: messages, private ("only visible to you") sentences, day lines, thread summaries.

import { blocks } from "./blocks.js";
import { clock, dayDivider, dayNumber, formatDate, fullDate } from "./dates.js";
import { add, h, icon } from "./dom.js";
import { emojiNamed } from "./emoji.js";
import { mrkdwn } from "./mrkdwn.js";

const TOGETHER_S = 300;

export function initials(user) {
  const words = (user?.real_name || user?.name || "?").split(/\s+/).filter(Boolean);
  return (words.length > 1 ? words[0][0] + words[1][0] : (words[0]?.[0] ?? "?")).toUpperCase();
}

export function avatar(user, className = "") {
  const node = h(
    "span",
    { class: `avatar ${user?.is_bot ? "avatar-app" : ""} ${className}`, "aria-hidden": "true" },
    initials(user),
  );
  if (user?.color && /^#?[0-9a-f]{6}$/i.test(user.color))
    node.style.backgroundColor = `#${user.color.replace("#", "")}`;
  return node;
}

/** Whether a message stands in the channel itself, not only in a thread. */
export const isRoot = (message) =>
  !message.thread_ts || message.thread_ts === message.ts || Boolean(message.broadcast);

/**
 * The rows of a conversation for `reconcile`. `place` says {channel, thread, people, directory, surface(owner, target),
 * status(owner), openThread(ts), dismiss(id), replies(ts), whispers(ts), app}.
 */
export function rows(messages, whispers, place) {
  const all = [
    ...messages.map((message) => ({ message, at: Number(message.ts) })),
    ...whispers.map((whisper) => ({ whisper, at: Number(whisper.ts) })),
  ].sort((a, b) => a.at - b.at);
  const items = [];
  let previous = null;
  for (const { message, whisper, at } of all) {
    if (!place.thread && (!previous || dayNumber(previous.at) !== dayNumber(at)))
      items.push(dayRow(at, place.people.now));
    const compact = Boolean(
      message && previous?.message && joins(previous.message, message) && at - previous.at < TOGETHER_S,
    );
    items.push(message ? messageRow(message, compact, place) : whisperRow(whisper, place));
    previous = { message, at };
  }
  return items;
}

/** Two plain messages of one author stand together under one name; a card always shows who sent it. */
function joins(before, after) {
  return before.user === after.user && !after.blocks?.length && !before.blocks?.length;
}

function dayRow(at, now) {
  const words = dayDivider(at, now);
  const text = words[0].toUpperCase() + words.slice(1);
  return {
    key: `day-${dayNumber(at)}`,
    sig: text,
    make: () => h("div", { class: "day", role: "separator", "aria-label": text }, h("span", {}, text)),
  };
}

function messageRow(message, compact, place) {
  const owner = `${place.channel}/${message.ts}`;
  const replies = place.thread || message.broadcast ? null : place.replies(message.ts);
  const private_ = place.thread ? 0 : place.whispers(message.ts);
  const sig = JSON.stringify([
    message,
    compact,
    place.status(owner),
    place.directory,
    dayNumber(place.people.now),
    replies?.map((reply) => [reply.user, reply.ts]),
    private_,
  ]);
  return { key: `m-${message.ts}`, sig, make: () => messageNode(message, compact, place, replies, private_) };
}

function messageNode(message, compact, place, replies, private_) {
  const author = place.people.user(message.user);
  const surface = place.surface(
    `${place.channel}/${message.ts}`,
    { channel: place.channel, ts: message.ts },
    { values: message.values },
  );
  const foot = [reactions(message), replies && summary(message, replies, private_, place)];
  return h(
    "article",
    {
      class: compact ? "message is-compact" : "message",
      data: { ts: message.ts, user: message.user, testid: "message" },
      "aria-label": `${author?.real_name ?? message.user} at ${clock(Number(message.ts))}`,
    },
    h(
      "div",
      { class: "gutter" },
      compact
        ? h("span", { class: "gutter-time" }, clock(Number(message.ts)).replace(/ [AP]M/, ""))
        : avatar(author),
    ),
    h(
      "div",
      { class: "content" },
      !compact && byline(author ?? { real_name: message.user }, message, place),
      message.broadcast &&
        !place.thread &&
        h(
          "button",
          { type: "button", class: "text-button", onclick: () => place.openThread(message.thread_ts) },
          "replied to a thread",
        ),
      contents(message, surface),
      foot,
    ),
    !place.thread &&
      h(
        "div",
        { class: "toolbar" },
        h(
          "button",
          {
            type: "button",
            class: "icon-button",
            "aria-label": "Reply in thread",
            title: "Reply in thread",
            data: { testid: "reply-in-thread" },
            onclick: () => place.openThread(message.ts),
          },
          icon("reply"),
        ),
      ),
  );
}

function byline(author, message, place) {
  const at = Number(message.ts);
  return h(
    "div",
    { class: "byline" },
    h("span", { class: "name" }, author.real_name || author.name),
    (author.is_bot || message.app) && h("span", { class: "badge badge-app" }, "APP"),
    author.team_id && author.team_id !== place.team && h("span", { class: "badge" }, "external"),
    h(
      "time",
      { class: "time", datetime: new Date(at * 1000).toISOString(), title: fullDate(at, place.people.now) },
      clock(at),
    ),
  );
}

function contents(message, surface) {
  const edited = message.edited && h("span", { class: "edited" }, " (edited)");
  if (message.blocks?.length) return h("div", { class: "blocks" }, blocks(message.blocks, surface), edited);
  return h("div", { class: "text" }, mrkdwn(message.text, { people: surface.people }), edited);
}

function reactions(message) {
  if (!message.reactions?.length) return null;
  const counts = new Map();
  for (const name of message.reactions) counts.set(name, (counts.get(name) ?? 0) + 1);
  return h(
    "div",
    { class: "reactions" },
    [...counts].map(([name, count]) =>
      h("span", { class: "reaction", title: `:${name}:` }, emojiNamed(name) ?? `:${name}:`, ` ${count}`),
    ),
  );
}

function summary(message, replies, private_, place) {
  if (!replies.length && !private_) return null;
  const last = replies.at(-1);
  const authors = [...new Set(replies.map((reply) => reply.user))].slice(0, 5);
  const words = replies.length ? `${replies.length} ${replies.length === 1 ? "reply" : "replies"}` : "Thread";
  return h(
    "button",
    {
      type: "button",
      class: "thread-link",
      data: { testid: "thread-link", "thread-ts": message.ts },
      onclick: () => place.openThread(message.ts),
    },
    authors.map((id) => avatar(place.people.user(id), "avatar-tiny")),
    h("span", { class: "thread-count" }, words),
    private_ > 0 && h("span", { class: "thread-private" }, icon("eye"), `${private_} only visible to you`),
    last &&
      h(
        "span",
        { class: "thread-when" },
        `Last reply ${formatDate(Number(last.ts), "{date_short_pretty} at {time}", place.people.now)}`,
      ),
  );
}

function whisperRow(whisper, place) {
  const owner = `${place.channel}/${whisper.ts}`;
  const sig = JSON.stringify([whisper, place.status(owner), place.directory, dayNumber(place.people.now)]);
  return { key: `e-${whisper.id}`, sig, make: () => whisperNode(whisper, owner, place) };
}

function whisperNode(whisper, owner, place) {
  const author = place.people.user(whisper.user ?? place.app) ?? { real_name: "app", is_bot: true };
  const surface = place.surface(owner, { channel: place.channel, ts: whisper.ts });
  return h(
    "article",
    {
      class: "message ephemeral",
      data: { ts: whisper.ts, "ephemeral-id": whisper.id, testid: "ephemeral" },
      "aria-label": "Only visible to you",
    },
    h("div", { class: "only-you" }, icon("eye"), "Only visible to you"),
    h("div", { class: "gutter" }, avatar(author)),
    h(
      "div",
      { class: "content" },
      byline(author, { ts: whisper.ts, app: true }, place),
      contents(whisper, surface),
      h(
        "button",
        {
          type: "button",
          class: "text-button",
          data: { testid: "ephemeral-dismiss" },
          onclick: () => place.dismiss(whisper.id),
        },
        "Dismiss message",
      ),
    ),
  );
}

/** The first row of a channel. */
export function introRow(channel, title) {
  return {
    key: "intro",
    sig: JSON.stringify([channel.id, title]),
    make: () =>
      add(h("div", { class: "intro" }), [
        h("h2", {}, title),
        h(
          "p",
          {},
          channel.is_im
            ? "This is the very beginning of your direct messages."
            : `This is the very beginning of the ${title} channel.`,
        ),
      ]),
  };
}
