// The page: it asks as the reader types, and keeps what is asked in the address.

import * as moments from "./moments.js";
import * as player from "./player.js";
import * as query from "./query.js";
import { Refusal, ask } from "./server.js";
import * as status from "./status.js";
import { clock, count, parts } from "./words.js";

const TYPING = 150; // ms without a key, after which is asked
const SEEN = 2000; // ms, after which a query was worth a step of the back button
const LARGEST = 64 * 2 ** 20; // bytes of a picture or clip
const POLL = { growing: 1000, usual: 5000 }; // ms

const form = document.querySelector("#query");
const field = form.elements.q;
const chip = document.querySelector("#example");
const summary = document.querySelector("#summary");
const texts = document.querySelector("#texts");
const grid = document.querySelector("#moments");

let example = null; // what moments are to be like: {label, file} or {label, id, start, stop}
let search = new AbortController(); // of the search that is shown or awaited
let remembered = 0; // when the address changed last
let timer;
let windows; // number in the index
const files = []; // pictures and clips of this visit, which no address can hold

/** Asks for what the form says. */
async function run() {
  search.abort();
  search = new AbortController();
  const params = query.written(example);
  document.querySelector("#clear").hidden = !query.filtered(params);
  status.say("search", "");
  if (!example && !params.has("q")) return welcome();
  if (document.body.dataset.state === "welcome") document.body.dataset.state = "results";
  grid.ariaBusy = "true";
  const { signal } = search;
  const rankings = await guarded(signal, () => request(params, moments.FIRST));
  if (signal.aborted) return;
  if (rankings) present(rankings, params);
  else empty();
  grid.ariaBusy = "false";
}

/** The answer for one page of hits: a ranking for each text. */
async function request(params, page) {
  const all = new URLSearchParams([...params, ...Object.entries(page)]);
  const path = example ? "/similar" : "/search";
  const waiting = (sentence) => status.say("search", sentence);
  const options = { params: all, body: example?.file, signal: search.signal, waiting };
  const answer = await ask(path, options);
  return answer.queries ?? [{ query: example.label, ...answer }];
}

function present(rankings, params) {
  texts.hidden = rankings.length < 2;
  texts.replaceChildren(texts.firstElementChild, ...rankings.map(choice));
  for (const [place, input] of texts.querySelectorAll("input").entries()) {
    input.addEventListener("change", () => list(rankings[place], params));
  }
  list(rankings[0], params);
}

function choice({ query: text }, place) {
  const [label, input] = ["label", "input"].map((name) => document.createElement(name));
  Object.assign(input, { type: "radio", name: "text", checked: !place });
  label.append(input, text);
  return label;
}

/** Lists the hits of a text; further pages are asked for this text alone. */
function list(ranking, params) {
  const alone = new URLSearchParams([...params].filter(([name]) => name !== "q"));
  if (!example) alone.set("q", ranking.query);
  moments.show(ranking, (page) => {
    const { signal } = search;
    return guarded(signal, async () => (await request(alone, page))[0]);
  });
  document.body.dataset.state = moments.any() ? "results" : "nothing";
  summary.textContent = outcome(ranking, query.filtered(params));
}

function outcome({ query: text, hits, more }, filtered) {
  if (!windows && !hits.length) return "The index holds no video yet.";
  const where = filtered ? " within the filters" : "";
  if (!hits.length) return `No moment${where} for “${text}”.`;
  const number = more ? "Moments" : count(hits.length, "moment");
  return `${number}${where} for “${text}”, best first`;
}

/** Takes the results away. */
function empty() {
  moments.show({ hits: [], more: false });
  texts.hidden = true;
  summary.textContent = "";
}

function welcome() {
  empty();
  document.body.dataset.state = "welcome";
  grid.ariaBusy = "false";
}

/** What `work` gives, or undefined after saying why not; nothing is said of an aborted search. */
async function guarded(signal, work) {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Refusal)) throw error;
    refuse(error);
  }
}

function refuse({ status: code, message }) {
  const token = code === 401;
  const sentence = token
    ? "This server asks for its token. Open the address that it printed, or type the token here."
    : `The server refused this: ${message}`;
  status.say("search", sentence, token);
}

/** Asks, and puts into the address what is asked; `typing` makes steps of pauses only. */
function change(typing = false) {
  clearTimeout(timer);
  const address = `?${query.written(example)}`;
  const state = { label: example?.label, file: files.indexOf(example?.file) };
  if (address !== `?${location.search.slice(1)}` || state.file !== (history.state?.file ?? -1)) {
    const fresh = document.body.dataset.state === "welcome";
    const brief = typing && !fresh && Date.now() - remembered < SEEN;
    history[brief ? "replaceState" : "pushState"](state, "", address);
    remembered = Date.now();
  }
  titled();
  run();
}

