// How times, names and numbers are written.

/** Seconds as 1:02 or 1:01:02. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const start = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${start}:${two(whole % 60)}`;
}

/** The span of a hit, such as "1:02 – 1:14"; all of a short video is said so. */
export function span({ start, stop, whole }) {
  const times = `${clock(Math.floor(start))} – ${clock(Math.ceil(stop))}`;
  return whole ? `all, ${clock(Math.ceil(stop))}` : times;
}

/** The file's name, and its folder with " / " between the parts. */
export function parts(path) {
  const names = path.split("/");
  const name = names.pop();
  return { name, folder: names.join(" / ") };
}

/** A number and its noun: "1 video", "1,204 videos". */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** About how long: "40 s", "4 min", "2 h". */
export function about(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
