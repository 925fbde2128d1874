// What the page says beside the results: notices, the index, and whether it grows.

import { about, count } from "./words.js";

const notice = document.querySelector("#notice");
const indexing = document.querySelector("#indexing");
const bar = indexing.querySelector("progress");

const sentences = new Map(); // by who says it

/** Says a sentence, or with "" no more; a token is asked for where the server wants one. */
export function say(who, sentence, token = false) {
  sentences.set(who, sentence);
  const said = [...sentences.values()].find(Boolean) ?? "";
  notice.hidden = !said;
  notice.querySelector("form").hidden = !token;
  const text = notice.querySelector("p");
  if (text.textContent !== said) text.textContent = said;
}

/** Shows what the index holds and how far a running one has come. */
export function show({ videos, windows, broken, indexing: run }) {
  const unusable = broken ? ` · ${count(broken, "file")} could not be read` : "";
  const held = `${count(windows, "window")} of ${count(videos, "video")}${unusable}`;
  document.querySelector("#about").textContent = held;
  indexing.hidden = !run;
  if (run) {
    const left = run.seconds_left === null ? "" : `, about ${about(run.seconds_left)} left`;
    bar.labels[0].textContent =
      `Indexing: ${run.done.toLocaleString("en")} of ${count(run.total, "video")}${left}`;
    [bar.max, bar.value] = [Math.max(run.total, 1), run.done];
  }
}
