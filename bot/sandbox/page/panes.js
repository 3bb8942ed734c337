// The frame around the conversation: who I am, the sidebar, the channel's header, warnings.

import { add, h, icon, reconcile, refill } from "./dom.js";
import { avatar } from "./messages.js";
import { mrkdwn } from "./mrkdwn.js";

/** What sets a person apart, in words. */
export function badgesOf(user, team) {
  return [
    user.is_bot && "app",
    user.is_guest && "guest",
    user.team_id && user.team_id !== team && "external",
    user.deleted && "deactivated",
  ].filter(Boolean);
}

const badges = (user, team) =>
  badgesOf(user, team).map((word) => h("span", { class: `badge badge-${word}` }, word));

export function teamName(place, state) {
  refill(place, state.team.name, () => [
    h("strong", {}, state.team.name),
    h("span", { class: "sandbox-mark" }, "sandbox"),
  ]);
}

export function appStatus(place, state, online) {
  const { name, connected, mode } = state.app;
  const good = online && connected;
  const words = !online
    ? "The sandbox does not answer"
    : connected
      ? `${name} connected`
      : `${name} not connected`;
  const how = mode === "http" ? " · HTTP" : " · Socket Mode";
  refill(place, words + how, () =>
    h(
      "span",
      { class: good ? "status status-good" : "status status-bad", title: words + how },
      h("span", { class: "status-text" }, words, online && h("span", { class: "status-how" }, how)),
    ),
  );
}

/** The switcher "Acting as": one button, a menu of everybody. */
export function actingAs(place, state, actAs) {
  const me = state.users.find((user) => user.id === state.me) ?? {
    id: state.me,
    name: state.me,
    real_name: state.me,
  };
  const people = state.users.filter((user) => !user.is_bot);
  refill(place, JSON.stringify([me, people, state.groups, state.team.id]), () => {
    const menu = h(
      "div",
      {
        class: "menu acting-menu",
        role: "menu",
        id: "acting-menu",
        "aria-label": "Act as",
        hidden: true,
        data: { testid: "acting-menu" },
      },
      h("p", { class: "menu-note" }, "See the workspace through the eyes of:"),
    );
    const opener = h(
      "button",
      {
        type: "button",
        id: "acting-as",
        class: "acting-as",
        "aria-haspopup": "menu",
        "aria-expanded": "false",
        "aria-controls": "acting-menu",
        data: { testid: "acting-as", user: me.id },
      },
      avatar(me, "avatar-small"),
      h(
        "span",
        { class: "acting-words" },
        h("span", { class: "acting-label" }, "Acting as"),
        h("span", { class: "acting-name" }, me.real_name),
      ),
      badges(me, state.team.id),
      icon("down"),
    );
    const show = (open) => {
      menu.hidden = !open;
      opener.setAttribute("aria-expanded", String(open));
      if (open) menu.querySelector("[aria-checked='true']")?.focus();
    };
    for (const user of people) {
      const handles = state.groups
        .filter((group) => group.users.includes(user.id))
        .map((group) => `@${group.handle}`);
      menu.append(
        h(
          "button",
          {
            type: "button",
            role: "menuitemradio",
            class: "menu-item person",
            "aria-checked": String(user.id === me.id),
            data: { testid: "act-as", user: user.id },
            onclick: () => {
              show(false);
              actAs(user.id);
            },
          },
          avatar(user),
          h(
            "span",
            { class: "person-words" },
            h("span", { class: "person-name" }, user.real_name, badges(user, state.team.id)),
            h("span", { class: "person-title" }, [user.title, ...handles].filter(Boolean).join(" · ") || "—"),
          ),
        ),
      );
    }
    opener.addEventListener("click", () => show(menu.hidden));
    const frame = h("div", { class: "acting" }, opener, menu);
    frame.addEventListener("keydown", (event) => {
      if (menu.hidden) return;
      const items = [...menu.querySelectorAll("button")];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") {
        event.stopPropagation();
        show(false);
        opener.focus();
      } else if (step) {
        event.preventDefault();
        items.at((items.indexOf(document.activeElement) + step) % items.length)?.focus();
      }
    });
    frame.addEventListener("focusout", (event) => {
      if (!frame.contains(event.relatedTarget)) show(false);
    });
    return frame;
  });
}

