// The server's doors: what a person does goes in as JSON, "something changed" comes out as server-sent events.

async function talk(path, init) {
  try {
    const response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
    const answer = await response.json().catch(() => null);
    if (answer && typeof answer === "object") return answer;
    return { ok: false, error: `The sandbox answered ${response.status} without JSON.` };
  } catch {
    return { ok: false, unreachable: true, error: "The sandbox does not answer. Is it still running?" };
  }
}

/** The state as `me` sees it, with `channel` read up to now; {ok: false, error} when there is none. */
export function readState(me, channel) {
  const query = new URLSearchParams();
  if (me) query.set("as", me);
  if (channel) query.set("channel", channel);
  return talk(`/sandbox/state?${query}`, {});
}

export const post = (door, body) =>
  talk(`/sandbox/${door}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

/** Calls `changed` at each change and at every (re)connection, `offline` when the line drops. Returns what ends it. */
export function listen(me, { changed, offline }) {
  let source = null;
  let waiting = 0;
  let ended = false;
  const connect = () => {
    source = new EventSource(`/sandbox/events?as=${encodeURIComponent(me)}`);
    source.onopen = changed;
    source.onmessage = changed;
    source.onerror = () => {
      offline();
      if (source.readyState !== EventSource.CLOSED || ended) return;
      waiting = setTimeout(connect, 1000);
    };
  };
  connect();
  return () => {
    ended = true;
    clearTimeout(waiting);
    source.close();
  };
}
