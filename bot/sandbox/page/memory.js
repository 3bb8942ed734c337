// What this browser remembers between visits. Without storage (a private window) it remembers for this visit.

const kept = new Map();

/** `get(key)` and `set(key, value)` of one topic; a null value is not stored. */
export function memory(topic) {
  const full = (key) => `sandbox:${topic}:${key}`;
  return {
    get(key = "") {
      if (kept.has(full(key))) return kept.get(full(key));
      try {
        return localStorage.getItem(full(key));
      } catch {
        return null;
      }
    },
    set(...args) {
      const [key, value] = args.length > 1 ? args : ["", args[0]];
      if (value === undefined || value === null || kept.get(full(key)) === value) return;
      kept.set(full(key), value);
      try {
        localStorage.setItem(full(key), value);
      } catch {
        // remembered in `kept` alone
      }
    },
  };
}
