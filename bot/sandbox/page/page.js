// The page: one state from the server, one place the person looks at, and everything redrawn from the two.

import { composer } from "./composer.js";
import { dayNumber } from "./dates.js";
import { h, icon, reconcile, refill } from "./dom.js";
import { blocks } from "./blocks.js";
import { listen, post, readState } from "./doors.js";
import { deliveryLog } from "./log.js";
import { introRow, isRoot, rows } from "./messages.js";
import { dialogs } from "./modal.js";
import { encodeTyped, peopleOf, unreadOf } from "./people.js";
import { actingAs, appStatus, channelHeader, sidebar, teamName, titleOf, toasts } from "./panes.js";
import { memory } from "./memory.js";
import { surfaces } from "./surfaces.js";

const $ = (id) => document.getElementById(id);
const localToasts = [];
const lastMe = memory("me");
const place = readPlace();

let state = null;
let people = null;
let directory = "";
let online = true;
let reading = null;
let again = false;
let hangUp = null;
let lost = null;
let lastShown = "";
let lastHome = "";

// Where the person looks: ?as=U…&channel=C…&thread=…&tab=home; a permalink adds &ts=…

function readPlace() {
  const query = new URLSearchParams(location.search);
  const read = Object.fromEntries(
    ["as", "channel", "thread", "tab", "ts"].map((name) => [name, query.get(name)]),
  );
  return { ...read, as: read.as ?? lastMe.get() };
}

function go(change, replace = false) {
  Object.assign(place, change);
  const query = new URLSearchParams(Object.entries(place).filter(([, value]) => value));
  history[replace ? "replaceState" : "pushState"](null, "", `${location.pathname}?${query}`);
  render();
}

const openChannel = (id) => {
  closeSidebar();
  // The app's conversation goes by the app's user, so that it is the same place whoever looks.
  go({ channel: channels().find((channel) => channel.id === id)?.im_user ?? id, thread: null, tab: null });
  refresh();
  if (matchMedia("(min-width: 769px)").matches) main.focus();
};

const openThread = (ts) => {
  go({ thread: ts });
  if (matchMedia("(min-width: 769px)").matches) side.focus();
};

function actAs(user) {
  lastMe.set(user);
  go({ as: user });
  connect();
}

function closeSidebar() {
  document.body.classList.remove("sidebar-open");
  $("menu-button").setAttribute("aria-expanded", "false");
}

function channels() {
  const bot = state.app.bot_user_id;
  if (state.channels.some((channel) => channel.is_im && channel.im_user === bot)) return state.channels;
  return [
    ...state.channels,
    { id: bot, name: state.app.name, is_im: true, im_user: bot, member: true, unread: 0 },
  ];
}

function currentChannel() {
  const all = channels();
  const direct = all.find(
    (channel) => channel.id === place.channel || (channel.im_user && channel.im_user === place.channel),
  );
  const open = all.filter((channel) => !channel.is_im && !channel.is_archived);
  return direct ?? open.find((channel) => state.messages[channel.id]?.length) ?? open[0] ?? all[0];
}

/** The id of the conversation on screen; null while the server has not opened it yet, or has forgotten it. */
function channelOnServer() {
  const { id } = currentChannel();
  return id !== lost && state.channels.some((channel) => channel.id === id) ? id : null;
}

// Reading the state: at most one request under way, and one more if something changed meanwhile. A person or a
// conversation the server does not know (it was started anew) is dropped; the server then says who `me` is.

async function refresh() {
  again = true;
  reading ??= (async () => {
    while (again) {
      again = false;
      const asked = place.as;
      const looking = state && state.me === asked && !document.hidden ? channelOnServer() : null;
      const answer = await readState(asked, looking);
      if (asked !== place.as) {
        again = true;
      } else if (answer.team) {
        if (!online) lastHome = "";
        online = true;
        take(answer);
        if (!document.hidden && looking !== channelOnServer() && currentChannel().unread) again = true;
      } else if (!answer.unreachable && looking) {
        again = true;
        lost = looking;
      } else if (!answer.unreachable && asked) {
        again = true;
        go({ as: null, thread: null }, true);
      } else {
        online = false;
        $("notice").textContent = answer.error ?? "The sandbox does not answer.";
        $("notice").hidden = Boolean(state); // with a state on screen the top bar says it
        render();
        if (!hangUp) setTimeout(refresh, 2000);
      }
    }
    reading = null;
  })();
  await reading;
}

