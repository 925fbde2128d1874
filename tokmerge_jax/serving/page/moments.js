// The grid of moments: pages of cards, which are loaded as the reader scrolls.

import { parts, span } from "./words.js";

const PAGE = 60; // cards; the grid has 1 to 6 columns, so that no page ends within a row
const MOST = 10_000; // hits that the server gives
const RETRIES = 4;

const place = document.querySelector("#moments");
const button = document.querySelector("#more");
const template = document.querySelector("#moment");

let hits = [];
let cards = [];
let further; // loads the next hits, {offset, limit} -> hits or undefined; undefined after the last hits
let loading;

const near = new IntersectionObserver(
  (changes) => changes.at(-1).isIntersecting && load(),
  { rootMargin: "1200px" },
);
button.addEventListener("click", load);
place.addEventListener("keydown", step);

/** The first span of hits to ask for. */
export const FIRST = { offset: 0, limit: PAGE };

/** Shows the first hits, `{hits, more}`, and `next(span)` as the reader comes to their end. */
export function show(first, next) {
  [hits, cards, loading] = [[], [], undefined];
  place.replaceChildren();
  append(first, next);
}

/** The hit of a place in the ranking, or undefined; later ones are loaded in advance. */
export function hit(number) {
  if (number >= hits.length - 1) load();
  return hits[number];
}

/** Whether there is any hit. */
export function any() {
  return hits.length > 0;
}

/** Moves the focus to a card. */
export function focus(number) {
  cards[number]?.focus();
}

/** The place of a card in the ranking, -1 of anything else. */
export function number(card) {
  return cards.indexOf(card);
}

/** Loads the thumbnails again that could not be loaded. */
export function retry() {
  place.querySelectorAll("img.failed").forEach(reload);
}

async function load() {
  if (!further || loading) return;
  const [next, offset] = [further, hits.length];
  loading = next({ offset, limit: Math.min(PAGE, MOST - offset) });
  const page = await loading;
  if (next !== further) return;
  loading = undefined;
  if (page) append(page, next);
}

function append(page, next) {
  const list = document.createElement("ol");
  list.start = hits.length + 1;
  const made = page.hits.map(card);
  list.append(...made);
  hits.push(...page.hits);
  cards.push(...made.map((item) => item.firstElementChild));
  place.append(list);
  further = page.more && hits.length < MOST ? next : undefined;
  button.hidden = !further;
  near.unobserve(button);
  near.observe(button); // says again whether it is near
}

function card(found) {
  const item = template.content.cloneNode(true).firstElementChild;
  const [link, image] = [item.querySelector("a"), item.querySelector("img")];
  const { name, folder } = parts(found.path);
  const score = found.score ?? found.cosine;
  link.href = `${found.video}#t=${found.start},${found.stop}`;
  link.title = found.path;
  image.addEventListener("error", () => failed(image));
  image.addEventListener("load", () => loaded(image));
  image.src = `${found.thumbnail}&width=320`;
  write(item, { span: span(found), name, folder, score: score.toFixed(2) });
  return item;
}

/** Sets texts by class; never as HTML, for file names are anybody's. */
function write(item, texts) {
  for (const [name, text] of Object.entries(texts)) {
    item.querySelector(`.${name}`).textContent = text;
  }
}

/** Nothing is cut off from pictures that are hardly wider than high. */
function loaded(image) {
  image.className = image.naturalWidth < 1.2 * image.naturalHeight ? "tall" : "";
}

function failed(image) {
  image.className = "failed";
  image.dataset.times = Number(image.dataset.times ?? 0) + 1;
  if (image.dataset.times <= RETRIES) setTimeout(reload, 1000 * 2 ** image.dataset.times, image);
}

function reload(image) {
  image.src += "";
}

/** Arrow keys move the focus from card to card. */
function step(event) {
  const from = number(event.target);
  const columns = getComputedStyle(cards[0].closest("ol")).gridTemplateColumns.split(" ").length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (from < 0 || !by || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  focus(from + by);
}
