// The dialog that plays a video at a moment.

import * as moments from "./moments.js";
import { clock, parts, span } from "./words.js";

const dialog = document.querySelector("#player");
const video = dialog.querySelector("video");
const fault = dialog.querySelector(".fault");
const [previous, next] = dialog.querySelectorAll("[data-step]");

let place; // of the hit in the ranking

/** Plays the hit of a place in the ranking. */
export function open(number) {
  place = number;
  const found = moments.hit(number);
  describe(found);
  fault.hidden = true;
  video.hidden = false;
  video.src = found.video;
  previous.disabled = !number;
  next.disabled = !moments.hit(number + 1);
  if (!dialog.open) dialog.showModal();
}

/** Calls `done(hit)` when the reader asks for more like the one that is shown. */
export function onLike(done) {
  dialog.querySelector(".like").addEventListener("click", () => {
    dialog.close();
    done(moments.hit(place));
  });
}

function describe(found) {
  const { name, folder } = parts(found.path);
  dialog.querySelector("h2").textContent = name;
  const score = found.score ?? found.cosine;
  dialog.querySelector(".when").textContent = [
    span(found), `of ${clock(found.duration)}`, `score ${score.toFixed(2)}`, folder,
  ].filter(Boolean).join(" · ");
  dialog.querySelector(".file").href = `${found.video}#t=${found.start},${found.stop}`;
  const load = dialog.querySelector(".load");
  [load.href, load.download] = [found.video, name];
  const bar = dialog.querySelector(".strip span");
  bar.style.left = `${(100 * found.start) / found.duration}%`;
  bar.style.width = `${(100 * (found.stop - found.start)) / found.duration}%`;
}

function play() {
  video.currentTime = moments.hit(place).start;
  video.play().catch(() => {}); // not allowed before a click: its controls play it
}

/** Says why nothing is played. */
async function refuse() {
  const answer = await fetch(video.src, { method: "HEAD" }).catch(() => undefined);
  video.hidden = true;
  fault.hidden = false;
  fault.textContent = answer?.ok
    ? "This browser cannot play this kind of video. Download it to play it with another program."
    : "The server does not give this video now. Close this, and try again.";
}

function go(by) {
  const number = place + by;
  if (number >= 0 && moments.hit(number)) open(number);
}

video.addEventListener("loadedmetadata", () => (video.videoWidth ? play() : refuse()));
video.addEventListener("error", () => dialog.open && refuse());
dialog.querySelector(".strip").addEventListener("click", play);
for (const button of [previous, next]) {
  button.addEventListener("click", () => go(Number(button.dataset.step)));
}
dialog.addEventListener("keydown", (event) => {
  const by = { p: -1, n: 1 }[event.key];
  if (by && !event.ctrlKey && !event.metaKey) go(by);
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => {
  video.removeAttribute("src");
  video.load(); // ends its download
  moments.focus(place);
});