/** Takes in a state. A direct message names one of the two who talk in it; here it is always the other one. */
function take(answer) {
  const other = (channel) => (channel.im_user === answer.me ? answer.app.bot_user_id : channel.im_user);
  state = {
    ...answer,
    channels: answer.channels.map((channel) =>
      channel.is_im ? { ...channel, im_user: other(channel) } : channel,
    ),
  };
  people = peopleOf(state);
  directory = JSON.stringify([
    state.users.map((user) => [user.id, user.real_name, user.color]),
    state.groups,
    state.channels.map((channel) => [channel.id, channel.name]),
  ]);
  if (place.as !== state.me || hangUp?.me !== state.me) {
    go({ as: state.me }, true);
    connect();
  }
  render();
}

/** Listens for changes as the person of the address, once the server knows them. */
function connect() {
  if (hangUp) hangUp.end();
  hangUp = null;
  if (place.as && place.as === state?.me) {
    hangUp = {
      me: place.as,
      end: listen(place.as, {
        changed: refresh,
        offline: () => {
          online = false;
          render();
        },
      }),
    };
  }
  refresh();
}

// Doing things: one door each; what the server refuses is said in a warning.

function complain(text) {
  const toast = { id: `local-${Date.now()}-${localToasts.length}`, text, tone: "error", local: true };
  localToasts.push(toast);
  setTimeout(() => dismissToast(toast), 8000);
  render();
}

function dismissToast(toast) {
  if (!toast.local) return act("toast/dismiss", { id: toast.id });
  localToasts.splice(localToasts.indexOf(toast), localToasts.includes(toast) ? 1 : 0);
  return render();
}

async function act(door, body) {
  const answer = await post(door, { as: state.me, ...body });
  if (!answer.ok) complain(answer.error ?? "The sandbox refused.");
  await refresh();
  return answer;
}

async function send(text, thread) {
  const channel = currentChannel();
  const command = /^\/\S+/.exec(text)?.[0];
  if (!command) {
    const words = {
      channel: channel.id,
      text: encodeTyped(text, people),
      ...(thread && { thread_ts: thread }),
    };
    return (await act("say", words)).ok;
  }
  const known = state.commands.some((one) => one.command === command);
  if (!known || thread) {
    complain(
      known
        ? `${command} is not supported in threads. Sorry!`
        : `${command} is not a valid command. In Slack, every message that starts with "/" is a command.`,
    );
    return false;
  }
  return (await act("slash", { channel: channel.id, command, text: text.slice(command.length).trim() })).ok;
}

// Drawing

const layer = dialogs($("layer"), [$("workspace")]);
const hands = surfaces({
  people: () => people,
  views: () => state.modals,
  act,
  redraw: render,
  confirm: layer.confirm,
});
const showLog = deliveryLog($("log-toggle"), $("log-entries"), memory("log"));
const main = composer({
  testid: "composer",
  label: "Message or slash command",
  send: (text) => send(text, null),
  commands: () => state?.commands ?? [],
});
const side = composer({
  testid: "thread-composer",
  label: "Reply",
  send: (text) => send(text, place.thread),
  commands: null,
});