function titled() {
  const asked = example?.label ?? field.value.trim();
  document.title = asked ? `${asked} – Video search` : "Video search";
}

/** Fills the form by the address and asks. */
function restore() {
  const params = new URLSearchParams(location.search);
  const { label, file = -1 } = history.state ?? {};
  const moment = query.fill(params);
  if (moment) liken({ ...moment, label: label ?? `a moment at ${clock(moment.start)}` });
  else liken(files[file] ? { label, file: files[file] } : null);
  titled();
  run();
}

/** Sets the example, which takes the place of the text. */
function liken(given) {
  URL.revokeObjectURL(chip.querySelector("img").src);
  example = given;
  chip.hidden = !example;
  field.placeholder = example ? "" : "Describe what is seen";
  if (!example) return;
  field.value = "";
  chip.querySelector("span").textContent = example.label;
  const image = chip.querySelector("img");
  image.hidden = example.file?.type.startsWith("video/") ?? false;
  image.src = example.file ? URL.createObjectURL(example.file) : thumbnail(example);
}

function thumbnail({ id, start, stop }) {
  return `/thumbnail/${encodeURIComponent(id)}?at=${(Number(start) + Number(stop)) / 2}&width=320`;
}

/** Searches by a picture or a clip. */
function byFile(file) {
  if (!file) return;
  if (!/^(image|video)\//.test(file.type)) {
    status.say("search", `${file.name} is neither a picture nor a video.`);
  } else if (file.size > LARGEST) {
    status.say("search", `${file.name} is larger than 64 MiB; cut a shorter clip.`);
  } else {
    files.push(file);
    liken({ label: file.name, file });
    change();
  }
}

/** Follows the index as long as the page is open. */
async function watch() {
  let away = false;
  const waiting = (sentence) => {
    if (away && !sentence) moments.retry();
    away = Boolean(sentence);
    status.say("health", sentence);
  };
  for (;;) {
    const health = await guarded({}, () => ask("/health", { waiting }));
    if (health) follow(health);
    const time = health?.indexing ? POLL.growing : POLL.usual;
    await new Promise((done) => setTimeout(done, time));
  }
}

function follow(health) {
  status.show(health);
  query.offer(health.folders);
  document.querySelector("#rerank").hidden = !health.reranks;
  const grown = windows !== health.windows;
  windows = health.windows;
  if (grown && document.body.dataset.state === "nothing") run();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  change();
});
field.addEventListener("input", () => {
  if (field.value) liken(null);
  clearTimeout(timer);
  timer = setTimeout(change, TYPING, true);
});
form.addEventListener("change", ({ target }) => {
  if (target.type === "file") {
    byFile(target.files[0]);
    target.value = "";
  } else if (target !== field) {
    change();
  }
});
chip.querySelector("button").addEventListener("click", () => {
  liken(null);
  field.focus();
  change();
});
document.querySelector("#clear").addEventListener("click", () => {
  query.fill(query.unfiltered(query.written(null)));
  change();
});
document.querySelector("#welcome").addEventListener("click", ({ target }) => {
  if (target.type !== "button") return;
  field.value = target.textContent;
  field.focus();
  change();
});
grid.addEventListener("click", (event) => {
  const card = event.target.closest("a");
  if (!card || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  player.open(moments.number(card));
});
player.onLike((hit) => {
  const { id, start, stop, path } = hit;
  liken({ id, start, stop, label: `${parts(path).name} at ${clock(start)}` });
  change();
  scrollTo(0, 0);
  summary.focus();
});
document.querySelector("#help").addEventListener("click", help);
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey) return;
  const typing = event.target.matches("input, select");
  if (event.key === "Escape" && event.target !== field) field.focus();
  else if (event.key === "ArrowDown" && event.target === field) moments.focus(0);
  else if (event.key === "/" && !typing) field.focus();
  else if (event.key === "?" && !typing) help();
  else return;
  event.preventDefault();
});

function help() {
  document.querySelector("#keys").showModal();
}

const drop = document.querySelector("#drop");
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  drop.hidden = false;
});
document.addEventListener("dragleave", (event) => (drop.hidden ||= !event.relatedTarget));
document.addEventListener("drop", (event) => {
  drop.hidden = true;
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  byFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => byFile(event.clipboardData.files[0]));

addEventListener("popstate", restore);
restore();
watch();
