// Who is who in the state of the workspace, and what this person has not read.

import { escape } from "./mrkdwn.js";

/** Look-ups by id over one state; `now` is the server's clock. */
export function peopleOf(state) {
  const users = new Map(state.users.map((user) => [user.id, user]));
  const channels = new Map(state.channels.map((channel) => [channel.id, channel]));
  const groups = new Map(state.groups.map((group) => [group.id, group]));
  return {
    me: state.me,
    now: state.now,
    user: (id) => users.get(id),
    channel: (id) => channels.get(id),
    group: (id) => groups.get(id),
    users: () => [...users.values()],
    channels: () => [...channels.values()],
  };
}

/** What a person typed, as Slack's client sends it: & < > escaped, @name and #channel as ids. */
export function encodeTyped(text, people) {
  return escape(text)
    .replace(/(^|[\s(])@([\w.-]+)/g, (whole, before, name) => {
      const user = people.users().find((one) => one.name === name);
      return user ? `${before}<@${user.id}>` : whole;
    })
    .replace(/(^|[\s(])#([\w-]+)/g, (whole, before, name) => {
      const channel = people.channels().find((one) => one.name === name && !one.is_im);
      return channel ? `${before}<#${channel.id}|${name}>` : whole;
    });
}

/** {count, loud}: messages of others since this person last looked; loud are those in a DM or naming them. */
export function unreadOf(channel, state) {
  const count = channel.unread ?? 0;
  const fresh = count
    ? (state.messages[channel.id] ?? []).filter((message) => message.user !== state.me).slice(-count)
    : [];
  const named = [
    state.me,
    ...state.groups.filter((group) => group.users.includes(state.me)).map((group) => group.id),
  ];
  const loud = fresh.filter(
    (message) =>
      channel.is_im ||
      named.some((id) => `${message.text}${JSON.stringify(message.blocks ?? [])}`.includes(id)),
  );
  return { count, loud: loud.length };
}