function render() {
  if (!state || state.me !== place.as) return;
  const channel = currentChannel();
  const isApp = channel.im_user === state.app.bot_user_id;
  const messages = state.messages[channel.id] ?? [];
  const tab = isApp ? (place.tab ?? (messages.length || place.thread ? "messages" : "home")) : "messages";
  people.now = state.now;
  document.title = `${titleOf(channel, people)} – ${state.team.name} sandbox`;
  teamName($("team"), state);
  appStatus($("app-status"), state, online);
  actingAs($("acting"), state, actAs);
  $("notice").hidden = true;
  sidebar($("sidebar"), {
    channels: channels(),
    current: channel.id,
    people,
    app: state.app,
    unread: (one) =>
      one.id === channel.id && !document.hidden ? { count: 0, loud: 0 } : unreadOf(one, state),
    open: openChannel,
  });
  channelHeader($("channel-header"), {
    channel,
    people,
    isApp,
    tab,
    openTab: (id) => go({ tab: id, thread: null }),
  });
  drawHome(channel, tab);
  drawMessages(channel, messages, tab);
  drawThread(channel, messages);
  drawModal();
  toasts($("toasts"), [...state.toasts, ...localToasts].slice(-4), people, dismissToast);
  showLog(state.log);
}

const isAtEnd = (scroller) => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;

/** The conversation `where` as rows in `scroller`; keeps the end in sight if it was in sight before. */
function drawRows(scroller, where, items) {
  const fresh = scroller.sandboxWhere !== where;
  const atEnd = isAtEnd(scroller);
  const last = scroller.lastElementChild?.sandboxKey;
  scroller.sandboxWhere = where;
  if (fresh) scroller.replaceChildren();
  reconcile(scroller, items);
  if (fresh || atEnd) scroller.scrollTop = scroller.scrollHeight;
  return !fresh && !atEnd && last !== scroller.lastElementChild?.sandboxKey;
}

function rowPlace(channel, messages, thread) {
  const whispers = state.ephemerals.filter((one) => one.channel === channel.id);
  return {
    channel: channel.id,
    thread,
    people,
    directory,
    team: state.team.id,
    app: state.app.bot_user_id,
    surface: hands.surface,
    status: hands.status,
    openThread,
    replies: (ts) => messages.filter((message) => message.thread_ts === ts && message.ts !== ts),
    whispers: (ts) => whispers.filter((one) => one.thread_ts === ts).length,
    dismiss: (id) => act("ephemeral/dismiss", { id }),
  };
}

function drawMessages(channel, messages, tab) {
  const scroller = $("messages");
  scroller.hidden = tab !== "messages";
  $("composer-area").hidden = scroller.hidden;
  if (scroller.hidden) {
    $("newer").hidden = true;
    lastShown = "";
    return;
  }
  const where = `${state.me}/${channel.id}`;
  const title = titleOf(channel, people);
  const whispers = state.ephemerals.filter((one) => one.channel === channel.id && !one.thread_ts);
  const news = drawRows(scroller, where, [
    introRow(channel, title),
    ...rows(messages.filter(isRoot), whispers, rowPlace(channel, messages, null)),
  ]);
  if (lastShown !== where) $("newer").hidden = true;
  if (lastShown !== where) scroller.scrollTop = scroller.scrollHeight;
  lastShown = where;
  followPermalink(messages);
  if (news) $("newer").hidden = false;
  const closed = channel.is_archived
    ? `You are viewing ${title}, an archived channel`
    : channel.member === false
      ? `You are not in ${title}`
      : null;
  refill($("composer-area"), closed ?? "composer", () =>
    closed ? h("p", { class: "closed", data: { testid: "closed" } }, closed) : main.node,
  );
  main.aim(where, `Message ${title}`);
}

/** A permalink leads to its message once, in its thread if it is a reply. */
function followPermalink(messages) {
  const target = place.ts && messages.find((message) => message.ts === place.ts);
  if (!target) return;
  place.ts = null;
  const root = target.thread_ts && target.thread_ts !== target.ts ? target.thread_ts : null;
  queueMicrotask(() => {
    go({ thread: root ?? place.thread, ts: null }, true);
    const row = $(root ? "thread-messages" : "messages").querySelector(`[data-ts="${target.ts}"]`);
    row?.classList.add("is-target");
    row?.scrollIntoView({ block: "center" });
  });
}

