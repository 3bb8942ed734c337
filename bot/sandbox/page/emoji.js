// The emoji people and apps use most; a name that is not here stays as ":name:", as in Slack.

const NAMES = {
  "+1": "👍", thumbsup: "👍", "-1": "👎", thumbsdown: "👎", ok_hand: "👌", wave: "👋", clap: "👏", pray: "🙏", raised_hands: "🙌",
  muscle: "💪", point_right: "👉", point_up: "☝️", raised_hand: "✋", hand: "✋", eyes: "👀", handshake: "🤝", writing_hand: "✍️",
  smile: "😄", grin: "😁", joy: "😂", sweat_smile: "😅", slightly_smiling_face: "🙂", thinking_face: "🤔", sob: "😭", cry: "😢", wink: "😉",
  heart: "❤️", tada: "🎉", sparkles: "✨", fire: "🔥", rocket: "🚀", "100": "💯", star: "⭐", zap: "⚡", boom: "💥",
  white_check_mark: "✅", heavy_check_mark: "✔️", ballot_box_with_check: "☑️", x: "❌", negative_squared_cross_mark: "❎", heavy_multiplication_x: "✖️",
  no_entry: "⛔", no_entry_sign: "🚫", octagonal_sign: "🛑", warning: "⚠️", rotating_light: "🚨", exclamation: "❗", question: "❓",
  grey_question: "❔", information_source: "ℹ️", bangbang: "‼️", red_circle: "🔴", large_green_circle: "🟢", green_circle: "🟢",
  large_yellow_circle: "🟡", yellow_circle: "🟡", large_orange_circle: "🟠", large_blue_circle: "🔵", white_circle: "⚪", black_circle: "⚫",
  large_green_square: "🟩", large_red_square: "🟥", hourglass: "⌛", hourglass_flowing_sand: "⏳", stopwatch: "⏱️", alarm_clock: "⏰",
  clock1: "🕐", calendar: "📆", date: "📅", spiral_calendar_pad: "🗓️", bell: "🔔", no_bell: "🔕", loudspeaker: "📢", mega: "📣",
  lock: "🔒", unlock: "🔓", key: "🔑", closed_lock_with_key: "🔐", shield: "🛡️", gear: "⚙️", wrench: "🔧", hammer_and_wrench: "🛠️",
  package: "📦", ship: "🚢", truck: "🚚", construction: "🚧", robot_face: "🤖", bug: "🐛", mag: "🔍", bulb: "💡", link: "🔗",
  memo: "📝", pencil: "📝", pencil2: "✏️", clipboard: "📋", page_facing_up: "📄", bookmark_tabs: "📑", inbox_tray: "📥", outbox_tray: "📤",
  email: "📧", envelope: "✉️", speech_balloon: "💬", bust_in_silhouette: "👤", busts_in_silhouette: "👥", moneybag: "💰", credit_card: "💳",
  chart_with_upwards_trend: "📈", bar_chart: "📊", computer: "💻", floppy_disk: "💾", file_cabinet: "🗄️", wastebasket: "🗑️",
  arrow_right: "➡️", arrow_left: "⬅️", arrow_up: "⬆️", arrow_down: "⬇️", arrow_forward: "▶️", leftwards_arrow_with_hook: "↩️",
  arrow_right_hook: "↪️", double_vertical_bar: "⏸️", pause_button: "⏸️", black_square_for_stop: "⏹️", stop_button: "⏹️",
  arrows_counterclockwise: "🔄", repeat: "🔁", rewind: "⏪", fast_forward: "⏩", heavy_plus_sign: "➕", heavy_minus_sign: "➖",
  one: "1️⃣", two: "2️⃣", three: "3️⃣", snowflake: "❄️", ice_cube: "🧊", ghost: "👻", zzz: "💤", coffee: "☕", ticket: "🎫",
  label: "🏷️", pushpin: "📌", round_pushpin: "📍", triangular_flag_on_post: "🚩", checkered_flag: "🏁", scales: "⚖️", test_tube: "🧪",
  palm_tree: "🌴", mailbox_with_mail: "📬", globe_with_meridians: "🌐", cloud: "☁️", new: "🆕", ok: "🆗", sos: "🆘", seedling: "🌱", sleeping: "😴", wilted_flower: "🥀",
};

const SHORTCODE = /:([a-z0-9_+'-]+):(?::skin-tone-[2-6]:)?/g;

export const emojiNamed = (name) => (Object.hasOwn(NAMES, name) ? NAMES[name] : null);

/** The text with every known :shortcode: replaced. */
export function emojify(text) {
  return text.replace(SHORTCODE, (whole, name) => emojiNamed(name) ?? whole);
}
