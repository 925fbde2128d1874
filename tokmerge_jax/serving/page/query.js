// What is asked: the fields of the form, which are the address's and the server's parameters alike.

const FILTERS = ["folder", "since", "until", "shortest", "longest"];
const MOMENT = ["id", "start", "stop"]; // of "more like this"

const form = document.querySelector("#query");
const fields = form.elements;
let offered = "";

/**
 * The parameters of the form.
 *
 * `example` is what moments are to be like, instead of texts: of a moment, its id and span.
 */
export function written(example) {
  const params = new URLSearchParams();
  if (example?.id) MOMENT.forEach((name) => params.set(name, example[name]));
  if (!example) texts().forEach((text) => params.append("q", text));
  for (const name of ["folder", "since", "until"]) {
    if (fields[name].value) params.set(name, fields[name].value);
  }
  new URLSearchParams(fields.lasts.value).forEach((value, name) => params.set(name, value));
  if (fields.rerank.checked && !example) params.set("rerank", "true");
  return params;
}

function texts() {
  return fields.q.value.split(";").map((text) => text.trim()).filter(Boolean);
}

/** Fills the form by the parameters of an address; returns the moment of "more like this". */
export function fill(params) {
  fields.q.value = params.getAll("q").join("; ");
  for (const name of ["folder", "since", "until"]) choose(fields[name], params.get(name) ?? "");
  choose(fields.lasts, kept(params, ["shortest", "longest"]).toString());
  fields.rerank.checked = params.has("rerank");
  return params.has("id") ? Object.fromEntries(kept(params, MOMENT)) : null;
}

/** Whether a filter is set. */
export function filtered(params) {
  return FILTERS.some((name) => params.has(name));
}

/** The parameters without filters. */
export function unfiltered(params) {
  const others = [...params].filter(([name]) => !FILTERS.includes(name));
  return new URLSearchParams(others);
}

/** Offers the folders, and keeps the chosen one; an open list stays as long as they are the same. */
export function offer(folders) {
  if (folders.join("\n") === offered) return;
  offered = folders.join("\n");
  const chosen = fields.folder.value;
  const known = folders.map((folder) => new Option(folder, folder));
  fields.folder.replaceChildren(fields.folder.options[0], ...known);
  choose(fields.folder, chosen);
}

/** Sets a field; a select also to a value that it does not offer yet. */
function choose(field, value) {
  field.value = value;
  if (field.options && field.value !== value) {
    field.add(new Option(value.replaceAll("&", ", ").replaceAll("=", " "), value));
    field.value = value;
  }
}

function kept(params, names) {
  return new URLSearchParams([...params].filter(([name]) => names.includes(name)));
}