function drawThread(channel, messages) {
  const root = place.thread && messages.find((message) => message.ts === place.thread);
  $("thread").hidden = !root;
  document.body.classList.toggle("thread-open", Boolean(root));
  if (!root) return;
  const title = titleOf(channel, people);
  refill($("thread-header"), title, () => [
    h("h2", {}, "Thread", h("span", { class: "thread-where" }, title)),
    h(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": "Close thread",
        data: { testid: "thread-close" },
        onclick: () => go({ thread: null }),
      },
      icon("close"),
    ),
  ]);
  const replies = messages.filter((message) => message.thread_ts === root.ts && message.ts !== root.ts);
  const whispers = state.ephemerals.filter((one) => one.channel === channel.id && one.thread_ts === root.ts);
  const around = rowPlace(channel, messages, root.ts);
  const count = `${replies.length} ${replies.length === 1 ? "reply" : "replies"}`;
  const line = {
    key: "count",
    sig: count,
    make: () => h("div", { class: "reply-count" }, h("span", {}, replies.length ? count : "No replies yet")),
  };
  drawRows($("thread-messages"), `${state.me}/${channel.id}/${root.ts}`, [
    ...rows([root], [], around),
    line,
    ...rows(replies, whispers, around),
  ]);
  refill($("thread-composer-area"), String(channel.is_archived), () =>
    channel.is_archived ? h("p", { class: "closed" }, "This channel is archived.") : side.node,
  );
  side.aim(`${state.me}/${channel.id}/${root.ts}`, "Reply…");
}

function drawHome(channel, tab) {
  const home = $("home");
  home.hidden = tab !== "home";
  const visit = home.hidden ? "" : `${state.me}/${channel.im_user}`;
  if (visit && visit !== lastHome) act("home", {});
  lastHome = visit;
  if (home.hidden) return;
  const id = state.home?.id ?? "home";
  const ctx = hands.surface(id, { view_id: id }, { values: state.home?.values });
  refill(
    home,
    JSON.stringify([state.me, state.home?.blocks, hands.status(id), directory, dayNumber(state.now)]),
    () =>
      h(
        "div",
        { class: "home-blocks", data: { "view-id": id } },
        state.home
          ? blocks(state.home.blocks, ctx)
          : h("p", { class: "home-none" }, `${state.app.name} has not published a Home for you yet.`),
      ),
  );
}

function drawModal() {
  const view = state.modals.at(-1) ?? null;
  if (!view) return layer.show(null, {});
  const ctx = hands.ofView(view);
  return layer.show(view, {
    ctx,
    depth: state.modals.length,
    app: state.app.name,
    sig: JSON.stringify([view.id, view.blocks, hands.status(view.id), directory]),
    busy: hands.submitting(view),
    trouble: hands.trouble(view),
    doors: {
      submit: () => hands.submit(state.modals.at(-1)),
      close: () => act("view/close", { view_id: state.modals.at(-1).id }),
    },
  });
}

// Standing furniture

$("menu-button").append(icon("menu"));
$("menu-button").addEventListener("click", () => {
  const open = document.body.classList.toggle("sidebar-open");
  $("menu-button").setAttribute("aria-expanded", String(open));
  if (open) $("sidebar").querySelector("[aria-current]")?.focus();
});
$("main").addEventListener("click", closeSidebar);
$("newer").addEventListener("click", () => {
  $("messages").scrollTop = $("messages").scrollHeight;
});
for (const scroller of [$("messages"), $("thread-messages")]) {
  let atEnd = true;
  scroller.addEventListener("scroll", () => {
    atEnd = isAtEnd(scroller);
    if (atEnd && scroller.id === "messages") $("newer").hidden = true;
  });
  new ResizeObserver(() => {
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }).observe(scroller);
}
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  if (document.body.classList.contains("sidebar-open")) closeSidebar();
  else if (place.thread && $("thread").contains(event.target)) go({ thread: null });
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
addEventListener("popstate", () => {
  const before = place.as;
  Object.assign(place, readPlace());
  if (place.as !== before) connect();
  else render();
});

connect();