const LISTS = [
  ["Channels", (channel) => !channel.is_im],
  ["Direct messages", (channel, app) => channel.is_im && channel.im_user !== app],
  ["Apps", (channel, app) => channel.is_im && channel.im_user === app],
];

/** The sidebar; `unread` gives {count, loud} for a channel. */
export function sidebar(place, { channels, current, people, app, unread, open }) {
  const items = [];
  for (const [title, belongs] of LISTS) {
    const here = channels.filter((channel) => belongs(channel, app.bot_user_id));
    if (here.length)
      items.push({ key: title, sig: title, make: () => h("h2", { class: "sidebar-title" }, title) });
    for (const channel of here) {
      const news = unread(channel);
      const user = channel.im_user ? people.user(channel.im_user) : null;
      const sig = JSON.stringify([channel, channel.id === current, news, user]);
      items.push({
        key: channel.id,
        sig,
        make: () => entry(channel, user, channel.id === current, news, open),
      });
    }
  }
  reconcile(place, items);
}

function entry(channel, user, isCurrent, news, open) {
  const name = user ? user.real_name : channel.name;
  return h(
    "button",
    {
      type: "button",
      class: `channel${isCurrent ? " is-current" : ""}${news.count ? " is-unread" : ""}${channel.is_archived ? " is-archived" : ""}`,
      "aria-current": isCurrent ? "page" : null,
      data: { channel: channel.id, testid: "channel" },
      onclick: () => open(channel.id),
    },
    user
      ? avatar(user, "avatar-tiny")
      : h("span", { class: "channel-mark" }, channel.is_private ? icon("lock") : "#"),
    h("span", { class: "channel-name" }, name),
    channel.is_archived && h("span", { class: "channel-note" }, "archived"),
    news.loud > 0 && h("span", { class: "count", "aria-label": `${news.loud} unread` }, String(news.loud)),
  );
}

export function titleOf(channel, people) {
  return channel.is_im ? (people.user(channel.im_user)?.real_name ?? channel.im_user) : `#${channel.name}`;
}

/** The channel's header, with the Home and Messages tabs in the app's own conversation. */
export function channelHeader(place, { channel, people, isApp, tab, openTab }) {
  const user = channel.is_im ? people.user(channel.im_user) : null;
  refill(place, JSON.stringify([channel, user, isApp, tab]), () => [
    h(
      "div",
      { class: "channel-line" },
      user
        ? avatar(user, "avatar-small")
        : h("span", { class: "channel-mark" }, channel.is_private ? icon("lock") : "#"),
      h("h1", { id: "channel-name" }, user ? user.real_name : channel.name),
      user?.is_bot && h("span", { class: "badge badge-app" }, "APP"),
      channel.topic && h("span", { class: "topic" }, channel.topic),
    ),
    isApp &&
      h(
        "div",
        { class: "tabs", role: "tablist", "aria-label": "About this app" },
        [
          ["home", "Home"],
          ["messages", "Messages"],
        ].map(([id, words]) =>
          h(
            "button",
            {
              type: "button",
              role: "tab",
              class: tab === id ? "tab is-current" : "tab",
              "aria-selected": String(tab === id),
              "aria-controls": id,
              data: { testid: `tab-${id}` },
              onclick: () => openTab(id),
            },
            words,
          ),
        ),
      ),
  ]);
}

/** Warning triangles (the app did not answer) and the page's own errors. */
export function toasts(place, list, people, dismiss) {
  reconcile(
    place,
    list.map((toast) => ({
      key: String(toast.id),
      sig: toast.text,
      make: () =>
        add(
          h("div", {
            class: `toast toast-${toast.tone ?? "warning"}`,
            data: { testid: "toast", "toast-id": toast.id },
          }),
          [
            icon("warning"),
            h("span", { class: "toast-text" }, mrkdwn(toast.text, { people, verbatim: true })),
            h(
              "button",
              {
                type: "button",
                class: "icon-button",
                "aria-label": "Dismiss",
                data: { testid: "toast-dismiss" },
                onclick: () => dismiss(toast),
              },
              icon("close"),
            ),
          ],
        ),
    })),
  );
}
