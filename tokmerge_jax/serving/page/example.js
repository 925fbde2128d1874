// What moments are to be like, instead of texts: a picture, a clip, or a moment of an answer.

import { clock, parts } from "./words.js";

const chip = document.querySelector("#example");
const image = chip.querySelector("img");
const field = document.querySelector("#query").elements.q;
const files = []; // pictures and clips of this visit, which no address can hold

/** {label, file} or {label, id, start, stop}; null if texts are asked. */
export let current = null;

/** Shows what moments are to be like, in place of the text; null shows the text again. */
export function set(given) {
  URL.revokeObjectURL(image.src);
  current = given;
  chip.hidden = !current;
  field.placeholder = current ? "" : "Describe what is seen";
  if (!current) return;
  field.value = "";
  chip.querySelector("span").textContent = current.label;
  image.hidden = current.file?.type.startsWith("video/") ?? false;
  image.src = current.file ? URL.createObjectURL(current.file) : thumbnail(current);
}

/** A picture or a clip as an example. */
export function ofFile(file) {
  files.push(file);
  return { label: file.name, file };
}

/** A hit as an example. */
export function ofHit({ id, start, stop, path }) {
  return { id, start, stop, label: `${parts(path).name} at ${clock(start)}` };
}

/** What a step of the history keeps of the example, beside its address. */
export function kept() {
  return { label: current?.label, file: files.indexOf(current?.file) };
}

/** Whether a step of the history is of the current file, or of none if there is none. */
export function isOf(state) {
  return kept().file === (state?.file ?? -1);
}

/** Shows the example of a step of the history; `moment` is from its address, if any. */
export function restore(moment, state) {
  const { label, file } = state ?? {};
  if (moment) set({ ...moment, label: label ?? `a moment at ${clock(moment.start)}` });
  else set(files[file] ? { label, file: files[file] } : null);
}

function thumbnail({ id, start, stop }) {
  return `/thumbnail/${encodeURIComponent(id)}?at=${(Number(start) + Number(stop)) / 2}&width=320`;
}
