// Dates as Slack writes them, in the browser's time zone (the clock of the person at the screen).

const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_S = 86400;

const pad = (n) => String(n).padStart(2, "0");

const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();

function daysBetween(seconds, now) {
  return Math.round((midnight(new Date(seconds * 1000)) - midnight(new Date(now * 1000))) / (DAY_S * 1000));
}

function nth(day) {
  const tail =
    day % 10 === 1 && day !== 11
      ? "st"
      : day % 10 === 2 && day !== 12
        ? "nd"
        : day % 10 === 3 && day !== 13
          ? "rd"
          : "th";
  return `${day}${tail}`;
}

export function clock(seconds, withSeconds = false) {
  const date = new Date(seconds * 1000);
  const hour = date.getHours() % 12 || 12;
  const tail = withSeconds ? `:${pad(date.getSeconds())}` : "";
  return `${hour}:${pad(date.getMinutes())}${tail} ${date.getHours() < 12 ? "AM" : "PM"}`;
}

function near(seconds, now) {
  return { "-1": "yesterday", 0: "today", 1: "tomorrow" }[daysBetween(seconds, now)] ?? null;
}

function year(date, now, comma) {
  return Math.abs(date.getTime() / 1000 - now) < 182 * DAY_S ? "" : `${comma} ${date.getFullYear()}`;
}

const long = (date, now) => `${MONTHS[date.getMonth()]} ${nth(date.getDate())}${year(date, now, ",")}`;
const short = (date) => `${MONTHS[date.getMonth()].slice(0, 3)} ${date.getDate()}, ${date.getFullYear()}`;
const longest = (date, now) => `${DAYS[date.getDay()]}, ${long(date, now)}`;

function ago(seconds, now) {
  const away = Math.abs(now - seconds);
  const [amount, unit] =
    away < 60
      ? [Math.round(away), "second"]
      : away < 3600
        ? [Math.round(away / 60), "minute"]
        : away < DAY_S
          ? [Math.round(away / 3600), "hour"]
          : [Math.round(away / DAY_S), "day"];
  const words = `${amount} ${unit}${amount === 1 ? "" : "s"}`;
  return seconds > now ? `in ${words}` : `${words} ago`;
}

/** Slack's date format string ("{date_short_pretty} at {time}") for a moment in seconds; unknown tokens stay as they are. */
export function formatDate(seconds, format, now) {
  const date = new Date(seconds * 1000);
  const known = {
    date_num: () => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`,
    date_slash: () => `${date.getFullYear()}/${pad(date.getMonth() + 1)}/${pad(date.getDate())}`,
    date: () => long(date, now),
    date_short: () => short(date),
    date_long: () => longest(date, now),
    date_long_full: () => longest(date, now),
    date_pretty: () => near(seconds, now) ?? long(date, now),
    date_short_pretty: () => near(seconds, now) ?? short(date),
    date_long_pretty: () => near(seconds, now) ?? longest(date, now),
    day_divider_pretty: () => near(seconds, now) ?? longest(date, now),
    time: () => clock(seconds),
    time_secs: () => clock(seconds, true),
    ago: () => ago(seconds, now),
  };
  return format.replace(/\{([a-z_]+)\}/g, (whole, token) =>
    Object.hasOwn(known, token) ? known[token]() : whole,
  );
}

export const dayDivider = (seconds, now) => formatDate(seconds, "{day_divider_pretty}", now);
export const fullDate = (seconds, now) => formatDate(seconds, "{date_long} at {time_secs}", now);
export const dayNumber = (seconds) => midnight(new Date(seconds * 1000));
