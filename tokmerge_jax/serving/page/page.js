// The page: it asks as the reader types, and keeps what is asked in the address.

import * as example from "./example.js";
import * as moments from "./moments.js";
import * as player from "./player.js";
import * as query from "./query.js";
import { Refusal, ask } from "./server.js";
import * as status from "./status.js";
import { receive } from "./uploads.js";
import { count } from "./words.js";

const TYPING = 150; // ms without a key, after which is asked
const SEEN = 2000; // ms, after which a query was worth a step of the back button
const POLL = { growing: 1000, usual: 5000 }; // ms

const form = document.querySelector("#query");
const field = form.elements.q;
const summary = document.querySelector("#summary");
const texts = document.querySelector("#texts");
const grid = document.querySelector("#moments");

let search = new AbortController(); // of the search that is shown or awaited
let remembered = 0; // when the address changed last
let timer;
let windows; // number in the index

/** Asks for what the form says. */
async function run() {
  search.abort();
  search = new AbortController();
  const params = query.written(example.current);
  document.querySelector("#clear").hidden = !query.filtered(params);
  status.say("search", "");
  if (!example.current && !params.has("q")) return welcome();
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
  const path = example.current ? "/similar" : "/search";
  const waiting = (sentence) => status.say("search", sentence);
  const options = { params: all, body: example.current?.file, signal: search.signal, waiting };
  const answer = await ask(path, options);
  return answer.queries ?? [{ query: example.current.label, ...answer }];
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
  if (!example.current) alone.set("q", ranking.query);
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
  const address = `?${query.written(example.current)}`;
  if (address !== `?${location.search.slice(1)}` || !example.isOf(history.state)) {
    const fresh = document.body.dataset.state === "welcome";
    const brief = typing && !fresh && Date.now() - remembered < SEEN;
    history[brief ? "replaceState" : "pushState"](example.kept(), "", address);
    remembered = Date.now();
  }
  titled();
  run();
}

function titled() {
  const asked = example.current?.label ?? field.value.trim();
  document.title = asked ? `${asked} – Video search` : "Video search";
}

/** Fills the form by the address and asks. */
function restore() {
  clearTimeout(timer);
  example.restore(query.fill(new URLSearchParams(location.search)), history.state);
  titled();
  run();
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
  if (field.value) example.set(null);
  clearTimeout(timer);
  timer = setTimeout(change, TYPING, true);
});
form.addEventListener("change", ({ target }) => {
  if (target !== field && target.type !== "file") change();
});
document.querySelector("#example button").addEventListener("click", () => {
  example.set(null);
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
  example.set(example.ofHit(hit));
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

receive(
  (file) => {
    example.set(example.ofFile(file));
    change();
  },
  (fault) => status.say("search", fault),
);
addEventListener("popstate", restore);
restore();
watch();
