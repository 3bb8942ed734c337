// What a person has typed, chosen and clicked on each surface (a message, a dialog, the home), and what became of it.

import { complaints, valuesOf } from "./modal.js";

const delivered = (answer) => answer.ok && (!answer.delivery || answer.delivery.outcome === "acked");

/** A stored value as `initial` in elements.js would give it. */
const plain = (value) => (typeof value === "number" ? String(value) : value);

/**
 * `people()` and `views()` give the present directory and modal stack, `act(door, body)` sends, `redraw()` shows,
 * `confirm(question, ctx)` asks. Everything is kept per person: each has their own drafts and their own warnings.
 */
export function surfaces({ people, views, act, redraw, confirm }) {
  const drafts = new Map();
  const busy = new Set();
  const failed = new Set();
  const takenBack = new Map();
  const localErrors = new Map();
  const troubles = new Map();

  const mine = (owner, rest) => `${people().me}|${owner}|${rest}`;

  /** The `ctx` of blocks.js. `target` says where a click happened: {channel, ts} or {view_id}. */
  function surface(owner, target, { values, errors, typed } = {}) {
    const key = (block, el) => mine(owner, `${block.block_id}|${el.action_id}`);
    const stored = (block, el) => plain(values?.[block.block_id]?.[el.action_id]);
    const ctx = {
      people: people(),
      errors,
      value: (block, el) => (drafts.has(key(block, el)) ? drafts.get(key(block, el)) : stored(block, el)),
      keep: (block, el, value) => drafts.set(key(block, el), value),
      status: (block, el) =>
        busy.has(key(block, el)) ? "busy" : failed.has(key(block, el)) ? "failed" : null,
      act: (block, el, value) =>
        use(ctx, owner, key(block, el), el, {
          ...target,
          ...typed?.(),
          block_id: block.block_id,
          action_id: el.action_id,
          value,
        }),
    };
    return ctx;
  }

  async function use(ctx, owner, id, el, body) {
    if (busy.has(id)) return;
    if (el.confirm && !(await confirm(el.confirm, ctx))) {
      if (drafts.delete(id)) takenBack.set(owner, (takenBack.get(owner) ?? 0) + 1);
      redraw();
      return;
    }
    busy.add(id);
    failed.delete(id);
    redraw();
    const answer = await act(body.view_id ? "view/click" : "click", body);
    busy.delete(id);
    if (!delivered(answer)) failed.add(id);
    redraw();
  }

  /** What must be redrawn for besides the data: buttons that wait or failed, choices taken back. */
  function status(owner) {
    const here = [...busy, ...failed].filter(
      (id) => id.startsWith(mine(owner, "")) && id !== mine(owner, "submit"),
    );
    return [takenBack.get(owner) ?? 0, ...here.map((id) => `${busy.has(id)}${id}`)];
  }

  function ofView(view) {
    const errors = { ...view.errors, ...localErrors.get(view.id) };
    const ctx = surface(
      view.id,
      { view_id: view.id },
      { values: view.values, errors, typed: () => ({ values: valuesOf(view, ctx) }) },
    );
    return ctx;
  }

  /** Sends the view unless a field would not pass in Slack's client either; the sentences then stand under the fields. */
  async function submit(view) {
    const ctx = ofView(view);
    const id = mine(view.id, "submit");
    if (busy.has(id)) return;
    const wrong = complaints(view, ctx);
    localErrors.set(view.id, wrong);
    troubles.delete(view.id);
    if (Object.keys(wrong).length) {
      redraw();
      return;
    }
    busy.add(id);
    redraw();
    const answer = await act("view/submit", { view_id: view.id, values: valuesOf(view, ctx) });
    busy.delete(id);
    const told = views().some((one) => one.id === view.id && Object.keys(one.errors ?? {}).length);
    if (!delivered(answer) && !told) troubles.set(view.id, "We had some trouble connecting. Try again?");
    redraw();
  }

  return {
    surface,
    status,
    ofView,
    submit,
    submitting: (view) => busy.has(mine(view.id, "submit")),
    trouble: (view) => troubles.get(view.id),
  };
}
